//! Segments of batches whose checksums hold and whose meaning may be anything.

use std::sync::OnceLock;

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

/// Segments with nothing but their header pages.
fn empty() -> &'static [Vec<u8>; SEGMENTS] {
    static EMPTY: OnceLock<[Vec<u8>; SEGMENTS]> = OnceLock::new();
    EMPTY.get_or_init(|| {
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
    })
}

/// Where the forger stands: what the next batch must say to be believed.
struct Forger {
    segments: [Vec<u8>; SEGMENTS],
    segment: usize,
    offset: usize,
    batch: u64,
    checksum: u32,
    end: u64,
}

impl Forger {
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
        let mut batch = self.header(body.len(), wants(wish, 2));
        batch.extend_from_slice(body);
        if !wants(wish, 3) {
            records::seal(&mut batch[HEADER_BYTES..], seed);
        }
        let body_crc = crc32c_seeded(seed, &batch[HEADER_BYTES..]);
        batch[4..8].copy_from_slice(&body_crc.to_le_bytes());
        bytes.patch(&mut batch[4..HEADER_BYTES]);
        let checksum = crc32c_seeded(seed, &batch[4..HEADER_BYTES]);
        batch[..4].copy_from_slice(&checksum.to_le_bytes());
        if wants(wish, 4) {
            bytes.patch(&mut batch);
        }
        let segment = &mut self.segments[self.segment][self.offset..];
        let fits = batch.len().min(segment.len());
        segment[..fits].copy_from_slice(&batch[..fits]);
        if !wants(wish, 5) {
            self.batch += 1;
            self.checksum = checksum;
            self.end = self.position() + u64::try_from(batch.len()).unwrap();
        }
        self.offset = (self.offset + batch.len()).next_multiple_of(PAGE_BYTES);
    }

    fn header(&self, body_bytes: usize, unsynced: bool) -> Vec<u8> {
        let body_bytes = u32::try_from(body_bytes).unwrap();
        let sequence = u32::try_from(self.segment + 1).unwrap();
        let halves = [0, 0, self.checksum, body_bytes, body_bytes / 32, 1, sequence];
        let mut header: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        header.extend(u32::from(unsynced).to_le_bytes());
        for word in [self.batch + 1, self.position(), 1000, self.end] {
            header.extend(word.to_le_bytes());
        }
        header
    }
}

/// What the fuzzer's journal recovers to, if it is not refused.
pub fn forged(bytes: &[u8]) -> Option<Records> {
    let segments = empty().clone();
    let mut forger =
        Forger { segments, segment: 0, offset: PAGE_BYTES, batch: 0, checksum: 0, end: 0 };
    let mut bytes = Bytes(bytes);
    while !bytes.is_empty() {
        forger.batch(&mut bytes);
    }
    recover(Media::of(&forger.segments.each_ref().map(Vec::as_slice))).ok()
}

/// Recovery reads any batches without panic, and says the same of them again;
/// records lie in order, one after another.
pub fn segments(bytes: &[u8]) {
    if let Some(records) = forged(bytes) {
        assert!(records.is_sorted_by_key(|(end, _)| *end));
    }
}
