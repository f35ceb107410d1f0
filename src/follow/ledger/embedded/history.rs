//! The lists, read stretch by stretch from the newest.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use super::Embedded;
use super::load::{self, decoded, unsigned};
use crate::follow::ledger::lists::{
    Continuation, DayTotal, Envelope, History, Page, Rows, Sent, Share,
};
use crate::follow::ledger::movement_line::{stretch, why_from_code};
use crate::follow::ledger::{LedgerError, Line, Received};
use crate::units::{EnvelopeId, Fen, UnixSeconds, UserId};

const LINES: &str = "SELECT number, user, why, amount, envelope, at FROM movements
    WHERE stretch = ?1 AND user = ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4";
const RECEIVED: &str = "SELECT number, envelope, amount, at FROM movements
    WHERE stretch = ?1 AND user = ?2 AND number < ?3 AND why = 4 ORDER BY number DESC LIMIT ?4";
const SENT: &str = "SELECT number, envelope FROM sent
    WHERE stretch = ?1 AND user = ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4";
const SHARES: &str = "SELECT c.number, c.user, m.amount, m.at FROM claims c
    JOIN movements m ON m.stretch = c.stretch AND m.user = c.user AND m.number = c.number
    WHERE c.stretch = ?1 AND c.envelope = ?2 AND c.number < ?3
    ORDER BY c.number DESC LIMIT ?4";

/// A page of the rows that belong to `key`, whose first column is the number of
/// their booking. One row more than asked for tells whether the list goes on.
fn page<T>(
    connection: &Connection,
    sql: &str,
    key: u64,
    page: Page,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Rows<T>, LedgerError> {
    let before = page.after.map_or(load::next(connection)?, |after| after.0);
    let mut statement = connection.prepare_cached(sql)?;
    let limit = usize::try_from(page.limit).expect("a list's length fits an address");
    let mut found: Vec<(u64, T)> = Vec::new();
    for stretch in (0..=stretch(before)).rev() {
        let wanted = u64::from(page.limit) + 1 - u64::try_from(found.len()).expect("fits");
        let values =
            (stretch.cast_signed(), key.cast_signed(), before.cast_signed(), wanted.cast_signed());
        let rows = statement.query_map(values, |row| Ok((unsigned(row, 0)?, read(row)?)))?;
        for row in rows {
            found.push(row?);
        }
        if found.len() > limit {
            break;
        }
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(number, _)| Continuation(*number));
    Ok(Rows { rows: found.into_iter().map(|(_, row)| row).collect(), next })
}

fn received_of(row: &Row<'_>) -> rusqlite::Result<Received> {
    let envelope = EnvelopeId(unsigned(row, 1)?);
    Ok(Received { envelope, amount: unsigned(row, 2)?, at: row.get(3)? })
}

fn line_of(row: &Row<'_>) -> rusqlite::Result<Line> {
    Ok(Line {
        number: unsigned(row, 0)?,
        user: UserId(unsigned(row, 1)?),
        why: decoded(2, why_from_code(row.get(2)?))?,
        amount: unsigned(row, 3)?,
        envelope: EnvelopeId(unsigned(row, 4)?),
        at: row.get(5)?,
    })
}

fn by_day(rows: impl Iterator<Item = (UnixSeconds, Fen)>, offset_s: i32) -> Vec<DayTotal> {
    let mut days = BTreeMap::<i64, DayTotal>::new();
    for (at, amount) in rows {
        let day = (i64::from(at) + i64::from(offset_s)).div_euclid(86_400);
        let total = days.entry(day).or_insert(DayTotal { day, ..DayTotal::default() });
        total.count += 1;
        total.sum += amount;
    }
    days.into_values().rev().collect()
}

const EVERYTHING: Page = Page { after: None, limit: u32::MAX };

impl History for Embedded {
    fn sent(&mut self, user: UserId, asked: Page) -> Result<Rows<Sent>, LedgerError> {
        let id = |row: &Row<'_>| Ok(EnvelopeId(unsigned(row, 1)?));
        let Rows { rows: ids, next } = page(&self.connection, SENT, user.0, asked, id)?;
        let mut rows = Vec::with_capacity(ids.len());
        for envelope in ids {
            let summary = load::envelope(&self.connection, envelope)?;
            rows.extend(summary.map(|summary| Sent { envelope, summary }));
        }
        Ok(Rows { rows, next })
    }

    fn received(&mut self, user: UserId, asked: Page) -> Result<Rows<Received>, LedgerError> {
        page(&self.connection, RECEIVED, user.0, asked, received_of)
    }

    fn movements_of(&mut self, user: UserId, asked: Page) -> Result<Rows<Line>, LedgerError> {
        page(&self.connection, LINES, user.0, asked, line_of)
    }

    fn sent_by_day(&mut self, user: UserId, offset_s: i32) -> Result<Vec<DayTotal>, LedgerError> {
        let sent = self.sent(user, EVERYTHING)?.rows.into_iter().map(|sent| sent.summary);
        let opened = sent.filter(|envelope| envelope.opened != 0);
        Ok(by_day(opened.map(|envelope| (envelope.opened, envelope.total)), offset_s))
    }

    fn received_by_day(
        &mut self,
        user: UserId,
        offset_s: i32,
    ) -> Result<Vec<DayTotal>, LedgerError> {
        let rows = self.received(user, EVERYTHING)?.rows.into_iter();
        Ok(by_day(rows.map(|row| (row.at, row.amount)), offset_s))
    }

    fn envelope(&mut self, envelope: EnvelopeId) -> Result<Option<Envelope>, LedgerError> {
        load::envelope(&self.connection, envelope)
    }

    fn envelope_claims(
        &mut self,
        envelope: EnvelopeId,
        asked: Page,
    ) -> Result<Rows<Share>, LedgerError> {
        page(&self.connection, SHARES, envelope.0, asked, |row| {
            Ok(Share {
                user: UserId(unsigned(row, 1)?),
                amount: unsigned(row, 2)?,
                at: row.get(3)?,
            })
        })
    }
}
