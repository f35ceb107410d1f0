//! Wiring: from a configuration to a running server, in one place.
//!
//! What can refuse a start is asked first, so that a refused start has changed
//! nothing on disk; then every shard recovers, all at once; only when the last
//! one is done do the doors open.

mod books;
mod clock;
mod doors;
mod entry;
mod facts;
mod gate;
mod launch;
mod machine;
mod receivers;
mod refusal;
mod replica;
mod risk;
mod settling;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender};

pub use refusal::{ServerError, StartError};

use crate::admin::{Admin, AdminSettings, BoundAdmin, Drawn, Watched};
use crate::config::{Config, MaybeListen};
use crate::engine::{Engine, Gate};
use crate::follow::settle::Settlement;
use crate::journal::{Arrangement, CommitFailed, Directory, Recovered, RecoveryError, mmap};
use crate::net::{NetSettings, TlsDoor, Waker};
use crate::payment_keys;
use crate::shard::{Bell, Board, Chronometer, Covers, Followed, Mesh};
use crate::wire::PaymentKeys;
use books::{Books, Following};
use clock::{Beginning, Keeper};
use doors::Doors;
use facts::Facts;
use launch::{Go, Launch, Lies, Stage};
use settling::Settling;

/// The exit code of a process that its disk or its ring has ended.
pub const EXIT_FATAL: u8 = 74;

/// A server that recovers its state and does not answer yet.
pub struct Starting {
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    facts: Facts,
    stopper: Stopper,
    boards: Vec<Arc<Board>>,
    covers: Vec<Covers>,
    shards: Vec<ShardThread>,
    lies: Lies,
    books: Option<Books>,
    settling: Settling,
    time: Beginning,
    /// Of the background plane.
    core: Option<usize>,
    admin: Option<Admin>,
    /// The admin port's token, to be kept once the start cannot be refused.
    new_token: Option<Drawn>,
}

/// A running server. Dropping it drains it.
pub struct Server {
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    facts: Vec<String>,
    stopper: Stopper,
    boards: Vec<Arc<Board>>,
    covers: Vec<Covers>,
    shards: Vec<JoinHandle<()>>,
    #[expect(dead_code, reason = "held for its end")]
    keeper: Keeper,
    /// Ends after the shards, so that it may apply what they committed last.
    #[expect(dead_code, reason = "held for its end")]
    following: Option<Following>,
    /// Ends after the shards, too: subscribers hear why.
    settlement: Option<Settlement>,
    /// Ends with the server; the last to go, so that a drain can be watched.
    admin: Option<Admin>,
}

/// Begins a drain, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    stop: Arc<AtomicBool>,
    wakers: Vec<Waker>,
}

impl Stopper {
    /// No new work from now on; what was acknowledged is durable.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
    }
}

/// One shard's thread, and what it says while it starts.
struct ShardThread {
    thread: JoinHandle<()>,
    says: Receiver<Result<Stage, StartError>>,
    /// Sent when all shards have recovered; dropped to call the start off.
    go: Sender<Go>,
}

/// What the threads of all shards share.
struct Shared {
    bells: Vec<Arc<Bell>>,
    covers: Vec<Covers>,
    payment_keys: PaymentKeys,
    net: NetSettings,
    gate: Gate,
    followed: Vec<Arc<Followed>>,
    chronometer: Arc<Chronometer>,
}

impl Shared {
    fn of(
        stopper: &Stopper,
        payment_keys: PaymentKeys,
        net: NetSettings,
        gate: Gate,
        followed: Vec<Arc<Followed>>,
        chronometer: Arc<Chronometer>,
    ) -> Self {
        let bells: Vec<_> = stopper.wakers.iter().cloned().map(Bell::new).collect();
        let covers = bells.iter().cloned().map(Covers::new).collect();
        Self { bells, covers, payment_keys, net, gate, followed, chronometer }
    }
}

impl Starting {
    /// Asks for everything that could refuse the start, then begins to recover.
    pub fn begin(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let keys = config.payment_keys.as_deref().map(payment_keys::read).transpose()?;
        let (payment_keys, key_ids) = keys.unwrap_or_default();
        let keyring = entry::keyring(&config)?;
        let acceptor = entry::acceptor(&config)?;
        let (gate, gate_facts) = gate::of(&config)?;
        let placement = machine::place(&config)?;
        let shards = placement.count();
        let (capacity, limits) = (launch::capacity(&config, shards), launch::limits(&config));
        let tables = Engine::memory_bytes(&capacity, &limits) * usize::from(shards);
        let tables = tables.saturating_add(receivers::bytes(&config));
        let tables = tables.saturating_add(risk::bytes(&config, shards));
        let queues = Mesh::memory_bytes(shards.into());
        machine::check(&config, shards, tables.saturating_add(queues))?;
        let doors = Doors::bind(&config, shards)?;
        let admin = bind_admin(&config, placement.background)?;
        let settlement = settling::bind(&config)?;
        let (address, tls_address) = (doors.address(), doors.tls_address());
        mmap::install_sigbus_message();
        let checkpoint_bytes = launch::checkpoint_bytes_max(&config, &capacity);
        let segment_bytes = config.segment_bytes();
        let directory =
            Directory::open_beside(&config.data, segment_bytes, shards, checkpoint_bytes)?;
        let lies = lies(&config, &directory, shards)?;
        let wakers = (0..shards).map(|_| Waker::new()).collect::<io::Result<Vec<_>>>()?;
        let stopper = Stopper { stop: Arc::default(), wakers };
        let boards: Vec<_> =
            stopper.wakers.iter().map(|waker| Arc::new(Board::new(waker.clone()))).collect();
        let facts = Facts::of(&config, &doors, &directory, tables, &placement, admin.as_ref())
            .with_payment_keys(&key_ids)
            .with_access(keyring.as_deref(), config.tls_client_ca.is_some())
            .with(gate_facts);
        let (books, followed) = books::of(&config, shards);
        let settling = Settling::new(settlement, &config, keyring.clone(), followed.clone());
        let ledger = books.as_ref().map(|books| books.desk.clone());
        let time = Beginning::of(&config);
        let clock = Arc::clone(&time.chronometer);
        let (token, new_token) = entry::token(&config, admin.is_some())?;
        let admin = admin.map(|admin| {
            let stopper = stopper.clone();
            let drain = Box::new(move || stopper.stop());
            let facts = facts::server(&config, &doors, tables, shards);
            admin.start(Watched { boards: boards.clone(), facts, ledger, clock, drain, token })
        });
        let admin = admin.transpose()?;
        let tls = acceptor.map(|acceptor| TlsDoor { acceptor, ports: doors.tls_ports() });
        let net = entry::net_settings(&config, keyring, tls);
        let shared =
            Shared::of(&stopper, payment_keys, net, gate, followed, Arc::clone(&time.chronometer));
        let config = Arc::new(config);
        let shards = spawn(&config, doors, &lies, &stopper, &boards, &placement, &shared)?;
        let covers = shared.covers;
        let core = placement.background;
        Ok(Self {
            address,
            tls_address,
            facts,
            stopper,
            boards,
            covers,
            shards,
            lies,
            books,
            settling,
            time,
            core,
            admin,
            new_token,
        })
    }

    /// Where each shard shows how far it is.
    pub fn boards(&self) -> &[Arc<Board>] {
        &self.boards
    }

    /// Waits until every shard has recovered and answers.
    pub fn finish(self) -> Result<Server, StartError> {
        let Self { address, tls_address, facts, stopper, boards, covers, shards, lies, .. } = self;
        let (mut books, core, admin) = (self.books, self.core, self.admin);
        let (settling, new_token, time) = (self.settling, self.new_token, self.time);
        let recovered = recover(&shards, lies, books.as_mut(), &settling);
        let recovered = recovered.and_then(|(arrangement, found)| {
            // All begin at one time: on different days the next start would leap with
            // those behind, and what they had just closed would be forgotten as if it
            // were old.
            let begun = time.begin(&found, &stopper)?;
            let end = Box::new(|failed: &CommitFailed| launch::end_process(failed));
            arrangement.directory().on_failed_sync(end).map_err(RecoveryError::from)?;
            let settlement = settling.start(&arrangement)?;
            new_token.map(Drawn::write).transpose()?;
            let following = books.map(|books| books.follow(&arrangement, core, covers.clone()));
            let following = following.transpose()?;
            for shard in &shards {
                shard.tell(Go::Answer(begun.since));
                shard.hear()?;
            }
            Ok((found, following, settlement, begun))
        });
        // Without their ends of the channels all threads come home.
        let threads: Vec<_> = shards.into_iter().map(|shard| shard.thread).collect();
        match recovered {
            Ok((found, following, (settlement, subscribers), begun)) => {
                let mut facts = facts.lines(&found);
                let (following, fact) = following.unzip();
                facts.extend(begun.fact.into_iter().chain(fact).chain(subscribers));
                let shards = threads;
                Ok(Server {
                    address,
                    tls_address,
                    facts,
                    stopper,
                    boards,
                    covers,
                    shards,
                    keeper: begun.keeper,
                    following,
                    settlement,
                    admin,
                })
            }
            Err(error) => {
                stopper.stop();
                for thread in threads {
                    let _ = thread.join(); // its own error was told first
                }
                Err(error)
            }
        }
    }
}

fn bind_admin(config: &Config, core: Option<usize>) -> Result<Option<BoundAdmin>, StartError> {
    match config.admin {
        MaybeListen::Nowhere => Ok(None),
        MaybeListen::At(listen) => Ok(Some(BoundAdmin::bind(AdminSettings { listen, core })?)),
    }
}

/// Where the data is. For another number of shards than ours the next
/// arrangement is begun; nothing of the one in use is changed.
fn lies(config: &Config, directory: &Directory, shards: u16) -> Result<Lies, StartError> {
    let arrangement = Arrangement::current_or_first(directory, shards)?;
    let fits = arrangement.shards() == shards;
    let next = (!fits).then(|| arrangement.build_next(config.cell, shards)).transpose()?;
    Ok(Lies { arrangement, next: next.map(Arc::new), reading: Arc::default() })
}

/// Waits for every shard to recover; where the data must be arranged anew, for
/// every shard's part of that before, and for the ledger to have the old.
fn recover(
    shards: &[ShardThread],
    lies: Lies,
    books: Option<&mut Books>,
    settling: &Settling,
) -> Result<(Arrangement, Vec<Recovered>), StartError> {
    let Lies { mut arrangement, next, .. } = lies;
    if let Some(building) = next {
        let mut ends = Vec::new();
        for shard in shards {
            if let Stage::Rearranged(found) = shard.hear()? {
                ends = found; // each has read all of them
            }
        }
        settling.check_consumed(&arrangement, &ends)?;
        if let Some(books) = books {
            books.finish(&arrangement, &ends, building.shards())?;
        }
        arrangement = launch::publish(building)?;
        for shard in shards {
            shard.tell(Go::Recover(arrangement.clone()));
        }
    }
    let mut recovered = Vec::new();
    for shard in shards {
        if let Stage::Recovered(found) = shard.hear()? {
            recovered.push(found);
        }
    }
    arrangement.settle()?;
    Ok((arrangement, recovered))
}

impl ShardThread {
    /// A thread that has ended hears nothing, and has said why.
    fn tell(&self, go: Go) {
        let _ = self.go.send(go);
    }

    fn hear(&self) -> Result<Stage, StartError> {
        let gone = || io::Error::other("a shard has ended before it began");
        self.says.recv().map_err(|_| gone())?
    }
}

fn spawn(
    config: &Arc<Config>,
    doors: Doors,
    lies: &Lies,
    stopper: &Stopper,
    boards: &[Arc<Board>],
    placement: &machine::Placement,
    shared: &Shared,
) -> Result<Vec<ShardThread>, StartError> {
    let ports = doors.ports();
    let quiet = Arc::default();
    let receivers = receivers::of(config, placement.count())?;
    let judging = risk::of(config)?;
    let doors = doors.of_shards();
    let bells = shared.bells.iter().zip(&shared.covers).zip(&shared.followed);
    let each = doors
        .into_iter()
        .zip(Mesh::between(&shared.bells))
        .zip(bells)
        .zip(boards)
        .zip(&stopper.wakers);
    let mut shards = Vec::new();
    for (((((doors, mesh), ((bell, covers), followed)), board), waker), shard) in each.zip(0..) {
        let launch = Launch {
            config: Arc::clone(config),
            shard,
            shards: placement.count(),
            core: placement.shards.get(usize::from(shard)).copied().flatten(),
            background: placement.background,
            lies: lies.clone(),
            doors,
            ports: ports.clone(),
            mesh,
            bell: Arc::clone(bell),
            receivers: receivers.clone(),
            judging: judging.clone(),
            covers: covers.clone(),
            payment_keys: shared.payment_keys.clone(),
            net: shared.net.clone(),
            gate: shared.gate.clone(),
            chronometer: Arc::clone(&shared.chronometer),
            waker: waker.clone(),
            board: Arc::clone(board),
            followed: Arc::clone(followed),
            stop: Arc::clone(&stopper.stop),
            quiet: Arc::clone(&quiet),
        };
        shards.push(launch.spawn()?);
    }
    Ok(shards)
}

impl Server {
    /// Starts a server and returns when it answers.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Starting::begin(config)?.finish()
    }

    /// The TCP address that all shards share, with the port that the kernel
    /// chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for TLS that all shards share, if there is one.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// The address of the control plane, if there is one.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// The address of the settlement stream, if there is one.
    pub fn settlement(&self) -> Option<SocketAddr> {
        self.settlement.as_ref().map(Settlement::address)
    }

    /// One line per fact: data, capacity, memory, durability, ports.
    pub fn facts(&self) -> &[String] {
        &self.facts
    }

    /// Where each shard shows how it is, by shard.
    pub fn boards(&self) -> &[Arc<Board>] {
        &self.boards
    }

    /// Where the ledger's verdicts go in, by shard; an envelope's shard is
    /// `partition mod shards`.
    pub fn covers(&self) -> &[Covers] {
        &self.covers
    }

    /// What begins a drain from another thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until the server has drained.
    pub fn wait(mut self) -> Result<(), ServerError> {
        let joined: Vec<_> = self.shards.drain(..).map(JoinHandle::join).collect();
        joined.into_iter().collect::<Result<_, _>>().map_err(|_| ServerError::Panicked)
    }

    /// Drains: no new work, everything acknowledged is durable, then the end.
    pub fn drain(self) -> Result<(), ServerError> {
        self.stopper.stop();
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.shards.is_empty() {
            self.stopper.stop();
            for shard in self.shards.drain(..) {
                let _ = shard.join(); // nobody is left to tell of a panic
            }
        }
    }
}
