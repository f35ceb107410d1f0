//! The server's own files about what threads share, compiled against loom in
//! the place of the standard library: `src/threads.rs` is the seam. The models in
//! `tests/` run them in every order of events that the memory model allows, so a
//! wake-up that can be lost or a count that can come out wrong is found, not hoped
//! against.
//!
//! What the files need besides is the server's, or a stand-in of a few lines.
#![allow(dead_code, unreachable_pub)] // a model needs a part of what the files offer

mod engine;
pub mod net;
pub mod shard;
mod threads;

#[path = "../../../src/limits.rs"]
mod limits;
#[path = "../../../src/units.rs"]
mod units;
