//! What the ledger holds, from rows to values. This room never writes.

use std::collections::{HashMap, HashSet};

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use super::name;
use crate::follow::ledger::book::{Book, Hold, Kept, Needs, Totals};
use crate::follow::ledger::lists::Envelope;
use crate::follow::ledger::{Balance, Cursor, Entry, LedgerError, Verdict};
use crate::follow::movement::MovementId;
use crate::units::{EnvelopeId, EnvelopeState, MoneySource, Split, UserId};

type Loaded<T> = Result<T, LedgerError>;

/// A 64-bit id or amount from its signed column.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

/// The value that `code` stands for in a column.
pub(super) fn decoded<T>(column: usize, value: Option<T>) -> rusqlite::Result<T> {
    let unknown = || "an unknown code; was the file changed by hand?".into();
    value.ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, unknown()))
}

pub(super) fn meta(connection: &Connection, name: &str) -> Loaded<i64> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0))?)
}

pub(super) fn next(connection: &Connection) -> Loaded<u64> {
    Ok(meta(connection, "next")?.cast_unsigned())
}

pub(super) fn totals(connection: &Connection) -> Loaded<Totals> {
    let mut statement =
        connection.prepare_cached("SELECT balance FROM totals WHERE account = ?1")?;
    let mut of = |name: &str| statement.query_row([name], |row| row.get(0));
    Ok(Totals { outside: of("outside")?, held: of("held")?, escrow: of("escrow")? })
}

pub(super) fn balance(connection: &Connection, user: UserId) -> Loaded<Balance> {
    let sql = "SELECT available, held FROM accounts WHERE user = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([user.0.cast_signed()], |row| {
        Ok(Balance { available: unsigned(row, 0)?, held: unsigned(row, 1)? })
    });
    Ok(found.optional()?.unwrap_or_default())
}

pub(super) fn cursors(connection: &Connection) -> Loaded<Vec<Cursor>> {
    let sql = "SELECT * FROM cursors ORDER BY arrangement, shard";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], cursor_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn cursor(
    connection: &Connection,
    arrangement: u32,
    shard: u16,
) -> Loaded<Option<Cursor>> {
    let sql = "SELECT * FROM cursors WHERE arrangement = ?1 AND shard = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row((arrangement, shard), cursor_of).optional()?)
}

fn cursor_of(row: &Row<'_>) -> rusqlite::Result<Cursor> {
    Ok(Cursor {
        arrangement: row.get(0)?,
        shard: row.get(1)?,
        position: unsigned(row, 2)?,
        batch: unsigned(row, 3)?,
        checksum: row.get(4)?,
        epoch: row.get(5)?,
        time_ms: unsigned(row, 6)?,
    })
}

pub(super) fn pending(connection: &Connection) -> Loaded<Vec<Verdict>> {
    let sql = "SELECT envelope, covered FROM holds ORDER BY envelope";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        Ok(Verdict { envelope: EnvelopeId(unsigned(row, 0)?), covered: row.get(1)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those of `entries` that an operator had passed over.
pub(super) fn skipped(connection: &Connection, entries: &[Entry]) -> Loaded<HashSet<MovementId>> {
    let mut statement = connection.prepare_cached("SELECT id FROM resolutions")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    let names = names.collect::<Result<HashSet<_>, _>>()?;
    if names.is_empty() {
        return Ok(HashSet::new());
    }
    let ids = entries.iter().map(|entry| entry.id);
    Ok(ids.filter(|id| names.contains(&name(id))).collect())
}

pub(super) fn envelope(connection: &Connection, id: EnvelopeId) -> Loaded<Option<Envelope>> {
    let sql = "SELECT * FROM envelopes WHERE envelope = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([id.0.cast_signed()], envelope_of).optional()?)
}

/// An envelope from a row of all columns of its table.
fn envelope_of(row: &Row<'_>) -> rusqlite::Result<Envelope> {
    Ok(Envelope {
        sender: UserId(unsigned(row, 1)?),
        order: unsigned(row, 2)?,
        payment: unsigned(row, 3)?,
        total: unsigned(row, 4)?,
        shares: row.get(5)?,
        split: decoded(6, Split::from_code(row.get(6)?))?,
        source: decoded(7, MoneySource::from_code(row.get(7)?))?,
        state: decoded(8, EnvelopeState::from_code(row.get(8)?))?,
        created: row.get(9)?,
        opened: row.get(10)?,
        closed: row.get(11)?,
        claimed: unsigned(row, 12)?,
        claims: row.get(13)?,
        refunded: unsigned(row, 14)?,
        returned: unsigned(row, 15)?,
    })
}

fn hold(connection: &Connection, id: EnvelopeId) -> Loaded<Option<Hold>> {
    let sql = "SELECT user, amount, covered FROM holds WHERE envelope = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([id.0.cast_signed()], |row| {
        let user = UserId(unsigned(row, 0)?);
        Ok(Hold { user, amount: unsigned(row, 1)?, covered: row.get(2)? })
    });
    Ok(found.optional()?)
}

/// A book of what the entries of a call need.
pub(super) fn book(connection: &Connection, needs: &Needs) -> Loaded<Book> {
    let mut envelopes = HashMap::with_capacity(needs.envelopes.len());
    let mut holds = HashMap::new();
    for &id in &needs.envelopes {
        let Some(envelope) = envelope(connection, id)? else {
            continue;
        };
        envelopes.insert(id, Kept { envelope, new: false, changed: false });
        if envelope.state == EnvelopeState::Reserved {
            holds.extend(hold(connection, id)?.map(|hold| (id, hold)));
        }
    }
    let mut balances = HashMap::new();
    for &user in &needs.payers {
        balances.insert(user, balance(connection, user)?.available);
    }
    let (totals, next) = (totals(connection)?, next(connection)?);
    Ok(Book { balances, envelopes, holds, totals, next, ..Book::default() })
}
