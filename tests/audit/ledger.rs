//! Lies in the ledger, told by hand with SQL.

use hongbao::audit::{Settings, audit};
use hongbao::engine::Record;
use hongbao::follow::ledger::embedded::{Embedded, FILE, Reading};
use hongbao::follow::ledger::{Cursor, Entry, Ledger};
use hongbao::follow::movement::MovementId;
use hongbao::journal::WholeJournal;
use hongbao::units::{MoneySource, UserId};
use rusqlite::Connection;

use crate::rig::{Writer, claim, difference, order, paid};
use crate::{OFFLINE, ONLINE, with};

/// A directory with honest journals and the ledger that has followed them, but
/// for so many of the last records.
fn followed(lie: &[Record], not_applied: usize) -> Writer {
    let mut batches = vec![
        Record::Issued(order(8, MoneySource::Balance)),
        paid(8, MoneySource::Balance),
        claim(8, 31, 34, 0),
    ];
    batches.extend_from_slice(lie);
    let writer = with(&batches);
    let mut ledger = Embedded::open(&writer.data()).unwrap();
    ledger.deposit(UserId(7), 1000, 1, 0).unwrap();
    ledger.withdraw(UserId(7), 100, 2, 0).unwrap();
    let mut journal = WholeJournal::all(&writer.data()).unwrap().remove(0);
    let (mut entries, mut index) = (Vec::<Entry>::new(), 0);
    let end = journal
        .each_record(|batch, record| {
            let same = entries.last().is_some_and(|last| last.id.batch == batch.position.0);
            index = if same { index + 1 } else { 0 };
            let (cell, arrangement, shard) = (1, 1, 0);
            let id = MovementId { cell, arrangement, shard, batch: batch.position.0, index };
            entries.push(Entry { id, record: *record });
        })
        .unwrap();
    let applied = entries.len() - not_applied;
    let position = entries.get(applied).map_or(end.0, |next| next.id.batch);
    let cursor = Cursor { arrangement: 1, position, batch: 6, ..Cursor::default() };
    ledger.apply(&entries[..applied], &cursor).unwrap();
    writer
}

fn audited(
    writer: &Writer,
    settings: Settings,
) -> Result<hongbao::audit::Report, hongbao::audit::AuditError> {
    let mut ledger = Reading::open(&writer.data()).unwrap().unwrap();
    audit(&writer.data(), Some(&mut ledger), settings, &mut |_| {})
}

#[test]
fn an_honest_ledger_passes_also_one_that_is_behind() {
    for (behind, bookings) in [(0, 8), (3, 7)] {
        let writer = followed(&[], behind);
        for settings in [OFFLINE, ONLINE] {
            let report = audited(&writer, settings).unwrap();
            let compared = report.ledger.unwrap();
            assert_eq!((compared.bookings, compared.passed_over), (bookings, 0));
            let upto = report.shards[0].upto.0;
            assert_eq!(compared.cursors[0] == upto, behind == 0);
        }
    }
}

/// Each with what must be said, and how many records show it at least.
const LIES: [(&str, &str, &str, usize); 15] = [
    (
        "a credit is missing",
        "DELETE FROM movements WHERE why = 4 AND user = 22",
        "not booked: Claim of 33 fen, user 22",
        2,
    ),
    (
        "a credit is missing, and its balance fits",
        "DELETE FROM movements WHERE why = 4 AND user = 22;
         INSERT INTO accounts VALUES (22, -33) ON CONFLICT DO UPDATE SET available = available - 33;
         UPDATE totals SET balance = balance + 33 WHERE account = 'escrow'",
        "not booked: Claim of 33 fen, user 22",
        2,
    ),
    (
        "a claim is credited twice, and its balance fits",
        "INSERT INTO movements SELECT number + 1000, user, why, amount, envelope, at, previous
           FROM movements WHERE why = 4 AND user = 22;
         UPDATE totals SET balance = balance - 33 WHERE account = 'outside'",
        "Claim of 33 fen, user 22",
        0,
    ),
    (
        "an amount was changed",
        "UPDATE movements SET amount = 35 WHERE why = 4 AND user = 31",
        "booked as Claim of 35 fen, user 31",
        3,
    ),
    (
        "somebody else was credited",
        "UPDATE movements SET user = 99 WHERE why = 4 AND user = 31",
        "booked as Claim of 34 fen, user 99",
        3,
    ),
    (
        "a refund went to somebody else",
        "UPDATE movements SET user = 99 WHERE why = 5",
        "booked as Refund of 66 fen, user 99",
        3,
    ),
    (
        "a balance was changed by hand",
        "INSERT INTO accounts VALUES (22, 5) ON CONFLICT DO UPDATE SET available = available + 5;
         UPDATE totals SET balance = balance - 5 WHERE account = 'outside'",
        "a user's balance and its movements",
        0,
    ),
    (
        "money was made",
        "UPDATE totals SET balance = balance + 5 WHERE account = 'outside'",
        "all accounts and zero",
        0,
    ),
    (
        "money was made in envelopes",
        "UPDATE totals SET balance = balance + 5 WHERE account = 'escrow';
         UPDATE totals SET balance = balance - 5 WHERE account = 'outside'",
        "fen in envelopes, and the journal",
        0,
    ),
    (
        "a deposit that nobody made",
        "INSERT INTO batches VALUES (1000, 0, 0, 77);
         INSERT INTO movements VALUES (1000, 22, 7, 50, 77, 1, 0);
         UPDATE totals SET balance = balance - 50 WHERE account = 'outside'",
        "an operator's transfers and their rows",
        0,
    ),
    (
        "a hold is gone",
        "DELETE FROM movements WHERE why = 1 AND envelope = (SELECT envelope FROM holds)",
        "holds what no order waits for",
        0,
    ),
    (
        "a hold of an order that was paid is gone",
        "DELETE FROM movements WHERE why = 1 AND number = (SELECT max(number) FROM movements
           WHERE why = 1)",
        "was paid from a hold that was never made",
        2,
    ),
    (
        "a hold went back while its order waits",
        "INSERT INTO movements SELECT number + 1000, user, 2, amount, envelope, at, 0
           FROM movements WHERE why = 1 AND envelope = (SELECT envelope FROM holds)",
        "holds what no order waits for",
        0,
    ),
    (
        "a hold did not go back",
        "DELETE FROM movements WHERE why = 2",
        "a hold was not given back",
        2,
    ),
    (
        "the ledger is ahead of its journal",
        "UPDATE cursors SET position = position + 4096000",
        "has applied shard 0 up to position",
        0,
    ),
];

#[test]
fn every_lie_in_the_ledger_is_named_with_its_records() {
    for (what, sql, words, records) in LIES {
        let writer = followed(&[], 0);
        Connection::open(writer.data().join(FILE)).unwrap().execute_batch(sql).unwrap();
        for settings in [OFFLINE, ONLINE] {
            let found = difference(audited(&writer, settings));
            assert!(found.words.contains(words), "{what}: {}", found.words);
            assert!(found.records.len() >= records, "{what}: {found:?}");
        }
    }
}

#[test]
fn a_cursor_that_runs_ahead_of_what_is_booked_is_found() {
    let writer = followed(&[], 3);
    let sql = "UPDATE cursors SET position = position + 4096";
    Connection::open(writer.data().join(FILE)).unwrap().execute_batch(sql).unwrap();
    let found = difference(audited(&writer, OFFLINE));
    assert!(found.words.contains("paid from a hold that was never made"), "{found}");
}

#[test]
fn what_an_operator_had_passed_over_is_counted_and_not_missed() {
    let writer = with(&[claim(5, 22, 33, 1)]);
    let mut journal = WholeJournal::all(&writer.data()).unwrap().remove(0);
    let mut ledger = Embedded::open(&writer.data()).unwrap();
    let mut entries: Vec<Entry> = Vec::new();
    let end = journal
        .each_record(|batch, record| {
            let last = entries.last().filter(|last| last.id.batch == batch.position.0);
            let index = last.map_or(0, |last| last.id.index + 1);
            let (cell, arrangement, shard) = (1, 1, 0);
            let id = MovementId { cell, arrangement, shard, batch: batch.position.0, index };
            entries.push(Entry { id, record: *record });
        })
        .unwrap();
    ledger.skip(&entries.last().unwrap().id, "a test", 1).unwrap();
    let cursor = Cursor { arrangement: 1, position: end.0, batch: 6, ..Cursor::default() };
    ledger.apply(&entries, &cursor).unwrap();
    let report = audited(&writer, OFFLINE).unwrap();
    assert_eq!(report.ledger.unwrap().passed_over, 1);
}
