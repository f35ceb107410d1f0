//! From what lies on disk to a journal that appends: read, decide, and only
//! then write.
//!
//! A refusal leaves the disk as it was, byte for byte; but one for a sync that failed
//! leaves the note of that.

use std::fmt;

use super::append::{Journal, Start};
use super::batch::BatchHeader;
use super::checkpoint::CheckpointInfo;
use super::choose::{self, Chosen};
use super::decide::{Leftover, Row, decide};
use super::failure::CommitFailed;
use super::refusal::RecoveryError;
use super::replay::{Feed, OneByOne, Progress, Replica, Teller};
use super::scan::{self, Walked};
use super::segment::SegmentHeader;
use super::storage::{Segment, SegmentBytes, Source, Storage};
use super::{Identity, Position, record, widen};
use crate::checksum::seed_of;
use crate::engine::{Misfit, Record};
use crate::limits::PAGE_BYTES;
use crate::planted::{Bug, is_planted};
use crate::units::{Durability, Time};

/// A journal that is not recovered yet: it has no `append`. It knows where its
/// replay begins.
pub struct Recovering<S: Source> {
    storage: S,
    durability: Durability,
    chosen: Chosen,
    headers: Vec<SegmentHeader>,
}

/// What recovery found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Records that were applied.
    pub records: u64,
    /// Batches that were read, empty ones included.
    pub batches: u64,
    /// Segment files that were there.
    pub segments: usize,
    /// Where the recovered batches end.
    pub end: Position,
    /// The time of the last batch; the clock never goes back behind it.
    pub last_time: Time,
    /// The number of this run, from 1.
    pub epoch: u32,
    /// The unacknowledged batch that was cut, if there was one.
    pub torn: Option<TornTail>,
    /// The checkpoint that the replay began with.
    pub checkpoint: Option<CheckpointInfo>,
    /// What was in its slices, as the replica has counted.
    pub loaded: u64,
    /// Where the older of two checkpoints begins: nothing from here on may be
    /// freed.
    pub keep_from: Position,
    /// Damaged checkpoints that were not used, a line each; the operator must
    /// see them.
    pub warnings: Vec<String>,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, batches, segments, epoch, torn, loaded, .. } = self;
        if let Some(checkpoint) = &self.checkpoint {
            write!(f, "{loaded} envelopes from {checkpoint}, ")?;
        }
        write!(f, "{records} records in {batches} batches from {segments} segments; run {epoch}")?;
        if let Some(torn) = torn {
            write!(
                f,
                "; an unacknowledged batch was cut at {} ({}, {} bytes zeroed)",
                torn.position, torn.file, torn.bytes
            )?;
        }
        Ok(())
    }
}

/// What was cut from the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The first page that was zeroed.
    pub position: Position,
    /// How many bytes were zeroed, in whole pages.
    pub bytes: u64,
    /// The file of the first page.
    pub file: String,
}

impl<S: Source> Recovering<S> {
    /// Chooses a checkpoint, looks at the segment files and refuses what is not
    /// this shard's whole journal. Every byte of the checkpoint is read.
    pub fn open(
        storage: S,
        identity: Identity,
        durability: Durability,
    ) -> Result<Self, RecoveryError> {
        let chosen = choose::checkpoint(&storage, Some(identity))?;
        let headers = scan::headers(&storage, Some(identity), chosen.from.chain.end)?;
        Ok(Self { storage, durability, chosen, headers })
    }

    /// The checkpoint that the replay begins with.
    pub fn checkpoint(&self) -> Option<CheckpointInfo> {
        self.chosen.info()
    }

    /// Replays into `replica` and decides about the end as a start would, but
    /// writes nothing: a torn tail is passed over and stays.
    pub fn read(
        mut self,
        replica: &mut impl Replica,
        progress: &dyn Fn(Progress),
    ) -> Result<Recovered, RecoveryError> {
        let (_, _, recovered) = self.feed(replica, progress)?;
        Ok(recovered)
    }

    fn feed<R: Replica>(
        &mut self,
        replica: &mut R,
        progress: &dyn Fn(Progress),
    ) -> Result<(Walked<S::Segment>, Row, Recovered), RecoveryError> {
        let segments = self.headers.iter().map(|h| h.segment_bytes).sum::<u64>();
        let loaded_bytes = self.checkpoint().map_or(0, |info| info.bytes);
        let mut teller = Teller::new(progress, loaded_bytes.saturating_add(segments));
        let loaded = self.chosen.load(&self.storage, replica, &mut teller)?;
        let names = Names::of(&self.storage, &self.headers);
        let mut feed = Feed::new(replica, &names, &self.headers, teller);
        let first = self.headers.first().map_or(0, |h| h.base);
        let from = self.chosen.from;
        let walked =
            scan::walk(&mut self.storage, &self.headers, from, &mut |segment, batch, body| {
                let read = batch.position.0.saturating_sub(first);
                feed.batch(segment, batch, body, loaded_bytes.saturating_add(read))
            })?;
        let records = feed.finish()?;
        let batches = feed.batches;
        let row = refuse_damage(&names, &self.headers, &walked)?;
        let recovered = Recovered {
            records,
            batches,
            segments: self.headers.len(),
            end: walked.chain.end,
            last_time: walked.chain.time,
            epoch: walked.chain.epoch.saturating_add(1),
            torn: None,
            checkpoint: self.checkpoint(),
            loaded,
            keep_from: self.checkpoint().map_or(Position(0), |info| info.keep_from),
            warnings: self.chosen.warnings.clone(),
        };
        Ok((walked, row, recovered))
    }
}

impl<S: Storage> Recovering<S> {
    /// Replays the checkpoint and every record after it, decides about the end,
    /// makes it clean and durable, and begins a new epoch. `clock` is the time
    /// now; `progress` is called every few megabytes.
    pub fn recover(
        mut self,
        clock: Time,
        replica: &mut impl Replica,
        progress: &dyn Fn(Progress),
    ) -> Result<(Journal<S>, Recovered), RecoveryError> {
        let (walked, row, mut recovered) = self.feed(replica, progress)?;
        replica
            .finish()
            .map_err(|misfit| RecoveryError::Unsound { place: self.storage.place(), misfit })?;
        let journal = self.restart(walked, row, clock, &mut recovered)?;
        Ok((journal, recovered))
    }

    /// The same for a caller that takes records one by one and no checkpoint.
    pub fn replay(
        self,
        clock: Time,
        apply: impl FnMut(&Record) -> Result<(), Misfit>,
    ) -> Result<(Journal<S>, Recovered), RecoveryError> {
        self.recover(clock, &mut OneByOne(apply), &|_| {})
    }

    /// From here on the disk is written: recovery has decided.
    fn restart(
        mut self,
        mut walked: Walked<S::Segment>,
        row: Row,
        clock: Time,
        recovered: &mut Recovered,
    ) -> Result<Journal<S>, RecoveryError> {
        // Everything from D on may be in the page cache only.
        let from = scan::first_after(&self.headers, walked.findings.durable_upto);
        let place = self.storage.place();
        let failed = |error| RecoveryError::io(place, error);
        let synced = self.storage.sync_from(from).map_err(failed.clone())?;
        synced.map_err(|failed| not_durable(&mut self.storage, failed))?;
        self.storage.settle(&self.chosen.refused).map_err(failed)?;
        if let Row::TornTail { from } = row {
            recovered.torn = Some(cut(&mut self.storage, &mut walked, from)?);
        }
        let chain = walked.chain;
        // A journal goes on with the time that it knows. Whether the wall is to be
        // believed is decided when all shards are there, or a start that is refused
        // for its clock would have written that clock down.
        let clock = if chain.time > Time(0) { chain.time } else { clock };
        let mut tail = walked.tail.into_iter();
        let (segment, sequence, base) = match tail.next() {
            Some((header, opened)) => (opened, header.sequence, header.base),
            None => (self.storage.next(1, 0, clock)?, 1, 0),
        };
        drop(tail); // later segments are opened again when their turn comes
        let at = walked.stop;
        let start = Start { segment, sequence, base, at, chain, durability: self.durability };
        Ok(Journal::begin(self.storage, start, !self.headers.is_empty(), clock)?)
    }
}

/// The file names of segments, taken before the storage is borrowed for long.
pub(super) struct Names {
    place: String,
    base: Vec<(u32, String)>,
}

impl Names {
    pub(super) fn of<S: super::Source>(source: &S, headers: &[SegmentHeader]) -> Self {
        let base = headers.iter().map(|h| (h.sequence, source.name(h.sequence))).collect();
        Self { place: source.place(), base }
    }

    pub(super) fn name(&self, sequence: u32) -> String {
        let found = self.base.iter().find(|(s, _)| *s == sequence);
        found.map_or_else(|| format!("segment {sequence}"), |(_, name)| name.clone())
    }
}

/// Reads the records of a valid batch and shows each with its position.
pub(super) fn each_record(
    names: &Names,
    segment: &SegmentHeader,
    batch: &BatchHeader,
    body: &[u8],
    apply: &mut dyn FnMut(Position, &Record) -> Result<(), Misfit>,
) -> Result<(), RecoveryError> {
    let seed = seed_of(u64::from(segment.sequence));
    let first = Position(batch.position.0.saturating_add(widen(super::BATCH_HEADER_BYTES)));
    let (mut rest, mut at, mut count) = (body, first, 0_u32);
    let unreadable = || RecoveryError::UnreadableRecord {
        file: names.name(segment.sequence),
        offset: scan::offset_of(segment, batch.position),
    };
    while !rest.is_empty() {
        let (length, record) = record::decode(rest, seed).map_err(|_| unreadable())?;
        apply(at, &record).map_err(|misfit| RecoveryError::Misfit {
            file: names.name(segment.sequence),
            offset: scan::offset_of(segment, at),
            position: at,
            misfit,
        })?;
        rest = rest.get(length..).unwrap_or_default();
        at = Position(at.0.saturating_add(widen(length)));
        count = count.saturating_add(1);
    }
    if count == batch.records { Ok(()) } else { Err(unreadable()) }
}

/// Decides; the rows that refuse become errors.
pub(super) fn refuse_damage<T>(
    names: &Names,
    headers: &[SegmentHeader],
    walked: &Walked<T>,
) -> Result<Row, RecoveryError> {
    let found = &walked.findings;
    let place = |position| {
        scan::segment_at(headers, position).map_or_else(
            || (names.place.clone(), 0),
            |h| (names.name(h.sequence), scan::offset_of(h, position)),
        )
    };
    match decide(found) {
        Row::Faulty(fault) => Err(RecoveryError::faulty(place(found.end).0, fault)),
        Row::DamageBelowCommitted => {
            let (file, offset) = place(first_invalid(walked));
            let (end, committed) = (found.end, found.durable_upto);
            Err(RecoveryError::DamageBelowCommitted { file, offset, end, committed })
        }
        Row::EndsBeforeCheckpoint => {
            let (end, checkpoint_end) = (found.end, found.checkpoint_end);
            Err(RecoveryError::EndsBeforeCheckpoint { file: place(end).0, end, checkpoint_end })
        }
        Row::DamageBeyondWindow => {
            let (file, offset) = place(found.stray.map_or(found.end, |stray| stray.position));
            Err(RecoveryError::DamageBeyondWindow { file, offset, end: found.end })
        }
        row @ (Row::TornTail { .. } | Row::StaleBytes | Row::CleanEnd) => Ok(row),
    }
}

/// Where the first batch that is not valid begins: after the prefix, or first
/// in the next segment where the prefix fills its own.
fn first_invalid<T>(walked: &Walked<T>) -> Position {
    let mut tail = walked.tail.iter().map(|(header, _)| header.base);
    let after = Position::of(tail.next().unwrap_or(0), walked.stop);
    match (tail.next(), walked.findings.leftover) {
        (Some(base), Some(Leftover::Bytes(first))) if first.0 >= base => {
            Position::of(base, PAGE_BYTES)
        }
        _ => after,
    }
}

/// What was read or cut may be in the cache only, and a sync that fails once succeeds
/// the next time: the note keeps the start after this one from believing the cache.
#[cold]
fn not_durable(storage: &mut impl Storage, failed: CommitFailed) -> RecoveryError {
    if !is_planted(Bug::StaleStartTrusted) {
        storage.note_failed_sync(&failed);
    }
    failed.into()
}

/// Zeroes every page after the prefix that is not zero, durably.
fn cut<S: Storage>(
    storage: &mut S,
    walked: &mut Walked<S::Segment>,
    from: Position,
) -> Result<TornTail, RecoveryError> {
    let mut torn = TornTail { position: from, bytes: 0, file: String::new() };
    let mut start = walked.stop;
    for (header, segment) in &mut walked.tail {
        let left: Vec<usize> =
            scan::pages_left(segment.bytes(), start).map(|(offset, _)| offset).collect();
        start = PAGE_BYTES;
        let (Some(&first), Some(&last)) = (left.first(), left.last()) else { continue };
        if torn.file.is_empty() {
            torn.file = storage.name(header.sequence);
        }
        for &offset in &left {
            if let Some(page) = segment.bytes_mut().get_mut(offset..offset + PAGE_BYTES) {
                page.fill(0);
            }
        }
        torn.bytes += widen(left.len() * PAGE_BYTES);
        let synced = segment.sync(first..last + PAGE_BYTES);
        synced.map_err(|error| {
            let (file, reason) = (storage.name(header.sequence), error.to_string());
            not_durable(storage, CommitFailed { file, offset: widen(first), reason })
        })?;
    }
    Ok(torn)
}
