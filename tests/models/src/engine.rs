//! The one function of the engine that the table of receivers needs.

#[path = "../../../src/engine/hash.rs"]
mod hash;

pub(crate) use hash::mix;
