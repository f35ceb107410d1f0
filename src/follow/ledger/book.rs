//! The rules of double entry, on plain values: what the records of a call do
//! to what the ledger held before.
//!
//! An adapter loads what [`Needs`] names, posts the entries in order and stores
//! what changed. The rules stand here once, for every adapter; this room does
//! no I/O.

use std::collections::HashSet;

use super::lists::Envelope;
use super::movement_line::Line;
use super::{Cursor, Entry, LedgerError, Verdict};
use crate::engine::{Cause, Claimed, Closed, Issued, Paid, Record, Resolved, Returned, Voided};
use crate::follow::movement::{Account, Movement, MovementId};
use crate::table::{TOUCHED, Table, touch};
use crate::units::{EnvelopeId, EnvelopeState, Fen, MoneySource, UserId};
use crate::wire::Resolution;

/// What must be loaded before entries can be posted.
pub(super) struct Needs {
    /// These envelopes, with their holds; sorted.
    pub(super) envelopes: Vec<EnvelopeId>,
    /// The balances of these users: they want to pay from them; sorted.
    pub(super) payers: Vec<UserId>,
}

impl Needs {
    /// What `entries` ask about.
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut envelopes = Vec::with_capacity(entries.len());
        let mut payers = Vec::new();
        for entry in entries {
            match entry.record {
                Record::Recycled(_)
                | Record::TermsPart(_)
                | Record::Guessed(_)
                | Record::Planned(_)
                | Record::Commanded(_)
                | Record::Held(_)
                | Record::Marked(_)
                | Record::Tagged(_)
                | Record::Denied(_) => continue,
                Record::Issued(i) if i.source == MoneySource::Balance => payers.push(i.sender),
                _ => {}
            }
            envelopes.push(entry.record.envelope());
        }
        envelopes.sort_unstable();
        envelopes.dedup();
        payers.sort_unstable();
        payers.dedup();
        Self { envelopes, payers }
    }
}

/// The accounts that are not a user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// The world outside; never above zero.
    pub(super) outside: i64,
    /// What is held.
    pub(super) held: i64,
    /// What is in envelopes.
    pub(super) escrow: i64,
}

/// An order that waits for its fate, and whether its money was put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// Whose money.
    pub(super) user: UserId,
    /// How much, in fen.
    pub(super) amount: Fen,
    /// Whether the balance covered it.
    pub(super) covered: bool,
}

/// What changed on a user's account, in fen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    /// Of what may be spent.
    pub(super) available: i64,
    /// Of what is held.
    pub(super) held: i64,
}

/// An envelope in the book, and whether it must be stored.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    /// The envelope.
    pub(super) envelope: Envelope,
    /// It is new.
    pub(super) new: bool,
    /// It changed.
    pub(super) changed: bool,
    /// An adapter's note: the number of its newest claim, 0 where it has none.
    pub(super) last: u64,
}

impl Kept {
    /// What an adapter must store now, if anything; from then on it is stored.
    pub(super) fn store(&mut self) -> Option<Self> {
        let kept = self.changed.then_some(*self);
        (self.new, self.changed) = (false, false);
        kept
    }
}

/// A journal batch, and the number that its record 0 has in this ledger.
#[derive(Clone, Copy)]
pub(super) struct Numbered {
    /// The number of record 0.
    pub(super) first: u64,
    /// The name of record 0.
    pub(super) id: MovementId,
}

/// What the entries of one call do.
#[derive(Default)]
pub(super) struct Book {
    /// Loaded: the payers' balances before the call.
    pub(super) balances: Table<UserId, Fen>,
    /// The envelopes, as they are now.
    pub(super) envelopes: Table<EnvelopeId, Kept>,
    /// Loaded: the holds before the call; then as they are now.
    pub(super) holds: Table<EnvelopeId, Hold>,
    /// Holds to store anew (some) or to remove (none).
    pub(super) hold_changes: Table<EnvelopeId, Option<Hold>>,
    /// The accounts' changes.
    pub(super) changes: Table<UserId, Change>,
    /// The other accounts, as they are now.
    pub(super) totals: Totals,
    /// The number of the next booking.
    pub(super) next: u64,
    /// New rows of accounts, in order.
    pub(super) lines: Vec<Line>,
    /// New rows of the sent list: sender, number, envelope.
    pub(super) sent: Vec<(UserId, u64, EnvelopeId)>,
    /// The batches that were numbered.
    pub(super) batches: Vec<Numbered>,
    /// What to say about orders from a balance.
    pub(super) verdicts: Vec<Verdict>,
    /// Set by an adapter that adds up the lines itself: it needs the changes of
    /// payers only.
    pub(super) only_payers: bool,
}

/// Whether `entries` lie, in order, between what was applied and `cursor`.
/// `Ok(false)` says that exactly this was applied before.
pub(super) fn in_order(
    entries: &[Entry],
    stored: Option<&Cursor>,
    cursor: &Cursor,
) -> Result<bool, LedgerError> {
    let start = stored.copied().unwrap_or_default();
    let same = stored == Some(cursor);
    let from = if same { 0 } else { start.position };
    let mut before = None;
    for entry in entries {
        let id = entry.id;
        if (id.arrangement, id.shard) != (cursor.arrangement, cursor.shard) {
            return poison(id, "it is of another shard than the cursor".into());
        }
        if id.batch < from {
            return poison(id, format!("everything before {from} was applied already"));
        }
        if id.batch >= cursor.position {
            return poison(id, format!("it lies behind the cursor's end, {}", cursor.position));
        }
        if before.is_some_and(|before| (id.batch, id.index) <= before) {
            return poison(id, "it does not follow the record before it".into());
        }
        before = Some((id.batch, id.index));
    }
    let back = cursor.position < start.position || cursor.batch < start.batch;
    let still = !same && stored.is_some_and(|stored| stored.position == cursor.position);
    if back || still {
        let id = entries.first().map_or_else(|| end_of(cursor), |entry| entry.id);
        return poison(id, format!("the cursor {cursor:?} does not continue {start:?}"));
    }
    Ok(!same)
}

fn end_of(cursor: &Cursor) -> MovementId {
    let &Cursor { arrangement, shard, position: batch, .. } = cursor;
    MovementId { cell: 0, arrangement, shard, batch, index: 0 }
}

/// A record that contradicts the ledger.
pub(super) fn poison<T>(id: MovementId, reason: String) -> Result<T, LedgerError> {
    Err(LedgerError::Poison { id, reason })
}

impl Book {
    /// Posts the entries in order, passing over those in `skipped`.
    pub(super) fn post(
        &mut self,
        entries: &[Entry],
        skipped: &HashSet<MovementId>,
    ) -> Result<(), LedgerError> {
        for batch in entries.chunk_by(|a, b| a.id.batch == b.id.batch) {
            let first = self.next;
            let id = MovementId { index: 0, ..batch[0].id };
            self.batches.push(Numbered { first, id });
            for group in batch.chunks(TOUCHED) {
                let envelopes = group.iter().map(|entry| entry.record.envelope());
                touch(&self.envelopes, envelopes, |kept| kept.envelope.claimed);
                self.group(group, first, skipped)?;
            }
        }
        Ok(())
    }

    /// Posts some of a batch, whose record 0 has the number `first`.
    fn group(
        &mut self,
        entries: &[Entry],
        first: u64,
        skipped: &HashSet<MovementId>,
    ) -> Result<(), LedgerError> {
        for entry in entries {
            let number = first + u64::from(entry.id.index);
            self.next = number + 1;
            if !skipped.is_empty() && skipped.contains(&entry.id) {
                continue;
            }
            self.one(&entry.record, number).or_else(|reason| poison(entry.id, reason))?;
        }
        Ok(())
    }

    fn one(&mut self, record: &Record, number: u64) -> Result<(), String> {
        match record {
            Record::Issued(issued) => self.issued(issued, record, number),
            Record::Claimed(claimed) => self.claimed(claimed, record, number),
            Record::Closed(closed) => self.closed(closed, record, number),
            Record::Paid(paid) => self.paid(paid, record, number),
            Record::Voided(voided) => self.voided(voided, record, number),
            Record::Returned(returned) => self.returned(returned, record, number),
            Record::Resolved(resolved) => self.resolved(resolved, record, number),
            Record::Recycled(_)
            | Record::TermsPart(_)
            | Record::Guessed(_)
            | Record::Planned(_)
            | Record::Commanded(_)
            | Record::Held(_)
            | Record::Marked(_)
            | Record::Tagged(_)
            | Record::Denied(_) => Ok(()),
        }
    }

    fn issued(&mut self, issued: &Issued, record: &Record, number: u64) -> Result<(), String> {
        if self.envelopes.contains_key(&issued.envelope) {
            return Err(format!("envelope {} was issued before", issued.envelope));
        }
        money(issued.total)?;
        let open = issued.source == MoneySource::Vouched;
        let envelope = Envelope {
            sender: issued.sender,
            order: issued.order,
            payment: issued.payment,
            total: issued.total,
            shares: issued.shares,
            split: issued.split,
            source: issued.source,
            state: if open { EnvelopeState::Open } else { EnvelopeState::Reserved },
            created: issued.at,
            opened: if open { issued.at } else { 0 },
            closed: 0,
            claimed: 0,
            claims: 0,
            refunded: 0,
            returned: 0,
        };
        let kept = Kept { envelope, new: true, changed: true, last: 0 };
        self.envelopes.insert(issued.envelope, kept);
        self.sent.push((issued.sender, number, issued.envelope));
        if issued.source == MoneySource::Balance {
            return self.hold(issued, record, number);
        }
        self.transfer(record, number)
    }

    fn hold(&mut self, issued: &Issued, record: &Record, number: u64) -> Result<(), String> {
        let before = money(self.balances.get(&issued.sender).copied().unwrap_or(0))?;
        let change = self.changes.get(&issued.sender).copied().unwrap_or_default();
        let amount = money(issued.total)?;
        let covered = before + change.available >= amount;
        let hold = Hold { user: issued.sender, amount: issued.total, covered };
        self.holds.insert(issued.envelope, hold);
        self.hold_changes.insert(issued.envelope, Some(hold));
        self.verdicts.push(Verdict { envelope: issued.envelope, covered });
        if !covered {
            return Ok(());
        }
        self.changes.entry(issued.sender).or_default().held += amount;
        self.transfer(record, number)
    }

    fn paid(&mut self, paid: &Paid, record: &Record, number: u64) -> Result<(), String> {
        let envelope = self.reserved(paid.envelope, paid.sender, paid.total, paid.source)?;
        envelope.state = EnvelopeState::Open;
        envelope.opened = paid.at;
        if paid.source == MoneySource::Payment {
            envelope.payment = paid.payment;
        } else if !self.let_go(paid.envelope)? {
            return Err(format!("envelope {} is paid by a hold that is not there", paid.envelope));
        }
        self.transfer(record, number)
    }

    fn voided(&mut self, voided: &Voided, record: &Record, number: u64) -> Result<(), String> {
        let envelope =
            self.reserved(voided.envelope, voided.sender, voided.total, voided.source)?;
        envelope.state = EnvelopeState::Voided;
        envelope.closed = voided.at;
        if voided.source == MoneySource::Balance && self.let_go(voided.envelope)? {
            return self.transfer(record, number);
        }
        Ok(())
    }

    /// Ends an order's wait; says whether money was held for it.
    fn let_go(&mut self, id: EnvelopeId) -> Result<bool, String> {
        let Some(hold) = self.holds.remove(&id) else {
            return Ok(false);
        };
        self.hold_changes.insert(id, None);
        if hold.covered {
            self.changes.entry(hold.user).or_default().held -= money(hold.amount)?;
        }
        Ok(hold.covered)
    }

    fn returned(&mut self, back: &Returned, record: &Record, number: u64) -> Result<(), String> {
        let envelope = self.known(back.envelope)?;
        if envelope.state != EnvelopeState::Voided || envelope.sender != back.sender {
            return Err(format!(
                "envelope {} is not a voided order of {}",
                back.envelope, back.sender
            ));
        }
        if envelope.returned != 0 {
            return Err(format!("the payment of envelope {} went back before", back.envelope));
        }
        envelope.returned = back.amount;
        envelope.payment = back.payment;
        self.transfer(record, number)
    }

    fn claimed(&mut self, claim: &Claimed, record: &Record, number: u64) -> Result<(), String> {
        let envelope = self.open(claim.envelope)?;
        let amount = Fen::from(claim.amount);
        let left = envelope.left();
        if amount > left || envelope.claims >= envelope.shares {
            return Err(format!(
                "a share of {amount} fen, but envelope {} has {left}",
                claim.envelope
            ));
        }
        if envelope.claims + 1 == envelope.shares && amount != left {
            return Err(format!("the last share of {} leaves money behind", claim.envelope));
        }
        envelope.credit(amount, claim.at);
        self.transfer(record, number)
    }

    /// A share that was held is credited or goes back. While it was held its money
    /// stayed in the envelope, so nothing had to be booked for that.
    fn resolved(&mut self, held: &Resolved, record: &Record, number: u64) -> Result<(), String> {
        let envelope = self.known(held.envelope)?;
        let (amount, left) = (Fen::from(held.amount), envelope.left());
        if amount > left || envelope.claims >= envelope.shares {
            return Err(format!("{amount} fen were held, but {} has {left}", held.envelope));
        }
        if envelope.sender != held.sender {
            return Err(format!("envelope {} is not of {}", held.envelope, held.sender));
        }
        match held.resolution {
            Resolution::Release => envelope.credit(amount, held.at),
            Resolution::Reject => envelope.give_back(amount, held.at),
        }
        self.transfer(record, number)
    }

    fn closed(&mut self, closed: &Closed, record: &Record, number: u64) -> Result<(), String> {
        let envelope = self.open(closed.envelope)?;
        let left = envelope.left();
        let leaves = closed.refunded.checked_add(closed.held);
        if leaves != Some(left) || closed.sender != envelope.sender {
            return Err(format!(
                "{} fen go to {}, but {left} of envelope {} are {}'s",
                closed.refunded, closed.sender, closed.envelope, envelope.sender
            ));
        }
        envelope.refunded += closed.refunded;
        envelope.closed = closed.at;
        envelope.state = match closed.cause {
            Cause::Expired => EnvelopeState::Expired,
            Cause::Cancelled => EnvelopeState::Cancelled,
        };
        self.transfer(record, number)
    }

    fn known(&mut self, id: EnvelopeId) -> Result<&mut Envelope, String> {
        let kept = self.envelopes.get_mut(&id);
        let kept = kept.ok_or_else(|| format!("envelope {id} is unknown"))?;
        kept.changed = true;
        Ok(&mut kept.envelope)
    }

    fn open(&mut self, id: EnvelopeId) -> Result<&mut Envelope, String> {
        let envelope = self.known(id)?;
        if envelope.state == EnvelopeState::Open {
            return Ok(envelope);
        }
        Err(format!("envelope {id} is {:?}, not open", envelope.state))
    }

    fn reserved(
        &mut self,
        id: EnvelopeId,
        sender: UserId,
        total: Fen,
        source: MoneySource,
    ) -> Result<&mut Envelope, String> {
        let envelope = self.known(id)?;
        let same = (envelope.sender, envelope.total, envelope.source) == (sender, total, source);
        if envelope.state == EnvelopeState::Reserved && same {
            return Ok(envelope);
        }
        Err(format!("envelope {id} is {:?}, not this reserved order", envelope.state))
    }

    /// Moves what the record says. Every account but the outside stays at or
    /// above zero, so none can pass what the outside put in: only the outside
    /// can overflow.
    fn transfer(&mut self, record: &Record, number: u64) -> Result<(), String> {
        let Some(movement) = Movement::of(record) else {
            return Ok(());
        };
        let amount = money(movement.amount)?;
        self.book(&movement, movement.from, -amount, number)?;
        self.book(&movement, movement.to, amount, number)
    }

    fn book(
        &mut self,
        movement: &Movement,
        account: Account,
        amount: i64,
        number: u64,
    ) -> Result<(), String> {
        let user = match account {
            Account::Outside => return self.totals.outside(amount),
            Account::Held => return below_zero(&mut self.totals.held, amount, "held"),
            Account::Escrow => return below_zero(&mut self.totals.escrow, amount, "escrow"),
            Account::User(user) => user,
        };
        if !self.only_payers || self.balances.contains_key(&user) {
            self.changes.entry(user).or_default().available += amount;
        }
        let &Movement { why, amount, envelope, at, .. } = movement;
        self.lines.push(Line { user, number, why, amount, envelope, at });
        Ok(())
    }
}

impl Totals {
    /// Moves `amount` to the world outside.
    pub(super) fn outside(&mut self, amount: i64) -> Result<(), String> {
        let sum = self.outside.checked_add(amount).filter(|&sum| sum <= 0);
        self.outside = sum.ok_or("more money than a ledger can count, or than was put in")?;
        Ok(())
    }
}

fn below_zero(balance: &mut i64, amount: i64, name: &str) -> Result<(), String> {
    let sum = balance.checked_add(amount).filter(|&sum| sum >= 0);
    *balance = sum.ok_or_else(|| format!("the account {name} would fall below zero"))?;
    Ok(())
}

/// An amount as the signed books hold it.
pub(super) fn money(amount: Fen) -> Result<i64, String> {
    i64::try_from(amount).map_err(|_| format!("{amount} fen are more than a ledger can count"))
}
