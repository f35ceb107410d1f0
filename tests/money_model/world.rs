//! The engine on a journal that crashes, the ledger that follows it, and the
//! naive side of both, given the same random operations.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;

use hongbao::audit::Books;
use hongbao::engine::{
    Capacity, Claimed, Engine, EnvelopeLimits, Outcome, Record, RiskSettings, SenderLimits,
};
use hongbao::follow::ledger::embedded::Embedded;
use hongbao::follow::ledger::{Cursor, Entry, Ledger, LedgerError, Verdict};
use hongbao::follow::movement::MovementId;
use hongbao::journal::simulated::{Disk, SimulatedStorage, Tearing};
use hongbao::journal::{Identity, Journal, Recovering};
use hongbao::units::{
    Durability, EnvelopeId, EnvelopeState, Fen, MoneySource, Seed, Split, Time, UserId,
};
use hongbao::wire::{Resolution, RiskRule, SendOrder};

use crate::naive::{Naive, Plain, Purses};

const US: Identity = Identity { cell: 7, shard: 0, shards: 1 };
const SEGMENT_BYTES: usize = 1 << 20;
const START: Time = Time(1_700_000_000_000);
const USERS: u64 = 120;

/// So short a retention that slots are used again.
const CAPACITY: Capacity = Capacity { envelopes: 3000, table_bytes: 48 << 20, retention_s: 900 };

const LIMITS: EnvelopeLimits = EnvelopeLimits {
    shares_max: 100,
    total_fen_max: 10_000_000,
    share_mean_fen_max: 20_000,
    lifetime_s_max: 86_400,
    pay_within_s: 300,
    senders: SenderLimits::NONE,
};

/// So few holds that their list is full now and then.
const RISK: RiskSettings = RiskSettings { holds_max: 400, ..RiskSettings::OFF };

/// A small deterministic source (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.word() % n
    }

    fn below_32(&mut self, n: u32) -> u32 {
        u32::try_from(self.below(u64::from(n))).unwrap()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// How often what has happened; a run in which nothing did proves nothing.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) outcomes: HashMap<String, u64>,
    pub(crate) crashes: u64,
    pub(crate) records_lost: u64,
    pub(crate) records_kept: u64,
    pub(crate) full: u64,
    pub(crate) follows: u64,
}

pub(crate) struct World {
    engine: Engine,
    disk: Disk,
    journal: Option<Journal<SimulatedStorage>>,
    naive: Naive,
    /// Everything durable, counted.
    durable: u64,
    appended: Vec<Entry>,
    /// Durable, and not applied to the ledger.
    queue: VecDeque<Entry>,
    batches: u64,
    position: u64,
    ledger: Option<Box<dyn Ledger>>,
    place: PathBuf,
    purses: Purses,
    verdicts: VecDeque<Verdict>,
    /// A third opinion, of what is applied.
    books: Books,
    next_reference: u64,
    now: Time,
    recent: Vec<EnvelopeId>,
    pub(crate) dice: Dice,
    pub(crate) seen: Seen,
}

fn open(place: &std::path::Path) -> Box<dyn Ledger> {
    Box::new(Embedded::open(place).unwrap())
}

impl World {
    pub(crate) fn new(seed: u64, place: PathBuf) -> Self {
        let disk = Disk::new(US, SEGMENT_BYTES);
        let mut engine = Engine::new(US.cell, CAPACITY, LIMITS).with_risk(RISK);
        let journal = recover(&disk, &mut engine, START).0;
        Self {
            engine,
            disk,
            journal: Some(journal),
            naive: Naive::default(),
            durable: 0,
            appended: Vec::new(),
            queue: VecDeque::new(),
            batches: 0,
            position: 0,
            ledger: Some(open(&place)),
            place,
            purses: Purses::default(),
            verdicts: VecDeque::new(),
            books: Books::new(true, 0),
            next_reference: 1,
            now: START,
            recent: Vec::new(),
            dice: Dice(seed),
            seen: Seen::default(),
        }
    }

    /// One operation, and what must hold after every one.
    pub(crate) fn step(&mut self) {
        self.now.0 += self.dice.below(120);
        // What waits for a real disk is rare: the ledger's is one.
        match self.dice.below(100_000) {
            0..11_000 => self.issue(),
            11_000..13_000 => self.issue_again(),
            13_000..66_000 => self.claim(),
            66_000..69_000 => self.resolve(),
            69_000..74_000 => self.fund(),
            74_000..84_000 => self.cover(),
            84_000..87_000 => self.void(),
            87_000..91_000 => self.cancel(),
            91_000..97_000 => self.tend(),
            97_000..99_770 => self.commit(),
            99_770..99_830 => self.deposit(),
            99_830..99_870 => self.withdraw(),
            99_870..99_995 => self.follow(),
            _ => self.crash(),
        }
        let totals = self.engine.totals();
        assert_eq!(totals, self.naive.totals);
        let inside = totals.held + totals.left;
        assert_eq!(totals.funded, totals.claimed + totals.refunded + inside);
    }

    fn at(&self) -> u32 {
        self.now.seconds()
    }

    fn told(&mut self, what: &str, outcome: &Outcome) {
        let name = format!("{outcome:?}");
        let name = name.split([' ', '(']).next().unwrap_or_default();
        *self.seen.outcomes.entry(format!("{what} {name}")).or_default() += 1;
    }

    /// What the shard does with a record: journal, engine; and the naive side.
    fn enter(&mut self, record: Record) {
        let end = self.journal.as_mut().unwrap().append(&record, self.now).unwrap();
        self.engine.apply(&record).expect("a decision's record fits");
        self.naive.apply(&record);
        let index = u32::try_from(self.appended.len()).unwrap();
        // Its batch by the page of its first record: unique, and in order.
        let first = self.appended.first().map_or((end.0 - 1) / 4096 * 4096, |e| e.id.batch);
        let (cell, shard, arrangement) = (US.cell, US.shard, 1);
        let id = MovementId { cell, arrangement, shard, batch: first, index };
        self.appended.push(Entry { id, record });
    }

    fn any(&mut self) -> Option<EnvelopeId> {
        if self.recent.is_empty() {
            return None;
        }
        let window = if self.dice.one_in(10) { 2000 } else { 60 };
        let from = self.recent.len().saturating_sub(window);
        let n = u64::try_from(self.recent.len() - from).unwrap();
        let at = from + usize::try_from(self.dice.below(n)).unwrap();
        Some(self.recent[at])
    }

    /// One that is still kept, after time has done to it what was due.
    fn touched(&mut self) -> Option<EnvelopeId> {
        let envelope = self.any()?;
        let known = self.naive.envelopes.get(&envelope);
        let due = known.is_some_and(|plain| plain.is_live() && self.at() >= plain.until);
        let record = self.engine.overdue(envelope, self.now);
        assert_eq!(record.is_some(), due, "{envelope}");
        if let Some(record) = record {
            self.enter(record);
        }
        if self.naive.envelopes.contains_key(&envelope) {
            return Some(envelope);
        }
        assert_eq!(self.engine.show(envelope), None);
        None
    }

    fn issue(&mut self) {
        let sources = [MoneySource::Vouched, MoneySource::Balance, MoneySource::Payment];
        let source = sources[usize::try_from(self.dice.below(3)).unwrap()];
        let many = if self.dice.one_in(20) { 100 } else { 6 };
        let shares = 1 + self.dice.below_32(many);
        let long = if self.dice.one_in(3) { 60 } else { 3000 };
        let named = source != MoneySource::Balance && self.dice.one_in(2);
        let splits = [Split::Equal, Split::DoubleMean, Split::LineCutting];
        let order = SendOrder {
            nonce: self.dice.below_32(u32::MAX),
            source,
            sender: UserId(self.dice.below(USERS)),
            order: self.dice.below(1 << 40),
            payment: if named { 1 + self.dice.below(1000) } else { 0 },
            total: u64::from(shares) + self.dice.below(u64::from(shares) * 300),
            shares,
            lifetime_s: 1 + self.dice.below_32(long),
            share_max: 0,
            split: splits[usize::try_from(self.dice.below(3)).unwrap()],
        };
        let seed = Seed([self.dice.word(), self.dice.word()]);
        let decision = self.engine.issue(&order, seed, self.now);
        if decision.outcome == Outcome::Full {
            assert_eq!(decision.record, None);
            self.seen.full += 1;
            return;
        }
        let Some(record @ Record::Issued(issued)) = decision.record else {
            panic!("{order:?} gives {decision:?}");
        };
        let is_open = source == MoneySource::Vouched;
        let state = if is_open { EnvelopeState::Open } else { EnvelopeState::Reserved };
        let envelope = issued.envelope;
        assert_eq!(decision.outcome, Outcome::Issued { envelope, state, repeated: false });
        self.told("issue", &decision.outcome);
        self.enter(record);
        self.recent.push(envelope);
    }

    fn issue_again(&mut self) {
        let Some(envelope) = self.touched() else { return };
        let plain = &self.naive.envelopes[&envelope];
        let (same, state) = (plain.order, plain.state);
        let other = match self.dice.below(4) {
            0 => SendOrder { total: same.total + 1, ..same },
            1 => SendOrder { lifetime_s: same.lifetime_s + 1, ..same },
            _ => same,
        };
        let decision = self.engine.issue(&other, Seed([1, 2]), self.now);
        let repeat = Outcome::Issued { envelope, state, repeated: true };
        let outcome = if other == same { repeat } else { Outcome::Conflict };
        assert_eq!((decision.outcome, decision.record), (outcome, None));
        self.told("issue again", &outcome);
    }

    fn claim(&mut self) {
        let Some(envelope) = self.touched() else { return };
        let user = UserId(self.dice.below(USERS));
        let decision = self.engine.claim(envelope, user, self.now);
        let plain = &self.naive.envelopes[&envelope];
        if let Some(refusal) = plain.claim(user, self.at()) {
            assert_eq!((decision.outcome, decision.record), (refusal, None));
        } else {
            let Outcome::Claimed { amount } = decision.outcome else { panic!("{decision:?}") };
            assert!(plain.allows(amount), "{amount} of {plain:?}");
        }
        self.told("claim", &decision.outcome);
        match decision.record {
            Some(Record::Claimed(claimed)) if self.dice.one_in(4) => self.hold(&claimed),
            Some(record) => self.enter(record),
            None => {}
        }
    }

    /// The share is held in the place of being given.
    fn hold(&mut self, claimed: &Claimed) {
        let hold_s = 1 + self.dice.below_32(2000);
        let decision = self.engine.hold(claimed, RiskRule::WatchList, hold_s);
        self.told("hold", &decision.outcome);
        match decision.record {
            Some(record) => self.enter(record),
            None => assert_eq!(decision.outcome, Outcome::Full),
        }
    }

    /// Somebody decides about a share: most of them are held.
    fn resolve(&mut self) {
        let Some(envelope) = self.touched() else { return };
        let plain = &self.naive.envelopes[&envelope];
        let held: Vec<UserId> = plain.held.keys().copied().collect();
        let user = match u64::try_from(held.len()).unwrap() {
            count if count > 0 && !self.dice.one_in(6) => {
                held[usize::try_from(self.dice.below(count)).unwrap()]
            }
            _ => UserId(self.dice.below(USERS)),
        };
        let how = if self.dice.one_in(2) { Resolution::Release } else { Resolution::Reject };
        let expected = self.naive.envelopes[&envelope].resolve(user, how, self.at());
        let decision = self.engine.resolve(envelope, user, how, self.now);
        self.decided("resolve", decision, expected);
    }

    /// Compares a decision with what must come of it, and does it.
    fn decided(
        &mut self,
        what: &str,
        decision: hongbao::engine::Decision,
        (outcome, changes): (Outcome, bool),
    ) {
        assert_eq!((decision.outcome, decision.record.is_some()), (outcome, changes), "{what}");
        self.told(what, &outcome);
        if let Some(record) = decision.record {
            self.enter(record);
        }
    }

    fn fund(&mut self) {
        let Some(envelope) = self.touched() else { return };
        let plain = &self.naive.envelopes[&envelope];
        let named = if plain.payment == 0 { 1 + self.dice.below(9) } else { plain.payment };
        let payment = named + u64::from(self.dice.one_in(8));
        let amount = plain.order.total + u64::from(self.dice.one_in(12));
        let expected = plain.fund(payment, amount, self.at());
        let decision = self.engine.fund(envelope, payment, amount, self.now);
        self.decided("fund", decision, expected);
    }

    /// The ledger's next verdict arrives; or it never does, until a restart.
    fn cover(&mut self) {
        let Some(verdict) = self.verdicts.pop_front() else { return };
        if self.dice.one_in(30) {
            self.verdicts.push_back(verdict); // told twice
        }
        let Verdict { envelope, covered } = verdict;
        if let Some(record) = self.engine.overdue(envelope, self.now) {
            self.enter(record);
        }
        let decision = self.engine.cover(envelope, covered, self.now);
        let Some(plain) = self.naive.envelopes.get(&envelope) else {
            assert_eq!((decision.outcome, decision.record), (Outcome::NotFound, None));
            return;
        };
        let expected = plain.cover(covered, self.at());
        self.decided("cover", decision, expected);
    }

    fn void(&mut self) {
        let Some(envelope) = self.touched() else { return };
        let plain = &self.naive.envelopes[&envelope];
        let sender = UserId(plain.order.sender.0 + u64::from(self.dice.one_in(6)));
        let expected = plain.void(sender, self.at());
        let decision = self.engine.void(envelope, sender, self.now);
        self.decided("void", decision, expected);
    }

    fn cancel(&mut self) {
        let Some(envelope) = self.touched() else { return };
        let plain = &self.naive.envelopes[&envelope];
        let sender = UserId(plain.order.sender.0 + u64::from(self.dice.one_in(6)));
        let expected = plain.cancel(sender, self.at());
        let decision = self.engine.cancel(envelope, sender, self.now);
        self.decided("cancel", decision, expected);
    }

    /// Time passes: what is due ends, what is old is forgotten.
    fn tend(&mut self) {
        self.now.0 += self.dice.below(2000);
        for _ in 0..8 {
            let due = self.naive.due.first().is_some_and(|(until, _)| self.at() >= *until);
            let Some(record) = self.engine.due(self.now) else {
                assert!(!due || self.engine.is_behind(self.now), "what is due is told");
                break;
            };
            assert!(due && self.at() >= self.naive.envelopes[&record.envelope()].until);
            self.enter(record);
        }
        while let Some(record) = self.engine.due_hold(self.now) {
            let Record::Resolved(resolved) = record else { panic!("{record:?}") };
            let plain = &self.naive.envelopes[&resolved.envelope];
            assert!(self.at() >= plain.held[&resolved.user]);
            self.enter(record);
        }
        let overdue = |plain: &Plain| plain.held.values().any(|&until| until <= self.at());
        assert!(!self.naive.envelopes.values().any(overdue), "every hold ends in time");
        for _ in 0..8 {
            let Some(record) = self.engine.recyclable(self.now) else { break };
            assert!(self.naive.envelopes[&record.envelope()].held.is_empty());
            assert!(!self.naive.envelopes[&record.envelope()].is_live());
            self.enter(record);
        }
    }

    /// What was appended is durable, and the follower may see it.
    fn commit(&mut self) {
        let committed = self.journal.as_mut().unwrap().commit(self.now).unwrap();
        self.durable(self.appended.len());
        self.position = self.position.max(committed.upto().0);
    }

    fn durable(&mut self, records: usize) {
        self.durable += u64::try_from(records).unwrap();
        self.queue.extend(self.appended.drain(..).take(records));
        self.naive.settle();
        self.batches += 1;
    }

    /// The follower: some of what is durable, whole batches, in one transaction.
    fn follow(&mut self) {
        let take = usize::try_from(self.dice.below(2000)).unwrap().min(self.queue.len());
        let mut group: Vec<Entry> = self.queue.drain(..take).collect();
        while let (Some(last), Some(next)) = (group.last(), self.queue.front()) {
            if last.id.batch != next.id.batch {
                break;
            }
            group.extend(self.queue.pop_front());
        }
        let Some(last) = group.last() else { return };
        // The cursor is anywhere after the last batch and before the next.
        let position = self.queue.front().map_or(self.position, |next| next.id.batch);
        assert!(position > last.id.batch);
        let cursor = Cursor { arrangement: 1, position, batch: self.batches, ..Cursor::default() };
        let verdicts = self.ledger.as_mut().unwrap().apply(&group, &cursor).unwrap();
        for entry in &group {
            self.purses.apply(&entry.record);
            self.books.count(&entry.record);
            self.books.enter(&entry.record).unwrap();
        }
        for verdict in &verdicts {
            // In a group an order may be voided after it was judged.
            let known = self.purses.verdicts.get(&verdict.envelope);
            assert!(known.is_none_or(|covered| *covered == verdict.covered), "{verdict:?}");
        }
        self.verdicts.extend(verdicts);
        self.seen.follows += 1;
        assert_eq!(self.purses.sum(), 0);
        for entry in group.iter().rev().take(3) {
            let user = match entry.record {
                Record::Claimed(claimed) => claimed.user,
                Record::Resolved(resolved) => resolved.user,
                Record::Issued(issued) => issued.sender,
                _ => continue,
            };
            self.compare_purse(user);
        }
    }

    fn compare_purse(&mut self, user: UserId) {
        let balance = self.ledger.as_mut().unwrap().balance(user).unwrap();
        let ours = (self.purses.of(user), self.purses.held(user));
        assert_eq!((balance.available, balance.held), ours, "user {user}");
    }

    fn deposit(&mut self) {
        let (user, fen) = (UserId(self.dice.below(USERS)), 1 + self.dice.below(200_000));
        self.move_by_hand(user, i128::from(fen));
    }

    fn withdraw(&mut self) {
        let user = UserId(self.dice.below(USERS));
        let fen = 1 + self.dice.below(2 * self.purses.of(user) + 1);
        self.move_by_hand(user, -i128::from(fen));
    }

    /// An operator's movement; now and then one that was done before.
    fn move_by_hand(&mut self, user: UserId, fen: i128) {
        let reference = if self.dice.one_in(8) {
            1 + self.dice.below(self.next_reference)
        } else {
            self.next_reference
        };
        self.next_reference = self.next_reference.max(reference + 1);
        let amount = Fen::try_from(fen.unsigned_abs()).unwrap();
        let ledger = self.ledger.as_mut().unwrap();
        let at = self.now.seconds();
        let told = if fen > 0 {
            ledger.deposit(user, amount, reference, at)
        } else {
            ledger.withdraw(user, amount, reference, at)
        };
        match (self.purses.references.get(&reference), told) {
            (Some(before), Ok(_)) => assert_eq!(*before, (user, fen), "done once"),
            (Some(before), Err(LedgerError::Conflict(_))) => assert_ne!(*before, (user, fen)),
            (None, Err(LedgerError::Insufficient { balance })) => {
                assert_eq!(balance, self.purses.of(user));
                assert!(fen < 0 && balance < amount);
            }
            (None, Ok(_)) => {
                assert!(fen > 0 || self.purses.of(user) >= amount);
                self.purses.references.insert(reference, (user, fen));
                self.purses.shift(user, fen);
            }
            (_, Err(error)) => panic!("{error}"),
        }
        self.compare_purse(user);
    }

    /// The process dies, or the power fails: what was committed is there, and
    /// of the rest a beginning, which nobody was told of.
    fn crash(&mut self) {
        let mut journal = self.journal.take().unwrap();
        let in_commit = self.dice.one_in(2);
        if in_commit && !self.appended.is_empty() {
            self.disk.fail_sync(1);
            assert!(journal.commit(self.now).is_err());
        }
        drop(journal);
        if self.dice.one_in(3) {
            self.disk.restart();
        } else {
            let tearing = if self.dice.one_in(2) { Tearing::Pages } else { Tearing::Sectors };
            self.disk.crash(self.dice.word(), tearing);
        }
        self.engine = Engine::new(US.cell, CAPACITY, LIMITS).with_risk(RISK);
        let (journal, records, end) = recover(&self.disk, &mut self.engine, self.now);
        self.journal = Some(journal);
        let survived = usize::try_from(records - self.durable).unwrap();
        assert!(survived <= self.naive.unsettled());
        self.seen.crashes += 1;
        self.seen.records_kept += u64::try_from(survived).unwrap();
        self.seen.records_lost += u64::try_from(self.appended.len() - survived).unwrap();
        self.naive.crash(survived);
        self.durable(survived);
        self.appended.clear();
        self.position = self.position.max(end);
        // The ledger is what its last transaction left; what was on its way from
        // there is told again.
        drop(self.ledger.take());
        self.ledger = Some(open(&self.place));
        self.verdicts = self.ledger.as_mut().unwrap().pending().unwrap().into();
        let told: Vec<_> = self.verdicts.iter().map(|v| (v.envelope, v.covered)).collect();
        let mut told_sorted = told;
        told_sorted.sort_unstable();
        let ours: Vec<_> = self.purses.verdicts.iter().map(|(e, covered)| (*e, *covered)).collect();
        assert_eq!(told_sorted, ours);
        self.compare_all();
    }

    /// Everything, on all sides.
    fn compare_all(&mut self) {
        for (envelope, plain) in &self.naive.envelopes {
            let Some(summary) = self.engine.show(*envelope) else {
                panic!("{envelope} is gone");
            };
            assert_eq!((summary.state, summary.total), (plain.state, plain.order.total));
            let rejected = plain.fen_of(plain.rejected.iter());
            let held = plain.fen_of(plain.held.keys());
            assert_eq!(summary.refunded, plain.refunded + rejected);
            let left = if plain.state == EnvelopeState::Open { plain.rest() } else { 0 };
            assert_eq!(summary.left, left);
            let rows = self.engine.rows(*envelope, 0);
            let rows: Vec<_> = rows.map(|row| (row.user, Fen::from(row.amount))).collect();
            let given = rows.iter().filter(|row| row.1 > 0).copied();
            assert_eq!(given.collect::<std::collections::BTreeMap<_, _>>(), plain.given());
            assert_eq!(rows.len(), plain.shares.len(), "a withheld share has its place");
            if plain.is_paid() {
                let claimed: Fen = plain.given().values().sum();
                let inside = held + summary.left;
                assert_eq!(summary.total, claimed + summary.refunded + inside);
            }
        }
        assert_eq!(
            u64::from(self.engine.fill().envelopes),
            u64::try_from(self.naive.envelopes.len()).unwrap()
        );
        for user in 0..USERS {
            self.compare_purse(UserId(user));
        }
    }

    /// The follower catches up, and then the money is where everybody says.
    pub(crate) fn finish(&mut self) {
        self.commit();
        while !self.queue.is_empty() {
            self.follow();
        }
        self.compare_all();
        let totals = self.engine.totals();
        let balance = self.books.balance();
        assert!(balance.is_even());
        assert_eq!((balance.before, balance.funded), (0, totals.funded));
        assert_eq!((balance.claimed, balance.refunded), (totals.claimed, totals.refunded));
        assert_eq!((balance.left, balance.held), (totals.left, totals.held));
        assert_eq!(u128::try_from(self.purses.escrow).unwrap(), totals.left + totals.held);
        let reserved =
            |envelope: &EnvelopeId| self.naive.envelopes[envelope].state == EnvelopeState::Reserved;
        assert!(self.purses.holds.keys().all(reserved));
        drop(self.ledger.take());
        Embedded::open(&self.place).unwrap().check().unwrap();
    }
}

/// What a start does: the engine from the journal; how many records there were,
/// and where they end.
fn recover(disk: &Disk, engine: &mut Engine, now: Time) -> (Journal<SimulatedStorage>, u64, u64) {
    let recovering = Recovering::open(disk.storage(), US, Durability::Sync).unwrap();
    let replayed = recovering.replay(now, |record| engine.apply(record));
    let (journal, recovered) = replayed.unwrap();
    (journal, recovered.records, recovered.end.0)
}
