//! What recovery decides, as one pure function over what it found.
//!
//! Every input matches exactly one row; `docs/JOURNAL.md` has the same table
//! with the same names. Nothing here reads or writes anything.

use super::Position;
use crate::planted::{Bug, is_planted};
use crate::units::Cell;

/// What is wrong with a segment file as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentFault {
    /// A file is missing between others, or before the first.
    Missing,
    /// It does not begin like a segment.
    NotASegment,
    /// It has another format version.
    OtherVersion(u32),
    /// Its header page is damaged, or does not stand where it belongs.
    HeaderDamaged,
    /// It belongs to another cell.
    OtherCell(Cell),
    /// It belongs to another shard.
    OtherShard(u16),
    /// It is arranged for another number of shards.
    OtherShards(u16),
    /// The file is shorter (or longer) than its header says.
    Length {
        /// What the header says.
        expected: u64,
        /// What the file has.
        found: u64,
    },
}

/// A valid batch header after the prefix that no crash can leave there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Where it lies.
    pub position: Position,
}

/// What was found after the valid prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// Only stale bytes of an earlier segment.
    Stale,
    /// Bytes that are neither zero nor stale; the first page of them.
    Bytes(Position),
}

/// What recovery found, before it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Findings {
    /// The first fault of a segment file.
    pub fault: Option<SegmentFault>,
    /// Where the prefix of valid, chained batches ends.
    pub end: Position,
    /// D: the greatest `durable_upto` in any valid batch header.
    pub durable_upto: Position,
    /// The greatest end of a checkpoint, which was durable when it was written.
    pub checkpoint_end: Position,
    /// A valid batch outside the in-flight window.
    pub stray: Option<Stray>,
    /// What is not zero after the prefix.
    pub leftover: Option<Leftover>,
}

/// The rows of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// A segment file is missing, foreign or damaged: refuse.
    Faulty(SegmentFault),
    /// The prefix ends below what is known to be committed: refuse.
    DamageBelowCommitted,
    /// The journal ends below the end of a checkpoint: refuse.
    EndsBeforeCheckpoint,
    /// A valid batch lies where the one in flight cannot have been: refuse.
    DamageBeyondWindow,
    /// The batch in flight when the server stopped; never acknowledged: cut.
    TornTail {
        /// The first page to be zeroed.
        from: Position,
    },
    /// Old bytes of a recycled segment: ignore.
    StaleBytes,
    /// Zeros: go on.
    CleanEnd,
}

/// Decides. The order of the arms is the order of trust: files, then what is
/// known to be committed, then what a crash can explain.
pub fn decide(found: &Findings) -> Row {
    if let Some(fault) = found.fault {
        return Row::Faulty(fault);
    }
    if found.end < found.durable_upto && !is_planted(Bug::DamageCutOff) {
        return Row::DamageBelowCommitted;
    }
    if found.end < found.checkpoint_end {
        return Row::EndsBeforeCheckpoint;
    }
    if found.stray.is_some() && !is_planted(Bug::DamageCutOff) {
        return Row::DamageBeyondWindow;
    }
    match found.leftover {
        Some(Leftover::Bytes(from)) => Row::TornTail { from },
        Some(Leftover::Stale) => Row::StaleBytes,
        None => Row::CleanEnd,
    }
}

/// What was found of checkpoints, before the segments are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CheckpointFindings {
    /// How many there are.
    pub there: usize,
    /// How many newer ones are damaged than the newest that is whole; `None` if
    /// none is.
    pub whole: Option<usize>,
    /// Whether the journal still begins with its segment 1.
    pub complete: bool,
    /// Whether the arrangement has begun with checkpoints.
    pub founded: bool,
}

/// The rows of the checkpoints' table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointRow {
    /// The newest is whole: from it.
    Newest,
    /// Newer ones are damaged: from an older one, and tell.
    Older,
    /// There is none yet: from the journal's first batch.
    NoneYet,
    /// None is whole, but the journal is: from its first batch, and tell.
    Beginning,
    /// None is whole, and the journal does not go back to its beginning: refuse.
    NoneWhole,
    /// There is none, and there must be one: refuse.
    Gone,
}

/// Decides where a replay begins.
pub fn decide_checkpoint(found: &CheckpointFindings) -> CheckpointRow {
    match (found.there, found.whole) {
        (0, _) if found.founded => CheckpointRow::Gone,
        (0, _) => CheckpointRow::NoneYet,
        (_, Some(0)) => CheckpointRow::Newest,
        (_, Some(_)) => CheckpointRow::Older,
        (_, None) if found.complete && !found.founded => CheckpointRow::Beginning,
        (_, None) => CheckpointRow::NoneWhole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `docs/JOURNAL.md`, each row as its own condition.
    fn matching_rows(f: &Findings) -> Vec<&'static str> {
        let sound = f.fault.is_none();
        let whole = f.end >= f.durable_upto;
        let reaches = f.end >= f.checkpoint_end;
        let explained = f.stray.is_none() && reaches;
        let rows = [
            ("faulty segment", !sound),
            ("damage below committed", sound && !whole),
            ("ends before checkpoint", sound && whole && !reaches),
            ("damage beyond window", sound && whole && reaches && f.stray.is_some()),
            (
                "torn tail",
                sound && whole && explained && matches!(f.leftover, Some(Leftover::Bytes(_))),
            ),
            ("stale bytes", sound && whole && explained && f.leftover == Some(Leftover::Stale)),
            ("clean end", sound && whole && explained && f.leftover.is_none()),
        ];
        rows.iter().filter(|(_, matches)| *matches).map(|(name, _)| *name).collect()
    }

    fn name(row: Row) -> &'static str {
        match row {
            Row::Faulty(_) => "faulty segment",
            Row::DamageBelowCommitted => "damage below committed",
            Row::EndsBeforeCheckpoint => "ends before checkpoint",
            Row::DamageBeyondWindow => "damage beyond window",
            Row::TornTail { .. } => "torn tail",
            Row::StaleBytes => "stale bytes",
            Row::CleanEnd => "clean end",
        }
    }

    #[test]
    fn every_input_matches_exactly_one_row() {
        let faults = [
            None,
            Some(SegmentFault::Missing),
            Some(SegmentFault::NotASegment),
            Some(SegmentFault::OtherVersion(9)),
            Some(SegmentFault::HeaderDamaged),
            Some(SegmentFault::OtherCell(9)),
            Some(SegmentFault::OtherShard(9)),
            Some(SegmentFault::OtherShards(9)),
            Some(SegmentFault::Length { expected: 2, found: 1 }),
        ];
        let mut inputs = 0;
        for fault in faults {
            for (end, durable_upto) in [(0, 0), (10, 9), (10, 10), (10, 11)] {
                let (end, durable_upto) = (Position(end), Position(durable_upto));
                for (checkpoint_end, stray, leftover) in others() {
                    let found =
                        Findings { fault, end, durable_upto, checkpoint_end, stray, leftover };
                    assert_eq!(matching_rows(&found), [name(decide(&found))], "{found:?}");
                    inputs += 1;
                }
            }
        }
        println!("{inputs} inputs, each in exactly one row");
    }

    type Others = (Position, Option<Stray>, Option<Leftover>);

    fn others() -> Vec<Others> {
        let mut others = Vec::new();
        for checkpoint_end in [0, 9, 10, 11] {
            for stray in [None, Some(Stray { position: Position(30) })] {
                for leftover in [None, Some(Leftover::Stale), Some(Leftover::Bytes(Position(20)))] {
                    others.push((Position(checkpoint_end), stray, leftover));
                }
            }
        }
        others
    }

    #[test]
    fn every_finding_of_checkpoints_matches_exactly_one_row() {
        use CheckpointRow::{Beginning, Gone, Newest, NoneWhole, NoneYet, Older};
        let mut inputs = 0;
        for there in 0..=3 {
            for whole in (0..there).map(Some).chain([None]) {
                for (complete, founded) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    let found = CheckpointFindings { there, whole, complete, founded };
                    let some = there > 0;
                    let rows = [
                        (Newest, some && whole == Some(0)),
                        (Older, some && whole.is_some_and(|damaged| damaged > 0)),
                        (NoneYet, !some && !founded),
                        (Gone, !some && founded),
                        (Beginning, some && whole.is_none() && complete && !founded),
                        (NoneWhole, some && whole.is_none() && (!complete || founded)),
                    ];
                    let matching: Vec<_> = rows.iter().filter(|(_, m)| *m).collect();
                    assert_eq!(matching.len(), 1, "{found:?}");
                    assert_eq!(matching[0].0, decide_checkpoint(&found), "{found:?}");
                    inputs += 1;
                }
            }
        }
        println!("{inputs} inputs, each in exactly one row");
    }
}
