//! The journal: what happened, in order, on disk. It is the only truth; every
//! other structure can be rebuilt from it.
//!
//! A shard appends records (memory writes into a mapping), commits a batch with
//! one sync, and lets replies go by the [`Committed`] position it gets back.
//! `docs/JOURNAL.md` has every byte and every decision of recovery.
//!
//! The journal never decides about money, never reads a clock (time is an
//! argument) and never writes to a disk before recovery has decided what it
//! found there.

mod append;
mod arrangement;
mod batch;
mod checkpoint;
mod choose;
mod decide;
mod directory;
mod executor;
mod failure;
mod files;
pub mod inspect;
mod mapped;
mod marker;
pub mod mmap;
mod pace;
mod prepare;
mod read_only;
mod record;
mod record_campaign;
mod record_risk;
mod record_terms;
mod recovery;
mod refusal;
mod replay;
mod room;
mod scan;
mod segment;
pub mod simulated;
mod storage;
mod syncer;
mod tail;
mod told;
mod whole;

use std::fmt;

pub use append::{AppendError, Journal, JournalStats};
pub use arrangement::{Arrangement, ArrangementError, Building};
pub use batch::{BATCH_HEADER_BYTES, BatchHeader};
pub use checkpoint::{
    CheckpointFailed, CheckpointFault, CheckpointInfo, CheckpointNumber, CheckpointSettings,
    CheckpointStart, CheckpointWriter, SLICE_BYTES_MAX, SimulatedBackground, checkpoint_bytes_max,
    write_checkpoint,
};
pub use decide::{
    CheckpointFindings, CheckpointRow, Findings, Leftover, Row, SegmentFault, Stray, decide,
    decide_checkpoint,
};
pub use directory::{Directory, DirectoryError, DirectoryHold};
pub use failure::{CommitFailed, OnFailedSync};
pub use mapped::{MmapStorage, StorageError, check_memlock};
pub use read_only::{JournalFiles, LoadedSegment};
pub use record::RECORD_BYTES_MAX;
#[doc(hidden)]
pub use record::{bytes_of_record, record_of_bytes};
pub use recovery::{Recovered, Recovering, TornTail};
pub use refusal::RecoveryError;
pub use replay::{GROUP_RECORDS_MAX, Progress, Replica, Unfit};
pub use segment::{FORMAT_VERSION, SegmentHeader};
pub use storage::{NextError, ReadAt, Segment, SegmentBytes, Source, Storage, Stored};
pub use syncer::Ring as SyncRing;
pub use tail::{ChainEnd, Tail, TailError};
pub use told::{KeptCursors, tell_cursors};
pub use whole::WholeJournal;

use crate::limits::PAGE_BYTES;
use crate::units::Cell;

/// Whose journal it is. A segment of another cell, shard or number of shards is
/// refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The server's cell.
    pub cell: Cell,
    /// The shard that writes.
    pub shard: u16,
    /// How many shards the data is arranged for.
    pub shards: u16,
}

/// A byte offset in the whole journal: the segment's base plus the offset in
/// its file. It only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    fn of(base: u64, offset: usize) -> Self {
        Self(base.saturating_add(widen(offset)))
    }
}

impl From<Position> for u64 {
    fn from(position: Position) -> Self {
        position.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The proof that everything up to a position is committed; it releases the
/// replies that were held for it. Only a journal makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    upto: Position,
}

impl Committed {
    /// For a loop that runs without a journal (the floor of a benchmark).
    pub fn nothing() -> Self {
        Self { upto: Position(0) }
    }

    /// Everything that was appended up to here is committed.
    pub fn upto(&self) -> Position {
        self.upto
    }
}

/// A segment's number, from 1; also the name of its file.
pub type Sequence = u32;

/// A length as the format holds it. Lossless: this server is built for 64 bits.
fn widen(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// A length of the format as memory knows it. Lossless on 64 bits.
fn narrow(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// The first page border at or after `offset`.
fn page_up(offset: usize) -> usize {
    offset.next_multiple_of(PAGE_BYTES)
}
