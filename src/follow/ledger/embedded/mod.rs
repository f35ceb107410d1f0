//! The embedded ledger: a file of `SQLite` in the data directory.
//!
//! A call of `apply` and its cursor are one transaction, so a record counts
//! exactly once, whenever the process ends. The tables are described in
//! `docs/LEDGER.md`. This room never decides what a record means; `book` does.

mod audited;
mod check;
mod fold;
mod glance;
mod history;
mod load;
mod rows;
mod store;
mod tail;

pub use audited::Reading;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use tail::Tail;

use super::book::{self, Needs, poison};
use super::lists::Difference;
use super::transfer::Transfer;
use super::{Balance, Cursor, Entry, Ledger, LedgerError, Verdict};
use crate::follow::movement::{MovementId, Why};
use crate::units::{Fen, UnixSeconds, UserId};

/// The file's name in the data directory.
pub const FILE: &str = "ledger.sqlite3";

const SCHEMA: &str = include_str!("schema.sql");
const VERSION: i64 = 1;

/// Pages of 8 KiB halve the tree's depth at little more write volume; the cache
/// holds the upper levels and the newest stretch; a checkpoint every 256 MiB of
/// log writes a page that many batches changed only once. Deposits are in no
/// journal, so a commit is synced.
const SETTINGS: &str = "
    PRAGMA page_size = 8192;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -262144;
    PRAGMA wal_autocheckpoint = 32768;
    PRAGMA temp_store = MEMORY;";

/// A ledger in a file.
pub struct Embedded {
    connection: Connection,
    /// What is known of the open stretch: of what is committed, or nothing.
    tail: Option<Tail>,
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl Embedded {
    /// Opens the ledger of a data directory, and makes it where there is none.
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        let path = directory.join(FILE);
        let mut connection = Connection::open(&path)
            .map_err(|error| LedgerError::Unreachable(format!("{}: {error}", path.display())))?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.execute_batch(SETTINGS)?;
        connection.set_prepared_statement_cache_capacity(64);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'";
        if transaction.query_row(found, [], |row| row.get::<_, i64>(0))? == 0 {
            transaction.execute_batch(SCHEMA)?;
        }
        let version = load::meta(&transaction, "version")?;
        if version != VERSION {
            return Err(LedgerError::Unreachable(format!(
                "{} has schema {version}, this server knows {VERSION}; use the server that made it",
                path.display()
            )));
        }
        transaction.commit()?;
        Ok(Self { connection, tail: None })
    }

    /// Whether the ledger's own sums hold; the first that does not.
    pub fn check(&mut self) -> Result<(), Difference> {
        check::check(&self.connection)
    }

    /// Asks about one moment.
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&Connection, &Tail) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let moment = self.connection.unchecked_transaction()?;
        let tail = Tail::current(self.tail.take(), &moment)?;
        let answer = question(&moment, &tail);
        self.tail = Some(tail);
        answer
    }

    fn transfer(&mut self, asked: &Transfer) -> Result<Balance, LedgerError> {
        let transaction = begin(&self.connection)?;
        let mut tail = Tail::current(self.tail.take(), &transaction)?;
        let balance = match happen(asked, &transaction, &mut tail) {
            Err(refused @ (LedgerError::Insufficient { .. } | LedgerError::Conflict(_))) => {
                self.tail = Some(tail);
                return Err(refused);
            }
            happened => happened?,
        };
        transaction.commit()?;
        self.tail = Some(tail);
        Ok(balance)
    }

    /// Folds what a person would otherwise not find in the tables.
    fn close(&mut self) -> Result<(), LedgerError> {
        let Some(tail) = self.tail.take().filter(|tail| !tail.users.is_empty()) else {
            return Ok(());
        };
        self.connection.busy_timeout(Duration::ZERO)?;
        let transaction = begin(&self.connection)?;
        let mut tail = Tail::current(Some(tail), &transaction)?;
        fold::fold(&transaction, &mut tail)?;
        Ok(transaction.commit()?)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = self.close(); // the next one reads the open stretch instead
    }
}

fn begin(connection: &Connection) -> Result<Transaction<'_>, LedgerError> {
    Ok(Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?)
}

/// Moves an operator's money; changes nothing where it is refused.
fn happen(asked: &Transfer, to: &Connection, tail: &mut Tail) -> Result<Balance, LedgerError> {
    asked.change()?;
    let balance = load::balance(to, tail, asked.user)?;
    if !asked.is_new(load::transfer(to, asked.reference)?, &balance)? {
        return Ok(balance);
    }
    let (number, totals) = (tail.next, asked.after(load::totals(to)?)?);
    let line = asked.line(number);
    store::lines(to, &[line], tail)?;
    store::totals(to, totals)?;
    store::next(to, number + 1)?;
    tail.next = number + 1;
    store::transfer(to, &line)?;
    load::balance(to, tail, asked.user)
}

impl Ledger for Embedded {
    fn cursors(&mut self) -> Result<Vec<Cursor>, LedgerError> {
        load::cursors(&self.connection)
    }

    fn apply(&mut self, entries: &[Entry], cursor: &Cursor) -> Result<Vec<Verdict>, LedgerError> {
        let transaction = begin(&self.connection)?;
        let stored = load::cursor(&transaction, cursor.arrangement, cursor.shard)?;
        if !book::in_order(entries, stored.as_ref(), cursor)? {
            let asked: HashSet<_> = entries.iter().map(|entry| entry.record.envelope()).collect();
            let mut verdicts = load::pending(&transaction)?;
            verdicts.retain(|verdict| asked.contains(&verdict.envelope));
            return Ok(verdicts);
        }
        one_cell(&transaction, entries)?;
        let skipped = load::skipped(&transaction, entries)?;
        let mut tail = Tail::current(self.tail.take(), &transaction)?;
        let mut book = load::book(&transaction, &mut tail, &Needs::of(entries))?;
        book.post(entries, &skipped)?;
        store::book(&transaction, &mut book, entries, &mut tail)?;
        if tail.is_full() {
            fold::fold(&transaction, &mut tail)?;
        }
        store::cursor(&transaction, cursor)?;
        transaction.commit()?;
        self.tail = Some(tail);
        Ok(book.verdicts)
    }

    fn skip(&mut self, id: &MovementId, reason: &str, at: UnixSeconds) -> Result<(), LedgerError> {
        let sql = "INSERT OR IGNORE INTO resolutions VALUES (?1, ?2, ?3, 'skip')";
        self.connection.execute(sql, params![id.to_string(), reason, at])?;
        Ok(())
    }

    fn pending(&mut self) -> Result<Vec<Verdict>, LedgerError> {
        load::pending(&self.connection)
    }

    fn balance(&mut self, user: UserId) -> Result<Balance, LedgerError> {
        self.ask(|file, tail| load::balance(file, tail, user))
    }

    fn deposit(
        &mut self,
        user: UserId,
        amount: Fen,
        reference: u64,
        at: UnixSeconds,
    ) -> Result<Balance, LedgerError> {
        self.transfer(&Transfer { why: Why::Deposit, user, amount, reference, at })
    }

    fn withdraw(
        &mut self,
        user: UserId,
        amount: Fen,
        reference: u64,
        at: UnixSeconds,
    ) -> Result<Balance, LedgerError> {
        self.transfer(&Transfer { why: Why::Withdraw, user, amount, reference, at })
    }
}

/// A file holds one cell, so names of rows need not repeat it.
fn one_cell(connection: &Connection, entries: &[Entry]) -> Result<(), LedgerError> {
    let mut cell = load::meta(connection, "cell")?;
    for entry in entries {
        let own = i64::from(entry.id.cell);
        if cell == -1 {
            let sql = "UPDATE meta SET value = ?1 WHERE name = 'cell'";
            connection.execute(sql, [own])?;
            cell = own;
        }
        if own != cell {
            return poison(entry.id, format!("this ledger is of cell {cell}"));
        }
    }
    Ok(())
}
