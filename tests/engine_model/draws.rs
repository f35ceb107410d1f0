//! What is told of the draws: the luckiest, and that nothing was chosen.

use hongbao::engine::commitment::{Terms, Unfaithful, commitment, verify};
use hongbao::engine::{Engine, Outcome, Revealed};
use hongbao::units::{EnvelopeId, Fen, MoneySource, Seed, Split, Time, UserId};
use hongbao::wire::{Row, SendOrder};

use crate::images::reloaded;
use crate::{Dice, START, engine};

const NOW: Time = Time(START);

fn order(shares: u32, total: Fen, split: Split) -> SendOrder {
    SendOrder {
        nonce: 77,
        source: MoneySource::Vouched,
        sender: UserId(3),
        order: u64::from(shares),
        payment: 1,
        total,
        shares,
        lifetime_s: 60,
        share_max: 0,
        split,
    }
}

fn issue(engine: &mut Engine, order: &SendOrder, seed: Seed) -> EnvelopeId {
    let record = engine.issue(order, seed, NOW).record.expect("room");
    engine.apply(&record).expect("fits");
    record.envelope()
}

fn claim(engine: &mut Engine, envelope: EnvelopeId, users: std::ops::Range<u64>) {
    for user in users {
        let record = engine.claim(envelope, UserId(user), NOW).record.expect("open");
        engine.apply(&record).expect("fits");
    }
}

fn luckiest(engine: &Engine, envelope: EnvelopeId) -> Option<(UserId, Fen)> {
    match engine.show(envelope) {
        Outcome::Summary(summary) => summary.luckiest,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_luckiest_is_the_earliest_of_the_equal_maxima_and_named_at_the_end() {
    let mut dice = Dice(5);
    // One share, one line, a page, and a run of pages of its own.
    for shares in [1, 2, 5, 100, 509, 510, 2900] {
        for split in [Split::Equal, Split::DoubleMean] {
            // So little money that the maxima are often equal.
            let total = u64::from(shares) * 2 + dice.below(3);
            let mut engine = engine(10, 4 << 20);
            let seed = Seed([dice.word(), dice.word()]);
            let envelope = issue(&mut engine, &order(shares, total, split), seed);
            claim(&mut engine, envelope, 100..99 + u64::from(shares));
            assert_eq!(luckiest(&engine, envelope), None, "a share is left");
            let mut engine =
                if dice.one_in(2) { reloaded(&mut engine, 10, 4 << 20) } else { engine };
            claim(&mut engine, envelope, 7..8);
            let rows: Vec<Row> = engine.rows(envelope, 0).collect();
            let most = rows.iter().map(|row| row.amount).max().expect("claims");
            let first = rows.iter().find(|row| row.amount == most).expect("one");
            let expected = Some((first.user, u64::from(most)));
            assert_eq!(luckiest(&engine, envelope), expected, "{shares} {split:?}");
            assert_eq!(luckiest(&reloaded(&mut engine, 10, 4 << 20), envelope), expected);
        }
    }
}

/// An exhausted envelope as it is told to whoever asks.
fn told(split: Split) -> (Terms, Revealed, Vec<Row>) {
    let mut engine = engine(10, 1 << 20);
    let (order, seed) = (order(20, 5000, split), Seed([11, 12]));
    let envelope = issue(&mut engine, &order, seed);
    let Some(early) = engine.reveal(envelope) else { panic!("it is there") };
    claim(&mut engine, envelope, 0..20);
    let Some(revealed) = engine.reveal(envelope) else { panic!("it is there") };
    assert_eq!((early.seed, early.commitment), (None, revealed.commitment), "told at the order");
    let SendOrder { nonce, total, shares, share_max, .. } = order;
    let terms = Terms { envelope, nonce, total, shares, share_max, split };
    (terms, revealed, engine.rows(envelope, 0).collect())
}

#[test]
fn honest_draws_verify_and_one_changed_thing_does_not() {
    for split in [Split::Equal, Split::DoubleMean, Split::LineCutting] {
        let (terms, revealed, rows) = told(split);
        let seed = revealed.seed.expect("it is over");
        let check =
            |seed, rows: &[Row]| verify(&terms, seed, &revealed.commitment, rows.iter().copied());
        let receipt = check(seed, &rows).expect("honest");
        assert_eq!(check(Seed([11, 13]), &rows), Err(Unfaithful::Commitment));
        for rank in [0_u32, 7, 19] {
            let at = usize::try_from(rank).expect("few");
            let mut changed = rows.clone();
            changed[at].amount += 1;
            let found = u64::from(changed[at].amount);
            let expected = Unfaithful::Amount { rank, drawn: found - 1, found };
            assert_eq!(check(seed, &changed), Err(expected));
            let mut changed = rows.clone();
            changed[at].user.0 += 1;
            assert_ne!(check(seed, &changed).expect("amounts are right"), receipt);
        }
        let more: Vec<Row> = rows.iter().chain(&rows[..1]).copied().collect();
        assert_eq!(check(seed, &more), Err(Unfaithful::Rows));
    }
}

#[test]
fn another_seed_with_its_own_commitment_does_not_give_the_amounts() {
    let (terms, _, rows) = told(Split::DoubleMean);
    let other = Seed([9, 9]);
    let forged = commitment(&terms, other);
    let found = verify(&terms, other, &forged, rows);
    assert!(matches!(found, Err(Unfaithful::Amount { .. })), "{found:?}");
}
