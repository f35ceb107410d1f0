//! hongbao: a red-envelope claim server for one box.
//!
//! Modules are listed from the bottom layer to the top; each uses only those
//! above it in this list. `docs/ARCHITECTURE.md` walks through the house.
//!
//! ```no_run
//! let config = hongbao::Config { listen: ([127, 0, 0, 1], 0).into(), ..Default::default() };
//! let server = hongbao::Server::start(config)?;
//! println!("serving on {}", server.address());
//! server.drain()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod checksum;
pub mod limits;
pub mod memory;
pub mod planted;
pub mod private_file;
mod table;
mod threads;
pub mod units;

pub mod wire;

pub mod access;

pub mod tls;

pub mod engine;

pub mod journal;

pub mod net;

pub mod shard;

pub mod follow;

pub mod audit;

pub mod admin;

pub mod client;

pub mod config;
pub mod payment_keys;
pub mod server;

pub use config::Config;
pub use server::Server;
