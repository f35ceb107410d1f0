//! All connections of one shard, turn by turn: `wait` → `fill` → `reply` …
//! → `release`.
//!
//! Replies are held in their connection's outbox until `release` is shown a
//! [`Committed`] position that covers everything they reveal.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::buffers::{BUFFERS, Lent};
use super::connection::{Connection, Ending};
use super::counters::NetCounters;
use super::deadlines::{Deadlines, Sweep};
use super::gate::{Entry, Gate};
use super::intake::{Asked, Inbox, Origin, Stopped, Unheard, read_frames};
use super::kernel::{Completion, Kernel};
use super::listen::Listener;
use super::ring::{RingRefused, Uring};
use super::secured::{SHAKES_PER_TURN, SHAKES_WAITING_MAX, TlsDoor, read_secured};
use super::waker::Waker;
use crate::journal::{Committed, Position};
use crate::planted::{Bug, is_planted};
use crate::units::{Stamp, Uptime};
use crate::wire::{BadRequest, Broken, ReplyWriter};

/// Completions that are collected before any of them is acted on.
const COMPLETIONS_PER_TURN: usize = 4096;

/// So many received pieces make a long turn: what was released leaves first.
const PIECES_FIRST: usize = 48;

/// How long a failed accept (no descriptors left) waits for its next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long receives that found no free buffer wait for their next try.
const STARVED_PAUSE: Duration = Duration::from_millis(1);

/// Sizes of the net, and whom it lets in.
#[derive(Clone, Debug)]
pub struct NetSettings {
    /// Connections at the same time; more are closed as they come.
    pub connections_max: u32,
    /// Who may come in.
    pub entry: Entry,
    /// How long they may take for what.
    pub deadlines: Deadlines,
    /// What is behind the doors for TLS, where there are some.
    pub tls: Option<TlsDoor>,
}

impl NetSettings {
    /// Everybody may come in, and take as long as they like.
    pub fn open(connections_max: u32) -> Self {
        Self {
            connections_max,
            entry: Entry::default(),
            deadlines: Deadlines::default(),
            tls: None,
        }
    }
}

/// Received bytes that are not decoded yet.
pub(super) struct Piece {
    pub(super) connection: u32,
    received: Stamp,
    lent: Lent,
    from: usize,
}

/// The connections of one shard and the ring that serves them.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each set by one event")]
pub struct Net<K = Uring> {
    pub(super) ring: K,
    pub(super) listeners: Vec<Listener>,
    pub(super) connections: Vec<Connection>,
    pub(super) vacant: Vec<u32>,
    pub(super) completions: Vec<Completion>,
    /// Pieces to decode now, in order of arrival.
    pub(super) ready: VecDeque<Piece>,
    /// Pieces of connections that have no room for replies, in order.
    pub(super) parked: Vec<Piece>,
    /// Connections that have something to send or may be over.
    pub(super) dirty: Vec<u32>,
    /// Those whose replies were sealed and wait for their commit.
    pub(super) sealed: Vec<u32>,
    /// Connections whose receive must be started again; a turn names each at
    /// most twice, when a receive ends and when its pieces are unparked.
    pub(super) rearm: Vec<u32>,
    /// Listeners whose accept must be started again.
    pub(super) paused_accepts: Vec<u32>,
    pub(super) waker: Waker,
    pub(super) woken: bool,
    /// What was released before the last wait is not submitted yet.
    pub(super) put_off: bool,
    /// When the last completions were collected.
    pub(super) now: Stamp,
    pub(super) accepting: bool,
    /// A receive found no free buffer; the next waits for `STARVED_PAUSE`, or
    /// for other work.
    pub(super) starved: bool,
    /// The last accept failed; the next waits for `ACCEPT_PAUSE`, or for
    /// other work.
    pub(super) accept_failed: bool,
    /// The highest position that a reply reveals which is not sealed yet.
    pub(super) revealed: Position,
    /// The highest that a sealed one reveals.
    pub(super) sealed_reveals: Position,
    pub(super) counters: NetCounters,
    pub(super) gate: Gate,
    pub(super) deadlines: Deadlines,
    pub(super) sweep: Sweep,
    pub(super) tls: Option<TlsDoor>,
    /// Steps of TLS handshakes that this turn may still take.
    pub(super) shakes_left: usize,
    /// Connections whose handshake waits for a later turn.
    pub(super) shakes_waiting: VecDeque<u32>,
}

/// Whether more can be read before the inbox must be decided.
#[derive(PartialEq, Eq)]
enum Round {
    GoesOn,
    Over,
}

/// The place of a connection.
#[inline]
pub(super) fn at(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl Net {
    /// Opens the listeners on a ring of this thread.
    pub fn new(
        listeners: Vec<Listener>,
        settings: NetSettings,
        waker: Waker,
    ) -> Result<Self, RingRefused> {
        let ring = Uring::new(settings.connections_max)?;
        Self::on(ring, listeners, settings, waker).map_err(RingRefused::Other)
    }
}

impl<K: Kernel> Net<K> {
    /// Opens the listeners on a kernel that has room for as many connections.
    pub fn on(
        ring: K,
        listeners: Vec<Listener>,
        settings: NetSettings,
        waker: Waker,
    ) -> io::Result<Self> {
        let count = settings.connections_max;
        let now = ring.stamp();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
        let mut net = Self {
            ring,
            connections: (0..count).map(|_| Connection::vacant()).collect(),
            vacant: (0..count).rev().collect(),
            completions: Vec::with_capacity(COMPLETIONS_PER_TURN),
            ready: VecDeque::with_capacity(usize::from(BUFFERS)),
            parked: Vec::with_capacity(usize::from(BUFFERS)),
            dirty: Vec::with_capacity(at(count)),
            sealed: Vec::with_capacity(at(count)),
            rearm: Vec::with_capacity(2 * at(count)),
            paused_accepts: Vec::with_capacity(listeners.len()),
            listeners,
            waker,
            woken: false,
            put_off: false,
            now,
            accepting: true,
            starved: false,
            accept_failed: false,
            revealed: Position::default(),
            sealed_reveals: Position::default(),
            counters: NetCounters::default(),
            gate: Gate::new(settings.entry, seed),
            deadlines: settings.deadlines,
            sweep: Sweep::new(count),
            tls: settings.tls,
            shakes_left: SHAKES_PER_TURN,
            shakes_waiting: VecDeque::with_capacity(SHAKES_WAITING_MAX),
        };
        net.ring.watch(net.waker.bell())?;
        net.paused_accepts.extend((0u32..).take(net.listeners.len()));
        net.restart()?;
        Ok(net)
    }

    /// The clock that only runs forward, read once a round.
    #[inline]
    pub fn stamp(&self) -> Stamp {
        self.ring.stamp()
    }

    /// How long the machine has been up, read once a turn.
    pub fn uptime(&self) -> Uptime {
        self.ring.uptime()
    }

    /// When the requests of this turn were collected.
    pub fn collected(&self) -> Stamp {
        self.now
    }

    /// What was counted so far.
    pub fn counters(&self) -> NetCounters {
        self.counters
    }

    /// Submits what is due, sleeps until something happens or `timeout` is
    /// over, and collects all that has happened. Says whether the bell rang.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.restart()?;
        let accept = std::mem::take(&mut self.accept_failed).then_some(ACCEPT_PAUSE);
        let starved = std::mem::take(&mut self.starved).then_some(STARVED_PAUSE);
        let sweep = self.sweep.sleep_at_most(self.now);
        let shaking = (!self.shakes_waiting.is_empty()).then_some(Duration::ZERO);
        let timeout = [timeout, accept, starved, sweep, shaking].into_iter().flatten().min();
        if self.may_put_off() {
            self.ring.collect()?;
            self.reap()?;
            // What comes of it is acted on before anything sleeps.
            let is_slept_over = is_planted(Bug::SleptOver) && self.ready.is_empty();
            if self.has_work() && !is_slept_over {
                if self.ready.len() >= PIECES_FIRST {
                    self.submit()?;
                }
                return Ok(std::mem::take(&mut self.woken));
            }
        }
        debug_assert!(!self.woken && self.ready.is_empty(), "it would sleep over what came");
        debug_assert!(starved.is_some() || self.rearm.is_empty(), "nobody would hear a peer");
        self.put_off = false;
        self.ring.submit_and_wait(timeout)?;
        self.reap()?;
        Ok(std::mem::take(&mut self.woken))
    }

    /// Whether something that was collected is for a turn to do.
    fn has_work(&self) -> bool {
        let goes_on = self.rearm.is_empty() && self.paused_accepts.is_empty();
        self.woken || !goes_on || !self.ready.is_empty() || !self.dirty.is_empty()
    }

    /// Whether replies that were released may wait until the next batch is on
    /// its way to the disk: sending them takes about as long as the disk, and
    /// so they overlap. Once, or a peer that always asks would keep the others
    /// waiting.
    fn may_put_off(&mut self) -> bool {
        !std::mem::replace(&mut self.put_off, true) && self.ring.has_unsubmitted()
    }

    fn reap(&mut self) -> io::Result<()> {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.reap(&mut completions);
        self.now = self.ring.stamp();
        if !completions.is_empty() {
            self.sweep.stir();
        }
        for completion in completions.drain(..) {
            self.take(completion)?;
        }
        self.completions = completions;
        self.go_on_shaking();
        self.close_slowest();
        self.close_overdue();
        Ok(())
    }

    /// Lets the kernel begin with what was released, without waiting.
    pub fn submit(&mut self) -> io::Result<()> {
        self.put_off = false;
        self.ring.submit()
    }

    /// Starts accepts and receives again that have ended.
    fn restart(&mut self) -> io::Result<()> {
        if self.accepting && !self.accept_failed {
            for index in self.paused_accepts.drain(..) {
                self.ring.accept(index, self.listeners[at(index)].as_fd())?;
            }
        }
        // Without a free buffer a receive would end at once, over and over.
        while !self.starved
            && let Some(index) = self.rearm.pop()
        {
            let connection = &mut self.connections[at(index)];
            let idle = !connection.receiving && !connection.parked && connection.ending.is_none();
            if let (true, Some(socket)) = (idle, &connection.socket) {
                connection.receiving = true;
                if connection.greedy {
                    self.ring.receive_once(index, socket.as_fd())?;
                } else {
                    self.ring.receive(index, socket.as_fd())?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, completion: Completion) -> io::Result<()> {
        match completion {
            Completion::Accepted { listener, socket, more } => {
                if !more && self.accepting {
                    self.paused_accepts.push(listener);
                }
                match socket {
                    Ok(socket) => self.open(socket, self.listeners[at(listener)].door()),
                    // Out of descriptors, or the peer has left: not again at once.
                    Err(_) => self.accept_failed = true,
                }
                Ok(())
            }
            Completion::Received { connection, data, more } => {
                self.received(connection, data, more)
            }
            Completion::Sent { connection, bytes, sent } => self.sent(connection, bytes, sent),
            Completion::Woken { more } => {
                self.waker.quiet();
                self.woken = true;
                if more { Ok(()) } else { self.ring.watch(self.waker.bell()) }
            }
        }
    }

    fn received(
        &mut self,
        index: u32,
        data: io::Result<Option<Lent>>,
        more: bool,
    ) -> io::Result<()> {
        let connection = &mut self.connections[at(index)];
        connection.receiving = more;
        connection.heard_at = self.now;
        if !more {
            self.rearm.push(index);
        }
        match data {
            Ok(Some(lent)) if connection.ending.is_some() => self.ring.give_back(lent),
            Ok(Some(lent)) => {
                let piece = Piece { connection: index, received: self.now, lent, from: 0 };
                if connection.parked {
                    return self.park(piece);
                }
                self.ready.push_back(piece);
            }
            Ok(None) => self.end(index, Ending::PeerClosed),
            // No free buffer, or we stopped it ourselves: it starts again when
            // there is room.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.starved = true,
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => {}
            Err(_) => self.end(index, Ending::SocketFailed),
        }
        self.note_due(index);
        Ok(())
    }

    fn sent(&mut self, index: u32, mut bytes: Vec<u8>, sent: io::Result<usize>) -> io::Result<()> {
        let connection = &mut self.connections[at(index)];
        match sent {
            Ok(count) if connection.sent + count < bytes.len() && count > 0 => {
                connection.sent += count;
                let from = connection.sent;
                connection.sending_since = self.now;
                let socket = connection.socket.as_ref().expect("a sending slot has its socket");
                return self.ring.send(index, socket.as_fd(), bytes, from);
            }
            outcome => {
                let complete = outcome.is_ok_and(|count| connection.sent + count == bytes.len());
                bytes.clear();
                connection.spare = bytes;
                connection.sending = false;
                connection.sent = 0;
                if !complete {
                    self.end(index, Ending::SocketFailed);
                }
            }
        }
        self.unpark(index);
        self.note_due(index);
        Ok(())
    }

    /// Lists a connection for the next release, if that has something to do.
    fn note_due(&mut self, index: u32) {
        let connection = &self.connections[at(index)];
        if connection.ending.is_some() || connection.has_replies() {
            self.note_dirty(index);
        }
    }

    /// Keeps a piece until its connection has room for replies again.
    pub(super) fn park(&mut self, piece: Piece) -> io::Result<()> {
        let index = piece.connection;
        self.parked.push(piece);
        let connection = &mut self.connections[at(index)];
        connection.greedy = true;
        if !std::mem::replace(&mut connection.parked, true) && connection.receiving {
            self.ring.stop_receiving(index)?;
        }
        Ok(())
    }

    /// Makes a connection's parked pieces ready again, in their order.
    pub(super) fn unpark(&mut self, index: u32) {
        let connection = &mut self.connections[at(index)];
        if !std::mem::take(&mut connection.parked) {
            return;
        }
        connection.begun_at = self.now; // what it owes, it could not give
        let dropped = self.connections[at(index)].ending.is_some_and(|e| e != Ending::PeerClosed);
        for piece in self.parked.extract_if(.., |piece| piece.connection == index) {
            if dropped {
                self.ring.give_back(piece.lent);
            } else {
                self.ready.push_back(piece);
            }
        }
        self.rearm.push(index);
    }

    /// Decodes requests into the inbox until it is full or nothing is left;
    /// says whether there is anything in it.
    pub fn fill(&mut self, inbox: &mut Inbox) -> io::Result<bool> {
        inbox.clear();
        while !inbox.is_full() {
            let Some(piece) = self.ready.pop_front() else { break };
            if self.read(piece, inbox)? == Round::Over {
                break;
            }
        }
        let requests = inbox.asked.len();
        self.counters.requests += u64::try_from(requests).unwrap_or(0);
        Ok(requests > 0)
    }

    fn read(&mut self, mut piece: Piece, inbox: &mut Inbox) -> io::Result<Round> {
        let index = piece.connection;
        let connection = &mut self.connections[at(index)];
        if connection.ending.is_some_and(|ending| ending != Ending::PeerClosed) {
            self.ring.give_back(piece.lent);
            return Ok(Round::GoesOn);
        }
        if connection.parked {
            self.park(piece)?;
            return Ok(Round::GoesOn);
        }
        if connection.tls.is_some() && self.must_wait(index) {
            self.put_off(piece)?;
            return Ok(Round::GoesOn);
        }
        let connection = &mut self.connections[at(index)];
        let stream = &self.ring.bytes(&piece.lent)[piece.from..];
        let origin = Origin { connection: index, received: piece.received };
        let stopped = if connection.tls.is_none() {
            read_frames(&mut self.gate, connection, origin, stream, inbox)
        } else {
            read_secured(&mut self.gate, connection, origin, stream, inbox)
        };
        if (!connection.filling.is_empty() || connection.has_words()) && !connection.dirty {
            connection.dirty = true; // the gate has answered, or TLS
            self.dirty.push(index);
        }
        match stopped {
            Stopped::Used => self.ring.give_back(piece.lent),
            Stopped::NoRoom(used) if connection.promised == connection.carried => {
                piece.from += used;
                self.park(piece)?;
            }
            // Promises are upper bounds: after this round it is known how much
            // room the replies have really taken.
            Stopped::InboxFull(used) | Stopped::NoRoom(used) => {
                piece.from += used;
                self.ready.push_front(piece);
                return Ok(Round::Over);
            }
            Stopped::Broken(broken) => {
                self.ring.give_back(piece.lent);
                self.tell_broken(origin, broken, inbox);
            }
            Stopped::TurnedAway => self.end_with(piece, Ending::TurnedAway),
            Stopped::Closed => self.end_with(piece, Ending::PeerClosed),
            Stopped::Unreadable => self.end_with(piece, Ending::BrokenStream),
        }
        Ok(Round::GoesOn)
    }

    /// Ends a connection whose last piece this was.
    pub(super) fn end_with(&mut self, piece: Piece, ending: Ending) {
        self.ring.give_back(piece.lent);
        self.end(piece.connection, ending);
    }

    /// Asks for the refusal of a frame that ends its stream, in its turn after
    /// the requests before it; the connection closes after that reply.
    fn tell_broken(&mut self, origin: Origin, broken: Broken, inbox: &mut Inbox) {
        let Origin { connection: index, received } = origin;
        let connection = &mut self.connections[at(index)];
        let Broken { op, tag } = broken;
        let reply_bytes = crate::wire::reply_bytes_max(op);
        if connection.has_room(reply_bytes) && !inbox.is_full() {
            connection.promised += reply_bytes;
            let request = Err(Unheard::Nonsense(BadRequest::FrameLength));
            let budget_us = 0;
            inbox.asked.push(Asked { connection: index, received, budget_us, op, tag, request });
        }
        self.end(index, Ending::BrokenStream);
    }

    /// The place for the one reply to `asked`, which reveals state up to
    /// `reveals`.
    #[inline]
    pub fn reply(&mut self, asked: &Asked, reveals: Position) -> ReplyWriter<'_> {
        self.revealed = self.revealed.max(reveals);
        ReplyWriter::new(self.outbox(asked), asked.op, asked.tag)
    }

    /// Notes that another shard has `asked`; [`Net::relay`] takes its reply.
    #[inline]
    pub fn carry(&mut self, asked: &Asked) {
        let reply_bytes = crate::wire::reply_bytes_max(asked.op);
        self.connections[at(asked.connection)].carried += reply_bytes;
    }

    /// Takes the one reply to a carried request as its shard has written it,
    /// whose commit has released it.
    #[inline]
    pub fn relay(&mut self, asked: &Asked, reply: &[u8]) {
        let reply_bytes = crate::wire::reply_bytes_max(asked.op);
        self.connections[at(asked.connection)].carried -= reply_bytes;
        self.outbox(asked).extend_from_slice(reply);
    }

    /// Keeps the promise made to `asked`: its reply is written here now.
    #[inline]
    fn outbox(&mut self, asked: &Asked) -> &mut Vec<u8> {
        let connection = &mut self.connections[at(asked.connection)];
        connection.promised -= crate::wire::reply_bytes_max(asked.op);
        if !std::mem::replace(&mut connection.dirty, true) {
            self.dirty.push(asked.connection);
        }
        &mut connection.filling
    }

    /// Counts a request that made no sense.
    pub fn count_bad_request(&mut self) {
        self.counters.bad_requests += 1;
    }

    /// The replies written until now wait for the commit that comes next;
    /// those written from now on wait for the one after it.
    pub fn seal(&mut self) {
        self.sealed_reveals = self.sealed_reveals.max(self.revealed);
        for index in self.dirty.drain(..) {
            let connection = &mut self.connections[at(index)];
            connection.dirty = false;
            connection.seal();
            if !std::mem::replace(&mut connection.sealed, true) {
                self.sealed.push(index);
            }
        }
    }

    /// Lets the sealed replies go. `committed` must cover what they reveal.
    pub fn release(&mut self, committed: &Committed) -> io::Result<()> {
        assert!(committed.upto() >= self.sealed_reveals, "a reply would leave before its commit");
        let mut sealed = std::mem::take(&mut self.sealed);
        for index in sealed.drain(..) {
            self.connections[at(index)].sealed = false;
            self.send(index)?;
            self.close_if_over(index)?;
        }
        self.sealed = sealed;
        Ok(())
    }

    pub(super) fn send(&mut self, index: u32) -> io::Result<()> {
        let connection = &mut self.connections[at(index)];
        let failed = connection.ending == Some(Ending::SocketFailed);
        let nothing = connection.held.is_empty() && !connection.has_words();
        if connection.socket.is_none() || connection.sending || nothing || failed {
            return Ok(());
        }
        let Some(bytes) = connection.take_held() else {
            self.end(index, Ending::SocketFailed);
            return Ok(());
        };
        let Some(socket) = &connection.socket else { return Ok(()) };
        connection.sending = true;
        connection.sending_since = self.now;
        self.ring.send(index, socket.as_fd(), bytes, 0)
    }

    pub(super) fn note_dirty(&mut self, index: u32) {
        let connection = &mut self.connections[at(index)];
        if !std::mem::replace(&mut connection.dirty, true) {
            self.dirty.push(index);
        }
    }

    /// Stops accepting and reading, sends what is held, and gives up on peers
    /// that do not read it within `patience`.
    pub fn drain(&mut self, committed: &Committed, patience: Duration) -> io::Result<()> {
        self.accepting = false;
        for index in (0u32..).take(self.listeners.len()) {
            self.ring.stop_accepting(index)?;
        }
        self.seal();
        self.release(committed)?;
        let began = self.stamp();
        while self.connections.iter().any(|c| c.sending || c.has_replies()) {
            let waited = Duration::from_micros(self.stamp().since(began).into());
            let Some(left) = patience.checked_sub(waited).filter(|left| !left.is_zero()) else {
                break;
            };
            self.wait(Some(left))?;
            for piece in self.ready.drain(..) {
                self.ring.give_back(piece.lent);
            }
            self.seal();
            self.release(committed)?;
        }
        Ok(())
    }
}
