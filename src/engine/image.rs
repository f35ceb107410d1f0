//! Taking an image of the state, slice by slice, while the state changes.
//!
//! Every slice is the state of its page or large envelope as of the position at
//! which it was copied, and says so; whoever restores it skips the records up
//! to there. A page that is made behind the walk is not in the image, and all
//! its records are after the beginning. Claims of a large envelope are never
//! changed, so they may be copied after their header. The claim path knows
//! nothing of it: the price is that large envelopes are not recycled meanwhile.

use zerocopy::IntoBytes;

use super::arena::{Arena, PAGE_WORDS};
use super::class::SlotRef;
use super::cold::COLD_WORDS;
use super::header::HEADER_WORDS;
use super::risk::RiskCursor;
use super::slice::{COUNTER_WORDS, HEAD_WORDS, Head, Kind};
use super::slots::Slot;
use super::words::{index, pair};
use super::{Capacity, Engine};

/// The longest slice, in bytes: a page of the arena and a head.
pub const IMAGE_SLICE_BYTES_MAX: usize = 8 * (PAGE_WORDS + HEAD_WORDS);

/// Claims in one slice: a page of words.
const ROWS_PER_SLICE: u32 = 4096;

// The arena's words are copied as they are.
const _: () = assert!(cfg!(target_endian = "little"), "images are little endian");
const _: () = assert!(256 * COUNTER_WORDS <= PAGE_WORDS);

/// Where a walk over the state stands. To be given back to
/// [`Engine::end_image`], whether the walk came to its end or not.
#[derive(Debug)]
#[must_use = "large envelopes are not recycled until the image is ended"]
pub struct ImageCursor {
    counters_done: bool,
    pub(super) risk: RiskCursor,
    /// Places of campaigns that were passed.
    campaigns: usize,
    page: u32,
    slot: u32,
    rows: Option<RowsLeft>,
}

/// The claims of a large envelope that are still to be copied.
#[derive(Clone, Copy, Debug)]
struct RowsLeft {
    slot: SlotRef,
    from: u32,
    end: u32,
}

impl Engine {
    /// Begins a walk over the state.
    pub fn begin_image(&mut self) -> ImageCursor {
        self.images += 1;
        ImageCursor {
            counters_done: false,
            risk: RiskCursor::default(),
            campaigns: 0,
            page: 0,
            slot: 0,
            rows: None,
        }
    }

    /// The walk is done, or was given up.
    pub fn end_image(&mut self, _cursor: ImageCursor) {
        self.images = self.images.saturating_sub(1);
    }

    /// About how long all slices of an image are together, in bytes.
    pub fn image_bytes(&self) -> u64 {
        let pages = u64::from(self.fill().pages) + 1;
        pages * u64::try_from(IMAGE_SLICE_BYTES_MAX).unwrap_or(0)
    }

    /// How many slices the image of full tables has, if all are as long as they
    /// may be: one for each page, and one for the counters.
    pub fn image_slices_max(capacity: &Capacity) -> u64 {
        u64::from(Arena::pages_in(capacity.table_bytes)) + 1
    }

    /// Appends the next slice to `out`, at most [`IMAGE_SLICE_BYTES_MAX`]:
    /// the state after all records up to `position`. False, and nothing is
    /// appended, at the end. One call copies a page and looks at no more than
    /// the names of pages besides.
    pub fn next_slice(&self, cursor: &mut ImageCursor, position: u64, out: &mut Vec<u8>) -> bool {
        if !cursor.counters_done {
            cursor.counters_done = true;
            self.copy_counters(position, out);
            return true;
        }
        if self.copy_risk(cursor, position, out) {
            return true;
        }
        if self.copy_campaign(&mut cursor.campaigns, position, out) {
            return true;
        }
        if let Some(rows) = cursor.rows {
            cursor.rows = self.copy_rows(rows, position, out);
            return true;
        }
        while cursor.page < self.slots.page_count() {
            if self.copy_from_page(cursor, position, out) {
                return true;
            }
            (cursor.page, cursor.slot) = (cursor.page + 1, 0);
        }
        false
    }

    /// The next campaign, if there is one.
    fn copy_campaign(&self, place: &mut usize, position: u64, out: &mut Vec<u8>) -> bool {
        while *place < self.campaigns.places() {
            *place += 1;
            if let Some(campaign) = self.campaigns.at(*place - 1) {
                let (id, words) = (campaign.envelope.0, campaign.words());
                self.put_head(Kind::Campaign, id, campaign.words().count(), position, out);
                words.for_each(|word| out.extend_from_slice(word.as_bytes()));
                return true;
            }
        }
        false
    }

    /// The next slice of the page that the walk is at, if it has one.
    fn copy_from_page(&self, cursor: &mut ImageCursor, position: u64, out: &mut Vec<u8>) -> bool {
        let (page, key) = (cursor.page, self.slots.key(cursor.page));
        if !key.class().is_large() {
            let is_new = cursor.slot == 0 && key.class().slots() > 0;
            if is_new {
                let words = self.slots.arena.words(Arena::page_at(page), PAGE_WORDS);
                self.put_head(Kind::Page, u64::from(key.0), words.len(), position, out);
                out.extend_from_slice(words.as_bytes());
                cursor.slot = key.class().slots();
            }
            return is_new;
        }
        while cursor.slot < key.class().slots() {
            let reference = SlotRef::new(page, cursor.slot);
            cursor.slot += 1;
            if let Some(slot) = self.slots.at(reference) {
                cursor.rows = self.copy_large(reference, &slot, position, out);
                return true;
            }
        }
        false
    }

    fn copy_large(
        &self,
        reference: SlotRef,
        slot: &Slot,
        position: u64,
        out: &mut Vec<u8>,
    ) -> Option<RowsLeft> {
        let id = self.slots.id_of(reference, slot.header.generation)?;
        let tail = self.slots.tail_words(slot);
        let words = HEADER_WORDS + COLD_WORDS + tail.len();
        self.put_head(Kind::Large, id.0, words, position, out);
        out.extend_from_slice(self.slots.arena.words(slot.at, HEADER_WORDS).as_bytes());
        out.extend_from_slice(self.slots.arena.words(reference.cold_at(), COLD_WORDS).as_bytes());
        out.extend_from_slice(tail.as_bytes());
        let end = slot.header.claimed;
        (end > 0).then_some(RowsLeft { slot: reference, from: 0, end })
    }

    fn copy_rows(&self, rows: RowsLeft, position: u64, out: &mut Vec<u8>) -> Option<RowsLeft> {
        let RowsLeft { slot: reference, from, end } = rows;
        let slot = self.slots.at(reference)?;
        let id = self.slots.id_of(reference, slot.header.generation)?;
        let upto = end.min(from.saturating_add(ROWS_PER_SLICE));
        let body_words = 2 * index(upto - from);
        let head = Head { first_rank: from, ..self.head(Kind::Rows, id.0, body_words, position) };
        out.extend_from_slice(head.words().as_bytes());
        for rank in from..upto {
            let row = self.slots.row(&slot, rank);
            out.extend_from_slice([row.user.0, pair(row.amount, row.at)].as_bytes());
        }
        (upto < end).then_some(RowsLeft { from: upto, ..rows })
    }

    /// The partitions that anything ever happened in.
    fn copy_counters(&self, position: u64, out: &mut Vec<u8>) {
        let mut in_use = [false; 256];
        for page in 0..self.slots.page_count() {
            let key = self.slots.key(page);
            in_use[usize::from(key.partition())] |= key.class().slots() > 0;
        }
        // After a start there is no page of large envelopes that are all recycled. But each of
        // them has left something in the archive, a voided one too, and what was archived and
        // which ids were given out must be known for ever.
        for (in_use, archived) in in_use.iter_mut().zip(&self.archived) {
            *in_use |= !archived.is_empty();
        }
        let partitions = (0..=u8::MAX).filter(|&partition| in_use[usize::from(partition)]);
        let count = partitions.clone().count();
        self.put_head(Kind::Counters, 0, count * COUNTER_WORDS, position, out);
        for partition in partitions {
            let archived = &self.archived[usize::from(partition)];
            let sums = [archived.funded, archived.claimed, archived.returned];
            let [funded, claimed, returned] = sums.map(halves);
            let next_large = self.vacancies.next_large(partition);
            let words: [u64; COUNTER_WORDS] = [
                pair(u32::from(partition), next_large),
                archived.envelopes,
                archived.claims,
                funded.0,
                funded.1,
                claimed.0,
                claimed.1,
                archived.voided,
                returned.0,
                returned.1,
            ];
            out.extend_from_slice(words.as_bytes());
        }
    }

    fn head(&self, kind: Kind, subject: u64, body_words: usize, position: u64) -> Head {
        Head { kind, cell: self.slots.cell(), body_words, position, subject, first_rank: 0 }
    }

    pub(super) fn put_head(
        &self,
        kind: Kind,
        subject: u64,
        body: usize,
        position: u64,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(self.head(kind, subject, body, position).words().as_bytes());
    }
}

/// The low and the high word of a sum.
fn halves(sum: u128) -> (u64, u64) {
    let [low, high] = [sum, sum >> 64].map(|word| word & u128::from(u64::MAX));
    (u64::try_from(low).unwrap_or(u64::MAX), u64::try_from(high).unwrap_or(u64::MAX))
}
