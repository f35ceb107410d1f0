//! The ledger in a running server: money goes in, into envelopes, to whom has
//! claimed, and out again, exactly; over restarts and other numbers of shards.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hongbao::config::{LedgerPlace, MaybeListen};
use hongbao::server::StartError;
use hongbao::units::{EnvelopeId, EnvelopeState, MoneySource, UserId};
use hongbao::wire::SendOrder;
use hongbao::{Config, Server};
use rig::{config, connect, order};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

fn with_ledger(data: &Path) -> Config {
    let admin = MaybeListen::At(([127, 0, 0, 1], 0).into());
    rig::put_token(data);
    Config { ledger: LedgerPlace::Embedded, admin, ..config(data) }
}

fn start(data: &Path, shards: u16) -> Server {
    Server::start(Config { shards: Some(shards), ..with_ledger(data) }).unwrap()
}

fn ask(request: minreq::Request) -> (u16, Value) {
    let answer = request.with_timeout(60).send().unwrap();
    let text = answer.as_str().unwrap();
    (answer.status_code, serde_json::from_str(text).unwrap_or_else(|_| text.trim_end().into()))
}

fn get(server: &Server, path: &str) -> Value {
    let (code, answer) = ask(minreq::get(format!("http://{}{path}", server.admin().unwrap())));
    assert_eq!(code, 200, "{path}: {answer}");
    answer
}

fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let url = format!("http://{}{path}", server.admin().unwrap());
    ask(minreq::post(url).with_header("Authorization", rig::BEARER).with_body(body.to_string()))
}

fn move_money(server: &Server, path: &str, user: u64, fen: u64, reference: u64) -> (u16, Value) {
    let body = json!({ "user": user.to_string(), "amount_fen": fen, "reference": reference });
    post(server, path, &body)
}

fn deposit(server: &Server, user: u64, fen: u64, reference: u64) {
    let (code, answer) = move_money(server, "/ledger/deposit", user, fen, reference);
    assert_eq!(code, 200, "{answer}");
}

fn balance(server: &Server, user: u64) -> (u64, u64) {
    let answer = get(server, &format!("/ledger/balance?user={user}"));
    assert_eq!(answer["user"], user.to_string());
    (answer["available_fen"].as_u64().unwrap(), answer["held_fen"].as_u64().unwrap())
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn caught_up(server: &Server) {
    until("the ledger has everything", || {
        let status = get(server, "/ledger");
        status["state"] == "running" && status["lag_bytes"] == 0
    });
}

fn paid_from_balance(sender: u64, number: u64, total: u64, shares: u32) -> SendOrder {
    let source = MoneySource::Balance;
    SendOrder { source, payment: 0, ..order(sender, number, total, shares) }
}

/// Sends from a balance and waits until it is open.
fn send(server: &Server, order: &SendOrder) -> EnvelopeId {
    let mut client = connect(server);
    let envelope = client.send(order).unwrap().envelope;
    let state = client.await_money(envelope, PATIENCE).unwrap().state;
    assert_eq!(state, EnvelopeState::Open);
    envelope
}

#[test]
fn money_goes_in_to_whom_has_claimed_and_out() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 2);
    deposit(&server, 7, 1000, 1);
    deposit(&server, 7, 1000, 1); // the same again
    assert_eq!(move_money(&server, "/ledger/deposit", 7, 999, 1).0, 409);
    assert_eq!(balance(&server, 7), (1000, 0));
    let envelope = send(&server, &paid_from_balance(7, 1, 600, 3));
    let mut client = connect(&server);
    let won: Vec<_> =
        [11, 12].map(|user| client.claim(envelope, UserId(user)).unwrap().amount).into();
    // What was claimed a moment ago can be taken out.
    assert_eq!(move_money(&server, "/ledger/withdraw", 11, won[0], 2).0, 200);
    let (code, refused) = move_money(&server, "/ledger/withdraw", 12, won[1] + 1, 3);
    assert_eq!(code, 409, "{refused}");
    let back = client.cancel(envelope, UserId(7)).unwrap().amount;
    assert_eq!(back + won[0] + won[1], 600);
    caught_up(&server);
    assert_eq!([7, 11, 12].map(|user| balance(&server, user).0), [400 + back, 0, won[1]]);
    let poor = paid_from_balance(7, 2, 400 + back + 1, 1);
    let refused = client.send(&poor).unwrap().envelope;
    let state = client.await_money(refused, PATIENCE).unwrap().state;
    assert_eq!(state, EnvelopeState::Voided, "the balance does not hold it");
    for (path, body) in [
        ("/ledger/deposit", json!({ "user": 7, "amount_fen": 0, "reference": 9 })),
        ("/ledger/deposit", json!({ "user": -7, "amount_fen": 1, "reference": 9 })),
        ("/ledger/withdraw", json!({ "user": 7 })),
        ("/ledger/skip", json!({ "reason": " " })),
    ] {
        assert_eq!(post(&server, path, &body).0, 400, "{path} {body}");
    }
    let (code, told) = post(&server, "/ledger/skip", &json!({ "reason": "why not" }));
    assert_eq!((code, told.as_str().unwrap().contains("nothing to skip")), (503, true));
}

#[test]
fn every_share_is_credited_once_over_restarts_and_other_numbers_of_shards() {
    let data = tempfile::tempdir().unwrap();
    let mut expected = std::collections::BTreeMap::<u64, u64>::new();
    let mut open = Vec::new();
    for (round, shards) in (0..).zip([1, 2, 3, 3, 1]) {
        let server = start(data.path(), shards);
        let mut client = connect(&server);
        for sender in 100..110 {
            deposit(&server, sender, 5000, sender * 100 + round);
            open.push(send(&server, &paid_from_balance(sender, round, 5000, 50)));
        }
        for envelope in &open {
            for user in (round * 9..round * 9 + 9).chain([7]) {
                if let Ok(claimed) = client.claim(*envelope, UserId(user))
                    && !claimed.repeated
                {
                    *expected.entry(user).or_default() += claimed.amount;
                }
            }
        }
        // Drained at once: the rest is applied at the end or by the next start.
        server.drain().unwrap();
    }
    let server = start(data.path(), 2);
    caught_up(&server);
    for (user, fen) in expected {
        assert_eq!(balance(&server, user), (fen, 0), "user {user}");
    }
    assert!(server.facts().iter().any(|fact| fact.starts_with("ledger      embedded")));
    let cursors = get(&server, "/ledger")["cursors"].as_array().unwrap().clone();
    let newest = cursors.iter().map(|c| c["arrangement"].as_u64().unwrap()).max();
    assert_eq!((cursors.len(), newest), (2, Some(5)));
}

#[test]
fn a_ledger_cannot_be_added_later_nor_belong_to_another_directory() {
    let [one, other, none] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    for data in [&one, &other] {
        let server = start(data.path(), 1);
        deposit(&server, 7, 1000, 1);
        send(&server, &paid_from_balance(7, 1, 600, 3));
        server.drain().unwrap();
    }
    let ledger = |dir: &tempfile::TempDir| dir.path().join("ledger.sqlite3");
    fs::copy(ledger(&one), ledger(&other)).unwrap();
    let refused = Server::start(with_ledger(other.path())).err().unwrap();
    assert!(matches!(refused, StartError::Ledger(_)), "{refused}");
    // Without a ledger first, then for another number of shards.
    Server::start(config(none.path())).unwrap().drain().unwrap();
    Server::start(Config { shards: Some(2), ..config(none.path()) }).unwrap().drain().unwrap();
    let refused = Server::start(Config { shards: Some(2), ..with_ledger(none.path()) });
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("ledger = none"), "{refused}");
}

fn segments(data: &Path) -> Vec<String> {
    let shard = data.join("arrangement-000001/shard-000");
    let names = fs::read_dir(shard).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| Path::new(name).extension().is_some_and(|end| end == "seg"));
    names.sort();
    names
}

#[test]
fn a_ledger_that_is_locked_slows_no_claim_and_holds_its_segments() {
    let data = tempfile::tempdir().unwrap();
    let config = Config {
        segment_kib: 64,
        checkpoint_interval_s: 1,
        shares_max: 20_000,
        share_mean_fen_max: 100,
        ..with_ledger(data.path())
    };
    let server = Server::start(config).unwrap();
    caught_up(&server);
    let locked = rusqlite::Connection::open(data.path().join("ledger.sqlite3")).unwrap();
    locked.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut client = connect(&server);
    let envelope = client.send(&order(7, 1, 40_000, 20_000)).unwrap().envelope;
    let (mut claimed, mut user) = (0, 0);
    let mut claim = |count: u64| {
        for _ in 0..count {
            user += 1;
            claimed += client.claim(envelope, UserId(user)).unwrap().amount;
        }
        claimed
    };
    let taken = |server: &Server| {
        get(server, "/status")["shards"][0]["checkpoint"]["taken"].as_u64().unwrap()
    };
    until("two checkpoints are taken, past the first segments", || {
        claim(100);
        taken(&server) >= 3 && segments(data.path()).len() > 4
    });
    assert_eq!(segments(data.path())[0], "0000000001.seg", "what was not applied is kept");
    assert!(get(&server, "/ledger")["lag_bytes"].as_u64().unwrap() > 0);
    let readyz = ask(minreq::get(format!("http://{}/readyz", server.admin().unwrap())));
    assert_eq!(readyz.0, 200, "readiness is about claims");
    // A checkpoint may go while it is looked at.
    until("the follower is told", || {
        let stat = hongbao::journal::inspect::stat(data.path()).unwrap_or_default();
        stat.first().is_some_and(|shard| shard.followers[0].name == "ledger")
    });
    locked.execute_batch("ROLLBACK").unwrap();
    caught_up(&server);
    until("the segments go", || {
        claim(1);
        segments(data.path())[0] != "0000000001.seg"
    });
    let claimed = claim(1);
    caught_up(&server);
    let users: u64 = (1..=user).map(|user| balance(&server, user).0).sum();
    assert_eq!(users, claimed);
}

#[test]
fn lists_show_what_was_sent_and_received_by_the_page() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 1);
    let mut client = connect(&server);
    let sent: Vec<_> =
        (0..5).map(|n| client.send(&order(7, n, 300, 3)).unwrap().envelope).collect();
    for envelope in &sent {
        client.claim(*envelope, UserId(11)).unwrap();
    }
    client.cancel(sent[0], UserId(7)).unwrap();
    caught_up(&server);
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = get(&server, &format!("/ledger/received?user=11&limit=2{after}"));
        let rows = page["rows"].as_array().unwrap();
        found.extend(rows.iter().map(|row| row["envelope"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let newest_first: Vec<_> = sent.iter().rev().map(ToString::to_string).collect();
    assert_eq!(found, newest_first);
    let listed = get(&server, "/ledger/sent?user=7");
    assert_eq!(listed["rows"].as_array().unwrap().len(), 5);
    assert_eq!(listed["rows"][4]["state"], "cancelled");
    let days = get(&server, "/ledger/days?user=7");
    assert_eq!((&days["rows"][0]["sent"], &days["rows"][0]["sent_fen"]), (&5.into(), &1500.into()));
    let one = get(&server, &format!("/ledger/envelope?id={}", sent[1]));
    assert_eq!((&one["claimed"], &one["rows"][0]["user"]), (&1.into(), &"11".into()));
    let gone = ask(minreq::get(format!("http://{}/ledger/envelope?id=5", server.admin().unwrap())));
    assert_eq!(gone.0, 404);
}
