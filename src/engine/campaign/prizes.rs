//! Which prize is the next.
//!
//! The prizes of a campaign lie in a row, kind after kind, and the envelope's
//! seed is the key of a permutation of them: win number k gets the prize at the
//! place that the permutation has for k. So nobody needs to remember which
//! prizes are left, none can be given twice, and after the last win each was
//! given exactly once. Anybody who is shown the seed can compute it again.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::units::{Fen, Seed};
use crate::wire::Prize;

/// Rounds of the Feistel network; four make a pseudo-random permutation.
const ROUNDS: u64 = 4;

/// Marks the messages of this room, so that they are none of the draws'.
const MARK: u64 = 1 << 63;

/// The place of win `rank` of a campaign with so many prizes; a permutation of
/// the ranks below `prizes`. A rank that has no prize is its own place.
pub fn place(seed: Seed, prizes: u32, rank: u32) -> u32 {
    if rank >= prizes {
        return rank;
    }
    let bits = u32::BITS - (prizes - 1).leading_zeros();
    let half = bits.div_ceil(2).max(1);
    let mut at = u64::from(rank);
    // Walking the cycle of a permutation of a larger range from inside the
    // smaller one always leads back inside, and is a permutation of it.
    loop {
        at = permuted(seed, half, at);
        if at < u64::from(prizes) {
            return u32::try_from(at).unwrap_or(rank);
        }
    }
}

/// The amount of win `rank`, in fen, where these are the kinds of prizes; 0 if
/// they have none for it.
pub fn amount(kinds: &[Prize], seed: Seed, prizes: u32, rank: u32) -> Fen {
    let kind = group_of(kinds.iter().map(|kind| kind.count), place(seed, prizes, rank));
    kind.and_then(|kind| kinds.get(kind)).map_or(0, |kind| kind.amount.into())
}

/// A permutation of the numbers of twice `half` bits.
fn permuted(seed: Seed, half: u32, at: u64) -> u64 {
    let mask = (1 << half) - 1;
    let (mut left, mut right) = (at >> half, at & mask);
    for round in 0..ROUNDS {
        let mut keyed = SipHasher24::new_with_keys(seed.0[0], seed.0[1]);
        keyed.write_u64((MARK | round << 32 | right).to_le());
        (left, right) = (right, left ^ keyed.finish() & mask);
    }
    left << half | right
}

/// In which of these groups, one after the other, a place lies.
pub(super) fn group_of(counts: impl Iterator<Item = u32>, place: u32) -> Option<usize> {
    let mut end = 0_u64;
    counts.enumerate().find_map(|(group, count)| {
        end += u64::from(count);
        (u64::from(place) < end).then_some(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by a second program, in Python, from this module's text.
    const PLACES: [[u32; 4]; 4] =
        [[3, 0, 2, 1], [21, 53, 54, 61], [13, 36, 3, 20], [38_806, 7581, 32_060, 64_454]];

    #[test]
    fn every_place_comes_exactly_once() {
        let all = [1, 2, 3, 4, 5, 64, 1000, 65_537];
        for &prizes in if cfg!(miri) { &all[..6] } else { &all[..] } {
            for key in 0..3 {
                let places = (0..prizes).map(|rank| place(Seed([key, 7]), prizes, rank));
                let mut places: Vec<u32> = places.collect();
                places.sort_unstable();
                assert!(places.into_iter().eq(0..prizes), "{prizes} prizes, key {key}");
            }
        }
    }

    #[test]
    fn places_follow_from_the_seed_and_are_not_those_of_another() {
        let of = |key| (0..100).map(move |rank| place(Seed([key, 0]), 100_000, rank));
        assert!(of(1).eq(of(1)));
        assert!(of(1).zip(of(2)).filter(|(a, b)| a == b).count() < 3);
    }

    /// What was won is computed again for ever.
    #[test]
    fn places_are_part_of_the_format() {
        let of = |prizes| [0, 1, 2, 3].map(|rank| place(Seed([1, 2]), prizes, rank));
        assert_eq!([of(4), of(64), of(65), of(100_000)], PLACES);
    }

    #[test]
    fn amounts_are_those_of_the_kinds_and_nothing_beyond_the_last_prize() {
        let kinds = [Prize { amount: 500, count: 2 }, Prize { amount: 3, count: 4 }];
        let amounts = (0..7).map(|rank| amount(&kinds, Seed([5, 6]), 6, rank));
        let mut amounts: Vec<Fen> = amounts.collect();
        assert_eq!(amounts.pop(), Some(0));
        for (rank, amount) in (0..).zip(&amounts) {
            let is_large = place(Seed([5, 6]), 6, rank) < 2;
            assert_eq!(*amount, if is_large { 500 } else { 3 });
        }
        amounts.sort_unstable();
        assert_eq!(amounts, [3, 3, 3, 3, 500, 500]);
    }

    #[test]
    fn ranks_without_a_prize_end() {
        assert_eq!(place(Seed([1, 2]), 0, 0), 0);
        assert_eq!(place(Seed([1, 2]), 5, 5), 5);
        assert!(place(Seed([1, 2]), u32::MAX, 9) < u32::MAX);
    }

    #[test]
    fn first_prizes_are_spread_over_all_places() {
        // 1000 seeds, 16 places: each comes 62.5 times on average, standard
        // deviation 7.7.
        let mut counts = [0_u32; 16];
        for key in 0..1000 {
            counts[super::super::super::index(place(Seed([key, 3]), 16, 0))] += 1;
        }
        assert!(counts.iter().all(|count| (25..=100).contains(count)), "{counts:?}");
    }

    #[test]
    fn groups_hold_as_many_places_as_they_count() {
        let group = |place| group_of([2, 1, 3].into_iter(), place);
        assert_eq!(
            [0, 1, 2, 3, 5, 6].map(group),
            [Some(0), Some(0), Some(1), Some(2), Some(2), None]
        );
    }
}
