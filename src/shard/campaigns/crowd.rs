//! What all shards know of the campaigns: how likely a shake is worth asking
//! about, and how many shakes there were.
//!
//! A hint and nothing more. Whatever stands here, prizes are given by the owner
//! alone, which decides exactly; so nothing is locked, and a value that is some
//! milliseconds old costs a hop or a little of a slot's evenness. Nothing is
//! told from here that is not committed: a losing answer says nothing about
//! anybody's win, and a refusal is shown only when its record is durable.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::engine::Outcome;
use crate::limits::CAMPAIGNS_SHOWN_MAX;
use crate::units::EnvelopeId;

/// One campaign, as its owner shows it; a line of the cache of its own, because
/// tickets are taken from it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shown {
    /// A draw below this goes on to the owner.
    threshold: AtomicU64,
    /// How many may still go on before the owner looks again.
    tickets: AtomicI64,
    /// What is told without a draw; 0 while prizes are given out.
    refusal: AtomicU64,
    /// What a loser is told.
    fallback: AtomicU64,
}

/// Shakes that one shard has met; only that shard writes it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Tally(AtomicU64);

/// What shards show each other of their campaigns.
#[derive(Debug)]
pub(in crate::shard) struct Crowd {
    /// The campaign of each place; 0 is none. Together, for they are searched.
    ids: Box<[AtomicU64]>,
    shown: Box<[Shown]>,
    /// By place and shard.
    shakes: Box<[Tally]>,
    shards: usize,
}

/// What becomes of a shake where it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drawn {
    /// Its owner decides.
    AskOwner,
    /// It is over here.
    Told(Outcome),
}

impl Crowd {
    /// No campaigns, between so many shards.
    pub(in crate::shard) fn between(shards: usize) -> Self {
        Self {
            ids: (0..CAMPAIGNS_SHOWN_MAX).map(|_| AtomicU64::default()).collect(),
            shown: (0..CAMPAIGNS_SHOWN_MAX).map(|_| Shown::default()).collect(),
            shakes: (0..CAMPAIGNS_SHOWN_MAX * shards).map(|_| Tally::default()).collect(),
            shards,
        }
    }

    /// The bytes that [`Crowd::between`] reserves.
    pub(in crate::shard) fn memory_bytes(shards: usize) -> usize {
        let place = size_of::<AtomicU64>() + size_of::<Shown>() + shards * size_of::<Tally>();
        CAMPAIGNS_SHOWN_MAX * place
    }

    #[inline]
    fn place_of(&self, campaign: EnvelopeId) -> Option<usize> {
        let is_it = |id: &AtomicU64| id.load(Ordering::Acquire) == campaign.0;
        if campaign.0 == 0 { None } else { self.ids.iter().position(is_it) }
    }

    /// Counts a shake that has arrived at `shard`, and draws.
    #[inline]
    pub(super) fn draw(
        &self,
        campaign: EnvelopeId,
        shard: usize,
        random: impl FnOnce() -> u64,
    ) -> Drawn {
        let Some(place) = self.place_of(campaign) else { return Drawn::AskOwner };
        let tally = &self.shakes[place * self.shards + shard].0;
        tally.store(tally.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let shown = &self.shown[place];
        let refusal = shown.refusal.load(Ordering::Acquire);
        let fallback = shown.fallback.load(Ordering::Relaxed);
        let threshold = shown.threshold.load(Ordering::Relaxed);
        if self.ids[place].load(Ordering::Acquire) != campaign.0 {
            return Drawn::AskOwner; // the place went to another campaign meanwhile
        }
        if refusal != 0 {
            return refusal_of(refusal).map_or(Drawn::AskOwner, Drawn::Told);
        }
        let is_drawn = random() < threshold || threshold == u64::MAX;
        if is_drawn && shown.tickets.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Drawn::AskOwner;
        }
        let fallback = u32::try_from(fallback).unwrap_or(0);
        Drawn::Told(Outcome::NothingWon { fallback })
    }

    /// Takes a place for a campaign, which is told nothing of as yet.
    pub(super) fn enter(&self, campaign: EnvelopeId) -> Option<usize> {
        self.ids.iter().position(|id| {
            let (from, to) = (0, campaign.0);
            id.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// Gives a place back, emptied: whoever still finds it asks the owner.
    pub(super) fn leave(&self, place: usize) {
        let shown = &self.shown[place];
        shown.threshold.store(0, Ordering::Relaxed);
        shown.tickets.store(0, Ordering::Relaxed);
        shown.refusal.store(0, Ordering::Relaxed);
        self.ids[place].store(0, Ordering::Release);
    }

    /// What is told without a draw from now on; its record is committed.
    pub(super) fn refuse(&self, place: usize, refusal: Option<Outcome>) {
        self.shown[place].refusal.store(refusal.map_or(0, code_of), Ordering::Release);
    }

    /// How likely a shake goes on to the owner, and how many may.
    pub(super) fn offer(&self, place: usize, threshold: u64, tickets: u32, fallback: u32) {
        let shown = &self.shown[place];
        shown.fallback.store(fallback.into(), Ordering::Relaxed);
        shown.tickets.store(tickets.into(), Ordering::Relaxed);
        shown.threshold.store(threshold, Ordering::Relaxed);
    }

    /// Shakes of a campaign that all shards have met, wrapping.
    pub(super) fn shakes(&self, place: usize) -> u64 {
        let of_shards = &self.shakes[place * self.shards..][..self.shards];
        of_shards.iter().fold(0, |sum, tally| sum.wrapping_add(tally.0.load(Ordering::Relaxed)))
    }
}

/// The refusals that a crowd meets; the owner tells all others.
const REFUSALS: [Outcome; 7] = [
    Outcome::NotBegun,
    Outcome::Paused,
    Outcome::SoldOut,
    Outcome::Expired,
    Outcome::Cancelled,
    Outcome::NotPaid,
    Outcome::NeverPaid,
];

fn code_of(refusal: Outcome) -> u64 {
    let place = REFUSALS.iter().position(|known| *known == refusal);
    place.map_or(u64::MAX, |place| 1 + u64::try_from(place).unwrap_or(u64::MAX - 1))
}

fn refusal_of(code: u64) -> Option<Outcome> {
    let place = usize::try_from(code.checked_sub(1)?).ok()?;
    REFUSALS.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMPAIGN: EnvelopeId = EnvelopeId(77);
    const LOST: Drawn = Drawn::Told(Outcome::NothingWon { fallback: 5 });

    #[test]
    fn what_is_not_shown_is_the_owners() {
        let crowd = Crowd::between(1);
        assert_eq!(crowd.draw(CAMPAIGN, 0, || 0), Drawn::AskOwner);
        assert_eq!(crowd.draw(EnvelopeId(0), 0, || 0), Drawn::AskOwner);
        let place = crowd.enter(CAMPAIGN).unwrap();
        crowd.offer(place, 0, 9, 5);
        assert_eq!(crowd.draw(CAMPAIGN, 0, || 0), LOST);
        crowd.leave(place);
        assert_eq!(crowd.draw(CAMPAIGN, 0, || 0), Drawn::AskOwner);
    }

    #[test]
    fn draws_below_the_threshold_go_on_while_there_are_tickets() {
        let crowd = Crowd::between(2);
        let place = crowd.enter(CAMPAIGN).unwrap();
        crowd.offer(place, 100, 2, 5);
        assert_eq!(crowd.draw(CAMPAIGN, 0, || 100), LOST);
        assert_eq!(crowd.draw(CAMPAIGN, 1, || 99), Drawn::AskOwner);
        assert_eq!(crowd.draw(CAMPAIGN, 0, || 0), Drawn::AskOwner);
        assert_eq!(crowd.draw(CAMPAIGN, 0, || 0), LOST, "no ticket is left");
        crowd.offer(place, u64::MAX, 1, 5);
        assert_eq!(crowd.draw(CAMPAIGN, 0, || u64::MAX), Drawn::AskOwner);
        assert_eq!(crowd.shakes(place), 5);
    }

    #[test]
    fn every_refusal_of_a_campaign_is_told_as_it_is() {
        let crowd = Crowd::between(1);
        let place = crowd.enter(CAMPAIGN).unwrap();
        crowd.offer(place, u64::MAX, 1, 5);
        for refusal in REFUSALS {
            crowd.refuse(place, Some(refusal));
            assert_eq!(crowd.draw(CAMPAIGN, 0, || 0), Drawn::Told(refusal));
        }
        crowd.refuse(place, Some(Outcome::NotFound));
        assert_eq!(crowd.draw(CAMPAIGN, 0, || 0), Drawn::AskOwner, "the owner knows better");
        crowd.refuse(place, None);
        assert_eq!(crowd.draw(CAMPAIGN, 0, || 0), Drawn::AskOwner);
    }

    #[test]
    fn campaigns_beyond_the_places_are_not_shown() {
        let crowd = Crowd::between(1);
        let ids = 1..=u64::try_from(CAMPAIGNS_SHOWN_MAX).unwrap();
        assert!(ids.map(EnvelopeId).all(|id| crowd.enter(id).is_some()));
        assert_eq!(crowd.enter(CAMPAIGN_BEYOND), None);
        assert_eq!(crowd.draw(CAMPAIGN_BEYOND, 0, || 0), Drawn::AskOwner);
    }

    const CAMPAIGN_BEYOND: EnvelopeId = EnvelopeId(1 << 40);
}
