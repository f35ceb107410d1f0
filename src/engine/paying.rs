//! What is decided about the money of an order: it comes, it does not, or it
//! comes too late.
//!
//! An order that waits is ended exactly once: paid, or voided by its sender, by
//! the ledger or by time. So one of them wins, and what comes after it is told
//! which. Nothing here changes the state.

use super::cold::Cold;
use super::slots::Slot;
use super::transition::is_payment;
use super::validate::refusal_now;
use super::{Decision, Engine, Outcome, Paid, Record, Returned, Revealed, Voided, commitment};
use crate::units::{EnvelopeId, EnvelopeState, Fen, MoneySource, Time, UserId, VoidCause};
use crate::wire::BadRequest;

impl Engine {
    fn found(&self, envelope: EnvelopeId) -> Option<(Slot, Cold)> {
        let slot = self.slots.get(envelope)?;
        Some((slot, self.slots.cold(slot.reference())?))
    }

    /// Decides about an outside payment that is confirmed: it opens the
    /// envelope or, if that will never open, goes back to the sender. A repeat
    /// moves nothing; another payment or amount than the order's is refused.
    pub fn fund(&self, envelope: EnvelopeId, payment: u64, amount: Fen, now: Time) -> Decision {
        if payment == 0 {
            return Decision::only(Outcome::Invalid(BadRequest::Payment));
        }
        let Some((slot, cold)) = self.found(envelope) else {
            return Decision::only(Outcome::NotFound);
        };
        let (header, sender, at) = (&slot.header, cold.sender, now.seconds());
        let source = header.marks.source();
        if amount != cold.total || !is_payment(&cold, source, payment) {
            return Decision::only(Outcome::Conflict);
        }
        match header.state {
            EnvelopeState::Reserved if header.is_overdue(now) => Decision::only(Outcome::NeverPaid),
            EnvelopeState::Reserved => paid(envelope, &slot, &cold, payment, now),
            EnvelopeState::Voided if header.marks.is_returned() => {
                Decision::only(Outcome::Returned { amount, repeated: true })
            }
            EnvelopeState::Voided => Decision {
                outcome: Outcome::Returned { amount, repeated: false },
                record: Some(Record::Returned(Returned { envelope, sender, payment, amount, at })),
            },
            // It names the payment that has opened it; any other was a conflict above.
            _ => Decision::only(Outcome::Funded { repeated: true }),
        }
    }

    /// Decides by the ledger's verdict on an order from the sender's balance:
    /// the money is held, or there is not enough. Of an order that waits no
    /// more nothing is recorded: the ledger learns from the journal what won.
    pub fn cover(&self, envelope: EnvelopeId, covered: bool, now: Time) -> Decision {
        let Some((slot, cold)) = self.found(envelope) else {
            return Decision::only(Outcome::NotFound);
        };
        let header = &slot.header;
        if header.marks.source() != MoneySource::Balance {
            return Decision::only(Outcome::Conflict);
        }
        match header.state {
            EnvelopeState::Reserved if header.is_overdue(now) => Decision::only(Outcome::NeverPaid),
            EnvelopeState::Reserved if covered => paid(envelope, &slot, &cold, 0, now),
            EnvelopeState::Reserved => Decision {
                outcome: Outcome::Voided { repeated: false },
                record: Some(voided(envelope, &slot, &cold, VoidCause::Refused, now)),
            },
            EnvelopeState::Voided => Decision::only(Outcome::NeverPaid),
            _ => Decision::only(Outcome::Funded { repeated: true }),
        }
    }

    /// Decides about taking an order back before it is paid; only its sender
    /// may. What is open is cancelled, not voided.
    pub fn void(&self, envelope: EnvelopeId, sender: UserId, now: Time) -> Decision {
        let Some((slot, cold)) = self.found(envelope) else {
            return Decision::only(Outcome::NotFound);
        };
        if cold.sender != sender {
            return Decision::only(Outcome::Denied);
        }
        if slot.header.marks.cause() == Some(VoidCause::Withdrawn) {
            return Decision::only(Outcome::Voided { repeated: true });
        }
        match refusal_now(&slot.header, now) {
            None => Decision::only(Outcome::Conflict),
            Some(Outcome::NotPaid) => Decision {
                outcome: Outcome::Voided { repeated: false },
                record: Some(voided(envelope, &slot, &cold, VoidCause::Withdrawn, now)),
            },
            Some(refusal) => Decision::only(refusal),
        }
    }

    /// The commitment to an envelope's draws and, once no share can be drawn
    /// any more, the seed that opens it.
    /// It is no [`Outcome`]: those are copied on the way of every claim.
    pub fn reveal(&self, envelope: EnvelopeId) -> Option<Revealed> {
        let (slot, cold) = self.found(envelope)?;
        let header = &slot.header;
        let terms = commitment::Terms {
            envelope,
            nonce: cold.nonce,
            total: cold.total,
            shares: header.shares,
            share_max: header.share_max,
            split: header.split,
        };
        Some(Revealed {
            commitment: commitment::commitment(&terms, header.seed),
            seed: (!header.is_live()).then_some(header.seed),
            nonce: cold.nonce,
        })
    }
}

fn paid(envelope: EnvelopeId, slot: &Slot, cold: &Cold, payment: u64, now: Time) -> Decision {
    let record = Record::Paid(Paid {
        envelope,
        sender: cold.sender,
        payment,
        total: cold.total,
        at: now.seconds(),
        source: slot.header.marks.source(),
    });
    Decision { outcome: Outcome::Funded { repeated: false }, record: Some(record) }
}

/// The record that ends an order that waits for its money.
pub(super) fn voided(
    envelope: EnvelopeId,
    slot: &Slot,
    cold: &Cold,
    cause: VoidCause,
    now: Time,
) -> Record {
    Record::Voided(Voided {
        envelope,
        sender: cold.sender,
        total: cold.total,
        at: now.seconds(),
        source: slot.header.marks.source(),
        cause,
    })
}
