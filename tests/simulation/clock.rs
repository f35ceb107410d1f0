//! What time it can be for the server, by the clock that nobody can set: nothing
//! opens or ends earlier or later, whatever is done to the one on the wall.

use hongbao::units::{Time, Uptime};

/// How far the wall may be set and still be followed, in seconds.
pub(crate) const STEP_S_MAX: u32 = 10;

/// Time that follows the wall goes wrong by one part of so many.
const SLEW: u64 = 1000;

/// Moments are cut to whole milliseconds, twice.
const SLACK_MS: u64 = 2;

/// The earliest and the latest that it can be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    /// What they were by the clock that runs,
    earliest: Time,
    latest: Time,
    /// when this was so much,
    since: Uptime,
    /// and what they are at least: time stands rather than going back.
    stands: (Time, Time),
}

impl Bounds {
    /// A process begins, and believes the wall, if that is not behind what was
    /// recorded; of which nobody knows more than that it was not later.
    pub(crate) fn started(&mut self, uptime: Uptime, wall: Time) {
        let latest = self.latest(uptime).max(wall);
        *self = Self { earliest: wall, latest, since: uptime, stands: (Time(0), Time(0)) };
    }

    /// An operator has said that the wall is right.
    pub(crate) fn accepted(&mut self, uptime: Uptime, wall: Time) {
        let stands = (self.earliest(uptime), self.latest(uptime));
        *self = Self { earliest: wall, latest: wall, since: uptime, stands };
    }

    pub(crate) fn earliest(&self, uptime: Uptime) -> Time {
        let ran_ms = uptime.0 - self.since.0;
        let runs = (self.earliest.0 + ran_ms).saturating_sub(ran_ms / SLEW + SLACK_MS);
        Time(runs).max(self.stands.0)
    }

    pub(crate) fn latest(&self, uptime: Uptime) -> Time {
        let ran_ms = uptime.0 - self.since.0;
        Time(self.latest.0 + ran_ms + ran_ms / SLEW + SLACK_MS).max(self.stands.1)
    }
}
