//! Where a request frame begins and ends, and what is wrong with a bad one.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::op::Op;
use super::request::Request;
use crate::limits::FRAME_BYTES_MAX;

/// Bytes of a request's or a reply's header.
pub const HEADER_BYTES: usize = 16;

/// `0 length | 2 op | 3 flags | 4 budget_us | 8 tag`, little endian.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RequestHeader {
    pub(super) length: U16,
    pub(super) op: u8,
    pub(super) flags: u8,
    pub(super) budget_us: U32,
    pub(super) tag: U64,
}

/// Why one request cannot be executed. The code travels in the reply's
/// `detail`; the frame's borders are known, so the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u32)]
pub enum BadRequest {
    /// The op byte names no operation.
    #[error("unknown operation; see the table of operations in PROTOCOL.md")]
    UnknownOp = 1,
    /// The frame's length is not that of the operation.
    #[error("the frame's length does not fit its operation")]
    BodyLength = 2,
    /// A flag bit that this version does not know.
    #[error("unknown flag bits; send 0")]
    Flags = 3,
    /// The client speaks another protocol version; ours is in the body of a
    /// plain `hello`.
    #[error("unsupported protocol version; this server speaks version 1")]
    Version = 4,
    /// The length is more than the largest frame, or less than a header.
    #[error("the frame's length is not between 16 and 4096")]
    FrameLength = 5,
    /// The split code names no rule.
    #[error("unknown split; 0 equal, 1 double mean, 2 line cutting")]
    Split = 6,
    /// No shares, or more than the server's limit for this split.
    #[error("the number of shares is 0 or above the server's limit")]
    Shares = 7,
    /// Less than one fen a share, or above the server's limit.
    #[error("the total is below 1 fen a share or above the server's limit")]
    Total = 8,
    /// The cap cannot hold the total.
    #[error("share_max times shares is less than the total")]
    ShareMax = 9,
    /// No lifetime, or longer than the server's limit.
    #[error("the lifetime is 0 or above the server's limit")]
    Lifetime = 10,
    /// A reserved byte that is not 0.
    #[error("reserved bytes must be 0")]
    Reserved = 11,
    /// The source code names none.
    #[error("unknown source of money; 0 vouched, 1 balance, 2 payment")]
    Source = 12,
    /// The order waits for a payment that nobody could confirm.
    #[error(
        "this server has no payment keys, so no payment can open an envelope; set payment_keys to \
         a file of keys, or send with another source of money"
    )]
    NoPaymentKeys = 13,
    /// A payment's reference where there is none, or none where there must be
    /// one.
    #[error(
        "an order from the balance has payment 0; a confirmation names a payment that is not 0"
    )]
    Payment = 14,
    /// Fields that are no terms, out of order, or impossible together or with
    /// the order.
    #[error(
        "the terms are not fields in order, too long, or impossible: a window that is never \
         open, a seed user who may not claim"
    )]
    Terms = 15,
    /// Fields that are no evidence, or out of order.
    #[error("the evidence of a claim is not fields in order, or too long")]
    Evidence = 16,
    /// A rule that this server cannot check.
    #[error(
        "this server has no keys for such a rule: set ticket_keys or password_keys to a file of \
         keys"
    )]
    NoRuleKeys = 17,
    /// The order waits for a balance that nobody keeps.
    #[error(
        "this server has no ledger, so no balance can pay; set ledger to embedded or a PostgreSQL, \
         or send with another source of money"
    )]
    NoLedger = 18,
    /// A grade or a list, on a server that keeps none.
    #[error("the server keeps no grades and no lists; set risk_users_max")]
    NoRisk = 19,
    /// A mark or a resolution that there is not.
    #[error("unknown mark or resolution")]
    Risk = 20,
    /// A handshake where nobody has to prove anything, or has done so already.
    #[error("this connection needs no handshake: it has had its own, or the server has no keys")]
    Handshake = 32,
    /// A part of a plan has no place in one, or is empty.
    #[error(
        "a part of the plan is empty or has no place: at most 16 kinds of prizes and 64 slots, \
         amounts, counts, lengths and quotas above 0"
    )]
    PlanPart = 40,
    /// The terms of the plan are missing.
    #[error("the plan has no terms: say how many prizes one user may win")]
    PlanTerms = 41,
    /// The prizes are not what was funded.
    #[error(
        "the prizes of the plan do not come to the envelope's shares and total, leave a gap, or \
         have an amount twice"
    )]
    PlanPrizes = 42,
    /// The slots do not fit.
    #[error(
        "the slots of the plan leave a gap in their numbers, overlap, are outside the campaign's \
         time, or have more prizes than there are"
    )]
    PlanSlots = 43,
    /// The command is none.
    #[error("unknown command to a campaign; 1 start, 2 pause")]
    Command = 44,
}

impl BadRequest {
    /// The number that travels in `detail`.
    pub fn code(self) -> u32 {
        match self {
            Self::UnknownOp => 1,
            Self::BodyLength => 2,
            Self::Flags => 3,
            Self::Version => 4,
            Self::FrameLength => 5,
            Self::Split => 6,
            Self::Shares => 7,
            Self::Total => 8,
            Self::ShareMax => 9,
            Self::Lifetime => 10,
            Self::Reserved => 11,
            Self::Source => 12,
            Self::NoPaymentKeys => 13,
            Self::Payment => 14,
            Self::Terms => 15,
            Self::Evidence => 16,
            Self::NoRuleKeys => 17,
            Self::NoLedger => 18,
            Self::NoRisk => 19,
            Self::Risk => 20,
            Self::Handshake => 32,
            Self::PlanPart => 40,
            Self::PlanTerms => 41,
            Self::PlanPrizes => 42,
            Self::PlanSlots => 43,
            Self::Command => 44,
        }
    }

    /// The reason of a code, if this version knows it.
    pub fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::UnknownOp,
            2 => Self::BodyLength,
            3 => Self::Flags,
            4 => Self::Version,
            5 => Self::FrameLength,
            6 => Self::Split,
            7 => Self::Shares,
            8 => Self::Total,
            9 => Self::ShareMax,
            10 => Self::Lifetime,
            11 => Self::Reserved,
            12 => Self::Source,
            13 => Self::NoPaymentKeys,
            14 => Self::Payment,
            15 => Self::Terms,
            16 => Self::Evidence,
            17 => Self::NoRuleKeys,
            18 => Self::NoLedger,
            19 => Self::NoRisk,
            20 => Self::Risk,
            32 => Self::Handshake,
            40 => Self::PlanPart,
            41 => Self::PlanTerms,
            42 => Self::PlanPrizes,
            43 => Self::PlanSlots,
            44 => Self::Command,
            _ => return None,
        })
    }
}

/// The stream itself is broken: where the next frame starts is not known, so
/// the connection closes after this is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The operation byte as it came.
    pub op: u8,
    /// The tag to answer to.
    pub tag: u64,
}

/// What stands at the front of a byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Not yet a whole frame; read on.
    Incomplete,
    /// One frame of `bytes` bytes.
    Frame {
        /// Its length, header included.
        bytes: usize,
        /// The operation byte, to be repeated in the reply.
        op: u8,
        /// The tag, to be repeated in the reply.
        tag: u64,
        /// Microseconds the asker still cares; 0 is no limit.
        budget_us: u32,
        /// The request, or why it is none.
        request: Result<Request, BadRequest>,
    },
    /// No frame border can be told any more.
    Broken(Broken),
}

/// Decodes the request frame at the front of `stream`.
///
/// The length is checked before anything else. A length that cannot be is told
/// once the header (and so the tag) is whole.
pub fn decode_request(stream: &[u8]) -> Decoded {
    match Framed::at(stream) {
        Framed::Incomplete => Decoded::Incomplete,
        Framed::Broken(broken) => Decoded::Broken(broken),
        Framed::Whole(frame) => {
            let Frame { bytes, op, tag, budget_us, .. } = frame;
            Decoded::Frame { bytes, op, tag, budget_us, request: frame.request() }
        }
    }
}

/// What stands at the front of a byte stream, with nothing read of a body yet:
/// whoever may not ask for an operation is refused by its header alone.
pub enum Framed<'a> {
    /// Not yet a whole frame; read on.
    Incomplete,
    /// One frame.
    Whole(Frame<'a>),
    /// No frame border can be told any more.
    Broken(Broken),
}

/// A whole frame.
pub struct Frame<'a> {
    /// Its length, header included.
    pub bytes: usize,
    /// The operation byte, to be repeated in the reply.
    pub op: u8,
    /// The tag, to be repeated in the reply.
    pub tag: u64,
    /// Microseconds the asker still cares; 0 is no limit.
    pub budget_us: u32,
    flags: u8,
    body: &'a [u8],
}

impl<'a> Framed<'a> {
    /// The frame at the front of `stream`; its length is checked before anything
    /// else.
    #[inline]
    pub fn at(stream: &'a [u8]) -> Self {
        let Ok((header, rest)) = RequestHeader::ref_from_prefix(stream) else {
            return Self::Incomplete;
        };
        let (bytes, op, tag) = (usize::from(header.length.get()), header.op, header.tag.get());
        if !(HEADER_BYTES..=FRAME_BYTES_MAX).contains(&bytes) {
            return Self::Broken(Broken { op, tag });
        }
        let Some(body) = rest.get(..bytes - HEADER_BYTES) else {
            return Self::Incomplete;
        };
        let (budget_us, flags) = (header.budget_us.get(), header.flags);
        Self::Whole(Frame { bytes, op, tag, budget_us, flags, body })
    }
}

impl Frame<'_> {
    /// The request, or why it is none.
    pub fn request(&self) -> Result<Request, BadRequest> {
        if self.flags != 0 {
            return Err(BadRequest::Flags);
        }
        Request::decode(self.op, self.body)
    }

    /// The request, where it is a plain claim.
    #[inline]
    pub fn claim(&self) -> Option<Request> {
        let is_claim = self.op == Op::Claim.code() && self.flags == 0;
        if is_claim { Request::decode_claim(self.body).ok() } else { None }
    }
}
