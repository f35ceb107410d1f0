//! What the terms of envelopes are checked with: keys from their files, and the
//! limits on guesses.

use std::path::Path;

use super::StartError;
use crate::config::Config;
use crate::engine::{Gate, GuessLimits};
use crate::payment_keys::read_keys;
use crate::wire::Keys;

/// The gate of a configuration, and a line for each file of keys.
pub(super) fn of(config: &Config) -> Result<(Gate, Vec<String>), StartError> {
    let mut facts = Vec::new();
    let tickets = read(config.ticket_keys.as_deref(), "tickets     made", &mut facts)?;
    let passwords = read(config.password_keys.as_deref(), "passwords   kept", &mut facts)?;
    let guesses = GuessLimits {
        per_user_max: config.guesses_per_user_max,
        per_share_max: config.guesses_per_share_max,
    };
    Ok((Gate { tickets: tickets.into(), passwords: passwords.into(), guesses }, facts))
}

fn read(file: Option<&Path>, what: &str, facts: &mut Vec<String>) -> Result<Keys, StartError> {
    let Some(file) = file else { return Ok(Keys::default()) };
    let (keys, ids) = read_keys(file)?;
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    facts.push(format!("{what} with key {}", ids.join(" or ")));
    Ok(keys)
}
