//! Where the pages are whose numbers do not stand in line.
//!
//! An open-addressing table of one word an entry. The directory asks it for
//! what its own runs do not have. Entries are never removed.

use super::class::PageKey;
use super::words::{high, index, index_of_word, low, pair};
use crate::memory::Words;

/// Multiplying by 2^64/φ spreads consecutive keys evenly over the top bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The table: `arena page + 1` in the low half, the key in the high half; 0 is
/// an empty entry.
pub(super) struct Strays {
    entries: Words,
    shift: u32,
}

impl Strays {
    fn entries_for(pages: u32) -> usize {
        (2 * index(pages)).next_power_of_two().max(2)
    }

    /// The bytes that [`Strays::new`] reserves.
    pub(super) fn bytes(pages: u32) -> usize {
        Words::bytes_for(Self::entries_for(pages))
    }

    /// A table with room for every page of an arena, never more than half full:
    /// whatever numbers pages have, they are found.
    pub(super) fn new(pages: u32) -> Self {
        let entries = Words::zeroed(Self::entries_for(pages));
        let shift = u64::BITS - entries.len().trailing_zeros();
        Self { entries, shift }
    }

    #[inline]
    fn first(&self, key: PageKey) -> usize {
        index_of_word(u64::from(key.0).wrapping_mul(SPREAD) >> self.shift)
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }

    /// The arena page of a key.
    #[inline(never)]
    pub(super) fn find(&self, key: PageKey) -> Option<u32> {
        let entries: &[u64] = &self.entries;
        let mut at = self.first(key);
        loop {
            // Always there; said so that it needs no second check.
            let entry = *entries.get(at)?;
            if high(entry) == key.0 && entry != 0 {
                return Some(low(entry) - 1);
            }
            if entry == 0 {
                return None;
            }
            at = (at + 1) & (entries.len() - 1);
        }
    }

    /// Adds a key that is not there yet.
    pub(super) fn insert(&mut self, key: PageKey, page: u32) {
        let mut at = self.first(key);
        while self.entries[at] != 0 {
            at = self.after(at);
        }
        self.entries[at] = pair(page + 1, key.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::mix;
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_stray_is_found_and_no_other_key() {
        let pages = if cfg!(miri) { 30 } else { 1000 };
        let mut strays = Strays::new(pages);
        let mut twin = HashMap::new();
        for page in 0..pages {
            let key = low(mix(u64::from(page)));
            strays.insert(PageKey(key), page);
            twin.insert(key, page);
        }
        for (&key, &page) in &twin {
            assert_eq!(strays.find(PageKey(key)), Some(page));
            assert_eq!(strays.find(PageKey(key ^ 1)), twin.get(&(key ^ 1)).copied());
        }
    }

    #[test]
    fn it_is_never_more_than_half_full() {
        for pages in 0..300 {
            let strays = Strays::new(pages);
            assert!(strays.entries.len() >= 2 * index(pages).max(1));
            assert_eq!(Strays::bytes(pages), 8 * strays.entries.len());
        }
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        assert_eq!(Strays::new(0).find(PageKey(0)), None);
    }
}
