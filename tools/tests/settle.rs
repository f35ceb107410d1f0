//! `hb settle follow` against a server, and both of them killed at random: the
//! books hold every movement of the journals once, and balance.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hongbao::client::Client;
use hongbao::follow::movement::{Account, Movement};
use hongbao::journal::inspect;
use hongbao::units::{MoneySource, Split, UserId};
use hongbao::wire::SendOrder;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use serde_json::Value;

const HB: &str = env!("CARGO_BIN_EXE_hb");
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with a server's data and a receiver's books.
struct Place {
    dir: tempfile::TempDir,
    settlement: String,
}

/// A child that is killed at the end.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) {
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Place {
    fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { dir: tempfile::tempdir().unwrap(), settlement: free.to_string() }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn books(&self) -> PathBuf {
        self.dir.path().join("bank.books")
    }

    /// A server, and its address.
    fn serve(&self) -> (Killed, String) {
        let port_file = self.dir.path().join("address");
        let _ = fs::remove_file(&port_file);
        let mut command = Command::new(HB);
        command.args(["serve-for-demo", "--listen", "127.0.0.1:0", "--shards", "2"]);
        command.args(["--settlement", &self.settlement, "--data"]).arg(self.data());
        command.arg("--port-file").arg(&port_file);
        let server = Killed(command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let (began, mut address) = (Instant::now(), String::new());
        while address.is_empty() {
            assert!(began.elapsed() < PATIENCE, "no server");
            std::thread::sleep(Duration::from_millis(5));
            address = fs::read_to_string(&port_file).unwrap_or_default();
        }
        (server, address)
    }

    fn follow(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(HB);
        command.args(["--json", "settle", "follow", "--name", "bank", "--from", &self.settlement]);
        command.arg("--into").arg(self.dir.path()).args(flags);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }
}

/// Sends some envelopes and has them claimed.
fn play(address: &str, choice: &mut ChaCha12Rng, order: &mut u64) {
    let mut client = Client::connect(&address.parse().unwrap()).unwrap();
    for _ in 0..choice.random_range(10..40) {
        *order += 1;
        let sent = client.send(&SendOrder {
            sender: UserId(choice.random_range(1..100)),
            order: *order,
            payment: *order,
            total: choice.random_range(10..10_000),
            shares: 10,
            lifetime_s: 3600,
            share_max: 0,
            split: Split::DoubleMean,
            source: MoneySource::Vouched,
            nonce: 0,
        });
        let envelope = sent.unwrap().envelope;
        for user in 1..=10 {
            client.claim(envelope, UserId(user)).unwrap();
        }
    }
}

type Name = (u16, u64, u32);

/// Every movement of the journals, and the accounts they lead to.
fn naive(data: &Path) -> (BTreeSet<(Name, u64)>, BTreeMap<String, i64>) {
    let (mut moved, mut accounts) = (BTreeSet::new(), BTreeMap::new());
    let (mut shard, mut last, mut index) = (0, None, 0);
    inspect::each_record(data, |_, batch, record| {
        // Shards come one after the other; batch numbers begin anew in each.
        shard += u16::from(last.is_some_and(|last| batch.batch < last));
        index = if last == Some(batch.batch) { index + 1 } else { 0 };
        last = Some(batch.batch);
        let Some(movement) = Movement::of(record) else { return };
        moved.insert(((shard, batch.position.0, index), movement.amount));
        let fen = i64::try_from(movement.amount).unwrap();
        *accounts.entry(name(movement.from)).or_default() -= fen;
        *accounts.entry(name(movement.to)).or_default() += fen;
    })
    .unwrap();
    (moved, accounts)
}

fn name(account: Account) -> String {
    match account {
        Account::Outside => "outside".into(),
        Account::User(user) => format!("user {user}"),
        Account::Held => "held".into(),
        Account::Escrow => "escrow".into(),
    }
}

fn booked(books: &Path) -> (BTreeSet<(Name, u64)>, BTreeMap<String, i64>) {
    let file = rusqlite::Connection::open(books).unwrap();
    let mut rows = file.prepare("SELECT shard, batch, place, fen FROM movement").unwrap();
    let moved = rows
        .query_map([], |row| {
            let number = |column| row.get(column).map(|n: i64| u64::try_from(n).unwrap());
            Ok(((row.get(0)?, number(1)?, row.get(2)?), number(3)?))
        })
        .unwrap();
    let moved = moved.collect::<Result<_, _>>().unwrap();
    let mut rows = file.prepare("SELECT name, fen FROM account").unwrap();
    let accounts = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    (moved, accounts.collect::<Result<_, _>>().unwrap())
}

#[test]
fn books_are_exact_though_both_sides_are_killed() {
    let seed = 20_260_217;
    println!("seed {seed}");
    let mut choice = ChaCha12Rng::seed_from_u64(seed);
    let place = Place::new();
    let (mut server, mut address) = place.serve();
    let mut receiver = Killed(place.follow(&[]).spawn().unwrap());
    let mut order = 0;
    for _ in 0..12 {
        play(&address, &mut choice, &mut order);
        // While the other is in the middle of something.
        if choice.random() {
            receiver.kill();
            receiver = Killed(place.follow(&[]).spawn().unwrap());
        } else {
            server.kill();
            (server, address) = place.serve();
        }
    }
    receiver.kill();
    let output = place.follow(&["--once"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    server.kill();
    let ((moved, accounts), (journalled, sums)) = (booked(&place.books()), naive(&place.data()));
    assert!(moved.len() > 1000, "{} movements", moved.len());
    assert!(moved == journalled, "{} booked, {} journalled", moved.len(), journalled.len());
    assert_eq!(accounts, sums);
    assert_eq!(told["movements"].as_u64().unwrap(), u64::try_from(moved.len()).unwrap());
    assert_eq!(told["sum_fen"], 0);
}
