//! Reading the journals into the books, and finding the records of whatever is
//! wrong.

use std::io;
use std::path::Path;

use super::books::Books;
use super::broken::Broken;
use super::opening::Opening;
use super::{AuditError, Difference, Report, ShardReport};
use crate::engine::Record;
use crate::follow::movement::MovementId;
use crate::journal::{Position, RecoveryError, TailError, WholeJournal};
use crate::units::UserId;

/// How often everything is begun again whose files a server freed meanwhile.
const TRIES: u32 = 5;

/// Records between two words about the progress.
const PROGRESS_RECORDS: u64 = 1 << 16;

/// Records of a difference that are shown, before the last one and with it.
const FIRST_SHOWN: usize = 4;
const LAST_SHOWN: usize = 12;

/// How to audit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// A server runs on the directory: its journals are read as far as they are
    /// whole, and an end in mid-write is no damage.
    pub online: bool,
    /// Compute every amount again from its envelope's seed.
    pub draws: bool,
    /// Where a day of the totals begins: minutes east of universal time.
    pub utc_offset_min: i32,
}

/// How far an audit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records that were read.
    pub records: u64,
    /// The shard that is read.
    pub shard: u16,
    /// How many there are.
    pub shards: u16,
    /// Bytes of this shard's journal up to here.
    pub bytes: u64,
}

/// What is done with every record, and what is told of it.
pub(super) type Visit<'a> = dyn FnMut(MovementId, &Record) + 'a;

/// Audits the data directory and says what it comes to, or the first thing that
/// is wrong.
pub fn audit(
    data: &Path,
    settings: Settings,
    tell: &mut dyn FnMut(Progress),
) -> Result<Report, AuditError> {
    let mut tried = 1;
    loop {
        match once(data, settings, tell) {
            Err(error) if settings.online && was_freed(&error) => {
                if tried == TRIES {
                    return Err(AuditError::Freed { tries: TRIES, reason: error.to_string() });
                }
                tried += 1;
            }
            other => return other,
        }
    }
}

/// Whether a file went away between its listing and its reading, as a running
/// server's do.
fn was_freed(error: &AuditError) -> bool {
    let gone = |error: &RecoveryError| match error {
        RecoveryError::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        RecoveryError::MissingSegment { .. } | RecoveryError::CheckpointChanged { .. } => true,
        _ => false,
    };
    match error {
        AuditError::Journal(error) | AuditError::Tail(TailError::Unreadable(error)) => gone(error),
        AuditError::Tail(TailError::Shortened { .. }) => true,
        _ => false,
    }
}

fn once(
    data: &Path,
    settings: Settings,
    tell: &mut dyn FnMut(Progress),
) -> Result<Report, AuditError> {
    let mut books = Books::new(settings.draws, settings.utc_offset_min);
    let mut report = Report::default();
    for mut journal in WholeJournal::all(data)? {
        let shard = enter(&mut journal, &mut books, settings, tell)?;
        report.shards.push(shard);
    }
    report.balance = books.balance();
    report.envelopes = books.envelopes();
    report.records = books.records();
    report.days = books.days();
    if report.balance.is_even() { Ok(report) } else { Err(uneven(&report)) }
}

/// It cannot happen where every envelope is even; so it is a fault of the books.
fn uneven(report: &Report) -> AuditError {
    let words = format!("the sums of all envelopes are not even: {:?}", report.balance);
    AuditError::Different(Box::new(Difference { words, records: Vec::new(), left_out: 0 }))
}

/// Reads one shard's journal into the books.
fn enter(
    journal: &mut WholeJournal,
    books: &mut Books,
    settings: Settings,
    tell: &mut dyn FnMut(Progress),
) -> Result<ShardReport, AuditError> {
    let opening = Opening::read(journal, books)?;
    let identity = journal.identity();
    let mut progress =
        Progress { shard: identity.shard, shards: identity.shards, ..Progress::default() };
    let before = books.records();
    let mut wrong: Option<(MovementId, Record, Broken)> = None;
    let upto = read(journal, settings.online, &mut |id, record| {
        if wrong.is_some() {
            return;
        }
        books.count(record);
        if !opening.has(record.envelope(), id.batch)
            && let Err(broken) = books.enter(record)
        {
            wrong = Some((id, *record, broken));
        }
        if books.records().is_multiple_of(PROGRESS_RECORDS) {
            (progress.records, progress.bytes) = (books.records(), id.batch);
            tell(progress);
        }
    })?;
    if let Some((id, record, broken)) = wrong {
        let words = format!("envelope {}: {broken}", record.envelope());
        return Err(explain(journal, settings.online, words, id, record));
    }
    let (from, checkpoint) = (journal.begin().position, journal.checkpoint());
    Ok(ShardReport { identity, from, checkpoint, upto, records: books.records() - before })
}

/// Shows every record of a journal, in order; where it ends.
pub(super) fn read(
    journal: &mut WholeJournal,
    online: bool,
    visit: &mut Visit<'_>,
) -> Result<Position, AuditError> {
    let (identity, arrangement) = (journal.identity(), journal.arrangement());
    let (cell, shard) = (identity.cell, identity.shard);
    let id =
        |batch: Position, index| MovementId { cell, arrangement, shard, batch: batch.0, index };
    if !online {
        let mut next = (Position(0), 0);
        return Ok(journal.each_record(|batch, record| {
            if batch.position != next.0 {
                next = (batch.position, 0);
            }
            visit(id(next.0, next.1), record);
            next.1 += 1;
        })?);
    }
    let mut tail = journal.tail();
    tail.read_whole(&mut |batch, index, record| visit(id(batch, index), &record))?;
    Ok(tail.end().position)
}

/// The same journal once more, for the records that show what is wrong.
pub(super) fn explain(
    journal: &mut WholeJournal,
    online: bool,
    words: String,
    last: MovementId,
    wrong: Record,
) -> AuditError {
    let mut found = Vec::new();
    let reread = read(journal, online, &mut |id, record| {
        if id <= last && belongs(record, &wrong) {
            found.push((id, *record));
        }
    });
    if reread.is_err() {
        found = vec![(last, wrong)]; // it is said with what is known
    }
    let mut left_out = 0;
    let count = found.len();
    let mut at = 0;
    found.retain(|(_, record)| {
        at += 1;
        let shown = at <= FIRST_SHOWN || at + LAST_SHOWN > count || same_user(record, &wrong);
        left_out += u64::from(!shown);
        shown
    });
    AuditError::Different(Box::new(Difference { words, records: found, left_out }))
}

/// Whether a record is about the envelope, or the order, of the one that is wrong.
fn belongs(record: &Record, wrong: &Record) -> bool {
    let order = |record: &Record| match record {
        Record::Issued(issued) => Some((issued.sender, issued.order)),
        _ => None,
    };
    let same_order = order(wrong).is_some() && order(record) == order(wrong);
    record.envelope() == wrong.envelope() || same_order
}

fn same_user(record: &Record, wrong: &Record) -> bool {
    let user = |record: &Record| -> Option<UserId> {
        match record {
            Record::Claimed(claimed) => Some(claimed.user),
            _ => None,
        }
    };
    user(record).is_none() || user(record) == user(wrong)
}
