//! The time of the data plane: the wall clock, read once a turn, that never
//! runs back.

use crate::planted::{Bug, is_planted};
use crate::units::Time;

/// Wall time that never goes back, not even over a restart: it starts from the
/// last time the journal knows.
#[derive(Debug)]
pub struct Clock {
    last: Time,
}

impl Clock {
    /// A clock that starts no earlier than `last`.
    pub fn starting_at(last: Time) -> Self {
        Self { last: if is_planted(Bug::ClockForgotten) { Time(0) } else { last } }
    }

    /// `max(previous, clock)`, where `wall` is the wall clock as it stands.
    pub fn at(&mut self, wall: Time) -> Time {
        let floor = if is_planted(Bug::ClockRunsBack) { Time(0) } else { self.last };
        self.last = floor.max(wall);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_back() {
        let mut clock = Clock::starting_at(Time(5));
        assert_eq!(clock.at(Time(4)), Time(5), "it was set back while nobody looked");
        assert_eq!(clock.at(Time(7)), Time(7));
        assert_eq!(clock.at(Time(6)), Time(7));
    }
}
