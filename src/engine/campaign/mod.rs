//! Campaigns: envelopes whose shares are prizes, won by shaking.
//!
//! A campaign is an envelope like any other (its money, its end, its claims and
//! its image are an envelope's) with a plan beside it. A win is a claim: it
//! takes the next rank, its amount follows from the seed and the rank, and it is
//! in the journal before it is told. All wins of a campaign are decided in the
//! one shard that owns the envelope, so the plan is kept exactly by comparing
//! numbers: wins so far with what the plan has released, and the wins of the
//! user with the cap. Whether a shake is worth asking about is drawn before,
//! in the shard it arrives at, and nothing here depends on that draw.
//!
//! This room keeps the plans and what is counted by kind and slot; `decide` has
//! the decisions, `prizes` the order of the prizes.

mod decide;
mod plan;
pub mod prizes;
mod restore;

pub use decide::CampaignView;
pub use plan::Plan;

use super::words::{high, low, pair};
use super::{Commanded, Misfit, Planned};
use crate::limits::{CAMPAIGN_KINDS_MAX, CAMPAIGN_SLOTS_MAX, CAMPAIGNS_PER_SHARD_MAX};
use crate::units::EnvelopeId;
use crate::wire::{CampaignPhase, Command, PlanPart, Row};

/// What the engine keeps of a campaign beside its envelope.
#[derive(Clone, Debug)]
pub(super) struct Campaign {
    pub(super) envelope: EnvelopeId,
    pub(super) phase: CampaignPhase,
    pub(super) plan: Plan,
    /// Wins by kind of prize, and by slot: derived from the claims.
    pub(super) won_by_kind: [u32; CAMPAIGN_KINDS_MAX],
    pub(super) won_by_slot: [u32; CAMPAIGN_SLOTS_MAX],
    /// While an engine is restored: as of which position it was copied.
    pub(super) copied_at: u64,
}

impl Campaign {
    /// One that was just ordered.
    pub(super) fn ordered(envelope: EnvelopeId) -> Self {
        Self {
            envelope,
            phase: CampaignPhase::Draft,
            plan: Plan::default(),
            won_by_kind: [0; CAMPAIGN_KINDS_MAX],
            won_by_slot: [0; CAMPAIGN_SLOTS_MAX],
            copied_at: 0,
        }
    }

    /// Counts a win.
    pub(super) fn count(&mut self, win: &Row) {
        let kind = self.plan.kind_of(win.amount).and_then(|kind| self.won_by_kind.get_mut(kind));
        let slot = self.plan.slot_at(win.at).and_then(|slot| self.won_by_slot.get_mut(slot));
        for count in kind.into_iter().chain(slot) {
            *count += 1;
        }
    }

    /// A part is in the plan now, if that may still be changed.
    pub(super) fn plan(&mut self, record: &Planned) -> Result<(), Misfit> {
        if self.phase != CampaignPhase::Draft {
            return Err(Misfit::Contradiction(record.envelope));
        }
        self.plan.put(&record.part);
        Ok(())
    }

    /// It runs, or pauses.
    pub(super) fn command(&mut self, record: &Commanded) -> Result<(), Misfit> {
        self.phase = match (record.command, self.phase) {
            (Command::Start, CampaignPhase::Draft | CampaignPhase::Paused) => {
                CampaignPhase::Running
            }
            (Command::Pause, CampaignPhase::Running) => CampaignPhase::Paused,
            _ => return Err(Misfit::Contradiction(record.envelope)),
        };
        Ok(())
    }

    /// Its words in an image: phase and number of parts, then three for each part.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        let parts = u32::try_from(self.plan.parts().count()).unwrap_or(u32::MAX);
        let first = pair(u32::from(self.phase.code()), parts);
        let of_part = |part: PlanPart| {
            let (code, number, [a, b, c]) = part.numbers();
            [u64::from(code) << 8 | u64::from(number), pair(a, b), u64::from(c)]
        };
        [first].into_iter().chain(self.plan.parts().flat_map(of_part))
    }

    /// The campaign of these words; `None` if they are none of a campaign.
    pub(super) fn load(
        envelope: EnvelopeId,
        copied_at: u64,
        mut words: impl ExactSizeIterator<Item = u64>,
    ) -> Option<Self> {
        let first = words.next()?;
        let phase = CampaignPhase::from_code(u8::try_from(low(first)).ok()?)?;
        let mut campaign = Self { phase, copied_at, ..Self::ordered(envelope) };
        for _ in 0..high(first) {
            let (name, ab, c) = (words.next()?, words.next()?, words.next()?);
            let (code, number) = (u8::try_from(name >> 8).ok()?, u8::try_from(name & 0xff).ok()?);
            let numbers = [low(ab), high(ab), u32::try_from(c).ok()?];
            campaign.plan.put(&PlanPart::of_numbers(code, number, numbers).ok()?);
        }
        (words.len() == 0).then_some(campaign)
    }
}

/// The campaigns of an engine. A campaign stays at its place, so that a walk
/// over the places misses none that was there when it began.
pub(super) struct Campaigns {
    places: Vec<Option<Campaign>>,
}

impl Campaigns {
    /// The bytes that [`Campaigns::new`] reserves.
    pub(super) const BYTES: usize = CAMPAIGNS_PER_SHARD_MAX * size_of::<Option<Campaign>>();

    /// No campaigns.
    pub(super) fn new() -> Self {
        Self { places: vec![None; CAMPAIGNS_PER_SHARD_MAX] }
    }

    /// Whether one more may be ordered.
    pub(super) fn has_room(&self) -> bool {
        self.places.iter().take(CAMPAIGNS_PER_SHARD_MAX).any(Option::is_none)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Campaign> {
        self.places.iter().flatten()
    }

    /// How many places there are.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// The campaign at a place.
    pub(super) fn at(&self, place: usize) -> Option<&Campaign> {
        self.places.get(place)?.as_ref()
    }

    /// The campaign of an envelope.
    pub(super) fn find(&self, envelope: EnvelopeId) -> Option<&Campaign> {
        self.iter().find(|campaign| campaign.envelope == envelope)
    }

    /// The same, to change it.
    pub(super) fn find_mut(&mut self, envelope: EnvelopeId) -> Option<&mut Campaign> {
        self.places.iter_mut().flatten().find(|campaign| campaign.envelope == envelope)
    }

    /// Takes a campaign in. Only one that is restored makes the table grow: a
    /// shard may have become the owner of more than it would take itself.
    pub(super) fn insert(&mut self, campaign: Campaign) {
        match self.places.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(campaign),
            None => self.places.push(Some(campaign)),
        }
    }

    /// Forgets the campaign of an envelope.
    pub(super) fn remove(&mut self, envelope: EnvelopeId) {
        let is_it = |place: &&mut Option<Campaign>| {
            place.as_ref().is_some_and(|campaign| campaign.envelope == envelope)
        };
        if let Some(place) = self.places.iter_mut().find(is_it) {
            *place = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{PlanTerms, Prize, Slot};

    #[test]
    fn it_reserves_what_it_says() {
        assert_eq!(Campaigns::BYTES, size_of_val(&Campaigns::new().places[..]));
    }

    #[test]
    fn words_give_back_the_campaign() {
        let mut campaign = Campaign::ordered(EnvelopeId(7));
        for part in [
            PlanPart::Terms(PlanTerms { wins_max: 2, opens_at: 5, fallback: 9 }),
            PlanPart::Prize(0, Prize { amount: 100, count: 3 }),
            PlanPart::Slot(0, Slot { start: 5, length_s: 2, quota: 1 }),
            PlanPart::Slot(63, Slot { start: 8, length_s: 2, quota: 2 }),
        ] {
            campaign.plan.put(&part);
        }
        campaign.phase = CampaignPhase::Paused;
        let words: Vec<u64> = campaign.words().collect();
        let again = Campaign::load(EnvelopeId(7), 1, words.iter().copied()).unwrap();
        assert_eq!((again.phase, &again.plan), (campaign.phase, &campaign.plan));
        for cut in 0..words.len() {
            assert!(Campaign::load(EnvelopeId(7), 1, words[..cut].iter().copied()).is_none());
        }
        let longer = words.iter().copied().chain([0]).collect::<Vec<_>>();
        assert!(Campaign::load(EnvelopeId(7), 1, longer.into_iter()).is_none());
    }

    #[test]
    fn a_campaign_keeps_its_place() {
        let mut campaigns = Campaigns::new();
        let of = |n| Campaign::ordered(EnvelopeId(n));
        (1..=3).for_each(|n| campaigns.insert(of(n)));
        campaigns.remove(EnvelopeId(2));
        assert_eq!(campaigns.at(2).map(|campaign| campaign.envelope), Some(EnvelopeId(3)));
        campaigns.insert(of(4));
        assert_eq!(campaigns.at(1).map(|campaign| campaign.envelope), Some(EnvelopeId(4)));
        (5..70).for_each(|n| campaigns.insert(of(n)));
        assert!(!campaigns.has_room() && campaigns.find(EnvelopeId(69)).is_some());
    }
}
