//! What became of a campaign second by second: a ring, and what the ledger is
//! known to have credited.
//!
//! It is of this run of the server and no part of the state; a restart begins it
//! anew from what was recovered.

use crate::journal::Position;
use crate::limits::CAMPAIGN_SECONDS;
use crate::units::UnixSeconds;
use crate::wire::CampaignSecond;

/// What is known at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// The second.
    pub(super) at: UnixSeconds,
    pub(super) released: u32,
    pub(super) won: u32,
    /// Shakes since the start of the server.
    pub(super) shakes: u64,
    /// Where the journal stands.
    pub(super) appended: Position,
    /// Everything before this is in the ledger.
    pub(super) passed: Position,
}

/// The ring of one campaign.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    seconds: [CampaignSecond; CAMPAIGN_SECONDS],
    /// Where the journal stood at the end of each.
    ends: [Position; CAMPAIGN_SECONDS],
    /// Seconds that were ever entered.
    entered: usize,
    /// The second that is under way.
    current: UnixSeconds,
    /// Shakes before it.
    shakes: u64,
    credited: u32,
}

impl Report {
    /// Of a campaign that nobody looked at.
    pub(super) const fn empty() -> Self {
        Self {
            seconds: [CampaignSecond { at: 0, released: 0, won: 0, credited: 0, shakes: 0 };
                CAMPAIGN_SECONDS],
            ends: [Position(0); CAMPAIGN_SECONDS],
            entered: 0,
            current: 0,
            shakes: 0,
            credited: 0,
        }
    }

    /// The ring begins here, and what was won before is in the ledger when that
    /// is past the journal as it stands now.
    pub(super) fn new(standing: &Standing) -> Self {
        let mut report = Self { current: standing.at, shakes: standing.shakes, ..Self::empty() };
        report.enter(standing);
        report
    }

    /// Enters the second that was under way, if it is over.
    pub(super) fn note(&mut self, standing: &Standing) {
        self.credit(standing);
        if standing.at > self.current {
            self.enter(standing);
            self.current = standing.at;
        }
    }

    fn enter(&mut self, standing: &Standing) {
        let place = self.entered % CAMPAIGN_SECONDS;
        let &Standing { released, won, shakes, appended, .. } = standing;
        let (at, credited) = (self.current, self.credited);
        let in_second = shakes.wrapping_sub(self.shakes);
        self.seconds[place] = CampaignSecond { at, released, won, credited, shakes: in_second };
        self.ends[place] = appended;
        (self.entered, self.shakes) = (self.entered + 1, shakes);
    }

    /// Wins of seconds whose journal the ledger has passed are credited.
    fn credit(&mut self, standing: &Standing) {
        if standing.passed >= standing.appended {
            self.credited = standing.won;
            return;
        }
        let known = self.entered.min(CAMPAIGN_SECONDS);
        let passed = (0..known).filter(|place| self.ends[*place] <= standing.passed);
        let won = passed.map(|place| self.seconds[place].won).max();
        self.credited = self.credited.max(won.unwrap_or(0));
    }

    /// Wins that are known to be in the ledger.
    pub(super) fn credited(&self) -> u32 {
        self.credited
    }

    /// The seconds, the oldest first; the first entry is the beginning.
    pub(super) fn seconds(&self) -> impl ExactSizeIterator<Item = CampaignSecond> + '_ {
        let first = self.entered.saturating_sub(CAMPAIGN_SECONDS);
        (first..self.entered).map(|n| self.seconds[n % CAMPAIGN_SECONDS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(at: u32, won: u32, passed: u64) -> Standing {
        let shakes = 10 * u64::from(at);
        let appended = Position(u64::from(at) * 100);
        Standing { at, released: 2 * won, won, shakes, appended, passed: Position(passed) }
    }

    #[test]
    fn seconds_are_entered_once_they_are_over() {
        let mut report = Report::new(&standing(100, 5, 0));
        for at in [100, 101, 101, 103] {
            report.note(&standing(at, at, 0));
        }
        let seen: Vec<_> = report.seconds().map(|s| (s.at, s.won, s.shakes)).collect();
        assert_eq!(seen, [(100, 5, 0), (100, 101, 10), (101, 103, 20)]);
    }

    #[test]
    fn wins_are_credited_when_the_ledger_has_passed_their_second() {
        let mut report = Report::new(&standing(100, 5, 0));
        report.note(&standing(101, 7, 9_999));
        assert_eq!(report.credited(), 0);
        report.note(&standing(101, 8, 10_000));
        assert_eq!(report.credited(), 5);
        report.note(&standing(102, 9, 10_150));
        assert_eq!(report.credited(), 7);
        report.note(&standing(102, 9, 10_200));
        assert_eq!(report.credited(), 9);
    }

    #[test]
    fn the_ring_keeps_the_last_seconds() {
        let mut report = Report::new(&standing(0, 0, 0));
        (1..200).for_each(|at| report.note(&standing(at, at, 0)));
        let seen: Vec<_> = report.seconds().map(|second| second.at).collect();
        assert_eq!(seen.len(), CAMPAIGN_SECONDS);
        assert!(seen.windows(2).all(|pair| pair[0] + 1 == pair[1]) && seen.ends_with(&[198]));
    }
}
