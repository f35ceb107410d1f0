//! One connection of the load: requests out, replies in, never blocking.
//!
//! A request's tag is the number of its slot, where the time it was meant to
//! be sent waits for its reply. Nothing is allocated per request.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use hongbao::access::shake_hands;
use hongbao::client::Address;
use hongbao::limits::FRAME_BYTES_MAX;
use hongbao::tls::TlsStream;
use hongbao::wire::{ReplyHead, encode_request, peek_reply};

use super::pace::Due;
use crate::number::index;
use crate::target::Target;

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

/// A socket that does not block, as it is or behind TLS.
enum Wire {
    Plain(OwnedFd),
    Tls(Box<TlsStream>),
}

impl Wire {
    /// What the kernel takes at once; nothing is not an error.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        patient(match self {
            Self::Plain(_) if bytes.is_empty() => Ok(0),
            Self::Plain(socket) => rustix::io::write(socket, bytes).map_err(io::Error::from),
            Self::Tls(stream) if bytes.is_empty() => stream.flush().map(|()| 0),
            Self::Tls(stream) => stream.write(bytes),
        })
    }

    /// Whether bytes that were taken have not left.
    fn has_unsent(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.has_unsent())
    }

    /// What has come; `None` if nothing has.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let read = match self {
            Self::Plain(socket) => rustix::io::read(socket, buffer).map_err(io::Error::from),
            Self::Tls(stream) => stream.read(buffer),
        };
        match read {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => Ok(Some(count)),
            Err(error) => patient(Err(error)).map(|_| None),
        }
    }
}

/// That the socket would block, or somebody has interrupted it, is no error.
fn patient(done: io::Result<usize>) -> io::Result<usize> {
    match done {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(0)
        }
        done => done,
    }
}

/// A connection.
pub(super) struct Line {
    wire: Wire,
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
    pub(super) fn connect(address: &Address, target: &Target, depth: u32) -> io::Result<Self> {
        Ok(Self {
            wire: open(address, target)?,
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
        self.written += self.wire.write(&self.outgoing[self.written..])?;
        if self.written == self.outgoing.len() {
            self.outgoing.clear();
            self.written = 0;
        }
        self.stuck = !self.outgoing.is_empty() || self.wire.has_unsent();
        Ok(())
    }

    /// One read.
    pub(super) fn read(&mut self) -> io::Result<()> {
        // What is left of a frame moves to the front: less than a frame.
        self.incoming.copy_within(self.parsed..self.filled, 0);
        (self.parsed, self.filled) = (0, self.filled - self.parsed);
        let count = self.wire.read(&mut self.incoming[self.filled..])?;
        self.filled += count.unwrap_or(0);
        Ok(())
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
        match &self.wire {
            Wire::Plain(socket) => socket.as_fd(),
            Wire::Tls(stream) => stream.as_fd(),
        }
    }
}

fn open(address: &Address, target: &Target) -> io::Result<Wire> {
    match address {
        Address::Tcp(name) => {
            let mut socket = TcpStream::connect(name)?;
            socket.set_nodelay(true)?;
            if let Some(tls) = &target.tls {
                let host = name.rsplit_once(':').map_or(name.as_str(), |(host, _)| host);
                let mut stream = tls.connect(host, socket)?;
                greet(&mut stream, target)?;
                stream.socket().set_nonblocking(true)?;
                return Ok(Wire::Tls(Box::new(stream)));
            }
            greet(&mut socket, target)?;
            socket.set_nonblocking(true)?;
            Ok(Wire::Plain(socket.into()))
        }
        Address::Unix(path) => {
            let socket = UnixStream::connect(path)?;
            socket.set_nonblocking(true)?;
            Ok(Wire::Plain(socket.into()))
        }
    }
}

/// Says who we are, where we are somebody.
fn greet(stream: &mut (impl Read + Write), target: &Target) -> io::Result<()> {
    match &target.identity {
        Some(identity) => shake_hands(stream, identity).map_err(io::Error::other),
        None => Ok(()),
    }
}
