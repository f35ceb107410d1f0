//! How connections begin and end: who gets a slot, who loses it, and when a slot
//! is free again.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown, sockopt};

use super::buffers::BUFFERS;
use super::connection::Ending;
use super::deadlines::Look;
use super::gate::TurnedAway;
use super::kernel::Kernel;
use super::listen::Door;
use super::traffic::{Net, at};

/// When this many receive buffers are parked with connections that do not read
/// their replies, the next that would park one is closed.
const PARKED_MAX: u16 = BUFFERS / 4 * 3;

/// A connection whose send has not moved for so long does not read, in
/// microseconds.
const SLOW_US: u32 = 1_000_000;

/// What the kernel may keep of one connection before its peer must wait, in
/// bytes: a request that waits there is seen by nobody.
const RECEIVE_BYTES: usize = 128 * 1024;

/// A silent peer is asked whether it is still there, nine times (the system's
/// default) before it counts as gone.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(6);

impl<K: Kernel> Net<K> {
    /// Gives a connection that has come its slot; without one it closes, with
    /// its socket.
    pub(super) fn open(&mut self, socket: OwnedFd, door: Door) {
        let Some(&index) = self.vacant.last() else {
            self.counters.turned_away += 1;
            return;
        };
        let (standing, allowed) = match self.gate.admit(&socket, door) {
            Ok(admitted) => admitted,
            Err(TurnedAway::Full) => {
                self.counters.turned_away += 1;
                return;
            }
            Err(TurnedAway::Uid) => {
                self.counters.refused_users += 1;
                return;
            }
        };
        let tls = if door == Door::Tls { self.session() } else { None };
        if door == Door::Tls && tls.is_none() {
            self.gate.leave(standing);
            self.counters.turned_away += 1;
            return;
        }
        self.vacant.pop();
        tune(&socket, door);
        self.counters.accepted += 1;
        self.counters.connections += 1;
        let connection = &mut self.connections[at(index)];
        connection.socket = Some(socket);
        // Before it has said who it is it has one receive buffer at a time.
        connection.greedy = tls.is_some();
        connection.tls = tls;
        (connection.standing, connection.allowed) = (standing, allowed);
        (connection.opened_at, connection.heard_at) = (self.now, self.now);
        self.rearm.push(index);
    }

    /// When the buffers run short, the slowest reader goes. Asked after every
    /// wait, also after one that brought nothing.
    pub(super) fn close_slowest(&mut self) {
        if self.parked.len() > usize::from(PARKED_MAX)
            && let Some(slowest) = self.slowest()
        {
            self.end(slowest, Ending::SlowReader);
        }
    }

    /// Ends what has taken too long, of the slots whose turn it is.
    pub(super) fn close_overdue(&mut self) {
        for index in self.sweep.step(self.now) {
            let look = self.deadlines.look(&self.connections[at(index)], self.now);
            self.sweep.saw(look);
            if let Look::Over(ending) = look {
                // One that has ended and does not take its last replies, too.
                self.connections[at(index)].ending = None;
                self.end(index, ending);
            }
        }
    }

    /// Of the connections that have not taken an answer for a while, the one
    /// with most pieces parked. Those that take them, only slower than they
    /// ask, hold one buffer each and are left alone.
    #[cold]
    fn slowest(&self) -> Option<u32> {
        let parked_by =
            |index| self.parked.iter().filter(|piece| piece.connection == index).count();
        let indices = self.parked.iter().map(|piece| piece.connection);
        let is_stuck = |&index: &u32| {
            let connection = &self.connections[at(index)];
            connection.sending && self.now.since(connection.sending_since) >= SLOW_US
        };
        indices.filter(is_stuck).max_by_key(|&index| parked_by(index))
    }

    /// Begins the end of a connection; the first reason counts, but for the
    /// peaceful one.
    pub(super) fn end(&mut self, index: u32, ending: Ending) {
        let connection = &mut self.connections[at(index)];
        // A peer that has closed its side may still turn out to be worse.
        let known = connection.ending.is_some_and(|known| known != Ending::PeerClosed);
        if known || connection.ending == Some(ending) || connection.socket.is_none() {
            return;
        }
        connection.ending = Some(ending);
        match ending {
            Ending::PeerClosed => {}
            Ending::BrokenStream => self.counters.broken_streams += 1,
            Ending::SocketFailed => self.counters.socket_failures += 1,
            Ending::SlowReader => self.counters.slow_readers += 1,
            Ending::TurnedAway => self.counters.refused_handshakes += 1,
            Ending::LateHandshake => self.counters.late_handshakes += 1,
            Ending::LateFrame => self.counters.late_frames += 1,
            Ending::Idle => self.counters.idle += 1,
        }
        self.note_dirty(index);
    }

    pub(super) fn close_if_over(&mut self, index: u32) -> io::Result<()> {
        let connection = &mut self.connections[at(index)];
        let Some(ending) = connection.ending else { return Ok(()) };
        let given_up = ending.gives_up();
        let told = !connection.sending && !connection.has_replies() && connection.promised == 0;
        if told && !given_up && connection.tls.as_mut().is_some_and(|tls| tls.say_farewell()) {
            return self.send(index); // once; it is asked again when that has left
        }
        if given_up || (told && connection.receiving) {
            // Ends both directions: the receive and a stuck send complete.
            if let Some(socket) = &connection.socket {
                let _ = shutdown(socket, Shutdown::Both);
            }
        }
        if given_up {
            connection.filling.clear();
            connection.held.clear();
            if let Some(tls) = &mut connection.tls {
                tls.fall_silent();
            }
            self.unpark(index);
        }
        let connection = &mut self.connections[at(index)];
        if connection.is_over() {
            self.gate.leave(connection.standing);
            connection.vacate();
            self.vacant.push(index);
            self.counters.connections -= 1;
        }
        Ok(())
    }
}

/// How the kernel is to treat it.
fn tune(socket: &OwnedFd, door: Door) {
    if door != Door::Unix {
        // A reply waits for nothing but its commit. If this fails the
        // socket is already dead, and receiving will say so.
        let _ = sockopt::set_tcp_nodelay(socket, true);
        keep_alive(socket);
    }
    // What it sends waits with it rather than in the kernel; a failure
    // leaves the system's own bound.
    let _ = sockopt::set_socket_recv_buffer_size(socket, RECEIVE_BYTES);
}

/// A peer whose machine has died is found out within two minutes. A failure
/// leaves what the deadlines find.
fn keep_alive(socket: &OwnedFd) {
    let _ = sockopt::set_socket_keepalive(socket, true);
    let _ = sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(socket, KEEPALIVE_EVERY);
}
