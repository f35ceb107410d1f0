//! Where a shard shows how it is, for whoever watches: phase, progress of
//! recovery, counters. Readers never make the shard wait.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::counters::ShardCounters;
use crate::net::Waker;

/// Where a shard is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not begun.
    Starting = 0,
    /// Reading checkpoint and journal.
    Recovering = 1,
    /// Answers requests.
    Ready = 2,
    /// No new work.
    Draining = 3,
    /// Its thread has ended.
    Ended = 4,
}

/// One shard's board.
#[derive(Debug)]
pub struct Board {
    phase: AtomicU8,
    /// Bytes of checkpoint and journal that recovery reads.
    pub recovery_bytes: AtomicU64,
    /// Those it has read.
    pub recovered_bytes: AtomicU64,
    /// Records applied, and envelopes loaded from a checkpoint.
    pub recovered_records: AtomicU64,
    counters: Mutex<ShardCounters>,
    waker: Waker,
}

impl Board {
    /// The board of a shard that is woken by `waker`.
    pub fn new(waker: Waker) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Starting.code()),
            recovery_bytes: AtomicU64::new(0),
            recovered_bytes: AtomicU64::new(0),
            recovered_records: AtomicU64::new(0),
            counters: Mutex::default(),
            waker,
        }
    }

    /// Where the shard is in its life.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Recovering,
            2 => Phase::Ready,
            3 => Phase::Draining,
            _ => Phase::Ended,
        }
    }

    /// Says where the shard is.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase.code(), Ordering::Release);
    }

    /// The counters of a recent turn.
    pub fn counters(&self) -> ShardCounters {
        *self.counters.lock()
    }

    /// Shows new counters, unless somebody is just reading: the next turn
    /// makes up for it.
    pub(super) fn publish(&self, counters: &ShardCounters) {
        if let Some(mut shown) = self.counters.try_lock() {
            *shown = *counters;
        }
    }

    /// Makes the shard turn once, so that its counters show that it lives.
    pub fn nudge(&self) {
        self.waker.wake();
    }
}

impl Phase {
    fn code(self) -> u8 {
        match self {
            Self::Starting => 0,
            Self::Recovering => 1,
            Self::Ready => 2,
            Self::Draining => 3,
            Self::Ended => 4,
        }
    }
}
