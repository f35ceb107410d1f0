//! The bell of a shard, for other threads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// Wakes a sleeping shard from another thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A bell nobody has rung yet.
    pub fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(bell)))
    }

    /// Rings the bell; it stays rung until the shard has noticed.
    pub fn wake(&self) {
        // The only way this fails is a full counter, which is a rung bell too.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    /// Notices that it was rung.
    pub(super) fn quiet(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0; 8]);
    }

    /// What a ring watches.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
