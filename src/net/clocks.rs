//! The clocks of the machine: the one on the wall, which anybody may set, and the
//! one that only runs, through sleep too. And who notices when the first is set.
//!
//! Reads; what to believe is decided in `shard`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use super::waker::Waker;
use crate::units::{Time, Uptime};

/// Two looks at clocks that are further apart say nothing about each other.
const TOGETHER_MS: u64 = 2;

/// The year 2242: the timer is there for being cancelled.
const NEVER_S: i64 = 1 << 33;

fn millis(at: Timespec) -> u64 {
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(at.tv_nsec / 1_000_000).unwrap_or(0)
}

/// The wall clock as it stands; somebody may have set it.
pub fn wall() -> Time {
    Time(millis(clock_gettime(ClockId::Realtime)))
}

/// How long the machine has been up, its sleep included.
pub fn uptime() -> Uptime {
    Uptime(millis(clock_gettime(ClockId::Boottime)))
}

/// Both clocks at the same moment, or as nearly as a busy machine lets.
pub fn both() -> (Uptime, Time) {
    let mut last = (uptime(), wall());
    for _ in 0..16 {
        if uptime().0 - last.0.0 <= TOGETHER_MS {
            break;
        }
        last = (uptime(), wall());
    }
    last
}

/// What has ended a [`WallWatch::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Somebody has set the wall clock, or the machine has slept.
    Set,
    /// Somebody has rung.
    Rung,
    /// Nothing has happened for so long.
    Late,
}

/// Sleeps until somebody sets the wall clock.
#[derive(Debug)]
pub struct WallWatch {
    timer: OwnedFd,
    waker: Waker,
}

impl WallWatch {
    /// A watch that `waker` wakes, too.
    pub fn new(waker: Waker) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        // The kernel cancels a timer at a moment of the wall when that is set.
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let [never, once] = [NEVER_S, 0].map(|tv_sec| Timespec { tv_sec, tv_nsec: 0 });
        timerfd_settime(&timer, flags, &Itimerspec { it_interval: once, it_value: never })?;
        Ok(Self { timer, waker })
    }

    /// Sleeps until something has happened, or for so long.
    pub fn wait(&self, timeout: Duration) -> io::Result<Woken> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        let bell = self.waker.bell();
        let mut polled =
            [PollFd::new(&self.timer, PollFlags::IN), PollFd::new(&bell, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Woken::Late),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        if polled[1].revents().is_empty() {
            let _ = read(&self.timer, &mut [0; 8]); // ECANCELED, which makes it quiet
            return Ok(Woken::Set);
        }
        self.waker.quiet();
        Ok(Woken::Rung)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_wakes_for_its_bell_and_when_it_is_late() {
        let waker = Waker::new().unwrap();
        let watch = WallWatch::new(waker.clone()).unwrap();
        assert_eq!(watch.wait(Duration::from_millis(1)).unwrap(), Woken::Late);
        waker.wake();
        assert_eq!(watch.wait(Duration::from_secs(60)).unwrap(), Woken::Rung);
        assert_eq!(watch.wait(Duration::from_millis(1)).unwrap(), Woken::Late);
    }

    #[test]
    fn the_machine_is_up_for_as_long_as_its_clock_says() {
        let (up, at) = both();
        let (later_up, later_at) = both();
        assert!(later_up >= up);
        println!("up {up:?}, {at:?}; then {later_up:?}, {later_at:?}");
        assert!(up.0 > 0 && at.seconds() > 1_700_000_000);
    }
}
