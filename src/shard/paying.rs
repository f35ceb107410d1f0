//! Requests about orders whose money is not there yet, and about what was drawn:
//! rare beside claims, so all of it lies out of their way.

use super::answer::{Verdict, answer, tell_revealed};
use super::mesh::Parcel;
use super::turn::{Fatal, Shard};
use crate::engine::{Decision, Outcome};
use crate::journal::Storage;
use crate::net::Asked;
use crate::units::{EnvelopeId, MoneySource, Seed, Time};
use crate::wire::{BadRequest, Denial, Payment, Request, SendOrder};

/// Whether a request is decided here.
#[inline]
pub(super) fn is_about_paying(asked: &Asked) -> bool {
    use Request::{Fund, Reveal, Void};
    matches!(asked.request, Ok(Fund { .. } | Void { .. } | Reveal { .. }))
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

    /// Decides a request of our own connections. Whole functions of their own,
    /// because a verdict that could come from two places is copied.
    #[cold]
    #[inline(never)]
    pub(super) fn decide_paying_own(&mut self, asked: &Asked, now: Time) -> Result<(), Fatal> {
        let verdict = self.paying_verdict(asked, now)?;
        let reply = self.net.reply(asked, self.journal.appended());
        let status = match verdict {
            Some(verdict) => answer(reply, &verdict, &self.engine, &self.facts),
            None => tell_revealed(reply, &self.engine, envelope_of(asked)),
        };
        self.count(asked, status);
        Ok(())
    }

    /// Decides a request that came with a parcel.
    #[cold]
    #[inline(never)]
    pub(super) fn decide_paying_for(
        &mut self,
        parcel: &mut Parcel,
        asked: &Asked,
        now: Time,
    ) -> Result<(), Fatal> {
        let verdict = self.paying_verdict(asked, now)?;
        let reply = parcel.reply(asked);
        let status = match verdict {
            Some(verdict) => answer(reply, &verdict, &self.engine, &self.facts),
            None => tell_revealed(reply, &self.engine, envelope_of(asked)),
        };
        self.count(asked, status);
        Ok(())
    }

    /// What becomes of a confirmed payment or a withdrawal; `None` if there is
    /// something to reveal. A payment that nobody sealed changes nothing, not
    /// even what is overdue.
    fn paying_verdict(&mut self, asked: &Asked, now: Time) -> Result<Option<Verdict>, Fatal> {
        if let Some(retry_after_ms) = self.put_off(asked) {
            return Ok(Some(Verdict::Overloaded(retry_after_ms)));
        }
        let request = match &asked.request {
            Ok(request) => request,
            Err(reason) => return Ok(Some(self.nonsense(*reason))),
        };
        if let Some(denial) = self.denial(request) {
            return Ok(Some(Verdict::Denied(denial)));
        }
        let envelope = request.envelope().unwrap_or_default();
        if !self.expire_touched(request, now)? {
            return Ok(Some(Verdict::Decided(Outcome::Full, envelope)));
        }
        let decision = match *request {
            Request::Fund { envelope, payment, amount, .. } => {
                self.engine.fund(envelope, payment, amount, now)
            }
            Request::Void { envelope, sender } => self.engine.void(envelope, sender, now),
            _ => return Ok(None),
        };
        let outcome = match decision.record {
            Some(record) if !self.make_true(&record, now)? => Outcome::Full,
            _ => decision.outcome,
        };
        Ok(Some(Verdict::Decided(outcome, envelope)))
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

fn envelope_of(asked: &Asked) -> EnvelopeId {
    asked.request.as_ref().ok().and_then(Request::envelope).unwrap_or_default()
}

fn looked(outcome: Outcome) -> Decision {
    Decision { outcome, record: None }
}
