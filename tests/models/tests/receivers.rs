//! What users receive a day, counted by two shards at once: in every order of
//! events a limit is met exactly, a user has one bucket a day, and a limit is not
//! told before the claims that reached it are committed.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use models::shard::Counting::{Counted, LimitReached, Unsettled};
use models::shard::{Counting, ReceiveLimits, Receivers, count, hold_from, settle, uncount};

const DAY_S: u32 = 86_400;
const NOON: u32 = 20_000 * DAY_S + DAY_S / 2;

/// A table of four buckets, in which everybody is near everybody.
fn table(receives_per_day_max: u16) -> Arc<Receivers> {
    let limits =
        ReceiveLimits { receives_per_day_max, received_fen_per_day_max: 0, utc_offset_min: 0 };
    Arc::new(Receivers::new(limits, 1, 2, 7))
}

/// Tries every order, but for those that need more than three changes between
/// threads at places where none had to wait.
fn model(events: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(events);
}

fn shard<T: 'static>(
    receivers: &Arc<Receivers>,
    events: impl FnOnce(&Receivers) -> T + 'static,
) -> thread::JoinHandle<T> {
    let receivers = Arc::clone(receivers);
    thread::spawn(move || events(&receivers))
}

fn counted(countings: &[Counting]) -> usize {
    countings.iter().filter(|counting| **counting == Counted).count()
}

#[test]
fn two_shards_never_both_give_the_last_share() {
    model(|| {
        let receivers = table(1);
        let other = shard(&receivers, |receivers| count(receivers, 1, 5, NOON, 1));
        let ours = count(&receivers, 0, 5, NOON, 1);
        let both = [ours, other.join().unwrap()];
        assert_eq!(counted(&both), 1, "{both:?}");
        assert!(both.contains(&LimitReached), "nobody has claims that are not committed");
    });
}

#[test]
fn every_share_within_the_limit_is_counted_once() {
    model(|| {
        let receivers = table(2);
        let other = shard(&receivers, |receivers| count(receivers, 1, 5, NOON, 1));
        let ours = count(&receivers, 0, 5, NOON, 1);
        assert_eq!([ours, other.join().unwrap()], [Counted; 2]);
        assert_eq!(count(&receivers, 0, 5, NOON, 1), LimitReached);
    });
}

#[test]
fn users_that_meet_at_one_bucket_have_one_each() {
    model(|| {
        let receivers = table(1);
        let other =
            shard(&receivers, |receivers| [6, 5].map(|user| count(receivers, 1, user, NOON, 1)));
        let ours = [5, 6].map(|user| count(&receivers, 0, user, NOON, 1));
        let theirs = other.join().unwrap();
        for (one, again) in ours.iter().zip(theirs.iter().rev()) {
            assert_eq!(counted(&[*one, *again]), 1, "{ours:?} {theirs:?}");
        }
    });
}

#[test]
fn a_shard_that_is_days_behind_counts_nothing_into_a_later_day() {
    model(|| {
        let receivers = table(1);
        assert_eq!(count(&receivers, 0, 5, NOON, 1), Counted);
        let late = shard(&receivers, |receivers| count(receivers, 1, 5, NOON, 1));
        let ahead = count(&receivers, 0, 5, NOON + 2 * DAY_S, 1);
        assert_ne!(late.join().unwrap(), Counted, "the limit of that day was reached");
        assert_eq!(ahead, Counted);
        assert_eq!(count(&receivers, 0, 5, NOON + 2 * DAY_S, 1), LimitReached);
    });
}

#[test]
fn a_bucket_that_is_taken_anew_is_never_two_users() {
    model(|| {
        let receivers = table(1);
        for user in 1..=4 {
            assert_eq!(count(&receivers, 0, user, NOON, 1), Counted); // all buckets
        }
        let later = NOON + 2 * DAY_S;
        let other = shard(&receivers, move |receivers| count(receivers, 1, 5, later, 1));
        let ours = count(&receivers, 0, 6, later, 1);
        assert_eq!([ours, other.join().unwrap()], [Counted; 2]);
        for user in [5, 6] {
            assert_eq!(count(&receivers, 0, user, later, 1), LimitReached);
        }
        for user in 1..=4 {
            assert_ne!(count(&receivers, 0, user, NOON, 1), Counted, "their day is over");
        }
    });
}

#[test]
fn a_limit_is_not_told_before_what_reached_it_is_committed() {
    model(|| {
        let receivers = table(1);
        let committed = Arc::new(AtomicBool::new(false));
        let other = {
            let committed = Arc::clone(&committed);
            shard(&receivers, move |receivers| {
                hold_from(receivers, 1, 1);
                let counting = count(receivers, 1, 5, NOON, 1);
                committed.store(true, Ordering::Relaxed); // the sync
                settle(receivers, 1);
                counting
            })
        };
        hold_from(&receivers, 0, 1);
        let ours = count(&receivers, 0, 5, NOON, 1);
        if ours == LimitReached {
            assert!(committed.load(Ordering::Relaxed), "told before the commit");
        }
        let theirs = other.join().unwrap();
        assert_eq!(counted(&[ours, theirs]), 1);
        assert!(ours == Counted || ours == LimitReached || ours == Unsettled);
    });
}

#[test]
fn a_share_that_is_taken_back_leaves_room_for_one() {
    model(|| {
        let receivers = table(1);
        assert_eq!(count(&receivers, 0, 5, NOON, 1), Counted);
        let other = shard(&receivers, |receivers| count(receivers, 1, 5, NOON, 1));
        uncount(&receivers, 5, NOON);
        let ours = count(&receivers, 0, 5, NOON, 1);
        assert_eq!(counted(&[ours, other.join().unwrap()]), 1);
    });
}
