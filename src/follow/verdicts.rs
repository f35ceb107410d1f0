//! Verdicts on their way to their shards: kept until each shard's queue has room.
//!
//! A verdict may be told twice (after a restart, or when the ledger was away);
//! a shard passes over what it knows.

use std::collections::VecDeque;

use super::ledger::Verdict;

/// More than this for one shard, and nothing more is applied until it takes some.
const WAITING_MAX: usize = 64 << 10;

/// Takes verdicts for a shard from the front, as many as its queue has room for.
pub type Tell = Box<dyn FnMut(u16, &mut VecDeque<Verdict>) + Send>;

/// What waits, by shard.
pub(super) struct Verdicts {
    tell: Tell,
    waiting: Vec<VecDeque<Verdict>>,
}

impl Verdicts {
    pub(super) fn new(shards: usize, tell: Tell) -> Self {
        Self { tell, waiting: vec![VecDeque::new(); shards] }
    }

    /// Forgets what waits and begins with what the ledger says is open.
    pub(super) fn restart(&mut self, pending: Vec<Verdict>) {
        self.waiting.iter_mut().for_each(VecDeque::clear);
        self.put(pending);
    }

    pub(super) fn put(&mut self, verdicts: Vec<Verdict>) {
        let shards = self.waiting.len().max(1);
        for verdict in verdicts {
            let shard = usize::from(verdict.envelope.partition()) % shards;
            if let Some(waiting) = self.waiting.get_mut(shard) {
                waiting.push_back(verdict);
            }
        }
        self.send();
    }

    /// Tells what there is room for.
    pub(super) fn send(&mut self) {
        for (waiting, shard) in self.waiting.iter_mut().zip(0..) {
            if !waiting.is_empty() {
                (self.tell)(shard, waiting);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// A shard takes so few that applying more would only fill memory.
    pub(super) fn are_stuck(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.len() > WAITING_MAX)
    }
}
