//! A server of some shards on simulated disks, in a simulated world.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use hongbao::engine::{
    Capacity, Engine, EnvelopeLimits, Misfit, Record, Restoring, RiskPolicy, RiskSettings,
    SenderLimits,
};
use hongbao::journal::simulated::{Disk, SimulatedStorage};
use hongbao::journal::{
    Identity, Position, Recovered, Recovering, RecoveryError, Replica, SimulatedBackground, Unfit,
};
use hongbao::net::simulated::{SimulatedKernel, World};
use hongbao::net::{Listener, Net, NetSettings, Waker};
use hongbao::shard::{
    Bell, Board, Checkpoints, Chronometer, Clock, Covers, Fatal, Followed, Found, Judging, Mesh,
    Outlook, Shard, ShardSettings, Sleeper, WindowSizes, Windows,
};
use hongbao::units::{Durability, Time};
use hongbao::wire::{PaymentKeys, Resolution};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::clock::STEP_S_MAX;
use crate::terms::gate;

pub(crate) const CELL: u8 = 7;
pub(crate) const KEY_ID: u32 = 1;
pub(crate) const SEGMENT_BYTES: usize = 64 << 10;
const CONNECTIONS_MAX: u32 = 24;
const CHECKPOINT_MS: u64 = 40;

/// How long a closed envelope is remembered.
pub(crate) const RETENTION_S: u32 = 6 * 3600;

pub(crate) const LIMITS: EnvelopeLimits = EnvelopeLimits {
    shares_max: 4000,
    total_fen_max: 4_000_000,
    share_mean_fen_max: 20_000,
    lifetime_s_max: 86_400,
    pay_within_s: 900,
    senders: SenderLimits::NONE,
};

/// Where shares are held, larger ones are,
pub(crate) const HOLD_ABOVE_FEN: u32 = 700;

/// until time decides, in seconds,
const HOLD_S: u32 = 8;

/// and so few that there is no room for one now and then.
const HOLDS_MAX: u32 = 400;

/// What the shards of a life have room for.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    capacity: Capacity,
    risk: RiskSettings,
}

impl Room {
    /// Tables so small that they are sometimes full, or so large that one shard has
    /// room for what all have (every start touches all of it); and, in a third of
    /// all lives, room for shares that are held.
    pub(crate) fn of(seed: u64, is_roomy: bool) -> Self {
        let (envelopes, table_bytes) = if is_roomy { (2000, 8 << 20) } else { (600, 5 << 20) };
        let capacity = Capacity { envelopes, table_bytes, retention_s: RETENTION_S };
        // Of three lives in a row, which have one, two and three shards.
        let holds_max = if seed / 3 % 3 == 2 { HOLDS_MAX } else { 0 };
        let timed_out = if is_roomy { Resolution::Release } else { Resolution::Reject };
        Self { capacity, risk: RiskSettings { holds_max, timed_out, ..RiskSettings::OFF } }
    }

    /// Whether large shares are held.
    pub(crate) fn holds_shares(&self) -> bool {
        self.risk.holds_max > 0
    }

    fn judging(&self) -> Option<Judging> {
        let hold_above_fen = HOLD_ABOVE_FEN;
        let policy = RiskPolicy { hold_above_fen, hold_s: HOLD_S, ..RiskPolicy::default() };
        let sizes = WindowSizes { window_s: 60, winners_max: 1, triers_max: 1, denied_max: 1 };
        let windows = Arc::new(Windows::new(&policy, &sizes, 0));
        self.holds_shares().then_some(Judging { policy, windows })
    }
}

/// The keys of the payment system.
pub(crate) fn keys() -> PaymentKeys {
    let mut keys = PaymentKeys::default();
    keys.add(KEY_ID, &[7; 32]).unwrap();
    keys
}

/// Which of how many shards.
pub(crate) fn identity(shard: usize, shards: usize) -> Identity {
    let narrow = |number| u16::try_from(number).unwrap();
    Identity { cell: CELL, shard: narrow(shard), shards: narrow(shards) }
}

/// New disks for as many shards.
pub(crate) fn disks(shards: usize) -> Vec<Disk> {
    let disk = |shard| Disk::new(identity(shard, shards), SEGMENT_BYTES);
    let disks: Vec<_> = (0..shards).map(disk).collect();
    disks.iter().for_each(Disk::overlap_syncs);
    disks
}

/// A state that is being restored.
pub(crate) struct Restored(Option<Restoring>, Option<Engine>);

impl Restored {
    pub(crate) fn new(room: Room, identity: Identity) -> Self {
        let Identity { cell, shard, shards } = identity;
        let restoring = Restoring::new(cell, room.capacity, LIMITS, shard, shards);
        Self(Some(restoring.with_risk(room.risk)), None)
    }

    /// The state, once it is finished.
    pub(crate) fn engine(self) -> Engine {
        self.1.unwrap()
    }
}

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
    identity: Identity,
    room: Room,
    wall: Time,
) -> Result<(Engine, Journal, Recovered), RecoveryError> {
    let recovering = Recovering::open(disk.storage(), identity, Durability::Sync)?;
    let mut restored = Restored::new(room, identity);
    let (journal, recovered) = recovering.recover(wall, &mut restored, &|_| {})?;
    Ok((restored.engine(), journal, recovered))
}

/// A shard and what works for it. The background goes first, or the shard
/// would wait for it.
struct Running {
    background: SimulatedBackground,
    shard: Shard<SimulatedStorage, SimulatedKernel>,
    board: Arc<Board>,
    followed: Arc<Followed>,
    covers: Covers,
}

/// What a shard is made of.
struct Parts {
    shard: usize,
    engine: Engine,
    journal: Journal,
    recovered: Recovered,
    mesh: Mesh,
    waker: Waker,
    bell: Arc<Bell>,
    followed: Arc<Followed>,
    judging: Option<Judging>,
}

/// All shards of a server.
pub(crate) struct Server {
    running: Vec<Running>,
    chronometer: Arc<Chronometer>,
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
        room: Room,
        place: &Path,
    ) -> Result<Self, RecoveryError> {
        let shards = disks.len();
        let found = disks.iter().enumerate().map(|(shard, disk)| {
            let (engine, mut journal, recovered) =
                recover(disk, identity(shard, shards), room, world.wall())?;
            let followed = Followed::by(Arc::<Sleeper>::default());
            followed.commit(&journal.end_commit()?);
            Ok((engine, journal, recovered, followed))
        });
        let found = found.collect::<Result<Vec<_>, RecoveryError>>()?;
        let last = found.iter().map(|found| found.2.last_time).max().unwrap();
        let (uptime, wall) = (world.uptime(), world.wall());
        let chronometer = Arc::new(Chronometer::starting(uptime, wall, STEP_S_MAX));
        let since = chronometer.begin(last, uptime, wall);
        let time = (&chronometer, since);
        let wakers: Vec<Waker> = disks.iter().map(|_| Waker::new().unwrap()).collect();
        let bells: Vec<Arc<Bell>> = wakers.iter().map(|waker| Bell::new(waker.clone())).collect();
        let quiet = Arc::<AtomicUsize>::default();
        let ways = Mesh::between(&bells).into_iter().zip(wakers.into_iter().zip(bells));
        let parts = found.into_iter().zip(ways).enumerate();
        let running = parts.map(|(shard, (found, (mesh, (waker, bell))))| {
            let (engine, journal, recovered, followed) = found;
            let judging = room.judging();
            let parts =
                Parts { shard, engine, journal, recovered, mesh, waker, bell, followed, judging };
            parts.open(world, disks, place, time, Arc::clone(&quiet))
        });
        Ok(Self { running: running.collect(), chronometer: Arc::clone(&chronometer) })
    }

    /// Somebody may have set the clock on the wall: says whether it is refused.
    pub(crate) fn look_at_the_wall(&self, world: &World) -> bool {
        self.chronometer.look(world.uptime(), world.wall()).found == Found::Refuses
    }

    /// The wall is right, an operator says.
    pub(crate) fn accept_the_wall(&self, world: &World) {
        self.chronometer.accept(world.uptime(), world.wall());
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

    /// What each shard shows to whoever follows it.
    pub(crate) fn followed(&self) -> Vec<Arc<Followed>> {
        self.running.iter().map(|one| Arc::clone(&one.followed)).collect()
    }

    /// The ways of the ledger's verdicts.
    pub(crate) fn covers(&self) -> Vec<Covers> {
        self.running.iter().map(|one| one.covers.clone()).collect()
    }

    /// No table has more than it was made for.
    pub(crate) fn check_room(&self) {
        for one in &self.running {
            let tables = one.board.counters().tables;
            assert!(tables.envelopes <= tables.envelopes_max, "{tables:?}");
            assert!(tables.pages <= tables.pages_max, "{tables:?}");
        }
    }
}

impl Parts {
    fn open(
        self,
        world: &World,
        disks: &[Disk],
        place: &Path,
        (chronometer, since): (&Arc<Chronometer>, Time),
        quiet: Arc<AtomicUsize>,
    ) -> Running {
        let Self { shard, engine, journal, recovered, mesh, waker, bell, followed, judging } = self;
        let board = Arc::new(Board::new(waker.clone()));
        let listener = Listener::unix(&door(place, shard)).unwrap();
        let kernel = SimulatedKernel::new(world.clone());
        let net = Net::on(kernel, vec![listener], NetSettings::open(CONNECTIONS_MAX), waker);
        let (writer, background) = SimulatedBackground::new(disks[shard].clone());
        let checkpoints = Checkpoints::new(writer, CHECKPOINT_MS, world.wall(), recovered.records);
        let covers = Covers::new(Arc::clone(&bell));
        let settings = ShardSettings {
            cell: CELL,
            durability: Durability::Sync,
            ports: vec![0; disks.len()],
            seeds: ChaCha12Rng::seed_from_u64(world.below(u64::MAX)),
            wait_us_max: 50_000,
            outlook: Outlook::new(Arc::clone(&followed), recovered.keep_from),
            checkpoint: recovered.checkpoint,
            receiving: None,
            judging,
            stop: Arc::default(),
            quiet,
            payment_keys: keys(),
            has_balances: true,
            gate: gate(),
            covers: covers.clone(),
            bell,
            board: Arc::clone(&board),
        };
        let clock = Clock::starting_at(since, Arc::clone(chronometer));
        let shard = Shard::new(net.unwrap(), engine, journal, mesh, checkpoints, clock, settings);
        Running { background, shard, board, followed, covers }
    }
}
