//! A shard whose disk is in memory and fails a sync at a chosen moment, while
//! clients claim and checkpoints are written: the shard ends, nobody is
//! answered any more, and what was answered is there. And one whose disk is full
//! of segments makes room by itself.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use hongbao::client::{Client, ClientError, Refusal};
use hongbao::engine::{Capacity, Engine, EnvelopeLimits, Gate, Record, SenderLimits};
use hongbao::journal::simulated::{Disk, SimulatedStorage};
use hongbao::journal::{
    Arrangement, CheckpointSettings, CheckpointWriter, Directory, Identity, Position, Recovering,
};
use hongbao::net::{BoundListener, Net, NetSettings, Waker, both};
use hongbao::shard::{
    Bell, Board, Checkpoints, Chronometer, Clock, Covers, Fatal, Followed, Mesh, Outlook, Shard,
    ShardSettings,
};
use hongbao::units::{Durability, EnvelopeId, Time, UserId};
use hongbao::wire::{PaymentKeys, Status};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

use rig::acknowledged::{Acknowledged, Crowd};
use rig::{address, order, until};

const US: Identity = Identity { cell: 7, shard: 0, shards: 1 };
const SEGMENT_BYTES: usize = 64 << 10;

/// How often a checkpoint is taken: most moments lie in the life of one.
const CHECKPOINT_MS: u64 = 5;

/// None for its time, in thousands of years.
const NEVER_MS: u64 = 1 << 50;

fn shard(
    disk: &Disk,
    listener: BoundListener,
    checkpoints: (&Path, u64),
    stop: Arc<AtomicBool>,
) -> (Shard<SimulatedStorage>, Arc<Board>) {
    let limits = EnvelopeLimits {
        shares_max: 100,
        total_fen_max: 1_000_000,
        share_mean_fen_max: 20_000,
        lifetime_s_max: 3600,
        pay_within_s: 900,
        senders: SenderLimits::NONE,
    };
    let capacity = Capacity { envelopes: 10_000, table_bytes: 32 << 20, retention_s: 60 };
    let mut engine = Engine::new(US.cell, capacity, limits);
    let recovering = Recovering::open(disk.storage(), US, Durability::Sync).unwrap();
    let (journal, _) = recovering.replay(Time(1), |record| engine.apply(record)).unwrap();
    let (path, interval_ms) = checkpoints;
    let directory = Directory::open(path, SEGMENT_BYTES, 1).unwrap();
    let arrangement = Arrangement::current_or_first(&directory, 1).unwrap();
    let writer = CheckpointWriter::new(&arrangement, US, CheckpointSettings::default()).unwrap();
    let (uptime, wall) = both();
    let chronometer = Arc::new(Chronometer::starting(uptime, wall, 10));
    let clock = Clock::starting_at(Time(0), chronometer);
    let waker = Waker::new().unwrap();
    let bell = Bell::new(waker.clone());
    let board = Arc::new(Board::new(waker.clone()));
    let settings = ShardSettings {
        cell: US.cell,
        durability: Durability::Sync,
        ports: vec![listener.address().port()],
        seeds: ChaCha12Rng::from_seed([1; 32]),
        wait_us_max: 20_000,
        outlook: Outlook::new(Followed::by_nobody(), Position(0)),
        checkpoint: None,
        receiving: None,
        judging: None,
        stop,
        quiet: Arc::default(),
        payment_keys: PaymentKeys::default(),
        has_balances: false,
        gate: Gate::default(),
        covers: Covers::new(Arc::clone(&bell)),
        bell: Arc::clone(&bell),
        board: Arc::clone(&board),
    };
    let mesh = Mesh::between(&[bell]).pop().unwrap();
    let listeners = vec![listener.listen().unwrap()];
    let net = Net::new(listeners, NetSettings::open(8), waker).unwrap();
    let checkpoints = Checkpoints::new(writer, interval_ms, Time(0), 1);
    (Shard::new(net, engine, journal, mesh, checkpoints, clock, settings), board)
}

/// The amounts of all claims in the journal.
fn claims(disk: &Disk) -> Acknowledged {
    let mut found: HashMap<(EnvelopeId, UserId), u64> = HashMap::new();
    let recovering = Recovering::open(disk.storage(), US, Durability::Sync).unwrap();
    let take = |record: &Record| {
        if let Record::Claimed(claimed) = record {
            found.insert((claimed.envelope, claimed.user), claimed.amount.into());
        }
        Ok(())
    };
    recovering.replay(Time(1), take).unwrap();
    found
}

/// How a shard ended.
struct End {
    fatal: Fatal,
    /// A checkpoint was under way.
    amid_checkpoint: bool,
    told: Acknowledged,
    /// What the disk has.
    found: Acknowledged,
}

/// Claims until the `n`-th sync from the start fails.
fn until_sync_fails(n: u64) -> End {
    let (say, says) = channel();
    let server = std::thread::spawn(move || {
        let checkpoints = tempfile::tempdir().unwrap();
        let listener = BoundListener::tcp(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.address();
        let disk = Disk::new(US, SEGMENT_BYTES);
        let place = checkpoints.path().join("data");
        let (shard, board) = shard(&disk, listener, (&place, CHECKPOINT_MS), Arc::default());
        disk.fail_sync(n);
        say.send(address.to_string()).unwrap();
        let fatal = shard.run().unwrap_err();
        assert!(disk.marked(), "the note is left");
        disk.restart();
        (fatal, board.counters().checkpoints.under_way, claims(&disk))
    });
    let crowd = Crowd::on(&says.recv().unwrap(), 0, 3600);
    let (fatal, amid_checkpoint, found) = server.join().unwrap();
    End { fatal, amid_checkpoint, told: crowd.told(), found }
}

#[test]
fn a_failing_sync_ends_the_shard_at_whatever_moment_and_loses_nothing_acknowledged() {
    // 15 commits fill a segment.
    let moments = [1, 2, 5, 14, 15, 16, 31, 47];
    let ends = moments.map(|n| (n, std::thread::spawn(move || until_sync_fails(n))));
    let (mut all, mut amid) = (0, 0);
    for (n, end) in ends {
        let End { fatal, amid_checkpoint, told, found } = end.join().unwrap();
        let line = fatal.to_string();
        assert!(line.contains("simulated/") && line.contains("the sync at offset"), "{line}");
        for (claim, amount) in &told {
            assert_eq!(found.get(claim), Some(amount), "sync {n} lost {claim:?}");
        }
        all += told.len();
        amid += u64::from(amid_checkpoint);
    }
    println!("{all} claims acknowledged, none lost; {amid} ends amid a checkpoint");
    assert!(all > 500 && amid > 0);
}

/// Sends until the shard is gone; how many orders were refused.
fn send_on(server: &str) -> u64 {
    let mut client = Client::connect(&address(server)).unwrap();
    let mut refused = 0;
    for number in 0.. {
        match client.send(&order(1, number, 6000, 60)) {
            // A busy box may refuse for a moment.
            Ok(_) | Err(ClientError::Refused(Refusal { status: Status::Overloaded, .. })) => {}
            Err(ClientError::Refused(Refusal { status: Status::Unavailable, .. })) => refused += 1,
            Err(ClientError::Refused(refusal)) => panic!("{refusal:?}"),
            Err(_) => break,
        }
    }
    refused
}

#[test]
fn a_shard_whose_segments_fill_the_disk_frees_them_and_goes_on() {
    let stop = Arc::<AtomicBool>::default();
    let (say, says) = channel();
    let stopped = Arc::clone(&stop);
    let server = std::thread::spawn(move || {
        let checkpoints = tempfile::tempdir().unwrap();
        let listener = BoundListener::tcp(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.address().to_string();
        let disk = Disk::new(US, SEGMENT_BYTES);
        disk.segments_max(Some(4));
        let place = checkpoints.path().join("data");
        let (shard, board) = shard(&disk, listener, (&place, NEVER_MS), stopped);
        say.send((address, board)).unwrap();
        shard.run().unwrap();
        disk.contents().len()
    });
    let (address, board) = says.recv().unwrap();
    let client = std::thread::spawn(move || send_on(&address));
    until("four times as many segments were filled as fit", Duration::from_secs(40), || {
        board.counters().journal.rolls > 16
    });
    let taken = board.counters().checkpoints.taken;
    stop.store(true, Ordering::Release);
    assert!(server.join().unwrap() <= 4);
    let refused = client.join().unwrap();
    println!("{taken} checkpoints for room, {refused} orders refused meanwhile");
    assert!(taken > 1 && refused > 0);
}
