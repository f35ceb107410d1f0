//! When envelopes expire: a timing wheel of intrusive lists.
//!
//! The near wheel has a list for each second of the next 36 hours, which is
//! longer than an envelope usually lives: such a one is linked once and never
//! moved. What is further away waits in the far wheel, a list for each 36
//! hours, and is moved when they begin, some at a time. (Refused: four levels
//! of 256 seconds, where every envelope of 24 hours is moved twice, and a heap,
//! which costs 16 bytes an envelope.) An envelope whose second is over before
//! it was linked is in the late list.
//!
//! The links are slot references in the header (next) and on the cold side
//! (previous); the first of a list has the list's name as its previous link. What is
//! linked is derived from the envelopes and no part of the state: an envelope
//! may be closed and still be linked.

use super::arena::PAGES_MAX;
use super::bits::Bits;
use super::class::SlotRef;
use super::slots::{NO_LINK, Slots};
use super::words::{index, narrow};
use crate::units::UnixSeconds;

/// log2 of the seconds of the near wheel and of one list of the far wheel.
const NEAR_SHIFT: u32 = 17;

const NEAR: u32 = 1 << NEAR_SHIFT;
const FAR: u32 = 1 << (u32::BITS - NEAR_SHIFT);
const LATE: u32 = NEAR + FAR;
const LISTS: u32 = LATE + 1;

/// The previous link of a list's first entry is this plus the list's number:
/// no arena has pages of such references.
const LIST_NAMES: u32 = PAGES_MAX << 10;
const _: () = assert!(LISTS < NO_LINK - LIST_NAMES);

/// The wheel.
pub(super) struct Wheel {
    /// The first entry of each list: the near seconds, the far blocks, the late.
    heads: Vec<u32>,
    near: Bits,
    far: Bits,
    /// No entry in near or far expires before this second, and no entry that
    /// expires at or after it is in the late list.
    now: UnixSeconds,
    linked: u32,
}

impl Wheel {
    /// The bytes that [`Wheel::new`] reserves.
    pub(super) fn bytes() -> usize {
        4 * index(LISTS) + Bits::bytes(index(NEAR)) + Bits::bytes(index(FAR))
    }

    /// Nothing linked.
    pub(super) fn new() -> Self {
        Self {
            heads: vec![NO_LINK; index(LISTS)],
            near: Bits::new(index(NEAR)),
            far: Bits::new(index(FAR)),
            now: 0,
            linked: 0,
        }
    }

    /// Links an envelope that is in no list. `seen` is a moment that is over
    /// for certain; an empty wheel turns there at once.
    pub(super) fn link(
        &mut self,
        slots: &mut Slots,
        slot: SlotRef,
        expires_at: UnixSeconds,
        seen: UnixSeconds,
    ) {
        if self.linked == 0 {
            self.now = self.now.max(seen);
        }
        self.linked += 1;
        self.push(slots, slot, self.list_of(expires_at));
    }

    /// Takes an envelope out of the list that it is in, if it is in one.
    pub(super) fn unlink(&mut self, slots: &mut Slots, slot: SlotRef) {
        let previous = slots.previous(slot);
        if previous == NO_LINK {
            return;
        }
        let next = slots.next(slot);
        match previous.checked_sub(LIST_NAMES) {
            Some(list) => self.put_head(list, next),
            None => slots.put_next(SlotRef(previous), next),
        }
        if next != NO_LINK {
            slots.put_previous(SlotRef(next), previous);
        }
        slots.put_previous(slot, NO_LINK);
        self.linked -= 1;
    }

    /// The next envelope whose second has come by `now`, closed or not; it
    /// stays linked. At most `moves` are moved to nearer lists for it, and the
    /// number is counted down.
    pub(super) fn due(
        &mut self,
        slots: &mut Slots,
        now: UnixSeconds,
        moves: &mut u32,
    ) -> Option<SlotRef> {
        loop {
            if let Some(late) = self.head(LATE) {
                return Some(late);
            }
            if let Some(moved) = self.head(self.block()) {
                *moves = moves.checked_sub(1)?;
                self.unlink(slots, moved);
                let expires_at = slots.at(moved)?.header.expires_at;
                self.link(slots, moved, expires_at, 0);
                continue;
            }
            let next = self.next_at().unwrap_or(UnixSeconds::MAX);
            if next > now {
                self.now = self.now.max(now);
                return None;
            }
            if let Some(due) = self.head(next % NEAR).filter(|_| next == self.now) {
                return Some(due);
            }
            if next == self.now {
                return None;
            }
            self.now = next;
        }
    }

    /// When there may be something to do: the second of an entry, the beginning
    /// of a far list, or a second that is over.
    pub(super) fn next_at(&self) -> Option<UnixSeconds> {
        if self.head(LATE).is_some() || self.head(self.block()).is_some() {
            return Some(self.now);
        }
        let first = index(self.now % NEAR);
        let near = self.near.next(first).or_else(|| self.near.next(0)).map(|second| {
            self.now.wrapping_add(narrow(second).wrapping_sub(self.now) & (NEAR - 1))
        });
        let far = self.far.next(index(self.now >> NEAR_SHIFT));
        let far = far.map(|block| narrow(block) << NEAR_SHIFT);
        [near, far].into_iter().flatten().min()
    }

    /// The far list of the hours that have begun.
    fn block(&self) -> u32 {
        NEAR + (self.now >> NEAR_SHIFT)
    }

    fn list_of(&self, expires_at: UnixSeconds) -> u32 {
        match expires_at.checked_sub(self.now) {
            None => LATE,
            Some(0..NEAR) => expires_at % NEAR,
            Some(_) => NEAR + (expires_at >> NEAR_SHIFT),
        }
    }

    fn head(&self, list: u32) -> Option<SlotRef> {
        let head = self.heads[index(list)];
        (head != NO_LINK).then_some(SlotRef(head))
    }

    fn push(&mut self, slots: &mut Slots, slot: SlotRef, list: u32) {
        let old_head = self.heads[index(list)];
        slots.put_next(slot, old_head);
        slots.put_previous(slot, LIST_NAMES + list);
        if old_head != NO_LINK {
            slots.put_previous(SlotRef(old_head), slot.0);
        }
        self.put_head(list, slot.0);
    }

    fn put_head(&mut self, list: u32, head: u32) {
        self.heads[index(list)] = head;
        let (bits, n) = match list {
            0..NEAR => (&mut self.near, list),
            NEAR..LATE => (&mut self.far, list - NEAR),
            _ => return,
        };
        if head == NO_LINK { bits.remove(index(n)) } else { bits.insert(index(n)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reserves_what_it_says() {
        let bits = Bits::bytes(index(NEAR)) + Bits::bytes(index(FAR));
        assert_eq!(Wheel::bytes(), size_of_val(&*Wheel::new().heads) + bits);
    }
}
