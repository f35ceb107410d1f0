//! What a start says of itself: one line per fact.

use std::net::SocketAddr;
use std::path::Path;

use super::Doors;
use super::machine::Placement;
use crate::config::Config;
use crate::journal::{Directory, Recovered};
use crate::units::Durability;

/// What is known before recovery.
pub(super) struct Facts {
    data: String,
    rest: Vec<String>,
}

impl Facts {
    pub(super) fn of(
        config: &Config,
        address: SocketAddr,
        doors: &Doors,
        directory: &Directory,
        table_bytes: usize,
        placement: &Placement,
    ) -> Self {
        let shards = placement.count();
        let plural = if shards == 1 { "" } else { "s" };
        let mut rest = vec![
            format!(
                "capacity    {} envelopes, {} shares each at most, {} connections a shard",
                config.envelopes_max, config.shares_max, config.connections_max
            ),
            format!(
                "memory      {} MiB of tables reserved, journal segments of {} KiB",
                table_bytes >> 20,
                config.segment_kib
            ),
            format!("durability  {}", durability(config.durability)),
            format!("shards      {shards}, {}", pinned(placement)),
            format!("listen      {address} (tcp), cell {}, {shards} shard{plural}", config.cell),
        ];
        for (door, shard) in doors.own.iter().zip(0..) {
            rest.push(format!("listen      {} (tcp, shard {shard} alone)", door.address()));
        }
        if let Some(path) = &config.unix {
            rest.push(format!("listen      {} (unix)", shown(path)));
        }
        let data = format!("data        {} ({})", shown(&config.data), directory.file_system());
        Self { data, rest }
    }

    /// All lines, with what recovery has found in each shard.
    pub(super) fn lines(self, recovered: &[Recovered]) -> Vec<String> {
        let mut lines = vec![self.data];
        for (found, shard) in recovered.iter().zip(0..) {
            let whose =
                if recovered.len() == 1 { String::new() } else { format!("shard {shard}: ") };
            lines.push(format!("recovered   {whose}{found}"));
        }
        lines.extend(self.rest);
        lines
    }
}

fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Sync => "sync: a reply waits for the disk and survives a power cut",
        Durability::Os => "os: a reply survives a crash of the process, not a power cut",
    }
}

fn pinned(placement: &Placement) -> String {
    let cores: Vec<String> = placement.shards.iter().flatten().map(usize::to_string).collect();
    if cores.is_empty() { "not pinned".to_owned() } else { format!("on core {}", cores.join(", ")) }
}

fn shown(path: &Path) -> std::path::Display<'_> {
    path.display()
}
