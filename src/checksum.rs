//! The one checksum of the journal: crc32c, seeded, so that the same bytes in
//! another segment do not pass.

/// crc32c of `bytes`, continued from `seed` (any 32-bit value).
pub fn crc32c_seeded(seed: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, bytes)
}

/// Folds a segment sequence into a checksum seed.
///
/// Recycled segments hold old records under a lower sequence; with the
/// sequence in the seed those stale bytes fail their checksum.
pub fn seed_of(sequence: u64) -> u32 {
    crc32c_seeded(0x6862_6f31, &sequence.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_of_crc32c() {
        assert_eq!(crc32c_seeded(0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn same_bytes_in_another_segment_do_not_pass() {
        assert_ne!(crc32c_seeded(seed_of(1), b"claim"), crc32c_seeded(seed_of(2), b"claim"));
    }
}
