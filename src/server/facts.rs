//! What a start says of itself: one line per fact.

use std::path::Path;

use super::doors::Doors;
use super::entry;
use super::machine::Placement;
use crate::access::Keyring;
use crate::admin::{BoundAdmin, ServerFacts};
use crate::config::Config;
use crate::journal::{Directory, Recovered};
use crate::net::wall;
use crate::units::Durability;

/// What is known before recovery.
pub(super) struct Facts {
    data: String,
    rest: Vec<String>,
}

impl Facts {
    pub(super) fn of(
        config: &Config,
        doors: &Doors,
        directory: &Directory,
        table_bytes: usize,
        placement: &Placement,
        admin: Option<&BoundAdmin>,
    ) -> Self {
        let address = doors.address();
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
        for (address, shard) in doors.own().zip(0..) {
            rest.push(format!("listen      {address} (tcp, shard {shard} alone)"));
        }
        if let Some(address) = doors.tls_address() {
            let asks = if config.tls_client_ca.is_some() { "wanted" } else { "not asked for" };
            rest.push(format!("listen      {address} (tls, client certificates {asks})"));
        }
        for (address, shard) in doors.tls_own().zip(0..) {
            rest.push(format!("listen      {address} (tls, shard {shard} alone)"));
        }
        if let Some(path) = &config.unix {
            rest.push(format!("listen      {} (unix)", shown(path)));
        }
        if let Some(admin) = admin {
            rest.push(format!("admin       http://{}", admin.address()));
            rest.extend(admin.warning());
        }
        let data = format!("data        {} ({})", shown(&config.data), directory.file_system());
        Self { data, rest }
    }

    /// Says which keys are believed; not a word without one.
    pub(super) fn with_payment_keys(mut self, ids: &[u32]) -> Self {
        if !ids.is_empty() {
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            self.rest.push(format!("payments    sealed with key {}", ids.join(" or ")));
        }
        self
    }

    /// Says who may connect.
    pub(super) fn with_access(mut self, keyring: Option<&Keyring>, certificates: bool) -> Self {
        self.rest.push(entry::fact(keyring, certificates));
        self
    }

    /// With some lines more.
    pub(super) fn with(mut self, lines: Vec<String>) -> Self {
        self.rest.extend(lines);
        self
    }

    /// All lines, with what recovery has found in each shard.
    pub(super) fn lines(self, recovered: &[Recovered]) -> Vec<String> {
        let mut lines = vec![self.data];
        for (found, shard) in recovered.iter().zip(0..) {
            let whose =
                if recovered.len() == 1 { String::new() } else { format!("shard {shard}: ") };
            lines.push(format!("recovered   {whose}{found}"));
            lines.extend(found.warnings.iter().map(|told| format!("warning     {whose}{told}")));
        }
        lines.extend(self.rest);
        lines
    }
}

/// What the control plane tells.
pub(super) fn server(
    config: &Config,
    doors: &Doors,
    table_bytes: usize,
    shards: u16,
) -> ServerFacts {
    let tcp = std::iter::once(doors.address()).chain(doors.own());
    let tcp = tcp.chain(doors.tls_address()).chain(doors.tls_own());
    let tcp = tcp.map(|address| address.to_string());
    let unix = config.unix.iter().map(|path| shown(path).to_string());
    ServerFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cell: config.cell,
        shards,
        durability: config.durability,
        listen: tcp.chain(unix).collect(),
        data: config.data.clone(),
        started_at: wall(),
        envelopes_max: config.envelopes_max.into(),
        table_bytes: u64::try_from(table_bytes).unwrap_or(u64::MAX),
        connections_max: u64::from(config.connections_max) * u64::from(shards),
        utc_offset_s: config.utc_offset_min.saturating_mul(60),
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
