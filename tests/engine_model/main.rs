//! The engine against a naive model of plain maps, and what it does at its
//! borders: full tables, wrong ids, records that do not fit.

mod big_images;
mod borders;
mod draws;
mod flips;
mod images;
mod limits;
mod paying;
mod payments;
mod plain;
mod race;
mod recycling;
mod remembered;
mod reuse;
mod twins;
mod wheel;
mod withheld;

use hongbao::engine::{Capacity, Decision, Engine, EnvelopeLimits, Outcome, SenderLimits};
use hongbao::units::{EnvelopeId, MoneySource, Seed, Split, Time, UserId};
use hongbao::wire::SendOrder;

use twins::Twins;

pub(crate) const CELL: u8 = 7;
pub(crate) const START: u64 = 1_700_000_000_000;

pub(crate) const LIMITS: EnvelopeLimits = EnvelopeLimits {
    shares_max: 3000,
    total_fen_max: 10_000_000,
    share_mean_fen_max: 20_000,
    lifetime_s_max: 86_400,
    pay_within_s: PAY_WITHIN_S,
    senders: SenderLimits::NONE,
};

/// How long an order waits for its money.
pub(crate) const PAY_WITHIN_S: u32 = 400;

/// How long closed envelopes are kept: so short that slots are used again.
pub(crate) const RETENTION_S: u32 = 900;

pub(crate) fn capacity(envelopes: u32, table_bytes: usize) -> Capacity {
    Capacity { envelopes, table_bytes, retention_s: RETENTION_S }
}

pub(crate) fn engine(envelopes: u32, table_bytes: usize) -> Engine {
    Engine::new(CELL, capacity(envelopes, table_bytes), LIMITS)
}

/// An order of a vouched envelope that is cut at random.
pub(crate) fn vouched(sender: u64, order: u64, shares: u32, total: u64) -> SendOrder {
    SendOrder {
        nonce: 0,
        source: MoneySource::Vouched,
        sender: UserId(sender),
        order,
        payment: 0,
        total,
        shares,
        lifetime_s: 3600,
        share_max: 0,
        split: Split::DoubleMean,
    }
}

/// Sends an envelope; `None` if the tables are full.
pub(crate) fn issue(engine: &mut Engine, order: &SendOrder) -> Option<EnvelopeId> {
    let Decision { outcome, record } = engine.issue(order, Seed([1, order.order]), Time(START));
    let Some(record) = record else {
        assert_eq!(outcome, Outcome::Full, "{order:?}");
        return None;
    };
    engine.apply(&record).expect("what was decided fits");
    Some(record.envelope())
}

/// A small deterministic source for the tests: splitmix64.
pub(crate) struct Dice(u64);

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

    pub(crate) fn below_32(&mut self, n: u32) -> u32 {
        u32::try_from(self.below(u64::from(n))).expect("below a u32")
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len().max(1).try_into().expect("small"));
        from.get(usize::try_from(at).expect("small")).copied()
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
        assert!(twins.totals.voided > 50 && twins.totals.returned > 0);
        assert!(cfg!(miri) || twins.recycled > 1000);
    }
}

#[test]
fn full_tables_answer_full_and_claims_go_on() {
    let steps = if cfg!(miri) { 300 } else { 20_000 };
    for (envelopes, table_bytes) in [(0, 1 << 20), (50, 64 << 20), (500, 0), (500, 30 << 16)] {
        let twins = run(11, steps, envelopes, table_bytes);
        assert!(twins.totals.envelopes == 0 || twins.totals.claims > 0);
    }
}

#[test]
fn digests_of_other_arrangements_add_up_to_the_same() {
    let twins = run(5, if cfg!(miri) { 100 } else { 5000 }, 1000, 32 << 20);
    let mut shards = [engine(1000, 32 << 20), engine(1000, 32 << 20), engine(1000, 32 << 20)];
    for record in &twins.records {
        let shard = usize::from(record.envelope().partition() % 3);
        shards[shard].apply(record).expect("partitions do not meet");
    }
    let sum = shards.iter().map(Engine::digest).fold(0, u64::wrapping_add);
    assert_eq!(sum, twins.engine.digest());
}
