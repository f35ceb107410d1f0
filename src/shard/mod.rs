//! One shard: a thread that owns some envelopes, their journal and their
//! connections, and shares nothing.
//!
//! The claim path is [`turn`]; nothing in it allocates, locks, logs or reads a
//! clock per request.

mod answer;
mod clock;
mod turn;

pub use clock::Clock;
pub use turn::{Fatal, Shard, ShardCounters, ShardSettings};
