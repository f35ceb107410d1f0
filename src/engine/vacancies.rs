//! Which slots are free: lists by partition and class, and the numbers of the
//! next pages.
//!
//! The lists run through the free blocks themselves, in both directions, so
//! that a record may take any of them. What is here is derived from the pages;
//! a restored engine makes it anew.

use super::class::{Class, PageKey, SMALL_CLASSES, SlotRef};
use super::header::generation_in;
use super::slots::{NO_LINK, Slots, Vacancy};
use super::tail::Tail;
use super::words::{high, index, low, pair};
use crate::units::{EnvelopeId, PARTITIONS};

/// The word of a free block that holds its links: the next in the low half,
/// the previous in the high half. The previous link of a head means nothing.
const LINKS_WORD: usize = 1;

/// Large envelopes and page numbers are given out once, so their ids are
/// always of the first generation.
const FIRST_GENERATION: u16 = 1;

/// The free slots.
pub(super) struct Vacancies {
    /// The first free slot by partition and small class.
    heads: Vec<u32>,
    /// The number of the next page by partition and small class.
    next_page: Vec<u32>,
    /// The index of the next large envelope by partition. It is counted and
    /// never reused.
    next_large: Vec<u32>,
}

impl Vacancies {
    const LISTS: usize = 256 * 8;

    /// The bytes that [`Vacancies::new`] reserves.
    pub(super) const BYTES: usize = 4 * (2 * Self::LISTS + 256);

    /// No page has been made yet.
    pub(super) fn new() -> Self {
        Self {
            heads: vec![NO_LINK; Self::LISTS],
            next_page: vec![0; Self::LISTS],
            next_large: vec![0; usize::from(PARTITIONS)],
        }
    }

    /// The place that the next envelope of this partition, size and tail gets, if
    /// there is room for it: a free slot or a page for one, and a run for the
    /// claims. Changes nothing.
    pub(super) fn find(
        &self,
        slots: &Slots,
        partition: u8,
        shares: u32,
        tail: Tail,
    ) -> Option<Vacancy> {
        let class = Class::of(shares, tail.rows());
        let envelope = if class.is_large() {
            self.next_large_id(slots, partition)?
        } else {
            self.next_small_id(slots, partition, class)?
        };
        slots.vacancy(envelope, shares, tail).ok()
    }

    fn next_small_id(&self, slots: &Slots, partition: u8, class: Class) -> Option<EnvelopeId> {
        let list = list_of(partition, class);
        if self.heads[list] == NO_LINK {
            let block = class.block(self.next_page[list], 0)?;
            let slot = block.id_slot();
            return Some(EnvelopeId::new(slots.cell(), partition, slot, FIRST_GENERATION));
        }
        let head = SlotRef(self.heads[list]);
        let generation = generation_in(slots.first_word(head)).checked_add(1)?;
        slots.id_of(head, generation)
    }

    fn next_large_id(&self, slots: &Slots, partition: u8) -> Option<EnvelopeId> {
        let (page_no, slot) = large_page_and_slot(self.next_large(partition));
        let block = Class::LARGE.block(page_no, slot)?;
        Some(EnvelopeId::new(slots.cell(), partition, block.id_slot(), FIRST_GENERATION))
    }

    /// How many large envelopes a partition has had.
    pub(super) fn next_large(&self, partition: u8) -> u32 {
        self.next_large[usize::from(partition)]
    }

    /// The counter of a partition's large envelopes is at least this.
    pub(super) fn raise_next_large(&mut self, partition: u8, next: u32) {
        let counter = &mut self.next_large[usize::from(partition)];
        *counter = next.max(*counter);
    }

    /// Counts a large envelope that was seen.
    pub(super) fn saw_large(&mut self, vacancy: &Vacancy) {
        let block = &vacancy.block;
        let seen = block.page_no.saturating_mul(Class::LARGE.slots()) + block.slot();
        self.raise_next_large(vacancy.envelope.partition(), seen + 1);
    }

    /// Adds the slots of a page that was just made.
    pub(super) fn add_page(&mut self, slots: &mut Slots, page: u32) {
        let key = slots.key(page);
        self.saw_page(key);
        // The lowest comes first: envelopes funded together lie together.
        for slot in (0..key.class().slots()).rev() {
            self.put(slots, SlotRef::new(page, slot));
        }
    }

    /// Counts a page that was seen.
    pub(super) fn saw_page(&mut self, key: PageKey) {
        if !key.class().is_large() {
            let next = &mut self.next_page[list_of(key.partition(), key.class())];
            *next = (key.page_no() + 1).max(*next);
        }
    }

    /// Adds a free slot; one whose generations are used up is retired for good.
    pub(super) fn put(&mut self, slots: &mut Slots, slot: SlotRef) {
        let key = slots.key(slot.page());
        if key.class().is_large() || generation_in(slots.first_word(slot)) == u16::MAX {
            return;
        }
        let list = list_of(key.partition(), key.class());
        let old_head = self.heads[list];
        put_links(slots, slot, pair(old_head, NO_LINK));
        if old_head != NO_LINK {
            let old_head = SlotRef(old_head);
            put_links(slots, old_head, pair(low(links(slots, old_head)), slot.0));
        }
        self.heads[list] = slot.0;
    }

    /// Removes a free slot, wherever in its list it is.
    pub(super) fn take(&mut self, slots: &mut Slots, slot: SlotRef) {
        let key = slots.key(slot.page());
        let (next, previous) = (low(links(slots, slot)), high(links(slots, slot)));
        let head = &mut self.heads[list_of(key.partition(), key.class())];
        if *head == slot.0 {
            *head = next;
            return;
        }
        let previous = SlotRef(previous);
        put_links(slots, previous, pair(next, high(links(slots, previous))));
        if next != NO_LINK {
            let next = SlotRef(next);
            put_links(slots, next, pair(low(links(slots, next)), previous.0));
        }
    }
}

fn links(slots: &Slots, slot: SlotRef) -> u64 {
    slots.arena.word(slots.place_of(slot) + LINKS_WORD)
}

fn put_links(slots: &mut Slots, slot: SlotRef, links: u64) {
    let at = slots.place_of(slot) + LINKS_WORD;
    slots.arena.put(at, links);
}

/// The page number and slot of a large envelope by its index.
fn large_page_and_slot(index_in_partition: u32) -> (u32, u32) {
    let slots = Class::LARGE.slots();
    (index_in_partition / slots, index_in_partition % slots)
}

/// The list of a partition and a small class.
fn list_of(partition: u8, class: Class) -> usize {
    index(u32::from(partition) * SMALL_CLASSES + class.number() % SMALL_CLASSES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reserves_what_it_says() {
        let Vacancies { heads, next_page, next_large } = Vacancies::new();
        let reserved = [heads, next_page, next_large].map(|all| size_of_val(&all[..]));
        assert_eq!(Vacancies::BYTES, reserved.iter().sum::<usize>());
    }
}
