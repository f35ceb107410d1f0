//! Wiring: from a configuration to a running server, in one place.
//!
//! What can refuse a start is asked first, so that a refused start has changed
//! nothing on disk; then the journal is recovered; only then the door opens.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, bounded};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::config::{Config, ConfigError};
use crate::engine::{Capacity, Engine, EnvelopeLimits};
use crate::journal::{
    Directory, DirectoryError, Identity, Journal, MmapStorage, Recovered, Recovering,
    RecoveryError, StorageError, check_memlock, mmap,
};
use crate::net::{
    BoundListener, ListenError, Listener, Net, NetSettings, RingRefused, Waker, check_ring,
};
use crate::shard::{Board, Clock, Fatal, Shard, ShardCounters, ShardSettings};
use crate::units::{Durability, Time};

/// The exit code of a process that its disk or its ring has ended.
pub const EXIT_FATAL: i32 = 74;

/// How long a closed envelope is kept: 7 days, until it is a setting.
const RETENTION_S: u32 = 7 * 86_400;

/// Descriptors besides the connections: ring, bell, journal, standard streams.
const SPARE_DESCRIPTORS: u64 = 64;

/// Why a server does not start; one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No ring.
    #[error(transparent)]
    Ring(#[from] RingRefused),
    /// No socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// No data directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// No segments can be made ready.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The journal is damaged, or is not ours.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The core to pin to is not there.
    #[error("core {0} is not available to this process; choose another with --core")]
    Core(usize),
    /// More memory than there is.
    #[error(
        "the tables need {needed_mib} MiB and this machine has {machine_mib}; \
         lower --table-mib or --envelopes-max"
    )]
    Memory {
        /// What the configuration asks for.
        needed_mib: u64,
        /// What the machine has.
        machine_mib: u64,
    },
    /// Too few file descriptors.
    #[error(
        "connections_max = {wanted} needs more file descriptors than the limit of {limit}; \
         raise it with `ulimit -n` or LimitNOFILE=, or lower --connections-max"
    )]
    Descriptors {
        /// The configured number of connections.
        wanted: u32,
        /// The hard limit of the process.
        limit: u64,
    },
    /// The operating system refused something basic.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Why a running server has ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The shard's thread has panicked; its message is on standard error.
    #[error("the shard has panicked; its journal is intact, start the server again")]
    Panicked,
}

/// A running server. Dropping it drains it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    facts: Vec<String>,
    stopper: Stopper,
    board: Arc<Board>,
    shard: Option<JoinHandle<()>>,
}

/// Begins a drain, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    stop: Arc<AtomicBool>,
    waker: Waker,
}

impl Stopper {
    /// No new work from now on; what was acknowledged is durable.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// The sockets, bound before the data directory is touched.
struct Doors {
    tcp: BoundListener,
    unix: Option<std::path::PathBuf>,
}

/// The recovered state.
struct Recovery {
    engine: Engine,
    journal: Journal<MmapStorage>,
    recovered: Recovered,
}

impl Server {
    /// Starts a server and returns when it answers.
    pub fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        check_machine(&config)?;
        let doors = bind(&config)?;
        let address = doors.tcp.address();
        let (directory, recovery) = recover(&config)?;
        let facts = facts(&config, address, &directory, &recovery.recovered);

        let stopper = Stopper { stop: Arc::default(), waker: Waker::new()? };
        let board = Arc::new(Board::new(stopper.waker.clone()));
        let (ready, started) = bounded(1);
        let shard = {
            let (stopper, board) = (stopper.clone(), Arc::clone(&board));
            std::thread::Builder::new().name("shard-0".into()).spawn(move || {
                // The directory's lock is held as long as the shard runs.
                let _directory = directory;
                run_shard(&config, doors, recovery, stopper, board, &ready);
            })?
        };
        match started.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(io::Error::other("the shard has ended before it began").into()),
        }
        Ok(Self { address, facts, stopper, board, shard: Some(shard) })
    }

    /// The TCP address, with the port that the kernel chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One line per fact: data, capacity, memory, durability, ports.
    pub fn facts(&self) -> &[String] {
        &self.facts
    }

    /// The counters of the last turn.
    pub fn counters(&self) -> ShardCounters {
        self.board.counters()
    }

    /// What begins a drain from another thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until the server has drained.
    pub fn wait(mut self) -> Result<(), ServerError> {
        let shard = self.shard.take();
        shard.map_or(Ok(()), JoinHandle::join).map_err(|_| ServerError::Panicked)
    }

    /// Drains: no new work, everything acknowledged is durable, then the end.
    pub fn drain(self) -> Result<(), ServerError> {
        self.stopper.stop();
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(shard) = self.shard.take() {
            self.stopper.stop();
            let _ = shard.join();
        }
    }
}

fn check_machine(config: &Config) -> Result<(), StartError> {
    check_ring()?;
    check_memlock()?;
    let available = sched_getaffinity(None).map_err(io::Error::from)?;
    for core in [config.core, config.background_core].into_iter().flatten() {
        if core >= CpuSet::MAX_CPU || !available.is_set(core) {
            return Err(StartError::Core(core));
        }
    }
    check_memory(config)?;
    let wanted = u64::from(config.connections_max) + SPARE_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).map_err(|_| StartError::Descriptors {
            wanted: config.connections_max,
            limit: limit.maximum.unwrap_or(u64::MAX),
        })?;
    }
    Ok(())
}

fn check_memory(config: &Config) -> Result<(), StartError> {
    let mib = |bytes: u64| bytes >> 20;
    let needed = u64::try_from(Engine::memory_bytes(&capacity(config))).unwrap_or(u64::MAX);
    let machine = rustix::system::sysinfo();
    let memory = u64::from(machine.mem_unit) * machine.totalram;
    if needed > memory {
        return Err(StartError::Memory { needed_mib: mib(needed), machine_mib: mib(memory) });
    }
    Ok(())
}

fn bind(config: &Config) -> Result<Doors, StartError> {
    let tcp = BoundListener::tcp(config.listen)?;
    if let Some(path) = &config.unix {
        Listener::check_unix(path)?;
    }
    Ok(Doors { tcp, unix: config.unix.clone() })
}

fn engine(config: &Config) -> Engine {
    let limits = EnvelopeLimits {
        shares_max: config.shares_max,
        total_fen_max: config.total_fen_max,
        share_mean_fen_max: config.share_mean_fen_max,
        lifetime_s_max: config.lifetime_s_max,
    };
    Engine::new(config.cell, capacity(config), limits)
}

fn capacity(config: &Config) -> Capacity {
    let retention_s = RETENTION_S;
    Capacity { envelopes: config.envelopes_max, table_bytes: config.table_bytes(), retention_s }
}

fn recover(config: &Config) -> Result<(Directory, Recovery), StartError> {
    mmap::install_sigbus_message();
    let identity = Identity { cell: config.cell, shard: 0, shards: 1 };
    let segment_bytes = config.segment_bytes();
    let directory = Directory::open(&config.data, segment_bytes, identity.shards)?;
    let storage = MmapStorage::new(&directory, identity, segment_bytes, config.background_core)?;
    let recovering = Recovering::open(storage, identity, config.durability)?;
    let mut engine = engine(config);
    let now = Clock::starting_at(Time(0)).now();
    let (journal, recovered) = recovering.replay(now, |record| engine.apply(record))?;
    Ok((directory, Recovery { engine, journal, recovered }))
}

/// Opens the doors on the shard's own thread and runs it to its end.
fn run_shard(
    config: &Config,
    doors: Doors,
    recovery: Recovery,
    stopper: Stopper,
    board: Arc<Board>,
    ready: &Sender<Result<(), StartError>>,
) {
    let shard = match open_shard(config, doors, recovery, stopper, board) {
        Ok(shard) => shard,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    if let Err(fatal) = shard.run() {
        end_process(&fatal);
    }
}

fn open_shard(
    config: &Config,
    doors: Doors,
    recovery: Recovery,
    stopper: Stopper,
    board: Arc<Board>,
) -> Result<Shard<MmapStorage>, StartError> {
    if let Some(core) = config.core {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).map_err(io::Error::from)?;
    }
    let port = doors.tcp.address().port();
    let mut listeners = vec![doors.tcp.listen()?];
    if let Some(path) = &doors.unix {
        listeners.push(Listener::unix(path)?);
    }
    let settings = NetSettings { connections_max: config.connections_max };
    let net = Net::new(listeners, settings, stopper.waker)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
    let settings = ShardSettings {
        cell: config.cell,
        durability: config.durability,
        ports: vec![port],
        seeds: ChaCha12Rng::from_seed(seed),
        stop: stopper.stop,
        board,
    };
    let clock = Clock::starting_at(recovery.recovered.last_time);
    Ok(Shard::new(net, recovery.engine, recovery.journal, clock, settings))
}

/// A shard that cannot make anything durable must not run on, and neither must
/// the process that would keep its connections open (DESIGN §5).
fn end_process(fatal: &Fatal) -> ! {
    eprintln!("hongbao: {fatal}");
    std::process::exit(EXIT_FATAL)
}

fn facts(
    config: &Config,
    address: SocketAddr,
    directory: &Directory,
    recovered: &Recovered,
) -> Vec<String> {
    let tables_mib = Engine::memory_bytes(&capacity(config)) >> 20;
    let durability = match config.durability {
        Durability::Sync => "sync: a reply waits for the disk and survives a power cut",
        Durability::Os => "os: a reply survives a crash of the process, not a power cut",
    };
    let mut facts = vec![
        format!("data        {} ({})", shown(&config.data), directory.file_system()),
        format!("recovered   {recovered}"),
        format!(
            "capacity    {} envelopes, {} shares each at most, {} connections",
            config.envelopes_max, config.shares_max, config.connections_max
        ),
        format!(
            "memory      {tables_mib} MiB of tables reserved, journal segments of {} KiB",
            config.segment_kib
        ),
        format!("durability  {durability}"),
        format!("listen      {address} (tcp), cell {}, 1 shard", config.cell),
    ];
    if let Some(path) = &config.unix {
        facts.push(format!("listen      {} (unix)", shown(path)));
    }
    facts
}

fn shown(path: &Path) -> std::path::Display<'_> {
    path.display()
}
