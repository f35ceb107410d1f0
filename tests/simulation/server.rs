//! A server of some shards on simulated disks, in a simulated world.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use hongbao::engine::{
    Capacity, Engine, EnvelopeLimits, Gate, Misfit, Record, Restoring, SenderLimits,
};
use hongbao::journal::simulated::{Disk, SimulatedStorage};
use hongbao::journal::{
    Identity, Position, Recovered, Recovering, RecoveryError, Replica, SimulatedBackground, Unfit,
};
use hongbao::net::simulated::{SimulatedKernel, World};
use hongbao::net::{Listener, Net, NetSettings, Waker};
use hongbao::shard::{
    Bell, Board, Checkpoints, Clock, Covers, Fatal, Followed, Mesh, Outlook, Shard, ShardSettings,
};
use hongbao::units::{Durability, Time};
use hongbao::wire::PaymentKeys;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) const CELL: u8 = 7;
pub(crate) const KEY_ID: u32 = 1;
const SEGMENT_BYTES: usize = 64 << 10;
const CONNECTIONS_MAX: u32 = 24;
const CHECKPOINT_MS: u64 = 40;

/// How long a closed envelope is remembered.
pub(crate) const RETENTION_S: u32 = 6 * 3600;

pub(crate) const LIMITS: EnvelopeLimits = EnvelopeLimits {
    shares_max: 200,
    total_fen_max: 1_000_000,
    share_mean_fen_max: 20_000,
    lifetime_s_max: 86_400,
    pay_within_s: 900,
    senders: SenderLimits::NONE,
};

/// Small enough that it is sometimes full.
const CAPACITY: Capacity =
    Capacity { envelopes: 600, table_bytes: 6 << 20, retention_s: RETENTION_S };

/// The keys of the payment system.
pub(crate) fn keys() -> PaymentKeys {
    let mut keys = PaymentKeys::default();
    keys.add(KEY_ID, &[7; 32]).unwrap();
    keys
}

/// New disks for as many shards.
pub(crate) fn disks(shards: u16) -> Vec<Disk> {
    let identity = |shard| Identity { cell: CELL, shard, shards };
    (0..shards).map(|shard| Disk::new(identity(shard), SEGMENT_BYTES)).collect()
}

/// A state that is being restored.
struct Restored(Option<Restoring>, Option<Engine>);

impl Replica for Restored {
    fn load(&mut self, slice: &[u8]) -> Result<u64, Unfit> {
        Ok(self.0.as_mut().unwrap().load(slice)?)
    }

    fn apply(&mut self, records: &[(Position, Record)]) -> Result<(), (Position, Misfit)> {
        self.0.as_mut().unwrap().apply(records)
    }

    fn finish(&mut self) -> Result<(), Misfit> {
        self.1 = Some(self.0.take().unwrap().finish()?);
        Ok(())
    }
}

type Journal = hongbao::journal::Journal<SimulatedStorage>;

/// What is on a disk, as a start finds it.
pub(crate) fn recover(
    disk: &Disk,
    shard: u16,
    shards: u16,
    wall: Time,
) -> Result<(Engine, Journal, Recovered), RecoveryError> {
    let identity = Identity { cell: CELL, shard, shards };
    let recovering = Recovering::open(disk.storage(), identity, Durability::Sync)?;
    let restoring = Restoring::new(CELL, CAPACITY, LIMITS, shard, shards);
    let mut restored = Restored(Some(restoring), None);
    let (journal, recovered) = recovering.recover(wall, &mut restored, &|_| {})?;
    Ok((restored.1.unwrap(), journal, recovered))
}

/// A shard and what works for it. The background goes first, or the shard
/// would wait for it.
struct Running {
    background: SimulatedBackground,
    shard: Shard<SimulatedStorage, SimulatedKernel>,
    board: Arc<Board>,
}

/// All shards of a server.
pub(crate) struct Server {
    running: Vec<Running>,
}

/// Where the clients of a shard knock.
pub(crate) fn door(place: &Path, shard: usize) -> PathBuf {
    place.join(format!("shard-{shard}"))
}

impl Server {
    /// Recovers every shard and opens its door.
    pub(crate) fn start(
        world: &World,
        disks: &[Disk],
        place: &Path,
    ) -> Result<Self, RecoveryError> {
        let shards = u16::try_from(disks.len()).unwrap();
        let found =
            (0..shards).zip(disks).map(|(shard, disk)| recover(disk, shard, shards, world.wall()));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let since = found.iter().map(|(_, _, recovered)| recovered.last_time).max().unwrap();
        let wakers: Vec<Waker> = disks.iter().map(|_| Waker::new().unwrap()).collect();
        let bells: Vec<Arc<Bell>> = wakers.iter().map(|waker| Bell::new(waker.clone())).collect();
        let quiet = Arc::<AtomicUsize>::default();
        let parts = found.into_iter().zip(Mesh::between(&bells)).zip(wakers.into_iter().zip(bells));
        let running =
            parts.enumerate().map(|(shard, (((engine, journal, recovered), mesh), bell))| {
                let (waker, bell) = bell;
                let board = Arc::new(Board::new(waker.clone()));
                let listener = Listener::unix(&door(place, shard)).unwrap();
                let kernel = SimulatedKernel::new(world.clone());
                let net = NetSettings::open(CONNECTIONS_MAX);
                let net = Net::on(kernel, vec![listener], net, waker).unwrap();
                let (writer, background) = SimulatedBackground::new(disks[shard].clone());
                let checkpoints =
                    Checkpoints::new(writer, CHECKPOINT_MS, world.wall(), recovered.records);
                let settings = ShardSettings {
                    cell: CELL,
                    durability: Durability::Sync,
                    ports: vec![0; disks.len()],
                    seeds: ChaCha12Rng::seed_from_u64(world.below(u64::MAX)),
                    wait_us_max: 50_000,
                    outlook: Outlook::new(Followed::by_nobody(), recovered.keep_from),
                    checkpoint: recovered.checkpoint,
                    receiving: None,
                    stop: Arc::default(),
                    quiet: Arc::clone(&quiet),
                    payment_keys: keys(),
                    has_balances: true,
                    gate: Gate::default(),
                    covers: Covers::new(Arc::clone(&bell)),
                    bell,
                    board: Arc::clone(&board),
                };
                let clock = Clock::starting_at(since);
                let shard = Shard::new(net, engine, journal, mesh, checkpoints, clock, settings);
                Running { background, shard, board }
            });
        Ok(Self { running: running.collect() })
    }

    /// One turn of a shard.
    pub(crate) fn step(&mut self, shard: usize) -> Result<(), Fatal> {
        self.running[shard].shard.step()
    }

    /// A little work in the background of a shard.
    pub(crate) fn write_checkpoint(&mut self, shard: usize) {
        self.running[shard].background.work();
    }

    /// The checkpoint under way does not get through.
    pub(crate) fn fail_checkpoint(&mut self, shard: usize) {
        self.running[shard].background.fail();
    }

    /// How many checkpoints this run has finished.
    pub(crate) fn checkpoints(&self) -> u64 {
        self.running.iter().map(|one| one.board.counters().checkpoints.taken).sum()
    }
}
