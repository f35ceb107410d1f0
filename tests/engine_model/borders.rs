//! What fits and what does not: records against the state, one at a time.

use hongbao::engine::{
    Cause, Claimed, Closed, Decision, Engine, Guessed, Issued, Misfit, Outcome, Paid, Record,
    Recycled, Returned, TermsPart, Voided, partition_of,
};
use hongbao::units::{EnvelopeId, MoneySource, Seed, Split, Time, UserId, VoidCause};
use hongbao::wire::SendOrder;

use crate::{CELL, Dice, LIMITS, START, capacity, engine, issue, vouched};

/// One open envelope of 5 shares of 100 fen in all.
fn with_one_envelope() -> (Engine, Issued) {
    let mut engine = engine(10, 1 << 20);
    let order = SendOrder {
        nonce: 0,
        source: MoneySource::Vouched,
        sender: UserId(3),
        order: 1,
        payment: 9,
        total: 100,
        shares: 5,
        lifetime_s: 60,
        share_max: 0,
        split: Split::DoubleMean,
    };
    let decision = engine.issue(&order, Seed([1, 2]), Time(START));
    let Some(Record::Issued(funded)) = decision.record else {
        panic!("{decision:?}");
    };
    engine.apply(&Record::Issued(funded)).expect("room");
    (engine, funded)
}

fn assert_refused(engine: &mut Engine, record: Record, misfit: Misfit) {
    let before = (engine.digest(), engine.totals(), engine.next_due());
    assert_eq!(engine.apply(&record), Err(misfit), "{record:?}");
    assert_eq!((engine.digest(), engine.totals(), engine.next_due()), before);
}

#[test]
fn claims_that_do_not_fit_are_refused_and_change_nothing() {
    let (mut engine, Issued { envelope, .. }) = with_one_envelope();
    let claim = Claimed { envelope, user: UserId(50), amount: 20, rank: 0, at: 5 };
    engine.apply(&Record::Claimed(claim)).expect("fits");
    let next = Claimed { user: UserId(51), rank: 1, ..claim };
    let contradictions = [
        Claimed { amount: 0, ..next },
        Claimed { amount: 78, ..next }, // leaves 2 fen for 3 shares
        Claimed { rank: 0, ..next },
        Claimed { rank: 2, ..next },
        Claimed { user: UserId(50), ..next },
    ];
    for claim in contradictions {
        assert_refused(&mut engine, Record::Claimed(claim), Misfit::Contradiction(envelope));
    }
    let stale = EnvelopeId(envelope.0 + 1);
    let elsewhere = Claimed { envelope: stale, ..next };
    assert_refused(&mut engine, Record::Claimed(elsewhere), Misfit::NotOpen(stale));
    engine.apply(&Record::Claimed(Claimed { amount: 77, ..next })).expect("the most there is");
}

#[test]
fn an_envelope_beyond_the_capacity_does_not_fit() {
    let (mut engine, first) = with_one_envelope();
    let order = vouched(first.sender.0, 2, 5, 100);
    let early = engine.issue(&order, Seed([3, 4]), Time(START)).record.expect("room");
    for number in 1..10 {
        issue(&mut engine, &vouched(4, number, 5, 100)).expect("room for ten");
    }
    assert_refused(&mut engine, early, Misfit::Full);
}

#[test]
fn last_share_takes_exactly_what_is_left() {
    let (mut engine, Issued { envelope, .. }) = with_one_envelope();
    for rank in 0..4_u16 {
        let user = UserId(u64::from(rank));
        let claim = Claimed { envelope, user, amount: 10, rank, at: 5 };
        engine.apply(&Record::Claimed(claim)).expect("fits");
    }
    let last = Claimed { envelope, user: UserId(9), amount: 60, rank: 4, at: 6 };
    for amount in [59, 61] {
        let wrong = Record::Claimed(Claimed { amount, ..last });
        assert_refused(&mut engine, wrong, Misfit::Contradiction(envelope));
    }
    let decision = engine.claim(envelope, UserId(9), Time(START));
    assert_eq!(decision.outcome, Outcome::Claimed { amount: 60 });
    engine.apply(&Record::Claimed(last)).expect("fits");
    assert_refused(&mut engine, Record::Claimed(last), Misfit::NotOpen(envelope));
    assert_eq!(engine.grab(envelope, UserId(77), Time(START)), Outcome::SoldOut);
}

#[test]
fn refunds_that_do_not_fit_are_refused_and_happen_once() {
    let (mut engine, Issued { envelope, .. }) = with_one_envelope();
    let (sender, other) = (UserId(3), UserId(4));
    let close = Closed { envelope, sender, refunded: 100, held: 0, cause: Cause::Cancelled, at: 5 };
    for refunded in [0, 99, 101, u64::MAX] {
        let wrong = Record::Closed(Closed { refunded, ..close });
        assert_refused(&mut engine, wrong, Misfit::Contradiction(envelope));
    }
    let wrong = Record::Closed(Closed { sender: other, ..close });
    assert_refused(&mut engine, wrong, Misfit::Contradiction(envelope));
    engine.apply(&Record::Closed(close)).expect("fits");
    for cause in [Cause::Cancelled, Cause::Expired] {
        let again = Record::Closed(Closed { cause, ..close });
        assert_refused(&mut engine, again, Misfit::NotOpen(envelope));
    }
    let late = Claimed { envelope, user: UserId(1), amount: 1, rank: 0, at: 6 };
    assert_refused(&mut engine, Record::Claimed(late), Misfit::NotOpen(envelope));
}

#[test]
fn fundings_that_do_not_fit_are_refused_and_change_nothing() {
    let (mut engine, first) = with_one_envelope();
    let order = SendOrder {
        nonce: 0,
        source: MoneySource::Vouched,
        sender: first.sender,
        order: 2,
        payment: 9,
        total: 100,
        shares: 5,
        lifetime_s: 60,
        share_max: 0,
        split: Split::DoubleMean,
    };
    let Some(Record::Issued(next)) = engine.issue(&order, Seed([3, 4]), Time(START)).record else {
        panic!("there is room");
    };
    let envelope = next.envelope;
    let money = [
        Issued { shares: 0, ..next },
        Issued { total: 4, ..next },
        Issued { total: u64::MAX, ..next },
        Issued { share_max: 19, ..next },
        Issued { shares: 1001, total: 9999, split: Split::LineCutting, ..next },
        Issued { order: first.order, ..next },
        Issued { lifetime_s: u32::MAX, ..next },
        Issued { pay_within_s: 1, ..next },
        Issued { source: MoneySource::Payment, ..next },
        Issued { source: MoneySource::Payment, pay_within_s: 604_801, ..next },
        Issued { source: MoneySource::Payment, pay_within_s: 604_800, at: u32::MAX, ..next },
        Issued { source: MoneySource::Balance, pay_within_s: 9, payment: 1, ..next },
    ];
    for funded in money {
        assert_refused(&mut engine, Record::Issued(funded), Misfit::Contradiction(envelope));
    }
    let beyond_the_page = EnvelopeId(envelope.0 | 0x1ff << 16);
    let other_size = EnvelopeId(envelope.0 ^ 1 << 44);
    let other_sender = EnvelopeId(envelope.0 ^ 1 << 48);
    let generation_0 = EnvelopeId(envelope.0 & !0xffff);
    let ids = [first.envelope, beyond_the_page, other_size, other_sender, generation_0];
    for id in ids.into_iter().chain([EnvelopeId(envelope.0 ^ 1 << 60), EnvelopeId(0)]) {
        let funded = Record::Issued(Issued { envelope: id, ..next });
        assert_refused(&mut engine, funded, Misfit::EnvelopeOutOfTurn(id));
    }
    let large_id = EnvelopeId::new(CELL, envelope.partition(), 8 << 28, 1);
    let large = Issued { envelope: large_id, shares: 1 << 20, total: 1 << 20, ..next };
    assert_refused(&mut engine, Record::Issued(large), Misfit::Full);
    let after = Issued { envelope: EnvelopeId(envelope.0 + (1 << 16)), ..next };
    engine.apply(&Record::Issued(after)).expect("a funding goes where it says");
    let next = Issued { order: 3, ..next };
    engine.apply(&Record::Issued(next)).expect("fits");
}

#[test]
fn no_record_whatsoever_makes_apply_panic() {
    let mut dice = Dice(99);
    let (mut engine, first) = with_one_envelope();
    let steps = if cfg!(miri) { 300 } else { 200_000 };
    let mut applied = 0_u32;
    for step in 0..steps {
        let record = wild_record(&mut dice, &first);
        let before = (engine.totals(), if step % 50 == 0 { engine.digest() } else { 0 });
        if engine.apply(&record).is_ok() {
            applied += 1;
        } else {
            let digest = if step % 50 == 0 { engine.digest() } else { 0 };
            assert_eq!((engine.totals(), digest), before);
        }
        let totals = engine.totals();
        assert_eq!(totals.funded, totals.claimed + totals.refunded + totals.left);
        engine.due(Time(dice.below(1 << 43)));
        engine.recyclable(Time(dice.below(1 << 43)));
    }
    assert!(applied > 0);
}

/// Numbers near every border, and any others.
fn wild(dice: &mut Dice) -> u64 {
    match dice.below(4) {
        0 => dice.below(8),
        1 => dice.below(200),
        2 => (1_u64 << dice.below(64)).wrapping_sub(dice.below(3)),
        _ => dice.word(),
    }
}

fn wild_32(dice: &mut Dice) -> u32 {
    u32::try_from(wild(dice) & 0xffff_ffff).expect("32 bits")
}

fn wild_record(dice: &mut Dice, first: &Issued) -> Record {
    let index = dice.below(4) << 16;
    let class = dice.below(10) << 44;
    let partition = u64::from(partition_of(first.sender)) << 48;
    let envelope = match dice.below(4) {
        0 => EnvelopeId(dice.word()),
        1 => first.envelope,
        _ => EnvelopeId(u64::from(CELL) << 56 | partition | class | index | 1),
    };
    let at = wild_32(dice);
    let sender = if dice.one_in(3) { UserId(wild(dice)) } else { first.sender };
    let total = if dice.one_in(2) { first.total } else { wild(dice) };
    let sources = [MoneySource::Vouched, MoneySource::Balance, MoneySource::Payment];
    let source = dice.pick(&sources).expect("three sources");
    match dice.below(9) {
        0 => Record::Issued(wild_issued(dice, envelope, sender, source)),
        1 => Record::Claimed(Claimed {
            envelope,
            user: UserId(wild(dice)),
            amount: wild_32(dice),
            rank: u16::try_from(wild(dice) & 0xf).expect("4 bits"),
            at,
        }),
        2 => Record::Recycled(Recycled {
            envelope,
            shares_claimed: u32::try_from(dice.below(3)).expect("2 bits"),
            claimed: if dice.one_in(2) { 0 } else { wild(dice) },
            total: if dice.one_in(2) { 0 } else { total },
            at,
        }),
        3 => Record::Closed(Closed {
            envelope,
            sender,
            refunded: total,
            held: u64::from(dice.one_in(4)),
            cause: if dice.one_in(2) { Cause::Expired } else { Cause::Cancelled },
            at,
        }),
        4 => Record::Paid(Paid { envelope, sender, payment: dice.below(3), total, at, source }),
        5 => {
            let causes = [VoidCause::Lapsed, VoidCause::Withdrawn, VoidCause::Refused];
            let cause = dice.pick(&causes).expect("three causes");
            Record::Voided(Voided { envelope, sender, total, at, source, cause })
        }
        6 => {
            let payment = dice.below(3);
            Record::Returned(Returned { envelope, sender, payment, amount: total, at })
        }
        7 => {
            let (user, guesses) = (UserId(wild(dice)), dice.below_32(3));
            Record::Guessed(Guessed { envelope, user, guesses, at })
        }
        _ => wild_part(dice, envelope),
    }
}

/// A part of terms, half of the time whole and good ones.
fn wild_part(dice: &mut Dice, envelope: EnvelopeId) -> Record {
    let mut part = TermsPart { envelope, number: 0, length: 7, bytes: [0; 64] };
    part.bytes[..7].copy_from_slice(b"\x0b\x04\x00luck");
    if dice.one_in(2) {
        let at = usize::try_from(dice.below(9)).expect("a place");
        part.bytes[at] = dice.word().to_le_bytes()[0];
        part.number = dice.below_32(3).to_le_bytes()[0];
        part.length = dice.below_32(70).to_le_bytes()[0];
    }
    Record::TermsPart(part)
}

fn wild_issued(
    dice: &mut Dice,
    envelope: EnvelopeId,
    sender: UserId,
    source: MoneySource,
) -> Issued {
    let splits = [Split::Equal, Split::DoubleMean, Split::LineCutting];
    Issued {
        envelope,
        sender,
        order: wild(dice),
        payment: if dice.one_in(2) { 0 } else { wild(dice) },
        total: if dice.one_in(2) { 100 } else { wild(dice) },
        seed: Seed([dice.word(), dice.word()]),
        nonce: wild_32(dice),
        shares: if dice.one_in(2) { 1 + dice.below_32(9) } else { wild_32(dice) },
        share_max: if dice.one_in(2) { 0 } else { wild_32(dice) },
        lifetime_s: wild_32(dice),
        pay_within_s: if dice.one_in(2) { dice.below_32(2) * 9999 } else { wild_32(dice) },
        at: wild_32(dice),
        split: dice.pick(&splits).expect("three splits"),
        source,
        terms_parts: u8::from(dice.one_in(2)),
    }
}

#[test]
fn a_repeated_claim_gives_the_same_amount_for_ever() {
    let (mut engine, Issued { envelope, .. }) = with_one_envelope();
    let decision = engine.claim(envelope, UserId(0), Time(START));
    let Outcome::Claimed { amount } = decision.outcome else {
        panic!("{decision:?}");
    };
    engine.apply(&decision.record.expect("a record")).expect("fits");
    let repeated = Decision { outcome: Outcome::AlreadyClaimed { amount }, record: None };
    assert_eq!(engine.claim(envelope, UserId(0), Time(START)), repeated);
    let overdue = engine.overdue(envelope, Time(START + 60_000)).expect("its time is over");
    assert_eq!(engine.overdue(envelope, Time(START + 59_999)), None);
    engine.apply(&overdue).expect("fits");
    assert_eq!(engine.claim(envelope, UserId(0), Time(START + 99_000)), repeated);
    assert_eq!(
        engine.claim(envelope, UserId(1), Time(START + 99_000)).outcome,
        Outcome::Expired,
        "a claim and an expiry cannot both win"
    );
}

#[test]
fn a_repeated_claim_takes_nothing_from_the_stock() {
    let (mut engine, Issued { envelope, .. }) = with_one_envelope();
    for user in [1, 1, 2, 2, 1, 3, 4, 3, 5, 5] {
        if let Some(record) = engine.claim(envelope, UserId(user), Time(START)).record {
            engine.apply(&record).expect("fits");
        }
    }
    let users: Vec<u64> = engine.rows(envelope, 0).map(|row| row.user.0).collect();
    assert_eq!(users, [1, 2, 3, 4, 5]);
}

#[test]
fn a_stale_generation_is_not_found() {
    let (engine, Issued { envelope, .. }) = with_one_envelope();
    for generation in [0, 2, 3, u16::MAX] {
        let (partition, slot) = (envelope.partition(), envelope.slot());
        let stale = EnvelopeId::new(CELL, partition, slot, generation);
        assert_eq!(engine.grab(stale, UserId(1), Time(START)), Outcome::NotFound);
        assert_eq!(engine.show(stale), None);
    }
}

#[test]
fn the_order_of_a_full_server_is_still_known() {
    let mut engine = engine(1, 1 << 20);
    let order = |order, shares| SendOrder {
        nonce: 0,
        source: MoneySource::Vouched,
        sender: UserId(3),
        order,
        payment: 9,
        total: 2 * u64::from(shares),
        shares,
        lifetime_s: 60,
        share_max: 0,
        split: Split::Equal,
    };
    let decision = engine.issue(&order(1, 5), Seed([1, 2]), Time(START));
    engine.apply(&decision.record.expect("room")).expect("fits");
    assert_eq!(engine.issue(&order(2, 5), Seed([1, 2]), Time(START)).outcome, Outcome::Full);
    let again = engine.issue(&order(1, 5), Seed([8, 8]), Time(START + 1));
    assert!(matches!(again.outcome, Outcome::Issued { repeated: true, .. }));
    let other = engine.issue(&order(1, 6), Seed([1, 2]), Time(START));
    assert_eq!(other.outcome, Outcome::Conflict);
}

#[test]
fn memory_is_said_before_it_is_reserved() {
    let small = capacity(1000, 1 << 20);
    let large = capacity(2000, 1 << 30);
    assert!(Engine::memory_bytes(&small, &LIMITS) > small.table_bytes);
    assert!(Engine::memory_bytes(&large, &LIMITS) > Engine::memory_bytes(&small, &LIMITS));
    assert!(Engine::memory_bytes(&large, &LIMITS) < large.table_bytes + (8 << 20));
    let ten_million = capacity(10_000_000, 10_000_000 / 372 * 65_536);
    assert!(Engine::memory_bytes(&ten_million, &LIMITS) < 200 * 10_000_000);
}
