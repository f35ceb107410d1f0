//! What the tests of a running server share: a small server in this process,
//! one in a process of its own, and orders to send it.
#![allow(dead_code)] // every test file uses its own part of this
#![allow(unreachable_pub)] // and sees it as a module of its own
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

pub mod acknowledged;
pub mod certificates;
pub mod disk;
pub mod principals;

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hongbao::client::{Address, Client};
use hongbao::config::{Cores, LedgerPlace, MaybeListen};
use hongbao::units::{Split, UserId};
use hongbao::wire::{Payment, PaymentKeys, Request, Seal, SendOrder};
use hongbao::{Config, Server};

/// A configuration that starts in a moment: small segments, small tables.
pub fn config(data: &Path) -> Config {
    Config {
        data: data.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        segment_kib: 256,
        table_mib: 64,
        envelopes_max: 20_000,
        connections_max: 64,
        shards: Some(1),
        cores: Cores::Free, // tests run beside each other
        admin: MaybeListen::Nowhere,
        ledger: LedgerPlace::Nowhere, // those that are about it say so
        wait_us_max: 60_000_000,      // a busy machine is not what these tests are about
        ..Config::default()
    }
}

pub fn start(data: &Path) -> Server {
    Server::start(config(data)).expect("the server starts")
}

pub fn connect(server: &Server) -> Client {
    Client::connect(&address(&server.address().to_string())).expect("the server answers")
}

pub fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

pub fn order(sender: u64, order: u64, total: u64, shares: u32) -> SendOrder {
    SendOrder {
        nonce: 0,
        source: hongbao::units::MoneySource::Vouched,
        sender: UserId(sender),
        order,
        payment: order + 1_000_000,
        total,
        shares,
        lifetime_s: 3600,
        share_max: 0,
        split: Split::DoubleMean,
    }
}

/// What a request shows to a server whose token [`put_token`] has made.
pub const BEARER: &str = "Bearer 0123456789abcdef0123456789abcdef";

/// A token of the admin port that is known, in a data directory to be.
pub fn put_token(data: &Path) {
    std::fs::create_dir_all(data).unwrap();
    let path = data.join("admin.token");
    std::fs::write(&path, BEARER.trim_start_matches("Bearer ")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
}

/// The secret of a payment key, made up from its id.
pub fn secret(id: u8) -> [u8; 32] {
    [id; 32]
}

/// A file of these payment keys, as a server wants it.
pub fn key_file(dir: &Path, ids: &[u8]) -> PathBuf {
    let path = dir.join("keys.toml");
    let entry =
        |&id: &u8| format!("[[key]]\nid = {id}\nsecret = \"{}\"\n", hex::encode(secret(id)));
    std::fs::write(&path, ids.iter().map(entry).collect::<String>()).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

/// The seal of such a key, for a server of the cell of [`config`].
pub fn seal(id: u8, payment: &Payment) -> Seal {
    let mut keys = PaymentKeys::default();
    keys.add(id.into(), &secret(id)).unwrap();
    keys.seal(id.into(), Config::default().cell, payment).unwrap()
}

/// The request that confirms a payment, sealed with such a key.
pub fn confirm(id: u8, payment: &Payment) -> Request {
    let Payment { envelope, payment: reference, amount } = *payment;
    let seal = seal(id, payment);
    Request::Fund { envelope, payment: reference, amount, key_id: id.into(), seal }
}

/// The server binary on a data directory, in a process that can be killed.
pub struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub address: String,
    /// What it printed until it was ready.
    pub facts: String,
}

pub fn command(data: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hongbao"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--table-mib", "64"]);
    command.args(["--envelopes-max", "20000", "--connections-max", "64", "--segment-kib", "256"]);
    command.arg("--data").arg(data).args(flags);
    // As variables, so that a test's own flags take precedence.
    command.envs([("HONGBAO_SHARDS", "1"), ("HONGBAO_CORES", "none"), ("HONGBAO_ADMIN", "none")]);
    command.env("HONGBAO_LEDGER", "none");
    command.env("HONGBAO_WAIT_US_MAX", "60000000"); // whatever else the machine does
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Process {
    pub fn start(data: &Path, flags: &[&str]) -> Self {
        let mut child = command(data, flags).spawn().expect("the server binary runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("a piped output"));
        let (mut facts, mut address) = (String::new(), String::new());
        while !facts.ends_with("ready\n") {
            let start = facts.len();
            if stdout.read_line(&mut facts).expect("readable output") == 0 {
                let mut told = String::new();
                child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
                panic!("the server did not start: {told}");
            }
            let tcp = facts[start..].split_whitespace().find(|w| w.starts_with("127.0.0.1:"));
            // The first one is the shared one.
            if let (Some(tcp), true) = (tcp, address.is_empty()) {
                tcp.clone_into(&mut address);
            }
        }
        Self { child, stdout, address, facts }
    }

    pub fn connect(&self) -> Client {
        Client::connect(&address(&self.address)).expect("the server answers")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("a running server");
        self.child.wait().expect("a killed server");
    }

    /// Waits until it has ended by itself; its status and what it said on
    /// standard error.
    pub fn ended(&mut self, within: Duration) -> (ExitStatus, String) {
        let mut status = None;
        until("the server ends", within, || {
            status = self.child.try_wait().expect("a child of ours");
            status.is_some()
        });
        let mut told = String::new();
        let stderr = self.child.stderr.as_mut().expect("a piped error output");
        stderr.read_to_string(&mut told).expect("readable output");
        (status.expect("it ended"), told)
    }

    /// SIGTERM, and wait until it has drained.
    pub fn terminate(mut self) -> (ExitStatus, String) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a live process");
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("readable output");
        (self.child.wait().expect("an ended server"), rest)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until `reached`; a test that waits in vain has failed.
pub fn until(what: &str, within: Duration, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < within, "waited {within:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every file below `directory`, with its length and a checksum: what "nothing
/// changed on disk" compares. The lock file names its last holder and is left out.
pub fn files(directory: &Path) -> Vec<(String, usize, u32)> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.display().to_string();
            if path.is_dir() {
                found.push((name, 0, 0));
                open.push(path);
            } else if entry.file_name() != "LOCK" {
                let bytes = std::fs::read(&path).unwrap();
                found.push((name, bytes.len(), hongbao::checksum::crc32c_seeded(0, &bytes)));
            }
        }
    }
    found.sort();
    found
}
