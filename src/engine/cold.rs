//! The cold side of an envelope: what only sending, showing and closing need.
//!
//! ```text
//! 0 sender
//! 1 order number
//! 2 payment
//! 3 total
//! 4 created_at u32 | previous link u32
//! 5 closed_at u32 | reserved u32
//! ```
//!
//! The links of the timing wheel are `wheel`'s, the next one lies in the
//! header; here they are only kept.

use super::words::{high, low, pair};
use crate::units::{Fen, UnixSeconds, UserId};

/// 64-bit words of a cold side.
pub(super) const COLD_WORDS: usize = 6;

/// Which of them holds the previous link, in its high half.
pub(super) const PREVIOUS_WORD: usize = 4;

/// Which of them holds `closed_at`, in its low half.
pub(super) const CLOSED_WORD: usize = 5;

/// A cold side, decoded, without its link.
#[derive(Clone, Copy)]
pub(super) struct Cold {
    /// Who paid.
    pub(super) sender: UserId,
    /// The sender's number for the order.
    pub(super) order: u64,
    /// The payment's reference.
    pub(super) payment: u64,
    /// The money that was put in, in fen.
    pub(super) total: Fen,
    /// When.
    pub(super) created_at: UnixSeconds,
    /// When it was cancelled or expired; 0 before that. Of an exhausted one it
    /// is the time of the last claim that counts: a claim does not come here.
    pub(super) closed_at: UnixSeconds,
}

impl Cold {
    /// The cold side in these words.
    pub(super) fn load(words: &[u64; COLD_WORDS]) -> Self {
        Self {
            sender: UserId(words[0]),
            order: words[1],
            payment: words[2],
            total: words[3],
            created_at: low(words[PREVIOUS_WORD]),
            closed_at: low(words[CLOSED_WORD]),
        }
    }

    /// The words of this cold side, with a link.
    pub(super) fn words(&self, previous: u32) -> [u64; COLD_WORDS] {
        let Self { sender, order, payment, total, created_at, closed_at } = *self;
        [sender.0, order, payment, total, pair(created_at, previous), pair(closed_at, 0)]
    }

    /// The place of the previous link's half, changed to another link.
    pub(super) fn relinked(word: u64, previous: u32) -> u64 {
        pair(low(word), previous)
    }

    /// The previous link in its word.
    pub(super) fn previous(word: u64) -> u32 {
        high(word)
    }
}
