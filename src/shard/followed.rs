//! What a shard shows to whoever follows its journal, and what that one shows
//! to the shard: two positions, and a bell.
//!
//! The shard stores one number a commit, and makes a system call only when the
//! follower sleeps. It never waits for the follower.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sleeper::Sleeper;
use crate::journal::{Committed, Position};
use crate::planted::{Bug, is_planted};

/// How much must have become free before segments are looked through again: a
/// look lists a directory, in the background.
const FREE_STEP_BYTES: u64 = 1 << 20;

/// Between one shard and its follower.
#[derive(Debug)]
pub struct Followed {
    /// Everything before this is committed.
    committed: AtomicU64,
    /// Everything before this is no longer needed by the follower.
    passed: AtomicU64,
    /// Everything before this is no longer needed by any subscriber of the
    /// settlement stream; all ones where there is none.
    held: AtomicU64,
    follower: Arc<Sleeper>,
}

impl Followed {
    /// For a shard that `follower` reads; until it says how far it is, nothing
    /// is freed.
    pub fn by(follower: Arc<Sleeper>) -> Arc<Self> {
        Arc::new(Self::new(0, follower))
    }

    /// For a shard that nobody reads.
    pub fn by_nobody() -> Arc<Self> {
        Arc::new(Self::new(u64::MAX, Arc::default()))
    }

    fn new(passed: u64, follower: Arc<Sleeper>) -> Self {
        let (committed, held) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Self { committed, passed: AtomicU64::new(passed), held, follower }
    }

    /// For an arrangement that is not written any more, whose journal ends here.
    pub fn ended(at: Position) -> Arc<Self> {
        let this = Self::by_nobody();
        this.committed.store(at.0, Ordering::Release);
        this
    }

    /// Everything up to here is committed; [`Outlook::show`] wakes the follower
    /// as well.
    #[inline]
    pub fn commit(&self, committed: &Committed) {
        self.committed.store(committed.upto().0, Ordering::Release);
    }

    /// Everything before this is committed.
    pub fn committed(&self) -> Position {
        Position(self.committed.load(Ordering::Acquire))
    }

    /// What the follower has derived from everything before `position` is
    /// durable: it will not be read again.
    pub fn pass(&self, position: Position) {
        self.passed.store(position.0, Ordering::Release);
    }

    /// Some subscriber still needs what begins at `position`; with `None` there is
    /// nobody who does.
    pub fn hold(&self, position: Option<Position>) {
        self.held.store(position.map_or(u64::MAX, |position| position.0), Ordering::Release);
    }

    /// What subscribers need begins here.
    fn held(&self) -> Position {
        Position(self.held.load(Ordering::Acquire))
    }

    /// Where the follower would begin again.
    pub fn passed(&self) -> Position {
        Position(self.passed.load(Ordering::Acquire))
    }
}

/// The shard's end of it: shows what is committed, and knows what may be freed.
#[derive(Debug)]
pub struct Outlook {
    followed: Arc<Followed>,
    /// What a restart needs begins here.
    keep_from: Position,
    /// Up to here the journal was told to free.
    freed: Position,
}

impl Outlook {
    /// Of a shard whose restart needs what begins at `keep_from`.
    pub fn new(followed: Arc<Followed>, keep_from: Position) -> Self {
        Self { followed, keep_from, freed: Position(0) }
    }

    /// Everything up to here is committed.
    #[inline]
    pub fn show(&self, committed: &Committed) {
        self.followed.commit(committed);
        self.followed.follower.wake_if_asleep();
    }

    /// What a restart needs begins here.
    pub(super) fn keeps_from(&self) -> Position {
        self.keep_from
    }

    /// Up to where the follower's derived state is durable; all ones where nobody
    /// follows.
    pub(super) fn passed(&self) -> Position {
        self.followed.passed()
    }

    /// A checkpoint was made: a restart needs less.
    pub(super) fn keep_from(&mut self, position: Position) {
        self.keep_from = position;
    }

    /// Before which position segments may go, if that is worth a look: both a
    /// restart, the follower and every subscriber must be past it.
    pub(super) fn may_free(&mut self) -> Option<Position> {
        let keep_from =
            if is_planted(Bug::FreedEarly) { Position(u64::MAX) } else { self.keep_from };
        let before = keep_from.min(self.followed.passed()).min(self.followed.held());
        let step = before.0.saturating_sub(self.freed.0);
        let worth = step >= FREE_STEP_BYTES || step > 0 && before == self.keep_from;
        worth.then(|| {
            self.freed = before;
            before
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_wait_for_the_restart_and_for_the_follower() {
        let followed = Followed::by(Arc::default());
        let mut outlook = Outlook::new(Arc::clone(&followed), Position(0));
        assert_eq!(outlook.may_free(), None);
        outlook.keep_from(Position(10 << 20));
        assert_eq!(outlook.may_free(), None, "the follower has passed nothing");
        followed.pass(Position(5 << 20));
        assert_eq!(outlook.may_free(), Some(Position(5 << 20)));
        followed.pass(Position((5 << 20) + 4096));
        assert_eq!(outlook.may_free(), None, "not worth a look");
        followed.pass(Position(11 << 20));
        assert_eq!(outlook.may_free(), Some(Position(10 << 20)));
        assert_eq!(outlook.may_free(), None);
    }

    #[test]
    fn segments_wait_for_subscribers_too() {
        let followed = Followed::by_nobody();
        let mut outlook = Outlook::new(Arc::clone(&followed), Position(10 << 20));
        followed.hold(Some(Position(0)));
        assert_eq!(outlook.may_free(), None);
        followed.hold(Some(Position(4 << 20)));
        assert_eq!(outlook.may_free(), Some(Position(4 << 20)));
        followed.hold(None);
        assert_eq!(outlook.may_free(), Some(Position(10 << 20)));
    }

    #[test]
    fn without_a_follower_only_the_restart_counts() {
        let mut outlook = Outlook::new(Followed::by_nobody(), Position(4096));
        assert_eq!(outlook.may_free(), Some(Position(4096)));
        assert_eq!(outlook.may_free(), None);
    }

    #[test]
    fn what_is_shown_before_the_sleep_is_not_slept_over() {
        let sleeper = Arc::new(Sleeper::default());
        let followed = Followed::by(Arc::clone(&sleeper));
        let outlook = Outlook::new(Arc::clone(&followed), Position(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sleeper.settle();
                for round in 0..2000 {
                    let work = || followed.passed().0 > round;
                    while !work() {
                        sleeper.sleep(None, work);
                    }
                    followed.committed.store(round + 1, Ordering::Release);
                }
            });
            for round in 0..2000 {
                followed.pass(Position(round + 1));
                outlook.followed.follower.wake_if_asleep();
                while followed.committed().0 <= round {
                    std::thread::yield_now();
                }
            }
        });
    }
}
