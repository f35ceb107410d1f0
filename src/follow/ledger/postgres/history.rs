//! The lists: one statement each, that looks into every stretch.

use tokio_postgres::{Client, Row};

use super::Postgres;
use super::load;
use super::rows::{decoded, narrow, number, unsigned};
use crate::follow::ledger::lists::{
    Continuation, DayTotal, Envelope, History, Page, Rows, Sent, Share,
};
use crate::follow::ledger::movement_line::why_from_code;
use crate::follow::ledger::{LedgerError, Line, Received};
use crate::units::{EnvelopeId, UserId};

/// The newest rows whose number is below `$2`, at most `$3` from each stretch:
/// every stretch is one look into the index, which begins with it.
macro_rules! newest {
    ($columns:literal, $from:literal, $beside:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM generate_series(0::bigint, $2 >> 21) AS stretch, LATERAL (SELECT * FROM ",
            $from,
            " AND number >> 21 = stretch AND number < $2 ORDER BY number DESC LIMIT $3) AS r ",
            $beside,
            " ORDER BY number DESC LIMIT $3"
        )
    };
}

/// Totals of the rows in all stretches below `$2`, by the day at offset `$3`.
macro_rules! by_day {
    ($at:literal, $amount:literal, $from:literal) => {
        concat!(
            "SELECT floor((",
            $at,
            " + $3) / 86400.0)::bigint AS day, count(*), sum(",
            $amount,
            ")::bigint FROM generate_series(0::bigint, $2 >> 21) AS stretch JOIN ",
            $from,
            " AND number >> 21 = stretch GROUP BY day ORDER BY day DESC"
        )
    };
}

const LINES: &str =
    newest!("number, user_id, why, amount, envelope, at", "movements WHERE user_id = $1", "");
const RECEIVED: &str =
    newest!("number, envelope, amount, at", "movements WHERE user_id = $1 AND why = 4", "");
const SHARES: &str =
    newest!("number, user_id, amount, at", "movements WHERE envelope = $1 AND why = 4", "");
const SENT: &str =
    newest!("number, e.*", "sent WHERE user_id = $1", "JOIN envelopes e USING (envelope)");
const RECEIVED_BY_DAY: &str = by_day!("at", "amount", "movements ON user_id = $1 AND why = 4");
const SENT_BY_DAY: &str = by_day!(
    "opened",
    "total",
    "(sent JOIN envelopes USING (envelope)) ON user_id = $1 AND opened <> 0"
);

type Listed<T> = Result<T, LedgerError>;

/// A page of the rows that belong to `key`, whose first column is the number of
/// their booking. One row more than asked for tells whether the list goes on.
async fn page<T>(
    from: &Client,
    sql: &str,
    key: u64,
    page: Page,
    read: impl Fn(&Row) -> Listed<T>,
) -> Listed<Rows<T>> {
    let key = key.cast_signed();
    let before = match page.after {
        Some(after) => after.0.cast_signed(),
        None => load::head(from).await?.next.cast_signed(),
    };
    let wanted = i64::from(page.limit) + 1;
    let values = [number(&key), number(&before), number(&wanted)];
    let mut found = from.query_typed(sql, &values).await?;
    let limit = usize::try_from(page.limit).expect("a list's length fits an address");
    let more = found.len() > limit;
    found.truncate(limit);
    let next = match found.last() {
        Some(last) if more => Some(Continuation(unsigned(last, 0)?)),
        _ => None,
    };
    Ok(Rows { rows: found.iter().map(read).collect::<Listed<_>>()?, next })
}

async fn days(from: &Client, sql: &str, user: UserId, offset_s: i32) -> Listed<Vec<DayTotal>> {
    let next = load::head(from).await?.next.cast_signed();
    let (user, offset) = (user.0.cast_signed(), i64::from(offset_s));
    let values = [number(&user), number(&next), number(&offset)];
    let rows = from.query_typed(sql, &values).await?;
    let total = |row: &Row| {
        let (count, sum) = (unsigned(row, 1)?, unsigned(row, 2)?);
        Ok(DayTotal { day: row.try_get(0)?, count, sum })
    };
    rows.iter().map(total).collect()
}

pub(super) fn line_of(row: &Row) -> Listed<Line> {
    Ok(Line {
        user: UserId(unsigned(row, 1)?),
        number: unsigned(row, 0)?,
        why: decoded(why_from_code(row.try_get(2)?))?,
        amount: unsigned(row, 3)?,
        envelope: EnvelopeId(unsigned(row, 4)?),
        at: narrow(row, 5)?,
    })
}

fn received_of(row: &Row) -> Listed<Received> {
    let envelope = EnvelopeId(unsigned(row, 1)?);
    Ok(Received { envelope, amount: unsigned(row, 2)?, at: narrow(row, 3)? })
}

fn share_of(row: &Row) -> Listed<Share> {
    let user = UserId(unsigned(row, 1)?);
    Ok(Share { user, amount: unsigned(row, 2)?, at: narrow(row, 3)? })
}

fn sent_of(row: &Row) -> Listed<Sent> {
    let envelope = EnvelopeId(unsigned(row, 1)?);
    Ok(Sent { envelope, summary: load::envelope_of(row, 2)? })
}

impl History for Postgres {
    fn sent(&mut self, user: UserId, asked: Page) -> Listed<Rows<Sent>> {
        self.read(async |from| page(from, SENT, user.0, asked, sent_of).await)
    }

    fn received(&mut self, user: UserId, asked: Page) -> Listed<Rows<Received>> {
        self.read(async |from| page(from, RECEIVED, user.0, asked, received_of).await)
    }

    fn movements_of(&mut self, user: UserId, asked: Page) -> Listed<Rows<Line>> {
        self.read(async |from| page(from, LINES, user.0, asked, line_of).await)
    }

    fn sent_by_day(&mut self, user: UserId, offset_s: i32) -> Listed<Vec<DayTotal>> {
        self.read(async |from| days(from, SENT_BY_DAY, user, offset_s).await)
    }

    fn received_by_day(&mut self, user: UserId, offset_s: i32) -> Listed<Vec<DayTotal>> {
        self.read(async |from| days(from, RECEIVED_BY_DAY, user, offset_s).await)
    }

    fn envelope(&mut self, envelope: EnvelopeId) -> Listed<Option<Envelope>> {
        self.read(async |from| load::envelope(from, envelope).await)
    }

    fn envelope_claims(&mut self, envelope: EnvelopeId, asked: Page) -> Listed<Rows<Share>> {
        self.read(async |from| page(from, SHARES, envelope.0, asked, share_of).await)
    }
}
