//! The ledger's own sums, by its tables alone, as of one moment.

use tokio_postgres::GenericClient;

use crate::follow::ledger::LedgerError;
use crate::follow::ledger::lists::Difference;

/// Each names what must agree and selects the rows where it does not: what the
/// books say, what the rows come to, and the rows. Sums of 64-bit numbers are
/// of any size here, so they are read as text.
const SUMS: [(&str, &str); 8] = [
    (
        "a user's balance and its movements",
        "SELECT sum(b)::text, sum(s)::text, 'user ' || user_id FROM (
           SELECT user_id, available AS b, 0 AS s FROM accounts UNION ALL
           SELECT user_id, 0, CASE WHEN why IN (1, 8) THEN -amount ELSE amount END
           FROM movements) AS r
         GROUP BY user_id HAVING sum(b) <> sum(s) LIMIT 1",
    ),
    (
        "what is held of a user and the holds",
        "SELECT sum(b)::text, sum(s)::text, 'user ' || user_id FROM (
           SELECT user_id, held AS b, 0 AS s FROM accounts UNION ALL
           SELECT user_id, 0, amount FROM holds WHERE covered <> 0) AS r
         GROUP BY user_id HAVING sum(b) <> sum(s) LIMIT 1",
    ),
    (
        "the account held and the holds",
        "SELECT balance::text, s::text, 'totals: held' FROM totals,
           (SELECT coalesce(sum(amount), 0) AS s FROM holds WHERE covered <> 0) AS r
         WHERE account = 'held' AND balance <> s",
    ),
    (
        "the account escrow and the envelopes",
        "SELECT balance::text, s::text, 'totals: escrow' FROM totals,
           (SELECT coalesce(sum(total - claimed - refunded), 0) AS s
            FROM envelopes WHERE state BETWEEN 1 AND 4) AS r
         WHERE account = 'escrow' AND balance <> s",
    ),
    (
        "an envelope's claims and the credits",
        "SELECT sum(b)::text, sum(s)::text, 'envelope ' || envelope FROM (
           SELECT envelope, claimed AS b, 0 AS s FROM envelopes UNION ALL
           SELECT envelope, 0, amount FROM movements WHERE why = 4) AS r
         GROUP BY envelope HAVING sum(b) <> sum(s) LIMIT 1",
    ),
    (
        "the number of an envelope's shares and the credits",
        "SELECT sum(b)::text, sum(s)::text, 'envelope ' || envelope FROM (
           SELECT envelope, claims AS b, 0 AS s FROM envelopes UNION ALL
           SELECT envelope, 0, 1 FROM movements WHERE why = 4) AS r
         GROUP BY envelope HAVING sum(b) <> sum(s) LIMIT 1",
    ),
    (
        "an operator's transfers and their rows",
        "SELECT sum(b)::text, sum(s)::text, 'reference ' || r FROM (
           SELECT reference AS r, amount AS b, 0 AS s FROM transfers UNION ALL
           SELECT envelope, 0, amount FROM movements WHERE why IN (7, 8)) AS t
         GROUP BY r HAVING sum(b) <> sum(s) LIMIT 1",
    ),
    (
        "all accounts and zero",
        "SELECT '0', s::text, 'totals and accounts' FROM (SELECT
           (SELECT sum(balance) FROM totals)
           + (SELECT coalesce(sum(available), 0) FROM accounts) AS s) AS r
         WHERE s <> 0",
    ),
];

/// The first difference, if there is one; within a transaction of the caller's.
pub(super) async fn check(from: &impl GenericClient) -> Result<Option<Difference>, LedgerError> {
    for (what, sql) in SUMS {
        let Some(row) = from.query_typed_opt(sql, &[]).await? else {
            continue;
        };
        let sum = |column| {
            let text: &str = row.try_get(column)?;
            let unread = |_| LedgerError::Unreachable(format!("{what}: {text} is no sum"));
            text.parse::<i128>().map_err(unread)
        };
        let (booked, summed, rows) = (sum(0)?, sum(1)?, row.try_get(2)?);
        return Ok(Some(Difference::Found { what: what.to_owned(), booked, summed, rows }));
    }
    Ok(None)
}
