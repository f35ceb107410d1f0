//! The ledger's port: where balances live, whatever keeps them.
//!
//! Two adapters stand behind [`Ledger`]: [`embedded`], a file of `SQLite` in the
//! data directory, and [`postgres`]. What the rules are is in `book`, which does
//! no I/O; whatever keeps balances is held to `tests/ledger_conformance`.

mod audited;
mod book;
pub mod embedded;
pub mod lists;
mod movement_line;
pub mod postgres;
mod transfer;

pub use audited::{Audited, HeldFor, Numbered};
pub use movement_line::Line;

use lists::History;

use super::movement::MovementId;
use crate::engine::Record;
use crate::units::{EnvelopeId, Fen, UnixSeconds, UserId};

/// A committed record and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: MovementId,
    /// What happened.
    pub record: Record,
}

/// How far one shard's journal was applied. It stands at the end of a batch and
/// carries what the next batch must continue, so that a reader which resumes
/// here notices any break of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Which arrangement of the shards, from 1.
    pub arrangement: u32,
    /// The shard.
    pub shard: u16,
    /// Everything before this position is applied.
    pub position: u64,
    /// Number of the last batch applied; 0 is none.
    pub batch: u64,
    /// Its checksum.
    pub checksum: u32,
    /// Its epoch.
    pub epoch: u32,
    /// Its time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// What the ledger says about an order that is to be paid from a balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The order's envelope.
    pub envelope: EnvelopeId,
    /// Whether the balance held the money, which is now put aside for it.
    pub covered: bool,
}

/// Why the ledger did not do what it was asked to. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be reached or its disk fails; the same again may work.
    #[error("the ledger cannot be used: {0}")]
    Unreachable(String),
    /// This record contradicts the ledger: trying again cannot help.
    #[error("the ledger refuses record {id:?}: {reason}")]
    Poison {
        /// Which record.
        id: MovementId,
        /// Why, for an operator.
        reason: String,
    },
    /// The amount, or what it would add up to, is too large to count.
    #[error("{0}; ask for less")]
    Uncountable(String),
    /// A withdrawal of more than is there.
    #[error("the balance is {balance} fen")]
    Insufficient {
        /// What is there, in fen.
        balance: Fen,
    },
    /// The same reference came with another user or amount.
    #[error("the reference {0} was used for another movement")]
    Conflict(u64),
}

/// One line of a user's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The envelope.
    pub envelope: EnvelopeId,
    /// The share, in fen.
    pub amount: Fen,
    /// When.
    pub at: UnixSeconds,
}

/// A balance, and what is put aside for orders that are not open yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Balance {
    /// What may be spent, in fen.
    pub available: Fen,
    /// What is held, in fen.
    pub held: Fen,
}

/// Where balances live. Every call is one transaction: it happens whole or not
/// at all, and is durable when it returns.
pub trait Ledger: Send {
    /// How far each shard of any arrangement was applied.
    fn cursors(&mut self) -> Result<Vec<Cursor>, LedgerError>;

    /// Applies the records between the shard's last cursor and `cursor`, in
    /// order, and moves the cursor. Verdicts are about the orders in `entries`
    /// that are paid from a balance.
    fn apply(&mut self, entries: &[Entry], cursor: &Cursor) -> Result<Vec<Verdict>, LedgerError>;

    /// Notes that an operator has this record passed over, and why: `apply`
    /// leaves it out from then on.
    fn skip(&mut self, id: &MovementId, reason: &str, at: UnixSeconds) -> Result<(), LedgerError>;

    /// Verdicts on orders whose envelope was neither opened nor voided yet, for
    /// a start: they may never have reached their shard.
    fn pending(&mut self) -> Result<Vec<Verdict>, LedgerError>;

    /// A user's balance; zero for one who never had money.
    fn balance(&mut self, user: UserId) -> Result<Balance, LedgerError>;

    /// Puts money in; the same reference again changes nothing.
    fn deposit(
        &mut self,
        user: UserId,
        amount: Fen,
        reference: u64,
        at: UnixSeconds,
    ) -> Result<Balance, LedgerError>;

    /// Takes money out; the same reference again changes nothing.
    fn withdraw(
        &mut self,
        user: UserId,
        amount: Fen,
        reference: u64,
        at: UnixSeconds,
    ) -> Result<Balance, LedgerError>;
}

/// A ledger that also answers people: what a server asks for.
pub trait Accounts: Ledger + History {}

impl<T: Ledger + History> Accounts for T {}
