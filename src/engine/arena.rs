//! The one block of memory that envelopes and their claims live in.
//!
//! It is taken once, zeroed by the system; this room gives out no pages (that
//! is `buddy`) and knows nothing of envelopes.

use zerocopy::IntoBytes;

use super::words::index;
use crate::memory::Words;

/// 64-bit words of one page of the arena: 64 KiB.
pub(super) const PAGE_WORDS: usize = 1 << PAGE_SHIFT;

/// log2 of [`PAGE_WORDS`].
pub(super) const PAGE_SHIFT: u32 = 13;

/// The most pages of an arena: page and slot are one 32-bit reference, and the
/// highest references mean other things (see `wheel`). Nearly 256 GiB.
pub(super) const PAGES_MAX: u32 = (1 << 22) - 256;

/// Users that a scan compares at a time; the last may reach so far beyond the
/// last block.
pub(super) const SCAN_WORDS: usize = 8;

/// Zeroed words, addressed absolutely: every place begins with
/// [`Arena::page_at`]. They begin at a page of the machine, so a block of a
/// power of two up to 4 KiB never crosses one, and a header never crosses a
/// cache line.
pub(super) struct Arena {
    words: Words,
}

impl Arena {
    /// How many pages fit in `bytes`.
    pub(super) fn pages_in(bytes: usize) -> u32 {
        u32::try_from(bytes / (8 * PAGE_WORDS)).unwrap_or(u32::MAX).min(PAGES_MAX)
    }

    /// The bytes that [`Arena::new`] reserves.
    pub(super) fn bytes(pages: u32) -> usize {
        8 * (index(pages) * PAGE_WORDS + SCAN_WORDS)
    }

    /// An arena of zeroed pages.
    pub(super) fn new(pages: u32) -> Self {
        Self { words: Words::zeroed(index(pages) * PAGE_WORDS + SCAN_WORDS) }
    }

    /// Where a page begins.
    #[inline]
    pub(super) fn page_at(page: u32) -> usize {
        index(page) << PAGE_SHIFT
    }

    /// The word at a place.
    #[inline]
    pub(super) fn word(&self, at: usize) -> u64 {
        self.words[at]
    }

    /// Puts a word at a place.
    #[inline]
    pub(super) fn put(&mut self, at: usize, word: u64) {
        self.words[at] = word;
    }

    /// `N` words from a place, if the arena reaches that far.
    #[inline]
    pub(super) fn chunk<const N: usize>(&self, at: usize) -> Option<&[u64; N]> {
        self.words.get(at..)?.first_chunk()
    }

    /// Puts `N` words at a place.
    #[inline]
    pub(super) fn put_chunk<const N: usize>(&mut self, at: usize, words: &[u64; N]) {
        self.words[at..at + N].copy_from_slice(words);
    }

    /// Some words from a place.
    pub(super) fn words(&self, at: usize, count: usize) -> &[u64] {
        &self.words[at..at + count]
    }

    /// The bytes of some words from a place, to be written over.
    pub(super) fn bytes_mut(&mut self, at: usize, count: usize) -> &mut [u8] {
        self.words[at..at + count].as_mut_bytes()
    }

    /// Makes some words from a place zero again.
    pub(super) fn zero(&mut self, at: usize, count: usize) {
        self.words[at..at + count].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reserves_what_it_says_and_has_whole_pages_up_to_nearly_256_gib() {
        for bytes in [0, 65_535, 65_536, 1 << 20] {
            let pages = Arena::pages_in(bytes);
            assert_eq!(index(pages), bytes / 65_536);
            assert_eq!(Arena::bytes(pages), size_of_val(&Arena::new(pages).words[..]));
        }
        assert_eq!(Arena::pages_in(usize::MAX), 4_194_048);
    }
}
