//! One shard's journal on its way to the ledger: read in groups, each with the
//! cursor that it leads to.

use std::sync::Arc;

use super::ledger::{Cursor, Entry};
use super::movement::MovementId;
use crate::engine::Record;
use crate::journal::{ChainEnd, Identity, JournalFiles, Position, Tail, TailError};
use crate::shard::Followed;
use crate::units::{Durability, Time};

/// What is followed: one shard of an arrangement.
#[derive(Clone, Debug)]
pub struct Followee {
    /// Its files.
    pub files: JournalFiles,
    /// Whose they are.
    pub identity: Identity,
    /// In which arrangement, from 1.
    pub arrangement: u32,
    /// How far it is, and how far we are.
    pub followed: Arc<Followed>,
    /// Under `os` a committed record may not be on the disk yet.
    pub durability: Durability,
}

/// A reader of one shard, and the group it read last.
pub(super) struct Lane {
    pub(super) of: Followee,
    tail: Tail,
    /// Everything before it is applied.
    pub(super) applied: Cursor,
}

impl Followee {
    /// Reads the next committed records, at least `records_max` where there are so
    /// many, and whole batches. When this returns they are durable: what is derived
    /// from them survives a power cut, and so must they.
    pub(super) fn read(
        &self,
        tail: &mut Tail,
        records_max: usize,
        mut take: impl FnMut(MovementId, Record),
    ) -> Result<(), TailError> {
        let (Identity { cell, shard, .. }, arrangement) = (self.identity, self.arrangement);
        let read =
            tail.read(self.followed.committed(), records_max, &mut |batch, index, record| {
                take(MovementId { cell, arrangement, shard, batch: batch.0, index }, record);
            });
        read.and_then(|_| match self.durability {
            Durability::Os => tail.sync(),
            Durability::Sync => Ok(()),
        })
    }

    pub(super) fn cursor(&self, end: ChainEnd) -> Cursor {
        Cursor {
            arrangement: self.arrangement,
            shard: self.identity.shard,
            position: end.position.0,
            batch: end.batch,
            checksum: end.checksum,
            epoch: end.epoch,
            time_ms: end.time.0,
        }
    }
}

pub(super) fn chain_end(cursor: &Cursor) -> ChainEnd {
    ChainEnd {
        position: Position(cursor.position),
        batch: cursor.batch,
        checksum: cursor.checksum,
        epoch: cursor.epoch,
        time: Time(cursor.time_ms),
    }
}

impl Lane {
    pub(super) fn new(of: Followee, applied: Cursor) -> Self {
        let tail = Tail::new(of.files.clone(), of.identity, chain_end(&applied));
        of.followed.pass(Position(applied.position));
        Self { of, tail, applied }
    }

    /// Whether what lies next continues what was applied.
    pub(super) fn check(&mut self) -> Result<(), TailError> {
        self.tail.check(self.of.followed.committed())
    }

    /// Committed bytes that are not applied.
    pub(super) fn behind(&self) -> u64 {
        self.of.followed.committed().0.saturating_sub(self.applied.position)
    }

    /// Reads the next committed records into `group`, at least `records_max` where
    /// there are so many, and whole batches. What was read is durable.
    pub(super) fn read(
        &mut self,
        records_max: usize,
        group: &mut Vec<Entry>,
    ) -> Result<Cursor, TailError> {
        group.clear();
        self.of.read(&mut self.tail, records_max, |id, record| group.push(Entry { id, record }))?;
        Ok(self.of.cursor(self.tail.end()))
    }

    /// The ledger has applied everything up to `cursor`, durably.
    pub(super) fn applied(&mut self, cursor: Cursor) {
        self.applied = cursor;
        self.of.followed.pass(Position(cursor.position));
    }
}
