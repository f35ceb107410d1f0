//! How a sleeping shard is woken, and one that does not sleep is left alone.

use std::sync::Arc;

use crate::net::Waker;
use crate::threads::{AtomicBool, Ordering, fence};

/// A shard's bell. Whoever sleeps says so first and looks at its queues once
/// more; whoever pushes looks at the flag after the push; so one of the two
/// sees the other.
#[derive(Debug)]
pub struct Bell {
    sleeping: AtomicBool,
    waker: Waker,
}

impl Bell {
    /// The bell of the shard that `waker` wakes.
    pub fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self { sleeping: AtomicBool::new(false), waker })
    }

    /// Wakes the shard if it sleeps. What it is woken for was made visible
    /// before.
    pub fn ring_if_asleep(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) {
            self.waker.wake();
        }
    }

    /// About to sleep; the queues must be looked at after this.
    pub(super) fn lie_down(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Awake.
    pub(super) fn get_up(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }
}
