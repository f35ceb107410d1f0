//! `hb stats`: what the shards do, from two looks at the admin port.
//!
//! Rates and percentiles are those of the time between the two looks, not of
//! the time since the start.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use hongbao::admin::{Distribution, FollowerStatus, ShardStatus, Status};
use hongbao::shard::Histogram;
use serde::Serialize;

use crate::admin::AdminArgs;
use crate::number::per_second;
use crate::output::Output;
use crate::stats_table as table;

/// `hb stats`.
#[derive(Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Show it again and again until interrupted
    #[arg(long)]
    watch: bool,
    /// The time between two looks
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    every: Duration,
}

/// The server between two looks.
#[derive(Serialize)]
pub(crate) struct Stats {
    pub(crate) version: String,
    pub(crate) cell: u8,
    pub(crate) durability: String,
    pub(crate) uptime_s: u64,
    pub(crate) ready: bool,
    pub(crate) draining: bool,
    pub(crate) reasons: Vec<String>,
    pub(crate) claims_per_s: u64,
    pub(crate) answers_per_s: u64,
    pub(crate) shards: Vec<Row>,
    pub(crate) money: hongbao::admin::MoneyStatus,
    pub(crate) envelopes_reserved: u64,
    pub(crate) envelopes_voided: u64,
    pub(crate) ledger: LedgerRow,
}

/// The ledger at the second look, and since the first.
#[derive(Serialize)]
pub(crate) struct LedgerRow {
    pub(crate) state: String,
    pub(crate) lag_bytes: u64,
    pub(crate) lag_ms: u64,
    pub(crate) records_per_s: u64,
}

/// One shard between two looks; a percentile of nothing is `None`.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) shard: u64,
    pub(crate) phase: String,
    pub(crate) claims_per_s: u64,
    pub(crate) answers_per_s: u64,
    pub(crate) refused_per_s: u64,
    pub(crate) commit_p50_us: Option<u64>,
    pub(crate) commit_p99_us: Option<u64>,
    pub(crate) answer_p50_us: Option<u64>,
    pub(crate) answer_p99_us: Option<u64>,
    pub(crate) queue_p99_us: Option<u64>,
    pub(crate) envelopes_percent: u64,
    pub(crate) pages_percent: u64,
    pub(crate) pressure: u8,
    pub(crate) connections: u64,
    pub(crate) checkpoint_age_s: Option<u64>,
}

/// Looks, waits, looks again and shows; with `--watch` on and on.
pub(crate) fn run(args: &StatsArgs, output: Output) -> Result<()> {
    let mut before = look(&args.admin)?;
    loop {
        std::thread::sleep(args.every);
        let now = look(&args.admin)?;
        let stats = Stats::between(&before, &now);
        if !args.watch {
            output.print(&stats, || table::words(&stats));
            return Ok(());
        }
        if show(&stats, output).is_err() {
            return Ok(()); // whoever read it is gone
        }
        before = now;
    }
}

fn look(admin: &AdminArgs) -> Result<Status> {
    let text = admin.get("/status")?;
    serde_json::from_str(&text)
        .with_context(|| format!("{}/status is no status of a hongbao; check --admin", admin.admin))
}

/// On a terminal the table is drawn in place.
fn show(stats: &Stats, output: Output) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if output.json {
        serde_json::to_writer(&mut out, stats)?;
        return writeln!(out);
    }
    if out.is_terminal() {
        write!(out, "\x1b[H\x1b[2J")?;
    }
    writeln!(out, "{}", table::words(stats))
}

impl Stats {
    fn between(before: &Status, now: &Status) -> Self {
        // A server that was started anew between the looks counts from zero.
        let anew = Status::default();
        let before = if before.started_at_ms == now.started_at_ms { before } else { &anew };
        let from = if before.now_ms == 0 { now.started_at_ms } else { before.now_ms };
        let seconds = Duration::from_millis(now.now_ms.saturating_sub(from)).as_secs_f64();
        let nothing = ShardStatus::default();
        let rows = now.shards.iter().enumerate().map(|(n, shard)| {
            Row::between(before.shards.get(n).unwrap_or(&nothing), shard, seconds)
        });
        let shards: Vec<_> = rows.collect();
        Self {
            version: now.version.clone(),
            cell: now.cell,
            durability: now.durability.clone(),
            uptime_s: now.now_ms.saturating_sub(now.started_at_ms) / 1000,
            ready: now.ready,
            draining: now.draining,
            reasons: now.reasons.clone(),
            claims_per_s: shards.iter().map(|row| row.claims_per_s).sum(),
            answers_per_s: shards.iter().map(|row| row.answers_per_s).sum(),
            shards,
            money: now.money.clone(),
            envelopes_reserved: now.shards.iter().map(|shard| shard.envelopes_reserved).sum(),
            envelopes_voided: now.shards.iter().map(|shard| shard.envelopes_voided).sum(),
            ledger: LedgerRow::between(&before.ledger, &now.ledger, seconds),
        }
    }
}

impl LedgerRow {
    fn between(before: &FollowerStatus, now: &FollowerStatus, seconds: f64) -> Self {
        Self {
            state: now.state.clone(),
            lag_bytes: now.lag_bytes,
            lag_ms: now.lag_ms,
            records_per_s: per_second(now.records.saturating_sub(before.records), seconds),
        }
    }
}

impl Row {
    fn between(before: &ShardStatus, now: &ShardStatus, seconds: f64) -> Self {
        let rate = |count: fn(&ShardStatus) -> u64| {
            per_second(count(now).saturating_sub(count(before)), seconds)
        };
        let quantile = |of: fn(&ShardStatus) -> &Distribution, permille| {
            let between = difference(of(before), of(now));
            (between.count() > 0).then(|| between.quantile(permille))
        };
        Self {
            shard: now.shard,
            phase: now.phase.clone(),
            claims_per_s: rate(|s| s.claims),
            answers_per_s: rate(|s| s.answers.values().flat_map(|by| by.values()).sum()),
            refused_per_s: rate(|s| s.refused.late + s.refused.pressure + s.refused.mesh),
            commit_p50_us: quantile(|s| &s.commit_us, 500),
            commit_p99_us: quantile(|s| &s.commit_us, 990),
            answer_p50_us: quantile(|s| &s.answer_us, 500),
            answer_p99_us: quantile(|s| &s.answer_us, 990),
            queue_p99_us: quantile(|s| &s.queue_us, 990),
            envelopes_percent: percent(now.tables.envelopes, now.tables.envelopes_max),
            pages_percent: percent(now.tables.pages, now.tables.pages_max),
            pressure: now.pressure,
            connections: now.connections.open,
            checkpoint_age_s: now.checkpoint.age_s,
        }
    }
}

fn difference(before: &Distribution, now: &Distribution) -> Histogram {
    let mut between = Histogram::default();
    let earlier = before.buckets.iter().copied().chain(std::iter::repeat(0));
    for ((bucket, &now), before) in between.buckets.iter_mut().zip(&now.buckets).zip(earlier) {
        *bucket = now.saturating_sub(before);
    }
    between
}

fn percent(part: u64, all: u64) -> u64 {
    if all == 0 { 0 } else { part.saturating_mul(100).div_ceil(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(now_ms: u64, claims: u64, commits: [u64; 3]) -> Status {
        let mut shard = ShardStatus { claims, phase: "ready".into(), ..ShardStatus::default() };
        shard.answers.entry("claim".into()).or_default().insert("ok".into(), 2 * claims);
        shard.commit_us.buckets = commits.to_vec();
        (shard.tables.pages, shard.tables.pages_max) = (1, 1000);
        let status = Status { now_ms, started_at_ms: 1000, ..Status::default() };
        Status { shards: vec![shard], ..status }
    }

    #[test]
    fn rates_and_percentiles_are_of_the_time_between_two_looks() {
        let stats = Stats::between(&status(5000, 100, [90, 0, 5]), &status(7000, 300, [90, 1, 8]));
        let row = &stats.shards[0];
        assert_eq!((row.claims_per_s, row.answers_per_s, stats.claims_per_s), (100, 200, 100));
        assert_eq!((row.commit_p50_us, row.commit_p99_us), (Some(3), Some(3)));
        assert_eq!((row.answer_p50_us, row.pages_percent, stats.uptime_s), (None, 1, 6));
    }

    #[test]
    fn orders_are_those_of_all_shards_and_the_ledger_is_as_it_is_now() {
        let (mut before, mut now) = (status(5000, 0, [0; 3]), status(7000, 0, [0; 3]));
        now.shards.push(ShardStatus::default());
        for shard in &mut now.shards {
            (shard.envelopes_reserved, shard.envelopes_voided) = (2, 3);
        }
        (before.ledger.records, before.ledger.lag_bytes) = (1000, 1 << 30);
        (now.ledger.records, now.ledger.lag_bytes, now.ledger.lag_ms) = (5000, 4096, 12);
        let stats = Stats::between(&before, &now);
        assert_eq!((stats.envelopes_reserved, stats.envelopes_voided), (4, 6));
        let ledger = stats.ledger;
        assert_eq!((ledger.records_per_s, ledger.lag_bytes, ledger.lag_ms), (2000, 4096, 12));
    }

    #[test]
    fn a_server_that_was_started_anew_counts_from_its_start() {
        let before = Status { started_at_ms: 1, ..status(900, 1_000_000, [0; 3]) };
        let stats = Stats::between(&before, &status(3000, 10, [0; 3]));
        assert_eq!(stats.claims_per_s, 5);
    }
}
