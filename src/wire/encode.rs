//! The frames of requests, as a client writes them.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::campaign::{CommandBody, PlanBody};
use super::frame::{HEADER_BYTES, RequestHeader};
use super::request::{
    DetailBody, FundBody, HelloBody, PairBody, Request, SendBody, SendOrder, ShowBody,
};
use super::risk_bodies::{ExplainBody, FeedBody, HoldsBody, MarkBody, ResolveBody};

/// Appends the frame of a `request` without anything beside it to `out`.
#[inline]
pub fn encode_request(
    out: &mut impl for<'a> Extend<&'a u8>,
    tag: u64,
    budget_us: u32,
    request: &Request,
) {
    encode_with(out, tag, budget_us, request, &[]);
}

/// Appends the frame of `request` and of the terms or the evidence that belong
/// to it.
#[inline]
pub fn encode_with(
    out: &mut impl for<'a> Extend<&'a u8>,
    tag: u64,
    budget_us: u32,
    request: &Request,
    beside: &[u8],
) {
    let mut put = |body: &[u8]| {
        let bytes = HEADER_BYTES + body.len() + beside.len();
        let length = U16::new(u16::try_from(bytes).unwrap_or(u16::MAX));
        let op = request.op().code();
        let header = RequestHeader {
            length,
            op,
            flags: 0,
            budget_us: U32::new(budget_us),
            tag: U64::new(tag),
        };
        out.extend(header.as_bytes());
        out.extend(body);
        out.extend(beside);
    };
    match *request {
        Request::Hello { version } => {
            put(HelloBody { version: U32::new(version), reserved: U32::new(0) }.as_bytes());
        }
        Request::Send(order) | Request::SendWith { order, .. } => {
            put(send_body(&order).as_bytes());
        }
        Request::Grab { envelope, user }
        | Request::Claim { envelope, user }
        | Request::ClaimWith { envelope, user, .. }
        | Request::Terms { envelope, user }
        | Request::Shake { campaign: envelope, user }
        | Request::ShakeWith { campaign: envelope, user, .. }
        | Request::CampaignWins { campaign: envelope, user } => {
            put(PairBody::of(envelope, user).as_bytes());
        }
        Request::Cancel { envelope, sender } | Request::Void { envelope, sender } => {
            put(PairBody::of(envelope, sender).as_bytes());
        }
        Request::Fund { envelope, payment, amount, key_id, seal } => put(FundBody {
            envelope: U64::new(envelope.0),
            payment: U64::new(payment),
            amount: U64::new(amount),
            key_id: U32::new(key_id),
            reserved: U32::new(0),
            seal,
        }
        .as_bytes()),
        Request::CampaignPlan { campaign, sponsor, part } => {
            put(PlanBody::of(campaign, sponsor, &part).as_bytes());
        }
        Request::CampaignCommand { campaign, sponsor, command } => {
            put(CommandBody::of(campaign, sponsor, command).as_bytes());
        }
        Request::RiskMark { partition, user, mark } => {
            put(MarkBody::of(partition, user, mark).as_bytes());
        }
        Request::RiskExplain { partition, user } => {
            put(ExplainBody::of(partition, user).as_bytes());
        }
        Request::RiskHolds(from) => put(HoldsBody::of(&from).as_bytes()),
        Request::RiskResolve { envelope, user, resolution } => {
            put(ResolveBody::of(envelope, user, resolution).as_bytes());
        }
        Request::RiskFeed { partition, after } => {
            put(FeedBody::of(partition, after).as_bytes());
        }
        Request::Show { envelope }
        | Request::Reveal { envelope }
        | Request::CampaignStatus { campaign: envelope } => {
            put(ShowBody { envelope: U64::new(envelope.0) }.as_bytes());
        }
        Request::Detail { envelope, from, rows_max } => {
            let envelope = U64::new(envelope.0);
            put(DetailBody { envelope, from: U32::new(from), rows_max: U32::new(rows_max) }
                .as_bytes());
        }
    }
}

fn send_body(order: &SendOrder) -> SendBody {
    SendBody {
        sender: U64::new(order.sender.0),
        order: U64::new(order.order),
        payment: U64::new(order.payment),
        total: U64::new(order.total),
        shares: U32::new(order.shares),
        lifetime_s: U32::new(order.lifetime_s),
        share_max: U32::new(order.share_max),
        split: order.split.code(),
        source: order.source.code(),
        reserved: [0; 2],
        nonce: U32::new(order.nonce),
    }
}
