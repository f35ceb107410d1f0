//! The writing side: records into the mapping, one sync per batch.
//!
//! `append` and `commit` make no system call but that sync and allocate
//! nothing; taking the next ready segment is the only thing that may wait.

use std::io;

use super::batch::{self, BATCH_HEADER_BYTES, BatchHeader};
use super::checkpoint::CheckpointStart;
use super::failure::CommitFailed;
use super::record::RECORD_BYTES_MAX;
use super::scan::Chain;
use super::storage::{NextError, Segment, SegmentBytes, Storage};
use super::{Committed, Position, Sequence, page_up, record, widen};
use crate::checksum::seed_of;
use crate::engine::Record;
use crate::limits::{SEGMENT_BYTES_MIN, TERMS_PARTS_MAX};
use crate::planted::{Bug, is_planted};
use crate::units::{Durability, Time};

// What is appended together fits the smallest segment.
const _: () = assert!((TERMS_PARTS_MAX + 1) * RECORD_BYTES_MAX <= SEGMENT_BYTES_MIN / 2);

/// A recovered journal. One shard owns it and is the only one to write.
pub struct Journal<S: Storage> {
    storage: S,
    durability: Durability,
    segment: S::Segment,
    sequence: Sequence,
    base: u64,
    seed: u32,
    /// Where the open batch starts (a page) and where its next record goes.
    start: usize,
    at: usize,
    records: u32,
    /// The size of the segment, or 0 after a failure: nothing fits any more.
    limit: usize,
    chain: Chain,
    /// The batch that is being made durable while the next one is filled.
    in_flight: Option<InFlight>,
    /// The chain at the last batch that is committed.
    committed: Chain,
    /// Everything up to here is on the disk.
    synced: Position,
    /// The end of the last durable batch that held records.
    acknowledged: Position,
    /// The greatest `durable_upto` in a durable header.
    covered: Position,
    /// The end of the last segment that was given back.
    retired: Position,
    failure: Option<CommitFailed>,
    stats: JournalStats,
}

/// A sealed batch whose sync was begun.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    /// Where it starts in its segment.
    start: usize,
    /// The chain with it.
    chain: Chain,
    /// The `durable_upto` in its header.
    covers: Position,
}

/// Where a recovered journal goes on.
pub(super) struct Start<T> {
    pub(super) segment: T,
    pub(super) sequence: Sequence,
    pub(super) base: u64,
    pub(super) at: usize,
    pub(super) chain: Chain,
    pub(super) durability: Durability,
}

/// What this run has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct JournalStats {
    /// Records appended.
    pub records: u64,
    /// Batches with records that were committed.
    pub commits: u64,
    /// Empty batches: the epoch's first, and marks.
    pub marks: u64,
    /// Bytes of headers and records.
    pub bytes: u64,
    /// Bytes of the pages that were sealed: what the syncs had to write.
    pub page_bytes: u64,
    /// Segments that were filled.
    pub rolls: u64,
}

/// Why a record was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk is full. Nothing was changed; it may work again later.
    #[error("no space for the next journal segment; free space on the data directory's disk")]
    NoSpace,
    /// The journal is broken; the process must end.
    #[error("the journal cannot go on: {0}")]
    Failed(#[source] io::Error),
}

impl<S: Storage> Journal<S> {
    /// Begins a new epoch at `start` with an empty, synced batch.
    pub(super) fn begin(
        storage: S,
        start: Start<S::Segment>,
        existed: bool,
        clock: Time,
    ) -> Result<Self, CommitFailedOrNext> {
        let mut chain = start.chain;
        chain.epoch = chain.epoch.saturating_add(1);
        let limit = start.segment.bytes().len();
        let mut journal = Self {
            storage,
            durability: start.durability,
            segment: start.segment,
            sequence: start.sequence,
            base: start.base,
            seed: seed_of(u64::from(start.sequence)),
            start: start.at,
            at: start.at + BATCH_HEADER_BYTES,
            records: 0,
            limit,
            synced: chain.end,
            acknowledged: chain.end,
            covered: Position(0),
            retired: Position(0),
            in_flight: None,
            committed: chain,
            chain,
            failure: None,
            stats: JournalStats::default(),
        };
        if journal.at > journal.limit {
            journal.take_next(clock)?; // out of the room that is kept for it
        } else if existed {
            journal.storage.prepare(journal.sequence.saturating_add(1), journal.next_base());
        }
        journal.seal(clock);
        journal.sync_sealed()?;
        Ok(journal)
    }

    /// Appends `record` to the open batch and returns the position after it;
    /// a [`Committed`] that reaches it releases the reply.
    #[inline]
    pub fn append(&mut self, record: &Record, now: Time) -> Result<Position, AppendError> {
        let bytes = record::encoded_bytes(record);
        if self.at + bytes > self.limit {
            self.roll(now)?;
        }
        let end = self.at + bytes;
        if let Some(slot) = self.segment.bytes_mut().get_mut(self.at..end) {
            record::encode(record, self.seed, slot);
        }
        self.at = end;
        self.records += 1;
        self.stats.records += 1;
        Ok(Position::of(self.base, end))
    }

    /// Appends records that must be in the same batch, and so are committed all
    /// or none: there is room for all of them before the first is written.
    pub fn append_together(
        &mut self,
        records: impl Iterator<Item = Record> + Clone,
        now: Time,
    ) -> Result<(), AppendError> {
        let bytes: usize = records.clone().map(|record| record::encoded_bytes(&record)).sum();
        if self.at + bytes > self.limit {
            self.roll(now)?;
        }
        records.into_iter().try_for_each(|record| self.append(&record, now).map(|_| ()))
    }

    /// The position after the last appended record.
    #[inline]
    pub fn appended(&self) -> Position {
        if self.records == 0 { self.chain.end } else { Position::of(self.base, self.at) }
    }

    /// How many records wait for the next commit.
    pub fn uncommitted(&self) -> u32 {
        self.records
    }

    /// Makes everything appended so far durable (or, under `os`, whole).
    /// Returns at once where nothing was appended since the last time.
    pub fn commit(&mut self, now: Time) -> Result<Committed, CommitFailed> {
        self.commit_while(now, || {})
    }

    /// Like [`Journal::commit`], and does `meanwhile` once the batch is on its
    /// way to the disk, before it is waited for.
    pub fn commit_while(
        &mut self,
        now: Time,
        meanwhile: impl FnOnce(),
    ) -> Result<Committed, CommitFailed> {
        self.end_commit()?;
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.records > 0 {
            self.commit_open(now, meanwhile)?;
            self.tend(now);
        } else {
            meanwhile();
        }
        Ok(Committed { upto: self.chain.end })
    }

    fn tend(&mut self, now: Time) {
        let (sequence, base) = (self.sequence.saturating_add(1), self.next_base());
        self.storage.tend(self.chain.end, sequence, base, now);
    }

    /// Begins to make everything appended so far durable while more is
    /// appended; [`Journal::end_commit`] has the proof. Where it cannot overlap
    /// it is done at once, and the proof is here. One batch at a time: what is
    /// in flight is waited for first.
    pub fn begin_commit(&mut self, now: Time) -> Result<Option<Committed>, CommitFailed> {
        self.end_commit()?;
        if self.durability != Durability::Sync || self.records == 0 || self.failure.is_some() {
            return self.commit(now).map(Some);
        }
        self.seal(now);
        let (start, end) = (self.start, page_up(self.at));
        if !self.storage.begin_sync(&mut self.segment, start..end) {
            self.sync_sealed()?;
            return self.commit(now).map(Some);
        }
        self.in_flight = Some(InFlight { start, chain: self.chain, covers: self.synced });
        self.open_at(end);
        self.tend(now);
        if is_planted(Bug::OverlapTold) {
            return Ok(Some(Committed { upto: self.chain.end }));
        }
        Ok(None)
    }

    /// Whether a commit was begun and not ended.
    pub fn is_committing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether [`Journal::end_commit`] would return at once.
    pub fn commit_has_ended(&self) -> bool {
        self.in_flight.is_none() || self.storage.sync_has_ended()
    }

    /// Waits for the commit that was begun, if one was. What was appended since
    /// is not committed.
    pub fn end_commit(&mut self) -> Result<Committed, CommitFailed> {
        if let Some(InFlight { start, chain, covers }) = self.in_flight.take() {
            if let Err(error) = self.storage.end_sync() {
                return Err(self.fail(start, &error));
            }
            self.covered = covers;
            self.synced = chain.end;
            self.acknowledged = chain.end;
            self.committed = chain;
        }
        Ok(Committed { upto: self.committed.end })
    }

    /// Whether an acknowledged batch is not yet covered by a later
    /// `durable_upto`, so that damage to it would look like a torn tail.
    pub fn mark_wanted(&self) -> bool {
        self.durability == Durability::Sync && self.acknowledged > self.covered
    }

    /// Covers what is committed with an empty batch; under `os` everything is
    /// synced first. Without space for it nothing happens.
    pub fn mark(&mut self, now: Time) -> Result<(), CommitFailed> {
        self.commit(now)?;
        match self.durability {
            Durability::Sync if !self.mark_wanted() => return Ok(()),
            Durability::Sync => {}
            Durability::Os => self.sync_segment()?,
        }
        if self.start + BATCH_HEADER_BYTES > self.limit {
            match self.take_next(now) {
                Ok(()) => {}
                Err(CommitFailedOrNext::Next(_)) => return Ok(()), // the next commit covers it
                Err(CommitFailedOrNext::Commit(failed)) => return Err(failed),
            }
        }
        self.seal(now);
        self.sync_sealed()
    }

    /// Where a checkpoint may begin: the committed end. What was appended since
    /// may be in its slices already; a replay skips it by their positions.
    /// `None` after a failure.
    pub fn checkpoint_start(&self) -> Option<CheckpointStart> {
        self.failure.is_none().then(|| CheckpointStart::of(self.committed))
    }

    /// Everything up to here is on the disk. Under `os` it lags behind what is
    /// committed until a [`Journal::mark`]. A checkpoint may only finish when
    /// this has reached its end.
    pub fn durable_upto(&self) -> Position {
        let retired = self.storage.retired_upto().unwrap_or_default();
        self.synced.max(retired)
    }

    /// Whether there is no room for the next segment: records are refused when
    /// this one is full, unless the journal is shortened before.
    pub fn lacks_room(&self) -> bool {
        self.storage.lacks_room()
    }

    /// Whether the background has synced the full segments that were left to it.
    pub fn has_retired(&mut self) -> Result<bool, CommitFailed> {
        self.note_retired()?;
        Ok(self.retired <= self.synced)
    }

    /// Where the segment that is written begins. Nothing from here on is freed.
    pub fn segment_begin(&self) -> Position {
        Position(self.base)
    }

    /// Removes the segments wholly before `position`, oldest first, in the
    /// background; never the one that is written. Nothing that the older of two
    /// checkpoints or a follower needs may lie before it.
    pub fn free_before(&mut self, position: Position) {
        self.storage.free_before(position, self.sequence);
    }

    /// Why segments could not be removed the last time, for the operator.
    pub fn free_failed(&self) -> Option<String> {
        self.storage.free_failed()
    }

    /// What this run has written.
    pub fn stats(&self) -> JournalStats {
        self.stats
    }

    fn next_base(&self) -> u64 {
        self.base.saturating_add(widen(self.segment.bytes().len()))
    }

    /// The record does not fit: closes this segment and goes on in the next.
    #[cold]
    fn roll(&mut self, now: Time) -> Result<(), AppendError> {
        if let Some(failure) = &self.failure {
            return Err(AppendError::Failed(io::Error::other(failure.clone())));
        }
        self.take_next(now).map_err(|error| match error {
            CommitFailedOrNext::Next(NextError::Full) => AppendError::NoSpace,
            CommitFailedOrNext::Next(NextError::Io(error)) => AppendError::Failed(error),
            CommitFailedOrNext::Commit(failed) => AppendError::Failed(io::Error::other(failed)),
        })
    }

    /// The next segment is taken first, so that a full disk changes nothing;
    /// then the open batch is committed, for a batch never spans segments.
    fn take_next(&mut self, now: Time) -> Result<(), CommitFailedOrNext> {
        let (sequence, base) = (self.sequence.saturating_add(1), self.next_base());
        let next = self.storage.next(sequence, base, now)?;
        self.end_commit()?;
        if self.records > 0 {
            self.commit_open(now, || {})?;
        }
        let full = std::mem::replace(&mut self.segment, next);
        let unsynced = self.durability == Durability::Os;
        self.retired = self.chain.end;
        self.storage.retire(full, self.chain.end, unsynced);
        self.sequence = sequence;
        self.base = base;
        self.seed = seed_of(u64::from(sequence));
        self.limit = self.segment.bytes().len();
        self.open_at(crate::limits::PAGE_BYTES);
        self.stats.rolls += 1;
        Ok(())
    }

    fn open_at(&mut self, page: usize) {
        self.start = page;
        self.at = page + BATCH_HEADER_BYTES;
        self.records = 0;
    }

    fn commit_open(&mut self, now: Time, meanwhile: impl FnOnce()) -> Result<(), CommitFailed> {
        match self.durability {
            Durability::Sync => {
                self.seal(now);
                self.segment.set_out(self.start..page_up(self.at));
                meanwhile();
                self.sync_sealed()
            }
            Durability::Os => {
                self.note_retired()?;
                self.seal(now);
                meanwhile();
                self.committed = self.chain;
                self.open_at(page_up(self.at));
                Ok(())
            }
        }
    }

    /// Writes the header of the open batch. The batch before it is durable by
    /// now (one commit in flight), which is what `durable_upto` says.
    fn seal(&mut self, now: Time) {
        let header = BatchHeader {
            checksum: 0,      // both are computed
            body_checksum: 0, // over the bytes as they are
            previous: self.chain.checksum,
            body_bytes: u32::try_from(self.at - self.start - BATCH_HEADER_BYTES)
                .unwrap_or(u32::MAX), // SEGMENT_BYTES_MAX keeps it below
            records: self.records,
            epoch: self.chain.epoch,
            sequence: self.sequence,
            unsynced: self.durability == Durability::Os,
            batch: self.chain.batch + 1,
            position: Position::of(self.base, self.start),
            time: self.chain.time.max(now),
            durable_upto: if is_planted(Bug::CommittedAhead) {
                Position::of(self.base, self.at)
            } else {
                self.synced
            },
        };
        let bytes = self.segment.bytes_mut().get_mut(self.start..self.at).unwrap_or_default();
        let checksum = batch::seal(&header, bytes);
        self.chain.advance(&BatchHeader { checksum, ..header });
        self.stats.bytes += widen(self.at - self.start);
        self.stats.page_bytes += widen(page_up(self.at) - self.start);
        if self.records > 0 {
            self.stats.commits += 1;
        } else {
            self.stats.marks += 1;
        }
    }

    /// The one sync of a commit: the pages of the sealed batch and no others.
    fn sync_sealed(&mut self) -> Result<(), CommitFailed> {
        let (start, end) = (self.start, page_up(self.at));
        if !is_planted(Bug::SyncSkipped)
            && let Err(error) = self.segment.sync(start..end)
            && !(is_planted(Bug::SyncRetried) && self.segment.sync(start..end).is_ok())
        {
            return Err(self.fail(start, &error));
        }
        self.covered = self.synced; // what the header says, which is now on disk
        // Under `os` an earlier segment may still be on its way to the disk.
        if self.durability == Durability::Sync || self.retired <= self.synced {
            self.synced = self.chain.end;
        }
        if self.records > 0 {
            self.acknowledged = self.chain.end;
        }
        self.committed = self.chain;
        self.open_at(end);
        Ok(())
    }

    /// Under `os`: makes the whole current segment durable. Earlier ones are
    /// synced in the background; until that is done nothing more is known.
    fn sync_segment(&mut self) -> Result<(), CommitFailed> {
        self.note_retired()?;
        if let Err(error) = self.segment.sync(0..self.start) {
            return Err(self.fail(0, &error));
        }
        if self.retired <= self.synced {
            self.synced = self.chain.end;
        }
        Ok(())
    }

    /// Under `os`: learns what the background has made durable.
    fn note_retired(&mut self) -> Result<(), CommitFailed> {
        match self.storage.retired_upto() {
            Ok(upto) => self.synced = self.synced.max(upto),
            Err(failed) => return Err(self.end_with(failed)),
        }
        Ok(())
    }

    /// The first failure is the last: the note is left and nothing fits again.
    #[cold]
    fn fail(&mut self, offset: usize, error: &io::Error) -> CommitFailed {
        let file = self.storage.name(self.sequence);
        let reason = error.to_string();
        let failed = CommitFailed { file, offset: widen(offset), reason };
        if !is_planted(Bug::StalePageTrusted) {
            self.storage.note_failed_sync(&failed);
        }
        self.end_with(failed)
    }

    fn end_with(&mut self, failed: CommitFailed) -> CommitFailed {
        self.limit = 0;
        self.failure = Some(failed.clone());
        failed
    }
}

/// The two ways in which going on to the next segment ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommitFailedOrNext {
    #[error(transparent)]
    Commit(#[from] CommitFailed),
    #[error(transparent)]
    Next(#[from] NextError),
}

impl From<CommitFailedOrNext> for super::RecoveryError {
    fn from(error: CommitFailedOrNext) -> Self {
        match error {
            CommitFailedOrNext::Commit(failed) => Self::Commit(failed),
            CommitFailedOrNext::Next(next) => Self::Next(next),
        }
    }
}
