//! The size classes of envelopes: how many shares fit a block of which size,
//! and where the blocks of a page are.
//!
//! Class c = 0..=7 is a block of 64·2^c bytes that holds the header, all claims
//! and, behind them, the tail: the terms of an envelope that has some. Class 8, large, is a block of 64 bytes whose claims are in a run of
//! pages of its own. A page has blocks of one class from its beginning, and 48
//! bytes for the cold side of each backwards from its end. The class is in the
//! id, so a block is found from the id alone. Nothing here touches memory.

use super::arena::{PAGE_SHIFT, PAGE_WORDS};
use super::cold::COLD_WORDS;
use super::header::HEADER_WORDS;
use super::words::{buckets_for, index, low, narrow};

/// How many classes of small envelopes there are; also the number of large.
pub(super) const SMALL_CLASSES: u32 = 8;

const LARGE: u32 = SMALL_CLASSES;

/// log2 of the 64-bit words of the smallest block: one cache line.
const LINE_SHIFT: u32 = 3;

/// Bits of a slot of an id that count within partition and class.
const INDEX_BITS: u32 = 28;

/// log2 of the pages that one partition and class can have: a page's key has
/// so many bits for them.
const PAGE_NO_BITS: u32 = 20;

/// Bits of a slot within its page, in a [`SlotRef`].
const REF_SLOT_BITS: u32 = 10;

/// A size class; see the module's head. Ids have room for names 9..=15, too,
/// which no envelope ever gets: their pages have no slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u32);

/// Slots of a page, by class.
const SLOTS: [u32; 16] = {
    let mut slots = [0; 16];
    let mut class = 0;
    while class <= SMALL_CLASSES {
        let block_words = 1 << (LINE_SHIFT + class % LARGE);
        slots[class_index(class)] = PAGE_WORDS_32 / (block_words + COLD_WORDS_32);
        class += 1;
    }
    slots
};

/// Words of the hot side of a page, by class.
const HOT_WORDS: [u32; 16] = {
    let mut words = SLOTS;
    let mut class = 0;
    while class <= SMALL_CLASSES {
        words[class_index(class)] <<= LINE_SHIFT + class % LARGE;
        class += 1;
    }
    words
};

const PAGE_WORDS_32: u32 = 1 << PAGE_SHIFT;
const COLD_WORDS_32: u32 = 6;
const _: () = assert!(COLD_WORDS == 6);

/// `usize::from` is not const yet, and 16 classes are counted quickly.
const fn class_index(class: u32) -> usize {
    let (mut at, mut counted) = (0, 0);
    while counted < class {
        at += 1;
        counted += 1;
    }
    at
}

impl Class {
    /// The class of large envelopes.
    pub(super) const LARGE: Self = Self(LARGE);

    /// The smallest class that holds so many shares and a tail as long as so
    /// many more.
    pub(super) fn of(shares: u32, tail_rows: u32) -> Self {
        // The smallest c with 6 + 2·(shares + tail) <= 8·2^c words.
        let lines = (u64::from(shares) + u64::from(tail_rows) + 3).div_ceil(4);
        Self(lines.next_power_of_two().trailing_zeros().min(LARGE))
    }

    /// log2 of a block's words. Large is 8, so its three low bits already say
    /// that its blocks are one line.
    #[inline]
    pub(super) fn block_shift(self) -> u32 {
        LINE_SHIFT + self.0 % LARGE
    }

    /// Whether the claims are in a run of their own.
    #[inline]
    pub(super) fn is_large(self) -> bool {
        self.0 == LARGE
    }

    /// The number of the class.
    #[inline]
    pub(super) fn number(self) -> u32 {
        self.0
    }

    /// Slots of a page.
    #[inline]
    pub(super) fn slots(self) -> u32 {
        SLOTS[index(self.0 & 15)]
    }

    /// The block that an id's slot names, if there is one of that name. What
    /// lies behind the blocks of a page was told by senders, so it must never
    /// be taken for a header.
    #[inline]
    pub(super) fn block_of(id_slot: u32) -> Option<Block> {
        let class = Self(id_slot >> INDEX_BITS);
        let position = u64::from(id_slot & ((1 << INDEX_BITS) - 1)) << class.block_shift();
        let (page_no, offset) = (low(position >> PAGE_SHIFT), low(position) % PAGE_WORDS_32);
        let exists = offset < HOT_WORDS[index(class.0 & 15)] && page_no >> PAGE_NO_BITS == 0;
        exists.then_some(Block { class, page_no, offset: index(offset) })
    }

    /// The block of a slot of a numbered page, while the bits of the id last.
    pub(super) fn block(self, page_no: u32, slot: u32) -> Option<Block> {
        let position = u64::from(page_no) << PAGE_SHIFT | u64::from(slot) << self.block_shift();
        let index_in_class = position >> self.block_shift();
        if index_in_class >> INDEX_BITS != 0 || slot >= self.slots() {
            return None;
        }
        Self::block_of(self.0 << INDEX_BITS | low(index_in_class))
    }
}

/// A block by its name: where it is once its page is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Its class.
    pub(super) class: Class,
    /// The number of its page within partition and class.
    pub(super) page_no: u32,
    /// Words from the beginning of its page.
    pub(super) offset: usize,
}

impl Block {
    /// The slot of the envelope id.
    pub(super) fn id_slot(&self) -> u32 {
        let page_shift = PAGE_SHIFT - self.class.block_shift();
        self.class.0 << INDEX_BITS | self.page_no << page_shift | self.slot()
    }

    /// Which block of its page it is.
    pub(super) fn slot(&self) -> u32 {
        narrow(self.offset >> self.class.block_shift())
    }

    /// The name of its page. Of `partition` the low 8 bits count.
    #[inline]
    pub(super) fn page_key(&self, partition: u32) -> PageKey {
        PageKey(partition << 24 | self.class.0 << PAGE_NO_BITS | self.page_no)
    }
}

/// The name of a page of blocks: partition 8 | class 4 | number 20.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageKey(pub(super) u32);

impl PageKey {
    /// What a page that has no blocks is called: class 15 does not exist.
    pub(super) const NONE: Self = Self(u32::MAX);

    /// Whose envelopes are on it.
    pub(super) fn partition(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// The class of its blocks.
    #[inline]
    pub(super) fn class(self) -> Class {
        Class(self.0 >> PAGE_NO_BITS & 15)
    }

    /// Its number within partition and class.
    pub(super) fn page_no(self) -> u32 {
        self.0 & ((1 << PAGE_NO_BITS) - 1)
    }

    /// A block of it.
    pub(super) fn block(self, slot: u32) -> Option<Block> {
        self.class().block(self.page_no(), slot)
    }
}

/// Where an envelope is, in 32 bits: arena page and slot in the page. It is
/// what the engine's own tables and links hold; it never leaves the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotRef(pub(super) u32);

impl SlotRef {
    /// The reference of a slot of an arena page.
    #[inline]
    pub(super) fn new(page: u32, slot: u32) -> Self {
        Self(page << REF_SLOT_BITS | slot)
    }

    /// The arena page.
    #[inline]
    pub(super) fn page(self) -> u32 {
        self.0 >> REF_SLOT_BITS
    }

    /// The slot in the page.
    #[inline]
    pub(super) fn slot(self) -> u32 {
        self.0 & ((1 << REF_SLOT_BITS) - 1)
    }

    /// Where the cold side of the slot begins, in words.
    #[inline]
    pub(super) fn cold_at(self) -> usize {
        ((index(self.page()) + 1) << PAGE_SHIFT) - COLD_WORDS * (index(self.slot()) + 1)
    }
}

/// The words of users and metas of a large envelope, before its hash index.
pub(super) fn row_words(shares: u32) -> usize {
    2 * index(shares)
}

/// The words of the hash index of a large envelope: two buckets a word.
pub(super) fn index_words(shares: u32) -> usize {
    buckets_for(shares) / 2
}

/// The pages that the claims and the tail of a large envelope take.
pub(super) fn run_pages(shares: u32, tail_rows: u32) -> usize {
    (row_words(shares) + index_words(shares) + row_words(tail_rows)).div_ceil(PAGE_WORDS)
}

/// Shares that fit a block inline.
#[cfg(test)]
fn capacity(class: Class) -> usize {
    ((1 << class.block_shift()) - HEADER_WORDS) / 2
}

const _: () = assert!(HEADER_WORDS == 6); // said in `Class::of`

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_go_to_the_smallest_class_that_holds_them() {
        let capacities = [1, 5, 13, 29, 61, 125, 253, 509];
        for (class, shares) in (0_u32..).zip(capacities) {
            assert_eq!(capacity(Class(class)), index(shares));
            assert_eq!(Class::of(shares, 0), Class(class));
            assert_eq!(Class::of(shares + 1, 0), Class(class + 1));
            assert_eq!(Class::of(1, shares - 1), Class(class));
            assert_eq!(Class::of(1, shares), Class(class + 1));
        }
        assert!(Class::of(u32::MAX, u32::MAX).is_large());
    }

    #[test]
    fn blocks_and_cold_sides_fill_their_page_and_do_not_meet() {
        for class in (0..=LARGE).map(Class) {
            let block_words = 1 << class.block_shift();
            let slots = index(class.slots());
            assert!(slots * (block_words + COLD_WORDS) <= PAGE_WORDS);
            assert!((slots + 1) * (block_words + COLD_WORDS) > PAGE_WORDS);
            let last = SlotRef::new(3, class.slots() - 1);
            assert!(last.cold_at() >= 3 * PAGE_WORDS + slots * block_words);
            assert_eq!(SlotRef::new(3, 0).cold_at() + COLD_WORDS, 4 * PAGE_WORDS);
        }
    }

    #[test]
    fn ids_name_the_blocks_of_pages() {
        for class in (0..=LARGE).map(Class) {
            for (page_no, slot) in [(0, 0), (0, class.slots() - 1), (1, 0), (5, 3)] {
                let block = class.block(page_no, slot).unwrap();
                let again = Class::block_of(block.id_slot()).unwrap();
                assert_eq!((again.class, again.page_no, again.slot()), (class, page_no, slot));
                assert_eq!(again.offset, index(slot) << class.block_shift());
                let key = block.page_key(0xfe);
                assert_eq!((key.partition(), key.class(), key.page_no()), (0xfe, class, page_no));
                assert_eq!(key.block(slot).unwrap().id_slot(), block.id_slot());
                assert_eq!((SlotRef::new(9, slot).page(), SlotRef::new(9, slot).slot()), (9, slot));
            }
        }
    }

    #[test]
    fn a_large_envelope_has_pages_for_rows_index_and_tail() {
        // 10,000 words of rows, and 8,192 buckets, two a word.
        assert_eq!((row_words(5000), index_words(5000)), (10_000, 4096));
        assert_eq!((run_pages(5000, 0), run_pages(5000, 1144)), (2, 2));
        assert_eq!((run_pages(5000, 1145), run_pages(1100, 0)), (3, 1));
    }

    #[test]
    fn names_beyond_the_slots_and_the_bits_name_nothing() {
        assert!(Class(0).block(0, 585).is_none());
        assert!(Class::block_of(585).is_none() && Class::block_of(584).is_some());
        assert!(Class(0).block(1 << 18, 0).is_none());
        assert!(Class(7).block(1 << PAGE_NO_BITS, 0).is_none());
        assert!(Class(7).block((1 << PAGE_NO_BITS) - 1, 6).is_some());
        for class in 9..16 {
            assert!(Class::block_of(class << INDEX_BITS).is_none());
        }
        assert_eq!(PageKey::NONE.class().slots(), 0);
    }
}
