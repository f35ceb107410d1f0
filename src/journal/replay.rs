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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Claimed;
    use crate::journal::Identity;
    use crate::journal::simulated::Disk;
    use crate::units::{EnvelopeId, Time, UserId};

    /// How many records each group had.
    struct Groups(Vec<usize>);

    impl Replica for Groups {
        fn load(&mut self, _slice: &[u8]) -> Result<u64, Unfit> {
            Ok(0)
        }

        fn apply(&mut self, records: &[(Position, Record)]) -> Result<(), (Position, Misfit)> {
            self.0.push(records.len());
            Ok(())
        }
    }

    const SEGMENT: SegmentHeader = SegmentHeader {
        identity: Identity { cell: 1, shard: 0, shards: 1 },
        sequence: 1,
        base: 0,
        segment_bytes: 1 << 20,
    };

    /// Feeds a batch of so many records that says it has `said`, twice.
    fn fed(records: usize, said: u32) -> (Vec<usize>, Result<u64, RecoveryError>) {
        let (envelope, user) = (EnvelopeId::new(1, 2, 3, 4), UserId(5));
        let record = Record::Claimed(Claimed { envelope, user, amount: 1, rank: 0, at: 9 });
        let body = record::bytes_of_record(&record, seed_of(1)).repeat(records);
        let batch = BatchHeader {
            checksum: 0,
            body_checksum: 0,
            previous: 0,
            body_bytes: u32::try_from(body.len()).unwrap(),
            records: said,
            epoch: 1,
            sequence: 1,
            unsynced: false,
            batch: 1,
            position: Position(4096),
            time: Time(7),
            durable_upto: Position(0),
        };
        let names = Names::of(&Disk::new(SEGMENT.identity, 1 << 20).storage(), &[SEGMENT]);
        let (mut groups, headers) = (Groups(Vec::new()), [SEGMENT]);
        let teller = Teller::new(&|_| {}, 1 << 20);
        let mut feed = Feed::new(&mut groups, &names, &headers, teller);
        let all = (0..2).try_for_each(|_| feed.batch(&SEGMENT, &batch, &body, 0));
        let all = all.and_then(|()| feed.finish());
        (groups.0, all)
    }

    #[test]
    fn records_come_in_groups_whatever_batch_they_are_of() {
        let (groups, all) = fed(700, 700);
        assert_eq!(groups, [GROUP_RECORDS_MAX, GROUP_RECORDS_MAX, 376]);
        assert_eq!(all.unwrap(), 1400);
    }

    #[test]
    fn a_batch_whose_records_are_not_as_many_as_it_says_cannot_be_read() {
        for said in [0, 1, 3] {
            let error = fed(2, said).1.unwrap_err();
            assert!(
                matches!(error, RecoveryError::UnreadableRecord { offset: 4096, .. }),
                "{error}"
            );
        }
    }
}
