//! The files of `src/shard` as they are, and a way into what they show only to
//! each other.

#[path = "../../../../src/shard/bell.rs"]
mod bell;
mod buckets;
#[path = "../../../../src/shard/receivers.rs"]
mod receivers;
#[path = "../../../../src/shard/sleeper.rs"]
mod sleeper;
#[path = "../../../../src/shard/velocity.rs"]
mod velocity;

pub use bell::Bell;
pub use receivers::{ReceiveLimits, Receivers};
pub use sleeper::Sleeper;

use crate::units::{Stamp, UnixSeconds, UserId};

/// As the shard does before it sleeps.
pub fn lie_down(bell: &Bell) {
    bell.lie_down();
}

/// As the shard does afterwards.
pub fn get_up(bell: &Bell) {
    bell.get_up();
}

/// What became of a share that was to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// It is within the limits and counted.
    Counted,
    /// It is above a limit, for good.
    LimitReached,
    /// It is above a limit for claims that are not committed.
    Unsettled,
    /// Nothing can be counted for this user now.
    NoRoom,
}

/// One share of one fen, given by a shard in a round.
pub fn count(
    receivers: &Receivers,
    shard: usize,
    user: u64,
    at: UnixSeconds,
    round: u64,
) -> Counting {
    match receivers.count(shard, UserId(user), 1, at, Stamp(round)) {
        receivers::Counting::Counted => Counting::Counted,
        receivers::Counting::LimitReached => Counting::LimitReached,
        receivers::Counting::Unsettled => Counting::Unsettled,
        receivers::Counting::NoRoom => Counting::NoRoom,
    }
}

/// The shard's claims from `round` on are not committed.
pub fn hold_from(receivers: &Receivers, shard: usize, round: u64) {
    receivers.hold_from(shard, Stamp(round));
}

/// All of them are.
pub fn settle(receivers: &Receivers, shard: usize) {
    receivers.settle(shard, None);
}

/// Takes a share back that was not given.
pub fn uncount(receivers: &Receivers, user: u64, at: UnixSeconds) {
    receivers.uncount(UserId(user), 1, at);
}

/// How often users have won of late.
pub struct Wins(velocity::Velocity);

impl Wins {
    /// A table of one line, which everybody shares.
    pub fn new(window_s: u32) -> Self {
        Self(velocity::Velocity::new(1, window_s, 7))
    }

    /// Counts a win; how many there are in the window with it.
    pub fn count(&self, user: u64, at: UnixSeconds) -> u32 {
        self.0.count(user, at)
    }

    /// Takes a win back that was counted just now and was none.
    pub fn uncount(&self, user: u64, at: UnixSeconds) {
        self.0.uncount(user, at);
    }

    /// How many there are in the window.
    pub fn look(&self, user: u64, at: UnixSeconds) -> u32 {
        self.0.look(user, at)
    }
}
