//! What a shard's checkpoint and journal are replayed into, and how another
//! number of shards comes about.

use std::sync::atomic::Ordering;

use super::launch::{capacity, limits};
use super::refusal::StartError;
use super::risk;
use crate::config::Config;
use crate::engine::{Engine, Misfit, Record, Restoring};
use crate::journal::{
    Arrangement, Building, Identity, Position, Progress, Recovering, Replica, Unfit,
};
use crate::shard::Board;
use crate::units::Time;

/// The state of one shard while it comes to be, and once it is there.
pub(super) enum Restored {
    /// Slices and records may still come.
    Restoring(Box<Restoring>),
    /// All were fed.
    Whole(Box<Engine>),
    /// The state contradicted itself.
    Unsound,
}

impl Restored {
    /// Nothing yet.
    pub(super) fn new(config: &Config, shard: u16, shards: u16) -> Self {
        let capacity = capacity(config, shards);
        let restoring = Restoring::new(config.cell, capacity, limits(config), shard, shards);
        Self::Restoring(Box::new(restoring.with_risk(risk::settings(config))))
    }

    fn restoring(&mut self) -> &mut Restoring {
        match self {
            Self::Restoring(restoring) => restoring,
            _ => unreachable!("nothing is fed after the end"),
        }
    }

    /// The engine, after [`Replica::finish`].
    pub(super) fn engine(self) -> Engine {
        match self {
            Self::Whole(engine) => *engine,
            _ => unreachable!("asked for only after a sound end"),
        }
    }
}

impl Replica for Restored {
    fn load(&mut self, slice: &[u8]) -> Result<u64, Unfit> {
        Ok(self.restoring().load(slice)?)
    }

    fn apply(&mut self, records: &[(Position, Record)]) -> Result<(), (Position, Misfit)> {
        self.restoring().apply(records)
    }

    fn finish(&mut self) -> Result<(), Misfit> {
        if let Self::Restoring(restoring) = std::mem::replace(self, Self::Unsound) {
            *self = Self::Whole(Box::new(restoring.finish()?));
        }
        Ok(())
    }
}

/// Shows on a board how far a recovery is.
pub(super) fn show(board: &Board, progress: Progress) {
    board.recovery_bytes.store(progress.bytes_total, Ordering::Relaxed);
    board.recovered_bytes.store(progress.bytes_done, Ordering::Relaxed);
    board.recovered_records.store(progress.records, Ordering::Relaxed);
}

/// Makes one shard of a new arrangement: reads every old shard, keeps the
/// partitions that are its own, and writes them as a checkpoint. Where the old
/// journals end comes back.
pub(super) fn rearrange(
    config: &Config,
    old: &Arrangement,
    building: &Building,
    shard: u16,
    shards: u16,
    board: &Board,
) -> Result<Vec<Position>, StartError> {
    let mut restored = Restored::new(config, shard, shards);
    let mut last_time = Time(0);
    let mut ends = Vec::new();
    for from in 0..old.shards() {
        let identity = Identity { cell: config.cell, shard: from, shards: old.shards() };
        let recovering = Recovering::open(old.source(from), identity, config.durability)?;
        let recovered = recovering.read(&mut restored, &|progress| show(board, progress))?;
        last_time = last_time.max(recovered.last_time);
        ends.push(recovered.end);
    }
    restored.finish().map_err(|misfit| {
        let place = old.path().display().to_string();
        crate::journal::RecoveryError::Unsound { place, misfit }
    })?;
    let mut engine = restored.engine();
    let mut cursor = engine.begin_image();
    let slices = std::iter::from_fn(|| {
        let mut slice = Vec::new();
        engine.next_slice(&mut cursor, 0, &mut slice).then_some(slice)
    });
    let written = building.write_shard(shard, last_time, slices);
    written.map_err(crate::journal::ArrangementError::from)?;
    engine.end_image(cursor);
    Ok(ends)
}
