//! Sums over all rows at a glance: whether they can hold, without a sort.
//!
//! For each user and each envelope, what the books say must be what the rows
//! come to. Every key gets a random weight, and the weighted differences of all
//! keys add up to zero if each of them is zero; if one is not, they do so for one
//! weight of 2⁶⁴. So a look at each table in the order in which it lies is
//! enough, and only to name a difference the rows are sorted by key (`check`).

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

use rusqlite::Connection;

use crate::follow::ledger::LedgerError;

/// The codes of reasons as the rows have them (`movement_line`): what takes from
/// a balance, and a claim.
const DEBITS: [i64; 2] = [1, 8];
const CLAIM: i64 = 4;

/// What can be seen at a glance.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    /// Each user's balance is what its movements come to.
    Balances,
    /// Each user's list has its movements.
    Lists,
    /// What each envelope counts as claimed is what was credited.
    Claims,
    /// Each claim names the one before it in its envelope.
    Details,
}

/// The weighted differences; wrapping, of which a weight's share stays unique.
#[derive(Default)]
pub(super) struct Glance {
    weights: RandomState,
    balances: i128,
    lists: i128,
    claims: i128,
    /// Of an envelope's claims, each but the newest is named by one later claim.
    details: i128,
    /// Whether a claim names one that is not before it.
    backwards: bool,
    /// The newest claim of each envelope that has one in the open stretch.
    newest: HashMap<i64, i64>,
}

impl Glance {
    /// Looks at every row once.
    pub(super) fn take(read: &Connection) -> Result<Self, LedgerError> {
        let mut glance = Self::default();
        glance.movements(read)?;
        glance.accounts(read)?;
        glance.envelopes(read)?;
        Ok(glance)
    }

    /// Whether these sums hold; if not, that they do not is only likely.
    pub(super) fn shows(&self, seen: Seen) -> bool {
        match seen {
            Seen::Balances => self.balances == 0,
            Seen::Lists => self.lists == 0,
            Seen::Claims => self.claims == 0,
            Seen::Details => self.details == 0 && !self.backwards,
        }
    }

    fn weighed(&self, key: impl Hash, amount: i64) -> i128 {
        i128::from(self.weights.hash_one(key)).wrapping_mul(amount.into())
    }

    fn movements(&mut self, read: &Connection) -> Result<(), LedgerError> {
        let open = "SELECT max(first) FROM stretches";
        let open: i64 = read.query_row(open, [], |row| row.get(0))?;
        let sql = "SELECT number, user, why, amount, envelope, previous FROM movements";
        each(read, sql, |[number, user, why, amount, envelope, previous]| {
            if number < open {
                let change = if DEBITS.contains(&why) { amount.wrapping_neg() } else { amount };
                self.balances = self.balances.wrapping_sub(self.weighed(user, change));
                self.lists = self.lists.wrapping_sub(self.weighed(user, number));
            }
            if why != CLAIM {
                return;
            }
            if number < open {
                self.claims = self.claims.wrapping_sub(self.weighed(envelope, amount));
            } else {
                self.newest.insert(envelope, number);
            }
            self.details = self.details.wrapping_sub(self.weighed((envelope, number), 1));
            if previous != 0 {
                self.details = self.details.wrapping_add(self.weighed((envelope, previous), 1));
            }
            self.backwards |= previous >= number;
        })
    }

    fn accounts(&mut self, read: &Connection) -> Result<(), LedgerError> {
        each(read, "SELECT user, available FROM accounts", |[user, available]| {
            self.balances = self.balances.wrapping_add(self.weighed(user, available));
        })?;
        each(read, "SELECT user, number FROM by_user", |[user, number]| {
            self.lists = self.lists.wrapping_add(self.weighed(user, number));
        })
    }

    fn envelopes(&mut self, read: &Connection) -> Result<(), LedgerError> {
        each(
            read,
            "SELECT envelope, claimed, last FROM envelopes",
            |[envelope, claimed, last]| {
                self.claims = self.claims.wrapping_add(self.weighed(envelope, claimed));
                let newest = self.newest.get(&envelope).copied().unwrap_or(last);
                if newest != 0 {
                    self.details = self.details.wrapping_add(self.weighed((envelope, newest), 1));
                }
            },
        )?;
        // Claims of the open stretch that the envelope's row counts already.
        let sql = "SELECT m.envelope, m.amount
            FROM movements m CROSS JOIN envelopes e ON e.envelope = m.envelope
            WHERE m.number >= (SELECT max(first) FROM stretches)
              AND m.why = 4 AND m.number <= e.last";
        each(read, sql, |[envelope, amount]| {
            self.claims = self.claims.wrapping_sub(self.weighed(envelope, amount));
        })
    }
}

/// Shows every row of numbers.
fn each<const COLUMNS: usize>(
    read: &Connection,
    sql: &str,
    mut show: impl FnMut([i64; COLUMNS]),
) -> Result<(), LedgerError> {
    let mut statement = read.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut values = [0; COLUMNS];
        for (column, value) in values.iter_mut().enumerate() {
            *value = row.get(column)?;
        }
        show(values);
    }
    Ok(())
}
