//! The time of one shard: that of its process, read once a turn, which never
//! runs back.

use std::sync::Arc;

use super::chronometer::Chronometer;
use crate::planted::{Bug, is_planted};
use crate::units::{Time, Uptime};

/// Time that never goes back, not even over a restart: it starts from the last
/// time that a journal knows.
#[derive(Debug)]
pub struct Clock {
    last: Time,
    chronometer: Arc<Chronometer>,
}

impl Clock {
    /// A clock that starts no earlier than `last`, and runs as the process does.
    pub fn starting_at(last: Time, chronometer: Arc<Chronometer>) -> Self {
        let last = if is_planted(Bug::ClockForgotten) { Time(0) } else { last };
        Self { last, chronometer }
    }

    /// The last time that was told.
    pub(super) fn last(&self) -> Time {
        self.last
    }

    /// `max(previous, time)`, where the machine has been up for so long.
    pub fn at(&mut self, uptime: Uptime) -> Time {
        let floor = if is_planted(Bug::ClockRunsBack) { Time(0) } else { self.last };
        self.last = floor.max(self.chronometer.time(uptime));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_back() {
        let chronometer = Arc::new(Chronometer::starting(Uptime(100), Time(4), 10));
        let mut clock = Clock::starting_at(Time(5), Arc::clone(&chronometer));
        assert_eq!(clock.at(Uptime(100)), Time(5), "it was set back while nobody looked");
        assert_eq!(clock.at(Uptime(103)), Time(7));
        assert_eq!(clock.at(Uptime(102)), Time(7), "another processor read it first");
        chronometer.accept(Uptime(103), Time(0));
        assert_eq!(clock.at(Uptime(104)), Time(7));
    }
}
