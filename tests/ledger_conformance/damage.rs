//! Damage that somebody planted in the embedded ledger's file is found.

use std::path::Path;

use hongbao::follow::ledger::embedded::{Embedded, FILE};
use hongbao::follow::ledger::lists::Difference;
use hongbao::follow::ledger::{Ledger, LedgerError};
use hongbao::units::MoneySource::{Balance, Vouched};
use hongbao::units::UserId;

use crate::records::{Journal, claimed, closed, issued};

/// A ledger with something of everything: claims, a refund, a hold.
fn filled(directory: &Path) -> Embedded {
    let (mut ledger, mut journal) = (Embedded::open(directory).unwrap(), Journal::new(0));
    ledger.deposit(UserId(5), 100, 1, 1).unwrap();
    let first = [issued(10, 1, 90, 3, Vouched), claimed(10, 2, 30, 7), claimed(10, 3, 20, 8)];
    journal.apply(&mut ledger, &first).unwrap();
    let second = [claimed(10, 2, 40, 9), issued(11, 5, 60, 2, Balance)];
    journal.apply(&mut ledger, &second).unwrap();
    let third = [issued(12, 1, 50, 2, Vouched), claimed(12, 3, 10, 9), closed(12, 1, 40)];
    journal.apply(&mut ledger, &third).unwrap();
    ledger.check().unwrap();
    ledger
}

/// Each with the sums that must be said to differ once the ledger was closed.
const DAMAGE: [(&str, &str); 10] = [
    ("UPDATE accounts SET available = available + 1 WHERE user = 2", "a user's balance"),
    ("DELETE FROM movements WHERE user = 3 AND amount = 20", "a user's balance"),
    (
        "INSERT INTO movements SELECT number + 1000, user, why, amount, envelope, at, previous
         FROM movements WHERE user = 3 AND amount = 20;
         UPDATE stretches SET first = first + 2000 WHERE stretch = 1",
        "a user's balance",
    ),
    ("UPDATE movements SET envelope = 12 WHERE amount = 20", "an envelope's claims"),
    ("UPDATE holds SET amount = amount + 1", "a hold and its movements"),
    ("UPDATE holds SET covered = 0", "a hold and its movements"),
    ("DELETE FROM holds", "a hold and its movements"),
    ("DELETE FROM by_user WHERE user = 2", "the numbers in a user's list"),
    ("UPDATE movements SET previous = 0 WHERE amount = 40 AND why = 4", "a claim and the one"),
    ("UPDATE totals SET balance = balance - 1 WHERE account = 'outside'", "all accounts and zero"),
];

fn planted(directory: &Path, damage: &str) -> Result<(), Difference> {
    rusqlite::Connection::open(directory.join(FILE)).unwrap().execute_batch(damage).unwrap();
    Embedded::open(directory).unwrap().check()
}

#[test]
fn planted_damage_is_found_in_a_closed_ledger() {
    for (damage, says) in DAMAGE {
        let directory = tempfile::tempdir().unwrap();
        drop(filled(directory.path()));
        let found = planted(directory.path(), damage).unwrap_err().to_string();
        assert!(found.starts_with(says), "{damage}: {found}");
    }
}

/// Some damage names rows that an open stretch does not have yet.
#[test]
fn planted_damage_is_found_while_the_stretch_is_open() {
    for (damage, _) in DAMAGE.iter().filter(|(sql, _)| !sql.contains("accounts SET")) {
        if damage.contains("by_user") || damage.contains("stretches") {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        std::mem::forget(filled(directory.path())); // as a process that is killed
        assert!(planted(directory.path(), damage).is_err(), "{damage}");
    }
    let directory = tempfile::tempdir().unwrap();
    std::mem::forget(filled(directory.path()));
    let doubled = "INSERT INTO movements SELECT number + 1000, user, why, amount, envelope, at,
        previous FROM movements WHERE user = 3 AND amount = 20";
    assert!(planted(directory.path(), doubled).is_err());
}

#[test]
fn an_amount_too_large_to_count_is_said_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = filled(directory.path());
    for amount in [u64::MAX, u64::MAX / 2] {
        let error = ledger.deposit(UserId(5), amount, 2, 1).unwrap_err();
        assert!(matches!(error, LedgerError::Uncountable(_)), "{error}");
    }
}
