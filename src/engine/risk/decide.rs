//! What is decided about holds and marks, and what their records do.
//!
//! A hold ends by exactly one record, whoever comes first: a word of the risk
//! service or of an operator before its time is over, and from then on time. So
//! a release, a rejection and a time-out that race are told which of them won.

use super::super::slots::Slot;
use super::super::{
    Claimed, Decision, Engine, Guessed, Held, Marked, Misfit, Outcome, Record, Resolved,
};
use super::holds::Withheld;
use super::{Recent, Risk, RiskSettings};
use crate::planted::{Bug, is_planted};
use crate::units::{EnvelopeId, Fen, Split, Time, UnixSeconds, UserId};
use crate::wire::{
    Hold, HoldState, HoldsFrom, Mark, Resolution, ResolvedBy, RiskRule, Row, Standing,
};

impl Engine {
    /// The same engine, and what risk needs beside its envelopes. Everything is
    /// reserved here: [`Engine::risk_bytes`].
    #[must_use]
    pub fn with_risk(mut self, settings: RiskSettings) -> Self {
        self.risk = Risk::new(settings);
        self
    }

    /// The bytes that [`Engine::with_risk`] reserves.
    pub fn risk_bytes(settings: &RiskSettings) -> usize {
        Risk::bytes(settings)
    }

    /// What is known of a user here.
    #[inline]
    pub fn standing(&self, user: UserId) -> Standing {
        self.risk.standings.as_ref().map_or_else(Standing::default, |all| all.of(user))
    }

    /// The grade that counts of a standing.
    #[inline]
    pub fn grade_of(&self, standing: &Standing) -> u8 {
        if standing.grade > 0 { standing.grade } else { self.risk.settings.grade_unknown }
    }

    /// Whether grades are kept, so that terms may ask for one.
    pub fn keeps_grades(&self) -> bool {
        self.risk.standings.is_some()
    }

    /// Whether this user's grade is below what the terms of an envelope ask for.
    pub(in super::super) fn is_below_grade(&self, slot: &Slot, user: UserId) -> bool {
        let wanted = self.slots.terms(slot).grade_min;
        wanted > 0 && self.grade_of(&self.standing(user)) < wanted
    }

    /// Decides about a mark; the same again changes nothing.
    pub fn mark(&self, partition: u8, user: UserId, mark: Mark, now: Time) -> Decision {
        let before = self.standing(user);
        let standing = before.with(mark, now.seconds());
        if standing == (Standing { at: standing.at, ..before }) {
            return Decision::only(Outcome::Arranged { repeated: true });
        }
        if !self.risk.standings.as_ref().is_some_and(|all| all.has_room_for(user)) {
            return Decision::only(Outcome::Full);
        }
        let outcome = Outcome::Arranged { repeated: false };
        Decision { outcome, record: Some(Record::Marked(Marked { partition, user, standing })) }
    }

    /// How an envelope is cut.
    pub fn split_of(&self, envelope: EnvelopeId) -> Option<Split> {
        self.slots.get(envelope).map(|slot| slot.header.split)
    }

    /// What a shake is told that wins nothing.
    pub fn nothing_won(&self, campaign: EnvelopeId) -> Decision {
        let fallback = self.campaigns.find(campaign).map_or(0, |found| found.plan.terms().fallback);
        Decision::only(Outcome::NothingWon { fallback })
    }

    /// Holds a share that was just drawn, in the place of giving it.
    pub fn hold(&self, claimed: &Claimed, rule: RiskRule, hold_s: u32) -> Decision {
        if !self.risk.holds.has_room() {
            return Decision::only(Outcome::Full);
        }
        let until = claimed.at.saturating_add(hold_s);
        let record = Record::Held(Held { claimed: *claimed, rule, until });
        Decision { outcome: Outcome::Withheld, record: Some(record) }
    }

    /// Decides about a held share. From the moment on at which time decides, time
    /// decides; whoever comes too late is told so by a conflict.
    pub fn resolve(
        &self,
        envelope: EnvelopeId,
        user: UserId,
        resolution: Resolution,
        now: Time,
    ) -> Decision {
        let Some(hold) = self.risk.holds.get(envelope, user) else {
            return Decision::only(self.resolved_before(envelope, user, resolution));
        };
        let amount = Fen::from(hold.amount);
        let told = |won: Resolution, repeated| {
            let resolved = Outcome::Resolved { amount, repeated };
            if won == resolution { resolved } else { Outcome::Conflict }
        };
        match hold.state {
            HoldState::Rejected => Decision::only(told(Resolution::Reject, true)),
            HoldState::Held if now.seconds() >= hold.until => {
                let won = self.risk.settings.timed_out;
                let record = self.resolved(hold, won, ResolvedBy::Time, now);
                Decision { outcome: told(won, false), record }
            }
            HoldState::Held => {
                let record = self.resolved(hold, resolution, ResolvedBy::Word, now);
                Decision { outcome: told(resolution, false), record }
            }
        }
    }

    /// Without a hold a share is its claimant's, and to release it changes nothing.
    fn resolved_before(
        &self,
        envelope: EnvelopeId,
        user: UserId,
        resolution: Resolution,
    ) -> Outcome {
        let share = self.slots.get(envelope).and_then(|slot| {
            let rank = self.slots.rank_of(&slot, user)?;
            Some(Fen::from(self.slots.row(&slot, rank).amount))
        });
        match (share, resolution) {
            (None, _) => Outcome::NotFound,
            (Some(amount), Resolution::Release) => Outcome::Resolved { amount, repeated: true },
            (Some(amount), Resolution::Reject) if is_planted(Bug::GivenRejected) => {
                Outcome::Resolved { amount, repeated: true }
            }
            (Some(_), Resolution::Reject) => Outcome::Conflict,
        }
    }

    fn resolved(
        &self,
        hold: &Hold,
        resolution: Resolution,
        by: ResolvedBy,
        now: Time,
    ) -> Option<Record> {
        let slot = self.slots.get(hold.envelope)?;
        let sender = self.slots.cold(slot.reference())?.sender;
        let &Hold { envelope, user, amount, .. } = hold;
        let at = now.seconds();
        Some(Record::Resolved(Resolved { envelope, user, sender, amount, at, resolution, by }))
    }

    /// The record that ends the hold whose time is over first, if one's is. It is
    /// the same one until it is applied.
    pub fn due_hold(&self, now: Time) -> Option<Record> {
        let hold = self.risk.holds.first_due(now.seconds())?;
        self.resolved(hold, self.risk.settings.timed_out, ResolvedBy::Time, now)
    }

    /// Held and rejected shares as asked for, in the order of envelope and user.
    pub fn holds(&self, from: &HoldsFrom) -> impl Iterator<Item = Hold> + Clone + '_ {
        let (only, user) = (from.only, from.after.1);
        let after = self.risk.holds.after(from.after).iter().copied();
        after.filter(move |hold| !only || hold.user == user)
    }

    /// Whether a user's share of an envelope is held or was rejected.
    #[inline]
    pub(in super::super) fn is_withheld(&self, slot: &Slot, user: UserId) -> bool {
        !self.risk.holds.is_empty() && self.is_among_holds(slot, user)
    }

    #[cold]
    fn is_among_holds(&self, slot: &Slot, user: UserId) -> bool {
        let id = self.slots.id_of(slot.reference(), slot.header.generation);
        id.is_some_and(|id| self.risk.holds.get(id, user).is_some())
    }

    /// What is withheld of an envelope.
    pub(in super::super) fn withheld(&self, envelope: EnvelopeId) -> Withheld {
        if self.risk.holds.is_empty() {
            Withheld::default()
        } else {
            self.risk.holds.withheld(envelope)
        }
    }

    /// A row as others see it: of a share that is not given nothing but its place.
    pub(in super::super) fn shown(&self, envelope: EnvelopeId, row: Row) -> Row {
        if self.risk.holds.is_empty() || self.risk.holds.get(envelope, row.user).is_none() {
            return row;
        }
        Row { user: UserId(0), amount: 0, at: 0 }
    }

    /// Until when holds keep an envelope from being recycled; 0 where none do.
    pub(in super::super) fn held_until(&self, envelope: EnvelopeId) -> UnixSeconds {
        let held = self.risk.holds.of(envelope).iter();
        let held = held.filter(|hold| hold.state == HoldState::Held);
        held.map(|hold| hold.until).max().unwrap_or(0)
    }

    /// The largest share that was given of an exhausted envelope, the earliest of
    /// the equal; nobody while one is held, for it might be that.
    pub(in super::super) fn luckiest(&self, envelope: EnvelopeId, slot: &Slot) -> Option<Row> {
        let withheld = self.withheld(envelope);
        if withheld.held > 0 {
            return None;
        }
        let is_given =
            |row: &Row| withheld.rejected == 0 || self.risk.holds.get(envelope, row.user).is_none();
        self.slots.luckiest_of(slot, is_given)
    }

    pub(in super::super) fn apply_held(&mut self, record: &Held) -> Result<(), Misfit> {
        let envelope = record.claimed.envelope;
        let is_campaign = |slot: Slot| slot.header.split == Split::Prizes;
        if self.slots.get(envelope).is_some_and(is_campaign) {
            return Err(Misfit::Contradiction(envelope));
        }
        if !self.risk.holds.has_room() {
            return Err(Misfit::Full);
        }
        let exhausted = self.slots.claim(&record.claimed)?.exhausted;
        self.risk.holds.put(record.hold());
        if let Some(slot) = exhausted {
            self.end(slot, record.claimed.at);
            self.renew_luckiest(envelope);
        }
        self.totals.hold(record.claimed.amount.into(), exhausted.is_some());
        Ok(())
    }

    pub(in super::super) fn apply_resolved(&mut self, record: &Resolved) -> Result<(), Misfit> {
        let &Resolved { envelope, user, sender, amount, at, resolution, by } = record;
        let contradiction = Misfit::Contradiction(envelope);
        let hold = *self.risk.holds.get(envelope, user).ok_or(contradiction)?;
        let slot = self.slots.get(envelope).ok_or(contradiction)?;
        let cold = self.slots.cold(slot.reference()).ok_or(contradiction)?;
        let in_time = (at >= hold.until) == (by == ResolvedBy::Time);
        let is_it = hold.state == HoldState::Held && hold.amount == amount;
        if !in_time || !is_it || cold.sender != sender {
            return Err(contradiction);
        }
        match resolution {
            Resolution::Release => {
                self.risk.holds.remove(envelope, user);
                self.totals.release(amount.into());
            }
            Resolution::Reject if is_planted(Bug::RejectedGiven) => {
                self.risk.holds.remove(envelope, user);
                self.totals.reject(amount.into());
            }
            Resolution::Reject => {
                self.risk.holds.put(Hold { state: HoldState::Rejected, ..hold });
                self.totals.reject(amount.into());
                self.renew_luckiest(envelope);
            }
        }
        Ok(())
    }

    /// A wrong guess counts at its envelope for ever, and in a window for its user.
    pub(in super::super) fn apply_guessed(&mut self, record: &Guessed) -> Result<(), Misfit> {
        self.slots.guess(record)?;
        self.remember(&Record::Guessed(*record));
        Ok(())
    }

    /// Remembers what rules of risk count, if it is that.
    pub(in super::super) fn remember(&mut self, record: &Record) {
        if let Some(recent) = Recent::of(record) {
            self.risk.lately.push(recent);
        }
    }

    /// What happened of late that rules count and that no envelope has with its time.
    pub fn recent(&self) -> impl Iterator<Item = Recent> + '_ {
        self.risk.lately.iter()
    }

    pub(in super::super) fn apply_marked(&mut self, record: &Marked) -> Result<(), Misfit> {
        let kept = self.risk.standings.as_mut();
        let is_kept = kept.is_none_or(|all| all.put(record.user, record.standing));
        if is_kept { Ok(()) } else { Err(Misfit::Full) }
    }

    /// Of a large envelope the luckiest is kept claim by claim, so whoever was
    /// rejected must be replaced.
    pub(in super::super) fn renew_luckiest(&mut self, envelope: EnvelopeId) {
        let Self { slots, risk, .. } = self;
        let is_out = |user| {
            let hold = risk.holds.get(envelope, user);
            hold.is_some_and(|hold| hold.state == HoldState::Rejected)
        };
        if let Some(slot) = slots.get(envelope).filter(|slot| slot.class.is_large()) {
            slots.renew_luckiest(&slot, is_out);
        }
    }
}

impl Held {
    /// What is kept of it beside the claim.
    pub(super) fn hold(&self) -> Hold {
        let Claimed { envelope, user, amount, at, .. } = self.claimed;
        let (until, rule, state) = (self.until, self.rule, HoldState::Held);
        Hold { envelope, user, amount, at, until, rule, state }
    }
}
