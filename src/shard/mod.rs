//! One shard: a thread that owns some envelopes, their journal and their
//! connections, and shares nothing.
//!
//! The claim path is [`turn`]; nothing in it allocates, locks, logs or reads a
//! clock per request.

mod answer;
mod board;
mod checkpoint;
mod clock;
mod counters;
mod covers;
mod decide;
mod followed;
mod mesh;
mod paying;
mod pressure;
mod turn;

pub use board::{Board, Phase};
pub use checkpoint::Checkpoints;
pub use clock::Clock;
pub use counters::{CheckpointCounters, HISTOGRAM_BUCKETS, Histogram, ShardCounters, TableFill};
pub use covers::{Cover, Covers};
pub use followed::{Followed, Outlook, Sleeper};
pub use mesh::{Bell, Mesh};
pub use turn::{Fatal, Shard, ShardSettings};
