//! A disk that the journal alone fills: what does not fit is refused, and the
//! server makes room by itself, with no operator, whenever nobody but a restart
//! still needs the old segments.
//!
//! The disks are small ext4 file systems on loop devices, which takes root;
//! what a machine cannot do is skipped with a line.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hongbao::admin::{ShardStatus, Status as AdminStatus};
use hongbao::client::{Client, ClientError, Refusal};
use hongbao::units::UserId;
use hongbao::wire::{ReplyBody, Request, Status};

use rig::acknowledged::{Acknowledged, verify};
use rig::disk::Disk;
use rig::{Process, address, order, until};

const DISK_MIB: u64 = 80;
const SEGMENT_KIB: u64 = 256;

/// Three checkpoints of full tables leave the journal some 28 MiB of the disk.
/// None is due for its time.
const FLAGS: &[&str] = &[
    "--table-mib",
    "16",
    "--envelopes-max",
    "100000",
    "--checkpoint-interval-s",
    "86400",
    "--checkpoint-mib-s",
    "1000",
    "--admin",
    "127.0.0.1:0",
];

const SHARES: u32 = 10;
const CLIENTS: u64 = 4;
const SOON: Duration = Duration::from_secs(120);

/// Clients that send and claim until they are told to stop, or the server is
/// gone; what is refused is let be.
struct Crowd {
    stop: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<Acknowledged>>,
}

impl Crowd {
    fn at(server: &Process, round: u64) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let client = |number| {
            let (address, stop) = (server.address.clone(), Arc::clone(&stop));
            std::thread::spawn(move || go_on(&address, round * CLIENTS + number, &stop))
        };
        Self { clients: (0..CLIENTS).map(client).collect(), stop }
    }

    fn told(self) -> Acknowledged {
        self.stop.store(true, Ordering::Release);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

fn go_on(server: &str, sender: u64, stop: &AtomicBool) -> Acknowledged {
    let mut client = Client::connect(&address(server)).unwrap();
    let mut told = Acknowledged::new();
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        match client.send(&order(1000 + sender, number, 1000, SHARES)) {
            Ok(sent) => {
                if !claim_all(&mut client, sent.envelope, &mut told) {
                    break;
                }
            }
            Err(ClientError::Refused(Refusal { status: Status::Unavailable, detail })) => {
                assert!(detail > 0, "a refusal says when to try again");
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(ClientError::Refused(refusal)) => panic!("{refusal:?}"),
            Err(_) => break, // the server was killed
        }
    }
    told
}

/// False when the server is gone.
fn claim_all(
    client: &mut Client,
    envelope: hongbao::units::EnvelopeId,
    told: &mut Acknowledged,
) -> bool {
    let users = 1..=u64::from(SHARES);
    let asked: std::collections::HashMap<_, _> = users
        .map(|user| (client.submit(&Request::Claim { envelope, user: UserId(user) }), UserId(user)))
        .collect();
    if client.flush().is_err() {
        return false;
    }
    while client.waiting() > 0 {
        let Ok(reply) = client.receive() else { return false };
        match (reply.status, reply.body) {
            (Status::Ok, ReplyBody::Amount(amount)) => {
                told.insert((envelope, asked[&reply.tag]), amount);
            }
            (Status::Unavailable, _) => {}
            (status, _) => panic!("a claim was answered with {status:?}"),
        }
    }
    true
}

fn shard(server: &Process) -> ShardStatus {
    let line = server.facts.lines().find(|line| line.starts_with("admin")).unwrap();
    let url = format!("{}/status", line.split_whitespace().nth(1).unwrap());
    let answer = minreq::get(url).with_timeout(5).send().unwrap();
    let status: AdminStatus = serde_json::from_str(answer.as_str().unwrap()).unwrap();
    status.shards.into_iter().next().unwrap()
}

fn unavailable(server: &Process) -> u64 {
    let shard = shard(server);
    shard.answers.values().filter_map(|by_status| by_status.get("unavailable")).sum()
}

/// Segments filled since the start.
fn filled(server: &Process) -> u64 {
    shard(server).journal.segments_filled
}

/// Segments that the whole disk would hold.
fn whole_disk() -> u64 {
    DISK_MIB * 1024 / SEGMENT_KIB
}

fn count(data: &Path, kind: &str) -> usize {
    let shard = data.join("arrangement-000001").join("shard-000");
    let entries = std::fs::read_dir(shard).unwrap().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|found| found == kind)).count()
}

#[test]
fn a_server_that_fills_the_disk_with_its_journal_frees_itself_and_goes_on() {
    let Some(disk) = Disk::made(DISK_MIB, &[]) else { return };
    let data = disk.path().join("data");
    let mut server = Process::start(&data, FLAGS);
    let mut all = Acknowledged::new();
    // Killed where nothing fits any more: the next start finds no room either.
    for round in 0..4 {
        let crowd = Crowd::at(&server, round);
        until("records are refused", SOON, || unavailable(&server) > 0);
        server.kill();
        all.extend(crowd.told());
        server = Process::start(&data, FLAGS);
    }
    verify(&server, &all);
    let crowd = Crowd::at(&server, 4);
    until("more was written than the whole disk holds", SOON, || filled(&server) > whole_disk());
    let shard = shard(&server);
    assert_eq!(shard.checkpoint.failed, 0, "every checkpoint had room");
    assert!(shard.checkpoint.taken > 2 && unavailable(&server) > 0, "it was full meanwhile");
    let told = crowd.told();
    assert_eq!(count(&data, "ckp"), 2);
    server.kill();
    let server = Process::start(&data, FLAGS);
    verify(&server, &told);
    println!(
        "{} claims acknowledged, none lost; {} segments filled, {} checkpoints for room",
        all.len() + told.len(),
        shard.journal.segments_filled,
        shard.checkpoint.taken
    );
}

#[test]
fn what_a_ledger_has_not_applied_stays_and_goes_when_it_has_caught_up() {
    let Some(disk) = Disk::made(DISK_MIB, &[]) else { return };
    let data = disk.path().join("data");
    let flags = &[FLAGS, &["--ledger", "embedded"]].concat();
    let mut server = Process::start(&data, flags);
    let ledger = rusqlite::Connection::open(data.join("ledger.sqlite3")).unwrap();
    ledger.busy_timeout(SOON).unwrap();
    ledger.execute_batch("BEGIN IMMEDIATE").unwrap(); // nobody else writes to it now
    let crowd = Crowd::at(&server, 0);
    let mut before = 0;
    until("nothing is freed and nothing taken any more", SOON, || {
        let was = std::mem::replace(&mut before, filled(&server));
        std::thread::sleep(Duration::from_millis(100)); // the load goes on meanwhile
        shard(&server).checkpoint.taken > 1 && was == before && unavailable(&server) > 1000
    });
    let kept = count(&data, "seg");
    assert!(kept > 20, "they are held for the ledger: {kept}");
    ledger.execute_batch("ROLLBACK").unwrap();
    until("they go and the journal grows again", SOON, || {
        filled(&server) > before + 20 && count(&data, "seg") < kept
    });
    let told = crowd.told();
    server.kill();
    verify(&Process::start(&data, flags), &told);
    println!("{} claims acknowledged, none lost; {kept} segments were held", told.len());
}
