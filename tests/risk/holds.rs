//! Held shares: released, rejected, timed out; in every state of their envelope,
//! over restarts and kills, all at once, with the ledger and the audit behind.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use hongbao::audit::{AuditError, Report, Settings, audit};
use hongbao::client::{Client, ClientError};
use hongbao::config::{HoldEnds, LedgerPlace};
use hongbao::follow::ledger::Ledger;
use hongbao::follow::ledger::embedded::{Embedded, Reading};
use hongbao::units::{EnvelopeId, EnvelopeState, UserId};
use hongbao::wire::{HoldState, ReplyBody, Resolution, Status};
use hongbao::{Config, Server};

use super::rig::{Process, connect, until};
use super::{WITHHELD, claim, equal, given, refusal, start};

const PATIENCE: Duration = Duration::from_secs(30);
const SENDER: u64 = 7000;

/// All shares above a fen are held.
fn holding(config: Config) -> Config {
    Config { risk_hold_above_fen: 1, ledger: LedgerPlace::Embedded, ..config }
}

/// Ends the server; the audit of its journal and ledger.
fn audited(server: Server, data: &Path) -> (Report, Embedded) {
    server.drain().unwrap();
    let mut read = Reading::open(data).unwrap().expect("a ledger");
    let settings = Settings { draws: true, ..Settings::default() };
    let report = audit(data, Some(&mut read), settings, &mut |_| {}).unwrap();
    let mut ledger = Embedded::open(data).unwrap();
    ledger.check().unwrap();
    (report, ledger)
}

fn balance(ledger: &mut Embedded, user: u64) -> u64 {
    ledger.balance(UserId(user)).unwrap().available
}

/// The state that an envelope of three shares is brought to, two of which are
/// held; the money that is left goes back where it closes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Open,
    Exhausted,
    Cancelled,
    Expired,
}

const STATES: [(State, EnvelopeState); 4] = [
    (State::Open, EnvelopeState::Open),
    (State::Exhausted, EnvelopeState::Exhausted),
    (State::Cancelled, EnvelopeState::Cancelled),
    (State::Expired, EnvelopeState::Expired),
];

fn brought_to(client: &mut Client, number: u64, state: State) -> EnvelopeId {
    let lifetime_s = if state == State::Expired { 1 } else { 3600 };
    let order = hongbao::wire::SendOrder { lifetime_s, ..equal(SENDER, number, 100, 3) };
    let envelope = client.send(&order).unwrap().envelope;
    let users = if state == State::Exhausted { 1..=3 } else { 1..=2 };
    users.for_each(|user| assert_eq!(claim(client, envelope, 10 * number + user), WITHHELD));
    match state {
        State::Cancelled => {
            assert_eq!(client.cancel(envelope, UserId(SENDER)).unwrap().amount, 100);
        }
        State::Expired => until("it has expired", PATIENCE, || {
            client.show(envelope).unwrap().state == EnvelopeState::Expired
        }),
        State::Open | State::Exhausted => {}
    }
    envelope
}

#[test]
fn a_released_share_is_its_claimants_and_a_rejected_one_the_senders_whatever_became_of_the_rest() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 1, holding);
    let mut client = connect(&server);
    for (number, (state, shown)) in (1..).zip(STATES) {
        let envelope = brought_to(&mut client, number, state);
        let [released, rejected] = [10 * number + 1, 10 * number + 2].map(UserId);
        let resolve = |client: &mut Client, user, how| client.risk_resolve(envelope, user, how);
        let before = client.show(envelope).unwrap();
        assert_eq!(before.state, shown);
        assert_eq!(before.luckiest, None, "it might be one that is held");
        let done = resolve(&mut client, released, Resolution::Release).unwrap();
        assert_eq!((done.amount, done.repeated), (100, false));
        let done = resolve(&mut client, rejected, Resolution::Reject).unwrap();
        assert_eq!((done.amount, done.repeated), (100, false));
        // The same again is told the same, and the other is too late.
        let again = resolve(&mut client, released, Resolution::Release).unwrap();
        assert_eq!((again.amount, again.repeated), (100, true));
        let again = resolve(&mut client, rejected, Resolution::Reject).unwrap();
        assert_eq!((again.amount, again.repeated), (100, true));
        let late = resolve(&mut client, released, Resolution::Reject);
        assert_eq!(refusal(late), (Status::Conflict, 0));
        let late = resolve(&mut client, rejected, Resolution::Release);
        assert_eq!(refusal(late), (Status::Conflict, 0));
        let unknown = resolve(&mut client, UserId(999), Resolution::Release);
        assert_eq!(refusal(unknown), (Status::NotFound, 0));
        // The claimants hear it when they ask again.
        let told = claim(&mut client, envelope, released.0);
        assert_eq!(told, (Status::AlreadyClaimed, 0, ReplyBody::Amount(100)));
        assert_eq!(claim(&mut client, envelope, rejected.0), WITHHELD);
        let after = client.show(envelope).unwrap();
        assert_eq!(after.refunded, before.refunded + 100, "at once");
        assert_eq!((after.state, after.left), (before.state, before.left));
        if state == State::Exhausted {
            assert_eq!(after.luckiest, None, "the third is still held");
            client.risk_resolve(envelope, UserId(10 * number + 3), Resolution::Release).unwrap();
            assert_eq!(client.show(envelope).unwrap().luckiest, Some((released, 100)));
        }
    }
    let (report, mut ledger) = audited(server, data.path());
    assert_eq!(report.balance.held, 0);
    for number in 1..=4 {
        assert_eq!(balance(&mut ledger, 10 * number + 1), 100);
        assert_eq!(balance(&mut ledger, 10 * number + 2), 0);
    }
    // Four rejections, and the rest of the two that were closed.
    assert_eq!(balance(&mut ledger, SENDER), 600);
}

#[test]
fn holds_are_counted_as_neither_claimed_nor_left_and_survive_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let flags = ["--risk-hold-above-fen", "1", "--checkpoint-interval-s", "1"];
    let mut process = Process::start(data.path(), &flags);
    let mut client = process.connect();
    let envelope = client.send(&equal(SENDER, 1, 100, 9)).unwrap().envelope;
    for user in 1..=3 {
        assert_eq!(claim(&mut client, envelope, user), WITHHELD);
    }
    client.risk_resolve(envelope, UserId(2), Resolution::Reject).unwrap();
    let before = client.risk_holds(None).unwrap();
    assert_eq!(before.len(), 3);
    for round in 0..3 {
        process.kill();
        process = Process::start(data.path(), &flags);
        client = process.connect();
        assert_eq!(client.risk_holds(None).unwrap(), before, "round {round}");
        for user in 1..=3 {
            assert_eq!(claim(&mut client, envelope, user), WITHHELD);
        }
        // Some traffic, and time for checkpoints.
        let other = client.send(&equal(SENDER, 10 + round, 1, 50)).unwrap().envelope;
        (0..50).for_each(|user| assert_eq!(claim(&mut client, other, user), given(1)));
        if round == 1 {
            std::thread::sleep(Duration::from_millis(1500)); // a checkpoint, likely; no matter
        }
    }
    client.risk_resolve(envelope, UserId(1), Resolution::Release).unwrap();
    process.kill();
    let report = audit(data.path(), None, Settings::default(), &mut |_| {}).unwrap();
    let balance = report.balance;
    assert_eq!(balance.before + balance.funded, 900 + 150);
    assert_eq!(balance.claimed + balance.held + balance.refunded + balance.left, 900 + 150);
    assert_eq!((balance.held, balance.refunded, balance.left), (100, 100, 600));
}

#[test]
fn a_hold_that_nobody_decides_ends_as_the_setting_says() {
    for ends in [HoldEnds::Reject, HoldEnds::Release] {
        let data = tempfile::tempdir().unwrap();
        let rules = |c| Config { risk_hold_s: 1, risk_hold_ends: ends, ..holding(c) };
        let server = start(data.path(), 1, rules);
        let mut client = connect(&server);
        let envelope = client.send(&equal(SENDER, 1, 100, 2)).unwrap().envelope;
        assert_eq!(claim(&mut client, envelope, 1), WITHHELD);
        let is_held = |client: &mut Client| {
            let holds = client.risk_holds(None).unwrap();
            holds.iter().any(|hold| hold.state == HoldState::Held)
        };
        until("time has decided", PATIENCE, || !is_held(&mut client));
        let released = ends == HoldEnds::Release;
        let told = claim(&mut client, envelope, 1);
        assert_eq!(told.0, if released { Status::AlreadyClaimed } else { Status::Withheld });
        let other = if released { Resolution::Reject } else { Resolution::Release };
        let late = client.risk_resolve(envelope, UserId(1), other);
        assert_eq!(refusal(late), (Status::Conflict, 0));
        let (report, mut ledger) = audited(server, data.path());
        let balance = report.balance;
        assert_eq!((balance.held, balance.left), (0, 100));
        assert_eq!(balance.claimed, if released { 100 } else { 0 });
        assert_eq!(balance.refunded, if released { 0 } else { 100 });
        assert_eq!(self::balance(&mut ledger, 1), if released { 100 } else { 0 });
        assert_eq!(self::balance(&mut ledger, SENDER), if released { 0 } else { 100 });
    }
}

/// What three who decide about the same holds are told, by hold.
type Told = HashMap<UserId, Resolution>;

/// Decides about all holds in an order of its own; which it was the first about.
fn decide(mut client: Client, envelope: EnvelopeId, users: Vec<u64>, how: Resolution) -> Told {
    let mut first = Told::new();
    for user in users.into_iter().map(UserId) {
        match client.risk_resolve(envelope, user, how) {
            Ok(decided) if !decided.repeated => _ = first.insert(user, how),
            Ok(_) => {}
            Err(ClientError::Refused(refusal)) => assert_eq!(refusal.status, Status::Conflict),
            Err(other) => panic!("{other}"),
        }
    }
    first
}

#[test]
fn of_release_reject_and_time_exactly_one_decides_about_each_hold() {
    const USERS: u64 = 400;
    for (round, shards) in [1, 2, 3].into_iter().enumerate() {
        let data = tempfile::tempdir().unwrap();
        let rules = |c| Config { risk_hold_s: 1, shares_max: 1000, ..holding(c) };
        let server = start(data.path(), shards, rules);
        let mut client = connect(&server);
        let envelope = client.send(&equal(SENDER, 1, 100, 500)).unwrap().envelope;
        for user in 1..=USERS {
            assert_eq!(claim(&mut client, envelope, user), WITHHELD);
        }
        let forward: Vec<u64> = (1..=USERS).collect();
        let backward: Vec<u64> = (1..=USERS).rev().collect();
        let lines = [
            (forward.clone(), Resolution::Release),
            (backward, Resolution::Reject),
            (forward, Resolution::Reject),
        ];
        let told: Vec<Told> = std::thread::scope(|scope| {
            let decided = lines.map(|(users, how)| {
                let client = connect(&server);
                scope.spawn(move || decide(client, envelope, users, how))
            });
            decided.map(|thread| thread.join().unwrap()).into()
        });
        until("nothing is held", PATIENCE, || {
            let holds = client.risk_holds(None).unwrap();
            holds.iter().all(|hold| hold.state == HoldState::Rejected)
        });
        let mut released = 0;
        for user in (1..=USERS).map(UserId) {
            let firsts: Vec<_> = told.iter().filter_map(|told| told.get(&user)).collect();
            assert!(firsts.len() <= 1, "{user} was decided about by {firsts:?}");
            let status = claim(&mut client, envelope, user.0).0;
            let is_given = status == Status::AlreadyClaimed;
            // Who was the first is right; of whom nobody was the first, time rejected.
            assert_eq!(is_given, firsts == [&Resolution::Release], "{user}, round {round}");
            released += u128::from(is_given);
        }
        let (report, mut ledger) = audited(server, data.path());
        let balance = report.balance;
        assert_eq!((balance.funded, balance.held, balance.left), (50_000, 0, 10_000));
        assert_eq!(balance.claimed, 100 * released);
        assert_eq!(balance.refunded, 100 * (u128::from(USERS) - released));
        let sender = u128::from(self::balance(&mut ledger, SENDER));
        assert_eq!(sender, balance.refunded, "to the fen, once");
    }
}

/// Checkpoints copy envelopes and holds at moments of their own; whatever happens in
/// between, a journal that begins with one is even, to the fen.
#[test]
fn a_journal_that_begins_with_a_checkpoint_is_audited_with_its_holds() {
    let data = tempfile::tempdir().unwrap();
    let rules =
        |c| Config { segment_kib: 64, checkpoint_interval_s: 1, risk_hold_above_fen: 1, ..c };
    let server = start(data.path(), 1, rules);
    let mut client = connect(&server);
    let online = Settings { online: true, draws: true, ..Settings::default() };
    let (mut number, mut held, mut rejected) = (0, Vec::new(), 0);
    until("the journal has been shortened three times", PATIENCE * 3, || {
        number += 1;
        let small = client.send(&equal(SENDER, 2 * number, 1, 40)).unwrap().envelope;
        let large = client.send(&equal(SENDER, 2 * number + 1, 100, 3)).unwrap().envelope;
        (0..40).for_each(|user| assert_eq!(claim(&mut client, small, user), given(1)));
        for user in 1..=2 {
            assert_eq!(claim(&mut client, large, user), WITHHELD);
            held.push((large, UserId(user)));
        }
        // Of three holds one stays.
        for how in [Resolution::Release, Resolution::Reject] {
            let at = usize::try_from(number * 7 % 5).unwrap() % held.len();
            if held.len() > 3 && number % 3 > 0 {
                let (envelope, user) = held.swap_remove(at);
                client.risk_resolve(envelope, user, how).unwrap();
                rejected += u128::from(how == Resolution::Reject);
            }
        }
        match audit(data.path(), None, online, &mut |_| {}) {
            // A busy machine: nothing was read, and nothing is said about it.
            Err(AuditError::Freed { .. }) => false,
            audited => audited.unwrap().shards[0].checkpoint.is_some_and(|number| number >= 3),
        }
    });
    server.drain().unwrap();
    let offline = Settings { online: false, ..online };
    let report = audit(data.path(), None, offline, &mut |_| {}).unwrap();
    assert_eq!(report.balance.held, 100 * u128::try_from(held.len()).unwrap());
    assert!(report.balance.is_even() && report.balance.before > 0 && rejected > 0);
    let server = start(data.path(), 1, rules);
    let listed = connect(&server).risk_holds(None).unwrap();
    let listed = listed.iter().filter(|hold| hold.state == HoldState::Held);
    assert_eq!(listed.count(), held.len());
}
