//! Requests about orders whose money is not there yet: rare beside claims, so all
//! of it lies out of their way.

use super::answer::Verdict;
use super::turn::{Fatal, Shard};
use crate::engine::{Decision, Outcome};
use crate::journal::Storage;
use crate::net::Kernel;
use crate::units::{MoneySource, Seed, Time};
use crate::wire::{BadRequest, Denial, Payment, Request, SendOrder};

impl<S: Storage, K: Kernel> Shard<S, K> {
    /// Decides about an order with such terms. One whose money nobody could bring is not taken;
    /// one that was taken earlier is told as ever.
    pub(super) fn issue(&self, order: &SendOrder, terms: &[u8], seed: Seed, now: Time) -> Decision {
        let decision = self.engine.issue_with(order, terms, seed, now);
        match self.never_paid(order.source) {
            Some(reason) if decision.record.is_some() => looked(Outcome::Invalid(reason)),
            _ => decision,
        }
    }

    /// Why money from this source cannot come here, if it cannot.
    fn never_paid(&self, source: MoneySource) -> Option<BadRequest> {
        match source {
            MoneySource::Payment if self.payment_keys.is_empty() => Some(BadRequest::NoPaymentKeys),
            MoneySource::Balance if !self.has_balances => Some(BadRequest::NoLedger),
            MoneySource::Vouched | MoneySource::Balance | MoneySource::Payment => None,
        }
    }

    /// Decides about a confirmed payment or a withdrawal. A payment that nobody
    /// sealed changes nothing, not even what is overdue.
    #[cold]
    pub(super) fn decide_paying(&mut self, request: &Request, now: Time) -> Result<Verdict, Fatal> {
        if let Some(denial) = self.denial(request) {
            return Ok(Verdict::Denied(denial));
        }
        let envelope = request.envelope().unwrap_or_default();
        if !self.expire_touched(request, now)? {
            return Ok(Verdict::Decided(Outcome::Full, envelope));
        }
        let decision = match *request {
            Request::Fund { payment, amount, .. } => {
                self.engine.fund(envelope, payment, amount, now)
            }
            Request::Void { sender, .. } => self.engine.void(envelope, sender, now),
            _ => looked(Outcome::Invalid(BadRequest::UnknownOp)),
        };
        let outcome = match decision.record {
            Some(record) if !self.make_true(&record, now)? => Outcome::Full,
            _ => decision.outcome,
        };
        self.campaigns.look_soon(); // or a crowd would still hear that it is not paid
        Ok(Verdict::Decided(outcome, envelope))
    }

    /// Why a payment is not believed, if it is one and is not.
    fn denial(&self, request: &Request) -> Option<Denial> {
        let Request::Fund { envelope, payment, amount, key_id, ref seal } = *request else {
            return None;
        };
        if self.payment_keys.is_empty() {
            return Some(Denial::NoKeys);
        }
        let payment = Payment { envelope, payment, amount };
        let is_sealed = self.payment_keys.is_sealed(key_id, self.facts.cell, &payment, seal);
        (!is_sealed).then_some(Denial::Seal)
    }
}

fn looked(outcome: Outcome) -> Decision {
    Decision { outcome, record: None }
}
