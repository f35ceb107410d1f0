//! What a call changed, from values to rows. Everything is written in the order
//! of its table's key: neighbours share a page.

use rusqlite::{Connection, params};

use crate::follow::ledger::book::{Book, Change, Kept, Totals};
use crate::follow::ledger::movement_line::{Line, stretch, why_code};
use crate::follow::ledger::{Cursor, LedgerError};
use crate::follow::movement::Why;
use crate::units::{EnvelopeId, UserId};

type Stored = Result<(), LedgerError>;

/// Everything that a call of `apply` changed, but for the cursor.
pub(super) fn book(to: &Connection, book: &mut Book) -> Stored {
    envelopes(to, book)?;
    holds(to, book)?;
    let mut changes: Vec<(UserId, Change)> = book.changes.drain().collect();
    // A user is stored as a signed number, and the table lies in that order.
    changes.sort_unstable_by_key(|(user, _)| user.0.cast_signed());
    for (user, by) in changes {
        change(to, user, by.available, by.held)?;
    }
    book.lines.sort_unstable_by_key(|line| {
        (stretch(line.number), line.user.0.cast_signed(), line.number)
    });
    lines(to, &book.lines)?;
    book.lines.retain(|line| line.why == Why::Claim);
    book.lines.sort_unstable_by_key(|line| {
        (stretch(line.number), line.envelope.0.cast_signed(), line.number)
    });
    claims(to, &book.lines)?;
    sent(to, book)?;
    batches(to, book)?;
    totals(to, book.totals)?;
    next(to, book.next)
}

fn envelopes(to: &Connection, book: &mut Book) -> Stored {
    let mut changed: Vec<(EnvelopeId, Kept)> =
        book.envelopes.drain().filter(|(_, kept)| kept.changed).collect();
    changed.sort_unstable_by_key(|(id, _)| id.0.cast_signed());
    let mut insert = to.prepare_cached(
        "INSERT INTO envelopes VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)",
    )?;
    let mut update = to.prepare_cached(
        "UPDATE envelopes SET payment = ?2, state = ?3, opened = ?4, closed = ?5, claimed = ?6,
         claims = ?7, refunded = ?8, returned = ?9 WHERE envelope = ?1",
    )?;
    for (id, Kept { envelope: e, new, .. }) in changed {
        let (id, payment, state) = (id.0.cast_signed(), e.payment.cast_signed(), e.state.code());
        let (claimed, refunded) = (e.claimed.cast_signed(), e.refunded.cast_signed());
        let returned = e.returned.cast_signed();
        let (opened, closed, claims) = (e.opened, e.closed, e.claims);
        if new {
            let (sender, order) = (e.sender.0.cast_signed(), e.order.cast_signed());
            let (total, split, source) = (e.total.cast_signed(), e.split.code(), e.source.code());
            insert.execute(params![
                id, sender, order, payment, total, e.shares, split, source, state, e.created,
                opened, closed, claimed, claims, refunded, returned
            ])?;
        } else {
            update.execute(params![
                id, payment, state, opened, closed, claimed, claims, refunded, returned
            ])?;
        }
    }
    Ok(())
}

fn holds(to: &Connection, book: &Book) -> Stored {
    let mut insert = to.prepare_cached("INSERT INTO holds VALUES (?1, ?2, ?3, ?4)")?;
    let mut delete = to.prepare_cached("DELETE FROM holds WHERE envelope = ?1")?;
    for (id, hold) in &book.hold_changes {
        let id = id.0.cast_signed();
        if let Some(hold) = hold {
            let (user, amount) = (hold.user.0.cast_signed(), hold.amount.cast_signed());
            insert.execute(params![id, user, amount, hold.covered])?;
        } else {
            delete.execute([id])?;
        }
    }
    Ok(())
}

/// Moves money on a user's account.
pub(super) fn change(to: &Connection, user: UserId, available: i64, held: i64) -> Stored {
    // The checks of the table see the row that is offered, before the conflict:
    // what takes money away must not be offered as a new row.
    let key = user.0.cast_signed();
    let mut update = to.prepare_cached(
        "UPDATE accounts SET available = available + ?2, held = held + ?3 WHERE user = ?1",
    )?;
    if update.execute((key, available, held))? == 0 {
        to.prepare_cached("INSERT INTO accounts VALUES (?1, ?2, ?3)")?
            .execute((key, available, held))?;
    }
    Ok(())
}

/// Adds rows of accounts, in the table's order.
pub(super) fn lines(to: &Connection, lines: &[Line]) -> Stored {
    let mut insert = to.prepare_cached("INSERT INTO movements VALUES (?1,?2,?3,?4,?5,?6,?7)")?;
    for line in lines {
        insert.execute((
            stretch(line.number).cast_signed(),
            line.user.0.cast_signed(),
            line.number.cast_signed(),
            why_code(line.why),
            line.amount.cast_signed(),
            line.envelope.0.cast_signed(),
            line.at,
        ))?;
    }
    Ok(())
}

fn claims(to: &Connection, lines: &[Line]) -> Stored {
    let mut insert = to.prepare_cached("INSERT INTO claims VALUES (?1, ?2, ?3, ?4)")?;
    for line in lines {
        insert.execute((
            stretch(line.number).cast_signed(),
            line.envelope.0.cast_signed(),
            line.number.cast_signed(),
            line.user.0.cast_signed(),
        ))?;
    }
    Ok(())
}

fn sent(to: &Connection, book: &mut Book) -> Stored {
    let mut insert = to.prepare_cached("INSERT INTO sent VALUES (?1, ?2, ?3, ?4)")?;
    book.sent
        .sort_unstable_by_key(|&(user, number, _)| (stretch(number), user.0.cast_signed(), number));
    for &(user, number, envelope) in &book.sent {
        let (user, envelope) = (user.0.cast_signed(), envelope.0.cast_signed());
        let stretch = stretch(number).cast_signed();
        insert.execute((stretch, user, number.cast_signed(), envelope))?;
    }
    Ok(())
}

fn batches(to: &Connection, book: &Book) -> Stored {
    let mut insert = to.prepare_cached("INSERT INTO batches VALUES (?1, ?2, ?3, ?4)")?;
    for batch in &book.batches {
        let (first, position) = (batch.first.cast_signed(), batch.id.batch.cast_signed());
        insert.execute((first, batch.id.arrangement, batch.id.shard, position))?;
    }
    Ok(())
}

pub(super) fn totals(to: &Connection, totals: Totals) -> Stored {
    let mut update = to.prepare_cached("UPDATE totals SET balance = ?2 WHERE account = ?1")?;
    update.execute(("outside", totals.outside))?;
    update.execute(("held", totals.held))?;
    update.execute(("escrow", totals.escrow))?;
    Ok(())
}

pub(super) fn next(to: &Connection, next: u64) -> Stored {
    let mut update = to.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'next'")?;
    update.execute([next.cast_signed()])?;
    Ok(())
}

pub(super) fn cursor(to: &Connection, cursor: &Cursor) -> Stored {
    let mut insert =
        to.prepare_cached("INSERT OR REPLACE INTO cursors VALUES (?1,?2,?3,?4,?5,?6,?7)")?;
    insert.execute((
        cursor.arrangement,
        cursor.shard,
        cursor.position.cast_signed(),
        cursor.batch.cast_signed(),
        cursor.checksum,
        cursor.epoch,
        cursor.time_ms.cast_signed(),
    ))?;
    Ok(())
}
