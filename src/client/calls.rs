//! The typed calls: one per operation, each with its own result.
//!
//! A yes is a value; every no is [`ClientError::Refused`] with the status.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::{ClientError, Refusal};
use super::routed::Client;
use crate::limits::DETAIL_ROWS_MAX;
use crate::units::{EnvelopeId, EnvelopeState, Fen, UserId};
use crate::wire::{
    Attached, Confirmed, Evidence, Payment, Reply, ReplyBody, Request, Reveal, Row, Seal,
    SendOrder, Status, Summary, Terms, ToldTerms,
};

/// The pause before the second look whether money has come; each later one is
/// twice as long,
const FIRST_LOOK: Duration = Duration::from_millis(2);

/// and none is longer than this.
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// An order that has its envelope: open, or reserved until its money is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its id.
    pub envelope: EnvelopeId,
    /// Where it is in its life.
    pub state: EnvelopeState,
    /// The hash that its draws are bound to; keep it to verify them later.
    pub commitment: [u8; 32],
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

/// What became of a payment that was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funded {
    /// Its envelope is open.
    Opened {
        /// Whether the same payment had opened it before.
        repeated: bool,
    },
    /// It came too late: it went to the sender's balance.
    Returned {
        /// The money, in fen.
        amount: Fen,
        /// Whether it had gone back before.
        repeated: bool,
    },
}

/// An order that was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voided {
    /// Whether it had been withdrawn before.
    pub repeated: bool,
}

impl Client {
    /// Orders an envelope. The same order sent again gives the same envelope.
    /// Paid from the balance or by an outside payment it is reserved at first;
    /// see [`Client::await_money`].
    pub fn send(&mut self, order: &SendOrder) -> Result<Sent, ClientError> {
        sent(&self.call(&Request::Send(*order))?)
    }

    /// Orders an envelope with terms. The same order with the same terms gives
    /// the same envelope.
    pub fn send_with(&mut self, order: &SendOrder, terms: &Terms<'_>) -> Result<Sent, ClientError> {
        let request = Request::SendWith { order: *order, terms: Attached::default() };
        sent(&self.call_with(&request, &terms.to_bytes())?)
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
        claimed(&self.call(&Request::Claim { envelope, user })?)
    }

    /// Takes one share of an envelope whose terms want something to be shown.
    pub fn claim_with(
        &mut self,
        envelope: EnvelopeId,
        user: UserId,
        evidence: &Evidence<'_>,
    ) -> Result<Claimed, ClientError> {
        let request = Request::ClaimWith { envelope, user, evidence: Attached::default() };
        claimed(&self.call_with(&request, &evidence.to_bytes())?)
    }

    /// The terms of an envelope, as far as this user may see them.
    pub fn terms(&mut self, envelope: EnvelopeId, user: UserId) -> Result<ToldTerms, ClientError> {
        let reply = self.call(&Request::Terms { envelope, user })?;
        match (reply.status, reply.body) {
            (Status::Ok, ReplyBody::Terms(told)) => Ok(told),
            (Status::Ok, ReplyBody::None) => Ok(ToldTerms::default()),
            (status, _) => Err(ClientError::Refused(Refusal { status, detail: reply.detail })),
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

    /// Confirms a payment, as only its payment system can: `seal` is that of
    /// the key `key_id` on the payment, see [`PaymentKeys::seal`]. The same
    /// payment confirmed again changes nothing.
    ///
    /// [`PaymentKeys::seal`]: crate::wire::PaymentKeys::seal
    pub fn fund(
        &mut self,
        payment: &Payment,
        key_id: u32,
        seal: Seal,
    ) -> Result<Funded, ClientError> {
        let Payment { envelope, payment, amount } = *payment;
        let reply = self.call(&Request::Fund { envelope, payment, amount, key_id, seal })?;
        let (Status::Ok, ReplyBody::Amount(amount)) = (reply.status, &reply.body) else {
            return Err(refused(&reply));
        };
        let amount = *amount;
        match Confirmed::from_code(reply.detail).ok_or(ClientError::Unexpected)? {
            Confirmed::Opened => Ok(Funded::Opened { repeated: false }),
            Confirmed::OpenedBefore => Ok(Funded::Opened { repeated: true }),
            Confirmed::Returned => Ok(Funded::Returned { amount, repeated: false }),
            Confirmed::ReturnedBefore => Ok(Funded::Returned { amount, repeated: true }),
        }
    }

    /// Withdraws an order whose money is not there yet; a payment that comes
    /// after that goes back to the sender.
    pub fn void(&mut self, envelope: EnvelopeId, sender: UserId) -> Result<Voided, ClientError> {
        let reply = self.call(&Request::Void { envelope, sender })?;
        match reply.status {
            Status::Ok => Ok(Voided { repeated: reply.detail == 1 }),
            _ => Err(refused(&reply)),
        }
    }

    /// The commitment to the draws of an envelope and, once it is closed, what
    /// they came from.
    pub fn reveal(&mut self, envelope: EnvelopeId) -> Result<Reveal, ClientError> {
        let reply = self.call(&Request::Reveal { envelope })?;
        match (reply.status, &reply.body) {
            (Status::Ok, ReplyBody::Reveal(reveal)) => Ok(*reveal),
            _ => Err(refused(&reply)),
        }
    }

    /// Looks again and again until an envelope is no longer reserved, for at
    /// most `patience`; the summary says what it has become. Still reserved, it
    /// is so in the summary too.
    pub fn await_money(
        &mut self,
        envelope: EnvelopeId,
        patience: Duration,
    ) -> Result<Summary, ClientError> {
        let began = Instant::now();
        let mut pause = FIRST_LOOK;
        loop {
            let summary = self.show(envelope)?;
            let waited = began.elapsed();
            if summary.state != EnvelopeState::Reserved || waited >= patience {
                return Ok(summary);
            }
            sleep(pause.min(patience.saturating_sub(waited)));
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }
}

fn sent(reply: &Reply) -> Result<Sent, ClientError> {
    match (reply.status, &reply.body) {
        (Status::Ok, ReplyBody::Ordered(ordered)) => Ok(Sent {
            envelope: ordered.envelope,
            state: ordered.state,
            commitment: ordered.commitment,
            repeated: reply.detail == 1,
        }),
        _ => Err(refused(reply)),
    }
}

fn claimed(reply: &Reply) -> Result<Claimed, ClientError> {
    match (reply.status, &reply.body) {
        (Status::Ok, &ReplyBody::Amount(amount)) => Ok(Claimed { amount, repeated: false }),
        (Status::AlreadyClaimed, &ReplyBody::Amount(amount)) => {
            Ok(Claimed { amount, repeated: true })
        }
        _ => Err(refused(reply)),
    }
}

pub(super) fn refused(reply: &Reply) -> ClientError {
    match reply.status {
        Status::Ok | Status::AlreadyClaimed => ClientError::Unexpected,
        _ => ClientError::refused(reply),
    }
}
