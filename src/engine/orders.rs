//! The index of what each sender ordered, by (sender, order number).
//!
//! This is what makes sending idempotent, as long as the envelope is kept. It
//! holds references only; what was ordered lies on the cold sides.

use super::class::SlotRef;
use super::hash::mix;
use super::slots::Slots;
use super::words::{buckets_for, first_bucket};
use crate::memory::Halves;
use crate::units::UserId;

/// The index. A crowd of colliding orders would cost its sender a funded
/// envelope each, so the hash needs no secret.
pub(super) struct Orders {
    /// Slot reference + 1, by hash of (sender, order); 0 is empty.
    buckets: Halves,
}

impl Orders {
    /// The bytes that [`Orders::new`] reserves.
    pub(super) fn bytes(capacity: u32) -> usize {
        Halves::bytes_for(buckets_for(capacity))
    }

    /// No orders, and room for `capacity`.
    pub(super) fn new(capacity: u32) -> Self {
        Self { buckets: Halves::zeroed(buckets_for(capacity)) }
    }

    /// The envelope of the sender's order of that number.
    pub(super) fn find(&self, slots: &Slots, sender: UserId, order: u64) -> Option<SlotRef> {
        let mut bucket = self.first(sender, order);
        loop {
            let found = self.at(bucket)?;
            if is_order(slots, found, sender, order) {
                return Some(found);
            }
            bucket = self.after(bucket);
        }
    }

    /// Adds the order of an envelope; false if it is there already.
    pub(super) fn insert(&mut self, slots: &Slots, slot: SlotRef) -> bool {
        let Some((sender, order)) = order_of(slots, slot) else {
            return false;
        };
        let mut bucket = self.first(sender, order);
        while let Some(found) = self.at(bucket) {
            if is_order(slots, found, sender, order) {
                return false;
            }
            bucket = self.after(bucket);
        }
        self.buckets[bucket] = slot.0 + 1;
        true
    }

    /// Removes the order of an envelope. What follows is moved up, so that no
    /// search ever meets a gap and none has to skip what was removed.
    pub(super) fn remove(&mut self, slots: &Slots, slot: SlotRef) {
        let Some(mut hole) = self.bucket_of(slots, slot) else {
            return;
        };
        let mut bucket = self.after(hole);
        while let Some(found) = self.at(bucket) {
            let wanted = order_of(slots, found).map_or(bucket, |(s, order)| self.first(s, order));
            if self.distance(wanted, bucket) >= self.distance(hole, bucket) {
                self.buckets[hole] = self.buckets[bucket];
                hole = bucket;
            }
            bucket = self.after(bucket);
        }
        self.buckets[hole] = 0;
    }

    fn bucket_of(&self, slots: &Slots, slot: SlotRef) -> Option<usize> {
        let (sender, order) = order_of(slots, slot)?;
        let mut bucket = self.first(sender, order);
        while self.at(bucket)? != slot {
            bucket = self.after(bucket);
        }
        Some(bucket)
    }

    /// Loads the bucket where the search for an order begins.
    #[inline]
    pub(super) fn touch(&self, sender: UserId, order: u64) -> u32 {
        self.buckets[self.first(sender, order)]
    }

    /// Loads the bucket where a search for an envelope's order begins, and
    /// gives its number.
    pub(super) fn touch_first(&self, slots: &Slots, slot: SlotRef) -> (usize, u32) {
        let bucket = order_of(slots, slot).map_or(0, |(sender, order)| self.first(sender, order));
        (bucket, self.buckets[bucket])
    }

    /// Loads the cold sides that a search from this bucket compares.
    pub(super) fn touch_chain(&self, slots: &Slots, mut bucket: usize) -> u64 {
        let mut seen = 0;
        while let Some(found) = self.at(bucket) {
            seen ^= slots.touch(found.cold_at());
            bucket = self.after(bucket);
        }
        seen
    }

    fn at(&self, bucket: usize) -> Option<SlotRef> {
        self.buckets[bucket].checked_sub(1).map(SlotRef)
    }

    /// The bucket where the search for an order begins.
    pub(super) fn first(&self, sender: UserId, order: u64) -> usize {
        first_bucket(mix(mix(sender.0) ^ order), self.buckets.len())
    }

    fn after(&self, bucket: usize) -> usize {
        (bucket + 1) & (self.buckets.len() - 1)
    }

    /// How far a search from one bucket goes until it is at another.
    fn distance(&self, from: usize, bucket: usize) -> usize {
        bucket.wrapping_sub(from) & (self.buckets.len() - 1)
    }
}

fn order_of(slots: &Slots, slot: SlotRef) -> Option<(UserId, u64)> {
    slots.cold(slot).map(|cold| (cold.sender, cold.order))
}

fn is_order(slots: &Slots, slot: SlotRef, sender: UserId, order: u64) -> bool {
    order_of(slots, slot) == Some((sender, order))
}
