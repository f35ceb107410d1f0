//! Slots that are used again, and what is remembered of what was in them.

use hongbao::engine::{Capacity, Claimed, Engine, Issued, Misfit, Outcome, Record, Recycled};
use hongbao::units::{EnvelopeId, EnvelopeState, MoneySource, Seed, Split, Time, UserId};
use hongbao::wire::SendOrder;

use crate::{CELL, LIMITS, START};

const RETENTION_S: u32 = 100;

fn engine(envelopes: u32) -> Engine {
    let capacity = Capacity { envelopes, table_bytes: 2 << 20, retention_s: RETENTION_S };
    Engine::new(CELL, capacity, LIMITS)
}

fn order(number: u64, shares: u32) -> SendOrder {
    let (sender, payment, total) = (UserId(3), 9, u64::from(shares) * 10);
    let (lifetime_s, share_max, split) = (60, 0, Split::DoubleMean);
    SendOrder {
        nonce: 0,
        source: MoneySource::Vouched,
        sender,
        order: number,
        payment,
        total,
        shares,
        lifetime_s,
        share_max,
        split,
    }
}

fn fund(engine: &mut Engine, order: &SendOrder, now: Time) -> Option<EnvelopeId> {
    let record = engine.issue(order, Seed([order.order, 2]), now).record?;
    engine.apply(&record).expect("fits");
    Some(record.envelope())
}

fn claim_all(engine: &mut Engine, envelope: EnvelopeId, shares: u32, now: Time) {
    for user in 0..u64::from(shares) {
        let record = engine.claim(envelope, UserId(user), now).record.expect("open");
        engine.apply(&record).expect("fits");
    }
}

#[test]
fn a_closed_envelope_is_kept_for_its_retention_and_then_not_found() {
    let mut engine = engine(10);
    let (now, order) = (Time(START), order(1, 3));
    let envelope = fund(&mut engine, &order, now).expect("room");
    claim_all(&mut engine, envelope, 3, now);
    let totals = engine.totals();
    let early = Time(START + 1000 * u64::from(RETENTION_S) - 1);
    assert_eq!(engine.recyclable(early), None);
    let repeated = engine.issue(&order, Seed([1, 1]), early).outcome;
    let state = EnvelopeState::Exhausted;
    assert_eq!(repeated, Outcome::Issued { envelope, state, repeated: true });
    let ripe = Time(early.0 + 1);
    assert!(engine.is_behind(ripe));
    let record = engine.recyclable(ripe).expect("ripe");
    engine.apply(&record).expect("fits");
    assert_eq!(engine.totals(), totals, "what it came to is still in the sums");
    assert_eq!(engine.show(envelope), None);
    assert_eq!(engine.claim(envelope, UserId(0), ripe).outcome, Outcome::NotFound);
    assert_eq!(engine.apply(&record), Err(Misfit::NotClosed(envelope)));
    let anew = fund(&mut engine, &order, ripe).expect("the order is forgotten");
    assert_eq!(anew, EnvelopeId(envelope.0 + 1), "the same slot in its next generation");
    assert_eq!(engine.show(envelope), None);
    assert_eq!(engine.grab(anew, UserId(0), ripe), Outcome::Winnable { shares_left: 3 });
}

#[test]
fn recyclings_that_do_not_fit_are_refused_and_change_nothing() {
    let mut engine = engine(10);
    let now = Time(START);
    let open = fund(&mut engine, &order(1, 2), now).expect("room");
    let done = fund(&mut engine, &order(2, 2), now).expect("room");
    claim_all(&mut engine, done, 2, now);
    let right = Recycled { envelope: done, shares_claimed: 2, claimed: 20, total: 20, at: 7 };
    let before = (engine.digest(), engine.totals(), engine.fill());
    let wrong = [
        (Recycled { envelope: open, ..right }, Misfit::NotClosed(open)),
        (Recycled { envelope: EnvelopeId(5), ..right }, Misfit::NotClosed(EnvelopeId(5))),
        (Recycled { shares_claimed: 1, ..right }, Misfit::Contradiction(done)),
        (Recycled { claimed: 19, ..right }, Misfit::Contradiction(done)),
        (Recycled { claimed: 21, ..right }, Misfit::Contradiction(done)),
        (Recycled { total: 21, claimed: 21, ..right }, Misfit::Contradiction(done)),
    ];
    for (record, misfit) in wrong {
        assert_eq!(engine.apply(&Record::Recycled(record)), Err(misfit), "{record:?}");
        assert_eq!((engine.digest(), engine.totals(), engine.fill()), before);
    }
    engine.apply(&Record::Recycled(right)).expect("fits");
}

#[test]
fn a_slot_is_retired_when_its_generations_are_used_up() {
    let mut engine = engine(1);
    let mut now = Time(START);
    let first = fund(&mut engine, &order(0, 1), now).expect("room");
    let slots = if cfg!(miri) { 30 } else { 70_000_u64 };
    let mut last = first;
    for number in 1..=slots {
        claim_all(&mut engine, last, 1, now);
        now.0 += 1000 * u64::from(RETENTION_S);
        engine.due(now);
        let record = engine.recyclable(now).expect("ripe");
        engine.apply(&record).expect("fits");
        let next = fund(&mut engine, &order(number, 1), now).expect("room");
        assert_ne!(next.generation(), 0);
        assert!(next.slot() != last.slot() || next.generation() == last.generation() + 1);
        last = next;
    }
    assert!(cfg!(miri) || last.slot() != first.slot());
    let late = Claimed { envelope: first, user: UserId(9), amount: 10, rank: 0, at: 1 };
    assert_eq!(engine.apply(&Record::Claimed(late)), Err(Misfit::NotOpen(first)));
}

#[test]
fn a_large_envelope_gives_back_its_pages_and_never_its_id() {
    let mut engine = engine(5);
    let mut now = Time(START);
    let mut seen = Vec::new();
    for number in 0..if cfg!(miri) { 3 } else { 40 } {
        let envelope = fund(&mut engine, &order(number, 600), now).expect("pages come back");
        assert!(!seen.contains(&envelope));
        claim_all(&mut engine, envelope, 599, now);
        seen.push(envelope);
        now.0 += 61_000;
        let record = engine.due(now).expect("due");
        engine.apply(&record).expect("fits");
        now.0 += 1000 * u64::from(RETENTION_S);
        let cursor = engine.begin_image();
        assert_eq!(engine.recyclable(now), None, "not while an image is taken");
        engine.end_image(cursor);
        let record = engine.recyclable(now).expect("ripe");
        engine.apply(&record).expect("fits");
        assert_eq!(engine.show(envelope), None);
    }
    assert_eq!(engine.fill().pages, 1, "the page of their blocks");
}

#[test]
fn orders_stay_findable_while_others_are_removed() {
    let count = if cfg!(miri) { 40 } else { 3000 };
    let mut engine = engine(count);
    let now = Time(START);
    let orders: Vec<_> = (0..u64::from(count)).map(|number| order(number, 1)).collect();
    let ids: Vec<_> = orders.iter().map(|order| fund(&mut engine, order, now)).collect();
    assert_eq!(engine.issue(&order(9999, 1), Seed([1, 1]), now).outcome, Outcome::Full);
    for (order, &id) in orders.iter().zip(&ids).step_by(2) {
        claim_all(&mut engine, id.expect("room"), order.shares, now);
    }
    let later = Time(START + 1000 * u64::from(RETENTION_S));
    while let Some(record) = engine.recyclable(later) {
        engine.apply(&record).expect("fits");
    }
    for (n, (order, &id)) in orders.iter().zip(&ids).enumerate() {
        let outcome = engine.issue(order, Seed([1, 1]), now).outcome;
        let (envelope, state) = (id.expect("room"), EnvelopeState::Open);
        let known = outcome == Outcome::Issued { envelope, state, repeated: true };
        assert_eq!(known, n % 2 == 1);
    }
}

#[test]
fn a_funding_may_take_any_free_slot() {
    let mut engine = engine(50);
    let Some(Record::Issued(first)) = engine.issue(&order(1, 1), Seed([1, 2]), Time(START)).record
    else {
        panic!("there is room");
    };
    for (number, slot) in [(1, 7), (2, 0), (3, 8), (4, 584), (5, 1), (6, 1024 + 3)] {
        let envelope = EnvelopeId::new(CELL, first.envelope.partition(), slot, 5);
        let funded = Issued { envelope, order: number, ..first };
        engine.apply(&Record::Issued(funded)).expect("fits");
    }
    let mut seen: Vec<_> = engine.envelopes().collect();
    for number in 10..54 {
        let envelope = fund(&mut engine, &order(number, 1), Time(START)).expect("room");
        assert!(!seen.contains(&envelope));
        seen.push(envelope);
    }
}

#[test]
fn a_large_envelope_is_recycled_in_its_time_but_not_while_an_image_is_taken() {
    let mut engine = engine(10);
    let order = order(1, 1500);
    let envelope = fund(&mut engine, &order, Time(START)).expect("room");
    claim_all(&mut engine, envelope, order.shares, Time(START));
    let ripe = Time(START + 1000 * u64::from(RETENTION_S));
    assert_eq!(engine.due(ripe), None, "it does not expire any more");
    assert_eq!(engine.next_due(), Some(ripe.seconds()));
    let cursor = engine.begin_image();
    assert!(engine.next_due() != Some(ripe.seconds()) && engine.recyclable(ripe).is_none());
    engine.end_image(cursor);
    assert_eq!(engine.next_due(), Some(ripe.seconds()));
    assert!(engine.recyclable(ripe).is_some());
}
