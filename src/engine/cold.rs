//! The cold side of an envelope: what only sending, showing and closing need.
//!
//! ```text
//! 0 sender
//! 1 order number
//! 2 payment
//! 3 total 54 bits | waited 10 bits
//! 4 created_at u32 | previous link u32
//! 5 ended_at u32 | nonce u32
//! ```
//!
//! The links of the timing wheel are `wheel`'s, the next one lies in the
//! header; here they are only kept.

use super::words::{high, low, pair};
use crate::limits::{PAY_WITHIN_S_MAX, TOTAL_FEN_MAX};
use crate::units::{Fen, UnixSeconds, UserId};

/// 64-bit words of a cold side.
pub(super) const COLD_WORDS: usize = 6;

/// Which of them holds the previous link, in its high half.
pub(super) const PREVIOUS_WORD: usize = 4;

/// Which of them holds `ended_at`, in its low half.
const ENDED_WORD: usize = 5;

/// Which of them holds `total` and `waited`.
const TOTAL_WORD: usize = 3;

/// Bits of the total; the rest of its word is for the quarters.
const TOTAL_BITS: u32 = 54;
const _: () = assert!(TOTAL_FEN_MAX >> TOTAL_BITS == 0);
const _: () = assert!(PAY_WITHIN_S_MAX / QUARTER_S + 1 < 1 << (u64::BITS - TOTAL_BITS));

/// A day begins at a quarter of an hour of universal time wherever one lives,
/// so an order's day is kept exactly by the quarters that it waited.
pub(super) const QUARTER_S: u32 = 900;

/// A cold side, decoded, without its link.
#[derive(Clone, Copy)]
pub(super) struct Cold {
    /// Who ordered it.
    pub(super) sender: UserId,
    /// The sender's number for the order.
    pub(super) order: u64,
    /// The payment's reference; 0 while none is known.
    pub(super) payment: u64,
    /// The money that was, or was to be, put in, in fen.
    pub(super) total: Fen,
    /// How many quarters of an hour began between the order and its payment;
    /// 0 before that.
    pub(super) waited: u32,
    /// When it was ordered; once it is paid, when it opened.
    pub(super) created_at: UnixSeconds,
    /// When it was cancelled, expired or voided; 0 while it is open. Of an
    /// exhausted one it is the time of the last claim that counts: a claim does
    /// not come here. While it is reserved this is no moment: it is how long it
    /// may be claimed once it is paid, in seconds.
    pub(super) ended_at: u32,
    /// The sender's part of the commitment.
    pub(super) nonce: u32,
}

impl Cold {
    /// The cold side in these words.
    pub(super) fn load(words: &[u64; COLD_WORDS]) -> Self {
        Self {
            sender: UserId(words[0]),
            order: words[1],
            payment: words[2],
            total: words[TOTAL_WORD] & ((1 << TOTAL_BITS) - 1),
            waited: low(words[TOTAL_WORD] >> TOTAL_BITS),
            created_at: low(words[PREVIOUS_WORD]),
            ended_at: low(words[ENDED_WORD]),
            nonce: high(words[ENDED_WORD]),
        }
    }

    /// The words of this cold side, with a link.
    pub(super) fn words(&self, previous: u32) -> [u64; COLD_WORDS] {
        let Self { sender, order, payment, total, created_at, ended_at, nonce, .. } = *self;
        let total = u64::from(self.waited) << TOTAL_BITS | total;
        [sender.0, order, payment, total, pair(created_at, previous), pair(ended_at, nonce)]
    }

    /// A moment in the quarter of an hour in which it was ordered.
    pub(super) fn ordered_about(&self) -> UnixSeconds {
        self.created_at.saturating_sub(self.waited * QUARTER_S)
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

/// The quarters of an hour that began from one moment to a later one.
pub(super) fn quarters(from: UnixSeconds, to: UnixSeconds) -> u32 {
    (to / QUARTER_S).saturating_sub(from / QUARTER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_give_back_the_cold_side() {
        for total in [1, TOTAL_FEN_MAX] {
            let waited = PAY_WITHIN_S_MAX / QUARTER_S + 1;
            let (w4, w5) = (pair(1_700_000_000, 9), pair(5, u32::MAX));
            let words = [7, 8, 9, u64::from(waited) << TOTAL_BITS | total, w4, w5];
            let cold = Cold::load(&words);
            assert_eq!((cold.total, cold.waited, cold.nonce), (total, waited, u32::MAX));
            assert_eq!(cold.words(9), words);
        }
    }

    #[test]
    fn the_quarter_of_the_order_is_known_after_the_payment() {
        for ordered in [1_700_000_000, 1_700_000_099, 1_700_000_100, 1_700_000_101] {
            for later in [0, 1, 899, 900, 901, PAY_WITHIN_S_MAX] {
                let (created_at, waited) = (ordered + later, quarters(ordered, ordered + later));
                let (sender, ended_at) = (UserId(1), 0);
                let (order, payment, total, nonce) = (1, 1, 1, 1);
                let cold =
                    Cold { sender, order, payment, total, waited, created_at, ended_at, nonce };
                assert_eq!(cold.ordered_about() / QUARTER_S, ordered / QUARTER_S);
            }
        }
    }
}
