//! The file as an auditor reads it, in one read transaction: with a log that is
//! written ahead, readers and the follower do not wait for each other.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row};

use super::load::unsigned;
use super::{FILE, check, load};
use crate::follow::ledger::lists::Difference;
use crate::follow::ledger::movement_line::{Line, why_from_code};
use crate::follow::ledger::{Audited, Cursor, HeldFor, LedgerError, Numbered};
use crate::follow::movement::MovementId;
use crate::units::{EnvelopeId, UserId};

/// The ledger of a data directory, only to be read.
pub struct Reading {
    connection: Connection,
}

impl Reading {
    /// Opens it; `None` where the directory has no ledger.
    pub fn open(directory: &Path) -> Result<Option<Self>, LedgerError> {
        let path = directory.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)
            .map_err(|error| LedgerError::Unreachable(format!("{}: {error}", path.display())))?;
        connection.busy_timeout(Duration::from_secs(10))?;
        Ok(Some(Self { connection }))
    }

    fn rows<T>(
        &self,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LedgerError> {
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Audited for Reading {
    fn hold_still(&mut self) -> Result<(), LedgerError> {
        self.connection.execute_batch("BEGIN")?;
        self.escrow()?; // the moment is that of the first read
        Ok(())
    }

    fn let_go(&mut self) -> Result<(), LedgerError> {
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    fn applied(&mut self) -> Result<Vec<Cursor>, LedgerError> {
        load::cursors(&self.connection)
    }

    fn numbered(&mut self) -> Result<Vec<Numbered>, LedgerError> {
        let sql = "SELECT first, arrangement, shard, position FROM batches ORDER BY first";
        self.rows(sql, |row| {
            let (first, position) = (unsigned(row, 0)?, unsigned(row, 3)?);
            Ok(Numbered { first, arrangement: row.get(1)?, shard: row.get(2)?, position })
        })
    }

    fn each_line(&mut self, show: &mut dyn FnMut(&Line)) -> Result<(), LedgerError> {
        let sql = "SELECT user, number, why, amount, envelope, at FROM movements";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number = unsigned(row, 1)?;
            let why = why_from_code(row.get(2)?);
            let why = why.ok_or_else(|| unknown(&format!("reason of movement {number}")))?;
            show(&Line {
                user: UserId(unsigned(row, 0)?),
                number,
                why,
                amount: unsigned(row, 3)?,
                envelope: EnvelopeId(unsigned(row, 4)?),
                at: row.get(5)?,
            });
        }
        Ok(())
    }

    fn held(&mut self) -> Result<Vec<HeldFor>, LedgerError> {
        self.rows("SELECT envelope, user, amount FROM holds WHERE covered", |row| {
            let (envelope, user) = (EnvelopeId(unsigned(row, 0)?), UserId(unsigned(row, 1)?));
            Ok(HeldFor { envelope, user, amount: unsigned(row, 2)? })
        })
    }

    fn passed_over(&mut self) -> Result<Vec<MovementId>, LedgerError> {
        let names: Vec<String> =
            self.rows("SELECT id FROM resolutions WHERE action = 'skip'", |row| row.get(0))?;
        let id = |name: String| name.parse().map_err(|_| unknown(&format!("record {name}")));
        names.into_iter().map(id).collect()
    }

    fn escrow(&mut self) -> Result<i128, LedgerError> {
        let sql = "SELECT balance FROM totals WHERE account = 'escrow'";
        Ok(self.connection.query_row(sql, [], |row| row.get::<_, i64>(0))?.into())
    }

    fn check_sums(&mut self) -> Result<(), Difference> {
        check::check_now(&self.connection)
    }
}

fn unknown(what: &str) -> LedgerError {
    LedgerError::Unreachable(format!("{FILE}: this version does not know the {what}"))
}
