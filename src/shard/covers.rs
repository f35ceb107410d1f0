//! What the ledger says about orders that a balance pays for, on its way to the
//! shard that owns them.
//!
//! Nothing here is durable: what is lost with the process, or when a server
//! drains, the ledger says again at the next start. Nobody waits: with no room
//! left, whoever speaks for the ledger keeps what it has and comes again.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::bell::Bell;
use super::turn::{Fatal, Shard};
use crate::journal::Storage;
use crate::limits::COVERS_QUEUED;
use crate::net::Kernel;
use crate::units::{EnvelopeId, Time};

/// Verdicts that one turn takes at most: a crowd of them waits, claims do not.
const COVERS_PER_TURN: usize = 512;

/// The ledger's word on one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cover {
    /// The order's envelope.
    pub envelope: EnvelopeId,
    /// Whether the balance held the money, which is now put aside for it.
    pub covered: bool,
}

/// The way of verdicts to one shard; any thread may push.
#[derive(Clone, Debug)]
pub struct Covers {
    queue: Arc<ArrayQueue<Cover>>,
    bell: Arc<Bell>,
}

impl Covers {
    /// An empty way to the shard of this bell.
    pub fn new(bell: Arc<Bell>) -> Self {
        Self { queue: Arc::new(ArrayQueue::new(COVERS_QUEUED)), bell }
    }

    /// Puts a verdict on its way; gives it back where there is no room: come
    /// again later. Call [`Covers::ring`] after the last of a batch.
    pub fn push(&self, cover: Cover) -> Result<(), Cover> {
        self.queue.push(cover)
    }

    /// Wakes the shard, if it sleeps, for what was pushed.
    pub fn ring(&self) {
        self.bell.ring_if_asleep();
    }
}

/// A shard's end: verdicts that have come, and the one that could not be made
/// true because the journal had no room.
#[derive(Debug)]
pub(super) struct Arrived {
    covers: Covers,
    stuck: Option<Cover>,
}

impl Arrived {
    pub(super) fn by(covers: Covers) -> Self {
        Self { covers, stuck: None }
    }

    fn next(&mut self) -> Option<Cover> {
        self.stuck.take().or_else(|| self.covers.queue.pop())
    }

    /// Whether the last one found no room in the journal.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    /// Whether a turn is wanted now.
    pub(super) fn has_some(&self) -> bool {
        !self.is_stuck() && !self.covers.queue.is_empty()
    }
}

impl<S: Storage, K: Kernel> Shard<S, K> {
    /// Opens what is covered and voids what is not. There is nobody to answer:
    /// the sender looks.
    pub(super) fn decide_covers(&mut self, now: Time) -> Result<(), Fatal> {
        for _ in 0..COVERS_PER_TURN {
            let Some(cover) = self.covers.next() else { break };
            if !self.decide_cover(cover, now)? {
                self.covers.stuck = Some(cover);
                break;
            }
        }
        Ok(())
    }

    /// False when the journal has no room. An order that has lapsed meanwhile is
    /// voided first, so that lapse and verdict cannot both win.
    fn decide_cover(&mut self, cover: Cover, now: Time) -> Result<bool, Fatal> {
        let Cover { envelope, covered } = cover;
        if let Some(lapse) = self.engine.overdue(envelope, now)
            && !self.make_true(&lapse, now)?
        {
            return Ok(false);
        }
        match self.engine.cover(envelope, covered, now).record {
            Some(record) => {
                self.campaigns.look_soon(); // as after a payment
                self.make_true(&record, now)
            }
            None => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Waker;

    #[test]
    fn a_verdict_without_room_comes_back_and_is_taken_later() {
        let covers = Covers::new(Bell::new(Waker::new().unwrap()));
        let mut arrived = Arrived::by(covers.clone());
        let cover = |n: usize| Cover {
            envelope: EnvelopeId(u64::try_from(n).unwrap()),
            covered: n.is_multiple_of(2),
        };
        (0..COVERS_QUEUED).for_each(|n| covers.push(cover(n)).unwrap());
        assert_eq!(covers.push(cover(COVERS_QUEUED)), Err(cover(COVERS_QUEUED)));
        assert!(arrived.has_some());
        assert_eq!(arrived.next(), Some(cover(0)));
        covers.push(cover(COVERS_QUEUED)).unwrap();
        (1..=COVERS_QUEUED).for_each(|n| assert_eq!(arrived.next(), Some(cover(n))));
        assert!(!arrived.has_some() && arrived.next().is_none());
    }
}
