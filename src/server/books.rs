//! The ledger's place in a server: opened after the journals are recovered,
//! followed until the shards have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::machine;
use super::refusal::StartError;
use crate::config::{Config, LedgerPlace};
use crate::follow::ledger::embedded::Embedded;
use crate::follow::ledger::postgres::Postgres;
use crate::follow::ledger::{Accounts, Verdict};
use crate::follow::{
    Desk, Followee, Follower, FollowerBoard, Obstacle, Open, Requests, Tell, desk, follow_to_end,
};
use crate::journal::{Arrangement, Identity, Position};
use crate::shard::{Cover, Covers, Followed, Sleeper};
use crate::units::{Cell, Durability};

/// A ledger that is not opened yet.
pub(super) struct Books {
    place: LedgerPlace,
    cell: Cell,
    durability: Durability,
    open: Open<dyn Accounts>,
    pub(super) desk: Desk<dyn Accounts>,
    requests: Requests<dyn Accounts>,
    followed: Vec<Arc<Followed>>,
    sleeper: Arc<Sleeper>,
}

/// The follower's thread. Dropped, it ends: after what is committed is applied,
/// if that does not take long.
pub(super) struct Following {
    stop: Arc<AtomicBool>,
    sleeper: Arc<Sleeper>,
    thread: Option<JoinHandle<()>>,
}

/// How the configured ledger is opened; `None` where there is none.
fn opener(config: &Config) -> Option<Open<dyn Accounts>> {
    let data = config.data.clone();
    match config.ledger.clone() {
        LedgerPlace::Nowhere | LedgerPlace::Program => None,
        LedgerPlace::Embedded => Some(Box::new(move || Ok(Box::new(Embedded::open(&data)?)))),
        LedgerPlace::Postgres(url) => Some(Box::new(move || Ok(Box::new(Postgres::open(&url)?)))),
    }
}

/// What the shards share with the follower; without a ledger, with nobody.
pub(super) fn of(config: &Config, shards: u16) -> (Option<Books>, Vec<Arc<Followed>>) {
    let Some(open) = opener(config) else {
        return (None, (0..shards).map(|_| Followed::by_nobody()).collect());
    };
    let sleeper = Arc::<Sleeper>::default();
    let followed: Vec<_> = (0..shards).map(|_| Followed::by(Arc::clone(&sleeper))).collect();
    let (desk, requests) = desk(FollowerBoard::new(followed.clone()), Arc::clone(&sleeper));
    let books = Books {
        place: config.ledger.clone(),
        cell: config.cell,
        durability: config.durability,
        open,
        desk,
        requests,
        followed: followed.clone(),
        sleeper,
    };
    (Some(books), followed)
}

impl Books {
    /// The arrangement `old` is given up, whose journals have ended at `ends`:
    /// the ledger takes all of it first. One that cannot refuses the start.
    pub(super) fn finish(
        &mut self,
        old: &Arrangement,
        ends: &[Position],
        next_shards: u16,
    ) -> Result<(), StartError> {
        let ended: Vec<_> = ends.iter().map(|end| Followed::ended(*end)).collect();
        // What was committed under `os` may not be on the disk yet.
        let old = followees(self.cell, old, &ended, Durability::Os);
        let refused = |obstacle| StartError::LedgerBeforeRearranging(obstacle);
        let mut ledger = (self.open)().map_err(|error| refused(Obstacle::from(error)))?;
        follow_to_end(&mut *ledger, &old, next_shards).map_err(refused)
    }

    /// Opens the ledger and begins to follow; a line for the operator comes back.
    pub(super) fn follow(
        self,
        arrangement: &Arrangement,
        core: Option<usize>,
        covers: Vec<Covers>,
    ) -> Result<(Following, String), StartError> {
        let followees = followees(self.cell, arrangement, &self.followed, self.durability);
        let directory = arrangement.directory().clone();
        let data = directory.path().to_owned();
        let mut follower =
            Follower::new(self.open, followees, telling(covers), self.requests, data);
        follower.begin().map_err(StartError::Ledger)?;
        let behind = match follower.behind() {
            0 => "everything committed is applied".to_owned(),
            bytes => format!("{bytes} bytes of journal behind"),
        };
        let fact = format!("ledger      {}, {behind}", self.place);
        let stop = Arc::<AtomicBool>::default();
        let stopping = Arc::clone(&stop);
        let named = std::thread::Builder::new().name("ledger".to_owned());
        let thread = named.spawn(move || {
            if let Some(core) = core {
                let _ = machine::pin(core); // unpinned it is merely less tidy
            }
            follower.run(&stopping);
            drop(directory); // locked as long
        })?;
        Ok((Following { stop, sleeper: self.sleeper, thread: Some(thread) }, fact))
    }
}

/// The shards of an arrangement, as readers of their journals know them.
pub(super) fn followees(
    cell: Cell,
    arrangement: &Arrangement,
    followed: &[Arc<Followed>],
    durability: Durability,
) -> Vec<Followee> {
    let shards = arrangement.shards();
    let of_shard = |(followed, shard): (&Arc<Followed>, u16)| Followee {
        files: arrangement.source(shard),
        identity: Identity { cell, shard, shards },
        arrangement: arrangement.number(),
        followed: Arc::clone(followed),
        durability,
    };
    followed.iter().zip(0..).map(of_shard).collect()
}

/// Verdicts go into the shards' queues, as far as there is room.
fn telling(covers: Vec<Covers>) -> Tell {
    Box::new(move |shard, waiting| {
        let Some(covers) = covers.get(usize::from(shard)) else { return };
        while let Some(Verdict { envelope, covered }) = waiting.front().copied() {
            if covers.push(Cover { envelope, covered }).is_err() {
                break; // it comes again
            }
            waiting.pop_front();
        }
        covers.ring();
    })
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.sleeper.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it panics only on a broken invariant
        }
    }
}
