//! The server's side of a reply: meaning to bytes.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::bodies::{
    DetailHead, HelloHead, NumberBody, OrderedBody, ReplyHeader, RevealBody, RowBody, SummaryBody,
};
use super::frame::HEADER_BYTES;
use super::handshake::{Challenged, ChallengedBody};
use super::op::Op;
use super::risk_bodies::ExplainedBody;
use super::status::Status;
use super::told::{Ordered, Reveal, Row, Summary};
use crate::limits::{FRAME_BYTES_MAX, TERMS_BYTES_MAX};
use crate::units::Cell;

/// Appends replies to an outbox; the server's side of the codec.
pub struct ReplyWriter<'a> {
    pub(super) out: &'a mut Vec<u8>,
    op: u8,
    tag: u64,
}

/// The most one reply to `op` takes, in bytes; for bytes that name no
/// operation, what the refusal takes.
#[inline]
pub fn reply_bytes_max(op: u8) -> usize {
    match Op::from_code(op) {
        Some(Op::RiskExplain) => HEADER_BYTES + size_of::<ExplainedBody>(),
        Some(Op::Detail | Op::CampaignStatus | Op::RiskHolds | Op::RiskFeed) => FRAME_BYTES_MAX,
        // The ports of at most 256 shards follow the head.
        Some(Op::Hello) => HEADER_BYTES + size_of::<HelloHead>() + 2 * 256,
        Some(Op::Show) => HEADER_BYTES + size_of::<SummaryBody>(),
        Some(Op::Send | Op::SendWith) => HEADER_BYTES + size_of::<OrderedBody>(),
        Some(Op::Terms) => HEADER_BYTES + TERMS_BYTES_MAX,
        Some(Op::Reveal) => HEADER_BYTES + size_of::<RevealBody>(),
        Some(Op::Challenge) => HEADER_BYTES + size_of::<ChallengedBody>(),
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
    pub(super) fn header(&mut self, status: Status, detail: u32, body_bytes: usize) {
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

    /// The reply to `challenge`.
    pub fn challenged(mut self, challenged: &Challenged) {
        let &Challenged { nonce, proof } = challenged;
        self.header(Status::Ok, 0, size_of::<ChallengedBody>());
        self.out.extend_from_slice(ChallengedBody { nonce, proof }.as_bytes());
    }

    /// The reply to `terms`, of which `put` appends the bytes.
    pub fn terms(mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        self.header(Status::Ok, 0, 0);
        put(self.out);
        // It is known only now how long they are.
        let length = u16::try_from(self.out.len() - start).unwrap_or(u16::MAX);
        if let Some(field) = self.out.get_mut(start..start + 2) {
            field.copy_from_slice(&length.to_le_bytes());
        }
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
