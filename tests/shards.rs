//! Several shards in one server: whichever door a request comes in by, its
//! owner decides it, and no connection can take what belongs to others.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao::client::{Client, ClientError, Look, Settings};
use hongbao::shard::Board;
use hongbao::shard::Cover;
use hongbao::units::{EnvelopeId, EnvelopeState, MoneySource, UserId};
use hongbao::wire::{Payment, ReplyBody, Request, SendOrder, Status, encode_request};
use hongbao::{Config, Server};
use rig::{address, config, confirm, key_file, order, until};

fn start(data: &std::path::Path, shards: u16) -> Server {
    Server::start(Config { shards: Some(shards), ..config(data) }).unwrap()
}

/// A client at a shard's own door that stays there.
fn at_shard(server: &Server, shard: usize) -> Client {
    let hello = Client::connect(&address(&server.address().to_string())).unwrap().hello().clone();
    let door = SocketAddr::new(server.address().ip(), hello.ports[shard]);
    Client::connect(&address(&door.to_string())).unwrap()
}

/// Sends one request on the connection it is given, without any routing.
fn ask(client: &mut Client, request: &Request) -> (Status, ReplyBody) {
    let tag = client.submit(request);
    client.flush().unwrap();
    let reply = client.receive().unwrap();
    assert_eq!(reply.tag, tag);
    (reply.status, reply.body)
}

fn send(client: &mut Client, sender: u64, number: u64, shares: u32) -> EnvelopeId {
    let wanted = order(sender, number, u64::from(shares) * 100, shares);
    match ask(client, &Request::Send(wanted)) {
        (Status::Ok, ReplyBody::Ordered(ordered)) => ordered.envelope,
        other => panic!("not sent: {other:?}"),
    }
}

fn totals_of(boards: &[Arc<Board>]) -> (u128, u128, u128, u128) {
    let add = |sum: (u128, u128, u128, u128), totals: hongbao::engine::Totals| {
        let hongbao::engine::Totals { funded, claimed, refunded, left, .. } = totals;
        (sum.0 + funded, sum.1 + claimed, sum.2 + refunded, sum.3 + left)
    };
    boards.iter().map(|board| board.counters().totals).fold((0, 0, 0, 0), add)
}

#[test]
fn every_operation_works_through_every_door() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 3);
    let mut doors: Vec<Client> = (0..3).map(|shard| at_shard(&server, shard)).collect();
    let mut owners = BTreeMap::<usize, u32>::new();
    for sender in 0..60 {
        let from = usize::try_from(sender % 3).unwrap();
        let envelope = send(&mut doors[from], sender, 1, 4);
        *owners.entry(usize::from(envelope.partition()) % 3).or_default() += 1;
        let again = send(&mut doors[(from + 1) % 3], sender, 1, 4);
        assert_eq!(envelope, again, "one sender's orders meet in one shard");
        let mut amounts = Vec::new();
        for (user, door) in (0..3).zip(&mut doors) {
            let claim = Request::Claim { envelope, user: UserId(user) };
            let (status, ReplyBody::Amount(amount)) = ask(door, &claim) else { panic!() };
            assert_eq!(status, Status::Ok);
            amounts.push(amount);
        }
        for (user, door) in (0..3).zip(doors.iter_mut().rev()) {
            let claim = Request::Claim { envelope, user: UserId(user) };
            let place = usize::try_from(user).unwrap();
            let repeated = (Status::AlreadyClaimed, ReplyBody::Amount(amounts[place]));
            assert_eq!(ask(door, &claim), repeated, "the same amount by another door");
        }
        let door = &mut doors[from];
        let (_, ReplyBody::Summary(summary)) = ask(door, &Request::Show { envelope }) else {
            panic!()
        };
        assert_eq!((summary.claimed, summary.state), (3, EnvelopeState::Open));
        let detail = Request::Detail { envelope, from: 0, rows_max: 9 };
        let (_, ReplyBody::Detail(page)) = ask(door, &detail) else { panic!() };
        let rows: Vec<u64> = page.rows.iter().map(|row| row.amount.into()).collect();
        assert_eq!(rows, amounts);
        let cancel = Request::Cancel { envelope, sender: UserId(sender) };
        let (status, ReplyBody::Amount(refund)) = ask(door, &cancel) else { panic!() };
        assert_eq!((status, refund + amounts.iter().sum::<u64>()), (Status::Ok, 400));
    }
    assert_eq!(owners.len(), 3, "every shard owns some: {owners:?}");
    let carried: u64 = server.boards().iter().map(|board| board.counters().carried_in).sum();
    assert!(carried > 60, "{carried} requests crossed the mesh");
    let boards = server.boards().to_vec();
    server.drain().unwrap();
    let (funded, claimed, refunded, left) = totals_of(&boards);
    assert_eq!((funded, left), (60 * 400, 0));
    assert_eq!(claimed + refunded, funded);
}

/// An order that waits for its money, sent through one door.
fn reserve(client: &mut Client, sender: u64, number: u64, source: MoneySource) -> EnvelopeId {
    let wanted = SendOrder { source, payment: 0, ..order(sender, number, 400, 4) };
    match ask(client, &Request::Send(wanted)) {
        (Status::Ok, ReplyBody::Ordered(ordered)) => {
            assert_eq!(ordered.state, EnvelopeState::Reserved);
            ordered.envelope
        }
        other => panic!("not ordered: {other:?}"),
    }
}

fn state(client: &mut Client, envelope: EnvelopeId) -> EnvelopeState {
    let (_, ReplyBody::Summary(summary)) = ask(client, &Request::Show { envelope }) else {
        panic!()
    };
    summary.state
}

#[test]
fn money_comes_in_through_every_door() {
    let data = tempfile::tempdir().unwrap();
    let payment_keys = Some(key_file(data.path(), &[1]));
    let ledger = hongbao::config::LedgerPlace::Program;
    let config = Config { payment_keys, ledger, ..config(&data.path().join("data")) };
    let server = Server::start(Config { shards: Some(3), ..config }).unwrap();
    let mut doors: Vec<Client> = (0..3).map(|shard| at_shard(&server, shard)).collect();
    for sender in 0..30 {
        let from = usize::try_from(sender % 3).unwrap();
        let [here, there, beyond] = [from, (from + 1) % 3, (from + 2) % 3];
        let [paid, late] =
            [1, 2].map(|n| reserve(&mut doors[here], sender, n, MoneySource::Payment));
        let covered = reserve(&mut doors[there], sender, 3, MoneySource::Balance);
        let pay = |envelope| confirm(1, &Payment { envelope, payment: 5, amount: 400 });
        let void = Request::Void { envelope: late, sender: UserId(sender) };
        assert_eq!(ask(&mut doors[beyond], &void), (Status::Ok, ReplyBody::None));
        for door in &mut doors {
            let opened = (Status::Ok, ReplyBody::Amount(0));
            assert_eq!(ask(door, &pay(paid)), opened);
            assert_eq!(ask(door, &pay(late)), (Status::Ok, ReplyBody::Amount(400)), "it goes back");
            let (_, ReplyBody::Reveal(told)) = ask(door, &Request::Reveal { envelope: late })
            else {
                panic!()
            };
            assert!(told.seed.is_some(), "nothing more is drawn from it");
        }
        let way = &server.covers()[usize::from(covered.partition()) % 3];
        way.push(Cover { envelope: covered, covered: true }).unwrap();
        way.ring();
        until("it is open", Duration::from_secs(10), || {
            state(&mut doors[here], covered) == EnvelopeState::Open
        });
        assert_eq!(state(&mut doors[there], paid), EnvelopeState::Open);
    }
    let boards = server.boards().to_vec();
    server.drain().unwrap();
    assert_eq!(totals_of(&boards), (60 * 400, 0, 0, 60 * 400));
}

#[test]
fn a_deep_pipeline_through_the_wrong_door_is_answered_whole() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 2);
    let mut door = at_shard(&server, 0);
    let envelope = (0..1000)
        .map(|sender| send(&mut door, sender, 1, 100))
        .find(|envelope| envelope.partition() % 2 == 1)
        .unwrap();
    for round in 0..20 {
        let tags: Vec<u64> = (0..2000)
            .map(|n| {
                let user = UserId(round * 1000 + n);
                match n % 4 {
                    0 => door.submit(&Request::Claim { envelope, user }),
                    1 => door.submit(&Request::Grab { envelope, user }),
                    2 => door.submit(&Request::Detail { envelope, from: 0, rows_max: 3 }),
                    _ => door.submit(&Request::Show { envelope: EnvelopeId(n) }),
                }
            })
            .collect();
        door.flush().unwrap();
        let mut answered: Vec<u64> = tags.iter().map(|_| door.receive().unwrap().tag).collect();
        answered.sort_unstable();
        assert_eq!(answered, tags, "each request has one answer");
    }
    let (_, ReplyBody::Summary(summary)) = ask(&mut door, &Request::Show { envelope }) else {
        panic!()
    };
    assert_eq!((summary.claimed, summary.left), (100, 0));
}

#[test]
fn a_restarted_server_knows_every_shards_envelopes() {
    let data = tempfile::tempdir().unwrap();
    let mut known = Vec::new();
    for round in 0..3 {
        let server = start(data.path(), 2);
        let mut door = at_shard(&server, 1);
        for &(envelope, amount) in &known {
            let claim = Request::Claim { envelope, user: UserId(1) };
            assert_eq!(ask(&mut door, &claim), (Status::AlreadyClaimed, ReplyBody::Amount(amount)));
        }
        for sender in 0..20 {
            let envelope = send(&mut door, sender, round, 5);
            let claim = Request::Claim { envelope, user: UserId(1) };
            let (_, ReplyBody::Amount(amount)) = ask(&mut door, &claim) else { panic!() };
            known.push((envelope, amount));
        }
        server.drain().unwrap();
    }
}

#[test]
fn a_drain_leaves_no_carried_request_without_its_answer() {
    for round in 0..10 {
        let data = tempfile::tempdir().unwrap();
        let server = start(data.path(), 2);
        let mut door = at_shard(&server, 0);
        let envelope = (0..1000)
            .map(|sender| send(&mut door, sender, 1, 100))
            .find(|envelope| envelope.partition() % 2 == 1)
            .unwrap();
        for user in 0..50 {
            door.submit(&Request::Claim { envelope, user: UserId(user) });
        }
        door.flush().unwrap();
        // The drain meets the claims on their way there, decided, or on their
        // way back; whatever it has decided it must tell.
        std::thread::sleep(Duration::from_micros(round * 30));
        let stopper = server.stopper();
        stopper.stop();
        let mut told = 0_u128;
        while let Ok(reply) = door.receive() {
            let ReplyBody::Amount(amount) = reply.body else { panic!("{reply:?}") };
            told += u128::from(amount);
        }
        server.wait().unwrap();
        let server = start(data.path(), 2);
        let (_, claimed, ..) = totals_of(server.boards());
        assert_eq!(claimed, told, "what was decided was told");
    }
}

#[test]
fn a_request_that_has_waited_beyond_its_budget_is_not_executed() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(Config { shares_max: 100_000, ..config(data.path()) }).unwrap();
    let settings = Settings { budget_us: 1, ..Settings::default() };
    let at = address(&server.address().to_string());
    let mut client = Client::connect(&at).unwrap();
    let envelope = client.send(&order(1, 1, 10_000_000, 50_000)).unwrap().envelope;
    let mut hurried =
        Client::connect_with(&at, settings).unwrap_or_else(|_| panic!("hello has no queue"));
    let (mut won, mut late) = (0_u32, 0_u32);
    for round in 0..40 {
        for n in 0..1000 {
            hurried.submit(&Request::Claim { envelope, user: UserId(round * 1000 + n) });
        }
        hurried.flush().unwrap();
        for _ in 0..1000 {
            let reply = hurried.receive().unwrap();
            match reply.status {
                Status::Ok => won += 1,
                Status::Overloaded => late += 1,
                other => panic!("{other:?}"),
            }
            assert!(reply.status == Status::Ok || reply.detail >= 1, "with a retry-after");
        }
    }
    assert!(late > 0, "nothing of 40,000 waited for 2 us");
    let summary = client.show(envelope).unwrap();
    assert_eq!(summary.claimed, won, "a refusal has applied nothing");
    let boards = server.boards().to_vec();
    server.drain().unwrap();
    assert_eq!(boards[0].counters().refused_late, u64::from(late));
}

#[test]
fn a_greedy_connection_does_not_starve_a_modest_one() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 1);
    let at = server.address();
    let mut modest = Client::connect(&address(&at.to_string())).unwrap();
    let envelope = modest.send(&order(1, 1, 10_000, 100)).unwrap().envelope;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| flood(at, envelope, &stop));
        }
        let began = Instant::now();
        let (mut worst, mut answered) = (Duration::ZERO, Vec::new());
        while began.elapsed() < Duration::from_secs(2) {
            let asked = Instant::now();
            answered.push(modest.grab(envelope, UserId(1_000_000)));
            worst = worst.max(asked.elapsed());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let told = |look: &_| matches!(look, Ok(Look::Left { .. }) | Err(ClientError::Refused(_)));
        assert!(answered.len() > 20 && answered.iter().all(told), "{answered:?}");
        println!("longest wait beside twelve floods: {worst:?}");
        assert!(worst < Duration::from_secs(1), "{worst:?}");
    });
    assert_eq!(server.boards()[0].counters().net.slow_readers, 0, "all of them read");
}

/// Asks without end and without counting, and reads whatever comes.
fn flood(at: SocketAddr, envelope: EnvelopeId, stop: &std::sync::atomic::AtomicBool) {
    let mut stream = TcpStream::connect(at).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let drain = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let mut frames = Vec::new();
    for tag in 0..4000 {
        encode_request(&mut frames, tag, 0, &Request::Claim { envelope, user: UserId(tag) });
    }
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        stream.write_all(&frames).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    let _ = drain.join().unwrap();
}
