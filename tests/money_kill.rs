//! SIGKILL at any moment under the whole flow of money: deposit, send from the
//! balance and by payment, claim, credit, cancel, withdraw. Whoever was cut off
//! asks the same again; in the end every balance is what its owner was told, to
//! the fen, and the audit is clean.
//! `MONEY_KILLS=50 cargo test --release --test money_kill` for more.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hongbao::audit::{AuditError, Report, Settings, audit};
use hongbao::client::{Client, ClientError, Funded};
use hongbao::follow::ledger::embedded::Reading;
use hongbao::units::{EnvelopeState, Fen, MoneySource, UserId};
use hongbao::wire::{Payment, SendOrder, Status};
use rig::{Process, address, key_file, order, seal, until};
use serde_json::json;

const ACTORS: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(60);
const DEPOSIT: Fen = 3000;
const SHARES: u32 = 10;

/// What the world says of each user's money: a step is counted once, when all
/// of it was answered.
type Told = BTreeMap<UserId, i128>;

fn give(told: &mut Told, user: UserId, fen: Fen) {
    *told.entry(user).or_default() += i128::from(fen);
}

/// Somebody who does the same steps again after a kill.
struct Actor {
    number: u64,
    /// The step that is next, or was cut off.
    step: u64,
    told: Told,
    claims: u64,
}

/// The line broke, or the server is gone.
struct CutOff;

fn answered<T>(result: Result<T, ClientError>) -> Result<T, CutOff> {
    match result {
        Ok(answer) => Ok(answer),
        Err(ClientError::Refused(refusal)) if refusal.status == Status::Unavailable => Err(CutOff),
        Err(error @ ClientError::Refused(_)) => panic!("{error}"),
        Err(_) => Err(CutOff),
    }
}

impl Actor {
    fn sender(&self) -> UserId {
        UserId(1_000_000 + self.number)
    }

    fn claimer(&self, n: u64) -> UserId {
        UserId(1 + self.number * 100 + n)
    }

    /// A number that no other step of anybody's has.
    fn reference(&self, what: u64) -> u64 {
        1 + (self.number << 40 | self.step << 8 | what)
    }

    /// Steps until the server is gone.
    fn run(&mut self, server: &str, admin: &str, steps_max: u64) {
        let Ok(mut client) = Client::connect(&address(server)) else { return };
        for _ in 0..steps_max {
            let mut told = Told::new();
            match self.one(&mut client, admin, &mut told) {
                Ok(claims) => {
                    self.claims += claims;
                    for (user, fen) in told {
                        *self.told.entry(user).or_default() += fen;
                    }
                    self.step += 1;
                }
                Err(CutOff) => return,
            }
        }
    }

    /// All of it may be done again: it gives the same answers and moves nothing.
    fn one(&self, client: &mut Client, admin: &str, told: &mut Told) -> Result<u64, CutOff> {
        let sender = self.sender();
        transfer(admin, "deposit", sender, DEPOSIT, self.reference(0))?;
        give(told, sender, DEPOSIT);
        let mut claims = 0;
        for source in [MoneySource::Balance, MoneySource::Payment, MoneySource::Vouched] {
            claims += self.envelope(client, source, told)?;
        }
        // One who has claimed takes some of it out.
        let user = self.claimer(self.step % 4);
        if transfer(admin, "withdraw", user, 100, self.reference(9))? {
            *told.entry(user).or_default() -= 100;
        }
        Ok(claims)
    }

    /// An envelope, some of its shares, and the rest back.
    fn envelope(
        &self,
        client: &mut Client,
        source: MoneySource,
        told: &mut Told,
    ) -> Result<u64, CutOff> {
        let number = self.reference(1 + u64::from(source.code()));
        let payment = if source == MoneySource::Vouched { number } else { 0 };
        let sender = self.sender();
        let wanted = SendOrder { source, payment, ..order(sender.0, number, DEPOSIT, SHARES) };
        let envelope = answered(client.send(&wanted))?.envelope;
        match source {
            MoneySource::Balance => {
                let summary = answered(client.await_money(envelope, PATIENCE))?;
                assert!(
                    !matches!(summary.state, EnvelopeState::Reserved | EnvelopeState::Voided),
                    "{summary:?}"
                );
                *told.entry(sender).or_default() -= i128::from(DEPOSIT);
            }
            MoneySource::Payment => {
                let payment = Payment { envelope, payment: number, amount: DEPOSIT };
                let funded = answered(client.fund(&payment, 1, seal(1, &payment)))?;
                assert!(matches!(funded, Funded::Opened { .. }), "{funded:?}");
            }
            MoneySource::Vouched => {}
        }
        for n in 0..4 {
            let user = self.claimer(n);
            give(told, user, answered(client.claim(envelope, user))?.amount);
        }
        give(told, sender, answered(client.cancel(envelope, sender))?.amount);
        Ok(4)
    }
}

/// Money in or out, by reference; false where there is not enough.
fn transfer(
    admin: &str,
    what: &str,
    user: UserId,
    amount_fen: Fen,
    reference: u64,
) -> Result<bool, CutOff> {
    let body = json!({
        "user": user.to_string(), "amount_fen": amount_fen, "reference": reference.to_string(),
    });
    let request = minreq::post(format!("{admin}/ledger/{what}")).with_body(body.to_string());
    let request = request.with_header("Authorization", rig::BEARER);
    let answer = request.with_timeout(60).send().map_err(|_| CutOff)?;
    match answer.status_code {
        200 => Ok(true),
        409 => Ok(false),
        503 => Err(CutOff),
        _ => panic!("{what}: {}", answer.as_str().unwrap_or_default()),
    }
}

fn balance(admin: &str, user: UserId) -> (Fen, Fen) {
    let url = format!("{admin}/ledger/balance?user={user}");
    let answer = minreq::get(url).with_timeout(60).send().unwrap();
    let json: serde_json::Value = serde_json::from_str(answer.as_str().unwrap()).unwrap();
    (json["available_fen"].as_u64().unwrap(), json["held_fen"].as_u64().unwrap())
}

fn caught_up(admin: &str) -> bool {
    let answer = minreq::get(format!("{admin}/ledger")).with_timeout(60).send().unwrap();
    let json: serde_json::Value = serde_json::from_str(answer.as_str().unwrap()).unwrap();
    assert_ne!(json["state"], "poisoned", "{json}");
    json["state"] == "running" && json["lag_bytes"] == 0
}

fn start(data: &Path, keys: &Path, shards: &str) -> (Process, String) {
    let keys = keys.display().to_string();
    let flags = [
        "--shards",
        shards,
        "--ledger",
        "embedded",
        "--admin",
        "127.0.0.1:0",
        "--payment-keys",
        &keys,
        "--envelopes-max",
        "400000",
        "--checkpoint-interval-s",
        "1",
    ];
    let process = Process::start(data, &flags);
    let admin = process.facts.split_whitespace().find(|word| word.starts_with("http://"));
    let admin = admin.expect("an admin port").to_owned();
    (process, admin)
}

fn audited(data: &Path, online: bool) -> Result<Report, AuditError> {
    let mut ledger = Reading::open(data).unwrap().expect("a ledger");
    let settings = Settings { online, draws: true, utc_offset_min: 0 };
    audit(data, Some(&mut ledger), settings, &mut |_| {})
}

#[test]
fn no_fen_is_lost_or_given_twice_however_often_the_server_is_killed() {
    let kills = std::env::var("MONEY_KILLS").map_or(8, |text| text.parse().expect("a number"));
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (data, keys) = (place.path().join("data"), key_file(place.path(), &[1]));
    rig::put_token(&data);
    let actor = |number| Actor { number, step: 0, told: Told::new(), claims: 0 };
    let mut actors: Vec<Actor> = (0..ACTORS).map(actor).collect();
    for round in 0..kills {
        // Another number of shards now and then: the ledger follows that, too.
        let shards = if round % 5 == 4 { "1" } else { "2" };
        let (mut server, admin) = start(&data, &keys, shards);
        std::thread::scope(|scope| {
            for actor in &mut actors {
                let (address, admin) = (server.address.clone(), admin.clone());
                scope.spawn(move || actor.run(&address, &admin, u64::MAX));
            }
            std::thread::sleep(Duration::from_millis(200 + round * 131 % 700));
            if round % 3 == 0 {
                audited(&data, true).expect("clean beside the running server");
            }
            server.kill();
        });
        audited(&data, false).expect("clean after the kill");
    }
    let (server, admin) = start(&data, &keys, "2");
    for actor in &mut actors {
        actor.run(&server.address, &admin, 1); // what the last kill has cut off
    }
    until("the ledger has caught up", PATIENCE, || caught_up(&admin));
    let mut told = Told::new();
    let mut claims = 0;
    for actor in actors {
        claims += actor.claims;
        for (user, fen) in actor.told {
            *told.entry(user).or_default() += fen;
        }
    }
    for (user, fen) in &told {
        let (available, held) = balance(&admin, *user);
        assert_eq!((i128::from(available), held), (*fen, 0), "user {user}");
    }
    let online = audited(&data, true).unwrap();
    assert!(server.terminate().0.success());
    let report = audited(&data, false).unwrap();
    assert_eq!(online.balance, report.balance);
    assert_eq!(report.balance.left, 0);
    println!("{kills} kills, {claims} claims, every balance of {} users exact", told.len());
    assert!(claims > 12 * kills, "the load was cut before it began");
}
