//! Shares that are held or rejected, in records that no random walk happens upon.

use hongbao::engine::{
    Claimed, Engine, Held, Misfit, Outcome, Record, Recycled, Resolved, RiskSettings,
};
use hongbao::units::{EnvelopeId, Time, UserId};
use hongbao::wire::{HoldsFrom, Resolution, ResolvedBy, RiskRule};

use crate::remembered::{RISK, image, restoring};
use crate::{CELL, LIMITS, RETENTION_S, START, capacity, issue, vouched};

const SENDER: UserId = UserId(3);
const HOLD_S: u32 = 100;

fn with_envelope(shares: u32, total: u64) -> (Engine, EnvelopeId) {
    let mut engine = Engine::new(CELL, capacity(10, 4 << 20), LIMITS).with_risk(RISK);
    let envelope = issue(&mut engine, &vouched(SENDER.0, 1, shares, total)).expect("room");
    (engine, envelope)
}

fn claimed(envelope: EnvelopeId, rank: u32, amount: u32) -> Claimed {
    let (user, rank) = (UserId(100 + u64::from(rank)), u16::try_from(rank).expect("few"));
    Claimed { envelope, user, amount, rank, at: Time(START).seconds() }
}

/// The share of this rank is held.
fn hold(engine: &mut Engine, envelope: EnvelopeId, rank: u32, amount: u32) -> UserId {
    let claimed = claimed(envelope, rank, amount);
    let record = engine.hold(&claimed, RiskRule::GradeHeld, HOLD_S).record.expect("room");
    assert!(matches!(record, Record::Held(Held { .. })));
    engine.apply(&record).expect("fits");
    claimed.user
}

fn reject(engine: &mut Engine, envelope: EnvelopeId, user: UserId) {
    let decision = engine.resolve(envelope, user, Resolution::Reject, Time(START));
    engine.apply(&decision.record.expect("it is held")).expect("fits");
}

fn luckiest(engine: &Engine, envelope: EnvelopeId) -> Option<(UserId, u64)> {
    engine.show(envelope).expect("it is kept").luckiest
}

/// The engine of an image that is taken at rest, in which there are holds.
fn reloaded(engine: &mut Engine, risk: RiskSettings) -> Engine {
    let restoring = restoring(&image(engine), risk);
    assert!(restoring.has_holds());
    restoring.finish().expect("it is whole")
}

/// The luckiest of a large envelope is kept claim by claim. If whoever it is is
/// rejected while nobody else has a share, nobody can take the place yet.
#[test]
fn of_a_large_envelope_whose_first_was_rejected_another_is_the_luckiest() {
    const SHARES: u32 = 1200;
    let (mut engine, envelope) = with_envelope(SHARES, 99_700);
    let first = hold(&mut engine, envelope, 0, 150);
    reject(&mut engine, envelope, first);
    let second = hold(&mut engine, envelope, 1, 149);
    reject(&mut engine, envelope, second);
    for rank in 2..SHARES - 1 {
        let amount = if [500, 700].contains(&rank) { 84 } else { 83 };
        engine.apply(&Record::Claimed(claimed(envelope, rank, amount))).expect("fits");
    }
    assert_eq!(luckiest(&engine, envelope), None, "a share is left");
    let rest = 99_700 - 150 - 149 - 83 * (SHARES - 3) - 2;
    engine.apply(&Record::Claimed(claimed(envelope, SHARES - 1, rest))).expect("fits");
    let expected = Some((UserId(600), 84));
    assert_eq!(luckiest(&engine, envelope), expected);
    assert_eq!(luckiest(&reloaded(&mut engine, RISK), envelope), expected);
}

/// The same where the last share is the one that is held, and then released.
#[test]
fn a_released_last_share_can_be_the_luckiest_of_a_large_envelope() {
    const SHARES: u32 = 1200;
    let (mut engine, envelope) = with_envelope(SHARES, 100_000);
    let first = hold(&mut engine, envelope, 0, 160);
    reject(&mut engine, envelope, first);
    for rank in 1..SHARES - 1 {
        engine.apply(&Record::Claimed(claimed(envelope, rank, 83))).expect("fits");
    }
    let last = hold(&mut engine, envelope, SHARES - 1, 100_000 - 160 - 83 * (SHARES - 2));
    assert_eq!(luckiest(&engine, envelope), None, "it might be the one that is held");
    let decision = engine.resolve(envelope, last, Resolution::Release, Time(START));
    engine.apply(&decision.record.expect("it is held")).expect("fits");
    assert_eq!(luckiest(&engine, envelope), Some((last, 406)));
}

#[test]
fn a_word_about_a_hold_fits_once_and_only_as_it_is() {
    let (mut engine, envelope) = with_envelope(3, 300);
    engine.apply(&Record::Claimed(claimed(envelope, 0, 100))).expect("fits");
    let user = hold(&mut engine, envelope, 1, 100);
    let at = Time(START).seconds();
    let (resolution, by) = (Resolution::Reject, ResolvedBy::Word);
    let fits = Resolved { envelope, user, sender: SENDER, amount: 100, at, resolution, by };
    let others = [
        Resolved { envelope: EnvelopeId(envelope.0 + 1), ..fits },
        Resolved { user: UserId(100), ..fits }, // has a share that is not held
        Resolved { sender: UserId(4), ..fits },
        Resolved { amount: 99, ..fits },
        Resolved { by: ResolvedBy::Time, ..fits }, // before its time
        Resolved { at: at + HOLD_S, ..fits },      // after it
    ];
    let before = (engine.digest(), engine.totals());
    for other in others {
        let refused = engine.apply(&Record::Resolved(other));
        assert_eq!(refused, Err(Misfit::Contradiction(other.envelope)), "{other:?}");
        assert_eq!((engine.digest(), engine.totals()), before);
    }
    engine.apply(&Record::Resolved(fits)).expect("fits");
    let again = engine.apply(&Record::Resolved(fits));
    assert_eq!(again, Err(Misfit::Contradiction(envelope)), "it is rejected already");
    let late = hold(&mut engine, envelope, 2, 100);
    let (at, by) = (at + HOLD_S, ResolvedBy::Time);
    engine.apply(&Record::Resolved(Resolved { user: late, at, by, ..fits })).expect("in time");
}

#[test]
fn an_envelope_with_a_held_share_is_not_recycled() {
    let (mut engine, envelope) = with_envelope(2, 100);
    engine.apply(&Record::Claimed(claimed(envelope, 0, 40))).expect("fits");
    let user = hold(&mut engine, envelope, 1, 60);
    let at = Time(START).seconds() + RETENTION_S;
    let recycled = Recycled { envelope, shares_claimed: 2, claimed: 100, total: 100, at };
    let before = (engine.digest(), engine.totals());
    assert_eq!(engine.apply(&Record::Recycled(recycled)), Err(Misfit::NotClosed(envelope)));
    assert_eq!((engine.digest(), engine.totals()), before);
    reject(&mut engine, envelope, user);
    let later = Time(START + 1000 * u64::from(RETENTION_S));
    let record = engine.recyclable(later).expect("nothing is held");
    let recycled = Recycled { shares_claimed: 1, claimed: 40, ..recycled };
    assert_eq!(record, Record::Recycled(recycled));
    engine.apply(&record).expect("fits");
}

#[test]
fn a_hold_longer_than_the_retention_keeps_the_envelope_and_nothing_is_due_before() {
    let (mut engine, envelope) = with_envelope(1, 100);
    let claimed = claimed(envelope, 0, 100);
    let hold_s = RETENTION_S + 500;
    let record = engine.hold(&claimed, RiskRule::GradeHeld, hold_s).record.expect("room");
    engine.apply(&record).expect("fits");
    let second = |s: u32| Time(START + 1000 * u64::from(s));
    let until = second(hold_s);
    assert_eq!(engine.next_due(), Some(until.seconds()));
    assert!(!engine.is_behind(second(RETENTION_S)), "there is nothing to do yet");
    assert_eq!(engine.recyclable(until), None, "the hold ends first");
    let ended = engine.due_hold(until).expect("its time is over");
    engine.apply(&ended).expect("fits");
    assert!(matches!(engine.recyclable(until), Some(Record::Recycled(_))));
}

#[test]
fn a_digest_has_who_got_what_and_what_is_withheld() {
    let fresh = with_envelope(3, 300).0.digest();
    let (mut engine, envelope) = with_envelope(3, 300);
    assert_eq!(engine.digest(), fresh);
    engine.apply(&Record::Claimed(claimed(envelope, 0, 100))).expect("fits");
    let (mut other, _) = with_envelope(3, 300);
    let by_another = Claimed { user: UserId(7), ..claimed(envelope, 0, 100) };
    other.apply(&Record::Claimed(by_another)).expect("fits");
    assert!(engine.digest() != fresh && engine.digest() != other.digest());
    let user = hold(&mut engine, envelope, 1, 100);
    let held = engine.digest();
    reject(&mut engine, envelope, user);
    let (mut given, _) = with_envelope(3, 300);
    for rank in 0..2 {
        given.apply(&Record::Claimed(claimed(envelope, rank, 100))).expect("fits");
    }
    let digests = [held, engine.digest(), given.digest()];
    assert!(digests[0] != digests[1] && !digests[..2].contains(&digests[2]), "{digests:?}");
}

#[test]
fn from_its_end_on_time_decides_about_a_hold_whatever_anybody_says() {
    let (mut engine, envelope) = with_envelope(2, 200);
    let user = hold(&mut engine, envelope, 0, 100);
    let end = Time(START + 1000 * u64::from(HOLD_S));
    let before = Time(end.0 - 1000);
    for now in [Time(START), before] {
        let decision = engine.resolve(envelope, user, Resolution::Release, now);
        assert_eq!(decision.outcome, Outcome::Resolved { amount: 100, repeated: false });
    }
    let decision = engine.resolve(envelope, user, Resolution::Release, end);
    assert_eq!(decision.outcome, Outcome::Conflict, "time has rejected it");
    assert_eq!(decision.record, engine.due_hold(end));
    engine.apply(&decision.record.expect("time decides")).expect("fits");
    let again = engine.resolve(envelope, user, Resolution::Reject, end).outcome;
    assert_eq!(again, Outcome::Resolved { amount: 100, repeated: true });
}

#[test]
fn holds_are_listed_for_all_or_for_one_user() {
    let (mut engine, envelope) = with_envelope(3, 300);
    let users: Vec<_> = (0..3).map(|rank| hold(&mut engine, envelope, rank, 100)).collect();
    let partition = envelope.partition();
    let listed = |user, only| {
        let from = HoldsFrom { partition, after: (EnvelopeId(0), user), only };
        engine.holds(&from).map(|hold| hold.user).collect::<Vec<_>>()
    };
    assert_eq!(listed(UserId(0), false), users);
    assert_eq!(listed(users[1], true), [users[1]]);
    assert_eq!(listed(UserId(7), true), []);
}

#[test]
fn what_is_held_stays_though_nothing_more_may_be_held() {
    let (mut engine, envelope) = with_envelope(3, 300);
    let user = hold(&mut engine, envelope, 0, 100);
    let mut off = reloaded(&mut engine, RiskSettings::OFF);
    let next = claimed(envelope, 1, 100);
    assert_eq!(off.hold(&next, RiskRule::GradeHeld, HOLD_S).outcome, Outcome::Full);
    let mut again = reloaded(&mut off, RiskSettings::OFF);
    assert_eq!((again.digest(), again.totals()), (engine.digest(), engine.totals()));
    reject(&mut again, envelope, user);
    assert_eq!(again.totals().refunded, 100);
}

/// Then its slice comes after those of envelopes, and may have less than the records say.
#[test]
fn the_first_hold_of_all_may_come_while_an_image_is_taken() {
    const SHARES: u32 = 1200; // large, so that there are slices of rows as well
    let position = |records: &[Record]| if records.is_empty() { 100 } else { 180 };
    for moment in 0..4 {
        let (mut engine, envelope) = with_envelope(SHARES, 100 * u64::from(SHARES));
        engine.apply(&Record::Claimed(claimed(envelope, 0, 100))).expect("fits");
        let (mut cursor, mut slices, mut slice) = (engine.begin_image(), Vec::new(), Vec::new());
        let mut records = Vec::new();
        while engine.next_slice(&mut cursor, position(&records), &mut slice) {
            slices.push(std::mem::take(&mut slice));
            if slices.len() == moment {
                let held = engine.hold(&claimed(envelope, 1, 100), RiskRule::GradeHeld, HOLD_S);
                records.extend(held.record);
                engine.apply(&records[0]).expect("fits");
                let user = claimed(envelope, 1, 100).user;
                let rejected = engine.resolve(envelope, user, Resolution::Reject, Time(START));
                records.extend(rejected.record);
                engine.apply(&records[1]).expect("fits");
            }
        }
        engine.end_image(cursor);
        let ends = (1..).map(|n| 100 + 40 * n);
        let tail: Vec<(u64, Record)> = ends.zip(records.iter().copied()).collect();
        let mut restoring = restoring(&slices, RISK);
        restoring.apply(&tail).expect("the tail fits");
        assert_eq!(restoring.has_holds(), moment > 0);
        let restored = restoring.finish().expect("it is whole");
        assert_eq!(restored.digest(), engine.digest(), "after {moment} slices");
        assert_eq!(restored.totals(), engine.totals());
    }
}
