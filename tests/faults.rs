//! A disk that fills up, turns read-only or fails under the running server:
//! nothing acknowledged is lost, nothing refused is done, and what can be
//! healed heals without a restart.
//!
//! The disks are small ext4 file systems on loop devices, which takes root;
//! what a machine cannot do is skipped with a line.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hongbao::admin::{ShardStatus, Status as AdminStatus};
use hongbao::client::{Client, ClientError, Look, Refusal};
use hongbao::shard::Cover;
use hongbao::units::{EnvelopeId, EnvelopeState, MoneySource, UserId};
use hongbao::wire::{ReplyBody, Request, SendOrder, Status};
use hongbao::{Config, Server};

use rig::acknowledged::{Acknowledged, Crowd, verify};
use rig::disk::{Disk, Filler};
use rig::{Process, address, command, config, connect, order, until};

const LIFETIME_S: u32 = 3600;
const EXIT_FATAL: i32 = 74;
const SOON: Duration = Duration::from_secs(40);

/// Two shards, segments that are soon full, a checkpoint a second.
const TWO: &[&str] = &[
    "--shards",
    "2",
    "--segment-kib",
    "128",
    "--checkpoint-interval-s",
    "1",
    "--admin",
    "127.0.0.1:0",
];

/// Shares of an envelope, and how many of them are claimed at once: the others
/// are for when no envelope can be sent any more.
const SHARES: u32 = 60;
const AT_ONCE: u64 = 10;

/// Between two envelopes of a client: the journal grows less in a second than
/// would fill the disk before two checkpoints free it again.
const PACE: Duration = Duration::from_millis(10);

/// What clients were told.
#[derive(Default)]
struct Told {
    claimed: Acknowledged,
    /// Claims that were answered with `Unavailable`.
    refused: BTreeSet<(EnvelopeId, UserId)>,
    /// Orders that were.
    orders: Vec<SendOrder>,
}

/// Clients that go on when they are refused, until they are told to stop.
struct Undaunted {
    stop: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<Told>>,
}

impl Undaunted {
    fn at(server: &Process, round: u64) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let client = |number| {
            let (address, stop) = (server.address.clone(), Arc::clone(&stop));
            std::thread::spawn(move || go_on(&address, round * 4 + number, &stop))
        };
        Self { clients: (0..4).map(client).collect(), stop }
    }

    fn told(self) -> Told {
        self.stop.store(true, Ordering::Release);
        let mut all = Told::default();
        for client in self.clients {
            let told = client.join().unwrap();
            all.claimed.extend(told.claimed);
            all.refused.extend(told.refused);
            all.orders.extend(told.orders);
        }
        all
    }
}

fn go_on(server: &str, sender: u64, stop: &AtomicBool) -> Told {
    let mut client = Client::connect(&address(server)).unwrap();
    let mut told = Told::default();
    let mut sent = Vec::new();
    let mut users = 0..;
    for n in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        // Of each sender, so that every shard has some of them.
        let wanted = order(1000 + sender + n * 1_000_003, n, 6000, SHARES);
        match client.send(&wanted) {
            Ok(envelope) => {
                sent.push(envelope.envelope);
                let first: Vec<_> =
                    users.by_ref().take(usize::try_from(AT_ONCE).unwrap()).collect();
                claim(&mut client, envelope.envelope, &first, &mut told);
            }
            Err(error) if is_unavailable(&error) => {
                told.orders.push(wanted);
                for &envelope in sent.iter().rev().take(6) {
                    claim(&mut client, envelope, &[users.next().unwrap()], &mut told);
                }
            }
            Err(error) => panic!("{error}"),
        }
        std::thread::sleep(PACE);
    }
    told
}

/// Claims over the first connection, so that some go from shard to shard.
fn claim(client: &mut Client, envelope: EnvelopeId, users: &[u64], told: &mut Told) {
    let submit = |&user| (client.submit(&Request::Claim { envelope, user: UserId(user) }), user);
    let asked: std::collections::HashMap<_, _> = users.iter().map(submit).collect();
    client.flush().unwrap();
    while client.waiting() > 0 {
        let reply = client.receive().unwrap();
        let user = UserId(asked[&reply.tag]);
        match (reply.status, reply.body) {
            (Status::Ok, ReplyBody::Amount(amount)) => {
                told.claimed.insert((envelope, user), amount);
            }
            (Status::Unavailable, _) => {
                assert!(reply.detail > 0, "a refusal says when to try again");
                told.refused.insert((envelope, user));
            }
            (Status::SoldOut, _) => {}
            (status, _) => panic!("a claim was answered with {status:?}"),
        }
    }
}

fn is_unavailable(error: &ClientError) -> bool {
    let ClientError::Refused(Refusal { status: Status::Unavailable, detail }) = error else {
        return false;
    };
    assert!(*detail > 0, "a refusal says when to try again");
    true
}

fn shards(server: &Process) -> Vec<ShardStatus> {
    let line = server.facts.lines().find(|line| line.starts_with("admin")).unwrap();
    let url = format!("{}/status", line.split_whitespace().nth(1).unwrap());
    let answer = minreq::get(url).with_timeout(5).send().unwrap();
    let status: AdminStatus = serde_json::from_str(answer.as_str().unwrap()).unwrap();
    status.shards
}

fn unavailable(shard: &ShardStatus) -> u64 {
    shard.answers.values().filter_map(|by_status| by_status.get("unavailable")).sum()
}

/// Unfinished files of the shards, as they are at this moment.
fn unfinished(data: &Path) -> usize {
    let listed = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let shards = listed(&data.join("arrangement-000001"));
    let names = shards.flat_map(|shard| listed(&shard.path())).map(|entry| entry.path());
    names.filter(|path| path.extension().is_some_and(|kind| kind == "tmp")).count()
}

/// Claims that were acknowledged are told again; refused ones and refused
/// orders have left nothing.
fn said_again(server: &Process, told: &Told) {
    let mut client = server.connect();
    for (&(envelope, user), &amount) in told.claimed.iter().take(500) {
        let again = client.claim(envelope, user).unwrap();
        assert!(again.repeated && again.amount == amount, "envelope {envelope}, user {user}");
    }
    for &(envelope, user) in told.refused.iter().take(100) {
        let look = client.grab(envelope, user);
        let sold_out = Status::SoldOut;
        match look {
            Ok(Look::Left { .. }) => {}
            Err(ClientError::Refused(Refusal { status, .. })) if status == sold_out => {}
            other => panic!("a refused claim was done: {other:?}"),
        }
    }
}

#[test]
fn a_full_disk_refuses_new_records_loses_nothing_and_recovers_when_space_is_made() {
    let Some(disk) = Disk::made(256, &[]) else { return };
    let data = disk.path().join("data");
    let mut server = Process::start(&data, TWO);
    let crowd = Undaunted::at(&server, 0);
    let filler = Filler::on(&disk);
    until("both shards have no room for a segment and none for a checkpoint", SOON, || {
        shards(&server).iter().all(|shard| unavailable(shard) > 50 && shard.checkpoint.failed > 1)
    });
    let full = crowd.told();
    let segments: Vec<_> = shards(&server).iter().map(|s| s.journal.segments_filled).collect();
    assert!(segments.iter().all(|filled| *filled > 0), "they were not full at a switch");
    assert!(!full.claimed.is_empty() && !full.refused.is_empty() && !full.orders.is_empty());
    said_again(&server, &full);
    verify(&server, &full.claimed);
    let absent = || unfinished(&data) == 0;
    until("what could not be finished is gone", SOON, absent);

    drop(filler);
    let mut client = server.connect();
    for wanted in &full.orders {
        let mut sent = None;
        until("orders are taken again", SOON, || {
            sent = client.send(wanted).map_err(|error| assert!(is_unavailable(&error))).ok();
            sent.is_some()
        });
        assert!(!sent.unwrap().repeated, "a refused order was done");
    }
    let taken: Vec<_> = shards(&server).iter().map(|shard| shard.checkpoint.taken).collect();
    let later = Undaunted::at(&server, 1);
    until("checkpoints are taken and segments filled again", SOON, || {
        let now = shards(&server);
        let taken = now.iter().zip(&taken).all(|(now, before)| now.checkpoint.taken > before + 1);
        taken && now.iter().zip(&segments).all(|(now, was)| now.journal.segments_filled > was + 3)
    });
    let later = later.told();
    server.kill();
    let server = Process::start(&data, TWO);
    verify(&server, &full.claimed);
    verify(&server, &later.claimed);
    said_again(&server, &full);
    println!(
        "{} and {} claims acknowledged, {} claims and {} orders refused, none lost or done",
        full.claimed.len(),
        later.claimed.len(),
        full.refused.len(),
        full.orders.len()
    );
}

#[test]
fn a_verdict_that_finds_the_disk_full_is_made_true_when_there_is_space() {
    let Some(disk) = Disk::made(64, &[]) else { return };
    let ledger = hongbao::config::LedgerPlace::Program;
    let small = config(&disk.path().join("data"));
    let small = Config { segment_kib: 128, table_mib: 8, ledger, ..small };
    let server = Server::start(small).unwrap();
    let mut client = connect(&server);
    let mut send = |number, source| {
        let order = SendOrder { source, payment: 0, ..order(7, number, 6000, SHARES) };
        client.send(&order).map(|sent| sent.envelope)
    };
    let reserved: Vec<_> = (0..200).map(|n| send(n, MoneySource::Balance).unwrap()).collect();
    let filler = Filler::on(&disk);
    let mut numbers = 1000..;
    until("orders are refused", SOON, || {
        send(numbers.next().unwrap(), MoneySource::Vouched)
            .is_err_and(|error| is_unavailable(&error))
    });
    for &envelope in &reserved {
        server.covers()[0].push(Cover { envelope, covered: true }).unwrap();
    }
    server.covers()[0].ring();
    let waiting = |client: &mut Client| {
        let states = reserved.iter().map(|&envelope| client.show(envelope).unwrap().state);
        states.filter(|&state| state == EnvelopeState::Reserved).count()
    };
    let waiting_then = waiting(&mut client);
    drop(filler);
    until("all of them are open", SOON, || waiting(&mut client) == 0);
    println!("{waiting_then} of 200 verdicts waited for space");
    assert!(waiting_then > 0, "the disk was not full");
}

#[test]
fn a_shard_without_space_refuses_and_the_other_goes_on() {
    let Some(disk) = Disk::made(256, &[]) else { return };
    let Some(mut little) = Disk::made(128, &["-O", "^has_journal"]) else { return };
    let data = disk.path().join("data");
    // Each shard leaves room for the checkpoints of both.
    let flags = &[TWO, &["--table-mib", "32"]].concat();
    assert!(Process::start(&data, flags).terminate().0.success());
    // The second shard gets a disk of its own.
    let shard = data.join("arrangement-000001").join("shard-001");
    for entry in std::fs::read_dir(&shard).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), little.path().join(entry.file_name())).unwrap();
        std::fs::remove_file(entry.path()).unwrap();
    }
    little.move_to(shard);
    let mut server = Process::start(&data, flags);
    let crowd = Undaunted::at(&server, 0);
    let filler = Filler::on(&little);
    until("the second shard has no room", SOON, || unavailable(&shards(&server)[1]) > 50);
    let before = shards(&server);
    until("the first fills segments and takes checkpoints meanwhile", SOON, || {
        let now = shards(&server);
        let writes = now[0].journal.segments_filled > before[0].journal.segments_filled + 3;
        let taken = now[0].checkpoint.taken > before[0].checkpoint.taken;
        writes && taken && unavailable(&now[1]) > unavailable(&before[1]) + 50
    });
    assert_eq!(unavailable(&shards(&server)[0]), 0, "the first shard had room");
    drop(filler);
    let stuck_at = shards(&server)[1].journal.segments_filled;
    until("the second goes on when it has room again", SOON, || {
        shards(&server)[1].journal.segments_filled > stuck_at + 2
    });
    let told = crowd.told();
    said_again(&server, &told);
    server.kill();
    let server = Process::start(&data, flags);
    verify(&server, &told.claimed);
    said_again(&server, &told);
    println!("{} acknowledged, {} refused", told.claimed.len(), told.refused.len());
}

fn until_busy(server: &Process) {
    until("the crowd is at work", SOON, || {
        shards(server).iter().all(|shard| shard.journal.commits > 20)
    });
}

/// Both shards have their next segment: nobody writes any more who is not asked.
fn until_ahead(data: &Path) {
    let ahead = |shard| data.join(format!("arrangement-000001/shard-{shard:03}/0000000002.seg"));
    until("nothing is made ready", SOON, || (0..2).all(|shard| ahead(shard).exists()));
}

/// Whether a line names the segment, and where in it unless it is not made yet.
fn names_the_place(told: &str) -> bool {
    let line = told.lines().find(|line| line.contains("shard-") && line.contains(".seg"));
    line.is_some_and(|line| line.contains("offset ") || line.contains("cannot be made ready"))
}

#[test]
fn a_disk_that_turns_read_only_ends_the_process_with_74_and_loses_nothing() {
    let Some(disk) = Disk::made(256, &[]) else { return };
    let data = disk.path().join("data");
    let mut server = Process::start(&data, TWO);
    let mut all = Acknowledged::new();
    for round in 0..3 {
        let crowd = Crowd::at(&server, round, LIFETIME_S);
        until_busy(&server);
        if !disk.turn_read_only() {
            println!("skipped: this kernel cannot be asked for an ext4 error");
            return;
        }
        let (status, said) = server.ended(SOON);
        let told = crowd.told();
        assert_eq!(status.code(), Some(EXIT_FATAL), "{status}: {said}");
        assert!(names_the_place(&said), "{status}: {said}");
        // Nothing can be synced there, so nobody can be answered.
        let refused = command(&data, TWO).output().unwrap();
        let line = String::from_utf8(refused.stderr).unwrap();
        assert!(
            refused.status.code() == Some(1) && line.lines().count() == 1,
            "{}: {line}",
            refused.status
        );
        disk.remount();
        server = Process::start(&data, TWO);
        verify(&server, &told);
        println!("{} claims, none lost: {}; then {}", told.len(), said.trim(), line.trim());
        all.extend(told);
    }
    verify(&server, &all);
    assert!(all.len() > 500);
}

#[test]
fn a_failing_sync_ends_the_process_and_the_next_start_does_not_believe_the_page_cache() {
    let Some(disk) = Disk::made(32, &["-O", "^has_journal", "-N", "128"]) else { return };
    let data = disk.path().join("data");
    let mut all = Acknowledged::new();
    // No checkpoints: they would take the pages that are left.
    let flags = [TWO, &["--segment-kib", "512", "--checkpoint-interval-s", "0"]].concat();
    for round in 0..3 {
        let mut server = Process::start(&data, &flags);
        if !disk.break_after(40) {
            println!("skipped: the image's file system cannot dig holes");
            return;
        }
        let crowd = Crowd::at(&server, round, LIFETIME_S);
        let (status, said) = server.ended(SOON);
        let told = crowd.told();
        assert_eq!(status.code(), Some(EXIT_FATAL), "{said}");
        assert!(said.contains("the sync at offset") && names_the_place(&said), "{said}");
        assert!(data.join("sync-failed").exists(), "the note is left");
        disk.heal();
        // Still mounted: the page cache shows what the disk does not have.
        let mut server = Process::start(&data, &flags);
        assert!(!data.join("sync-failed").exists(), "the note is removed");
        verify(&server, &told);
        let crowd = Crowd::at(&server, 100 + round, LIFETIME_S);
        until_busy(&server);
        server.kill();
        let later = crowd.told();
        // From the disk alone everything comes back, and fits together.
        disk.remount();
        let mut server = Process::start(&data, &flags);
        verify(&server, &told);
        verify(&server, &later);
        server.kill();
        println!("{} and {} claims, none lost: {}", told.len(), later.len(), said.trim());
        all.extend(told);
        all.extend(later);
    }
    verify(&Process::start(&data, &flags), &all);
}

/// No reply waits for a sync, and no checkpoint takes the pages that are left.
const UNDER_OS: &[&str] =
    &["--segment-kib", "1024", "--checkpoint-interval-s", "0", "--durability", "os"];

/// A server on a disk that takes so many pages more. The disk goes last.
fn on_a_disk_that_breaks_after(pages: u64, flags: &[&str]) -> Option<(Disk, Process)> {
    let disk = Disk::made(32, &["-O", "^has_journal", "-N", "128"])?;
    let data = disk.path().join("data");
    let server = Process::start(&data, flags);
    until_ahead(&data);
    if !disk.break_after(pages) {
        println!("skipped: the image's file system cannot dig holes");
        return None;
    }
    Some((disk, server))
}

/// Under `os` no reply waits for a sync: the background syncs a full segment.
#[test]
fn under_os_a_sync_that_fails_beside_the_shards_ends_the_process() {
    let flags = [TWO, UNDER_OS].concat();
    let Some((disk, mut server)) = on_a_disk_that_breaks_after(40, &flags) else { return };
    let data = disk.path().join("data");
    let crowd = Crowd::at(&server, 0, LIFETIME_S);
    let (status, said) = server.ended(SOON);
    let told = crowd.told();
    assert_eq!(status.code(), Some(EXIT_FATAL), "{said}");
    assert!(said.contains(".seg: the sync at offset 0 failed: "), "{said}");
    assert!(data.join("sync-failed").exists(), "the note is left");
    disk.heal();
    let server = Process::start(&data, &flags);
    assert!(!data.join("sync-failed").exists(), "the note is removed");
    println!("{} claims; {}", told.len(), said.trim());
    assert!(!told.is_empty() && server.terminate().0.success());
}

/// Killed, a process leaves to the kernel what it has written. If the disk does not take it,
/// the next start is told, once: it ends, and the one after it does not believe the cache.
#[test]
fn a_start_that_hears_of_a_failed_write_ends_with_74_and_the_next_one_heals() {
    let flags = [TWO, UNDER_OS].concat();
    let Some((disk, mut server)) = on_a_disk_that_breaks_after(0, &flags) else { return };
    let data = disk.path().join("data");
    let mut client = server.connect();
    let sent = client.send(&order(7, 1, 6000, SHARES)).unwrap();
    for user in 0..5 {
        client.claim(sent.envelope, UserId(user)).unwrap();
    }
    server.kill();
    rustix::fs::sync();
    disk.heal();
    let refused = command(&data, &flags).output().unwrap();
    let line = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(EXIT_FATAL), "{line}");
    assert!(line.contains(".seg: the sync at offset 0 failed: ") && line.lines().count() == 1);
    assert!(data.join("sync-failed").exists(), "the note is left");
    let server = Process::start(&data, &flags);
    assert!(!data.join("sync-failed").exists(), "the note is removed");
    let lost = server.connect().show(sent.envelope).unwrap_err();
    let ClientError::Refused(Refusal { status: Status::NotFound, .. }) = lost else {
        panic!("the disk never had it: {lost:?}")
    };
}
