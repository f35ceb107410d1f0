//! One shard's thread: recover, wait for the others, open the doors, run.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

use super::refusal::StartError;
use super::replica::{Restored, rearrange, show};
use super::risk;
use super::{EXIT_FATAL, ShardThread, machine};
use crate::config::{Config, LedgerPlace};
use crate::engine::{Capacity, Engine, EnvelopeLimits, Gate, IMAGE_SLICE_BYTES_MAX, SenderLimits};
use crate::journal::{
    self, Arrangement, Building, CheckpointSettings, CheckpointWriter, Identity, Journal,
    MmapStorage, Position, Recovered, Recovering, RecoveryError,
};
use crate::net::{BoundListener, Listener, Net, NetSettings, Waker, wall};
use crate::shard::{
    Bell, Board, Checkpoints, Chronometer, Clock, Covers, Followed, Judging, Mesh, Outlook, Phase,
    Receivers, Receiving, Shard, ShardSettings,
};
use crate::units::Time;
use crate::wire::PaymentKeys;

/// What a shard's thread says while it starts.
pub(super) enum Stage {
    /// Its part of the new arrangement is written; where the old journals end.
    Rearranged(Vec<Position>),
    /// The state is there.
    Recovered(Recovered),
    /// Requests are answered.
    Answering,
}

/// What a shard's thread is told while it starts; silence calls it off.
pub(super) enum Go {
    /// The new arrangement is the one in use.
    Recover(Arrangement),
    /// All shards have recovered; no clock is behind this.
    Answer(Time),
}

/// Where the data is, and whether it must be arranged anew first.
#[derive(Clone)]
pub(super) struct Lies {
    pub(super) arrangement: Arrangement,
    /// The arrangement for our number of shards, being built.
    pub(super) next: Option<Arc<Building>>,
    /// Held by the shard that reads the old ones: their segments are read whole.
    pub(super) reading: Arc<Mutex<()>>,
}

/// All that one shard needs.
pub(super) struct Launch {
    pub(super) config: Arc<Config>,
    pub(super) shard: u16,
    pub(super) shards: u16,
    pub(super) core: Option<usize>,
    pub(super) background: Option<usize>,
    pub(super) lies: Lies,
    pub(super) doors: Vec<BoundListener>,
    /// The port of each shard.
    pub(super) ports: Vec<u16>,
    pub(super) mesh: Mesh,
    pub(super) bell: Arc<Bell>,
    pub(super) receivers: Option<Arc<Receivers>>,
    pub(super) judging: Option<Judging>,
    pub(super) covers: Covers,
    pub(super) payment_keys: PaymentKeys,
    pub(super) net: NetSettings,
    pub(super) gate: Gate,
    pub(super) chronometer: Arc<Chronometer>,
    pub(super) waker: Waker,
    pub(super) board: Arc<Board>,
    /// Shared with the follower of the journal.
    pub(super) followed: Arc<Followed>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) quiet: Arc<AtomicUsize>,
}

/// The recovered state.
struct Recovery {
    engine: Engine,
    journal: Journal<MmapStorage>,
    checkpoints: Checkpoints,
    recovered: Recovered,
}

/// The part of the configured tables that one shard has.
pub(super) fn capacity(config: &Config, shards: u16) -> Capacity {
    Capacity {
        envelopes: config.envelopes_max.div_ceil(shards.into()),
        table_bytes: config.table_bytes().div_ceil(shards.into()),
        retention_s: config.retention_s,
    }
}

/// The largest that a checkpoint of a shard can be; 0 where none are taken.
pub(super) fn checkpoint_bytes_max(config: &Config, capacity: &Capacity) -> u64 {
    if config.checkpoint_interval_s == 0 {
        return 0;
    }
    let slices = Engine::image_slices_max(capacity);
    let slices = slices + Engine::risk_slices_max(&risk::settings(config));
    journal::checkpoint_bytes_max(slices, IMAGE_SLICE_BYTES_MAX)
}

pub(super) fn limits(config: &Config) -> EnvelopeLimits {
    EnvelopeLimits {
        shares_max: config.shares_max,
        total_fen_max: config.total_fen_max,
        share_mean_fen_max: config.share_mean_fen_max,
        lifetime_s_max: config.lifetime_s_max,
        pay_within_s: config.pay_within_s,
        senders: SenderLimits {
            sends_per_day_max: config.sends_per_day_max,
            sent_fen_per_day_max: config.sent_fen_per_day_max,
            live_per_sender_max: config.live_per_sender_max,
            utc_offset_min: config.utc_offset_min,
        },
    }
}

impl Launch {
    /// Starts the thread; it recovers at once.
    pub(super) fn spawn(self) -> io::Result<ShardThread> {
        let (say, says) = bounded(2);
        let (go, may_go) = bounded(1);
        let name = format!("shard-{}", self.shard);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let board = Arc::clone(&self.board);
            if let Err(error) = self.live(&say, &may_go) {
                let _ = say.send(Err(error));
            }
            board.enter(Phase::Ended);
        })?;
        Ok(ShardThread { thread, says, go })
    }

    /// The life of the thread. The directory's lock is held as long.
    fn live(
        mut self,
        say: &Sender<Result<Stage, StartError>>,
        may_go: &Receiver<Go>,
    ) -> Result<(), StartError> {
        if let Some(core) = self.core {
            machine::pin(core)?;
        }
        self.board.enter(Phase::Recovering);
        let Some(arrangement) = self.arranged(say, may_go)? else { return Ok(()) };
        let recovery = self.recover(&arrangement)?;
        let _ = say.send(Ok(Stage::Recovered(recovery.recovered.clone())));
        let Ok(Go::Answer(since)) = may_go.recv() else {
            return Ok(()); // another shard cannot start
        };
        let board = Arc::clone(&self.board);
        let shard = self.open(recovery, since)?;
        board.enter(Phase::Ready);
        let _ = say.send(Ok(Stage::Answering));
        if let Err(fatal) = shard.run() {
            end_process(&fatal);
        }
        Ok(())
    }

    /// The arrangement for our number of shards; `None` if the start was called
    /// off before it was there.
    fn arranged(
        &mut self,
        say: &Sender<Result<Stage, StartError>>,
        may_go: &Receiver<Go>,
    ) -> Result<Option<Arrangement>, StartError> {
        let arrangement = &self.lies.arrangement;
        let Some(building) = self.lies.next.take() else { return Ok(Some(arrangement.clone())) };
        let (shard, shards) = (self.shard, self.shards);
        let reading = Arc::clone(&self.lies.reading);
        let alone = reading.lock();
        let ends = rearrange(&self.config, arrangement, &building, shard, shards, &self.board)?;
        drop(alone);
        drop(building); // whoever publishes it must be the only one to hold it
        let _ = say.send(Ok(Stage::Rearranged(ends)));
        match may_go.recv() {
            Ok(Go::Recover(arrangement)) => Ok(Some(arrangement)),
            Ok(Go::Answer(_)) | Err(_) => Ok(None),
        }
    }

    fn recover(&self, arrangement: &Arrangement) -> Result<Recovery, StartError> {
        let config = &self.config;
        let identity = Identity { cell: config.cell, shard: self.shard, shards: self.shards };
        let segment_bytes = config.segment_bytes();
        let storage = MmapStorage::new(arrangement, identity, segment_bytes, self.background)?;
        let bell = Arc::clone(&self.bell);
        let storage =
            storage.overlapping(self.background, Box::new(move || bell.ring_if_asleep()))?;
        let settings = CheckpointSettings {
            bytes_per_s: Some(u64::from(config.checkpoint_mib_s) << 20),
            background_core: self.background,
        };
        let writer = CheckpointWriter::new(arrangement, identity, settings)?;
        let recovering = Recovering::open(storage, identity, config.durability)?;
        let mut restored = Restored::new(config, self.shard, self.shards);
        let now = wall();
        let progress = |progress| show(&self.board, progress);
        let (mut journal, recovered) = recovering.recover(now, &mut restored, &progress)?;
        self.followed.commit(&journal.end_commit().map_err(RecoveryError::from)?);
        let engine = restored.engine();
        self.count_received(&engine, recovered.last_time)?;
        if let Some(judging) = &self.judging {
            judging.windows.recover(&engine, recovered.last_time.max(wall()));
        }
        let interval_ms = u64::from(config.checkpoint_interval_s) * 1000;
        let checkpoints = Checkpoints::new(writer, interval_ms, now, recovered.records);
        Ok(Recovery { engine, journal, checkpoints, recovered })
    }

    /// What users have received today is nowhere but in the claims.
    fn count_received(&self, engine: &Engine, last_time: Time) -> Result<(), StartError> {
        let now = last_time.max(wall());
        match &self.receivers {
            Some(receivers) if !Receiving::recover(receivers, engine, now) => {
                Err(StartError::Receivers(self.config.receivers_max))
            }
            _ => Ok(()),
        }
    }

    /// Opens the doors on the shard's own thread.
    fn open(self, recovery: Recovery, since: Time) -> Result<Shard<MmapStorage>, StartError> {
        let config = &self.config;
        let listening = self.doors.into_iter().map(BoundListener::listen);
        let mut listeners = listening.collect::<Result<Vec<_>, _>>()?;
        if let Some(path) = config.unix.as_ref().filter(|_| self.shard == 0) {
            listeners.push(Listener::unix(path)?);
        }
        let net = Net::new(listeners, self.net, self.waker)?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
        let Recovery { engine, journal, checkpoints, recovered } = recovery;
        let settings = ShardSettings {
            cell: config.cell,
            durability: config.durability,
            ports: self.ports,
            seeds: ChaCha12Rng::from_seed(seed),
            wait_us_max: config.wait_us_max,
            outlook: Outlook::new(self.followed, recovered.keep_from),
            checkpoint: recovered.checkpoint,
            receiving: self.receivers.map(|receivers| Receiving::new(receivers, self.shard)),
            judging: self.judging,
            stop: self.stop,
            quiet: self.quiet,
            payment_keys: self.payment_keys,
            has_balances: config.ledger != LedgerPlace::Nowhere,
            gate: self.gate,
            covers: self.covers,
            bell: self.bell,
            board: self.board,
        };
        let clock = Clock::starting_at(since, self.chronometer);
        Ok(Shard::new(net, engine, journal, self.mesh, checkpoints, clock, settings))
    }
}

/// The new arrangement becomes the one in use. Every shard has written its
/// part and holds the building no more.
pub(super) fn publish(building: Arc<Building>) -> Result<Arrangement, StartError> {
    let building = Arc::into_inner(building)
        .ok_or_else(|| io::Error::other("a shard still writes its part of the arrangement"))?;
    Ok(building.commit()?)
}

/// A shard that cannot make anything durable must not run on, and neither must
/// the process that would keep its connections open (DESIGN §5).
pub(super) fn end_process(fatal: &dyn fmt::Display) -> ! {
    eprintln!("hongbao: {fatal}");
    std::process::exit(EXIT_FATAL.into())
}
