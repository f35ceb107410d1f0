//! What the ledger holds, from rows to values. This room never writes.

use std::collections::HashSet;

use tokio_postgres::{GenericClient, Row};

use super::rows::{decoded, narrow, number, numbers, unsigned};
use crate::follow::ledger::book::{Book, Hold, Kept, Needs, Totals};
use crate::follow::ledger::lists::Envelope;
use crate::follow::ledger::{Balance, Cursor, Entry, LedgerError, Verdict};
use crate::follow::movement::MovementId;
use crate::table::Table;
use crate::units::{EnvelopeId, EnvelopeState, MoneySource, Split, UserId};

type Loaded<T> = Result<T, LedgerError>;

/// What stands once in a ledger.
pub(super) struct Head {
    /// The number of the next booking.
    pub(super) next: u64,
    /// The cell; -1 while nothing is booked.
    pub(super) cell: i64,
    /// The accounts that are no user's.
    pub(super) totals: Totals,
}

pub(super) async fn head(from: &impl GenericClient) -> Loaded<Head> {
    let sql = "SELECT (SELECT value FROM meta WHERE name = 'next'),
        (SELECT value FROM meta WHERE name = 'cell'),
        (SELECT balance FROM totals WHERE account = 'outside'),
        (SELECT balance FROM totals WHERE account = 'held'),
        (SELECT balance FROM totals WHERE account = 'escrow')";
    let row = from.query_typed_one(sql, &[]).await?;
    let (outside, held, escrow) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    let totals = Totals { outside, held, escrow };
    Ok(Head { next: unsigned(&row, 0)?, cell: row.try_get(1)?, totals })
}

pub(super) async fn balance(from: &impl GenericClient, user: UserId) -> Loaded<Balance> {
    let sql = "SELECT available, held FROM accounts WHERE user_id = $1";
    let user = user.0.cast_signed();
    let Some(row) = from.query_typed_opt(sql, &[number(&user)]).await? else {
        return Ok(Balance::default());
    };
    Ok(Balance { available: unsigned(&row, 0)?, held: unsigned(&row, 1)? })
}

pub(super) async fn cursors(from: &impl GenericClient) -> Loaded<Vec<Cursor>> {
    let sql = "SELECT * FROM cursors ORDER BY arrangement, shard";
    from.query_typed(sql, &[]).await?.iter().map(cursor_of).collect()
}

pub(super) async fn cursor(
    from: &impl GenericClient,
    arrangement: u32,
    shard: u16,
) -> Loaded<Option<Cursor>> {
    let sql = "SELECT * FROM cursors WHERE arrangement = $1 AND shard = $2";
    let (arrangement, shard) = (i64::from(arrangement), i64::from(shard));
    let key = [number(&arrangement), number(&shard)];
    from.query_typed_opt(sql, &key).await?.as_ref().map(cursor_of).transpose()
}

fn cursor_of(row: &Row) -> Loaded<Cursor> {
    Ok(Cursor {
        arrangement: narrow(row, 0)?,
        shard: narrow(row, 1)?,
        position: unsigned(row, 2)?,
        batch: unsigned(row, 3)?,
        checksum: narrow(row, 4)?,
        epoch: narrow(row, 5)?,
        time_ms: unsigned(row, 6)?,
    })
}

pub(super) async fn pending(from: &impl GenericClient) -> Loaded<Vec<Verdict>> {
    let sql = "SELECT envelope, covered FROM holds ORDER BY envelope";
    let verdict = |row: &Row| {
        let envelope = EnvelopeId(unsigned(row, 0)?);
        Ok(Verdict { envelope, covered: row.try_get::<_, i64>(1)? != 0 })
    };
    from.query_typed(sql, &[]).await?.iter().map(verdict).collect()
}

/// Those of `entries` that an operator had passed over.
pub(super) async fn skipped(
    from: &impl GenericClient,
    entries: &[Entry],
) -> Loaded<HashSet<MovementId>> {
    let rows = from.query_typed("SELECT id FROM resolutions", &[]).await?;
    let names = rows.iter().map(|row| Ok(row.try_get::<_, &str>(0)?));
    let names = names.collect::<Loaded<HashSet<_>>>()?;
    if names.is_empty() {
        return Ok(HashSet::new());
    }
    let ids = entries.iter().map(|entry| entry.id);
    Ok(ids.filter(|id| names.contains(id.to_string().as_str())).collect())
}

async fn envelopes(
    from: &impl GenericClient,
    ids: &[EnvelopeId],
) -> Loaded<Vec<(EnvelopeId, Envelope)>> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0.cast_signed()).collect();
    let sql = "SELECT * FROM envelopes WHERE envelope = ANY($1)";
    let rows = from.query_typed(sql, &[numbers(&ids)]).await?;
    rows.iter().map(|row| Ok((EnvelopeId(unsigned(row, 0)?), envelope_of(row, 1)?))).collect()
}

pub(super) async fn envelope(
    from: &impl GenericClient,
    id: EnvelopeId,
) -> Loaded<Option<Envelope>> {
    Ok(envelopes(from, &[id]).await?.pop().map(|(_, envelope)| envelope))
}

/// An envelope from the columns of its table after its id, which begin at `at`.
pub(super) fn envelope_of(row: &Row, at: usize) -> Loaded<Envelope> {
    Ok(Envelope {
        sender: UserId(unsigned(row, at)?),
        order: unsigned(row, at + 1)?,
        payment: unsigned(row, at + 2)?,
        total: unsigned(row, at + 3)?,
        shares: narrow(row, at + 4)?,
        split: decoded(Split::from_code(narrow(row, at + 5)?))?,
        source: decoded(MoneySource::from_code(narrow(row, at + 6)?))?,
        state: decoded(EnvelopeState::from_code(narrow(row, at + 7)?))?,
        created: narrow(row, at + 8)?,
        opened: narrow(row, at + 9)?,
        closed: narrow(row, at + 10)?,
        claimed: unsigned(row, at + 11)?,
        claims: narrow(row, at + 12)?,
        refunded: unsigned(row, at + 13)?,
        returned: unsigned(row, at + 14)?,
    })
}

/// What came with a transfer's reference: user, reason, amount.
pub(super) async fn transfer(
    from: &impl GenericClient,
    reference: u64,
) -> Loaded<Option<[i64; 3]>> {
    let sql = "SELECT user_id, why, amount FROM transfers WHERE reference = $1";
    let reference = reference.cast_signed();
    let row = from.query_typed_opt(sql, &[number(&reference)]).await?;
    row.map(|row| Ok([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?])).transpose()
}

async fn holds(from: &impl GenericClient, reserved: Vec<i64>) -> Loaded<Table<EnvelopeId, Hold>> {
    if reserved.is_empty() {
        return Ok(Table::default());
    }
    let sql = "SELECT envelope, user_id, amount, covered FROM holds WHERE envelope = ANY($1)";
    let rows = from.query_typed(sql, &[numbers(&reserved)]).await?;
    let hold = |row: &Row| {
        let (user, amount) = (UserId(unsigned(row, 1)?), unsigned(row, 2)?);
        let hold = Hold { user, amount, covered: row.try_get::<_, i64>(3)? != 0 };
        Ok((EnvelopeId(unsigned(row, 0)?), hold))
    };
    rows.iter().map(hold).collect()
}

async fn balances(from: &impl GenericClient, payers: &[UserId]) -> Loaded<Table<UserId, u64>> {
    if payers.is_empty() {
        return Ok(Table::default());
    }
    let payers: Vec<i64> = payers.iter().map(|user| user.0.cast_signed()).collect();
    let sql = "SELECT user_id, available FROM accounts WHERE user_id = ANY($1)";
    let rows = from.query_typed(sql, &[numbers(&payers)]).await?;
    rows.iter().map(|row| Ok((UserId(unsigned(row, 0)?), unsigned(row, 1)?))).collect()
}

/// A book of what the entries of a call need.
pub(super) async fn book(from: &impl GenericClient, head: &Head, needs: &Needs) -> Loaded<Book> {
    let found = envelopes(from, &needs.envelopes).await?;
    let reserved = found.iter().filter(|(_, e)| e.state == EnvelopeState::Reserved);
    let reserved = reserved.map(|(id, _)| id.0.cast_signed()).collect();
    let kept = |envelope| Kept { envelope, new: false, changed: false, last: 0 };
    Ok(Book {
        balances: balances(from, &needs.payers).await?,
        holds: holds(from, reserved).await?,
        envelopes: found.into_iter().map(|(id, envelope)| (id, kept(envelope))).collect(),
        totals: head.totals,
        next: head.next,
        ..Book::default()
    })
}
