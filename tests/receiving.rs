//! Limits on what a user receives a day: exact through whichever doors the
//! claims come, over restarts, and never in the way of a repeat.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use hongbao::client::{Client, Settings};
use hongbao::units::{EnvelopeId, Split, UserId};
use hongbao::wire::{Reply, ReplyBody, Request, SendOrder, Status};
use hongbao::{Config, Server};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rig::{address, config, order};

fn start(data: &Path, shards: u16, receives: u32, fen: u64) -> Server {
    let config = Config {
        shards: Some(shards),
        receives_per_day_max: receives,
        received_fen_per_day_max: fen,
        receivers_max: 5000,
        utc_offset_min: offset_far_from_midnight(),
        ..config(data)
    };
    Server::start(config).unwrap()
}

/// A day that begins between 2 and 22 hours from now: no test sees two.
fn offset_far_from_midnight() -> i32 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    if (7200..79_200).contains(&(since % 86_400)) { 0 } else { 720 }
}

/// A client at each shard's own door.
fn doors(server: &Server) -> Vec<Client> {
    let hello = Client::connect(&address(&server.address().to_string())).unwrap().hello().clone();
    let door = |&port| {
        let at = SocketAddr::new(server.address().ip(), port);
        Client::connect_with(&address(&at.to_string()), Settings::default()).unwrap()
    };
    hello.ports.iter().map(door).collect()
}

fn equal(sender: u64, number: u64, fen_each: u64, shares: u32) -> SendOrder {
    let total = fen_each * u64::from(shares);
    SendOrder { split: Split::Equal, ..order(sender, number, total, shares) }
}

fn once(client: &mut Client, request: &Request) -> Reply {
    let tag = client.submit(request);
    client.flush().unwrap();
    let reply = client.receive().unwrap();
    assert_eq!(reply.tag, tag);
    reply
}

/// Asks until the answer is one that stands: what other shards have not
/// committed yet is only known a moment later.
fn ask(client: &mut Client, request: &Request) -> (Status, ReplyBody) {
    let began = Instant::now();
    loop {
        let reply = once(client, request);
        if reply.status != Status::Overloaded {
            return (reply.status, reply.body);
        }
        assert!((1..=1000).contains(&reply.detail), "with a retry-after");
        assert!(began.elapsed() < Duration::from_secs(20), "refused for ever");
    }
}

fn send(client: &mut Client, order: SendOrder) -> EnvelopeId {
    match ask(client, &Request::Send(order)) {
        (Status::Ok, ReplyBody::Ordered(ordered)) => ordered.envelope,
        other => panic!("not sent: {other:?}"),
    }
}

fn claim(client: &mut Client, envelope: EnvelopeId, user: u64) -> (Status, Option<u64>) {
    match ask(client, &Request::Claim { envelope, user: UserId(user) }) {
        (status, ReplyBody::Amount(fen)) => (status, Some(fen)),
        (status, _) => (status, None),
    }
}

/// Envelopes of senders 0.., one each, so that every shard owns some.
fn envelopes(door: &mut Client, count: u64, fen_each: u64, shares: u32) -> Vec<EnvelopeId> {
    let sent: Vec<_> =
        (0..count).map(|sender| send(door, equal(sender, fen_each, fen_each, shares))).collect();
    let partitions: Vec<_> = sent.iter().map(|envelope| envelope.partition() % 3).collect();
    assert!((0..3).all(|shard| partitions.contains(&shard)), "{partitions:?}");
    sent
}

fn claimed_of(client: &mut Client, envelope: EnvelopeId) -> u32 {
    match ask(client, &Request::Show { envelope }) {
        (Status::Ok, ReplyBody::Summary(summary)) => summary.claimed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_share_of_the_day_is_given_and_the_next_is_not() {
    for shards in 1..=3 {
        let data = tempfile::tempdir().unwrap();
        let server = start(data.path(), shards, 4, 0);
        let mut doors = doors(&server);
        let count = doors.len();
        let sent = envelopes(&mut doors[0], 12, 100, 3);
        for (n, &envelope) in sent.iter().enumerate() {
            let told = claim(&mut doors[n % count], envelope, 7);
            let expected =
                if n < 4 { (Status::Ok, Some(100)) } else { (Status::RateLimited, None) };
            assert_eq!(told, expected, "{shards} shards, claim {n}");
            assert_eq!(claimed_of(&mut doors[0], envelope), u32::from(n < 4), "the stock");
            let others = claim(&mut doors[n % count], envelope, 1000 + u64::try_from(n).unwrap());
            assert_eq!(others, (Status::Ok, Some(100)), "who has room is served");
        }
        for (n, &envelope) in sent.iter().enumerate().take(4) {
            let told = claim(&mut doors[(n + 1) % count], envelope, 7);
            assert_eq!(told, (Status::AlreadyClaimed, Some(100)), "a repeat is no new share");
        }
    }
}

#[test]
fn the_money_of_the_day_is_given_to_the_fen() {
    for shards in 1..=3 {
        let data = tempfile::tempdir().unwrap();
        let server = start(data.path(), shards, 0, 1000);
        let mut doors = doors(&server);
        let count = doors.len();
        let told = [
            (600, Status::Ok),
            (401, Status::RateLimited),
            (399, Status::Ok),
            (2, Status::RateLimited),
            (1, Status::Ok),
            (1, Status::RateLimited),
        ];
        for (n, (fen, status)) in told.into_iter().enumerate() {
            let number = u64::try_from(n).unwrap();
            let envelope = send(&mut doors[n % count], equal(number, 1, fen, 2));
            let amount = (status == Status::Ok).then_some(fen);
            let door = &mut doors[(n + 1) % count];
            assert_eq!(claim(door, envelope, 7), (status, amount), "{shards} shards, {fen} fen");
            assert_eq!(claim(door, envelope, 100 + number), (Status::Ok, Some(fen)));
        }
    }
}

#[test]
fn what_is_sold_out_unknown_or_taken_back_is_told_as_such_at_the_limit() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 2, 1, 0);
    let mut doors = doors(&server);
    let [first, sold, back, open] =
        [0, 1, 2, 3].map(|sender| send(&mut doors[0], equal(sender, 1, 50, 1)));
    assert_eq!(claim(&mut doors[0], first, 7), (Status::Ok, Some(50)));
    assert_eq!(claim(&mut doors[1], sold, 8), (Status::Ok, Some(50)));
    ask(&mut doors[0], &Request::Cancel { envelope: back, sender: UserId(2) });
    for door in &mut doors {
        assert_eq!(claim(door, sold, 7).0, Status::SoldOut);
        assert_eq!(claim(door, back, 7).0, Status::NotOpen);
        assert_eq!(claim(door, EnvelopeId(1), 7).0, Status::NotFound);
        assert_eq!(claim(door, open, 7).0, Status::RateLimited);
        assert_eq!(claim(door, first, 7), (Status::AlreadyClaimed, Some(50)));
    }
}

#[test]
fn a_restart_with_any_number_of_shards_keeps_what_was_received() {
    let data = tempfile::tempdir().unwrap();
    let (receives, fen) = (3, 1000);
    let mut known = BTreeMap::new();
    let mut sent = Vec::new();
    for (round, shards) in (0..).zip([2, 3, 1, 2]) {
        let server = start(data.path(), shards, receives, fen);
        let mut doors = doors(&server);
        let count = doors.len();
        for (&(envelope, user), &amount) in &known {
            let told = claim(&mut doors[0], envelope, user);
            assert_eq!(told, (Status::AlreadyClaimed, Some(amount)));
        }
        sent.push(send(&mut doors[0], equal(round, 1, 300, 100)));
        for user in 0..50 {
            let door = &mut doors[usize::try_from(user).unwrap() % count];
            let (status, amount) = claim(door, *sent.last().unwrap(), user);
            // 3 shares of 300 fen are within both limits, a fourth in neither.
            assert_eq!(status, if round < 3 { Status::Ok } else { Status::RateLimited });
            known.extend(amount.map(|amount| ((*sent.last().unwrap(), user), amount)));
        }
        server.drain().unwrap();
    }
    // Lower limits than what was received: nothing more, and no refused start.
    let server = start(data.path(), 2, 1, 10);
    let mut doors = doors(&server);
    assert_eq!(claim(&mut doors[0], sent[3], 7).0, Status::RateLimited);
    assert_eq!(claim(&mut doors[1], sent[0], 7), (Status::AlreadyClaimed, Some(300)));
    server.drain().unwrap();
    let server = start(data.path(), 1, 0, 0);
    let mut client = rig::connect(&server);
    assert_eq!(claim(&mut client, sent[3], 7), (Status::Ok, Some(300)), "without limits");
}

#[test]
fn more_receivers_than_the_table_holds_are_refused_at_the_claim_and_at_the_start() {
    let data = tempfile::tempdir().unwrap();
    let small = || Config { receives_per_day_max: 5, receivers_max: 2, ..config(data.path()) };
    let server = Server::start(small()).unwrap();
    let mut client = rig::connect(&server);
    let envelope = send(&mut client, equal(1, 1, 10, 90));
    let told: Vec<Status> = (0..20).map(|user| claim(&mut client, envelope, user).0).collect();
    let counted = told.iter().take_while(|&&status| status == Status::Ok).count();
    assert!(counted >= 2 && told[counted..].iter().all(|&s| s == Status::Unavailable), "{told:?}");
    assert_eq!(claim(&mut client, envelope, 0).0, Status::AlreadyClaimed);
    server.drain().unwrap();
    let server = rig::start(data.path()); // without limits
    let mut client = rig::connect(&server);
    assert_eq!(claim(&mut client, envelope, 19).0, Status::Ok);
    server.drain().unwrap();
    let refused = Server::start(small()).err().unwrap().to_string();
    assert!(refused.contains("--receivers-max") && !refused.contains('\n'), "{refused}");
    Server::start(Config { receivers_max: 100, ..small() }).unwrap().drain().unwrap();
}

/// What the clients of a run were told, and what the plain model makes of it.
#[derive(Default)]
struct Model {
    /// By user: shares and fen.
    received: HashMap<u64, (u32, u64)>,
    /// By envelope and user.
    amounts: HashMap<(EnvelopeId, u64), u64>,
}

impl Model {
    fn note(&mut self, envelope: EnvelopeId, user: u64, status: Status, amount: Option<u64>) {
        match (status, amount) {
            (Status::Ok, Some(fen)) => {
                let (shares, sum) = self.received.entry(user).or_default();
                (*shares, *sum) = (*shares + 1, *sum + fen);
                assert_eq!(self.amounts.insert((envelope, user), fen), None, "given twice");
            }
            (Status::AlreadyClaimed, Some(_))
            | (Status::RateLimited | Status::SoldOut | Status::Overloaded, None) => {}
            other => panic!("{other:?}"),
        }
    }
}

const USERS: u64 = 500;

const RECEIVES: u32 = 12;
const FEN: u64 = 4500;

/// One pipelined connection that claims at random; what it was told.
fn crowd(door: &mut Client, sent: &[EnvelopeId], seed: u64) -> Vec<(EnvelopeId, u64, Reply)> {
    let mut dice = ChaCha12Rng::seed_from_u64(seed);
    let mut draw = |below: u64| dice.next_u64() % below;
    let mut told = Vec::new();
    for _ in 0..7 {
        let mut asked = HashMap::new();
        for _ in 0..200 {
            let envelope = sent[usize::try_from(draw(u64::try_from(sent.len()).unwrap())).unwrap()];
            // Every third claim is by one of a few, so that some race.
            let user = if draw(3) == 0 { draw(10) } else { draw(USERS) };
            let tag = door.submit(&Request::Claim { envelope, user: UserId(user) });
            asked.insert(tag, (envelope, user));
        }
        door.flush().unwrap();
        for _ in 0..200 {
            let reply = door.receive().unwrap();
            let (envelope, user) = asked[&reply.tag];
            told.push((envelope, user, reply));
        }
    }
    told
}

fn amount_of(reply: &Reply) -> Option<u64> {
    match reply.body {
        ReplyBody::Amount(fen) => Some(fen),
        _ => None,
    }
}

/// Everybody at once, then a restart in the middle with another number of
/// shards, everybody again, and in the quiet after it every user at every
/// envelope: nobody is above a limit, and who is refused has no room.
#[test]
fn a_crowd_over_three_shards_receives_what_a_plain_model_allows() {
    let seed = 0x11b0_4e05;
    println!("seed {seed}");
    let data = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    let mut sent = Vec::new();
    for (round, shards) in (0_u64..).zip([3, 2]) {
        let server = start(data.path(), shards, RECEIVES, FEN);
        let mut senders = doors(&server);
        for n in 0..100 {
            let wanted =
                order(1000 * round + n, 1, 60 * (5 + n % 60), 5 + u32::try_from(n % 60).unwrap());
            let total = wanted.total * (1 + n % 9);
            sent.push(send(&mut senders[0], SendOrder { total, ..wanted }));
        }
        let told: Vec<_> = std::thread::scope(|scope| {
            let crowds: Vec<_> = (0..4)
                .map(|thread| {
                    let (server, sent) = (&server, &sent);
                    scope.spawn(move || {
                        let mut doors = doors(server);
                        let own = thread % doors.len();
                        let seed = seed + round * 10 + u64::try_from(thread).unwrap();
                        crowd(&mut doors[own], sent, seed)
                    })
                })
                .collect();
            crowds.into_iter().flat_map(|crowd| crowd.join().unwrap()).collect()
        });
        let limited = told.iter().filter(|told| told.2.status == Status::RateLimited).count();
        let later = told.iter().filter(|told| told.2.status == Status::Overloaded).count();
        println!("{} claims: {limited} limited, {later} to ask again", told.len());
        assert!(limited > 100);
        for (envelope, user, reply) in &told {
            model.note(*envelope, *user, reply.status, amount_of(reply));
        }
        for (envelope, user, reply) in &told {
            if reply.status == Status::AlreadyClaimed {
                assert_eq!(amount_of(reply), model.amounts.get(&(*envelope, *user)).copied());
            }
        }
        for (user, &(shares, sum)) in &model.received {
            assert!(shares <= RECEIVES && sum <= FEN, "user {user}: {shares} shares, {sum} fen");
        }
        server.drain().unwrap();
    }
    let server = start(data.path(), 3, RECEIVES, FEN);
    ask_in_quiet(&mut doors(&server), &sent, &mut model);
}

/// Claims of every user and then of one more at an envelope, in one pipeline.
fn everybody(door: &mut Client, envelope: EnvelopeId, last: u64) -> Vec<(u64, Reply)> {
    let users = (0..USERS).chain([last]);
    let claim = |user| Request::Claim { envelope, user: UserId(user) };
    let tags: Vec<u64> = users.clone().map(|user| door.submit(&claim(user))).collect();
    door.flush().unwrap();
    let mut replies: HashMap<u64, Reply> =
        tags.iter().map(|_| door.receive().unwrap()).map(|reply| (reply.tag, reply)).collect();
    users.zip(tags).map(|(user, tag)| (user, replies.remove(&tag).unwrap())).collect()
}

/// A user who is refused although the share would fit was refused wrongly. The
/// share that was not given is the one that the next who has room is given; the
/// last of them has received nothing elsewhere.
fn ask_in_quiet(doors: &mut [Client], sent: &[EnvelopeId], model: &mut Model) {
    let (mut refused, mut given) = (0, 0);
    for (n, &envelope) in sent.iter().enumerate() {
        let mut above = Vec::new(); // who was refused the share that comes next
        let last = 1_000_000 + u64::try_from(n).unwrap();
        for (user, reply) in everybody(&mut doors[n % 3], envelope, last) {
            let amount = amount_of(&reply);
            model.note(envelope, user, reply.status, amount);
            match reply.status {
                Status::RateLimited => above.push(user),
                Status::Ok => {
                    given += 1;
                    refused += above.len();
                    above.drain(..).for_each(|user| assert_no_room(model, user, amount.unwrap()));
                }
                Status::AlreadyClaimed => {
                    assert_eq!(amount, model.amounts.get(&(envelope, user)).copied());
                }
                other => assert_eq!(other, Status::SoldOut, "all is quiet"),
            }
        }
        assert!(above.is_empty(), "user {last} has room for anything");
    }
    println!("in quiet: {given} given, {refused} refused rightly");
    assert!(given > 100 && refused > 100);
    let over = |&(shares, sum): &(u32, u64)| shares > RECEIVES || sum > FEN;
    assert!(!model.received.values().any(over));
}

fn assert_no_room(model: &Model, user: u64, share: u64) {
    let (shares, sum) = model.received.get(&user).copied().unwrap_or_default();
    assert!(shares == RECEIVES || sum + share > FEN, "user {user} had room for {share}");
}
