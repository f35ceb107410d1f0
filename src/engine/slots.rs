//! Where envelopes are: ids, blocks and headers.
//!
//! An id names a block without any search but the directory's one probe. Ids
//! are given out in sequence within partition and class, so the same records
//! give the same ids again. What the claims are is `claims`' matter.

use super::arena::Arena;
use super::buddy::Buddy;
use super::class::{Block, CLASSES, Class, run_pages};
use super::directory::Directory;
use super::header::{HEADER_WORDS, Header};
use super::words::{index, low};
use crate::units::{Cell, EnvelopeId, PARTITIONS};

/// Slots are not reused yet, so every one is in its first generation.
const GENERATION: u16 = 1;

/// An envelope that was found: its header, decoded, and where things are.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// The place of its block in the arena.
    at: usize,
    /// The place of its first user; the metas and, where it is large, the hash
    /// index follow.
    pub(super) users_at: usize,
    /// Whether its claims are in a run of their own with a hash index.
    pub(super) large: bool,
    /// Its header.
    pub(super) header: Header,
}

/// A place for a new envelope, found but not taken.
pub(super) struct Vacancy {
    /// The id it would get.
    pub(super) envelope: EnvelopeId,
    block: Block,
    /// The order of the page run for its claims, if it is large.
    run_order: Option<u32>,
}

/// The table of envelopes.
pub(super) struct Slots {
    cell: Cell,
    pub(super) arena: Arena,
    pages: Buddy,
    directory: Directory,
    /// The next index by partition and class.
    next: Vec<u32>,
}

impl Slots {
    /// The bytes that [`Slots::new`] reserves.
    pub(super) fn bytes(table_bytes: usize) -> usize {
        let pages = Arena::pages_in(table_bytes);
        let next = usize::from(PARTITIONS) * CLASSES * size_of::<u32>();
        Arena::bytes(pages) + Buddy::bytes(pages) + Directory::bytes(pages) + next
    }

    /// An empty table whose arena has as many whole pages as `table_bytes`.
    pub(super) fn new(cell: Cell, table_bytes: usize) -> Self {
        let pages = Arena::pages_in(table_bytes);
        Self {
            cell,
            arena: Arena::new(pages),
            pages: Buddy::new(pages),
            directory: Directory::new(pages),
            next: vec![0; usize::from(PARTITIONS) * CLASSES],
        }
    }

    /// Where the block of an id is, if its page exists. The parts of the id are
    /// taken by shifts: the fewer instructions a lookup has, the more of a
    /// group's cache misses the processor overlaps.
    #[inline]
    fn locate(&self, id: EnvelopeId) -> Option<(usize, Block)> {
        if id.0 >> 56 != u64::from(self.cell) {
            return None;
        }
        let block = Class::block_of(low(id.0 >> 16))?;
        let page = self.directory.find(block.page_key(low(id.0 >> 48)))?;
        Some((Arena::page_at(page) + block.offset, block))
    }

    /// The place of an envelope's block; any other place for an id that has none.
    #[inline]
    pub(super) fn place(&self, id: EnvelopeId) -> usize {
        self.locate(id).map_or(0, |(at, _)| at)
    }

    /// The first word of the block at a place, so that its cache line is loaded.
    #[inline]
    pub(super) fn touch(&self, place: usize) -> u64 {
        self.arena.word(place)
    }

    /// The envelope of an id; `None` for another cell, a slot that was never
    /// given out, and a generation that is not the slot's.
    #[inline]
    pub(super) fn get(&self, id: EnvelopeId) -> Option<Slot> {
        let (at, block) = self.locate(id)?;
        let header = Header::load(self.arena.chunk(at)?)?;
        if header.generation != id.generation() {
            return None;
        }
        let large = block.class.is_large();
        let inline_at = at + HEADER_WORDS;
        let users_at =
            if large { Arena::page_at(low(self.arena.word(inline_at))) } else { inline_at };
        Some(Slot { at, users_at, large, header })
    }

    /// Writes the slot's header back.
    #[inline]
    pub(super) fn put_header(&mut self, slot: &Slot) {
        self.arena.put_chunk(slot.at, &slot.header.words());
    }

    /// The id that the next envelope of this partition and size gets, if there
    /// is room for it: bits in the id, a page for the block, a run for the
    /// claims. Changes nothing.
    pub(super) fn vacancy(&self, partition: u8, shares: u32) -> Option<Vacancy> {
        let class = Class::of_shares(shares);
        let block = class.block(self.next[next_at(partition, class)])?;
        let run_order = class.is_large().then(|| Buddy::order_for(run_pages(shares)));
        if !self.has_pages(block.is_first_of_page(), run_order) {
            return None;
        }
        let envelope = EnvelopeId::new(self.cell, partition, block.slot(), GENERATION);
        Some(Vacancy { envelope, block, run_order })
    }

    /// Whether a run of that order and then one page more can be allocated.
    /// Any page that is still free after the run will do for the single one.
    fn has_pages(&self, needs_page: bool, run_order: Option<u32>) -> bool {
        let single = u32::from(needs_page);
        let run_fits = run_order.is_none_or(|order| self.pages.has(order));
        let run_pages = run_order.map_or(0, |order| 1_u64 << order.min(32));
        run_fits && u64::from(self.pages.free_pages()) >= run_pages + u64::from(single)
    }

    /// Takes a vacancy that was found just before. `None`, with nothing but
    /// free pages lost, only if it was not.
    pub(super) fn take(&mut self, vacancy: &Vacancy, header: &Header) -> Option<()> {
        let Vacancy { envelope, block, run_order } = vacancy;
        let run = match run_order {
            Some(order) => Some(self.pages.allocate(*order)?),
            None => None,
        };
        if block.is_first_of_page() {
            let page = self.pages.allocate(0)?;
            self.directory.insert(block.page_key(u32::from(envelope.partition())), page);
        }
        let (at, _) = self.locate(*envelope)?;
        self.arena.put_chunk(at, &header.words());
        if let Some(run) = run {
            self.arena.put(at + HEADER_WORDS, u64::from(run));
        }
        self.next[next_at(envelope.partition(), block.class)] += 1;
        Some(())
    }

    /// The generation that a vacancy's header gets.
    pub(super) fn generation() -> u16 {
        GENERATION
    }
}

/// The place of the next index by partition and class.
fn next_at(partition: u8, class: Class) -> usize {
    index(u32::from(partition)) * CLASSES + class.number()
}
