//! How often each of many has done something of late, over all shards: a table that
//! they share. Who is counted and what for is `windows`' matter; here it is a number.
//!
//! A window is four slices of time, the newest of them under way, and what somebody
//! does is counted by slice. So what counts reaches back at least as far as the
//! window is long and at most a third further, nothing counts for less, and 64 bits
//! a number are enough.
//!
//! Numbers lie in lines of seven, each a few cache lines, and whoever looks at one
//! has it alone for some dozen loads. A full line forgets whoever has done least;
//! those whose window is over go first. Time is the shards' own, which never runs
//! back; a shard that is a moment behind another counts in the slice of that one.

use crate::engine::mix;
use crate::threads::{AtomicBool, AtomicU64, Ordering, spin_loop, yield_now};
use crate::units::{Time, UnixSeconds};

/// Numbers in a line.
const WAYS: usize = 7;

/// Slices of a window: so many counts of eight bits lie beside the number of the
/// newest slice.
const SLICES: u32 = 4;

/// What one has done: `slice of the newest count | four counts, the newest first`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Done {
    slice: u32,
    counts: [u8; 4],
}

impl Done {
    fn load(word: u64) -> Self {
        let [s0, s1, s2, s3, counts @ ..] = word.to_le_bytes();
        Self { slice: u32::from_le_bytes([s0, s1, s2, s3]), counts }
    }

    fn word(self) -> u64 {
        let [s0, s1, s2, s3] = self.slice.to_le_bytes();
        let [c0, c1, c2, c3] = self.counts;
        u64::from_le_bytes([s0, s1, s2, s3, c0, c1, c2, c3])
    }

    /// As it is in a later slice; in an earlier one it is as it was.
    fn in_slice(self, slice: u32) -> Self {
        let Some(passed) = slice.checked_sub(self.slice) else { return self };
        let passed = usize::try_from(passed).unwrap_or(usize::MAX);
        let mut counts = [0; 4];
        for (to, from) in counts.iter_mut().skip(passed).zip(self.counts) {
            *to = from;
        }
        Self { slice, counts }
    }

    fn sum(self) -> u32 {
        self.counts.iter().map(|&count| u32::from(count)).sum()
    }

    /// With one more in a slice, which may be one of the last.
    fn with(self, slice: u32) -> Self {
        let mut done = self.in_slice(slice);
        let back = usize::try_from(done.slice - slice.min(done.slice)).unwrap_or(usize::MAX);
        if let Some(count) = done.counts.get_mut(back) {
            *count = count.saturating_add(1);
        }
        done
    }

    /// Without one that was counted just now.
    fn without(mut self, slice: u32) -> Self {
        let back = usize::try_from(self.slice.saturating_sub(slice)).unwrap_or(usize::MAX);
        if let Some(count) = self.counts.get_mut(back) {
            *count = count.saturating_sub(1);
        }
        self
    }
}

/// Seven numbers and what each has done.
#[repr(align(128))]
#[derive(Default)]
struct Line {
    /// Whether somebody looks at it.
    taken: AtomicBool,
    whose: [AtomicU64; WAYS],
    done: [AtomicU64; WAYS],
}

impl Line {
    /// Does something with the line, alone.
    fn alone<T>(&self, with: impl FnOnce(&Self) -> T) -> T {
        let mut spins = 0_u32;
        let take =
            || self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        while take().is_err() {
            // Some dozen loads away, unless that thread was just put to sleep.
            spins += 1;
            if spins < 100 { spin_loop() } else { yield_now() }
        }
        let done = with(self);
        self.taken.store(false, Ordering::Release);
        done
    }

    fn done_at(&self, way: usize) -> Done {
        self.done
            .get(way)
            .map_or_else(Done::default, |word| Done::load(word.load(Ordering::Relaxed)))
    }

    fn put(&self, way: usize, who: u64, done: Done) {
        if let (Some(its), Some(word)) = (self.whose.get(way), self.done.get(way)) {
            its.store(who, Ordering::Relaxed);
            word.store(done.word(), Ordering::Relaxed);
        }
    }

    fn way_of(&self, who: u64) -> Option<usize> {
        let is_its = |way: &usize| {
            let its = self.whose.get(*way).map(|its| its.load(Ordering::Relaxed));
            its == Some(who) && self.done_at(*way).sum() > 0
        };
        (0..WAYS).find(is_its)
    }

    /// Whose place a newcomer takes: of the one who has done least of late.
    fn least(&self, slice: u32) -> usize {
        (0..WAYS).min_by_key(|&way| self.done_at(way).in_slice(slice).sum()).unwrap_or(0)
    }
}

/// The table.
pub(super) struct Velocity {
    lines: Vec<Line>,
    slice_s: u32,
    /// Mixed into the hash, so that nobody outside can choose numbers that collide.
    key: u64,
}

impl Velocity {
    /// The bytes that [`Velocity::new`] reserves.
    pub(super) fn bytes(most: u32) -> usize {
        Self::line_count(most).saturating_mul(size_of::<Line>())
    }

    /// Twice as many places as numbers, so that lines are seldom full.
    fn line_count(most: u32) -> usize {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        most.saturating_mul(2).div_ceil(WAYS).max(1)
    }

    /// A table for so many who do something within a window of so many seconds. `key` is
    /// a number that nobody outside knows.
    pub(super) fn new(most: u32, window_s: u32, key: u64) -> Self {
        let lines = (0..Self::line_count(most)).map(|_| Line::default()).collect();
        Self { lines, slice_s: window_s.div_ceil(SLICES - 1).max(1), key }
    }

    fn line(&self, who: u64) -> Option<&Line> {
        let hash = u128::from(mix(who ^ self.key));
        let count = u128::try_from(self.lines.len()).unwrap_or(0);
        self.lines.get(usize::try_from((hash * count) >> 64).unwrap_or(0))
    }

    fn slice(&self, at: UnixSeconds) -> u32 {
        at / self.slice_s
    }

    /// Counts one more; how many there are in the window with it.
    pub(super) fn count(&self, who: u64, at: UnixSeconds) -> u32 {
        let slice = self.slice(at);
        let Some(line) = self.line(who) else { return 0 };
        line.alone(|line| {
            let known = line.way_of(who);
            let way = known.unwrap_or_else(|| line.least(slice));
            let before = known.map_or_else(Done::default, |way| line.done_at(way));
            let done = before.with(slice);
            line.put(way, who, done);
            done.sum()
        })
    }

    /// Takes back what was counted just now and came to nothing.
    pub(super) fn uncount(&self, who: u64, at: UnixSeconds) {
        let slice = self.slice(at);
        let Some(line) = self.line(who) else { return };
        line.alone(|line| {
            if let Some(way) = line.way_of(who) {
                line.put(way, who, line.done_at(way).without(slice));
            }
        });
    }

    /// How many there are in the window.
    pub(super) fn look(&self, who: u64, at: UnixSeconds) -> u32 {
        let slice = self.slice(at);
        let Some(line) = self.line(who) else { return 0 };
        line.alone(|line| {
            let way = line.way_of(who);
            way.map_or(0, |way| line.done_at(way).in_slice(slice).sum())
        })
    }

    /// The first moment that is in the window now; what was before counts nothing.
    pub(super) fn begins_at(&self, now: Time) -> UnixSeconds {
        self.slice(now.seconds()).saturating_sub(SLICES - 1).saturating_mul(self.slice_s)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const NOW: UnixSeconds = 1_700_000_000;

    fn table(window_s: u32) -> Velocity {
        Velocity::new(1000, window_s, 7)
    }

    #[test]
    fn a_win_counts_for_the_window_at_least_and_a_third_longer_at_most() {
        for window_s in [3, 60, 61, 3600] {
            for first in NOW..NOW + 50 {
                let velocity = table(window_s);
                assert_eq!(velocity.count(1, first), 1);
                assert_eq!(velocity.look(1, first + window_s - 1), 1, "{window_s}");
                let over = first + 2 * window_s.div_ceil(3) + window_s;
                assert_eq!(velocity.look(1, over), 0, "{window_s}");
            }
        }
    }

    #[test]
    fn wins_add_up_as_in_a_plain_list() {
        let velocity = table(60);
        let mut twin: HashMap<u64, Vec<UnixSeconds>> = HashMap::new();
        let mut at = NOW;
        for step in 0..20_000_u64 {
            let dice = mix(step);
            let user = dice % 50;
            at += u32::from((dice >> 20).is_multiple_of(8));
            let all = twin.entry(user).or_default();
            all.push(at);
            let since = (at / 20 - 3) * 20;
            all.retain(|&one| one >= since);
            let wins = u32::try_from(all.len()).unwrap();
            assert_eq!(velocity.count(user, at), wins, "step {step}");
        }
    }

    #[test]
    fn clocks_that_jump_open_nothing_and_close_nothing() {
        let velocity = table(60);
        (0..5).for_each(|_| _ = velocity.count(1, NOW));
        assert_eq!(velocity.count(1, NOW - 86_400), 5, "long ago counts nothing");
        assert_eq!(velocity.look(1, NOW - 5), 5, "who is a moment behind sees all");
        assert_eq!(velocity.look(1, NOW), 5);
        assert_eq!(velocity.count(1, NOW + 86_400), 1, "a day later they are over");
    }

    #[test]
    fn what_was_taken_back_was_never_counted() {
        let velocity = table(60);
        assert_eq!(velocity.count(3, NOW), 1);
        velocity.uncount(3, NOW);
        assert_eq!(velocity.look(3, NOW), 0);
        velocity.uncount(3, NOW);
        assert_eq!(velocity.count(3, NOW), 1);
    }

    #[test]
    fn shards_that_count_at_once_lose_nothing() {
        let velocity = table(3600);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| _ = velocity.count(9, NOW)));
            }
        });
        assert_eq!(velocity.look(9, NOW), 200);
    }

    #[test]
    fn a_full_line_forgets_who_has_won_least() {
        let velocity = Velocity::new(1, 60, 0);
        assert_eq!(velocity.lines.len(), 1);
        (0..3).for_each(|_| _ = velocity.count(1, NOW));
        (2..40).for_each(|user| _ = velocity.count(user, NOW));
        assert_eq!(velocity.look(1, NOW), 3);
        assert_eq!(velocity.look(39, NOW), 1);
    }
}
