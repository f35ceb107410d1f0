//! One booked movement on a user's account, as both adapters keep it.

use crate::follow::movement::Why;
use crate::units::{EnvelopeId, Fen, UnixSeconds, UserId};

/// How many numbers of booking share a stretch of the tables. Within a stretch
/// rows lie by user, so a list is one seek per stretch; a stretch is small
/// enough that random users dirty few pages however old the ledger is.
const STRETCH_BITS: u32 = 21;

/// The stretch that a number of booking belongs to.
pub(super) fn stretch(number: u64) -> u64 {
    number >> STRETCH_BITS
}

/// One movement on one user's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Whose account.
    pub user: UserId,
    /// The number of its booking: unique in this ledger, for ever.
    pub number: u64,
    /// Why; it also says the direction.
    pub why: Why,
    /// How much, in fen.
    pub amount: Fen,
    /// For which envelope; of a deposit or withdrawal, its reference.
    pub envelope: EnvelopeId,
    /// When.
    pub at: UnixSeconds,
}

impl Line {
    /// Whether the money left the account.
    pub fn is_debit(&self) -> bool {
        matches!(self.why, Why::Hold | Why::Withdraw)
    }
}

/// The reason of a stored code.
pub(super) fn why_from_code(code: i64) -> Option<Why> {
    u8::try_from(code).ok().and_then(Why::from_code)
}
