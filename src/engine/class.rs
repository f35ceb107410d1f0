//! The size classes of envelopes: how many shares fit a block of which size.
//!
//! Class c = 0..=7 is a block of 64·2^c bytes that holds the header and all
//! claims. Class 8, large, is a block of 64 bytes whose claims are in a run of
//! pages of its own. The class is in the id, so a block is found from the id
//! alone. Nothing here touches memory.

use super::arena::PAGE_WORDS;
use super::header::HEADER_WORDS;
use super::words::{buckets_for, index};

/// How many classes there are.
pub(super) const CLASSES: usize = 9;

const LARGE: u8 = 8;

/// 64-bit words of the smallest block: one cache line.
const LINE_WORDS: usize = 8;

/// Bits of a slot that count within partition and class.
const INDEX_BITS: u32 = 28;

/// Pages that one partition and class can have: the directory's key has 20
/// bits for them.
const PAGES_MAX: u32 = 1 << 20;

/// A size class; see the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// The smallest class that holds so many shares.
    pub(super) fn of_shares(shares: u32) -> Self {
        let holds = |class: &u8| index(shares) <= Self(*class).capacity();
        Self((0..LARGE).find(holds).unwrap_or(LARGE))
    }

    /// Shares that fit inline.
    fn capacity(self) -> usize {
        (self.block_words() - HEADER_WORDS) / 2
    }

    #[inline]
    fn block_words(self) -> usize {
        if self.is_large() { LINE_WORDS } else { LINE_WORDS << self.0 }
    }

    /// log2 of the blocks in a page.
    #[inline]
    fn page_shift(self) -> u32 {
        if self.is_large() { 10 } else { 10 - u32::from(self.0) }
    }

    /// Whether the claims are in a run of their own.
    #[inline]
    pub(super) fn is_large(self) -> bool {
        self.0 == LARGE
    }

    /// The place in tables by class.
    pub(super) fn number(self) -> usize {
        usize::from(self.0)
    }

    /// The block that a slot names, if any has that name.
    #[inline]
    pub(super) fn block_of(slot: u32) -> Option<Block> {
        let class = u8::try_from(slot >> INDEX_BITS).ok().filter(|&class| class <= LARGE)?;
        Self(class).block(slot & ((1 << INDEX_BITS) - 1))
    }

    /// The block of an index within partition and class, while the bits of
    /// slot and directory last.
    #[inline]
    pub(super) fn block(self, index_in_class: u32) -> Option<Block> {
        let shift = self.page_shift();
        let (page_no, within) = (index_in_class >> shift, index_in_class & ((1 << shift) - 1));
        if index_in_class >> INDEX_BITS != 0 || page_no >= PAGES_MAX {
            return None;
        }
        let offset = index(within) * self.block_words();
        Some(Block { class: self, index: index_in_class, page_no, offset })
    }
}

/// A block by its name: where it is once its page is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Its class.
    pub(super) class: Class,
    /// Its number within partition and class.
    index: u32,
    page_no: u32,
    /// Words from the beginning of its page.
    pub(super) offset: usize,
}

impl Block {
    /// The slot of the envelope id.
    pub(super) fn slot(&self) -> u32 {
        u32::from(self.class.0) << INDEX_BITS | self.index
    }

    /// The directory's key of its page.
    #[inline]
    pub(super) fn page_key(&self, partition: u8) -> u32 {
        u32::from(partition) << 24 | u32::from(self.class.0) << 20 | self.page_no
    }

    /// Whether it is the first of its page, which therefore is yet to be had.
    pub(super) fn is_first_of_page(&self) -> bool {
        self.offset == 0
    }
}

/// The pages that the claims of a large envelope take: users, metas, and a
/// hash index of two buckets a word.
pub(super) fn run_pages(shares: u32) -> usize {
    (2 * index(shares) + buckets_for(shares) / 2).div_ceil(PAGE_WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_go_to_the_smallest_class_that_holds_them() {
        let capacities = [1, 5, 13, 29, 61, 125, 253, 509];
        for (class, capacity) in (0_u8..).zip(capacities) {
            assert_eq!(Class::of_shares(capacity), Class(class));
            assert_eq!(Class::of_shares(capacity + 1), Class(class + 1));
        }
        assert!(Class::of_shares(u32::MAX).is_large());
    }

    #[test]
    fn blocks_tile_their_page_and_slots_name_them() {
        for class in (0..=LARGE).map(Class) {
            let per_page = 1 << class.page_shift();
            assert_eq!(index(per_page) * class.block_words(), PAGE_WORDS);
            for number in [0, 1, per_page - 1, per_page, 5 * per_page + 3] {
                let block = class.block(number).unwrap();
                let again = Class::block_of(block.slot()).unwrap();
                assert_eq!((again.index, again.class), (number, class));
                assert_eq!(block.is_first_of_page(), number % per_page == 0);
            }
        }
    }

    #[test]
    fn slots_beyond_the_bits_name_nothing() {
        assert!(Class::block_of(9 << INDEX_BITS).is_none());
        assert!(Class::block_of(u32::MAX).is_none());
        assert!(Class(0).block(1 << INDEX_BITS).is_none());
        assert!(Class(7).block(PAGES_MAX << 3).is_none());
        assert!(Class(7).block((PAGES_MAX << 3) - 1).is_some());
    }
}
