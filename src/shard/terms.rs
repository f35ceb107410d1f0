//! Requests with terms and evidence: rare beside plain claims, so they lie out of
//! their way. What they lead to goes the way of every order, claim and shake.

use rand_chacha::rand_core::RngCore;

use super::answer::Verdict;
use super::risk::Asker;
use super::turn::{Fatal, Shard};
use crate::engine::{Decision, Outcome, Record, TermsPart};
use crate::journal::Storage;
use crate::net::Kernel;
use crate::units::{EnvelopeId, Seed, Time, UserId};
use crate::wire::{Attached, BadRequest, Evidence, Password, Request, SendOrder, Terms};

impl<S: Storage, K: Kernel> Shard<S, K> {
    /// Decides about an order with terms, or a claim or shake with evidence.
    #[cold]
    pub(super) fn decide_with_terms(
        &mut self,
        request: &Request,
        now: Time,
    ) -> Result<Verdict, Fatal> {
        match *request {
            Request::SendWith { ref order, terms } => self.send_with(order, terms, now),
            Request::ClaimWith { envelope, user, evidence } => {
                self.claim_with(request, (envelope, user), evidence, now)
            }
            Request::ShakeWith { campaign, user, evidence } => {
                self.shake_with(request, (campaign, user), evidence, now)
            }
            _ => Ok(self.nonsense(BadRequest::UnknownOp)),
        }
    }

    fn claim_with(
        &mut self,
        request: &Request,
        (envelope, user): (EnvelopeId, UserId),
        evidence: Attached,
        now: Time,
    ) -> Result<Verdict, Fatal> {
        let Some(evidence) = Evidence::read(evidence.of(&self.attached)) else {
            return Ok(self.nonsense(BadRequest::Evidence));
        };
        let decision = self.engine.claim_with(envelope, user, &evidence, &self.gate, now);
        let asker = Asker { user, tags: evidence.tags };
        self.within_limits(&decision, request, asker, now)
    }

    /// Of what is shown with a shake, risk looks at the tags, and nobody at the rest.
    fn shake_with(
        &mut self,
        request: &Request,
        (campaign, user): (EnvelopeId, UserId),
        evidence: Attached,
        now: Time,
    ) -> Result<Verdict, Fatal> {
        let Some(Evidence { tags, .. }) = Evidence::read(evidence.of(&self.attached)) else {
            return Ok(self.nonsense(BadRequest::Evidence));
        };
        let decision = self.engine.shake(campaign, user, now);
        self.within_limits(&decision, request, Asker { user, tags }, now)
    }

    fn send_with(
        &mut self,
        order: &SendOrder,
        terms: Attached,
        now: Time,
    ) -> Result<Verdict, Fatal> {
        let (wants_ticket, wants_grade) = match self.keep_terms(order, terms) {
            Ok(kept) => kept,
            Err(reason) => return Ok(self.nonsense(reason)),
        };
        let seed = Seed([self.seeds.next_u64(), self.seeds.next_u64()]);
        let Decision { outcome, record } = self.issue(order, &self.kept_terms, seed, now);
        if record.is_some() && wants_ticket && self.gate.tickets.is_empty() {
            return Ok(self.nonsense(BadRequest::NoRuleKeys));
        }
        if record.is_some() && wants_grade && !self.engine.keeps_grades() {
            return Ok(self.nonsense(BadRequest::NoRisk));
        }
        let outcome = match record {
            Some(record) if !self.make_order_true(record, now)? => Outcome::Full,
            _ => outcome,
        };
        Ok(Verdict::Decided(outcome, EnvelopeId::default()))
    }

    /// Puts the terms of an order into the form in which they are kept: of a
    /// password nothing stays but its hash, under the key that the same order
    /// had before or, if it is new, the newest. Says whether they want a ticket, and
    /// whether a grade.
    fn keep_terms(
        &mut self,
        order: &SendOrder,
        terms: Attached,
    ) -> Result<(bool, bool), BadRequest> {
        let said = Terms::read(terms.of(&self.attached)).ok_or(BadRequest::Terms)?;
        let (sender, number) = (order.sender, order.order);
        let before = self.engine.password_key(sender, number);
        let mut kept = said;
        if let Some(Password::Said(word)) = said.password {
            let keys = &self.gate.passwords;
            let key_id = before.or(keys.newest()).ok_or(BadRequest::NoRuleKeys)?;
            let mac = keys.keep(key_id, self.facts.cell, (sender, number), word);
            let mac = mac.ok_or(BadRequest::NoRuleKeys)?;
            kept.password = Some(Password::Kept { key_id, mac });
        }
        self.kept_terms.clear();
        kept.append_to(&mut self.kept_terms);
        Ok((kept.wants_ticket, kept.grade_min > 0))
    }

    /// Makes an order true behind its terms; false when the journal has no room.
    fn make_order_true(&mut self, record: Record, now: Time) -> Result<bool, Fatal> {
        let terms = std::mem::take(&mut self.kept_terms);
        let parts = TermsPart::cut(record.envelope(), &terms).map(Record::TermsPart);
        let is_true = self.make_all_true(parts.chain(std::iter::once(record)), now);
        self.kept_terms = terms;
        is_true
    }
}
