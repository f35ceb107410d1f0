//! Checkpoints: the whole state of a shard at some position, so that a start
//! need not replay the journal from its first batch.
//!
//! The content is opaque here: slices of bytes that the engine makes and takes
//! back. A checkpoint is never the truth: it is made of what the journal holds,
//! and the journal is kept as long as the older of two generations needs it.

mod background;
mod file;
mod format;
mod read;
mod simulated;
mod writer;

use std::fmt;

pub use file::write_checkpoint;
pub use format::{CheckpointFault, SLICE_BYTES_MAX, checkpoint_bytes_max};
pub(super) use format::{Header, Packer, header_of};
pub(super) use read::{Examined, LoadFailed, each_slice, examine};
pub use simulated::SimulatedBackground;
pub use writer::{CheckpointSettings, CheckpointWriter};

use super::Position;
use super::scan::Chain;
use crate::checksum::crc32c_seeded;
use crate::planted::{Bug, is_planted};
use crate::units::Time;

/// A checkpoint's number in its arrangement, from 1; also the name of its file.
pub type CheckpointNumber = u32;

/// Where a checkpoint begins: the committed end of the journal, with the state
/// of the chain of batches there, so that a replay from it verifies the chain
/// without a gap. Only a journal makes one, or a new arrangement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointStart {
    pub(super) chain: Chain,
    pub(super) began_at: Time,
}

impl CheckpointStart {
    pub(super) fn of(chain: Chain) -> Self {
        Self { chain, began_at: chain.time }
    }

    /// The state that a new arrangement begins with, before the first batch of
    /// its journal. `last_time` is the greatest time of the old journals: the
    /// clock never goes back behind it.
    ///
    /// The first batch names a checksum that is not 0 as the one before it, so
    /// that this journal can never be replayed without its checkpoint.
    pub fn founding(arrangement: u32, last_time: Time) -> Self {
        let checksum = crc32c_seeded(0x6862_6f31, &arrangement.to_le_bytes()).max(1);
        let time = if is_planted(Bug::TimeNotCarried) { Time(0) } else { last_time };
        let chain = Chain { batch: 0, checksum, epoch: 0, time, end: Position(0) };
        Self { chain, began_at: last_time }
    }

    /// The same, begun at `now`; without this it is the time of the last batch.
    #[must_use]
    pub fn at(self, now: Time) -> Self {
        Self { began_at: now, ..self }
    }

    /// Where a replay begins.
    pub fn position(&self) -> Position {
        self.chain.end
    }
}

/// A whole checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Its number.
    pub number: CheckpointNumber,
    /// Where a replay from it begins.
    pub began: Position,
    /// What the state has in it at most; the journal must reach it.
    pub end: Position,
    /// The size of the file.
    pub bytes: u64,
    /// When it was begun.
    pub began_at: Time,
    /// Where the generation before it begins; 0 without one. Nothing of the
    /// journal from here on may be freed, so that damage to the newest
    /// checkpoint can be survived.
    pub keep_from: Position,
}

impl fmt::Display for CheckpointInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, began, end, bytes, .. } = self;
        write!(f, "checkpoint {number} ({bytes} bytes, positions {began} to {end})")
    }
}

/// A checkpoint was not written. The journal is whole, the checkpoints before
/// it stay, and the unfinished file is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointFailed {
    /// The disk is full.
    #[error(
        "{file}: no space for the checkpoint; free space on the data directory's disk (the \
         journal goes on, but is not shortened and a restart takes longer until one succeeds)"
    )]
    NoSpace {
        /// The unfinished file.
        file: String,
    },
    /// The disk failed, or does not read back what was written.
    #[error(
        "{file}: THE DISK FAILED under a checkpoint: {reason}; the journal on the same disk is \
         still whole as far as it is known: check the disk now (dmesg, smartctl) and replace it"
    )]
    Disk {
        /// The unfinished file.
        file: String,
        /// What was found.
        reason: String,
    },
    /// A slice is longer than a block.
    #[error("a checkpoint's slice of {bytes} bytes is longer than {SLICE_BYTES_MAX}")]
    SliceTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The thread that writes is gone, or was told to end.
    #[error("the thread that writes checkpoints has ended; restart the server")]
    Ended,
}
