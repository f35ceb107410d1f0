//! The table of receivers against a plain map, threads that race, and days.

use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::AtomicU32;

use super::*;

const DAY_S: u32 = 86_400;

/// Noon of a day, in UTC.
const NOON: UnixSeconds = 20_000 * DAY_S + DAY_S / 2;

const LIMITS: ReceiveLimits =
    ReceiveLimits { receives_per_day_max: 3, received_fen_per_day_max: 100, utc_offset_min: 0 };

fn shares_only(receives_per_day_max: u16) -> ReceiveLimits {
    ReceiveLimits { receives_per_day_max, received_fen_per_day_max: 0, ..LIMITS }
}

fn table(limits: ReceiveLimits, users: u32) -> Receivers {
    Receivers::new(limits, users, 2, 7)
}

impl Receivers {
    fn try_one(&self, user: u64, fen: u32, at: UnixSeconds) -> Counting {
        self.count(0, UserId(user), fen, at, Stamp(1))
    }
}

use Counting::{Counted, LimitReached, NoRoom, Unsettled};

#[test]
fn shares_are_counted_up_to_the_limit_and_not_beyond() {
    for max in [1, 2, 3, RECEIVES_PER_DAY_MAX] {
        let receivers = table(shares_only(max), 10);
        let all = (0..max).all(|_| receivers.try_one(5, u32::MAX, NOON) == Counted);
        assert!(all, "{max}");
        assert_eq!(receivers.try_one(5, 1, NOON), LimitReached);
        assert_eq!(receivers.try_one(6, 1, NOON), Counted, "others have their own");
    }
}

#[test]
fn money_is_counted_to_the_fen() {
    let limits = ReceiveLimits { receives_per_day_max: 0, ..LIMITS };
    let receivers = table(limits, 10);
    let tried = [(60, Counted), (41, LimitReached), (39, Counted), (2, LimitReached)];
    for (fen, counting) in tried.into_iter().chain([(1, Counted), (1, LimitReached)]) {
        assert_eq!(receivers.try_one(5, fen, NOON), counting, "{fen}");
    }
    let widest = ReceiveLimits { received_fen_per_day_max: u32::MAX, ..limits };
    let receivers = table(widest, 10);
    assert_eq!(receivers.try_one(5, u32::MAX - 1, NOON), Counted);
    assert_eq!(receivers.try_one(5, 2, NOON), LimitReached);
    assert_eq!(receivers.try_one(5, 1, NOON), Counted);
    assert_eq!(receivers.try_one(5, 1, NOON), LimitReached);
}

#[test]
fn a_share_that_was_not_given_leaves_its_room() {
    let receivers = table(LIMITS, 10);
    for _ in 0..20 {
        assert_eq!(receivers.try_one(5, 100, NOON), Counted);
        assert_eq!(receivers.try_one(5, 1, NOON), LimitReached);
        receivers.uncount(UserId(5), 100, NOON);
    }
}

#[test]
fn the_next_day_begins_anew_and_who_is_late_counts_for_the_day_before() {
    let limits = ReceiveLimits { utc_offset_min: 480, ..shares_only(2) };
    let receivers = table(limits, 10);
    let midnight = 20_000 * DAY_S + 16 * 3600; // in Beijing
    assert_eq!(receivers.try_one(5, 1, midnight - 1), Counted);
    assert_eq!(receivers.try_one(5, 1, midnight), Counted);
    assert_eq!(receivers.try_one(5, 1, midnight), Counted);
    assert_eq!(receivers.try_one(5, 1, midnight + DAY_S - 1), LimitReached);
    assert_eq!(receivers.try_one(5, 1, midnight - 1), Counted);
    assert_eq!(receivers.try_one(5, 1, midnight - 1), LimitReached);
    assert_eq!(receivers.try_one(5, 1, midnight + DAY_S), Counted);
}

#[test]
fn what_was_received_before_a_start_counts_even_above_the_limits() {
    let receivers = table(LIMITS, 10);
    assert!(receivers.recover(UserId(5), 99, NOON));
    assert_eq!(receivers.try_one(5, 2, NOON), LimitReached);
    assert_eq!(receivers.try_one(5, 1, NOON), Counted);
    for _ in 0..70_000 {
        assert!(receivers.recover(UserId(6), u32::MAX, NOON));
    }
    assert_eq!(receivers.try_one(6, 1, NOON), LimitReached);
    assert_eq!(receivers.try_one(6, 1, NOON + DAY_S), Counted);
}

#[test]
fn a_full_table_counts_nobody_new_until_days_are_over() {
    let receivers = table(LIMITS, 1);
    let users = || 0..u64::try_from(BUCKETS_PER_USER).unwrap();
    assert!(users().all(|user| receivers.try_one(user, 1, NOON) == Counted));
    assert_eq!(receivers.try_one(100, 1, NOON), NoRoom);
    assert!(!receivers.recover(UserId(100), 1, NOON));
    assert_eq!(receivers.try_one(0, 1, NOON), Counted, "who is known is counted");
    assert_eq!(receivers.try_one(100, 1, NOON + DAY_S), NoRoom, "yesterday is kept");
    assert!(users().all(|user| receivers.try_one(user + 50, 1, NOON + 2 * DAY_S) == Counted));
}

#[test]
fn a_shard_whose_clock_is_days_behind_counts_nothing_wrong() {
    let receivers = table(shares_only(1), 1);
    assert_eq!(receivers.try_one(5, 1, NOON), Counted);
    assert_eq!(receivers.try_one(5, 1, NOON + 2 * DAY_S), Counted);
    assert_eq!(receivers.try_one(5, 1, NOON), NoRoom, "its bucket may be gone");
    assert_eq!(receivers.try_one(5, 1, NOON + DAY_S), Counted);
}

#[test]
fn a_limit_is_told_when_the_claims_of_others_are_committed() {
    let receivers = table(shares_only(1), 10);
    let try_by = |shard, at| receivers.count(shard, UserId(5), 1, NOON, Stamp(at));
    receivers.hold_from(0, Stamp(50));
    assert_eq!(try_by(0, 60), Counted);
    assert_eq!(try_by(0, 61), LimitReached, "our own commit comes before our reply");
    assert_eq!(try_by(1, 61), Unsettled);
    receivers.settle(0, Some(Stamp(60)));
    assert_eq!(try_by(1, 62), Unsettled, "the round of the claim is not committed yet");
    receivers.settle(0, Some(Stamp(70)));
    assert_eq!(try_by(1, 71), LimitReached);
    receivers.settle(0, None);
    assert_eq!(try_by(1, 72), LimitReached);
}

/// Days go forward by at most one between two tries, as clocks do, and each
/// day is asked about until the day after it is over.
#[test]
fn many_users_over_many_days_count_like_a_map() {
    let limits = ReceiveLimits { receives_per_day_max: 5, ..LIMITS };
    let receivers = table(limits, 64);
    let mut twin: HashMap<(u64, u32), (u16, u32)> = HashMap::new();
    let seed = 20_261_125;
    println!("seed {seed}");
    for step in 0..if cfg!(miri) { 300 } else { 60_000_u64 } {
        let dice = mix(step ^ seed);
        let (user, fen) = (dice % 64, u32::try_from(dice >> 8 & 63).unwrap());
        let day = u32::try_from(step / 600).unwrap() + u32::from(dice >> 20 & 1 == 1);
        let (shares, sum) = twin.entry((user, day)).or_default();
        let fits = *shares < 5 && *sum + fen <= 100;
        let at = NOON + day * DAY_S;
        let counting = receivers.try_one(user, fen, at);
        assert_eq!(counting, if fits { Counted } else { LimitReached }, "step {step}");
        if fits && (dice >> 24).is_multiple_of(8) {
            receivers.uncount(UserId(user), fen, at);
        } else if fits {
            (*shares, *sum) = (*shares + 1, *sum + fen);
        }
    }
}

/// Four threads, two of them a day ahead of the others, on the same few
/// users, in a table whose buckets are taken anew every day: each user has
/// exactly the limit on every day.
#[test]
fn threads_that_race_for_the_last_share_never_both_get_it() {
    const USERS: u64 = 40;
    let days: u32 = if cfg!(miri) { 3 } else { 60 };
    let receivers = table(shares_only(7), 40);
    let given: Vec<AtomicU32> =
        (0..u64::from(days + 1) * USERS).map(|_| AtomicU32::new(0)).collect();
    let barrier = Barrier::new(4);
    let race = |thread: u32| {
        for day in (0..days).map(|day| day + thread % 2) {
            barrier.wait();
            for n in 0..USERS * 20 {
                let user = mix(n + u64::from(thread) * 1000) % USERS;
                let place = usize::try_from(u64::from(day) * USERS + user).unwrap();
                match receivers.try_one(user, 1, NOON + day * DAY_S) {
                    Counted => given[place].fetch_add(1, Ordering::Relaxed),
                    LimitReached => 0,
                    other => panic!("{other:?} on day {day} for {user}"),
                };
            }
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let race = &race;
            scope.spawn(move || race(thread));
        }
    });
    assert!(given.iter().all(|given| given.load(Ordering::Relaxed) == 7));
}

#[test]
fn memory_follows_the_number_of_users() {
    assert_eq!(BUCKET_BYTES, 32);
    assert_eq!(Receivers::bytes(1_000_000), 128_000_000);
    let receivers = table(LIMITS, 1000);
    assert_eq!(size_of_val(receivers.all()), Receivers::bytes(1000));
}
