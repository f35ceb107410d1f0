//! Who guessed a password wrong, and how often: a table of fixed size.
//!
//! A user belongs to one line of eight entries, each a mark of 56 bits and a
//! count. Where a line is full, whoever has guessed least in it is forgotten,
//! the first of the equal. So a user's count is exact while no more than eight
//! users of a line guess; beyond that somebody may be counted too low, never too
//! high, and the count of the whole envelope, kept beside, stays exact.

use super::super::hash::mix;
use crate::units::{Seed, UserId};

/// Entries of a line: a line of the cache.
pub(in super::super) const LINE_WORDS: usize = 8;

/// The fewest lines: a group of friends.
const LINES_MIN: u32 = 8;

/// The most: 32 KiB, so that an image has them in the same slice as the header.
const LINES_MAX: u32 = 512;

/// The bits of an entry that count.
const COUNT_BITS: u64 = 0xff;

/// The lines of an envelope with so many shares: room for four guessers a share.
pub(in super::super) fn lines_for(shares: u32) -> u16 {
    let lines = (shares / 2).clamp(LINES_MIN, LINES_MAX).next_power_of_two();
    u16::try_from(lines).unwrap_or(u16::MAX)
}

/// What a user's line is found by, and the user's mark in it. The seed is mixed
/// in, so nobody outside can choose users that meet.
pub(in super::super) fn mark_of(user: UserId, seed: Seed) -> (u64, u64) {
    let hash = mix(user.0 ^ seed.0[1]);
    (hash, hash & !COUNT_BITS)
}

/// A line: marks and counts; 0 is an empty entry.
#[derive(Clone, Copy)]
pub(in super::super) struct Line(pub(in super::super) [u64; LINE_WORDS]);

impl Line {
    /// How often the user of a mark has guessed wrong, as far as it is known.
    pub(in super::super) fn count(&self, mark: u64) -> u8 {
        self.0.iter().find(|&&entry| is_of(entry, mark)).map_or(0, |&entry| count_of(entry))
    }

    /// Counts one more.
    pub(in super::super) fn add(&mut self, mark: u64) {
        let known = self.0.iter().position(|&entry| is_of(entry, mark));
        // An empty entry has the least count of all.
        let least = || (0..LINE_WORDS).min_by_key(|&at| count_of(self.0[at]));
        let at = known.or_else(least).unwrap_or(0);
        let before = known.map_or(0, |at| count_of(self.0[at]));
        self.0[at] = mark | u64::from(before.saturating_add(1));
    }
}

fn is_of(entry: u64, mark: u64) -> bool {
    entry & COUNT_BITS != 0 && entry & !COUNT_BITS == mark
}

fn count_of(entry: u64) -> u8 {
    entry.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(n: u64) -> u64 {
        n << 8
    }

    #[test]
    fn eight_users_of_a_line_are_counted_exactly() {
        let mut line = Line([0; LINE_WORDS]);
        for round in 1..=300_u32 {
            for user in 0..8 {
                assert_eq!(u32::from(line.count(mark(user))), (round - 1).min(255));
                line.add(mark(user));
            }
        }
    }

    #[test]
    fn the_ninth_takes_the_place_of_whoever_guessed_least_and_first() {
        let mut line = Line([0; LINE_WORDS]);
        for user in 0..8 {
            (0..if user == 3 || user == 5 { 1 } else { 2 }).for_each(|_| line.add(mark(user)));
        }
        line.add(mark(8));
        assert_eq!((line.count(mark(8)), line.count(mark(3)), line.count(mark(5))), (1, 0, 1));
    }

    #[test]
    fn tables_have_a_power_of_two_of_lines_in_bounds() {
        for (shares, lines) in [(1, 8), (16, 8), (17, 8), (100, 64), (1025, 512), (1 << 20, 512)] {
            assert_eq!(lines_for(shares), lines, "{shares} shares");
        }
        assert_eq!(lines_for(u32::MAX), 512);
    }
}
