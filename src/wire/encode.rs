//! The frames of requests, as a client writes them.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

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
    let frame = Frame { out, tag, budget_us, op: request.op().code(), beside };
    match *request {
        Request::Hello { version } => {
            frame.put(&HelloBody { version: U32::new(version), reserved: U32::new(0) });
        }
        Request::Send(order) | Request::SendWith { order, .. } => {
            frame.put(&send_body(&order));
        }
        Request::Grab { envelope, user }
        | Request::Claim { envelope, user }
        | Request::ClaimWith { envelope, user, .. }
        | Request::Terms { envelope, user }
        | Request::Shake { campaign: envelope, user }
        | Request::ShakeWith { campaign: envelope, user, .. }
        | Request::CampaignWins { campaign: envelope, user } => {
            frame.put(&PairBody::of(envelope, user));
        }
        Request::Cancel { envelope, sender } | Request::Void { envelope, sender } => {
            frame.put(&PairBody::of(envelope, sender));
        }
        Request::Fund { envelope, payment, amount, key_id, seal } => frame.put(&FundBody {
            envelope: U64::new(envelope.0),
            payment: U64::new(payment),
            amount: U64::new(amount),
            key_id: U32::new(key_id),
            reserved: U32::new(0),
            seal,
        }),
        Request::CampaignPlan { campaign, sponsor, part } => {
            frame.put(&PlanBody::of(campaign, sponsor, &part));
        }
        Request::CampaignCommand { campaign, sponsor, command } => {
            frame.put(&CommandBody::of(campaign, sponsor, command));
        }
        Request::RiskMark { partition, user, mark } => {
            frame.put(&MarkBody::of(partition, user, mark));
        }
        Request::RiskExplain { partition, user } => {
            frame.put(&ExplainBody::of(partition, user));
        }
        Request::RiskHolds(from) => frame.put(&HoldsBody::of(&from)),
        Request::RiskResolve { envelope, user, resolution } => {
            frame.put(&ResolveBody::of(envelope, user, resolution));
        }
        Request::RiskFeed { partition, after } => {
            frame.put(&FeedBody::of(partition, after));
        }
        Request::Show { envelope }
        | Request::Reveal { envelope }
        | Request::CampaignStatus { campaign: envelope } => {
            frame.put(&ShowBody { envelope: U64::new(envelope.0) });
        }
        Request::Detail { envelope, from, rows_max } => {
            let envelope = U64::new(envelope.0);
            frame.put(&DetailBody { envelope, from: U32::new(from), rows_max: U32::new(rows_max) });
        }
    }
}

/// What the frames of all requests have, and where they go.
struct Frame<'a, O> {
    out: &'a mut O,
    tag: u64,
    budget_us: u32,
    op: u8,
    beside: &'a [u8],
}

impl<O: for<'b> Extend<&'b u8>> Frame<'_, O> {
    /// For each body its own function, which knows how long it is: a load that
    /// asks millions of times a second feels every copy of unknown length.
    #[inline]
    fn put<B: IntoBytes + Immutable>(self, body: &B) {
        let bytes = HEADER_BYTES + size_of::<B>() + self.beside.len();
        let header = RequestHeader {
            length: U16::new(u16::try_from(bytes).unwrap_or(u16::MAX)),
            op: self.op,
            flags: 0,
            budget_us: U32::new(self.budget_us),
            tag: U64::new(self.tag),
        };
        self.out.extend(header.as_bytes());
        self.out.extend(body.as_bytes());
        if !self.beside.is_empty() {
            self.out.extend(self.beside);
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
