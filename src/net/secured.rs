//! The step between the records of a TLS connection and its frames: decrypted
//! before frames are looked for, encrypted when the commit has released them.
//!
//! Handshakes are dear, so that a turn takes few of them and the others wait;
//! a plain connection meets nothing of this but the question whether it is one.

use std::io;

use super::connection::{Connection, Ending};
use super::gate::Gate;
use super::intake::{Inbox, Origin, Stopped, read_frames};
use super::kernel::Kernel;
use super::traffic::{Net, Piece, at};
use crate::tls::{Acceptor, Session, TlsBroken};

/// Steps of handshakes that one turn takes: each costs about a fifth of a
/// millisecond, and all connections wait for it.
pub(super) const SHAKES_PER_TURN: usize = 2;

/// Handshakes that may wait for their turn, each with a receive buffer; who comes
/// while so many wait is turned away.
pub(super) const SHAKES_WAITING_MAX: usize = 64;

/// The TLS door of a server.
#[derive(Clone, Debug)]
pub struct TlsDoor {
    /// What begins a session.
    pub acceptor: Acceptor,
    /// The TLS port of each shard, as `hello` tells them behind this door.
    pub ports: Vec<u16>,
}

/// What a TLS connection has that a plain one has not. It grows to its bound, a
/// record more than a receive buffer, and what the library allocates besides.
pub(super) struct Secured {
    session: Session,
    /// Decrypted bytes, of which the first `read` were read.
    plain: Vec<u8>,
    read: usize,
    /// The gate knows that the handshake has ended.
    welcomed: bool,
}

impl Secured {
    pub(super) fn new(session: Session) -> Box<Self> {
        Box::new(Self { session, plain: Vec::new(), read: 0, welcomed: false })
    }

    /// Whether a record has begun and its rest has not come yet.
    pub(super) fn has_begun(&self) -> bool {
        self.session.has_begun()
    }

    /// Whether it has something to say of its own.
    pub(super) fn has_words(&self) -> bool {
        self.session.has_words()
    }

    /// Whether its handshake has not ended yet.
    pub(super) fn is_shaking(&self) -> bool {
        !self.welcomed
    }

    /// Says, once, that nothing more will be said; whether it was that once.
    pub(super) fn say_farewell(&mut self) -> bool {
        self.session.say_farewell()
    }

    /// Says nothing any more.
    pub(super) fn fall_silent(&mut self) {
        self.session.fall_silent();
    }

    /// What it has to say and then `replies`, as records.
    pub(super) fn encrypt(&mut self, replies: &[u8], out: &mut Vec<u8>) -> Result<(), TlsBroken> {
        self.session.encrypt(replies, out)
    }

    /// As [`read_frames`], of a stream of records.
    fn read_frames(
        &mut self,
        gate: &mut Gate,
        connection: &mut Connection,
        origin: Origin,
        stream: &[u8],
        inbox: &mut Inbox,
    ) -> Stopped {
        let mut used = 0;
        loop {
            match self.read_plain(gate, connection, origin, inbox) {
                Stopped::Used => {}
                Stopped::InboxFull(_) => return Stopped::InboxFull(used),
                Stopped::NoRoom(_) => return Stopped::NoRoom(used),
                other => return other,
            }
            if self.session.is_closed() {
                return Stopped::Closed;
            }
            if used == stream.len() {
                return Stopped::Used;
            }
            match self.take(gate, connection, origin, &stream[used..]) {
                Ok(taken) => used += taken,
                Err(stopped) => return stopped,
            }
        }
    }

    /// Reads what is decrypted; what there is no room for stays.
    fn read_plain(
        &mut self,
        gate: &mut Gate,
        connection: &mut Connection,
        origin: Origin,
        inbox: &mut Inbox,
    ) -> Stopped {
        if self.plain.is_empty() {
            return Stopped::Used;
        }
        let stopped = read_frames(gate, connection, origin, &self.plain[self.read..], inbox);
        match stopped {
            Stopped::InboxFull(used) | Stopped::NoRoom(used) => self.read += used,
            _ => {
                self.plain.clear();
                self.read = 0;
            }
        }
        stopped
    }

    /// Decrypts the front of a stream; whoever ends a handshake is welcomed.
    fn take(
        &mut self,
        gate: &mut Gate,
        connection: &mut Connection,
        origin: Origin,
        stream: &[u8],
    ) -> Result<usize, Stopped> {
        if !self.session.has_begun() && connection.carry.is_empty() {
            connection.begun_at = origin.received;
        }
        let broken = if self.welcomed { Stopped::Unreadable } else { Stopped::TurnedAway };
        let taken = self.session.decrypt(stream, &mut self.plain).map_err(|_| broken)?;
        if !self.welcomed && self.session.is_shaken() {
            self.welcomed = true;
            connection.greedy = false; // it has said who it is, or may
            let named = self.session.principal();
            gate.welcome(connection, named.as_ref()).map_err(|_| Stopped::TurnedAway)?;
        }
        Ok(taken)
    }
}

/// As [`read_frames`], of a stream of records: the connection's TLS decrypts it.
pub(super) fn read_secured(
    gate: &mut Gate,
    connection: &mut Connection,
    origin: Origin,
    stream: &[u8],
    inbox: &mut Inbox,
) -> Stopped {
    let Some(mut tls) = connection.tls.take() else { return Stopped::Used };
    let stopped = tls.read_frames(gate, connection, origin, stream, inbox);
    connection.tls = Some(tls);
    stopped
}

impl<K: Kernel> Net<K> {
    /// The server's end of a connection through the TLS door.
    pub(super) fn session(&self) -> Option<Box<Secured>> {
        let session = self.tls.as_ref()?.acceptor.session();
        session.ok().map(Secured::new)
    }

    /// The TLS port of each shard; none without a TLS door.
    pub fn tls_ports(&self) -> &[u16] {
        self.tls.as_ref().map_or(&[], |door| &door.ports)
    }

    /// Whether `asked` came over TLS.
    pub fn is_secured(&self, asked: &super::Asked) -> bool {
        self.connections[at(asked.connection)].tls.is_some()
    }

    /// Whether a piece must wait, because this turn has taken enough steps of
    /// handshakes.
    pub(super) fn must_wait(&mut self, index: u32) -> bool {
        let tls = self.connections[at(index)].tls.as_ref();
        if !tls.is_some_and(|tls| tls.is_shaking()) {
            return false;
        }
        let Some(left) = self.shakes_left.checked_sub(1) else { return true };
        self.shakes_left = left;
        false
    }

    /// Keeps a piece of a handshake for a later turn.
    pub(super) fn put_off(&mut self, piece: Piece) -> io::Result<()> {
        let index = piece.connection;
        if self.shakes_waiting.len() >= SHAKES_WAITING_MAX {
            self.end_with(piece, Ending::TurnedAway);
            return Ok(());
        }
        self.shakes_waiting.push_back(index);
        self.park(piece)
    }

    /// The next turn begins: handshakes that wait have theirs. One that has
    /// ended meanwhile has nothing parked.
    pub(super) fn go_on_shaking(&mut self) {
        self.shakes_left = SHAKES_PER_TURN;
        for _ in 0..SHAKES_PER_TURN {
            let Some(index) = self.shakes_waiting.pop_front() else { break };
            self.unpark(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::gate::Entry;
    use crate::tls::Connector;
    use crate::units::{EnvelopeId, Stamp, UserId};
    use crate::wire::{Operations, Request, encode_request};

    const ORIGIN: Origin = Origin { connection: 0, received: Stamp(0) };

    /// Both ends of one connection, in memory.
    struct Ends {
        client: Session,
        gate: Gate,
        server: Connection,
        inbox: Inbox,
    }

    impl Ends {
        fn shaken() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let signed = rcgen::generate_simple_self_signed(vec!["box".to_owned()]).unwrap();
            let [certificate, key] = ["pem", "key"].map(|name| directory.path().join(name));
            std::fs::write(&certificate, signed.cert.pem()).unwrap();
            std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&key, mode).unwrap();
            let acceptor = Acceptor::read(&certificate, &key, None).unwrap();
            let client = Connector::read(&certificate, None).unwrap().session("box").unwrap();
            let mut server = Connection::vacant();
            server.allowed = Operations::EVERYTHING;
            server.tls = Some(Secured::new(acceptor.session().unwrap()));
            let gate = Gate::new(Entry::default(), [0; 32]);
            let mut ends = Self { client, gate, server, inbox: Inbox::new() };
            while !ends.client.is_shaken() {
                let said = ends.said(&[]);
                assert_eq!(ends.read(&said), Stopped::Used);
                let told = ends.server.take_held().unwrap();
                let mut plain = Vec::new();
                let mut taken = 0;
                while taken < told.len() {
                    taken += ends.client.decrypt(&told[taken..], &mut plain).unwrap();
                }
            }
            let said = ends.said(&[]);
            assert_eq!(ends.read(&said), Stopped::Used);
            ends
        }

        fn said(&mut self, plain: &[u8]) -> Vec<u8> {
            let mut out = Vec::new();
            self.client.encrypt(plain, &mut out).unwrap();
            out
        }

        fn read(&mut self, stream: &[u8]) -> Stopped {
            let Self { gate, server, inbox, .. } = self;
            read_secured(gate, server, ORIGIN, stream, inbox)
        }

        /// The tags of what was asked, and room for as much again.
        fn asked(&mut self) -> Vec<u64> {
            let tags = self.inbox.asked.iter().map(|asked| asked.tag).collect();
            self.inbox.clear();
            self.server.promised = 0;
            tags
        }
    }

    fn frames(tags: std::ops::Range<u64>) -> Vec<u8> {
        let mut frames = Vec::new();
        for tag in tags {
            let request = Request::Claim { envelope: EnvelopeId(1), user: UserId(tag) };
            encode_request(&mut frames, tag, 0, &request);
        }
        frames
    }

    #[test]
    fn records_cut_at_any_byte_are_the_same_frames() {
        let mut ends = Ends::shaken();
        let mut cut = 0;
        loop {
            // Two records, the border of which is in the middle of a frame.
            let frames = frames(0..5);
            let mut records = ends.said(&frames[..50]);
            records.extend(ends.said(&frames[50..]));
            if cut > records.len() {
                break;
            }
            assert_eq!(ends.read(&records[..cut]), Stopped::Used);
            assert_eq!(ends.server.has_begun(), cut > 0 && cut < records.len(), "cut at {cut}");
            assert_eq!(ends.read(&records[cut..]), Stopped::Used);
            assert_eq!(ends.asked(), [0, 1, 2, 3, 4], "cut at {cut}");
            cut += 1;
        }
        assert!(cut > 200);
    }

    #[test]
    fn what_has_no_room_stays_and_is_read_next_and_in_order() {
        let mut ends = Ends::shaken();
        let records = ends.said(&frames(0..1500));
        let (mut rest, mut seen) = (&records[..], Vec::new());
        loop {
            let stopped = ends.read(rest);
            seen.extend(ends.asked());
            match stopped {
                Stopped::InboxFull(used) | Stopped::NoRoom(used) => rest = &rest[used..],
                other => break assert_eq!(other, Stopped::Used),
            }
        }
        assert!(seen.into_iter().eq(0..1500));
    }

    #[test]
    fn behind_a_farewell_nothing_is_read() {
        let mut ends = Ends::shaken();
        let mut said = ends.said(&frames(0..1));
        assert!(ends.client.say_farewell());
        said.extend(ends.said(&[]));
        said.extend([0xff; 100]);
        assert_eq!(ends.read(&said), Stopped::Closed);
        assert_eq!(ends.asked(), [0]);
        assert_eq!(ends.read(&frames(0..9)), Stopped::Closed);
        assert!(ends.asked().is_empty());
    }

    #[test]
    fn one_who_is_given_up_is_told_nothing() {
        let mut ends = Ends::shaken();
        ends.server.held.extend_from_slice(&[1; 24]);
        ends.server.tls.as_mut().unwrap().fall_silent();
        assert!(ends.server.take_held().unwrap().is_empty());
        assert!(!ends.server.has_words());
    }
}
