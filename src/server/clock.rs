//! Keeps the time of the process, on a thread that sleeps until somebody sets the
//! clock on the wall; and says what a start found of it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{StartError, Stopper};
use crate::config::Config;
use crate::journal::Recovered;
use crate::net::{Waker, WallWatch, Woken, both};
use crate::shard::{Chronometer, Found, Standing};
use crate::units::Time;

/// How often the wall is looked at while time follows it,
const FOLLOWING: Duration = Duration::from_secs(1);

/// and otherwise, though the kernel tells when it is set.
const RESTING: Duration = Duration::from_secs(60);

/// A difference that nobody needs to be told of.
const TRIFLE_MS: u64 = 100;

/// What is there of time before the shards have recovered.
pub(super) struct Beginning {
    pub(super) chronometer: Arc<Chronometer>,
    ahead_s_max: u32,
    step_s_max: u32,
}

/// Time runs.
pub(super) struct Begun {
    pub(super) keeper: Keeper,
    /// When all shards begin.
    pub(super) since: Time,
    /// What is to be said of it.
    pub(super) fact: Option<String>,
}

impl Beginning {
    pub(super) fn of(config: &Config) -> Self {
        let (uptime, wall) = both();
        let step_s_max = config.clock_step_s_max;
        let chronometer = Arc::new(Chronometer::starting(uptime, wall, step_s_max));
        Self { chronometer, ahead_s_max: config.clock_ahead_s_max, step_s_max }
    }

    /// Begins, if the wall is not further ahead of what was found than it may be.
    pub(super) fn begin(
        &self,
        found: &[Recovered],
        stopper: &Stopper,
    ) -> Result<Begun, StartError> {
        let last = found.iter().map(|found| found.last_time).max().unwrap_or_default();
        let (uptime, wall) = both();
        check_ahead(last, wall, self.ahead_s_max)?;
        let since = self.chronometer.begin(last, uptime, wall);
        let keeper = Keeper::start(Arc::clone(&self.chronometer), stopper.wakers.clone())?;
        Ok(Begun { keeper, since, fact: fact(last, wall, self.step_s_max) })
    }
}

fn check_ahead(last: Time, wall: Time, ahead_s_max: u32) -> Result<(), StartError> {
    let ahead_s = wall.0.saturating_sub(last.0) / 1000;
    if last > Time(0) && ahead_s_max > 0 && ahead_s > ahead_s_max.into() {
        return Err(StartError::ClockAhead { ahead_s, ahead_s_max });
    }
    Ok(())
}

/// A long stop and a clock that was set ahead look the same, so it is said.
fn fact(last: Time, wall: Time, step_s_max: u32) -> Option<String> {
    if last == Time(0) {
        return None;
    }
    let behind_ms = last.0.saturating_sub(wall.0);
    Some(if behind_ms > u64::from(step_s_max) * 1000 {
        format!(
            "warning     the clock on the wall is {} behind the last record; time goes on from \
             that record, see `hb clock`",
            spoken(behind_ms)
        )
    } else {
        let away = spoken(wall.0.saturating_sub(last.0));
        format!("clock       the last record is {away} old")
    })
}

/// A length of time as people say it, in its two largest units.
fn spoken(ms: u64) -> String {
    let s = ms / 1000;
    let (days, hours, minutes) = (s / 86_400, s / 3600 % 24, s / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{s}.{} s", ms % 1000 / 100),
        (0, 0, minutes) => format!("{minutes} min {} s", s % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// The thread that keeps the time. It ends when this is dropped.
pub(super) struct Keeper {
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    fn start(chronometer: Arc<Chronometer>, shards: Vec<Waker>) -> io::Result<Self> {
        let waker = Waker::new()?;
        let watch = WallWatch::new(waker.clone())?;
        let keeping = move || keep(&watch, &chronometer, &shards);
        let thread = std::thread::Builder::new().name("clock".to_owned()).spawn(keeping)?;
        Ok(Self { waker, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn keep(watch: &WallWatch, chronometer: &Chronometer, shards: &[Waker]) {
    let mut told = None;
    loop {
        let (uptime, wall) = both();
        let standing = chronometer.look(uptime, wall);
        if let Some(line) = line(told, &standing) {
            eprintln!("hongbao: {line}");
            told = Some(standing);
        }
        let is_moving = matches!(standing.found, Found::Follows | Found::Stands);
        let woken = watch.wait(if is_moving { FOLLOWING } else { RESTING });
        match woken {
            Ok(Woken::Rung) => return,
            Ok(Woken::Late) if !is_moving => {}
            // Shards sleep until something is due, by the time that was.
            Ok(_) => shards.iter().for_each(Waker::wake),
            Err(error) => {
                eprintln!("hongbao: the clock on the wall cannot be watched: {error}");
                std::thread::sleep(FOLLOWING);
            }
        }
    }
}

/// What is to be said, where something else was said last.
fn line(told: Option<Standing>, now: &Standing) -> Option<String> {
    let way = if now.ahead_ms < 0 { "behind" } else { "ahead" };
    let apart = spoken(now.ahead_ms.unsigned_abs());
    let is_trifle = now.ahead_ms.unsigned_abs() < TRIFLE_MS;
    let was = told.map_or(Found::Agrees, |told| told.found);
    let has_moved = told.is_some_and(|told| told.ahead_ms.abs_diff(now.ahead_ms) > 1000);
    match now.found {
        Found::Refuses if was != Found::Refuses || has_moved => Some(format!(
            "the clock on the wall is {apart} {way} and is not followed: nothing opens or ends \
             by it; set it right, or see `hb clock`"
        )),
        Found::Follows if was != Found::Follows && !is_trifle => Some(format!(
            "the clock on the wall is {apart} {way}; time follows by a millisecond a second"
        )),
        Found::Stands if was != Found::Stands => {
            Some(format!("time stands until the clock on the wall has caught up, {apart}"))
        }
        Found::Agrees if was != Found::Agrees => {
            Some("time is that of the clock on the wall again".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Time = Time(1_700_000_000_000);

    #[test]
    fn a_start_far_ahead_of_the_last_record_is_refused_where_that_is_asked_for() {
        let later = |s: u64| Time(LAST.0 + 1000 * s);
        check_ahead(LAST, later(1 << 30), 0).unwrap();
        check_ahead(LAST, later(60), 60).unwrap();
        check_ahead(LAST, Time(0), 60).unwrap();
        check_ahead(Time(0), later(61), 60).unwrap(); // nothing was ever recorded
        let told = check_ahead(LAST, later(61), 60).unwrap_err().to_string();
        assert!(told.contains("61 s ahead") && told.contains("--clock-ahead-s-max 0"), "{told}");
    }

    #[test]
    fn a_start_says_how_long_it_was_away_and_that_a_wall_behind_is_not_believed() {
        let told = |wall| fact(LAST, wall, 10).unwrap();
        assert_eq!(fact(Time(0), LAST, 10), None);
        assert_eq!(told(Time(LAST.0 + 4200)), "clock       the last record is 4.2 s old");
        assert_eq!(told(Time(LAST.0 - 10_000)), "clock       the last record is 0.0 s old");
        let behind = told(Time(LAST.0 - 93_600_000));
        assert!(behind.starts_with("warning ") && behind.contains("1 d 2 h behind"), "{behind}");
    }

    #[test]
    fn lengths_of_time_are_said_in_their_two_largest_units() {
        let said = [59_900, 61_000, 7_260_000, 90_000_000].map(spoken);
        assert_eq!(said, ["59.9 s", "1 min 1 s", "2 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn a_change_is_said_once_and_a_trifle_never() {
        let at = |found, ahead_ms| Standing { found, ahead_ms, time: LAST };
        let said = |told, found, ahead_ms| line(told, &at(found, ahead_ms));
        assert_eq!(said(None, Found::Agrees, 1), None);
        assert_eq!(said(None, Found::Follows, 99), None);
        assert!(said(None, Found::Follows, -3000).unwrap().contains("3.0 s behind"));
        let refused = Some(at(Found::Refuses, 86_400_000));
        assert!(said(None, Found::Refuses, 86_400_000).unwrap().contains("1 d 0 h ahead"));
        assert_eq!(said(refused, Found::Refuses, 86_400_001), None);
        assert!(said(refused, Found::Refuses, 5000).is_some());
        assert!(said(refused, Found::Stands, -5000).unwrap().contains("caught up, 5.0 s"));
        assert!(said(refused, Found::Agrees, 0).is_some());
    }
}
