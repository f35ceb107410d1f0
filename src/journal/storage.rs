//! What the journal asks of the place it lies in.
//!
//! Three places exist: memory-mapped files ([`super::MmapStorage`]), files that
//! are only read ([`super::inspect`]), and memory that crashes on demand
//! ([`super::simulated`]).

use std::io;
use std::ops::Range;

use super::checkpoint::CheckpointNumber;
use super::failure::CommitFailed;
use super::{Position, Sequence};
use crate::units::Time;

/// A segment that can be read.
pub trait SegmentBytes {
    /// All bytes of the segment.
    fn bytes(&self) -> &[u8];
}

/// A segment that is written.
pub trait Segment: SegmentBytes {
    /// All bytes of the segment, to write to.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Sets `range` (whole pages) on its way to the disk and returns at once. A
    /// hint: only [`Segment::sync`] says whether it has arrived.
    fn set_out(&mut self, range: Range<usize>) {
        let _ = range;
    }

    /// Makes `range` (whole pages) durable. An error is final: what it covers
    /// may be lost although it still reads back.
    fn sync(&mut self, range: Range<usize>) -> io::Result<()>;
}

/// The front of a segment file and its length, without mapping it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The first page, or what there is of it.
    pub front: Vec<u8>,
    /// The length of the file.
    pub bytes: u64,
}

/// A file that is read at any offset, from any thread.
pub trait ReadAt: Send + Sync {
    /// Its length.
    fn bytes(&self) -> u64;

    /// Fills `into` with what lies at `offset`.
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Where segments and checkpoints are read from.
pub trait Source {
    /// An opened segment.
    type Segment: SegmentBytes;

    /// The segments that exist, ascending.
    fn sequences(&self) -> io::Result<Vec<Sequence>>;

    /// The front of a segment.
    fn peek(&self, sequence: Sequence) -> io::Result<Stored>;

    /// Opens a segment whose front is sound.
    fn open(&mut self, sequence: Sequence) -> io::Result<Self::Segment>;

    /// A hint that this segment will be opened next, and only be read.
    fn read_ahead(&mut self, _sequence: Sequence) {}

    /// The checkpoints that exist, ascending.
    fn checkpoints(&self) -> io::Result<Vec<CheckpointNumber>>;

    /// Opens a checkpoint.
    fn checkpoint(&self, number: CheckpointNumber) -> io::Result<Box<dyn ReadAt>>;

    /// How messages name a checkpoint's file.
    fn checkpoint_name(&self, number: CheckpointNumber) -> String;

    /// Whether the journal has begun with a checkpoint, so that one must be
    /// there.
    fn founded(&self) -> bool;

    /// How messages name the place that holds the segments.
    fn place(&self) -> String;

    /// How messages name a segment's file.
    fn name(&self, sequence: Sequence) -> String;
}

/// Where a journal is written. Opening and reading change nothing; the first
/// change is [`Storage::settle`], or the note of a sync that failed.
pub trait Storage: Source<Segment: Segment> {
    /// Recovery has decided: leftovers of what was not finished go, and so do the
    /// checkpoints that were refused.
    fn settle(&mut self, refused: &[CheckpointNumber]) -> io::Result<()>;

    /// Syncs every segment from `from` on as it is. The outer error is one of finding
    /// them; the inner one is as final as one of [`Segment::sync`].
    fn sync_from(&mut self, from: Sequence) -> io::Result<Result<(), CommitFailed>>;

    /// The ready segment `sequence`, which begins at `base`; the one after it
    /// is begun. Waits, within bounds, for one that is being made ready.
    fn next(
        &mut self,
        sequence: Sequence,
        base: u64,
        now: Time,
    ) -> Result<Self::Segment, NextError>;

    /// Begins to make segment `sequence` ready; returns at once.
    fn prepare(&mut self, sequence: Sequence, base: u64);

    /// The journal has come to `upto`, and segment `sequence` will be next. After
    /// a failed preparation of it: tries again, at most twice a second. Called
    /// once a commit, so it costs nothing in the normal case.
    fn tend(&mut self, upto: Position, sequence: Sequence, base: u64, now: Time);

    /// Whether the next segment was looked for and found no room, so that the
    /// journal should be shortened.
    fn lacks_room(&self) -> bool;

    /// Takes back a full segment, which ends at `end`. Where `sync` is asked
    /// for, it is made durable in the background.
    fn retire(&mut self, segment: Self::Segment, end: Position, sync: bool);

    /// The greatest `end` that a background sync has made durable; an error if one
    /// has failed, or any other than the caller's own.
    fn retired_upto(&self) -> Result<Position, CommitFailed>;

    /// Removes the segments wholly before `before`, oldest first, in the
    /// background; none from `current` on. What does not get through is tried
    /// again with the next call.
    fn free_before(&mut self, before: Position, current: Sequence);

    /// Why the last removal did not get through.
    fn free_failed(&self) -> Option<String>;

    /// Begins to make `range` of `segment` durable while the caller goes on with
    /// later pages; one at a time. False where that is not possible:
    /// [`Segment::sync`] it is then.
    fn begin_sync(&mut self, segment: &mut Self::Segment, range: Range<usize>) -> bool;

    /// Whether what was begun has ended, well or not.
    fn sync_has_ended(&self) -> bool;

    /// Waits for the end of what was begun and says how it was. An error is as
    /// final as one of [`Segment::sync`].
    fn end_sync(&mut self) -> io::Result<()>;

    /// A sync has failed: leaves the note for the next start, which is best effort,
    /// and may end the process.
    fn note_failed_sync(&mut self, failed: &CommitFailed);
}

/// Why there is no next segment.
#[derive(Debug, thiserror::Error)]
pub enum NextError {
    /// The disk is full. It is tried again in the background.
    #[error("no space for the next journal segment; free space on the data directory's disk")]
    Full,
    /// It cannot be made for another reason.
    #[error("the next journal segment cannot be made: {0}")]
    Io(#[from] io::Error),
}
