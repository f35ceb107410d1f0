//! TLS 1.3 on TCP, for whoever wants secrecy on the way: the one room that
//! names `rustls` and certificates.
//!
//! Turns bytes of a socket into plain bytes and back, and says whom a verified
//! certificate names; never owns a listening socket, never decides who may ask
//! for what, and shows no secret. A plain connection meets nothing of it.

mod client;
mod files;
mod server;
mod session;

pub use client::{Connector, TlsStream};
pub use files::TlsError;
pub use server::Acceptor;
pub use session::{Session, TlsBroken};
