//! From received bytes to requests: frames are decoded where they lie, and
//! only the head of a frame that is cut between two buffers is copied.

use super::connection::Connection;
use super::gate::Gate;
use crate::limits::{ATTACHED_BYTES_MAX, FRAME_BYTES_MAX};
use crate::units::Stamp;
use crate::wire::{BadRequest, Broken, Denial, Frame, Framed, Op, Request, reply_bytes_max};

/// Requests that are decided together; small enough to stay in the first-level
/// cache, large enough to overlap the cache misses of their envelopes.
pub(super) const INBOX_REQUESTS: usize = 256;

/// One request, and where its reply goes.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub(super) connection: u32,
    /// When its bytes were received.
    pub received: Stamp,
    /// How long the asker cares, in microseconds from then; 0 is no limit.
    pub budget_us: u32,
    /// The operation byte of the frame.
    pub op: u8,
    /// The tag of the frame, to be repeated in the reply.
    pub tag: u64,
    /// What is asked, or why it is not even looked at.
    pub request: Result<Request, Unheard>,
}

const _: () = assert!(size_of::<Result<Request, Unheard>>() == size_of::<Request>());

/// Why nobody decides about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// It cannot be understood.
    Nonsense(BadRequest),
    /// Who sent it may not ask for this.
    Denied(Denial),
}

/// Whose bytes are read, and when they came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) connection: u32,
    pub(super) received: Stamp,
}

/// The requests of one round, in order of arrival, and what is attached to them.
pub struct Inbox {
    pub(super) asked: Vec<Asked>,
    attached: Vec<u8>,
}

impl Inbox {
    /// An empty inbox; it never grows.
    pub fn new() -> Self {
        Self {
            asked: Vec::with_capacity(INBOX_REQUESTS),
            attached: Vec::with_capacity(ATTACHED_BYTES_MAX),
        }
    }

    /// The requests.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// Takes the requests out, and what is attached to them, to be given back
    /// with [`Inbox::give_back`]: they are read where they lie while replies are
    /// written.
    pub fn take(&mut self) -> (Vec<Asked>, Vec<u8>) {
        (std::mem::take(&mut self.asked), std::mem::take(&mut self.attached))
    }

    /// Takes back what [`Inbox::take`] gave.
    pub fn give_back(&mut self, (asked, attached): (Vec<Asked>, Vec<u8>)) {
        (self.asked, self.attached) = (asked, attached);
    }

    /// Makes room for the next round.
    pub(super) fn clear(&mut self) {
        self.asked.clear();
        self.attached.clear();
    }

    /// Whether what may be attached to a frame of so many bytes has room.
    #[inline]
    fn has_room_beside(&self, op: u8, bytes: usize) -> bool {
        !Op::attaches(op) || self.attached.len() + bytes <= ATTACHED_BYTES_MAX
    }

    #[expect(clippy::inline_always, reason = "a call hands the request over by a copy")]
    #[inline(always)]
    fn put(&mut self, origin: Origin, frame: &Frame<'_>, request: Result<Request, Unheard>) {
        let Origin { connection, received } = origin;
        let Frame { op, tag, budget_us, .. } = *frame;
        self.asked.push(Asked { connection, received, budget_us, op, tag, request });
    }

    /// Takes along what is attached to the last request, which lies in this
    /// frame; nothing is, where the request is none.
    #[cold]
    fn take_along(&mut self, frame: &[u8]) {
        let last = self.asked.last_mut().and_then(|asked| asked.request.as_mut().ok());
        if let Some(attached) = last.and_then(Request::attached_mut) {
            attached.take_along(frame, &mut self.attached);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.asked.len() == INBOX_REQUESTS
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

/// Why reading frames stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// All bytes are used.
    Used,
    /// The inbox is full; so many bytes are used.
    InboxFull(usize),
    /// The connection has no room for the next reply; so many bytes are used.
    NoRoom(usize),
    /// The stream makes no sense from here on.
    Broken(Broken),
    /// The peer has not proved who it is, and was told so.
    TurnedAway,
    /// Over TLS: the peer has closed its side.
    Closed,
    /// Over TLS: these are no records, or somebody has changed them.
    Unreadable,
}

/// What one frame at the front of a stream leads to.
pub(super) enum Step {
    Took(usize),
    Incomplete,
    Stop(Stopped),
}

fn step(
    gate: &mut Gate,
    connection: &mut Connection,
    origin: Origin,
    stream: &[u8],
    inbox: &mut Inbox,
) -> Step {
    if connection.is_stranger() {
        return gate.hear(connection, stream);
    }
    if inbox.is_full() {
        return Step::Stop(Stopped::InboxFull(0));
    }
    let frame = match Framed::at(stream) {
        Framed::Incomplete => return Step::Incomplete,
        Framed::Broken(broken) => return Step::Stop(Stopped::Broken(broken)),
        Framed::Whole(frame) => frame,
    };
    let Frame { bytes, op, .. } = frame;
    let reply_bytes = reply_bytes_max(op);
    if !connection.has_room(reply_bytes) {
        return Step::Stop(Stopped::NoRoom(0));
    }
    if !inbox.has_room_beside(op, bytes) {
        return Step::Stop(Stopped::InboxFull(0));
    }
    connection.promised += reply_bytes;
    match frame.claim() {
        // The one request of millions is put together where it is to lie: a copy
        // would be read in wholes before the halves it was written in are there.
        Some(claim) if connection.allowed.has(op) => inbox.put(origin, &frame, Ok(claim)),
        _ => inbox.put(origin, &frame, heard(connection, &frame)),
    }
    if Op::attaches(op) {
        inbox.take_along(stream);
    }
    Step::Took(bytes)
}

/// What a frame asks, if its sender may ask for it.
fn heard(connection: &Connection, frame: &Frame<'_>) -> Result<Request, Unheard> {
    if connection.allowed.has(frame.op) {
        frame.request().map_err(Unheard::Nonsense)
    } else {
        Err(Unheard::Denied(Denial::Role))
    }
}

/// Reads frames from `stream`, which follows the connection's carry.
pub(super) fn read_frames(
    gate: &mut Gate,
    connection: &mut Connection,
    origin: Origin,
    stream: &[u8],
    inbox: &mut Inbox,
) -> Stopped {
    let mut used = 0;
    while !connection.carry.is_empty() {
        match read_carried(gate, connection, origin, &stream[used..], inbox) {
            Step::Took(bytes) => used += bytes,
            Step::Incomplete => return Stopped::Used,
            Step::Stop(stopped) => return after(stopped, used),
        }
    }
    loop {
        match step(gate, connection, origin, &stream[used..], inbox) {
            Step::Took(bytes) => used += bytes,
            Step::Incomplete => break,
            Step::Stop(stopped) => return after(stopped, used),
        }
    }
    connection.begun_at = origin.received;
    connection.carry.extend_from_slice(&stream[used..]);
    Stopped::Used
}

fn after(stopped: Stopped, used: usize) -> Stopped {
    match stopped {
        Stopped::InboxFull(more) => Stopped::InboxFull(used + more),
        Stopped::NoRoom(more) => Stopped::NoRoom(used + more),
        other => other,
    }
}

/// Completes the frame whose head is in the carry with bytes of `stream`;
/// `Took` counts the bytes of `stream` that it needed.
fn read_carried(
    gate: &mut Gate,
    connection: &mut Connection,
    origin: Origin,
    stream: &[u8],
    inbox: &mut Inbox,
) -> Step {
    let mut carry = std::mem::take(&mut connection.carry);
    let had = carry.len();
    let more = stream.len().min(FRAME_BYTES_MAX - had);
    carry.extend_from_slice(&stream[..more]);
    let mut step = step(gate, connection, origin, &carry, inbox);
    match &mut step {
        Step::Took(bytes) => {
            *bytes -= had;
            carry.clear();
        }
        // A frame is at most FRAME_BYTES_MAX long, so if it is not whole yet,
        // all of the stream is in the carry.
        Step::Incomplete => {}
        Step::Stop(_) => carry.truncate(had),
    }
    connection.carry = carry;
    step
}

/// The requests of a connection whose stream comes in these pieces, and whether
/// it breaks: for fuzzing, where there is no ring that lends buffers.
#[doc(hidden)]
pub fn read_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Asked>, bool) {
    let origin = Origin { connection: 0, received: Stamp(0) };
    let (mut connection, mut inbox, mut all) = (Connection::vacant(), Inbox::new(), Vec::new());
    let mut gate = Gate::new(super::gate::Entry::default(), [0; 32]);
    connection.allowed = crate::wire::Operations::EVERYTHING;
    for mut piece in pieces {
        loop {
            let stopped = read_frames(&mut gate, &mut connection, origin, piece, &mut inbox);
            all.append(&mut inbox.asked);
            connection.promised = 0; // as if every reply had been sent
            match stopped {
                Stopped::Used => break,
                Stopped::InboxFull(used) | Stopped::NoRoom(used) => piece = &piece[used..],
                Stopped::Broken(_)
                | Stopped::TurnedAway
                | Stopped::Closed
                | Stopped::Unreadable => return (all, true),
            }
        }
    }
    (all, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{EnvelopeId, UserId};
    use crate::wire::encode_request;

    const ORIGIN: Origin = Origin { connection: 0, received: Stamp(0) };

    fn stream() -> (Vec<u8>, Vec<Result<Request, BadRequest>>) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for n in 0..5 {
            let request = Request::Claim { envelope: EnvelopeId(n), user: UserId(n * 7) };
            encode_request(&mut bytes, n, 0, &request);
            expected.push(Ok(request));
            let request = Request::Show { envelope: EnvelopeId(n) };
            encode_request(&mut bytes, n, 0, &request);
            expected.push(Ok(request));
            bytes
                .extend_from_slice(&[20, 0, 99, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
            expected.push(Err(BadRequest::UnknownOp));
        }
        (bytes, expected)
    }

    /// A gate that asks nobody, and somebody who has passed it.
    fn open() -> (Gate, Connection) {
        let mut connection = Connection::vacant();
        connection.allowed = crate::wire::Operations::EVERYTHING;
        (Gate::new(crate::net::Entry::default(), [0; 32]), connection)
    }

    fn decode_in(pieces: &[&[u8]]) -> Vec<Result<Request, BadRequest>> {
        let (mut gate, mut connection) = open();
        let mut inbox = Inbox::new();
        for piece in pieces {
            assert_eq!(
                read_frames(&mut gate, &mut connection, ORIGIN, piece, &mut inbox),
                Stopped::Used
            );
        }
        let nonsense = |unheard| match unheard {
            Unheard::Nonsense(reason) => reason,
            Unheard::Denied(denial) => panic!("{denial:?}"),
        };
        inbox.asked.iter().map(|asked| asked.request.map_err(nonsense)).collect()
    }

    #[test]
    fn a_stream_cut_at_any_two_bytes_decodes_the_same() {
        let (bytes, expected) = stream();
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(decode_in(&pieces), expected, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_full_inbox_stops_at_a_frame_border_and_loses_nothing() {
        let (one, _) = stream();
        let bytes = one.repeat(60);
        let (mut gate, mut connection) = open();
        let mut inbox = Inbox::new();
        let mut rest = &bytes[..];
        let mut frames = 0;
        loop {
            let stopped = read_frames(&mut gate, &mut connection, ORIGIN, rest, &mut inbox);
            frames += inbox.asked.len();
            inbox.clear();
            connection.promised = 0;
            match stopped {
                Stopped::InboxFull(used) => rest = &rest[used..],
                other => {
                    assert_eq!(other, Stopped::Used);
                    break;
                }
            }
        }
        assert_eq!(frames, 15 * 60);
    }

    #[test]
    fn no_room_for_a_reply_stops_before_its_request() {
        let (bytes, _) = stream();
        let (mut gate, mut connection) = open();
        connection.filling.resize(super::super::connection::OUTBOX_BYTES - 40, 0);
        let mut inbox = Inbox::new();
        let stopped = read_frames(&mut gate, &mut connection, ORIGIN, &bytes, &mut inbox);
        assert_eq!((stopped, inbox.asked.len()), (Stopped::NoRoom(32), 1));
    }

    #[test]
    fn an_impossible_length_breaks_the_stream_with_its_tag() {
        for length in [0u16, 1, 15, 4097, u16::MAX] {
            let mut bytes = vec![0; 16];
            bytes[..2].copy_from_slice(&length.to_le_bytes());
            bytes[8] = 77;
            let (mut gate, mut connection) = open();
            let mut inbox = Inbox::new();
            let stopped = read_frames(&mut gate, &mut connection, ORIGIN, &bytes, &mut inbox);
            assert_eq!(stopped, Stopped::Broken(Broken { op: 0, tag: 77 }));
        }
    }
}
