//! The only clock of the data plane: read once a turn, never running back.

use crate::units::Time;

/// Wall time that never goes back, not even over a restart: it starts from the
/// last time the journal knows.
#[derive(Debug)]
pub struct Clock {
    last: Time,
}

/// The wall clock as it stands, which may have been set back.
fn wall() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let millis = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0);
    Time(seconds * 1000 + millis)
}

impl Clock {
    /// A clock that starts no earlier than `last`.
    pub fn starting_at(last: Time) -> Self {
        Self { last }
    }

    /// `max(previous, clock)`.
    pub fn now(&mut self) -> Time {
        self.last = self.last.max(wall());
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_back() {
        let future = Time(wall().0 + 1_000_000);
        let mut clock = Clock::starting_at(future);
        assert_eq!(clock.now(), future);
        assert!(Clock::starting_at(Time(0)).now() >= Time(1_700_000_000_000));
    }
}
