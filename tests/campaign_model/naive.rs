//! The plan as sentences: every rule is looked up in lists from end to end.

use hongbao::engine::Outcome;
use hongbao::units::UserId;
use hongbao::wire::{CampaignPhase, PlanTerms, Prize, Slot};

/// A win as it was told.
#[derive(Clone, Copy)]
pub(crate) struct Win {
    pub(crate) user: UserId,
    pub(crate) at: u32,
    pub(crate) amount: u64,
}

/// What was planned, and who has won what.
pub(crate) struct Naive {
    pub(crate) terms: PlanTerms,
    pub(crate) prizes: Vec<Prize>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) phase: CampaignPhase,
    pub(crate) ends_at: u32,
    pub(crate) closed: Option<Outcome>,
    pub(crate) wins: Vec<Win>,
}

/// What a shake must come to.
#[derive(Debug, PartialEq)]
pub(crate) enum Expected {
    Exactly(Outcome),
    /// A prize, if one was released by now: how evenly a slot gives is not a
    /// matter of this model, only its bounds are.
    WonOrNothing,
    /// A prize for certain.
    Won,
}

impl Naive {
    fn slot_at(&self, at: u32) -> Option<Slot> {
        self.slots.iter().copied().find(|slot| at >= slot.start && at < slot.start + slot.length_s)
    }

    pub(crate) fn shake(&self, user: UserId, at: u32) -> Expected {
        if let Some(closed) = self.closed {
            return Expected::Exactly(closed);
        }
        if at >= self.ends_at {
            return Expected::Exactly(Outcome::Expired);
        }
        match self.phase {
            CampaignPhase::Draft => return Expected::Exactly(Outcome::NotBegun),
            CampaignPhase::Paused => return Expected::Exactly(Outcome::Paused),
            CampaignPhase::Running => {}
        }
        if at < self.terms.opens_at {
            return Expected::Exactly(Outcome::NotBegun);
        }
        let slot = self.slot_at(at);
        let own: Vec<&Win> = self.wins.iter().filter(|win| win.user == user).collect();
        let in_slot = slot.is_some_and(|slot| own.iter().any(|win| win.at >= slot.start));
        if in_slot || own.len() >= usize::try_from(self.terms.wins_max).unwrap() {
            let amount = own.last().unwrap().amount;
            return Expected::Exactly(Outcome::CapReached { amount });
        }
        let nothing = Expected::Exactly(Outcome::NothingWon { fallback: self.terms.fallback });
        let Some(slot) = slot else { return nothing };
        let sum = |slots: &mut dyn Iterator<Item = &Slot>| {
            slots.map(|slot| usize::try_from(slot.quota).unwrap()).sum::<usize>()
        };
        let before = sum(&mut self.slots.iter().filter(|other| other.start < slot.start));
        let upto = sum(&mut self.slots.iter().filter(|other| other.start <= slot.start));
        let nearly_over = 8 * (slot.start + slot.length_s - at) <= slot.length_s;
        match self.wins.len() {
            won if won >= upto => nothing,
            won if won < before || nearly_over => Expected::Won,
            _ => Expected::WonOrNothing,
        }
    }

    /// How many prizes of an amount are left.
    pub(crate) fn left_of(&self, amount: u64) -> usize {
        let planned = self.prizes.iter().filter(|prize| u64::from(prize.amount) == amount);
        let planned: u32 = planned.map(|prize| prize.count).sum();
        let won = self.wins.iter().filter(|win| win.amount == amount).count();
        usize::try_from(planned).unwrap() - won
    }
}
