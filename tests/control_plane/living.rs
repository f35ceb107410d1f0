//! A real shard on a disk in memory: it sleeps when idle, and a nudge makes it
//! turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use hongbao::engine::{Capacity, Engine, EnvelopeLimits, Gate, SenderLimits};
use hongbao::journal::simulated::Disk;
use hongbao::journal::{Identity, Position, Recovering};
use hongbao::net::{Net, NetSettings, Waker, both};
use hongbao::shard::{
    Bell, Board, Checkpoints, Chronometer, Clock, Covers, Followed, Mesh, Outlook, Phase, Shard,
    ShardSettings,
};
use hongbao::units::{Durability, Time};
use hongbao::wire::PaymentKeys;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

/// It drains when this is dropped.
pub(crate) struct Living {
    pub(crate) board: Arc<Board>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Living {
    pub(crate) fn start() -> Self {
        let waker = Waker::new().unwrap();
        let board = Arc::new(Board::new(waker.clone()));
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = channel();
        let shown = (Arc::clone(&board), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let shard = shard(waker, shown.0, shown.1);
            ready.send(()).unwrap();
            shard.run().unwrap();
        });
        is_ready.recv().unwrap();
        board.enter(Phase::Ready);
        Self { board, stop, thread: Some(thread) }
    }
}

type InMemory = Shard<hongbao::journal::simulated::SimulatedStorage>;

fn shard(waker: Waker, board: Arc<Board>, stop: Arc<AtomicBool>) -> InMemory {
    let identity = Identity { cell: 7, shard: 0, shards: 1 };
    let limits = EnvelopeLimits {
        shares_max: 100,
        total_fen_max: 1_000_000,
        share_mean_fen_max: 20_000,
        lifetime_s_max: 3600,
        pay_within_s: 900,
        senders: SenderLimits::NONE,
    };
    let mut engine =
        Engine::new(7, Capacity { envelopes: 100, table_bytes: 8 << 20, retention_s: 60 }, limits);
    let storage = Disk::new(identity, 1 << 20).storage();
    let recovering = Recovering::open(storage, identity, Durability::Sync).unwrap();
    let (uptime, wall) = both();
    let chronometer = Arc::new(Chronometer::starting(uptime, wall, 10));
    let clock = Clock::starting_at(Time(0), chronometer);
    let (journal, _) = recovering.replay(Time(1), |record| engine.apply(record)).unwrap();
    let bell = Bell::new(waker.clone());
    let settings = ShardSettings {
        cell: 7,
        durability: Durability::Sync,
        ports: vec![1],
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
        board,
    };
    let mesh = Mesh::between(&[bell]).pop().unwrap();
    let net = Net::new(Vec::new(), NetSettings::open(1), waker).unwrap();
    Shard::new(net, engine, journal, mesh, Checkpoints::never(), clock, settings)
}

impl Drop for Living {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.board.nudge();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
