//! Hash tables that are larger than the processor's caches: which hash they
//! have, and how their misses overlap.
//!
//! For followers and auditors, who read the journal in order and find accounts
//! somewhere at random. The shards' tables are the engine's own.

use std::collections::HashMap;
use std::hash::Hash;
use std::hint::black_box;

/// A table whose hash is quick and keyed anew for each of them. Its keys are ids
/// that were journalled; whoever could choose them to collide would spend a
/// claim on each.
pub(crate) type Table<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Keys that are touched together: their misses fill what a core can have in
/// flight, and what they loaded is still in its cache when it is used.
pub(crate) const TOUCHED: usize = 32;

/// Loads what is kept under these keys, by what `read` reads of it. No load
/// waits for another, so the misses overlap; one by one, each use would wait
/// for its own.
pub(crate) fn touch<K: Eq + Hash, V>(
    table: &Table<K, V>,
    keys: impl Iterator<Item = K>,
    read: impl Fn(&V) -> u64,
) {
    let found = keys.filter_map(|key| table.get(&key));
    black_box(found.fold(0, |all, value| all ^ read(value)));
}
