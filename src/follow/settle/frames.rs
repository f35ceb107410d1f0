//! The frames of the settlement stream: bytes ↔ meaning, no I/O. The byte tables
//! are in `docs/PROTOCOL.md`, section "Settlement stream".
//!
//! The only place that knows their offsets; never panics on any bytes.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ending::Ending;
use super::name::{Content, NAME_BYTES_MAX, SubscriberName};
use super::news::{Told, put_told, read_told};
use crate::follow::ledger::Cursor;
use crate::follow::movement::{Account, Movement, MovementId, Why};
use crate::units::{EnvelopeId, UserId};
use crate::wire::HEADER_BYTES;

/// The version of the stream.
pub(super) const VERSION: u8 = 1;

/// Bytes of one movement.
pub const MOVEMENT_BYTES: usize = 64;

/// Bytes of a border, whole.
pub const BORDER_BYTES: usize = 64;

/// Bytes of an acknowledgement, whole.
pub const ACKNOWLEDGE_BYTES: usize = 64;

/// The least window: a frame of some movements and the border after it.
pub const WINDOW_BYTES_MIN: u32 = 4 << 10;

/// The largest window: what a receiver a continent away needs at 100 MiB/s.
pub const WINDOW_BYTES_MAX: u32 = 16 << 20;

/// Movements of the largest frame: 16 KiB with its header.
pub(super) const ROWS_MAX: usize = 255;

/// The longest frame that a subscriber sends.
pub(super) const REQUEST_BYTES_MAX: usize = 96;

mod op {
    pub(super) const SUBSCRIBE: u8 = 32;
    pub(super) const ACKNOWLEDGE: u8 = 33;
    pub(super) const FORGET: u8 = 34;
    pub(super) const MOVEMENTS: u8 = 35;
    pub(super) const BORDER: u8 = 36;
    pub(super) const END: u8 = 37;
    pub(super) const NEWS: u8 = 38;
    /// Set in what answers a request of this operation.
    pub(super) const REPLY: u8 = 0x80;
}

/// From where a subscriber wants to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Where the server knows that it left off; a new name, at the beginning.
    LeftOff,
    /// At the beginning of the arrangement in use.
    Beginning,
    /// After this border.
    After(Cursor),
}

/// What a subscriber asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who it is.
    pub name: SubscriberName,
    /// Of which shard.
    pub shard: u16,
    /// From where.
    pub start: Start,
    /// How many bytes may be on the way that it has not taken.
    pub window: u32,
}

/// What it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The stream begins after this.
    pub start: Cursor,
    /// How far the journal is.
    pub committed: u64,
    /// The window that the server keeps to.
    pub window: u32,
    /// How many shards there are.
    pub shards: u16,
    /// The cell of the server.
    pub cell: u8,
}

/// A movement, and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The same for ever.
    pub id: MovementId,
    /// What moves.
    pub movement: Movement,
}

/// One frame, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// To the server: begin.
    Subscribe(Ask),
    /// From the server: it begins.
    Accepted(Accepted),
    /// To the server: everything before `border` is booked durably, and so many
    /// bytes of this connection's movements and borders were taken.
    Acknowledge {
        /// The last border before which everything is booked.
        border: Cursor,
        /// Bytes taken since the stream began.
        taken: u64,
    },
    /// To the server: nobody of this name will come again.
    Forget(SubscriberName),
    /// From the server: forgotten.
    Forgotten,
    /// From the server: movements, in order.
    Movements(Vec<Moved>),
    /// From the server, to a risk service: what it is to hear, in order.
    News(Vec<Told>),
    /// From the server: everything before `cursor` was sent.
    Border {
        /// Where a stream can go on.
        cursor: Cursor,
        /// How far the journal is.
        committed: u64,
    },
    /// From the server: why it says no more.
    End(Ending),
}

/// `0 length | 2 op | 3 code | 4 detail | 8 zero`, little endian.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    length: U16,
    op: u8,
    code: u8,
    detail: U32,
    zero: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Default)]
#[repr(C)]
struct CursorBytes {
    arrangement: U32,
    shard: U16,
    zero: U16,
    position: U64,
    batch: U64,
    checksum: U32,
    epoch: U32,
    time_ms: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SubscribeBody {
    name: [u8; NAME_BYTES_MAX],
    after: CursorBytes,
    window: U32,
    shard: U16,
    from: u8,
    version: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AcceptedBody {
    start: CursorBytes,
    committed: U64,
    window: U32,
    shards: U16,
    cell: u8,
    version: u8,
}

/// A cursor and a number: of an acknowledgement, and of a border.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct CursorBody {
    cursor: CursorBytes,
    number: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Row {
    arrangement: U32,
    shard: U16,
    cell: u8,
    why: u8,
    batch: U64,
    index: U32,
    at: U32,
    from_user: U64,
    to_user: U64,
    amount: U64,
    envelope: U64,
    from: u8,
    to: u8,
    zero: [u8; 6],
}

impl From<Cursor> for CursorBytes {
    fn from(cursor: Cursor) -> Self {
        let Cursor { arrangement, shard, position, batch, checksum, epoch, time_ms } = cursor;
        Self {
            arrangement: arrangement.into(),
            shard: shard.into(),
            zero: 0.into(),
            position: position.into(),
            batch: batch.into(),
            checksum: checksum.into(),
            epoch: epoch.into(),
            time_ms: time_ms.into(),
        }
    }
}

impl From<CursorBytes> for Cursor {
    fn from(bytes: CursorBytes) -> Self {
        Self {
            arrangement: bytes.arrangement.get(),
            shard: bytes.shard.get(),
            position: bytes.position.get(),
            batch: bytes.batch.get(),
            checksum: bytes.checksum.get(),
            epoch: bytes.epoch.get(),
            time_ms: bytes.time_ms.get(),
        }
    }
}

fn account_code(account: Account) -> (u8, u64) {
    match account {
        Account::Outside => (0, 0),
        Account::User(UserId(user)) => (1, user),
        Account::Held => (2, 0),
        Account::Escrow => (3, 0),
    }
}

fn account_of(code: u8, user: u64) -> Option<Account> {
    match (code, user) {
        (0, 0) => Some(Account::Outside),
        (1, user) => Some(Account::User(UserId(user))),
        (2, 0) => Some(Account::Held),
        (3, 0) => Some(Account::Escrow),
        _ => None,
    }
}

impl From<&Moved> for Row {
    fn from(moved: &Moved) -> Self {
        let Moved { id, movement } = moved;
        let (from, from_user) = account_code(movement.from);
        let (to, to_user) = account_code(movement.to);
        Self {
            arrangement: id.arrangement.into(),
            shard: id.shard.into(),
            cell: id.cell,
            why: movement.why.code(),
            batch: id.batch.into(),
            index: id.index.into(),
            at: movement.at.into(),
            from_user: from_user.into(),
            to_user: to_user.into(),
            amount: movement.amount.into(),
            envelope: movement.envelope.0.into(),
            from,
            to,
            zero: [0; 6],
        }
    }
}

impl Row {
    fn meaning(&self) -> Option<Moved> {
        let movement = Movement {
            why: Why::from_code(self.why)?,
            from: account_of(self.from, self.from_user.get())?,
            to: account_of(self.to, self.to_user.get())?,
            amount: self.amount.get(),
            envelope: EnvelopeId(self.envelope.get()),
            at: self.at.get(),
        };
        let id = MovementId {
            cell: self.cell,
            arrangement: self.arrangement.get(),
            shard: self.shard.get(),
            batch: self.batch.get(),
            index: self.index.get(),
        };
        Some(Moved { id, movement })
    }
}

/// Puts a movement at the end of `rows`, as a `movements` frame carries it.
pub(super) fn put_row(rows: &mut Vec<u8>, moved: &Moved) {
    rows.extend_from_slice(Row::from(moved).as_bytes());
}

/// Puts a frame of these encoded rows at the end of `out`.
pub(super) fn put_rows(out: &mut Vec<u8>, content: Content, rows: &[u8]) {
    let count = u32::try_from(rows.len() / MOVEMENT_BYTES).unwrap_or(u32::MAX);
    let op = match content {
        Content::Movements => op::MOVEMENTS,
        Content::News => op::NEWS,
    };
    put(out, op, 0, count, rows);
}

fn put(out: &mut Vec<u8>, op: u8, code: u8, detail: u32, body: &[u8]) {
    let length = u16::try_from(HEADER_BYTES + body.len()).unwrap_or(u16::MAX);
    let header = Header { length: length.into(), op, code, detail: detail.into(), zero: 0.into() };
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(body);
}

fn padded(name: &SubscriberName) -> [u8; NAME_BYTES_MAX] {
    let mut bytes = [0; NAME_BYTES_MAX];
    for (byte, of_name) in bytes.iter_mut().zip(name.as_str().bytes()) {
        *byte = of_name;
    }
    bytes
}

fn name_of(bytes: [u8; NAME_BYTES_MAX]) -> Result<SubscriberName, Ending> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (name, rest) = bytes.split_at(end);
    let text = std::str::from_utf8(name).map_err(|_| Ending::Name)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(Ending::Name);
    }
    text.parse().map_err(|_| Ending::Name)
}

/// Puts `frame` at the end of `out`. At most 255 movements fit in one.
pub fn encode(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Subscribe(ask) => put(out, op::SUBSCRIBE, 0, 0, subscribe_body(ask).as_bytes()),
        Frame::Accepted(accepted) => {
            let body = AcceptedBody {
                start: accepted.start.into(),
                committed: accepted.committed.into(),
                window: accepted.window.into(),
                shards: accepted.shards.into(),
                cell: accepted.cell,
                version: VERSION,
            };
            put(out, op::SUBSCRIBE | op::REPLY, 0, 0, body.as_bytes());
        }
        Frame::Acknowledge { border, taken } => {
            let body = CursorBody { cursor: (*border).into(), number: (*taken).into() };
            put(out, op::ACKNOWLEDGE, 0, 0, body.as_bytes());
        }
        Frame::Forget(name) => put(out, op::FORGET, 0, 0, &padded(name)),
        Frame::Forgotten => put(out, op::FORGET | op::REPLY, 0, 0, &[]),
        Frame::Movements(moved) => {
            let mut rows = Vec::with_capacity(moved.len() * MOVEMENT_BYTES);
            for moved in moved {
                put_row(&mut rows, moved);
            }
            put_rows(out, Content::Movements, &rows);
        }
        Frame::News(told) => {
            let mut rows = Vec::with_capacity(told.len() * MOVEMENT_BYTES);
            for told in told {
                put_told(&mut rows, told);
            }
            put_rows(out, Content::News, &rows);
        }
        Frame::Border { cursor, committed } => {
            let body = CursorBody { cursor: (*cursor).into(), number: (*committed).into() };
            put(out, op::BORDER, 0, 0, body.as_bytes());
        }
        Frame::End(ending) => {
            let (code, detail, position) = ending.parts();
            put(out, op::END, code, detail, &position.to_le_bytes());
        }
    }
}

fn subscribe_body(ask: &Ask) -> SubscribeBody {
    let (from, after) = match ask.start {
        Start::LeftOff => (0, CursorBytes::default()),
        Start::Beginning => (1, CursorBytes::default()),
        Start::After(cursor) => (2, cursor.into()),
    };
    SubscribeBody {
        name: padded(&ask.name),
        after,
        window: ask.window.into(),
        shard: ask.shard.into(),
        from,
        version: VERSION,
    }
}

/// The frame at the front of `stream` and its bytes; `None` while it is not
/// whole. `bytes_max` bounds what the other end may send, and is looked at
/// before anything else.
pub fn decode(stream: &[u8], bytes_max: usize) -> Result<Option<(Frame, usize)>, Ending> {
    let Ok((header, rest)) = Header::ref_from_prefix(stream) else { return Ok(None) };
    let bytes = usize::from(header.length.get());
    if !(HEADER_BYTES..=bytes_max).contains(&bytes) {
        return Err(Ending::Malformed);
    }
    let Some(body) = rest.get(..bytes - HEADER_BYTES) else { return Ok(None) };
    if header.zero.get() != 0 {
        return Err(Ending::Malformed);
    }
    meaning(header, body).map(|frame| Some((frame, bytes)))
}

fn meaning(header: &Header, body: &[u8]) -> Result<Frame, Ending> {
    let (code, detail) = (header.code, header.detail.get());
    if header.op == op::END {
        let position = U64::read_from_bytes(body).map_err(|_| Ending::Malformed)?;
        return Ok(Frame::End(Ending::of_parts(code, detail, position.get())));
    }
    let has_rows = matches!(header.op, op::MOVEMENTS | op::NEWS);
    if code != 0 || (detail != 0 && !has_rows) {
        return Err(Ending::Malformed);
    }
    match header.op {
        op::SUBSCRIBE => subscribe(&read(body)?),
        op::ACKNOWLEDGE => {
            let body: CursorBody = read(body)?;
            Ok(Frame::Acknowledge { border: cursor(body.cursor)?, taken: body.number.get() })
        }
        op::FORGET => name_of(read(body)?).map(Frame::Forget),
        op::MOVEMENTS => movements(detail, body),
        op::NEWS => read_told(detail, body).map(Frame::News).ok_or(Ending::Malformed),
        op::BORDER => {
            let body: CursorBody = read(body)?;
            Ok(Frame::Border { cursor: cursor(body.cursor)?, committed: body.number.get() })
        }
        code if code == op::SUBSCRIBE | op::REPLY => accepted(&read(body)?),
        code if code == op::FORGET | op::REPLY && body.is_empty() => Ok(Frame::Forgotten),
        _ => Err(Ending::Malformed),
    }
}

fn read<T: FromBytes>(body: &[u8]) -> Result<T, Ending> {
    T::read_from_bytes(body).map_err(|_| Ending::Malformed)
}

fn cursor(bytes: CursorBytes) -> Result<Cursor, Ending> {
    if bytes.zero.get() == 0 { Ok(bytes.into()) } else { Err(Ending::Malformed) }
}

fn subscribe(body: &SubscribeBody) -> Result<Frame, Ending> {
    if body.version != VERSION {
        return Err(Ending::Version(VERSION.into()));
    }
    let after = cursor(body.after)?;
    let start = match body.from {
        2 => Start::After(after),
        _ if after != Cursor::default() => return Err(Ending::Malformed),
        0 => Start::LeftOff,
        1 => Start::Beginning,
        _ => return Err(Ending::Malformed),
    };
    let (name, shard, window) = (name_of(body.name)?, body.shard.get(), body.window.get());
    if window < WINDOW_BYTES_MIN {
        return Err(Ending::Window(WINDOW_BYTES_MIN));
    }
    Ok(Frame::Subscribe(Ask { name, shard, start, window }))
}

fn accepted(body: &AcceptedBody) -> Result<Frame, Ending> {
    if body.version != VERSION {
        return Err(Ending::Version(body.version.into()));
    }
    Ok(Frame::Accepted(Accepted {
        start: cursor(body.start)?,
        committed: body.committed.get(),
        window: body.window.get(),
        shards: body.shards.get(),
        cell: body.cell,
    }))
}

fn movements(count: u32, body: &[u8]) -> Result<Frame, Ending> {
    let rows = <[Row]>::ref_from_bytes(body).map_err(|_| Ending::Malformed)?;
    let sound = u32::try_from(rows.len()) == Ok(count);
    let moved: Option<Vec<_>> = rows.iter().map(Row::meaning).collect();
    moved.filter(|_| sound).map(Frame::Movements).ok_or(Ending::Malformed)
}
