//! Races of all that can end a wait or an envelope, against a purse.

use std::collections::HashMap;

use hongbao::engine::{Engine, Outcome, Record, Restoring};
use hongbao::units::{EnvelopeId, EnvelopeState, MoneySource, Seed, Time, UserId};
use hongbao::wire::SendOrder;

use crate::paying::{LIFETIME_S, NOW, PAYMENT, SENDER, SOURCES, TOTAL, order, summary};
use crate::{CELL, Dice, LIMITS, PAY_WITHIN_S, capacity, engine};

/// Where the money of one envelope is, as anyone would keep it.
#[derive(Debug, Default)]
struct Purse {
    state: Option<EnvelopeState>,
    source: Option<MoneySource>,
    ends_at: u32,
    holders: HashMap<u64, u64>,
    refunded: u64,
    returned: u64,
}

impl Purse {
    fn claimed(&self) -> u64 {
        self.holders.values().sum()
    }
}

/// One envelope, and everything that can happen to it, in any order.
struct Race {
    engine: Engine,
    purse: Purse,
    envelope: EnvelopeId,
    records: Vec<Record>,
    now: Time,
}

impl Race {
    fn new(dice: &mut Dice) -> Self {
        let mut engine = engine(4, 1 << 20);
        let source = dice.pick(&SOURCES).expect("three");
        let named = dice.one_in(2) || source != MoneySource::Payment;
        let order = order(source, dice.below(99));
        let order = if named { order } else { SendOrder { payment: 0, ..order } };
        let record = engine.issue(&order, Seed([dice.word(), 1]), NOW).record.expect("room");
        engine.apply(&record).expect("fits");
        let is_open = source == MoneySource::Vouched;
        let wait = if is_open { LIFETIME_S } else { PAY_WITHIN_S };
        let state = if is_open { EnvelopeState::Open } else { EnvelopeState::Reserved };
        let purse = Purse {
            state: Some(state),
            source: Some(source),
            ends_at: NOW.seconds() + wait,
            ..Purse::default()
        };
        Self { engine, purse, envelope: record.envelope(), records: vec![record], now: NOW }
    }

    fn is(&self, state: EnvelopeState) -> bool {
        self.purse.state == Some(state)
    }

    fn step(&mut self, dice: &mut Dice) {
        // Mostly nothing, sometimes just to the end of the wait or the life.
        let end_ms = u64::from(self.purse.ends_at) * 1000;
        self.now.0 = match dice.below(9) {
            0 => self.now.0.max(end_ms - 1),
            1 => self.now.0.max(end_ms),
            _ => self.now.0 + dice.below(900),
        };
        if dice.one_in(6) {
            let due = self.engine.due(self.now);
            self.end(due);
        } else {
            let overdue = self.engine.overdue(self.envelope, self.now);
            self.end(overdue);
            match dice.below(5) {
                0 => self.claim(dice),
                1 => self.cancel(),
                2 => self.fund(dice),
                3 => self.cover(dice),
                _ => self.void(),
            }
        }
        self.check();
    }

    fn record(&mut self, record: Option<Record>) -> bool {
        let Some(record) = record else { return false };
        self.engine.apply(&record).expect("a decision's record fits");
        self.records.push(record);
        true
    }

    fn end(&mut self, record: Option<Record>) {
        let is_live = self.is(EnvelopeState::Open) || self.is(EnvelopeState::Reserved);
        assert_eq!(record.is_some(), is_live && self.now.seconds() >= self.purse.ends_at);
        if !self.record(record) {
            return;
        }
        if self.is(EnvelopeState::Open) {
            self.purse.refunded = TOTAL - self.purse.claimed();
            self.purse.state = Some(EnvelopeState::Expired);
        } else {
            self.purse.state = Some(EnvelopeState::Voided);
        }
    }

    fn claim(&mut self, dice: &mut Dice) {
        let user = dice.below(4);
        let decision = self.engine.claim(self.envelope, UserId(user), self.now);
        let wins = self.is(EnvelopeState::Open) && !self.purse.holders.contains_key(&user);
        assert_eq!(self.record(decision.record), wins);
        if let Outcome::Claimed { amount } = decision.outcome {
            self.purse.holders.insert(user, amount);
            if self.purse.holders.len() == 2 {
                self.purse.state = Some(EnvelopeState::Exhausted);
            }
        }
        if let Outcome::AlreadyClaimed { amount } = decision.outcome {
            assert_eq!(self.purse.holders[&user], amount);
        }
    }

    fn cancel(&mut self) {
        let decision = self.engine.cancel(self.envelope, SENDER, self.now);
        let wins = self.is(EnvelopeState::Open);
        assert_eq!(self.record(decision.record), wins);
        if wins {
            self.purse.refunded = TOTAL - self.purse.claimed();
            self.purse.state = Some(EnvelopeState::Cancelled);
        }
    }

    fn fund(&mut self, dice: &mut Dice) {
        let payment = if dice.one_in(8) { PAYMENT + 1 } else { PAYMENT };
        let known = summary(&self.engine, self.envelope).payment;
        let decision = self.engine.fund(self.envelope, payment, TOTAL, self.now);
        let accepts =
            self.purse.source == Some(MoneySource::Payment) && (known == 0 || known == payment);
        let opens = accepts && self.is(EnvelopeState::Reserved);
        let returns = accepts && self.is(EnvelopeState::Voided) && self.purse.returned == 0;
        assert_eq!(self.record(decision.record), opens || returns);
        assert_eq!(decision.outcome == Outcome::Conflict, !accepts);
        if opens {
            self.open();
        }
        if returns {
            self.purse.returned = TOTAL;
        }
    }

    fn open(&mut self) {
        self.purse.state = Some(EnvelopeState::Open);
        self.purse.ends_at = self.now.seconds() + LIFETIME_S;
    }

    fn cover(&mut self, dice: &mut Dice) {
        let covered = dice.one_in(2);
        let decision = self.engine.cover(self.envelope, covered, self.now);
        let balance = self.purse.source == Some(MoneySource::Balance);
        let decides = balance && self.is(EnvelopeState::Reserved);
        assert_eq!(self.record(decision.record), decides);
        match decides {
            true if covered => self.open(),
            true => self.purse.state = Some(EnvelopeState::Voided),
            false => {}
        }
    }

    fn void(&mut self) {
        let decision = self.engine.void(self.envelope, SENDER, self.now);
        let wins = self.is(EnvelopeState::Reserved);
        assert_eq!(self.record(decision.record), wins);
        if wins {
            self.purse.state = Some(EnvelopeState::Voided);
        }
    }

    /// The money is in one place, and the engine knows which.
    fn check(&self) {
        let (purse, totals) = (&self.purse, self.engine.totals());
        let shown = summary(&self.engine, self.envelope);
        assert_eq!(Some(shown.state), purse.state);
        let waits = self.is(EnvelopeState::Reserved) || self.is(EnvelopeState::Voided);
        let funded = if waits { 0 } else { TOTAL };
        let left = if self.is(EnvelopeState::Open) { TOTAL - purse.claimed() } else { 0 };
        assert_eq!(funded, purse.claimed() + purse.refunded + left, "{purse:?}");
        assert_eq!((shown.left, shown.refunded), (left, purse.refunded));
        let sums = (totals.funded, totals.claimed, totals.refunded, totals.left, totals.returned);
        let naive = (funded, purse.claimed(), purse.refunded, left, purse.returned);
        assert_eq!(
            sums,
            (naive.0.into(), naive.1.into(), naive.2.into(), naive.3.into(), naive.4.into())
        );
        assert!(purse.returned == 0 || funded == 0, "not put in and given back");
    }

    /// The state after a crash at this moment.
    fn assert_recovers(&self) {
        let mut restoring = Restoring::new(CELL, capacity(4, 1 << 20), LIMITS, 0, 1);
        let records: Vec<(u64, Record)> = (1..).zip(self.records.iter().copied()).collect();
        restoring.apply(&records).expect("fits");
        let again = restoring.finish().expect("whole");
        assert_eq!(again.digest(), self.engine.digest());
        assert_eq!(again.totals(), self.engine.totals());
    }
}

#[test]
fn of_all_that_can_end_a_wait_or_an_envelope_exactly_one_wins() {
    let rounds = if cfg!(miri) { 20 } else { 5000 };
    println!("seed 41");
    let mut dice = Dice(41);
    let mut ends = HashMap::new();
    for _ in 0..rounds {
        let mut race = Race::new(&mut dice);
        for _ in 0..4 + dice.below(14) {
            race.step(&mut dice);
        }
        if dice.one_in(10) {
            race.assert_recovers();
        }
        let end = (race.purse.state.map(EnvelopeState::code), race.purse.returned > 0);
        *ends.entry(end).or_insert(0_u32) += 1;
    }
    println!("{ends:?}");
    assert!(cfg!(miri) || (ends.len() == 7 && ends.values().all(|&count| count > 20)), "{ends:?}");
}
