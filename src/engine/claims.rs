//! Who holds which share of an envelope.
//!
//! The users come first, densely, then a word of amount and time for each, by
//! rank. Small envelopes are searched by a scan that vectorises; large ones
//! have a hash index after the metas. Claims are only ever added.

use super::hash::mix;
use super::slots::{Slot, Slots};
use super::words::{buckets_for, first_bucket, high, index, low, narrow, pair};
use crate::units::UserId;
use crate::wire::Row;

impl Slot {
    /// The place of the first meta word.
    #[inline]
    fn metas_at(&self) -> usize {
        self.users_at + index(self.header.shares)
    }

    /// The place of the hash index of a large envelope.
    #[inline]
    fn index_at(&self) -> usize {
        self.metas_at() + index(self.header.shares)
    }

    /// The bucket where the search for a user begins. The seed is mixed in, so
    /// nobody outside can choose users that collide.
    #[inline]
    fn first_bucket(&self, user: UserId) -> usize {
        first_bucket(mix(user.0 ^ self.header.seed.0[0]), buckets_for(self.header.shares))
    }

    #[inline]
    fn after(&self, bucket: usize) -> usize {
        (bucket + 1) & (buckets_for(self.header.shares) - 1)
    }
}

impl Slots {
    /// The rank of a user's claim.
    #[inline]
    pub(super) fn rank_of(&self, slot: &Slot, user: UserId) -> Option<u32> {
        if slot.large {
            return self.rank_in_index(slot, user);
        }
        let users = self.arena.slice(slot.users_at, index(slot.header.claimed));
        position(users, user.0).map(narrow)
    }

    fn rank_in_index(&self, slot: &Slot, user: UserId) -> Option<u32> {
        let mut bucket = slot.first_bucket(user);
        loop {
            let rank = self.bucket(slot, bucket).checked_sub(1)?;
            if self.arena.word(slot.users_at + index(rank)) == user.0 {
                return Some(rank);
            }
            bucket = slot.after(bucket);
        }
    }

    /// Two buckets a word; each holds a rank + 1, or 0 where it is empty.
    #[inline]
    fn bucket(&self, slot: &Slot, bucket: usize) -> u32 {
        let word = self.arena.word(slot.index_at() + bucket / 2);
        if bucket.is_multiple_of(2) { low(word) } else { high(word) }
    }

    fn put_bucket(&mut self, slot: &Slot, bucket: usize, content: u32) {
        let at = slot.index_at() + bucket / 2;
        let word = self.arena.word(at);
        let is_low = bucket.is_multiple_of(2);
        let word = if is_low { pair(content, high(word)) } else { pair(low(word), content) };
        self.arena.put(at, word);
    }

    /// The claim of a rank that is claimed.
    #[inline]
    pub(super) fn row(&self, slot: &Slot, rank: u32) -> Row {
        let meta = self.arena.word(slot.metas_at() + index(rank));
        let user = UserId(self.arena.word(slot.users_at + index(rank)));
        Row { user, amount: low(meta), at: high(meta) }
    }

    /// The claims from a rank on.
    pub(super) fn rows(&self, slot: Slot, from: u32) -> impl Iterator<Item = Row> {
        (from..slot.header.claimed).map(move |rank| self.row(&slot, rank))
    }

    /// Adds the next claim, of a user that has none, while shares are left.
    /// The header is the caller's to count up.
    #[inline]
    pub(super) fn seat(&mut self, slot: &Slot, row: Row) {
        let rank = slot.header.claimed;
        self.arena.put(slot.users_at + index(rank), row.user.0);
        self.arena.put(slot.metas_at() + index(rank), pair(row.amount, row.at));
        if slot.large {
            self.seat_in_index(slot, row.user, rank);
        }
    }

    fn seat_in_index(&mut self, slot: &Slot, user: UserId, rank: u32) {
        let mut bucket = slot.first_bucket(user);
        while self.bucket(slot, bucket) != 0 {
            bucket = slot.after(bucket);
        }
        self.put_bucket(slot, bucket, rank + 1);
    }

    /// Loads the words that a claim of this user would read and write.
    #[inline]
    pub(super) fn claim_words(&self, slot: &Slot, user: UserId) -> u64 {
        let rank = index(slot.header.claimed.min(slot.header.shares - 1));
        let bucket = if slot.large { self.bucket(slot, slot.first_bucket(user)) } else { 0 };
        self.arena.word(slot.users_at + rank)
            ^ self.arena.word(slot.metas_at() + rank)
            ^ u64::from(bucket)
    }
}

/// Where `user` is in `users`. Eight at a time are compared without a branch
/// between them, which the compiler turns into vector code.
#[inline]
fn position(users: &[u64], user: u64) -> Option<usize> {
    let (chunks, rest) = users.as_chunks::<8>();
    let matches = |chunk: &[u64; 8]| chunk.iter().map(|&u| u64::from(u == user)).sum::<u64>();
    let chunk = chunks.iter().position(|chunk| matches(chunk) != 0);
    let (begin, part) = match chunk {
        Some(chunk) => (8 * chunk, chunks[chunk].as_slice()),
        None => (8 * chunks.len(), rest),
    };
    part.iter().position(|&u| u == user).map(|at| begin + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_finds_what_a_plain_search_finds() {
        for len in 0..40 {
            let users: Vec<u64> = (100..100 + len).collect();
            for user in 95..150 {
                assert_eq!(position(&users, user), users.iter().position(|&u| u == user));
            }
        }
    }
}
