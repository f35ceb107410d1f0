//! Readers of the journal: what is derived from committed records, and can be
//! made again from them.
//!
//! A follower reads every shard's records in order, only what is committed, and
//! keeps its cursor in the same transaction as what it derived, so every record
//! counts exactly once. It never decides about an envelope and never makes a
//! shard wait.

pub mod ledger;
pub mod movement;
