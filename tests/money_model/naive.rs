//! Envelopes and purses as anyone would write them down: plain maps, changed by
//! one record at a time, with a way back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hongbao::engine::{Cause, Issued, Outcome, Record, Totals};
use hongbao::units::{EnvelopeId, EnvelopeState, Fen, MoneySource, UserId, VoidCause};
use hongbao::wire::{Resolution, SendOrder};

use EnvelopeState::{Cancelled, Exhausted, Expired, Open, Reserved, Voided};

/// An envelope.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    pub(crate) order: SendOrder,
    pub(crate) state: EnvelopeState,
    pub(crate) cause: Option<VoidCause>,
    pub(crate) returned: bool,
    /// The payment that was taken, or else the one that was ordered.
    pub(crate) payment: u64,
    /// When it expires, lapses or was ended.
    pub(crate) until: u32,
    /// Also those that are held or were rejected.
    pub(crate) shares: BTreeMap<UserId, Fen>,
    /// Whose shares are held, and until when.
    pub(crate) held: BTreeMap<UserId, u32>,
    pub(crate) rejected: BTreeSet<UserId>,
    pub(crate) refunded: Fen,
}

impl Plain {
    fn claimed(&self) -> Fen {
        self.shares.values().sum()
    }

    pub(crate) fn rest(&self) -> Fen {
        self.order.total - self.claimed()
    }

    pub(crate) fn is_paid(&self) -> bool {
        !matches!(self.state, Reserved | Voided)
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state, Open | Reserved)
    }

    fn shares_left(&self) -> u64 {
        u64::from(self.order.shares) - u64::try_from(self.shares.len()).unwrap()
    }

    /// Whether this may be the next share, by the rules alone.
    pub(crate) fn allows(&self, amount: Fen) -> bool {
        let others = self.shares_left() - 1;
        let rest = self.rest();
        amount >= 1 && if others == 0 { amount == rest } else { rest >= amount + others }
    }

    /// Why nothing comes out of it at this moment.
    pub(crate) fn closed(&self, at: u32) -> Option<Outcome> {
        match self.state {
            Open if at >= self.until => Some(Outcome::Expired),
            Reserved if at >= self.until => Some(Outcome::NeverPaid),
            Open => None,
            Exhausted => Some(Outcome::SoldOut),
            Expired => Some(Outcome::Expired),
            Cancelled => Some(Outcome::Cancelled),
            Reserved => Some(Outcome::NotPaid),
            Voided => Some(Outcome::NeverPaid),
        }
    }

    /// What a claim must be told; `None` where it must win.
    pub(crate) fn claim(&self, user: UserId, at: u32) -> Option<Outcome> {
        let withheld = self.held.contains_key(&user) || self.rejected.contains(&user);
        if withheld {
            return Some(Outcome::Withheld);
        }
        let held = self.shares.get(&user).map(|&amount| Outcome::AlreadyClaimed { amount });
        held.or_else(|| self.closed(at))
    }

    /// What is told of a decision about a held share, and whether it changes something.
    /// From a hold's end on time decides, and it rejects.
    pub(crate) fn resolve(&self, user: UserId, how: Resolution, at: u32) -> (Outcome, bool) {
        let Some(&amount) = self.shares.get(&user) else { return (Outcome::NotFound, false) };
        let told = |won, repeated| {
            if how == won { Outcome::Resolved { amount, repeated } } else { Outcome::Conflict }
        };
        match self.held.get(&user) {
            Some(&until) if at >= until => (told(Resolution::Reject, false), true),
            Some(_) => (told(how, false), true),
            None if self.rejected.contains(&user) => (told(Resolution::Reject, true), false),
            None => (told(Resolution::Release, true), false),
        }
    }

    /// The shares that were given, as others see them.
    pub(crate) fn given(&self) -> BTreeMap<UserId, Fen> {
        let is_out = |user: &UserId| self.held.contains_key(user) || self.rejected.contains(user);
        let given = self.shares.iter().filter(|(user, _)| !is_out(user));
        given.map(|(user, fen)| (*user, *fen)).collect()
    }

    /// The money of some shares.
    pub(crate) fn fen_of<'a>(&self, users: impl Iterator<Item = &'a UserId>) -> Fen {
        users.map(|user| self.shares[user]).sum()
    }

    /// What a cancel must be told, and whether it changes something.
    pub(crate) fn cancel(&self, sender: UserId, at: u32) -> (Outcome, bool) {
        let amount = self.rest();
        match self.closed(at) {
            _ if sender != self.order.sender => (Outcome::Denied, false),
            _ if self.state == Cancelled => (Outcome::Refunded { amount, repeated: true }, false),
            Some(refusal) => (refusal, false),
            None => (Outcome::Refunded { amount, repeated: false }, true),
        }
    }

    /// What a confirmed payment must be told, and whether it changes something.
    pub(crate) fn fund(&self, payment: u64, amount: Fen, at: u32) -> (Outcome, bool) {
        let is_it = self.order.source == MoneySource::Payment
            && amount == self.order.total
            && (self.payment == 0 || self.payment == payment);
        let once = |repeated| Outcome::Returned { amount, repeated };
        match self.state {
            _ if !is_it => (Outcome::Conflict, false),
            Reserved if at >= self.until => (Outcome::NeverPaid, false),
            Reserved => (Outcome::Funded { repeated: false }, true),
            Voided => (once(self.returned), !self.returned),
            _ => (Outcome::Funded { repeated: true }, false),
        }
    }

    /// What the ledger's verdict must lead to.
    pub(crate) fn cover(&self, covered: bool, at: u32) -> (Outcome, bool) {
        match self.state {
            _ if self.order.source != MoneySource::Balance => (Outcome::Conflict, false),
            Reserved if at >= self.until => (Outcome::NeverPaid, false),
            Reserved if covered => (Outcome::Funded { repeated: false }, true),
            Reserved => (Outcome::Voided { repeated: false }, true),
            Voided => (Outcome::NeverPaid, false),
            _ => (Outcome::Funded { repeated: true }, false),
        }
    }

    /// What a withdrawal of the order must be told.
    pub(crate) fn void(&self, sender: UserId, at: u32) -> (Outcome, bool) {
        match self.closed(at) {
            _ if sender != self.order.sender => (Outcome::Denied, false),
            _ if self.cause == Some(VoidCause::Withdrawn) => {
                (Outcome::Voided { repeated: true }, false)
            }
            None => (Outcome::Conflict, false),
            Some(Outcome::NotPaid) => (Outcome::Voided { repeated: false }, true),
            Some(refusal) => (refusal, false),
        }
    }
}

/// All envelopes, and how each record is taken back.
#[derive(Default)]
pub(crate) struct Naive {
    pub(crate) envelopes: BTreeMap<EnvelopeId, Plain>,
    pub(crate) orders: HashMap<(UserId, u64), EnvelopeId>,
    pub(crate) due: BTreeSet<(u32, EnvelopeId)>,
    pub(crate) totals: Totals,
    /// What each record that is not durable yet has changed.
    undo: Vec<(EnvelopeId, Option<Plain>, Totals)>,
}

impl Naive {
    /// Does what the record says.
    pub(crate) fn apply(&mut self, record: &Record) {
        let id = record.envelope();
        let before = self.envelopes.get(&id).cloned();
        self.undo.push((id, before.clone(), self.totals));
        let after = self.changed(record, before.clone());
        self.put(id, before.as_ref(), after);
    }

    /// Everything up to here is durable.
    pub(crate) fn settle(&mut self) {
        self.undo.clear();
    }

    /// Of the records that were not durable only the first have survived.
    pub(crate) fn crash(&mut self, survived: usize) {
        for (id, before, totals) in self.undo.split_off(survived).into_iter().rev() {
            let now = self.envelopes.get(&id).cloned();
            self.put(id, now.as_ref(), before);
            self.totals = totals;
        }
        self.undo.clear();
    }

    pub(crate) fn unsettled(&self) -> usize {
        self.undo.len()
    }

    fn put(&mut self, id: EnvelopeId, old: Option<&Plain>, new: Option<Plain>) {
        if let Some(old) = old {
            self.due.remove(&(old.until, id));
            self.orders.remove(&(old.order.sender, old.order.order));
            self.envelopes.remove(&id);
        }
        if let Some(new) = new {
            if new.is_live() {
                self.due.insert((new.until, id));
            }
            self.orders.insert((new.order.sender, new.order.order), id);
            self.envelopes.insert(id, new);
        }
    }

    fn opened(&mut self, total: Fen) {
        self.totals.envelopes += 1;
        self.totals.open += 1;
        self.totals.funded += u128::from(total);
        self.totals.left += u128::from(total);
    }

    /// The envelope of an order.
    fn ordered(&mut self, r: &Issued) -> Plain {
        let is_open = r.source == MoneySource::Vouched;
        let plain = Plain {
            order: SendOrder {
                nonce: r.nonce,
                source: r.source,
                sender: r.sender,
                order: r.order,
                payment: r.payment,
                total: r.total,
                shares: r.shares,
                lifetime_s: r.lifetime_s,
                share_max: r.share_max,
                split: r.split,
            },
            state: if is_open { Open } else { Reserved },
            cause: None,
            returned: false,
            payment: r.payment,
            until: r.at + if is_open { r.lifetime_s } else { r.pay_within_s },
            shares: BTreeMap::new(),
            held: BTreeMap::new(),
            rejected: BTreeSet::new(),
            refunded: 0,
        };
        if is_open {
            self.opened(r.total);
        } else {
            self.totals.reserved += 1;
        }
        plain
    }

    /// The envelope after the record.
    fn changed(&mut self, record: &Record, before: Option<Plain>) -> Option<Plain> {
        if let Record::Issued(r) = record {
            assert!(before.is_none(), "ids are unique");
            return Some(self.ordered(r));
        }
        let mut plain = before.expect("only known envelopes change");
        match record {
            Record::Claimed(r) => {
                plain.shares.insert(r.user, r.amount.into());
                if plain.shares_left() == 0 {
                    plain.state = Exhausted;
                    self.totals.open -= 1;
                }
                self.totals.claims += 1;
                self.totals.claimed += u128::from(r.amount);
                self.totals.left -= u128::from(r.amount);
            }
            Record::Closed(r) => {
                plain.state = if r.cause == Cause::Expired { Expired } else { Cancelled };
                plain.refunded = r.refunded;
                self.totals.open -= 1;
                self.totals.refunded += u128::from(r.refunded);
                self.totals.left -= u128::from(r.refunded);
            }
            Record::Paid(r) => {
                plain.state = Open;
                plain.payment = r.payment;
                plain.until = r.at + plain.order.lifetime_s;
                self.totals.reserved -= 1;
                self.opened(r.total);
            }
            Record::Voided(r) => {
                plain.state = Voided;
                plain.cause = Some(r.cause);
                self.totals.reserved -= 1;
                self.totals.voided += 1;
            }
            Record::Returned(r) => {
                plain.returned = true;
                plain.payment = r.payment;
                self.totals.returned += u128::from(r.amount);
            }
            Record::Recycled(_) => return None,
            // They move no money.
            Record::Planned(_)
            | Record::Commanded(_)
            | Record::Marked(_)
            | Record::Tagged(_)
            | Record::Denied(_) => {}
            Record::Held(r) => {
                let fen = u64::from(r.claimed.amount);
                plain.shares.insert(r.claimed.user, fen);
                plain.held.insert(r.claimed.user, r.until);
                if plain.shares_left() == 0 {
                    plain.state = Exhausted;
                    self.totals.open -= 1;
                }
                self.totals.held += u128::from(fen);
                self.totals.left -= u128::from(fen);
            }
            Record::Resolved(r) => {
                plain.held.remove(&r.user);
                let fen = u128::from(r.amount);
                self.totals.held -= fen;
                if r.resolution == Resolution::Release {
                    self.totals.claims += 1;
                    self.totals.claimed += fen;
                } else {
                    plain.rejected.insert(r.user);
                    self.totals.refunded += fen;
                }
            }
            Record::Issued(_) => unreachable!("done above"),
            Record::TermsPart(_) | Record::Guessed(_) => unreachable!("no order here has terms"),
        }
        Some(plain)
    }
}

/// Money by person, as a list of what was committed and what operators did
/// makes it.
#[derive(Default)]
pub(crate) struct Purses {
    pub(crate) available: BTreeMap<UserId, i128>,
    pub(crate) holds: BTreeMap<EnvelopeId, (UserId, Fen)>,
    pub(crate) escrow: i128,
    pub(crate) outside: i128,
    /// Orders from a balance whose fate is open, and what was said of each.
    pub(crate) verdicts: BTreeMap<EnvelopeId, bool>,
    pub(crate) references: HashMap<u64, (UserId, i128)>,
}

impl Purses {
    pub(crate) fn of(&self, user: UserId) -> Fen {
        Fen::try_from(self.available.get(&user).copied().unwrap_or(0)).expect("never below zero")
    }

    pub(crate) fn held(&self, user: UserId) -> Fen {
        self.holds.values().filter(|(of, _)| *of == user).map(|(_, fen)| fen).sum()
    }

    /// All money; always nothing, because what is here is missing outside.
    pub(crate) fn sum(&self) -> i128 {
        let held: Fen = self.holds.values().map(|(_, fen)| fen).sum();
        self.available.values().sum::<i128>() + i128::from(held) + self.escrow + self.outside
    }

    /// An operator's deposit, or with less than zero a withdrawal.
    pub(crate) fn shift(&mut self, user: UserId, fen: i128) {
        *self.available.entry(user).or_default() += fen;
        self.outside -= fen;
    }

    /// What a committed record moves.
    pub(crate) fn apply(&mut self, record: &Record) {
        let mut give = |user: UserId, fen: Fen| {
            *self.available.entry(user).or_default() += i128::from(fen);
        };
        match record {
            Record::Issued(r) => match r.source {
                MoneySource::Vouched => {
                    self.outside -= i128::from(r.total);
                    self.escrow += i128::from(r.total);
                }
                MoneySource::Balance => {
                    let covered = self.of(r.sender) >= r.total;
                    self.verdicts.insert(r.envelope, covered);
                    if covered {
                        self.holds.insert(r.envelope, (r.sender, r.total));
                        *self.available.entry(r.sender).or_default() -= i128::from(r.total);
                    }
                }
                MoneySource::Payment => {}
            },
            Record::Paid(r) => {
                if r.source == MoneySource::Balance {
                    let (user, fen) = self.holds.remove(&r.envelope).expect("it was held");
                    assert_eq!((user, fen), (r.sender, r.total));
                    self.verdicts.remove(&r.envelope);
                } else {
                    self.outside -= i128::from(r.total);
                }
                self.escrow += i128::from(r.total);
            }
            Record::Voided(r) => {
                self.verdicts.remove(&r.envelope);
                if let Some((user, fen)) = self.holds.remove(&r.envelope) {
                    give(user, fen);
                }
            }
            Record::Claimed(r) => {
                give(r.user, r.amount.into());
                self.escrow -= i128::from(r.amount);
            }
            Record::Closed(r) => {
                give(r.sender, r.refunded);
                self.escrow -= i128::from(r.refunded);
            }
            Record::Returned(r) => {
                give(r.sender, r.amount);
                self.outside -= i128::from(r.amount);
            }
            Record::Recycled(_)
            | Record::TermsPart(_)
            | Record::Guessed(_)
            | Record::Planned(_)
            | Record::Commanded(_)
            | Record::Held(_)
            | Record::Marked(_)
            | Record::Tagged(_)
            | Record::Denied(_) => {}
            Record::Resolved(r) => {
                let release = r.resolution == Resolution::Release;
                give(if release { r.user } else { r.sender }, r.amount.into());
                self.escrow -= i128::from(r.amount);
            }
        }
    }
}
