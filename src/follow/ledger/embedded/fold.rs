//! The end of a stretch: what it came to goes from memory into the tables that
//! lie by user and by envelope, in their order, many neighbours at a time.

use rusqlite::Connection;

use super::rows::insert;
use super::store::{self, Stored};
use super::tail::{OfUser, Tail};
use crate::units::UserId;

/// Folds the open stretch and begins the next one.
pub(super) fn fold(to: &Connection, tail: &mut Tail) -> Stored {
    let mut users: Vec<(UserId, OfUser)> =
        tail.users.iter().map(|(&user, &of)| (user, of)).collect();
    // A user is stored as a signed number, and the tables lie in that order.
    users.sort_unstable_by_key(|(user, _)| user.0.cast_signed());
    accounts(to, &users)?;
    by_user(to, tail, &users)?;
    let changed = tail.envelopes.iter_mut();
    let changed = changed.filter_map(|(id, kept)| Some((*id, kept.store()?)));
    store::envelopes(to, changed.collect())?;
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
