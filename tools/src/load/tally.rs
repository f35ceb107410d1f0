//! What came back, counted by operation and status, with its latencies.

use hdrhistogram::Histogram;
use hongbao::limits::{OPS, STATUSES};
use hongbao::wire::{Op, Status};

use crate::number::fraction;

/// The longest latency that is told apart, in nanoseconds.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// Whether an answer decides something, or says "not now".
pub(super) fn decides(status: Status) -> bool {
    !matches!(status, Status::Overloaded | Status::Unavailable)
}

/// The counts of one run.
pub(crate) struct Tally {
    counts: [[u64; STATUSES]; OPS],
    /// Of the answers that decide: a refusal is fast and says nothing.
    latency: Histogram<u64>,
    answered: u64,
    /// Decisions that came when nobody waited for them any more.
    late: u64,
    budget_ns: u64,
    /// Answers nobody asked for, and requests that lost their connection.
    pub(crate) stray: u64,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(100, LATENCY_NS_MAX, 3)
            .expect("the bounds are far enough apart");
        let counts = [[0; STATUSES]; OPS];
        Self { counts, latency, answered: 0, late: 0, budget_ns: u64::MAX, stray: 0 }
    }

    /// Nothing yet; a decision after more than this is late.
    pub(super) fn with_budget(budget_ns: u64) -> Self {
        Self { budget_ns, ..Self::new() }
    }

    /// Puts the counts of another in.
    pub(super) fn add(&mut self, other: &Self) {
        for (row, others) in self.counts.iter_mut().zip(&other.counts) {
            for (count, others) in row.iter_mut().zip(others) {
                *count += others;
            }
        }
        // Both have the same bounds, so nothing is out of them.
        let _ = self.latency.add(&other.latency);
        self.answered += other.answered;
        self.late += other.late;
        self.stray += other.stray;
    }

    /// Counts one answer.
    #[inline]
    pub(crate) fn answer(&mut self, op: u8, status: Status, latency_ns: u64) {
        if decides(status) {
            self.latency.saturating_record(latency_ns);
            self.late += u64::from(latency_ns > self.budget_ns);
        }
        let (op, status) = (usize::from(op), usize::from(status.code()));
        if let Some(count) = self.counts.get_mut(op).and_then(|row| row.get_mut(status)) {
            *count += 1;
        } else {
            self.stray += 1;
        }
        self.answered += 1;
    }

    /// How many answers came.
    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    /// How many answers to this operation had this status.
    pub(crate) fn count(&self, op: Op, status: Status) -> u64 {
        self.counts[usize::from(op.code())][usize::from(status.code())]
    }

    /// How many answers to this operation came.
    pub(crate) fn of_op(&self, op: Op) -> u64 {
        self.counts[usize::from(op.code())].iter().sum()
    }

    /// How many answers of any operation had this status.
    pub(crate) fn of_status(&self, status: Status) -> u64 {
        self.counts.iter().map(|row| row[usize::from(status.code())]).sum()
    }

    /// Shares that were won: claims answered `Ok`.
    pub(crate) fn claims(&self) -> u64 {
        self.count(Op::Claim, Status::Ok)
    }

    /// The server said "not now"; nothing was applied.
    pub(crate) fn refused(&self) -> u64 {
        self.of_status(Status::Overloaded) + self.of_status(Status::Unavailable)
    }

    /// Decisions that came when nobody waited for them any more.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// Decisions that came in time.
    pub(super) fn useful(&self) -> u64 {
        self.answered - self.refused() - self.late
    }

    /// Anything that no mix should meet.
    pub(crate) fn errors(&self) -> u64 {
        let unexpected = [Status::BadRequest, Status::NotFound, Status::Denied, Status::Conflict];
        self.stray + unexpected.map(|status| self.of_status(status)).iter().sum::<u64>()
    }

    /// A latency quantile in microseconds, to a tenth.
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        tenths_of_us(self.latency.value_at_quantile(quantile))
    }

    /// The longest latency in microseconds.
    pub(crate) fn max_us(&self) -> f64 {
        tenths_of_us(self.latency.max())
    }
}

fn tenths_of_us(ns: u64) -> f64 {
    fraction(ns.saturating_add(50) / 100) / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_share_counts_as_a_claim() {
        let mut tally = Tally::new();
        for status in [Status::Ok, Status::AlreadyClaimed, Status::SoldOut, Status::Overloaded] {
            tally.answer(Op::Claim.code(), status, 1000);
        }
        tally.answer(Op::Grab.code(), Status::Ok, 1000);
        tally.answer(Op::Show.code(), Status::NotFound, 9000);
        assert_eq!((tally.answered(), tally.claims()), (6, 1));
        assert_eq!((tally.refused(), tally.errors()), (1, 1));
        assert!((tally.quantile_us(0.5) - 1.0).abs() < 0.2);
        assert!((tally.max_us() - 9.0).abs() < 0.2);
    }

    #[test]
    fn a_decision_is_useful_only_within_the_budget() {
        let mut tally = Tally::with_budget(5000);
        for (status, latency_ns) in [
            (Status::Ok, 5000),
            (Status::SoldOut, 100),
            (Status::Ok, 5001),
            (Status::Overloaded, 9_000_000),
        ] {
            tally.answer(Op::Claim.code(), status, latency_ns);
        }
        let mut both = Tally::with_budget(5000);
        both.add(&tally);
        both.add(&tally);
        assert_eq!((both.useful(), both.late(), both.refused()), (4, 2, 2));
        assert!(both.max_us() < 6.0, "a refusal has no latency");
    }
}
