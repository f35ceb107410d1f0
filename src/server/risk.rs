//! What risk needs, from the configuration.

use std::io;
use std::sync::Arc;

use super::refusal::StartError;
use crate::config::{Config, HoldEnds};
use crate::engine::{Engine, RiskPolicy, RiskSettings};
use crate::shard::{Judging, WindowSizes, Windows};
use crate::wire::Resolution;

/// Users who are denied in a window, by each rule, that are told apart: 2.4 MB. With
/// more, whoever was denied least may have a second record.
const DENIED_MAX: u32 = 1 << 16;

/// The rules that shares are judged by.
fn policy(config: &Config) -> RiskPolicy {
    RiskPolicy {
        deny_below: config.risk_deny_below,
        hold_below: config.risk_hold_below,
        hold_above_fen: config.risk_hold_above_fen,
        deny_wins: config.risk_deny_wins,
        hold_wins: config.risk_hold_wins,
        deny_device_wins: config.risk_deny_device_wins,
        hold_device_wins: config.risk_hold_device_wins,
        deny_address_wins: config.risk_deny_address_wins,
        hold_address_wins: config.risk_hold_address_wins,
        deny_tries: config.risk_deny_tries,
        hold_tries: config.risk_hold_tries,
        deny_guesses: config.risk_deny_guesses,
        hold_guesses: config.risk_hold_guesses,
        hold_s: config.risk_hold_s,
    }
}

/// What every shard's engine keeps: marks reach every shard, and any of them may
/// have to hold all that is held.
pub(super) fn settings(config: &Config) -> RiskSettings {
    let needs_recent = Windows::need_recent(&policy(config));
    RiskSettings {
        users_max: config.risk_users_max,
        holds_max: if config.has_risk() { config.risk_holds_max } else { 0 },
        grade_unknown: config.risk_grade_unknown,
        timed_out: match config.risk_hold_ends {
            HoldEnds::Release => Resolution::Release,
            HoldEnds::Reject => Resolution::Reject,
        },
        recent_max: if needs_recent { config.risk_winners_max } else { 0 },
        // A window reaches back up to a third further than it is long.
        recent_s: 2 * config.risk_window_s,
    }
}

fn sizes(config: &Config) -> WindowSizes {
    WindowSizes {
        window_s: config.risk_window_s,
        winners_max: config.risk_winners_max,
        triers_max: config.risk_triers_max,
        denied_max: if config.has_risk() { DENIED_MAX } else { 0 },
    }
}

/// The bytes that all of it takes, over all shards.
pub(super) fn bytes(config: &Config, shards: u16) -> usize {
    let engines = Engine::risk_bytes(&settings(config)).saturating_mul(shards.into());
    engines.saturating_add(Windows::bytes(&policy(config), &sizes(config)))
}

/// What all shards judge by, where there is anything to judge.
pub(super) fn of(config: &Config) -> Result<Option<Judging>, StartError> {
    if !config.has_risk() {
        return Ok(None);
    }
    let mut key = [0; 8];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    let key = u64::from_ne_bytes(key);
    let policy = policy(config);
    let windows = Arc::new(Windows::new(&policy, &sizes(config), key));
    Ok(Some(Judging { policy, windows }))
}
