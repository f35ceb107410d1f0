//! The life of envelopes over real sockets, in one process.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::time::{Duration, Instant};

use hongbao::client::{Client, ClientError, Look};
use hongbao::units::{EnvelopeId, EnvelopeState, Split, UserId};
use hongbao::wire::{BadRequest, SendOrder, Status};
use rig::{config, connect, order, start};

fn status(error: &ClientError) -> Option<Status> {
    match error {
        ClientError::Refused(refusal) => Some(refusal.status),
        _ => None,
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Status {
    status(&result.expect_err("a refusal")).expect("the server's own word")
}

#[test]
fn every_share_is_claimed_once_and_the_sum_is_the_total() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut client = connect(&server);
    for split in [Split::Equal, Split::DoubleMean, Split::LineCutting] {
        let order = SendOrder { split, ..order(7, u64::from(split.code()), 1000, 9) };
        let envelope = client.send(&order).unwrap().envelope;
        assert_eq!(client.grab(envelope, UserId(1)).unwrap(), Look::Left { shares: 9 });
        let amounts: Vec<u64> =
            (1..=9).map(|user| client.claim(envelope, UserId(user)).unwrap().amount).collect();
        assert_eq!(amounts.iter().sum::<u64>(), 1000);
        assert!(amounts.iter().all(|&amount| amount >= 1));
        assert_eq!(refused(client.claim(envelope, UserId(10))), Status::SoldOut);
        let again = client.claim(envelope, UserId(3)).unwrap();
        assert!(again.repeated && again.amount == amounts[2]);
        let summary = client.show(envelope).unwrap();
        assert_eq!((summary.state, summary.left), (EnvelopeState::Exhausted, 0));
        let rows: Vec<u64> =
            client.detail(envelope).unwrap().rows.iter().map(|r| u64::from(r.amount)).collect();
        assert_eq!(rows, amounts);
    }
    let totals = server.boards()[0].counters().totals;
    assert_eq!((totals.funded, totals.claimed, totals.left), (3000, 3000, 0));
    server.drain().unwrap();
}

#[test]
fn the_same_order_gives_the_same_envelope_and_another_order_a_conflict() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut client = connect(&server);
    let first = client.send(&order(7, 1, 500, 5)).unwrap();
    let again = client.send(&order(7, 1, 500, 5)).unwrap();
    assert!(!first.repeated && again.repeated && first.envelope == again.envelope);
    assert_eq!(refused(client.send(&order(7, 1, 501, 5))), Status::Conflict);
    assert_ne!(client.send(&order(8, 1, 500, 5)).unwrap().envelope, first.envelope);
}

#[test]
fn a_bad_order_is_refused_with_its_reason() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut client = connect(&server);
    let good = order(7, 1, 500, 5);
    let cases = [
        (SendOrder { shares: 0, ..good }, BadRequest::Shares),
        (SendOrder { shares: 101, total: 5000, ..good }, BadRequest::Shares),
        (SendOrder { total: 4, ..good }, BadRequest::Total),
        (SendOrder { total: 5 * 20_000 + 1, ..good }, BadRequest::Total),
        (SendOrder { share_max: 99, ..good }, BadRequest::ShareMax),
        (SendOrder { lifetime_s: 0, ..good }, BadRequest::Lifetime),
        (SendOrder { lifetime_s: 86_401, ..good }, BadRequest::Lifetime),
    ];
    for (order, reason) in cases {
        match client.send(&order) {
            Err(ClientError::Refused(refusal)) => {
                assert_eq!((refusal.status, refusal.detail), (Status::BadRequest, reason.code()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.boards()[0].counters().totals.envelopes, 0);
}

#[test]
fn an_envelope_expires_at_its_time_and_refunds_once() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut client = connect(&server);
    let mut short = order(7, 1, 500, 5);
    short.lifetime_s = 1;
    let envelope = client.send(&short).unwrap().envelope;
    let amount = client.claim(envelope, UserId(1)).unwrap().amount;
    // The shard expires it by itself: nobody asks, only the counters are read.
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.boards()[0].counters().totals.refunded == 0 {
        assert!(Instant::now() < deadline, "the envelope never expired");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.boards()[0].counters().totals.refunded, u128::from(500 - amount));
    assert_eq!(refused(client.claim(envelope, UserId(2))), Status::Expired);
    assert_eq!(refused(client.cancel(envelope, UserId(7))), Status::Expired);
    assert_eq!(client.claim(envelope, UserId(1)).unwrap().amount, amount);
    let summary = client.show(envelope).unwrap();
    assert_eq!(summary.state, EnvelopeState::Expired);
    assert_eq!((summary.left, summary.refunded), (0, 500 - amount));
}

#[test]
fn only_the_sender_cancels_and_a_repeat_says_the_same() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut client = connect(&server);
    let envelope = client.send(&order(7, 1, 500, 5)).unwrap().envelope;
    assert_eq!(refused(client.cancel(envelope, UserId(8))), Status::Denied);
    let first = client.cancel(envelope, UserId(7)).unwrap();
    let again = client.cancel(envelope, UserId(7)).unwrap();
    assert_eq!((first.amount, again.amount), (500, 500));
    assert!(!first.repeated && again.repeated);
    assert_eq!(refused(client.claim(envelope, UserId(1))), Status::NotOpen);
    assert_eq!(refused(client.claim(EnvelopeId(99), UserId(1))), Status::NotFound);
}

#[test]
fn a_restarted_server_says_what_it_said_before() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut client = connect(&server);
    let mut told = Vec::new();
    for n in 0..200 {
        let envelope = client.send(&order(n % 13, n, 700, 7)).unwrap().envelope;
        for user in 0..n % 8 {
            told.push((
                envelope,
                UserId(user),
                client.claim(envelope, UserId(user)).unwrap().amount,
            ));
        }
    }
    let before = server.boards()[0].counters().totals;
    drop(client);
    server.drain().unwrap();
    let server = start(data.path());
    let mut client = connect(&server);
    for (envelope, user, amount) in told {
        let again = client.claim(envelope, user).unwrap();
        assert!(again.repeated && again.amount == amount);
    }
    assert_eq!(server.boards()[0].counters().totals, before);
    assert!(client.send(&order(0, 0, 700, 7)).unwrap().repeated);
}

#[test]
fn a_drain_leaves_everything_there_and_known_as_durable() {
    use hongbao::units::Durability;
    for durability in [Durability::Sync, Durability::Os] {
        let data = tempfile::tempdir().unwrap();
        let config = hongbao::Config { durability, ..config(data.path()) };
        let server = hongbao::Server::start(config).unwrap();
        let mut client = connect(&server);
        // Through several segments, the last batches right before the drain.
        for n in 0..6000 {
            client.send(&order(n % 13, n, 700, 7)).unwrap();
        }
        server.drain().unwrap();
        let reports = hongbao::journal::inspect::verify(data.path()).unwrap();
        let last_mark = 4096; // the mark itself takes a page and covers what is before it
        for report in reports {
            assert_eq!(report.records, 6000);
            // Under `os` full segments are synced by the background, which the
            // drain waits for, but the last mark may be written before that.
            let is_known = report.durable_upto.0 + last_mark >= report.end.0;
            assert!(is_known || durability == Durability::Os, "{report:?}");
        }
    }
}

#[test]
fn a_detail_list_is_paged_in_order_of_rank() {
    let data = tempfile::tempdir().unwrap();
    let server =
        hongbao::Server::start(hongbao::Config { shares_max: 1000, ..config(data.path()) })
            .unwrap();
    let mut client = connect(&server);
    let envelope = client.send(&order(7, 1, 60_000, 600)).unwrap().envelope;
    let amounts: Vec<u64> =
        (0..600).map(|user| client.claim(envelope, UserId(user)).unwrap().amount).collect();
    let rows = client.detail(envelope).unwrap().rows;
    assert_eq!(rows.len(), 600);
    for (row, (user, amount)) in rows.iter().zip((0..).zip(amounts)) {
        assert_eq!((row.user, u64::from(row.amount)), (UserId(user), amount));
    }
}

#[test]
fn a_unix_socket_serves_the_same_and_goes_with_the_server() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("hongbao.sock");
    let with_socket =
        hongbao::Config { unix: Some(path.clone()), ..config(&data.path().join("data")) };
    let server = hongbao::Server::start(with_socket).unwrap();
    let address = rig::address(&format!("unix:{}", path.display()));
    let mut client = Client::connect(&address).unwrap();
    let envelope = client.send(&order(7, 1, 500, 5)).unwrap().envelope;
    assert!(client.claim(envelope, UserId(1)).unwrap().amount > 0);
    drop(client);
    server.drain().unwrap();
    assert!(!path.exists());
}

#[test]
fn ten_thousand_requests_in_flight_on_one_connection_are_all_answered() {
    use hongbao::wire::Request;
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut client = connect(&server);
    let envelope = client.send(&order(7, 1, 500, 50)).unwrap().envelope;
    for user in 0..10_000 {
        client.submit(&Request::Claim { envelope, user: UserId(user) });
    }
    client.flush().unwrap();
    let won = (0..10_000).filter(|_| client.receive().unwrap().status == Status::Ok).count();
    assert_eq!(won, 50);
}
