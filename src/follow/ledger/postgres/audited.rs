//! The database as an auditor reads it, in one transaction that sees one moment
//! and changes nothing: the server that books into it is not kept waiting, and
//! its lock is not asked for.

use tokio::runtime::Runtime;
use tokio_postgres::{Client, Row};

use super::history::line_of;
use super::rows::{decoded, narrow, unsigned};
use super::session::{self, Session};
use super::{check, load};
use crate::follow::ledger::lists::Difference;
use crate::follow::ledger::{Audited, Cursor, HeldFor, LedgerError, Line, Numbered};
use crate::follow::movement::MovementId;
use crate::units::{EnvelopeId, UserId};

const MOMENT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

const LINES: &str = "DECLARE lines NO SCROLL CURSOR FOR
    SELECT number, user_id, why, amount, envelope, at FROM movements";

/// Rows that are under way at a time, some megabytes; as many as `FETCH` asks for.
const ROWS: usize = 50_000;
const FETCH: &str = "FETCH 50000 FROM lines";

/// A ledger in a database, only to be read. As [`super::Postgres`], not from a
/// task of another runtime.
pub struct Reading {
    runtime: Runtime,
    session: Option<Session>,
}

impl Reading {
    /// Opens the ledger at `address`, postgres://USER@HOST:PORT/DATABASE, which
    /// must be there.
    pub fn open(address: &str) -> Result<Self, LedgerError> {
        let config = session::config(address)?;
        let runtime = session::runtime()?;
        let session = Some(runtime.block_on(Session::open_to_read(&config))?);
        Ok(Self { runtime, session })
    }

    /// A connection that broke is not made anew: the moment is gone with it.
    fn ask<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let gone = || LedgerError::Unreachable("PostgreSQL: the connection is closed".to_owned());
        let session = self.session.as_ref().ok_or_else(gone)?;
        self.runtime.block_on(work(session.client()))
    }

    fn rows<T>(
        &mut self,
        sql: &str,
        read: impl Fn(&Row) -> Result<T, LedgerError>,
    ) -> Result<Vec<T>, LedgerError> {
        let rows = self.ask(async |from| Ok(from.query_typed(sql, &[]).await?))?;
        rows.iter().map(read).collect()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.runtime.block_on(session.close());
        }
    }
}

impl Audited for Reading {
    fn hold_still(&mut self) -> Result<(), LedgerError> {
        self.ask(async |from| Ok(from.batch_execute(MOMENT).await?))?;
        self.escrow()?; // the moment is that of the first read
        Ok(())
    }

    fn let_go(&mut self) -> Result<(), LedgerError> {
        self.ask(async |from| Ok(from.batch_execute("COMMIT").await?))
    }

    fn applied(&mut self) -> Result<Vec<Cursor>, LedgerError> {
        self.ask(async |from| load::cursors(from).await)
    }

    fn numbered(&mut self) -> Result<Vec<Numbered>, LedgerError> {
        self.rows("SELECT first, arrangement, shard, position FROM batches ORDER BY first", |row| {
            let (first, position) = (unsigned(row, 0)?, unsigned(row, 3)?);
            let (arrangement, shard) = (narrow(row, 1)?, narrow(row, 2)?);
            Ok(Numbered { first, arrangement, shard, position })
        })
    }

    fn each_line(&mut self, show: &mut dyn FnMut(&Line)) -> Result<(), LedgerError> {
        self.ask(async |from| {
            from.batch_execute(LINES).await?;
            loop {
                let rows = from.query_typed(FETCH, &[]).await?;
                for row in &rows {
                    show(&line_of(row)?);
                }
                if rows.len() < ROWS {
                    return Ok(from.batch_execute("CLOSE lines").await?);
                }
            }
        })
    }

    fn held(&mut self) -> Result<Vec<HeldFor>, LedgerError> {
        self.rows("SELECT envelope, user_id, amount FROM holds WHERE covered <> 0", |row| {
            let (envelope, user) = (EnvelopeId(unsigned(row, 0)?), UserId(unsigned(row, 1)?));
            Ok(HeldFor { envelope, user, amount: unsigned(row, 2)? })
        })
    }

    fn passed_over(&mut self) -> Result<Vec<MovementId>, LedgerError> {
        self.rows("SELECT id FROM resolutions WHERE action = 'skip'", |row| {
            decoded(row.try_get::<_, &str>(0)?.parse().ok())
        })
    }

    fn escrow(&mut self) -> Result<i128, LedgerError> {
        let sql = "SELECT balance FROM totals WHERE account = 'escrow'";
        let row = self.ask(async |from| Ok(from.query_typed_one(sql, &[]).await?))?;
        Ok(row.try_get::<_, i64>(0)?.into())
    }

    fn check_sums(&mut self) -> Result<(), Difference> {
        self.ask(async |from| check::check(from).await)?.map_or(Ok(()), Err)
    }
}
