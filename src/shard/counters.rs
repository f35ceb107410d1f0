//! What a shard counts: plain cells that only its thread writes, copied out
//! once a turn.

use crate::engine::Totals;
use crate::journal::{CheckpointInfo, JournalStats};
use crate::limits::{OPS, STATUSES};
use crate::net::NetCounters;

/// Buckets of a [`Histogram`]; the last takes everything above.
pub const HISTOGRAM_BUCKETS: usize = 28;

/// Counts in powers of two: bucket `i` has the values below `2^i` that no
/// lower bucket has, so bucket 0 has the zeros. 28 buckets of microseconds
/// reach two minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many values each bucket has.
    pub buckets: [u64; HISTOGRAM_BUCKETS],
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// Counts a value `times` times.
    #[inline]
    pub fn record(&mut self, value: u64, times: u64) {
        let bits = u64::BITS - value.leading_zeros();
        let bucket = usize::try_from(bits).unwrap_or(usize::MAX).min(HISTOGRAM_BUCKETS - 1);
        self.buckets[bucket] += times;
        self.sum = self.sum.saturating_add(value.saturating_mul(times));
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The upper end of the bucket in which the value lies that `permille` of
    /// all values do not exceed; 0 of an empty histogram.
    pub fn quantile(&self, permille: u64) -> u64 {
        let wanted = self.count().saturating_mul(permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bits, count) in (0_u32..).zip(&self.buckets) {
            seen += count;
            if seen >= wanted {
                return (1_u64 << bits) - 1;
            }
        }
        0
    }
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableFill {
    /// Envelopes that take a slot: open ones, and closed ones that are kept.
    pub envelopes: u64,
    /// How many may.
    pub envelopes_max: u64,
    /// Pages of 64 KiB in use.
    pub pages: u64,
    /// How many there are.
    pub pages_max: u64,
}

/// What became of the checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointCounters {
    /// Checkpoints finished and verified since the start.
    pub taken: u64,
    /// Checkpoints that failed since the start.
    pub failed: u64,
    /// When the newest valid one began, in milliseconds since the Unix epoch;
    /// 0 is none yet.
    pub began_at_ms: u64,
    /// Its bytes.
    pub bytes: u64,
    /// The journal position from which a restart replays.
    pub position: u64,
    /// Whether one is under way.
    pub under_way: bool,
}

impl CheckpointCounters {
    /// A valid checkpoint is there.
    pub(super) fn note(&mut self, info: &CheckpointInfo) {
        self.began_at_ms = info.began_at.0;
        self.bytes = info.bytes;
        self.position = info.began.0;
    }
}

/// What a shard publishes about itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardCounters {
    /// Of its connections.
    pub net: NetCounters,
    /// Of its envelopes and their money.
    pub totals: Totals,
    /// Shares that were held by a rule of risk.
    pub risk_held: u64,
    /// Shares that were not given by a rule of risk.
    pub risk_denied: u64,
    /// Of its journal.
    pub journal: JournalStats,
    /// Of its tables.
    pub tables: TableFill,
    /// Of its checkpoints.
    pub checkpoints: CheckpointCounters,
    /// Turns since the start.
    pub turns: u64,
    /// Answers by operation code and status code.
    pub answers: [[u64; STATUSES]; OPS],
    /// Requests that came from other shards' connections.
    pub carried_in: u64,
    /// Requests that were passed on to other shards.
    pub carried_out: u64,
    /// Requests refused because they had waited longer than their budget.
    pub refused_late: u64,
    /// Requests refused because of pressure.
    pub refused_pressure: u64,
    /// Requests refused because the queue to another shard was full.
    pub refused_mesh: u64,
    /// What is refused now: 0 nothing, 1 new envelopes and lists, 2 looks as
    /// well, 3 claims as well.
    pub pressure: u8,
    /// Records per commit.
    pub batch_records: Histogram,
    /// Time of a commit, in microseconds.
    pub commit_us: Histogram,
    /// From the receipt of a request to its decision, in microseconds.
    pub queue_us: Histogram,
    /// From the receipt of a request to the release of its reply, in
    /// microseconds.
    pub answer_us: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_upper_ends_of_buckets() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(500), 0);
        histogram.record(0, 10);
        histogram.record(100, 85);
        histogram.record(5000, 5);
        assert_eq!((histogram.count(), histogram.sum), (100, 8500 + 25_000));
        assert_eq!(
            [100, 101, 950, 951, 1000].map(|p| histogram.quantile(p)),
            [0, 127, 127, 8191, 8191]
        );
        histogram.record(u64::MAX, 1);
        assert_eq!(histogram.buckets[HISTOGRAM_BUCKETS - 1], 1);
    }
}
