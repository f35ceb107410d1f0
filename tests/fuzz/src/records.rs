//! Records of the journal.

use hongbao::checksum::crc32c_seeded;
use hongbao::journal::{bytes_of_record, record_of_bytes};

use super::Bytes;

/// The lengths by kind, from `docs/JOURNAL.md`.
const LENGTHS: [usize; 8] = [32, 32, 88, 40, 40, 48, 40, 48];

/// Puts the checksums of the records in `body` right, as far as there are some.
pub fn seal(mut body: &mut [u8], seed: u32) {
    while body.len() >= 8 {
        let length = LENGTHS[usize::from(body[4] % 8)].min(body.len());
        let (record, rest) = body.split_at_mut(length);
        let crc = crc32c_seeded(seed, &record[4..]);
        record[..4].copy_from_slice(&crc.to_le_bytes());
        body = rest;
    }
}

/// Bytes that decode are again the same bytes, so no two records look alike.
pub fn records(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let seed = u32::from(bytes.word());
    let mut body = bytes.0.to_vec();
    let _ = record_of_bytes(&body, seed);
    seal(&mut body, seed);
    let mut rest = &body[..];
    while let Some((length, record)) = record_of_bytes(rest, seed) {
        assert_eq!(bytes_of_record(&record, seed), rest[..length]);
        assert!(record_of_bytes(rest, seed ^ 1).is_none());
        rest = &rest[length..];
    }
}
