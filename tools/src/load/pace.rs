//! What may be asked next, and when: at once when a slot is free (closed
//! loop), or at its place in a schedule (open loop).

use std::time::Duration;

use hongbao::wire::Request;

use super::schedule::{Phase, Schedule};
use crate::mix::Mix;

/// After the end of a schedule, what is due but found no room so far may be
/// sent for so long; the rest stays unsent.
const LAST_CALL: Duration = Duration::from_millis(10);

/// A request that may be sent.
pub(super) struct Due {
    pub(super) request: Request,
    pub(super) note: u32,
    /// When it was meant to be sent: in an open loop that may have been
    /// earlier, and its latency counts from then.
    pub(super) meant_at: u64,
}

/// How fast, how long, how patient.
pub(super) enum Pace {
    /// As fast as answers come.
    Closed { length: Duration, budget: Option<Duration> },
    /// On a schedule. Of a request's budget, half may pass before it is sent:
    /// a gateway that sends what is nearly out of time keeps a server busy with
    /// work that nobody waits for. What waited longer is left out.
    Open { phases: Vec<Phase>, budget: Option<Duration> },
}

/// A mix with its pace and its end.
pub(super) struct Feed<'m, M> {
    /// What is asked.
    pub(super) mix: &'m mut M,
    /// Open loop only.
    pub(super) schedule: Option<Schedule>,
    budget_ns: u64,
    stop_at_ns: u64,
    requests_max: u64,
    asked: u64,
    last_meant_at: u64,
    /// The mix had nothing to ask when last tried.
    dry: bool,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl<'m, M: Mix> Feed<'m, M> {
    /// Asks until the mix has no more.
    pub(super) fn all_of(mix: &'m mut M) -> Self {
        Self::bounded(mix, Pace::Closed { length: Duration::MAX, budget: None }, u64::MAX)
    }

    /// Asks at this pace, and so many requests at most.
    pub(super) fn bounded(mix: &'m mut M, pace: Pace, requests_max: u64) -> Self {
        let (schedule, stop_at_ns, budget_ns) = match pace {
            Pace::Closed { length, budget } => {
                (None, nanos(length), budget.map_or(u64::MAX, nanos))
            }
            Pace::Open { phases, budget } => {
                let schedule = Schedule::new(&phases);
                let stop_at_ns = schedule.end_ns().saturating_add(nanos(LAST_CALL));
                (Some(schedule), stop_at_ns, budget.map_or(u64::MAX, nanos))
            }
        };
        let (asked, last_meant_at, dry) = (0, 0, false);
        Self { mix, schedule, budget_ns, stop_at_ns, requests_max, asked, last_meant_at, dry }
    }

    /// The next request that may be sent now.
    #[inline]
    pub(super) fn next(&mut self, now_ns: u64) -> Option<Due> {
        if self.is_ended(now_ns) {
            return None;
        }
        let wait_ns_max = self.wait_ns_max();
        let meant_at = match &mut self.schedule {
            None => now_ns,
            Some(schedule) => {
                schedule.skip_to(now_ns.saturating_sub(wait_ns_max));
                schedule.due(now_ns)?
            }
        };
        let asked = self.mix.next();
        self.dry = asked.is_none();
        let (request, note) = asked?;
        if let Some(schedule) = &mut self.schedule {
            schedule.advance();
        }
        self.asked += 1;
        self.last_meant_at = meant_at;
        Some(Due { request, note, meant_at })
    }

    fn wait_ns_max(&self) -> u64 {
        if self.budget_ns == u64::MAX { u64::MAX } else { self.budget_ns / 2 }
    }

    /// Whether a request has waited for too long to be sent.
    #[inline]
    pub(super) fn is_stale(&self, due: &Due, now_ns: u64) -> bool {
        now_ns.saturating_sub(due.meant_at) > self.wait_ns_max()
    }

    /// What is left of a request's budget, as its frame says it; 0 is no limit.
    #[inline]
    pub(super) fn budget_left_us(&self, due: &Due, now_ns: u64) -> u32 {
        if self.budget_ns == u64::MAX {
            return 0;
        }
        let left_ns = self.budget_ns.saturating_sub(now_ns.saturating_sub(due.meant_at));
        u32::try_from(left_ns / 1000).unwrap_or(u32::MAX).max(1)
    }

    /// Whether the time is up: what was not sent stays unsent.
    pub(super) fn is_stopped(&self, now_ns: u64) -> bool {
        now_ns >= self.stop_at_ns
    }

    /// Ends it before its time.
    pub(super) fn stop(&mut self) {
        self.stop_at_ns = 0;
    }

    fn is_ended(&self, now_ns: u64) -> bool {
        self.is_stopped(now_ns) || self.asked >= self.requests_max
    }

    /// Whether nothing more will be asked, once nothing is in flight.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        let handed_out = self.schedule.as_ref().is_some_and(Schedule::is_over);
        self.is_ended(now_ns) || self.dry || handed_out
    }

    /// Whether a request may be sent now.
    #[inline]
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        let due = match &self.schedule {
            Some(schedule) => schedule.released_ns() <= now_ns,
            None => true,
        };
        due && !self.is_ended(now_ns)
    }

    /// Open loop: how long until the next request's time.
    pub(super) fn due_in(&self, now_ns: u64) -> Option<Duration> {
        let schedule = self.schedule.as_ref().filter(|_| !self.is_ended(now_ns))?;
        Some(Duration::from_nanos(schedule.released_ns().saturating_sub(now_ns)))
    }

    /// Up to when requests were offered: a run that ends by its number of
    /// requests offers none after the last.
    pub(super) fn offered_until_ns(&self) -> u64 {
        if self.asked >= self.requests_max { self.last_meant_at + 1 } else { u64::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Phases;
    use super::*;
    use crate::mix::{Crowd, Run};
    use hongbao::units::EnvelopeId;

    fn crowd() -> Crowd {
        Crowd::new(vec![EnvelopeId(1)], 1, Run(1), 0)
    }

    fn open(phases: &str, budget: Option<Duration>) -> Pace {
        Pace::Open { phases: phases.parse::<Phases>().unwrap().0, budget }
    }

    fn meant(feed: &mut Feed<'_, Crowd>, now_ns: u64) -> Vec<u64> {
        std::iter::from_fn(|| feed.next(now_ns)).map(|due| due.meant_at).collect()
    }

    #[test]
    fn an_open_loop_keeps_its_schedule_and_remembers_it_when_late() {
        let mut crowd = crowd();
        let mut feed = Feed::bounded(&mut crowd, open("1000x1", None), u64::MAX);
        assert_eq!(meant(&mut feed, 0), [0]);
        assert_eq!(feed.due_in(400_000), Some(Duration::from_micros(600)));
        assert_eq!(meant(&mut feed, 5_500_000), [1, 2, 3, 4, 5].map(|ms| ms * 1_000_000));
        assert!(!feed.is_over(1_000_000_000) && feed.is_over(1_010_000_000));
    }

    #[test]
    fn with_a_budget_what_waited_too_long_is_left_out() {
        let mut crowd = crowd();
        let budget = Some(Duration::from_millis(4));
        let mut feed = Feed::bounded(&mut crowd, open("1000x1", budget), u64::MAX);
        let due = feed.next(0).unwrap();
        assert!(!feed.is_stale(&due, 2_000_000) && feed.is_stale(&due, 2_000_001));
        assert_eq!(feed.budget_left_us(&due, 1_500_000), 2500);
        assert_eq!(meant(&mut feed, 9_000_000), [7, 8, 9].map(|ms| ms * 1_000_000));
    }

    #[test]
    fn a_closed_loop_asks_whenever_there_is_room_until_its_end() {
        let mut crowd = crowd();
        let pace = Pace::Closed { length: Duration::from_secs(1), budget: None };
        let mut feed = Feed::bounded(&mut crowd, pace, 3);
        assert_eq!((meant(&mut feed, 7), feed.is_over(7)), (vec![7, 7, 7], true));
        assert_eq!(feed.offered_until_ns(), 8);
    }
}
