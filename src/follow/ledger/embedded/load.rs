//! What the ledger holds, from rows to values. This room never writes.

use std::collections::HashSet;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use super::rows::AT_ONCE;
use super::tail::Tail;
use crate::follow::ledger::book::{Book, Hold, Kept, Needs, Totals};
use crate::follow::ledger::lists::Envelope;
use crate::follow::ledger::movement_line::why_from_code;
use crate::follow::ledger::{Balance, Cursor, Entry, LedgerError, Line, Verdict};
use crate::follow::movement::MovementId;
use crate::table::Table;
use crate::units::{EnvelopeId, EnvelopeState, Fen, MoneySource, Split, UserId};

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

/// The open stretch and its first number.
pub(super) fn open_stretch(connection: &Connection) -> Loaded<(i64, u64)> {
    let sql = "SELECT stretch, first FROM stretches ORDER BY stretch DESC LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([], |row| Ok((row.get(0)?, unsigned(row, 1)?)))?)
}

/// The stretches that begin before the number `before`, newest first.
pub(super) fn stretches_before(connection: &Connection, before: u64) -> Loaded<Vec<i64>> {
    let sql = "SELECT stretch FROM stretches WHERE first < ?1 ORDER BY stretch DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([before.cast_signed()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Shows every movement from the number `first` on, in order.
pub(super) fn each_since(
    connection: &Connection,
    first: u64,
    mut show: impl FnMut(&Line) -> Loaded<()>,
) -> Loaded<()> {
    let sql = "SELECT number, user, why, amount, envelope, at, previous FROM movements
        WHERE number >= ?1 ORDER BY number";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([first.cast_signed()])?;
    while let Some(row) = rows.next()? {
        show(&line(row)?)?;
    }
    Ok(())
}

/// A movement from a row that begins with its columns.
pub(super) fn line(row: &Row<'_>) -> rusqlite::Result<Line> {
    Ok(Line {
        number: unsigned(row, 0)?,
        user: UserId(unsigned(row, 1)?),
        why: decoded(2, why_from_code(row.get(2)?))?,
        amount: unsigned(row, 3)?,
        envelope: EnvelopeId(unsigned(row, 4)?),
        at: row.get(5)?,
    })
}

/// A movement, and the claim of the same envelope before it.
pub(super) fn movement(connection: &Connection, number: u64) -> Loaded<Option<(Line, u64)>> {
    let sql = "SELECT number, user, why, amount, envelope, at, previous FROM movements
        WHERE number = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found =
        statement.query_row([number.cast_signed()], |row| Ok((line(row)?, unsigned(row, 6)?)));
    Ok(found.optional()?)
}

pub(super) fn balance(connection: &Connection, tail: &Tail, user: UserId) -> Loaded<Balance> {
    let key = [user.0.cast_signed()];
    let mut account =
        connection.prepare_cached("SELECT available FROM accounts WHERE user = ?1")?;
    let before: Option<i64> = account.query_row(key, |row| row.get(0)).optional()?;
    let mut holds = connection
        .prepare_cached("SELECT ifnull(sum(amount), 0) FROM holds WHERE user = ?1 AND covered")?;
    let held = holds.query_row(key, |row| unsigned(row, 0))?;
    let available = before.unwrap_or(0) + tail.added(user);
    let available = Fen::try_from(available).map_err(|_| {
        LedgerError::Unreachable(format!("user {user} has {available} fen; was the file changed?"))
    })?;
    Ok(Balance { available, held })
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
    Ok(ids.filter(|id| names.contains(&id.to_string())).collect())
}

/// An envelope, without the claims of the open stretch that its row does not
/// count yet.
pub(super) fn envelope(connection: &Connection, id: EnvelopeId) -> Loaded<Option<Kept>> {
    let sql = "SELECT * FROM envelopes WHERE envelope = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([id.0.cast_signed()], kept_of).optional()?)
}

/// Shows those of `ids` that are there; many by one statement, whose own cost is
/// that of several rows.
pub(super) fn envelopes(
    connection: &Connection,
    ids: &[EnvelopeId],
    mut show: impl FnMut(EnvelopeId, Kept),
) -> Loaded<()> {
    let places = ["?"; AT_ONCE].join(",");
    let sql = format!("SELECT * FROM envelopes WHERE envelope IN ({places})");
    let mut statement = connection.prepare_cached(&sql)?;
    for ids in ids.chunks(AT_ONCE) {
        // Places that are left over ask for the first one once more.
        let asked = ids.iter().chain(std::iter::repeat(&ids[0])).take(AT_ONCE);
        for (place, id) in (1..).zip(asked) {
            statement.raw_bind_parameter(place, id.0.cast_signed())?;
        }
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            show(EnvelopeId(unsigned(row, 0)?), kept_of(row)?);
        }
    }
    Ok(())
}

fn kept_of(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let (envelope, last) = (envelope_of(row)?, unsigned(row, 16)?);
    Ok(Kept { envelope, new: false, changed: false, last })
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

/// What came with a transfer's reference: user, reason, amount.
pub(super) fn transfer(connection: &Connection, reference: u64) -> Loaded<Option<[i64; 3]>> {
    let sql = "SELECT user, why, amount FROM transfers WHERE reference = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?]);
    Ok(statement.query_row([reference.cast_signed()], read).optional()?)
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

/// A book of what the entries of a call need. It takes the tail's envelopes.
pub(super) fn book(connection: &Connection, tail: &mut Tail, needs: &Needs) -> Loaded<Book> {
    let mut holds = Table::default();
    for id in tail.load(connection, &needs.envelopes)? {
        holds.extend(hold(connection, id)?.map(|hold| (id, hold)));
    }
    let mut balances = Table::default();
    for &user in &needs.payers {
        balances.insert(user, balance(connection, tail, user)?.available);
    }
    let envelopes = std::mem::take(&mut tail.envelopes);
    let totals = totals(connection)?;
    let only_payers = true; // the tail adds up the lines
    let next = tail.next;
    Ok(Book { balances, envelopes, holds, totals, next, only_payers, ..Book::default() })
}
