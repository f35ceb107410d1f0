//! What was sent and what became of it: in all, by phase, and by second.
//!
//! Everything is entered under the time at which the request was meant to be
//! sent, so that the lines of one second are about the same requests.

use std::io::{self, Write};

use hdrhistogram::Histogram;
use hongbao::wire::{ReplyHead, Status};

use super::schedule::{Phase, Schedule};
use super::tally::{Tally, decides};
use crate::number::fraction;

const NS_PER_S: u64 = 1_000_000_000;

/// The longest run whose seconds are told apart; later ones count as its last.
const SECONDS_MAX: usize = 24 * 3600;

/// One phase of an open loop, or the whole of a run without phases.
pub(super) struct PhaseBook {
    pub(super) from_ns: u64,
    pub(super) until_ns: u64,
    pub(super) sent: u64,
    pub(super) tally: Tally,
}

/// One second.
struct Second {
    sent: u64,
    useful: u64,
    late: u64,
    refused: u64,
    latency: Histogram<u64>,
}

impl Second {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1000, 120 * NS_PER_S, 2)
            .expect("the bounds are far enough apart");
        Self { sent: 0, useful: 0, late: 0, refused: 0, latency }
    }

    fn answer(&mut self, status: Status, latency_ns: u64, budget_ns: u64) {
        if !decides(status) {
            self.refused += 1;
            return;
        }
        self.latency.saturating_record(latency_ns);
        if latency_ns > budget_ns {
            self.late += 1;
        } else {
            self.useful += 1;
        }
    }
}

/// The books of one run.
pub(super) struct Ledger {
    pub(super) phases: Vec<PhaseBook>,
    /// The phase that was entered last.
    at: usize,
    seconds: Option<Vec<Second>>,
    budget_ns: u64,
    answered: u64,
    pub(super) lost: u64,
}

impl Ledger {
    /// Books of these phases (none: of the whole run), with a timeline or not.
    pub(super) fn new(phases: &[Phase], budget_ns: u64, timeline: bool) -> Self {
        let mut from_ns = 0_u64;
        let mut books = Vec::with_capacity(phases.len().max(1));
        for phase in phases {
            let length = u64::try_from(phase.length.as_nanos()).unwrap_or(u64::MAX);
            let until_ns = from_ns.saturating_add(length);
            let tally = Tally::with_budget(budget_ns);
            books.push(PhaseBook { from_ns, until_ns, sent: 0, tally });
            from_ns = until_ns;
        }
        if books.is_empty() {
            let tally = Tally::with_budget(budget_ns);
            books.push(PhaseBook { from_ns: 0, until_ns: u64::MAX, sent: 0, tally });
        }
        let seconds = timeline.then(Vec::new);
        Self { phases: books, at: 0, seconds, budget_ns, answered: 0, lost: 0 }
    }

    /// The books of the phase in which a moment lies.
    #[inline]
    fn phase(&mut self, meant_at: u64) -> &mut PhaseBook {
        let book = &self.phases[self.at];
        if !(book.from_ns..book.until_ns).contains(&meant_at) {
            let at = self.phases.partition_point(|book| book.until_ns <= meant_at);
            self.at = at.min(self.phases.len() - 1);
        }
        &mut self.phases[self.at]
    }

    fn second(&mut self, meant_at: u64) -> Option<&mut Second> {
        let seconds = self.seconds.as_mut()?;
        let number = usize::try_from(meant_at / NS_PER_S).unwrap_or(SECONDS_MAX);
        let number = number.min(SECONDS_MAX - 1);
        while seconds.len() <= number {
            seconds.push(Second::new());
        }
        seconds.get_mut(number)
    }

    /// A request goes out.
    #[inline]
    pub(super) fn sent(&mut self, meant_at: u64) {
        self.phase(meant_at).sent += 1;
        // Most runs have no timeline, and this is met twice a request.
        if self.seconds.is_some()
            && let Some(second) = self.second(meant_at)
        {
            second.sent += 1;
        }
    }

    /// An answer has come.
    #[inline]
    pub(super) fn answered(&mut self, head: &ReplyHead, meant_at: u64, now_ns: u64) {
        let (latency_ns, budget_ns) = (now_ns.saturating_sub(meant_at), self.budget_ns);
        self.answered += 1;
        self.phase(meant_at).tally.answer(head.op, head.status, latency_ns);
        if self.seconds.is_some()
            && let Some(second) = self.second(meant_at)
        {
            second.answer(head.status, latency_ns, budget_ns);
        }
    }

    /// How many answers have come.
    pub(super) fn count(&self) -> u64 {
        self.answered
    }

    /// How many requests were sent.
    pub(super) fn sent_in_all(&self) -> u64 {
        self.phases.iter().map(|book| book.sent).sum()
    }

    /// The phase under way.
    pub(super) fn current(&self) -> &Tally {
        &self.phases[self.at].tally
    }

    /// All phases together.
    pub(super) fn total(&self) -> Tally {
        let mut total = Tally::with_budget(self.budget_ns);
        for book in &self.phases {
            total.add(&book.tally);
        }
        total.stray += self.lost;
        total
    }

    /// Writes a line for each second.
    pub(super) fn write_timeline(&self, out: &mut impl Write, offers: &Offers) -> io::Result<()> {
        writeln!(out, "second,offered,sent,useful,late,refused,p99_us")?;
        let mut from_ns = 0;
        for (number, second) in self.seconds.iter().flatten().enumerate() {
            let until_ns = from_ns + NS_PER_S;
            let Second { sent, useful, late, refused, latency } = second;
            let offered = offers.between(from_ns, until_ns, *sent);
            let p99_us = fraction(latency.value_at_quantile(0.99) / 100) / 10.0;
            writeln!(out, "{number},{offered},{sent},{useful},{late},{refused},{p99_us}")?;
            from_ns = until_ns;
        }
        Ok(())
    }
}

/// What an open loop's schedule asked for; a closed loop asks for what it sends.
pub(super) struct Offers {
    pub(super) schedule: Option<Schedule>,
    pub(super) until_ns: u64,
}

impl Offers {
    /// How many requests were meant to be sent in a span in which `sent` were.
    pub(super) fn between(&self, from_ns: u64, until_ns: u64, sent: u64) -> u64 {
        let Some(schedule) = &self.schedule else { return sent };
        let before = |ns: u64| schedule.count_before(ns.min(self.until_ns));
        before(until_ns) - before(from_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Phases;
    use super::*;
    use hongbao::wire::Op;

    fn head(status: Status) -> ReplyHead {
        let (bytes, op, detail, tag) = (24, Op::Claim.code(), 0, 0);
        ReplyHead { bytes, op, status, detail, tag, number: None }
    }

    #[test]
    fn every_request_is_entered_when_it_was_meant_whenever_its_answer_comes() {
        let phases = "3x1,2x2".parse::<Phases>().unwrap().0;
        let mut ledger = Ledger::new(&phases, 1_000_000, true);
        for (meant_at, came_at, status) in [
            (0, 500_000, Status::Ok),
            (333_333_333, 2_900_000_000, Status::Ok),
            (1_000_000_000, 1_000_400_000, Status::SoldOut),
            (2_500_000_000, 2_500_100_000, Status::Overloaded),
        ] {
            ledger.sent(meant_at);
            ledger.answered(&head(status), meant_at, came_at);
        }
        let fates = |tally: &Tally| (tally.useful(), tally.late(), tally.refused());
        assert_eq!(fates(&ledger.phases[0].tally), (1, 1, 0));
        assert_eq!(fates(&ledger.phases[1].tally), (1, 0, 1));
        assert_eq!(fates(&ledger.total()), (2, 1, 1));
        let offers = Offers { schedule: Some(Schedule::new(&phases)), until_ns: u64::MAX };
        let mut lines = Vec::new();
        ledger.write_timeline(&mut lines, &offers).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        let lines: Vec<&str> = lines.lines().skip(1).collect();
        assert!(lines[0].starts_with("0,3,2,1,1,0,"), "{lines:?}");
        assert!(lines[1].starts_with("1,2,1,1,0,0,4"), "{lines:?}");
        assert_eq!(lines[2], "2,2,1,0,0,1,0");
    }
}
