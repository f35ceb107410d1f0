//! What rules of risk count in a sliding window, over all shards: wins of a user, of a
//! device and of an address, tries of a user, and wrong guesses. Each has a table of
//! its own (`velocity`), there only where a rule asks for it.
//!
//! The tables are memory, and a start fills them again before anybody decides: wins of
//! users from the claims that are kept, those of devices and addresses and wrong
//! guesses from what the engine remembers of late. A win counts if and only if it is a
//! claim or a hold. Of tries only those are found again that left a record, by winning
//! or by guessing wrong: the others touch no disk, so a start has forgotten them.

use super::velocity::Velocity;
use crate::engine::{Engine, Frequency, RecentStep, RiskPolicy, mix};
use crate::units::{Time, UnixSeconds, UserId};
use crate::wire::{RiskRule, Tags};

/// How long windows are, and for how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSizes {
    /// In seconds.
    pub window_s: u32,
    /// Users who win in one; and as many devices, addresses, and wrong guessers.
    pub winners_max: u32,
    /// Users who try in one.
    pub triers_max: u32,
    /// Users who are denied in one, by each rule.
    pub denied_max: u32,
}

/// The tables.
pub struct Windows {
    window_s: u32,
    wins: Option<Velocity>,
    device_wins: Option<Velocity>,
    address_wins: Option<Velocity>,
    tries: Option<Velocity>,
    guesses: Option<Velocity>,
    /// Which denials were recorded, by user and rule.
    denials: Option<Velocity>,
}

/// Room for some denials; none where nothing is judged.
fn denials_of(sizes: &WindowSizes) -> Option<u32> {
    Some(sizes.denied_max).filter(|&most| most > 0)
}

/// Which tables rules ask for, in the order of the fields.
fn asked_for(policy: &RiskPolicy) -> [bool; 5] {
    let is_asked = |deny: u8, hold: u8| deny > 0 || hold > 0;
    [
        is_asked(policy.deny_wins, policy.hold_wins),
        is_asked(policy.deny_device_wins, policy.hold_device_wins),
        is_asked(policy.deny_address_wins, policy.hold_address_wins),
        is_asked(policy.deny_tries, policy.hold_tries),
        is_asked(policy.deny_guesses, policy.hold_guesses),
    ]
}

fn look(table: Option<&Velocity>, user: UserId, at: UnixSeconds) -> u32 {
    table.map_or(0, |table| table.look(user.0, at))
}

impl Windows {
    /// The bytes that [`Windows::new`] reserves.
    pub fn bytes(policy: &RiskPolicy, sizes: &WindowSizes) -> usize {
        let WindowSizes { winners_max: winners, triers_max, .. } = *sizes;
        let most = [winners, winners, winners, triers_max, winners];
        let asked = asked_for(policy).into_iter().zip(most).filter(|&(is_asked, _)| is_asked);
        let counted = asked.map(|(_, most)| Velocity::bytes(most)).fold(0, usize::saturating_add);
        counted.saturating_add(denials_of(sizes).map_or(0, Velocity::bytes))
    }

    /// Whether rules ask for what an engine must remember beside its claims.
    pub fn need_recent(policy: &RiskPolicy) -> bool {
        let [_, devices, addresses, _, guesses] = asked_for(policy);
        devices || addresses || guesses
    }

    /// Empty ones, as rules ask for them. `key` is a number that nobody outside knows.
    pub fn new(policy: &RiskPolicy, sizes: &WindowSizes, key: u64) -> Self {
        let WindowSizes { window_s, winners_max, triers_max, .. } = *sizes;
        let [wins, devices, addresses, tries, guesses] = asked_for(policy);
        let of = |is_asked: bool, most, place: u64| {
            is_asked.then(|| Velocity::new(most, window_s, mix(key ^ place)))
        };
        Self {
            window_s,
            wins: of(wins, winners_max, 1),
            device_wins: of(devices, winners_max, 2),
            address_wins: of(addresses, winners_max, 3),
            tries: of(tries, triers_max, 4),
            guesses: of(guesses, winners_max, 5),
            denials: denials_of(sizes).map(|most| Velocity::new(most, window_s, mix(key ^ 6))),
        }
    }

    /// How long they are, in seconds; 0 where nothing is counted.
    pub(super) fn window_s(&self) -> u32 {
        let all = [&self.wins, &self.device_wins, &self.address_wins, &self.tries, &self.guesses];
        if all.into_iter().any(Option::is_some) { self.window_s } else { 0 }
    }

    /// Of some tags those that are counted.
    pub(super) fn counted(&self, tags: Tags) -> Tags {
        Tags {
            device: tags.device.filter(|_| self.device_wins.is_some()),
            address: tags.address.filter(|_| self.address_wins.is_some()),
        }
    }

    fn of_tags(&self, tags: Tags) -> impl Iterator<Item = (&Velocity, u64)> {
        let device = self.device_wins.as_ref().zip(tags.device);
        device.into_iter().chain(self.address_wins.as_ref().zip(tags.address))
    }

    /// Counts a win; how often everything was done of late, with it.
    pub(super) fn count_win(&self, user: UserId, tags: Tags, at: UnixSeconds) -> Frequency {
        let count = |table: &Option<Velocity>, who: Option<u64>| {
            table.as_ref().zip(who).map_or(0, |(table, who)| table.count(who, at))
        };
        Frequency {
            wins: count(&self.wins, Some(user.0)),
            device_wins: count(&self.device_wins, tags.device),
            address_wins: count(&self.address_wins, tags.address),
            tries: look(self.tries.as_ref(), user, at),
            guesses: look(self.guesses.as_ref(), user, at),
        }
    }

    /// Takes back a win that was counted and came to nothing.
    pub(super) fn uncount_win(&self, user: UserId, tags: Tags, at: UnixSeconds) {
        let of_user = self.wins.iter().map(|wins| (wins, user.0));
        of_user.chain(self.of_tags(tags)).for_each(|(table, who)| table.uncount(who, at));
    }

    /// Counts a try.
    pub(super) fn count_try(&self, user: UserId, at: UnixSeconds) {
        if let Some(tries) = &self.tries {
            tries.count(user.0, at);
        }
    }

    /// Takes back a try that was put off.
    pub(super) fn uncount_try(&self, user: UserId, at: UnixSeconds) {
        if let Some(tries) = &self.tries {
            tries.uncount(user.0, at);
        }
    }

    /// Counts a wrong guess.
    pub(super) fn count_guess(&self, user: UserId, at: UnixSeconds) {
        if let Some(guesses) = &self.guesses {
            guesses.count(user.0, at);
        }
    }

    /// Takes back a wrong guess that could not be recorded.
    pub(super) fn uncount_guess(&self, user: UserId, at: UnixSeconds) {
        if let Some(guesses) = &self.guesses {
            guesses.uncount(user.0, at);
        }
    }

    /// Whether no denial of a user by a rule was recorded of late; from now on one is.
    /// Exactly one of some shards that ask at once is told so.
    pub(super) fn is_news(&self, user: UserId, rule: RiskRule, at: UnixSeconds) -> bool {
        let who = mix(user.0 ^ u64::from(rule.code()) << 56);
        let unknown = |denials: &&Velocity| denials.look(who, at) == 0;
        self.denials.as_ref().filter(unknown).is_some_and(|denials| denials.count(who, at) == 1)
    }

    /// How often a user has done what is counted by user.
    pub(super) fn look(&self, user: UserId, at: UnixSeconds) -> Frequency {
        Frequency {
            wins: look(self.wins.as_ref(), user, at),
            tries: look(self.tries.as_ref(), user, at),
            guesses: look(self.guesses.as_ref(), user, at),
            ..Frequency::default()
        }
    }

    /// Counts what a recovered shard has of the windows. All shards must have done so
    /// before the first of them decides.
    pub fn recover(&self, engine: &Engine, now: Time) {
        for table in self.wins.iter().chain(&self.tries) {
            let begins_at = table.begins_at(now);
            let of_late = engine.claims().filter(|claim| claim.at >= begins_at);
            of_late.for_each(|claim| _ = table.count(claim.user.0, claim.at));
        }
        for recent in engine.recent() {
            match recent.what {
                RecentStep::Won(device, address) => {
                    let tables = self.of_tags(Tags { device, address });
                    let tables = tables.filter(|(table, _)| recent.at >= table.begins_at(now));
                    tables.for_each(|(table, who)| _ = table.count(who, recent.at));
                }
                RecentStep::Guessed(_) => {
                    let tables = self.guesses.iter().chain(&self.tries);
                    let tables = tables.filter(|table| recent.at >= table.begins_at(now));
                    tables.for_each(|table| _ = table.count(recent.user.0, recent.at));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const NOW: UnixSeconds = 1_700_000_000;
    const SIZES: WindowSizes =
        WindowSizes { window_s: 60, winners_max: 100, triers_max: 1000, denied_max: 0 };
    const HERE: Tags = Tags { device: Some(7), address: Some(8) };

    fn counting_all() -> RiskPolicy {
        RiskPolicy {
            hold_wins: 1,
            deny_device_wins: 1,
            hold_address_wins: 1,
            deny_tries: 1,
            hold_guesses: 1,
            ..RiskPolicy::default()
        }
    }

    #[test]
    fn everything_is_counted_by_itself_and_can_be_taken_back() {
        let windows = Windows::new(&counting_all(), &SIZES, 1);
        let (one, other) = (UserId(7), UserId(8)); // numbers that tags have, too
        windows.count_try(one, NOW);
        windows.count_guess(one, NOW);
        let often = windows.count_win(one, HERE, NOW);
        let each = Frequency { wins: 1, device_wins: 1, address_wins: 1, tries: 1, guesses: 1 };
        assert_eq!(often, each);
        let often = windows.count_win(other, Tags { address: None, ..HERE }, NOW);
        let of_other = Frequency { wins: 1, device_wins: 2, address_wins: 0, tries: 0, guesses: 0 };
        assert_eq!(often, of_other);
        windows.uncount_win(one, HERE, NOW);
        windows.uncount_try(one, NOW);
        windows.uncount_guess(one, NOW);
        assert_eq!(windows.look(one, NOW), Frequency::default());
        assert_eq!(windows.count_win(one, HERE, NOW).device_wins, 2);
    }

    #[test]
    fn a_denial_is_news_once_a_window_for_each_user_and_rule() {
        let sizes = WindowSizes { denied_max: 100, ..SIZES };
        let windows = Windows::new(&RiskPolicy::default(), &sizes, 1);
        let mut last = HashMap::new();
        for (user, rule) in
            [(1, RiskRule::DenyList), (1, RiskRule::WinsDenied), (2, RiskRule::DenyList)]
        {
            for at in NOW..NOW + 1000 {
                if windows.is_news(UserId(user), rule, at) {
                    let before = last.insert((user, rule), at);
                    let passed = before.map_or(60, |before: UnixSeconds| at - before);
                    assert!((60..=80).contains(&passed), "{passed} s for {user} and {rule:?}");
                }
            }
        }
        assert_eq!(last.len(), 3);
    }

    #[test]
    fn what_no_rule_asks_for_is_not_counted_and_takes_no_memory() {
        let none = RiskPolicy::default();
        let windows = Windows::new(&none, &SIZES, 1);
        windows.count_try(UserId(1), NOW);
        assert_eq!(windows.count_win(UserId(1), HERE, NOW), Frequency::default());
        assert_eq!((windows.window_s(), windows.counted(HERE)), (0, Tags::default()));
        assert_eq!(Windows::bytes(&none, &SIZES), 0);
        let by_device = RiskPolicy { hold_device_wins: 3, ..none };
        let windows = Windows::new(&by_device, &SIZES, 1);
        assert_eq!(windows.counted(HERE), Tags { address: None, ..HERE });
        assert_eq!(Windows::bytes(&by_device, &SIZES), Velocity::bytes(100));
        assert_eq!(windows.window_s(), 60);
        assert!(Windows::need_recent(&by_device) && !Windows::need_recent(&none));
        let all = Windows::bytes(&counting_all(), &SIZES);
        assert_eq!(all, 4 * Velocity::bytes(100) + Velocity::bytes(1000));
    }
}
