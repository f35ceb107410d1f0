//! The ledger's own sums, by its tables alone. Sums are taken in one read
//! transaction, so a check beside a running server sees one moment.

use rusqlite::{Connection, OptionalExtension, Row};

use super::glance::{Glance, Seen};
use crate::follow::ledger::LedgerError;
use crate::follow::ledger::lists::Difference;

/// Each names what must agree and selects the rows where it does not: what the
/// books say, what the rows come to, and the rows. Of the open stretch only
/// the movements are in the file, and the claims that an envelope's row counts.
/// Where a glance shows that all agree, the rows need not be sorted to select
/// none.
const SUMS: [(&str, &str, Option<Seen>); 10] = [
    (
        "a user's balance and its movements",
        "SELECT sum(b), sum(s), 'user ' || user FROM (
           SELECT user, available AS b, 0 AS s FROM accounts UNION ALL
           SELECT user, 0, CASE WHEN why IN (1, 8) THEN -amount ELSE amount END FROM movements
           WHERE number < (SELECT max(first) FROM stretches))
         GROUP BY user HAVING sum(b) <> sum(s) LIMIT 1",
        Some(Seen::Balances),
    ),
    (
        "a user's balance and zero, below which none can be",
        "SELECT sum(b), 0, 'user ' || user FROM (
           SELECT user, available AS b FROM accounts UNION ALL
           SELECT user, CASE WHEN why IN (1, 8) THEN -amount ELSE amount END FROM movements
           WHERE number >= (SELECT max(first) FROM stretches))
         GROUP BY user HAVING sum(b) < 0 LIMIT 1",
        None,
    ),
    (
        "the numbers in a user's list and those of its movements",
        "SELECT sum(b), sum(s), 'user ' || user FROM (
           SELECT user, number AS b, 0 AS s FROM by_user UNION ALL
           SELECT user, 0, number FROM movements
           WHERE number < (SELECT max(first) FROM stretches))
         GROUP BY user HAVING sum(b) <> sum(s) LIMIT 1",
        Some(Seen::Lists),
    ),
    (
        "a hold and its movements",
        "SELECT sum(b), sum(s), 'envelope ' || envelope FROM (
           SELECT envelope, amount AS b, 0 AS s FROM holds WHERE covered UNION ALL
           SELECT m.envelope, 0, m.amount
           FROM movements m CROSS JOIN envelopes e ON e.envelope = m.envelope
           WHERE m.why = 1 AND e.state = 5)
         GROUP BY envelope HAVING sum(b) <> sum(s) LIMIT 1",
        None,
    ),
    (
        "the account held and the holds",
        "SELECT balance, s, 'totals: held' FROM totals,
           (SELECT ifnull(sum(amount), 0) AS s FROM holds WHERE covered)
         WHERE account = 'held' AND balance <> s",
        None,
    ),
    (
        "the account escrow and the envelopes",
        "SELECT balance, s, 'totals: escrow' FROM totals, (SELECT
           (SELECT ifnull(sum(total - claimed - refunded), 0)
            FROM envelopes WHERE state BETWEEN 1 AND 4) -
           (SELECT ifnull(sum(m.amount), 0)
            FROM movements m CROSS JOIN envelopes e ON e.envelope = m.envelope
            WHERE m.number >= (SELECT max(first) FROM stretches)
              AND m.why = 4 AND m.number > e.last) AS s)
         WHERE account = 'escrow' AND balance <> s",
        None,
    ),
    (
        "an envelope's claims and the credits",
        "SELECT sum(b), sum(s), 'envelope ' || envelope FROM (
           SELECT envelope, claimed AS b, 0 AS s FROM envelopes UNION ALL
           SELECT envelope, 0, amount FROM movements
           WHERE why = 4 AND number < (SELECT max(first) FROM stretches) UNION ALL
           SELECT m.envelope, 0, m.amount
           FROM movements m CROSS JOIN envelopes e ON e.envelope = m.envelope
           WHERE m.number >= (SELECT max(first) FROM stretches)
             AND m.why = 4 AND m.number <= e.last)
         GROUP BY envelope HAVING sum(b) <> sum(s) LIMIT 1",
        Some(Seen::Claims),
    ),
    (
        "a claim and the one before it in its envelope's detail",
        "SELECT previous, before, 'movement ' || number || ', envelope ' || envelope FROM (
           SELECT number, envelope, previous, ifnull(lag(number) OVER
             (PARTITION BY envelope ORDER BY number), 0) AS before
           FROM movements WHERE why = 4)
         WHERE previous <> before LIMIT 1",
        Some(Seen::Details),
    ),
    (
        "an operator's transfers and their rows",
        "SELECT sum(b), sum(s), 'reference ' || r FROM (
           SELECT reference AS r, amount AS b, 0 AS s FROM transfers UNION ALL
           SELECT envelope, 0, amount FROM movements WHERE why IN (7, 8))
         GROUP BY r HAVING sum(b) <> sum(s) LIMIT 1",
        None,
    ),
    (
        "all accounts and zero",
        "SELECT 0, s, 'totals and accounts' FROM (SELECT
           (SELECT sum(balance) FROM totals)
           + (SELECT ifnull(sum(available), 0) FROM accounts)
           + (SELECT ifnull(sum(CASE WHEN why IN (1, 8) THEN -amount ELSE amount END), 0)
              FROM movements WHERE number >= (SELECT max(first) FROM stretches)) AS s)
         WHERE s <> 0",
        None,
    ),
];

/// The first difference, if there is one.
pub(super) fn check(connection: &Connection) -> Result<(), Difference> {
    let read = connection.unchecked_transaction().map_err(LedgerError::from)?;
    check_now(&read)
}

/// The same within a transaction of the caller's.
pub(super) fn check_now(read: &Connection) -> Result<(), Difference> {
    let glance = Glance::take(read)?;
    for (what, sql, seen) in SUMS {
        if seen.is_some_and(|seen| glance.shows(seen)) {
            continue;
        }
        let found = read.query_row(sql, [], difference).optional();
        if let Some((booked, summed, rows)) = found.map_err(LedgerError::from)? {
            let what = what.to_owned();
            return Err(Difference::Found { what, booked, summed, rows });
        }
    }
    Ok(())
}

fn difference(row: &Row<'_>) -> rusqlite::Result<(i128, i128, String)> {
    Ok((row.get::<_, i64>(0)?.into(), row.get::<_, i64>(1)?.into(), row.get(2)?))
}
