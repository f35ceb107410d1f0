//! The accounts of all envelopes, record by record, with the sums and the days.
//!
//! Pure: records come from wherever they are read.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

use super::broken::Broken;
use super::envelope::{Account, Life};
use super::rules::{Parts, Rules};
use crate::engine::{Held, Issued, Record, Recycled};
use crate::follow::movement::MovementId;
use crate::table::{Table, touch};
use crate::units::{EnvelopeId, Fen, MoneySource, UnixSeconds, UserId};
use crate::wire::Resolution;

const DAY_S: i64 = 86_400;

/// A count and the money in it, in fen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// How much.
    pub fen: u128,
}

impl Sum {
    /// One more.
    pub fn add(&mut self, fen: Fen) {
        self.count += 1;
        self.fen += u128::from(fen);
    }
}

/// What happened on a day, or ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turnover {
    /// Envelopes that were opened.
    pub funded: Sum,
    /// Shares that were claimed, or released.
    pub claimed: Sum,
    /// Shares that were won and held.
    pub held: Sum,
    /// Rests and rejected shares that went back.
    pub refunded: Sum,
    /// Payments that came too late and went back.
    pub returned: Sum,
}

impl Turnover {
    fn enter(&mut self, record: &Record) {
        match record {
            Record::Issued(r) if r.source == MoneySource::Vouched => self.funded.add(r.total),
            Record::Paid(r) => self.funded.add(r.total),
            Record::Claimed(r) => self.claimed.add(r.amount.into()),
            Record::Closed(r) => self.refunded.add(r.refunded),
            Record::Returned(r) => self.returned.add(r.amount),
            Record::Held(r) => self.held.add(r.claimed.amount.into()),
            Record::Resolved(r) => match r.resolution {
                Resolution::Release => self.claimed.add(r.amount.into()),
                Resolution::Reject => self.refunded.add(r.amount.into()),
            },
            Record::Issued(_)
            | Record::Voided(_)
            | Record::Recycled(_)
            | Record::TermsPart(_)
            | Record::Guessed(_)
            | Record::Planned(_)
            | Record::Commanded(_)
            | Record::Marked(_)
            | Record::Tagged(_)
            | Record::Denied(_) => {}
        }
    }
}

/// What all audited envelopes come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// What was in the envelopes that the journal does not tell from their
    /// beginning, in fen.
    pub before: u128,
    /// What was put in, in fen.
    pub funded: u128,
    /// What was claimed, in fen.
    pub claimed: u128,
    /// What is held, in fen, summed over the envelopes at the end.
    pub held: u128,
    /// What went back, in fen.
    pub refunded: u128,
    /// What is left, in fen, summed over the envelopes at the end.
    pub left: u128,
}

impl Balance {
    /// Whether no fen has come or gone.
    pub fn is_even(&self) -> bool {
        self.before + self.funded == self.claimed + self.held + self.refunded + self.left
    }
}

/// The accounts.
#[derive(Debug, Default)]
pub struct Books {
    accounts: Table<EnvelopeId, Account>,
    orders: Table<(UserId, u64), EnvelopeId>,
    parts: Parts,
    balance: Balance,
    days: Days,
    draws: bool,
    records: u64,
}

#[derive(Debug, Default)]
struct Days {
    /// Where a day begins: seconds east of universal time.
    east_s: i64,
    all: BTreeMap<u32, Turnover>,
    /// Records come in order of time, so nearly all are of the same day.
    current: (u32, Turnover),
}

impl Days {
    fn enter(&mut self, record: &Record) {
        if let Record::TermsPart(_) = record {
            return;
        }
        let local = i64::from(at(record)) + self.east_s;
        let day = u32::try_from(local.div_euclid(DAY_S)).unwrap_or(0);
        if day != self.current.0 {
            self.settle();
            self.current = (day, self.all.get(&day).copied().unwrap_or_default());
        }
        self.current.1.enter(record);
    }

    fn settle(&mut self) {
        let (day, turnover) = self.current;
        if turnover != Turnover::default() {
            self.all.insert(day, turnover);
        }
    }
}

impl Books {
    /// Empty books. With `draws` every amount is drawn again, too; a day begins
    /// so many minutes east of universal time.
    pub fn new(draws: bool, utc_offset_min: i32) -> Self {
        let days = Days { east_s: 60 * i64::from(utc_offset_min), ..Days::default() };
        Self { days, draws, ..Self::default() }
    }

    /// Takes over an envelope whose beginning is not in the journal.
    pub(super) fn open_with(&mut self, envelope: EnvelopeId, account: Account) {
        self.balance.before += u128::from(account.left() + account.held());
        let order = (account.terms.sender, account.terms.order);
        self.orders.insert(order, envelope);
        self.accounts.insert(envelope, account);
    }

    /// Counts a record for its day, whether or not its envelope is audited.
    pub fn count(&mut self, record: &Record) {
        self.records += 1;
        self.days.enter(record);
    }

    /// Loads what these records are about to need.
    pub(super) fn touch(&self, records: &[(MovementId, Record)]) {
        let envelopes = || records.iter().map(|(_, record)| record.envelope());
        touch(&self.accounts, envelopes(), Account::touch);
        touch(&self.accounts, envelopes(), |account| account.holders.touch());
    }

    /// A hold on a share that was in the opening already: only that it is held was
    /// not.
    pub(super) fn recall(&mut self, record: &Held) {
        let account = self.accounts.get_mut(&record.claimed.envelope);
        let recalled = account.map_or(0, |account| account.recall(record));
        self.balance.before += u128::from(recalled);
    }

    /// The next record of its envelope.
    pub fn enter(&mut self, record: &Record) -> Result<(), Broken> {
        let envelope = record.envelope();
        match record {
            Record::Issued(record) => return self.order(record),
            Record::Recycled(record) => return self.recycle(record),
            Record::TermsPart(part) => return self.parts.add(part),
            // Nobody's share and no money is in them.
            Record::Marked(_) | Record::Tagged(_) | Record::Denied(_) => return Ok(()),
            _ => {}
        }
        let account = self.accounts.get_mut(&envelope).ok_or(Broken::NeverOrdered)?;
        match record {
            Record::Claimed(record) => {
                account.claim(record, self.draws)?;
                self.balance.claimed += u128::from(record.amount);
            }
            Record::Closed(record) => {
                account.close(record)?;
                self.balance.refunded += u128::from(record.refunded);
            }
            Record::Paid(record) => {
                account.pay(record)?;
                self.balance.funded += u128::from(record.total);
            }
            Record::Held(record) => account.hold(record, self.draws)?,
            Record::Resolved(record) => {
                let moved = u128::from(account.resolve(record)?);
                match record.resolution {
                    Resolution::Release => self.balance.claimed += moved,
                    Resolution::Reject => self.balance.refunded += moved,
                }
            }
            Record::Voided(record) => account.void(record)?,
            Record::Returned(record) => account.give_back(record)?,
            Record::Guessed(record) => account.guess(record)?,
            Record::Planned(record) => account.plan(record)?,
            Record::Commanded(record) => account.command(record)?,
            Record::Issued(_)
            | Record::Recycled(_)
            | Record::TermsPart(_)
            | Record::Marked(_)
            | Record::Tagged(_)
            | Record::Denied(_) => {}
        }
        Ok(())
    }

    fn order(&mut self, record: &Issued) -> Result<(), Broken> {
        let Entry::Vacant(place) = self.accounts.entry(record.envelope) else {
            return Err(Broken::OrderedTwice);
        };
        let rules = Rules::read(self.parts.of(record)?, record.sender)?;
        let account = place.insert(Account::ordered(record, rules)?);
        self.balance.funded += u128::from(account.funded());
        match self.orders.insert((record.sender, record.order), record.envelope) {
            None => Ok(()),
            Some(_) => Err(Broken::OrderUsed),
        }
    }

    fn recycle(&mut self, record: &Recycled) -> Result<(), Broken> {
        let account = self.accounts.get(&record.envelope).ok_or(Broken::NeverOrdered)?;
        account.recycle(record)?;
        self.orders.remove(&(account.terms.sender, account.terms.order));
        self.accounts.remove(&record.envelope);
        Ok(())
    }

    /// The sums at the end: what is left is counted envelope by envelope.
    pub fn balance(&self) -> Balance {
        let accounts = || self.accounts.values();
        let left = accounts().map(|account| u128::from(account.left())).sum();
        let held = accounts().map(|account| u128::from(account.held())).sum();
        Balance { held, left, ..self.balance }
    }

    /// Envelopes that are kept at the end.
    pub fn envelopes(&self) -> u64 {
        u64::try_from(self.accounts.len()).unwrap_or(u64::MAX)
    }

    /// Whether this order still waits for its money.
    pub fn is_reserved(&self, envelope: EnvelopeId) -> bool {
        self.accounts.get(&envelope).is_some_and(|account| account.life == Life::Reserved)
    }

    /// Records that were counted.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// What happened on each day; days count from the Unix epoch.
    pub fn days(&mut self) -> BTreeMap<u32, Turnover> {
        self.days.settle();
        self.days.all.clone()
    }
}

/// When a record was made; terms have no time but their order's.
pub(super) fn at(record: &Record) -> UnixSeconds {
    match record {
        Record::TermsPart(_) => 0,
        Record::Guessed(r) => r.at,
        Record::Issued(r) => r.at,
        Record::Claimed(r) => r.at,
        Record::Closed(r) => r.at,
        Record::Recycled(r) => r.at,
        Record::Paid(r) => r.at,
        Record::Voided(r) => r.at,
        Record::Returned(r) => r.at,
        Record::Planned(r) => r.at,
        Record::Commanded(r) => r.at,
        Record::Held(r) => r.claimed.at,
        Record::Resolved(r) => r.at,
        Record::Marked(r) => r.standing.at,
        Record::Tagged(r) => r.at,
        Record::Denied(r) => r.at,
    }
}
