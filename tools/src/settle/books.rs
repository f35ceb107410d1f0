//! The receiver's books: double entry in a file of `SQLite`.
//!
//! A movement's id is the key of its row, so the second of two changes nothing;
//! the cursor moves in the same transaction as the balances.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hongbao::follow::ledger::Cursor;
use hongbao::follow::movement::{Account, Movement};
use hongbao::follow::settle::Moved;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

/// Numbers of 64 bits that may have the highest bit set are text here, because
/// `SQLite` has integers with a sign; amounts never have it.
const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS movement (
  cell INTEGER, arrangement INTEGER, shard INTEGER, batch INTEGER, place INTEGER,
  why TEXT NOT NULL, debit TEXT NOT NULL, credit TEXT NOT NULL,
  fen INTEGER NOT NULL, envelope TEXT NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (cell, arrangement, shard, batch, place)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, fen INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursor (
  shard INTEGER PRIMARY KEY, arrangement INTEGER NOT NULL, position INTEGER NOT NULL,
  batch INTEGER NOT NULL, checksum INTEGER NOT NULL, epoch INTEGER NOT NULL,
  time_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS cell (only_one INTEGER PRIMARY KEY CHECK (only_one = 0), cell INTEGER);
";

/// How long one shard's transaction waits for another's.
const BUSY: Duration = Duration::from_secs(30);

/// The books, as one thread has them open.
pub(super) struct Books {
    file: Connection,
}

/// What the books hold.
pub(super) struct Sums {
    pub(super) movements: u64,
    pub(super) accounts: u64,
    /// Over all accounts; anything but 0 is wrong.
    pub(super) sum: i64,
}

impl Books {
    /// Opens them, or begins them.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = Connection::open(path).with_context(|| format!("opening {}", path.display()))?;
        file.busy_timeout(BUSY)?;
        file.execute_batch(SCHEMA)?;
        Ok(Self { file })
    }

    /// Refuses a server of another cell than the books are of.
    pub(super) fn check_cell(&self, cell: u8) -> Result<()> {
        self.file.execute("INSERT OR IGNORE INTO cell VALUES (0, ?1)", [cell])?;
        let own: u8 = self.file.query_row("SELECT cell FROM cell", [], |row| row.get(0))?;
        if own != cell {
            bail!("these books are of cell {own}, the server is cell {cell}: use others");
        }
        Ok(())
    }

    /// Where this shard's stream goes on; `None` before its first border.
    pub(super) fn cursor(&self, shard: u16) -> Result<Option<Cursor>> {
        let sql = "SELECT arrangement, position, batch, checksum, epoch, time_ms FROM cursor \
                   WHERE shard = ?1";
        let found = self.file.query_row(sql, [shard], |row| {
            Ok(Cursor {
                arrangement: row.get(0)?,
                shard,
                position: number(row, 1)?,
                batch: number(row, 2)?,
                checksum: row.get(3)?,
                epoch: row.get(4)?,
                time_ms: number(row, 5)?,
            })
        });
        Ok(found.optional()?)
    }

    /// Books what is new of `moved` and moves the cursor, in one transaction;
    /// how many were new. Durable when it returns.
    pub(super) fn book(&mut self, moved: &[Moved], border: Option<&Cursor>) -> Result<u64> {
        let books = self.file.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut new = 0;
        {
            let mut insert = books.prepare_cached(
                "INSERT OR IGNORE INTO movement VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
            )?;
            let mut add = books.prepare_cached(
                "INSERT INTO account VALUES (?1, ?2) \
                 ON CONFLICT (name) DO UPDATE SET fen = fen + excluded.fen",
            )?;
            for Moved { id, movement } in moved {
                let Movement { why, from, to, amount, envelope, at } = movement;
                let (from, to, fen) = (name(*from), name(*to), i64::try_from(*amount)?);
                let inserted = insert.execute(params![
                    id.cell,
                    id.arrangement,
                    id.shard,
                    i64::try_from(id.batch)?,
                    id.index,
                    format!("{why:?}").to_lowercase(),
                    from,
                    to,
                    fen,
                    envelope.to_string(),
                    at
                ])?;
                if inserted == 1 {
                    add.execute(params![from, -fen])?;
                    add.execute(params![to, fen])?;
                    new += 1;
                }
            }
            if let Some(cursor) = border {
                keep(&books, cursor)?;
            }
        }
        books.commit()?;
        Ok(new)
    }

    /// Everything, added up.
    pub(super) fn sums(&self) -> Result<Sums> {
        let one = |sql: &str| self.file.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok(Sums {
            movements: u64::try_from(one("SELECT count(*) FROM movement")?)?,
            accounts: u64::try_from(one("SELECT count(*) FROM account")?)?,
            sum: one("SELECT coalesce(sum(fen), 0) FROM account")?,
        })
    }
}

/// A number that was written as one that is not negative.
fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let found: i64 = row.get(column)?;
    u64::try_from(found).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, found))
}

fn keep(books: &Connection, cursor: &Cursor) -> Result<()> {
    let Cursor { arrangement, shard, position, batch, checksum, epoch, time_ms } = cursor;
    let sql = "INSERT OR REPLACE INTO cursor VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let [position, batch] = [i64::try_from(*position)?, i64::try_from(*batch)?];
    let time_ms = i64::try_from(*time_ms)?;
    let values = params![shard, arrangement, position, batch, checksum, epoch, time_ms];
    books.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn name(account: Account) -> String {
    match account {
        Account::Outside => "outside".to_owned(),
        Account::User(user) => format!("user {user}"),
        Account::Held => "held".to_owned(),
        Account::Escrow => "escrow".to_owned(),
    }
}
