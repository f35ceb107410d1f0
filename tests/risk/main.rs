//! Risk on a running server: what is told, who hears of it on which shard, what
//! survives, and where the money of held shares goes.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod holds;
mod news;
mod often;
#[path = "../rig/mod.rs"]
mod rig;

use std::net::SocketAddr;
use std::path::Path;

use hongbao::client::{Client, ClientError, Settings, Shaken};
use hongbao::units::{EnvelopeId, Split, UserId};
use hongbao::wire::{
    BadRequest, Command, Mark, PlanPart, PlanTerms, Prize, Reply, ReplyBody, Request, Resolution,
    RiskRule, RiskStep, RiskVerdict, SendOrder, Slot, Status, Terms,
};
use hongbao::{Config, Server};
use rig::{address, config, connect, order};

/// A server with rules of risk: grades and lists, and what a test adds.
fn start(data: &Path, shards: u16, change: impl FnOnce(Config) -> Config) -> Server {
    let risky = Config { shards: Some(shards), risk_users_max: 500, ..config(data) };
    Server::start(change(risky)).unwrap()
}

/// A client at each shard's own door.
fn doors(server: &Server) -> Vec<Client> {
    let hello = connect(server).hello().clone();
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

/// Envelopes of senders 0.., so that each of up to three shards owns some.
fn envelopes(client: &mut Client, number: u64, count: u64) -> Vec<EnvelopeId> {
    let ordered = |sender| client.send(&equal(sender, number, 100, 5)).unwrap().envelope;
    let sent: Vec<_> = (0..count).map(ordered).collect();
    let shards: Vec<_> = sent.iter().map(|envelope| envelope.partition() % 3).collect();
    assert!((0..3).all(|shard| shards.contains(&shard)), "{shards:?}");
    sent
}

fn ask(client: &mut Client, request: &Request) -> Reply {
    let tag = client.submit(request);
    client.flush().unwrap();
    let reply = client.receive().unwrap();
    assert_eq!(reply.tag, tag);
    reply
}

/// What a claim is told, without its tag.
fn claim(client: &mut Client, envelope: EnvelopeId, user: u64) -> (Status, u32, ReplyBody) {
    let reply = ask(client, &Request::Claim { envelope, user: UserId(user) });
    (reply.status, reply.detail, reply.body)
}

fn given(fen: u64) -> (Status, u32, ReplyBody) {
    (Status::Ok, 0, ReplyBody::Amount(fen))
}

const WITHHELD: (Status, u32, ReplyBody) = (Status::Withheld, 0, ReplyBody::None);

fn refusal<T: std::fmt::Debug>(told: Result<T, ClientError>) -> (Status, u32) {
    match told.unwrap_err() {
        ClientError::Refused(refusal) => (refusal.status, refusal.detail),
        other => panic!("{other}"),
    }
}

#[test]
fn who_is_held_denied_rejected_or_of_low_grade_is_told_the_same_bytes() {
    let data = tempfile::tempdir().unwrap();
    let rules =
        |c| Config { risk_hold_below: 50, risk_deny_below: 10, risk_hold_above_fen: 500, ..c };
    let server = start(data.path(), 1, rules);
    let mut client = connect(&server);
    let (watched, denied, low, lowest, rejected, plain) = (1, 2, 3, 4, 5, 6);
    for (user, mark) in [
        (watched, Mark::Watch(true)),
        (denied, Mark::Deny(true)),
        (low, Mark::Grade(49)),
        (lowest, Mark::Grade(9)),
        (rejected, Mark::Watch(true)),
    ] {
        assert!(!client.risk_mark(UserId(user), mark).unwrap());
        assert!(client.risk_mark(UserId(user), mark).unwrap(), "said twice, it is one mark");
    }
    let envelope = client.send(&equal(70, 1, 100, 9)).unwrap().envelope;
    let large = client.send(&equal(70, 2, 501, 2)).unwrap().envelope;
    let graded = Terms { grade_min: 101, ..Terms::default() };
    let graded = client.send_with(&equal(70, 3, 100, 2), &graded).unwrap().envelope;
    for user in [watched, denied, low, lowest, rejected] {
        assert_eq!(claim(&mut client, envelope, user), WITHHELD, "user {user}");
    }
    client.risk_resolve(envelope, UserId(rejected), Resolution::Reject).unwrap();
    for user in [watched, denied, low, lowest, rejected] {
        assert_eq!(claim(&mut client, envelope, user), WITHHELD, "user {user}, again");
    }
    assert_eq!(claim(&mut client, large, plain), WITHHELD, "the amount");
    assert_eq!(claim(&mut client, graded, plain), WITHHELD, "the grade of the terms");
    let looked = ask(&mut client, &Request::Grab { envelope, user: UserId(watched) });
    assert_eq!((looked.status, looked.detail, looked.body), WITHHELD);
    assert_eq!(claim(&mut client, envelope, plain), given(100));
    client.risk_mark(UserId(plain), Mark::Grade(101)).unwrap();
    assert_eq!(claim(&mut client, graded, plain), given(100));
    // Who was denied has taken nothing, and of who was not only the place is shown.
    let detail = client.detail(envelope).unwrap();
    let rows: Vec<_> = detail.rows.iter().map(|row| (row.user.0, row.amount)).collect();
    assert_eq!(rows, [(0, 0), (0, 0), (0, 0), (plain, 100)]);
    client.risk_mark(UserId(denied), Mark::Deny(false)).unwrap();
    assert_eq!(claim(&mut client, envelope, denied), given(100), "it is off the list");
}

#[test]
fn every_rule_is_explained_with_its_id() {
    let data = tempfile::tempdir().unwrap();
    let rules = |c| Config {
        risk_hold_below: 50,
        risk_deny_below: 10,
        risk_hold_above_fen: 500,
        risk_hold_wins: 2,
        risk_deny_wins: 3,
        risk_window_s: 3600,
        ..c
    };
    let server = start(data.path(), 1, rules);
    let mut client = connect(&server);
    let sent: Vec<_> =
        (1..=5).map(|n| client.send(&equal(70, n, 100, 9)).unwrap().envelope).collect();
    let verdict = |client: &mut Client, user| client.risk_explain(UserId(user)).unwrap().verdict;
    assert_eq!(verdict(&mut client, 1), RiskVerdict::Allow);
    let expected = [
        RiskVerdict::Allow,
        RiskVerdict::Hold(RiskRule::WinsHeld),
        RiskVerdict::Deny(RiskRule::WinsDenied),
        RiskVerdict::Deny(RiskRule::WinsDenied),
        RiskVerdict::Deny(RiskRule::WinsDenied),
    ];
    for (n, (&envelope, expected)) in sent.iter().zip(expected).enumerate() {
        let told = claim(&mut client, envelope, 1);
        assert_eq!(told == given(100), n < 2, "share {n}");
        let explained = client.risk_explain(UserId(1)).unwrap();
        assert_eq!(explained.verdict, expected, "after share {n}");
        let wins = u32::try_from(n + 1).unwrap().min(3);
        assert_eq!((explained.wins, explained.window_s), (wins, 3600));
    }
    let held = client.risk_holds(Some(UserId(1))).unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].envelope, held[0].rule), (sent[2], RiskRule::WinsHeld));
    for (mark, expected) in [
        (Mark::Grade(49), RiskVerdict::Hold(RiskRule::GradeHeld)),
        (Mark::Watch(true), RiskVerdict::Hold(RiskRule::WatchList)),
        (Mark::Grade(9), RiskVerdict::Deny(RiskRule::GradeDenied)),
        (Mark::Deny(true), RiskVerdict::Deny(RiskRule::DenyList)),
    ] {
        client.risk_mark(UserId(2), mark).unwrap();
        assert_eq!(verdict(&mut client, 2), expected);
    }
    let explained = client.risk_explain(UserId(2)).unwrap();
    assert_eq!((explained.standing.grade, explained.standing.lists()), (9, 3));
    assert_eq!((explained.grade, explained.hold_above_fen), (9, 500));
    assert_eq!(client.risk_explain(UserId(3)).unwrap().grade, 100, "the grade of strangers");
}

#[test]
fn the_feed_tells_every_verdict_once_in_order_and_by_whom() {
    for shards in 1..=2 {
        let data = tempfile::tempdir().unwrap();
        let rules = |c| Config { risk_hold_above_fen: 99, ..c };
        let server = start(data.path(), shards, rules);
        let mut client = connect(&server);
        client.risk_mark(UserId(9), Mark::Deny(true)).unwrap();
        let sent = envelopes(&mut client, 1, 60);
        let mut after = Vec::new();
        assert_eq!(client.risk_feed(&mut after).unwrap(), []);
        for &envelope in &sent {
            assert_eq!(claim(&mut client, envelope, 8), WITHHELD);
            assert_eq!(claim(&mut client, envelope, 9), WITHHELD);
            assert_eq!(claim(&mut client, envelope, 8), WITHHELD, "a repeat is no event");
            client.risk_resolve(envelope, UserId(8), Resolution::Release).unwrap();
            client.risk_resolve(envelope, UserId(8), Resolution::Release).unwrap();
        }
        let events = client.risk_feed(&mut after).unwrap();
        assert_eq!(events.len(), 3 * sent.len());
        for &envelope in &sent {
            let of_it = events.iter().filter(|event| event.envelope == envelope);
            let of_it = of_it.map(|event| (event.user.0, event.what, event.rule, event.by_time));
            let expected = [
                (8, RiskStep::Held, Some(RiskRule::Amount), false),
                (9, RiskStep::Denied, Some(RiskRule::DenyList), false),
                (8, RiskStep::Released, None, false),
            ];
            assert_eq!(of_it.collect::<Vec<_>>(), expected);
        }
        assert_eq!(client.risk_feed(&mut after).unwrap(), [], "nothing is told twice");
        server.drain().unwrap();
        let server = start(data.path(), shards, rules);
        let mut client = connect(&server);
        assert_eq!(claim(&mut client, sent[0], 9), WITHHELD);
        let events = client.risk_feed(&mut after).unwrap();
        assert_eq!(events.len(), 1, "numbers go on after a restart: {events:?}");
    }
}

#[test]
fn marks_reach_every_shard_and_survive_restarts_with_any_number_of_shards() {
    let data = tempfile::tempdir().unwrap();
    let mut before = Vec::new();
    for (round, shards) in (1..).zip([2, 3, 3, 1]) {
        let server = start(data.path(), shards, |c| c);
        let mut client = connect(&server);
        if round == 1 {
            let marks: Vec<_> = (1000..1300).map(|user| (UserId(user), Mark::Grade(7))).collect();
            client.risk_load(&marks).unwrap();
            client.risk_mark(UserId(13), Mark::Deny(true)).unwrap();
        }
        let sent = envelopes(&mut client, round, 12);
        for (n, &envelope) in sent.iter().enumerate() {
            let mut doors = doors(&server);
            let door = n % doors.len();
            assert_eq!(claim(&mut doors[door], envelope, 13), WITHHELD, "{shards} shards");
            assert_eq!(claim(&mut doors[door], envelope, 14), given(100));
        }
        for mut door in doors(&server) {
            for user in [1000, 1299] {
                assert_eq!(door.risk_explain(UserId(user)).unwrap().standing.grade, 7);
            }
        }
        for &envelope in &before {
            assert_eq!(claim(&mut client, envelope, 13), WITHHELD, "nothing was given since");
        }
        before = sent;
        server.drain().unwrap();
    }
    let server = start(data.path(), 1, |c| c);
    let mut client = connect(&server);
    client.risk_mark(UserId(13), Mark::Deny(false)).unwrap();
    assert_eq!(claim(&mut client, before[0], 13), given(100));
}

#[test]
fn wins_are_counted_over_all_shards_and_restarts() {
    for shards in 1..=3 {
        let data = tempfile::tempdir().unwrap();
        let rules = |c| Config { risk_hold_wins: 3, risk_deny_wins: 5, risk_window_s: 43_200, ..c };
        let server = start(data.path(), shards, rules);
        let mut doors = doors(&server);
        let count = doors.len();
        let sent = envelopes(&mut doors[0], 1, 12);
        for (n, &envelope) in sent.iter().enumerate().take(8) {
            let told = claim(&mut doors[n % count], envelope, 7);
            assert_eq!(told, if n < 3 { given(100) } else { WITHHELD }, "{shards} shards, {n}");
            let another = 100 + u64::try_from(n).unwrap();
            assert_eq!(claim(&mut doors[n % count], envelope, another), given(100));
        }
        let repeated = claim(&mut doors[0], sent[0], 7);
        assert_eq!(repeated, (Status::AlreadyClaimed, 0, ReplyBody::Amount(100)));
        let held = doors[0].risk_holds(Some(UserId(7))).unwrap();
        assert_eq!(held.len(), 2, "the fourth and the fifth are held, the others denied");
        server.drain().unwrap();
        let server = start(data.path(), shards, rules);
        let mut client = connect(&server);
        let explained = client.risk_explain(UserId(7)).unwrap();
        assert_eq!((explained.wins, explained.window_s), (5, 43_200));
        assert_eq!(claim(&mut client, sent[9], 7), WITHHELD, "the restart has opened nothing");
        assert_eq!(client.risk_holds(Some(UserId(7))).unwrap(), held);
        assert_eq!(claim(&mut client, sent[9], 8), given(100), "and closed nothing for others");
    }
}

#[test]
fn a_server_without_risk_keeps_no_marks_and_takes_no_grades() {
    let data = tempfile::tempdir().unwrap();
    let server = rig::start(data.path());
    let mut client = connect(&server);
    let no_risk = (Status::BadRequest, BadRequest::NoRisk.code());
    assert_eq!(refusal(client.risk_mark(UserId(1), Mark::Deny(true))), no_risk);
    let graded = Terms { grade_min: 1, ..Terms::default() };
    assert_eq!(refusal(client.send_with(&equal(1, 1, 5, 1), &graded)), no_risk);
    assert_eq!(client.risk_explain(UserId(1)).unwrap().verdict, RiskVerdict::Allow);
    assert_eq!(client.risk_holds(None).unwrap(), []);
    let envelope = client.send(&equal(1, 2, 5, 1)).unwrap().envelope;
    let resolved = client.risk_resolve(envelope, UserId(1), Resolution::Release);
    assert_eq!(refusal(resolved), (Status::NotFound, 0));
}

#[test]
fn tables_that_are_full_refuse_clearly_and_nothing_is_given_instead() {
    let data = tempfile::tempdir().unwrap();
    let rules = |c| Config { risk_users_max: 3, risk_holds_max: 2, risk_hold_above_fen: 1, ..c };
    let server = start(data.path(), 1, rules);
    let mut client = connect(&server);
    for user in 0..3 {
        client.risk_mark(UserId(user), Mark::Grade(5)).unwrap();
    }
    assert_eq!(refusal(client.risk_mark(UserId(3), Mark::Grade(5))).0, Status::Unavailable);
    client.risk_mark(UserId(2), Mark::Deny(true)).unwrap();
    let envelope = client.send(&equal(70, 1, 100, 9)).unwrap().envelope;
    assert_eq!(claim(&mut client, envelope, 10), WITHHELD);
    assert_eq!(claim(&mut client, envelope, 11), WITHHELD);
    assert_eq!(claim(&mut client, envelope, 12).0, Status::Unavailable);
    assert_eq!(client.show(envelope).unwrap().claimed, 2, "the share stays");
    client.risk_resolve(envelope, UserId(10), Resolution::Release).unwrap();
    assert_eq!(claim(&mut client, envelope, 12), WITHHELD, "there is room again");
}

#[test]
fn a_prize_is_never_held_and_who_would_be_looked_at_wins_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 1, |c| c);
    let mut client = connect(&server);
    client.risk_mark(UserId(1), Mark::Watch(true)).unwrap();
    client.risk_mark(UserId(2), Mark::Deny(true)).unwrap();
    let order = SendOrder { split: Split::Prizes, total: 100, shares: 2, ..order(70, 1, 100, 2) };
    let campaign = client.send(&order).unwrap().envelope;
    let now = client.show(campaign).unwrap().created_at;
    for part in [
        PlanPart::Terms(PlanTerms { wins_max: 1, opens_at: now, fallback: 5 }),
        PlanPart::Prize(0, Prize { amount: 50, count: 2 }),
        PlanPart::Slot(0, Slot { start: now, length_s: 600, quota: 2 }),
    ] {
        client.campaign_plan(campaign, UserId(70), part).unwrap();
    }
    client.campaign_command(campaign, UserId(70), Command::Start).unwrap();
    // Somebody wins as soon as anything is released, and until then nobody can.
    let mut user = 10;
    rig::until("somebody has won", std::time::Duration::from_secs(60), || {
        user += 1;
        for marked in [1, 2] {
            let told = client.shake(campaign, UserId(marked)).unwrap();
            assert_eq!(told, Shaken::Lost { fallback: 5 });
        }
        matches!(client.shake(campaign, UserId(user)).unwrap(), Shaken::Won { amount: 50, .. })
    });
    assert_eq!(client.risk_holds(None).unwrap(), []);
    assert_eq!(client.show(campaign).unwrap().claimed, 1);
}

#[test]
fn a_prize_is_given_however_large_it_is() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 1, |c| Config { risk_hold_above_fen: 10, ..c });
    let mut client = connect(&server);
    client.risk_mark(UserId(1), Mark::Watch(true)).unwrap();
    let campaign = often::campaign(&mut client, 1, 30, true);
    let mut user = 10;
    rig::until("somebody has won", std::time::Duration::from_secs(60), || {
        user += 1;
        let told = client.shake(campaign, UserId(1)).unwrap();
        assert_eq!(told, Shaken::Lost { fallback: 5 }, "other rules are asked all the same");
        matches!(client.shake(campaign, UserId(user)).unwrap(), Shaken::Won { amount: 50, .. })
    });
    assert_eq!(client.risk_holds(None).unwrap(), []);
}

#[test]
fn a_held_share_counts_as_received_whatever_becomes_of_it() {
    let data = tempfile::tempdir().unwrap();
    let rules = |c| Config {
        receives_per_day_max: 1,
        received_fen_per_day_max: 100,
        receivers_max: 100,
        utc_offset_min: offset_far_from_midnight(),
        risk_hold_below: 101,
        ..c
    };
    let server = start(data.path(), 1, rules);
    let mut client = connect(&server);
    let sent = [1, 2, 3].map(|n| client.send(&equal(70, n, 100, 3)).unwrap().envelope);
    assert_eq!(claim(&mut client, sent[0], 5), WITHHELD);
    assert_eq!(claim(&mut client, sent[1], 5).0, Status::RateLimited);
    client.risk_resolve(sent[0], UserId(5), Resolution::Reject).unwrap();
    assert_eq!(claim(&mut client, sent[1], 5).0, Status::RateLimited);
    server.drain().unwrap();
    let server = start(data.path(), 1, rules);
    let mut client = connect(&server);
    assert_eq!(claim(&mut client, sent[0], 5), WITHHELD);
    assert_eq!(claim(&mut client, sent[1], 5).0, Status::RateLimited, "after a restart too");
    assert_eq!(claim(&mut client, sent[2], 6), WITHHELD, "others have their own day");
}

/// A day that begins between 2 and 22 hours from now: no test sees two.
fn offset_far_from_midnight() -> i32 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    if (7200..79_200).contains(&(since % 86_400)) { 0 } else { 720 }
}
