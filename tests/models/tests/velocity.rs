//! How often users have won of late, counted by two shards at once: in every
//! order of events no win is lost or counted twice, whoever shares a line.

use loom::sync::Arc;
use loom::thread;
use models::shard::Wins;

/// The beginning of a slice of time, and how long one is.
const NOW: u32 = 1_700_000_000;
const SLICE_S: u32 = 20;

/// A table of one line, in which everybody is beside everybody.
fn table() -> Arc<Wins> {
    Arc::new(Wins::new(3 * SLICE_S))
}

/// Tries every order, but for those that need more than three changes between
/// threads at places where none had to wait.
fn model(events: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(events);
}

fn shard<T: 'static>(
    wins: &Arc<Wins>,
    events: impl FnOnce(&Wins) -> T + 'static,
) -> thread::JoinHandle<T> {
    let wins = Arc::clone(wins);
    thread::spawn(move || events(&wins))
}

#[test]
fn two_shards_that_count_for_a_user_at_once_lose_no_win() {
    model(|| {
        let wins = table();
        let other = shard(&wins, |wins| wins.count(5, NOW));
        let ours = wins.count(5, NOW);
        let mut both = [ours, other.join().unwrap()];
        both.sort_unstable();
        assert_eq!(both, [1, 2], "one was first");
        assert_eq!(wins.look(5, NOW), 2);
    });
}

#[test]
fn users_that_come_to_a_line_at_once_have_a_place_each() {
    model(|| {
        let wins = table();
        let other = shard(&wins, |wins| wins.count(6, NOW));
        assert_eq!(wins.count(5, NOW), 1);
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!([5, 6].map(|user| wins.look(user, NOW)), [1, 1]);
    });
}

#[test]
fn a_win_that_is_taken_back_takes_no_other_with_it() {
    model(|| {
        let wins = table();
        assert_eq!(wins.count(5, NOW), 1);
        let other = shard(&wins, |wins| wins.count(5, NOW));
        wins.uncount(5, NOW);
        let theirs = other.join().unwrap();
        assert!(theirs == 1 || theirs == 2, "{theirs}");
        assert_eq!(wins.look(5, NOW), 1);
    });
}

#[test]
fn a_shard_whose_time_is_a_slice_behind_counts_as_much() {
    model(|| {
        let wins = table();
        let behind = shard(&wins, |wins| wins.count(5, NOW));
        let ahead = wins.count(5, NOW + SLICE_S);
        let mut both = [ahead, behind.join().unwrap()];
        both.sort_unstable();
        assert_eq!(both, [1, 2], "one was first");
        assert_eq!(wins.look(5, NOW + 3 * SLICE_S), 2, "the window has both");
        assert_eq!(wins.look(5, NOW + 4 * SLICE_S), 1, "and then only the later");
    });
}

#[test]
fn a_newcomer_to_a_full_line_takes_the_place_of_the_least() {
    model(|| {
        let wins = table();
        for user in 1..=7 {
            assert_eq!(wins.count(user, NOW), 1); // all places
        }
        let newcomer = shard(&wins, |wins| wins.count(8, NOW));
        let first = wins.count(1, NOW);
        assert_eq!(newcomer.join().unwrap(), 1);
        let of = |user| wins.look(user, NOW);
        match first {
            2 => assert_eq!([of(1), of(2), of(8)], [2, 0, 1], "the second was the least"),
            1 => assert_eq!([of(1), of(2), of(8)], [1, 1, 0], "it was forgotten, and came again"),
            other => panic!("{other}"),
        }
        assert!((3..=7).all(|user| of(user) == 1));
    });
}
