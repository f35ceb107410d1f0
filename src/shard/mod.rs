//! One shard: a thread that owns some envelopes, their journal and their
//! connections, and shares nothing.
//!
//! The claim path is [`turn`]; nothing in it allocates, locks, logs or reads a
//! clock per request.

mod answer;
mod bell;
mod board;
mod buckets;
mod campaigns;
mod checkpoint;
mod clock;
mod counters;
mod covers;
mod decide;
mod followed;
mod mesh;
mod paying;
mod pressure;
mod receive;
mod receivers;
mod sleeper;
mod terms;
mod turn;

pub use bell::Bell;
pub use board::{Board, Phase};
pub use checkpoint::Checkpoints;
pub use clock::Clock;
pub use counters::{CheckpointCounters, HISTOGRAM_BUCKETS, Histogram, ShardCounters, TableFill};
pub use covers::{Cover, Covers};
pub use followed::{Followed, Outlook};
pub use mesh::Mesh;
pub use receive::Receiving;
pub use receivers::{ReceiveLimits, Receivers};
pub use sleeper::Sleeper;
pub use turn::{Fatal, Shard, ShardSettings};
