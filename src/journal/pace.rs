//! How fast the next segment is made: as fast as it will be needed, and no
//! faster, because its writes and the shard's commits share one disk.
//!
//! The shard says how far its journal has come; who makes the segment rests
//! between two steps until its own speed is twice that of the journal. It knows
//! no file.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Position, widen};
use crate::limits::PREPARE_WAIT_S;

const PATIENCE: Duration = Duration::from_secs(PREPARE_WAIT_S);

/// Bytes a second at which an idle journal's next segment is made.
const SPEED_MIN: u64 = 64 << 20;

/// The longest rest at a time: the journal may have become faster meanwhile.
const REST_MAX: Duration = Duration::from_millis(5);

/// How much faster than the journal: the segment is there when the open one is
/// half full.
const AHEAD: u64 = 2;

/// What the shard and the thread that makes segments know of each other.
#[derive(Debug, Default)]
pub(super) struct Pace {
    upto: AtomicU64,
    /// Bytes of segments made so far.
    made: AtomicU64,
    hurried: AtomicBool,
    cancelled: AtomicBool,
}

/// How long the shard waits for a segment: while any of it is still written, and
/// [`PREPARE_WAIT_S`] from then on.
pub(super) struct Patience {
    made: u64,
    until: Instant,
}

/// How far the making of one segment has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Making {
    began: Instant,
    /// Where the journal was then.
    upto: u64,
    /// Bytes made.
    bytes: u64,
}

impl Pace {
    /// The journal has come to `upto`.
    #[inline]
    pub(super) fn note(&self, upto: Position) {
        self.upto.store(upto.0, Ordering::Relaxed);
    }

    /// The shard waits for the segment that is being made.
    pub(super) fn hurry(&self) {
        self.hurried.store(true, Ordering::Relaxed);
    }

    /// The patience of a shard that begins to wait.
    pub(super) fn patience(&self, now: Instant) -> Patience {
        Patience { made: self.made.load(Ordering::Relaxed), until: now + PATIENCE }
    }

    /// Whether it still waits.
    pub(super) fn is_awaited(&self, patience: &mut Patience, now: Instant) -> bool {
        if self.made.load(Ordering::Relaxed) != patience.made {
            *patience = self.patience(now);
        }
        now < patience.until
    }

    /// Nobody wants the segment any more.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether nobody wants it.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// A segment is begun; whoever was in a hurry has got the one before.
    pub(super) fn begin(&self) -> Making {
        self.hurried.store(false, Ordering::Relaxed);
        Making { began: Instant::now(), upto: self.upto.load(Ordering::Relaxed), bytes: 0 }
    }

    /// After `bytes` more: rests if that was too fast, unless the shard waits.
    pub(super) fn rest(&self, making: &mut Making, bytes: usize) {
        making.bytes = making.bytes.saturating_add(widen(bytes));
        self.made.fetch_add(widen(bytes), Ordering::Relaxed);
        if !self.hurried.load(Ordering::Relaxed) && !self.is_cancelled() {
            let filled = self.upto.load(Ordering::Relaxed).saturating_sub(making.upto);
            std::thread::sleep(too_early(making.bytes, filled, making.began.elapsed()));
        }
    }
}

/// How long after `elapsed` so many bytes would have been due, if the journal
/// has grown by `filled` meanwhile and grows no more.
fn too_early(bytes: u64, filled: u64, elapsed: Duration) -> Duration {
    if bytes <= filled.saturating_mul(AHEAD) {
        return Duration::ZERO;
    }
    let due = Duration::from_micros(bytes.saturating_mul(1_000_000) / SPEED_MIN);
    due.saturating_sub(elapsed).min(REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_made_twice_as_fast_as_the_journal_fills_one() {
        let second = Duration::from_secs(1);
        assert_eq!(too_early(200 << 20, 100 << 20, second), Duration::ZERO);
        assert_eq!(too_early(201 << 20, 100 << 20, second), REST_MAX);
    }

    #[test]
    fn an_idle_journals_segment_is_made_at_the_least_speed() {
        assert_eq!(too_early(64 << 20, 0, Duration::from_secs(1)), Duration::ZERO);
        let early = too_early(64 << 20, 0, Duration::from_millis(999));
        assert_eq!(early, Duration::from_millis(1));
    }

    #[test]
    fn a_slow_disk_is_waited_for_as_long_as_it_takes_bytes_and_a_dead_one_is_not() {
        let (pace, began) = (Pace::default(), Instant::now());
        let (mut patience, mut making) = (pace.patience(began), pace.begin());
        pace.hurry();
        let mut now = began;
        for _ in 0..100 {
            now += PATIENCE / 2;
            assert!(pace.is_awaited(&mut patience, now));
            pace.rest(&mut making, 1);
            assert!(pace.is_awaited(&mut patience, now));
        }
        assert!(!pace.is_awaited(&mut patience, now + PATIENCE));
    }

    #[test]
    fn nobody_rests_while_the_shard_waits_or_has_gone() {
        for stop in [Pace::hurry, Pace::cancel] {
            let pace = Pace::default();
            let mut making = pace.begin();
            stop(&pace);
            let began = Instant::now();
            (0..10_000).for_each(|_| pace.rest(&mut making, 1 << 30));
            assert!(began.elapsed() < 10_000 * REST_MAX / 4);
        }
        let pace = Pace::default();
        let (mut making, began) = (pace.begin(), Instant::now());
        pace.rest(&mut making, 1 << 30);
        assert!(began.elapsed() >= REST_MAX && !pace.is_cancelled());
    }

    #[test]
    fn a_journal_that_grows_meanwhile_is_kept_up_with() {
        let pace = Pace::default();
        pace.note(Position(1 << 30));
        let mut making = pace.begin();
        assert_eq!(making.upto, 1 << 30);
        pace.note(Position(2 << 30));
        let began = Instant::now();
        (0..1000).for_each(|_| pace.rest(&mut making, 1 << 20));
        assert!(began.elapsed() < 1000 * REST_MAX / 4);
    }
}
