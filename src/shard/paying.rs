//! Requests about orders whose money is not there yet, and about what was drawn:
//! rare beside claims, so all of it lies out of their way.

use super::answer::Verdict;
use super::turn::{Fatal, Shard};
use crate::engine::{Decision, Outcome};
use crate::journal::Storage;
use crate::units::{MoneySource, Seed, Time};
use crate::wire::{BadRequest, Denial, Payment, Request, SendOrder};

/// Whether a request is for [`Shard::decide_paying`].
#[inline]
pub(super) fn is_about_paying(request: &Request) -> bool {
    matches!(request, Request::Fund { .. } | Request::Void { .. } | Request::Reveal { .. })
}

impl<S: Storage> Shard<S> {
    /// Decides about an order. One that only a payment can open is not taken
    /// where no payment can be believed; one that was taken earlier is told as
    /// ever.
    pub(super) fn issue(&self, order: &SendOrder, seed: Seed, now: Time) -> Decision {
        let decision = self.engine.issue(order, seed, now);
        let is_new = decision.record.is_some();
        if is_new && order.source == MoneySource::Payment && self.payment_keys.is_empty() {
            return looked(Outcome::Invalid(BadRequest::NoPaymentKeys));
        }
        decision
    }

    /// Decides about a confirmed payment, a withdrawal or a reveal. A payment
    /// that nobody sealed changes nothing, not even what is overdue.
    #[cold]
    #[inline(never)]
    pub(super) fn decide_paying(&mut self, request: &Request, now: Time) -> Result<Verdict, Fatal> {
        if let Some(denial) = self.denial(request) {
            return Ok(Verdict::Denied(denial));
        }
        let envelope = request.envelope().unwrap_or_default();
        if !self.expire_touched(request, now)? {
            return Ok(Verdict::Decided(Outcome::Full, envelope));
        }
        let decision = match *request {
            Request::Fund { envelope, payment, amount, .. } => {
                self.engine.fund(envelope, payment, amount, now)
            }
            Request::Void { envelope, sender } => self.engine.void(envelope, sender, now),
            _ => looked(self.engine.reveal(envelope)),
        };
        let outcome = match decision.record {
            Some(record) if !self.make_true(&record, now)? => Outcome::Full,
            _ => decision.outcome,
        };
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
