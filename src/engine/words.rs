//! Words, halves of words and places in tables.
//!
//! The engine's tables are arrays of 64-bit words. This room has the only
//! conversions between the widths, each lossless where it is used; it knows
//! nothing of what the words mean.

/// A 32-bit number as a place in a table. Lossless wherever the server runs
/// (64-bit targets); elsewhere a place that no table has.
#[inline]
pub fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A 64-bit number as a place in a table, like [`index`].
#[inline]
pub(super) fn index_of_word(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A table's length or place as the 32 bits it is kept in. Every table is
/// sized from 32-bit numbers, so nothing is ever cut off here.
#[inline]
pub(super) fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The low half of a word.
#[inline]
pub(super) fn low(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The high half of a word.
#[inline]
pub(super) fn high(word: u64) -> u32 {
    u32::try_from(word >> 32).unwrap_or(u32::MAX)
}

/// The word of two halves.
#[inline]
pub(super) fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// How many buckets an open-addressing table of at most `entries` entries
/// gets: a power of two, at least one and a half times as many, and always
/// one more, so that every search meets an empty bucket.
#[inline]
pub(super) fn buckets_for(entries: u32) -> usize {
    let entries = index(entries);
    (entries + entries / 2 + 1).next_power_of_two()
}

/// The bucket that a search for `hash` begins at; `buckets` is a power of two.
#[inline]
pub(super) fn first_bucket(hash: u64, buckets: usize) -> usize {
    index_of_word(hash) & (buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_make_the_word_again() {
        let word = 0x0123_4567_89ab_cdef;
        assert_eq!(pair(low(word), high(word)), word);
        assert_eq!((low(word), high(word)), (0x89ab_cdef, 0x0123_4567));
    }

    #[test]
    fn a_full_table_still_has_an_empty_bucket() {
        for entries in 0..2000 {
            let buckets = buckets_for(entries);
            assert!(buckets > index(entries) && buckets.is_power_of_two());
            assert!(2 * buckets >= 3 * index(entries), "searches stay short");
        }
    }
}
