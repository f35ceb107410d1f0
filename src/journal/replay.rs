//! What a replay feeds: the slices of a checkpoint, then records in groups.
//!
//! Groups let the taking side look ahead, so that its cache misses overlap, and
//! cost less than records one by one. Nothing here decides or writes.

use super::batch::{BATCH_HEADER_BYTES, BatchHeader};
use super::recovery::Names;
use super::refusal::RecoveryError;
use super::segment::SegmentHeader;
use super::{Position, record, scan, widen};
use crate::checksum::seed_of;
use crate::engine::{Misfit, Record};

/// Records in a group at most: about 50 KiB, so that a group stays in the
/// second-level cache until it is applied.
pub const GROUP_RECORDS_MAX: usize = 512;

/// Bytes between two words about the progress.
const PROGRESS_BYTES: u64 = 4 << 20;

/// Why a slice was refused, in the words of whoever took it.
pub type Unfit = Box<dyn std::error::Error + Send + Sync>;

/// What a checkpoint and a journal are replayed into.
pub trait Replica {
    /// Takes the next slice of the checkpoint and says how many things
    /// (envelopes) were in it. The slices were verified; they come in the order
    /// in which they were written.
    fn load(&mut self, slice: &[u8]) -> Result<u64, Unfit>;

    /// Takes the next records, each with the position after it, as
    /// [`super::Journal::append`] returned it. The first that does not fit is
    /// named by its position.
    fn apply(&mut self, records: &[(Position, Record)]) -> Result<(), (Position, Misfit)>;

    /// All of it was fed. Asked before anything is written, so that a state
    /// that contradicts itself refuses the start and changes nothing.
    fn finish(&mut self) -> Result<(), Misfit> {
        Ok(())
    }
}

/// How far a recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of the checkpoint and of segments that were read.
    pub bytes_done: u64,
    /// How many there are; segments count in full.
    pub bytes_total: u64,
    /// Records that were applied.
    pub records: u64,
}

/// A replica that takes records one by one and no checkpoint.
pub(super) struct OneByOne<F>(pub(super) F);

impl<F: FnMut(&Record) -> Result<(), Misfit>> Replica for OneByOne<F> {
    fn load(&mut self, _slice: &[u8]) -> Result<u64, Unfit> {
        Err("this replay takes no checkpoint".into())
    }

    fn apply(&mut self, records: &[(Position, Record)]) -> Result<(), (Position, Misfit)> {
        records.iter().try_for_each(|(end, record)| (self.0)(record).map_err(|m| (*end, m)))
    }
}

/// Gathers records into groups and tells the progress.
pub(super) struct Feed<'a, R> {
    replica: &'a mut R,
    names: &'a Names,
    headers: &'a [SegmentHeader],
    group: Vec<(Position, Record)>,
    teller: Teller<'a>,
    pub(super) batches: u64,
}

/// Tells the progress every few megabytes.
pub(super) struct Teller<'a> {
    tell: &'a dyn Fn(Progress),
    now: Progress,
    told: u64,
}

impl<'a> Teller<'a> {
    pub(super) fn new(tell: &'a dyn Fn(Progress), bytes_total: u64) -> Self {
        Self { tell, now: Progress { bytes_total, ..Progress::default() }, told: 0 }
    }

    pub(super) fn reached(&mut self, bytes_done: u64) {
        self.now.bytes_done = bytes_done.min(self.now.bytes_total);
        if self.now.bytes_done.saturating_sub(self.told) >= PROGRESS_BYTES {
            self.told = self.now.bytes_done;
            (self.tell)(self.now);
        }
    }

    fn all(&mut self) {
        self.now.bytes_done = self.now.bytes_total;
        (self.tell)(self.now);
    }
}

impl<'a, R: Replica> Feed<'a, R> {
    pub(super) fn new(
        replica: &'a mut R,
        names: &'a Names,
        headers: &'a [SegmentHeader],
        teller: Teller<'a>,
    ) -> Self {
        let group = Vec::with_capacity(GROUP_RECORDS_MAX);
        Self { replica, names, headers, group, teller, batches: 0 }
    }

    /// Takes the records of a valid batch; `done` bytes were read before it.
    pub(super) fn batch(
        &mut self,
        segment: &SegmentHeader,
        batch: &BatchHeader,
        body: &[u8],
        done: u64,
    ) -> Result<(), RecoveryError> {
        let seed = seed_of(u64::from(segment.sequence));
        let mut at = batch.position.0.saturating_add(widen(BATCH_HEADER_BYTES));
        let (mut rest, mut count) = (body, 0_u32);
        while !rest.is_empty() {
            let Ok((length, record)) = record::decode(rest, seed) else { break };
            at = at.saturating_add(widen(length));
            self.group.push((Position(at), record));
            if self.group.len() >= GROUP_RECORDS_MAX {
                self.flush()?;
            }
            rest = rest.get(length..).unwrap_or_default();
            count += 1;
        }
        if !rest.is_empty() || count != batch.records {
            return Err(RecoveryError::UnreadableRecord {
                file: self.names.name(segment.sequence),
                offset: scan::offset_of(segment, batch.position),
            });
        }
        self.batches += 1;
        self.teller.reached(done.saturating_add(widen(body.len())));
        Ok(())
    }

    /// Applies what was gathered.
    fn flush(&mut self) -> Result<(), RecoveryError> {
        let applied = self.replica.apply(&self.group);
        applied.map_err(|(end, misfit)| self.misfit(end, misfit))?;
        self.teller.now.records += widen(self.group.len());
        self.group.clear();
        Ok(())
    }

    /// Applies the rest; how many records there were in all.
    pub(super) fn finish(&mut self) -> Result<u64, RecoveryError> {
        self.flush()?;
        self.teller.all();
        Ok(self.teller.now.records)
    }

    /// The place of the record that ends at `end`.
    fn misfit(&self, end: Position, misfit: Misfit) -> RecoveryError {
        let found = self.group.iter().find(|(position, _)| *position == end);
        let bytes = found.map_or(0, |(_, record)| widen(record::encoded_bytes(record)));
        let position = Position(end.0.saturating_sub(bytes));
        let (file, offset) = scan::segment_at(self.headers, position)
            .map(|h| (self.names.name(h.sequence), scan::offset_of(h, position)))
            .unwrap_or_default();
        RecoveryError::Misfit { file, offset, position, misfit }
    }
}
