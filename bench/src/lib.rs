//! Measures of single rooms, in process: fixed seeds, a hash of the result
//! beside each figure. Never part of the server.

pub mod ledger;

use std::ops::Range;
use std::time::Instant;

use hongbao::engine::{Capacity, Engine, EnvelopeLimits, Outcome, Record, Restoring};
use hongbao::units::{EnvelopeId, Seed, Split, Time, UserId};
use hongbao::wire::SendOrder;

/// Claims that are touched together, as the shard does it.
const GROUP: usize = 32;
const GROUPED: u64 = 32;
const NOW: Time = Time(1_700_000_000_000);

/// What one run has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Claims that won.
    pub claims: u64,
    /// Nanoseconds of one order, decided and applied.
    pub ns_per_send: f64,
    /// Nanoseconds of one claim, decided and applied.
    pub ns_per_claim: f64,
    /// Bytes of all tables for each envelope.
    pub bytes_per_envelope: f64,
    /// Hash of the state after the run; the same for the same arguments.
    pub digest: u64,
}

/// What [`restore_rate`] has shown, in nanoseconds for each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RestoreFigure {
    /// An envelope copied into an image.
    pub ns_per_image: f64,
    /// An envelope loaded from an image.
    pub ns_per_load: f64,
    /// A claim record applied after that.
    pub ns_per_record: f64,
    /// An envelope when the tables are made of the pages.
    pub ns_per_finish: f64,
    /// Hash of the restored state, which was compared with the live one.
    pub digest: u64,
}

/// What [`closing_rate`] has shown, in nanoseconds for each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClosingFigure {
    /// An envelope that expires, decided and applied.
    pub ns_per_expiry: f64,
    /// An envelope that is recycled, decided and applied.
    pub ns_per_recycling: f64,
}

const LIMITS: EnvelopeLimits = EnvelopeLimits {
    shares_max: 1000,
    total_fen_max: 1 << 40,
    share_mean_fen_max: 20_000,
    lifetime_s_max: 86_400,
};

/// Tables for so many envelopes: their pages, and one more for each partition.
fn capacity(envelopes: u32, shares: u32) -> Capacity {
    let block = (48 + 16 * usize::try_from(shares).unwrap_or(0)).next_power_of_two();
    let pages = usize::try_from(envelopes).unwrap_or(0) / ((64 << 10) / (block + 48)) + 256;
    Capacity { envelopes, table_bytes: pages * (64 << 10), retention_s: 0 }
}

fn engine(envelopes: u32, shares: u32) -> Engine {
    Engine::new(1, capacity(envelopes, shares), LIMITS)
}

fn fund_at(engine: &mut Engine, number: u64, shares: u32, now: Time) -> Option<EnvelopeId> {
    let order = SendOrder {
        nonce: 0,
        source: hongbao::units::MoneySource::Vouched,
        sender: sender_of(number),
        order: number,
        payment: number,
        total: u64::from(shares) * 100,
        shares,
        lifetime_s: 86_400,
        share_max: 0,
        split: Split::DoubleMean,
    };
    let decision = engine.fund(&order, Seed([number, !number]), now);
    engine.apply(&decision.record?).ok()?;
    match decision.outcome {
        Outcome::Issued { envelope, .. } => Some(envelope),
        _ => None,
    }
}

fn sender_of(number: u64) -> UserId {
    UserId(number / 8)
}

/// Loads the lines of a group of orders, as the shard does it.
fn touch_orders(engine: &Engine, numbers: Range<u64>) {
    let touch = |number| engine.touch_order(sender_of(number), number);
    std::hint::black_box(numbers.clone().fold(0, |seen, number| seen ^ touch(number)));
    let touch = |number| engine.touch_compared(sender_of(number), number);
    std::hint::black_box(numbers.fold(0, |seen, number| seen ^ touch(number)));
}

fn funded(engine: &mut Engine, envelopes: u32, shares: u32) -> Option<Vec<EnvelopeId>> {
    let envelopes = u64::from(envelopes);
    let fund = |number| {
        if number % GROUPED == 0 {
            touch_orders(engine, number..(number + GROUPED).min(envelopes));
        }
        fund_at(engine, number, shares, NOW)
    };
    (0..envelopes).map(fund).collect()
}

/// A fixed sequence of numbers (`SplitMix64`), the same in every run.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The engine alone on the `rush` mix: uniform claims by new users, in groups
/// whose lines are touched first, as the shard does it.
pub fn engine_rush(envelopes: u32, shares: u32, claims: u64) -> Option<Figure> {
    let mut engine = engine(envelopes, shares);
    let started = Instant::now();
    let ids = funded(&mut engine, envelopes, shares)?;
    let ns_per_send = ns_each(started, envelopes);
    let mut state = 42;
    let mut won = 0;
    let started = Instant::now();
    let mut group = [(EnvelopeId(0), UserId(0)); GROUP];
    for round in 0..claims / GROUPED {
        for (place, asked) in (0u64..).zip(&mut group) {
            let pick = next(&mut state) % u64::from(envelopes);
            *asked = (ids[usize::try_from(pick).ok()?], UserId(round * GROUPED + place));
        }
        let places = group.map(|(id, _)| engine.place(id));
        let seen = places.iter().fold(0, |seen, &place| seen ^ engine.touch(place));
        std::hint::black_box(seen);
        let places = group.map(|(id, user)| engine.claim_places(id, user));
        let seen = places.iter().flatten().fold(0, |seen, &place| seen ^ engine.touch(place));
        std::hint::black_box(seen);
        for (id, user) in group {
            if let Some(record) = engine.claim(id, user, NOW).record {
                engine.apply(&record).ok()?;
                won += 1;
            }
        }
    }
    let asked = u32::try_from(claims / GROUPED * GROUPED).ok()?;
    let ns_per_claim = started.elapsed().as_secs_f64() * 1e9 / f64::from(asked);
    let bytes = Engine::memory_bytes(&capacity(envelopes, shares));
    let bytes_per_envelope =
        f64::from(u32::try_from(bytes >> 10).ok()?) * 1024.0 / f64::from(envelopes);
    let digest = engine.digest();
    Some(Figure { claims: won, ns_per_send, ns_per_claim, bytes_per_envelope, digest })
}

/// Nanoseconds of each of `count` things since a moment.
fn ns_each(started: Instant, count: u32) -> f64 {
    started.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}

/// A restart: an image of all envelopes half claimed, then as many claim
/// records as there are envelopes, then the tables.
pub fn restore_rate(envelopes: u32, shares: u32) -> Option<RestoreFigure> {
    let mut live = engine(envelopes, shares);
    let ids = funded(&mut live, envelopes, shares)?;
    let mut state = 42;
    let claims = (u64::from(envelopes)..2 * u64::from(envelopes)).map(|user| {
        let pick = usize::try_from(next(&mut state) % u64::from(envelopes)).ok()?;
        Some((*ids.get(pick)?, UserId(user)))
    });
    let claims = claims.collect::<Option<Vec<_>>>()?;
    let mut restoring = Restoring::new(1, capacity(envelopes, shares), LIMITS, 0, 1);
    let started = Instant::now();
    let (mut cursor, mut slice) = (live.begin_image(), Vec::new());
    let mut loading = 0.0;
    while live.next_slice(&mut cursor, 1, &mut slice) {
        let started = Instant::now();
        restoring.load(&slice).ok()?;
        loading += ns_each(started, envelopes);
        slice.clear();
    }
    live.end_image(cursor);
    let ns_per_image = ns_each(started, envelopes) - loading;
    let mut records = Vec::new();
    for (id, user) in claims {
        if let Some(record) = live.claim(id, user, NOW).record {
            live.apply(&record).ok()?;
            records.push((2_u64, record));
        }
    }
    let started = Instant::now();
    restoring.apply(&records).ok()?;
    let ns_per_record = ns_each(started, u32::try_from(records.len()).ok()?);
    let started = Instant::now();
    let restored = restoring.finish().ok()?;
    let ns_per_finish = ns_each(started, envelopes);
    let digest = restored.digest();
    (digest == live.digest() && restored.totals() == live.totals()).then_some(RestoreFigure {
        ns_per_image,
        ns_per_load: loading,
        ns_per_record,
        ns_per_finish,
        digest,
    })
}

/// The evening after: all envelopes expire in the same minute, and then are
/// recycled.
pub fn closing_rate(envelopes: u32, shares: u32) -> Option<ClosingFigure> {
    let mut engine = engine(envelopes, shares);
    for number in 0..u64::from(envelopes) {
        let now = Time(NOW.0 + next(&mut (number + 1)) % 60_000);
        fund_at(&mut engine, number, shares, now)?;
    }
    let later = Time(NOW.0 + 2 * 86_400_000);
    let drain = |engine: &mut Engine, next: fn(&mut Engine, Time) -> Option<Record>| {
        let (started, mut count) = (Instant::now(), 0);
        while count < envelopes {
            if let Some(record) = next(engine, later) {
                engine.apply(&record).ok()?;
                count += 1;
            }
        }
        Some(ns_each(started, envelopes))
    };
    let ns_per_expiry = drain(&mut engine, Engine::due)?;
    let ns_per_recycling = drain(&mut engine, Engine::recyclable)?;
    Some(ClosingFigure { ns_per_expiry, ns_per_recycling })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_bench_runs_and_is_reproducible() {
        let first = engine_rush(2000, 5, 8000).unwrap();
        let second = engine_rush(2000, 5, 8000).unwrap();
        assert_eq!((first.claims, first.digest), (second.claims, second.digest));
        assert!(first.claims > 6000);
    }

    #[test]
    fn the_restore_bench_restores_what_was_live() {
        let figure = restore_rate(3000, 5).expect("equal digests and totals");
        assert_eq!(figure.digest, restore_rate(3000, 5).unwrap().digest);
    }

    #[test]
    fn the_closing_bench_closes_everything() {
        assert!(closing_rate(3000, 5).is_some());
    }
}
