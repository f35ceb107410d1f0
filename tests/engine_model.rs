//! The engine against a naive model of plain maps, and what it does at its
//! borders: full tables, wrong ids, records that do not fit.
//!
//! The model knows the rules of DOMAIN and nothing of slots, classes or seeds;
//! the amounts of random splits are checked against what any split must keep.

use std::collections::{BTreeMap, HashMap};

use hongbao::engine::{
    Capacity, Cause, Claimed, Closed, Decision, Engine, EnvelopeLimits, Funded, Misfit, Outcome,
    Record, Totals, index, partition_of,
};
use hongbao::limits::DETAIL_ROWS_MAX;
use hongbao::units::{EnvelopeId, EnvelopeState, Fen, Seed, Split, Time, UserId};
use hongbao::wire::{BadRequest, Row, SendOrder, Summary};

const CELL: u8 = 7;
const START: u64 = 1_700_000_000_000;

const LIMITS: EnvelopeLimits = EnvelopeLimits {
    shares_max: 3000,
    total_fen_max: 10_000_000,
    share_mean_fen_max: 20_000,
    lifetime_s_max: 86_400,
};

fn engine(envelopes: u32, table_bytes: usize) -> Engine {
    Engine::new(CELL, Capacity { envelopes, table_bytes }, LIMITS)
}

/// A small deterministic source for the tests: splitmix64.
struct Dice(u64);

impl Dice {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.word() % n
    }

    fn below_32(&mut self, n: u32) -> u32 {
        u32::try_from(self.below(u64::from(n))).expect("below a u32")
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len().max(1).try_into().expect("small"));
        from.get(usize::try_from(at).expect("small")).copied()
    }
}

/// An envelope as anyone would write it down.
struct Plain {
    order: SendOrder,
    created_at: u32,
    state: EnvelopeState,
    rows: Vec<Row>,
    shares_of: HashMap<u64, u32>,
    refunded: Fen,
}

impl Plain {
    fn claimed_fen(&self) -> Fen {
        self.rows.iter().map(|row| u64::from(row.amount)).sum()
    }

    fn rest(&self) -> Fen {
        self.order.total - self.claimed_fen()
    }

    fn expires_at(&self) -> u32 {
        self.created_at + self.order.lifetime_s
    }

    fn shares_left(&self) -> u32 {
        self.order.shares - u32::try_from(self.rows.len()).expect("within shares")
    }

    fn closed(&self) -> Option<Outcome> {
        match self.state {
            EnvelopeState::Open => None,
            EnvelopeState::Exhausted => Some(Outcome::SoldOut),
            EnvelopeState::Expired => Some(Outcome::Expired),
            EnvelopeState::Cancelled => Some(Outcome::Cancelled),
        }
    }

    fn summary(&self) -> Summary {
        let open = self.state == EnvelopeState::Open;
        Summary {
            sender: self.order.sender,
            order: self.order.order,
            payment: self.order.payment,
            total: self.order.total,
            left: if open { self.rest() } else { 0 },
            refunded: self.refunded,
            shares: self.order.shares,
            claimed: self.order.shares - self.shares_left(),
            share_max: self.order.share_max,
            created_at: self.created_at,
            expires_at: self.expires_at(),
            state: self.state,
            split: self.order.split,
        }
    }

    /// Whether this amount may be the next share, by the rules alone.
    fn allows(&self, amount: Fen) -> bool {
        let (left, others) = (self.rest(), u64::from(self.shares_left() - 1));
        let share_max = u64::from(self.order.share_max);
        let cap = if share_max == 0 { u64::from(u32::MAX) } else { share_max };
        let rest_is_right = match others {
            0 => amount == left,
            _ => left >= amount + others && left - amount <= others * cap,
        };
        let is_equal = amount == left.div_ceil(others + 1);
        (1..=cap).contains(&amount)
            && rest_is_right
            && (self.order.split != Split::Equal || is_equal)
    }
}

/// The naive side of the comparison, with the engine it watches.
struct Twins {
    engine: Engine,
    envelopes: HashMap<EnvelopeId, Plain>,
    orders: HashMap<(u64, u64), EnvelopeId>,
    due: BTreeMap<(u32, EnvelopeId), ()>,
    totals: Totals,
    ids: Vec<EnvelopeId>,
    records: Vec<Record>,
    dice: Dice,
    now: Time,
}

impl Twins {
    fn new(seed: u64, envelopes: u32, table_bytes: usize) -> Self {
        println!("seed {seed}");
        Self {
            engine: engine(envelopes, table_bytes),
            envelopes: HashMap::new(),
            orders: HashMap::new(),
            due: BTreeMap::new(),
            totals: Totals::default(),
            ids: Vec::new(),
            records: Vec::new(),
            dice: Dice(seed),
            now: Time(START),
        }
    }

    fn apply(&mut self, record: Record) {
        self.engine.apply(&record).expect("a decision's record fits");
        self.records.push(record);
    }

    fn step(&mut self) {
        self.now.0 += self.dice.below(1500);
        match self.dice.below(100) {
            0..4 => self.fund(),
            4..7 => self.fund_again(),
            7..75 => self.claim(),
            75..83 => self.grab(),
            83..88 => self.look(),
            88..91 => self.cancel(),
            91..94 => self.expire_due(),
            _ => self.wrong_id(),
        }
        self.check_totals();
    }

    fn check_totals(&self) {
        let totals = self.engine.totals();
        assert_eq!(totals, self.totals);
        assert_eq!(totals.funded, totals.claimed + totals.refunded + totals.left);
    }

    fn any_order(&mut self) -> SendOrder {
        let shares = match self.dice.below(10) {
            0..3 => 1,
            3..6 => 2 + self.dice.below_32(12),
            6..8 => 14 + self.dice.below_32(110),
            8 => 125 + self.dice.below_32(385),
            _ => 505 + self.dice.below_32(1500),
        };
        let split = [Split::Equal, Split::DoubleMean, Split::LineCutting];
        let split = self.dice.pick(&split).expect("three splits");
        let total = u64::from(shares) + self.dice.below(u64::from(shares) * 300);
        let mean = u32::try_from(total.div_ceil(u64::from(shares))).expect("small");
        let caps = [0, 0, mean, mean + 1, mean * 2, mean.saturating_sub(1)];
        let sender = UserId(self.dice.below(60));
        SendOrder {
            sender,
            order: self.dice.below(1 << 40),
            payment: self.dice.below(99),
            total,
            shares,
            lifetime_s: 1 + self.dice.below_32(4000),
            share_max: self.dice.pick(&caps).expect("six caps"),
            split,
        }
    }

    fn fund(&mut self) {
        let mut order = self.any_order();
        match self.dice.below(40) {
            0 => order.shares = 0,
            1 => order.total = u64::from(order.shares) - 1,
            2 => order.lifetime_s = 0,
            3 => order.total = u64::MAX,
            _ => {}
        }
        let seed = Seed([self.dice.word(), self.dice.word()]);
        let decision = self.engine.fund(&order, seed, self.now);
        if let Some(broken) = broken_rule(&order) {
            let outcome = Outcome::Invalid(broken);
            assert_eq!(decision, Decision { outcome, record: None }, "{order:?}");
            return;
        }
        if decision.outcome == Outcome::Full {
            assert_eq!(decision.record, None);
            return;
        }
        let Some(Record::Funded(record)) = decision.record else {
            panic!("{order:?} gives {decision:?}");
        };
        let envelope = record.envelope;
        assert_eq!(decision.outcome, Outcome::Funded { envelope, repeated: false });
        assert_eq!((envelope.cell(), envelope.partition()), (CELL, partition_of(order.sender)));
        assert_ne!(envelope.generation(), 0);
        assert_eq!((record.seed, record.at), (seed, self.now.seconds()));
        self.apply(Record::Funded(record));
        self.note_funded(envelope, order);
    }

    fn note_funded(&mut self, envelope: EnvelopeId, order: SendOrder) {
        let created_at = self.now.seconds();
        let state = EnvelopeState::Open;
        let (rows, shares_of) = (Vec::new(), HashMap::new());
        let plain = Plain { order, created_at, state, rows, shares_of, refunded: 0 };
        self.due.insert((plain.expires_at(), envelope), ());
        assert!(self.envelopes.insert(envelope, plain).is_none(), "ids are unique");
        self.orders.insert((order.sender.0, order.order), envelope);
        self.ids.push(envelope);
        self.totals.envelopes += 1;
        self.totals.open += 1;
        self.totals.funded += u128::from(order.total);
        self.totals.left += u128::from(order.total);
    }

    fn fund_again(&mut self) {
        let Some(envelope) = self.any_envelope() else { return };
        let same = self.envelopes[&envelope].order;
        let other = match self.dice.below(8) {
            0 => SendOrder { total: same.total + 1, ..same },
            1 => SendOrder { shares: same.shares ^ 1, ..same },
            2 => SendOrder { lifetime_s: same.lifetime_s + 1, ..same },
            3 => SendOrder { share_max: same.share_max ^ 1, ..same },
            4 => SendOrder { payment: same.payment ^ 1, ..same },
            5 if same.split != Split::Equal => SendOrder { split: Split::Equal, ..same },
            _ => same,
        };
        let outcome = if other == same {
            Outcome::Funded { envelope, repeated: true }
        } else {
            Outcome::Conflict
        };
        let decision = self.engine.fund(&other, Seed([1, 2]), self.now);
        assert_eq!(decision, Decision { outcome, record: None });
    }

    /// Mostly a recent envelope, so that many come to their end.
    fn any_envelope(&mut self) -> Option<EnvelopeId> {
        let recent = self.ids.len().saturating_sub(40);
        let from = if self.dice.one_in(5) { 0 } else { recent };
        self.dice.pick(&self.ids[from..])
    }

    /// The shard's duty: whoever touches a due envelope expires it.
    fn expire_if_overdue(&mut self, envelope: EnvelopeId) {
        let plain = &self.envelopes[&envelope];
        let due = plain.state == EnvelopeState::Open && self.now.seconds() >= plain.expires_at();
        let record = self.engine.overdue(envelope, self.now);
        assert_eq!(record.is_some(), due);
        if due {
            let user = UserId(self.dice.word());
            let decision = self.engine.claim(envelope, user, self.now);
            let outcome = Outcome::Expired;
            assert_eq!(decision, Decision { outcome, record: None }, "not even by oversight");
        }
        if let Some(record) = record {
            self.close(envelope, record, EnvelopeState::Expired);
        }
    }

    fn close(&mut self, envelope: EnvelopeId, record: Record, state: EnvelopeState) {
        let at = self.now.seconds();
        let plain = self.envelopes.get_mut(&envelope).expect("known");
        let refunded = plain.rest();
        let cause = if state == EnvelopeState::Expired { Cause::Expired } else { Cause::Cancelled };
        assert_eq!(record, Record::Closed(Closed { envelope, refunded, cause, at }));
        (plain.state, plain.refunded) = (state, refunded);
        self.due.remove(&(plain.expires_at(), envelope));
        self.totals.open -= 1;
        self.totals.refunded += u128::from(refunded);
        self.totals.left -= u128::from(refunded);
        self.apply(record);
    }

    fn claim(&mut self) {
        let Some(envelope) = self.any_envelope() else { return };
        self.expire_if_overdue(envelope);
        let crowd = u64::from(self.envelopes[&envelope].order.shares) * 2;
        let burst = if crowd > 250 { 40 } else { 1 };
        for _ in 0..burst {
            let user = UserId(self.dice.below(crowd));
            std::hint::black_box(self.engine.touch(envelope));
            std::hint::black_box(self.engine.touch_claims(envelope, user));
            self.claim_by(envelope, user);
        }
    }

    fn claim_by(&mut self, envelope: EnvelopeId, user: UserId) {
        let at = self.now.seconds();
        let decision = self.engine.claim(envelope, user, self.now);
        let plain = self.envelopes.get_mut(&envelope).expect("known");
        let held = plain.shares_of.get(&user.0).map(|&amount| u64::from(amount));
        let refused = held.map(|amount| Outcome::AlreadyClaimed { amount }).or(plain.closed());
        if let Some(outcome) = refused {
            assert_eq!(decision, Decision { outcome, record: None });
            return;
        }
        let Outcome::Claimed { amount } = decision.outcome else {
            panic!("an open envelope gives {decision:?}");
        };
        assert!(plain.allows(amount), "{amount} of {:?}", plain.summary());
        let rank = u16::try_from(plain.rows.len() & 0xffff).expect("16 bits");
        let amount_32 = u32::try_from(amount).expect("a share fits 32 bits");
        let record = Record::Claimed(Claimed { envelope, user, amount: amount_32, rank, at });
        assert_eq!(decision.record, Some(record));
        plain.rows.push(Row { user, amount: amount_32, at });
        plain.shares_of.insert(user.0, amount_32);
        if plain.shares_left() == 0 {
            plain.state = EnvelopeState::Exhausted;
            self.due.remove(&(plain.expires_at(), envelope));
            self.totals.open -= 1;
        }
        self.totals.claims += 1;
        self.totals.claimed += u128::from(amount);
        self.totals.left -= u128::from(amount);
        self.apply(record);
    }

    fn grab(&mut self) {
        let Some(envelope) = self.any_envelope() else { return };
        self.expire_if_overdue(envelope);
        let plain = &self.envelopes[&envelope];
        let user = UserId(self.dice.below(u64::from(plain.order.shares) * 2));
        let held = plain.shares_of.get(&user.0).map(|&amount| u64::from(amount));
        let expected = held
            .map(|amount| Outcome::AlreadyClaimed { amount })
            .or(plain.closed())
            .unwrap_or(Outcome::Winnable { shares_left: plain.shares_left() });
        assert_eq!(self.engine.grab(envelope, user), expected);
    }

    fn look(&mut self) {
        let Some(envelope) = self.any_envelope() else { return };
        self.expire_if_overdue(envelope);
        let plain = &self.envelopes[&envelope];
        let summary = plain.summary();
        assert_eq!(self.engine.show(envelope), Outcome::Summary(summary));
        assert_eq!(summary.total, plain.claimed_fen() + summary.refunded + summary.left);
        let from = self.dice.below_32(summary.shares + 2);
        let rows_max = self.dice.below_32(300);
        let rest = summary.claimed.saturating_sub(from);
        let count = rest.min(rows_max).min(DETAIL_ROWS_MAX);
        let (shares, claimed) = (summary.shares, summary.claimed);
        let page = Outcome::Detail { shares, claimed, from, count };
        assert_eq!(self.engine.detail(envelope, from, rows_max), page);
        let rows: Vec<Row> = self.engine.rows(envelope, from).collect();
        assert_eq!(rows, plain.rows.get(index(from)..).unwrap_or_default());
    }

    fn cancel(&mut self) {
        let Some(envelope) = self.any_envelope() else { return };
        self.expire_if_overdue(envelope);
        let plain = &self.envelopes[&envelope];
        let (owner, amount, state) = (plain.order.sender, plain.rest(), plain.state);
        let sender = if self.dice.one_in(3) { UserId(owner.0 + 1) } else { owner };
        let decision = self.engine.cancel(envelope, sender, self.now);
        let outcome = match state {
            _ if sender != owner => Outcome::Denied,
            EnvelopeState::Open => Outcome::Refunded { amount, repeated: false },
            EnvelopeState::Cancelled => Outcome::Refunded { amount, repeated: true },
            EnvelopeState::Exhausted => Outcome::SoldOut,
            EnvelopeState::Expired => Outcome::Expired,
        };
        assert_eq!(decision.outcome, outcome);
        let closes = sender == owner && state == EnvelopeState::Open;
        assert_eq!(decision.record.is_some(), closes);
        if let Some(record) = decision.record {
            self.close(envelope, record, EnvelopeState::Cancelled);
        }
    }

    /// Expires everything that is due, in the order of time.
    fn expire_due(&mut self) {
        loop {
            let first = self.due.keys().next().copied();
            let due = first.filter(|&(expires_at, _)| expires_at <= self.now.seconds());
            let record = self.engine.due(self.now);
            assert_eq!(record, self.engine.due(self.now), "the same until it is applied");
            match (due, record) {
                (Some((_, envelope)), Some(record)) => {
                    self.close(envelope, record, EnvelopeState::Expired);
                }
                (None, None) => break,
                other => panic!("model and engine differ: {other:?}"),
            }
        }
        assert_eq!(self.engine.next_due(), self.due.keys().next().map(|&(at, _)| at));
    }

    fn wrong_id(&mut self) {
        let near = self.any_envelope().unwrap_or_default();
        let id = match self.dice.below(6) {
            0 => EnvelopeId(self.dice.word()),
            1 => EnvelopeId(near.0 ^ 1 << 56),
            2 => EnvelopeId(near.0 + 1),
            3 => EnvelopeId(near.0 & !0xffff),
            4 => EnvelopeId(near.0 ^ 1 << self.dice.below(64)),
            _ => EnvelopeId(near.0 | 0xffff << 32),
        };
        if self.envelopes.contains_key(&id) {
            return;
        }
        let (user, now, nothing) = (UserId(1), self.now, Outcome::NotFound);
        assert_eq!(self.engine.grab(id, user), nothing);
        assert_eq!(self.engine.show(id), nothing);
        assert_eq!(self.engine.detail(id, 0, 9), nothing);
        assert_eq!(self.engine.rows(id, 0).count(), 0);
        assert_eq!(self.engine.overdue(id, now), None);
        let only = Decision { outcome: nothing, record: None };
        assert_eq!(self.engine.claim(id, user, now), only);
        assert_eq!(self.engine.cancel(id, user, now), only);
        std::hint::black_box(self.engine.touch(id) ^ self.engine.touch_claims(id, user));
        let claimed = Claimed { envelope: id, user, amount: 1, rank: 0, at: 0 };
        assert_eq!(self.engine.apply(&Record::Claimed(claimed)), Err(Misfit::NotOpen(id)));
    }

    fn check_replay(&self, envelopes: u32, table_bytes: usize) {
        let mut again = engine(envelopes, table_bytes);
        for record in &self.records {
            again.apply(record).expect("what was applied once fits again");
        }
        assert_eq!(again.totals(), self.engine.totals());
        assert_eq!(again.digest(), self.engine.digest());
        assert!(again.envelopes().eq(self.ids.iter().copied()));
    }
}

fn broken_rule(order: &SendOrder) -> Option<BadRequest> {
    let shares = u64::from(order.shares);
    let cap = if order.share_max == 0 { u64::from(u32::MAX) } else { u64::from(order.share_max) };
    let crowd = order.split == Split::LineCutting && order.shares > 1000;
    if shares == 0 || shares > 3000 || crowd {
        Some(BadRequest::Shares)
    } else if order.total < shares || order.total > 10_000_000.min(shares * 20_000) {
        Some(BadRequest::Total)
    } else if order.total > shares * cap {
        Some(BadRequest::ShareMax)
    } else if order.lifetime_s == 0 || order.lifetime_s > 86_400 {
        Some(BadRequest::Lifetime)
    } else {
        None
    }
}

fn run(seed: u64, steps: u32, envelopes: u32, table_bytes: usize) -> Twins {
    let mut twins = Twins::new(seed, envelopes, table_bytes);
    for _ in 0..steps {
        twins.step();
    }
    twins.check_replay(envelopes, table_bytes);
    twins
}

#[test]
fn engine_does_what_the_naive_model_does() {
    let steps = if cfg!(miri) { 300 } else { 120_000 };
    let (envelopes, table_bytes) = if cfg!(miri) { (100, 2 << 20) } else { (10_000, 128 << 20) };
    for seed in 1..=3 {
        let twins = run(seed, steps, envelopes, table_bytes);
        println!("{} records, {:?}", twins.records.len(), twins.totals);
        assert!(twins.totals.claims > u64::from(steps) / 20 && twins.totals.refunded > 0);
    }
}

#[test]
fn full_tables_answer_full_and_claims_go_on() {
    let steps = if cfg!(miri) { 300 } else { 20_000 };
    for (envelopes, table_bytes) in [(0, 1 << 20), (50, 64 << 20), (500, 0), (500, 30 << 16)] {
        let twins = run(11, steps, envelopes, table_bytes);
        assert!(twins.totals.envelopes <= u64::from(envelopes));
        assert!(twins.totals.envelopes == 0 || twins.totals.claims > 0);
    }
}

#[test]
fn digests_of_other_arrangements_add_up_to_the_same() {
    let twins = run(5, if cfg!(miri) { 100 } else { 5000 }, 1000, 32 << 20);
    let mut shards = [engine(1000, 32 << 20), engine(1000, 32 << 20), engine(1000, 32 << 20)];
    for record in &twins.records {
        let (Record::Funded(Funded { envelope, .. })
        | Record::Claimed(Claimed { envelope, .. })
        | Record::Closed(Closed { envelope, .. })) = record;
        let shard = usize::from(envelope.partition() % 3);
        shards[shard].apply(record).expect("partitions do not meet");
    }
    let sum = shards.iter().map(Engine::digest).fold(0, u64::wrapping_add);
    assert_eq!(sum, twins.engine.digest());
}

/// One open envelope of 5 shares of 100 fen in all.
fn with_one_envelope() -> (Engine, Funded) {
    let mut engine = engine(10, 1 << 20);
    let order = SendOrder {
        sender: UserId(3),
        order: 1,
        payment: 9,
        total: 100,
        shares: 5,
        lifetime_s: 60,
        share_max: 0,
        split: Split::DoubleMean,
    };
    let decision = engine.fund(&order, Seed([1, 2]), Time(START));
    let Some(Record::Funded(funded)) = decision.record else {
        panic!("{decision:?}");
    };
    engine.apply(&Record::Funded(funded)).expect("room");
    (engine, funded)
}

fn assert_refused(engine: &mut Engine, record: Record, misfit: Misfit) {
    let before = (engine.digest(), engine.totals(), engine.next_due());
    assert_eq!(engine.apply(&record), Err(misfit), "{record:?}");
    assert_eq!((engine.digest(), engine.totals(), engine.next_due()), before);
}

#[test]
fn claims_that_do_not_fit_are_refused_and_change_nothing() {
    let (mut engine, Funded { envelope, .. }) = with_one_envelope();
    let claim = Claimed { envelope, user: UserId(50), amount: 20, rank: 0, at: 5 };
    engine.apply(&Record::Claimed(claim)).expect("fits");
    let next = Claimed { user: UserId(51), rank: 1, ..claim };
    let contradictions = [
        Claimed { amount: 0, ..next },
        Claimed { amount: 78, ..next }, // leaves 2 fen for 3 shares
        Claimed { rank: 0, ..next },
        Claimed { rank: 2, ..next },
        Claimed { user: UserId(50), ..next },
    ];
    for claim in contradictions {
        assert_refused(&mut engine, Record::Claimed(claim), Misfit::Contradiction(envelope));
    }
    let stale = EnvelopeId(envelope.0 + 1);
    let elsewhere = Claimed { envelope: stale, ..next };
    assert_refused(&mut engine, Record::Claimed(elsewhere), Misfit::NotOpen(stale));
    engine.apply(&Record::Claimed(Claimed { amount: 77, ..next })).expect("the most there is");
}

#[test]
fn last_share_takes_exactly_what_is_left() {
    let (mut engine, Funded { envelope, .. }) = with_one_envelope();
    for rank in 0..4_u16 {
        let user = UserId(u64::from(rank));
        let claim = Claimed { envelope, user, amount: 10, rank, at: 5 };
        engine.apply(&Record::Claimed(claim)).expect("fits");
    }
    let last = Claimed { envelope, user: UserId(9), amount: 60, rank: 4, at: 6 };
    for amount in [59, 61] {
        let wrong = Record::Claimed(Claimed { amount, ..last });
        assert_refused(&mut engine, wrong, Misfit::Contradiction(envelope));
    }
    let decision = engine.claim(envelope, UserId(9), Time(START));
    assert_eq!(decision.outcome, Outcome::Claimed { amount: 60 });
    engine.apply(&Record::Claimed(last)).expect("fits");
    assert_refused(&mut engine, Record::Claimed(last), Misfit::NotOpen(envelope));
    assert_eq!(engine.grab(envelope, UserId(77)), Outcome::SoldOut);
}

#[test]
fn refunds_that_do_not_fit_are_refused_and_happen_once() {
    let (mut engine, Funded { envelope, .. }) = with_one_envelope();
    let close = Closed { envelope, refunded: 100, cause: Cause::Cancelled, at: 5 };
    for refunded in [0, 99, 101, u64::MAX] {
        let wrong = Record::Closed(Closed { refunded, ..close });
        assert_refused(&mut engine, wrong, Misfit::Contradiction(envelope));
    }
    engine.apply(&Record::Closed(close)).expect("fits");
    for cause in [Cause::Cancelled, Cause::Expired] {
        let again = Record::Closed(Closed { cause, ..close });
        assert_refused(&mut engine, again, Misfit::NotOpen(envelope));
    }
    let late = Claimed { envelope, user: UserId(1), amount: 1, rank: 0, at: 6 };
    assert_refused(&mut engine, Record::Claimed(late), Misfit::NotOpen(envelope));
}

#[test]
fn fundings_that_do_not_fit_are_refused_and_change_nothing() {
    let (mut engine, first) = with_one_envelope();
    let order = SendOrder {
        sender: first.sender,
        order: 2,
        payment: 9,
        total: 100,
        shares: 5,
        lifetime_s: 60,
        share_max: 0,
        split: Split::DoubleMean,
    };
    let Some(Record::Funded(next)) = engine.fund(&order, Seed([3, 4]), Time(START)).record else {
        panic!("there is room");
    };
    let envelope = next.envelope;
    let money = [
        Funded { shares: 0, ..next },
        Funded { total: 4, ..next },
        Funded { total: u64::MAX, ..next },
        Funded { share_max: 19, ..next },
        Funded { shares: 1001, total: 9999, split: Split::LineCutting, ..next },
        Funded { order: first.order, ..next },
    ];
    for funded in money {
        assert_refused(&mut engine, Record::Funded(funded), Misfit::Contradiction(envelope));
    }
    let after = EnvelopeId(envelope.0 + (1 << 16));
    for id in [first.envelope, after, EnvelopeId(envelope.0 ^ 1 << 60), EnvelopeId(0)] {
        let funded = Record::Funded(Funded { envelope: id, ..next });
        assert_refused(&mut engine, funded, Misfit::EnvelopeOutOfTurn(id));
    }
    let large = Funded { shares: 1 << 20, total: 1 << 20, ..next };
    assert_refused(&mut engine, Record::Funded(large), Misfit::Full);
    engine.apply(&Record::Funded(next)).expect("fits");
}

#[test]
fn no_record_whatsoever_makes_apply_panic() {
    let mut dice = Dice(99);
    let (mut engine, first) = with_one_envelope();
    let steps = if cfg!(miri) { 300 } else { 200_000 };
    let mut applied = 0_u32;
    for step in 0..steps {
        let record = wild_record(&mut dice, &first);
        let before = (engine.totals(), if step % 50 == 0 { engine.digest() } else { 0 });
        if engine.apply(&record).is_ok() {
            applied += 1;
        } else {
            let digest = if step % 50 == 0 { engine.digest() } else { 0 };
            assert_eq!((engine.totals(), digest), before);
        }
        let totals = engine.totals();
        assert_eq!(totals.funded, totals.claimed + totals.refunded + totals.left);
        engine.due(Time(dice.below(1 << 43)));
    }
    assert!(applied > 0);
}

/// Numbers near every border, and any others.
fn wild(dice: &mut Dice) -> u64 {
    match dice.below(4) {
        0 => dice.below(8),
        1 => dice.below(200),
        2 => (1_u64 << dice.below(64)).wrapping_sub(dice.below(3)),
        _ => dice.word(),
    }
}

fn wild_32(dice: &mut Dice) -> u32 {
    u32::try_from(wild(dice) & 0xffff_ffff).expect("32 bits")
}

fn wild_record(dice: &mut Dice, first: &Funded) -> Record {
    let index = dice.below(4) << 16;
    let class = dice.below(10) << 44;
    let partition = u64::from(partition_of(first.sender)) << 48;
    let envelope = match dice.below(4) {
        0 => EnvelopeId(dice.word()),
        1 => first.envelope,
        _ => EnvelopeId(u64::from(CELL) << 56 | partition | class | index | 1),
    };
    let at = wild_32(dice);
    match dice.below(3) {
        0 => Record::Funded(Funded {
            envelope,
            sender: if dice.one_in(3) { UserId(wild(dice)) } else { first.sender },
            order: wild(dice),
            payment: wild(dice),
            total: wild(dice),
            seed: Seed([dice.word(), dice.word()]),
            shares: wild_32(dice),
            share_max: wild_32(dice),
            lifetime_s: wild_32(dice),
            at,
            split: dice
                .pick(&[Split::Equal, Split::DoubleMean, Split::LineCutting])
                .expect("three splits"),
        }),
        1 => Record::Claimed(Claimed {
            envelope,
            user: UserId(wild(dice)),
            amount: wild_32(dice),
            rank: u16::try_from(wild(dice) & 0xf).expect("4 bits"),
            at,
        }),
        _ => Record::Closed(Closed {
            envelope,
            refunded: wild(dice),
            cause: if dice.one_in(2) { Cause::Expired } else { Cause::Cancelled },
            at,
        }),
    }
}

#[test]
fn a_repeated_claim_gives_the_same_amount_for_ever() {
    let (mut engine, Funded { envelope, .. }) = with_one_envelope();
    let decision = engine.claim(envelope, UserId(0), Time(START));
    let Outcome::Claimed { amount } = decision.outcome else {
        panic!("{decision:?}");
    };
    engine.apply(&decision.record.expect("a record")).expect("fits");
    let repeated = Decision { outcome: Outcome::AlreadyClaimed { amount }, record: None };
    assert_eq!(engine.claim(envelope, UserId(0), Time(START)), repeated);
    let overdue = engine.overdue(envelope, Time(START + 60_000)).expect("its time is over");
    assert_eq!(engine.overdue(envelope, Time(START + 59_999)), None);
    engine.apply(&overdue).expect("fits");
    assert_eq!(engine.claim(envelope, UserId(0), Time(START + 99_000)), repeated);
    assert_eq!(
        engine.claim(envelope, UserId(1), Time(START + 99_000)).outcome,
        Outcome::Expired,
        "a claim and an expiry cannot both win"
    );
}

#[test]
fn a_repeated_claim_takes_nothing_from_the_stock() {
    let (mut engine, Funded { envelope, .. }) = with_one_envelope();
    for user in [1, 1, 2, 2, 1, 3, 4, 3, 5, 5] {
        if let Some(record) = engine.claim(envelope, UserId(user), Time(START)).record {
            engine.apply(&record).expect("fits");
        }
    }
    let users: Vec<u64> = engine.rows(envelope, 0).map(|row| row.user.0).collect();
    assert_eq!(users, [1, 2, 3, 4, 5]);
}

#[test]
fn a_stale_generation_is_not_found() {
    let (engine, Funded { envelope, .. }) = with_one_envelope();
    for generation in [0, 2, 3, u16::MAX] {
        let (partition, slot) = (envelope.partition(), envelope.slot());
        let stale = EnvelopeId::new(CELL, partition, slot, generation);
        assert_eq!(engine.grab(stale, UserId(1)), Outcome::NotFound);
        assert_eq!(engine.show(stale), Outcome::NotFound);
    }
}

#[test]
fn the_order_of_a_full_server_is_still_known() {
    let mut engine = engine(1, 1 << 20);
    let order = |order, shares| SendOrder {
        sender: UserId(3),
        order,
        payment: 9,
        total: 2 * u64::from(shares),
        shares,
        lifetime_s: 60,
        share_max: 0,
        split: Split::Equal,
    };
    let decision = engine.fund(&order(1, 5), Seed([1, 2]), Time(START));
    engine.apply(&decision.record.expect("room")).expect("fits");
    assert_eq!(engine.fund(&order(2, 5), Seed([1, 2]), Time(START)).outcome, Outcome::Full);
    let again = engine.fund(&order(1, 5), Seed([8, 8]), Time(START + 1));
    assert!(matches!(again.outcome, Outcome::Funded { repeated: true, .. }));
    let other = engine.fund(&order(1, 6), Seed([1, 2]), Time(START));
    assert_eq!(other.outcome, Outcome::Conflict);
}

#[test]
fn memory_is_said_before_it_is_reserved() {
    let small = Capacity { envelopes: 1000, table_bytes: 1 << 20 };
    let large = Capacity { envelopes: 2000, table_bytes: 1 << 30 };
    assert!(Engine::memory_bytes(&small) > small.table_bytes);
    assert!(Engine::memory_bytes(&large) > Engine::memory_bytes(&small));
    assert!(Engine::memory_bytes(&large) < large.table_bytes + (8 << 20));
}
