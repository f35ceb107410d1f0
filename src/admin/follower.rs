//! The follower in `/metrics` and in `/status`: one set of numbers for each
//! follower there is.

use std::fmt::Error;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::metrics::{buckets, fraction, put};
use super::status::{CursorStatus, FollowerStatus, RecordName};
use crate::follow::ledger::Cursor;
use crate::follow::movement::MovementId;
use crate::follow::{Report, State};
use crate::shard::Histogram;

/// The labels of the ledger's follower.
const LABELS: [(&str, &str); 1] = [("follower", "ledger")];

/// The state as a number: alert on anything but 0.
fn state_code(state: &State) -> u64 {
    match state {
        State::Running | State::Ended => 0,
        State::Starting | State::Waiting { .. } => 1,
        State::Poisoned { .. } => 2,
    }
}

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> Result<(), Error> {
    let gauge = MetricType::Gauge;
    let help = "Committed journal that the follower has not applied.";
    let mut metric = encoder.encode_descriptor("follower_lag", help, Some(&Unit::Bytes), gauge)?;
    put(&mut metric, &LABELS, gauge, report.lag_bytes)?;
    let help = "For how long the oldest of that has been committed.";
    let mut metric =
        encoder.encode_descriptor("follower_lag", help, Some(&Unit::Seconds), gauge)?;
    let lag = Duration::from_millis(report.lag_ms).as_secs_f64();
    metric.encode_family(&LABELS)?.encode_gauge(&lag)?;
    let help = "0 running, 1 waits for the ledger, 2 stopped until an operator decides.";
    let mut metric = encoder.encode_descriptor("follower_state", help, None, gauge)?;
    put(&mut metric, &LABELS, gauge, state_code(&report.state))?;
    let (help, counter) = ("Records applied since the start.", MetricType::Counter);
    let mut metric = encoder.encode_descriptor("follower_records", help, None, counter)?;
    put(&mut metric, &LABELS, counter, report.records)?;
    let seconds = |us: u64| Duration::from_micros(us).as_secs_f64();
    let help = "Time of a transaction.";
    let histogram = MetricType::Histogram;
    let mut metric =
        encoder.encode_descriptor("follower_transaction", help, Some(&Unit::Seconds), histogram)?;
    let upper = |bits: u32| seconds(1 << bits);
    encode_histogram(&mut metric, &report.transaction_us, &seconds, &upper)?;
    let help = "Records of a transaction.";
    let mut metric =
        encoder.encode_descriptor("follower_transaction_records", help, None, histogram)?;
    let upper = |bits: u32| fraction((1 << bits) - 1);
    encode_histogram(&mut metric, &report.transaction_records, &fraction, &upper)
}

fn encode_histogram(
    metric: &mut MetricEncoder<'_>,
    histogram: &Histogram,
    value: &dyn Fn(u64) -> f64,
    upper: &dyn Fn(u32) -> f64,
) -> Result<(), Error> {
    metric.encode_family(&LABELS)?.encode_histogram::<NoLabelSet>(
        value(histogram.sum),
        histogram.count(),
        &buckets(histogram, upper),
        None,
    )
}

impl FollowerStatus {
    /// Of a report, or of no follower.
    pub fn of(report: Option<&Report>) -> Self {
        let Some(report) = report else {
            return Self { state: "none".to_owned(), ..Self::default() };
        };
        let (state, reason, record) = match &report.state {
            State::Starting => ("starting", None, None),
            State::Running => ("running", None, None),
            State::Waiting { reason } => ("waiting", Some(reason.clone()), None),
            State::Poisoned { id, reason } => ("poisoned", Some(reason.clone()), *id),
            State::Ended => ("ended", None, None),
        };
        Self {
            state: state.to_owned(),
            reason,
            record: record.map(RecordName::from),
            cursors: report.cursors.iter().map(CursorStatus::from).collect(),
            lag_bytes: report.lag_bytes,
            lag_ms: report.lag_ms,
            records: report.records,
            transaction_records: (&report.transaction_records).into(),
            transaction_us: (&report.transaction_us).into(),
        }
    }
}

impl From<MovementId> for RecordName {
    fn from(id: MovementId) -> Self {
        let MovementId { arrangement, shard, batch, index, .. } = id;
        Self { arrangement, shard, batch, index }
    }
}

impl From<&Cursor> for CursorStatus {
    fn from(cursor: &Cursor) -> Self {
        let Cursor { arrangement, shard, position, time_ms, .. } = *cursor;
        Self { arrangement, shard, position, time_ms }
    }
}
