//! Why a journal is not opened: every refusal, with its file, its offset and
//! what to do about it.

use std::io;

use super::Position;
use super::checkpoint::CheckpointFault;
use super::decide::SegmentFault;
use super::failure::CommitFailed;
use super::replay::Unfit;
use super::storage::NextError;
use crate::engine::Misfit;
use crate::units::Cell;

/// Why a journal is not opened. Nothing on disk was changed, unless it says so; of a
/// failed sync the note is left.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A gap in the files.
    #[error("{file}: this journal segment is missing; put the file back from where it went")]
    MissingSegment {
        /// The file that should be there.
        file: String,
    },
    /// Not a segment at all.
    #[error("{file}: at offset 0 this is not a journal segment; is DIR the data directory?")]
    NotASegment {
        /// The file.
        file: String,
    },
    /// Another format version.
    #[error(
        "{file}: at offset 8 the journal format is version {found}, this server reads version \
         {version}; start the hongbao that wrote it",
        version = super::FORMAT_VERSION
    )]
    WrongVersion {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
    },
    /// The header page is damaged.
    #[error(
        "{file}: the header page (offset 0 to 4095) is damaged or of another segment; run `hb \
         journal verify --data DIR` and restore the file"
    )]
    DamagedHeader {
        /// The file.
        file: String,
    },
    /// Another cell's data.
    #[error(
        "{file}: belongs to cell {found}; start with `cell = {found}` or another data directory"
    )]
    WrongCell {
        /// The file.
        file: String,
        /// Its cell.
        found: Cell,
    },
    /// Another shard's data.
    #[error("{file}: belongs to shard {found}; put it back into that shard's directory")]
    WrongShard {
        /// The file.
        file: String,
        /// Its shard.
        found: u16,
    },
    /// Arranged for another number of shards.
    #[error("{file}: the data is arranged for {found} shards; start with `shards = {found}`")]
    WrongShards {
        /// The file.
        file: String,
        /// Its number of shards.
        found: u16,
    },
    /// A truncated (or grown) file.
    #[error(
        "{file}: has {found} bytes and must have {expected}; it was truncated or grown from \
         outside: restore it"
    )]
    Truncated {
        /// The file.
        file: String,
        /// What its header says.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// Acknowledged batches do not read back.
    #[error(
        "{file}: damage at offset {offset}: the journal was committed up to position {committed} \
         but is whole only up to {end}; run `hb journal verify --data DIR` and restore the file"
    )]
    DamageBelowCommitted {
        /// The file of the first batch that is not valid.
        file: String,
        /// Its offset there.
        offset: u64,
        /// Where the valid batches end.
        end: Position,
        /// What is known to have been committed.
        committed: Position,
    },
    /// A batch that no crash can leave there.
    #[error(
        "{file}: at offset {offset} is a batch that does not follow the journal's end at position \
         {end}; run `hb journal verify --data DIR` and restore the file before it"
    )]
    DamageBeyondWindow {
        /// The file.
        file: String,
        /// The batch's offset there.
        offset: u64,
        /// Where the valid batches end.
        end: Position,
    },
    /// A valid batch whose records this version cannot read.
    #[error(
        "{file}: the batch at offset {offset} holds a record of a kind this server does not know; \
         start the hongbao that wrote it"
    )]
    UnreadableRecord {
        /// The file.
        file: String,
        /// The batch's offset there.
        offset: u64,
    },
    /// A valid record that does not fit the state.
    #[error("{file}: the record at offset {offset} (position {position}) does not fit: {misfit}")]
    Misfit {
        /// The file.
        file: String,
        /// The record's offset there.
        offset: u64,
        /// Its position in the journal.
        position: Position,
        /// What does not fit.
        misfit: Misfit,
    },
    /// The journal is whole, but ends before a checkpoint of it does.
    #[error(
        "{file}: the journal ends at position {end}, before the end of a checkpoint at position \
         {checkpoint_end}: segments are missing, or older copies were put in their place; restore \
         them"
    )]
    EndsBeforeCheckpoint {
        /// The file it ends in.
        file: String,
        /// Where it ends.
        end: Position,
        /// Where the checkpoint does.
        checkpoint_end: Position,
    },
    /// No checkpoint is whole, and the journal alone does not have everything.
    #[error(
        "{file}: {fault}; no checkpoint is whole and the journal does not go back to its \
         beginning: restore this file or {others}"
    )]
    NoWholeCheckpoint {
        /// The newest checkpoint.
        file: String,
        /// What is wrong with it.
        fault: CheckpointFault,
        /// The other ones, or the journal's first segment.
        others: String,
    },
    /// The checkpoint that an arrangement begins with is missing.
    #[error(
        "{place}: has no checkpoint, and this arrangement began with one; put the files back \
         from where they went"
    )]
    CheckpointGone {
        /// The shard's directory.
        place: String,
    },
    /// A checkpoint reads otherwise than a moment before.
    #[error("{file}: was whole a moment ago, now {fault}; check the disk and start again")]
    CheckpointChanged {
        /// The file.
        file: String,
        /// What is wrong with it.
        fault: CheckpointFault,
    },
    /// A whole checkpoint does not fit the engine.
    #[error("{file}: slice {slice} of the checkpoint does not fit: {reason}")]
    UnfitSlice {
        /// The file.
        file: String,
        /// The slice's number, from 0.
        slice: u64,
        /// What does not fit.
        reason: Unfit,
    },
    /// Every record fits, but not all of them together.
    #[error("{place}: the recovered state is not sound: {misfit}")]
    Unsound {
        /// The shard's directory.
        place: String,
        /// What is wrong.
        misfit: Misfit,
    },
    /// The disk failed.
    #[error("{file}: {source}; check the disk and the permissions of the data directory")]
    Io {
        /// The file.
        file: String,
        /// What failed.
        source: io::Error,
    },
    /// The first segment cannot be made.
    #[error(transparent)]
    Next(#[from] NextError),
    /// A sync of the start failed: of what was read, of what was cut, or of the first
    /// batch of this run. The note of that is left.
    #[error(transparent)]
    Commit(#[from] CommitFailed),
}

impl RecoveryError {
    pub(super) fn io(file: String, source: io::Error) -> Self {
        match source.downcast::<CommitFailed>() {
            Ok(failed) => Self::Commit(failed),
            Err(source) => Self::Io { file, source },
        }
    }

    pub(super) fn faulty(file: String, fault: SegmentFault) -> Self {
        match fault {
            SegmentFault::Missing => Self::MissingSegment { file },
            SegmentFault::NotASegment => Self::NotASegment { file },
            SegmentFault::OtherVersion(found) => Self::WrongVersion { file, found },
            SegmentFault::HeaderDamaged => Self::DamagedHeader { file },
            SegmentFault::OtherCell(found) => Self::WrongCell { file, found },
            SegmentFault::OtherShard(found) => Self::WrongShard { file, found },
            SegmentFault::OtherShards(found) => Self::WrongShards { file, found },
            SegmentFault::Length { expected, found } => Self::Truncated { file, expected, found },
        }
    }
}
