//! From a verdict to the reply that tells it.

use super::campaigns::Campaigns;
use super::risk::{Judging, explained};
use super::trail::Trail;
use crate::engine::{CampaignView, Engine, Outcome, Revealed};
use crate::limits::{PROTOCOL_VERSION, RETRY_AFTER_MS_MAX};
use crate::units::{Cell, Durability, EnvelopeId, EnvelopeState, Time, UserId};
use crate::wire::{
    CampaignHead, Confirmed, Denial, HoldsFrom, NotOpen, Ordered, RateLimit, ReplyWriter, Reveal,
    Status,
};

/// `detail` of a repeated `send`, `cancel` or `void`.
const REPEATED: u32 = 1;

/// What `hello` tells.
pub(super) struct Facts {
    pub(super) cell: Cell,
    pub(super) durability: Durability,
    /// The TCP port of each shard,
    pub(super) ports: Vec<u16>,
    /// and the TLS port.
    pub(super) tls_ports: Vec<u16>,
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It was decided; the envelope is the one it asked about.
    Decided(Outcome, EnvelopeId),
    /// What it asked to see: the summary of this envelope.
    Summary(EnvelopeId),
    /// Or what this envelope's draws come from.
    Revealed(EnvelopeId),
    /// Or the terms of this envelope, as this user may see them.
    Terms(EnvelopeId, UserId),
    /// Or how this campaign stands.
    Campaign(EnvelopeId),
    /// Or why this user is treated as it is at this time.
    Explained(UserId, Time),
    /// Or what is held.
    Holds(HoldsFrom),
    /// Or what rules of risk did after this number.
    Feed(u64),
    /// It asked for the server's facts, over TLS or not.
    Hello { over_tls: bool },
    /// Who asks may not.
    Denied(Denial),
    /// Nothing was applied; the client may ask again after so many
    /// milliseconds.
    Overloaded(u32),
}

// Nor has a kind of it bytes where the outcome of a claim has its amount or its
// envelope: it would be copied in such pieces (see `Outcome`).
const _: () = assert!(size_of::<Verdict>() <= 32, "a verdict is copied on the way of a claim");

/// Writes the reply for a verdict and says its status; what is long is taken from
/// `engine` here, so that every verdict is small: it is copied on its way.
#[expect(clippy::inline_always, reason = "measured with `verdict`, whose copies it saves")]
#[inline(always)]
pub(super) fn answer(
    reply: ReplyWriter<'_>,
    verdict: &Verdict,
    engine: &Engine,
    facts: &Facts,
    (campaigns, trail, judging): (&Campaigns, &Trail, Option<&Judging>),
) -> Status {
    match verdict {
        Verdict::Decided(outcome, envelope) => tell(reply, outcome, engine, *envelope),
        Verdict::Summary(envelope) => tell_summary(reply, engine, *envelope),
        Verdict::Revealed(envelope) => tell_revealed(reply, engine, *envelope),
        Verdict::Terms(envelope, user) => tell_terms(reply, engine, *envelope, *user),
        Verdict::Campaign(envelope) => tell_campaign(reply, engine, campaigns, *envelope),
        Verdict::Explained(user, now) => {
            reply.explained(&explained(engine, judging, *user, *now));
            Status::Ok
        }
        Verdict::Holds(from) => {
            reply.holds(engine.holds(from));
            Status::Ok
        }
        Verdict::Feed(after) => {
            reply.risk_events(trail.after(*after));
            Status::Ok
        }
        Verdict::Hello { over_tls } => {
            let durability = facts.durability.code();
            let ports = if *over_tls { &facts.tls_ports } else { &facts.ports };
            reply.hello(PROTOCOL_VERSION, facts.cell, durability, ports);
            Status::Ok
        }
        Verdict::Denied(denial) => {
            reply.bare(Status::Denied, denial.code());
            Status::Denied
        }
        Verdict::Overloaded(retry_after_ms) => {
            reply.bare(Status::Overloaded, *retry_after_ms);
            Status::Overloaded
        }
    }
}

#[expect(clippy::inline_always, reason = "as `answer`")]
#[inline(always)]
fn tell(
    reply: ReplyWriter<'_>,
    outcome: &Outcome,
    engine: &Engine,
    envelope: EnvelopeId,
) -> Status {
    let (status, detail) = match *outcome {
        Outcome::Claimed { amount } => {
            reply.number(Status::Ok, 0, amount);
            return Status::Ok;
        }
        Outcome::AlreadyClaimed { amount } | Outcome::CapReached { amount } => {
            reply.number(Status::AlreadyClaimed, 0, amount);
            return Status::AlreadyClaimed;
        }
        Outcome::Won { amount, kind } => {
            reply.number(Status::Ok, kind, amount);
            return Status::Ok;
        }
        Outcome::Wins { wins, amount } if wins > 0 => {
            reply.number(Status::Ok, wins, amount);
            return Status::Ok;
        }
        Outcome::Winnable { shares_left } => {
            reply.number(Status::Ok, shares_left, 0);
            return Status::Ok;
        }
        Outcome::Issued { envelope, state, repeated } => {
            return tell_ordered(reply, engine, envelope, state, repeated);
        }
        Outcome::Refunded { amount, repeated } | Outcome::Resolved { amount, repeated } => {
            reply.number(Status::Ok, repeat(repeated), amount);
            return Status::Ok;
        }
        Outcome::Detail { shares, claimed, from, count } => {
            reply.detail(shares, claimed, from, count, engine.rows(envelope, from));
            return Status::Ok;
        }
        Outcome::NothingWon { fallback } => (Status::NothingWon, fallback),
        Outcome::Wins { .. } => (Status::NothingWon, 0),
        Outcome::NotBegun => (Status::NotOpen, NotOpen::NotBegun.code()),
        Outcome::Paused => (Status::NotOpen, NotOpen::Paused.code()),
        Outcome::ByShakingOnly => (Status::Denied, Denial::ByShakingOnly.code()),
        Outcome::Withheld => (Status::Withheld, 0),
        Outcome::SoldOut => (Status::SoldOut, 0),
        Outcome::Expired => (Status::Expired, 0),
        Outcome::Cancelled => (Status::NotOpen, NotOpen::Cancelled.code()),
        Outcome::NotPaid => (Status::NotOpen, NotOpen::NotPaid.code()),
        Outcome::NeverPaid => (Status::NotOpen, NotOpen::NeverPaid.code()),
        Outcome::NotEligible(broken) => (Status::NotEligible, broken.code()),
        Outcome::WrongPassword(wrong) => (Status::WrongPassword, wrong.code()),
        Outcome::TooManyGuesses(limit) => (Status::RateLimited, limit.code()),
        Outcome::NotFound => (Status::NotFound, 0),
        Outcome::Denied => (Status::Denied, Denial::Sender.code()),
        // For the day, or until envelopes close: no retry-after is true.
        Outcome::LimitReached => (Status::RateLimited, RateLimit::Daily.code()),
        Outcome::Conflict => (Status::Conflict, 0),
        // About the time in which a segment becomes ready or an operator
        // makes room.
        Outcome::Full => (Status::Unavailable, RETRY_AFTER_MS_MAX),
        Outcome::Invalid(reason) => (Status::BadRequest, reason.code()),
        Outcome::Voided { repeated } | Outcome::Arranged { repeated } => {
            (Status::Ok, repeat(repeated))
        }
        Outcome::Funded { repeated } => {
            let told = if repeated { Confirmed::OpenedBefore } else { Confirmed::Opened };
            reply.number(Status::Ok, told.code(), 0);
            return Status::Ok;
        }
        Outcome::Returned { amount, repeated } => {
            let told = if repeated { Confirmed::ReturnedBefore } else { Confirmed::Returned };
            reply.number(Status::Ok, told.code(), amount);
            return Status::Ok;
        }
    };
    reply.bare(status, detail);
    status
}

#[cold]
fn tell_summary(reply: ReplyWriter<'_>, engine: &Engine, envelope: EnvelopeId) -> Status {
    let Some(summary) = engine.show(envelope) else {
        reply.bare(Status::NotFound, 0);
        return Status::NotFound;
    };
    reply.summary(&summary);
    Status::Ok
}

#[cold]
fn tell_campaign(
    reply: ReplyWriter<'_>,
    engine: &Engine,
    campaigns: &Campaigns,
    envelope: EnvelopeId,
) -> Status {
    let Some(view) = engine.campaign(envelope, campaigns.now()) else {
        reply.bare(Status::NotFound, 0);
        return Status::NotFound;
    };
    let CampaignView { plan, prizes, released, won, won_fen, .. } = view;
    let (shakes, credited, seconds) = campaigns.report(envelope);
    let head = CampaignHead {
        state: view.state,
        phase: view.phase,
        terms: *plan.terms(),
        ends_at: view.ends_at,
        prizes,
        released,
        won,
        credited,
        won_fen,
        shakes,
    };
    let kinds = plan.prizes().iter().copied().zip(view.won_by_kind.iter().copied());
    let slots = plan.slots().iter().copied().zip(view.won_by_slot.iter().copied());
    reply.campaign(&head, kinds, slots, seconds);
    Status::Ok
}

/// Tells what an envelope is committed to, and perhaps what opens it.
#[cold]
fn tell_revealed(reply: ReplyWriter<'_>, engine: &Engine, envelope: EnvelopeId) -> Status {
    let Some(Revealed { commitment, seed, nonce }) = engine.reveal(envelope) else {
        reply.bare(Status::NotFound, 0);
        return Status::NotFound;
    };
    reply.reveal(&Reveal { commitment, seed, nonce });
    Status::Ok
}

/// Tells the terms of an envelope, as far as a user may see them.
#[cold]
fn tell_terms(
    reply: ReplyWriter<'_>,
    engine: &Engine,
    envelope: EnvelopeId,
    user: UserId,
) -> Status {
    let Some(terms) = engine.terms(envelope, user) else {
        reply.bare(Status::NotFound, 0);
        return Status::NotFound;
    };
    reply.terms(|out| terms.append_to(out));
    Status::Ok
}

fn repeat(repeated: bool) -> u32 {
    if repeated { REPEATED } else { 0 }
}

/// Tells an order's envelope. What it is committed to follows from its record,
/// which is applied by now.
#[inline(never)]
fn tell_ordered(
    reply: ReplyWriter<'_>,
    engine: &Engine,
    envelope: EnvelopeId,
    state: EnvelopeState,
    repeated: bool,
) -> Status {
    let Some(Revealed { commitment, .. }) = engine.reveal(envelope) else {
        reply.bare(Status::NotFound, 0);
        return Status::NotFound;
    };
    reply.ordered(repeat(repeated), &Ordered { envelope, state, commitment });
    Status::Ok
}
