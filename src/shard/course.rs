//! How the time of a process follows the clock on the wall: a little at a time,
//! and not where somebody sets that clock far away.
//!
//! Pure: both clocks are arguments. Time is the machine's uptime and an offset.
//! The offset moves by at most a millisecond a second, so whatever becomes of the
//! wall, a day is a day to within a minute and a half. Only an operator may say
//! that the wall is right, and then, too, time never runs back: it stands until
//! the wall has caught up.

use crate::planted::{Bug, is_planted};
use crate::units::{Time, Uptime};

/// Between two moves of the offset, each by a millisecond.
const MOVE_EVERY_MS: u64 = 1000;

/// Clocks that are read one after the other differ by so much.
const AGREES_MS: u64 = 2;

/// How the time of the process stands to the clock on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is that of the wall.
    Agrees,
    /// It is not, by little, and comes nearer.
    Follows,
    /// The wall was set too far away: it is not followed.
    Refuses,
    /// It stands until the wall has caught up.
    Stands,
}

/// Where time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// Time is the uptime and so many milliseconds,
    offset_ms: i64,
    /// but never before this.
    floor: Time,
    /// When the offset was moved last.
    moved_at: Uptime,
    /// What is further away is not followed.
    step_ms_max: u64,
}

fn between_ms(from: u64, to: u64) -> i64 {
    i64::try_from(to).unwrap_or(i64::MAX).saturating_sub(i64::try_from(from).unwrap_or(i64::MAX))
}

impl Course {
    /// Begins with what the wall says. Further than `step_s_max` seconds it will
    /// not be followed.
    pub fn beginning(uptime: Uptime, wall: Time, step_s_max: u32) -> Self {
        let mut course = Self {
            offset_ms: 0,
            floor: Time(0),
            moved_at: uptime,
            step_ms_max: u64::from(step_s_max) * 1000,
        };
        course.begin(Time(0), uptime, wall);
        course
    }

    /// Begins again: the wall is believed, but time was never before `last`, the
    /// latest that anybody knows, and goes on from there.
    pub fn begin(&mut self, last: Time, uptime: Uptime, wall: Time) {
        let forgets = is_planted(Bug::ClockForgotten) || is_planted(Bug::ClockRunsBack);
        let from = if forgets { wall } else { wall.max(last) };
        self.offset_ms = between_ms(uptime.0, from.0);
        self.floor = Time(0);
        self.moved_at = uptime;
    }

    pub(super) fn offset_ms(&self) -> i64 {
        self.offset_ms
    }

    pub(super) fn floor(&self) -> Time {
        self.floor
    }

    /// The time at this moment.
    pub fn time(&self, uptime: Uptime) -> Time {
        Time(uptime.0.saturating_add_signed(self.offset_ms)).max(self.floor)
    }

    /// By how much the wall is ahead of time, in milliseconds.
    pub fn ahead_ms(&self, uptime: Uptime, wall: Time) -> i64 {
        between_ms(self.time(uptime).0, wall.0)
    }

    /// How time stands to the wall at this moment.
    pub fn found(&self, uptime: Uptime, wall: Time) -> Found {
        let running = uptime.0.saturating_add_signed(self.offset_ms);
        match running.abs_diff(wall.0) {
            apart if apart > self.step_ms_max => Found::Refuses,
            _ if running < self.floor.0 => Found::Stands,
            0..=AGREES_MS => Found::Agrees,
            _ => Found::Follows,
        }
    }

    /// Looks at the wall, and follows it a little where it is near.
    pub fn look(&mut self, uptime: Uptime, wall: Time) -> Found {
        let found = self.found(uptime, wall);
        let apart_ms = between_ms(uptime.0.saturating_add_signed(self.offset_ms), wall.0);
        let is_due = uptime.0.saturating_sub(self.moved_at.0) >= MOVE_EVERY_MS;
        if matches!(found, Found::Follows | Found::Stands) && is_due {
            self.offset_ms = self.offset_ms.saturating_add(apart_ms.signum());
            self.moved_at = uptime;
        }
        let leaps = is_planted(Bug::WallFollowed) && apart_ms > 0;
        if leaps || is_planted(Bug::ClockRunsBack) {
            self.offset_ms = self.offset_ms.saturating_add(apart_ms);
        }
        found
    }

    /// The wall is right, an operator says: time leaps to it, or stands until it
    /// has caught up.
    pub fn accept(&mut self, uptime: Uptime, wall: Time) {
        self.floor = self.time(uptime);
        self.offset_ms = between_ms(uptime.0, wall.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;
    const WALL: Time = Time(1_700_000_000_000);

    fn course() -> Course {
        Course::beginning(Uptime(5000), WALL, 10)
    }

    fn up(ms: u64) -> Uptime {
        Uptime(5000 + ms)
    }

    #[test]
    fn time_is_that_of_the_wall_and_runs_by_the_uptime() {
        let mut course = course();
        assert_eq!(course.time(up(0)), WALL);
        assert_eq!(course.time(up(DAY_MS)), Time(WALL.0 + DAY_MS), "asleep or not");
        assert_eq!(course.look(up(700), Time(WALL.0 + 701)), Found::Agrees);
        assert_eq!(course.time(up(700)), Time(WALL.0 + 700));
    }

    #[test]
    fn a_wall_that_is_set_far_away_is_not_followed() {
        for jump_ms in [DAY_MS, 10_001] {
            for wall in [WALL.0 + jump_ms, WALL.0 - jump_ms] {
                let mut course = course();
                for second in 0..5000 {
                    let wall = Time(wall + 1000 * second);
                    assert_eq!(course.look(up(1000 * second), wall), Found::Refuses);
                }
                assert_eq!(course.time(up(DAY_MS)), Time(WALL.0 + DAY_MS));
                let ahead_ms = course.ahead_ms(up(0), Time(wall));
                assert_eq!(ahead_ms.unsigned_abs(), jump_ms);
                // Somebody puts it right again.
                assert_eq!(course.look(up(1), Time(WALL.0 + 1)), Found::Agrees);
            }
        }
    }

    #[test]
    fn a_small_difference_is_followed_by_a_millisecond_a_second() {
        for (from, moved) in [(WALL.0 + 10_000, 1), (WALL.0 - 10_000, -1)] {
            let mut course = course();
            let mut before = course.time(up(0));
            let mut seconds = 0;
            // Looks that come more often do not make it faster.
            for ms in (0..).step_by(250) {
                let found = course.look(up(ms), Time(from + ms));
                let now = course.time(up(ms));
                assert!(now >= before, "never back");
                before = now;
                if found == Found::Agrees {
                    seconds = ms / 1000;
                    break;
                }
                let moves = moved * i64::try_from(ms / 1000).unwrap();
                assert_eq!(now, Time((WALL.0 + ms).saturating_add_signed(moves)));
            }
            assert_eq!(seconds, 9998, "ten seconds less the two milliseconds that are noise");
        }
    }

    #[test]
    fn however_late_a_look_comes_it_moves_time_by_a_millisecond() {
        let mut course = course();
        assert_eq!(course.look(up(DAY_MS), Time(WALL.0 + DAY_MS + 9000)), Found::Follows);
        assert_eq!(course.time(up(DAY_MS)), Time(WALL.0 + DAY_MS + 1));
        assert_eq!(course.look(up(DAY_MS + 999), Time(WALL.0 + DAY_MS + 9999)), Found::Follows);
        assert_eq!(course.time(up(DAY_MS)), Time(WALL.0 + DAY_MS + 1));
    }

    #[test]
    fn an_accepted_wall_ahead_is_the_time_at_once() {
        let mut course = course();
        let wall = Time(WALL.0 + DAY_MS);
        course.accept(up(0), wall);
        assert_eq!((course.time(up(0)), course.found(up(0), wall)), (wall, Found::Agrees));
        assert_eq!(course.time(up(7)), Time(wall.0 + 7));
    }

    #[test]
    fn an_accepted_wall_behind_makes_time_stand_until_it_has_caught_up() {
        let mut course = course();
        let back = |ms| Time(WALL.0 - DAY_MS + ms);
        course.accept(up(0), back(0));
        assert_eq!(course.look(up(1), back(1)), Found::Stands);
        assert_eq!(course.ahead_ms(up(1), back(1)), 1 - 86_400_000);
        assert_eq!(course.time(up(DAY_MS - 1)), WALL);
        assert_eq!(course.time(up(DAY_MS + 5)), Time(WALL.0 + 5));
        assert_eq!(course.found(up(DAY_MS), back(DAY_MS)), Found::Agrees);
        // Who sets it right again while time stands is not believed either.
        assert_eq!(course.look(up(2), Time(WALL.0 + 2)), Found::Refuses);
    }

    #[test]
    fn time_goes_on_from_the_last_that_is_known() {
        let mut course = course();
        course.begin(Time(WALL.0 - 1), up(0), WALL);
        assert_eq!(course.time(up(0)), WALL, "the wall is believed");
        course.begin(Time(WALL.0 + DAY_MS), up(0), WALL);
        assert_eq!(course.time(up(0)), Time(WALL.0 + DAY_MS));
        assert_eq!(course.look(up(3), Time(WALL.0 + 3)), Found::Refuses);
        assert_eq!(course.time(up(3)), Time(WALL.0 + DAY_MS + 3), "it runs on");
    }
}
