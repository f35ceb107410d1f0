//! What a call changed, from values to rows. New rows are copied into their
//! table; changed ones are copied beside it and merged by one statement.
//! Everything goes in the order of its index: neighbours share a page.

use std::pin::pin;

use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

use super::load::Head;
use super::rows::{number, numbers, words};
use crate::follow::ledger::book::{Book, Change, Hold, Totals};
use crate::follow::ledger::movement_line::{Line, stretch};
use crate::follow::ledger::{Cursor, LedgerError};
use crate::units::UserId;

type Stored = Result<(), LedgerError>;

const MERGE_ENVELOPES: &str = "INSERT INTO envelopes SELECT * FROM changed_envelopes
    ON CONFLICT (envelope) DO UPDATE SET payment = excluded.payment, state = excluded.state,
      opened = excluded.opened, closed = excluded.closed, claimed = excluded.claimed,
      claims = excluded.claims, refunded = excluded.refunded, returned = excluded.returned";

/// The checks of the table see the row that is offered, before the conflict:
/// what takes money away is never offered as a new row.
const TAKE: &str = "UPDATE accounts a SET available = a.available + c.available,
      held = a.held + c.held
    FROM changed_accounts c
    WHERE a.user_id = c.user_id AND (c.available < 0 OR c.held < 0)";
const GIVE: &str = "INSERT INTO accounts AS a SELECT * FROM changed_accounts
    WHERE available >= 0 AND held >= 0
    ON CONFLICT (user_id) DO UPDATE
    SET available = a.available + excluded.available, held = a.held + excluded.held";

/// Everything that a call of `apply` changed, but for the cursor.
pub(super) async fn book(to: &Transaction<'_>, mut book: Book) -> Stored {
    envelopes(to, &book).await?;
    holds(to, &book).await?;
    accounts(to, &book).await?;
    book.lines.sort_unstable_by_key(|line| {
        (stretch(line.number), line.user.0.cast_signed(), line.number)
    });
    lines(to, &book.lines).await?;
    book.sent
        .sort_unstable_by_key(|&(user, number, _)| (stretch(number), user.0.cast_signed(), number));
    let sent = book.sent.iter().map(|&(user, number, envelope)| {
        [user.0.cast_signed(), number.cast_signed(), envelope.0.cast_signed()]
    });
    copy(to, "sent", sent).await?;
    let batches = book.batches.iter().map(|batch| {
        let (first, position) = (batch.first.cast_signed(), batch.id.batch.cast_signed());
        [first, batch.id.arrangement.into(), batch.id.shard.into(), position]
    });
    copy(to, "batches", batches).await?;
    head(to, book.totals, book.next).await
}

/// Copies rows into a table all of whose columns are 64-bit numbers.
async fn copy<const N: usize>(
    to: &Transaction<'_>,
    table: &str,
    rows: impl ExactSizeIterator<Item = [i64; N]>,
) -> Stored {
    if rows.len() == 0 {
        return Ok(());
    }
    let sink = to.copy_in(&format!("COPY {table} FROM STDIN (FORMAT binary)")).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &[const { Type::INT8 }; N]));
    for row in rows {
        writer.as_mut().write_raw(row).await?;
    }
    writer.finish().await?;
    Ok(())
}

async fn envelopes(to: &Transaction<'_>, book: &Book) -> Stored {
    let changed = book.envelopes.iter().filter(|(_, kept)| kept.changed);
    let mut rows: Vec<_> = changed.map(|(id, kept)| kept.envelope.columns(*id)).collect();
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_unstable_by_key(|row| row[0]);
    copy(to, "changed_envelopes", rows.into_iter()).await?;
    to.execute_typed(MERGE_ENVELOPES, &[]).await?;
    Ok(())
}

async fn holds(to: &Transaction<'_>, book: &Book) -> Stored {
    let gone = book.hold_changes.iter().filter(|(_, hold)| hold.is_none());
    let gone: Vec<i64> = gone.map(|(id, _)| id.0.cast_signed()).collect();
    if !gone.is_empty() {
        let sql = "DELETE FROM holds WHERE envelope = ANY($1)";
        to.execute_typed(sql, &[numbers(&gone)]).await?;
    }
    let new = book.hold_changes.iter().filter_map(|(id, hold)| Some((id, hold.as_ref()?)));
    let rows: Vec<_> = new
        .map(|(id, &Hold { user, amount, covered })| {
            [id.0.cast_signed(), user.0.cast_signed(), amount.cast_signed(), covered.into()]
        })
        .collect();
    copy(to, "holds", rows.into_iter()).await
}

async fn accounts(to: &Transaction<'_>, book: &Book) -> Stored {
    let mut rows: Vec<_> = book.changes.iter().map(|(user, by)| change_row(*user, by)).collect();
    // Changes that cancel out would make accounts of people who never had money.
    rows.retain(|row| row[1..] != [0, 0]);
    let takes = rows.iter().filter(|row| row[1] < 0 || row[2] < 0).count();
    let gives = rows.len() - takes;
    rows.sort_unstable_by_key(|row| row[0]);
    copy(to, "changed_accounts", rows.into_iter()).await?;
    if takes > 0 {
        let paid = to.execute_typed(TAKE, &[]).await?;
        if usize::try_from(paid) != Ok(takes) {
            let reason = format!("PostgreSQL: {takes} accounts pay, but {paid} are there");
            return Err(LedgerError::Unreachable(reason));
        }
    }
    if gives > 0 {
        to.execute_typed(GIVE, &[]).await?;
    }
    Ok(())
}

fn change_row(user: UserId, by: &Change) -> [i64; 3] {
    [user.0.cast_signed(), by.available, by.held]
}

/// Moves money on a user's account.
pub(super) async fn change(to: &Transaction<'_>, user: UserId, available: i64) -> Stored {
    copy(to, "changed_accounts", [change_row(user, &Change { available, held: 0 })].into_iter())
        .await?;
    to.execute_typed(if available < 0 { TAKE } else { GIVE }, &[]).await?;
    Ok(())
}

/// Adds rows of accounts, in the index's order.
pub(super) async fn lines(to: &Transaction<'_>, lines: &[Line]) -> Stored {
    let rows = lines.iter().map(|line| {
        [
            line.user.0.cast_signed(),
            line.number.cast_signed(),
            line.why.code().into(),
            line.amount.cast_signed(),
            line.envelope.0.cast_signed(),
            line.at.into(),
        ]
    });
    copy(to, "movements", rows).await
}

pub(super) async fn transfer(to: &Transaction<'_>, line: &Line) -> Stored {
    let (user, reference) = (line.user.0.cast_signed(), line.envelope.0.cast_signed());
    let row = [reference, user, line.why.code().into(), line.amount.cast_signed(), line.at.into()];
    copy(to, "transfers", [row].into_iter()).await?;
    copy(to, "batches", [[line.number.cast_signed(), 0, 0, reference]].into_iter()).await
}

/// What stands once: the accounts that are no user's, the next number.
pub(super) async fn head(to: &Transaction<'_>, totals: Totals, next: u64) -> Stored {
    let sql = "UPDATE totals SET balance =
        CASE account WHEN 'outside' THEN $1 WHEN 'held' THEN $2 ELSE $3 END";
    let Totals { outside, held, escrow } = totals;
    let balances = [number(&outside), number(&held), number(&escrow)];
    to.execute_typed(sql, &balances).await?;
    set(to, "next", next.cast_signed()).await
}

async fn set(to: &Transaction<'_>, name: &str, value: i64) -> Stored {
    let sql = "UPDATE meta SET value = $2 WHERE name = $1";
    to.execute_typed(sql, &[words(&name), number(&value)]).await?;
    Ok(())
}

/// From the first booking on the ledger is of this cell.
pub(super) async fn cell(to: &Transaction<'_>, head: &Head, cell: i64) -> Stored {
    if head.cell == cell { Ok(()) } else { set(to, "cell", cell).await }
}

pub(super) async fn cursor(to: &Transaction<'_>, cursor: &Cursor) -> Stored {
    let (arrangement, shard) = (i64::from(cursor.arrangement), i64::from(cursor.shard));
    let sql = "DELETE FROM cursors WHERE arrangement = $1 AND shard = $2";
    to.execute_typed(sql, &[number(&arrangement), number(&shard)]).await?;
    let (position, batch) = (cursor.position.cast_signed(), cursor.batch.cast_signed());
    let (checksum, epoch) = (cursor.checksum.into(), cursor.epoch.into());
    let row = [arrangement, shard, position, batch, checksum, epoch, cursor.time_ms.cast_signed()];
    copy(to, "cursors", [row].into_iter()).await
}
