//! What a sender may do, at each edge and against a naive count.

use hongbao::engine::{Capacity, Engine, EnvelopeLimits, Outcome, Record, SenderLimits};
use hongbao::units::{EnvelopeId, EnvelopeState, MoneySource, Seed, Split, Time, UserId};
use hongbao::wire::SendOrder;

use crate::images::reloaded_with;
use crate::{CELL, Dice, LIMITS};

/// Midnight in China.
const MIDNIGHT_S: u64 = 1_700_000_000 / 86_400 * 86_400 + 16 * 3600;
const NOON: Time = Time((MIDNIGHT_S + 12 * 3600) * 1000);
const DAY_MS: u64 = 86_400_000;
const CHINA_MIN: i32 = 480;

fn limits(senders: SenderLimits) -> EnvelopeLimits {
    EnvelopeLimits { senders, pay_within_s: 7 * 86_400, lifetime_s_max: 30 * 86_400, ..LIMITS }
}

fn engine(senders: SenderLimits) -> Engine {
    Engine::new(CELL, CAPACITY, limits(senders))
}

const CAPACITY: Capacity = Capacity { envelopes: 500, table_bytes: 8 << 20, retention_s: 86_400 };

const NONE: SenderLimits = SenderLimits { utc_offset_min: CHINA_MIN, ..SenderLimits::NONE };

fn order(sender: u64, number: u64, total: u64, source: MoneySource) -> SendOrder {
    SendOrder {
        nonce: 0,
        source,
        sender: UserId(sender),
        order: number,
        payment: 0,
        total,
        shares: 1,
        lifetime_s: 3600,
        share_max: 0,
        split: Split::Equal,
    }
}

fn issue(engine: &mut Engine, order: &SendOrder, now: Time) -> Option<EnvelopeId> {
    let decision = engine.issue(order, Seed([1, 2]), now);
    if let Some(record) = decision.record {
        engine.apply(&record).expect("fits");
        return Some(record.envelope());
    }
    assert_eq!(decision.outcome, Outcome::LimitReached, "{order:?}");
    None
}

fn vouched(number: u64, total: u64) -> SendOrder {
    order(3, number, total, MoneySource::Vouched)
}

#[test]
fn the_last_order_of_a_day_is_taken_and_the_next_is_not() {
    let mut engine = engine(SenderLimits { sends_per_day_max: 2, ..NONE });
    assert!(issue(&mut engine, &vouched(1, 5), NOON).is_some());
    assert!(issue(&mut engine, &vouched(2, 5), NOON).is_some());
    let before = (engine.digest(), engine.totals());
    assert!(issue(&mut engine, &vouched(3, 5), NOON).is_none());
    assert_eq!((engine.digest(), engine.totals()), before, "nothing has moved");
    let repeat = engine.issue(&vouched(2, 5), Seed([1, 1]), NOON).outcome;
    assert!(matches!(repeat, Outcome::Issued { repeated: true, .. }), "a repeat is never refused");
    assert!(issue(&mut engine, &order(4, 1, 5, MoneySource::Vouched), NOON).is_some());
}

#[test]
fn a_day_ends_at_midnight_where_the_operator_says() {
    let mut engine = engine(SenderLimits { sends_per_day_max: 1, ..NONE });
    let midnight = Time((MIDNIGHT_S + 86_400) * 1000);
    let last = Time(midnight.0 - 1);
    assert!(issue(&mut engine, &vouched(1, 5), last).is_some());
    assert!(issue(&mut engine, &vouched(2, 5), last).is_none());
    assert!(issue(&mut engine, &vouched(2, 5), midnight).is_some());
    assert!(issue(&mut engine, &vouched(3, 5), midnight).is_none());
}

#[test]
fn the_sum_of_a_day_is_exact_to_the_fen() {
    let mut engine = engine(SenderLimits { sent_fen_per_day_max: 1000, ..NONE });
    assert!(issue(&mut engine, &vouched(1, 600), NOON).is_some());
    assert!(issue(&mut engine, &vouched(2, 401), NOON).is_none());
    assert!(issue(&mut engine, &vouched(2, 400), NOON).is_some());
    assert!(issue(&mut engine, &vouched(3, 1), NOON).is_none());
    assert!(issue(&mut engine, &vouched(3, 1000), Time(NOON.0 + DAY_MS)).is_some());
}

#[test]
fn envelopes_that_are_over_make_room_for_live_ones() {
    let mut engine = engine(SenderLimits { live_per_sender_max: 2, ..NONE });
    let open = issue(&mut engine, &vouched(1, 5), NOON).expect("allowed");
    let reserved = order(3, 2, 5, MoneySource::Payment);
    let reserved = issue(&mut engine, &reserved, NOON).expect("allowed");
    assert!(issue(&mut engine, &vouched(3, 5), NOON).is_none(), "both are live");
    let paid = engine.fund(reserved, 9, 5, NOON).record.expect("waits");
    engine.apply(&paid).expect("fits");
    assert!(issue(&mut engine, &vouched(3, 5), NOON).is_none(), "a paid one is live");
    let claimed = engine.claim(open, UserId(9), NOON).record.expect("open");
    engine.apply(&claimed).expect("fits");
    assert!(issue(&mut engine, &vouched(3, 5), NOON).is_some(), "an exhausted one is not");
    let cancelled = engine.cancel(reserved, UserId(3), NOON).record.expect("open");
    engine.apply(&cancelled).expect("fits");
    assert!(issue(&mut engine, &vouched(4, 5), NOON).is_some(), "a cancelled one is not");
    let later = Time(NOON.0 + 3_600_000);
    let expired = engine.due(later).expect("due");
    engine.apply(&expired).expect("fits");
    assert!(issue(&mut engine, &vouched(5, 5), later).is_some(), "an expired one is not");
}

#[test]
fn voided_orders_count_as_if_they_were_never_made() {
    let senders = SenderLimits {
        sends_per_day_max: 1,
        sent_fen_per_day_max: 5,
        live_per_sender_max: 1,
        ..NONE
    };
    let mut engine = engine(senders);
    let first = order(3, 1, 5, MoneySource::Balance);
    let first = issue(&mut engine, &first, NOON).expect("allowed");
    assert!(issue(&mut engine, &vouched(2, 5), NOON).is_none());
    let refused = engine.cover(first, false, NOON).record.expect("waits");
    engine.apply(&refused).expect("fits");
    assert!(issue(&mut engine, &vouched(2, 5), NOON).is_some());
}

/// An order that was paid on a later day still counts on its own, also after a
/// restart, where only the envelopes are known.
#[test]
fn an_order_counts_on_the_day_it_was_made_whenever_it_is_paid() {
    let senders = SenderLimits { sends_per_day_max: 1, ..NONE };
    let evening = Time((MIDNIGHT_S + 86_400 - 1) * 1000);
    let next = Time(evening.0 + 1000);
    let mut engine = engine(senders);
    let late = order(3, 1, 5, MoneySource::Payment);
    let envelope = issue(&mut engine, &late, evening).expect("allowed");
    let paid = engine.fund(envelope, 9, 5, next).record.expect("waits");
    engine.apply(&paid).expect("fits");
    let mut again = reloaded_with(&mut engine, CAPACITY, limits(senders));
    for engine in [&mut engine, &mut again] {
        assert!(issue(engine, &vouched(2, 5), evening).is_none());
        assert!(issue(engine, &vouched(2, 5), next).is_some());
        assert!(issue(engine, &vouched(3, 5), next).is_none());
    }
}

/// What a naive reader of all orders would count.
struct Order {
    sender: u64,
    total: u64,
    at: Time,
    envelope: EnvelopeId,
}

fn state_of(engine: &Engine, envelope: EnvelopeId) -> Option<EnvelopeState> {
    engine.show(envelope).map(|summary| summary.state)
}

fn day(at: Time) -> u64 {
    (at.0 / 1000 - MIDNIGHT_S) / 86_400
}

#[test]
fn limits_are_what_a_count_of_all_orders_says() {
    let senders = SenderLimits {
        sends_per_day_max: 4,
        sent_fen_per_day_max: 300,
        live_per_sender_max: 3,
        ..NONE
    };
    println!("seed 17");
    let (mut dice, mut engine, mut now) = (Dice(17), engine(senders), NOON);
    let mut orders: Vec<Order> = Vec::new();
    let (mut taken, mut refused) = (0, 0);
    for number in 0..if cfg!(miri) { 60 } else { 6000 } {
        now.0 += dice.below(2_500_000);
        while let Some(record) = engine.due(now).or_else(|| engine.recyclable(now)) {
            engine.apply(&record).expect("fits");
        }
        let source = [MoneySource::Vouched, MoneySource::Payment];
        let source = dice.pick(&source).expect("two");
        let order = order(dice.below(5), number, 1 + dice.below(150), source);
        let (mut sends, mut fen, mut live) = (0, 0, 0);
        for past in orders.iter().filter(|past| past.sender == order.sender.0) {
            let state = state_of(&engine, past.envelope);
            let counts = day(past.at) == day(now) && state != Some(EnvelopeState::Voided);
            sends += u64::from(counts);
            fen += past.total * u64::from(counts);
            let is_live = matches!(state, Some(EnvelopeState::Open | EnvelopeState::Reserved));
            live += u64::from(is_live);
        }
        let allowed = sends < 4 && fen + order.total <= 300 && live < 3;
        let envelope = issue(&mut engine, &order, now);
        assert_eq!(envelope.is_some(), allowed, "{number}: {sends} {fen} {live} {order:?}");
        match envelope {
            Some(envelope) => {
                taken += 1;
                orders.push(Order {
                    sender: order.sender.0,
                    total: order.total,
                    at: now,
                    envelope,
                });
            }
            None => refused += 1,
        }
        happen(&mut engine, &mut dice, &orders, now);
        if dice.one_in(200) {
            engine = reloaded_with(&mut engine, CAPACITY, limits(senders));
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(cfg!(miri) || (taken > 500 && refused > 500));
}

/// Something happens to a recent envelope.
fn happen(engine: &mut Engine, dice: &mut Dice, orders: &[Order], now: Time) {
    let recent = orders.len().saturating_sub(8);
    let Some(at) = (orders.len() > recent)
        .then(|| recent + usize::try_from(dice.below(8)).expect("few") % (orders.len() - recent))
    else {
        return;
    };
    let Order { envelope, sender, total, .. } = orders[at];
    let record: Option<Record> = match dice.below(5) {
        0 => engine.claim(envelope, UserId(77), now).record,
        1 => engine.cancel(envelope, UserId(sender), now).record,
        2 | 3 => engine.fund(envelope, 9, total, now).record,
        _ => engine.void(envelope, UserId(sender), now).record,
    };
    if let Some(record) = record {
        engine.apply(&record).expect("fits");
    }
}
