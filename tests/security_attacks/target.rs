//! A live server under attack: what its other clients notice, how much memory it
//! takes, what it counts.
//!
//! The attackers run at the lowest priority: they stand for other machines, which
//! take the server's time but not its processor.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hongbao::client::Client;
use hongbao::tls::Connector;
use hongbao::units::UserId;

use crate::rig::certificates::{Authority, HOST};
use crate::rig::principals::{client_of, identity, one_of_each};
use crate::rig::{Process, order, until};

/// How long anything may take before a test has failed.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

/// Quiet rounds and rounds under attack, in turn; of each the second best counts:
/// what else the machine does makes some rounds worse, an attack all of them.
const ROUNDS: usize = 7;
const ROUND: usize = 1;

/// Claims of a round, ten envelopes of a hundred shares.
const ENVELOPES: u64 = 10;
const SHARES: u32 = 100;

/// Looks at most: who is noticed is noticed in each.
const LOOKS: usize = 8;

/// What a quiet round counts for at least: with attackers on the server's own
/// cores less is a slice of the scheduler's, not the server's doing.
const QUIET_LEAST: Duration = Duration::from_millis(2);

/// Slots for connections.
const CONNECTIONS: u32 = 64;

/// What a connection may take at most: three buffers of replies, one frame, and
/// what the kernel's accounting adds, in KiB; and the rest of the server.
const CONNECTION_KIB: u64 = 3 * 64 + 8;
const SPARE_KIB: u64 = 16 << 10;

/// A server that wants keys, in a process of its own.
pub(crate) struct Target {
    server: Process,
    pub(crate) address: SocketAddr,
    admin: String,
    client: Client,
    orders: AtomicU64,
    _data: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// Attacks beside each other would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

fn nice() {
    let thread = Some(rustix::thread::gettid());
    let _ = rustix::process::setpriority_process(thread, 19);
}

impl Target {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), flags)
    }

    /// One that serves over TLS as well: where, and who believes it.
    pub(crate) fn secured(flags: &[&str]) -> (Self, SocketAddr, Connector) {
        let data = tempfile::tempdir().unwrap();
        let authority = Authority::new(data.path(), "authority");
        let pair = authority.issue("server", &[HOST]).flags();
        let flags: Vec<_> = flags.iter().copied().chain(pair.iter().map(String::as_str)).collect();
        let target = Self::start_in(data, &flags);
        let mut facts = target.server.facts.lines();
        let tls = facts.find(|fact| fact.contains("(tls,")).expect("a port for TLS");
        let tls = tls.split_whitespace().nth(1).unwrap().parse().unwrap();
        (target, tls, authority.connector(None))
    }

    fn start_in(data: tempfile::TempDir, flags: &[&str]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = one_of_each(data.path());
        let connections = CONNECTIONS.to_string();
        let mut all = vec!["--keys", keys.to_str().unwrap(), "--durability", "os"];
        all.extend(["--connections-max", &connections, "--admin", "127.0.0.1:0"]);
        all.extend(["--strangers-max", "32", "--strangers-per-address-max", "32"]);
        all.extend(flags);
        let server = Process::start(&data.path().join("data"), &all);
        let address = server.address.parse().unwrap();
        let admin = server.facts.split_whitespace().find(|word| word.starts_with("http://"));
        let admin = admin.expect("an admin port").to_owned();
        let client = client_of(address, identity("all", 1)).unwrap();
        Self {
            server,
            address,
            admin,
            client,
            orders: AtomicU64::new(0),
            _data: data,
            _alone: alone,
        }
    }

    /// The slowest of a hundred claims in a hundred, in a round of a thousand.
    fn p99(&mut self) -> Duration {
        let mut took = Vec::new();
        for _ in 0..ENVELOPES {
            let number = self.orders.fetch_add(1, Ordering::Relaxed);
            let order = order(number, number, 100 * u64::from(SHARES), SHARES);
            let envelope = self.client.send(&order).unwrap().envelope;
            for user in 0..SHARES {
                let began = Instant::now();
                assert!(self.client.claim(envelope, UserId(user.into())).unwrap().amount >= 1);
                took.push(began.elapsed());
            }
        }
        took.sort();
        took[took.len() * 99 / 100]
    }

    /// Runs `attack` on some threads, again and again until it is told to stop,
    /// beside a client that claims: its p99 must not be more than doubled, and the
    /// server's memory must stay in its bounds.
    pub(crate) fn unharmed_by(
        &mut self,
        name: &str,
        threads: usize,
        attack: impl Fn(SocketAddr, &AtomicBool, &AtomicU64) + Sync,
    ) {
        self.p99(); // warms up
        let before_kib = self.memory_kib();
        let is_noticed = |_: &usize| {
            let (quiet, loud, most_kib, times) = self.beside(threads, &attack);
            let more_kib = most_kib.saturating_sub(before_kib);
            println!(
                "{name}: p99 {quiet:?} quiet, {loud:?} under attack ({times} times), +{more_kib} KiB"
            );
            let allowed = u64::from(CONNECTIONS) * CONNECTION_KIB + SPARE_KIB;
            assert!(more_kib <= allowed, "{name}: {more_kib} KiB more, of {allowed} allowed");
            loud > 2 * quiet.max(QUIET_LEAST)
        };
        assert!((0..LOOKS).take_while(is_noticed).count() < LOOKS, "{name}: others notice it");
        self.still_serves();
    }

    /// The client's second best rounds, quiet and under attack; the most memory
    /// that the server took, in KiB; and how often was attacked.
    fn beside(
        &mut self,
        threads: usize,
        attack: &(impl Fn(SocketAddr, &AtomicBool, &AtomicU64) + Sync),
    ) -> (Duration, Duration, u64, u64) {
        let (mut quiet, mut loud, mut most_kib) = (Vec::new(), Vec::new(), 0);
        let (address, done) = (self.address, AtomicU64::new(0));
        for _ in 0..ROUNDS {
            quiet.push(self.p99());
            let (stop, began) = (AtomicBool::new(false), done.load(Ordering::Relaxed));
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        nice();
                        while !stop.load(Ordering::Relaxed) {
                            attack(address, &stop, &done);
                        }
                    });
                }
                let under_way = || done.load(Ordering::Relaxed) > began;
                until("the attack is under way", WITHIN, under_way);
                loud.push(self.p99());
                most_kib = most_kib.max(self.memory_kib());
                stop.store(true, Ordering::Relaxed);
            });
        }
        quiet.sort();
        loud.sort();
        (quiet[ROUND], loud[ROUND], most_kib, done.into_inner())
    }

    /// Somebody who comes now is served.
    pub(crate) fn still_serves(&mut self) {
        let mut other = None;
        until("a new client is let in", WITHIN, || {
            other = client_of(self.address, identity("all", 2)).ok();
            other.is_some()
        });
        self.p99();
    }

    /// What the server has taken of the machine's memory.
    pub(crate) fn memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.server.id());
        let status = std::fs::read_to_string(Path::new(&path)).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// A counter of connections, from the status page.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let text = minreq::get(format!("{}/status", self.admin)).send().unwrap();
        let status: serde_json::Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        let shards = status["shards"].as_array().unwrap();
        shards.iter().map(|shard| shard["connections"][name].as_u64().unwrap()).sum()
    }

    /// Waits until that counter has come to `least`.
    pub(crate) fn counts(&self, name: &str, least: u64) {
        until(&format!("{name} is {least}"), WITHIN, || self.counted(name) >= least);
    }
}

/// A connection of an attacker; refused ones are part of the attack.
pub(crate) fn attacker(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    Some(stream)
}

/// Writes as far as the other side takes it.
pub(crate) fn push(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}
