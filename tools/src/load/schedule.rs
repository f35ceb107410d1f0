//! An open loop's schedule: which request is meant for when.
//!
//! Arithmetic only; per request one multiplication and no division.

use std::str::FromStr;
use std::time::Duration;

/// An open loop hands its requests out in groups, so many a second: a gateway
/// too writes what has come in together. One by one, a million requests a
/// second would be a million writes, and the load would measure itself.
const GROUPS_PER_S: u32 = 4000;

const NS_PER_S: u128 = 1_000_000_000;

/// A stretch of an open loop at one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Phase {
    /// Requests a second; 0 is a pause.
    pub(super) rate: u32,
    /// How long.
    pub(super) length: Duration,
}

/// Phases in order, written `RATExSECONDS,RATExSECONDS,...`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Phases(pub(super) Vec<Phase>);

impl FromStr for Phases {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let phase = |text: &str| {
            let (rate, seconds) = text.split_once('x')?;
            let length = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
            (!length.is_zero()).then_some(Phase { rate: rate.parse().ok()?, length })
        };
        let phases: Option<Vec<Phase>> = text.split(',').map(phase).collect();
        phases.map(Self).ok_or_else(|| {
            "phases are written RATExSECONDS,RATExSECONDS, such as 2000000x5,20000000x30".into()
        })
    }
}

/// One phase, with where it lies in time.
struct Stretch {
    rate: u32,
    from_ns: u64,
    until_ns: u64,
    /// How many requests it has.
    count: u64,
    /// Nanoseconds between two requests, in units of 2⁻³².
    step: u128,
    /// How many requests are handed out together.
    group: u64,
}

impl Stretch {
    fn new(phase: Phase, from_ns: u64) -> Self {
        let length_ns = u64::try_from(phase.length.as_nanos()).unwrap_or(u64::MAX);
        let rate = phase.rate;
        let mut stretch = Self {
            rate,
            from_ns,
            until_ns: from_ns.saturating_add(length_ns),
            count: u64::MAX,
            step: (NS_PER_S << 32) / u128::from(rate.max(1)),
            group: u64::from(rate / GROUPS_PER_S).max(1),
        };
        stretch.count = stretch.before(stretch.until_ns);
        stretch
    }

    /// When a request is meant to be sent.
    #[inline]
    fn meant_ns(&self, number: u64) -> u64 {
        let after = (u128::from(number) * self.step) >> 32;
        self.from_ns.saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
    }

    /// How many requests are meant to be sent before a moment.
    fn before(&self, ns: u64) -> u64 {
        let span = u128::from(ns.min(self.until_ns).saturating_sub(self.from_ns));
        let count = (span * u128::from(self.rate)).div_ceil(NS_PER_S);
        u64::try_from(count).unwrap_or(u64::MAX).min(self.count)
    }
}

/// The schedule, and how far it has been handed out.
pub(super) struct Schedule {
    stretches: Vec<Stretch>,
    at: usize,
    /// Of the next request, within its stretch.
    number: u64,
    meant_ns: u64,
    /// Where its group ends, and when the group is handed out: at the time of
    /// its last request. The wait of the earlier ones counts as latency.
    group_end: u64,
    released_ns: u64,
}

impl Schedule {
    /// A schedule that begins with the run.
    pub(super) fn new(phases: &[Phase]) -> Self {
        let mut from_ns = 0;
        let mut stretches = Vec::with_capacity(phases.len());
        for phase in phases {
            let stretch = Stretch::new(*phase, from_ns);
            from_ns = stretch.until_ns;
            stretches.push(stretch);
        }
        let (number, meant_ns, group_end, released_ns) = (0, 0, 0, 0);
        let mut schedule = Self { stretches, at: 0, number, meant_ns, group_end, released_ns };
        schedule.settle();
        schedule
    }

    /// When the next request was meant to be sent, if it is handed out by now.
    #[inline]
    pub(super) fn due(&self, now_ns: u64) -> Option<u64> {
        (now_ns >= self.released_ns).then_some(self.meant_ns)
    }

    /// The request that was due is taken.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.number += 1;
        if self.number >= self.group_end {
            self.settle();
        } else if let Some(stretch) = self.stretches.get(self.at) {
            self.meant_ns = stretch.meant_ns(self.number);
        }
    }

    /// Leaves out what was meant to be sent before a moment.
    pub(super) fn skip_to(&mut self, ns: u64) {
        if self.meant_ns >= ns {
            return;
        }
        while self.stretches.get(self.at).is_some_and(|stretch| stretch.until_ns <= ns) {
            (self.at, self.number) = (self.at + 1, 0);
        }
        if let Some(stretch) = self.stretches.get(self.at) {
            self.number = self.number.max(stretch.before(ns));
        }
        self.settle();
    }

    /// Finds the group of the next request.
    fn settle(&mut self) {
        while self.stretches.get(self.at).is_some_and(|stretch| self.number >= stretch.count) {
            (self.at, self.number) = (self.at + 1, 0);
        }
        (self.meant_ns, self.released_ns) = (u64::MAX, u64::MAX);
        if let Some(stretch) = self.stretches.get(self.at) {
            self.group_end = self.number.saturating_add(stretch.group).min(stretch.count);
            self.meant_ns = stretch.meant_ns(self.number);
            self.released_ns = stretch.meant_ns(self.group_end - 1);
        }
    }

    /// When the next group is handed out; never, after the last.
    pub(super) fn released_ns(&self) -> u64 {
        self.released_ns
    }

    /// Whether everything is handed out.
    pub(super) fn is_over(&self) -> bool {
        self.at == self.stretches.len()
    }

    /// When it ends.
    pub(super) fn end_ns(&self) -> u64 {
        self.stretches.last().map_or(0, |stretch| stretch.until_ns)
    }

    /// How many requests are meant to be sent before a moment.
    pub(super) fn count_before(&self, ns: u64) -> u64 {
        self.stretches
            .iter()
            .filter(|stretch| stretch.from_ns < ns)
            .fold(0, |sum: u64, stretch| sum.saturating_add(stretch.before(ns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When everything is due. At the last moment of all, "never" would be due.
    const LATE: u64 = u64::MAX - 1;

    fn phases(text: &str) -> Vec<Phase> {
        text.parse::<Phases>().unwrap().0
    }

    fn taken(schedule: &mut Schedule, now_ns: u64) -> Vec<u64> {
        let next = || {
            let meant = schedule.due(now_ns)?;
            schedule.advance();
            Some(meant)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn phases_are_read_as_they_are_written() {
        let length = Duration::from_millis(500);
        assert_eq!(phases("7x0.5,0x0.5"), [Phase { rate: 7, length }, Phase { rate: 0, length }]);
        for text in ["", "7", "x", "7x0", "7x-1", "7x1,", "ax1", "7x1e99"] {
            assert!(text.parse::<Phases>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_late_schedule_remembers_when_each_request_was_meant() {
        let mut schedule = Schedule::new(&phases("1000x1"));
        assert_eq!(taken(&mut schedule, 999_999), [0]);
        assert_eq!(schedule.released_ns(), 1_000_000);
        assert_eq!(taken(&mut schedule, 5_500_000), [1, 2, 3, 4, 5].map(|ms| ms * 1_000_000));
        assert_eq!(taken(&mut schedule, LATE).len(), 994);
        assert!(schedule.is_over());
    }

    #[test]
    fn a_fast_schedule_hands_out_groups() {
        let mut schedule = Schedule::new(&phases("1000000x1"));
        assert!(taken(&mut schedule, 248_999).is_empty(), "the last of 250 is meant for 249 us");
        let group: Vec<u64> = (0..250).map(|us| us * 1000).collect();
        assert_eq!(taken(&mut schedule, 249_000), group);
    }

    #[test]
    fn a_phase_begins_where_the_one_before_it_ends() {
        let mut schedule = Schedule::new(&phases("10x1,0x1,20x1"));
        assert_eq!(schedule.count_before(u64::MAX), 30);
        assert_eq!(schedule.count_before(2_050_000_000), 11);
        let meant = taken(&mut schedule, LATE);
        assert_eq!((meant[9], meant[10], meant[11]), (900_000_000, 2_000_000_000, 2_050_000_000));
        assert_eq!(schedule.end_ns(), 3_000_000_000);
    }

    #[test]
    fn what_is_left_out_is_what_was_meant_earlier() {
        let mut schedule = Schedule::new(&phases("1000x1,3000000x1,1000x1"));
        schedule.skip_to(400_500_000);
        assert_eq!(schedule.due(LATE), Some(401_000_000));
        schedule.skip_to(300_000_000);
        assert_eq!(schedule.due(LATE), Some(401_000_000), "time does not go back");
        schedule.skip_to(2_010_000_000);
        assert_eq!(schedule.due(LATE), Some(2_010_000_000));
        schedule.skip_to(9_000_000_000);
        assert!(schedule.is_over() && schedule.due(LATE).is_none());
    }
}
