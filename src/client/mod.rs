//! The Rust client: blocking, pipelined, for gateways, tools and tests.
//!
//! Two levels. Low: [`Client::submit`], [`Client::flush`], [`Client::receive`]
//! keep many requests in flight on one connection, which may be any, or with
//! [`Client::connection_of`] the owner's. High: [`Client::call`] and the typed
//! calls wait for one answer each, go straight to the shard that owns the
//! envelope, and survive a server that goes away and comes back.
//!
//! This room never decides anything about money and never hides an outcome: a
//! refusal is an error value that names the status.

mod address;
mod calls;
mod campaigns;
mod connection;
mod error;
mod risk;
mod routed;
mod routes;
mod stream;

pub use address::{Address, BadAddress};
pub use calls::{Claimed, Detail, Funded, Look, Refunded, Sent, Voided};
pub use campaigns::{Shaken, Wins};
pub use connection::{Connection, Settings};
pub use error::{ClientError, Refusal};
pub use risk::Decided;
pub use routed::Client;
pub use routes::{partition, shard_addresses};
