//! Risk: what is known of users, what that makes of a share that one of them
//! has won, and the shares that are held or were rejected.
//!
//! The rules of an envelope are judged first and a share is drawn as for anybody;
//! only then [`RiskPolicy::judge`] says whether it is given, held or denied, so
//! risk never decides how much anybody gets. A held share is a claim in its
//! envelope like any other (it has its rank and its amount, and nobody else can
//! get it), and beside it stands a hold that says that it is not the claimant's
//! yet. So a page knows nothing of holds, and a claim pays nothing for them.
//! A rejected share went back to the sender by the record that rejected it; its
//! hold stays until the envelope is recycled, so that nobody claims again.
//!
//! Pure like the rest of the engine: what shards count beside it (how often a user
//! has won of late, and the like) is an argument.

mod decide;
mod holds;
mod lately;
mod restore;
mod standings;

pub(super) use holds::Holds;
pub(super) use lately::{Gathered, Lately};
pub use lately::{Recent, RecentStep};
pub(super) use restore::RiskCursor;
use standings::Standings;

use crate::units::Fen;
use crate::wire::{Resolution, RiskRule, RiskVerdict, Standing};

/// What an engine keeps for risk, and what it does when time decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RiskSettings {
    /// Users who have a grade or are on a list; 0 keeps nothing of anybody.
    pub users_max: u32,
    /// Shares that are held, or were rejected in envelopes that are kept.
    pub holds_max: u32,
    /// The grade of users who have none; at least 1.
    pub grade_unknown: u8,
    /// What becomes of a hold that nobody decides in time.
    pub timed_out: Resolution,
    /// Wins with tags and wrong guesses that are remembered with their time,
    pub recent_max: u32,
    /// and for how long, in seconds.
    pub recent_s: u32,
}

impl RiskSettings {
    /// Nothing is kept of anybody and nothing new is held; what is held already
    /// goes back when its time is over.
    pub const OFF: Self = Self {
        users_max: 0,
        holds_max: 0,
        grade_unknown: 1,
        timed_out: Resolution::Reject,
        recent_max: 0,
        recent_s: 0,
    };
}

/// The rules that a server judges shares by. A number that is 0 is no rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RiskPolicy {
    /// Users of a lower grade are denied.
    pub deny_below: u8,
    /// Users of a lower grade have their shares held.
    pub hold_below: u8,
    /// Shares above it are held, in fen.
    pub hold_above_fen: u32,
    /// Who would win more than so often in the window is denied.
    pub deny_wins: u8,
    /// Who would win more than so often in the window has it held.
    pub hold_wins: u8,
    /// The same of a device, whoever uses it.
    pub deny_device_wins: u8,
    /// The same of a device, whoever uses it.
    pub hold_device_wins: u8,
    /// The same of an address, whoever is behind it.
    pub deny_address_wins: u8,
    /// The same of an address, whoever is behind it.
    pub hold_address_wins: u8,
    /// Who tries more than so often in the window is denied.
    pub deny_tries: u8,
    /// Who tries more than so often in the window has what it wins held.
    pub hold_tries: u8,
    /// Who has guessed wrong more than so often in the window is denied.
    pub deny_guesses: u8,
    /// Who has guessed wrong more than so often in the window has it held.
    pub hold_guesses: u8,
    /// How long a share is held, in seconds.
    pub hold_s: u32,
}

impl RiskPolicy {
    /// What becomes of a share: the rules in this order, and the first that is
    /// broken is the verdict.
    pub fn judge(
        &self,
        standing: &Standing,
        grade: u8,
        amount: Fen,
        often: &Frequency,
    ) -> RiskVerdict {
        use RiskVerdict::{Deny, Hold};
        let rules = [
            (standing.denied, Deny(RiskRule::DenyList)),
            (grade < self.deny_below, Deny(RiskRule::GradeDenied)),
            (above(self.deny_wins, often.wins), Deny(RiskRule::WinsDenied)),
            (above(self.deny_device_wins, often.device_wins), Deny(RiskRule::DeviceDenied)),
            (above(self.deny_address_wins, often.address_wins), Deny(RiskRule::AddressDenied)),
            (above(self.deny_tries, often.tries), Deny(RiskRule::TriesDenied)),
            (above(self.deny_guesses, often.guesses), Deny(RiskRule::GuessesDenied)),
            (standing.watched, Hold(RiskRule::WatchList)),
            (grade < self.hold_below, Hold(RiskRule::GradeHeld)),
            (self.is_large(amount), Hold(RiskRule::Amount)),
            (above(self.hold_wins, often.wins), Hold(RiskRule::WinsHeld)),
            (above(self.hold_device_wins, often.device_wins), Hold(RiskRule::DeviceHeld)),
            (above(self.hold_address_wins, often.address_wins), Hold(RiskRule::AddressHeld)),
            (above(self.hold_tries, often.tries), Hold(RiskRule::TriesHeld)),
            (above(self.hold_guesses, often.guesses), Hold(RiskRule::GuessesHeld)),
        ];
        let broken = rules.into_iter().find(|&(is_broken, _)| is_broken);
        broken.map_or(RiskVerdict::Allow, |(_, verdict)| verdict)
    }

    /// Whether a user who has guessed wrong so often in the window is told neither
    /// of a right word nor of a wrong one.
    pub fn denies_guesses(&self, guesses: u32) -> bool {
        above(self.deny_guesses, guesses)
    }

    fn is_large(&self, amount: Fen) -> bool {
        self.hold_above_fen > 0 && amount > self.hold_above_fen.into()
    }
}

/// Whether a rule that is one is broken.
fn above(most: u8, counted: u32) -> bool {
    most > 0 && counted > most.into()
}

/// How often something happened in the window; 0 where nobody counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frequency {
    /// Shares that the user has won, given or held, with this one.
    pub wins: u32,
    /// Shares won from the device, with this one.
    pub device_wins: u32,
    /// Shares won from the address, with this one.
    pub address_wins: u32,
    /// Claims and shakes of the user, with this one.
    pub tries: u32,
    /// Wrong guesses of the user, at all envelopes.
    pub guesses: u32,
}

/// What the engine keeps for risk.
pub(super) struct Risk {
    pub(super) holds: Holds,
    /// Only where users are kept.
    pub(super) standings: Option<Standings>,
    /// What happened of late.
    pub(super) lately: Lately,
    pub(super) settings: RiskSettings,
}

impl Risk {
    /// The bytes that [`Risk::new`] reserves.
    pub(super) fn bytes(settings: &RiskSettings) -> usize {
        let standings =
            if settings.users_max > 0 { Standings::bytes(settings.users_max) } else { 0 };
        Holds::bytes(settings.holds_max) + standings + Lately::bytes(settings.recent_max)
    }

    pub(super) fn new(settings: RiskSettings) -> Self {
        Self {
            holds: Holds::new(settings.holds_max),
            standings: (settings.users_max > 0).then(|| Standings::new(settings.users_max)),
            lately: Lately::new(settings.recent_max, settings.recent_s),
            settings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RiskVerdict::{Allow, Deny, Hold};

    const POLICY: RiskPolicy = RiskPolicy {
        deny_below: 10,
        hold_below: 50,
        hold_above_fen: 1000,
        deny_wins: 6,
        hold_wins: 3,
        deny_device_wins: 16,
        hold_device_wins: 13,
        deny_address_wins: 26,
        hold_address_wins: 23,
        deny_tries: 36,
        hold_tries: 33,
        deny_guesses: 46,
        hold_guesses: 43,
        hold_s: 60,
    };

    fn won(wins: u32) -> Frequency {
        Frequency { wins, ..Frequency::default() }
    }

    #[test]
    fn what_is_off_reserves_nothing() {
        assert_eq!(Risk::bytes(&RiskSettings::OFF), 0);
        assert!(Risk::bytes(&RiskSettings { users_max: 1, ..RiskSettings::OFF }) > 0);
    }

    #[test]
    fn every_rule_has_its_verdict_and_the_first_that_is_broken_is_told() {
        let user = Standing::default();
        let watched = Standing { watched: true, ..user };
        let denied = Standing { denied: true, watched: true, ..user };
        for (standing, grade, amount, wins, verdict) in [
            (user, 50, 1000, 3, Allow),
            (user, 50, 1000, 4, Hold(RiskRule::WinsHeld)),
            (user, 50, 1001, 4, Hold(RiskRule::Amount)),
            (user, 49, 1001, 4, Hold(RiskRule::GradeHeld)),
            (watched, 49, 1001, 4, Hold(RiskRule::WatchList)),
            (watched, 49, 1001, 7, Deny(RiskRule::WinsDenied)),
            (watched, 9, 1001, 7, Deny(RiskRule::GradeDenied)),
            (denied, 9, 1001, 7, Deny(RiskRule::DenyList)),
            (denied, 255, 1, 1, Deny(RiskRule::DenyList)),
            (watched, 255, 1, 1, Hold(RiskRule::WatchList)),
            (user, 9, 1, 1, Deny(RiskRule::GradeDenied)),
            (user, 10, 1, 1, Hold(RiskRule::GradeHeld)),
            (user, 255, 1, 7, Deny(RiskRule::WinsDenied)),
        ] {
            assert_eq!(POLICY.judge(&standing, grade, amount, &won(wins)), verdict);
        }
    }

    /// From the last rule to the first: each is told before those behind it.
    #[test]
    fn what_was_counted_is_judged_in_the_order_of_the_rules() {
        let judged = |often: &Frequency| POLICY.judge(&Standing::default(), 50, 1, often);
        let mut often =
            Frequency { wins: 3, device_wins: 13, address_wins: 23, tries: 33, guesses: 43 };
        assert_eq!(judged(&often), Allow, "as often as it may be");
        often.guesses = 44;
        assert_eq!(judged(&often), Hold(RiskRule::GuessesHeld));
        often.tries = 34;
        assert_eq!(judged(&often), Hold(RiskRule::TriesHeld));
        often.address_wins = 24;
        assert_eq!(judged(&often), Hold(RiskRule::AddressHeld));
        often.device_wins = 14;
        assert_eq!(judged(&often), Hold(RiskRule::DeviceHeld));
        often.wins = 4;
        assert_eq!(judged(&often), Hold(RiskRule::WinsHeld));
        often.guesses = 47;
        assert_eq!(judged(&often), Deny(RiskRule::GuessesDenied));
        often.tries = 37;
        assert_eq!(judged(&often), Deny(RiskRule::TriesDenied));
        often.address_wins = 27;
        assert_eq!(judged(&often), Deny(RiskRule::AddressDenied));
        often.device_wins = 17;
        assert_eq!(judged(&often), Deny(RiskRule::DeviceDenied));
        often.wins = 7;
        assert_eq!(judged(&often), Deny(RiskRule::WinsDenied));
        assert!(!POLICY.denies_guesses(46) && POLICY.denies_guesses(47));
    }

    #[test]
    fn a_rule_that_is_0_is_none() {
        let most = u32::MAX;
        let often = Frequency {
            wins: most,
            device_wins: most,
            address_wins: most,
            tries: most,
            guesses: most,
        };
        let none = RiskPolicy::default();
        assert_eq!(none.judge(&Standing::default(), 1, u64::MAX, &often), Allow);
        assert!(!none.denies_guesses(most));
    }
}
