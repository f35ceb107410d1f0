//! Expiry by the timing wheel against a sorted map.

use std::collections::BTreeSet;

use hongbao::engine::{Capacity, Engine, EnvelopeLimits, Outcome};
use hongbao::units::{EnvelopeId, MoneySource, Seed, Split, Time, UserId};
use hongbao::wire::SendOrder;

use crate::{CELL, Dice, LIMITS};

const START_S: u64 = 1_700_000_000;

fn engine() -> Engine {
    let limits = EnvelopeLimits { lifetime_s_max: u32::MAX, ..LIMITS };
    let capacity = Capacity { envelopes: 20_000, table_bytes: 64 << 20, retention_s: 0 };
    Engine::new(CELL, capacity, limits)
}

fn fund(engine: &mut Engine, number: u64, lifetime_s: u32, now: Time) -> EnvelopeId {
    let (sender, split) = (UserId(number % 7), Split::Equal);
    let (order, payment, total, shares, share_max) = (number, number, 10, 1 + 3, 0);
    let order = SendOrder {
        nonce: 0,
        source: MoneySource::Vouched,
        sender,
        order,
        payment,
        total,
        shares,
        lifetime_s,
        share_max,
        split,
    };
    let decision = engine.issue(&order, Seed([number, 1]), now);
    engine.apply(&decision.record.expect("room")).expect("fits");
    match decision.outcome {
        Outcome::Issued { envelope, .. } => envelope,
        other => panic!("{other:?}"),
    }
}

/// From a second to decades, with many that meet in the same second.
fn lifetime(dice: &mut Dice, now_s: u64) -> u32 {
    let rest = u64::from(u32::MAX) - now_s;
    let lifetime = match dice.below(6) {
        0 => 1 + dice.below(5),
        1 => 60,
        2 => 1 + dice.below(100_000),
        3 => (1 << 17) - 1 + dice.below(3),
        4 => ((1 << 17) - now_s % (1 << 17)) + dice.below(3),
        _ => 1 + dice.below(rest),
    };
    u32::try_from(lifetime.clamp(1, rest)).expect("32 bits")
}

/// Applies all that is due, and asserts that it is what the map says.
fn drain(engine: &mut Engine, twin: &mut BTreeSet<(u64, EnvelopeId)>, now_s: u64) {
    let now = Time(now_s * 1000);
    while engine.is_behind(now) {
        if let Some(record) = engine.due(now) {
            let Some(summary) = engine.show(record.envelope()) else {
                panic!("there is no {record:?}");
            };
            assert!(u64::from(summary.expires_at) <= now_s);
            assert!(twin.remove(&(u64::from(summary.expires_at), record.envelope())));
            engine.apply(&record).expect("fits");
        }
        // Closed envelopes are ripe at once here, and their slots come again.
        if let Some(record) = engine.recyclable(now) {
            engine.apply(&record).expect("fits");
        }
    }
    let first = twin.first().map(|&(expires_at, _)| expires_at);
    assert!(first.is_none_or(|first| first > now_s), "{first:?} is due at {now_s}");
    let next_due = engine.next_due().map(u64::from);
    assert!(first.is_none_or(|first| next_due.is_some_and(|due| due <= first)));
}

/// Some are cancelled before their time, and leave their lists in the middle.
fn cancel_some(
    engine: &mut Engine,
    twin: &mut BTreeSet<(u64, EnvelopeId)>,
    dice: &mut Dice,
    now: Time,
) {
    let Some(&(expires_at, envelope)) = twin
        .iter()
        .nth(usize::try_from(dice.below(twin.len().try_into().unwrap_or(1).max(1))).expect("few"))
    else {
        return;
    };
    let Some(summary) = engine.show(envelope) else { panic!("it is there") };
    // Nothing is to be had of one that is overdue.
    if let Some(record) = engine.cancel(envelope, summary.sender, now).record {
        engine.apply(&record).expect("fits");
        twin.remove(&(expires_at, envelope));
    }
}

#[test]
fn wheel_expires_what_a_sorted_map_expires() {
    for seed in 1..=4 {
        println!("seed {seed}");
        let (mut dice, mut engine, mut twin) = (Dice(seed), engine(), BTreeSet::new());
        let mut now_s = START_S;
        for number in 0..if cfg!(miri) { 60 } else { 6000 } {
            let lifetime_s = lifetime(&mut dice, now_s);
            let envelope = fund(&mut engine, number, lifetime_s, Time(now_s * 1000));
            assert!(twin.insert((now_s + u64::from(lifetime_s), envelope)));
            if dice.one_in(4) {
                cancel_some(&mut engine, &mut twin, &mut dice, Time(now_s * 1000));
            }
            now_s += match dice.below(40) {
                0..20 => 0,
                20..36 => dice.below(4),
                36..39 => dice.below(20_000),
                _ => dice.below(300_000),
            };
            if dice.one_in(3) {
                drain(&mut engine, &mut twin, now_s);
            }
        }
        drain(&mut engine, &mut twin, u64::from(u32::MAX));
        assert!(twin.is_empty());
        assert_eq!(engine.fill().envelopes, 0);
        assert_eq!(engine.next_due(), None);
    }
}

#[test]
fn a_crowd_that_becomes_due_is_worked_off_in_bounded_steps() {
    let mut engine = engine();
    let now = Time(START_S * 1000);
    let lifetime_s = 200_000; // beyond the near wheel: all must be moved first
    let count = if cfg!(miri) { 700 } else { 5000 };
    for number in 0..count {
        fund(&mut engine, number, lifetime_s, now);
    }
    let later = Time((START_S + u64::from(lifetime_s)) * 1000);
    assert_eq!(engine.due(later), None, "the first call only moves some");
    assert!(engine.is_behind(later));
    let (mut expired, mut calls) = (0, 1);
    while expired < count {
        calls += 1;
        if let Some(record) = engine.due(later) {
            engine.apply(&record).expect("fits");
            expired += 1;
        }
    }
    assert!(calls < count + count / 200);
}

/// The wall was set back: what is ordered now is over before the wheel's second.
#[test]
fn what_is_over_already_is_due_at_once() {
    let mut engine = engine();
    let at = |s: u64| Time((START_S + s) * 1000);
    fund(&mut engine, 1, 50_000, at(0));
    assert_eq!(engine.due(at(20_000)), None);
    let late = fund(&mut engine, 2, 60, at(0));
    assert_eq!(engine.next_due(), Some(at(20_000).seconds()));
    assert!(engine.is_behind(at(20_000)));
    let record = engine.due(at(20_000)).expect("it is over");
    assert_eq!(record.envelope(), late);
}
