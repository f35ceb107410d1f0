//! hongbao: a red-envelope claim server for one box.
//!
//! Modules are listed from the bottom layer to the top; each uses only those
//! above it in this list. `docs/ARCHITECTURE.md` walks through the house.

pub mod checksum;
pub mod limits;
pub mod units;

pub mod wire;

pub mod engine;

pub mod journal;

pub mod net;
pub mod shard;

pub mod client;
