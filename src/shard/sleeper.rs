//! How the sleeping follower is woken: as a shard by its bell, but a thread that
//! waits for nothing else needs no descriptor.

use std::time::Duration;

use crate::threads::{AtomicBool, Mutex, Ordering, Thread, current, fence, park, park_timeout};

/// The follower's bed. Whoever sleeps says so first and looks for work once
/// more; whoever brings work looks at the flag afterwards; so one of the two
/// sees the other.
#[derive(Debug, Default)]
pub struct Sleeper {
    sleeping: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

impl Sleeper {
    /// The calling thread sleeps here from now on.
    pub fn settle(&self) {
        *self.thread.lock() = Some(current());
    }

    /// Sleeps until it is woken, or so long, unless there is work already.
    pub fn sleep(&self, timeout: Option<Duration>, has_work: impl FnOnce() -> bool) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !has_work() {
            match timeout {
                Some(timeout) => park_timeout(timeout),
                None => park(),
            }
        }
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Wakes it if it sleeps. What it is woken for was made visible before.
    pub fn wake_if_asleep(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Wakes it, also out of a short rest.
    pub fn wake(&self) {
        if let Some(thread) = &*self.thread.lock() {
            thread.unpark();
        }
    }
}
