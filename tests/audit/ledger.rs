//! Lies in the ledger, told by hand with SQL.

use hongbao::audit::{AuditError, Report, Settings, audit};
use hongbao::engine::Record;
use hongbao::follow::ledger::embedded::{self, Embedded, FILE};
use hongbao::follow::ledger::postgres::{self, Postgres};
use hongbao::follow::ledger::{Audited, Cursor, Entry, Ledger};
use hongbao::follow::movement::MovementId;
use hongbao::journal::WholeJournal;
use hongbao::units::{MoneySource, UserId};
use rusqlite::Connection;

use crate::rig::{Writer, claim, difference, order, paid};
use crate::server;
use crate::{OFFLINE, ONLINE, with};

/// What keeps the ledger of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    Embedded,
    Postgres,
}

/// Those that this machine has.
fn keepers() -> Vec<Keeper> {
    let postgres = server::shared().map(|_| Keeper::Postgres);
    [Some(Keeper::Embedded), postgres].into_iter().flatten().collect()
}

impl Keeper {
    fn open(self, writer: &Writer) -> Box<dyn Ledger> {
        match self {
            Self::Embedded => Box::new(Embedded::open(&writer.data()).unwrap()),
            Self::Postgres => Box::new(Postgres::open(&address(writer)).unwrap()),
        }
    }

    fn reading(self, writer: &Writer) -> Box<dyn Audited> {
        match self {
            Self::Embedded => Box::new(embedded::Reading::open(&writer.data()).unwrap().unwrap()),
            Self::Postgres => Box::new(postgres::Reading::open(&address(writer)).unwrap()),
        }
    }

    /// What somebody does to the tables by hand.
    fn tell(self, writer: &Writer, sql: &str) {
        match self {
            Self::Embedded => {
                let file = Connection::open(writer.data().join(FILE)).unwrap();
                file.execute_batch(sql).unwrap();
            }
            Self::Postgres => {
                let sql = format!("SET search_path = hongbao; {sql}");
                server::shared().unwrap().ask(&database(writer), &sql);
            }
        }
    }
}

/// The database of a directory, by the name of what it lies in.
fn database(writer: &Writer) -> String {
    let data = writer.data();
    data.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}

fn address(writer: &Writer) -> String {
    server::shared().unwrap().address(writer.data().parent().unwrap())
}

/// A directory with honest journals and the ledger that has followed them, but
/// for so many of the last records.
fn followed(keeper: Keeper, lie: &[Record], not_applied: usize) -> Writer {
    let mut batches = vec![
        Record::Issued(order(8, MoneySource::Balance)),
        paid(8, MoneySource::Balance),
        claim(8, 31, 34, 0),
    ];
    batches.extend_from_slice(lie);
    let writer = with(&batches);
    let mut ledger = keeper.open(&writer);
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

fn audited(keeper: Keeper, writer: &Writer, settings: Settings) -> Result<Report, AuditError> {
    let mut ledger = keeper.reading(writer);
    audit(&writer.data(), Some(&mut *ledger), settings, &mut |_| {})
}

#[test]
fn an_honest_ledger_passes_also_one_that_is_behind() {
    for keeper in keepers() {
        for (behind, bookings) in [(0, 8), (3, 7)] {
            let writer = followed(keeper, &[], behind);
            for settings in [OFFLINE, ONLINE] {
                let report = audited(keeper, &writer, settings).unwrap();
                let compared = report.ledger.unwrap();
                assert_eq!((compared.bookings, compared.passed_over), (bookings, 0));
                let upto = report.shards[0].upto.0;
                assert_eq!(compared.cursors[0] == upto, behind == 0);
            }
        }
    }
}

/// What somebody did to the tables of each keeper, what must be said, and how
/// many records show it at least.
struct Lie {
    what: &'static str,
    embedded: &'static str,
    postgres: &'static str,
    words: &'static str,
    records: usize,
}

impl Lie {
    fn sql(&self, keeper: Keeper) -> &'static str {
        match keeper {
            Keeper::Embedded => self.embedded,
            Keeper::Postgres => self.postgres,
        }
    }
}

const LIES: [Lie; 15] = [
    Lie {
        what: "a credit is missing",
        embedded: "DELETE FROM movements WHERE why = 4 AND user = 22",
        postgres: "DELETE FROM movements WHERE why = 4 AND user_id = 22",
        words: "not booked: Claim of 33 fen, user 22",
        records: 2,
    },
    Lie {
        what: "a credit is missing, and its balance fits",
        embedded: "DELETE FROM movements WHERE why = 4 AND user = 22;
            INSERT INTO accounts VALUES (22, -33)
              ON CONFLICT DO UPDATE SET available = available - 33;
            UPDATE totals SET balance = balance + 33 WHERE account = 'escrow'",
        postgres: "DELETE FROM movements WHERE why = 4 AND user_id = 22;
            UPDATE accounts SET available = available - 33 WHERE user_id = 22;
            UPDATE totals SET balance = balance + 33 WHERE account = 'escrow'",
        words: "not booked: Claim of 33 fen, user 22",
        records: 2,
    },
    Lie {
        what: "a claim is credited twice, and its balance fits",
        embedded: "INSERT INTO movements
              SELECT number + 1000, user, why, amount, envelope, at, previous
              FROM movements WHERE why = 4 AND user = 22;
            UPDATE totals SET balance = balance - 33 WHERE account = 'outside'",
        postgres: "INSERT INTO movements SELECT user_id, number + 1000, why, amount, envelope, at
              FROM movements WHERE why = 4 AND user_id = 22;
            UPDATE accounts SET available = available + 33 WHERE user_id = 22;
            UPDATE totals SET balance = balance - 33 WHERE account = 'outside'",
        words: "Claim of 33 fen, user 22",
        records: 0,
    },
    Lie {
        what: "an amount was changed",
        embedded: "UPDATE movements SET amount = 35 WHERE why = 4 AND user = 31",
        postgres: "UPDATE movements SET amount = 35 WHERE why = 4 AND user_id = 31",
        words: "booked as Claim of 35 fen, user 31",
        records: 3,
    },
    Lie {
        what: "somebody else was credited",
        embedded: "UPDATE movements SET user = 99 WHERE why = 4 AND user = 31",
        postgres: "UPDATE movements SET user_id = 99 WHERE why = 4 AND user_id = 31",
        words: "booked as Claim of 34 fen, user 99",
        records: 3,
    },
    Lie {
        what: "a refund went to somebody else",
        embedded: "UPDATE movements SET user = 99 WHERE why = 5",
        postgres: "UPDATE movements SET user_id = 99 WHERE why = 5",
        words: "booked as Refund of 66 fen, user 99",
        records: 3,
    },
    Lie {
        what: "a balance was changed by hand",
        embedded: "INSERT INTO accounts VALUES (22, 5)
              ON CONFLICT DO UPDATE SET available = available + 5;
            UPDATE totals SET balance = balance - 5 WHERE account = 'outside'",
        postgres: "UPDATE accounts SET available = available + 5 WHERE user_id = 22;
            UPDATE totals SET balance = balance - 5 WHERE account = 'outside'",
        words: "a user's balance and its movements",
        records: 0,
    },
    Lie {
        what: "money was made",
        embedded: "UPDATE totals SET balance = balance + 5 WHERE account = 'outside'",
        postgres: "UPDATE totals SET balance = balance + 5 WHERE account = 'outside'",
        words: "all accounts and zero",
        records: 0,
    },
    Lie {
        what: "money was made in envelopes",
        embedded: "UPDATE totals SET balance = balance + 5 WHERE account = 'escrow';
            UPDATE totals SET balance = balance - 5 WHERE account = 'outside'",
        postgres: "UPDATE totals SET balance = balance + 5 WHERE account = 'escrow';
            UPDATE totals SET balance = balance - 5 WHERE account = 'outside'",
        words: "fen in envelopes, and the journal",
        records: 0,
    },
    Lie {
        what: "a deposit that nobody made",
        embedded: "INSERT INTO batches VALUES (1000, 0, 0, 77);
            INSERT INTO movements VALUES (1000, 22, 7, 50, 77, 1, 0);
            UPDATE totals SET balance = balance - 50 WHERE account = 'outside'",
        postgres: "INSERT INTO batches VALUES (1000, 0, 0, 77);
            INSERT INTO movements VALUES (22, 1000, 7, 50, 77, 1);
            UPDATE accounts SET available = available + 50 WHERE user_id = 22;
            UPDATE totals SET balance = balance - 50 WHERE account = 'outside'",
        words: "an operator's transfers and their rows",
        records: 0,
    },
    Lie {
        what: "a hold is gone",
        embedded: "DELETE FROM movements WHERE why = 1 AND envelope = (SELECT envelope FROM holds)",
        postgres: "DELETE FROM movements WHERE why = 1 AND envelope = (SELECT envelope FROM holds)",
        words: "holds what no order waits for",
        records: 0,
    },
    Lie {
        what: "a hold of an order that was paid is gone",
        embedded: "DELETE FROM movements WHERE why = 1
              AND number = (SELECT max(number) FROM movements
              WHERE why = 1)",
        postgres: "DELETE FROM movements WHERE why = 1
              AND number = (SELECT max(number) FROM movements
              WHERE why = 1)",
        words: "was paid from a hold that was never made",
        records: 2,
    },
    Lie {
        what: "a hold went back while its order waits",
        embedded: "INSERT INTO movements SELECT number + 1000, user, 2, amount, envelope, at, 0
              FROM movements WHERE why = 1 AND envelope = (SELECT envelope FROM holds)",
        postgres: "INSERT INTO movements SELECT user_id, number + 1000, 2, amount, envelope, at
              FROM movements WHERE why = 1 AND envelope = (SELECT envelope FROM holds)",
        words: "holds what no order waits for",
        records: 0,
    },
    Lie {
        what: "a hold did not go back",
        embedded: "DELETE FROM movements WHERE why = 2",
        postgres: "DELETE FROM movements WHERE why = 2",
        words: "a hold was not given back",
        records: 2,
    },
    Lie {
        what: "the ledger is ahead of its journal",
        embedded: "UPDATE cursors SET position = position + 4096000",
        postgres: "UPDATE cursors SET position = position + 4096000",
        words: "has applied shard 0 up to position",
        records: 0,
    },
];

#[test]
fn every_lie_in_the_ledger_is_named_with_its_records() {
    for keeper in keepers() {
        for lie in &LIES {
            let writer = followed(keeper, &[], 0);
            keeper.tell(&writer, lie.sql(keeper));
            for settings in [OFFLINE, ONLINE] {
                let found = difference(audited(keeper, &writer, settings));
                let what = format!("{keeper:?}, {}", lie.what);
                assert!(found.words.contains(lie.words), "{what}: {}", found.words);
                assert!(found.records.len() >= lie.records, "{what}: {found:?}");
            }
        }
    }
}

#[test]
fn a_cursor_that_runs_ahead_of_what_is_booked_is_found() {
    for keeper in keepers() {
        let writer = followed(keeper, &[], 3);
        keeper.tell(&writer, "UPDATE cursors SET position = position + 4096");
        let found = difference(audited(keeper, &writer, OFFLINE));
        assert!(found.words.contains("paid from a hold that was never made"), "{found}");
    }
}

#[test]
fn what_an_operator_had_passed_over_is_counted_and_not_missed() {
    for keeper in keepers() {
        passed_over(keeper);
    }
}

fn passed_over(keeper: Keeper) {
    let writer = with(&[claim(5, 22, 33, 1)]);
    let mut journal = WholeJournal::all(&writer.data()).unwrap().remove(0);
    let mut ledger = keeper.open(&writer);
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
    let report = audited(keeper, &writer, OFFLINE).unwrap();
    assert_eq!(report.ledger.unwrap().passed_over, 1);
}

#[test]
fn an_audit_sees_one_moment_of_a_ledger_that_is_booked_into() {
    for keeper in keepers() {
        let writer = followed(keeper, &[], 0);
        let mut books = keeper.open(&writer); // as a server has it
        let mut reading = keeper.reading(&writer);
        let lines = |reading: &mut dyn Audited| {
            let mut count = 0;
            reading.each_line(&mut |_| count += 1).unwrap();
            count
        };
        reading.hold_still().unwrap();
        let before = lines(&mut *reading);
        books.deposit(UserId(5), 10, 77, 0).unwrap();
        assert_eq!(lines(&mut *reading), before, "{keeper:?}");
        reading.check_sums().unwrap();
        reading.let_go().unwrap();
        reading.hold_still().unwrap();
        assert_eq!(lines(&mut *reading), before + 1, "{keeper:?}");
        reading.let_go().unwrap();
    }
}

#[test]
fn a_database_without_a_ledger_is_told_and_stays_as_it_is() {
    let Some(server) = server::shared() else { return };
    let writer = with(&[]);
    let refused = postgres::Reading::open(&address(&writer)).err().unwrap().to_string();
    assert!(refused.contains("no ledger is here"), "{refused}");
    let sql = "SELECT count(*) FROM pg_namespace WHERE nspname = 'hongbao'";
    assert_eq!(server.ask(&database(&writer), sql), "0");
}
