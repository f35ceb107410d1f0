//! `/metrics`: a view of the server as `OpenMetrics` text.
//!
//! The tables below are all the plain metrics there are; a name here is a
//! promise to dashboards and is listed in `docs/OPERATIONS.md`. The numbers are
//! read from the boards at the scrape: nothing is counted here.

use std::fmt::Error;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::follower;
use super::view::{ShardView, View, found_name, op_name, phase_name, status_name};
use crate::shard::{Histogram, Phase};

/// Of what a metric is measured in; the unit ends its name.
#[derive(Clone, Copy)]
enum Measured {
    Count,
    Bytes,
    Fen,
}

/// A metric with one number per shard.
struct Plain {
    name: &'static str,
    measured: Measured,
    help: &'static str,
    value: fn(&ShardView) -> u64,
}

const fn count(name: &'static str, help: &'static str, value: fn(&ShardView) -> u64) -> Plain {
    Plain { name, measured: Measured::Count, help, value }
}

const fn bytes(name: &'static str, help: &'static str, value: fn(&ShardView) -> u64) -> Plain {
    Plain { name, measured: Measured::Bytes, help, value }
}

const fn money(name: &'static str, help: &'static str, value: fn(&ShardView) -> u64) -> Plain {
    Plain { name, measured: Measured::Fen, help, value }
}

/// Counters; the text adds `_total` to their names.
const COUNTERS: &[Plain] = &[
    count("turns", "Turns of the shard's loop.", |s| s.counters.turns),
    count("requests", "Requests decoded, bad ones included.", |s| s.counters.net.requests),
    count("bad_requests", "Requests that made no sense.", |s| s.counters.net.bad_requests),
    count("requests_carried_in", "Requests from other shards' connections.", |s| {
        s.counters.carried_in
    }),
    count("requests_carried_out", "Requests passed on to other shards.", |s| {
        s.counters.carried_out
    }),
    count("connections_accepted", "Connections accepted.", |s| s.counters.net.accepted),
    count("connections_turned_away", "Connections closed as they came: no slot was free.", |s| {
        s.counters.net.turned_away
    }),
    count("journal_records", "Records appended.", |s| s.counters.journal.records),
    count("journal_commits", "Batches with records committed.", |s| s.counters.journal.commits),
    count("journal_marks", "Empty batches committed.", |s| s.counters.journal.marks),
    count("journal_segments_filled", "Journal segments filled.", |s| s.counters.journal.rolls),
    bytes("journal", "Headers and records written.", |s| s.counters.journal.bytes),
    bytes("journal_page", "Pages that the syncs had to write.", |s| s.counters.journal.page_bytes),
    count("checkpoints_taken", "Checkpoints finished and verified.", |s| {
        s.counters.checkpoints.taken
    }),
    count("checkpoints_failed", "Checkpoints that failed.", |s| s.counters.checkpoints.failed),
    count("envelopes_funded", "Envelopes ever funded, earlier runs included.", |s| {
        s.counters.totals.envelopes
    }),
    count("envelopes_voided", "Orders that were never paid, earlier runs included.", |s| {
        s.counters.totals.voided
    }),
    count("claims", "Shares ever claimed, earlier runs included.", |s| s.counters.totals.claims),
    money("money_funded", "Money put in, earlier runs included.", |s| {
        fen(s.counters.totals.funded)
    }),
    money("money_claimed", "Money claimed, earlier runs included.", |s| {
        fen(s.counters.totals.claimed)
    }),
    money("money_refunded", "Money given back, earlier runs included.", |s| {
        fen(s.counters.totals.refunded)
    }),
    count("risk_held", "Shares that were held by a rule of risk.", |s| s.counters.risk_held),
    count("risk_denied", "Shares that a rule of risk did not give.", |s| s.counters.risk_denied),
    money("money_returned", "Payments that came too late, earlier runs included.", |s| {
        fen(s.counters.totals.returned)
    }),
];

const GAUGES: &[Plain] = &[
    count("connections_open", "Connections that are open now.", |s| s.counters.net.connections),
    count("pressure_level", "Refused now: 0 nothing, 1 sends, 2 looks too, 3 claims too.", |s| {
        s.counters.pressure.into()
    }),
    count("envelopes_open", "Envelopes with shares to claim.", |s| s.counters.totals.open),
    count("envelopes_reserved", "Orders that wait for their money.", |s| {
        s.counters.totals.reserved
    }),
    money("money_held", "Money that was won and is held.", |s| fen(s.counters.totals.held)),
    money("money_left", "Money that may still be claimed.", |s| fen(s.counters.totals.left)),
    count("table_envelopes", "Envelopes that take a slot.", |s| s.counters.tables.envelopes),
    count("table_envelopes_max", "Envelopes that may take a slot.", |s| {
        s.counters.tables.envelopes_max
    }),
    count("table_pages", "Table pages of 64 KiB in use.", |s| s.counters.tables.pages),
    count("table_pages_max", "Table pages of 64 KiB there are.", |s| s.counters.tables.pages_max),
    bytes("checkpoint", "Size of the newest valid checkpoint.", |s| s.counters.checkpoints.bytes),
    count("checkpoint_under_way", "1 while a checkpoint is made.", |s| {
        s.counters.checkpoints.under_way.into()
    }),
    bytes("recovery", "Checkpoint and journal that this start reads.", |s| s.recovery.bytes_all),
    bytes("recovery_read", "Those that are read.", |s| s.recovery.bytes),
    count("recovery_records", "Records applied, envelopes loaded, by this start.", |s| {
        s.recovery.records
    }),
];

/// Times, which the shards measure in whole microseconds.
type Timed = (&'static str, &'static str, fn(&ShardView) -> &Histogram);
const TIMES: [Timed; 3] = [
    ("commit", "Time of a commit.", |s| &s.counters.commit_us),
    ("queue", "From the receipt of a request to its decision.", |s| &s.counters.queue_us),
    ("answer", "From the receipt of a request to the release of its reply.", |s| {
        &s.counters.answer_us
    }),
];

/// Sums of money are wider than the text's integers. Held at their end, which
/// is more money than there is.
fn fen(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}

/// The text of `/metrics`, with its `# EOF`.
pub fn openmetrics(view: View) -> String {
    let mut registry = Registry::with_prefix("hongbao");
    registry.register_collector(Box::new(Scrape(view)));
    let mut text = String::with_capacity(64 * 1024);
    encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

#[derive(Debug)]
struct Scrape(View);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.server(&mut encoder)?;
        self.clock(&mut encoder)?;
        self.plain(&mut encoder, COUNTERS, MetricType::Counter)?;
        self.plain(&mut encoder, GAUGES, MetricType::Gauge)?;
        self.phases(&mut encoder)?;
        self.checkpoint_age(&mut encoder)?;
        self.answers(&mut encoder)?;
        self.refusals(&mut encoder)?;
        self.endings(&mut encoder)?;
        self.batches(&mut encoder)?;
        TIMES.iter().try_for_each(|timed| self.times(&mut encoder, timed))?;
        match &self.0.ledger {
            Some(report) => follower::encode(&mut encoder, report),
            None => Ok(()),
        }
    }
}

fn unit(measured: Measured) -> Option<Unit> {
    match measured {
        Measured::Count => None,
        Measured::Bytes => Some(Unit::Bytes),
        Measured::Fen => Some(Unit::Other("fen".to_owned())),
    }
}

pub(super) fn put(
    metric: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    kind: MetricType,
    value: u64,
) -> Result<(), Error> {
    let mut one = metric.encode_family(labels)?;
    match kind {
        MetricType::Counter => one.encode_counter::<NoLabelSet, _, u64>(&value, None),
        _ => one.encode_gauge(&value),
    }
}

impl Scrape {
    fn shards(&self) -> impl Iterator<Item = (u64, &ShardView)> {
        (0..).zip(&self.0.shards)
    }

    fn server(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let facts = &self.0.facts;
        let labels = [
            ("version", facts.version.clone()),
            ("cell", facts.cell.to_string()),
            ("durability", format!("{:?}", facts.durability).to_lowercase()),
        ];
        let help = "What server this is.";
        encoder.encode_descriptor("server", help, None, MetricType::Info)?.encode_info(&labels)?;
        let help = "1 while every shard answers and no drain was asked for.";
        let mut metric = encoder.encode_descriptor("ready", help, None, MetricType::Gauge)?;
        metric.encode_gauge(&u64::from(self.0.is_ready()))?;
        let help = "When the process began to start, since the Unix epoch.";
        let name = "start_time";
        let unit = Some(&Unit::Seconds);
        let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        metric.encode_gauge(&Duration::from_millis(facts.started_at.0).as_secs_f64())
    }

    fn clock(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let (standing, kind) = (&self.0.clock, MetricType::Gauge);
        let help = "0 time is that of the wall, 1 follows it, 2 refuses it, 3 stands for it.";
        let mut metric = encoder.encode_descriptor("clock_state", help, None, kind)?;
        metric.encode_gauge(&found_name(standing.found).0)?;
        let help = "By how much the clock on the wall is ahead of the time of the shards.";
        let (name, unit) = ("clock_wall_ahead", Some(&Unit::Seconds));
        let mut metric = encoder.encode_descriptor(name, help, unit, kind)?;
        let apart_s = Duration::from_millis(standing.ahead_ms.unsigned_abs()).as_secs_f64();
        metric.encode_gauge(&if standing.ahead_ms < 0 { -apart_s } else { apart_s })
    }

    fn plain(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        table: &[Plain],
        kind: MetricType,
    ) -> Result<(), Error> {
        for plain in table {
            let unit = unit(plain.measured);
            let mut metric =
                encoder.encode_descriptor(plain.name, plain.help, unit.as_ref(), kind)?;
            for (shard, view) in self.shards() {
                put(&mut metric, &[("shard", shard)], kind, (plain.value)(view))?;
            }
        }
        Ok(())
    }

    fn phases(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let (help, kind) = ("1 for the phase in which the shard is.", MetricType::Gauge);
        let mut metric = encoder.encode_descriptor("shard_phase", help, None, kind)?;
        let phases =
            [Phase::Starting, Phase::Recovering, Phase::Ready, Phase::Draining, Phase::Ended];
        for (shard, view) in self.shards() {
            for phase in phases {
                let labels = ([("shard", shard)], [("phase", phase_name(phase))]);
                put(&mut metric, &labels, kind, u64::from(phase == view.phase))?;
            }
        }
        Ok(())
    }

    /// Left out of a shard that has no checkpoint yet: an age of zero would
    /// look like a fresh one.
    fn checkpoint_age(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let (help, unit) = ("Age of the newest valid checkpoint.", Some(&Unit::Seconds));
        let (name, kind) = ("checkpoint_age", MetricType::Gauge);
        let mut metric = encoder.encode_descriptor(name, help, unit, kind)?;
        for (shard, view) in self.shards() {
            let began = view.counters.checkpoints.began_at_ms;
            if began > 0 {
                let age = Duration::from_millis(self.0.clock.time.0.saturating_sub(began));
                metric.encode_family(&[("shard", shard)])?.encode_gauge(&age.as_secs_f64())?;
            }
        }
        Ok(())
    }

    /// Only pairs that have happened, and `ok` of every operation that has a
    /// name, so that a rate over it begins at zero.
    fn answers(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let (help, kind) = ("Answers by operation and status.", MetricType::Counter);
        let mut metric = encoder.encode_descriptor("answers", help, None, kind)?;
        for (shard, view) in self.shards() {
            for (op, statuses) in view.counters.answers.iter().enumerate() {
                let op_is_named = !op_name(op).starts_with("op_");
                for (status, &answers) in statuses.iter().enumerate() {
                    if answers > 0 || (status == 0 && op_is_named) {
                        let names = [("op", op_name(op)), ("status", status_name(status))];
                        put(&mut metric, &([("shard", shard)], names), kind, answers)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn by_reason<const REASONS: usize>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        reasons: impl Fn(&ShardView) -> [(&'static str, u64); REASONS],
    ) -> Result<(), Error> {
        let kind = MetricType::Counter;
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for (shard, view) in self.shards() {
            for (reason, times) in reasons(view) {
                put(&mut metric, &([("shard", shard)], [("reason", reason)]), kind, times)?;
            }
        }
        Ok(())
    }

    fn refusals(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let name = ("refusals", "Requests refused unexecuted, by reason.");
        self.by_reason(encoder, name, |s| {
            let counters = &s.counters;
            [
                ("late", counters.refused_late),
                ("pressure", counters.refused_pressure),
                ("mesh", counters.refused_mesh),
            ]
        })
    }

    fn endings(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let name = ("connections_broken", "Connections the server ended, by reason.");
        self.by_reason(encoder, name, |s| {
            let net = &s.counters.net;
            [
                ("slow_reader", net.slow_readers),
                ("refused_user", net.refused_users),
                ("refused_handshake", net.refused_handshakes),
                ("late_handshake", net.late_handshakes),
                ("late_frame", net.late_frames),
                ("idle", net.idle),
                ("broken_stream", net.broken_streams),
                ("socket_failure", net.socket_failures),
            ]
        })
    }

    fn batches(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let (help, kind) = ("Records per commit.", MetricType::Histogram);
        let mut metric = encoder.encode_descriptor("batch_records", help, None, kind)?;
        for (shard, view) in self.shards() {
            let histogram = &view.counters.batch_records;
            // Whole numbers below 2^i are those up to 2^i - 1.
            let buckets = buckets(histogram, |bits| fraction((1 << bits) - 1));
            metric.encode_family(&[("shard", shard)])?.encode_histogram::<NoLabelSet>(
                fraction(histogram.sum),
                histogram.count(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }

    fn times(&self, encoder: &mut DescriptorEncoder<'_>, timed: &Timed) -> Result<(), Error> {
        let (name, help, histogram) = timed;
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Histogram);
        let mut metric = encoder.encode_descriptor(name, help, unit, kind)?;
        for (shard, view) in self.shards() {
            let histogram = histogram(view);
            // Microseconds were cut to whole ones, so a bucket reaches up to
            // the full 2^i.
            let seconds = |us: u64| Duration::from_micros(us).as_secs_f64();
            let buckets = buckets(histogram, |bits| seconds(1 << bits));
            metric.encode_family(&[("shard", shard)])?.encode_histogram::<NoLabelSet>(
                seconds(histogram.sum),
                histogram.count(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

/// The upper bound and the count of each bucket; the encoder adds them up. The
/// last has no bound.
pub(super) fn buckets(histogram: &Histogram, upper: impl Fn(u32) -> f64) -> Vec<(f64, u64)> {
    let mut buckets: Vec<_> =
        (0_u32..).zip(&histogram.buckets).map(|(bits, &count)| (upper(bits), count)).collect();
    if let Some(last) = buckets.last_mut() {
        last.0 = f64::INFINITY;
    }
    buckets
}

/// A count as the text's histograms want it: exact up to 2⁵³, which no batch
/// reaches, and near enough for their sum.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "never used for money")]
pub(super) fn fraction(count: u64) -> f64 {
    count as f64
}
