//! The life of a claim on one screen: wait → fill → decide, append, apply →
//! commit → release.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::RngCore;

use super::answer::answer;
use super::board::Board;
use super::clock::Clock;
use super::counters::ShardCounters;
use crate::engine::{Decision, Engine, Misfit, Outcome, Place, Record};
use crate::journal::{AppendError, CommitFailed, Journal, Storage};
use crate::limits::{IDLE_MARK_AFTER, PROTOCOL_VERSION};
use crate::net::{Asked, Inbox, Net};
use crate::units::{Cell, Durability, Seed, Time};
use crate::wire::{BadRequest, Request, Status};

/// Requests whose envelopes are touched together, so that their cache misses
/// overlap instead of queueing.
const TOUCH_GROUP: usize = 32;

/// Expiries that one turn makes at most: a crowd of them waits, claims do not.
const EXPIRIES_PER_TURN: usize = 512;

/// How long an expiry that found no room in the journal waits for its next try.
const EXPIRY_PAUSE: Duration = Duration::from_millis(500);

/// How long a drain waits for peers to take their last replies.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

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
    /// Set, with the net's waker rung, to begin a drain.
    pub stop: Arc<AtomicBool>,
    /// Where the counters are published, once a turn.
    pub board: Arc<Board>,
}

/// What ends a shard, and with it the process: nothing is papered over.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
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

/// One shard with its rooms.
pub struct Shard<S: Storage> {
    net: Net,
    engine: Engine,
    journal: Journal<S>,
    inbox: Inbox,
    clock: Clock,
    settings: ShardSettings,
    /// When records were last committed, by the clock that cannot be set.
    committed_at: Instant,
    /// The last expiry found no room in the journal.
    expiry_stuck: bool,
    turns: u64,
}

impl<S: Storage> Shard<S> {
    /// A shard on a recovered state; runs on the thread that made `net`.
    pub fn new(
        net: Net,
        engine: Engine,
        journal: Journal<S>,
        clock: Clock,
        settings: ShardSettings,
    ) -> Self {
        let (inbox, committed_at) = (Inbox::new(), Instant::now());
        let (expiry_stuck, turns) = (false, 0);
        Self { net, engine, journal, inbox, clock, settings, committed_at, expiry_stuck, turns }
    }

    /// Turns until the bell says to stop, then drains.
    pub fn run(mut self) -> Result<(), Fatal> {
        while !self.settings.stop.load(Ordering::Acquire) {
            let timeout = self.sleep_at_most();
            self.net.wait(timeout)?;
            self.turn()?;
        }
        self.drain()
    }

    /// One turn. Everything that came in is decided, one commit makes it true,
    /// and only then do the replies leave.
    fn turn(&mut self) -> Result<(), Fatal> {
        let now = self.clock.now();
        while self.net.fill(&mut self.inbox)? {
            self.decide_all(now)?;
        }
        self.expire_due(now)?;
        let appended = self.journal.has_uncommitted();
        let committed = self.journal.commit(now)?;
        self.net.release(&committed)?;
        self.mark_when_idle(appended, now)?;
        self.publish();
        Ok(())
    }

    fn decide_all(&mut self, now: Time) -> Result<(), Fatal> {
        let count = self.inbox.asked().len();
        for start in (0..count).step_by(TOUCH_GROUP) {
            let end = (start + TOUCH_GROUP).min(count);
            self.touch(start, end);
            for place in start..end {
                let asked = self.inbox.asked()[place];
                self.decide(&asked, now)?;
            }
        }
        Ok(())
    }

    /// Loads the lines that a group will need; the loads do not depend on each
    /// other, so the processor waits for all of them at once.
    fn touch(&self, start: usize, end: usize) {
        let group = &self.inbox.asked()[start..end];
        let pairs = || {
            group.iter().filter_map(|asked| match asked.request {
                Ok(Request::Claim { envelope, user } | Request::Grab { envelope, user }) => {
                    Some((envelope, user))
                }
                _ => None,
            })
        };
        let touch = |places: &[Place]| {
            black_box(places.iter().fold(0, |seen, &place| seen ^ self.engine.touch(place)));
        };
        let mut headers = [Place::default(); TOUCH_GROUP];
        for (place, (envelope, _)) in headers.iter_mut().zip(pairs()) {
            *place = self.engine.place(envelope);
        }
        touch(&headers);
        let mut claims = [[Place::default(); 4]; TOUCH_GROUP];
        for (places, (envelope, user)) in claims.iter_mut().zip(pairs()) {
            *places = self.engine.claim_places(envelope, user);
        }
        touch(claims.as_flattened());
    }

    /// Validate, append, apply, and hold the reply.
    #[inline]
    fn decide(&mut self, asked: &Asked, now: Time) -> Result<(), Fatal> {
        let request = match asked.request {
            Ok(Request::Hello { version }) => {
                self.hello(asked, version);
                return Ok(());
            }
            Ok(request) => request,
            Err(reason) => {
                self.refuse(asked, reason);
                return Ok(());
            }
        };
        let outcome = self.outcome_of(&request, now)?;
        let envelope = request.envelope().unwrap_or_default();
        let reply = self.net.reply(asked, self.journal.appended());
        answer(reply, &outcome, &self.engine, envelope);
        Ok(())
    }

    #[inline]
    fn outcome_of(&mut self, request: &Request, now: Time) -> Result<Outcome, Fatal> {
        // A claim looks at the time itself; see `expire_touched` for why.
        let is_claim = matches!(request, Request::Claim { .. });
        if !is_claim && !self.expire_touched(request, now)? {
            return Ok(Outcome::Full);
        }
        let decision = self.validate(request, now);
        match decision {
            Decision { record: Some(record), .. } if !self.make_true(&record, now)? => {
                Ok(Outcome::Full)
            }
            Decision { outcome: Outcome::Expired, .. } if !self.expire_touched(request, now)? => {
                Ok(Outcome::Full)
            }
            Decision { outcome, .. } => Ok(outcome),
        }
    }

    /// Whoever first touches an envelope after its time expires it, so no claim
    /// and refund can both win, and no answer runs ahead of the record. False
    /// when the journal has no room for the expiry.
    fn expire_touched(&mut self, request: &Request, now: Time) -> Result<bool, Fatal> {
        let envelope = request.envelope();
        match envelope.and_then(|envelope| self.engine.overdue(envelope, now)) {
            Some(expiry) => self.make_true(&expiry, now),
            None => Ok(true),
        }
    }

    #[inline]
    fn validate(&mut self, request: &Request, now: Time) -> Decision {
        let looked = |outcome| Decision { outcome, record: None };
        match *request {
            Request::Claim { envelope, user } => self.engine.claim(envelope, user, now),
            Request::Grab { envelope, user } => looked(self.engine.grab(envelope, user)),
            Request::Detail { envelope, from, rows_max } => {
                looked(self.engine.detail(envelope, from, rows_max))
            }
            Request::Show { envelope } => looked(self.engine.show(envelope)),
            Request::Send(ref order) => {
                let seeds = &mut self.settings.seeds;
                let seed = Seed([seeds.next_u64(), seeds.next_u64()]);
                self.engine.fund(order, seed, now)
            }
            Request::Cancel { envelope, sender } => self.engine.cancel(envelope, sender, now),
            Request::Hello { .. } => looked(Outcome::Invalid(BadRequest::UnknownOp)),
        }
    }

    /// Appends a record and applies it; false when the journal has no room, in
    /// which case nothing has changed.
    #[inline]
    fn make_true(&mut self, record: &Record, now: Time) -> Result<bool, Fatal> {
        match self.journal.append(record, now) {
            Ok(_) => {
                self.engine.apply(record)?;
                Ok(true)
            }
            Err(AppendError::NoSpace) => Ok(false),
            Err(AppendError::Failed(error)) => Err(Fatal::Append(error)),
        }
    }

    fn hello(&mut self, asked: &Asked, version: u32) {
        if version != PROTOCOL_VERSION {
            return self.refuse(asked, BadRequest::Version);
        }
        let (cell, durability) = (self.settings.cell, self.settings.durability.code());
        let reply = self.net.reply(asked, self.journal.appended());
        reply.hello(PROTOCOL_VERSION, cell, durability, &self.settings.ports);
    }

    fn refuse(&mut self, asked: &Asked, reason: BadRequest) {
        self.net.count_bad_request();
        let reply = self.net.reply(asked, self.journal.appended());
        reply.bare(Status::BadRequest, reason.code());
    }

    fn expire_due(&mut self, now: Time) -> Result<(), Fatal> {
        self.expiry_stuck = false;
        for _ in 0..EXPIRIES_PER_TURN {
            let due = self.engine.due(now).or_else(|| self.engine.recyclable(now));
            let Some(expiry) = due else { break };
            if !self.make_true(&expiry, now)? {
                self.expiry_stuck = true;
                break;
            }
        }
        Ok(())
    }

    /// Covers the last acknowledged batch when nothing follows it, so that
    /// recovery knows it was acknowledged (DESIGN §5).
    fn mark_when_idle(&mut self, appended: bool, now: Time) -> Result<(), Fatal> {
        if appended {
            self.committed_at = Instant::now();
        } else if self.journal.mark_wanted() && self.committed_at.elapsed() >= IDLE_MARK_AFTER {
            self.journal.mark(now)?;
        }
        Ok(())
    }

    /// How long the next wait may sleep; `None` is until something comes.
    fn sleep_at_most(&mut self) -> Option<Duration> {
        let mark = self.journal.mark_wanted().then_some(IDLE_MARK_AFTER);
        let due = self.engine.next_due().map(|due| {
            let wait = (u64::from(due) * 1000).saturating_sub(self.clock.now().0);
            if self.expiry_stuck { EXPIRY_PAUSE } else { Duration::from_millis(wait) }
        });
        match (mark, due) {
            (Some(mark), Some(due)) => Some(mark.min(due)),
            (mark, due) => mark.or(due),
        }
    }

    fn publish(&mut self) {
        self.turns += 1;
        self.settings.board.publish(&ShardCounters {
            net: self.net.counters(),
            totals: self.engine.totals(),
            journal: self.journal.stats(),
            turns: self.turns,
            ..ShardCounters::default()
        });
    }

    /// No new work; what was acknowledged is durable and known to be.
    fn drain(mut self) -> Result<(), Fatal> {
        self.turn()?;
        let now = self.clock.now();
        let committed = self.journal.commit(now)?;
        self.net.drain(&committed, DRAIN_PATIENCE)?;
        // Under `os` this is where the journal is synced.
        if self.settings.durability == Durability::Os || self.journal.mark_wanted() {
            self.journal.mark(now)?;
        }
        self.publish();
        Ok(())
    }
}
