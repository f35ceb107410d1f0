//! The loop of the load: one thread, one epoll, streams of many connections.
//!
//! Per readiness of a connection: one read, all its replies counted, its free
//! slots filled with new requests, one write. The clock is read once for that.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::stream::Playing;
use crate::number::per_second;
use crate::progress::Progress;

/// How long the last replies are waited for after the end of the load, and
/// how long a server may say nothing at all.
const GRACE: Duration = Duration::from_secs(10);

/// The longest sleep, so that the progress line moves.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// How late the kernel may wake us, in nanoseconds; without a word, 50 µs.
const SLACK_NS: NonZeroU64 = NonZeroU64::new(1000).expect("it is more than nothing");

/// A wait for a request's time that is shorter than this is spun: the kernel
/// would wake too late.
const SPIN_BELOW: Duration = Duration::from_micros(5);

/// How many events are taken at once.
const EVENTS: usize = 256;

/// The time of a run, from its beginning.
pub(super) struct Clock(Instant);

impl Clock {
    /// Nanoseconds since the run began.
    #[inline]
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The epoll of all connections.
pub(super) struct Driver {
    poll: OwnedFd,
}

impl Driver {
    /// Without connections yet.
    pub(super) fn new() -> Result<Self> {
        // A wish: without it groups are a little late, and their latency says so.
        let _ = rustix::thread::set_current_timer_slack(Some(SLACK_NS));
        Ok(Self { poll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Where connections are added.
    pub(super) fn poll(&self) -> &OwnedFd {
        &self.poll
    }

    /// Plays streams until the first of them is over.
    pub(super) fn run(
        &self,
        streams: &mut [&mut dyn Playing],
        progress: &mut Progress,
        what: &str,
    ) -> Result<()> {
        let clock = Clock(Instant::now());
        let (mut shown, mut idle_ns) = ((0, 0), 0);
        let mut events = Vec::with_capacity(EVENTS);
        while !hand_out(streams, self.poll.as_fd(), clock.now_ns()) {
            events.clear();
            let timeout = sleep(streams, clock.now_ns());
            match epoll::wait(&self.poll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            for event in &events {
                let data = event.data.u64();
                let (number, place) = (data >> 32, data & u64::from(u32::MAX));
                let mut playing = streams.iter_mut();
                if let Some(stream) = playing.find(|stream| u64::from(stream.number()) == number) {
                    stream.ready(self.poll.as_fd(), usize::try_from(place)?, &clock)?;
                }
            }
            if events.is_empty() {
                meet_silence(streams, clock.now_ns(), &mut idle_ns)?;
            }
            if progress.is_due(Instant::now()) {
                progress.show(progress_text(streams, what, clock.now_ns(), &mut shown));
            }
        }
        Ok(())
    }
}

/// Gives out what is due; whether all is over.
fn hand_out(streams: &mut [&mut dyn Playing], poll: BorrowedFd<'_>, now_ns: u64) -> bool {
    for stream in &mut *streams {
        stream.hand_out(poll, now_ns);
    }
    let Some((first, beside)) = streams.split_first_mut() else { return true };
    if !first.is_over(now_ns) {
        return false;
    }
    for stream in &mut *beside {
        stream.stop();
    }
    beside.iter().all(|stream| stream.in_flight() == 0)
}

/// How long to wait for replies at most.
fn sleep(streams: &[&mut dyn Playing], now_ns: u64) -> Timespec {
    let sleep = match streams.iter().filter_map(|stream| stream.due_in(now_ns)).min() {
        Some(wait) if wait < SPIN_BELOW => Duration::ZERO,
        Some(wait) => wait.min(SLEEP_MAX),
        None => SLEEP_MAX,
    };
    let nanos = i64::from(sleep.subsec_nanos());
    Timespec { tv_sec: i64::try_from(sleep.as_secs()).unwrap_or(0), tv_nsec: nanos }
}

/// A server that says nothing for too long is given up. `idle_ns`: when
/// nothing was in flight for the last time.
fn meet_silence(streams: &[&mut dyn Playing], now_ns: u64, idle_ns: &mut u64) -> Result<()> {
    let last_ns = streams.iter().map(|stream| stream.last_answer_ns()).max().unwrap_or(0);
    let waiting: u64 = streams.iter().map(|stream| stream.in_flight()).sum();
    if waiting == 0 {
        *idle_ns = now_ns;
    }
    let silence = Duration::from_nanos(now_ns.saturating_sub(last_ns.max(*idle_ns)));
    if silence > GRACE {
        bail!("no answer for {silence:.0?} while {waiting} requests wait");
    }
    Ok(())
}

/// `shown`: what had come by the last text, and when that was.
fn progress_text(
    streams: &[&mut dyn Playing],
    what: &str,
    now_ns: u64,
    shown: &mut (u64, u64),
) -> String {
    let (count_then, then) = *shown;
    let count = streams.iter().map(|stream| stream.ledger().count()).sum();
    *shown = (count, now_ns);
    let span = Duration::from_nanos(now_ns.saturating_sub(then)).as_secs_f64();
    let p99_us = streams.first().map_or(0.0, |first| first.ledger().current().quantile_us(0.99));
    format!(
        "{what}: {:.0?}, {} answers, {}/s, p99 {p99_us:.0} us",
        Duration::from_secs(Duration::from_nanos(now_ns).as_secs()),
        indicatif::HumanCount(count),
        indicatif::HumanCount(per_second(count - count_then, span)),
    )
}
