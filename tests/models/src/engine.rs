//! What the tables that shards share need of the engine.

#[path = "../../../src/engine/hash.rs"]
mod hash;

pub(crate) use hash::mix;
