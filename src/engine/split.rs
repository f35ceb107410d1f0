//! How much the next claimant gets.
//!
//! A draw is a pure function of the envelope's seed, the claim's rank and what
//! is left, so anyone who is shown the seed can compute every amount again. It
//! keeps no state, and no source of randomness but the seed is known here.

use siphasher::sip::SipHasher24;

use crate::limits::SHARE_FEN_MAX;
use crate::units::{Fen, Seed, Split};

/// The most one share may be, in fen: the sender's cap, or the format's where
/// the sender set none (0).
#[inline]
pub fn cap(share_max: u32) -> Fen {
    if share_max == 0 { SHARE_FEN_MAX } else { Fen::from(share_max) }
}

/// Whether `total` fen can be cut into `shares` shares of at least 1 fen and
/// at most the cap.
pub fn feasible(total: Fen, shares: u32, share_max: u32) -> bool {
    let shares = u64::from(shares);
    shares >= 1 && total >= shares && total <= shares.saturating_mul(cap(share_max))
}

/// The least and the most that the next of `shares_left` shares may be, in
/// fen, so that the others can still get at least 1 fen and at most the cap.
/// For the last share both are all of `left`.
#[inline]
pub fn bounds(left: Fen, shares_left: u32, share_max: u32) -> (Fen, Fen) {
    let (others, cap) = (u64::from(shares_left).saturating_sub(1), cap(share_max));
    let least = left.saturating_sub(others.saturating_mul(cap)).max(1);
    let most = left.saturating_sub(others).min(cap);
    (least, most)
}

/// The amount of the next share, in fen.
///
/// `rank` counts the claims before this one, `left` fen are left for
/// `shares_left` shares, `share_max` is the sender's cap (0 is none). If
/// `left` is [`feasible`] for the shares, so is the rest after the draw, and
/// the amounts of all shares add up to the total.
#[inline]
pub fn draw(
    split: Split,
    seed: Seed,
    rank: u32,
    left: Fen,
    shares_left: u32,
    share_max: u32,
) -> Fen {
    if shares_left <= 1 {
        return left;
    }
    let mut draws = Draws::new(seed, rank);
    let amount = match split {
        Split::Equal => left.div_ceil(u64::from(shares_left)),
        Split::DoubleMean => double_mean(&mut draws, left, u64::from(shares_left)),
        Split::LineCutting => line_cutting(&mut draws, left, u64::from(shares_left)),
        // A prize follows from its plan (`campaign`); without it there is no draw.
        Split::Prizes => 1,
    };
    let (least, most) = bounds(left, shares_left, share_max);
    amount.min(most).max(least)
}

/// The dithered double mean: with E = R − k, T uniform on {0..2E} and V
/// uniform on {0..k−1}, the share is X = 1 + ⌊(T + V) / k⌋.
///
/// V is what makes it exact: for an integer T, the mean of ⌊(T + V) / k⌋ over
/// V is T / k, so the mean of X is 1 + E / k = R / k, for every share from the
/// first to the last. Without V, rounding down takes from the first takers
/// and gives to the last.
///
/// The pair is one draw: W uniform on {0..(2E+1)k−1}, T = ⌊W / k⌋ and
/// V = W mod k. Where that product leaves 64 bits, T and V are drawn apart.
#[inline]
fn double_mean(draws: &mut Draws, left: Fen, shares_left: u64) -> Fen {
    let spread = left.saturating_sub(shares_left).saturating_mul(2).saturating_add(1);
    let (t, v) = match spread.checked_mul(shares_left) {
        Some(pairs) => {
            let pair = draws.below(pairs);
            (pair / shares_left, pair % shares_left)
        }
        None => (draws.below(spread), draws.below(shares_left)),
    };
    1 + t.saturating_add(v) / shares_left
}

/// Line cutting: k − 1 distinct cuts of the line {1..R−1}, drawn uniformly,
/// and the first share is the smallest cut. What follows is again a uniform
/// composition of the rest, so share by share this is the law of cutting all
/// at once.
///
/// The smallest cut needs no memory of the others. Floyd's sampling draws a
/// uniform j₀ from {1..j} for each j = R−k+1 ..= R−1 and keeps j₀, or j itself
/// where j₀ is already kept. In the second case j₀ is no less than the
/// smallest kept, and j is larger than all of them, so neither is a new
/// minimum: the smallest cut is the smallest of all draws, duplicates or not.
#[inline]
fn line_cutting(draws: &mut Draws, left: Fen, shares_left: u64) -> Fen {
    let mut smallest = left;
    for j in left.saturating_sub(shares_left) + 1..left {
        smallest = smallest.min(1 + draws.below(j));
        if smallest == 1 {
            break; // the rest of this rank's draws cannot change it
        }
    }
    smallest
}

/// The draws of one claim: SipHash-2-4, keyed with the seed, of the rank and a
/// counter (both u32, little endian).
struct Draws {
    keyed: SipHasher24,
    rank: u32,
    number: u32,
}

impl Draws {
    #[inline]
    fn new(seed: Seed, rank: u32) -> Self {
        Self { keyed: SipHasher24::new_with_keys(seed.0[0], seed.0[1]), rank, number: 0 }
    }

    #[inline]
    fn word(&mut self) -> u64 {
        let message = u64::from(self.number) << 32 | u64::from(self.rank);
        self.number = self.number.wrapping_add(1);
        self.keyed.hash(&message.to_le_bytes())
    }

    /// Uniform on {0..n−1}, exactly: Lemire's multiply-shift, where a draw in
    /// the uneven rest of the 64-bit range is rejected and drawn again.
    #[inline]
    fn below(&mut self, n: u64) -> u64 {
        let (mut quotient, mut fraction) = wide_product(self.word(), n);
        if fraction < n {
            let uneven = n.wrapping_neg().checked_rem(n).unwrap_or(0);
            while fraction < uneven {
                (quotient, fraction) = wide_product(self.word(), n);
            }
        }
        quotient
    }
}

/// The high and the low word of a·b.
#[inline]
fn wide_product(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    (u64::try_from(product >> 64).unwrap_or(u64::MAX), a.wrapping_mul(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);

    #[test]
    fn draws_are_siphash_2_4_of_rank_and_number() {
        // The message 00 01 .. 07 of the reference vectors: rank 0x03020100,
        // number 0x07060504.
        let mut draws = Draws { number: 0x0706_0504, ..Draws::new(SEED, 0x0302_0100) };
        assert_eq!(draws.word(), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn below_reaches_every_value_and_nothing_else() {
        let mut draws = Draws::new(SEED, 0);
        for n in [1_u64, 2, 3, 7] {
            let mut seen = 0_u64;
            for _ in 0..200 {
                let value = draws.below(n);
                assert!(value < n);
                seen |= 1 << value;
            }
            assert_eq!(seen, (1 << n) - 1);
        }
        assert!(draws.below(u64::MAX) < u64::MAX);
    }

    /// Of n = 3·2⁶² the words that 4 divides are the uneven rest, and any other
    /// word w is the value ⌊3w / 4⌋.
    #[test]
    fn a_draw_in_the_uneven_rest_is_drawn_again() {
        let (mut draws, mut words) = (Draws::new(SEED, 0), Draws::new(SEED, 0));
        let mut rejected = 0;
        for _ in 0..1000 {
            let word = loop {
                match words.word() {
                    word if word % 4 != 0 => break word,
                    _ => rejected += 1,
                }
            };
            let value = u64::try_from(u128::from(word) * 3 / 4).unwrap();
            assert_eq!(draws.below(3 << 62), value);
        }
        assert!(rejected > 250, "a quarter of all words: {rejected}");
    }

    /// A campaign's sum over a campaign's shares: T and V do not fit into one draw.
    #[test]
    fn the_largest_envelopes_have_the_exact_mean_as_well() {
        let (left, shares) = (1 << 48, 1 << 20);
        let mean: Fen = left / shares;
        let mut sum = 0;
        for number in 0..10_000 {
            let amount = double_mean(&mut Draws::new(Seed([number, 7]), 0), left, shares);
            assert!((1..2 * mean).contains(&amount), "{amount}");
            sum += amount;
        }
        assert!(sum.abs_diff(10_000 * mean) < 200 * mean, "{sum} of {}", 10_000 * mean);
    }

    /// The expected amounts come from an independent implementation.
    #[test]
    fn amounts_of_a_seed_never_change() {
        let amounts = |split| {
            let (mut left, mut amounts) = (14_000, [0; 5]);
            for (rank, shares_left) in (0..5).zip((1..=5).rev()) {
                let amount = draw(split, SEED, rank, left, shares_left, 0);
                left -= amount;
                amounts[super::super::index(rank)] = amount;
            }
            amounts
        };
        assert_eq!(amounts(Split::Equal), [2800; 5]);
        assert_eq!(amounts(Split::DoubleMean), [1266, 1084, 1364, 2493, 7793]);
        assert_eq!(amounts(Split::LineCutting), [3162, 1845, 1579, 1797, 5617]);
    }

    #[test]
    fn draw_of_nonsense_does_not_panic() {
        for split in [Split::Equal, Split::DoubleMean, Split::LineCutting] {
            for left in [0, 1, 5, 1 << 48] {
                for shares_left in [0, 1, 2, 9] {
                    for share_max in [0, 1, u32::MAX] {
                        draw(split, SEED, 3, left, shares_left, share_max);
                    }
                }
            }
        }
    }
}
