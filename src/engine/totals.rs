//! Running sums over all envelopes, kept in step with every record.

use super::{Record, Recycled};
use crate::units::Fen;

/// What all envelopes come to; `funded = claimed + held + refunded + left` at every
/// moment. The sums of money are in fen and wide enough for any number of
/// envelopes. Money that an order only promises is in none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Envelopes ever funded, recycled ones included.
    pub envelopes: u64,
    /// Envelopes of which shares may be claimed.
    pub open: u64,
    /// Envelopes that wait for their money.
    pub reserved: u64,
    /// Envelopes that were ever voided.
    pub voided: u64,
    /// Shares ever claimed.
    pub claims: u64,
    /// Money put in.
    pub funded: u128,
    /// Money claimed.
    pub claimed: u128,
    /// Money that was won and is held.
    pub held: u128,
    /// Money that went back to the senders.
    pub refunded: u128,
    /// Money that may still be claimed.
    pub left: u128,
    /// Money that came too late to be put in, and went back.
    pub returned: u128,
}

impl Totals {
    pub(super) fn reserve(&mut self) {
        self.reserved += 1;
    }

    /// An envelope opens that was not reserved before.
    pub(super) fn fund(&mut self, total: Fen) {
        self.envelopes += 1;
        self.open += 1;
        self.funded += u128::from(total);
        self.left += u128::from(total);
    }

    /// A reserved envelope opens.
    pub(super) fn pay(&mut self, total: Fen) {
        self.reserved -= 1;
        self.fund(total);
    }

    #[inline]
    pub(super) fn claim(&mut self, amount: Fen, exhausted: bool) {
        self.claims += 1;
        self.open -= u64::from(exhausted);
        self.claimed += u128::from(amount);
        self.left -= u128::from(amount);
    }

    /// A share was won and is held.
    pub(super) fn hold(&mut self, amount: Fen, exhausted: bool) {
        self.open -= u64::from(exhausted);
        self.held += u128::from(amount);
        self.left -= u128::from(amount);
    }

    /// A held share is its claimant's.
    pub(super) fn release(&mut self, amount: Fen) {
        self.claims += 1;
        self.held -= u128::from(amount);
        self.claimed += u128::from(amount);
    }

    /// A held share goes back to the sender.
    pub(super) fn reject(&mut self, amount: Fen) {
        self.held -= u128::from(amount);
        self.refunded += u128::from(amount);
    }

    /// A share that was counted as claimed is held, or was rejected.
    pub(super) fn withhold(&mut self, amount: Fen, rejected: bool) {
        self.claims -= 1;
        self.claimed -= u128::from(amount);
        *(if rejected { &mut self.refunded } else { &mut self.held }) += u128::from(amount);
    }

    pub(super) fn close(&mut self, refunded: Fen) {
        self.open -= 1;
        self.refunded += u128::from(refunded);
        self.left -= u128::from(refunded);
    }

    /// Counts what no envelope remembers once it is recycled, and what not
    /// even its recycling says.
    pub(super) fn note(&mut self, record: &Record) {
        match record {
            Record::Voided(_) => self.voided += 1,
            Record::Returned(returned) => self.returned += u128::from(returned.amount),
            _ => {}
        }
    }

    /// Adds an envelope that is no longer anywhere else.
    pub(super) fn archive(&mut self, record: &Recycled) {
        self.envelopes += u64::from(record.total > 0);
        self.claims += u64::from(record.shares_claimed);
        self.funded += u128::from(record.total);
        self.claimed += u128::from(record.claimed);
        self.refunded += u128::from(record.total.saturating_sub(record.claimed));
    }

    /// Whether anything was ever counted.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds other sums.
    pub(super) fn add(&mut self, other: &Self) {
        self.envelopes += other.envelopes;
        self.open += other.open;
        self.reserved += other.reserved;
        self.voided += other.voided;
        self.claims += other.claims;
        self.funded += other.funded;
        self.claimed += other.claimed;
        self.held += other.held;
        self.refunded += other.refunded;
        self.left += other.left;
        self.returned += other.returned;
    }
}
