//! What a shard asks of the world outside: sockets, and the two clocks.
//!
//! Two worlds exist: the kernel's, through `io_uring` ([`super::Uring`]), and
//! one that a simulator runs on a single thread ([`super::simulated`]). What
//! arrives, and when, is all that differs; everything above is the same code.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::buffers::Lent;
use crate::units::{Stamp, Uptime};

/// What has been finished.
#[derive(Debug)]
pub enum Completion {
    /// A connection came in, or accepting failed. `more`: the accept goes on.
    Accepted { listener: u32, socket: io::Result<OwnedFd>, more: bool },
    /// Bytes came in (`None`: the peer closed), or receiving failed.
    Received { connection: u32, data: io::Result<Option<Lent>>, more: bool },
    /// A send has ended; the bytes are ours again.
    Sent { connection: u32, bytes: Vec<u8>, sent: io::Result<usize> },
    /// Somebody rang the bell. `more`: the watch on it goes on.
    Woken { more: bool },
}

/// Takes work in, and says later what became of it. Belongs to one thread.
pub trait Kernel {
    /// A clock that only runs forward, from a moment of its own.
    fn stamp(&self) -> Stamp;

    /// How long the machine has been up: what the time of the shards runs by.
    fn uptime(&self) -> Uptime;

    /// Accepts on `listener` until told otherwise.
    fn accept(&mut self, index: u32, listener: BorrowedFd<'_>) -> io::Result<()>;

    /// Receives on a connection until told otherwise.
    fn receive(&mut self, index: u32, socket: BorrowedFd<'_>) -> io::Result<()>;

    /// Receives on a connection once, into one buffer.
    fn receive_once(&mut self, index: u32, socket: BorrowedFd<'_>) -> io::Result<()>;

    /// Stops receiving on a connection; its last completion has no `more`.
    fn stop_receiving(&mut self, index: u32) -> io::Result<()>;

    /// Stops accepting on a listener.
    fn stop_accepting(&mut self, index: u32) -> io::Result<()>;

    /// Watches the bell.
    fn watch(&mut self, bell: BorrowedFd<'_>) -> io::Result<()>;

    /// Sends `bytes[from..]`; the bytes are the kernel's until `Sent` gives
    /// them back. One send per connection at a time.
    fn send(
        &mut self,
        index: u32,
        socket: BorrowedFd<'_>,
        bytes: Vec<u8>,
        from: usize,
    ) -> io::Result<()>;

    /// Submits everything.
    fn submit(&mut self) -> io::Result<()>;

    /// Whether something waits to be submitted.
    fn has_unsubmitted(&mut self) -> bool;

    /// Lets the kernel finish what it can, and submits nothing.
    fn collect(&mut self) -> io::Result<()>;

    /// Submits everything and sleeps until something has completed, or until
    /// `timeout` is over.
    fn submit_and_wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// Moves finished work into `out`, as far as `out` has room without growing.
    fn reap(&mut self, out: &mut Vec<Completion>);

    /// What was received.
    fn bytes(&self, lent: &Lent) -> &[u8];

    /// Gives a receive buffer back.
    fn give_back(&mut self, lent: Lent);
}
