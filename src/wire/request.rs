//! The operations a client asks for, and how they are read.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::attached::Attached;
use super::campaign::{CommandBody, PlanBody};
use super::evidence::Evidence;
use super::frame::{BadRequest, HEADER_BYTES};
use super::op::Op;
use super::plan::{Command, PlanPart};
use super::risk::{HoldsFrom, Mark, Resolution};
use super::risk_bodies::{ExplainBody, FeedBody, HoldsBody, MarkBody, ResolveBody};
use super::terms::{Password, Terms};
use crate::units::{EnvelopeId, Fen, MoneySource, Split, UserId};

/// An order for an envelope: what the sender wants, and where the money comes
/// from. Idempotent by (sender, order).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendOrder {
    /// Who pays, and who gets the refund.
    pub sender: UserId,
    /// The sender's own number for this order.
    pub order: u64,
    /// The reference under which the payment system holds the money, where the
    /// caller vouches for it; else any number, kept with the order.
    pub payment: u64,
    /// The money, in fen.
    pub total: Fen,
    /// Into how many shares it is cut.
    pub shares: u32,
    /// How long it may be claimed, in seconds.
    pub lifetime_s: u32,
    /// The most one share may be, in fen; 0 is no cap of the sender's.
    pub share_max: u32,
    /// The rule of the cut.
    pub split: Split,
    /// Where the money comes from.
    pub source: MoneySource,
    /// The sender's part of the published hash of the seed; any number.
    pub nonce: u32,
}

/// A payment as the payment system confirms it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The reserved envelope that it is for.
    pub envelope: EnvelopeId,
    /// The payment's reference.
    pub payment: u64,
    /// The money that came, in fen.
    pub amount: Fen,
}

/// One decoded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Asks for the server's facts; `version` is the client's.
    Hello {
        /// The protocol version that the client speaks.
        version: u32,
    },
    /// Orders an envelope.
    Send(SendOrder),
    /// The cheap look that wins nothing.
    Grab {
        /// Which envelope.
        envelope: EnvelopeId,
        /// Who asks.
        user: UserId,
    },
    /// The only request that decides about a share.
    Claim {
        /// Which envelope.
        envelope: EnvelopeId,
        /// Who claims.
        user: UserId,
    },
    /// The summary.
    Show {
        /// Which envelope.
        envelope: EnvelopeId,
    },
    /// A page of the claims, by rank.
    Detail {
        /// Which envelope.
        envelope: EnvelopeId,
        /// The rank of the first row wanted, from 0.
        from: u32,
        /// At most so many rows; the reply holds at most `DETAIL_ROWS_MAX`.
        rows_max: u32,
    },
    /// Gives what is left back to the sender.
    Cancel {
        /// Which envelope.
        envelope: EnvelopeId,
        /// Who says so; only the sender may.
        sender: UserId,
    },
    /// A payment is confirmed by whoever holds the key. The fields lie here one
    /// by one, which keeps a request within a line of the cache.
    Fund {
        /// Which envelope it is for.
        envelope: EnvelopeId,
        /// The payment's reference.
        payment: u64,
        /// The money that came, in fen.
        amount: Fen,
        /// Which key sealed it.
        key_id: u32,
        /// The seal over the rest; see [`Seal`].
        seal: [u8; 32],
    },
    /// Withdraws an order that is not paid.
    Void {
        /// Which envelope.
        envelope: EnvelopeId,
        /// Who says so; only the sender may.
        sender: UserId,
    },
    /// What the draws came from.
    Reveal {
        /// Which envelope.
        envelope: EnvelopeId,
    },
    /// Orders an envelope whose terms say more than its money.
    SendWith {
        /// The order.
        order: SendOrder,
        /// Its [`Terms`].
        terms: Attached,
    },
    /// A claim that shows what the terms ask for.
    ClaimWith {
        /// Which envelope.
        envelope: EnvelopeId,
        /// Who claims.
        user: UserId,
        /// The [`Evidence`].
        evidence: Attached,
    },
    /// The terms, as far as a user may see them.
    Terms {
        /// Which envelope.
        envelope: EnvelopeId,
        /// Who looks.
        user: UserId,
    },
    /// Tries to win a prize. Asking again is another try.
    Shake {
        /// Which campaign.
        campaign: EnvelopeId,
        /// Who shakes.
        user: UserId,
    },
    /// A shake that shows what its gateway knows.
    ShakeWith {
        /// Which campaign.
        campaign: EnvelopeId,
        /// Who shakes.
        user: UserId,
        /// The [`Evidence`].
        evidence: Attached,
    },
    /// Writes a part of a plan that was not started yet.
    CampaignPlan {
        /// Which campaign.
        campaign: EnvelopeId,
        /// Who says so; only the sender of its envelope may.
        sponsor: UserId,
        /// The part.
        part: PlanPart,
    },
    /// Starts or pauses a campaign.
    CampaignCommand {
        /// Which campaign.
        campaign: EnvelopeId,
        /// Who says so; only the sender of its envelope may.
        sponsor: UserId,
        /// What it is to do.
        command: Command,
    },
    /// How a campaign stands.
    CampaignStatus {
        /// Which campaign.
        campaign: EnvelopeId,
    },
    /// What a user has won.
    CampaignWins {
        /// Which campaign.
        campaign: EnvelopeId,
        /// Whose wins.
        user: UserId,
    },
    /// Says something of a user, to the shard that owns a partition; every shard
    /// must be told.
    RiskMark {
        /// Any partition of the shard.
        partition: u8,
        /// Of whom.
        user: UserId,
        /// What.
        mark: Mark,
    },
    /// Why a user is treated as it is, by the shard that owns a partition.
    RiskExplain {
        /// Any partition of the shard.
        partition: u8,
        /// Who.
        user: UserId,
    },
    /// A page of the shares that a shard holds, or has rejected.
    RiskHolds(HoldsFrom),
    /// Releases or rejects a held share.
    RiskResolve {
        /// Of which envelope.
        envelope: EnvelopeId,
        /// Whose share.
        user: UserId,
        /// What becomes of it.
        resolution: Resolution,
    },
    /// What rules of risk did of late in the shard that owns a partition.
    RiskFeed {
        /// Any partition of the shard.
        partition: u8,
        /// Only what has a higher number.
        after: u64,
    },
}

const _: () = assert!(size_of::<Request>() <= 64, "a request fits a line of the cache");

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HelloBody {
    pub(super) version: U32,
    pub(super) reserved: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SendBody {
    pub(super) sender: U64,
    pub(super) order: U64,
    pub(super) payment: U64,
    pub(super) total: U64,
    pub(super) shares: U32,
    pub(super) lifetime_s: U32,
    pub(super) share_max: U32,
    pub(super) split: u8,
    pub(super) source: u8,
    pub(super) reserved: [u8; 2],
    pub(super) nonce: U32,
}

/// The body of every request about an envelope and a user.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct PairBody {
    pub(super) envelope: U64,
    pub(super) user: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ShowBody {
    pub(super) envelope: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct DetailBody {
    pub(super) envelope: U64,
    pub(super) from: U32,
    pub(super) rows_max: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct FundBody {
    pub(super) envelope: U64,
    pub(super) payment: U64,
    pub(super) amount: U64,
    pub(super) key_id: U32,
    pub(super) reserved: U32,
    pub(super) seal: [u8; 32],
}

fn body_of<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    body: &[u8],
) -> Result<&T, BadRequest> {
    T::ref_from_bytes(body).map_err(|_| BadRequest::BodyLength)
}

impl PairBody {
    fn parts(&self) -> (EnvelopeId, UserId) {
        (EnvelopeId(self.envelope.get()), UserId(self.user.get()))
    }

    pub(super) fn of(envelope: EnvelopeId, user: UserId) -> Self {
        Self { envelope: U64::new(envelope.0), user: U64::new(user.0) }
    }
}

impl Request {
    /// The operation byte of this request.
    pub fn op(&self) -> Op {
        match self {
            Self::Hello { .. } => Op::Hello,
            Self::Send(_) => Op::Send,
            Self::Grab { .. } => Op::Grab,
            Self::Claim { .. } => Op::Claim,
            Self::Show { .. } => Op::Show,
            Self::Detail { .. } => Op::Detail,
            Self::Cancel { .. } => Op::Cancel,
            Self::Fund { .. } => Op::Fund,
            Self::Void { .. } => Op::Void,
            Self::Reveal { .. } => Op::Reveal,
            Self::SendWith { .. } => Op::SendWith,
            Self::ClaimWith { .. } => Op::ClaimWith,
            Self::Terms { .. } => Op::Terms,
            Self::Shake { .. } => Op::Shake,
            Self::ShakeWith { .. } => Op::ShakeWith,
            Self::CampaignPlan { .. } => Op::CampaignPlan,
            Self::CampaignCommand { .. } => Op::CampaignCommand,
            Self::CampaignStatus { .. } => Op::CampaignStatus,
            Self::CampaignWins { .. } => Op::CampaignWins,
            Self::RiskMark { .. } => Op::RiskMark,
            Self::RiskExplain { .. } => Op::RiskExplain,
            Self::RiskHolds(_) => Op::RiskHolds,
            Self::RiskResolve { .. } => Op::RiskResolve,
            Self::RiskFeed { .. } => Op::RiskFeed,
        }
    }

    /// The envelope this request is about, if it names one; of what is for a
    /// shard, an id of its partition that no envelope has.
    #[inline]
    pub fn envelope(&self) -> Option<EnvelopeId> {
        match *self {
            Self::Hello { .. } | Self::Send(_) | Self::SendWith { .. } => None,
            Self::Grab { envelope, .. }
            | Self::Claim { envelope, .. }
            | Self::Show { envelope }
            | Self::Detail { envelope, .. }
            | Self::Cancel { envelope, .. }
            | Self::Fund { envelope, .. }
            | Self::Void { envelope, .. }
            | Self::ClaimWith { envelope, .. }
            | Self::Terms { envelope, .. }
            | Self::Reveal { envelope }
            | Self::Shake { campaign: envelope, .. }
            | Self::ShakeWith { campaign: envelope, .. }
            | Self::CampaignPlan { campaign: envelope, .. }
            | Self::CampaignCommand { campaign: envelope, .. }
            | Self::CampaignStatus { campaign: envelope }
            | Self::CampaignWins { campaign: envelope, .. }
            | Self::RiskResolve { envelope, .. } => Some(envelope),
            Self::RiskMark { partition, .. }
            | Self::RiskExplain { partition, .. }
            | Self::RiskFeed { partition, .. }
            | Self::RiskHolds(HoldsFrom { partition, .. }) => {
                Some(EnvelopeId::of_partition(partition))
            }
        }
    }

    /// The order in it, with terms or without.
    #[inline]
    pub fn order(&self) -> Option<&SendOrder> {
        match self {
            Self::Send(order) | Self::SendWith { order, .. } => Some(order),
            _ => None,
        }
    }

    /// What lies beside it.
    #[inline]
    pub fn attached(&self) -> Option<Attached> {
        match *self {
            Self::SendWith { terms: attached, .. }
            | Self::ClaimWith { evidence: attached, .. }
            | Self::ShakeWith { evidence: attached, .. } => Some(attached),
            _ => None,
        }
    }

    /// Where that is, to be changed when it is taken elsewhere.
    pub fn attached_mut(&mut self) -> Option<&mut Attached> {
        match self {
            Self::SendWith { terms: attached, .. }
            | Self::ClaimWith { evidence: attached, .. }
            | Self::ShakeWith { evidence: attached, .. } => Some(attached),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn decode_claim(body: &[u8]) -> Result<Self, BadRequest> {
        let (envelope, user) = body_of::<PairBody>(body)?.parts();
        Ok(Self::Claim { envelope, user })
    }

    pub(super) fn decode(op: u8, body: &[u8]) -> Result<Self, BadRequest> {
        match Op::from_code(op).ok_or(BadRequest::UnknownOp)? {
            Op::Hello => decode_hello(body_of(body)?),
            Op::Send => order_of(body_of(body)?).map(Self::Send),
            Op::Grab => {
                let (envelope, user) = body_of::<PairBody>(body)?.parts();
                Ok(Self::Grab { envelope, user })
            }
            Op::Claim => Self::decode_claim(body),
            Op::Show => {
                let body = body_of::<ShowBody>(body)?;
                Ok(Self::Show { envelope: EnvelopeId(body.envelope.get()) })
            }
            Op::Detail => {
                let body = body_of::<DetailBody>(body)?;
                Ok(Self::Detail {
                    envelope: EnvelopeId(body.envelope.get()),
                    from: body.from.get(),
                    rows_max: body.rows_max.get(),
                })
            }
            Op::Cancel => {
                let (envelope, sender) = body_of::<PairBody>(body)?.parts();
                Ok(Self::Cancel { envelope, sender })
            }
            Op::Fund => decode_fund(body_of(body)?),
            Op::Void => {
                let (envelope, sender) = body_of::<PairBody>(body)?.parts();
                Ok(Self::Void { envelope, sender })
            }
            Op::Reveal => {
                let body = body_of::<ShowBody>(body)?;
                Ok(Self::Reveal { envelope: EnvelopeId(body.envelope.get()) })
            }
            Op::SendWith => decode_send_with(body),
            Op::ClaimWith => decode_claim_with(body),
            Op::Terms => {
                let (envelope, user) = body_of::<PairBody>(body)?.parts();
                Ok(Self::Terms { envelope, user })
            }
            Op::Challenge | Op::Authenticate => Err(BadRequest::Handshake),
            Op::ShakeWith => decode_shake_with(body),
            Op::Shake => {
                let (campaign, user) = body_of::<PairBody>(body)?.parts();
                Ok(Self::Shake { campaign, user })
            }
            Op::CampaignPlan => body_of::<PlanBody>(body)?.request(),
            Op::CampaignCommand => body_of::<CommandBody>(body)?.request(),
            Op::CampaignStatus => {
                let body = body_of::<ShowBody>(body)?;
                Ok(Self::CampaignStatus { campaign: EnvelopeId(body.envelope.get()) })
            }
            Op::CampaignWins => {
                let (campaign, user) = body_of::<PairBody>(body)?.parts();
                Ok(Self::CampaignWins { campaign, user })
            }
            Op::RiskMark => body_of::<MarkBody>(body)?.request(),
            Op::RiskExplain => body_of::<ExplainBody>(body)?.request(),
            Op::RiskHolds => body_of::<HoldsBody>(body)?.request(),
            Op::RiskResolve => body_of::<ResolveBody>(body)?.request(),
            Op::RiskFeed => body_of::<FeedBody>(body)?.request(),
        }
    }
}

/// What follows the first part of a body, and where in the frame it does.
fn attached(body: &[u8], first: usize) -> Option<(&[u8], Attached)> {
    let rest = body.get(first..)?;
    let at = u16::try_from(HEADER_BYTES + first).ok()?;
    Some((rest, Attached { at, bytes: u16::try_from(rest.len()).ok()? }))
}

/// The terms of a request are what a sender may say: a password as such.
fn decode_send_with(body: &[u8]) -> Result<Request, BadRequest> {
    let (order, _) = SendBody::ref_from_prefix(body).map_err(|_| BadRequest::BodyLength)?;
    let order = order_of(order)?;
    let (bytes, terms) = attached(body, size_of::<SendBody>()).ok_or(BadRequest::BodyLength)?;
    match Terms::read(bytes).ok_or(BadRequest::Terms)?.password {
        None | Some(Password::Said(_)) => Ok(Request::SendWith { order, terms }),
        Some(Password::Kept { .. } | Password::Wanted) => Err(BadRequest::Terms),
    }
}

fn decode_claim_with(body: &[u8]) -> Result<Request, BadRequest> {
    let ((envelope, user), evidence) = decode_shown(body)?;
    Ok(Request::ClaimWith { envelope, user, evidence })
}

fn decode_shake_with(body: &[u8]) -> Result<Request, BadRequest> {
    let ((campaign, user), evidence) = decode_shown(body)?;
    Ok(Request::ShakeWith { campaign, user, evidence })
}

/// An envelope and a user, and evidence behind them.
fn decode_shown(body: &[u8]) -> Result<((EnvelopeId, UserId), Attached), BadRequest> {
    let (pair, _) = PairBody::ref_from_prefix(body).map_err(|_| BadRequest::BodyLength)?;
    let (bytes, evidence) = attached(body, size_of::<PairBody>()).ok_or(BadRequest::BodyLength)?;
    Evidence::read(bytes).ok_or(BadRequest::Evidence)?;
    Ok((pair.parts(), evidence))
}

fn decode_hello(body: &HelloBody) -> Result<Request, BadRequest> {
    if body.reserved.get() != 0 {
        return Err(BadRequest::Reserved);
    }
    Ok(Request::Hello { version: body.version.get() })
}

fn order_of(body: &SendBody) -> Result<SendOrder, BadRequest> {
    if body.reserved != [0; 2] {
        return Err(BadRequest::Reserved);
    }
    Ok(SendOrder {
        nonce: body.nonce.get(),
        source: MoneySource::from_code(body.source).ok_or(BadRequest::Source)?,
        sender: UserId(body.sender.get()),
        order: body.order.get(),
        payment: body.payment.get(),
        total: body.total.get(),
        shares: body.shares.get(),
        lifetime_s: body.lifetime_s.get(),
        share_max: body.share_max.get(),
        split: Split::from_code(body.split).ok_or(BadRequest::Split)?,
    })
}

fn decode_fund(body: &FundBody) -> Result<Request, BadRequest> {
    if body.reserved.get() != 0 {
        return Err(BadRequest::Reserved);
    }
    Ok(Request::Fund {
        envelope: EnvelopeId(body.envelope.get()),
        payment: body.payment.get(),
        amount: body.amount.get(),
        key_id: body.key_id.get(),
        seal: body.seal,
    })
}
