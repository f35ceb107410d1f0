//! Which checkpoint a replay begins with, and loading it.
//!
//! The newest that is whole to its last byte is taken. Nothing here writes.

use super::checkpoint::{
    CheckpointFault, CheckpointInfo, CheckpointNumber, CheckpointStart, Examined, LoadFailed,
    each_slice, examine, header_of,
};
use super::decide::{CheckpointFindings, CheckpointRow, decide_checkpoint};
use super::refusal::RecoveryError;
use super::replay::{Replica, Teller};
use super::scan::{self, Chain, From};
use super::storage::Source;
use super::{Identity, Position, widen};
use crate::limits::PAGE_BYTES;

/// Where a replay begins, and what was passed over on the way.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    examined: Option<(Examined, Position)>,
    /// The chain there.
    pub(super) from: From,
    /// Newer checkpoints that are damaged.
    pub(super) refused: Vec<CheckpointNumber>,
    /// A line for each of them.
    pub(super) warnings: Vec<String>,
}

/// A checkpoint file that is not whole.
struct Damaged {
    number: CheckpointNumber,
    fault: CheckpointFault,
    end: Position,
}

/// Examines checkpoints from the newest on until one is whole, and decides.
pub(super) fn checkpoint<S: Source>(
    source: &S,
    identity: Option<Identity>,
) -> Result<Chosen, RecoveryError> {
    // One that cannot be opened (no descriptors left, no right to) may be whole:
    // nothing is decided about it.
    let named = |number, e| RecoveryError::io(source.checkpoint_name(number), e);
    let io = |e| RecoveryError::io(source.place(), e);
    let numbers = source.checkpoints().map_err(io)?;
    let mut damaged = Vec::new();
    let mut whole = None;
    for number in numbers.iter().rev() {
        match examine_there(source, *number, identity).map_err(|e| named(*number, e))? {
            Ok(examined) => {
                whole = Some(examined);
                break;
            }
            Err((fault, end)) => damaged.push(Damaged { number: *number, fault, end }),
        }
    }
    let found = CheckpointFindings {
        there: numbers.len(),
        whole: whole.map(|_| damaged.len()),
        complete: source.sequences().map_err(io)?.first() == Some(&1),
        founded: source.founded(),
    };
    match decide_checkpoint(&found) {
        CheckpointRow::Gone => Err(RecoveryError::CheckpointGone { place: source.place() }),
        CheckpointRow::NoneWhole => Err(none_whole(source, damaged)),
        CheckpointRow::NoneYet => Ok(Chosen::default()),
        row @ (CheckpointRow::Newest | CheckpointRow::Older | CheckpointRow::Beginning) => {
            Ok(choice(source, row, whole, &numbers, &damaged))
        }
    }
}

/// Like [`examine_one`], but what is there and cannot be opened is an error of
/// its own. One that is gone since it was listed is as good as damaged.
fn examine_there<S: Source>(
    source: &S,
    number: CheckpointNumber,
    identity: Option<Identity>,
) -> std::io::Result<Result<Examined, (CheckpointFault, Position)>> {
    match source.checkpoint(number) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Err(_) => Ok(examine_one(source, number, identity)),
        Ok(file) => Ok(examine(&*file, number, identity)),
    }
}

pub(super) fn examine_one<S: Source>(
    source: &S,
    number: CheckpointNumber,
    identity: Option<Identity>,
) -> Result<Examined, (CheckpointFault, Position)> {
    let unreadable = |error: std::io::Error| {
        let reason = error.to_string();
        (CheckpointFault::Unreadable { offset: 0, reason }, Position(0))
    };
    let file = source.checkpoint(number).map_err(unreadable)?;
    examine(&*file, number, identity)
}

fn none_whole<S: Source>(source: &S, damaged: Vec<Damaged>) -> RecoveryError {
    let mut damaged = damaged.into_iter();
    let newest = damaged.next();
    let mut others: Vec<String> = damaged
        .map(|one| format!("{} ({})", source.checkpoint_name(one.number), one.fault))
        .collect();
    if !source.founded() {
        others.push(format!("every segment from {} on", source.name(1)));
    }
    let (file, fault) = newest.map_or_else(
        || (source.place(), CheckpointFault::NotACheckpoint),
        |one| (source.checkpoint_name(one.number), one.fault),
    );
    let others = if others.is_empty() { "a copy of it".to_owned() } else { others.join(", or ") };
    RecoveryError::NoWholeCheckpoint { file, fault, others }
}

fn choice<S: Source>(
    source: &S,
    row: CheckpointRow,
    whole: Option<Examined>,
    numbers: &[CheckpointNumber],
    damaged: &[Damaged],
) -> Chosen {
    let instead = match (row, &whole) {
        (CheckpointRow::Beginning, _) | (_, None) => "the journal from its beginning".to_owned(),
        (_, Some(older)) => source.checkpoint_name(older.header.number),
    };
    let line = |one: &Damaged| {
        let file = source.checkpoint_name(one.number);
        format!("{file}: {}; {instead} is used instead, check the disk", one.fault)
    };
    let ends = damaged.iter().map(|one| one.end).chain(whole.map(|one| one.footer.end));
    let checkpoint_end = ends.max().unwrap_or_default();
    let chain = whole.map(|one| one.header.start.chain).unwrap_or_default();
    let older = whole.and_then(|one| numbers.iter().rev().find(|n| **n < one.header.number));
    let keep_from = older.and_then(|older| begin_of(source, *older)).unwrap_or_default();
    Chosen {
        examined: whole.map(|one| (one, keep_from)),
        from: From { chain, checkpoint_end },
        warnings: damaged.iter().map(line).collect(),
        refused: damaged.iter().map(|one| one.number).collect(),
    }
}

/// Where a checkpoint begins, as its first page says.
fn begin_of<S: Source>(source: &S, number: CheckpointNumber) -> Option<Position> {
    let mut page = vec![0; PAGE_BYTES];
    source.checkpoint(number).ok()?.read_exact_at(&mut page, 0).ok()?;
    Some(header_of(&page, number).ok()?.0.start.position())
}

/// The oldest whole checkpoint, for a walk that is to see as much as it can:
/// the chain there, and its number.
pub(super) fn oldest<S: Source>(
    source: &S,
    chosen: &Chosen,
) -> Result<Option<(Chain, CheckpointNumber)>, RecoveryError> {
    let numbers = source.checkpoints().map_err(|e| RecoveryError::io(source.place(), e))?;
    let segments = scan::every_header(source)?;
    let first = segments.iter().find_map(|(_, header)| header.as_ref().ok());
    let there = |start: &CheckpointStart| {
        let needed = start.position().0.next_multiple_of(widen(PAGE_BYTES));
        first.is_none_or(|first| first.base <= needed)
    };
    let older = numbers.iter().find_map(|number| {
        let header = examine_one(source, *number, None).ok()?.header;
        there(&header.start).then_some(header)
    });
    let header = older.or(chosen.examined.map(|(examined, _)| examined.header));
    Ok(header.map(|header| (header.start.chain, header.number)))
}

impl Chosen {
    /// Whose the chosen checkpoint is.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.examined.map(|(examined, _)| examined.header.identity)
    }

    pub(super) fn info(&self) -> Option<CheckpointInfo> {
        self.examined.map(|(examined, keep_from)| examined.info(keep_from))
    }

    /// Feeds every slice; how many things the replica found in them.
    pub(super) fn load<S: Source, R: Replica>(
        &self,
        source: &S,
        replica: &mut R,
        teller: &mut Teller<'_>,
    ) -> Result<u64, RecoveryError> {
        let Some((examined, _)) = &self.examined else { return Ok(0) };
        let number = examined.header.number;
        let name = || source.checkpoint_name(number);
        let file = source.checkpoint(number).map_err(|e| RecoveryError::io(name(), e))?;
        let mut loaded = 0;
        let all = each_slice(&*file, examined, |slice, done| {
            loaded += replica.load(slice)?;
            teller.reached(done);
            Ok(())
        });
        match all {
            Ok(()) => Ok(loaded),
            Err(LoadFailed::Fault(fault)) => {
                Err(RecoveryError::CheckpointChanged { file: name(), fault })
            }
            Err(LoadFailed::Refused(slice, reason)) => {
                Err(RecoveryError::UnfitSlice { file: name(), slice, reason })
            }
        }
    }
}
