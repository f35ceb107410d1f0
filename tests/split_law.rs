//! The law of the splits: exact sums, bounds, means and whole distributions.
//!
//! Every expectation is computed here by enumeration or from the mean, never
//! by the code under test. Seeds are fixed, so a failure stays a failure.

use std::collections::HashMap;

use hongbao::engine::index;
use hongbao::engine::split::{bounds, draw, feasible};
use hongbao::units::{Fen, Seed, Split};

const RANDOM: [Split; 2] = [Split::DoubleMean, Split::LineCutting];

/// A seed for the n-th envelope of a test.
fn seed_of(n: u64) -> Seed {
    Seed([n.wrapping_mul(0x9e37_79b9_7f4a_7c15), !n])
}

/// All shares of one envelope, in order of claim.
fn cut(split: Split, seed: Seed, total: Fen, shares: u32, share_max: u32) -> Vec<Fen> {
    let mut left = total;
    let mut amounts = Vec::with_capacity(index(shares));
    for rank in 0..shares {
        let amount = draw(split, seed, rank, left, shares - rank, share_max);
        left = left.checked_sub(amount).expect("a share is never more than what is left");
        amounts.push(amount);
    }
    amounts
}

/// Money, shares and caps worth trying, all feasible.
fn orders() -> Vec<(Fen, u32, u32)> {
    let totals: [Fen; 12] = [1, 2, 3, 7, 18, 100, 140, 999, 1800, 20_000, 4_000_000, 1 << 40];
    let mut orders = Vec::new();
    for total in totals {
        for shares in [1, 2, 3, 7, 18, 99, 100, 140] {
            let mean = u32::try_from(total.div_ceil(u64::from(shares))).unwrap_or(u32::MAX);
            for share_max in [0, 1, mean, mean.saturating_add(1), mean.saturating_mul(2), u32::MAX]
            {
                if feasible(total, shares, share_max) {
                    orders.push((total, shares, share_max));
                }
            }
        }
    }
    orders
}

#[test]
fn shares_add_up_and_none_is_zero_negative_or_over_its_cap() {
    let seeds = if cfg!(miri) { 1 } else { 20 };
    for (total, shares, share_max) in orders() {
        let cap = if share_max == 0 { u64::from(u32::MAX) } else { u64::from(share_max) };
        for split in [Split::Equal, Split::DoubleMean, Split::LineCutting] {
            for n in 0..seeds {
                let amounts = cut(split, seed_of(n), total, shares, share_max);
                let case = format!("{split:?} {total}/{shares} cap {share_max} seed {n}");
                assert_eq!(amounts.iter().sum::<Fen>(), total, "{case}");
                assert!(amounts.iter().all(|a| (1..=cap).contains(a)), "{case}: {amounts:?}");
            }
        }
    }
}

#[test]
fn equal_split_gives_the_remainder_to_the_first() {
    let amounts = cut(Split::Equal, seed_of(1), 100, 18, 0);
    let expected: Vec<Fen> = (0..18).map(|rank| if rank < 100 % 18 { 6 } else { 5 }).collect();
    assert_eq!(amounts, expected);
    for (total, shares, share_max) in orders() {
        let (q, m) = (total / u64::from(shares), total % u64::from(shares));
        let expected = (0..u64::from(shares)).map(|rank| q + u64::from(rank < m));
        assert!(cut(Split::Equal, seed_of(2), total, shares, share_max).into_iter().eq(expected));
    }
}

#[test]
fn bounds_are_exactly_what_leaves_the_rest_feasible() {
    for left in 1..40 {
        for shares_left in 2..8 {
            for share_max in [0, 1, 2, 5, 9, 40] {
                if !feasible(left, shares_left, share_max) {
                    continue;
                }
                let cap = if share_max == 0 { u64::from(u32::MAX) } else { u64::from(share_max) };
                let leaves_enough = |amount: &Fen| {
                    *amount <= cap && feasible(left - amount, shares_left - 1, share_max)
                };
                let allowed: Vec<Fen> = (1..left).filter(leaves_enough).collect();
                let (least, most) = bounds(left, shares_left, share_max);
                assert_eq!(allowed, (least..=most).collect::<Vec<_>>());
            }
        }
    }
}

/// Mean and standard error of every position over `envelopes` envelopes.
fn positions(split: Split, total: u32, shares: u32, envelopes: u32) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0.0); index(shares)];
    for n in 0..envelopes {
        let amounts = cut(split, seed_of(u64::from(n)), u64::from(total), shares, 0);
        for ((sum, squares), amount) in sums.iter_mut().zip(amounts) {
            let amount = f64::from(u32::try_from(amount).expect("small totals only"));
            *sum += amount;
            *squares += amount * amount;
        }
    }
    let count = f64::from(envelopes);
    let moments = |(sum, squares): (f64, f64)| {
        let mean = sum / count;
        (mean, ((squares / count - mean * mean).max(0.0) / count).sqrt())
    };
    sums.into_iter().map(moments).collect()
}

fn assert_fair(split: Split, total: u32, shares: u32, envelopes: u32) {
    let fair = f64::from(total) / f64::from(shares);
    for (rank, (mean, error)) in positions(split, total, shares, envelopes).into_iter().enumerate()
    {
        let off = (mean - fair).abs();
        assert!(
            off <= 5.0 * error + 1e-9,
            "{split:?} {total}/{shares}: share {rank} is {mean:.4} on average, fair is {fair:.4}, \
             standard error {error:.4}"
        );
    }
}

#[test]
fn first_taker_of_140_fen_over_100_gets_no_less_than_the_last() {
    for split in RANDOM {
        assert_fair(split, 140, 100, if cfg!(miri) { 20 } else { 20_000 });
    }
}

#[test]
fn every_taker_of_100_fen_over_18_expects_the_same() {
    for split in RANDOM {
        assert_fair(split, 100, 18, if cfg!(miri) { 20 } else { 40_000 });
    }
}

#[test]
fn every_taker_of_200_yuan_over_100_expects_the_same() {
    assert_fair(Split::DoubleMean, 20_000, 100, if cfg!(miri) { 20 } else { 20_000 });
    assert_fair(Split::LineCutting, 20_000, 100, if cfg!(miri) { 2 } else { 2000 });
}

#[test]
fn every_taker_of_small_change_expects_the_same() {
    let envelopes = if cfg!(miri) { 20 } else { 40_000 };
    for (total, shares) in [(1, 1), (2, 2), (3, 2), (5, 2), (7, 3), (11, 10), (99, 5), (1000, 7)] {
        for split in RANDOM {
            assert_fair(split, total, shares, envelopes);
        }
    }
}

/// The probability of every outcome vector.
type Law = HashMap<Vec<Fen>, f64>;

/// The double mean's exact law: every T and V of every step, multiplied out.
fn double_mean_law(left: u32, shares_left: u32, cap: u32) -> Law {
    if shares_left == 1 {
        return Law::from([(vec![u64::from(left)], 1.0)]);
    }
    let (spread, others) = (2 * (left - shares_left), shares_left - 1);
    let least = left.saturating_sub(others * cap).max(1);
    let most = (left - others).min(cap);
    let each = 1.0 / (f64::from(spread + 1) * f64::from(shares_left));
    let mut first: HashMap<u32, f64> = HashMap::new();
    for t in 0..=spread {
        for v in 0..shares_left {
            let amount = (1 + (t + v) / shares_left).clamp(least, most);
            *first.entry(amount).or_default() += each;
        }
    }
    let mut law = Law::new();
    for (amount, p) in first {
        for (rest, q) in double_mean_law(left - amount, others, cap) {
            let vector = [vec![u64::from(amount)], rest].concat();
            *law.entry(vector).or_default() += p * q;
        }
    }
    law
}

/// Line cutting's law: every composition of the total is as likely as any.
fn line_cutting_law(left: u32, shares_left: u32) -> Law {
    fn compositions(left: u32, parts: u32) -> Vec<Vec<Fen>> {
        if parts == 1 {
            return vec![vec![u64::from(left)]];
        }
        let firsts = 1..=left - (parts - 1);
        let begin = |first: u32| {
            let rests = compositions(left - first, parts - 1).into_iter();
            rests.map(move |rest| [vec![u64::from(first)], rest].concat())
        };
        firsts.flat_map(begin).collect()
    }
    let all = compositions(left, shares_left);
    let each = 1.0 / f64::from(u32::try_from(all.len()).expect("small cases only"));
    all.into_iter().map(|vector| (vector, each)).collect()
}

/// Chi-square of `envelopes` cuts against a law. Outcomes that are expected
/// less than ten times go together.
fn assert_law(split: Split, total: u32, shares: u32, share_max: u32, law: &Law) {
    let envelopes: u32 = if cfg!(miri) { 200 } else { 60_000 };
    let mut counts: HashMap<Vec<Fen>, u32> = HashMap::new();
    for n in 0..envelopes {
        let seed = seed_of(u64::from(n) + 1_000_000);
        *counts.entry(cut(split, seed, u64::from(total), shares, share_max)).or_default() += 1;
    }
    let case = format!("{split:?} {total}/{shares} cap {share_max}");
    for vector in counts.keys() {
        assert!(law.contains_key(vector), "{case}: {vector:?} cannot happen");
    }
    let (mut chi, mut cells, mut rare) = (0.0, 0_u32, (0.0, 0.0));
    for (vector, p) in law {
        let expected = p * f64::from(envelopes);
        let seen = f64::from(counts.get(vector).copied().unwrap_or(0));
        if expected < 10.0 {
            rare = (rare.0 + expected, rare.1 + seen);
        } else {
            chi += (seen - expected).powi(2) / expected;
            cells += 1;
        }
    }
    if rare.0 >= 10.0 {
        chi += (rare.1 - rare.0).powi(2) / rare.0;
        cells += 1;
    }
    let freedom = f64::from(cells.max(1) - 1);
    // Mean + 5 standard deviations + some for the skew of few cells.
    let threshold = freedom + 5.0 * (2.0 * freedom).sqrt() + 8.0;
    assert!(chi <= threshold, "{case}: chi-square {chi:.1} with {freedom} degrees of freedom");
}

#[test]
fn double_mean_has_exactly_its_law() {
    for (total, shares) in
        [(2, 2), (5, 2), (12, 2), (5, 3), (9, 3), (12, 3), (9, 4), (8, 5), (7, 6)]
    {
        let law = double_mean_law(total, shares, total);
        assert!((law.values().sum::<f64>() - 1.0).abs() < 1e-9);
        assert_law(Split::DoubleMean, total, shares, 0, &law);
    }
}

#[test]
fn double_mean_under_a_cap_has_exactly_its_law() {
    for (total, shares, cap) in [(9, 3, 3), (9, 3, 4), (9, 3, 5), (9, 4, 3), (12, 4, 5), (10, 5, 3)]
    {
        assert_law(Split::DoubleMean, total, shares, cap, &double_mean_law(total, shares, cap));
    }
}

#[test]
fn double_mean_has_the_mean_in_every_position_by_enumeration() {
    for (total, shares) in [(5, 3), (9, 4), (8, 5), (14, 3)] {
        let law = double_mean_law(total, shares, total);
        let fair = f64::from(total) / f64::from(shares);
        for rank in 0..index(shares) {
            let fen = |amount: Fen| f64::from(u32::try_from(amount).expect("small"));
            let mean: f64 = law.iter().map(|(vector, p)| fen(vector[rank]) * p).sum();
            assert!((mean - fair).abs() < 1e-9, "{total}/{shares} share {rank}: {mean}");
        }
    }
}

#[test]
fn line_cutting_makes_every_composition_equally_likely() {
    for (total, shares) in [(2, 2), (9, 2), (6, 3), (10, 3), (9, 4), (8, 5), (9, 6)] {
        assert_law(Split::LineCutting, total, shares, 0, &line_cutting_law(total, shares));
    }
}

#[test]
fn the_statistics_notice_a_floor_instead_of_the_dither() {
    // The classical formula without V, on 5 fen for 3: T uniform on {0..4},
    // X = 1 + floor(T / 3) has mean 7/5, and fair is 5/3.
    let envelopes = 40_000;
    let mean = |rank: usize| positions(Split::DoubleMean, 5, 3, envelopes)[rank];
    let (first, error) = mean(0);
    assert!((first - 7.0 / 5.0).abs() > 20.0 * error);
}

#[test]
fn another_seed_or_rank_gives_other_draws() {
    let amounts = |seed| cut(Split::DoubleMean, seed, 1_000_000, 50, 0);
    assert_ne!(amounts(seed_of(1)), amounts(seed_of(2)));
    assert_eq!(amounts(seed_of(1)), amounts(seed_of(1)));
    let of_rank = |rank| draw(Split::DoubleMean, seed_of(3), rank, 1 << 40, 1000, 0);
    assert_ne!(of_rank(0), of_rank(1));
}
