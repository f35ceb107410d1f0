//! What a shard does with one round of requests: touch their envelopes, then
//! validate, append, apply and hold the reply of each; or pass it on to the
//! shard that owns it.

use std::hint::black_box;

use rand_chacha::rand_core::RngCore;

use super::answer::{Verdict, answer};
use super::mesh::Parcel;
use super::risk::Asker;
use super::turn::{Cause, Fatal, Shard};
use crate::engine::{Decision, Outcome, Place, Record, partition_of};
use crate::journal::{AppendError, Storage};
use crate::limits::PROTOCOL_VERSION;
use crate::net::{Asked, Kernel, Unheard};
use crate::planted::{Bug, is_planted};
use crate::units::{EnvelopeId, Seed, Time, UserId};
use crate::wire::{BadRequest, Request, Status};

/// Requests whose envelopes are touched together, so that their cache misses
/// overlap instead of queueing.
const TOUCH_GROUP: usize = 32;

/// What a mesh that has no room tells to wait, in milliseconds.
const MESH_RETRY_MS: u32 = 10;

impl<S: Storage, K: Kernel> Shard<S, K> {
    /// Decides the requests of our own connections that are in the inbox.
    pub(super) fn decide_inbox(&mut self, now: Time) -> Result<(), Fatal> {
        let (round, attached) = self.inbox.take();
        self.attached = attached;
        self.begin_round(&round);
        let decided = round.chunks(TOUCH_GROUP).try_for_each(|group| {
            self.touch(group);
            group.iter().try_for_each(|asked| self.decide_own(asked, now))
        });
        self.inbox.give_back((round, std::mem::take(&mut self.attached)));
        decided
    }

    /// Decides the requests that other shards' connections have sent here.
    pub(super) fn decide_carried(&mut self, now: Time) -> Result<(), Fatal> {
        while let Some((peer, mut parcel)) = self.mesh.next_asked() {
            let round = std::mem::take(&mut parcel.asked);
            self.attached = std::mem::take(&mut parcel.attached);
            self.begin_round(&round);
            self.counters.carried_in += wide(round.len());
            for group in round.chunks(TOUCH_GROUP) {
                self.touch(group);
                for asked in group {
                    self.decide_for(&mut parcel, asked, now)?;
                }
            }
            parcel.asked = round;
            parcel.attached = std::mem::take(&mut self.attached);
            self.mesh.hold(peer, parcel, self.journal.appended());
        }
        Ok(())
    }

    /// The clock is read once a round; the first of a round has waited longest.
    fn begin_round(&mut self, round: &[Asked]) {
        let Some(oldest) = round.first() else { return };
        let count = round.len();
        self.round_at = self.net.stamp();
        let waited = self.round_at.since(oldest.received);
        self.counters.queue_us.record(waited.into(), wide(count));
        self.answered += wide(count);
    }

    /// Loads the lines that a group will need, first those that lead to others;
    /// the loads of either half do not depend on each other, so the processor
    /// waits for all of them at once.
    fn touch(&self, group: &[Asked]) {
        self.touch_first(group);
        let mut seen = self.receiving.as_ref().map_or(0, |receiving| receiving.touch(group));
        let mut claims = [[Place::default(); 4]; TOUCH_GROUP];
        for (places, asked) in claims.iter_mut().zip(group) {
            match asked.request {
                Ok(Request::Claim { envelope, user } | Request::Grab { envelope, user }) => {
                    *places = self.engine.claim_places(envelope, user);
                }
                Ok(Request::Send(ref order)) => {
                    seen ^= self.engine.touch_compared(order.sender, order.order);
                }
                _ => {}
            }
        }
        black_box(seen ^ self.touch_places(claims.as_flattened()));
    }

    /// The headers of envelopes, and where the search for an order begins.
    fn touch_first(&self, group: &[Asked]) {
        let mut seen = 0;
        let mut headers = [Place::default(); TOUCH_GROUP];
        for (place, asked) in headers.iter_mut().zip(group) {
            match asked.request {
                Ok(Request::Claim { envelope, .. } | Request::Grab { envelope, .. }) => {
                    *place = self.engine.place(envelope);
                }
                Ok(Request::Send(ref order)) => {
                    seen ^= self.engine.touch_order(order.sender, order.order);
                }
                _ => {}
            }
        }
        black_box(seen ^ self.touch_places(&headers));
    }

    #[inline]
    fn touch_places(&self, places: &[Place]) -> u64 {
        places.iter().fold(0, |seen, &place| seen ^ self.engine.touch(place))
    }

    #[inline]
    fn decide_own(&mut self, asked: &Asked, now: Time) -> Result<(), Fatal> {
        if let Some(verdict) = self.drawn(asked, now) {
            self.tell(asked, &verdict);
            return Ok(());
        }
        if self.mesh.shards() > 1
            && let Some(partition) = partition_asked(asked)
            && !self.mesh.is_own(partition)
        {
            self.pass_on(asked, partition);
            return Ok(());
        }
        let verdict = self.verdict(asked, now)?;
        self.tell(asked, &verdict);
        Ok(())
    }

    #[expect(clippy::inline_always, reason = "as `verdict`")]
    #[inline(always)]
    fn tell(&mut self, asked: &Asked, verdict: &Verdict) {
        let reply = self.net.reply(asked, self.journal.appended());
        let besides = (&self.campaigns, &self.trail, self.judging.as_ref());
        let status = answer(reply, verdict, &self.engine, &self.facts, besides);
        self.count(asked, status);
    }

    #[inline]
    fn decide_for(&mut self, parcel: &mut Parcel, asked: &Asked, now: Time) -> Result<(), Fatal> {
        let verdict = self.verdict(asked, now)?;
        let reply = parcel.reply(asked);
        let besides = (&self.campaigns, &self.trail, self.judging.as_ref());
        let status = answer(reply, &verdict, &self.engine, &self.facts, besides);
        self.count(asked, status);
        Ok(())
    }

    /// Puts a request on its way to its owner, or refuses it where so much is
    /// on that way that nobody should wait behind it.
    fn pass_on(&mut self, asked: &Asked, partition: u8) {
        let owner = self.mesh.owner(partition);
        if self.mesh.carry(owner, asked, &self.attached) {
            self.net.carry(asked);
            self.counters.carried_out += 1;
            return;
        }
        self.counters.refused_mesh += 1;
        let reply = self.net.reply(asked, self.journal.appended());
        reply.bare(Status::Overloaded, MESH_RETRY_MS);
        self.count(asked, Status::Overloaded);
    }

    #[inline]
    pub(super) fn count(&mut self, asked: &Asked, status: Status) {
        let by_op = self.counters.answers.get_mut(usize::from(asked.op));
        if let Some(cell) = by_op.and_then(|cells| cells.get_mut(usize::from(status.code()))) {
            *cell += 1;
        }
    }

    #[expect(clippy::inline_always, reason = "measured: the copies of a call cost 20 ns a claim")]
    #[inline(always)]
    fn verdict(&mut self, asked: &Asked, now: Time) -> Result<Verdict, Fatal> {
        let request = match &asked.request {
            Ok(Request::Hello { version: PROTOCOL_VERSION }) => {
                return Ok(Verdict::Hello { over_tls: self.net.is_secured(asked) });
            }
            Ok(Request::Hello { .. }) => return Ok(self.nonsense(BadRequest::Version)),
            Ok(request) => request,
            Err(Unheard::Nonsense(reason)) => return Ok(self.nonsense(*reason)),
            Err(Unheard::Denied(denial)) => return Ok(Verdict::Denied(*denial)),
        };
        if let Some(retry_after_ms) = self.put_off(asked) {
            return Ok(Verdict::Overloaded(retry_after_ms));
        }
        match *request {
            Request::Claim { user, .. } | Request::Shake { campaign: _, user }
                if self.looks_twice =>
            {
                self.decide_twice(request, user, now)
            }
            Request::CampaignPlan { .. }
            | Request::CampaignCommand { .. }
            | Request::CampaignWins { .. } => self.decide_campaign(request, now),
            Request::CampaignStatus { campaign } => {
                self.look(Verdict::Campaign(campaign), request, now)
            }
            Request::Fund { .. } | Request::Void { .. } => self.decide_paying(request, now),
            Request::SendWith { .. } | Request::ClaimWith { .. } | Request::ShakeWith { .. } => {
                self.decide_with_terms(request, now)
            }
            Request::RiskMark { .. }
            | Request::RiskExplain { .. }
            | Request::RiskHolds(_)
            | Request::RiskFeed { .. }
            | Request::RiskResolve { .. } => self.decide_risk(request, now),
            Request::Terms { envelope, user } => {
                self.look(Verdict::Terms(envelope, user), request, now)
            }
            Request::Show { envelope } => self.look(Verdict::Summary(envelope), request, now),
            Request::Reveal { envelope } => self.look(Verdict::Revealed(envelope), request, now),
            _ => {
                let outcome = self.outcome_of(request, now)?;
                Ok(Verdict::Decided(outcome, request.envelope().unwrap_or_default()))
            }
        }
    }

    /// What the engine decides, as far as risk and the limits let it.
    #[inline(never)] // the path without them stays as short as it is
    fn decide_twice(
        &mut self,
        request: &Request,
        user: UserId,
        now: Time,
    ) -> Result<Verdict, Fatal> {
        let decision = self.validate(request, now);
        self.within_limits(&decision, request, Asker::untold(user), now)
    }

    /// What is there to see; what is overdue is ended first.
    #[cold]
    fn look(&mut self, verdict: Verdict, request: &Request, now: Time) -> Result<Verdict, Fatal> {
        let is_fresh = self.expire_touched(request, now)?;
        let envelope = request.envelope().unwrap_or_default();
        Ok(if is_fresh { verdict } else { Verdict::Decided(Outcome::Full, envelope) })
    }

    /// When the asker may come again, in milliseconds, if this request is not
    /// served now: it has waited too long for itself, or for the others.
    #[expect(clippy::inline_always, reason = "as `verdict`")]
    #[inline(always)]
    pub(super) fn put_off(&mut self, asked: &Asked) -> Option<u32> {
        let waited_us = self.round_at.since(asked.received);
        if asked.budget_us != 0 && waited_us > asked.budget_us {
            self.counters.refused_late += 1;
            return Some(self.pressure.retry_after_ms());
        }
        if !self.pressure.admits(asked.op, waited_us) {
            self.counters.refused_pressure += 1;
            return Some(self.pressure.retry_after_ms());
        }
        None
    }

    #[cold]
    pub(super) fn nonsense(&mut self, reason: BadRequest) -> Verdict {
        self.net.count_bad_request();
        Verdict::Decided(Outcome::Invalid(reason), EnvelopeId::default())
    }

    #[expect(clippy::inline_always, reason = "as `verdict`")]
    #[inline(always)]
    fn outcome_of(&mut self, request: &Request, now: Time) -> Result<Outcome, Fatal> {
        // A claim looks at the time itself; see `expire_touched` for why.
        let is_claim = matches!(request, Request::Claim { .. });
        if !is_claim && !self.expire_touched(request, now)? {
            return Ok(Outcome::Full);
        }
        let decision = self.validate(request, now);
        match decision {
            Decision { record: Some(record), .. } if !self.make_true(&record, now)? => {
                Ok(Outcome::Full)
            }
            Decision { outcome: Outcome::Expired | Outcome::NeverPaid, .. }
                if !self.expire_touched(request, now)? =>
            {
                Ok(Outcome::Full)
            }
            Decision { outcome, .. } => Ok(outcome),
        }
    }

    /// Whoever first touches an envelope after its time ends it, so no claim and
    /// refund, and no payment and lapse, can both win, and no answer runs ahead
    /// of the record. False when the journal has no room for that.
    pub(super) fn expire_touched(&mut self, request: &Request, now: Time) -> Result<bool, Fatal> {
        let envelope = request.envelope();
        match envelope.and_then(|envelope| self.engine.overdue(envelope, now)) {
            Some(_) if is_planted(Bug::ExpiryUnrecorded) => Ok(true),
            Some(expiry) => self.make_true(&expiry, now),
            None => Ok(true),
        }
    }

    #[expect(clippy::inline_always, reason = "as `verdict`")]
    #[inline(always)]
    fn validate(&mut self, request: &Request, now: Time) -> Decision {
        let looked = |outcome| Decision { outcome, record: None };
        match *request {
            Request::Claim { envelope, user } => self.engine.claim(envelope, user, now),
            Request::Grab { envelope, user } => looked(self.engine.grab(envelope, user, now)),
            Request::Detail { envelope, from, rows_max } => {
                looked(self.engine.detail(envelope, from, rows_max))
            }
            Request::Send(ref order) => {
                let seed = Seed([self.seeds.next_u64(), self.seeds.next_u64()]);
                self.issue(order, &[], seed, now)
            }
            Request::Cancel { envelope, sender } => self.engine.cancel(envelope, sender, now),
            Request::Shake { campaign, user } => self.engine.shake(campaign, user, now),
            // These have been answered before they come here.
            Request::Fund { .. }
            | Request::Void { .. }
            | Request::Show { .. }
            | Request::Reveal { .. }
            | Request::SendWith { .. }
            | Request::ClaimWith { .. }
            | Request::ShakeWith { .. }
            | Request::Terms { .. }
            | Request::CampaignPlan { .. }
            | Request::CampaignCommand { .. }
            | Request::CampaignStatus { .. }
            | Request::CampaignWins { .. }
            | Request::RiskMark { .. }
            | Request::RiskExplain { .. }
            | Request::RiskHolds(_)
            | Request::RiskFeed { .. }
            | Request::RiskResolve { .. }
            | Request::Hello { .. } => looked(Outcome::Invalid(BadRequest::UnknownOp)),
        }
    }

    /// Appends a record and applies it; false when the journal has no room, in
    /// which case nothing has changed.
    #[inline]
    pub(super) fn make_true(&mut self, record: &Record, now: Time) -> Result<bool, Fatal> {
        if is_planted(Bug::AppendForgotten) && self.counters.turns.is_multiple_of(16) {
            self.engine.apply(record)?;
            return Ok(true);
        }
        match self.journal.append(record, now) {
            Ok(_) => {
                if is_planted(Bug::RefundTwice) && matches!(record, Record::Closed(_)) {
                    let _ = self.journal.append(record, now);
                }
                self.engine.apply(record)?;
                Ok(true)
            }
            Err(AppendError::NoSpace) if is_planted(Bug::FullDiskClaims) => {
                self.engine.apply(record)?;
                Ok(true)
            }
            Err(AppendError::NoSpace) => Ok(false),
            Err(AppendError::Failed(error)) => Err(Cause::Append(error).into()),
        }
    }

    /// The same with several records, all of them or none.
    pub(super) fn make_all_true(
        &mut self,
        mut records: impl Iterator<Item = Record> + Clone,
        now: Time,
    ) -> Result<bool, Fatal> {
        match self.journal.append_together(records.clone(), now) {
            Ok(()) => {
                records.try_for_each(|record| self.engine.apply(&record))?;
                Ok(true)
            }
            Err(AppendError::NoSpace) => Ok(false),
            Err(AppendError::Failed(error)) => Err(Cause::Append(error).into()),
        }
    }
}

/// The partition that decides about a request; a nonsense has none, and is
/// told so where it came in.
#[inline]
fn partition_asked(asked: &Asked) -> Option<u8> {
    let request = asked.request.as_ref().ok()?;
    match request {
        Request::Send(order) | Request::SendWith { order, .. } => Some(partition_of(order.sender)),
        _ => request.envelope().map(EnvelopeId::partition),
    }
}

fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
