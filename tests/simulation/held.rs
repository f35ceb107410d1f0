//! The held shares of one envelope as they were told: what is decided about one
//! is decided for ever, and until then nobody is told what it is.

use std::collections::{BTreeMap, BTreeSet};

use hongbao::units::{EnvelopeState, Fen, UserId};
use hongbao::wire::{Reply, ReplyBody, Request, Resolution, Row, Status, Summary};

use crate::client::Asked;
use crate::envelope::{Envelope, Moment};
use crate::history::{Event, contradiction, given};
use crate::ledger::Pocket;

/// What is not given of one envelope.
#[derive(Default)]
pub(crate) struct Holds {
    /// Larger shares are held, if any are.
    pub(crate) above: Option<Fen>,
    /// Who was told that a share is not given, and when first.
    withheld: BTreeMap<UserId, u64>,
    /// Whose share went back, its amount if that was told, and when first.
    rejected: BTreeMap<UserId, (Option<Fen>, u64)>,
    /// Whose share is known to be given, though not what it is, and since when.
    given: BTreeMap<UserId, u64>,
    /// Whose hold was ended by somebody who was told so.
    decided: BTreeSet<UserId>,
    /// Ranks whose rows are blank.
    blank: BTreeSet<u32>,
}

impl Holds {
    /// How many users were told that a share is not given.
    pub(crate) fn told(&self) -> usize {
        self.withheld.len()
    }

    /// How many holds were ended by somebody who was told so.
    pub(crate) fn decided(&self) -> usize {
        self.decided.len()
    }

    /// How many rows are blank.
    pub(crate) fn blank(&self) -> usize {
        self.blank.len()
    }

    /// Somebody whose share was not given.
    pub(crate) fn some_withheld(&self, number: u64) -> Option<UserId> {
        let count = u64::try_from(self.withheld.len()).ok().filter(|count| *count > 0)?;
        let nth = usize::try_from(number % count).ok()?;
        self.withheld.keys().nth(nth).copied()
    }

    /// Whether somebody was told before this step that this share is not given.
    pub(crate) fn was_told(&self, user: UserId, asked_at: u64) -> bool {
        self.withheld_at(user).is_some_and(|told_at| told_at < asked_at)
    }

    pub(crate) fn withheld_at(&self, user: UserId) -> Option<u64> {
        self.withheld.get(&user).copied()
    }

    /// Who was told before this step that a share is not given.
    pub(crate) fn told_before(&self, asked_at: u64) -> impl Iterator<Item = UserId> + '_ {
        let before = self.withheld.iter().filter(move |(_, told_at)| **told_at < asked_at);
        before.map(|(user, _)| *user)
    }

    /// A share is told: whatever went back is nobody's, and what was held is not new.
    pub(crate) fn gives(&self, user: UserId, amount: Fen, is_new: bool) {
        assert!(!self.rejected.contains_key(&user), "{user}'s share had gone back");
        let is_held = self.withheld.contains_key(&user);
        assert!(!is_new || !is_held, "{user}'s share was withheld and is new");
        let is_large = self.above.is_some_and(|above| amount > above);
        assert!(is_large || !is_held, "{user}'s share of {amount} was withheld");
        assert!(!is_large || !is_new, "{user} gets {amount} at once");
    }

    /// Whether the share of a user was rejected, as somebody was told.
    pub(crate) fn went_back(&self, user: UserId) -> bool {
        self.rejected.contains_key(&user)
    }

    /// A row is no longer blank.
    pub(crate) fn shows(&mut self, rank: u32) {
        self.blank.remove(&rank);
    }
}

impl Envelope {
    fn was_given(&self, user: UserId, asked_at: u64) -> bool {
        let known_at = self.holds.given.get(&user).copied();
        let told_at = self.shares.get(&user).map(|share| share.told_at);
        known_at.into_iter().chain(told_at).any(|told_at| told_at < asked_at)
    }

    /// A share is held or went back, and was never told as given before.
    pub(crate) fn withholds(&mut self, user: UserId, asked: &Asked, moment: &Moment) {
        let id = self.id;
        assert!(self.holds.above.is_some(), "nothing of {id} is held");
        let first = self.askers.get(&user).copied();
        let first = first.unwrap_or_else(|| panic!("{user} has no share of {id}: never asked"));
        assert!(!self.was_given(user, asked.at), "{user}'s share of {id} was given before");
        let is_new = self.shares.get(&user).is_some_and(|share| share.fresh);
        assert!(!is_new, "{user} got a share of {id} at once, and it is held");
        // It was taken after the first question, whichever answer was lost.
        assert!(!self.had_ended(first), "{id} holds a share after its end");
        self.holds.withheld.entry(user).or_insert(moment.now);
    }

    /// A row tells nothing: its share was never told as given before.
    pub(crate) fn hides(&mut self, rank: u32, row: Row, asked_at: u64) {
        assert_eq!(row, Row { user: UserId(0), amount: 0, at: 0 }, "{}", self.id);
        assert!(self.holds.above.is_some() && !self.is_campaign(), "{}: {rank} is blank", self.id);
        match self.ranks.get(&rank) {
            Some((user, ..)) => {
                assert!(!self.was_given(*user, asked_at), "{}: {rank} is blank again", self.id);
            }
            None => {
                self.holds.blank.insert(rank);
            }
        }
    }

    /// Somebody decides about a share, or hears that this was done before.
    pub(crate) fn resolved(&mut self, asked: &Asked, reply: &Reply, moment: &Moment) {
        let Request::RiskResolve { user, resolution, .. } = asked.request else {
            panic!("{:?} decides nothing", asked.request)
        };
        let is_first = reply.status == Status::Ok && reply.detail == 0;
        if is_first {
            let rejected = self.holds.rejected.get(&user).is_some_and(|told| told.1 < asked.at);
            let is_decided = rejected || self.was_given(user, asked.at);
            let is_new = self.holds.decided.insert(user) && !is_decided;
            assert!(is_new, "{user}'s share of {} is decided twice", self.id);
        }
        match (resolution, reply.status, &reply.body) {
            (Resolution::Release, Status::Ok, ReplyBody::Amount(amount)) => {
                self.has(user, *amount, None, moment.now);
            }
            (Resolution::Release, Status::Conflict, _) => self.goes_back(user, None, moment.now),
            (Resolution::Reject, Status::Ok, ReplyBody::Amount(amount)) => {
                self.goes_back(user, Some(*amount), moment.now);
            }
            (Resolution::Reject, Status::Conflict, _) => {
                assert!(self.askers.contains_key(&user) && !self.holds.went_back(user));
                self.holds.given.entry(user).or_insert(moment.now);
            }
            _ => panic!("{:?} is told {reply:?}", asked.request),
        }
    }

    /// A share went back to the sender, so nobody ever gets it.
    fn goes_back(&mut self, user: UserId, amount: Option<Fen>, now: u64) {
        let is_given = self.was_given(user, u64::MAX);
        assert!(!is_given, "{user}'s share of {} goes back and was given", self.id);
        assert!(self.holds.above.is_some(), "nothing of {} is held", self.id);
        assert!(self.askers.contains_key(&user), "{user} has no share of {}", self.id);
        assert!(amount.is_none() || amount > self.holds.above, "{amount:?} was held");
        let (known, _) = self.holds.rejected.entry(user).or_insert((amount, now));
        let is_same = known.is_none() || amount.is_none() || *known == amount;
        assert!(is_same, "{user}'s share of {} went back as another sum", self.id);
        *known = known.or(amount);
        self.holds.withheld.entry(user).or_insert(now);
    }

    /// Whether there may be nothing to decide about.
    pub(crate) fn may_be_undecidable(&self, asked: &Asked) -> bool {
        let Request::RiskResolve { user, .. } = asked.request else { return false };
        !self.was_given(user, asked.at) && !self.holds.was_told(user, asked.at)
    }

    /// When somebody was first told that this user has taken a share.
    fn taken_at(&self, user: UserId) -> Option<u64> {
        let told_at = self.shares.get(&user).map(|share| share.told_at);
        told_at.into_iter().chain(self.holds.withheld_at(user)).min()
    }

    /// Whether every blank row is a share that is held or went back, to the fen,
    /// as the ledger has them.
    pub(crate) fn settle_withheld(&self, booked: &Pocket) {
        for (user, _) in booked.held().chain(booked.rejected()) {
            assert!(!self.was_given(user, u64::MAX), "{user} was told a share of {}", self.id);
        }
        for &user in self.holds.withheld.keys() {
            let credits = booked.credits.iter().copied();
            let mut all = credits.chain(booked.held()).chain(booked.rejected());
            let amount = all.find(|(whose, _)| *whose == user).map(|(_, amount)| amount);
            assert!(amount > self.holds.above, "{user}'s share of {}: {amount:?}", self.id);
        }
        for (&user, &(told, _)) in &self.holds.rejected {
            let booked = booked.rejected().find(|(whose, _)| *whose == user);
            let amount = booked.unwrap_or_else(|| panic!("{user}'s of {} is kept", self.id)).1;
            assert!(told.is_none_or(|told| told == amount), "{told:?} went back: {amount}");
        }
        if let Some(summary) = &self.summary {
            self.settle_sums(summary, booked);
        }
        if !self.is_campaign() {
            self.settle_history(booked);
        }
    }

    fn settle_sums(&self, summary: &Summary, booked: &Pocket) {
        let (held, rejected) = (sum(booked.held()), sum(booked.rejected()));
        let refunded = booked.refunded.unwrap_or(0) + rejected;
        let is_paid = !matches!(summary.state, EnvelopeState::Reserved | EnvelopeState::Voided);
        if is_paid {
            let all = booked.claimed() + held + summary.left + summary.refunded;
            assert_eq!((all, summary.refunded), (summary.total, refunded), "{}", self.id);
        }
        if self.ranks.len() + self.holds.blank() > 0 {
            let withheld = booked.held().count() + booked.rejected().count();
            assert_eq!(self.holds.blank(), withheld, "{}: {summary:?}", self.id);
        }
    }

    /// The ledger knows who has the rank of a blank row, so held shares have their
    /// place in the only order as well.
    fn settle_history(&self, booked: &Pocket) {
        for (rank, (user, ..)) in &self.ranks {
            let seat = booked.seats.get(usize::try_from(*rank).unwrap());
            assert_eq!(seat, Some(user), "rank {rank} of {}", self.id);
        }
        let taken = (0..).zip(&booked.seats).filter_map(|(rank, user)| {
            let (asked, told) = (*self.askers.get(user)?, self.taken_at(*user)?);
            Some(Event { place: given(rank), asked, told })
        });
        let contradiction = contradiction(taken.chain(self.events.iter().copied()).collect());
        assert_eq!(contradiction, None, "{}: no single thread can have done this", self.id);
    }
}

fn sum(shares: impl Iterator<Item = (UserId, Fen)>) -> Fen {
    shares.map(|(_, amount)| amount).sum()
}
