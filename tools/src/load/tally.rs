//! What came back, counted by operation and status, with its latencies.

use hdrhistogram::Histogram;
use hongbao::wire::{Op, Status};

use crate::number::fraction;

/// The longest latency that is told apart, in nanoseconds.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// Operations and statuses fit these; both are one byte with small codes.
const OPS: usize = 8;
const STATUSES: usize = 16;

/// The counts of one run.
pub(crate) struct Tally {
    counts: [[u64; STATUSES]; OPS],
    latency: Histogram<u64>,
    answered: u64,
    /// Answers nobody asked for, and requests that lost their connection.
    pub(crate) stray: u64,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(100, LATENCY_NS_MAX, 3)
            .expect("the bounds are far enough apart");
        Self { counts: [[0; STATUSES]; OPS], latency, answered: 0, stray: 0 }
    }

    /// Counts one answer.
    #[inline]
    pub(crate) fn answer(&mut self, op: u8, status: Status, latency_ns: u64) {
        let (op, status) = (usize::from(op), usize::from(status.code()));
        if let Some(count) = self.counts.get_mut(op).and_then(|row| row.get_mut(status)) {
            *count += 1;
        } else {
            self.stray += 1;
        }
        self.answered += 1;
        self.latency.saturating_record(latency_ns);
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
}
