//! What a call changed, from values to rows. Everything is written in the order
//! of its table's key: neighbours share a page.

use rusqlite::{Connection, params};

use super::rows::insert;
use super::tail::Tail;
use crate::engine::Record;
use crate::follow::ledger::book::{Book, Kept, Totals};
use crate::follow::ledger::lists::ENVELOPE_COLUMNS;
use crate::follow::ledger::movement_line::{Line, stretch};
use crate::follow::ledger::{Cursor, Entry, LedgerError};
use crate::follow::movement::Why;
use crate::table::TOUCHED;
use crate::units::EnvelopeId;

pub(super) type Stored = Result<(), LedgerError>;

/// Everything that a call of `apply` changed, but for the cursor. Envelopes of
/// which nothing but the claims changed stay in the tail until the fold.
pub(super) fn book(to: &Connection, book: &mut Book, entries: &[Entry], tail: &mut Tail) -> Stored {
    tail.envelopes = std::mem::take(&mut book.envelopes);
    lines(to, &book.lines, tail)?;
    let others = entries.iter().filter(|entry| !matches!(entry.record, Record::Claimed(_)));
    let mut others: Vec<_> = others.map(|entry| entry.record.envelope()).collect();
    others.sort_unstable();
    others.dedup();
    let changed = others.iter().filter_map(|id| Some((*id, tail.envelopes.get_mut(id)?.store()?)));
    envelopes(to, changed.collect())?;
    holds(to, book)?;
    sent(to, book)?;
    batches(to, book)?;
    totals(to, book.totals)?;
    next(to, book.next)?;
    tail.next = book.next;
    Ok(())
}

/// Stores envelopes, new ones and others.
pub(super) fn envelopes(to: &Connection, mut rows: Vec<(EnvelopeId, Kept)>) -> Stored {
    // An id is stored as a signed number, and the table lies in that order.
    rows.sort_unstable_by_key(|(id, _)| id.0.cast_signed());
    let known = "ON CONFLICT (envelope) DO UPDATE SET payment = excluded.payment,
        state = excluded.state, opened = excluded.opened, closed = excluded.closed,
        claimed = excluded.claimed, claims = excluded.claims, refunded = excluded.refunded,
        returned = excluded.returned, last = excluded.last";
    insert(to, "envelopes", known, &rows, |(id, kept)| {
        let mut row = [kept.last.cast_signed(); ENVELOPE_COLUMNS + 1];
        row[..ENVELOPE_COLUMNS].copy_from_slice(&kept.envelope.columns(*id));
        row
    })
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

/// Adds rows of accounts, in the order of their numbers: always at the table's
/// end.
pub(super) fn lines(to: &Connection, lines: &[Line], tail: &mut Tail) -> Stored {
    let mut rows = Vec::with_capacity(lines.len());
    for lines in lines.chunks(TOUCHED) {
        tail.touch(lines);
        for line in lines {
            tail.add(line);
            let claimed = tail.envelopes.get_mut(&line.envelope).filter(|_| line.why == Why::Claim);
            let previous = claimed.map_or(0, |kept| std::mem::replace(&mut kept.last, line.number));
            rows.push((line, previous));
        }
    }
    insert(to, "movements", "", &rows, |&(line, previous)| {
        [
            line.number.cast_signed(),
            line.user.0.cast_signed(),
            line.why.code().into(),
            line.amount.cast_signed(),
            line.envelope.0.cast_signed(),
            i64::from(line.at),
            previous.cast_signed(),
        ]
    })
}

fn sent(to: &Connection, book: &mut Book) -> Stored {
    book.sent
        .sort_unstable_by_key(|&(user, number, _)| (stretch(number), user.0.cast_signed(), number));
    insert(to, "sent", "", &book.sent, |&(user, number, envelope)| {
        [stretch(number), user.0, number, envelope.0].map(u64::cast_signed)
    })
}

fn batches(to: &Connection, book: &Book) -> Stored {
    let mut insert = to.prepare_cached("INSERT INTO batches VALUES (?1, ?2, ?3, ?4)")?;
    for batch in &book.batches {
        let (first, position) = (batch.first.cast_signed(), batch.id.batch.cast_signed());
        insert.execute((first, batch.id.arrangement, batch.id.shard, position))?;
    }
    Ok(())
}

pub(super) fn transfer(to: &Connection, line: &Line) -> Stored {
    let (reference, user) = (line.envelope.0.cast_signed(), line.user.0.cast_signed());
    let values = params![reference, user, line.why.code(), line.amount.cast_signed(), line.at];
    to.execute("INSERT INTO transfers VALUES (?1, ?2, ?3, ?4, ?5)", values)?;
    let values = params![line.number.cast_signed(), reference];
    to.execute("INSERT INTO batches VALUES (?1, 0, 0, ?2)", values)?;
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
