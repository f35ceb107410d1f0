//! The engine and its naive twin, given the same random commands.
//!
//! The amounts of random splits are checked against what any split must keep;
//! their law is the matter of `split_law`.

use std::collections::{BTreeSet, HashMap};

use hongbao::engine::commitment::{Terms, verify};
use hongbao::engine::{
    Cause, Claimed, Closed, Decision, Engine, Misfit, Outcome, Record, Recycled, Totals, index,
    partition_of,
};
use hongbao::limits::DETAIL_ROWS_MAX;
use hongbao::units::{
    EnvelopeId, EnvelopeState, MoneySource, Seed, Split, Time, UserId, VoidCause,
};
use hongbao::wire::{Row, SendOrder};

use crate::plain::{Plain, broken_rule};
use crate::{CELL, Dice, PAY_WITHIN_S, RETENTION_S, START, engine};

/// The naive side of the comparison, with the engine it watches.
pub(crate) struct Twins {
    pub(crate) engine: Engine,
    pub(crate) envelopes: HashMap<EnvelopeId, Plain>,
    orders: HashMap<(u64, u64), EnvelopeId>,
    pub(crate) due: BTreeSet<(u32, EnvelopeId)>,
    pub(crate) totals: Totals,
    pub(crate) ids: Vec<EnvelopeId>,
    pub(crate) records: Vec<Record>,
    /// When each closed envelope was closed.
    pub(crate) closed: BTreeSet<(u32, EnvelopeId)>,
    gone: Vec<EnvelopeId>,
    pub(crate) recycled: u64,
    pub(crate) imaging: bool,
    pub(crate) dice: Dice,
    pub(crate) now: Time,
}

impl Twins {
    pub(crate) fn new(seed: u64, envelopes: u32, table_bytes: usize) -> Self {
        println!("seed {seed}");
        Self {
            engine: engine(envelopes, table_bytes),
            envelopes: HashMap::new(),
            orders: HashMap::new(),
            due: BTreeSet::new(),
            totals: Totals::default(),
            ids: Vec::new(),
            records: Vec::new(),
            closed: BTreeSet::new(),
            gone: Vec::new(),
            recycled: 0,
            imaging: false,
            dice: Dice(seed),
            now: Time(START),
        }
    }

    pub(crate) fn apply(&mut self, record: Record) {
        self.engine.apply(&record).expect("a decision's record fits");
        self.records.push(record);
    }

    pub(crate) fn step(&mut self) {
        self.now.0 += self.dice.below(1500);
        match self.dice.below(100) {
            0..5 => self.issue(),
            5..8 => self.issue_again(),
            8..13 => self.pay(),
            13..75 => self.claim(),
            75..83 => self.grab(),
            83..88 => self.look(),
            88..91 => self.cancel(),
            91..93 => self.expire_due(),
            93 => self.recycle(),
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
        let sources = [MoneySource::Vouched, MoneySource::Balance, MoneySource::Payment];
        let source = self.dice.pick(&sources).expect("three sources");
        let is_named = source != MoneySource::Balance && self.dice.one_in(2);
        SendOrder {
            nonce: self.dice.below_32(u32::MAX),
            source,
            sender,
            order: self.dice.below(1 << 40),
            payment: if is_named { 1 + self.dice.below(99) } else { 0 },
            total,
            shares,
            lifetime_s: 1 + self.dice.below_32(4000),
            share_max: self.dice.pick(&caps).expect("six caps"),
            split,
        }
    }

    fn issue(&mut self) {
        let mut order = self.any_order();
        match self.dice.below(40) {
            0 => order.shares = 0,
            1 => order.total = u64::from(order.shares) - 1,
            2 => order.lifetime_s = 0,
            3 => order.total = u64::MAX,
            4 => (order.source, order.payment) = (MoneySource::Balance, 1),
            _ => {}
        }
        let seed = Seed([self.dice.word(), self.dice.word()]);
        let decision = self.engine.issue(&order, seed, self.now);
        if let Some(broken) = broken_rule(&order) {
            let outcome = Outcome::Invalid(broken);
            assert_eq!(decision, Decision { outcome, record: None }, "{order:?}");
            return;
        }
        if decision.outcome == Outcome::Full {
            assert_eq!(decision.record, None);
            return;
        }
        let Some(Record::Issued(record)) = decision.record else {
            panic!("{order:?} gives {decision:?}");
        };
        let envelope = record.envelope;
        let plain = Plain::new(order, self.now.seconds());
        let state = plain.state;
        assert_eq!(decision.outcome, Outcome::Issued { envelope, state, repeated: false });
        assert_eq!((envelope.cell(), envelope.partition()), (CELL, partition_of(order.sender)));
        assert_ne!(envelope.generation(), 0);
        let wait = if state == EnvelopeState::Open { 0 } else { PAY_WITHIN_S };
        assert_eq!((record.seed, record.at), (seed, self.now.seconds()));
        assert_eq!((record.source, record.nonce), (order.source, order.nonce));
        assert_eq!((record.payment, record.pay_within_s), (order.payment, wait));
        self.apply(Record::Issued(record));
        self.note_issued(envelope, plain);
    }

    fn note_issued(&mut self, envelope: EnvelopeId, plain: Plain) {
        self.due.insert((plain.ends_at(), envelope));
        self.orders.insert((plain.order.sender.0, plain.order.order), envelope);
        self.ids.push(envelope);
        match plain.state {
            EnvelopeState::Open => self.note_funded(plain.order.total),
            _ => self.totals.reserved += 1,
        }
        assert!(self.envelopes.insert(envelope, plain).is_none(), "ids are unique");
    }

    pub(crate) fn note_funded(&mut self, total: u64) {
        self.totals.envelopes += 1;
        self.totals.open += 1;
        self.totals.funded += u128::from(total);
        self.totals.left += u128::from(total);
    }

    fn issue_again(&mut self) {
        let Some(envelope) = self.any_envelope() else { return };
        let (same, state) = (self.envelopes[&envelope].order, self.envelopes[&envelope].state);
        let other = match self.dice.below(10) {
            0 => SendOrder { total: same.total + 1, ..same },
            1 => SendOrder { shares: same.shares ^ 1, ..same },
            2 => SendOrder { lifetime_s: same.lifetime_s + 1, ..same },
            3 => SendOrder { share_max: same.share_max ^ 1, ..same },
            4 => SendOrder { payment: same.payment ^ 1, ..same },
            5 if same.split != Split::Equal => SendOrder { split: Split::Equal, ..same },
            6 => SendOrder { nonce: same.nonce ^ 1, ..same },
            7 if same.source != MoneySource::Balance => {
                SendOrder { source: MoneySource::Balance, ..same }
            }
            8 => SendOrder { payment: self.envelopes[&envelope].payment, ..same },
            _ => same,
        };
        let outcome = if other == same {
            Outcome::Issued { envelope, state, repeated: true }
        } else {
            Outcome::Conflict
        };
        let decision = self.engine.issue(&other, Seed([1, 2]), self.now);
        assert_eq!(decision, Decision { outcome, record: None });
    }

    /// Mostly a recent envelope, so that many come to their end.
    pub(crate) fn any_envelope(&mut self) -> Option<EnvelopeId> {
        let recent = self.ids.len().saturating_sub(40);
        let from = if self.dice.one_in(5) { 0 } else { recent };
        self.dice.pick(&self.ids[from..])
    }

    /// The shard's duty: whoever touches a due envelope ends it.
    pub(crate) fn expire_if_overdue(&mut self, envelope: EnvelopeId) {
        let plain = &self.envelopes[&envelope];
        let due = plain.is_live() && self.now.seconds() >= plain.ends_at();
        let record = self.engine.overdue(envelope, self.now);
        assert_eq!(record.is_some(), due);
        if due {
            let (user, owner) = (UserId(self.dice.word()), plain.order.sender);
            let is_open = plain.state == EnvelopeState::Open;
            let outcome = if is_open { Outcome::Expired } else { Outcome::NeverPaid };
            let only = Decision { outcome, record: None };
            let (engine, total) = (&self.engine, plain.order.total);
            assert_eq!(engine.claim(envelope, user, self.now), only, "not even by oversight");
            assert_eq!(engine.void(envelope, owner, self.now), only);
            assert_eq!(engine.cancel(envelope, owner, self.now), only);
            assert_eq!(engine.fund(envelope, 1 + plain.payment, total, self.now).record, None);
            assert_eq!(engine.fund(envelope, plain.payment, total, self.now).record, None);
            assert_eq!(engine.cover(envelope, true, self.now).record, None);
        }
        if let Some(record) = record {
            self.end(envelope, record);
        }
    }

    /// What time does to an envelope.
    fn end(&mut self, envelope: EnvelopeId, record: Record) {
        match self.envelopes[&envelope].state {
            EnvelopeState::Reserved => self.note_voided(envelope, record, VoidCause::Lapsed),
            _ => self.close(envelope, record, EnvelopeState::Expired),
        }
    }

    fn close(&mut self, envelope: EnvelopeId, record: Record, state: EnvelopeState) {
        let at = self.now.seconds();
        let plain = self.envelopes.get_mut(&envelope).expect("known");
        let (refunded, sender) = (plain.rest(), plain.order.sender);
        let cause = if state == EnvelopeState::Expired { Cause::Expired } else { Cause::Cancelled };
        assert_eq!(
            record,
            Record::Closed(Closed { envelope, sender, refunded, held: 0, cause, at })
        );
        (plain.state, plain.refunded) = (state, refunded);
        self.due.remove(&(plain.ends_at(), envelope));
        self.closed.insert((at, envelope));
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
            std::hint::black_box(self.engine.touch(self.engine.place(envelope)));
            for place in self.engine.claim_places(envelope, user) {
                std::hint::black_box(self.engine.touch(place));
            }
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
            self.due.remove(&(plain.ends_at(), envelope));
            self.closed.insert((at, envelope));
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
        assert_eq!(self.engine.grab(envelope, user, self.now), expected);
    }

    fn look(&mut self) {
        let Some(envelope) = self.any_envelope() else { return };
        self.expire_if_overdue(envelope);
        let plain = &self.envelopes[&envelope];
        let summary = plain.summary();
        assert_eq!(self.engine.show(envelope), Some(summary));
        if plain.opened_at.is_some() {
            assert_eq!(summary.total, plain.claimed_fen() + summary.refunded + summary.left);
        } else {
            assert_eq!((plain.claimed_fen(), summary.refunded, summary.left), (0, 0, 0));
        }
        self.reveal(envelope);
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

    /// The seed is told when no share can be drawn any more, and every amount
    /// follows from it.
    fn reveal(&self, envelope: EnvelopeId) {
        let plain = &self.envelopes[&envelope];
        let Some(revealed) = self.engine.reveal(envelope) else {
            panic!("it is there");
        };
        assert_eq!((revealed.seed.is_none(), revealed.nonce), (plain.is_live(), plain.order.nonce));
        let SendOrder { total, shares, share_max, split, nonce, .. } = plain.order;
        let terms = Terms { envelope, nonce, total, shares, share_max, split };
        if let Some(seed) = revealed.seed {
            let rows = plain.rows.iter().copied();
            verify(&terms, seed, &revealed.commitment, rows).expect("honest draws");
        }
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
            EnvelopeState::Reserved => Outcome::NotPaid,
            EnvelopeState::Voided => Outcome::NeverPaid,
        };
        assert_eq!(decision.outcome, outcome);
        let closes = sender == owner && state == EnvelopeState::Open;
        assert_eq!(decision.record.is_some(), closes);
        if let Some(record) = decision.record {
            self.close(envelope, record, EnvelopeState::Cancelled);
        }
    }

    /// Expires everything that is due, second by second.
    fn expire_due(&mut self) {
        loop {
            let record = self.engine.due(self.now);
            let Some(record) = record else {
                if self.engine.is_behind(self.now) && self.is_due() {
                    continue;
                }
                break;
            };
            assert_eq!(Some(record), self.engine.due(self.now), "the same until it is applied");
            let envelope = record.envelope();
            assert!(self.envelopes[&envelope].ends_at() <= self.now.seconds());
            self.end(envelope, record);
        }
        assert!(!self.is_due());
        let next = self.due.first().map(|&(at, _)| at);
        assert!(next.is_none_or(|next| self.engine.next_due().is_some_and(|due| due <= next)));
    }

    fn is_due(&self) -> bool {
        self.due.first().is_some_and(|&(at, _)| at <= self.now.seconds())
    }

    /// Recycles what was closed long enough ago, in the order of closing.
    pub(crate) fn recycle(&mut self) {
        while let Some(record) = self.engine.recyclable(self.now) {
            assert_eq!(Some(record), self.engine.recyclable(self.now));
            let envelope = record.envelope();
            let plain = self.envelopes.remove(&envelope).expect("known");
            let total = if plain.opened_at.is_some() { plain.order.total } else { 0 };
            let claimed = plain.claimed_fen();
            let (shares_claimed, at) = (plain.summary().claimed, self.now.seconds());
            let expected = Recycled { envelope, shares_claimed, claimed, total, at };
            assert_eq!(record, Record::Recycled(expected));
            let is_it = |&&(closed_at, id): &&(u32, EnvelopeId)| {
                id == envelope && closed_at + RETENTION_S <= at
            };
            let closed = *self.closed.iter().find(is_it).expect("closed long ago");
            self.closed.remove(&closed);
            self.orders.remove(&(plain.order.sender.0, plain.order.order));
            self.ids.retain(|&id| id != envelope);
            self.gone.push(envelope);
            self.recycled += 1;
            self.apply(record);
        }
        // Large ones wait for the end of an image.
        let waits = |id: &EnvelopeId| self.imaging && self.envelopes[id].order.shares > 509;
        let mut rest = self.closed.iter().filter(|(_, id)| !waits(id));
        let now = self.now.seconds();
        assert!(rest.all(|&(closed_at, _)| closed_at + RETENTION_S > now));
    }

    fn wrong_id(&mut self) {
        let near = self.any_envelope().unwrap_or_default();
        let gone = self.dice.pick(&self.gone);
        let id = match self.dice.below(7) {
            6 => gone.unwrap_or_default(),
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
        assert_eq!(self.engine.grab(id, user, now), nothing);
        assert_eq!(self.engine.show(id), None);
        assert_eq!(self.engine.detail(id, 0, 9), nothing);
        assert_eq!(self.engine.rows(id, 0).count(), 0);
        assert_eq!(self.engine.overdue(id, now), None);
        let only = Decision { outcome: nothing, record: None };
        assert_eq!(self.engine.claim(id, user, now), only);
        assert_eq!(self.engine.cancel(id, user, now), only);
        assert_eq!(self.engine.void(id, user, now), only);
        assert_eq!(self.engine.fund(id, 1, 1, now), only);
        assert_eq!(self.engine.cover(id, true, now), only);
        assert_eq!(self.engine.reveal(id), None);
        for place in self.engine.claim_places(id, user) {
            std::hint::black_box(self.engine.touch(place));
        }
        let claimed = Claimed { envelope: id, user, amount: 1, rank: 0, at: 0 };
        assert_eq!(self.engine.apply(&Record::Claimed(claimed)), Err(Misfit::NotOpen(id)));
    }

    pub(crate) fn check_replay(&self, envelopes: u32, table_bytes: usize) {
        let mut again = engine(envelopes, table_bytes);
        for record in &self.records {
            again.apply(record).expect("what was applied once fits again");
        }
        assert_eq!(again.totals(), self.engine.totals());
        assert_eq!(again.digest(), self.engine.digest());
        let mut ids: Vec<_> = again.envelopes().collect();
        ids.sort_unstable();
        let mut known = self.ids.clone();
        known.sort_unstable();
        assert_eq!(ids, known);
        assert_eq!(self.engine.fill().envelopes, u32::try_from(known.len()).expect("few"));
    }
}
