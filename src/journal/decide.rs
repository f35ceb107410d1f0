//! What recovery decides, as one pure function over what it found.
//!
//! Every input matches exactly one row; `docs/JOURNAL.md` has the same table
//! with the same names. Nothing here reads or writes anything.

use super::Position;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The first fault of a segment file.
    pub fault: Option<SegmentFault>,
    /// Where the prefix of valid, chained batches ends.
    pub end: Position,
    /// D: the greatest `durable_upto` in any valid batch header.
    pub durable_upto: Position,
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
    if found.end < found.durable_upto {
        return Row::DamageBelowCommitted;
    }
    if found.stray.is_some() {
        return Row::DamageBeyondWindow;
    }
    match found.leftover {
        Some(Leftover::Bytes(from)) => Row::TornTail { from },
        Some(Leftover::Stale) => Row::StaleBytes,
        None => Row::CleanEnd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `docs/JOURNAL.md`, each row as its own condition.
    fn matching_rows(f: &Findings) -> Vec<&'static str> {
        let sound = f.fault.is_none();
        let whole = f.end >= f.durable_upto;
        let explained = f.stray.is_none();
        let rows = [
            ("faulty segment", !sound),
            ("damage below committed", sound && !whole),
            ("damage beyond window", sound && whole && !explained),
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
        let leftovers = [None, Some(Leftover::Stale), Some(Leftover::Bytes(Position(20)))];
        let mut inputs = 0;
        for fault in faults {
            for (end, durable_upto) in [(0, 0), (10, 9), (10, 10), (10, 11)] {
                for stray in [None, Some(Stray { position: Position(30) })] {
                    for leftover in leftovers {
                        let (end, durable_upto) = (Position(end), Position(durable_upto));
                        let found = Findings { fault, end, durable_upto, stray, leftover };
                        assert_eq!(matching_rows(&found), [name(decide(&found))], "{found:?}");
                        inputs += 1;
                    }
                }
            }
        }
        println!("{inputs} inputs, each in exactly one row");
    }
}
