//! Who holds which share of an envelope.
//!
//! The users come first, densely, then a word of amount and time for each, by
//! rank. Small envelopes are searched by a scan that vectorises; large ones
//! have a hash index after the metas. Claims are only ever added.

use super::arena::SCAN_WORDS;
use super::class::{Class, index_words, row_words};
use super::hash::mix;
use super::slots::{RUN_WORD, Slot, Slots};
use super::words::{buckets_for, first_bucket, high, index, low, pair};
use crate::units::{EnvelopeId, EnvelopeState, UserId};
use crate::wire::Row;

/// 64-bit words of a cache line, and where the lines of four begin.
const LINE_WORDS: usize = 8;
const LINES: [usize; 4] = [0, LINE_WORDS, 2 * LINE_WORDS, 3 * LINE_WORDS];
const BLOCK_SHIFT_OF_FOUR_LINES: u32 = 5;

#[inline]
fn is_named_whole(class: Class) -> bool {
    class.block_shift() <= BLOCK_SHIFT_OF_FOUR_LINES && !class.is_large()
}

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

    /// The place behind the claims, where the tail of an envelope with terms
    /// begins.
    pub(super) fn tail_at(&self) -> usize {
        let shares = self.header.shares;
        let index_words = if self.class.is_large() { index_words(shares) } else { 0 };
        self.users_at + row_words(shares) + index_words
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

    /// Where a claim of this user would read and write: its seat among the
    /// users and the metas, and where the search for the user looks. A scan
    /// always reads its first group; of a long one the lines just before the
    /// seat are named, and what lies between streams in by itself.
    fn claim_places(&self, user: UserId) -> [usize; 4] {
        let rank = index(self.header.claimed.min(self.header.shares - 1));
        let (seat, meta) = (self.users_at + rank, self.metas_at() + rank);
        if self.class.is_large() {
            let bucket = self.index_at() + self.first_bucket(user) / 2;
            return [seat, meta, bucket, bucket];
        }
        let group_end = self.users_at + (SCAN_WORDS - 1).min(2 * index(self.header.shares) - 1);
        [seat, meta, group_end, group_end.max(seat - rank.min(SCAN_WORDS))]
    }
}

impl Slots {
    /// The header's place, if [`Slots::claim_places`] will read it.
    #[inline]
    pub(super) fn place_before_claim(&self, envelope: EnvelopeId) -> usize {
        let block = Class::block_of(envelope.slot());
        if block.is_none_or(|block| is_named_whole(block.class)) { 0 } else { self.place(envelope) }
    }

    /// Where a claim would read and write. Blocks of up to four lines are named
    /// whole, from the id alone: their headers need not have come yet, so all
    /// misses of a group overlap.
    #[expect(clippy::inline_always, reason = "one of the few calls of every claim; see `locate`")]
    #[inline(always)]
    pub(super) fn claim_places(&self, envelope: EnvelopeId, user: UserId) -> [usize; 4] {
        let Some((at, class)) = self.locate(envelope) else {
            return [0; 4];
        };
        if is_named_whole(class) {
            let last_line = (1 << class.block_shift()) - LINE_WORDS;
            return LINES.map(|line| at + (line & last_line));
        }
        self.get(envelope).map_or([0; 4], |slot| slot.claim_places(user))
    }

    /// The rank of a user's claim.
    #[inline]
    pub(super) fn rank_of(&self, slot: &Slot, user: UserId) -> Option<u32> {
        if slot.class.is_large() {
            return self.rank_in_index(slot, user);
        }
        if slot.header.shares == 1 {
            // Not to touch the line of the next envelope.
            let is_held = slot.header.claimed == 1 && self.arena.word(slot.users_at) == user.0;
            return is_held.then_some(0);
        }
        self.rank_in_scan(slot, user)
    }

    /// Always whole groups of eight and at least one: how many are claimed is
    /// a coin toss that no branch should depend on. What lies beyond the
    /// claimed users may match by accident, but only at ranks that nobody has,
    /// and after any true match.
    #[inline]
    fn rank_in_scan(&self, slot: &Slot, user: UserId) -> Option<u32> {
        let mut rank = 0;
        loop {
            let group = self.arena.chunk(slot.users_at + index(rank))?;
            let matches = matches(group, user.0);
            if matches != 0 {
                rank += matches.trailing_zeros();
                return (rank < slot.header.claimed).then_some(rank);
            }
            rank += GROUP;
            if rank >= slot.header.claimed {
                return None;
            }
        }
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

    /// How many claims of a campaign are this user's, and the latest of them.
    /// All of a user's are met on the way from the first bucket to an empty one:
    /// each was put where that way ended then, and none was ever taken out.
    pub(super) fn wins_of(&self, slot: &Slot, user: UserId) -> Option<(u32, Row)> {
        let (wins, latest) = if slot.class.is_large() {
            self.wins_in_index(slot, user)
        } else {
            let ranks = 0..slot.header.claimed;
            let of_user = ranks.filter(|&rank| self.row(slot, rank).user == user);
            of_user.fold((0, 0), |(wins, _), rank| (wins + 1, rank))
        };
        (wins > 0).then(|| (wins, self.row(slot, latest)))
    }

    fn wins_in_index(&self, slot: &Slot, user: UserId) -> (u32, u32) {
        let (mut wins, mut latest) = (0, 0);
        let mut bucket = slot.first_bucket(user);
        while let Some(rank) = self.bucket(slot, bucket).checked_sub(1) {
            if self.arena.word(slot.users_at + index(rank)) == user.0 {
                wins += 1;
                latest = latest.max(rank);
            }
            bucket = slot.after(bucket);
        }
        (wins, latest)
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
        self.seat_at(slot, slot.header.claimed, row);
    }

    /// Adds the claim of a rank within the shares that has none yet.
    #[inline]
    pub(super) fn seat_at(&mut self, slot: &Slot, rank: u32, row: Row) {
        self.arena.put(slot.users_at + index(rank), row.user.0);
        self.arena.put(slot.metas_at() + index(rank), pair(row.amount, row.at));
        if slot.class.is_large() {
            self.seat_in_index(slot, row.user, rank);
            self.note_luckiest(slot, rank, row.amount);
        }
    }

    /// Keeps the rank of the largest share of a large envelope, the earliest of
    /// the equal, so that a crowd's draw never has to be searched for it.
    fn note_luckiest(&mut self, slot: &Slot, rank: u32, amount: u32) {
        let run = self.arena.word(slot.at + RUN_WORD);
        let is_first = rank == 0 || amount > self.row(slot, high(run)).amount;
        if is_first && rank != high(run) {
            self.arena.put(slot.at + RUN_WORD, pair(low(run), rank));
        }
    }

    /// The largest share of an exhausted envelope, the earliest of the equal.
    /// Only shares that were given count.
    pub(super) fn luckiest_of(&self, slot: &Slot, is_given: impl Fn(&Row) -> bool) -> Option<Row> {
        if slot.header.state != EnvelopeState::Exhausted {
            return None;
        }
        if slot.class.is_large() {
            let row = self.row(slot, high(self.arena.word(slot.at + RUN_WORD)));
            return Some(row).filter(is_given);
        }
        // Of equal keys the last is taken, so the first is sought from behind.
        let ranks = (0..slot.header.claimed).rev();
        ranks.map(|rank| self.row(slot, rank)).filter(is_given).max_by_key(|row| row.amount)
    }

    /// Names another luckiest of a large envelope if the one that is named is out;
    /// where everybody is, that one stays.
    pub(super) fn renew_luckiest(&mut self, slot: &Slot, is_out: impl Fn(UserId) -> bool) {
        let run = self.arena.word(slot.at + RUN_WORD);
        if slot.header.claimed == 0 || !is_out(self.row(slot, high(run)).user) {
            return;
        }
        let mut best: Option<(u32, u32)> = None;
        for rank in 0..slot.header.claimed {
            let row = self.row(slot, rank);
            if best.is_none_or(|(_, amount)| row.amount > amount) && !is_out(row.user) {
                best = Some((rank, row.amount));
            }
        }
        if let Some((rank, _)) = best {
            self.arena.put(slot.at + RUN_WORD, pair(low(run), rank));
        }
    }

    fn seat_in_index(&mut self, slot: &Slot, user: UserId, rank: u32) {
        let mut bucket = slot.first_bucket(user);
        while self.bucket(slot, bucket) != 0 {
            bucket = slot.after(bucket);
        }
        self.put_bucket(slot, bucket, rank + 1);
    }
}

/// [`SCAN_WORDS`] as ranks are counted.
const GROUP: u32 = 8;

/// A bit for each of the words that is `user`. Without a branch, so that the
/// compiler makes vector code of it.
#[inline]
fn matches(users: &[u64; SCAN_WORDS], user: u64) -> u32 {
    (0..).zip(users).fold(0, |bits, (at, &word)| bits | u32::from(word == user) << at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_has_a_bit_for_every_equal_word() {
        let users = [5, 7, 5, 0, u64::MAX, 0, 0, 5];
        assert_eq!(matches(&users, 5), 0b1000_0101);
        assert_eq!(matches(&users, 0), 0b0110_1000);
        assert_eq!(matches(&users, u64::MAX), 0b0001_0000);
        assert_eq!(matches(&users, 6), 0);
        assert_eq!(index(GROUP), SCAN_WORDS);
    }
}
