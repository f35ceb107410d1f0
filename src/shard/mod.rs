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
mod chronometer;
mod clock;
mod counters;
mod course;
mod covers;
mod decide;
mod followed;
mod mesh;
mod paying;
mod pressure;
mod receive;
mod receivers;
mod risk;
mod sleeper;
mod terms;
mod trail;
mod turn;
mod velocity;
mod windows;

pub use bell::Bell;
pub use board::{Board, Phase};
pub use checkpoint::Checkpoints;
pub use chronometer::{Chronometer, Standing};
pub use clock::Clock;
pub use counters::{CheckpointCounters, HISTOGRAM_BUCKETS, Histogram, ShardCounters, TableFill};
pub use course::{Course, Found};
pub use covers::{Cover, Covers};
pub use followed::{Followed, Outlook};
pub use mesh::Mesh;
pub use receive::Receiving;
pub use receivers::{ReceiveLimits, Receivers};
pub use risk::Judging;
pub use sleeper::Sleeper;
pub use turn::{Fatal, Shard, ShardSettings};
pub use windows::{WindowSizes, Windows};
