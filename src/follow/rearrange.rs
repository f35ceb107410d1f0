//! An arrangement of shards is given up: the ledger has all of it first, and the
//! beginning of the next. Then nothing is lost with the old journals.

use super::begin::{Obstacle, lanes};
use super::lane::Followee;
use super::ledger::{Cursor, Ledger};
use crate::journal::ChainEnd;

/// Records of one transaction.
const GROUP_RECORDS: usize = 100_000;

/// Applies the journals of `old`, which have ended, to their ends, and puts the
/// cursors of the next arrangement at its beginning. A ledger that cannot do
/// this now must not lose its journal; nothing is retried here.
pub fn follow_to_end(
    ledger: &mut (impl Ledger + ?Sized),
    old: &[Followee],
    next_shards: u16,
) -> Result<(), Obstacle> {
    let cursors = ledger.cursors()?;
    let mut group = Vec::new();
    for mut lane in lanes(old, &cursors)? {
        while lane.behind() > 0 {
            let before = lane.applied;
            let cursor = lane.read(GROUP_RECORDS, &mut group)?;
            if cursor == before {
                break; // the rest is no whole batch: it was never committed
            }
            ledger.apply(&group, &cursor)?; // verdicts are asked for again at the start
            lane.applied(cursor);
        }
    }
    let next = old.first().map_or(1, |followee| followee.arrangement).saturating_add(1);
    for shard in 0..next_shards {
        ledger.apply(&[], &beginning(next, shard))?;
    }
    Ok(())
}

/// The cursor of a ledger that has applied nothing of this shard.
pub(super) fn beginning(arrangement: u32, shard: u16) -> Cursor {
    let checksum = ChainEnd::beginning(arrangement).checksum;
    Cursor { arrangement, shard, checksum, ..Cursor::default() }
}
