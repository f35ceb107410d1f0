//! Who may ask for what: principals with their roles and keys, and how each
//! side of a connection proves that it has the key.
//!
//! Never opens a socket and never shows a secret; the server's half is pure.

mod handshake;
mod key_files;
mod keyring;
mod name;
mod proof;
mod roles;

pub use handshake::{HandshakeError, shake_hands};
pub use key_files::{KeyFileError, read_identity, read_keyring};
pub use keyring::{Keyring, KeyringError, Pending, Principal, PrincipalNumber};
pub use name::PrincipalName;
pub use proof::{Identity, Key};
pub use roles::{Role, Roles, TABLE};
