//! The audit: proof from the records alone that no fen was made, lost or given
//! twice, and that the ledger says the same as the journal.
//!
//! It keeps accounts of its own and never asks the engine what a record does;
//! only the state before the first record of a shortened journal comes from a
//! checkpoint. It changes nothing, and reads beside a running server.

mod against;
mod books;
mod broken;
mod campaign;
mod compare;
mod envelope;
mod opening;
mod rules;
mod walk;
mod withheld;

use std::collections::BTreeMap;
use std::fmt;

pub use against::Compared;
pub use books::{Balance, Books, Sum, Turnover};
pub use broken::{Broken, When};
pub use walk::{Progress, Settings, audit};

use crate::engine::Record;
use crate::follow::ledger::LedgerError;
use crate::follow::movement::MovementId;
use crate::journal::{CheckpointNumber, Identity, Position, RecoveryError, TailError};

/// What was proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The journals, by shard.
    pub shards: Vec<ShardReport>,
    /// What all envelopes come to.
    pub balance: Balance,
    /// Envelopes that are kept at the end.
    pub envelopes: u64,
    /// Records that were read.
    pub records: u64,
    /// What happened on each day that the journals tell of; days count from the
    /// Unix epoch.
    pub days: BTreeMap<u32, Turnover>,
    /// What was compared with the ledger, if there was one.
    pub ledger: Option<Compared>,
}

/// One shard's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardReport {
    /// Whose it is.
    pub identity: Identity,
    /// From here on every record was read.
    pub from: Position,
    /// The checkpoint that says what was before.
    pub checkpoint: Option<CheckpointNumber>,
    /// Up to here.
    pub upto: Position,
    /// How many records.
    pub records: u64,
}

/// The first thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is, in a line.
    pub words: String,
    /// The records that show it, in order; the last is the first that is wrong.
    pub records: Vec<(MovementId, Record)>,
    /// How many of the envelope's records are left out in between.
    pub left_out: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Something is not as it must be.
    #[error("{0}")]
    Different(Box<Difference>),
    /// The journal cannot be read, or is damaged.
    #[error(transparent)]
    Journal(#[from] RecoveryError),
    /// The journal of a running server cannot be read on.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The files went away under the reader.
    #[error(
        "the server shortened its journal while it was read, {tries} times ({reason}); audit \
         again when it is less busy, or audit a copy of the directory"
    )]
    Freed {
        /// How often it was tried.
        tries: u32,
        /// What was missing in the end.
        reason: String,
    },
    /// The checkpoint does not fit the memory that it should need.
    #[error("the checkpoint needs a thousand times its own size; run `hb journal verify`")]
    NoMemory,
}
