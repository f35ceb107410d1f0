//! Two connections at the same moment, again and again: of claim and expiry,
//! cancel and claim, payment and lapse, and of everything that is asked twice,
//! exactly one wins, and the money is in one place. What each was told must fit
//! the state that came of it, and the audit must find nothing, neither beside
//! the running server nor after it.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hongbao::audit::{Report, Settings, audit};
use hongbao::client::{Client, ClientError, Funded, Refunded, Refusal};
use hongbao::units::{EnvelopeId, EnvelopeState, Fen, MoneySource, UserId};
use hongbao::wire::{Payment, SendOrder, Status};
use hongbao::{Config, Server};
use rig::{config, connect, key_file, order, seal};

const SENDER: UserId = UserId(7);
const TOTAL: Fen = 10_000;
const SHARES: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// A server of two shards that believes one payment key.
fn start(dir: &Path, change: impl FnOnce(Config) -> Config) -> Server {
    let payment_keys = Some(key_file(dir, &[1]));
    let config = Config { payment_keys, shards: Some(2), ..config(&dir.join("data")) };
    Server::start(change(config)).unwrap()
}

/// Nothing is wrong, online and, when the server has drained, offline; what the
/// books of the journal come to.
fn audited(server: Server, dir: &Path) -> Report {
    let data = dir.join("data");
    let settings = Settings { online: true, ..Settings::default() };
    let online = audit(&data, None, settings, &mut |_| {}).unwrap();
    server.drain().unwrap();
    let settings = Settings { draws: true, ..Settings::default() };
    let offline = audit(&data, None, settings, &mut |_| {}).unwrap();
    assert!(online.records <= offline.records);
    offline
}

fn send(client: &mut Client, number: u64, lifetime_s: u32, source: MoneySource) -> EnvelopeId {
    // Many senders, so that both shards have envelopes.
    let sender = SENDER.0 + number % 16;
    let order =
        SendOrder { lifetime_s, source, payment: 0, ..order(sender, number, TOTAL, SHARES) };
    let vouched = SendOrder { payment: 1 + number, ..order };
    let order = if source == MoneySource::Vouched { vouched } else { order };
    client.send(&order).unwrap().envelope
}

fn sender_of(client: &mut Client, envelope: EnvelopeId) -> UserId {
    client.show(envelope).unwrap().sender
}

fn status<T: std::fmt::Debug>(result: &Result<T, ClientError>) -> Option<Status> {
    match result {
        Ok(_) => None,
        Err(ClientError::Refused(Refusal { status, .. })) => Some(*status),
        Err(other) => panic!("{other}"),
    }
}

/// Does `work` on several connections at the same moment.
fn at_once<T: Send>(lines: &mut [Client], work: impl Fn(usize, &mut Client) -> T + Sync) -> Vec<T> {
    let begin = Barrier::new(lines.len());
    thread::scope(|scope| {
        let threads: Vec<_> = lines
            .iter_mut()
            .enumerate()
            .map(|(n, line)| {
                let (begin, work) = (&begin, &work);
                scope.spawn(move || {
                    begin.wait();
                    work(n, line)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Who was told which share.
type Told = BTreeMap<(EnvelopeId, UserId), Fen>;

/// The envelope has exactly the shares that were told, and all its money.
fn fits(client: &mut Client, envelope: EnvelopeId, told: &Told) {
    let summary = client.show(envelope).unwrap();
    let detail = client.detail(envelope).unwrap();
    let rows = detail.rows.iter().map(|row| ((envelope, row.user), Fen::from(row.amount)));
    let of_envelope = |(key, amount): (&(EnvelopeId, UserId), &Fen)| {
        (key.0 == envelope).then_some((*key, *amount))
    };
    let told: Told = told.iter().filter_map(of_envelope).collect();
    assert_eq!(rows.collect::<Told>(), told);
    let claimed: Fen = told.values().sum();
    assert_eq!(summary.total, claimed + summary.refunded + summary.left);
}

#[test]
fn of_claim_and_expiry_exactly_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |config| config);
    let mut client = connect(&server);
    let mut lines = [connect(&server), connect(&server)];
    let mut told = Told::new();
    let mut envelopes = Vec::new();
    for round in 0..3 {
        let fresh: Vec<_> =
            (0..40).map(|n| send(&mut client, round * 40 + n, 1, MoneySource::Vouched)).collect();
        // Each walks over all of them until all are over.
        let won = at_once(&mut lines, |n, line| {
            let mut won = Told::new();
            let mut open = fresh.clone();
            for pass in 0.. {
                open.retain(|&envelope| {
                    let user = UserId(1 + u64::try_from(n).unwrap() + 2 * (pass % 49));
                    let claim = line.claim(envelope, user);
                    match status(&claim) {
                        None => {
                            let claim = claim.unwrap();
                            let before = won.insert((envelope, user), claim.amount);
                            assert!(before.is_none_or(|before| before == claim.amount));
                            // A repeat is answered for ever, also when it is over.
                            !claim.repeated
                                || line.show(envelope).unwrap().state == EnvelopeState::Open
                        }
                        Some(Status::Expired) => false,
                        other => panic!("{other:?}"),
                    }
                });
                if open.is_empty() {
                    break;
                }
            }
            won
        });
        told.extend(won.into_iter().flatten());
        envelopes.extend(fresh);
    }
    for &envelope in &envelopes {
        fits(&mut client, envelope, &told);
        assert_eq!(client.show(envelope).unwrap().state, EnvelopeState::Expired);
    }
    println!("{} claims came before {} expiries", told.len(), envelopes.len());
    let report = audited(server, dir.path());
    assert_eq!(report.balance.left, 0);
    assert_eq!(report.balance.claimed, told.values().map(|amount| u128::from(*amount)).sum());
}

#[test]
fn of_cancel_and_claim_exactly_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |config| config);
    let mut client = connect(&server);
    let mut lines = [connect(&server), connect(&server)];
    let (mut told, mut claims_won) = (Told::new(), 0);
    for number in 0..300 {
        let envelope = send(&mut client, number, 3600, MoneySource::Vouched);
        let sender = sender_of(&mut client, envelope);
        let results = at_once(&mut lines, |n, line| match n {
            0 => Err(line.claim(envelope, UserId(1))),
            _ => Ok(line.cancel(envelope, sender).unwrap()),
        });
        let [Err(claim), Ok(refund)] = &results[..] else { unreachable!() };
        assert!(!refund.repeated);
        let claimed = match status(claim) {
            None => claim.as_ref().unwrap().amount,
            Some(Status::NotOpen | Status::Expired | Status::SoldOut) => 0,
            other => panic!("{other:?}"),
        };
        assert_eq!(claimed + refund.amount, TOTAL, "round {number}");
        if claimed > 0 {
            told.insert((envelope, UserId(1)), claimed);
            claims_won += 1;
        }
        fits(&mut client, envelope, &told);
    }
    println!("the claim came first in {claims_won} of 300");
    let report = audited(server, dir.path());
    assert_eq!(report.balance.left, 0);
}

#[test]
fn of_two_cancels_one_refunds_and_both_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |config| config);
    let mut client = connect(&server);
    let mut lines = [connect(&server), connect(&server), connect(&server)];
    for number in 0..200 {
        let envelope = send(&mut client, number, 3600, MoneySource::Vouched);
        let sender = sender_of(&mut client, envelope);
        let refunds: Vec<Refunded> =
            at_once(&mut lines, |_, line| line.cancel(envelope, sender).unwrap());
        assert_eq!(refunds.iter().filter(|refund| !refund.repeated).count(), 1);
        assert!(refunds.iter().all(|refund| refund.amount == TOTAL));
    }
    let report = audited(server, dir.path());
    assert_eq!((report.balance.refunded, report.balance.left), (200 * u128::from(TOTAL), 0));
}

#[test]
fn of_cancel_and_expiry_exactly_one_refunds() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |config| config);
    let mut client = connect(&server);
    let mut lines = [connect(&server), connect(&server)];
    let envelopes: Vec<_> = (0..300)
        .map(|number| {
            thread::sleep(Duration::from_millis(4)); // so that they expire one after another
            let envelope = send(&mut client, number, 1, MoneySource::Vouched);
            (envelope, SENDER.0 + number % 16)
        })
        .collect();
    let outcomes = at_once(&mut lines, |n, line| {
        let mine = envelopes.iter().skip(n).step_by(2);
        let cancel = |&(envelope, sender): &(EnvelopeId, u64)| {
            let cancel = line.cancel(envelope, UserId(sender));
            match status(&cancel) {
                None => {
                    let refund = cancel.unwrap();
                    assert_eq!(refund, Refunded { amount: TOTAL, repeated: false });
                    (envelope, EnvelopeState::Cancelled)
                }
                Some(Status::Expired) => (envelope, EnvelopeState::Expired),
                other => panic!("{other:?}"),
            }
        };
        mine.map(cancel).collect::<Vec<_>>()
    });
    for (envelope, state) in outcomes.into_iter().flatten() {
        let summary = client.show(envelope).unwrap();
        assert_eq!((summary.state, summary.refunded), (state, TOTAL));
    }
    let report = audited(server, dir.path());
    assert_eq!((report.balance.refunded, report.balance.left), (300 * u128::from(TOTAL), 0));
}

fn until_next_second() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Duration::from_nanos(1_000_000_000 - u64::from(now.subsec_nanos()))
}

fn payment_of(envelope: EnvelopeId) -> Payment {
    Payment { envelope, payment: envelope.0 ^ 1, amount: TOTAL }
}

fn fund(line: &mut Client, payment: &Payment) -> Result<Funded, ClientError> {
    line.fund(payment, 1, seal(1, payment))
}

#[test]
fn a_payment_that_is_confirmed_at_once_on_all_lines_funds_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |config| config);
    let mut client = connect(&server);
    let mut lines = [connect(&server), connect(&server), connect(&server)];
    for number in 0..200 {
        let payment = payment_of(send(&mut client, number, 3600, MoneySource::Payment));
        let told = at_once(&mut lines, |_, line| fund(line, &payment).unwrap());
        let first = |funded: &&Funded| **funded == Funded::Opened { repeated: false };
        assert_eq!(told.iter().filter(first).count(), 1, "{told:?}");
        assert!(told.iter().all(|funded| matches!(funded, Funded::Opened { .. })));
    }
    let report = audited(server, dir.path());
    assert_eq!((report.balance.funded, report.balance.left), (2_000_000, 2_000_000));
}

#[test]
fn of_two_payments_for_one_order_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |config| config);
    let mut client = connect(&server);
    let mut lines = [connect(&server), connect(&server)];
    for number in 0..200 {
        let envelope = send(&mut client, number, 3600, MoneySource::Payment);
        let told = at_once(&mut lines, |n, line| {
            let other = 1 + u64::try_from(n).unwrap();
            fund(line, &Payment { payment: other, ..payment_of(envelope) })
        });
        let statuses: Vec<_> = told.iter().map(status).collect();
        let (yes, no) = (statuses.contains(&None), statuses.contains(&Some(Status::Conflict)));
        assert!(yes && no, "{told:?}");
        let winner = statuses.iter().position(Option::is_none).unwrap();
        let paid = client.show(envelope).unwrap().payment;
        assert_eq!(paid, 1 + u64::try_from(winner).unwrap());
    }
    assert_eq!(audited(server, dir.path()).balance.funded, 2_000_000);
}

#[test]
fn of_payment_and_lapse_exactly_one_wins_and_the_late_one_goes_back_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |config| Config { pay_within_s: 1, ..config });
    let mut client = connect(&server);
    let mut lines = [connect(&server), connect(&server)];
    let (mut opened, mut returned) = (0, 0);
    let began = Instant::now();
    let mut number = 0;
    while (opened == 0 || returned == 0 || number < 300) && began.elapsed() < PATIENCE {
        let orders: Vec<_> =
            (0..60).map(|n| send(&mut client, number + n, 3600, MoneySource::Payment)).collect();
        number += 60;
        // Seconds are whole: all of them lapse at the next one, if not before.
        thread::sleep(until_next_second().saturating_sub(Duration::from_millis(5)));
        let told = at_once(&mut lines, |_, line| {
            let pay = |&envelope: &EnvelopeId| fund(line, &payment_of(envelope)).unwrap();
            orders.iter().map(pay).collect::<Vec<_>>()
        });
        for ((&envelope, one), two) in orders.iter().zip(&told[0]).zip(&told[1]) {
            let state = client.show(envelope).unwrap().state;
            let first = |repeated: bool| match state {
                EnvelopeState::Open => Funded::Opened { repeated },
                EnvelopeState::Voided => Funded::Returned { amount: TOTAL, repeated },
                other => panic!("{other:?}"),
            };
            let fit = [(first(false), first(true)), (first(true), first(false))];
            assert!(fit.contains(&(*one, *two)), "{state:?}: {one:?}, {two:?}");
            opened += u64::from(state == EnvelopeState::Open);
            returned += u64::from(state == EnvelopeState::Voided);
        }
    }
    println!("{opened} opened, {returned} went back");
    let report = audited(server, dir.path());
    assert_eq!(report.balance.funded, u128::from(opened * TOTAL));
    let back: u128 = report.days.values().map(|day| day.returned.fen).sum();
    assert_eq!(back, u128::from(returned * TOTAL));
}
