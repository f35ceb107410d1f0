//! Where the follower shows how it is, for whoever watches; looking never makes
//! it wait for longer than a copy.

use std::sync::Arc;

use parking_lot::Mutex;

use super::ledger::Cursor;
use super::movement::MovementId;
use crate::shard::{Followed, Histogram};
use crate::units::Time;

/// What the follower does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It was not begun yet.
    #[default]
    Starting,
    /// It applies what is committed, or waits for something to be.
    Running,
    /// The ledger cannot be reached; it is tried again until it can.
    Waiting {
        /// What the ledger said.
        reason: String,
    },
    /// It has stopped before a record, and goes on when an operator says so.
    Poisoned {
        /// The record that the ledger refuses; `None` where the journal cannot
        /// be followed at all.
        id: Option<MovementId>,
        /// Why.
        reason: String,
    },
    /// The server is being drained.
    Ended,
}

/// What the follower has shown.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What it does.
    pub state: State,
    /// How far it is, by shard.
    pub cursors: Vec<Cursor>,
    /// Committed bytes that are not applied.
    pub lag_bytes: u64,
    /// For how long the oldest of them has been committed, in milliseconds.
    pub lag_ms: u64,
    /// Records applied since the start.
    pub records: u64,
    /// How many records a transaction applied.
    pub transaction_records: Histogram,
    /// How long a transaction took, in microseconds.
    pub transaction_us: Histogram,
}

/// Shared between the follower and those who watch it.
#[derive(Debug)]
pub struct FollowerBoard {
    followed: Vec<Arc<Followed>>,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    report: Report,
    /// When nothing was left to be applied the last time.
    caught_up: Time,
}

impl FollowerBoard {
    /// The board of who follows these shards.
    pub fn new(followed: Vec<Arc<Followed>>) -> Arc<Self> {
        Arc::new(Self { followed, shown: Mutex::default() })
    }

    /// How the follower is at `now`.
    pub fn report(&self, now: Time) -> Report {
        let shown = self.shown.lock();
        let mut report = shown.report.clone();
        let caught_up = shown.caught_up;
        drop(shown);
        for (followed, cursor) in self.followed.iter().zip(&report.cursors) {
            let behind = followed.committed().0.saturating_sub(cursor.position);
            report.lag_bytes = report.lag_bytes.saturating_add(behind);
            if behind > 0 {
                // The next batch came after the last applied one, and after the
                // moment when there was none.
                let since = caught_up.0.max(cursor.time_ms);
                report.lag_ms = report.lag_ms.max(now.0.saturating_sub(since));
            }
        }
        report
    }

    /// What the follower does.
    pub fn state(&self) -> State {
        self.shown.lock().report.state.clone()
    }

    pub(super) fn enter(&self, state: State) {
        self.shown.lock().report.state = state;
    }

    pub(super) fn begin(&self, cursors: Vec<Cursor>) {
        self.shown.lock().report.cursors = cursors;
    }

    /// One transaction is done.
    pub(super) fn applied(&self, lane: usize, cursor: Cursor, records: u64, took_us: u64) {
        let report = &mut self.shown.lock().report;
        if let Some(shown) = report.cursors.get_mut(lane) {
            *shown = cursor;
        }
        report.records += records;
        report.transaction_records.record(records, 1);
        report.transaction_us.record(took_us, 1);
    }

    /// At this moment nothing was left.
    pub(super) fn caught_up(&self, now: Time) {
        self.shown.lock().caught_up = now;
    }
}
