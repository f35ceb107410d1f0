//! The lists, read stretch by stretch from the newest.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use super::Embedded;
use super::load::{self, unsigned};
use super::tail::Tail;
use crate::follow::ledger::book::Kept;
use crate::follow::ledger::lists::{
    Continuation, DayTotal, Envelope, History, Page, Rows, Sent, Share,
};
use crate::follow::ledger::movement_line::stretch;
use crate::follow::ledger::{LedgerError, Line, Received};
use crate::follow::movement::Why;
use crate::units::{EnvelopeId, Fen, UnixSeconds, UserId};

const LINES: &str = "SELECT m.number, m.user, m.why, m.amount, m.envelope, m.at
    FROM by_user b CROSS JOIN movements m ON m.number = b.number
    WHERE b.stretch = ?1 AND b.user = ?2 AND b.number < ?3 ORDER BY b.number DESC";
const SENT: &str = "SELECT number, envelope FROM sent
    WHERE stretch = ?1 AND user = ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4";

/// One row more than asked for tells whether the list goes on.
fn limit(asked: Page) -> usize {
    usize::try_from(asked.limit).expect("a list's length fits an address")
}

/// A page of what was found, each with the number where it continues.
fn page<T>(mut found: Vec<(u64, T)>, asked: Page) -> Rows<T> {
    let more = found.len() > limit(asked);
    found.truncate(limit(asked));
    let next = found.last().filter(|_| more).map(|(number, _)| Continuation(*number));
    Rows { rows: found.into_iter().map(|(_, row)| row).collect(), next }
}

/// A user's movements, newest first: those of the open stretch from memory, the
/// others stretch by stretch.
fn lines_of(
    file: &Connection,
    tail: &Tail,
    user: UserId,
    asked: Page,
    wanted: impl Fn(&Line) -> bool,
) -> Result<Rows<Line>, LedgerError> {
    let before = asked.after.map_or(tail.next, |after| after.0);
    let mut found = Vec::new();
    for number in tail.numbers(user).filter(|&number| number < before) {
        let line = load::movement(file, number)?.map(|(line, _)| line).filter(&wanted);
        found.extend(line.map(|line| (number, line)));
        if found.len() > limit(asked) {
            return Ok(page(found, asked));
        }
    }
    let mut statement = file.prepare_cached(LINES)?;
    for stretch in load::stretches_before(file, before.min(tail.first))? {
        let mut rows = statement.query((stretch, user.0.cast_signed(), before.cast_signed()))?;
        while let Some(row) = rows.next()? {
            let line = Some(load::line(row)?).filter(&wanted);
            found.extend(line.map(|line| (line.number, line)));
            if found.len() > limit(asked) {
                return Ok(page(found, asked));
            }
        }
    }
    Ok(page(found, asked))
}

/// The envelopes that a user ordered, newest first.
fn sent_by(
    file: &Connection,
    next: u64,
    user: UserId,
    asked: Page,
) -> Result<Rows<EnvelopeId>, LedgerError> {
    let before = asked.after.map_or(next, |after| after.0);
    let mut statement = file.prepare_cached(SENT)?;
    let mut found = Vec::new();
    for stretch in (0..=stretch(before)).rev() {
        let wanted = i64::from(asked.limit) + 1 - i64::try_from(found.len()).expect("fits");
        let values = (stretch.cast_signed(), user.0.cast_signed(), before.cast_signed(), wanted);
        let row = |row: &Row<'_>| Ok((unsigned(row, 0)?, EnvelopeId(unsigned(row, 1)?)));
        for row in statement.query_map(values, row)? {
            found.push(row?);
        }
        if found.len() > limit(asked) {
            break;
        }
    }
    Ok(page(found, asked))
}

/// An envelope's claims, newest first: each leads to the one before it.
fn claims_of(
    file: &Connection,
    mut next: u64,
    envelope: EnvelopeId,
    asked: Page,
) -> Result<Rows<Share>, LedgerError> {
    let mut found = Vec::new();
    while found.len() <= limit(asked) {
        let Some((line, previous)) = load::movement(file, next)? else { break };
        if line.why != Why::Claim || line.envelope != envelope {
            break; // a continuation that was given for another list
        }
        let Line { user, amount, at, .. } = line;
        found.push((next, Share { user, amount, at }));
        next = previous;
    }
    Ok(page(found, asked))
}

fn summary(file: &Connection, tail: &Tail, id: EnvelopeId) -> Result<Option<Kept>, LedgerError> {
    let known = tail.envelopes.get(&id).copied();
    known.map_or_else(|| load::envelope(file, id), |kept| Ok(Some(kept)))
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
        self.ask(|file, tail| {
            let Rows { rows: ids, next } = sent_by(file, tail.next, user, asked)?;
            let mut rows = Vec::with_capacity(ids.len());
            for envelope in ids {
                let kept = summary(file, tail, envelope)?;
                rows.extend(kept.map(|kept| Sent { envelope, summary: kept.envelope }));
            }
            Ok(Rows { rows, next })
        })
    }

    fn received(&mut self, user: UserId, asked: Page) -> Result<Rows<Received>, LedgerError> {
        let claims = |line: &Line| line.why == Why::Claim;
        let lines = self.ask(|file, tail| lines_of(file, tail, user, asked, claims))?;
        let row = |Line { envelope, amount, at, .. }| Received { envelope, amount, at };
        Ok(Rows { rows: lines.rows.into_iter().map(row).collect(), next: lines.next })
    }

    fn movements_of(&mut self, user: UserId, asked: Page) -> Result<Rows<Line>, LedgerError> {
        self.ask(|file, tail| lines_of(file, tail, user, asked, |_| true))
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
        let kept = self.ask(|file, tail| summary(file, tail, envelope))?;
        Ok(kept.map(|kept| kept.envelope))
    }

    fn envelope_claims(
        &mut self,
        envelope: EnvelopeId,
        asked: Page,
    ) -> Result<Rows<Share>, LedgerError> {
        self.ask(|file, tail| {
            let next = match asked.after {
                Some(after) => load::movement(file, after.0)?
                    .filter(|(line, _)| line.envelope == envelope)
                    .map_or(0, |(_, previous)| previous),
                None => summary(file, tail, envelope)?.map_or(0, |kept| kept.last),
            };
            claims_of(file, next, envelope, asked)
        })
    }
}
