//! The life of a claim on one screen: wait → fill → decide, append, apply →
//! commit → release.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;

use super::answer::Facts;
use super::bell::Bell;
use super::board::{Board, Phase};
use super::campaigns::Campaigns;
use super::checkpoint::Checkpoints;
use super::clock::Clock;
use super::counters::{ShardCounters, TableFill};
use super::covers::{Arrived, Covers};
use super::followed::Outlook;
use super::mesh::Mesh;
use super::pressure::Pressure;
use super::receive::Receiving;
use super::risk::{Denials, Judging};
use super::trail::Trail;
use crate::engine::{Engine, Gate, Misfit};
use crate::journal::{CheckpointInfo, CommitFailed, Committed, Journal, Position, Storage};
use crate::limits::{FRAME_BYTES_MAX, IDLE_MARK_AFTER};
use crate::net::{Inbox, Kernel, Net, Uring};
use crate::units::{Cell, Durability, Stamp, Time};
use crate::wire::PaymentKeys;

/// Expiries that one turn makes at most: a crowd of them waits, claims do not.
const EXPIRIES_PER_TURN: usize = 512;

/// Slots that one turn frees at most.
const RECYCLED_PER_TURN: usize = 256;

/// From so many records on, a commit overlaps with the next batch. Below, the
/// hand-over to another thread and back costs more than it wins: a small batch
/// waits for the disk on the spot.
const OVERLAP_RECORDS: u32 = 1024;

/// From so many records on, a turn is cut in two: its first part is committed
/// while the rest is decided. Every commit costs each connection a send, so not
/// for less.
const HAND_ON_RECORDS: u32 = 4096;

/// How long an expiry or a verdict that found no room in the journal waits for its next try.
const EXPIRY_PAUSE: Duration = Duration::from_millis(500);

/// How long a drain waits for peers to take their last replies.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// How often a draining shard looks whether the background has synced what was full.
const RETIRE_PAUSE: Duration = Duration::from_millis(1);

/// How often a draining shard looks whether the others have come as far.
const DRAIN_LOOK: Duration = Duration::from_millis(1);

/// What a shard needs to know besides its rooms.
pub struct ShardSettings {
    /// The cell of this server.
    pub cell: Cell,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// The TCP port of each shard, for `hello`.
    pub ports: Vec<u16>,
    /// The stream of envelope seeds.
    pub seeds: ChaCha12Rng,
    /// What a request may wait before work is refused, in microseconds.
    pub wait_us_max: u32,
    /// What the follower of its journal sees, and lets it free.
    pub outlook: Outlook,
    /// The checkpoint the state was recovered from.
    pub checkpoint: Option<CheckpointInfo>,
    /// Where what users receive is limited.
    pub receiving: Option<Receiving>,
    /// Where shares are judged by the rules of risk.
    pub judging: Option<Judging>,
    /// Set, with the bells rung, to begin a drain.
    pub stop: Arc<AtomicBool>,
    /// How many shards have nothing on its way any more, while draining.
    pub quiet: Arc<AtomicUsize>,
    /// The keys that payments are sealed with.
    pub payment_keys: PaymentKeys,
    /// Whether anybody says by `covers` what balances hold.
    pub has_balances: bool,
    /// What the terms of envelopes are checked with.
    pub gate: Gate,
    /// Where the ledger's verdicts come in.
    pub covers: Covers,
    /// The bell of this shard.
    pub bell: Arc<Bell>,
    /// Where the shard shows how it is.
    pub board: Arc<Board>,
}

/// What ends a shard, and with it the process: nothing is papered over.
///
/// Boxed, because it lies in the result of every decision: one word, beside which
/// nothing of a claim's outcome is copied in pieces (see `engine::Outcome`).
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Fatal(Box<Cause>);

#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    /// The journal could not make a batch durable.
    #[error(transparent)]
    Commit(#[from] CommitFailed),
    /// The journal could not be written.
    #[error("the journal cannot be written: {0}")]
    Append(io::Error),
    /// The ring failed.
    #[error("the network ring failed: {0}")]
    Ring(#[from] io::Error),
    /// The engine refused what it had decided itself: a defect.
    #[error("a decided record does not fit the state ({0}); this is a defect, please report it")]
    Misfit(#[from] Misfit),
}

impl<C: Into<Cause>> From<C> for Fatal {
    fn from(cause: C) -> Self {
        Self(Box::new(cause.into()))
    }
}

/// A commit under way, and what waits for it.
struct Begun {
    at: Stamp,
    /// When the requests of its turn were collected.
    collected: Stamp,
    records: u64,
    /// Requests whose replies wait for it.
    answered: u64,
}

/// One shard with its rooms.
pub struct Shard<S: Storage, K = Uring> {
    pub(super) net: Net<K>,
    pub(super) engine: Engine,
    pub(super) journal: Journal<S>,
    pub(super) mesh: Mesh,
    pub(super) inbox: Inbox,
    pub(super) pressure: Pressure,
    pub(super) checkpoints: Checkpoints,
    pub(super) receiving: Option<Receiving>,
    pub(super) judging: Option<Judging>,
    pub(super) trail: Trail,
    pub(super) denials: Denials,
    /// Whether any of the two is there: all that a plain claim asks about them.
    pub(super) looks_twice: bool,
    pub(super) outlook: Outlook,
    pub(super) campaigns: Campaigns,
    pub(super) facts: Facts,
    pub(super) seeds: ChaCha12Rng,
    pub(super) payment_keys: PaymentKeys,
    pub(super) has_balances: bool,
    pub(super) gate: Gate,
    /// What is attached to the requests of the round that is decided.
    pub(super) attached: Vec<u8>,
    /// The terms of the order that is decided, as they are kept.
    pub(super) kept_terms: Vec<u8>,
    pub(super) covers: Arrived,
    pub(super) counters: ShardCounters,
    /// When the round that is decided was begun.
    pub(super) round_at: Stamp,
    /// Requests decided in this turn.
    pub(super) answered: u64,
    /// Everything before this is committed.
    pub(super) committed_upto: Position,
    clock: Clock,
    stop: Arc<AtomicBool>,
    quiet: Arc<AtomicUsize>,
    bell: Arc<Bell>,
    board: Arc<Board>,
    /// The commit that is under way.
    begun: Option<Begun>,
    /// When records were last committed, by the clock that cannot be set.
    committed_at: Stamp,
    /// The last expiry found no room in the journal.
    expiry_stuck: bool,
}

impl<S: Storage, K: Kernel> Shard<S, K> {
    /// A shard on a recovered state; runs on the thread that made `net`.
    pub fn new(
        net: Net<K>,
        engine: Engine,
        journal: Journal<S>,
        mesh: Mesh,
        checkpoints: Checkpoints,
        clock: Clock,
        settings: ShardSettings,
    ) -> Self {
        let ShardSettings { cell, durability, ports, seeds, wait_us_max, .. } = settings;
        let now = net.stamp();
        let mut counters = ShardCounters::default();
        if let Some(info) = &settings.checkpoint {
            counters.checkpoints.note(info);
        }
        let facts = Facts { cell, durability, ports, tls_ports: net.tls_ports().to_vec() };
        let campaigns = Campaigns::new(mesh.crowd(), mesh.own(), &engine);
        let mut shard = Self {
            net,
            campaigns,
            committed_upto: Position(0),
            engine,
            journal,
            mesh,
            checkpoints,
            looks_twice: settings.receiving.is_some() || settings.judging.is_some(),
            receiving: settings.receiving,
            trail: Trail::new(settings.judging.is_some(), clock.last()),
            judging: settings.judging,
            denials: Denials::default(),
            outlook: settings.outlook,
            inbox: Inbox::new(),
            pressure: Pressure::new(wait_us_max, now),
            facts,
            seeds,
            payment_keys: settings.payment_keys,
            has_balances: settings.has_balances,
            gate: settings.gate,
            attached: Vec::new(),
            kept_terms: Vec::with_capacity(FRAME_BYTES_MAX), // longer ones do not come
            covers: Arrived::by(settings.covers),
            counters,
            round_at: now,
            answered: 0,
            clock,
            stop: settings.stop,
            quiet: settings.quiet,
            bell: settings.bell,
            board: settings.board,
            begun: None,
            committed_at: now,
            expiry_stuck: false,
        };
        shard.free();
        shard.publish();
        shard
    }

    /// Turns until the bell says to stop, then drains.
    pub fn run(mut self) -> Result<(), Fatal> {
        while !self.stop.load(Ordering::Acquire) {
            let timeout = self.sleep_at_most();
            self.wait(timeout)?;
            self.turn()?;
        }
        self.drain()
    }

    /// One turn with what is there, without sleeping, for a simulation.
    pub fn step(&mut self) -> Result<(), Fatal> {
        self.wait(Some(Duration::ZERO))?;
        self.turn()
    }

    /// Sleeps until something comes in from a connection, a peer or the ledger, or
    /// a commit has ended.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Fatal> {
        self.bell.lie_down();
        let has_work = self.mesh.has_arrivals()
            || self.covers.has_some()
            || self.begun.is_some() && self.commit_has_ended();
        self.net.wait(if has_work { Some(Duration::ZERO) } else { timeout })?;
        self.bell.get_up();
        Ok(())
    }

    /// One turn. Everything that came in is decided, one commit makes it true,
    /// and only then do the replies leave. While a commit is under way the next
    /// batch is decided; it is committed when that one has ended.
    fn turn(&mut self) -> Result<(), Fatal> {
        let now = self.clock.at(self.net.uptime());
        self.end_commit_if_done()?;
        self.relay_answered();
        self.decide_carried(now)?;
        self.decide_covers(now)?;
        while self.net.fill(&mut self.inbox)? {
            self.decide_inbox(now)?;
            self.hand_on(now)?;
        }
        self.mesh.send();
        self.expire_due(now)?;
        self.look_at_campaigns(now);
        self.checkpoint(now)?;
        self.free();
        if self.begun.is_none() {
            self.commit(now)?;
        }
        self.publish();
        Ok(())
    }

    /// Replies that peers have made true go to their connections.
    fn relay_answered(&mut self) {
        while let Some((peer, parcel)) = self.mesh.next_answered() {
            for (asked, reply) in parcel.answers() {
                self.net.relay(asked, reply);
            }
            self.mesh.reuse(peer, parcel);
        }
    }

    /// Commits everything decided so far and lets its replies go. The commit of
    /// a large batch is only begun: the disk takes as long as thousands of
    /// decisions, which are made meanwhile.
    fn commit(&mut self, now: Time) -> Result<(), Fatal> {
        self.net.seal();
        self.mesh.seal();
        if let Some(receiving) = &mut self.receiving {
            receiving.seal();
        }
        let records = self.journal.uncommitted();
        let begun = Begun {
            at: self.net.stamp(),
            collected: self.net.collected(),
            records: records.into(),
            answered: std::mem::take(&mut self.answered),
        };
        if records >= OVERLAP_RECORDS {
            match self.journal.begin_commit(now)? {
                None => {
                    self.begun = Some(begun);
                    self.net.submit()?;
                }
                Some(committed) => self.release(committed, &begun)?,
            }
        } else {
            // Replies of the batch before leave while the disk is at this one.
            let mut sent = Ok(());
            let committed = self.journal.commit_while(now, || sent = self.net.submit())?;
            sent?;
            self.release(committed, &begun)?;
        }
        self.mark_when_idle(records > 0, now)
    }

    /// Whether everything that was appended is committed.
    pub(super) fn is_settled(&self) -> bool {
        self.begun.is_none() && self.journal.uncommitted() == 0
    }

    fn commit_has_ended(&self) -> bool {
        self.journal.commit_has_ended()
    }

    /// Between two rounds of a long turn: replies whose commit has ended leave,
    /// and what is decided by then follows on their heels.
    fn hand_on(&mut self, now: Time) -> Result<(), Fatal> {
        if self.begun.is_some() {
            if !self.commit_has_ended() {
                return Ok(());
            }
            self.end_commit()?;
            self.net.submit()?;
        }
        if self.journal.uncommitted() >= HAND_ON_RECORDS {
            self.commit(now)?;
        }
        Ok(())
    }

    fn end_commit_if_done(&mut self) -> Result<(), Fatal> {
        if self.begun.is_some() && self.commit_has_ended() {
            self.end_commit()?;
        }
        Ok(())
    }

    /// Waits for the commit that was begun, if one was.
    pub(super) fn end_commit(&mut self) -> Result<(), Fatal> {
        let Some(begun) = self.begun.take() else { return Ok(()) };
        let committed = self.journal.end_commit()?;
        self.release(committed, &begun)
    }

    /// What was sealed with `begun` is committed: its replies leave.
    fn release(&mut self, committed: Committed, begun: &Begun) -> Result<(), Fatal> {
        let now = self.net.stamp();
        if let Some(receiving) = &mut self.receiving {
            receiving.release(committed);
        }
        // Before the replies: whoever has one finds what it tells in the ledger's queue.
        self.outlook.show(&committed);
        self.committed_upto = committed.upto();
        self.campaigns.release(committed.upto());
        self.net.release(&committed)?;
        self.mesh.release(committed);
        let waited_us = now.since(begun.collected);
        self.pressure.note(now, waited_us);
        if begun.records > 0 {
            self.counters.commit_us.record(now.since(begun.at).into(), 1);
            self.counters.batch_records.record(begun.records, 1);
        }
        if begun.answered > 0 {
            self.counters.answer_us.record(waited_us.into(), begun.answered);
        }
        Ok(())
    }

    /// Closes what is over, and frees the slots of what has been closed for
    /// long enough. A crowd of either is spread over turns.
    fn expire_due(&mut self, now: Time) -> Result<(), Fatal> {
        self.expiry_stuck = !self.end_holds(now)?;
        if self.expiry_stuck {
            return Ok(());
        }
        for _ in 0..EXPIRIES_PER_TURN {
            let due = self.engine.due(now).or_else(|| self.engine.recyclable(now));
            let Some(expiry) = due else { break };
            if !self.make_true(&expiry, now)? {
                self.expiry_stuck = true;
                return Ok(());
            }
        }
        for _ in 0..RECYCLED_PER_TURN {
            let Some(recycled) = self.engine.recyclable(now) else { break };
            if !self.make_true(&recycled, now)? {
                self.expiry_stuck = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Covers the last acknowledged batch when nothing follows it, so that
    /// recovery knows it was acknowledged (DESIGN §5).
    fn mark_when_idle(&mut self, appended: bool, now: Time) -> Result<(), Fatal> {
        if self.begun.is_some() || appended {
            self.committed_at = self.net.stamp();
        } else if self.journal.mark_wanted() && self.is_idle() {
            self.journal.mark(now)?;
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        let since_us = self.net.stamp().since(self.committed_at);
        Duration::from_micros(since_us.into()) >= IDLE_MARK_AFTER
    }

    /// How long the next wait may sleep; `None` is until something comes.
    fn sleep_at_most(&mut self) -> Option<Duration> {
        let now = self.clock.at(self.net.uptime());
        let mark = self.journal.mark_wanted().then_some(IDLE_MARK_AFTER);
        let due = self.engine.next_due().map(|due| {
            let wait = (u64::from(due) * 1000).saturating_sub(now.0);
            if self.expiry_stuck { EXPIRY_PAUSE } else { Duration::from_millis(wait) }
        });
        let cover = self.covers.is_stuck().then_some(EXPIRY_PAUSE);
        let checkpoint = self.checkpoints.sleep_at_most(now);
        let campaigns = self.campaigns.sleep_at_most(now);
        [mark, due, cover, checkpoint, campaigns].into_iter().flatten().min()
    }

    /// The turn is over: what it has cost is noted and shown.
    fn publish(&mut self) {
        self.counters.turns += 1;
        self.counters.net = self.net.counters();
        self.counters.totals = self.engine.totals();
        self.counters.journal = self.journal.stats();
        let fill = self.engine.fill();
        self.counters.tables = TableFill {
            envelopes: fill.envelopes.into(),
            envelopes_max: fill.envelopes_max.into(),
            pages: fill.pages.into(),
            pages_max: fill.pages_max.into(),
        };
        self.counters.pressure = self.pressure.level();
        self.board.publish(&self.counters);
    }

    /// No new work; what was acknowledged is durable and known to be. Nobody
    /// leaves while another shard may still need an answer.
    fn drain(mut self) -> Result<(), Fatal> {
        self.board.enter(Phase::Draining);
        self.turn()?;
        self.settle_mesh()?;
        let now = self.clock.at(self.net.uptime());
        self.end_commit()?;
        self.commit(now)?;
        self.end_commit()?;
        let committed = self.journal.commit(now)?;
        self.net.drain(&committed, DRAIN_PATIENCE)?;
        // Under `os` this is where the journal is synced.
        if self.facts.durability == Durability::Os {
            while !self.journal.has_retired()? {
                std::thread::sleep(RETIRE_PAUSE);
            }
            self.journal.mark(now)?;
        } else if self.journal.mark_wanted() {
            self.journal.mark(now)?;
        }
        self.publish();
        Ok(())
    }

    /// Turns without new requests until no shard has parcels on their way.
    fn settle_mesh(&mut self) -> Result<(), Fatal> {
        let deadline = Instant::now() + DRAIN_PATIENCE;
        let mut said = false;
        while self.quiet.load(Ordering::Acquire) < self.mesh.shards() {
            if !said && !self.mesh.has_parcels_away() {
                said = true;
                self.quiet.fetch_add(1, Ordering::AcqRel);
                continue;
            }
            if Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(DRAIN_LOOK);
            let now = self.clock.at(self.net.uptime());
            self.relay_answered();
            self.decide_carried(now)?;
            self.end_commit()?;
            self.commit(now)?;
        }
        Ok(())
    }
}
