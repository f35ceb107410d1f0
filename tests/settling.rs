//! The settlement stream of a running server: the journal is held for those who
//! have not booked it and freed when they have, and another number of shards
//! waits for them.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::path::Path;
use std::time::Duration;

use hongbao::client::Client;
use hongbao::config::MaybeListen;
use hongbao::follow::movement::Why;
use hongbao::follow::settle::{Ask, Moved, Push, Start, Subscription, forget_offline};
use hongbao::journal::inspect::{self, ShardReport};
use hongbao::units::UserId;
use hongbao::{Config, Server};
use rig::{config, connect, order, until};

const PATIENCE: Duration = Duration::from_secs(60);

fn settling(data: &Path, shards: u16) -> Config {
    let settlement = MaybeListen::At(([127, 0, 0, 1], 0).into());
    Config { settlement, shards: Some(shards), checkpoint_interval_s: 1, ..config(data) }
}

fn subscribe(server: &Server, name: &str, shard: u16, start: Start) -> Subscription {
    let ask = Ask { name: name.parse().unwrap(), shard, start, window: 1 << 20 };
    Subscription::open(server.settlement().unwrap(), &ask).unwrap()
}

/// Sends envelopes and has them claimed; so many records.
fn play(client: &mut Client, sender: u64, envelopes: u64) {
    for number in 0..envelopes {
        let sent = client.send(&order(sender, number, 1000, 20)).unwrap();
        for user in 0..20 {
            client.claim(sent.envelope, UserId(user)).unwrap();
        }
    }
}

/// Everything that was committed when the stream was opened.
fn take_all(stream: &mut Subscription) -> Vec<Moved> {
    let (mut taken, end) = (Vec::new(), stream.accepted().committed);
    loop {
        match stream.wait().unwrap() {
            Push::Movements(moved) => {
                taken.extend(moved);
                stream.take().unwrap();
            }
            Push::News(told) => panic!("{told:?} to one who asks for movements"),
            Push::Border { cursor, .. } => {
                stream.acknowledge(cursor).unwrap();
                if cursor.position >= end {
                    return taken;
                }
            }
        }
    }
}

/// What comes up to the next border.
fn take_to_border(stream: &mut Subscription) {
    loop {
        if let Push::Border { cursor, .. } = stream.wait().unwrap() {
            return stream.acknowledge(cursor).unwrap();
        }
        stream.take().unwrap();
    }
}

/// The first shard's journal; `None` where a file went while it was looked at.
fn journal(data: &Path) -> Option<ShardReport> {
    inspect::stat(data).ok()?.into_iter().next()
}

fn oldest(data: &Path) -> Option<u64> {
    Some(journal(data)?.segments.first()?.base)
}

#[test]
fn segments_wait_until_they_are_booked_and_go_then() {
    let guard = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = Server::start(settling(guard.path(), 1)).unwrap();
    let mut client = connect(&server);
    drop(subscribe(&server, "bank", 0, Start::LeftOff)); // it has a name, and is away
    let mut sender = 1;
    let would_free =
        |report: ShardReport| report.segments.len() >= 4 && report.checkpoints.len() >= 2;
    until("checkpoints would free segments", PATIENCE, || {
        play(&mut client, sender, 10);
        sender += 1;
        journal(guard.path()).is_some_and(would_free)
    });
    until("it is looked at in peace", PATIENCE, || oldest(guard.path()).is_some());
    assert!(oldest(guard.path()).is_none_or(|base| base == 0), "held for the subscriber");
    let mut stream = subscribe(&server, "bank", 0, Start::LeftOff);
    assert_eq!(stream.accepted().start.position, 0);
    let taken = take_all(&mut stream);
    let funded: u64 =
        taken.iter().filter(|m| m.movement.why == Why::Fund).map(|m| m.movement.amount).sum();
    assert_eq!(funded, (sender - 1) * 10_000);
    until("what is booked is freed", PATIENCE, || {
        play(&mut client, sender, 10);
        sender += 1;
        take_to_border(&mut stream);
        oldest(guard.path()).is_some_and(|base| base > 0)
    });
}

#[test]
fn another_number_of_shards_waits_for_every_subscriber() {
    let guard = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = Server::start(settling(guard.path(), 2)).unwrap();
    (1..20).for_each(|sender| play(&mut connect(&server), sender, 2));
    let first = take_all(&mut subscribe(&server, "bank", 0, Start::LeftOff));
    drop(subscribe(&server, "gone", 0, Start::LeftOff));
    server.drain().unwrap();

    let refused = Server::start(settling(guard.path(), 1)).err().unwrap().to_string();
    assert!(refused.contains("bank") && refused.contains("shards = 2"), "{refused}");

    let server = Server::start(settling(guard.path(), 2)).unwrap();
    let second = take_all(&mut subscribe(&server, "bank", 1, Start::LeftOff));
    let money = |why: Why| {
        let all = first.iter().chain(&second).filter(|moved| moved.movement.why == why);
        all.map(|moved| moved.movement.amount).sum::<u64>()
    };
    assert_eq!((money(Why::Fund), money(Why::Claim)), (38_000, 38_000));
    server.drain().unwrap();

    let refused = Server::start(settling(guard.path(), 1)).err().unwrap().to_string();
    assert!(refused.contains("gone") && refused.contains("hb settle forget"), "{refused}");
    assert!(forget_offline(guard.path(), &"gone".parse().unwrap()).unwrap());
    assert!(!forget_offline(guard.path(), &"gone".parse().unwrap()).unwrap());

    let server = Server::start(settling(guard.path(), 1)).unwrap();
    play(&mut connect(&server), 100, 1);
    let mut stream = subscribe(&server, "bank", 0, Start::LeftOff);
    let next = take_all(&mut stream);
    assert_eq!(next.len(), 21, "one envelope and its claims");
    assert!(next.iter().all(|moved| moved.id.arrangement == 2));
}
