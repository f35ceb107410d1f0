//! Reading the journals into the books, and finding the records of whatever is
//! wrong.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::against::Against;
use super::books::Books;
use super::broken::Broken;
use super::compare::place;
use super::opening::Opening;
use super::{AuditError, Difference, Report, ShardReport};
use crate::engine::Record;
use crate::follow::ledger::Audited;
use crate::follow::movement::MovementId;
use crate::journal::{Position, RecoveryError, TailError, WholeJournal};
use crate::table::TOUCHED;
use crate::units::{EnvelopeId, UserId};

/// How often everything is begun again whose files a server freed meanwhile.
const TRIES: u32 = 8;

/// The first pause before it is; each is twice the one before. A server frees many
/// segments one by one, and a failing look is far quicker than a freeing.
const FIRST_PAUSE_MS: u64 = 20;

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

/// Audits the data directory and, where one is given, the ledger; says what it
/// comes to, or the first thing that is wrong.
pub fn audit(
    data: &Path,
    mut ledger: Option<&mut dyn Audited>,
    settings: Settings,
    tell: &mut dyn FnMut(Progress),
) -> Result<Report, AuditError> {
    let mut tried = 1;
    loop {
        let ledger = match &mut ledger {
            Some(ledger) => Some::<&mut dyn Audited>(&mut **ledger),
            None => None,
        };
        match at_a_moment(data, ledger, settings, tell) {
            Err(error) if settings.online && was_freed(&error) => {
                if tried == TRIES {
                    return Err(AuditError::Freed { tries: TRIES, reason: error.to_string() });
                }
                std::thread::sleep(Duration::from_millis(FIRST_PAUSE_MS << (tried - 1)));
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

/// The ledger first, held still: whatever it has applied is in the journals that
/// are read after that.
fn at_a_moment(
    data: &Path,
    ledger: Option<&mut dyn Audited>,
    settings: Settings,
    tell: &mut dyn FnMut(Progress),
) -> Result<Report, AuditError> {
    let Some(ledger) = ledger else { return once(data, None, settings, tell) };
    ledger.hold_still()?;
    let audited = once(data, Some(&mut *ledger), settings, tell);
    let let_go = ledger.let_go();
    let report = audited?;
    let_go?;
    Ok(report)
}

fn once(
    data: &Path,
    mut ledger: Option<&mut dyn Audited>,
    settings: Settings,
    tell: &mut dyn FnMut(Progress),
) -> Result<Report, AuditError> {
    let mut journals = WholeJournal::all(data)?;
    let mut against = match &mut ledger {
        Some(ledger) => Some(Against::begin(&mut **ledger, &journals)?.map_err(bare)?),
        None => None,
    };
    let mut books = Books::new(settings.draws, settings.utc_offset_min);
    let mut report = Report::default();
    for (shard, journal) in journals.iter_mut().enumerate() {
        let read = enter(journal, shard, &mut books, against.as_mut(), settings, tell)?;
        report.shards.push(read);
    }
    if let (Some(against), Some(ledger)) = (&mut against, ledger) {
        if let Some(shard) = against.differs()
            && let Some(journal) = journals.get_mut(shard)
        {
            return Err(booked_otherwise(journal, shard, against, ledger, settings.online));
        }
        against.finish(ledger, &books)?.map_err(bare)?;
        report.ledger = Some(against.compared());
    }
    report.balance = books.balance();
    report.envelopes = books.envelopes();
    report.records = books.records();
    report.days = books.days();
    // It cannot happen where every envelope is even; so it would be a fault of the books.
    let uneven = || bare(format!("the sums of all envelopes are not even: {:?}", report.balance));
    if report.balance.is_even() { Ok(report) } else { Err(uneven()) }
}

/// A difference that no record of the journal shows.
fn bare(words: String) -> AuditError {
    AuditError::Different(Box::new(Difference { words, records: Vec::new(), left_out: 0 }))
}

/// Reads one shard's journal into the books, and compares it with the ledger.
fn enter(
    journal: &mut WholeJournal,
    shard: usize,
    books: &mut Books,
    mut against: Option<&mut Against>,
    settings: Settings,
    tell: &mut dyn FnMut(Progress),
) -> Result<ShardReport, AuditError> {
    let opening = Opening::read(journal, books)?;
    let identity = journal.identity();
    let (shard_number, shards) = (identity.shard, identity.shards);
    let before = books.records();
    let mut enter = |books: &mut Books, id: MovementId, record: &Record| {
        let entered = enter_one(books, &opening, id, record).map_err(|broken| broken.to_string());
        let seen = against.as_mut().map_or(Ok(()), |against| against.see(shard, id, record));
        if books.records().is_multiple_of(PROGRESS_RECORDS) {
            let (records, bytes) = (books.records(), id.batch);
            tell(Progress { records, shard: shard_number, shards, bytes });
        }
        entered.and(seen).map_err(|words| Box::new((id, *record, words)))
    };
    let mut group = Vec::with_capacity(TOUCHED);
    let mut entered = Ok(());
    let upto = read(journal, settings.online, &mut |id, record| {
        if entered.is_err() {
            return;
        }
        group.push((id, *record));
        if group.len() == TOUCHED {
            entered = enter_group(books, &mut group, &mut enter);
        }
    })?;
    let entered = entered.and_then(|()| enter_group(books, &mut group, &mut enter));
    if let Err(wrong) = entered {
        let (id, record, words) = *wrong;
        let words = format!("envelope {}: {words}", record.envelope());
        return Err(explain(journal, settings.online, &words, id, &Subject::of(&record)));
    }
    against.map_or(Ok(()), |against| against.reaches(shard, upto.0)).map_err(bare)?;
    let (from, checkpoint) = (journal.begin().position, journal.checkpoint());
    Ok(ShardReport { identity, from, checkpoint, upto, records: books.records() - before })
}

/// Enters a record, unless the opening has it already.
fn enter_one(
    books: &mut Books,
    opening: &Opening,
    id: MovementId,
    record: &Record,
) -> Result<(), Broken> {
    books.count(record);
    match record {
        _ if !opening.has(record, id.batch) => books.enter(record),
        Record::Held(held) => {
            books.recall(held);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Enters records that were read, up to the first that is wrong.
fn enter_group<E>(
    books: &mut Books,
    group: &mut Vec<(MovementId, Record)>,
    enter: &mut impl FnMut(&mut Books, MovementId, &Record) -> Result<(), E>,
) -> Result<(), E> {
    books.touch(group);
    group.drain(..).try_for_each(|(id, record)| enter(books, id, &record))
}

/// The sums of a shard differ: the first record that is booked otherwise.
fn booked_otherwise(
    journal: &mut WholeJournal,
    shard: usize,
    against: &Against,
    ledger: &mut dyn Audited,
    online: bool,
) -> AuditError {
    let found =
        against.first_difference(shard, ledger, |show| read(journal, online, show).map(|_| ()));
    match found {
        Ok(Some((id, envelope, words))) => {
            explain(journal, online, &words, id, &Subject { envelope, user: None, order: None })
        }
        Ok(None) => {
            bare(format!("the ledger and the journal of shard {shard} differ in their sums"))
        }
        Err(error) => error,
    }
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

/// What the records that show something wrong have in common.
struct Subject {
    envelope: EnvelopeId,
    /// All of this user's are shown.
    user: Option<UserId>,
    order: Option<(UserId, u64)>,
}

impl Subject {
    fn of(record: &Record) -> Self {
        Self { envelope: record.envelope(), user: user_of(record), order: order_of(record) }
    }

    fn has(&self, record: &Record) -> bool {
        let same_order = self.order.is_some() && order_of(record) == self.order;
        record.envelope() == self.envelope || same_order
    }
}

fn order_of(record: &Record) -> Option<(UserId, u64)> {
    match record {
        Record::Issued(issued) => Some((issued.sender, issued.order)),
        _ => None,
    }
}

fn user_of(record: &Record) -> Option<UserId> {
    match record {
        Record::Claimed(claimed) => Some(claimed.user),
        Record::Guessed(guessed) => Some(guessed.user),
        Record::Held(held) => Some(held.claimed.user),
        Record::Resolved(resolved) => Some(resolved.user),
        Record::Tagged(tagged) => Some(tagged.user),
        Record::Denied(denied) => Some(denied.user),
        _ => None,
    }
}

/// The same journal once more, for the records that show what is wrong, up to
/// the last one. What cannot be read again is said without them.
fn explain(
    journal: &mut WholeJournal,
    online: bool,
    words: &str,
    last: MovementId,
    subject: &Subject,
) -> AuditError {
    let mut found = Vec::new();
    let _ = read(journal, online, &mut |id, record| {
        if id <= last && subject.has(record) {
            found.push((id, *record));
        }
    });
    let count = found.len();
    let (mut at, mut left_out) = (0, 0);
    found.retain(|(_, record)| {
        at += 1;
        let user = user_of(record);
        let shown =
            at <= FIRST_SHOWN || at + LAST_SHOWN > count || user.is_none() || user == subject.user;
        left_out += u64::from(!shown);
        shown
    });
    let words = format!("{words}; {}", place(&last));
    AuditError::Different(Box::new(Difference { words, records: found, left_out }))
}
