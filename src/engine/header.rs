//! The six words at the head of every envelope's block.
//!
//! ```text
//! 0 generation u16 | state 7 bits, has terms 1 bit | split 2 bits, marks 6 bits | shares u32
//! 1 claimed u32 | expires_at u32
//! 2 unclaimed u64
//! 3 seed, two words
//! 5 next link u32 | share_max u32
//! ```
//!
//! A slot without an envelope keeps the generation it gave out last, with the
//! state 0, and word 1 is for the links of the list of free slots (`vacancies`).
//! `expires_at` of a reserved one is when it lapses. Only this room knows where
//! what is; it decides nothing.

use super::marks::Marks;
use super::words::{high, low, pair};
use crate::units::{EnvelopeState, Fen, Seed, Split, Time, UnixSeconds};

/// 64-bit words of a header; with blocks aligned to 64 bytes it never crosses
/// a cache line.
pub(super) const HEADER_WORDS: usize = 6;

/// Which of them holds the next link, in its low half.
pub(super) const NEXT_WORD: usize = 5;

/// The bit beside the state of an envelope with terms.
const HAS_TERMS: u8 = 1 << 7;

/// How many of them change after the funding, links aside; the first ones.
const PROGRESS_WORDS: usize = 3;

/// The generation in a header's first word, also of a slot without an envelope.
pub(super) fn generation_in(word: u64) -> u16 {
    let [g0, g1, ..] = word.to_le_bytes();
    u16::from_le_bytes([g0, g1])
}

/// Whether a header's first word is that of a slot without an envelope.
pub(super) fn is_free(word: u64) -> bool {
    word.to_le_bytes()[2] == 0
}

/// A header, decoded.
#[derive(Clone, Copy)]
pub(super) struct Header {
    /// How often the slot was given out; never 0.
    pub(super) generation: u16,
    /// Where the envelope is in its life.
    pub(super) state: EnvelopeState,
    /// Whether terms lie behind its claims.
    pub(super) has_terms: bool,
    /// The rule of its cut.
    pub(super) split: Split,
    /// What became of its money.
    pub(super) marks: Marks,
    /// Into how many shares it is cut.
    pub(super) shares: u32,
    /// How many of them are claimed.
    pub(super) claimed: u32,
    /// When it expires; while it is reserved, when it lapses.
    pub(super) expires_at: UnixSeconds,
    /// The money that nobody claimed, in fen: what is left while the envelope
    /// is open, what was refunded once it is closed. One word for both, so
    /// that closing cannot lose or double it. Before it is paid, and for ever
    /// if it never is, the total, which then is nobody's.
    pub(super) unclaimed: Fen,
    /// The secret of its draws.
    pub(super) seed: Seed,
    /// The sender's cap of one share, in fen; 0 is none.
    pub(super) share_max: u32,
}

impl Header {
    /// The header in these words; `None` where no envelope was ever put.
    #[inline]
    pub(super) fn load(words: &[u64; HEADER_WORDS]) -> Option<Self> {
        let [g0, g1, state, marks, s0, s1, s2, s3] = words[0].to_le_bytes();
        let (split, marks) = Marks::load(marks)?;
        Some(Self {
            generation: u16::from_le_bytes([g0, g1]),
            state: EnvelopeState::from_code(state & !HAS_TERMS)?,
            has_terms: state & HAS_TERMS != 0,
            split,
            marks,
            shares: u32::from_le_bytes([s0, s1, s2, s3]),
            claimed: low(words[1]),
            expires_at: high(words[1]),
            unclaimed: words[2],
            seed: Seed([words[3], words[4]]),
            share_max: high(words[5]),
        })
    }

    /// The words of this header, with a link.
    pub(super) fn words(&self, next: u32) -> [u64; HEADER_WORDS] {
        let [w0, w1, w2] = self.progress();
        [w0, w1, w2, self.seed.0[0], self.seed.0[1], pair(next, self.share_max)]
    }

    /// The first words of this header: all that claims and closing change.
    #[inline]
    pub(super) fn progress(&self) -> [u64; PROGRESS_WORDS] {
        let [g0, g1] = self.generation.to_le_bytes();
        let [s0, s1, s2, s3] = self.shares.to_le_bytes();
        let state = self.state.code() | if self.has_terms { HAS_TERMS } else { 0 };
        let marks = self.marks.byte(self.split);
        let first = u64::from_le_bytes([g0, g1, state, marks, s0, s1, s2, s3]);
        [first, pair(self.claimed, self.expires_at), self.unclaimed]
    }

    /// How many shares nobody has claimed.
    #[inline]
    pub(super) fn shares_left(&self) -> u32 {
        self.shares.saturating_sub(self.claimed)
    }

    /// Whether shares may be claimed.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.state == EnvelopeState::Open
    }

    /// Whether it waits for its money.
    #[inline]
    pub(super) fn is_reserved(&self) -> bool {
        self.state == EnvelopeState::Reserved
    }

    /// Whether time can still do something to it: it is open or reserved.
    #[inline]
    pub(super) fn is_live(&self) -> bool {
        self.is_open() || self.is_reserved()
    }

    /// Whether its time is over and nobody has written that down yet.
    #[inline]
    pub(super) fn is_overdue(&self, now: Time) -> bool {
        self.is_live() && now.seconds() >= self.expires_at
    }

    /// Whether its money was ever there.
    pub(super) fn is_paid(&self) -> bool {
        !matches!(self.state, EnvelopeState::Reserved | EnvelopeState::Voided)
    }

    /// The money that may still be claimed, in fen.
    pub(super) fn left(&self) -> Fen {
        if self.is_open() { self.unclaimed } else { 0 }
    }

    /// The money that went back to the sender, in fen.
    pub(super) fn refunded(&self) -> Fen {
        if self.is_paid() && !self.is_open() { self.unclaimed } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_give_back_the_header() {
        for (first, has_terms) in [(0x0000_01fd_0203_0001, false), (0x0000_01fd_0283_0001, true)] {
            let words = [first, 0x77, 12, 5, 6, pair(9, 10)];
            let header = Header::load(&words).unwrap();
            assert_eq!((header.generation, header.shares), (1, 509));
            assert_eq!((header.state, header.split), (EnvelopeState::Expired, Split::LineCutting));
            assert_eq!((header.has_terms, header.words(9)), (has_terms, words));
            assert_eq!(generation_in(words[0]), 1);
            assert!(!is_free(words[0]) && is_free(0xffff));
        }
    }

    #[test]
    fn untouched_words_are_no_header() {
        assert!(Header::load(&[0; HEADER_WORDS]).is_none());
    }
}
