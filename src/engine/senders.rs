//! What each sender has under way and has sent today, for the limits on it.
//!
//! There is a table only where a limit is set. It is derived from the envelopes
//! that are kept, so a restored engine makes it anew; a daily limit needs them
//! to be kept for a day. An order counts on the day it was made, unless it was
//! voided. Of each sender one day is known, the latest: time only runs forward.

use super::hash::mix;
use super::words::{buckets_for, first_bucket, high, low, pair};
use crate::memory::Words;
use crate::units::{Fen, UnixSeconds, UserId};

const SECONDS_PER_DAY: i64 = 24 * 3600;

/// What a sender may do, beside the limits of each envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderLimits {
    /// The most orders of a day; 0 is any number.
    pub sends_per_day_max: u32,
    /// The most money of a day's orders, in fen; 0 is any sum.
    pub sent_fen_per_day_max: Fen,
    /// The most envelopes that are reserved or open at a time; 0 is any number.
    pub live_per_sender_max: u32,
    /// Where a day begins: minutes east of universal time, whole quarters of
    /// an hour.
    pub utc_offset_min: i32,
}

impl SenderLimits {
    /// No limits; a day is one of universal time.
    pub const NONE: Self = Self {
        sends_per_day_max: 0,
        sent_fen_per_day_max: 0,
        live_per_sender_max: 0,
        utc_offset_min: 0,
    };

    /// Whether a limit of a day is set.
    pub fn are_daily(&self) -> bool {
        self.sends_per_day_max > 0 || self.sent_fen_per_day_max > 0
    }

    /// Whether any limit is set.
    pub fn are_set(&self) -> bool {
        self.are_daily() || self.live_per_sender_max > 0
    }

    /// The number of the day that a moment is in.
    fn day_of(&self, at: UnixSeconds) -> u32 {
        let local = i64::from(at) + 60 * i64::from(self.utc_offset_min);
        // Day 0 is the one before 1970 in the farthest west.
        u32::try_from(local.div_euclid(SECONDS_PER_DAY) + 1).unwrap_or(0)
    }
}

/// What is known of a sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    /// Money of the orders of `day`.
    fen: Fen,
    /// Orders of `day`.
    sends: u32,
    day: u32,
    /// Envelopes that are reserved or open.
    live: u32,
    /// Envelopes that are kept at all; with the last of them the account goes.
    kept: u32,
}

/// Words of a bucket: sender, fen, `sends | day`, `live | kept`. One whose
/// sender keeps nothing is empty.
const BUCKET_WORDS: usize = 4;
const KEPT_WORD: usize = 3;

/// The accounts of all senders, by hash of the sender.
pub(super) struct Senders {
    words: Words,
    buckets: usize,
    limits: SenderLimits,
}

impl Senders {
    /// The bytes that [`Senders::new`] reserves.
    pub(super) fn bytes(capacity: u32, limits: &SenderLimits) -> usize {
        let buckets = if limits.are_set() { buckets_for(capacity) } else { 0 };
        Words::bytes_for(buckets.saturating_mul(BUCKET_WORDS))
    }

    /// No accounts, and room for one for each of `capacity` envelopes; `None`
    /// where there is nothing to count for.
    pub(super) fn new(capacity: u32, limits: SenderLimits) -> Option<Self> {
        let buckets = buckets_for(capacity);
        let words = || Words::zeroed(buckets.saturating_mul(BUCKET_WORDS));
        limits.are_set().then(|| Self { words: words(), buckets, limits })
    }

    /// Whether one more order of so much money keeps all limits.
    pub(super) fn allow(&self, sender: UserId, total: Fen, now: UnixSeconds) -> bool {
        let limits = &self.limits;
        let account = self.account(self.find(sender).0);
        let is_today = account.day == limits.day_of(now);
        let (sends, fen) = if is_today { (account.sends, account.fen) } else { (0, 0) };
        let fits = |used: u64, more: u64, max: u64| max == 0 || used.saturating_add(more) <= max;
        fits(sends.into(), 1, limits.sends_per_day_max.into())
            && fits(fen, total, limits.sent_fen_per_day_max)
            && fits(account.live.into(), 1, limits.live_per_sender_max.into())
    }

    /// Counts an order that was made at a moment.
    pub(super) fn ordered(&mut self, sender: UserId, total: Fen, at: UnixSeconds) {
        self.keep(sender, true);
        self.count_day(sender, total, at);
    }

    /// Counts an envelope of a sender that is kept.
    pub(super) fn keep(&mut self, sender: UserId, is_live: bool) {
        self.change(sender, |account| {
            account.kept += 1;
            account.live += u32::from(is_live);
        });
    }

    /// Counts an order for its day.
    pub(super) fn count_day(&mut self, sender: UserId, total: Fen, at: UnixSeconds) {
        let day = self.limits.day_of(at);
        self.change(sender, |account| {
            if day > account.day {
                (account.day, account.sends, account.fen) = (day, 0, 0);
            }
            if day == account.day {
                account.sends = account.sends.saturating_add(1);
                account.fen = account.fen.saturating_add(total);
            }
        });
    }

    /// An order that was made at a moment counts no more.
    pub(super) fn voided(&mut self, sender: UserId, total: Fen, at: UnixSeconds) {
        let day = self.limits.day_of(at);
        self.change(sender, |account| {
            if day == account.day {
                account.sends = account.sends.saturating_sub(1);
                account.fen = account.fen.saturating_sub(total);
            }
        });
    }

    /// An envelope of a sender is over.
    pub(super) fn ended(&mut self, sender: UserId) {
        self.change(sender, |account| account.live = account.live.saturating_sub(1));
    }

    /// An envelope of a sender is kept no more.
    pub(super) fn forgot(&mut self, sender: UserId) {
        let (bucket, is_there) = self.find(sender);
        let mut account = self.account(bucket);
        account.kept = account.kept.saturating_sub(1);
        if is_there && account.kept == 0 {
            self.remove(bucket);
        } else if is_there {
            self.put(bucket, sender, account);
        }
    }

    fn change(&mut self, sender: UserId, by: impl FnOnce(&mut Account)) {
        let (bucket, _) = self.find(sender);
        let mut account = self.account(bucket);
        by(&mut account);
        self.put(bucket, sender, account);
    }

    /// The bucket of a sender, and whether it is there; else the empty one that
    /// its search ends at.
    fn find(&self, sender: UserId) -> (usize, bool) {
        let mut bucket = self.first(sender);
        while !self.is_empty(bucket) {
            if self.sender(bucket) == sender {
                return (bucket, true);
            }
            bucket = self.after(bucket);
        }
        (bucket, false)
    }

    /// Empties a bucket. What follows is moved up, so that no search ever meets
    /// a gap.
    fn remove(&mut self, mut hole: usize) {
        let mut bucket = self.after(hole);
        while !self.is_empty(bucket) {
            let wanted = self.first(self.sender(bucket));
            if self.distance(wanted, bucket) >= self.distance(hole, bucket) {
                self.put(hole, self.sender(bucket), self.account(bucket));
                hole = bucket;
            }
            bucket = self.after(bucket);
        }
        self.put(hole, UserId(0), Account::default());
    }

    fn first(&self, sender: UserId) -> usize {
        // Not the hash of the partitions: a shard has only some of them.
        first_bucket(mix(!sender.0), self.buckets)
    }

    fn after(&self, bucket: usize) -> usize {
        (bucket + 1) & (self.buckets - 1)
    }

    fn distance(&self, from: usize, bucket: usize) -> usize {
        bucket.wrapping_sub(from) & (self.buckets - 1)
    }

    fn is_empty(&self, bucket: usize) -> bool {
        high(self.words[BUCKET_WORDS * bucket + KEPT_WORD]) == 0
    }

    fn sender(&self, bucket: usize) -> UserId {
        UserId(self.words[BUCKET_WORDS * bucket])
    }

    /// The account in a bucket; nothing in an empty one.
    fn account(&self, bucket: usize) -> Account {
        let word = |n| self.words[BUCKET_WORDS * bucket + n];
        let (day, count) = (word(2), word(KEPT_WORD));
        Account {
            fen: word(1),
            sends: low(day),
            day: high(day),
            live: low(count),
            kept: high(count),
        }
    }

    fn put(&mut self, bucket: usize, sender: UserId, account: Account) {
        let Account { fen, sends, day, live, kept } = account;
        let words = [sender.0, fen, pair(sends, day), pair(live, kept)];
        self.words[BUCKET_WORDS * bucket..][..BUCKET_WORDS].copy_from_slice(&words);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const LIMITS: SenderLimits = SenderLimits {
        sends_per_day_max: 3,
        sent_fen_per_day_max: 100,
        live_per_sender_max: 2,
        utc_offset_min: 480,
    };

    #[test]
    fn a_day_begins_at_midnight_where_the_operator_says() {
        let midnight_utc = 20_000 * 86_400;
        for (offset_min, earlier_s) in [(0, 0), (480, 8 * 3600), (845 - 5, 14 * 3600)] {
            let limits = SenderLimits { utc_offset_min: offset_min, ..LIMITS };
            let midnight = midnight_utc - earlier_s;
            assert_eq!(limits.day_of(midnight), limits.day_of(midnight - 1) + 1);
            assert_eq!(limits.day_of(midnight), limits.day_of(midnight + 86_399));
        }
        let west = SenderLimits { utc_offset_min: -720, ..LIMITS };
        assert_eq!((west.day_of(0), west.day_of(43_200)), (0, 1));
    }

    #[test]
    fn accounts_are_found_while_others_go() {
        let mut senders = Senders::new(200, LIMITS).unwrap();
        let mut twin: HashMap<u64, (u32, u32)> = HashMap::new();
        for step in 0..if cfg!(miri) { 500 } else { 40_000_u64 } {
            let dice = mix(step);
            let sender = UserId(dice % 97);
            let (kept, live) = twin.entry(sender.0).or_default();
            match dice >> 32 & 3 {
                0 | 1 if *kept < 2 => {
                    senders.ordered(sender, 1, 0);
                    (*kept, *live) = (*kept + 1, *live + 1);
                }
                2 if *live > 0 => {
                    senders.ended(sender);
                    *live -= 1;
                }
                3 if *kept > *live => {
                    senders.forgot(sender);
                    *kept -= 1;
                }
                _ => {}
            }
            let account = senders.account(senders.find(sender).0);
            assert_eq!((account.kept, account.live), (*kept, *live), "step {step}");
        }
        let found = |(&sender, &(kept, _)): (&u64, &(u32, u32))| {
            senders.find(UserId(sender)).1 == (kept > 0)
        };
        assert!(twin.iter().all(found));
    }

    #[test]
    fn nothing_is_reserved_where_no_limit_is_set() {
        let none = SenderLimits { utc_offset_min: 480, ..SenderLimits::NONE };
        assert!(Senders::new(100, none).is_none());
        assert_eq!(Senders::bytes(100, &none), 0);
        assert!(Senders::bytes(100, &LIMITS) > 3200);
    }
}
