//! The typed calls: one per operation, each with its own result.
//!
//! A yes is a value; every no is [`ClientError::Refused`] with the status.

use super::error::ClientError;
use super::routed::Client;
use crate::limits::DETAIL_ROWS_MAX;
use crate::units::{EnvelopeId, Fen, UserId};
use crate::wire::{Reply, ReplyBody, Request, Row, SendOrder, Status, Summary};

/// An envelope that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its id.
    pub envelope: EnvelopeId,
    /// Whether the same order had been sent before.
    pub repeated: bool,
}

/// What a look (`grab`) saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Something is left; nothing is won by looking.
    Left {
        /// How many shares are left.
        shares: u32,
    },
    /// This user has a share already.
    Has {
        /// Its amount, in fen.
        amount: Fen,
    },
}

/// A share of this user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Its amount, in fen.
    pub amount: Fen,
    /// Whether it was decided by an earlier claim.
    pub repeated: bool,
}

/// Who got what, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// How many shares the envelope has.
    pub shares: u32,
    /// Every claim, by rank.
    pub rows: Vec<Row>,
}

/// What went back to the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refunded {
    /// The amount, in fen.
    pub amount: Fen,
    /// Whether it had been cancelled before.
    pub repeated: bool,
}

impl Client {
    /// Funds an envelope. The same order sent again gives the same envelope.
    pub fn send(&mut self, order: &SendOrder) -> Result<Sent, ClientError> {
        let reply = self.call(&Request::Send(*order))?;
        match (reply.status, &reply.body) {
            (Status::Ok, ReplyBody::Envelope(envelope)) => {
                Ok(Sent { envelope: *envelope, repeated: reply.detail == 1 })
            }
            _ => Err(refused(&reply)),
        }
    }

    /// Looks whether something is left for this user.
    pub fn grab(&mut self, envelope: EnvelopeId, user: UserId) -> Result<Look, ClientError> {
        let reply = self.call(&Request::Grab { envelope, user })?;
        match (reply.status, &reply.body) {
            (Status::Ok, ReplyBody::Amount(_)) => Ok(Look::Left { shares: reply.detail }),
            (Status::AlreadyClaimed, ReplyBody::Amount(amount)) => {
                Ok(Look::Has { amount: *amount })
            }
            _ => Err(refused(&reply)),
        }
    }

    /// Takes one share. A repeated claim tells the same amount.
    pub fn claim(&mut self, envelope: EnvelopeId, user: UserId) -> Result<Claimed, ClientError> {
        let reply = self.call(&Request::Claim { envelope, user })?;
        match (reply.status, &reply.body) {
            (Status::Ok, ReplyBody::Amount(amount)) => {
                Ok(Claimed { amount: *amount, repeated: false })
            }
            (Status::AlreadyClaimed, ReplyBody::Amount(amount)) => {
                Ok(Claimed { amount: *amount, repeated: true })
            }
            _ => Err(refused(&reply)),
        }
    }

    /// The summary of an envelope.
    pub fn show(&mut self, envelope: EnvelopeId) -> Result<Summary, ClientError> {
        let reply = self.call(&Request::Show { envelope })?;
        match (reply.status, &reply.body) {
            (Status::Ok, ReplyBody::Summary(summary)) => Ok(*summary),
            _ => Err(refused(&reply)),
        }
    }

    /// Every claim of an envelope, fetched page by page. Claims that arrive
    /// meanwhile are included when their page had not been read yet.
    pub fn detail(&mut self, envelope: EnvelopeId) -> Result<Detail, ClientError> {
        let mut detail = Detail { shares: 0, rows: Vec::new() };
        loop {
            let from = u32::try_from(detail.rows.len()).unwrap_or(u32::MAX);
            let rows_max = DETAIL_ROWS_MAX;
            let reply = self.call(&Request::Detail { envelope, from, rows_max })?;
            let (Status::Ok, ReplyBody::Detail(page)) = (reply.status, &reply.body) else {
                return Err(refused(&reply));
            };
            detail.shares = page.shares;
            detail.rows.extend_from_slice(&page.rows);
            let whole = usize::try_from(page.claimed).is_ok_and(|all| detail.rows.len() >= all);
            if whole || page.rows.is_empty() {
                return Ok(detail);
            }
        }
    }

    /// Gives what is left back to the sender, exactly once.
    pub fn cancel(
        &mut self,
        envelope: EnvelopeId,
        sender: UserId,
    ) -> Result<Refunded, ClientError> {
        let reply = self.call(&Request::Cancel { envelope, sender })?;
        match (reply.status, &reply.body) {
            (Status::Ok, ReplyBody::Amount(amount)) => {
                Ok(Refunded { amount: *amount, repeated: reply.detail == 1 })
            }
            _ => Err(refused(&reply)),
        }
    }
}

fn refused(reply: &Reply) -> ClientError {
    match reply.status {
        Status::Ok | Status::AlreadyClaimed => ClientError::Unexpected,
        _ => ClientError::refused(reply),
    }
}
