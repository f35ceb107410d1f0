//! A ledger of plain maps, obviously right, whose durable part outlives it, and
//! which can be made to fail at any transaction.
#![allow(unreachable_pub)] // the tests see it as a module of their own

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use hongbao::engine::Record;
use hongbao::follow::ledger::{Balance, Cursor, Entry, Ledger, LedgerError, Verdict};
use hongbao::follow::movement::{Account, Movement, MovementId, Why};
use hongbao::units::{EnvelopeId, Fen, UnixSeconds, UserId};

/// What a crash leaves.
#[derive(Clone, Debug, Default)]
pub struct Books {
    pub cursors: BTreeMap<(u32, u16), Cursor>,
    /// Every record that was applied, in order, by its name.
    pub applied: Vec<Entry>,
    pub balances: BTreeMap<Account, i128>,
    pub open_orders: BTreeMap<EnvelopeId, bool>,
    pub references: BTreeMap<u64, (UserId, Fen)>,
    pub skipped: BTreeMap<MovementId, String>,
    pub transactions: u64,
}

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// At these calls of `apply`, counted over all openings: before the
    /// transaction has happened, or after it.
    pub before: BTreeSet<u64>,
    pub after: BTreeSet<u64>,
    /// The ledger is not there at all.
    pub away: bool,
    /// A claim of this user is refused.
    pub poison: Option<UserId>,
    pub calls: u64,
}

/// The disk that ledgers are opened on.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub books: Arc<Mutex<Books>>,
    pub faults: Arc<Mutex<Faults>>,
}

#[derive(Debug)]
pub struct MapLedger(Disk);

impl Disk {
    pub fn open(&self) -> Result<Box<dyn Ledger>, LedgerError> {
        self.there()?;
        Ok(Box::new(MapLedger(self.clone())))
    }

    pub fn books(&self) -> Books {
        self.books.lock().unwrap().clone()
    }

    fn there(&self) -> Result<(), LedgerError> {
        if self.faults.lock().unwrap().away { Err(away()) } else { Ok(()) }
    }
}

fn away() -> LedgerError {
    LedgerError::Unreachable("gone for a walk".to_owned())
}

impl Books {
    pub fn sum(&self) -> i128 {
        self.balances.values().sum()
    }

    fn shift(&mut self, from: Account, to: Account, amount: Fen) {
        *self.balances.entry(from).or_default() -= i128::from(amount);
        *self.balances.entry(to).or_default() += i128::from(amount);
    }

    fn of(&self, user: UserId) -> Fen {
        let balance = self.balances.get(&Account::User(user)).copied().unwrap_or_default();
        Fen::try_from(balance).unwrap_or(0)
    }

    fn enter(
        &mut self,
        entry: &Entry,
        poison: Option<UserId>,
    ) -> Result<Option<Verdict>, LedgerError> {
        if self.skipped.contains_key(&entry.id) {
            return Ok(None);
        }
        if let Record::Claimed(claimed) = entry.record
            && poison == Some(claimed.user)
        {
            return Err(LedgerError::Poison { id: entry.id, reason: "not that one".to_owned() });
        }
        self.applied.push(*entry);
        let envelope = entry.record.envelope();
        let Some(movement) = Movement::of(&entry.record) else { return Ok(None) };
        let Movement { why, from, to, amount, .. } = movement;
        if why == Why::Hold {
            let Record::Issued(issued) = entry.record else { unreachable!() };
            let covered = self.of(issued.sender) >= amount;
            if covered {
                self.shift(from, to, amount);
            }
            self.open_orders.insert(envelope, covered);
            return Ok(Some(Verdict { envelope, covered }));
        }
        let held = self.open_orders.get(&envelope).copied();
        if why != Why::Release || held == Some(true) {
            self.shift(from, to, amount);
        }
        // Paid from a balance, or given up: no verdict is waited for.
        if from == Account::Held {
            self.open_orders.remove(&envelope);
        }
        Ok(None)
    }
}

impl Ledger for MapLedger {
    fn cursors(&mut self) -> Result<Vec<Cursor>, LedgerError> {
        self.0.there()?;
        Ok(self.0.books.lock().unwrap().cursors.values().copied().collect())
    }

    fn apply(&mut self, entries: &[Entry], cursor: &Cursor) -> Result<Vec<Verdict>, LedgerError> {
        self.0.there()?;
        let mut faults = self.0.faults.lock().unwrap();
        faults.calls += 1;
        let call = faults.calls;
        if faults.before.contains(&call) {
            return Err(away());
        }
        let mut books = self.0.books.lock().unwrap();
        let mut draft = books.clone();
        let mut verdicts = Vec::new();
        for entry in entries {
            verdicts.extend(draft.enter(entry, faults.poison)?);
        }
        let place = (cursor.arrangement, cursor.shard);
        let before = draft.cursors.insert(place, *cursor);
        assert!(before.is_none_or(|b| b.position <= cursor.position), "{before:?} {cursor:?}");
        draft.transactions += 1;
        assert_eq!(draft.sum(), 0);
        *books = draft;
        if faults.after.contains(&call) { Err(away()) } else { Ok(verdicts) }
    }

    fn skip(&mut self, id: &MovementId, reason: &str, _: UnixSeconds) -> Result<(), LedgerError> {
        self.0.there()?;
        self.0.books.lock().unwrap().skipped.insert(*id, reason.to_owned());
        Ok(())
    }

    fn pending(&mut self) -> Result<Vec<Verdict>, LedgerError> {
        self.0.there()?;
        let books = self.0.books.lock().unwrap();
        let verdict = |(envelope, covered): (&EnvelopeId, &bool)| Verdict {
            envelope: *envelope,
            covered: *covered,
        };
        Ok(books.open_orders.iter().map(verdict).collect())
    }

    fn balance(&mut self, user: UserId) -> Result<Balance, LedgerError> {
        self.0.there()?;
        Ok(Balance { available: self.0.books.lock().unwrap().of(user), held: 0 })
    }

    fn deposit(
        &mut self,
        user: UserId,
        amount: Fen,
        reference: u64,
        _: UnixSeconds,
    ) -> Result<Balance, LedgerError> {
        self.0.there()?;
        let mut books = self.0.books.lock().unwrap();
        match books.references.insert(reference, (user, amount)) {
            None => books.shift(Account::Outside, Account::User(user), amount),
            Some(before) if before == (user, amount) => {}
            Some(_) => return Err(LedgerError::Conflict(reference)),
        }
        Ok(Balance { available: books.of(user), held: 0 })
    }

    fn withdraw(
        &mut self,
        user: UserId,
        amount: Fen,
        reference: u64,
        _: UnixSeconds,
    ) -> Result<Balance, LedgerError> {
        self.0.there()?;
        let mut books = self.0.books.lock().unwrap();
        let balance = books.of(user);
        if balance < amount {
            return Err(LedgerError::Insufficient { balance });
        }
        books.references.insert(reference, (user, amount));
        books.shift(Account::User(user), Account::Outside, amount);
        Ok(Balance { available: books.of(user), held: 0 })
    }
}
