//! What every user has received by day: one table that all shards share, there
//! only where a limit on it is set.
//!
//! A user's claims are decided by the shards of the envelopes, so what they
//! come to belongs to no shard. It is counted in the same moment in which the
//! shard decides, by one compare-and-swap, so no two shards can both give the
//! last share that a limit allows. Nothing is locked and nothing is allocated.
//!
//! Nothing is journalled either. A claim counts if and only if it is in the
//! journal: the table is filled from the claims that recovery has found, before
//! the doors open, and from then on with every claim that is appended. A crash
//! takes the table together with the claims that were not committed.

use super::buckets::{BUCKET_BYTES, Bucket, Buckets};
use crate::engine::mix;
use crate::limits::RECEIVES_PER_DAY_MAX;
use crate::threads::{AtomicU16, AtomicU64, Ordering, spin_loop, yield_now};
use crate::units::{Stamp, UnixSeconds, UserId, day_of};

/// Buckets for each user of a day: yesterday's users are kept for shards whose
/// day ends a moment later, and half of the table stays empty.
const BUCKETS_PER_USER: usize = 4;

/// So many buckets are looked at for a user. A table that is half empty never
/// needs a third of them, so one that needs more is full.
const PROBES_MAX: usize = 512;

/// In the place of a number of shares: the bucket is just being taken.
const BEING_TAKEN: u16 = RECEIVES_PER_DAY_MAX + 1;

/// The operator's limits on what a user receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveLimits {
    /// Shares of a user and day, at most `RECEIVES_PER_DAY_MAX`; 0 is no limit.
    pub receives_per_day_max: u16,
    /// Money of a user and day, in fen; 0 is no limit.
    pub received_fen_per_day_max: u32,
    /// Where a day begins, in minutes east of UTC.
    pub utc_offset_min: i32,
}

impl ReceiveLimits {
    /// The day that a moment is in; never 0.
    fn day_of(&self, at: UnixSeconds) -> u16 {
        u16::try_from(day_of(at, self.utc_offset_min) + 1).unwrap_or(u16::MAX)
    }
}

/// What a user has received on a day, of that which is limited: 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Received {
    /// 0 in a bucket that was never taken.
    day: u16,
    shares: u16,
    fen: u32,
}

impl Received {
    #[inline]
    fn load(word: u64) -> Self {
        let [a, b, c, d, fen @ ..] = word.to_be_bytes();
        Self {
            day: u16::from_be_bytes([a, b]),
            shares: u16::from_be_bytes([c, d]),
            fen: u32::from_be_bytes(fen),
        }
    }

    #[inline]
    fn word(self) -> u64 {
        u64::from(self.day) << 48 | u64::from(self.shares) << 32 | u64::from(self.fen)
    }

    /// Nothing yet.
    fn none(day: u16) -> Self {
        Self { day, shares: 0, fen: 0 }
    }

    /// Whether it is of a day that nobody on `day` asks about any more.
    #[inline]
    fn is_over(self, day: u16) -> bool {
        self.day + 1 < day
    }

    /// With one share more, if the limits allow it. What is not limited is not
    /// counted, so nothing overflows.
    #[inline]
    fn with(self, fen: u32, limits: &ReceiveLimits) -> Option<Self> {
        let Self { day, mut shares, fen: mut sum } = self;
        if limits.receives_per_day_max > 0 {
            shares = shares.checked_add(1).filter(|&n| n <= limits.receives_per_day_max)?;
        }
        if limits.received_fen_per_day_max > 0 {
            sum = sum.checked_add(fen).filter(|&sum| sum <= limits.received_fen_per_day_max)?;
        }
        Some(Self { day, shares, fen: sum })
    }

    /// With a share more that was given under other limits, perhaps above these.
    fn with_known(self, fen: u32) -> Self {
        let shares = self.shares.saturating_add(1).min(RECEIVES_PER_DAY_MAX);
        Self { shares, fen: self.fen.saturating_add(fen), ..self }
    }

    /// Without a share that [`Received::with`] has counted.
    fn without(self, fen: u32, limits: &ReceiveLimits) -> Self {
        let Self { day, mut shares, fen: mut sum } = self;
        if limits.receives_per_day_max > 0 {
            shares = shares.saturating_sub(1);
        }
        if limits.received_fen_per_day_max > 0 {
            sum = sum.saturating_sub(fen);
        }
        Self { day, shares, fen: sum }
    }
}

/// What a search has led to.
enum Sought<'a> {
    /// The user was there.
    Found(&'a Bucket),
    /// The user is there now, with what was to be put there.
    Taken,
}

/// What became of a share that was to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// It is within the limits and counted.
    Counted,
    /// It is above a limit, which holds whatever happens.
    LimitReached,
    /// It is above a limit for claims that another shard has not committed yet:
    /// not to be told before they are.
    Unsettled,
    /// Nothing can be counted for this user now.
    NoRoom,
}

/// The table.
pub struct Receivers {
    limits: ReceiveLimits,
    buckets: Buckets,
    /// Mixed into the hash, so that nobody outside can choose users that collide.
    key: u64,
    /// The latest day that anybody has counted for.
    latest: AtomicU16,
    /// By shard: the first round whose counted claims are not committed, or
    /// [`SETTLED`].
    unsettled_from: Vec<AtomicU64>,
}

/// Later than any round: everything counted is committed.
const SETTLED: u64 = u64::MAX;

impl Receivers {
    /// The bytes that [`Receivers::new`] reserves.
    pub fn bytes(receivers_max: u32) -> usize {
        Self::bucket_count(receivers_max).saturating_mul(BUCKET_BYTES)
    }

    fn bucket_count(receivers_max: u32) -> usize {
        usize::try_from(receivers_max).unwrap_or(usize::MAX).saturating_mul(BUCKETS_PER_USER)
    }

    /// A table for so many users a day, with nothing in it. `key` is a number
    /// that nobody outside knows.
    pub fn new(limits: ReceiveLimits, receivers_max: u32, shards: u16, key: u64) -> Self {
        let count = Self::bucket_count(receivers_max.max(1));
        Self {
            limits,
            buckets: Buckets::zeroed(count),
            key,
            latest: AtomicU16::new(0),
            unsettled_from: (0..shards).map(|_| AtomicU64::new(SETTLED)).collect(),
        }
    }

    /// Counts a claim that is in the journal; false where the table is too
    /// small for its users.
    pub fn recover(&self, user: UserId, fen: u32, at: UnixSeconds) -> bool {
        let day = self.limits.day_of(at);
        let first = Received::none(day).with_known(fen);
        match self.seek(user, first, Stamp::default()) {
            None => false,
            Some(Sought::Taken) => true,
            Some(Sought::Found(bucket)) => {
                // Fails only for a day that is long over at shards that are ahead.
                let _ = bucket.change(day, |received| received.with_known(fen));
                true
            }
        }
    }

    /// Whether two moments are on one day.
    pub fn is_same_day(&self, one: UnixSeconds, other: UnixSeconds) -> bool {
        self.limits.day_of(one) == self.limits.day_of(other)
    }

    /// Counts a share that is about to be given in `round` by `shard`, if the
    /// limits allow it. `shard` has said [`Receivers::hold_from`] before.
    #[inline]
    pub(super) fn count(
        &self,
        shard: usize,
        user: UserId,
        fen: u32,
        at: UnixSeconds,
        round: Stamp,
    ) -> Counting {
        let day = self.limits.day_of(at);
        let Some(first) = Received::none(day).with(fen, &self.limits) else {
            return Counting::LimitReached; // whatever was received before
        };
        let counting = match self.seek(user, first, round) {
            None => return Counting::NoRoom,
            Some(Sought::Taken) => Counting::Counted,
            Some(Sought::Found(bucket)) => self.count_in(bucket, shard, fen, day, round),
        };
        if counting == Counting::Counted && !self.is_current(day) {
            self.uncount(user, fen, at);
            return Counting::NoRoom;
        }
        counting
    }

    fn count_in(
        &self,
        bucket: &Bucket,
        shard: usize,
        fen: u32,
        day: u16,
        round: Stamp,
    ) -> Counting {
        let mut word = bucket.received.load(Ordering::Acquire);
        loop {
            let received = Received::load(word);
            if received.day != day {
                return Counting::NoRoom; // ours is long over at shards that are ahead
            }
            let Some(more) = received.with(fen, &self.limits) else {
                return self.refusal(shard, bucket);
            };
            // Before the count: who sees that sees this.
            bucket.grown_at.fetch_max(round.0, Ordering::Relaxed);
            match bucket.swap(word, more) {
                Ok(()) => return Counting::Counted,
                Err(other) => word = other,
            }
        }
    }

    /// Takes back a share that was counted and could not be given.
    pub(super) fn uncount(&self, user: UserId, fen: u32, at: UnixSeconds) {
        let day = self.limits.day_of(at);
        if let Some(Sought::Found(bucket)) = self.seek(user, Received::none(day), Stamp::default())
        {
            // Fails only for a day that is long over at shards that are ahead.
            let _ = bucket.change(day, |received| received.without(fen, &self.limits));
        }
    }

    /// A limit that was reached by claims of other shards is told only when
    /// they are committed: else a crash could show that it was never reached
    /// (DESIGN §5). Of our own claims the commit comes before the reply anyway.
    #[cold]
    fn refusal(&self, shard: usize, bucket: &Bucket) -> Counting {
        let grown_at = bucket.grown_at.load(Ordering::Relaxed);
        let mut others =
            self.unsettled_from.iter().enumerate().filter(|&(other, _)| other != shard);
        let settled = others.all(|(_, from)| from.load(Ordering::Acquire) > grown_at);
        if settled { Counting::LimitReached } else { Counting::Unsettled }
    }

    /// Says that a shard counts claims from `round` on that are not committed;
    /// where it has said an earlier round that stands.
    pub(super) fn hold_from(&self, shard: usize, round: Stamp) {
        if let Some(from) = self.unsettled_from.get(shard) {
            from.fetch_min(round.0, Ordering::AcqRel);
        }
    }

    /// Says that everything a shard has counted is committed, but for what it
    /// has counted since `round`.
    pub(super) fn settle(&self, shard: usize, round: Option<Stamp>) {
        if let Some(from) = self.unsettled_from.get(shard) {
            from.store(round.map_or(SETTLED, |round| round.0), Ordering::Release);
        }
    }

    /// Loads the bucket where the search for a user begins; the result is only
    /// to be kept alive.
    #[inline]
    pub(super) fn touch(&self, user: UserId) -> u64 {
        self.all().get(self.first(user)).map_or(0, |first| first.user.load(Ordering::Relaxed))
    }

    /// Finds the bucket of a user on the day of `first`, or takes one, which then
    /// holds `first`; nothing where the table is full.
    ///
    /// The bucket is the first on the user's way that holds the two, and the
    /// search ends at the first that is over. What is not over for a day never
    /// becomes so for that day again, so a bucket that was taken behind others is
    /// never cut off from its way; and two shards that look for the same user on
    /// the same day agree on which bucket is the first to take, so there are
    /// never two.
    #[inline]
    fn seek(&self, user: UserId, first: Received, round: Stamp) -> Option<Sought<'_>> {
        let all = self.all();
        let mut at = self.first(user);
        for _ in 0..PROBES_MAX.min(all.len()) {
            let bucket = all.get(at)?;
            let mut word = bucket.settled();
            while Received::load(word).is_over(first.day) {
                // Said before the bucket is taken, and so known to whoever sees that.
                if self.latest.load(Ordering::Relaxed) < first.day {
                    self.latest.fetch_max(first.day, Ordering::AcqRel);
                }
                match bucket.take(word, user, first, round) {
                    Ok(()) => return Some(Sought::Taken),
                    Err(_) => word = bucket.settled(), // perhaps for the same user
                }
            }
            if Received::load(word).day == first.day && bucket.is_of(user) {
                return Some(Sought::Found(bucket));
            }
            at = if at + 1 == all.len() { 0 } else { at + 1 };
        }
        None
    }

    #[inline]
    fn all(&self) -> &[Bucket] {
        self.buckets.all()
    }

    #[inline]
    fn first(&self, user: UserId) -> usize {
        let hash = u128::from(mix(user.0 ^ self.key));
        let count = u128::try_from(self.all().len()).unwrap_or(0);
        usize::try_from((hash * count) >> 64).unwrap_or(0)
    }

    /// Whether buckets of `day` are safe from being taken for a later one. Asked
    /// after counting: whoever has taken one of them has said the later day
    /// before, so what was counted in a wrong one is found out here.
    #[inline]
    fn is_current(&self, day: u16) -> bool {
        self.latest.load(Ordering::Acquire) <= day + 1
    }
}

impl Bucket {
    /// What it holds, once nobody is just taking it.
    #[inline]
    fn settled(&self) -> u64 {
        let mut spins = 0_u32;
        loop {
            let word = self.received.load(Ordering::Acquire);
            if Received::load(word).shares != BEING_TAKEN {
                return word;
            }
            // Two stores away, unless that thread was just put to sleep.
            spins += 1;
            if spins < 100 { spin_loop() } else { yield_now() }
        }
    }

    #[inline]
    fn is_of(&self, user: UserId) -> bool {
        self.user.load(Ordering::Acquire) == user.0
    }

    /// Puts something else in the place of `word`, or says what is there now.
    #[inline]
    fn swap(&self, word: u64, by: Received) -> Result<(), u64> {
        let swapped =
            self.received.compare_exchange(word, by.word(), Ordering::AcqRel, Ordering::Acquire);
        swapped.map(|_| ())
    }

    /// Takes a bucket that holds `word`, which is over.
    #[inline]
    fn take(&self, word: u64, user: UserId, first: Received, round: Stamp) -> Result<(), u64> {
        self.swap(word, Received { shares: BEING_TAKEN, ..first })?;
        self.user.store(user.0, Ordering::Release);
        self.grown_at.store(round.0, Ordering::Relaxed);
        self.received.store(first.word(), Ordering::Release);
        Ok(())
    }

    /// Changes what is counted for `day`, if that is what it holds.
    fn change(&self, day: u16, by: impl Fn(Received) -> Received) -> Result<u64, u64> {
        self.received.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let received = Received::load(word);
            (received.day == day).then(|| by(received).word())
        })
    }
}

#[cfg(test)]
#[path = "receivers/tests.rs"] // said, because `tests/models` has this file elsewhere
mod tests;
