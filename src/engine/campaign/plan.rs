//! A campaign's plan as the engine keeps it, and what it allows at a moment.
//!
//! How many prizes may have been won by a moment is a function of the plan and
//! that moment alone. So unused quota carries on by itself, nothing is released
//! twice whatever the clock does, and a restart has nothing to find out.

use super::prizes::group_of;
use crate::limits::{CAMPAIGN_KINDS_MAX, CAMPAIGN_SLOTS_MAX};
use crate::units::{Fen, Time, UnixSeconds};
use crate::wire::{BadRequest, PlanPart, PlanTerms, Prize, Slot};

/// A slot's quota comes evenly, but for a fifteenth that is there at once; so
/// all of it has come when an eighth of the slot's time is left, in which what
/// was not won yet still can be.
const PARTS: u64 = 16;

/// A plan, complete or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    terms: PlanTerms,
    prizes: [Prize; CAMPAIGN_KINDS_MAX],
    slots: [Slot; CAMPAIGN_SLOTS_MAX],
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            terms: PlanTerms::default(),
            prizes: [Prize::default(); CAMPAIGN_KINDS_MAX],
            slots: [Slot::default(); CAMPAIGN_SLOTS_MAX],
        }
    }
}

impl Plan {
    /// What governs the whole.
    pub fn terms(&self) -> &PlanTerms {
        &self.terms
    }

    /// The kinds of prizes, up to the first that is not there.
    pub fn prizes(&self) -> &[Prize] {
        let end = self.prizes.iter().position(|prize| prize.count == 0);
        &self.prizes[..end.unwrap_or(self.prizes.len())]
    }

    /// The slots, up to the first that is not there.
    pub fn slots(&self) -> &[Slot] {
        let end = self.slots.iter().position(|slot| slot.quota == 0);
        &self.slots[..end.unwrap_or(self.slots.len())]
    }

    /// Takes over a part; one without a place changes nothing.
    pub fn put(&mut self, part: &PlanPart) {
        match *part {
            PlanPart::Terms(terms) => self.terms = terms,
            PlanPart::Prize(kind, prize) => {
                if let Some(place) = self.prizes.get_mut(usize::from(kind)) {
                    *place = prize;
                }
            }
            PlanPart::Slot(number, slot) => {
                if let Some(place) = self.slots.get_mut(usize::from(number)) {
                    *place = slot;
                }
            }
        }
    }

    /// Whether a part is in it already.
    pub fn has(&self, part: &PlanPart) -> bool {
        match *part {
            PlanPart::Terms(terms) => self.terms == terms,
            PlanPart::Prize(kind, prize) => self.prizes.get(usize::from(kind)) == Some(&prize),
            PlanPart::Slot(number, slot) => self.slots.get(usize::from(number)) == Some(&slot),
        }
    }

    /// All its parts that are there.
    pub fn parts(&self) -> impl Iterator<Item = PlanPart> + '_ {
        let terms = (self.terms.wins_max > 0).then_some(PlanPart::Terms(self.terms));
        let prizes = (0..).zip(&self.prizes).filter(|(_, prize)| prize.count > 0);
        let slots = (0..).zip(&self.slots).filter(|(_, slot)| slot.quota > 0);
        let prizes = prizes.map(|(kind, prize)| PlanPart::Prize(kind, *prize));
        terms.into_iter().chain(prizes).chain(slots.map(|(n, slot)| PlanPart::Slot(n, *slot)))
    }

    /// Whether this is a whole plan for an envelope of so many prizes and so
    /// much money whose time is over at `ends_at`; else what is wrong with it.
    pub fn check(&self, prizes: u32, total: Fen, ends_at: UnixSeconds) -> Result<(), BadRequest> {
        if self.terms.wins_max == 0 {
            return Err(BadRequest::PlanTerms);
        }
        if !self.has_whole_prizes(prizes, total) {
            return Err(BadRequest::PlanPrizes);
        }
        if !self.has_whole_slots(prizes, ends_at) {
            return Err(BadRequest::PlanSlots);
        }
        Ok(())
    }

    /// The prizes come to what was funded, and each amount has one kind.
    fn has_whole_prizes(&self, prizes: u32, total: Fen) -> bool {
        let kinds = self.prizes();
        let counts = kinds.iter().map(|prize| u64::from(prize.count));
        let money = kinds.iter().map(|p| u128::from(p.amount) * u128::from(p.count));
        let repeats = |(n, prize): (usize, &Prize)| {
            kinds.iter().take(n).any(|other| other.amount == prize.amount)
        };
        kinds.len() == self.prizes.iter().filter(|prize| prize.count > 0).count()
            && counts.sum::<u64>() == u64::from(prizes)
            && money.sum::<u128>() == u128::from(total)
            && !kinds.iter().enumerate().any(repeats)
    }

    /// The slots follow one another within the campaign's time, and none
    /// promises a prize that is not there.
    fn has_whole_slots(&self, prizes: u32, ends_at: UnixSeconds) -> bool {
        let slots = self.slots();
        let mut free_from = self.terms.opens_at;
        let mut in_order = |slot: &Slot| {
            let fits = slot.start >= free_from && slot.end() <= ends_at;
            free_from = slot.end();
            fits
        };
        let quotas = slots.iter().map(|slot| u64::from(slot.quota));
        !slots.is_empty()
            && slots.len() == self.slots.iter().filter(|slot| slot.quota > 0).count()
            && quotas.sum::<u64>() <= u64::from(prizes)
            && slots.iter().all(&mut in_order)
    }

    /// The slot that a second is in.
    pub fn slot_at(&self, at: UnixSeconds) -> Option<usize> {
        self.slots().iter().position(|slot| (slot.start..slot.end()).contains(&at))
    }

    /// How many prizes may have been won by this moment, since the beginning.
    /// It never falls, and at the end of a slot it is the sum of the quotas up
    /// to there.
    pub fn released(&self, now: Time) -> u32 {
        let begun = self.slots().iter().take_while(|slot| now.seconds() >= slot.start);
        let released: u64 = begun.map(|slot| released_of(slot, now)).sum();
        u32::try_from(released).unwrap_or(u32::MAX)
    }

    /// The kind of the prize at a place of the row of all prizes.
    pub fn kind_at(&self, place: u32) -> Option<(usize, Prize)> {
        let kind = group_of(self.prizes().iter().map(|prize| prize.count), place)?;
        Some((kind, *self.prizes().get(kind)?))
    }

    /// The kind of the prizes of this amount.
    pub(super) fn kind_of(&self, amount: u32) -> Option<usize> {
        self.prizes().iter().position(|prize| prize.amount == amount)
    }
}

/// What a slot that has begun has released.
fn released_of(slot: &Slot, now: Time) -> u64 {
    let elapsed_ms = now.0.saturating_sub(1000 * u64::from(slot.start));
    let length_ms = 1000 * u64::from(slot.length_s);
    let quota = u128::from(slot.quota);
    // Of the quota, (16·elapsed + length) / (15·length), rounded up.
    let come = u128::from((elapsed_ms * PARTS).saturating_add(length_ms));
    let whole = u128::from(length_ms * (PARTS - 1));
    let released = (quota * come.min(whole)).div_ceil(whole.max(1));
    u64::try_from(released).unwrap_or(u64::MAX)
}
