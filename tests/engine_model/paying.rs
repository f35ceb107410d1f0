//! Paying in: every state against every operation and source.

use hongbao::engine::{Decision, Engine, Misfit, Outcome, Paid, Record, Returned, Voided};
use hongbao::units::{
    EnvelopeId, EnvelopeState, MoneySource, Seed, Split, Time, UserId, VoidCause,
};
use hongbao::wire::{BadRequest, SendOrder, Summary};

use crate::{PAY_WITHIN_S, START, engine};

pub(crate) const SENDER: UserId = UserId(3);
const OTHER: UserId = UserId(4);
pub(crate) const TOTAL: u64 = 100;
pub(crate) const PAYMENT: u64 = 9;
pub(crate) const LIFETIME_S: u32 = 60;
pub(crate) const NOW: Time = Time(START);

pub(crate) fn order(source: MoneySource, number: u64) -> SendOrder {
    SendOrder {
        nonce: 5,
        source,
        sender: SENDER,
        order: number,
        payment: if source == MoneySource::Balance { 0 } else { PAYMENT },
        total: TOTAL,
        shares: 2,
        lifetime_s: LIFETIME_S,
        share_max: 0,
        split: Split::DoubleMean,
    }
}

fn issue(engine: &mut Engine, order: &SendOrder, now: Time) -> EnvelopeId {
    let decision = engine.issue(order, Seed([order.order, 2]), now);
    let record = decision.record.expect("room");
    engine.apply(&record).expect("fits");
    record.envelope()
}

/// Makes a decision true, and gives what is told.
fn settle(engine: &mut Engine, decision: Decision) -> Outcome {
    if let Some(record) = decision.record {
        engine.apply(&record).expect("a decision's record fits");
    }
    decision.outcome
}

pub(crate) fn summary(engine: &Engine, envelope: EnvelopeId) -> Summary {
    match engine.show(envelope) {
        Some(summary) => summary,
        other => panic!("{other:?}"),
    }
}

/// What is done to an envelope so that it comes to a state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    Reserved,
    Open,
    Exhausted,
    Expired,
    Cancelled,
    Lapsed,
    Withdrawn,
    Refused,
    LapsedAndReturned,
}

pub(crate) const WAYS: [Way; 9] = [
    Way::Reserved,
    Way::Open,
    Way::Exhausted,
    Way::Expired,
    Way::Cancelled,
    Way::Lapsed,
    Way::Withdrawn,
    Way::Refused,
    Way::LapsedAndReturned,
];

pub(crate) const SOURCES: [MoneySource; 3] =
    [MoneySource::Vouched, MoneySource::Balance, MoneySource::Payment];

impl Way {
    /// Whether an envelope of this source can come there.
    pub(crate) fn is_for(self, source: MoneySource) -> bool {
        match self {
            Self::Open | Self::Exhausted | Self::Expired | Self::Cancelled => true,
            Self::Reserved | Self::Lapsed | Self::Withdrawn => source != MoneySource::Vouched,
            Self::Refused => source == MoneySource::Balance,
            Self::LapsedAndReturned => source == MoneySource::Payment,
        }
    }

    /// An engine with one envelope that has come there, and when that is.
    pub(crate) fn go(self, source: MoneySource) -> (Engine, EnvelopeId, Time) {
        let mut engine = engine(10, 1 << 20);
        let envelope = issue(&mut engine, &order(source, 1), NOW);
        let lapse = Time(START + 1000 * u64::from(PAY_WITHIN_S));
        let opens = matches!(self, Self::Open | Self::Exhausted | Self::Expired | Self::Cancelled);
        let paid = match source {
            _ if !opens => None,
            MoneySource::Vouched => None,
            MoneySource::Balance => Some(engine.cover(envelope, true, NOW)),
            MoneySource::Payment => Some(engine.fund(envelope, PAYMENT, TOTAL, NOW)),
        };
        if let Some(paid) = paid {
            assert_eq!(settle(&mut engine, paid), Outcome::Funded { repeated: false });
        }
        let mut now = NOW;
        match self {
            Self::Reserved | Self::Open => {}
            Self::Exhausted => {
                for user in [1, 2] {
                    let decision = engine.claim(envelope, UserId(user), now);
                    settle(&mut engine, decision);
                }
            }
            Self::Cancelled => {
                let decision = engine.cancel(envelope, SENDER, now);
                settle(&mut engine, decision);
            }
            Self::Withdrawn => {
                let decision = engine.void(envelope, SENDER, now);
                settle(&mut engine, decision);
            }
            Self::Refused => {
                let decision = engine.cover(envelope, false, now);
                settle(&mut engine, decision);
            }
            Self::Expired | Self::Lapsed | Self::LapsedAndReturned => {
                now = if self == Self::Expired {
                    Time(START + 1000 * u64::from(LIFETIME_S))
                } else {
                    lapse
                };
                let record = engine.due(now).expect("due");
                assert_eq!(Some(record), engine.overdue(envelope, now));
                engine.apply(&record).expect("fits");
            }
        }
        if self == Self::LapsedAndReturned {
            let decision = engine.fund(envelope, PAYMENT, TOTAL, now);
            settle(&mut engine, decision);
        }
        (engine, envelope, now)
    }

    fn was_paid(self) -> bool {
        matches!(self, Self::Open | Self::Exhausted | Self::Expired | Self::Cancelled)
    }
}

/// The outcome of a confirmation, written down by hand.
fn funded(way: Way, source: MoneySource) -> Outcome {
    match way {
        _ if source != MoneySource::Payment => Outcome::Conflict,
        Way::Reserved => Outcome::Funded { repeated: false },
        Way::Lapsed | Way::Withdrawn => Outcome::Returned { amount: TOTAL, repeated: false },
        Way::LapsedAndReturned => Outcome::Returned { amount: TOTAL, repeated: true },
        _ => Outcome::Funded { repeated: true },
    }
}

fn covered(way: Way, source: MoneySource, covered: bool) -> Outcome {
    match way {
        _ if source != MoneySource::Balance => Outcome::Conflict,
        Way::Reserved if covered => Outcome::Funded { repeated: false },
        Way::Reserved => Outcome::Voided { repeated: false },
        Way::Lapsed | Way::Withdrawn | Way::Refused => Outcome::NeverPaid,
        _ => Outcome::Funded { repeated: true },
    }
}

fn refused(way: Way) -> Option<Outcome> {
    match way {
        Way::Open => None,
        Way::Reserved => Some(Outcome::NotPaid),
        Way::Exhausted => Some(Outcome::SoldOut),
        Way::Expired => Some(Outcome::Expired),
        Way::Cancelled => Some(Outcome::Cancelled),
        _ => Some(Outcome::NeverPaid),
    }
}

fn voided(way: Way) -> Outcome {
    match way {
        Way::Open => Outcome::Conflict,
        Way::Reserved => Outcome::Voided { repeated: false },
        Way::Withdrawn => Outcome::Voided { repeated: true },
        _ => refused(way).expect("not open"),
    }
}

fn cancelled(way: Way) -> Outcome {
    match way {
        Way::Open => Outcome::Refunded { amount: TOTAL, repeated: false },
        Way::Cancelled => Outcome::Refunded { amount: TOTAL, repeated: true },
        _ => refused(way).expect("not open"),
    }
}

#[test]
fn every_state_answers_every_operation_for_every_source() {
    for (way, source) in WAYS.into_iter().flat_map(|way| SOURCES.map(|source| (way, source))) {
        if !way.is_for(source) {
            continue;
        }
        let (engine, envelope, now) = way.go(source);
        let state = summary(&engine, envelope).state;
        let check = |decision: Decision, outcome: Outcome, changes: bool| {
            assert_eq!(decision.outcome, outcome, "{way:?} {source:?}");
            assert_eq!(decision.record.is_some(), changes, "{way:?} {source:?} {outcome:?}");
        };
        let only = |decision, outcome| check(decision, outcome, false);
        let fresh = way == Way::Reserved;
        let by_payment = source == MoneySource::Payment;
        let pays = by_payment && matches!(way, Way::Reserved | Way::Lapsed | Way::Withdrawn);
        check(engine.fund(envelope, PAYMENT, TOTAL, now), funded(way, source), pays);
        only(engine.fund(envelope, PAYMENT + 1, TOTAL, now), Outcome::Conflict);
        only(engine.fund(envelope, PAYMENT, TOTAL - 1, now), Outcome::Conflict);
        let nothing = Outcome::Invalid(BadRequest::Payment);
        only(engine.fund(envelope, 0, TOTAL, now), nothing);
        for verdict in [true, false] {
            let changes = fresh && source == MoneySource::Balance;
            let outcome = covered(way, source, verdict);
            check(engine.cover(envelope, verdict, now), outcome, changes);
        }
        check(engine.void(envelope, SENDER, now), voided(way), fresh);
        only(engine.void(envelope, OTHER, now), Outcome::Denied);
        check(engine.cancel(envelope, SENDER, now), cancelled(way), way == Way::Open);
        only(engine.cancel(envelope, OTHER, now), Outcome::Denied);
        let (claim, left) = (engine.claim(envelope, UserId(77), now), 2);
        match refused(way) {
            Some(refusal) => only(claim, refusal),
            None => assert!(matches!(claim.outcome, Outcome::Claimed { .. })),
        }
        let looked = refused(way).unwrap_or(Outcome::Winnable { shares_left: left });
        assert_eq!(engine.grab(envelope, UserId(77), now), looked);
        let repeat = Outcome::Issued { envelope, state, repeated: true };
        only(engine.issue(&order(source, 1), Seed([7, 7]), now), repeat);
        let Some(revealed) = engine.reveal(envelope) else { panic!("it is there") };
        let is_live = matches!(way, Way::Reserved | Way::Open);
        assert_eq!((revealed.seed, revealed.nonce), ((!is_live).then_some(Seed([1, 2])), 5));
        check_sums(&engine, way);
    }
}

fn check_sums(engine: &Engine, way: Way) {
    let totals = engine.totals();
    let paid = u64::from(way.was_paid());
    assert_eq!(totals.funded, u128::from(TOTAL * paid));
    assert_eq!(totals.funded, totals.claimed + totals.refunded + totals.left);
    assert_eq!((totals.envelopes, totals.reserved), (paid, u64::from(way == Way::Reserved)));
    assert_eq!(totals.voided, u64::from(!way.was_paid() && way != Way::Reserved));
    let returned = if way == Way::LapsedAndReturned { TOTAL } else { 0 };
    assert_eq!(totals.returned, u128::from(returned));
}

#[test]
fn the_lifetime_counts_from_the_payment() {
    let mut engine = engine(10, 1 << 20);
    let envelope = issue(&mut engine, &order(MoneySource::Payment, 1), NOW);
    let before = summary(&engine, envelope);
    assert_eq!((before.state, before.left), (EnvelopeState::Reserved, 0));
    assert_eq!(before.expires_at - before.created_at, PAY_WITHIN_S);
    let paid_at = Time(START + 1000 * u64::from(PAY_WITHIN_S - 1));
    let decision = engine.fund(envelope, PAYMENT, TOTAL, paid_at);
    assert_eq!(settle(&mut engine, decision), Outcome::Funded { repeated: false });
    let after = summary(&engine, envelope);
    assert_eq!((after.state, after.left), (EnvelopeState::Open, TOTAL));
    assert_eq!(after.created_at, paid_at.seconds());
    assert_eq!(after.expires_at, paid_at.seconds() + LIFETIME_S);
    let lapse = Time(paid_at.0 + 1000);
    assert_eq!(engine.due(lapse), None, "it waits no more");
    let end = Time(paid_at.0 + 1000 * u64::from(LIFETIME_S));
    assert!(matches!(engine.due(end), Some(Record::Closed(_))));
}

#[test]
fn a_payment_in_the_second_of_the_lapse_is_too_late() {
    let mut engine = engine(10, 1 << 20);
    let envelope = issue(&mut engine, &order(MoneySource::Payment, 1), NOW);
    let lapse = Time(START + 1000 * u64::from(PAY_WITHIN_S));
    let early = Time(lapse.0 - 1);
    assert!(engine.overdue(envelope, early).is_none() && engine.due(early).is_none());
    let in_time = engine.fund(envelope, PAYMENT, TOTAL, early).record.expect("in time");
    let Record::Paid(paid) = in_time else { panic!("{in_time:?}") };
    let late = Record::Paid(Paid { at: lapse.seconds(), ..paid });
    assert!(engine.apply(&late).is_err(), "nor does a record open it");
    let lapsed = engine.overdue(envelope, lapse).expect("over");
    engine.apply(&lapsed).expect("fits");
    assert!(engine.apply(&in_time).is_err(), "a lapse and a payment cannot both win");
    let decision = engine.fund(envelope, PAYMENT, TOTAL, lapse);
    let outcome = settle(&mut engine, decision);
    assert_eq!(outcome, Outcome::Returned { amount: TOTAL, repeated: false });
    assert_eq!(engine.totals().returned, u128::from(TOTAL));
}

#[test]
fn a_reference_that_the_order_did_not_name_is_kept_and_the_order_stays_the_same() {
    for late in [false, true] {
        let mut engine = engine(10, 1 << 20);
        let unnamed = SendOrder { payment: 0, ..order(MoneySource::Payment, 1) };
        let envelope = issue(&mut engine, &unnamed, NOW);
        if late {
            let decision = engine.void(envelope, SENDER, NOW);
            settle(&mut engine, decision);
        }
        let decision = engine.fund(envelope, 77, TOTAL, NOW);
        settle(&mut engine, decision);
        assert_eq!(engine.fund(envelope, 78, TOTAL, NOW).outcome, Outcome::Conflict);
        assert_eq!(engine.fund(envelope, 77, TOTAL, NOW).record, None);
        assert_eq!(summary(&engine, envelope).payment, 77);
        let again = engine.issue(&unnamed, Seed([1, 1]), NOW).outcome;
        assert!(matches!(again, Outcome::Issued { repeated: true, .. }));
        let named = SendOrder { payment: 77, ..unnamed };
        assert_eq!(engine.issue(&named, Seed([1, 1]), NOW).outcome, Outcome::Conflict);
    }
}

#[test]
fn records_about_money_that_do_not_fit_are_refused_and_change_nothing() {
    let mut engine = engine(10, 1 << 20);
    let envelope = issue(&mut engine, &order(MoneySource::Payment, 1), NOW);
    let (sender, source, at) = (SENDER, MoneySource::Payment, NOW.seconds());
    let paid = Paid { envelope, sender, payment: PAYMENT, total: TOTAL, at, source };
    let cause = VoidCause::Withdrawn;
    let voided = Voided { envelope, sender, total: TOTAL, at, source, cause };
    let returned = Returned { envelope, sender, payment: PAYMENT, amount: TOTAL, at };
    let lapse = at + PAY_WITHIN_S;
    let wrong = [
        Record::Paid(Paid { sender: OTHER, ..paid }),
        Record::Paid(Paid { payment: PAYMENT + 1, ..paid }),
        Record::Paid(Paid { payment: 0, ..paid }),
        Record::Paid(Paid { total: TOTAL + 1, ..paid }),
        Record::Paid(Paid { at: lapse, ..paid }),
        Record::Paid(Paid { source: MoneySource::Balance, payment: 0, ..paid }),
        Record::Paid(Paid { source: MoneySource::Vouched, ..paid }),
        Record::Voided(Voided { sender: OTHER, ..voided }),
        Record::Voided(Voided { total: TOTAL - 1, ..voided }),
        Record::Voided(Voided { source: MoneySource::Balance, ..voided }),
        Record::Voided(Voided { at: lapse, ..voided }),
        Record::Voided(Voided { cause: VoidCause::Lapsed, at: lapse - 1, ..voided }),
        Record::Voided(Voided { cause: VoidCause::Refused, ..voided }),
        Record::Returned(returned),
    ];
    assert_contradict(&mut engine, envelope, &wrong);
    engine.apply(&Record::Voided(voided)).expect("fits");
    let over = [Record::Paid(paid), Record::Voided(voided)];
    for record in over {
        assert_eq!(engine.apply(&record), Err(Misfit::NotReserved(envelope)));
    }
    let wrong = [
        Record::Returned(Returned { sender: OTHER, ..returned }),
        Record::Returned(Returned { payment: PAYMENT + 1, ..returned }),
        Record::Returned(Returned { payment: 0, ..returned }),
        Record::Returned(Returned { amount: TOTAL + 1, ..returned }),
    ];
    assert_contradict(&mut engine, envelope, &wrong);
    engine.apply(&Record::Returned(returned)).expect("fits");
    assert_contradict(&mut engine, envelope, &[Record::Returned(returned)]);
}

fn assert_contradict(engine: &mut Engine, envelope: EnvelopeId, records: &[Record]) {
    let before = (engine.digest(), engine.totals(), engine.next_due());
    for record in records {
        assert_eq!(engine.apply(record), Err(Misfit::Contradiction(envelope)), "{record:?}");
        assert_eq!((engine.digest(), engine.totals(), engine.next_due()), before);
    }
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_an_envelope_shut() {
    let mut engine = engine(10, 1 << 20);
    let envelope = issue(&mut engine, &order(MoneySource::Payment, 1), NOW);
    let earlier = Time(START - 5_000_000);
    let decision = engine.fund(envelope, PAYMENT, TOTAL, earlier);
    assert_eq!(settle(&mut engine, decision), Outcome::Funded { repeated: false });
    assert_eq!(summary(&engine, envelope).expires_at, earlier.seconds() + LIFETIME_S);
}
