//! What time brings: expiries and lapses, and envelopes whose retention is over.
//!
//! All are only proposed, as records; nothing depends on when they come.
//! Whoever touches an overdue envelope ends it (`overdue`), and one that is over
//! stays what it is until it is recycled.

use std::hint::black_box;

use super::class::{Class, SlotRef};
use super::retained::Retained;
use super::slots::NO_LINK;
use super::transition::came_to;
use super::{Engine, Record, Recycled};
use crate::units::{Time, UnixSeconds};

/// Links that one call follows at most, so that a crowd of envelopes which are
/// due or closed never holds up the claims.
const LINKS_PER_CALL: u32 = 256;

/// Closed envelopes whose lines are loaded together before the first of them
/// is recycled.
const GROUP: usize = 16;

impl Engine {
    /// The earliest second at which [`Engine::due`], [`Engine::due_hold`] or
    /// [`Engine::recyclable`] may have something: never too late, sometimes too early.
    pub fn next_due(&self) -> Option<UnixSeconds> {
        let small = self.ripe_at(&self.retained);
        let large = self.ripe_at(&self.retained_large).filter(|_| self.images == 0);
        [self.wheel.next_at(), small, large, self.risk.holds.next_due()].into_iter().flatten().min()
    }

    /// Whether more is due than one call has worked through: ask again soon.
    pub fn is_behind(&self, now: Time) -> bool {
        self.next_due().is_some_and(|due| due <= now.seconds())
    }

    /// The record that ends an envelope that is due, if one is; they come by
    /// the second. It is the same one until it is applied. `None` may also mean
    /// that the work of one call is done: see [`Engine::is_behind`].
    pub fn due(&mut self, now: Time) -> Option<Record> {
        let mut links = LINKS_PER_CALL;
        loop {
            let due = self.wheel.due(&mut self.slots, now.seconds(), &mut links)?;
            self.touch_next(due);
            if let Some(slot) = self.slots.at(due).filter(|slot| slot.header.is_live()) {
                let envelope = self.slots.id_of(due, slot.header.generation)?;
                return self.overdue_slot(envelope, &slot, now);
            }
            links = links.checked_sub(1)?;
            self.wheel.unlink(&mut self.slots, due);
        }
    }

    /// Loads the lines of the envelope that is due after this one, so that its
    /// misses overlap with what is done about this one.
    fn touch_next(&self, due: SlotRef) {
        let next = self.slots.next(due);
        if next != NO_LINK {
            let next = SlotRef(next);
            let block = self.slots.touch(self.slots.place_of(next));
            black_box(block ^ self.slots.touch(next.cold_at()));
        }
    }

    /// The record that recycles the envelope that was closed first, if it was
    /// closed `retention_s` ago. It is the same one until it is applied. A
    /// large envelope is not recycled while an image is being taken.
    pub fn recyclable(&mut self, now: Time) -> Option<Record> {
        let is_ripe = |ripe_at: &UnixSeconds| *ripe_at <= now.seconds();
        let small = self.ripe_at(&self.retained).filter(is_ripe);
        if small.is_some() {
            self.touch_recyclable();
            return self.recycling(self.retained.get(0)?.0, now);
        }
        let large = self.ripe_at(&self.retained_large).filter(is_ripe);
        large.filter(|_| self.images == 0)?;
        self.recycling(self.retained_large.get(0)?.0, now)
    }

    fn ripe_at(&self, retained: &Retained) -> Option<UnixSeconds> {
        let (slot, closed_at) = retained.get(0)?;
        let ripe_at = closed_at.saturating_add(self.capacity.retention_s);
        Some(if self.risk.holds.is_empty() { ripe_at } else { ripe_at.max(self.held_at(slot)) })
    }

    /// An envelope is kept as long as a share of it is held.
    #[cold]
    fn held_at(&self, slot: SlotRef) -> UnixSeconds {
        let generation = self.slots.at(slot).map_or(0, |found| found.header.generation);
        self.slots.id_of(slot, generation).map_or(0, |envelope| self.held_until(envelope))
    }

    fn recycling(&self, slot: SlotRef, now: Time) -> Option<Record> {
        let (found, cold) = (self.slots.at(slot)?, self.slots.cold(slot)?);
        let envelope = self.slots.id_of(slot, found.header.generation)?;
        let withheld = self.withheld(envelope);
        if withheld.held > 0 {
            return None; // the hold is due as well, and comes first
        }
        let (rows, gone, total) = came_to(&found, &cold);
        let shares_claimed = rows.saturating_sub(withheld.rejected);
        let claimed = gone.saturating_sub(withheld.rejected_fen);
        let at = now.seconds();
        Some(Record::Recycled(Recycled { envelope, shares_claimed, claimed, total, at }))
    }

    /// Loads the lines that the next recyclings need: blocks and cold sides of
    /// a whole group first, then what those lead to.
    fn touch_recyclable(&mut self) {
        if self.touched > 0 {
            return;
        }
        let mut group = [SlotRef(0); GROUP];
        let mut count = 0;
        for (place, (slot, _)) in group.iter_mut().zip((0..).map_while(|n| self.retained.get(n))) {
            *place = slot;
            count += 1;
        }
        self.touched = count;
        let group = &group[..count];
        let touch = |at| self.slots.touch(at);
        let blocks = group.iter().map(|&slot| touch(self.slots.place_of(slot)));
        black_box(blocks.fold(0, |seen, word| seen ^ word));
        let colds = group.iter().map(|&slot| touch(slot.cold_at()));
        black_box(colds.fold(0, |seen, word| seen ^ word));
        let buckets = group.iter().map(|&slot| self.orders.touch_first(&self.slots, slot).1);
        black_box(buckets.fold(0, |seen, word| seen ^ word));
        let chains = group.iter().map(|&slot| {
            let (bucket, _) = self.orders.touch_first(&self.slots, slot);
            self.orders.touch_chain(&self.slots, bucket)
        });
        black_box(chains.fold(0, |seen, word| seen ^ word));
    }

    /// The ring that closed envelopes of a class wait in.
    #[inline]
    pub(super) fn retained_of(&mut self, class: Class) -> &mut Retained {
        if class.is_large() { &mut self.retained_large } else { &mut self.retained }
    }

    /// Adds what a recycled envelope came to to its partition's archive.
    pub(super) fn archive(&mut self, record: &Recycled) {
        self.touched = self.touched.saturating_sub(1);
        self.archived[usize::from(record.envelope.partition())].archive(record);
    }
}
