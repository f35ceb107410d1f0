//! What was said of users: grades and lists, by hash of the user.
//!
//! Every shard has all of it, so that a claim is judged where its envelope is.
//! Nobody is ever taken out while the server runs (whose marks are all gone gives
//! its place back at the next start), so a walk over the places misses nobody.

use super::super::hash::mix;
use super::super::words::{buckets_for, first_bucket, high, low, pair};
use crate::memory::Words;
use crate::units::{UnixSeconds, UserId};
use crate::wire::Standing;

/// Words of a bucket: the user, and `at | grade, lists, taken`.
const BUCKET_WORDS: usize = 2;

/// In the high half of the second word: the bucket is somebody's.
const TAKEN: u32 = 1 << 31;

/// The table.
pub(in super::super) struct Standings {
    words: Words,
    buckets: usize,
    count: u32,
    max: u32,
}

impl Standings {
    pub(super) fn bytes(max: u32) -> usize {
        Words::bytes_for(buckets_for(max).saturating_mul(BUCKET_WORDS))
    }

    pub(super) fn new(max: u32) -> Self {
        let buckets = buckets_for(max);
        let words = Words::zeroed(buckets.saturating_mul(BUCKET_WORDS));
        Self { words, buckets, count: 0, max }
    }

    /// How many buckets a walk passes.
    pub(super) fn buckets(&self) -> usize {
        self.buckets
    }

    /// The bucket of a user, and whether it is there; else the empty one that
    /// its search ends at.
    fn find(&self, user: UserId) -> (usize, bool) {
        let mut bucket = first_bucket(mix(!user.0), self.buckets);
        loop {
            match self.at(bucket) {
                None => return (bucket, false),
                Some((found, _)) if found == user => return (bucket, true),
                Some(_) => bucket = (bucket + 1) & (self.buckets - 1),
            }
        }
    }

    /// Who is in a bucket.
    pub(super) fn at(&self, bucket: usize) -> Option<(UserId, Standing)> {
        let word = self.words[BUCKET_WORDS * bucket + 1];
        let [grade, lists, ..] = high(word).to_le_bytes();
        let standing = Standing::of(grade, lists, low(word))?;
        (high(word) & TAKEN != 0).then(|| (UserId(self.words[BUCKET_WORDS * bucket]), standing))
    }

    /// What is known of a user; the default where nothing is.
    #[inline]
    pub(super) fn of(&self, user: UserId) -> Standing {
        self.at(self.find(user).0).map_or_else(Standing::default, |(_, standing)| standing)
    }

    /// Whether anything can be kept of this user.
    pub(super) fn has_room_for(&self, user: UserId) -> bool {
        self.count < self.max || self.find(user).1
    }

    /// Keeps what is known of a user; false where there is no room for it.
    pub(super) fn put(&mut self, user: UserId, standing: Standing) -> bool {
        let (bucket, is_there) = self.find(user);
        if !is_there && self.count >= self.max {
            return false;
        }
        self.count += u32::from(!is_there);
        let Standing { grade, at, .. } = standing;
        let marks = u32::from_le_bytes([grade, standing.lists(), 0, 0]) | TAKEN;
        let words = [user.0, pair(at, marks)];
        self.words[BUCKET_WORDS * bucket..][..BUCKET_WORDS].copy_from_slice(&words);
        true
    }

    /// Keeps what another image or journal knows of a user, unless something
    /// later is known; false where there is no room for it.
    pub(super) fn learn(&mut self, user: UserId, standing: Standing) -> bool {
        let known_at: UnixSeconds = self.of(user).at;
        standing.at < known_at || self.put(user, standing)
    }
}

/// Whether nothing is said of a user any more.
pub(super) fn says_nothing(standing: Standing) -> bool {
    (standing.grade, standing.lists()) == (0, 0)
}

/// The words of a user in an image.
pub(super) fn words_of(user: UserId, standing: Standing) -> [u64; 2] {
    let marks = u32::from_le_bytes([standing.grade, standing.lists(), 0, 0]);
    [user.0, pair(standing.at, marks)]
}

/// The user of two words in an image.
pub(super) fn of_words(user: u64, word: u64) -> Option<(UserId, Standing)> {
    let [grade, lists, 0, 0] = high(word).to_le_bytes() else { return None };
    Some((UserId(user), Standing::of(grade, lists, low(word))?))
}

const _: () = assert!(BUCKET_WORDS == 2);

#[cfg(test)]
mod tests {
    use super::super::super::index;
    use super::*;

    #[test]
    fn a_search_goes_on_at_the_first_bucket_behind_the_last() {
        for first in 0..500 {
            let mut standings = Standings::new(5);
            let users = (first..first + 5).map(UserId);
            for user in users.clone() {
                assert!(standings.put(user, Standing { grade: 9, at: 5, ..Standing::default() }));
            }
            assert!(users.clone().all(|user| standings.of(user).grade == 9), "from {first}");
        }
    }

    #[test]
    fn users_are_kept_up_to_the_bound_and_changed_beyond_it() {
        let mut standings = Standings::new(100);
        let graded = |grade| Standing { grade, at: 5, ..Standing::default() };
        for user in 0..100 {
            assert!(standings.has_room_for(UserId(user)));
            assert!(standings.put(UserId(user), graded(u8::try_from(user).unwrap())));
        }
        assert!(!standings.has_room_for(UserId(100)) && standings.has_room_for(UserId(0)));
        assert!(!standings.put(UserId(100), graded(1)));
        assert!(standings.put(UserId(7), graded(200)));
        for user in 0..101 {
            let grade = if user == 7 { 200 } else { u8::try_from(user % 100).unwrap() };
            assert_eq!(standings.of(UserId(user)).grade, if user == 100 { 0 } else { grade });
        }
        let seen = (0..standings.buckets()).filter_map(|bucket| standings.at(bucket)).count();
        assert_eq!(seen, 100);
        assert_eq!(index(standings.count), 100);
    }

    #[test]
    fn what_was_said_later_is_not_forgotten_for_what_was_said_before() {
        let mut standings = Standings::new(10);
        let said = |grade, at| Standing { grade, at, ..Standing::default() };
        assert!(standings.learn(UserId(1), said(9, 50)));
        assert!(standings.learn(UserId(1), said(3, 49)));
        assert_eq!(standings.of(UserId(1)), said(9, 50));
        assert!(standings.learn(UserId(1), said(4, 50)));
        assert_eq!(standings.of(UserId(1)), said(4, 50), "of one second the last counts");
    }

    #[test]
    fn words_of_an_image_come_back() {
        let standing = Standing { grade: 250, denied: true, watched: true, at: u32::MAX };
        let [user, word] = words_of(UserId(u64::MAX), standing);
        assert_eq!(of_words(user, word), Some((UserId(u64::MAX), standing)));
        assert_eq!(of_words(1, 1 << 63), None);
    }
}
