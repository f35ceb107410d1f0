//! A ledger that books by sentences and crashes when it is told to: every record
//! once, in order, and its cursor with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use hongbao::engine::{Claimed, Held, Issued, Record, Resolved};
use hongbao::follow::ledger::{Balance, Cursor, Entry, Ledger, LedgerError, Verdict};
use hongbao::follow::movement::MovementId;
use hongbao::units::{EnvelopeId, Fen, MoneySource, Split, UnixSeconds, UserId};
use hongbao::wire::{Resolution, ResolvedBy};

/// What a user has to begin with.
const BEGINNING: Fen = 60_000;

/// What becomes of the next transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    #[default]
    Happens,
    /// Nothing of it happens.
    Fails,
    /// It happens, and nobody hears of it.
    Unheard,
}

/// Where an envelope's money is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reserved { held: bool },
    Open,
    Over,
    Voided { returned: bool },
}

/// The money of one envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pocket {
    issued: Issued,
    stage: Stage,
    /// Who has taken a share, in order, given or not.
    pub(crate) seats: Vec<UserId>,
    pub(crate) credits: Vec<(UserId, Fen)>,
    held: Vec<Held>,
    rejected: Vec<Resolved>,
    /// What went back at the end.
    pub(crate) refunded: Option<Fen>,
}

/// Everything the ledger has, durably.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accounts {
    cursors: BTreeMap<(u32, u16), Cursor>,
    /// The names of all records that were booked.
    booked: BTreeSet<MovementId>,
    pockets: BTreeMap<EnvelopeId, Pocket>,
    /// What users have more, or less, than at the beginning.
    balances: BTreeMap<UserId, i64>,
    /// What came from outside.
    put_in: i64,
    pub(crate) fate: Fate,
}

fn money(amount: Fen) -> i64 {
    i64::try_from(amount).unwrap()
}

/// What a record moves beside what it changes in its envelope.
#[derive(Default)]
struct Moved {
    /// From outside.
    put_in: Fen,
    /// To a user's balance.
    to: Option<(UserId, Fen)>,
}

impl Pocket {
    fn new(issued: Issued, stage: Stage) -> Self {
        let (seats, credits) = (Vec::new(), Vec::new());
        let (held, rejected) = (Vec::new(), Vec::new());
        Self { issued, stage, seats, credits, held, rejected, refunded: None }
    }

    pub(crate) fn claimed(&self) -> Fen {
        self.credits.iter().map(|(_, amount)| amount).sum()
    }

    /// The shares that are held.
    pub(crate) fn held(&self) -> impl Iterator<Item = (UserId, Fen)> + '_ {
        self.held.iter().map(|held| (held.claimed.user, held.claimed.amount.into()))
    }

    /// The shares that went back.
    pub(crate) fn rejected(&self) -> impl Iterator<Item = (UserId, Fen)> + '_ {
        self.rejected.iter().map(|rejected| (rejected.user, rejected.amount.into()))
    }

    fn held_fen(&self) -> Fen {
        self.held().map(|(_, amount)| amount).sum()
    }

    /// What is still in it.
    fn inside(&self) -> Fen {
        let is_paid = matches!(self.stage, Stage::Open | Stage::Over);
        let total = if is_paid { self.issued.total } else { 0 };
        let rejected: Fen = self.rejected().map(|(_, amount)| amount).sum();
        total - self.claimed() - rejected - self.refunded.unwrap_or(0)
    }

    /// What nobody has taken of it.
    fn left(&self) -> Fen {
        self.inside() - self.held_fen()
    }

    /// What a record moves, of which this stage must be the right one.
    fn book(&mut self, entry: &Entry) -> Moved {
        let Issued { sender, total, .. } = self.issued;
        let from_balance = self.issued.source == MoneySource::Balance;
        match entry.record {
            Record::Paid(_) => {
                assert_eq!(self.stage, Stage::Reserved { held: from_balance }, "{entry:?}");
                self.stage = Stage::Open;
                Moved { put_in: if from_balance { 0 } else { total }, to: None }
            }
            Record::Voided(_) => {
                let Stage::Reserved { held } = self.stage else { panic!("{entry:?}") };
                self.stage = Stage::Voided { returned: false };
                Moved { put_in: 0, to: held.then_some((sender, total)) }
            }
            Record::Returned(returned) => {
                assert_eq!(self.stage, Stage::Voided { returned: false }, "{entry:?}");
                self.stage = Stage::Voided { returned: true };
                Moved { put_in: returned.amount, to: Some((returned.sender, returned.amount)) }
            }
            Record::Claimed(claimed) => self.claim(&claimed, entry),
            Record::Held(held) => self.hold(&held, entry),
            Record::Resolved(resolved) => self.resolve(&resolved, entry),
            Record::Closed(closed) => {
                let found = (self.stage, self.left(), self.held_fen(), sender);
                let told = (Stage::Open, closed.refunded, closed.held, closed.sender);
                assert_eq!(found, told, "{entry:?}");
                (self.stage, self.refunded) = (Stage::Over, Some(closed.refunded));
                Moved { put_in: 0, to: Some((sender, closed.refunded)) }
            }
            Record::Recycled(_) => {
                let is_over = matches!(self.stage, Stage::Over | Stage::Voided { .. });
                assert!(is_over && self.inside() == 0, "{entry:?}");
                Moved::default()
            }
            _ => Moved::default(),
        }
    }

    fn claim(&mut self, claimed: &Claimed, entry: &Entry) -> Moved {
        self.seat(claimed, entry);
        let credit = (claimed.user, claimed.amount.into());
        self.credits.push(credit);
        self.end_if_exhausted(entry);
        Moved { put_in: 0, to: Some(credit) }
    }

    /// A share is taken and nobody has it.
    fn hold(&mut self, held: &Held, entry: &Entry) -> Moved {
        assert!(self.issued.split != Split::Prizes, "{entry:?}");
        self.seat(&held.claimed, entry);
        self.held.push(*held);
        self.end_if_exhausted(entry);
        Moved::default()
    }

    /// One a user, but for prizes, and no more than there is.
    fn seat(&mut self, claimed: &Claimed, entry: &Entry) {
        assert_eq!(self.stage, Stage::Open, "{entry:?}");
        let is_new = !self.seats.contains(&claimed.user);
        assert!(is_new || self.issued.split == Split::Prizes, "{entry:?}");
        assert!(Fen::from(claimed.amount) <= self.left(), "{entry:?}");
        self.seats.push(claimed.user);
    }

    fn end_if_exhausted(&mut self, entry: &Entry) {
        if self.seats.len() == usize::try_from(self.issued.shares).unwrap() {
            assert_eq!(self.left(), 0, "{entry:?}");
            self.stage = Stage::Over;
        }
    }

    /// A hold ends once, and its money goes one way.
    fn resolve(&mut self, resolved: &Resolved, entry: &Entry) -> Moved {
        let &Resolved { user, sender, amount, at, resolution, by, .. } = resolved;
        let found = self.held.iter().position(|held| held.claimed.user == user);
        let held = self.held.remove(found.unwrap_or_else(|| panic!("not held: {entry:?}")));
        let is_by_time = at >= held.until;
        assert_eq!((by == ResolvedBy::Time, amount), (is_by_time, held.claimed.amount));
        assert_eq!(sender, self.issued.sender, "{entry:?}");
        let to = match resolution {
            Resolution::Release => {
                self.credits.push((user, amount.into()));
                user
            }
            Resolution::Reject => {
                self.rejected.push(*resolved);
                sender
            }
        };
        Moved { put_in: 0, to: Some((to, amount.into())) }
    }
}

impl Accounts {
    pub(crate) fn records(&self) -> u64 {
        u64::try_from(self.booked.len()).unwrap()
    }

    /// What was booked for an envelope.
    pub(crate) fn of(&self, envelope: EnvelopeId) -> &Pocket {
        self.pockets.get(&envelope).unwrap_or_else(|| panic!("{envelope} is not booked"))
    }

    /// No money appears or goes.
    pub(crate) fn check(&self) {
        let in_pockets: i64 = self.pockets.values().map(|pocket| money(pocket.inside())).sum();
        let held = |pocket: &&Pocket| pocket.stage == Stage::Reserved { held: true };
        let held = self.pockets.values().filter(held).map(|pocket| money(pocket.issued.total));
        let of_users: i64 = self.balances.values().sum();
        assert_eq!(in_pockets + held.sum::<i64>() + of_users, self.put_in, "money appears or goes");
    }

    fn move_cursor(&mut self, cursor: &Cursor) {
        let key = (cursor.arrangement, cursor.shard);
        let before = self.cursors.insert(key, *cursor).unwrap_or_default();
        assert!(before.position <= cursor.position, "{before:?} runs back to {cursor:?}");
    }

    fn book(&mut self, entry: &Entry) -> Option<Verdict> {
        assert!(self.booked.insert(entry.id), "{:?} is credited twice", entry.id);
        match entry.record {
            Record::Issued(issued) => return self.issued(issued),
            Record::TermsPart(_) => return None, // its envelope comes next
            _ => {}
        }
        let pocket = self.pockets.get_mut(&entry.record.envelope());
        let pocket = pocket.unwrap_or_else(|| panic!("{entry:?} of no envelope"));
        let Moved { put_in, to } = pocket.book(entry);
        self.put_in += money(put_in);
        if let Some((user, amount)) = to {
            *self.balances.entry(user).or_default() += money(amount);
        }
        None
    }

    fn issued(&mut self, issued: Issued) -> Option<Verdict> {
        let mut stage = Stage::Reserved { held: false };
        let mut verdict = None;
        match issued.source {
            MoneySource::Vouched => {
                self.put_in += money(issued.total);
                stage = Stage::Open;
            }
            MoneySource::Payment => {}
            MoneySource::Balance => {
                let balance = self.balances.entry(issued.sender).or_default();
                let covered = *balance + money(BEGINNING) >= money(issued.total);
                if covered {
                    *balance -= money(issued.total);
                    stage = Stage::Reserved { held: true };
                }
                verdict = Some(Verdict { envelope: issued.envelope, covered });
            }
        }
        let before = self.pockets.insert(issued.envelope, Pocket::new(issued, stage));
        assert!(before.is_none(), "{} is issued twice", issued.envelope);
        verdict
    }
}

/// The ledger's door: what is behind it outlives whoever comes in.
#[derive(Clone, Default)]
pub(crate) struct SimulatedLedger(Arc<Mutex<Accounts>>);

impl SimulatedLedger {
    pub(crate) fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Another ledger that has the same, and does not fail.
    pub(crate) fn copy(&self) -> Self {
        let accounts = Accounts { fate: Fate::Happens, ..self.accounts().clone() };
        Self(Arc::new(Mutex::new(accounts)))
    }
}

fn unreachable() -> LedgerError {
    LedgerError::Unreachable("simulated ledger error".to_owned())
}

impl Ledger for SimulatedLedger {
    fn cursors(&mut self) -> Result<Vec<Cursor>, LedgerError> {
        Ok(self.accounts().cursors.values().copied().collect())
    }

    fn apply(&mut self, entries: &[Entry], cursor: &Cursor) -> Result<Vec<Verdict>, LedgerError> {
        let mut accounts = self.accounts();
        let fate = std::mem::take(&mut accounts.fate);
        if fate == Fate::Fails {
            return Err(unreachable());
        }
        let verdicts = entries.iter().filter_map(|entry| accounts.book(entry)).collect();
        accounts.move_cursor(cursor);
        if fate == Fate::Unheard { Err(unreachable()) } else { Ok(verdicts) }
    }

    fn skip(&mut self, id: &MovementId, _: &str, _: UnixSeconds) -> Result<(), LedgerError> {
        panic!("nobody passes {id:?} over")
    }

    fn pending(&mut self) -> Result<Vec<Verdict>, LedgerError> {
        let accounts = self.accounts();
        let pending = accounts.pockets.iter().filter_map(|(envelope, pocket)| match pocket.stage {
            Stage::Reserved { held } if pocket.issued.source == MoneySource::Balance => {
                Some(Verdict { envelope: *envelope, covered: held })
            }
            _ => None,
        });
        Ok(pending.collect())
    }

    fn balance(&mut self, user: UserId) -> Result<Balance, LedgerError> {
        let change = self.accounts().balances.get(&user).copied().unwrap_or(0);
        let available = Fen::try_from(money(BEGINNING) + change).unwrap();
        Ok(Balance { available, held: 0 })
    }

    fn deposit(
        &mut self,
        user: UserId,
        _: Fen,
        _: u64,
        _: UnixSeconds,
    ) -> Result<Balance, LedgerError> {
        self.balance(user)
    }

    fn withdraw(
        &mut self,
        user: UserId,
        _: Fen,
        _: u64,
        _: UnixSeconds,
    ) -> Result<Balance, LedgerError> {
        self.balance(user)
    }
}
