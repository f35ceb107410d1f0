//! Money that an operator puts in or takes out: its rules, once for every
//! adapter. This room does no I/O.

use super::book::{Totals, money};
use super::movement_line::Line;
use super::{Balance, LedgerError};
use crate::follow::movement::Why;
use crate::units::{EnvelopeId, Fen, UnixSeconds, UserId};

/// A deposit or a withdrawal.
pub(super) struct Transfer {
    /// Which of the two.
    pub(super) why: Why,
    /// Whose money.
    pub(super) user: UserId,
    /// How much.
    pub(super) amount: Fen,
    /// The operator's name for it, under which it counts once.
    pub(super) reference: u64,
    /// When.
    pub(super) at: UnixSeconds,
}

impl Transfer {
    /// What it adds to the user's balance.
    pub(super) fn change(&self) -> Result<i64, LedgerError> {
        let amount = money(self.amount).map_err(LedgerError::Uncountable)?;
        Ok(if self.why == Why::Withdraw { -amount } else { amount })
    }

    /// What must be the same if its reference comes again: user, reason, amount,
    /// as they are stored.
    pub(super) fn stored(&self) -> [i64; 3] {
        [self.user.0.cast_signed(), self.why.code().into(), self.amount.cast_signed()]
    }

    /// Whether it is to be booked; not where its reference came `before` with the
    /// same. `balance` is what the user has.
    pub(super) fn is_new(
        &self,
        before: Option<[i64; 3]>,
        balance: &Balance,
    ) -> Result<bool, LedgerError> {
        match before {
            Some(before) if before == self.stored() => Ok(false),
            Some(_) => Err(LedgerError::Conflict(self.reference)),
            None if self.why == Why::Withdraw && balance.available < self.amount => {
                Err(LedgerError::Insufficient { balance: balance.available })
            }
            None => Ok(true),
        }
    }

    /// The accounts that are no user's after it.
    pub(super) fn after(&self, mut totals: Totals) -> Result<Totals, LedgerError> {
        totals.outside(-self.change()?).map_err(LedgerError::Uncountable)?;
        Ok(totals)
    }

    /// Its row on the user's account.
    pub(super) fn line(&self, number: u64) -> Line {
        let &Self { why, user, amount, reference, at } = self;
        Line { user, number, why, amount, envelope: EnvelopeId(reference), at }
    }
}
