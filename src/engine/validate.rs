//! What is decided: outcomes, and the records that would make them so.
//!
//! Nothing here changes the state. A user's own share is looked for before
//! anything else, so that a repeated claim never takes from the stock.

use super::class::SlotRef;
use super::cold::Cold;
use super::eligibility::{Asking, Gate};
use super::header::Header;
use super::paying::voided;
use super::senders::Senders;
use super::slots::{Slot, Vacancy};
use super::tail::Tail;
use super::transition::rank_check;
use super::{
    Cause, Claimed, Closed, Decision, Engine, Issued, Outcome, Record, partition_of, split,
};
use crate::limits::{DETAIL_ROWS_MAX, TERMS_PART_BYTES};
use crate::planted::{Bug, is_planted};
use crate::units::{
    EnvelopeId, EnvelopeState, Fen, MoneySource, Seed, Split, Time, UnixSeconds, UserId, VoidCause,
};
use crate::wire::{BadRequest, Evidence, Ineligible, Row, SendOrder, Summary};

impl Decision {
    /// Something to tell that changes nothing.
    pub(super) fn only(outcome: Outcome) -> Self {
        Self { outcome, record: None }
    }
}

impl Engine {
    /// Decides about an order. The seed becomes the envelope's secret if it is
    /// new; `now` is when its lifetime begins or, where its money must come
    /// first, its wait for it.
    pub fn issue(&self, order: &SendOrder, seed: Seed, now: Time) -> Decision {
        self.issue_with(order, &[], seed, now)
    }

    /// Decides about an order with terms, in the form in which they are kept.
    /// Its record must be applied after the parts of the terms.
    pub fn issue_with(&self, order: &SendOrder, terms: &[u8], seed: Seed, now: Time) -> Decision {
        if let Some(earlier) = self.orders.find(&self.slots, order.sender, order.order) {
            let before = self.issued_before(earlier, order, terms);
            return Decision::only(before.unwrap_or(Outcome::Conflict));
        }
        if let Err(broken) = self.limits.check(order, now) {
            return Decision::only(Outcome::Invalid(broken));
        }
        let tail = Tail::of(terms, order.shares);
        let Some(tail) = tail.filter(|_| self.limits.allow_terms(order, terms, now)) else {
            return Decision::only(Outcome::Invalid(BadRequest::Terms));
        };
        let at = now.seconds();
        let allows = |senders: &Senders| senders.allow(order.sender, order.total, at);
        if !self.senders.as_ref().is_none_or(allows) {
            return Decision::only(Outcome::LimitReached);
        }
        if order.split == Split::Prizes && !self.campaigns.has_room() {
            return Decision::only(Outcome::Full);
        }
        let Some(vacancy) = self.vacancy(order.sender, order.shares, tail) else {
            return Decision::only(Outcome::Full);
        };
        let envelope = vacancy.envelope;
        let terms_parts = terms.len().div_ceil(TERMS_PART_BYTES);
        let terms_parts = u8::try_from(terms_parts).unwrap_or(u8::MAX); // they were read
        let issued = Issued { terms_parts, ..self.issued(envelope, order, seed, at) };
        let record = Record::Issued(issued);
        let is_open = order.source == MoneySource::Vouched;
        let state = if is_open { EnvelopeState::Open } else { EnvelopeState::Reserved };
        let outcome = Outcome::Issued { envelope, state, repeated: false };
        Decision { outcome, record: Some(record) }
    }

    fn issued(
        &self,
        envelope: EnvelopeId,
        order: &SendOrder,
        seed: Seed,
        at: UnixSeconds,
    ) -> Issued {
        Issued {
            envelope,
            sender: order.sender,
            order: order.order,
            payment: order.payment,
            total: order.total,
            seed,
            nonce: order.nonce,
            shares: order.shares,
            share_max: order.share_max,
            lifetime_s: order.lifetime_s,
            pay_within_s: self.limits.wait_of(order),
            at,
            split: order.split,
            source: order.source,
            terms_parts: 0,
        }
    }

    /// What an order is told whose number was used before: the same envelope
    /// if it asks for the same.
    fn issued_before(&self, earlier: SlotRef, order: &SendOrder, terms: &[u8]) -> Option<Outcome> {
        let (slot, cold) = (self.slots.at(earlier)?, self.slots.cold(earlier)?);
        let header = &slot.header;
        let waits = header.is_reserved();
        let ordered = SendOrder {
            sender: cold.sender,
            order: cold.order,
            payment: if header.marks.is_named_later() { 0 } else { cold.payment },
            total: cold.total,
            shares: header.shares,
            lifetime_s: if waits {
                cold.ended_at
            } else {
                header.expires_at.saturating_sub(cold.created_at)
            },
            share_max: header.share_max,
            split: header.split,
            source: header.marks.source(),
            nonce: cold.nonce,
        };
        let envelope = self.slots.id_of(earlier, header.generation)?;
        let state = header.state;
        let same = ordered == *order && self.slots.terms_bytes(&slot) == terms;
        same.then_some(Outcome::Issued { envelope, state, repeated: true })
    }

    /// The place that a sender's next envelope of this size gets, if there is
    /// room in all tables.
    fn vacancy(&self, sender: UserId, shares: u32, tail: Tail) -> Option<Vacancy> {
        if self.live >= self.capacity.envelopes {
            return None;
        }
        self.vacancies.find(&self.slots, partition_of(sender), shares, tail)
    }

    /// The cheap look: is anything left for this user? Nothing is won by it.
    #[inline]
    pub fn grab(&self, envelope: EnvelopeId, user: UserId, now: Time) -> Outcome {
        let Some(slot) = self.slots.get(envelope) else {
            return Outcome::NotFound;
        };
        if let Some(held) = self.share_of(&slot, user) {
            return held;
        }
        if let Some(refusal) = refusal(&slot.header) {
            return refusal;
        }
        let winnable = Outcome::Winnable { shares_left: slot.header.shares_left() };
        if !slot.header.has_terms {
            return winnable;
        }
        self.looks_kept_out(&slot, user, now).unwrap_or(winnable)
    }

    /// Decides about one share. A user who has one is told its amount again,
    /// for ever; from an open envelope whose time is over nothing is given,
    /// even if nobody has closed it yet.
    #[expect(clippy::inline_always, reason = "measured: a record given back costs 3 ns to read")]
    #[inline(always)]
    pub fn claim(&self, envelope: EnvelopeId, user: UserId, now: Time) -> Decision {
        let Some(slot) = self.slots.get(envelope) else {
            return Decision::only(Outcome::NotFound);
        };
        if let Some(held) = self.share_of(&slot, user) {
            return Decision::only(held);
        }
        let now_or_then = if is_planted(Bug::ClaimAfterExpiry) { Time(0) } else { now };
        if let Some(refusal) = refusal_now(&slot.header, now_or_then) {
            return Decision::only(refusal);
        }
        if slot.header.has_terms {
            return self.claim_by_terms(&slot, envelope, user, now);
        }
        won(&slot, envelope, user, now)
    }

    /// Decides about one share like [`Engine::claim`], with what the claimer
    /// shows. Of an envelope without terms it is the same.
    pub fn claim_with(
        &self,
        envelope: EnvelopeId,
        user: UserId,
        evidence: &Evidence<'_>,
        gate: &Gate,
        now: Time,
    ) -> Decision {
        let slot = match self.claimable(envelope, user, now) {
            Ok(slot) => slot,
            Err(told) => return Decision::only(told),
        };
        let asking = Asking { envelope, user, evidence, now };
        let kept_out =
            if slot.header.has_terms { self.kept_out(&slot, &asking, gate) } else { None };
        let kept_out = kept_out.or_else(|| self.graded_out(&slot, user));
        kept_out.unwrap_or_else(|| won(&slot, envelope, user, now))
    }

    /// A claim that shows nothing, of an envelope that may ask for something.
    #[cold]
    fn claim_by_terms(
        &self,
        slot: &Slot,
        envelope: EnvelopeId,
        user: UserId,
        now: Time,
    ) -> Decision {
        let evidence = Evidence::default();
        let asking = Asking { envelope, user, evidence: &evidence, now };
        let kept_out = self.kept_out(slot, &asking, &Gate::default());
        let kept_out = kept_out.or_else(|| self.graded_out(slot, user));
        kept_out.unwrap_or_else(|| won(slot, envelope, user, now))
    }

    /// The last rule of all terms, the grade, is told like any verdict of risk.
    fn graded_out(&self, slot: &Slot, user: UserId) -> Option<Decision> {
        let is_out = slot.header.has_terms && self.is_below_grade(slot, user);
        is_out.then(|| Decision::only(Outcome::Withheld))
    }

    /// The envelope, if it still has shares for anybody and this user has none.
    /// A plain claim says the same in its own words, for it copies nothing.
    fn claimable(&self, envelope: EnvelopeId, user: UserId, now: Time) -> Result<Slot, Outcome> {
        let slot = self.slots.get(envelope).ok_or(Outcome::NotFound)?;
        if let Some(held) = self.share_of(&slot, user) {
            return Err(held);
        }
        refusal_now(&slot.header, now).map_or(Ok(slot), Err)
    }

    #[inline]
    fn share_of(&self, slot: &Slot, user: UserId) -> Option<Outcome> {
        let rank = self.slots.rank_of(slot, user)?;
        if self.is_withheld(slot, user) && !is_planted(Bug::HeldTold) {
            return Some(Outcome::Withheld);
        }
        let rank = if is_planted(Bug::RepeatRedrawn) { 0 } else { rank };
        let amount = u64::from(self.slots.row(slot, rank).amount);
        Some(Outcome::AlreadyClaimed { amount })
    }

    /// The summary of an envelope: total = claimed + refunded + left, once it
    /// is paid.
    pub fn show(&self, envelope: EnvelopeId) -> Option<Summary> {
        let slot = self.slots.get(envelope)?;
        let (header, cold) = (slot.header, self.slots.cold(slot.reference())?);
        Some(Summary {
            sender: cold.sender,
            order: cold.order,
            payment: cold.payment,
            total: cold.total,
            left: header.left(),
            refunded: header.refunded() + self.withheld(envelope).rejected_fen,
            shares: header.shares,
            claimed: header.claimed,
            share_max: header.share_max,
            created_at: cold.created_at,
            expires_at: header.expires_at,
            state: header.state,
            split: header.split,
            source: header.marks.source(),
            luckiest: self.luckiest(envelope, &slot).map(|row| (row.user, row.amount.into())),
        })
    }

    /// The head of a page of claims, from rank `from`, of at most `rows_max`
    /// rows and at most [`DETAIL_ROWS_MAX`].
    pub fn detail(&self, envelope: EnvelopeId, from: u32, rows_max: u32) -> Outcome {
        let Some(slot) = self.slots.get(envelope) else {
            return Outcome::NotFound;
        };
        if self.is_hidden(&slot) {
            return Outcome::NotEligible(Ineligible::Hidden);
        }
        let (shares, claimed) = (slot.header.shares, slot.header.claimed);
        let count = claimed.saturating_sub(from).min(rows_max).min(DETAIL_ROWS_MAX);
        Outcome::Detail { shares, claimed, from, count }
    }

    /// The claims from rank `from` on, by rank; none where there is no such
    /// envelope. Of a share that is withheld nothing is told but that it is gone.
    pub fn rows(&self, envelope: EnvelopeId, from: u32) -> impl Iterator<Item = Row> + '_ {
        let slot = self.slots.get(envelope).into_iter();
        let rows = slot.flat_map(move |slot| self.slots.rows(slot, from));
        rows.map(move |row| self.shown(envelope, row))
    }

    /// Decides about giving what is left back to the sender; nobody else may
    /// ask for it. A repeat is told the same amount and refunds nothing.
    pub fn cancel(&self, envelope: EnvelopeId, sender: UserId, now: Time) -> Decision {
        let Some(slot) = self.slots.get(envelope) else {
            return Decision::only(Outcome::NotFound);
        };
        let header = &slot.header;
        let sent_by = |cold: Cold| cold.sender == sender || is_planted(Bug::AnybodyCancels);
        if !self.slots.cold(slot.reference()).is_some_and(sent_by) {
            return Decision::only(Outcome::Denied);
        }
        let amount = header.unclaimed;
        if header.state == EnvelopeState::Cancelled {
            return Decision::only(Outcome::Refunded { amount, repeated: true });
        }
        if let Some(refusal) = refusal_now(header, now) {
            return Decision::only(refusal);
        }
        let held = self.withheld(envelope).held_fen;
        let record = closed(envelope, sender, &slot, Cause::Cancelled, held, now);
        Decision { outcome: Outcome::Refunded { amount, repeated: false }, record: Some(record) }
    }

    /// The record that ends this envelope, if its time is over: one that is open
    /// expires, one that is reserved lapses. Asked before every request on an
    /// envelope, so that whoever first touches a due one ends it.
    #[inline]
    pub fn overdue(&self, envelope: EnvelopeId, now: Time) -> Option<Record> {
        self.overdue_slot(envelope, &self.slots.get(envelope)?, now)
    }

    /// The same of an envelope that was found.
    #[inline]
    pub(super) fn overdue_slot(
        &self,
        envelope: EnvelopeId,
        slot: &Slot,
        now: Time,
    ) -> Option<Record> {
        if !slot.header.is_overdue(now) {
            return None;
        }
        let cold = self.slots.cold(slot.reference())?;
        Some(if slot.header.is_open() {
            let held = self.withheld(envelope).held_fen;
            closed(envelope, cold.sender, slot, Cause::Expired, held, now)
        } else {
            voided(envelope, slot, &cold, VoidCause::Lapsed, now)
        })
    }
}

/// Why an envelope gives nothing; `None` for an open one.
#[inline]
fn refusal(header: &Header) -> Option<Outcome> {
    match header.state {
        EnvelopeState::Open => None,
        EnvelopeState::Exhausted => Some(Outcome::SoldOut),
        EnvelopeState::Expired => Some(Outcome::Expired),
        EnvelopeState::Cancelled => Some(Outcome::Cancelled),
        EnvelopeState::Reserved => Some(Outcome::NotPaid),
        EnvelopeState::Voided => Some(Outcome::NeverPaid),
    }
}

/// Like [`refusal`], and one whose time is over counts as expired or lapsed.
#[inline]
pub(super) fn refusal_now(header: &Header, now: Time) -> Option<Outcome> {
    match header.is_overdue(now) {
        true if header.is_open() => Some(Outcome::Expired),
        true => Some(Outcome::NeverPaid),
        false => refusal(header),
    }
}

/// The next share, for a user who may have it.
#[inline]
fn won(slot: &Slot, envelope: EnvelopeId, user: UserId, now: Time) -> Decision {
    let header = &slot.header;
    if header.split == Split::Prizes {
        return Decision::only(Outcome::ByShakingOnly);
    }
    let (rank, left) = (header.claimed, header.unclaimed);
    let amount =
        split::draw(header.split, header.seed, rank, left, header.shares_left(), header.share_max);
    let record = Record::Claimed(Claimed {
        envelope,
        user,
        // Lossless: the cap of every share is within 32 bits.
        amount: u32::try_from(amount).unwrap_or(u32::MAX),
        rank: rank_check(rank),
        at: now.seconds(),
    });
    Decision { outcome: Outcome::Claimed { amount }, record: Some(record) }
}

fn closed(
    envelope: EnvelopeId,
    sender: UserId,
    slot: &Slot,
    cause: Cause,
    held: Fen,
    now: Time,
) -> Record {
    let (refunded, at) = (slot.header.unclaimed, now.seconds());
    Record::Closed(Closed { envelope, sender, refunded, held, cause, at })
}
