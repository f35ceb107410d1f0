//! The twins and the money of orders: it comes, it does not, or too late.

use hongbao::engine::{Decision, Outcome, Paid, Record, Returned, Voided};
use hongbao::units::{EnvelopeId, EnvelopeState, MoneySource, UserId, VoidCause};
use hongbao::wire::SendOrder;

use crate::twins::Twins;

impl Twins {
    pub(crate) fn note_voided(&mut self, envelope: EnvelopeId, record: Record, cause: VoidCause) {
        let at = self.now.seconds();
        let plain = self.envelopes.get_mut(&envelope).expect("known");
        let SendOrder { sender, total, source, .. } = plain.order;
        assert_eq!(record, Record::Voided(Voided { envelope, sender, total, at, source, cause }));
        self.due.remove(&(plain.ends_at(), envelope));
        (plain.state, plain.cause) = (EnvelopeState::Voided, Some(cause));
        self.closed.insert((at, envelope));
        self.totals.reserved -= 1;
        self.totals.voided += 1;
        self.apply(record);
    }

    fn note_paid(&mut self, envelope: EnvelopeId, record: Record, payment: u64) {
        let at = self.now.seconds();
        let plain = self.envelopes.get_mut(&envelope).expect("known");
        let SendOrder { sender, total, source, .. } = plain.order;
        assert_eq!(record, Record::Paid(Paid { envelope, sender, payment, total, at, source }));
        self.due.remove(&(plain.ends_at(), envelope));
        (plain.state, plain.opened_at) = (EnvelopeState::Open, Some(at));
        plain.payment = payment;
        self.due.insert((plain.ends_at(), envelope));
        self.totals.reserved -= 1;
        self.note_funded(total);
        self.apply(record);
    }

    /// The money of an order comes, or does not.
    pub(crate) fn pay(&mut self) {
        let Some(envelope) = self.any_envelope() else { return };
        self.expire_if_overdue(envelope);
        match self.dice.below(8) {
            0..4 => self.fund(envelope),
            4..7 => self.cover(envelope),
            _ => self.void(envelope),
        }
    }

    fn fund(&mut self, envelope: EnvelopeId) {
        let plain = &self.envelopes[&envelope];
        let named = if plain.payment == 0 { 1 + self.dice.below(9) } else { plain.payment };
        let payment = if self.dice.one_in(5) { named + 1 } else { named };
        let amount = plain.order.total + u64::from(self.dice.one_in(8));
        let decision = self.engine.fund(envelope, payment, amount, self.now);
        if !plain.accepts(payment, amount) {
            assert_eq!(decision, Decision { outcome: Outcome::Conflict, record: None });
            return;
        }
        let repeated = !matches!(plain.state, EnvelopeState::Reserved) && !plain.returned;
        let (sender, at) = (plain.order.sender, self.now.seconds());
        match plain.state {
            EnvelopeState::Reserved => {
                assert_eq!(decision.outcome, Outcome::Funded { repeated: false });
                self.note_paid(envelope, decision.record.expect("new"), payment);
            }
            EnvelopeState::Voided if plain.returned => {
                let outcome = Outcome::Returned { amount, repeated: true };
                assert_eq!(decision, Decision { outcome, record: None });
            }
            EnvelopeState::Voided => {
                assert_eq!(decision.outcome, Outcome::Returned { amount, repeated: false });
                let record = Record::Returned(Returned { envelope, sender, payment, amount, at });
                assert_eq!(decision.record, Some(record));
                let plain = self.envelopes.get_mut(&envelope).expect("known");
                (plain.returned, plain.payment) = (true, payment);
                self.totals.returned += u128::from(amount);
                self.apply(record);
            }
            _ => {
                let outcome = Outcome::Funded { repeated };
                assert_eq!(decision, Decision { outcome, record: None });
            }
        }
    }

    fn cover(&mut self, envelope: EnvelopeId) {
        let plain = &self.envelopes[&envelope];
        let covered = !self.dice.one_in(4);
        let decision = self.engine.cover(envelope, covered, self.now);
        let waits = plain.state == EnvelopeState::Reserved;
        let outcome = match plain.state {
            _ if plain.order.source != MoneySource::Balance => Outcome::Conflict,
            EnvelopeState::Reserved if !covered => Outcome::Voided { repeated: false },
            EnvelopeState::Voided => Outcome::NeverPaid,
            _ => Outcome::Funded { repeated: !waits },
        };
        assert_eq!(decision.outcome, outcome);
        match decision.record {
            Some(record) if covered => self.note_paid(envelope, record, 0),
            Some(record) => self.note_voided(envelope, record, VoidCause::Refused),
            None => assert!(!waits || outcome == Outcome::Conflict),
        }
    }

    fn void(&mut self, envelope: EnvelopeId) {
        let plain = &self.envelopes[&envelope];
        let owner = plain.order.sender;
        let sender = if self.dice.one_in(3) { UserId(owner.0 + 1) } else { owner };
        let decision = self.engine.void(envelope, sender, self.now);
        let outcome = match (plain.state, plain.cause) {
            _ if sender != owner => Outcome::Denied,
            (EnvelopeState::Reserved, _) => Outcome::Voided { repeated: false },
            (_, Some(VoidCause::Withdrawn)) => Outcome::Voided { repeated: true },
            _ => plain.closed().unwrap_or(Outcome::Conflict),
        };
        assert_eq!(decision.outcome, outcome);
        assert_eq!(decision.record.is_some(), outcome == Outcome::Voided { repeated: false });
        if let Some(record) = decision.record {
            self.note_voided(envelope, record, VoidCause::Withdrawn);
        }
    }
}
