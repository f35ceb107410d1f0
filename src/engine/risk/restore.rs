//! Holds, standings and what happened of late in images, and out of them and the
//! records after it.
//!
//! Holds are copied while they change, and what an image has of them may be of
//! any moment since it was begun. So every record since then is done again over
//! it, leniently: each says all that is to be known, the last one counts, and
//! that one was not before the copy, or the copy has it. Only at the end each
//! hold must have its share.

use super::super::image::ImageCursor;
use super::super::slice::{BadImage, Head, Kind, word_at};
use super::super::words::{buckets_for, high, index, low, pair};
use super::super::{Engine, Misfit, Record, Restoring};
use super::lately::{Gathered, RECENT_WORDS, Recent};
use super::standings::{of_words, says_nothing, words_of};
use super::{Risk, RiskSettings};
use crate::planted::{Bug, is_planted};
use crate::units::{EnvelopeId, UserId};
use crate::wire::{Hold, HoldState, Resolution, RiskRule};

/// Words of a hold: envelope, user, `amount | at`, `until | rule, state`.
const HOLD_WORDS: usize = 4;

/// Holds in one slice.
const HOLDS_PER_SLICE: usize = 1024;

/// Of what happened of late, so many in one slice.
const RECENT_PER_SLICE: usize = 1024;

/// Buckets of standings that one slice passes.
const BUCKETS_PER_SLICE: usize = 4096;

/// How far the walk over what risk keeps has come.
#[derive(Debug, Default)]
pub(in super::super) struct RiskCursor {
    holds_done: bool,
    after: Option<(EnvelopeId, UserId)>,
    bucket: usize,
    /// Of what happened of late, all before this number were copied or are over.
    recent: u64,
}

impl Risk {
    /// How many slices an image has of all this at most.
    pub(in super::super) fn slices_max(settings: &RiskSettings) -> u64 {
        let (holds, users) = (index(settings.holds_max), settings.users_max);
        let holds = if holds > 0 { holds / HOLDS_PER_SLICE + 2 } else { 0 };
        let buckets = if users > 0 { buckets_for(users).div_ceil(BUCKETS_PER_SLICE) } else { 0 };
        // What comes while it is copied is in it once more than there is room for.
        let recent = 2 * index(settings.recent_max).div_ceil(RECENT_PER_SLICE);
        u64::try_from(holds + buckets + recent).unwrap_or(u64::MAX)
    }
}

impl Engine {
    /// How many slices more the image of an engine with this has at most.
    pub fn risk_slices_max(settings: &RiskSettings) -> u64 {
        Risk::slices_max(settings)
    }

    /// The next slice of holds, of what happened of late or of standings, if there is
    /// one.
    pub(in super::super) fn copy_risk(
        &self,
        cursor: &mut ImageCursor,
        position: u64,
        out: &mut Vec<u8>,
    ) -> bool {
        if !cursor.risk.holds_done && self.risk.holds.were_any() {
            self.copy_holds(&mut cursor.risk, position, out);
            return true;
        }
        if self.copy_recent(&mut cursor.risk, position, out) {
            return true;
        }
        let Some(standings) = &self.risk.standings else { return false };
        let from = cursor.risk.bucket;
        let upto = standings.buckets().min(from.saturating_add(BUCKETS_PER_SLICE));
        if from >= upto {
            return false;
        }
        cursor.risk.bucket = upto;
        let users = (from..upto).filter_map(|bucket| standings.at(bucket));
        let users = users.filter(|(_, standing)| !says_nothing(*standing));
        self.put_head(Kind::Standings, 0, 2 * users.clone().count(), position, out);
        for (user, standing) in users {
            put_words(&words_of(user, standing), out);
        }
        true
    }

    /// What comes meanwhile may be copied too; it is in the records as well, and what
    /// is there twice is taken once.
    fn copy_recent(&self, cursor: &mut RiskCursor, position: u64, out: &mut Vec<u8>) -> bool {
        let (first, rest) = self.risk.lately.from(cursor.recent);
        let count = rest.len().min(RECENT_PER_SLICE);
        if count == 0 {
            return false;
        }
        cursor.recent = first + u64::try_from(count).unwrap_or(u64::MAX);
        self.put_head(Kind::Recent, 0, count * RECENT_WORDS, position, out);
        rest.take(count).for_each(|recent| put_words(&recent.words(), out));
        true
    }

    /// In order and from the last one on, so that none that stays is missed
    /// whatever comes and goes meanwhile.
    fn copy_holds(&self, cursor: &mut RiskCursor, position: u64, out: &mut Vec<u8>) {
        let rest: &[Hold] = match cursor.after {
            _ if is_planted(Bug::HoldsForgotten) => &[],
            Some(after) => self.risk.holds.after(after),
            None => self.risk.holds.all(),
        };
        let (slice, _) = rest.split_at(rest.len().min(HOLDS_PER_SLICE));
        self.put_head(Kind::Holds, 0, slice.len() * HOLD_WORDS, position, out);
        for hold in slice {
            put_words(&words_of_hold(hold), out);
        }
        cursor.after = slice.last().map(|hold| (hold.envelope, hold.user)).or(cursor.after);
        cursor.holds_done = slice.len() == rest.len();
    }
}

fn put_words(words: &[u64], out: &mut Vec<u8>) {
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

fn words_of_hold(hold: &Hold) -> [u64; HOLD_WORDS] {
    let why = u32::from_le_bytes([hold.rule.code(), hold.state.code(), 0, 0]);
    [hold.envelope.0, hold.user.0, pair(hold.amount, hold.at), pair(hold.until, why)]
}

fn hold_of_words(words: [u64; HOLD_WORDS]) -> Option<Hold> {
    let [envelope, user, share, end] = words;
    let [rule, state, 0, 0] = high(end).to_le_bytes() else { return None };
    Some(Hold {
        envelope: EnvelopeId(envelope),
        user: UserId(user),
        amount: low(share),
        at: high(share),
        until: low(end),
        rule: RiskRule::from_code(rule)?,
        state: HoldState::from_code(state)?,
    })
}

impl Restoring {
    /// The same, for an engine that keeps what risk needs. To be said before
    /// anything is loaded.
    #[must_use]
    pub fn with_risk(mut self, settings: RiskSettings) -> Self {
        self.engine = self.engine.with_risk(settings);
        self
    }

    /// Takes over holds of an image, of our partitions.
    pub(in super::super) fn load_holds(
        &mut self,
        head: &Head,
        body: &[u8],
    ) -> Result<u64, BadImage> {
        if !head.body_words.is_multiple_of(HOLD_WORDS) {
            return Err(BadImage::Torn);
        }
        self.holds_seen = true;
        for row in body.chunks(8 * HOLD_WORDS) {
            let words = [0, 1, 2, 3].map(|n| word_at(row, n).unwrap_or_default());
            let hold = hold_of_words(words).ok_or(BadImage::Torn)?;
            if self.is_ours(hold.envelope.partition()) {
                self.engine.risk.holds.put(hold);
            }
        }
        Ok(0)
    }

    /// Takes over standings of an image. Every shard has all of them, so every
    /// new shard takes those of every old one.
    pub(in super::super) fn load_standings(
        &mut self,
        head: &Head,
        body: &[u8],
    ) -> Result<u64, BadImage> {
        if !head.body_words.is_multiple_of(2) {
            return Err(BadImage::Torn);
        }
        for row in body.chunks(16) {
            let word = |n| word_at(row, n).unwrap_or_default();
            let (user, standing) = of_words(word(0), word(1)).ok_or(BadImage::Torn)?;
            let standings = &mut self.engine.risk.standings;
            if standings.as_mut().is_some_and(|all| !all.learn(user, standing)) {
                return Err(BadImage::Full);
            }
        }
        Ok(0)
    }

    /// Takes over what happened of late in our partitions, as an image has it.
    pub(in super::super) fn load_recent(
        &mut self,
        head: &Head,
        body: &[u8],
    ) -> Result<u64, BadImage> {
        if !head.body_words.is_multiple_of(RECENT_WORDS) {
            return Err(BadImage::Torn);
        }
        for row in body.chunks(8 * RECENT_WORDS) {
            let words = [0, 1, 2, 3, 4].map(|n| word_at(row, n).unwrap_or_default());
            let recent = Recent::of_words(words).ok_or(BadImage::Torn)?;
            if self.is_ours(recent.envelope.partition()) {
                self.gathered.take(recent, self.engine.risk.settings.recent_max);
            }
        }
        Ok(0)
    }

    /// What a record says of what happened of late.
    pub(in super::super) fn gather_one(&mut self, record: &Record) {
        if let Some(recent) = Recent::of(record) {
            self.gathered.take(recent, self.engine.risk.settings.recent_max);
        }
    }

    /// What a record does to holds.
    pub(in super::super) fn hold_one(&mut self, record: &Record) {
        let holds = &mut self.engine.risk.holds;
        match record {
            Record::Held(held) => {
                self.holds_seen = true;
                holds.put(held.hold());
            }
            Record::Resolved(resolved) if resolved.resolution == Resolution::Release => {
                holds.remove(resolved.envelope, resolved.user);
            }
            Record::Resolved(resolved) => {
                // One that is not known was forgotten before it was copied, and
                // the record that forgets it comes.
                if let Some(&hold) = holds.get(resolved.envelope, resolved.user) {
                    holds.put(Hold { state: HoldState::Rejected, ..hold });
                }
            }
            Record::Recycled(recycled) => holds.forget(recycled.envelope),
            _ => {}
        }
    }

    /// What a record says of a user.
    pub(in super::super) fn mark_one(&mut self, record: &Record) -> Result<(), Misfit> {
        let (Record::Marked(marked), Some(all)) = (record, &mut self.engine.risk.standings) else {
            return Ok(());
        };
        if all.learn(marked.user, marked.standing) { Ok(()) } else { Err(Misfit::Full) }
    }

    /// Whether there may be holds, or were.
    pub fn has_holds(&self) -> bool {
        self.holds_seen
    }

    /// The holds on an envelope that was loaded.
    pub fn kept_holds(&self, envelope: EnvelopeId) -> impl Iterator<Item = &Hold> {
        self.engine.risk.holds.of(envelope).iter()
    }
}

impl Engine {
    /// Remembers what was gathered of late.
    pub(in super::super) fn recall(&mut self, gathered: Gathered) {
        gathered.give(&mut self.risk.lately, self.risk.settings.recent_max);
    }

    /// Counts holds where their shares were counted as claimed.
    pub(in super::super) fn check_holds(&mut self) -> Result<(), Misfit> {
        for hold in self.risk.holds.iter() {
            let misfit = Misfit::Contradiction(hold.envelope);
            let slot = self.slots.get(hold.envelope).ok_or(misfit)?;
            let rank = self.slots.rank_of(&slot, hold.user).ok_or(misfit)?;
            if self.slots.row(&slot, rank).amount != hold.amount {
                return Err(misfit);
            }
            self.totals.withhold(hold.amount.into(), hold.state == HoldState::Rejected);
        }
        let with_rejected = |hold: &&Hold| hold.state == HoldState::Rejected;
        let rejected = self.risk.holds.iter().filter(with_rejected);
        let mut envelopes: Vec<_> = rejected.map(|hold| hold.envelope).collect();
        envelopes.dedup();
        for envelope in envelopes {
            self.renew_luckiest(envelope);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_slices_of_holds_of_users_and_twice_of_what_happened_of_late() {
        let slices = |holds_max, users_max, recent_max| {
            let settings = RiskSettings { users_max, holds_max, recent_max, ..RiskSettings::OFF };
            assert_eq!(Engine::risk_slices_max(&settings), Risk::slices_max(&settings));
            Risk::slices_max(&settings)
        };
        assert_eq!(slices(0, 0, 0), 0);
        assert_eq!([slices(1, 0, 0), slices(1023, 0, 0), slices(2048, 0, 0)], [2, 2, 4]);
        assert_eq!([slices(0, 1, 0), slices(0, 2000, 0), slices(0, 3000, 0)], [1, 1, 2]);
        assert_eq!([slices(0, 0, 1), slices(0, 0, 1024), slices(0, 0, 1025)], [2, 2, 4]);
        assert_eq!(slices(2048, 3000, 1025), 10);
    }

    #[test]
    fn words_of_an_image_come_back() {
        for state in [HoldState::Held, HoldState::Rejected] {
            let hold = Hold {
                envelope: EnvelopeId(u64::MAX),
                user: UserId(3),
                amount: u32::MAX,
                at: 5,
                until: 6,
                rule: RiskRule::WinsHeld,
                state,
            };
            assert_eq!(hold_of_words(words_of_hold(&hold)), Some(hold));
        }
        assert_eq!(hold_of_words([1, 2, 3, 0]), None);
    }
}
