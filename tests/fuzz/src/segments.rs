//! Segments of batches whose checksums hold and whose meaning may be anything.

use std::cell::Cell;
use std::ops::Range;

use hongbao::checksum::{crc32c_seeded, seed_of};
use hongbao::engine::{Claimed, Record};
use hongbao::journal::Recovering;
use hongbao::journal::simulated::Disk;
use hongbao::limits::{PAGE_BYTES, SEGMENT_BYTES_MIN};
use hongbao::units::{Durability, EnvelopeId, Time, UserId};

use super::media::{Media, Records, US, recover};
use super::{Bytes, records};

const SEGMENTS: usize = 3;
const HEADER_BYTES: usize = 64;

type Segments = [Vec<u8>; SEGMENTS];

thread_local! {
    /// Empty segments for the next input. What an input wrote is made zero again:
    /// to copy all of them was most of what it cost.
    static EMPTY: Cell<Option<Segments>> = const { Cell::new(None) };
}

/// Segments with nothing but their header pages.
fn empty() -> Segments {
    let disk = Disk::new(US, SEGMENT_BYTES_MIN);
    let recovering = Recovering::open(disk.storage(), US, Durability::Sync).unwrap();
    let (mut journal, _) = recovering.replay(Time(1), |_| Ok(())).unwrap();
    let (envelope, user) = (EnvelopeId(1), UserId(1));
    let claim = Record::Claimed(Claimed { envelope, user, amount: 1, rank: 0, at: 1 });
    while journal.stats().rolls == 0 {
        journal.append(&claim, Time(1)).unwrap();
    }
    drop(journal);
    let mut segments: Vec<_> = disk.contents().into_values().collect();
    for segment in &mut segments {
        segment[PAGE_BYTES..].fill(0);
    }
    segments.try_into().unwrap()
}

/// Where the forger stands: what the next batch must say to be believed.
struct Forger {
    segments: Segments,
    written: Vec<(usize, Range<usize>)>,
    segment: usize,
    offset: usize,
    batch: u64,
    checksum: u32,
    end: u64,
}

impl Forger {
    fn new() -> Self {
        let segments = EMPTY.take().unwrap_or_else(empty);
        let (written, offset) = (Vec::new(), PAGE_BYTES);
        Self { segments, written, segment: 0, offset, batch: 0, checksum: 0, end: 0 }
    }

    /// Leaves the segments as it found them.
    fn clean(mut self) {
        for (segment, range) in self.written {
            self.segments[segment][range].fill(0);
        }
        EMPTY.set(Some(self.segments));
    }

    fn position(&self) -> u64 {
        u64::try_from(self.segment * SEGMENT_BYTES_MIN + self.offset).unwrap()
    }

    /// The next batch, as the fuzzer wants it.
    fn batch(&mut self, bytes: &mut Bytes<'_>) {
        let wants = |wish: u8, bit: u8| wish & 1 << bit != 0;
        let wish = bytes.byte();
        if wants(wish, 0) {
            self.offset += PAGE_BYTES;
        }
        if wants(wish, 1) || self.offset + PAGE_BYTES > SEGMENT_BYTES_MIN {
            (self.segment, self.offset) = ((self.segment + 1) % SEGMENTS, PAGE_BYTES);
        }
        let body = bytes.counted(8);
        let seed = seed_of(u64::try_from(self.segment + 1).unwrap());
        let header = self.header(body.len(), wants(wish, 2));
        let mut batch = [0; HEADER_BYTES + 8 * 255];
        let batch = &mut batch[..HEADER_BYTES + body.len()];
        batch[..HEADER_BYTES].copy_from_slice(&header);
        batch[HEADER_BYTES..].copy_from_slice(body);
        if !wants(wish, 3) {
            records::seal(&mut batch[HEADER_BYTES..], seed);
        }
        let body_crc = crc32c_seeded(seed, &batch[HEADER_BYTES..]);
        batch[4..8].copy_from_slice(&body_crc.to_le_bytes());
        bytes.patch(&mut batch[4..HEADER_BYTES]);
        let checksum = crc32c_seeded(seed, &batch[4..HEADER_BYTES]);
        batch[..4].copy_from_slice(&checksum.to_le_bytes());
        if wants(wish, 4) {
            bytes.patch(batch);
        }
        let end = (self.offset + batch.len()).min(SEGMENT_BYTES_MIN);
        let range = self.offset..end;
        self.segments[self.segment][range.clone()].copy_from_slice(&batch[..range.len()]);
        self.written.push((self.segment, range));
        if !wants(wish, 5) {
            self.batch += 1;
            self.checksum = checksum;
            self.end = self.position() + u64::try_from(batch.len()).unwrap();
        }
        self.offset = (self.offset + batch.len()).next_multiple_of(PAGE_BYTES);
    }

    fn header(&self, body_bytes: usize, unsynced: bool) -> [u8; HEADER_BYTES] {
        let body_bytes = u32::try_from(body_bytes).unwrap();
        let sequence = u32::try_from(self.segment + 1).unwrap();
        let flags = u32::from(unsynced);
        let halves = [0, 0, self.checksum, body_bytes, body_bytes / 32, 1, sequence, flags];
        let words = [self.batch + 1, self.position(), 1000, self.end];
        let mut header = [0; HEADER_BYTES];
        let (front, back) = header.split_at_mut(4 * halves.len());
        front.as_chunks_mut().0.iter_mut().zip(halves).for_each(|(to, n)| *to = n.to_le_bytes());
        back.as_chunks_mut().0.iter_mut().zip(words).for_each(|(to, n)| *to = n.to_le_bytes());
        header
    }
}

/// What the fuzzer's journal recovers to, if it is not refused.
pub fn forged(bytes: &[u8]) -> Option<Records> {
    let mut forger = Forger::new();
    let mut bytes = Bytes(bytes);
    while !bytes.is_empty() {
        forger.batch(&mut bytes);
    }
    let found = recover(Media::of(&forger.segments.each_ref().map(Vec::as_slice))).ok();
    forger.clean();
    found
}

/// Recovery reads any batches without panic, and says the same of them again;
/// records lie in order, one after another.
pub fn segments(bytes: &[u8]) {
    if let Some(records) = forged(bytes) {
        assert!(records.is_sorted_by_key(|(end, _)| *end));
    }
}
