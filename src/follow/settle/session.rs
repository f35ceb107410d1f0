//! One connection of a subscriber: what it asks for, what it is sent, and when.
//!
//! It never holds more than its window, one read of the journal and 64 KiB that
//! the socket has not taken. It looks at the committed position instead of being
//! woken by the shard, which so pays nothing for subscribers.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ending::Ending;
use super::frames::{
    Accepted, Ask, BORDER_BYTES, Frame, MOVEMENT_BYTES, Moved, REQUEST_BYTES_MAX, ROWS_MAX,
    WINDOW_BYTES_MAX, decode, encode, put_row, put_rows,
};
use super::greeting::{greet, may};
use super::name::Content;
use super::news::{Told, put_told};
use super::subscribers::Subscribers;
use crate::access::{Keyring, Roles};
use crate::follow::lane::{Followee, chain_end};
use crate::follow::ledger::Cursor;
use crate::follow::movement::Movement;
use crate::follow::news::News;
use crate::journal::Tail;
use crate::wire::HEADER_BYTES;

/// How often an idle session looks for new commits: what a receiver waits at
/// most beyond the commit, and 100 looks a second at one number.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How often one that waits for its receiver looks whether the server ends.
pub(super) const WAIT_SLICE: Duration = Duration::from_millis(100);

/// An idle stream says so this often, and with it how far it is.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Who has connected and asks for nothing is let go after this.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that wait for the socket at most, before another frame is made.
const OUT_BYTES: usize = 64 << 10;

/// Records read at once: some frames, so that the border after them comes soon.
const READ_RECORDS: usize = 1024;

/// How long the last frame of a connection may take to leave.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// Both directions of a connection, with what is not read or written yet.
pub(super) struct Wire {
    socket: TcpStream,
    pub(super) inbox: Vec<u8>,
    pub(super) out: Vec<u8>,
    written: usize,
}

/// A subscriber that was let in.
struct Stream<'a> {
    of: &'a Followee,
    tail: Tail,
    ask: &'a Ask,
    window: u64,
    content: Content,
    /// Encoded movements or news, read and not sent.
    rows: Vec<u8>,
    rows_sent: usize,
    /// Owed after the rows.
    border: Option<Cursor>,
    /// Bytes of movements and borders sent, and taken.
    sent: u64,
    taken: u64,
    /// Borders that were sent and not acknowledged.
    borders: VecDeque<Cursor>,
    acknowledged: Cursor,
    last_sent: Instant,
}

/// Why a connection ends: it is told why, or there is nobody to tell.
pub(super) enum Over {
    Told(Ending),
    Gone,
}

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<Ending> for Over {
    fn from(ending: Ending) -> Self {
        Self::Told(ending)
    }
}

/// Serves one connection until it ends, or `stop` is set.
fn serve(
    socket: TcpStream,
    keyring: Option<&Keyring>,
    subscribers: &Subscribers,
    stop: &AtomicBool,
) {
    let _ = socket.set_nodelay(true); // a wish
    let Ok(mut wire) = Wire::new(socket) else { return };
    let greeted = keyring.map(|keyring| greet(&mut wire, keyring, stop)).transpose();
    let over = greeted.and_then(|roles| session(&mut wire, roles, subscribers, stop));
    if let Err(Over::Told(ending)) = over {
        wire.end(ending);
    }
}

fn session(
    wire: &mut Wire,
    roles: Option<Roles>,
    subscribers: &Subscribers,
    stop: &AtomicBool,
) -> Result<(), Over> {
    let ask = match wire.first(stop)? {
        Frame::Subscribe(ask) => ask,
        Frame::Forget(name) => {
            may(roles, name.content())?;
            subscribers.forget(&name)?;
            encode(&Frame::Forgotten, &mut wire.out);
            wire.drain();
            return Ok(());
        }
        _ => return Err(Ending::Malformed.into()),
    };
    may(roles, ask.name.content())?;
    let start = subscribers.join(&ask)?;
    let over = match subscribers.followees().get(usize::from(ask.shard)) {
        Some(of) => Stream::new(of, &ask, start).run(wire, subscribers, stop),
        None => Ok(()), // `join` has refused it
    };
    subscribers.leave(&ask.name, ask.shard);
    over
}

impl Wire {
    fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, inbox: Vec::new(), out: Vec::new(), written: 0 })
    }

    /// The frame that a connection begins with.
    fn first(&mut self, stop: &AtomicBool) -> Result<Frame, Over> {
        let until = Instant::now() + ASK_PATIENCE;
        loop {
            self.receive()?;
            if let Some(frame) = self.next_frame()? {
                return Ok(frame);
            }
            if stop.load(Ordering::Acquire) {
                return Err(Ending::Draining.into());
            }
            if Instant::now() >= until {
                return Err(Over::Gone);
            }
            self.wait(WAIT_SLICE)?;
        }
    }

    /// Takes what has come, up to a few frames: who sends more waits for us.
    pub(super) fn receive(&mut self) -> Result<(), Over> {
        let mut buffer = [0; 32 * REQUEST_BYTES_MAX];
        if self.inbox.len() >= buffer.len() {
            return Ok(());
        }
        match self.socket.read(&mut buffer) {
            Ok(0) => Err(Over::Gone),
            Ok(bytes) => {
                self.inbox.extend_from_slice(buffer.get(..bytes).unwrap_or_default());
                Ok(())
            }
            Err(error) if is_later(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, Ending> {
        let found = decode(&self.inbox, REQUEST_BYTES_MAX)?;
        Ok(found.map(|(frame, bytes)| {
            self.inbox.drain(..bytes);
            frame
        }))
    }

    /// Writes what the socket takes.
    fn send(&mut self) -> io::Result<()> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.written += bytes,
                Err(error) if is_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Waits until something comes, the socket takes more, or so long.
    pub(super) fn wait(&self, at_most: Duration) -> io::Result<()> {
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, self.unwritten() > 0);
        let timeout = Timespec::try_from(at_most).ok();
        match poll(&mut [PollFd::new(&self.socket, wanted)], timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets what is written leave, for a moment.
    pub(super) fn drain(&mut self) {
        let until = Instant::now() + END_PATIENCE;
        while self.send().is_ok() && self.unwritten() > 0 && Instant::now() < until {
            if self.wait(WAIT_SLICE).is_err() {
                break;
            }
        }
    }

    /// Says why, after what was begun. What has come and was not read is thrown
    /// away first: closing over it would reset the connection, and the receiver
    /// would not read why.
    fn end(&mut self, ending: Ending) {
        encode(&Frame::End(ending), &mut self.out);
        self.drain();
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
        let until = Instant::now() + END_PATIENCE;
        while Instant::now() < until {
            self.inbox.clear();
            let came = self.receive().and_then(|()| Ok(self.wait(WAIT_SLICE)?));
            if came.is_err() {
                break;
            }
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl<'a> Stream<'a> {
    fn new(of: &'a Followee, ask: &'a Ask, start: Cursor) -> Self {
        Self {
            of,
            tail: Tail::new(of.files.clone(), of.identity, chain_end(&start)),
            ask,
            window: ask.window.min(WINDOW_BYTES_MAX).into(),
            content: ask.name.content(),
            rows: Vec::new(),
            rows_sent: 0,
            border: None,
            sent: 0,
            taken: 0,
            borders: VecDeque::new(),
            acknowledged: start,
            last_sent: Instant::now(),
        }
    }

    fn run(
        mut self,
        wire: &mut Wire,
        subscribers: &Subscribers,
        stop: &AtomicBool,
    ) -> Result<(), Over> {
        encode(&Frame::Accepted(self.accepted(subscribers)), &mut wire.out);
        loop {
            wire.receive()?;
            while let Some(frame) = wire.next_frame()? {
                self.hear(&frame, subscribers)?;
            }
            if stop.load(Ordering::Acquire) {
                return Err(Ending::Draining.into());
            }
            let more = self.speak(&mut wire.out)?;
            wire.send()?;
            if !(more && wire.unwritten() == 0) {
                wire.wait(self.patience(wire.unwritten()))?;
            }
        }
    }

    fn accepted(&self, subscribers: &Subscribers) -> Accepted {
        Accepted {
            start: self.acknowledged,
            committed: self.of.followed.committed().0,
            window: u32::try_from(self.window).unwrap_or(WINDOW_BYTES_MAX),
            shards: u16::try_from(subscribers.followees().len()).unwrap_or(u16::MAX),
            cell: self.of.identity.cell,
        }
    }

    /// The receiver has taken something, and perhaps booked it.
    fn hear(&mut self, frame: &Frame, subscribers: &Subscribers) -> Result<(), Ending> {
        let Frame::Acknowledge { border, taken } = *frame else { return Err(Ending::Malformed) };
        if !(self.taken..=self.sent).contains(&taken) {
            return Err(Ending::NotSent);
        }
        self.taken = taken;
        if border != self.acknowledged {
            while self.borders.pop_front().ok_or(Ending::NotSent)? != border {}
            self.acknowledged = border;
            subscribers.acknowledge(&self.ask.name, border);
        }
        Ok(())
    }

    /// Puts frames into `out` as far as the window goes; whether there is more to
    /// be put as soon as `out` is empty.
    fn speak(&mut self, out: &mut Vec<u8>) -> Result<bool, Ending> {
        while out.len() < OUT_BYTES {
            if self.rows_sent < self.rows.len() {
                if !self.put_rows(out) {
                    return Ok(false);
                }
            } else if let Some(border) = self.border {
                if !self.put_border(out, border) {
                    return Ok(false);
                }
            } else if !self.read()? {
                self.put_heartbeat(out);
                return Ok(false);
            } else if self.border.is_none() {
                self.put_heartbeat(out); // no movements, for a while perhaps
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// The next records; `false` when nothing more is committed.
    fn read(&mut self) -> Result<bool, Ending> {
        self.rows.clear();
        self.rows_sent = 0;
        let (of, rows, content) = (self.of, &mut self.rows, self.content);
        let before = self.tail.end();
        let read = of.read(&mut self.tail, READ_RECORDS, |id, record| match content {
            Content::Movements => {
                if let Some(movement) = Movement::of(&record) {
                    put_row(rows, &Moved { id, movement });
                }
            }
            Content::News => {
                if let Some(news) = News::of(&record) {
                    put_told(rows, &Told { id, news });
                }
            }
        });
        read.map_err(|error| {
            eprintln!("hongbao: settlement stream of {}: {error}", self.ask.name);
            Ending::Unreadable
        })?;
        if self.tail.end() == before {
            return Ok(false);
        }
        let cursor = of.cursor(self.tail.end());
        self.border = (!self.rows.is_empty()).then_some(cursor);
        Ok(true)
    }

    fn room(&self) -> usize {
        let room = self.window.saturating_sub(self.sent - self.taken);
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    fn count(&mut self, bytes: usize) {
        self.sent += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.last_sent = Instant::now();
    }

    /// One frame of movements or news; `false` if the window has no room for one.
    fn put_rows(&mut self, out: &mut Vec<u8>) -> bool {
        let rest = self.rows.get(self.rows_sent..).unwrap_or_default();
        let fit = (self.room().saturating_sub(HEADER_BYTES) / MOVEMENT_BYTES).min(ROWS_MAX);
        let bytes = rest.len().min(fit * MOVEMENT_BYTES);
        if bytes == 0 {
            return false;
        }
        put_rows(out, self.content, rest.get(..bytes).unwrap_or_default());
        self.rows_sent += bytes;
        self.count(HEADER_BYTES + bytes);
        true
    }

    fn put_border(&mut self, out: &mut Vec<u8>, cursor: Cursor) -> bool {
        if self.room() < BORDER_BYTES {
            return false;
        }
        encode(&Frame::Border { cursor, committed: self.of.followed.committed().0 }, out);
        self.borders.push_back(cursor);
        self.border = None;
        self.count(BORDER_BYTES);
        true
    }

    /// Everything read was sent: after a second of silence it is said so.
    fn put_heartbeat(&mut self, out: &mut Vec<u8>) {
        if self.last_sent.elapsed() >= HEARTBEAT {
            self.put_border(out, self.of.cursor(self.tail.end()));
        }
    }

    fn patience(&self, unwritten: usize) -> Duration {
        let waits_for_receiver = unwritten > 0 || self.room() < HEADER_BYTES + MOVEMENT_BYTES;
        if waits_for_receiver { WAIT_SLICE } else { LOOK_EVERY }
    }
}

/// What a session needs, for a thread of its own.
pub(super) struct Session {
    pub(super) socket: TcpStream,
    pub(super) keyring: Option<Arc<Keyring>>,
    pub(super) subscribers: Arc<Subscribers>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Session {
    pub(super) fn run(self) {
        serve(self.socket, self.keyring.as_deref(), &self.subscribers, &self.stop);
    }
}
