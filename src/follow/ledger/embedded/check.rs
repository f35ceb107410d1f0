//! The ledger's own sums, by its tables alone. Sums are taken in one read
//! transaction, so a check beside a running server sees one moment.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::follow::ledger::LedgerError;
use crate::follow::ledger::lists::Difference;

/// Each names what must agree and selects the rows where it does not: what the
/// books say, what the rows come to, and the rows.
const SUMS: [(&str, &str); 8] = [
    (
        "a user's balance and its movements",
        "SELECT sum(b), sum(s), 'user ' || user FROM (
           SELECT user, available AS b, 0 AS s FROM accounts UNION ALL
           SELECT user, 0, CASE WHEN why IN (1, 8) THEN -amount ELSE amount END FROM movements)
         GROUP BY user HAVING sum(b) <> sum(s) LIMIT 1",
    ),
    (
        "what is held of a user and the holds",
        "SELECT sum(b), sum(s), 'user ' || user FROM (
           SELECT user, held AS b, 0 AS s FROM accounts UNION ALL
           SELECT user, 0, amount FROM holds WHERE covered)
         GROUP BY user HAVING sum(b) <> sum(s) LIMIT 1",
    ),
    (
        "the account held and the holds",
        "SELECT balance, s, 'totals: held' FROM totals,
           (SELECT ifnull(sum(amount), 0) AS s FROM holds WHERE covered)
         WHERE account = 'held' AND balance <> s",
    ),
    (
        "the account escrow and the envelopes",
        "SELECT balance, s, 'totals: escrow' FROM totals,
           (SELECT ifnull(sum(total - claimed - refunded), 0) AS s
            FROM envelopes WHERE state BETWEEN 1 AND 4)
         WHERE account = 'escrow' AND balance <> s",
    ),
    (
        "an envelope's claims and the credits",
        "SELECT sum(b), sum(s), 'envelope ' || envelope FROM (
           SELECT envelope, claimed AS b, 0 AS s FROM envelopes UNION ALL
           SELECT envelope, 0, amount FROM movements WHERE why = 4)
         GROUP BY envelope HAVING sum(b) <> sum(s) LIMIT 1",
    ),
    (
        "the number of an envelope's shares and its detail",
        "SELECT sum(b), sum(s), 'envelope ' || envelope FROM (
           SELECT envelope, claims AS b, 0 AS s FROM envelopes UNION ALL
           SELECT envelope, 0, 1 FROM claims)
         GROUP BY envelope HAVING sum(b) <> sum(s) LIMIT 1",
    ),
    (
        "an operator's transfers and their rows",
        "SELECT sum(b), sum(s), 'reference ' || r FROM (
           SELECT reference AS r, amount AS b, 0 AS s FROM transfers UNION ALL
           SELECT envelope, 0, amount FROM movements WHERE why IN (7, 8))
         GROUP BY r HAVING sum(b) <> sum(s) LIMIT 1",
    ),
    (
        "all accounts and zero",
        "SELECT 0, s, 'totals and accounts' FROM (SELECT
           (SELECT sum(balance) FROM totals)
           + (SELECT ifnull(sum(available), 0) FROM accounts) AS s)
         WHERE s <> 0",
    ),
];

/// The first difference, if there is one.
pub(super) fn check(connection: &Connection) -> Result<(), Difference> {
    let read = connection.unchecked_transaction().map_err(LedgerError::from)?;
    check_now(&read)
}

/// The same within a transaction of the caller's.
pub(super) fn check_now(read: &Connection) -> Result<(), Difference> {
    for (what, sql) in SUMS {
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
