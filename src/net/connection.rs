//! One connection: its socket, the head of a frame that is not yet whole, and
//! the replies that wait for their commit or are being sent.

use std::os::fd::OwnedFd;

use super::gate::Standing;
use super::secured::Secured;
use crate::limits::FRAME_BYTES_MAX;
use crate::units::Stamp;
use crate::wire::Operations;

/// Bytes of replies one connection may hold before it is read no further.
pub(super) const OUTBOX_BYTES: usize = 64 * 1024;

/// Why a connection ends; each reason is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The peer closed its side; what it asked is still answered.
    PeerClosed,
    /// The stream cannot be understood any more.
    BrokenStream,
    /// Receiving or sending failed.
    SocketFailed,
    /// It does not read its replies, and others need the receive buffers; or it
    /// has not read them for too long.
    SlowReader,
    /// It did not prove who it is, and was told so.
    TurnedAway,
    /// It took too long to prove who it is.
    LateHandshake,
    /// It took too long to send the rest of a frame.
    LateFrame,
    /// It asked for nothing for too long.
    Idle,
}

impl Ending {
    /// Whether nothing more is sent: the peer is not there, or does not read.
    pub(super) fn gives_up(self) -> bool {
        match self {
            Self::PeerClosed | Self::BrokenStream | Self::TurnedAway => false,
            Self::SocketFailed
            | Self::SlowReader
            | Self::LateHandshake
            | Self::LateFrame
            | Self::Idle => true,
        }
    }
}

/// A slot of the connection table; reused after both directions have ended.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each set by one event")]
pub(super) struct Connection {
    pub(super) socket: Option<OwnedFd>,
    /// What decrypts and encrypts; nothing on a plain connection.
    pub(super) tls: Option<Box<Secured>>,
    /// Who is at the other end, as far as is known.
    pub(super) standing: Standing,
    /// What it may ask for; nothing before it has proved who it is.
    pub(super) allowed: Operations,
    /// When it was accepted.
    pub(super) opened_at: Stamp,
    /// When bytes came last.
    pub(super) heard_at: Stamp,
    /// When the frame in the carry was begun.
    pub(super) begun_at: Stamp,
    /// The start of a frame whose rest has not come yet.
    pub(super) carry: Vec<u8>,
    /// Replies of this and earlier turns that are not sent yet.
    pub(super) filling: Vec<u8>,
    /// Replies whose commit is under way, or done while an earlier send goes on.
    pub(super) held: Vec<u8>,
    /// The third buffer, while it is not being sent.
    pub(super) spare: Vec<u8>,
    /// Room in `filling` that requests under way will need, in bytes.
    pub(super) promised: usize,
    /// The part of `promised` whose requests other shards have.
    pub(super) carried: usize,
    /// Bytes of the buffer being sent that are already out.
    pub(super) sent: usize,
    pub(super) receiving: bool,
    pub(super) sending: bool,
    /// Received bytes wait in the net's parked list.
    pub(super) parked: bool,
    /// It asks faster than it takes answers, so it is lent one buffer at a
    /// time and cannot take those of others.
    pub(super) greedy: bool,
    /// When the send under way was begun.
    pub(super) sending_since: Stamp,
    /// Listed among those with something to send.
    pub(super) dirty: bool,
    /// Listed among those whose replies wait for a commit.
    pub(super) sealed: bool,
    pub(super) ending: Option<Ending>,
}

impl Connection {
    /// An empty slot with its buffers reserved; reserved memory costs nothing
    /// until it is used.
    pub(super) fn vacant() -> Self {
        Self {
            socket: None,
            tls: None,
            standing: Standing::Anybody,
            allowed: Operations::NOTHING,
            opened_at: Stamp::default(),
            heard_at: Stamp::default(),
            begun_at: Stamp::default(),
            carry: Vec::with_capacity(FRAME_BYTES_MAX),
            filling: Vec::with_capacity(OUTBOX_BYTES),
            held: Vec::with_capacity(OUTBOX_BYTES),
            spare: Vec::with_capacity(OUTBOX_BYTES),
            promised: 0,
            carried: 0,
            sent: 0,
            receiving: false,
            sending: false,
            parked: false,
            greedy: false,
            sending_since: Stamp::default(),
            dirty: false,
            sealed: false,
            ending: None,
        }
    }

    /// Whether it has not proved who it is.
    #[inline]
    pub(super) fn is_stranger(&self) -> bool {
        self.allowed.is_nothing()
    }

    /// Whether a reply of `bytes` fits, with all that is promised before it.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.filling.len() + self.held.len() + self.promised + bytes <= OUTBOX_BYTES
    }

    /// Whether there are replies that are not being sent yet, or something that
    /// TLS has to say.
    pub(super) fn has_replies(&self) -> bool {
        !self.filling.is_empty() || !self.held.is_empty() || self.has_words()
    }

    /// Whether TLS has something to say of its own, which reveals nothing.
    pub(super) fn has_words(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_words())
    }

    /// Whether something has begun whose rest has not come yet: a frame, or a
    /// record.
    pub(super) fn has_begun(&self) -> bool {
        !self.carry.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.has_begun())
    }

    /// The bytes to send, now that what is held may leave; nothing where it
    /// cannot be encrypted. What they were held in is held in next.
    pub(super) fn take_held(&mut self) -> Option<Vec<u8>> {
        let mut bytes = std::mem::take(&mut self.spare);
        let Some(tls) = &mut self.tls else {
            std::mem::swap(&mut bytes, &mut self.held);
            return Some(bytes);
        };
        let encrypted = tls.encrypt(&self.held, &mut bytes);
        self.held.clear();
        if encrypted.is_err() {
            bytes.clear();
            self.spare = bytes;
            return None;
        }
        Some(bytes)
    }

    /// What was answered until now waits for its commit, with what still waits
    /// for an earlier send. Room was kept for both in one buffer.
    pub(super) fn seal(&mut self) {
        if self.filling.is_empty() {
            return;
        }
        if self.held.is_empty() {
            std::mem::swap(&mut self.held, &mut self.filling);
        } else {
            self.held.append(&mut self.filling);
        }
    }

    /// Whether nothing is left to do before the slot can be vacant again.
    pub(super) fn is_over(&self) -> bool {
        self.ending.is_some()
            && !self.receiving
            && !self.sending
            && !self.parked
            && self.promised == 0
            && !self.has_replies()
    }

    /// Makes the slot vacant; the socket closes.
    pub(super) fn vacate(&mut self) {
        self.socket = None;
        self.tls = None;
        self.standing = Standing::Anybody;
        self.allowed = Operations::NOTHING;
        self.carry.clear();
        self.filling.clear();
        self.held.clear();
        self.sent = 0;
        self.dirty = false;
        self.greedy = false;
        self.ending = None;
    }
}
