//! Where envelopes are: ids, pages, blocks and headers.
//!
//! An id names a block without any search but the directory's one probe. Which
//! slot a new envelope gets is `vacancies`' matter, what its claims are is
//! `claims`', and what records do to it is `transition`'s.

use super::Misfit;
use super::arena::{Arena, PAGE_SHIFT, PAGE_WORDS};
use super::buddy::Buddy;
use super::class::{Block, Class, PageKey, SlotRef, index_words, row_words, run_pages};
use super::cold::{COLD_WORDS, Cold, PREVIOUS_WORD};
use super::directory::Directory;
use super::header::{HEADER_WORDS, Header, NEXT_WORD, generation_in, is_free};
use super::tail::Tail;
use super::words::{high, index, low, narrow, pair};
use crate::units::{Cell, EnvelopeId};

/// The word of a large envelope's block that holds the first page of its run,
/// in the low half, and the rank of the largest share so far in the high half.
pub(super) const RUN_WORD: usize = HEADER_WORDS;

/// The word of a large envelope's block that says, while an image is loaded,
/// as of which position.
pub(super) const POSITION_WORD: usize = HEADER_WORDS + 1;

/// No link: the end of a list, or an envelope in no list.
pub(super) const NO_LINK: u32 = u32::MAX;

/// An envelope that was found: its header, decoded, and where things are.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// The place of its block in the arena.
    pub(super) at: usize,
    /// The place of its first user; the metas and, where it is large, the hash
    /// index follow.
    pub(super) users_at: usize,
    /// Its size class.
    pub(super) class: Class,
    /// Its header.
    pub(super) header: Header,
}

impl Slot {
    /// Its reference.
    #[inline]
    pub(super) fn reference(&self) -> SlotRef {
        let offset = self.at & (PAGE_WORDS - 1);
        let slot = narrow(offset >> self.class.block_shift());
        SlotRef::new(narrow(self.at >> PAGE_SHIFT), slot)
    }
}

/// A place for a new envelope, found but not taken.
#[derive(Clone, Copy)]
pub(super) struct Vacancy {
    /// The id it would get.
    pub(super) envelope: EnvelopeId,
    /// The block.
    pub(super) block: Block,
    /// The arena page, if there is one already.
    pub(super) page: Option<u32>,
    /// The order of the page run for its claims, if it is large.
    pub(super) run_order: Option<u32>,
}

/// The table of envelopes.
pub(super) struct Slots {
    cell: Cell,
    pub(super) arena: Arena,
    pages: Buddy,
    directory: Directory,
    /// The name of every arena page.
    keys: Vec<PageKey>,
    /// No run of claims was ever given out from this arena page on, so what is free there
    /// is still zero: pages of blocks are never given back.
    untouched: u32,
}

impl Slots {
    /// The bytes that [`Slots::new`] reserves.
    pub(super) fn bytes(table_bytes: usize) -> usize {
        let pages = Arena::pages_in(table_bytes);
        let keys = index(pages) * size_of::<PageKey>();
        Arena::bytes(pages) + Buddy::bytes(pages) + Directory::bytes(pages) + keys
    }

    /// An empty table whose arena has as many whole pages as `table_bytes`.
    pub(super) fn new(cell: Cell, table_bytes: usize) -> Self {
        let pages = Arena::pages_in(table_bytes);
        Self {
            cell,
            arena: Arena::new(pages),
            pages: Buddy::new(pages),
            directory: Directory::new(pages),
            keys: vec![PageKey::NONE; index(pages)],
            untouched: 0,
        }
    }

    /// The cell of all ids.
    pub(super) fn cell(&self) -> Cell {
        self.cell
    }

    /// How many pages the arena has.
    pub(super) fn page_count(&self) -> u32 {
        narrow(self.keys.len())
    }

    /// How many of them nothing is in.
    pub(super) fn free_pages(&self) -> u32 {
        self.pages.free_pages()
    }

    /// The name of an arena page; [`PageKey::NONE`] if it has no blocks.
    #[inline]
    pub(super) fn key(&self, page: u32) -> PageKey {
        self.keys.get(index(page)).copied().unwrap_or(PageKey::NONE)
    }

    /// The arena page of a name.
    #[inline]
    pub(super) fn page(&self, key: PageKey) -> Option<u32> {
        self.directory.find(key)
    }

    /// Where the block of an id is, if its page exists. The parts of the id are
    /// taken by shifts: the fewer instructions a lookup has, the more of a
    /// group's cache misses the processor overlaps.
    #[expect(clippy::inline_always, reason = "measured: a call costs the claim path 5 ns each")]
    #[inline(always)]
    pub(super) fn locate(&self, id: EnvelopeId) -> Option<(usize, Class)> {
        if id.0 >> 56 != u64::from(self.cell) {
            return None;
        }
        let block = Class::block_of(low(id.0 >> 16))?;
        let page = self.directory.find(block.page_key(low(id.0 >> 48)))?;
        Some((Arena::page_at(page) + block.offset, block.class))
    }

    /// The place of an envelope's block; any other place for an id that has none.
    #[inline]
    pub(super) fn place(&self, id: EnvelopeId) -> usize {
        self.locate(id).map_or(0, |(at, _)| at)
    }

    /// The place of a slot's block.
    #[inline]
    pub(super) fn place_of(&self, slot: SlotRef) -> usize {
        let class = self.key(slot.page()).class();
        Arena::page_at(slot.page()) + (index(slot.slot()) << class.block_shift())
    }

    /// The word at a place, so that its cache line is loaded.
    #[inline]
    pub(super) fn touch(&self, place: usize) -> u64 {
        self.arena.word(place)
    }

    /// The envelope of an id; `None` for another cell, a slot without an
    /// envelope, and a generation that is not the slot's.
    #[expect(clippy::inline_always, reason = "measured: a call costs the claim path 5 ns each")]
    #[inline(always)]
    pub(super) fn get(&self, id: EnvelopeId) -> Option<Slot> {
        let (at, class) = self.locate(id)?;
        let slot = self.read(at, class)?;
        (slot.header.generation == id.generation()).then_some(slot)
    }

    /// The envelope in a slot, if there is one.
    pub(super) fn at(&self, slot: SlotRef) -> Option<Slot> {
        self.read(self.place_of(slot), self.key(slot.page()).class())
    }

    #[expect(clippy::inline_always, reason = "measured: a call costs the claim path 5 ns each")]
    #[inline(always)]
    fn read(&self, at: usize, class: Class) -> Option<Slot> {
        let header = Header::load(self.arena.chunk(at)?)?;
        let users_at = if class.is_large() {
            Arena::page_at(low(self.arena.word(at + RUN_WORD)))
        } else {
            at + HEADER_WORDS
        };
        Some(Slot { at, users_at, class, header })
    }

    /// The id that an envelope in this slot has in a generation; `None` for a
    /// slot of a page without blocks.
    pub(super) fn id_of(&self, slot: SlotRef, generation: u16) -> Option<EnvelopeId> {
        let key = self.key(slot.page());
        let block = key.block(slot.slot())?;
        Some(EnvelopeId::new(self.cell, key.partition(), block.id_slot(), generation))
    }

    /// The first word of a slot's block; it holds the generation.
    pub(super) fn first_word(&self, slot: SlotRef) -> u64 {
        self.arena.word(self.place_of(slot))
    }

    /// The cold side of a slot.
    pub(super) fn cold(&self, slot: SlotRef) -> Option<Cold> {
        self.arena.chunk::<COLD_WORDS>(slot.cold_at()).map(Cold::load)
    }

    /// Writes back the cold side of a slot; its link stays.
    pub(super) fn put_cold(&mut self, slot: SlotRef, cold: &Cold) {
        let words = cold.words(self.previous(slot));
        self.arena.put_chunk(slot.cold_at(), &words);
    }

    /// Writes back what of the header at a place has changed.
    #[inline]
    pub(super) fn put_progress(&mut self, at: usize, header: &Header) {
        self.arena.put_chunk(at, &header.progress());
    }

    /// The next link of an envelope.
    pub(super) fn next(&self, slot: SlotRef) -> u32 {
        low(self.arena.word(self.place_of(slot) + NEXT_WORD))
    }

    /// Changes the next link of an envelope.
    pub(super) fn put_next(&mut self, slot: SlotRef, next: u32) {
        let at = self.place_of(slot) + NEXT_WORD;
        self.arena.put(at, pair(next, high(self.arena.word(at))));
    }

    /// The previous link of an envelope.
    pub(super) fn previous(&self, slot: SlotRef) -> u32 {
        Cold::previous(self.arena.word(slot.cold_at() + PREVIOUS_WORD))
    }

    /// Changes the previous link of an envelope.
    pub(super) fn put_previous(&mut self, slot: SlotRef, previous: u32) {
        let at = slot.cold_at() + PREVIOUS_WORD;
        self.arena.put(at, Cold::relinked(self.arena.word(at), previous));
    }

    /// The place that an id names for so many shares and such a tail: its slot is
    /// free, its generation was never given out, and there is room for both.
    pub(super) fn vacancy(
        &self,
        envelope: EnvelopeId,
        shares: u32,
        tail: Tail,
    ) -> Result<Vacancy, Misfit> {
        let out_of_turn = Misfit::EnvelopeOutOfTurn(envelope);
        let block = Class::block_of(envelope.slot()).ok_or(out_of_turn)?;
        let class = Class::of(shares, tail.rows());
        let fits = envelope.cell() == self.cell && block.class == class;
        let page = self.directory.find(block.page_key(u32::from(envelope.partition())));
        let before = page.map_or(0, |page| self.arena.word(Arena::page_at(page) + block.offset));
        if !fits || !is_free(before) || envelope.generation() <= generation_in(before) {
            return Err(out_of_turn);
        }
        let run_order =
            block.class.is_large().then(|| Buddy::order_for(run_pages(shares, tail.rows())));
        if !self.has_pages(page.is_none(), run_order) {
            return Err(Misfit::Full);
        }
        Ok(Vacancy { envelope, block, page, run_order })
    }

    /// Whether a run of that order and then one page more can be allocated.
    /// Any page that is still free after the run will do for the single one.
    fn has_pages(&self, needs_page: bool, run_order: Option<u32>) -> bool {
        let single = u32::from(needs_page);
        let run_fits = run_order.is_none_or(|order| self.pages.has(order));
        let run_pages = run_order.map_or(0, |order| 1_u64 << order.min(32));
        run_fits && u64::from(self.pages.free_pages()) >= run_pages + u64::from(single)
    }

    /// Makes a page of blocks, all free and of no generation yet.
    pub(super) fn make_page(&mut self, key: PageKey) -> Option<u32> {
        let page = self.pages.allocate(0)?;
        if page < self.untouched {
            self.arena.zero(Arena::page_at(page), PAGE_WORDS);
        }
        self.keys[index(page)] = key;
        self.directory.insert(key, page);
        Some(page)
    }

    /// Takes a run of pages for the claims of a large envelope.
    pub(super) fn make_run(&mut self, order: u32, shares: u32) -> Option<u32> {
        let page = self.pages.allocate(order)?;
        if page < self.untouched {
            // Users and metas are written before they are read.
            self.arena.zero(Arena::page_at(page) + row_words(shares), index_words(shares));
        }
        self.untouched = self.untouched.max(page + (1 << order));
        Some(page)
    }

    /// Gives back the run of a large envelope.
    pub(super) fn free_run(&mut self, slot: &Slot) {
        let order = Buddy::order_for(run_pages(slot.header.shares, self.tail(slot).rows()));
        self.pages.free(low(self.arena.word(slot.at + RUN_WORD)), order);
    }

    /// All envelopes, page by page.
    pub(super) fn iter(&self) -> impl Iterator<Item = (EnvelopeId, Slot)> + '_ {
        let pages = (0..self.page_count()).map(|page| (page, self.key(page).class().slots()));
        let slots = pages.flat_map(|(page, slots)| (0..slots).map(move |s| SlotRef::new(page, s)));
        slots.filter_map(|reference| {
            let slot = self.at(reference)?;
            Some((self.id_of(reference, slot.header.generation)?, slot))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reserves_what_it_says() {
        let slots = Slots::new(7, 40 << 16);
        let keys = size_of_val(&slots.keys[..]);
        let others = [Arena::bytes(40), Buddy::bytes(40), Directory::bytes(40)];
        assert_eq!(Slots::bytes(40 << 16), keys + others.iter().sum::<usize>());
    }
}
