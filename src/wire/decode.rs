//! The client's side of a reply: bytes to meaning.

use zerocopy::FromBytes;
use zerocopy::little_endian::{U16, U64};

use super::bodies::{
    DetailHead, HelloHead, NumberBody, OrderedBody, ReplyHeader, RevealBody, RowBody, SummaryBody,
};
use super::campaign::{CampaignStatus, decode_campaign};
use super::frame::HEADER_BYTES;
use super::handshake::{Challenged, ChallengedBody};
use super::op::Op;
use super::risk::{Explained, Hold, RiskEvent};
use super::risk_bodies::{decode_events, decode_explained, decode_holds};
use super::status::Status;
use super::told::{DetailPage, Hello, Ordered, Reveal, Row, Summary, ToldTerms};
use crate::limits::FRAME_BYTES_MAX;
use crate::units::{EnvelopeId, EnvelopeState, Fen, MoneySource, Seed, Split, UserId};

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
    /// The amount of a claim, grab, cancel, fund, shake or wins, in fen.
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
    /// The server's half of a handshake.
    Challenged(Challenged),
    /// The terms of an envelope, if it has some to tell.
    Terms(ToldTerms),
    /// How a campaign stands.
    Campaign(CampaignStatus),
    /// Why a user is treated as it is.
    Explained(Explained),
    /// A page of held and rejected shares.
    Holds(Vec<Hold>),
    /// What rules of risk did.
    RiskEvents(Vec<RiskEvent>),
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
        Some(Op::Send | Op::SendWith) => first(),
        Some(Op::Terms | Op::RiskHolds | Op::RiskFeed) => None,
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
        Op::Send | Op::SendWith => decode_ordered(body).map(ReplyBody::Ordered),
        Op::Grab
        | Op::Claim
        | Op::ClaimWith
        | Op::Cancel
        | Op::Fund
        | Op::Shake
        | Op::ShakeWith
        | Op::CampaignWins
        | Op::RiskResolve => number().map(ReplyBody::Amount),
        Op::Terms => ToldTerms::of(body).map(ReplyBody::Terms).ok_or(DecodeReplyError::Body),
        Op::Void | Op::Authenticate | Op::CampaignPlan | Op::CampaignCommand | Op::RiskMark => {
            Err(DecodeReplyError::Body)
        }
        Op::RiskExplain => decode_explained(body).map(ReplyBody::Explained),
        Op::RiskHolds => decode_holds(body).map(ReplyBody::Holds),
        Op::RiskFeed => decode_events(body).map(ReplyBody::RiskEvents),
        Op::Challenge => decode_challenged(body).map(ReplyBody::Challenged),
        Op::CampaignStatus => decode_campaign(body).map(ReplyBody::Campaign),
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

fn decode_challenged(body: &[u8]) -> Result<Challenged, DecodeReplyError> {
    let body = ChallengedBody::ref_from_bytes(body).map_err(|_| DecodeReplyError::Body)?;
    Ok(Challenged { nonce: body.nonce, proof: body.proof })
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
