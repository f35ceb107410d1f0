//! Orders and their money over real sockets: vouched for, from a balance, by an
//! outside payment; and what happens when two of them meet.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use hongbao::client::{Client, ClientError, Funded, Refusal, Voided};
use hongbao::config::{LedgerPlace, MaybeListen};
use hongbao::engine::commitment::{Terms, verify};
use hongbao::shard::Cover;
use hongbao::units::{EnvelopeId, EnvelopeState, MoneySource, Split, UserId};
use hongbao::wire::{BadRequest, Denial, NotOpen, Payment, SendOrder, Status};
use hongbao::{Config, Server};
use rig::{config, connect, key_file, order, seal, until};

const SENDER: UserId = UserId(7);
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that believes these keys.
fn start(dir: &Path, ids: &[u8]) -> Server {
    start_with(dir, ids, |config| config)
}

fn start_with(dir: &Path, ids: &[u8], change: impl FnOnce(Config) -> Config) -> Server {
    let payment_keys = (!ids.is_empty()).then(|| key_file(dir, ids));
    let ledger = LedgerPlace::Program;
    Server::start(change(Config { payment_keys, ledger, ..config(&dir.join("data")) })).unwrap()
}

fn fund(client: &mut Client, id: u8, payment: &Payment) -> Result<Funded, ClientError> {
    client.fund(payment, id.into(), seal(id, payment))
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (Status, u32) {
    match result.expect_err("a refusal") {
        ClientError::Refused(Refusal { status, detail }) => (status, detail),
        other => panic!("{other}"),
    }
}

fn not_open(why: NotOpen) -> (Status, u32) {
    (Status::NotOpen, why.code())
}

fn ordered(number: u64, source: MoneySource) -> SendOrder {
    SendOrder { source, payment: 0, nonce: 0xdead_beef, ..order(SENDER.0, number, 1000, 10) }
}

fn reserve(client: &mut Client, number: u64, source: MoneySource) -> EnvelopeId {
    let sent = client.send(&ordered(number, source)).unwrap();
    assert_eq!((sent.state, sent.repeated), (EnvelopeState::Reserved, false));
    sent.envelope
}

fn payment_of(envelope: EnvelopeId) -> Payment {
    Payment { envelope, payment: envelope.0 ^ 1, amount: 1000 }
}

fn covers(server: &Server, envelope: EnvelopeId, covered: bool) {
    let way = &server.covers()[usize::from(envelope.partition()) % server.covers().len()];
    way.push(Cover { envelope, covered }).unwrap();
    way.ring();
}

fn state(client: &mut Client, envelope: EnvelopeId) -> EnvelopeState {
    client.show(envelope).unwrap().state
}

#[test]
fn every_amount_of_a_closed_envelope_follows_from_what_was_committed_to() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let mut client = connect(&server);
    for split in [Split::Equal, Split::DoubleMean, Split::LineCutting] {
        let number = u64::from(split.code());
        let order = SendOrder { split, nonce: 77, ..order(SENDER.0, number, 1003, 10) };
        let sent = client.send(&order).unwrap();
        assert_eq!(sent.state, EnvelopeState::Open);
        for user in 0..10 {
            let told = client.reveal(sent.envelope).unwrap();
            assert_eq!((told.commitment, told.seed), (sent.commitment, None), "shares are left");
            client.claim(sent.envelope, UserId(user)).unwrap();
        }
        assert_eq!(client.send(&order).unwrap().commitment, sent.commitment);
        let told = client.reveal(sent.envelope).unwrap();
        assert_eq!((told.commitment, told.nonce), (sent.commitment, 77));
        let (envelope, SendOrder { nonce, total, shares, share_max, .. }) = (sent.envelope, order);
        let terms = Terms { envelope, nonce, total, shares, share_max, split };
        let rows = client.detail(envelope).unwrap().rows;
        verify(&terms, told.seed.unwrap(), &sent.commitment, rows.iter().copied()).unwrap();
        let summary = client.show(envelope).unwrap();
        let first_of_the_best = rows.iter().rev().max_by_key(|row| row.amount).unwrap();
        let luckiest = (first_of_the_best.user, first_of_the_best.amount.into());
        assert_eq!(summary.luckiest, Some(luckiest));
    }
}

#[test]
fn an_order_from_the_balance_is_what_the_ledger_says() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let mut client = connect(&server);
    let (rich, poor) = (
        reserve(&mut client, 1, MoneySource::Balance),
        reserve(&mut client, 2, MoneySource::Balance),
    );
    assert_eq!(refused(client.claim(rich, UserId(1))), not_open(NotOpen::NotPaid));
    assert_eq!(refused(client.grab(rich, UserId(1))), not_open(NotOpen::NotPaid));
    covers(&server, rich, true);
    covers(&server, poor, false);
    assert_eq!(client.await_money(rich, PATIENCE).unwrap().state, EnvelopeState::Open);
    assert_eq!(client.await_money(poor, PATIENCE).unwrap().state, EnvelopeState::Voided);
    client.claim(rich, UserId(1)).unwrap();
    assert_eq!(refused(client.claim(poor, UserId(1))), not_open(NotOpen::NeverPaid));
    // The ledger may say it again after a restart, and says nothing new by it.
    covers(&server, rich, true);
    covers(&server, poor, false);
    covers(&server, EnvelopeId(77), true);
    let again = client.send(&ordered(2, MoneySource::Balance)).unwrap();
    assert_eq!((again.state, again.repeated), (EnvelopeState::Voided, true));
    assert_eq!(
        refused(client.void(rich, SENDER)).0,
        Status::Conflict,
        "it is cancelled, not voided"
    );
    assert_eq!(client.cancel(rich, SENDER).unwrap().amount, client.show(rich).unwrap().refunded);
    server.drain().unwrap();
    let server = start(data.path(), &[]);
    let mut client = connect(&server);
    assert_eq!(state(&mut client, rich), EnvelopeState::Cancelled);
    assert_eq!(state(&mut client, poor), EnvelopeState::Voided);
}

#[test]
fn a_payment_opens_its_envelope_once_and_only_under_a_seal() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[1]);
    let mut client = connect(&server);
    let envelope = reserve(&mut client, 1, MoneySource::Payment);
    let payment = payment_of(envelope);
    let mut forged = seal(1, &payment);
    forged[31] ^= 1;
    let denied = (Status::Denied, Denial::Seal.code());
    assert_eq!(refused(client.fund(&payment, 1, forged)), denied);
    assert_eq!(refused(client.fund(&payment, 2, seal(1, &payment))), denied, "no such key");
    assert_eq!(refused(fund(&mut client, 3, &payment)), denied, "a key of somebody else's");
    let more = Payment { amount: 1001, ..payment };
    assert_eq!(refused(client.fund(&more, 1, seal(1, &payment))), denied);
    assert_eq!(state(&mut client, envelope), EnvelopeState::Reserved);

    assert_eq!(refused(fund(&mut client, 1, &more)).0, Status::Conflict, "not the order's amount");
    assert_eq!(fund(&mut client, 1, &payment).unwrap(), Funded::Opened { repeated: false });
    assert_eq!(fund(&mut client, 1, &payment).unwrap(), Funded::Opened { repeated: true });
    let other = Payment { payment: 99, ..payment };
    assert_eq!(refused(fund(&mut client, 1, &other)).0, Status::Conflict, "it is paid already");
    assert_eq!(client.show(envelope).unwrap().payment, payment.payment);
    assert_eq!(refused(client.void(envelope, SENDER)).0, Status::Conflict);
    client.claim(envelope, UserId(1)).unwrap();
    let nobody = payment_of(EnvelopeId(5));
    assert_eq!(refused(fund(&mut client, 1, &nobody)).0, Status::NotFound);
    let nothing = Payment { payment: 0, ..payment };
    let bad = (Status::BadRequest, BadRequest::Payment.code());
    assert_eq!(refused(fund(&mut client, 1, &nothing)), bad);
    let answers = server.boards()[0].counters().answers;
    assert_eq!(answers[8][usize::from(Status::Denied.code())], 4, "forgeries are counted");
}

#[test]
fn a_payment_that_comes_too_late_goes_back_once() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[1]);
    let mut client = connect(&server);
    let envelope = reserve(&mut client, 1, MoneySource::Payment);
    let payment = payment_of(envelope);
    assert_eq!(refused(client.void(envelope, UserId(8))), (Status::Denied, Denial::Sender.code()));
    assert_eq!(client.void(envelope, SENDER).unwrap(), Voided { repeated: false });
    assert_eq!(client.void(envelope, SENDER).unwrap(), Voided { repeated: true });
    let returned = |repeated| Funded::Returned { amount: 1000, repeated };
    assert_eq!(fund(&mut client, 1, &payment).unwrap(), returned(false));
    assert_eq!(fund(&mut client, 1, &payment).unwrap(), returned(true));
    server.drain().unwrap();
    let server = start(data.path(), &[1]);
    let mut client = connect(&server);
    assert_eq!(fund(&mut client, 1, &payment).unwrap(), returned(true), "also after a restart");
    assert_eq!(client.void(envelope, SENDER).unwrap(), Voided { repeated: true });
    assert_eq!(state(&mut client, envelope), EnvelopeState::Voided);
}

#[test]
fn an_order_that_nobody_pays_lapses_by_itself() {
    let data = tempfile::tempdir().unwrap();
    let soon = |config| Config { pay_within_s: 1, ..config };
    let server = start_with(data.path(), &[1], soon);
    let mut client = connect(&server);
    let paid = reserve(&mut client, 1, MoneySource::Payment);
    let covered = reserve(&mut client, 2, MoneySource::Balance);
    until("both have lapsed", PATIENCE, || {
        [paid, covered]
            .into_iter()
            .all(|envelope| state(&mut client, envelope) == EnvelopeState::Voided)
    });
    let returned = Funded::Returned { amount: 1000, repeated: false };
    assert_eq!(fund(&mut client, 1, &payment_of(paid)).unwrap(), returned);
    covers(&server, covered, true);
    assert_eq!(refused(client.void(covered, SENDER)), not_open(NotOpen::NeverPaid));
    assert_eq!(refused(client.claim(covered, UserId(1))), not_open(NotOpen::NeverPaid));
    assert_eq!(state(&mut client, covered), EnvelopeState::Voided);
}

#[test]
fn a_key_is_changed_without_a_gap() {
    let data = tempfile::tempdir().unwrap();
    let mut number = 0;
    for (believed, by_1, by_2) in
        [(&[1][..], true, false), (&[1, 2], true, true), (&[2], false, true)]
    {
        let server = start(data.path(), believed);
        let mut client = connect(&server);
        for (key, opens) in [(1, by_1), (2, by_2)] {
            number += 1;
            let payment = payment_of(reserve(&mut client, number, MoneySource::Payment));
            let funded = fund(&mut client, key, &payment);
            assert_eq!(funded.is_ok(), opens, "key {key} where {believed:?} are believed");
        }
        server.drain().unwrap();
    }
}

#[test]
fn without_keys_no_payment_is_waited_for() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[1]);
    let envelope = reserve(&mut connect(&server), 1, MoneySource::Payment);
    server.drain().unwrap();
    let server = start(data.path(), &[]);
    let mut client = connect(&server);
    let told = refused(client.send(&ordered(2, MoneySource::Payment)));
    assert_eq!(told, (Status::BadRequest, BadRequest::NoPaymentKeys.code()));
    let again = client.send(&ordered(1, MoneySource::Payment)).unwrap();
    assert!(again.repeated && again.envelope == envelope, "an order that was taken is told again");
    let denied = refused(fund(&mut client, 1, &payment_of(envelope)));
    assert_eq!(denied, (Status::Denied, Denial::NoKeys.code()));
}

#[test]
fn keys_that_others_can_read_refuse_the_start() {
    let data = tempfile::tempdir().unwrap();
    let path = key_file(data.path(), &[1]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let config = Config { payment_keys: Some(path), ..config(&data.path().join("data")) };
    let error = Server::start(config).err().expect("a refusal").to_string();
    assert!(error.contains("chmod 600") && !error.contains('\n'), "{error}");
    assert!(!data.path().join("data").exists(), "a refused start changes nothing on disk");
}

/// Two sides ask at the same moment, again and again; what each was told must
/// fit the state that came of it. Says how often the first has won.
fn race(
    server: &Server,
    source: MoneySource,
    rounds: u64,
    first: impl Fn(&mut Client, EnvelopeId) + Sync,
    second: impl Fn(&mut Client, EnvelopeId) -> bool + Sync,
) -> u64 {
    let mut client = connect(server);
    let (mut one, mut two) = (connect(server), connect(server));
    let mut opened = 0;
    for number in 0..rounds {
        let envelope = reserve(&mut client, number, source);
        let start = std::sync::Barrier::new(2);
        let withdrawn = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                start.wait();
                second(&mut two, envelope)
            });
            start.wait();
            first(&mut one, envelope);
            other.join().unwrap()
        });
        let state = client.await_money(envelope, PATIENCE).unwrap().state;
        let expected = if withdrawn { EnvelopeState::Voided } else { EnvelopeState::Open };
        assert_eq!(state, expected, "round {number}");
        opened += u64::from(state == EnvelopeState::Open);
    }
    let totals = server.boards()[0].counters().totals;
    assert_eq!(totals.funded, u128::from(opened) * 1000, "money of what opened, and no other");
    opened
}

fn withdraw(client: &mut Client, envelope: EnvelopeId) -> bool {
    match client.void(envelope, SENDER) {
        Ok(Voided { repeated }) => {
            assert!(!repeated);
            true
        }
        Err(ClientError::Refused(Refusal { status: Status::Conflict, .. })) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn of_payment_and_withdrawal_exactly_one_wins() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[1]);
    let pay = |client: &mut Client, envelope| {
        let funded = fund(client, 1, &payment_of(envelope)).unwrap();
        let opened = matches!(funded, Funded::Opened { repeated: false });
        let state = state(client, envelope);
        assert_eq!(opened, state == EnvelopeState::Open, "{funded:?}");
    };
    let opened = race(&server, MoneySource::Payment, 300, pay, withdraw);
    println!("the payment came first in {opened} of 300");
}

#[test]
fn of_cover_and_withdrawal_exactly_one_wins() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let cover = |_: &mut Client, envelope| covers(&server, envelope, true);
    let opened = race(&server, MoneySource::Balance, 300, cover, withdraw);
    println!("the ledger came first in {opened} of 300");
}

#[test]
fn of_payment_and_lapse_exactly_one_wins() {
    let data = tempfile::tempdir().unwrap();
    let soon = |config| Config { pay_within_s: 1, ..config };
    let server = start_with(data.path(), &[1], soon);
    let mut client = connect(&server);
    let (mut opened, mut returned) = (0, 0);
    // Orders of more than a second, paid while the first of them lapse.
    let orders: Vec<_> = (0..400)
        .map(|number| {
            std::thread::sleep(Duration::from_millis(4));
            reserve(&mut client, number, MoneySource::Payment)
        })
        .collect();
    for &envelope in &orders {
        match fund(&mut client, 1, &payment_of(envelope)).unwrap() {
            Funded::Opened { repeated: false } => opened += 1,
            Funded::Returned { amount: 1000, repeated: false } => returned += 1,
            other => panic!("{other:?}"),
        }
    }
    let count = |client: &mut Client, wanted| {
        orders.iter().filter(|&&envelope| state(client, envelope) == wanted).count()
    };
    println!("{opened} opened, {returned} returned");
    assert_eq!(count(&mut client, EnvelopeState::Open), opened);
    assert_eq!(count(&mut client, EnvelopeState::Voided), returned);
}

#[test]
fn without_a_ledger_no_order_from_a_balance_is_taken() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let envelope = reserve(&mut connect(&server), 1, MoneySource::Balance);
    server.drain().unwrap();
    let nowhere = |config| Config { ledger: LedgerPlace::Nowhere, ..config };
    let server = start_with(data.path(), &[], nowhere);
    let mut client = connect(&server);
    let error = client.send(&ordered(2, MoneySource::Balance)).unwrap_err();
    assert!(error.to_string().contains("has no ledger"), "{error}");
    assert_eq!(refused::<()>(Err(error)), (Status::BadRequest, BadRequest::NoLedger.code()));
    let again = client.send(&ordered(1, MoneySource::Balance)).unwrap();
    assert!(again.repeated && again.envelope == envelope, "an order that was taken is told again");
    let vouched = client.send(&ordered(2, MoneySource::Vouched)).unwrap();
    assert!(!vouched.repeated, "the refused order has left nothing");
}

/// The number of a sample in the text of `/metrics`.
fn sample(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
    let number = line.and_then(|line| line.split_whitespace().last()).unwrap_or_default();
    number.parse().unwrap_or_else(|_| panic!("{name} is not in {text}"))
}

#[test]
fn orders_that_wait_are_never_paid_or_paid_too_late_are_seen_by_an_operator() {
    let data = tempfile::tempdir().unwrap();
    let admin = MaybeListen::At(([127, 0, 0, 1], 0).into());
    let server = start_with(data.path(), &[1], |config| Config { admin, ..config });
    let mut client = connect(&server);
    let late = reserve(&mut client, 1, MoneySource::Payment);
    reserve(&mut client, 2, MoneySource::Balance);
    reserve(&mut client, 3, MoneySource::Payment);
    client.void(late, SENDER).unwrap();
    fund(&mut client, 1, &payment_of(late)).unwrap();
    let ask = |path| {
        let url = format!("http://{}{path}", server.admin().unwrap());
        minreq::get(url).with_timeout(5).send().unwrap().as_str().unwrap().to_owned()
    };
    let told = || -> hongbao::admin::Status { serde_json::from_str(&ask("/status")).unwrap() };
    until("the shard has shown it", PATIENCE, || told().money.returned_fen == 1000);
    let shard = told().shards.remove(0);
    assert_eq!((shard.envelopes_reserved, shard.envelopes_voided), (2, 1));
    let metrics = ask("/metrics");
    let read = |name| sample(&metrics, name);
    assert_eq!(read("hongbao_envelopes_reserved"), 2);
    assert_eq!(read("hongbao_envelopes_voided_total"), 1);
    assert_eq!(read("hongbao_money_returned_fen_total"), 1000);
}
