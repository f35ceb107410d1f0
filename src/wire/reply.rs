//! What the server answers.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::frame::HEADER_BYTES;
use super::request::Op;
use super::status::Status;
use crate::limits::FRAME_BYTES_MAX;
use crate::units::{
    Cell, EnvelopeId, EnvelopeState, Fen, MoneySource, Seed, Split, UnixSeconds, UserId,
};

/// `0 length | 2 op | 3 status | 4 detail | 8 tag`, little endian.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ReplyHeader {
    length: U16,
    op: u8,
    status: u8,
    detail: U32,
    tag: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HelloHead {
    version: U32,
    frame_bytes_max: U32,
    cell: u8,
    durability: u8,
    shards: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct NumberBody {
    number: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OrderedBody {
    envelope: U64,
    state: u8,
    reserved: [u8; 7],
    commitment: [u8; 32],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RevealBody {
    commitment: [u8; 32],
    seed: [U64; 2],
    nonce: U32,
    revealed: u8,
    reserved: [u8; 3],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SummaryBody {
    sender: U64,
    order: U64,
    payment: U64,
    total: U64,
    left: U64,
    refunded: U64,
    shares: U32,
    claimed: U32,
    share_max: U32,
    created_at: U32,
    expires_at: U32,
    state: u8,
    split: u8,
    reserved: U16,
    luckiest: U64,
    luckiest_amount: U32,
    source: u8,
    reserved_tail: [u8; 3],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct DetailHead {
    shares: U32,
    claimed: U32,
    from: U32,
    rows: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RowBody {
    user: U64,
    amount: U32,
    at: U32,
}

/// What `hello` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The protocol version of the server.
    pub version: u32,
    /// The largest frame in either direction, in bytes.
    pub frame_bytes_max: u32,
    /// The cell of this server.
    pub cell: Cell,
    /// `Durability::code` of what an acknowledgement means.
    pub durability: u8,
    /// The TCP port of each shard, in order; 0 for a server without TCP.
    pub ports: Vec<u16>,
}

impl Hello {
    /// How many shards serve the cell; at least one.
    pub fn shards(&self) -> usize {
        self.ports.len().max(1)
    }

    /// The shard that owns a partition.
    #[inline]
    pub fn owner(&self, partition: u8) -> usize {
        usize::from(partition) % self.shards()
    }
}

/// The summary of an envelope: `total = claimed + refunded + left` of one that
/// was paid; of one that is reserved or voided all three are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Who ordered it.
    pub sender: UserId,
    /// The sender's number for the order.
    pub order: u64,
    /// The payment's reference; 0 while none is known.
    pub payment: u64,
    /// The money that was, or was to be, put in, in fen.
    pub total: Fen,
    /// The money that may still be claimed, in fen.
    pub left: Fen,
    /// The money that went back to the sender, in fen.
    pub refunded: Fen,
    /// How many shares it was cut into.
    pub shares: u32,
    /// How many of them are claimed.
    pub claimed: u32,
    /// The sender's cap of one share, in fen; 0 is none.
    pub share_max: u32,
    /// When it was ordered; once it is paid, when it opened.
    pub created_at: UnixSeconds,
    /// When it expires; while it is reserved, when it lapses.
    pub expires_at: UnixSeconds,
    /// Where it is in its life.
    pub state: EnvelopeState,
    /// The rule of its cut.
    pub split: Split,
    /// Where its money comes from.
    pub source: MoneySource,
    /// Who has the largest share of an exhausted one, the earliest of the
    /// equal, and how much that is in fen.
    pub luckiest: Option<(UserId, Fen)>,
}

/// What `send` tells about the order's envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Its id.
    pub envelope: EnvelopeId,
    /// Where it is in its life.
    pub state: EnvelopeState,
    /// The hash that its draws are bound to.
    pub commitment: [u8; 32],
}

/// What `reveal` tells: the commitment, and what opens it once no coming amount
/// can be told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reveal {
    /// The hash that was told when the envelope was ordered.
    pub commitment: [u8; 32],
    /// The secret of the draws; `None` until the envelope is closed.
    pub seed: Option<Seed>,
    /// The sender's part of the hash.
    pub nonce: u32,
}

/// One claim in a detail page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who claimed.
    pub user: UserId,
    /// The amount of the share, in fen.
    pub amount: u32,
    /// When it was claimed.
    pub at: UnixSeconds,
}

/// A page of claims, in order of rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetailPage {
    /// How many shares the envelope has.
    pub shares: u32,
    /// How many of them are claimed; a page that ends below it has a next one.
    pub claimed: u32,
    /// The rank of the first row.
    pub from: u32,
    /// The rows.
    pub rows: Vec<Row>,
}

/// Appends replies to an outbox; the server's side of the codec.
pub struct ReplyWriter<'a> {
    out: &'a mut Vec<u8>,
    op: u8,
    tag: u64,
}

/// The most one reply to `op` takes, in bytes; for bytes that name no
/// operation, what the refusal takes.
#[inline]
pub fn reply_bytes_max(op: u8) -> usize {
    match Op::from_code(op) {
        Some(Op::Detail) => FRAME_BYTES_MAX,
        // The ports of at most 256 shards follow the head.
        Some(Op::Hello) => HEADER_BYTES + size_of::<HelloHead>() + 2 * 256,
        Some(Op::Show) => HEADER_BYTES + size_of::<SummaryBody>(),
        Some(Op::Send) => HEADER_BYTES + size_of::<OrderedBody>(),
        Some(Op::Reveal) => HEADER_BYTES + size_of::<RevealBody>(),
        _ => HEADER_BYTES + size_of::<NumberBody>(),
    }
}

impl<'a> ReplyWriter<'a> {
    /// A writer for the one reply to a request of `op` and `tag`.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, op: u8, tag: u64) -> Self {
        Self { out, op, tag }
    }

    #[inline]
    fn header(&mut self, status: Status, detail: u32, body_bytes: usize) {
        let length = U16::new(u16::try_from(HEADER_BYTES + body_bytes).unwrap_or(u16::MAX));
        let (op, tag, detail) = (self.op, U64::new(self.tag), U32::new(detail));
        let header = ReplyHeader { length, op, status: status.code(), detail, tag };
        self.out.extend_from_slice(header.as_bytes());
    }

    /// A reply without a body.
    #[inline]
    pub fn bare(mut self, status: Status, detail: u32) {
        self.header(status, detail, 0);
    }

    /// A reply with one number: an amount in fen, or an envelope id.
    #[inline]
    pub fn number(mut self, status: Status, detail: u32, number: u64) {
        self.header(status, detail, size_of::<NumberBody>());
        self.out.extend_from_slice(&number.to_le_bytes());
    }

    /// The reply to `send`.
    pub fn ordered(mut self, detail: u32, ordered: &Ordered) {
        let body = OrderedBody {
            envelope: U64::new(ordered.envelope.0),
            state: ordered.state.code(),
            reserved: [0; 7],
            commitment: ordered.commitment,
        };
        self.header(Status::Ok, detail, size_of::<OrderedBody>());
        self.out.extend_from_slice(body.as_bytes());
    }

    /// The reply to `reveal`.
    pub fn reveal(mut self, reveal: &Reveal) {
        let body = RevealBody {
            commitment: reveal.commitment,
            seed: reveal.seed.unwrap_or_default().0.map(U64::new),
            nonce: U32::new(reveal.nonce),
            revealed: u8::from(reveal.seed.is_some()),
            reserved: [0; 3],
        };
        self.header(Status::Ok, 0, size_of::<RevealBody>());
        self.out.extend_from_slice(body.as_bytes());
    }

    /// The reply to `hello`.
    pub fn hello(mut self, version: u32, cell: Cell, durability: u8, ports: &[u16]) {
        let head = HelloHead {
            version: U32::new(version),
            frame_bytes_max: U32::new(u32::try_from(FRAME_BYTES_MAX).unwrap_or(u32::MAX)),
            cell,
            durability,
            shards: U16::new(u16::try_from(ports.len()).unwrap_or(u16::MAX)),
        };
        self.header(Status::Ok, 0, size_of::<HelloHead>() + 2 * ports.len());
        self.out.extend_from_slice(head.as_bytes());
        for port in ports {
            self.out.extend_from_slice(&port.to_le_bytes());
        }
    }

    /// The reply to `show`.
    pub fn summary(mut self, s: &Summary) {
        // No share is 0 fen, so that amount says that there is none.
        let (luckiest, amount) = s.luckiest.unwrap_or_default();
        let body = SummaryBody {
            sender: U64::new(s.sender.0),
            order: U64::new(s.order),
            payment: U64::new(s.payment),
            total: U64::new(s.total),
            left: U64::new(s.left),
            refunded: U64::new(s.refunded),
            shares: U32::new(s.shares),
            claimed: U32::new(s.claimed),
            share_max: U32::new(s.share_max),
            created_at: U32::new(s.created_at),
            expires_at: U32::new(s.expires_at),
            state: s.state.code(),
            split: s.split.code(),
            reserved: U16::new(0),
            luckiest: U64::new(luckiest.0),
            luckiest_amount: U32::new(u32::try_from(amount).unwrap_or(u32::MAX)),
            source: s.source.code(),
            reserved_tail: [0; 3],
        };
        self.header(Status::Ok, 0, size_of::<SummaryBody>());
        self.out.extend_from_slice(body.as_bytes());
    }

    /// The reply to `detail`; `rows` gives at least `count` rows.
    pub fn detail(
        mut self,
        shares: u32,
        claimed: u32,
        from: u32,
        count: u32,
        rows: impl Iterator<Item = Row>,
    ) {
        let head = DetailHead {
            shares: U32::new(shares),
            claimed: U32::new(claimed),
            from: U32::new(from),
            rows: U32::new(count),
        };
        let row_bytes =
            usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(size_of::<RowBody>());
        self.header(Status::Ok, 0, size_of::<DetailHead>() + row_bytes);
        self.out.extend_from_slice(head.as_bytes());
        for row in rows.take(usize::try_from(count).unwrap_or(usize::MAX)) {
            let row = RowBody {
                user: U64::new(row.user.0),
                amount: U32::new(row.amount),
                at: U32::new(row.at),
            };
            self.out.extend_from_slice(row.as_bytes());
        }
    }
}

/// One decoded reply; the client's side of the codec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The operation byte of the request.
    pub op: u8,
    /// The outcome.
    pub status: Status,
    /// By status: a repeat mark, a retry-after, a reason.
    pub detail: u32,
    /// The request's tag.
    pub tag: u64,
    /// What came with it.
    pub body: ReplyBody,
}

/// The body of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// A bare header.
    None,
    /// The amount of a claim, grab, cancel or fund, in fen.
    Amount(Fen),
    /// The envelope that was ordered.
    Ordered(Ordered),
    /// The server's facts.
    Hello(Hello),
    /// The summary of an envelope.
    Summary(Summary),
    /// A page of claims.
    Detail(DetailPage),
    /// A commitment, and perhaps what opens it.
    Reveal(Reveal),
}

/// Bytes that are no reply of this protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeReplyError {
    /// The length field is impossible.
    #[error("a reply's length is not between 16 and 4096; is this a hongbao port?")]
    Length,
    /// An operation or status of another version.
    #[error("a reply has an unknown operation or status; the server speaks another version")]
    Unknown,
    /// The body does not fit the operation.
    #[error("a reply's body does not fit its operation")]
    Body,
}

/// The head of a reply and the one number that most replies carry: what a load
/// generator needs, without building a [`Reply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// The length of the whole frame.
    pub bytes: usize,
    /// The operation byte of the request.
    pub op: u8,
    /// The outcome.
    pub status: Status,
    /// By status: a repeat mark, a retry-after, a reason.
    pub detail: u32,
    /// The request's tag.
    pub tag: u64,
    /// The amount or the envelope id that the body begins with, if it does.
    pub number: Option<u64>,
}

/// Reads the head of the reply at the front of `stream`, or `None` while the
/// frame is not whole. More of the body than that number is not looked at.
#[inline]
pub fn peek_reply(stream: &[u8]) -> Result<Option<ReplyHead>, DecodeReplyError> {
    let Ok((header, rest)) = ReplyHeader::ref_from_prefix(stream) else {
        return Ok(None);
    };
    let bytes = usize::from(header.length.get());
    if !(HEADER_BYTES..=FRAME_BYTES_MAX).contains(&bytes) {
        return Err(DecodeReplyError::Length);
    }
    let Some(body) = rest.get(..bytes - HEADER_BYTES) else {
        return Ok(None);
    };
    let status = Status::from_code(header.status).ok_or(DecodeReplyError::Unknown)?;
    let first = || NumberBody::ref_from_prefix(body).ok().map(|(first, _)| first.number.get());
    let number = match Op::from_code(header.op) {
        Some(Op::Send) => first(),
        _ if body.len() == size_of::<NumberBody>() => first(),
        _ => None,
    };
    let (op, detail, tag) = (header.op, header.detail.get(), header.tag.get());
    Ok(Some(ReplyHead { bytes, op, status, detail, tag, number }))
}

/// Decodes the reply at the front of `stream`: its length and meaning, or
/// `None` while it is not whole.
pub fn decode_reply(stream: &[u8]) -> Result<Option<(usize, Reply)>, DecodeReplyError> {
    let Some(head) = peek_reply(stream)? else {
        return Ok(None);
    };
    let ReplyHead { bytes, op, status, detail, tag, .. } = head;
    let body = &stream[HEADER_BYTES..bytes];
    let body = if body.is_empty() { ReplyBody::None } else { decode_body(op, body)? };
    Ok(Some((bytes, Reply { op, status, detail, tag, body })))
}

fn decode_body(op: u8, body: &[u8]) -> Result<ReplyBody, DecodeReplyError> {
    let number = || {
        let body = NumberBody::ref_from_bytes(body).map_err(|_| DecodeReplyError::Body)?;
        Ok(body.number.get())
    };
    match Op::from_code(op).ok_or(DecodeReplyError::Unknown)? {
        Op::Hello => decode_hello(body).map(ReplyBody::Hello),
        Op::Send => decode_ordered(body).map(ReplyBody::Ordered),
        Op::Grab | Op::Claim | Op::Cancel | Op::Fund => number().map(ReplyBody::Amount),
        Op::Void => Err(DecodeReplyError::Body),
        Op::Reveal => decode_reveal(body).map(ReplyBody::Reveal),
        Op::Show => decode_summary(body).map(ReplyBody::Summary),
        Op::Detail => decode_detail(body).map(ReplyBody::Detail),
    }
}

fn decode_hello(body: &[u8]) -> Result<Hello, DecodeReplyError> {
    let (head, ports) = HelloHead::ref_from_prefix(body).map_err(|_| DecodeReplyError::Body)?;
    let ports = <[U16]>::ref_from_bytes(ports).map_err(|_| DecodeReplyError::Body)?;
    if ports.len() != usize::from(head.shards.get()) {
        return Err(DecodeReplyError::Body);
    }
    Ok(Hello {
        version: head.version.get(),
        frame_bytes_max: head.frame_bytes_max.get(),
        cell: head.cell,
        durability: head.durability,
        ports: ports.iter().map(|port| port.get()).collect(),
    })
}

fn decode_ordered(body: &[u8]) -> Result<Ordered, DecodeReplyError> {
    let body = OrderedBody::ref_from_bytes(body).map_err(|_| DecodeReplyError::Body)?;
    Ok(Ordered {
        envelope: EnvelopeId(body.envelope.get()),
        state: EnvelopeState::from_code(body.state).ok_or(DecodeReplyError::Unknown)?,
        commitment: body.commitment,
    })
}

fn decode_reveal(body: &[u8]) -> Result<Reveal, DecodeReplyError> {
    let body = RevealBody::ref_from_bytes(body).map_err(|_| DecodeReplyError::Body)?;
    let seed = Seed(body.seed.map(U64::get));
    let (commitment, nonce) = (body.commitment, body.nonce.get());
    Ok(Reveal { commitment, seed: (body.revealed != 0).then_some(seed), nonce })
}

fn decode_summary(body: &[u8]) -> Result<Summary, DecodeReplyError> {
    let s = SummaryBody::ref_from_bytes(body).map_err(|_| DecodeReplyError::Body)?;
    Ok(Summary {
        sender: UserId(s.sender.get()),
        order: s.order.get(),
        payment: s.payment.get(),
        total: s.total.get(),
        left: s.left.get(),
        refunded: s.refunded.get(),
        shares: s.shares.get(),
        claimed: s.claimed.get(),
        share_max: s.share_max.get(),
        created_at: s.created_at.get(),
        expires_at: s.expires_at.get(),
        state: EnvelopeState::from_code(s.state).ok_or(DecodeReplyError::Unknown)?,
        split: Split::from_code(s.split).ok_or(DecodeReplyError::Unknown)?,
        source: MoneySource::from_code(s.source).ok_or(DecodeReplyError::Unknown)?,
        luckiest: (s.luckiest_amount.get() != 0)
            .then(|| (UserId(s.luckiest.get()), s.luckiest_amount.get().into())),
    })
}

fn decode_detail(body: &[u8]) -> Result<DetailPage, DecodeReplyError> {
    let (head, rows) = DetailHead::ref_from_prefix(body).map_err(|_| DecodeReplyError::Body)?;
    let rows = <[RowBody]>::ref_from_bytes(rows).map_err(|_| DecodeReplyError::Body)?;
    if u32::try_from(rows.len()).ok() != Some(head.rows.get()) {
        return Err(DecodeReplyError::Body);
    }
    let row = |row: &RowBody| Row {
        user: UserId(row.user.get()),
        amount: row.amount.get(),
        at: row.at.get(),
    };
    Ok(DetailPage {
        shares: head.shares.get(),
        claimed: head.claimed.get(),
        from: head.from.get(),
        rows: rows.iter().map(row).collect(),
    })
}
