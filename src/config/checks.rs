//! What the values of a configuration may be, each alone and beside the others,
//! and what follows from them.

use super::{Config, ConfigError};
use crate::limits;
use crate::units::PARTITIONS;

/// What is counted by the day must be kept so long, in seconds.
const DAY_S: u32 = 24 * 3600;

pub(super) fn within(
    key: &'static str,
    value: u64,
    allowed: std::ops::RangeInclusive<u64>,
) -> Result<(), ConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let expected = format!("{} to {}", allowed.start(), allowed.end());
    Err(ConfigError::Range { key, value: value.to_string(), expected })
}

impl Config {
    /// Bytes of a journal segment.
    pub fn segment_bytes(&self) -> usize {
        usize::try_from(self.segment_kib).unwrap_or(usize::MAX).saturating_mul(1024)
    }

    /// Bytes of the envelope tables.
    pub fn table_bytes(&self) -> usize {
        usize::try_from(self.table_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20)
    }

    /// Checks every value against its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let kib = |bytes: usize| u64::try_from(bytes / 1024).unwrap_or(u64::MAX);
        let segments = kib(limits::SEGMENT_BYTES_MIN)..=kib(limits::SEGMENT_BYTES_MAX);
        within("segment_kib", self.segment_kib.into(), segments)?;
        if !self.segment_kib.is_multiple_of(4) {
            let (key, value) = ("segment_kib", self.segment_kib.to_string());
            return Err(ConfigError::Range { key, value, expected: "a multiple of 4".into() });
        }
        within("connections_max", self.connections_max.into(), 1..=65_536)?;
        within("envelopes_max", self.envelopes_max.into(), 1..=1 << 30)?;
        within("table_mib", self.table_mib.into(), 1..=1 << 22)?;
        within("shares_max", self.shares_max.into(), 1..=u64::from(u32::MAX))?;
        within("total_fen_max", self.total_fen_max, 1..=limits::TOTAL_FEN_MAX)?;
        within("share_mean_fen_max", self.share_mean_fen_max, 1..=limits::SHARE_FEN_MAX)?;
        within("shards", self.shards.unwrap_or(1).into(), 1..=PARTITIONS.into())?;
        within("retention_s", self.retention_s.into(), 0..=u64::from(u32::MAX) / 4)?;
        within("checkpoint_interval_s", self.checkpoint_interval_s.into(), 0..=30 * 24 * 3600)?;
        within("checkpoint_mib_s", self.checkpoint_mib_s.into(), 1..=1 << 20)?;
        within("wait_us_max", self.wait_us_max.into(), 100..=60_000_000)?;
        within("lifetime_s_max", self.lifetime_s_max.into(), 1..=u64::from(u32::MAX) / 4)?;
        within("pay_within_s", self.pay_within_s.into(), 1..=limits::PAY_WITHIN_S_MAX.into())?;
        within("clock_step_s_max", self.clock_step_s_max.into(), 1..=3600)?;
        self.check_reach()?;
        let guesses = 1..=limits::GUESSES_PER_USER_MAX.into();
        within("guesses_per_user_max", self.guesses_per_user_max.into(), guesses)?;
        self.check_risk()?;
        self.check_days()
    }

    /// Checks where a day begins, and that what is counted by the day is kept
    /// for a day.
    fn check_days(&self) -> Result<(), ConfigError> {
        if !(-720..=840).contains(&self.utc_offset_min) || self.utc_offset_min % 15 != 0 {
            let (key, value) = ("utc_offset_min", self.utc_offset_min.to_string());
            return Err(ConfigError::Range {
                key,
                value,
                expected: "-720 to 840, a multiple of 15".into(),
            });
        }
        let daily = self.sends_per_day_max > 0 || self.sent_fen_per_day_max > 0;
        if daily && self.retention_s < DAY_S {
            let (key, value) = ("retention_s", self.retention_s.to_string());
            let expected = format!(
                "at least {DAY_S} with sends_per_day_max or sent_fen_per_day_max, which count the \
                 envelopes that are kept"
            );
            return Err(ConfigError::Range { key, value, expected });
        }
        self.check_receiving()
    }

    /// Checks the limits on what a user receives, which are counted in few bits
    /// and after a start from the claims that are kept.
    fn check_receiving(&self) -> Result<(), ConfigError> {
        let shares = 0..=limits::RECEIVES_PER_DAY_MAX.into();
        within("receives_per_day_max", self.receives_per_day_max.into(), shares)?;
        within("received_fen_per_day_max", self.received_fen_per_day_max, 0..=u32::MAX.into())?;
        within("receivers_max", self.receivers_max.into(), 1..=1 << 28)?;
        if self.limits_receiving() && self.retention_s < DAY_S {
            let (key, value) = ("retention_s", self.retention_s.to_string());
            let expected = format!(
                "at least {DAY_S} with receives_per_day_max or received_fen_per_day_max, which \
                 count the claims that are kept"
            );
            return Err(ConfigError::Range { key, value, expected });
        }
        Ok(())
    }

    /// Checks the rules of risk. Wins are counted again at a start from the claims
    /// that are kept.
    fn check_risk(&self) -> Result<(), ConfigError> {
        within("risk_users_max", self.risk_users_max.into(), 0..=1 << 28)?;
        within("risk_grade_unknown", self.risk_grade_unknown.into(), 1..=255)?;
        for (key, rule) in self.counted_rules() {
            within(key, rule.into(), 0..=limits::WINS_COUNTED_MAX.into())?;
        }
        within("risk_window_s", self.risk_window_s.into(), 3..=DAY_S.into())?;
        within("risk_winners_max", self.risk_winners_max.into(), 1..=1 << 28)?;
        within("risk_triers_max", self.risk_triers_max.into(), 1..=1 << 28)?;
        within("risk_holds_max", self.risk_holds_max.into(), 1..=limits::HOLDS_MAX.into())?;
        within("risk_hold_s", self.risk_hold_s.into(), 1..=limits::HOLD_S_MAX.into())?;
        let counted_s = 2 * self.risk_window_s;
        if (self.risk_deny_wins > 0 || self.risk_hold_wins > 0) && self.retention_s < counted_s {
            let (key, value) = ("retention_s", self.retention_s.to_string());
            let expected = format!(
                "at least {counted_s}, twice risk_window_s, with risk_deny_wins or risk_hold_wins, \
                 which count the claims that are kept"
            );
            return Err(ConfigError::Range { key, value, expected });
        }
        Ok(())
    }

    /// The rules of risk about how often something is done in a window.
    fn counted_rules(&self) -> [(&'static str, u8); 10] {
        [
            ("risk_deny_wins", self.risk_deny_wins),
            ("risk_hold_wins", self.risk_hold_wins),
            ("risk_deny_device_wins", self.risk_deny_device_wins),
            ("risk_hold_device_wins", self.risk_hold_device_wins),
            ("risk_deny_address_wins", self.risk_deny_address_wins),
            ("risk_hold_address_wins", self.risk_hold_address_wins),
            ("risk_deny_tries", self.risk_deny_tries),
            ("risk_hold_tries", self.risk_hold_tries),
            ("risk_deny_guesses", self.risk_deny_guesses),
            ("risk_hold_guesses", self.risk_hold_guesses),
        ]
    }

    /// Whether shares are judged by any rule of risk.
    pub fn has_risk(&self) -> bool {
        let by_grade = [self.risk_deny_below, self.risk_hold_below];
        let counted = self.counted_rules().map(|(_, rule)| rule);
        self.risk_users_max > 0
            || self.risk_hold_above_fen > 0
            || by_grade.into_iter().chain(counted).any(|number| number > 0)
    }

    /// Whether there is a limit on what a user receives.
    pub fn limits_receiving(&self) -> bool {
        self.receives_per_day_max > 0 || self.received_fen_per_day_max > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Given, HoldEnds, Resolved};

    fn read(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let nothing = std::iter::empty();
        let resolved = Resolved::from_sources(Given::default(), Some(file.path()), nothing);
        resolved.map(|resolved| resolved.config)
    }

    #[test]
    fn a_limit_of_a_day_needs_envelopes_to_be_kept_for_a_day() {
        for key in ["sends_per_day_max", "sent_fen_per_day_max"] {
            let kept = |retention_s| read(&format!("{key} = 1\nretention_s = {retention_s}"));
            let text = kept(86_399).unwrap_err().to_string();
            assert!(text.contains("retention_s") && text.contains("86400"), "{text}");
            kept(86_400).unwrap();
        }
        Config { live_per_sender_max: 1, retention_s: 0, ..Config::default() }.check().unwrap();
    }

    #[test]
    fn a_day_begins_at_a_quarter_of_an_hour_of_the_world() {
        for (utc_offset_min, kept) in [(-720, true), (840, true), (-735, false), (481, false)] {
            let config = Config { utc_offset_min, ..Config::default() };
            assert_eq!(config.check().is_ok(), kept, "{utc_offset_min}");
        }
        for (pay_within_s, kept) in [(0, false), (1, true), (604_800, true), (604_801, false)] {
            let config = Config { pay_within_s, ..Config::default() };
            assert_eq!(config.check().is_ok(), kept, "{pay_within_s}");
        }
    }

    #[test]
    fn a_limit_on_receiving_needs_claims_to_be_kept_for_a_day() {
        for key in ["receives_per_day_max", "received_fen_per_day_max"] {
            let kept = |retention_s| read(&format!("{key} = 1\nretention_s = {retention_s}"));
            let text = kept(86_399).unwrap_err().to_string();
            assert!(text.contains("retention_s") && text.contains("86400"), "{text}");
            kept(86_400).unwrap();
        }
        for (shares, fen, users, kept) in [
            (65_534, u64::from(u32::MAX), 1, true),
            (65_535, 1, 1, false),
            (1, 1 << 32, 1, false),
            (1, 1, 0, false),
        ] {
            let config = Config {
                receives_per_day_max: shares,
                received_fen_per_day_max: fen,
                receivers_max: users,
                ..Config::default()
            };
            assert_eq!(config.check().is_ok(), kept, "{shares} {fen} {users}");
        }
    }

    #[test]
    fn rules_of_risk_are_in_range_and_wins_need_claims_to_be_kept() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            (config.check().is_ok(), config.has_risk())
        };
        assert_eq!(with(|_| {}), (true, false));
        assert_eq!(with(|c| c.risk_users_max = 1), (true, true));
        assert_eq!(with(|c| c.risk_hold_above_fen = 1), (true, true));
        assert_eq!(with(|c| c.risk_deny_below = 1), (true, true));
        assert_eq!(with(|c| c.risk_hold_wins = 200), (true, true));
        assert!(!with(|c| c.risk_hold_wins = 201).0);
        assert_eq!(with(|c| c.risk_deny_device_wins = 1), (true, true));
        assert_eq!(with(|c| c.risk_hold_guesses = 200), (true, true));
        assert!(!with(|c| c.risk_deny_tries = 201).0 && !with(|c| c.risk_triers_max = 0).0);
        assert!(!with(|c| c.risk_grade_unknown = 0).0);
        assert!(!with(|c| c.risk_hold_s = 0).0 && !with(|c| c.risk_holds_max = 0).0);
        let kept = |retention_s| Config { risk_deny_wins: 1, retention_s, ..Config::default() };
        assert!(kept(119).check().is_err() && kept(120).check().is_ok());
        let released = read("risk_hold_ends = \"release\"").unwrap();
        assert_eq!(released.risk_hold_ends, HoldEnds::Release);
    }

    #[test]
    fn the_defaults_are_in_range() {
        Config::default().check().unwrap();
    }
}
