//! The size classes of envelopes: how many shares fit a block of which size.
//!
//! Class c = 0..=7 is a block of 64·2^c bytes that holds the header and all
//! claims. Class 8, large, is a block of 64 bytes whose claims are in a run of
//! pages of its own. The class is in the id, so a block is found from the id
//! alone. Nothing here touches memory.

use super::arena::PAGE_WORDS;
use super::header::HEADER_WORDS;
use super::words::{buckets_for, index, low};

/// How many classes there are.
pub(super) const CLASSES: usize = 9;

const LARGE: u32 = 8;

/// log2 of the 64-bit words of the smallest block: one cache line.
const LINE_SHIFT: u32 = 3;

/// Bits of a slot that count within partition and class.
const INDEX_BITS: u32 = 28;

/// log2 of the pages that one partition and class can have: the directory's
/// key has so many bits for them.
const PAGE_NO_BITS: u32 = 20;

/// A size class; see the module's head. Slots have room for names 9..=15, too,
/// which no envelope ever gets; the directory knows none of their pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u32);

impl Class {
    /// The smallest class that holds so many shares.
    pub(super) fn of_shares(shares: u32) -> Self {
        let holds = |class: &u32| index(shares) <= Self(*class).capacity();
        Self((0..LARGE).find(holds).unwrap_or(LARGE))
    }

    /// Shares that fit inline.
    fn capacity(self) -> usize {
        ((1 << self.block_shift()) - HEADER_WORDS) / 2
    }

    /// log2 of a block's words. Large is 8, so its three low bits already say
    /// that its blocks are one line.
    #[inline]
    fn block_shift(self) -> u32 {
        LINE_SHIFT + self.0 % LARGE
    }

    /// Whether the claims are in a run of their own.
    #[inline]
    pub(super) fn is_large(self) -> bool {
        self.0 == LARGE
    }

    /// The place in tables by class.
    pub(super) fn number(self) -> usize {
        index(self.0)
    }

    /// The block that a slot names, if it is within the bits of the directory.
    #[inline]
    pub(super) fn block_of(slot: u32) -> Option<Block> {
        let class = Self(slot >> INDEX_BITS);
        let index_in_class = slot & ((1 << INDEX_BITS) - 1);
        let position = u64::from(index_in_class) << class.block_shift();
        if position >> PAGE_NO_BITS >= PAGE_WORDS_64 {
            return None;
        }
        let (page_no, offset) = (low(position / PAGE_WORDS_64), low(position % PAGE_WORDS_64));
        Some(Block { class, index: index_in_class, page_no, offset: index(offset) })
    }

    /// The block of an index within partition and class, while the bits of
    /// slot and directory last.
    pub(super) fn block(self, index_in_class: u32) -> Option<Block> {
        if index_in_class >> INDEX_BITS != 0 {
            return None;
        }
        Self::block_of(self.0 << INDEX_BITS | index_in_class)
    }
}

/// [`PAGE_WORDS`] as positions are counted.
const PAGE_WORDS_64: u64 = 8192;

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
        self.class.0 << INDEX_BITS | self.index
    }

    /// The directory's key of its page. Of `partition` the low 8 bits count.
    #[inline]
    pub(super) fn page_key(&self, partition: u32) -> u32 {
        partition << 24 | self.class.0 << PAGE_NO_BITS | self.page_no
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
        for (class, capacity) in (0_u32..).zip(capacities) {
            assert_eq!(Class::of_shares(capacity), Class(class));
            assert_eq!(Class::of_shares(capacity + 1), Class(class + 1));
        }
        assert!(Class::of_shares(u32::MAX).is_large());
    }

    #[test]
    fn blocks_tile_their_page_and_slots_name_them() {
        assert_eq!(u64::try_from(PAGE_WORDS).unwrap(), PAGE_WORDS_64);
        for class in (0..=LARGE).map(Class) {
            let block_words = 1 << class.block_shift();
            let per_page = u32::try_from(PAGE_WORDS / block_words).unwrap();
            for number in [0, 1, per_page - 1, per_page, 5 * per_page + 3] {
                let block = class.block(number).unwrap();
                let again = Class::block_of(block.slot()).unwrap();
                assert_eq!((again.index, again.class), (number, class));
                assert_eq!(block.page_no, number / per_page);
                assert_eq!(block.offset, index(number % per_page) * block_words);
                assert_eq!(block.is_first_of_page(), number % per_page == 0);
            }
        }
    }

    #[test]
    fn names_beyond_the_bits_name_nothing() {
        assert!(Class(0).block(1 << INDEX_BITS).is_none());
        assert!(Class(7).block(1 << (PAGE_NO_BITS + 3)).is_none());
        assert!(Class(7).block((1 << (PAGE_NO_BITS + 3)) - 1).is_some());
    }
}
