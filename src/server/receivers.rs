//! The table of what users have received today, from the configuration.

use std::io;
use std::sync::Arc;

use super::refusal::StartError;
use crate::config::Config;
use crate::shard::{ReceiveLimits, Receivers};

/// The bytes that [`of`] reserves: none without a limit.
pub(super) fn bytes(config: &Config) -> usize {
    if config.limits_receiving() { Receivers::bytes(config.receivers_max) } else { 0 }
}

/// The table that all shards share, where there is a limit.
pub(super) fn of(config: &Config, shards: u16) -> Result<Option<Arc<Receivers>>, StartError> {
    if !config.limits_receiving() {
        return Ok(None);
    }
    let limits = ReceiveLimits {
        // Lossless: the configuration was checked.
        receives_per_day_max: u16::try_from(config.receives_per_day_max).unwrap_or(u16::MAX),
        received_fen_per_day_max: u32::try_from(config.received_fen_per_day_max)
            .unwrap_or(u32::MAX),
        utc_offset_min: config.utc_offset_min,
    };
    let mut key = [0; 8];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    let key = u64::from_ne_bytes(key);
    Ok(Some(Arc::new(Receivers::new(limits, config.receivers_max, shards, key))))
}
