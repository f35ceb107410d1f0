//! One connection of the load: requests out, replies in, never blocking.
//!
//! A request's tag is the number of its slot, where the time it was meant to
//! be sent waits for its reply. Nothing is allocated per request.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use hongbao::access::{Identity, shake_hands};
use hongbao::client::Address;
use hongbao::limits::FRAME_BYTES_MAX;
use hongbao::wire::{ReplyHead, encode_request, peek_reply};
use rustix::io::Errno;

use super::pace::Due;
use crate::number::index;

/// How much one read takes at most.
const READ_BYTES: usize = 128 * 1024;

/// How much is put together for one write at most, so that a budget is looked
/// at again after that.
const WRITE_BYTES: usize = 64 * 1024;

/// A free slot's time.
const FREE: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct Slot {
    meant_at: u64,
    note: u32,
}

/// A reply: its head, the note of its request, when that was meant to be
/// sent.
pub(super) struct Arrived {
    pub(super) head: ReplyHead,
    pub(super) note: u32,
    pub(super) meant_at: u64,
}

/// A connection.
pub(super) struct Line {
    socket: OwnedFd,
    outgoing: Vec<u8>,
    written: usize,
    stuck: bool,
    incoming: Box<[u8]>,
    /// Where the next unread reply begins, and where what was read ends.
    parsed: usize,
    filled: usize,
    slots: Box<[Slot]>,
    free: Vec<u32>,
}

impl Line {
    /// Connects, as somebody if the server asks; at most `depth` requests will be
    /// in flight.
    pub(super) fn connect(
        address: &Address,
        identity: Option<&Identity>,
        depth: u32,
    ) -> io::Result<Self> {
        Ok(Self {
            socket: open(address, identity)?,
            outgoing: Vec::with_capacity(WRITE_BYTES + FRAME_BYTES_MAX),
            written: 0,
            stuck: false,
            incoming: vec![0; READ_BYTES + FRAME_BYTES_MAX].into_boxed_slice(),
            parsed: 0,
            filled: 0,
            slots: vec![Slot { meant_at: FREE, note: 0 }; index(depth)].into_boxed_slice(),
            free: (0..depth).rev().collect(),
        })
    }

    /// Whether one more request may be written now: a slot is free, and the
    /// kernel took what was written before.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() && !self.stuck
    }

    /// Whether enough is put together for one write.
    #[inline]
    pub(super) fn has_load(&self) -> bool {
        self.outgoing.len() >= WRITE_BYTES
    }

    /// How many requests wait for their reply.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts a request in the out buffer, if there is room.
    #[inline]
    pub(super) fn ask(&mut self, Due { request, note, meant_at }: Due, budget_us: u32) {
        if let Some(slot) = self.free.pop() {
            self.slots[index(slot)] = Slot { meant_at, note };
            encode_request(&mut self.outgoing, slot.into(), budget_us, &request);
        }
    }

    /// Whether the last write could not take everything.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// One write.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let rest = &self.outgoing[self.written..];
        if !rest.is_empty() {
            match rustix::io::write(&self.socket, rest) {
                Ok(count) => self.written += count,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.stuck = self.written < self.outgoing.len();
        if !self.stuck {
            self.outgoing.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// One read.
    pub(super) fn read(&mut self) -> io::Result<()> {
        // What is left of a frame moves to the front: less than a frame.
        self.incoming.copy_within(self.parsed..self.filled, 0);
        (self.parsed, self.filled) = (0, self.filled - self.parsed);
        match rustix::io::read(&self.socket, &mut self.incoming[self.filled..]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.filled += count;
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The next whole reply of what was read; `Err` is one to a tag that
    /// nothing waits for.
    #[inline]
    pub(super) fn next_reply(&mut self) -> io::Result<Option<Result<Arrived, ReplyHead>>> {
        let unread = &self.incoming[self.parsed..self.filled];
        let Some(head) = peek_reply(unread).map_err(io::Error::other)? else {
            return Ok(None);
        };
        self.parsed += head.bytes;
        let slot = u32::try_from(head.tag).ok().filter(|slot| index(*slot) < self.slots.len());
        let Some(slot) = slot.filter(|slot| self.slots[index(*slot)].meant_at != FREE) else {
            return Ok(Some(Err(head)));
        };
        let Slot { meant_at, note } = self.slots[index(slot)];
        self.slots[index(slot)].meant_at = FREE;
        self.free.push(slot);
        Ok(Some(Ok(Arrived { head, note, meant_at })))
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open(address: &Address, identity: Option<&Identity>) -> io::Result<OwnedFd> {
    match address {
        Address::Tcp(name) => {
            let mut socket = TcpStream::connect(name)?;
            socket.set_nodelay(true)?;
            if let Some(identity) = identity {
                shake_hands(&mut socket, identity).map_err(io::Error::other)?;
            }
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        }
        Address::Unix(path) => {
            let socket = UnixStream::connect(path)?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        }
    }
}
