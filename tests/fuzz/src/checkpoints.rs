//! Checkpoint files, and the images of an engine that lie in them.

use std::sync::{Arc, OnceLock};

use hongbao::checksum::crc32c_seeded;
use hongbao::engine::{Capacity, Engine, EnvelopeLimits, Restoring, SenderLimits};
use hongbao::journal::simulated::Disk;
use hongbao::journal::{Recovering, SLICE_BYTES_MAX};
use hongbao::limits::{PAGE_BYTES, SEGMENT_BYTES_MIN};
use hongbao::units::{Durability, Time};

use super::Bytes;
use super::media::{Found, Media, US};

const PAGE: usize = PAGE_BYTES;

/// A segment, and a checkpoint of one block with some slices.
fn whole() -> &'static (Vec<u8>, Vec<u8>) {
    static WHOLE: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let disk = Disk::new(US, SEGMENT_BYTES_MIN);
        let recovering = Recovering::open(disk.storage(), US, Durability::Sync).unwrap();
        let (journal, _) = recovering.replay(Time(1), |_| Ok(())).unwrap();
        let start = journal.checkpoint_start().unwrap();
        disk.checkpoint(start, start.position(), &[&[1; 40], &[2; 100], &[3; 4]]);
        drop(journal);
        let mut file = Vec::new();
        disk.alter_checkpoint(1, |bytes| file.clone_from(bytes));
        assert_eq!(file.len(), 3 * PAGE);
        (disk.contents().remove(&1).unwrap(), file)
    })
}

/// The checksum of a page whose own lies at 12.
fn seal_page(seed: u32, page: &mut [u8]) -> u32 {
    let crc = crc32c_seeded(crc32c_seeded(seed, &page[..12]), &page[16..]);
    page[12..16].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// A checkpoint with changes at any place, its checksums put right or not: a
/// start uses it whole, or goes back to the journal's beginning, or refuses.
pub fn checkpoints(bytes: &[u8]) {
    let (segment, file) = whole();
    let (mut bytes, mut file) = (Bytes(bytes), file.clone());
    let wish = bytes.byte();
    let wants = |bit: u8| wish & 1 << bit != 0;
    let (header, rest) = file.split_at_mut(PAGE);
    let (block, footer) = rest.split_at_mut(PAGE);
    for page in [&mut header[..72], &mut block[..256], &mut footer[..64]] {
        bytes.patch(page);
    }
    if wants(0) {
        let slices = bytes.counted(1);
        block[16..16 + slices.len()].copy_from_slice(slices);
    }
    if wants(1) {
        let seed = seal_page(0, header);
        let crc = crc32c_seeded(block_seed(seed), &block[4..]);
        block[..4].copy_from_slice(&crc.to_le_bytes());
        let blocks = crc32c_seeded(seed, &crc.to_le_bytes());
        footer[8..12].copy_from_slice(&blocks.to_le_bytes());
        seal_page(seed, footer);
    }
    if wants(2) {
        bytes.patch(&mut file);
    }
    if wants(3) {
        file.truncate(usize::from(bytes.word()) % (4 * PAGE));
    }
    let media = Media::of(&[segment]).with(vec![Arc::new(file)]);
    let mut found = Found::default();
    if let Ok(recovering) = Recovering::open(media, US, Durability::Sync) {
        let whole = recovering.checkpoint().is_some();
        let _ = recovering.read(&mut found, &|_| {});
        assert!(whole || found.slices.is_empty(), "slices of a damaged checkpoint");
        assert!(found.slices.iter().all(|slice| slice.len() <= SLICE_BYTES_MAX));
    }
}

/// crc32c of the block's number 0, continued from the header's crc.
fn block_seed(header: u32) -> u32 {
    crc32c_seeded(header, &0_u64.to_le_bytes())
}

/// What the small engines have room for. Every engine begins with zeros there.
pub const CAPACITY: Capacity = Capacity { envelopes: 64, table_bytes: 4 << 16, retention_s: 60 };

/// What the small engines allow.
pub const LIMITS: EnvelopeLimits = EnvelopeLimits {
    shares_max: 100,
    total_fen_max: 1_000_000,
    share_mean_fen_max: 20_000,
    lifetime_s_max: 3600,
    pay_within_s: 900,
    senders: SenderLimits::NONE,
};

/// Slices of any bytes, in pieces as [`image_of`] makes them: an engine takes them
/// over or refuses, and one that is whole adds up.
pub fn images(bytes: &[u8]) {
    if let Some(engine) = restored(bytes) {
        let totals = engine.totals();
        assert!(totals.funded >= totals.claimed + totals.refunded, "{totals:?}");
        let _ = engine.digest();
    }
}

/// The engine of these slices, where none is refused.
pub fn restored(bytes: &[u8]) -> Option<Engine> {
    let mut restoring = Restoring::new(US.cell, CAPACITY, LIMITS, 0, 1);
    let mut bytes = Bytes(bytes);
    let mut slice = Vec::new();
    while !bytes.is_empty() {
        slice.clear();
        let mut last = false;
        while !last && !bytes.is_empty() {
            let head = bytes.word();
            last = head & LAST != 0;
            slice.extend_from_slice(bytes.some(usize::from(head & !LAST)));
            slice.resize(slice.len() + usize::from(bytes.word()), 0);
        }
        restoring.load(&slice).ok()?;
    }
    restoring.finish().ok()
}

/// Set in the head of a slice's last piece.
const LAST: u16 = 1 << 15;

/// So many zeros are worth a piece's end.
const ZEROS_MIN: usize = 32;

/// The slices of a small engine's image. They are mostly zeros, which a corpus
/// need not hold: each is in pieces of `length 2 | bytes | zeros after it 2`.
pub fn image_of(engine: &mut Engine) -> Vec<u8> {
    let (mut all, mut slice) = (Vec::new(), Vec::new());
    let mut cursor = engine.begin_image();
    while engine.next_slice(&mut cursor, 0, &mut slice) {
        let mut rest = &slice[..];
        while !rest.is_empty() {
            let mut runs = rest.windows(ZEROS_MIN);
            let bytes = runs.position(|run| run == [0; ZEROS_MIN]).unwrap_or(rest.len());
            let bytes = bytes.min(usize::from(LAST - 1));
            let (piece, after) = rest.split_at(bytes);
            let zeros = after.iter().take_while(|byte| **byte == 0).count();
            let zeros = zeros.min(usize::from(u16::MAX));
            rest = &after[zeros..];
            let last = if rest.is_empty() { LAST } else { 0 };
            all.extend((u16::try_from(bytes).unwrap() | last).to_le_bytes());
            all.extend_from_slice(piece);
            all.extend(u16::try_from(zeros).unwrap().to_le_bytes());
        }
        slice.clear();
    }
    engine.end_image(cursor);
    all
}
