//! The end of a stretch: what it came to goes from memory into the tables that
//! lie by user and by envelope, in their order, many neighbours at a time.

use rusqlite::Connection;

use super::rows::insert;
use super::store::Stored;
use super::tail::{OfUser, Tail};
use crate::follow::ledger::book::Kept;
use crate::units::{EnvelopeId, UserId};

/// Folds the open stretch and begins the next one.
pub(super) fn fold(to: &Connection, tail: &mut Tail) -> Stored {
    let mut users: Vec<(UserId, OfUser)> =
        tail.users.iter().map(|(&user, &of)| (user, of)).collect();
    // A user is stored as a signed number, and the tables lie in that order.
    users.sort_unstable_by_key(|(user, _)| user.0.cast_signed());
    accounts(to, &users)?;
    by_user(to, tail, &users)?;
    envelopes(to, tail)?;
    tail.begin();
    let values = (tail.stretch, tail.first.cast_signed());
    to.prepare_cached("INSERT INTO stretches VALUES (?1, ?2)")?.execute(values)?;
    Ok(())
}

fn accounts(to: &Connection, users: &[(UserId, OfUser)]) -> Stored {
    let adding = "ON CONFLICT (user) DO UPDATE SET available = available + excluded.available";
    insert(to, "accounts", adding, users, |(user, of)| [user.0.cast_signed(), of.available])
}

fn by_user(to: &Connection, tail: &Tail, users: &[(UserId, OfUser)]) -> Stored {
    let mut rows = Vec::with_capacity(users.len());
    for &(user, of) in users {
        let begin = rows.len();
        rows.extend(tail.numbers_from(of).map(|number| (user, number)));
        rows[begin..].reverse();
    }
    insert(to, "by_user", "", &rows, |(user, number)| {
        [tail.stretch, user.0.cast_signed(), number.cast_signed()]
    })
}

/// Stores the envelopes that nothing but claims changed.
fn envelopes(to: &Connection, tail: &mut Tail) -> Stored {
    let changed = tail.envelopes.iter_mut().filter(|(_, kept)| kept.changed);
    let mut changed: Vec<(EnvelopeId, &mut Kept)> = changed.map(|(&id, kept)| (id, kept)).collect();
    changed.sort_unstable_by_key(|(id, _)| id.0.cast_signed());
    let mut update = to.prepare_cached(
        "UPDATE envelopes SET state = ?2, closed = ?3, claimed = ?4, claims = ?5, last = ?6
         WHERE envelope = ?1",
    )?;
    for (id, kept) in changed {
        let e = &kept.envelope;
        let (claimed, last) = (e.claimed.cast_signed(), kept.last.cast_signed());
        update.execute((id.0.cast_signed(), e.state.code(), e.closed, claimed, e.claims, last))?;
        kept.changed = false;
    }
    Ok(())
}
