//! Requests with terms and evidence: rare beside plain claims, so they lie out of
//! their way. What they lead to goes the way of every order and claim.

use rand_chacha::rand_core::RngCore;

use super::answer::Verdict;
use super::turn::{Fatal, Shard};
use crate::engine::{Decision, Outcome, Record, TermsPart};
use crate::journal::{AppendError, Storage};
use crate::net::Kernel;
use crate::units::{EnvelopeId, Seed, Time, UserId};
use crate::wire::{Attached, BadRequest, Evidence, Password, Request, SendOrder, Terms};

impl<S: Storage, K: Kernel> Shard<S, K> {
    /// Decides about an order with terms, or a claim with evidence.
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
        self.within_limits(&decision, request, now)
    }

    fn send_with(
        &mut self,
        order: &SendOrder,
        terms: Attached,
        now: Time,
    ) -> Result<Verdict, Fatal> {
        let wants_ticket = match self.keep_terms(order, terms) {
            Ok(kept) => kept,
            Err(reason) => return Ok(self.nonsense(reason)),
        };
        let seed = Seed([self.seeds.next_u64(), self.seeds.next_u64()]);
        let Decision { outcome, record } = self.issue(order, &self.kept_terms, seed, now);
        if record.is_some() && wants_ticket && self.gate.tickets.is_empty() {
            return Ok(self.nonsense(BadRequest::NoRuleKeys));
        }
        let outcome = match record {
            Some(record) if !self.make_order_true(record, now)? => Outcome::Full,
            _ => outcome,
        };
        Ok(Verdict::Decided(outcome, EnvelopeId::default()))
    }

    /// Puts the terms of an order into the form in which they are kept: of a
    /// password nothing stays but its hash, under the key that the same order
    /// had before or, if it is new, the newest. Says whether they want a ticket.
    fn keep_terms(&mut self, order: &SendOrder, terms: Attached) -> Result<bool, BadRequest> {
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
        Ok(kept.wants_ticket)
    }

    /// Appends an order's record behind its terms, all or none, and applies
    /// them; false when the journal has no room.
    fn make_order_true(&mut self, record: Record, now: Time) -> Result<bool, Fatal> {
        let parts = TermsPart::cut(record.envelope(), &self.kept_terms).map(Record::TermsPart);
        let mut records = parts.chain(std::iter::once(record));
        match self.journal.append_together(records.clone(), now) {
            Ok(()) => {
                records.try_for_each(|record| self.engine.apply(&record))?;
                Ok(true)
            }
            Err(AppendError::NoSpace) => Ok(false),
            Err(AppendError::Failed(error)) => Err(Fatal::Append(error)),
        }
    }
}
