//! Where following begins: the ledger's cursors against the journals that are
//! there. Whatever does not belong together is refused here, before a record is
//! applied.

use super::lane::{Followee, Lane};
use super::ledger::{Cursor, LedgerError};
use super::movement::MovementId;
use super::rearrange::beginning;
use crate::journal::{Position, TailError};

/// What the follower cannot pass.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// The ledger cannot be reached; it is tried again.
    #[error("the ledger cannot be used: {0}")]
    Unreachable(String),
    /// The ledger refuses a record.
    #[error("the ledger refuses record {id:?}: {reason}")]
    Poison {
        /// Which.
        id: MovementId,
        /// Why.
        reason: String,
    },
    /// The journal cannot be read on.
    #[error(transparent)]
    Journal(#[from] TailError),
    /// The ledger knows more than the journal.
    #[error(
        "the ledger has applied arrangement {arrangement}, shard {shard} up to position {cursor}, \
         and the journal there ends at {end}: this ledger belongs to another data directory, or \
         an older copy of the journal was put back; bring the two together that belong together"
    )]
    Ahead {
        /// The arrangement of the cursor.
        arrangement: u32,
        /// Its shard.
        shard: u16,
        /// The cursor.
        cursor: Position,
        /// Where the journal ends; 0 where there is none of it.
        end: Position,
    },
    /// The ledger has not followed the arrangement before this one.
    #[error(
        "the ledger has no cursor for arrangement {arrangement}, shard {shard}: it did not follow \
         the data from its beginning and cannot be added later; start with `ledger = none`, or \
         with the ledger that did"
    )]
    NotFollowed {
        /// The arrangement in use.
        arrangement: u32,
        /// The shard.
        shard: u16,
    },
    /// The ledger did something that no record asked for.
    #[error("{0}")]
    Unexpected(String),
}

impl From<LedgerError> for Obstacle {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Unreachable(reason) => Self::Unreachable(reason),
            LedgerError::Poison { id, reason } => Self::Poison { id, reason },
            other => Self::Unexpected(other.to_string()),
        }
    }
}

/// A lane for each shard, where the ledger left off.
pub(super) fn lanes(followees: &[Followee], cursors: &[Cursor]) -> Result<Vec<Lane>, Obstacle> {
    let current = followees.first().map_or(1, |followee| followee.arrangement);
    for cursor in cursors {
        // The next one is begun with empty cursors before it is put in use.
        let begun = cursor.arrangement == current.saturating_add(1) && cursor.position == 0;
        if cursor.arrangement > current && !begun {
            return Err(ahead(cursor, Position(0)));
        }
    }
    followees.iter().map(|followee| lane(followee, cursors)).collect()
}

fn lane(followee: &Followee, cursors: &[Cursor]) -> Result<Lane, Obstacle> {
    let (arrangement, shard) = (followee.arrangement, followee.identity.shard);
    let found = cursors.iter().find(|c| c.arrangement == arrangement && c.shard == shard);
    let cursor = match found {
        Some(cursor) => *cursor,
        None if arrangement > 1 => return Err(Obstacle::NotFollowed { arrangement, shard }),
        None => beginning(arrangement, shard),
    };
    let end = followee.followed.committed();
    if cursor.position > end.0 {
        return Err(ahead(&cursor, end));
    }
    let mut lane = Lane::new(followee.clone(), cursor);
    lane.check()?;
    Ok(lane)
}

fn ahead(cursor: &Cursor, end: Position) -> Obstacle {
    let Cursor { arrangement, shard, position, .. } = *cursor;
    Obstacle::Ahead { arrangement, shard, cursor: Position(position), end }
}
