//! A ledger as an auditor reads it: everything as of one moment, row by row.

use super::lists::Difference;
use super::movement_line::Line;
use super::{Cursor, LedgerError};
use crate::follow::movement::MovementId;
use crate::units::{EnvelopeId, Fen, UserId};

/// A journal batch, and the number that its record 0 has in this ledger. Those
/// of arrangement 0 are an operator's, and their position is the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// The number of record 0.
    pub first: u64,
    /// The arrangement.
    pub arrangement: u32,
    /// The shard.
    pub shard: u16,
    /// Where the batch begins.
    pub position: u64,
}

/// An order whose money is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldFor {
    /// The order's envelope.
    pub envelope: EnvelopeId,
    /// Whose money.
    pub user: UserId,
    /// How much, in fen.
    pub amount: Fen,
}

/// What an auditor asks. Between [`Audited::hold_still`] and
/// [`Audited::let_go`] every answer is of the same moment, and whoever writes is
/// not kept from it.
pub trait Audited {
    /// From now on answers are of this moment.
    fn hold_still(&mut self) -> Result<(), LedgerError>;

    /// Ends that.
    fn let_go(&mut self) -> Result<(), LedgerError>;

    /// How far each shard of any arrangement was applied.
    fn applied(&mut self) -> Result<Vec<Cursor>, LedgerError>;

    /// Every batch that was numbered, by the number.
    fn numbered(&mut self) -> Result<Vec<Numbered>, LedgerError>;

    /// Shows every row of every user's account, in any order.
    fn each_line(&mut self, show: &mut dyn FnMut(&Line)) -> Result<(), LedgerError>;

    /// The orders whose money is held.
    fn held(&mut self) -> Result<Vec<HeldFor>, LedgerError>;

    /// The records that an operator had passed over.
    fn passed_over(&mut self) -> Result<Vec<MovementId>, LedgerError>;

    /// The money in envelopes, in fen.
    fn escrow(&mut self) -> Result<i128, LedgerError>;

    /// The first of the ledger's own sums that does not hold.
    fn check_sums(&mut self) -> Result<(), Difference>;
}
