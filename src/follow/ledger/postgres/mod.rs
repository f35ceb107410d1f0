//! The ledger in a `PostgreSQL`, for those who keep their accounts there.
//!
//! A call of `apply` and its cursor are one transaction, so a record counts
//! exactly once, whatever breaks. A connection that broke is made anew by the
//! next call. The tables are described in `docs/LEDGER.md`. This room never
//! decides what a record means; `book` does.

mod audited;
mod check;
mod history;
mod load;
mod rows;
mod session;
mod store;

pub use audited::Reading;

use std::collections::HashSet;

use tokio::runtime::Runtime;
use tokio_postgres::{Client, Config, Transaction};

use self::load::Head;
use self::rows::{number, words};
use self::session::Session;
use super::book::{self, Needs, poison};
use super::lists::Difference;
use super::transfer::Transfer;
use super::{Balance, Cursor, Entry, Ledger, LedgerError, Verdict};
use crate::follow::movement::{MovementId, Why};
use crate::units::{Fen, UnixSeconds, UserId};

/// A ledger in a database, which is for this server alone. Its calls block; the
/// runtime that moves the bytes meanwhile is its own, so they must not be made
/// from a task of another.
pub struct Postgres {
    runtime: Runtime,
    config: Config,
    session: Option<Session>,
}

impl Postgres {
    /// Opens the ledger at `address`, postgres://USER@HOST:PORT/DATABASE, and
    /// makes its tables where there are none.
    pub fn open(address: &str) -> Result<Self, LedgerError> {
        let config = session::config(address)?;
        let runtime = session::runtime()?;
        let session = Some(runtime.block_on(Session::open(&config))?);
        Ok(Self { runtime, config, session })
    }

    /// Whether the ledger's own sums hold; the first that does not.
    pub fn check(&mut self) -> Result<(), Difference> {
        let checked = self
            .connected(async |session| session.still(async |from| check::check(from).await).await);
        checked?.map_or(Ok(()), Err)
    }

    fn read<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.connected(async |session| work(session.client()).await)
    }

    fn write<T>(
        &mut self,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.connected(async |session| session.write(work).await)
    }

    fn connected<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let Self { runtime, config, session } = self;
        runtime.block_on(async {
            let mut open = match session.take() {
                Some(open) if !open.is_over() => open,
                _ => Session::open(config).await?,
            };
            let done = work(&mut open).await;
            *session = Some(open);
            done
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.runtime.block_on(session.close());
        }
    }
}

impl Ledger for Postgres {
    fn cursors(&mut self) -> Result<Vec<Cursor>, LedgerError> {
        self.read(async |from| load::cursors(from).await)
    }

    fn apply(&mut self, entries: &[Entry], cursor: &Cursor) -> Result<Vec<Verdict>, LedgerError> {
        self.write(async |to| apply(to, entries, cursor).await)
    }

    fn skip(&mut self, id: &MovementId, reason: &str, at: UnixSeconds) -> Result<(), LedgerError> {
        let (id, at) = (id.to_string(), i64::from(at));
        self.write(async |to| {
            let sql = "INSERT INTO resolutions VALUES ($1, $2, $3, 'skip') ON CONFLICT DO NOTHING";
            let id = id.as_str();
            to.execute_typed(sql, &[words(&id), words(&reason), number(&at)]).await?;
            Ok(())
        })
    }

    fn pending(&mut self) -> Result<Vec<Verdict>, LedgerError> {
        self.read(async |from| load::pending(from).await)
    }

    fn balance(&mut self, user: UserId) -> Result<Balance, LedgerError> {
        self.read(async |from| load::balance(from, user).await)
    }

    fn deposit(
        &mut self,
        user: UserId,
        amount: Fen,
        reference: u64,
        at: UnixSeconds,
    ) -> Result<Balance, LedgerError> {
        let asked = Transfer { why: Why::Deposit, user, amount, reference, at };
        self.write(async |to| happen(&asked, to).await)
    }

    fn withdraw(
        &mut self,
        user: UserId,
        amount: Fen,
        reference: u64,
        at: UnixSeconds,
    ) -> Result<Balance, LedgerError> {
        let asked = Transfer { why: Why::Withdraw, user, amount, reference, at };
        self.write(async |to| happen(&asked, to).await)
    }
}

async fn apply(
    to: &Transaction<'_>,
    entries: &[Entry],
    cursor: &Cursor,
) -> Result<Vec<Verdict>, LedgerError> {
    let stored = load::cursor(to, cursor.arrangement, cursor.shard).await?;
    if !book::in_order(entries, stored.as_ref(), cursor)? {
        let asked: HashSet<_> = entries.iter().map(|entry| entry.record.envelope()).collect();
        let mut verdicts = load::pending(to).await?;
        verdicts.retain(|verdict| asked.contains(&verdict.envelope));
        return Ok(verdicts);
    }
    let head = load::head(to).await?;
    one_cell(to, &head, entries).await?;
    let skipped = load::skipped(to, entries).await?;
    let mut book = load::book(to, &head, &Needs::of(entries)).await?;
    book.post(entries, &skipped)?;
    let verdicts = std::mem::take(&mut book.verdicts);
    store::book(to, book).await?;
    store::cursor(to, cursor).await?;
    Ok(verdicts)
}

/// A database holds one cell, so names of rows need not repeat it.
async fn one_cell(to: &Transaction<'_>, head: &Head, entries: &[Entry]) -> Result<(), LedgerError> {
    let Some(first) = entries.first() else {
        return Ok(());
    };
    let cell = if head.cell == -1 { i64::from(first.id.cell) } else { head.cell };
    match entries.iter().find(|entry| i64::from(entry.id.cell) != cell) {
        Some(other) => poison(other.id, format!("this ledger is of cell {cell}")),
        None => store::cell(to, head, cell).await,
    }
}

/// Moves an operator's money; changes nothing where it is refused.
async fn happen(asked: &Transfer, to: &Transaction<'_>) -> Result<Balance, LedgerError> {
    let change = asked.change()?;
    let balance = load::balance(to, asked.user).await?;
    if !asked.is_new(load::transfer(to, asked.reference).await?, &balance)? {
        return Ok(balance);
    }
    let head = load::head(to).await?;
    let (totals, line) = (asked.after(head.totals)?, asked.line(head.next));
    store::change(to, asked.user, change).await?;
    store::lines(to, &[line]).await?;
    store::transfer(to, &line).await?;
    store::head(to, totals, head.next + 1).await?;
    load::balance(to, asked.user).await
}
