//! How likely a shake should be worth asking about, so that a slot's quota
//! lasts the slot.
//!
//! The plan says what may have been won a little later, the owner what was won;
//! the difference, over the shakes that the observed rate lets expect until
//! then, is the probability. It corrects itself: what was not won in time raises
//! it, what was won early lowers it. Numbers only; no clock and no randomness.

use crate::units::Time;

/// How far ahead it looks, in milliseconds: several looks of the owner, so that
/// the probability does not follow every one of them.
pub(super) const AHEAD_MS: u64 = 20;

/// The observed rate follows the crowd within so many milliseconds.
const RATE_MS: u64 = 50;

/// The observed rate of one campaign.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    shakes: u64,
    at: Time,
    /// Shakes a second.
    rate: u64,
}

impl Pace {
    /// Nothing observed yet.
    pub(super) fn new(shakes: u64, at: Time) -> Self {
        Self { shakes, at, rate: 0 }
    }

    /// So many shakes have come in all, by now.
    pub(super) fn observe(&mut self, shakes: u64, now: Time) {
        let passed_ms = now.0.saturating_sub(self.at.0);
        if passed_ms == 0 {
            return;
        }
        let come = u128::from(shakes.wrapping_sub(self.shakes));
        // The old rate counts for RATE_MS, the new one for what has passed.
        let old = u128::from(self.rate) * u128::from(RATE_MS);
        let rate = (old + 1000 * come) / (u128::from(RATE_MS) + u128::from(passed_ms));
        self.rate = u64::try_from(rate).unwrap_or(u64::MAX);
        (self.shakes, self.at) = (shakes, now);
    }

    /// Below which a draw from all of 64 bits goes on, if so many prizes are to
    /// be won within the time that it looks ahead; all bits: every one does.
    pub(super) fn threshold(&self, available: u32) -> u64 {
        if available == 0 {
            return 0;
        }
        let expected = u128::from(self.rate) * u128::from(AHEAD_MS);
        let share = (u128::from(available) * 1000) << 64;
        share.checked_div(expected).map_or(u64::MAX, |t| u64::try_from(t).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_rate(per_ms: u64) -> Pace {
        let mut pace = Pace::new(0, Time(0));
        (1..=400).for_each(|look| pace.observe(look * 5 * per_ms, Time(look * 5)));
        pace
    }

    #[test]
    fn the_rate_is_met_and_followed() {
        let mut pace = at_rate(1000);
        assert!((990_000..=1_000_000).contains(&pace.rate), "{}", pace.rate);
        (1..=40).for_each(|look| pace.observe(2_000_000, Time(2000 + 5 * look)));
        assert!(pace.rate < 50_000, "a crowd that is gone is forgotten: {}", pace.rate);
    }

    #[test]
    fn the_probability_is_prizes_over_shakes() {
        // 20,000 shakes are expected within 20 ms.
        let threshold = at_rate(1000).threshold(2000);
        let tenth = u64::MAX / 10;
        assert!((tenth..tenth + tenth / 50).contains(&threshold), "{threshold}");
        assert_eq!(at_rate(1000).threshold(0), 0);
        assert_eq!(at_rate(1000).threshold(30_000), u64::MAX);
        assert_eq!(Pace::default().threshold(1), u64::MAX, "nobody is there yet");
    }

    #[test]
    fn no_numbers_overflow() {
        let mut pace = Pace::new(u64::MAX, Time(0));
        pace.observe(u64::MAX - 1, Time(1));
        pace.observe(0, Time(u64::MAX));
        assert!(pace.threshold(u32::MAX) > 0);
    }
}
