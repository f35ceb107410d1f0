//! What is to be told, read from the boards in one go: `/metrics` and `/status`
//! are two ways of writing a [`View`].
//!
//! Looking copies; it takes no lock longer than a copy and changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::follow::Report;
use crate::shard::{Board, Found, Phase, ShardCounters, Standing};
use crate::units::{Cell, Durability, Time};

/// What does not change while a server runs.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// Of the server binary.
    pub version: String,
    /// The first byte of its envelope ids.
    pub cell: Cell,
    /// How many shards it has.
    pub shards: u16,
    /// What an acknowledgement survives.
    pub durability: Durability,
    /// Where clients reach it: TCP addresses and unix paths.
    pub listen: Vec<String>,
    /// The data directory.
    pub data: PathBuf,
    /// When the process began to start.
    pub started_at: Time,
    /// Envelopes that the tables of all shards hold.
    pub envelopes_max: u64,
    /// Bytes of the tables of all shards.
    pub table_bytes: u64,
    /// Connections of all shards at the same time.
    pub connections_max: u64,
    /// Where the days of lists begin, in seconds east of UTC.
    pub utc_offset_s: i32,
}

/// How far the recovery of one shard is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryView {
    /// Bytes of checkpoint and journal that are to be read; 0 while unknown.
    pub bytes_all: u64,
    /// Those that are read.
    pub bytes: u64,
    /// Records applied, and envelopes loaded from a checkpoint.
    pub records: u64,
}

/// One shard's board at a moment.
#[derive(Clone, Copy, Debug)]
pub struct ShardView {
    /// Where it is in its life.
    pub phase: Phase,
    /// How far its recovery is, or was when it ended.
    pub recovery: RecoveryView,
    /// What it counted.
    pub counters: ShardCounters,
}

impl RecoveryView {
    /// Reads a board.
    pub fn of(board: &Board) -> Self {
        Self {
            bytes_all: board.recovery_bytes.load(Ordering::Relaxed),
            bytes: board.recovered_bytes.load(Ordering::Relaxed),
            records: board.recovered_records.load(Ordering::Relaxed),
        }
    }
}

impl ShardView {
    /// Reads a board.
    pub fn of(board: &Board) -> Self {
        Self { phase: board.phase(), recovery: RecoveryView::of(board), counters: board.counters() }
    }
}

/// The whole server at a moment.
#[derive(Clone, Debug)]
pub struct View {
    /// What does not change.
    pub facts: Arc<ServerFacts>,
    /// When this was read.
    pub now: Time,
    /// The time of the shards against the clock on the wall.
    pub clock: Standing,
    /// Whether a drain was asked for here, or a shard drains.
    pub draining: bool,
    /// Why it is not ready, a line each; empty is ready.
    pub reasons: Vec<String>,
    /// Every shard, by its number.
    pub shards: Vec<ShardView>,
    /// The follower of the ledger, where there is one.
    pub ledger: Option<Report>,
}

impl View {
    /// Whether every shard answers and nothing speaks against new work.
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// How a phase is written in metrics, in `/status` and to people.
pub(super) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Recovering => "recovering",
        Phase::Ready => "ready",
        Phase::Draining => "draining",
        Phase::Ended => "ended",
    }
}

/// How time stands to the wall, as it is written to people and, by its place
/// here, in metrics.
pub(super) fn found_name(found: Found) -> (u64, &'static str) {
    match found {
        Found::Agrees => (0, "agrees"),
        Found::Follows => (1, "follows"),
        Found::Refuses => (2, "refused"),
        Found::Stands => (3, "stands"),
    }
}

/// A name of the wire as labels and keys write it: `AlreadyClaimed` becomes
/// `already_claimed`. The wire's own names are used, so that an operation or
/// status that is added there is told here without a change.
pub(super) fn snake(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

/// The name of an operation code; `op_9` of one the wire does not know.
pub(super) fn op_name(code: usize) -> String {
    let op = u8::try_from(code).ok().and_then(crate::wire::Op::from_code);
    op.map_or_else(|| format!("op_{code}"), |op| snake(&format!("{op:?}")))
}

/// The name of a status code; `status_9` of one the wire does not know.
pub(super) fn status_name(code: usize) -> String {
    let status = u8::try_from(code).ok().and_then(crate::wire::Status::from_code);
    status.map_or_else(|| format!("status_{code}"), |status| snake(&format!("{status:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_operations_and_statuses_are_those_of_the_wire() {
        assert_eq!([op_name(1), op_name(4), op_name(31)], ["hello", "claim", "op_31"]);
        assert_eq!(
            [status_name(0), status_name(1), status_name(11), status_name(23)],
            ["ok", "already_claimed", "unavailable", "status_23"]
        );
    }
}
