//! When to refuse work, and which: new envelopes and lists first, then looks,
//! and claims last.
//!
//! The measure is the standing wait: the least that any turn of a window took
//! from collecting its requests to releasing their replies. A burst is gone
//! with one short turn; only a queue that stands for the whole window counts.
//! This room reads no clock.

use crate::limits::{RETRY_AFTER_MS_MAX, WAIT_WINDOW_US};
use crate::units::Stamp;
use crate::wire::Op;

/// Looks are refused at so many times the target.
const LOOKS_AT: u32 = 2;

/// Claims are refused when they themselves have waited so many times the target.
const CLAIMS_AT: u32 = 4;

/// How much of the work is refused now.
pub(super) struct Pressure {
    wait_us_max: u32,
    level: u8,
    standing_us: u32,
    window_began: Stamp,
    least_us: u32,
}

impl Pressure {
    /// No pressure yet; `wait_us_max` is the target.
    pub(super) fn new(wait_us_max: u32, now: Stamp) -> Self {
        let (level, standing_us, least_us) = (0, 0, u32::MAX);
        Self { wait_us_max, level, standing_us, window_began: now, least_us }
    }

    /// A turn that ends at `now` has made its requests wait for `waited_us`.
    pub(super) fn note(&mut self, now: Stamp, waited_us: u32) {
        self.least_us = self.least_us.min(waited_us);
        if now.since(self.window_began) < WAIT_WINDOW_US {
            return;
        }
        self.standing_us = self.least_us;
        self.level = match self.standing_us / self.wait_us_max.max(1) {
            0 => 0,
            1 => 1,
            times if times < CLAIMS_AT => 2,
            _ => 3,
        };
        (self.window_began, self.least_us) = (now, u32::MAX);
    }

    /// Whether a request that has waited for `waited_us` is still served.
    #[inline]
    pub(super) fn admits(&self, op: u8, waited_us: u32) -> bool {
        if self.level == 0 && waited_us < self.wait_us_max {
            return true;
        }
        self.admits_under_pressure(op, waited_us)
    }

    #[cold]
    fn admits_under_pressure(&self, op: u8, waited_us: u32) -> bool {
        let times = waited_us / self.wait_us_max.max(1);
        match Op::from_code(op) {
            Some(Op::Send | Op::SendWith | Op::Detail) => self.level < 1 && times < 1,
            Some(
                Op::Grab
                | Op::Show
                | Op::Reveal
                | Op::Terms
                | Op::CampaignStatus
                | Op::CampaignWins
                | Op::RiskExplain
                | Op::RiskHolds
                | Op::RiskFeed,
            ) => self.level < 2 && times < LOOKS_AT,
            // Money that came must land, and what is to go back must go.
            Some(
                Op::Claim
                | Op::ClaimWith
                | Op::Cancel
                | Op::Fund
                | Op::Void
                | Op::Shake
                | Op::ShakeWith
                | Op::CampaignPlan
                | Op::CampaignCommand
                | Op::RiskMark
                | Op::RiskResolve,
            ) => times < CLAIMS_AT,
            Some(Op::Hello | Op::Challenge | Op::Authenticate) | None => true,
        }
    }

    /// What is refused now: 0 nothing, 1 new envelopes and lists, 2 looks as
    /// well, 3 claims that have waited too long as well.
    pub(super) fn level(&self) -> u8 {
        self.level
    }

    /// When a refused client may ask again, in milliseconds: when what stands
    /// now will have been served.
    pub(super) fn retry_after_ms(&self) -> u32 {
        (self.standing_us.max(self.wait_us_max) / 1000).clamp(1, RETRY_AFTER_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(pressure: &mut Pressure, from_ms: u32, to_ms: u32, waited_us: u32) {
        (from_ms..=to_ms).for_each(|ms| pressure.note(Stamp(u64::from(ms) * 1000), waited_us));
    }

    fn served(pressure: &Pressure) -> [bool; 3] {
        [Op::Send, Op::Grab, Op::Claim].map(|op| pressure.admits(op.code(), 0))
    }

    #[test]
    fn a_standing_queue_refuses_sends_then_looks_and_old_claims_last() {
        let mut pressure = Pressure::new(20_000, Stamp(0));
        turns(&mut pressure, 1, 150, 19_999);
        assert_eq!((pressure.level(), served(&pressure)), (0, [true; 3]));
        turns(&mut pressure, 151, 300, 20_000);
        assert_eq!((pressure.level(), served(&pressure)), (1, [false, true, true]));
        turns(&mut pressure, 301, 500, 45_000);
        assert_eq!((pressure.level(), served(&pressure)), (2, [false, false, true]));
        turns(&mut pressure, 501, 700, 90_000);
        assert_eq!((pressure.level(), served(&pressure)), (3, [false, false, true]));
        assert!(pressure.admits(Op::Claim.code(), 79_999));
        assert!(!pressure.admits(Op::Claim.code(), 80_000));
        assert!(pressure.admits(Op::Hello.code(), 80_000));
    }

    #[test]
    fn one_short_turn_in_a_window_is_no_standing_queue() {
        let mut pressure = Pressure::new(20_000, Stamp(0));
        turns(&mut pressure, 1, 50, 500_000);
        pressure.note(Stamp(51_000), 10);
        turns(&mut pressure, 52, 101, 500_000);
        assert_eq!(pressure.level(), 0);
    }

    #[test]
    fn pressure_is_gone_a_window_after_its_cause() {
        let mut pressure = Pressure::new(20_000, Stamp(0));
        turns(&mut pressure, 1, 500, 100_000);
        assert_eq!(pressure.level(), 3);
        assert!((20..=RETRY_AFTER_MS_MAX).contains(&pressure.retry_after_ms()));
        turns(&mut pressure, 501, 620, 100);
        assert_eq!((pressure.level(), served(&pressure)), (0, [true; 3]));
    }
}
