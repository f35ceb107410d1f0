//! The follower: committed records of every shard into the ledger, each exactly
//! once, on a thread of its own.
//!
//! The cursor moves in the same transaction as what it stands for, so after any
//! crash the ledger itself says where to go on. A ledger that cannot be reached
//! is tried again; a record that it refuses stops everything until an operator
//! has decided: nothing is skipped silently, and nothing loops.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::begin::{Obstacle, lanes};
use super::board::State;
use super::desk::{Asked, Requests};
use super::lane::{Followee, Lane};
use super::ledger::{Entry, Ledger, LedgerError};
use super::movement::MovementId;
use super::serve::refuse;
use super::verdicts::{Tell, Verdicts};
use crate::journal::{Position, tell_cursors};
use crate::planted::{Bug, is_planted};
use crate::units::Time;

/// Records of one transaction, as soon as there are so many: its fixed costs are
/// gone by then, and an operator's request waits no longer than it takes.
const GROUP_RECORDS: usize = 100_000;

/// Fewer records than this in a round: more are let come before the next.
const FEW_RECORDS: u64 = 1000;

/// How long they are let come. A lone order still hears its verdict in 10 ms.
const GATHER_PAUSE: Duration = Duration::from_millis(3);

/// How long a full queue of verdicts is left alone.
const VERDICT_PAUSE: Duration = Duration::from_millis(1);

/// Between tries to reach the ledger: doubled from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// How often the cursors are told to operators' tools.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How long a drain lets the follower catch up. What is left is applied after
/// the next start.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// Below whatever answers requests.
const NICENESS: i32 = 10;

/// Opens the ledger; called again after it could not be reached.
pub type Open<L> = Box<dyn FnMut() -> Result<Box<L>, LedgerError> + Send>;

/// What the thread does.
pub(super) enum Course {
    /// Looks where the ledger is.
    Begin,
    /// Applies.
    Follow,
    /// Tries again at this moment, then after twice the pause.
    Retry { at: Instant, pause: Duration },
    /// Waits for an operator.
    Stopped { before: Option<MovementId> },
}

/// The follower of all shards.
pub struct Follower<L: Ledger + ?Sized> {
    open: Open<L>,
    pub(super) ledger: Option<Box<L>>,
    followees: Vec<Followee>,
    pub(super) lanes: Vec<Lane>,
    group: Vec<Entry>,
    verdicts: Verdicts,
    pub(super) requests: Requests<L>,
    pub(super) course: Course,
    /// What waits until these positions are applied, by lane.
    pub(super) until_caught: Vec<(Vec<Position>, Asked<L>)>,
    /// The data directory, for the operators' file of cursors.
    data: PathBuf,
    /// When that file is to be written, if something has changed.
    tell_at: Option<Instant>,
}

impl<L: Ledger + ?Sized> Follower<L> {
    /// Follows `followees`, the shards of one arrangement by number; `tell`
    /// brings verdicts to them.
    pub fn new(
        open: Open<L>,
        followees: Vec<Followee>,
        tell: Tell,
        requests: Requests<L>,
        data: PathBuf,
    ) -> Self {
        let verdicts = Verdicts::new(followees.len(), tell);
        Self {
            open,
            ledger: None,
            followees,
            lanes: Vec::new(),
            group: Vec::new(),
            verdicts,
            requests,
            course: Course::Begin,
            until_caught: Vec::new(),
            data,
            tell_at: None,
        }
    }

    /// Looks where the ledger is, before any thread is started: what does not
    /// belong together refuses the start. One that cannot be reached does not.
    pub fn begin(&mut self) -> Result<(), Obstacle> {
        match self.find_place() {
            Err(Obstacle::Unreachable(reason)) => {
                self.meet(Obstacle::Unreachable(reason));
                Ok(())
            }
            found => found,
        }
    }

    /// Committed bytes that are not applied.
    pub fn behind(&self) -> u64 {
        self.lanes.iter().map(Lane::behind).sum()
    }

    /// Follows until `stop` is set and the sleeper woken; then, for a moment,
    /// until nothing is left.
    pub fn run(mut self, stop: &AtomicBool) {
        let _ = rustix::process::setpriority_process(None, NICENESS); // a wish
        self.requests.sleeper.settle();
        let mut stop_at = None;
        loop {
            self.serve();
            let done = self.round();
            let records = done.unwrap_or_else(|obstacle| {
                self.meet(obstacle);
                0
            });
            self.tell_if_due();
            if stop.load(Ordering::Acquire) {
                let until = *stop_at.get_or_insert_with(|| Instant::now() + DRAIN_PATIENCE);
                let may_go_on = matches!(self.course, Course::Follow) && self.has_work();
                if !may_go_on || Instant::now() >= until {
                    break;
                }
            } else {
                self.rest(records, stop);
            }
        }
        self.end();
    }

    /// One round with what is there, without sleeping, for a simulation.
    pub fn step(&mut self) -> Result<u64, Obstacle> {
        self.round()
    }

    /// One transaction of each shard that has something; how many records.
    fn round(&mut self) -> Result<u64, Obstacle> {
        match self.course {
            Course::Stopped { .. } => return Ok(0),
            Course::Retry { at, .. } if Instant::now() < at => return Ok(0),
            Course::Retry { .. } | Course::Begin => self.find_place()?,
            Course::Follow => {}
        }
        self.verdicts.send();
        let mut records = 0;
        for lane in 0..self.lanes.len() {
            if !self.verdicts.are_stuck() {
                records += self.apply_next(lane)?;
            }
        }
        self.serve_caught_up();
        if self.behind() == 0 {
            self.requests.board.caught_up(wall());
        }
        Ok(records)
    }

    /// One transaction: the next records of a lane, and the cursor after them.
    fn apply_next(&mut self, lane: usize) -> Result<u64, Obstacle> {
        let (Some(reader), Some(ledger)) = (self.lanes.get_mut(lane), self.ledger.as_mut()) else {
            return Ok(0);
        };
        if reader.behind() == 0 {
            return Ok(0);
        }
        let begun = Instant::now();
        let cursor = reader.read(GROUP_RECORDS, &mut self.group)?;
        if cursor == reader.applied {
            return Ok(0);
        }
        let told = if is_planted(Bug::CreditWithoutCursor) { reader.applied } else { cursor };
        let verdicts = ledger.apply(&self.group, &told)?;
        reader.applied(cursor);
        let records = u64::try_from(self.group.len()).unwrap_or(u64::MAX);
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.requests.board.applied(lane, cursor, records, took);
        self.tell_at.get_or_insert(begun + TELL_EVERY);
        self.verdicts.put(verdicts);
        Ok(records)
    }

    /// Opens the ledger if need be and goes on from its cursors. After any
    /// failure too: whether a transaction has happened, only the ledger knows.
    pub(super) fn find_place(&mut self) -> Result<(), Obstacle> {
        let ledger = match &mut self.ledger {
            Some(ledger) => ledger,
            closed => closed.insert((self.open)()?),
        };
        let cursors = ledger.cursors()?;
        let pending = ledger.pending()?;
        self.lanes = lanes(&self.followees, &cursors)?;
        let was_away = matches!(self.course, Course::Retry { .. });
        self.course = Course::Follow;
        self.requests.board.begin(self.lanes.iter().map(|lane| lane.applied).collect());
        self.requests.board.enter(State::Running);
        self.tell_at = Some(Instant::now());
        self.verdicts.restart(pending);
        if was_away {
            eprintln!("hongbao: the ledger is there again");
        }
        Ok(())
    }

    /// Something is in the way: waits for the ledger, or for an operator.
    pub(super) fn meet(&mut self, obstacle: Obstacle) {
        let words = obstacle.to_string();
        let board = &self.requests.board;
        if let Obstacle::Unreachable(reason) = obstacle {
            self.ledger = None; // opened anew
            let pause = if let Course::Retry { pause, .. } = self.course {
                (pause * 2).min(RETRY_LAST)
            } else {
                eprintln!("hongbao: {words}; it is tried until it answers, claims go on");
                RETRY_FIRST
            };
            self.course = Course::Retry { at: Instant::now() + pause, pause };
            board.enter(State::Waiting { reason });
        } else {
            let (id, reason) = match obstacle {
                Obstacle::Poison { id, reason } => (Some(id), reason),
                other => (None, other.to_string()),
            };
            eprintln!(
                "hongbao: {words}; nothing more is credited, claims go on: `hb ledger status`"
            );
            self.course = Course::Stopped { before: id };
            board.enter(State::Poisoned { id, reason });
        }
        for (_, asked) in self.until_caught.drain(..) {
            refuse(asked, &words);
        }
    }

    fn has_work(&self) -> bool {
        self.lanes.iter().any(|lane| lane.behind() > 0)
    }

    /// Sleeps as long as there is nothing to do.
    fn rest(&self, records: u64, stop: &AtomicBool) {
        let tell = self.tell_at.map(|at| at.saturating_duration_since(Instant::now()));
        match self.course {
            // Deaf to the shards: their bells would change nothing.
            Course::Stopped { .. } => park(tell),
            Course::Retry { at, .. } => park(Some(at.saturating_duration_since(Instant::now()))),
            Course::Begin => {}
            Course::Follow if records >= FEW_RECORDS => {}
            Course::Follow if !self.verdicts.is_empty() => park(Some(VERDICT_PAUSE)),
            Course::Follow if records > 0 => park(Some(GATHER_PAUSE)),
            Course::Follow => {
                let has_work = || self.has_work() || stop.load(Ordering::Acquire);
                self.requests.sleeper.sleep(tell, has_work);
                self.requests.board.caught_up(wall()); // until this moment
            }
        }
    }

    fn tell_if_due(&mut self) {
        if self.tell_at.is_some_and(|at| at <= Instant::now()) {
            self.tell_cursors();
        }
    }

    fn tell_cursors(&mut self) {
        self.tell_at = None;
        let Some(arrangement) = self.followees.first().map(|followee| followee.arrangement) else {
            return;
        };
        let cursors =
            self.lanes.iter().map(|lane| (lane.of.identity.shard, Position(lane.applied.position)));
        // For eyes only: a full disk is told by those whom it stops.
        let _ = tell_cursors(&self.data, "ledger", arrangement, cursors);
    }

    fn end(mut self) {
        self.requests.board.enter(State::Ended);
        self.tell_cursors();
        for (_, asked) in self
            .until_caught
            .drain(..)
            .chain(self.requests.asked.try_iter().map(|asked| (Vec::new(), asked)))
        {
            refuse(asked, "the server is draining");
        }
    }
}

fn park(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => thread::park_timeout(timeout),
        None => thread::park(),
    }
}

/// The wall clock: for lags and the times of an operator's commands.
pub(super) fn wall() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
