//! From an outcome to the reply that tells it.

use crate::engine::{Engine, Outcome};
use crate::units::EnvelopeId;
use crate::wire::{ReplyWriter, Status};

/// How long a client should wait after `Unavailable`, in milliseconds: about
/// the time in which a segment becomes ready or an operator makes room.
const RETRY_AFTER_MS: u32 = 1000;

/// `detail` of a repeated `send` or `cancel`.
const REPEATED: u32 = 1;

/// Writes the reply for `outcome`; a detail page takes its rows from `engine`.
#[inline]
pub(super) fn answer(
    reply: ReplyWriter<'_>,
    outcome: &Outcome,
    engine: &Engine,
    envelope: EnvelopeId,
) {
    match *outcome {
        Outcome::Claimed { amount } => reply.number(Status::Ok, 0, amount),
        Outcome::AlreadyClaimed { amount } => reply.number(Status::AlreadyClaimed, 0, amount),
        Outcome::SoldOut => reply.bare(Status::SoldOut, 0),
        Outcome::Winnable { shares_left } => reply.number(Status::Ok, shares_left, 0),
        Outcome::Funded { envelope, repeated } => {
            reply.number(Status::Ok, if repeated { REPEATED } else { 0 }, envelope.0);
        }
        Outcome::Refunded { amount, repeated } => {
            reply.number(Status::Ok, if repeated { REPEATED } else { 0 }, amount);
        }
        Outcome::Summary(ref summary) => reply.summary(summary),
        Outcome::Detail { shares, claimed, from, count } => {
            reply.detail(shares, claimed, from, count, engine.rows(envelope, from));
        }
        Outcome::Expired => reply.bare(Status::Expired, 0),
        Outcome::Cancelled => reply.bare(Status::NotOpen, 0),
        Outcome::NotFound => reply.bare(Status::NotFound, 0),
        Outcome::Denied => reply.bare(Status::Denied, 0),
        Outcome::Conflict => reply.bare(Status::Conflict, 0),
        Outcome::Full => reply.bare(Status::Unavailable, RETRY_AFTER_MS),
        Outcome::Invalid(reason) => reply.bare(Status::BadRequest, reason.code()),
    }
}
