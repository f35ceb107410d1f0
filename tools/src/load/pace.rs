//! When the next request may be sent: at once when a slot is free (closed
//! loop), or at its place in a schedule (open loop).

use std::time::Duration;

use hongbao::wire::Request;

use crate::mix::Mix;

/// An open loop hands its requests out in groups, so many a second: a gateway
/// too writes what has come in together. One by one, a million requests a
/// second would be a million writes, and the load would measure itself.
const GROUPS_PER_S: u32 = 20_000;

/// When request `number` is meant to be sent, in nanoseconds from the start.
fn scheduled_ns(number: u64, rate: u32) -> u64 {
    number.saturating_mul(1_000_000_000) / u64::from(rate.max(1))
}

/// A mix with its pace and its end.
pub(crate) struct Feed<'m, M> {
    /// What is asked.
    pub(crate) mix: &'m mut M,
    /// Open loop: requests per second. Closed loop: `None`.
    rate: Option<u32>,
    stop_at_ns: u64,
    requests_max: u64,
    asked: u64,
    /// Closed loop: the mix had nothing to ask when last tried.
    dry: bool,
}

impl<'m, M: Mix> Feed<'m, M> {
    /// Asks until the mix has no more.
    pub(crate) fn all_of(mix: &'m mut M) -> Self {
        let (stop_at_ns, requests_max) = (u64::MAX, u64::MAX);
        Self { mix, rate: None, stop_at_ns, requests_max, asked: 0, dry: false }
    }

    /// Asks for so long, at this rate, and so many requests at most.
    pub(crate) fn bounded(
        mix: &'m mut M,
        rate: Option<u32>,
        seconds: Duration,
        requests_max: u64,
    ) -> Self {
        let stop_at_ns = u64::try_from(seconds.as_nanos()).unwrap_or(u64::MAX);
        Self { mix, rate, stop_at_ns, requests_max, asked: 0, dry: false }
    }

    /// The next request that may be sent now, its note, and when it was meant
    /// to be sent: in an open loop that may have been earlier, and its latency
    /// counts from then.
    #[inline]
    pub(super) fn next(&mut self, now_ns: u64) -> Option<(Request, u32, u64)> {
        if self.is_ended(now_ns) {
            return None;
        }
        if self.rate.is_some_and(|rate| self.released_ns(rate) > now_ns) {
            return None;
        }
        let meant_at = self.rate.map_or(now_ns, |rate| scheduled_ns(self.asked, rate));
        let asked = self.mix.next();
        self.dry = asked.is_none();
        let (request, note) = asked?;
        self.asked += 1;
        Some((request, note, meant_at))
    }

    /// When the next request is handed out: at the time of the last of its
    /// group. The wait of the earlier ones counts as latency.
    fn released_ns(&self, rate: u32) -> u64 {
        let group = u64::from(rate / GROUPS_PER_S).max(1);
        scheduled_ns((self.asked / group + 1) * group - 1, rate)
    }

    fn is_ended(&self, now_ns: u64) -> bool {
        now_ns >= self.stop_at_ns || self.asked >= self.requests_max
    }

    /// Whether nothing more will be asked, once nothing is in flight.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        self.is_ended(now_ns) || self.dry
    }

    /// Open loop: whether a request's time has come.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.due_in(now_ns).is_some_and(|wait| wait.is_zero())
    }

    /// Open loop: how long until the next request's time.
    pub(super) fn due_in(&self, now_ns: u64) -> Option<Duration> {
        let rate = self.rate.filter(|_| !self.is_ended(now_ns))?;
        Some(Duration::from_nanos(self.released_ns(rate).saturating_sub(now_ns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::{Crowd, Run};
    use hongbao::units::EnvelopeId;

    fn crowd() -> Crowd {
        Crowd::new(vec![EnvelopeId(1)], 1, Run(1))
    }

    #[test]
    fn an_open_loop_keeps_its_schedule_and_remembers_it_when_late() {
        let mut crowd = crowd();
        let mut feed = Feed::bounded(&mut crowd, Some(1000), Duration::from_secs(1), u64::MAX);
        assert_eq!(feed.next(0).unwrap().2, 0);
        assert!(feed.next(999_999).is_none());
        assert_eq!(feed.due_in(400_000), Some(Duration::from_micros(600)));
        let late = 5_500_000; // five more are due, each meant for its own millisecond
        let meant: Vec<_> = std::iter::from_fn(|| feed.next(late)).map(|next| next.2).collect();
        assert_eq!(meant, [1, 2, 3, 4, 5].map(|ms| ms * 1_000_000));
        assert!(feed.is_over(1_000_000_000));
    }

    #[test]
    fn a_fast_open_loop_hands_out_groups_and_counts_their_wait() {
        let mut crowd = crowd();
        let second = Duration::from_secs(1);
        let mut feed = Feed::bounded(&mut crowd, Some(1_000_000), second, u64::MAX);
        assert!(feed.next(48_999).is_none(), "the last of 50 is meant for 49 us");
        let meant: Vec<_> = std::iter::from_fn(|| feed.next(49_000)).map(|next| next.2).collect();
        assert_eq!(meant, (0..50).map(|us| us * 1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_closed_loop_asks_whenever_there_is_room_until_its_end() {
        let mut crowd = crowd();
        let mut feed = Feed::bounded(&mut crowd, None, Duration::from_secs(1), 3);
        let meant: Vec<_> = std::iter::from_fn(|| feed.next(7)).map(|next| next.2).collect();
        assert_eq!((meant, feed.is_over(7)), (vec![7, 7, 7], true));
    }
}
