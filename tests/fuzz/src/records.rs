//! Records of the journal.

use hongbao::checksum::crc32c_seeded;
use hongbao::engine::Record;
use hongbao::journal::{bytes_of_record, record_of_bytes};

use super::Bytes;

/// The length of a kind, from `docs/JOURNAL.md`; any other kind is taken for short.
fn length_of(kind: u8) -> usize {
    match kind {
        17 | 20 => 24,
        3 | 4 | 6 | 18 | 19 => 40,
        5 | 7 => 48,
        8 => 80,
        2 => 88,
        _ => 32,
    }
}

/// Puts the checksums of the records in `body` right, as far as there are some.
pub fn seal(mut body: &mut [u8], seed: u32) {
    while body.len() >= 8 {
        let length = length_of(body[4]).min(body.len());
        let (record, rest) = body.split_at_mut(length);
        let crc = crc32c_seeded(seed, &record[4..]);
        record[..4].copy_from_slice(&crc.to_le_bytes());
        body = rest;
    }
}

/// Bytes that decode are again the same bytes, so no two records look alike.
pub fn records(bytes: &[u8]) {
    let _ = found(bytes);
}

/// The records that are read from these bytes.
pub fn found(bytes: &[u8]) -> Vec<Record> {
    let mut bytes = Bytes(bytes);
    let seed = u32::from(bytes.word());
    let mut body = bytes.0.to_vec();
    let _ = record_of_bytes(&body, seed);
    seal(&mut body, seed);
    let (mut rest, mut all) = (&body[..], Vec::new());
    while let Some((length, record)) = record_of_bytes(rest, seed) {
        assert_eq!(bytes_of_record(&record, seed), rest[..length]);
        assert!(record_of_bytes(rest, seed ^ 1).is_none());
        rest = &rest[length..];
        all.push(record);
    }
    all
}
