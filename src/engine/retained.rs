//! Closed envelopes in the order of their closing, until they are recycled.
//!
//! A ring of one word each. An exhausted envelope comes here on the claim path,
//! so nothing but the ring is touched.

use super::class::SlotRef;
use super::words::{high, index, low, pair};
use crate::memory::Words;
use crate::units::UnixSeconds;

/// The ring: reference in the low half, `closed_at` in the high half.
pub(super) struct Retained {
    ring: Words,
    capacity: usize,
    first: usize,
    length: usize,
}

impl Retained {
    /// The bytes that [`Retained::new`] reserves.
    pub(super) fn bytes(capacity: u32) -> usize {
        Words::bytes_for(index(capacity))
    }

    /// Nothing closed, and room for `capacity`.
    pub(super) fn new(capacity: u32) -> Self {
        let ring = Words::zeroed(index(capacity));
        Self { ring, capacity: index(capacity), first: 0, length: 0 }
    }

    /// Adds an envelope that was just closed. Every envelope is here at most
    /// once, so there is always room.
    #[inline]
    pub(super) fn push(&mut self, slot: SlotRef, closed_at: UnixSeconds) {
        if self.length < self.capacity {
            let at = self.place(self.length);
            self.ring[at] = pair(slot.0, closed_at);
            self.length += 1;
        }
    }

    /// The envelope that was closed `n` after the first.
    pub(super) fn get(&self, n: usize) -> Option<(SlotRef, UnixSeconds)> {
        (n < self.length).then(|| {
            let word = self.ring[self.place(n)];
            (SlotRef(low(word)), high(word))
        })
    }

    /// Removes an envelope. It is the first, unless the records come from an
    /// engine that has another order among those closed in the same second;
    /// then it is not far.
    pub(super) fn remove(&mut self, slot: SlotRef) {
        let is_it = |n: &usize| self.get(*n).is_some_and(|(found, _)| found == slot);
        let Some(found) = (0..self.length).find(is_it) else {
            return;
        };
        for n in (0..found).rev() {
            let (from, to) = (self.place(n), self.place(n + 1));
            self.ring[to] = self.ring[from];
        }
        self.first = self.place(1);
        self.length -= 1;
    }

    /// Puts what was pushed in whatever order into the order of closing.
    pub(super) fn sort(&mut self) {
        // Only before anything was removed, so the ring begins at its beginning.
        self.ring[..self.length].sort_unstable();
    }

    fn place(&self, n: usize) -> usize {
        let at = self.first + n;
        if at < self.capacity { at } else { at - self.capacity }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::super::hash::mix;
    use super::*;

    #[test]
    fn retained_is_a_queue_from_which_any_can_be_taken() {
        let (mut retained, mut twin) = (Retained::new(10), VecDeque::new());
        for step in 0..if cfg!(miri) { 300 } else { 10_000 } {
            let dice = mix(u64::from(step));
            if dice.is_multiple_of(2) && twin.len() < 10 {
                retained.push(SlotRef(step), step / 3);
                twin.push_back((SlotRef(step), step / 3));
            } else if !twin.is_empty() {
                let n = usize::try_from(dice >> 32).unwrap() % twin.len();
                let n = if dice.is_multiple_of(3) { n } else { 0 };
                let (slot, _) = twin.remove(n).unwrap();
                retained.remove(slot);
                retained.remove(SlotRef(u32::MAX));
            }
            let all: Vec<_> = (0..).map_while(|n| retained.get(n)).collect();
            assert!(twin.iter().eq(&all));
        }
    }
}
