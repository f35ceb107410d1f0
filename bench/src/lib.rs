//! Measures of single rooms, in process: fixed seeds, a hash of the result
//! beside each figure. Never part of the server.

use std::time::Instant;

use hongbao::engine::{Capacity, Engine, EnvelopeLimits, Outcome};
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
    /// Nanoseconds of one claim, decided and applied.
    pub ns_per_claim: f64,
    /// Hash of the state after the run; the same for the same arguments.
    pub digest: u64,
}

fn engine(envelopes: u32, shares: u32) -> Engine {
    let block = (48 + 16 * usize::try_from(shares).unwrap_or(0)).next_power_of_two();
    let table_bytes = usize::try_from(envelopes).unwrap_or(0) * block + (256 << 20);
    let limits = EnvelopeLimits {
        shares_max: shares,
        total_fen_max: 1 << 40,
        share_mean_fen_max: 20_000,
        lifetime_s_max: 86_400,
    };
    Engine::new(1, Capacity { envelopes, table_bytes, retention_s: 86_400 }, limits)
}

fn fund(engine: &mut Engine, number: u64, shares: u32) -> Option<EnvelopeId> {
    let order = SendOrder {
        sender: UserId(number / 8),
        order: number,
        payment: number,
        total: u64::from(shares) * 100,
        shares,
        lifetime_s: 86_400,
        share_max: 0,
        split: Split::DoubleMean,
    };
    let decision = engine.fund(&order, Seed([number, !number]), NOW);
    engine.apply(&decision.record?).ok()?;
    match decision.outcome {
        Outcome::Funded { envelope, .. } => Some(envelope),
        _ => None,
    }
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
    let ids = (0..u64::from(envelopes))
        .map(|number| fund(&mut engine, number, shares))
        .collect::<Option<Vec<_>>>()?;
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
    Some(Figure { claims: won, ns_per_claim, digest: engine.digest() })
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
}
