//! The time of a whole process, shared by its shards: each reads it once a turn,
//! and one thread of the server keeps it.
//!
//! A reading is two loads from a line that is hardly ever written. Where the
//! course goes is decided in `course`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::course::{Course, Found};
use crate::units::{Time, Uptime};

/// How the time of a process stands to the clock on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is done about it.
    pub found: Found,
    /// By how much the wall is ahead of time, in milliseconds.
    pub ahead_ms: i64,
    /// The time.
    pub time: Time,
}

/// Carries the time of a process, as a ship carries the time of its port.
#[derive(Debug)]
pub struct Chronometer {
    /// What of the course is needed to tell the time.
    offset_ms: AtomicI64,
    floor_ms: AtomicU64,
    course: Mutex<Course>,
}

impl Chronometer {
    /// Begins with what the wall says. Further than `step_s_max` seconds it will
    /// not be followed.
    pub fn starting(uptime: Uptime, wall: Time, step_s_max: u32) -> Self {
        let course = Course::beginning(uptime, wall, step_s_max);
        Self {
            offset_ms: AtomicI64::new(course.offset_ms()),
            floor_ms: AtomicU64::new(course.floor().0),
            course: Mutex::new(course),
        }
    }

    /// The time at this moment, for any thread.
    #[inline]
    pub fn time(&self, uptime: Uptime) -> Time {
        // Whoever has the offset of an accepted wall has its floor, too.
        let offset_ms = self.offset_ms.load(Ordering::Acquire);
        let floor_ms = self.floor_ms.load(Ordering::Acquire);
        Time(uptime.0.saturating_add_signed(offset_ms).max(floor_ms))
    }

    /// Begins again, before any shard has asked: the wall is believed, but time was
    /// never before `last`, the latest that a journal knows. Says what time it is.
    pub fn begin(&self, last: Time, uptime: Uptime, wall: Time) -> Time {
        self.change(|course| {
            course.begin(last, uptime, wall);
            course.time(uptime)
        })
    }

    /// Looks at the wall, and follows it a little where it is near.
    pub fn look(&self, uptime: Uptime, wall: Time) -> Standing {
        self.change(|course| {
            let found = course.look(uptime, wall);
            Standing { found, ..standing(course, uptime, wall) }
        })
    }

    /// The wall is right, an operator says. What time has become, and how it stood
    /// before.
    pub fn accept(&self, uptime: Uptime, wall: Time) -> (Standing, Standing) {
        self.change(|course| {
            let before = standing(course, uptime, wall);
            course.accept(uptime, wall);
            (standing(course, uptime, wall), before)
        })
    }

    /// How time stands to the wall; nothing is moved.
    pub fn standing(&self, uptime: Uptime, wall: Time) -> Standing {
        standing(&self.course.lock(), uptime, wall)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Course) -> T) -> T {
        let mut course = self.course.lock();
        let said = change(&mut course);
        self.floor_ms.store(course.floor().0, Ordering::Release);
        self.offset_ms.store(course.offset_ms(), Ordering::Release);
        said
    }
}

fn standing(course: &Course, uptime: Uptime, wall: Time) -> Standing {
    Standing {
        found: course.found(uptime, wall),
        ahead_ms: course.ahead_ms(uptime, wall),
        time: course.time(uptime),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reading_is_that_of_the_course() {
        let chronometer = Chronometer::starting(Uptime(10), Time(1000), 1);
        assert_eq!(chronometer.time(Uptime(15)), Time(1005));
        assert_eq!(chronometer.begin(Time(1020), Uptime(15), Time(1005)), Time(1020));
        assert_eq!(chronometer.time(Uptime(15)), Time(1020));
        let told = chronometer.look(Uptime(16), Time(9000));
        let refuses = Standing { found: Found::Refuses, ahead_ms: 7979, time: Time(1021) };
        assert_eq!(told, refuses);
        let (after, before) = chronometer.accept(Uptime(16), Time(500));
        assert_eq!((before.time, before.ahead_ms), (Time(1021), -521));
        let stands = Standing { found: Found::Stands, ahead_ms: -521, time: Time(1021) };
        assert_eq!(after, stands);
        assert_eq!(chronometer.time(Uptime(17)), Time(1021));
        assert_eq!(chronometer.standing(Uptime(538), Time(1022)).found, Found::Agrees);
        assert_eq!(chronometer.time(Uptime(538)), Time(1022));
    }
}
