//! What lies behind the claims of an envelope with terms, in its own block: the
//! terms, and who guessed its password wrong.
//!
//! ```text
//! 0 bytes of terms u16 | lines of guesses u16 | wrong guesses u32
//! 1 the terms, filled up to whole words
//! … the lines of guesses, eight words each
//! ```
//!
//! Like the claims it belongs to the page, so images, recovery and recycling
//! have it without knowing of it. How long it is follows from the terms and the
//! shares and never changes.

use zerocopy::IntoBytes;

use super::class::{Class, row_words};
use super::eligibility::guesses::{LINE_WORDS, Line, lines_for, mark_of};
use super::slots::{Slot, Slots};
use super::words::{high, index_of_word, low, narrow, pair};
use super::{Guessed, Misfit};
use crate::limits::TERMS_BYTES_MAX;
use crate::units::UserId;
use crate::wire::{Password, Terms};

/// Words before the terms.
const HEAD_WORDS: usize = 1;

/// How long a tail is, and of what.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tail {
    terms_bytes: u16,
    lines: u16,
}

impl Tail {
    /// Of an envelope without terms.
    pub(super) const NONE: Self = Self { terms_bytes: 0, lines: 0 };

    /// The tail of such terms, if they may be kept as they are: they can be
    /// read, and a password is nothing but its hash.
    pub(super) fn of(terms: &[u8], shares: u32) -> Option<Self> {
        if terms.is_empty() {
            return Some(Self::NONE);
        }
        let terms_bytes = u16::try_from(terms.len()).ok()?;
        let lines = match Terms::read(terms)?.password {
            None => 0,
            Some(Password::Kept { .. }) => lines_for(shares),
            Some(Password::Said(_) | Password::Wanted) => return None,
        };
        Some(Self { terms_bytes, lines })
    }

    fn load(head: u64) -> Self {
        let [t0, t1, l0, l1, ..] = head.to_le_bytes();
        Self { terms_bytes: u16::from_le_bytes([t0, t1]), lines: u16::from_le_bytes([l0, l1]) }
    }

    fn head(self, guesses: u32) -> u64 {
        pair(u32::from(self.lines) << 16 | u32::from(self.terms_bytes), guesses)
    }

    fn terms_words(self) -> usize {
        usize::from(self.terms_bytes).div_ceil(8)
    }

    /// Its length in rows, of two words each; 0 is no tail.
    pub(super) fn rows(self) -> u32 {
        let lines = usize::from(self.lines) * LINE_WORDS;
        let words = if self == Self::NONE { 0 } else { HEAD_WORDS + self.terms_words() + lines };
        narrow(words.div_ceil(2))
    }
}

/// The words of a tail as an image has them, if they are those of one for so
/// many shares.
pub(super) fn read_words(words: &[u64], shares: u32) -> Option<Tail> {
    let (&head, rest) = words.split_first()?;
    let tail = Tail::load(head);
    let fits = usize::from(tail.terms_bytes) <= TERMS_BYTES_MAX && tail != Tail::NONE;
    let bytes = rest.as_bytes().get(..usize::from(tail.terms_bytes))?;
    let whole = words.len() >= row_words(tail.rows());
    (fits && whole && Tail::of(bytes, shares) == Some(tail)).then_some(tail)
}

impl Slots {
    fn tail_head(&self, slot: &Slot) -> Option<u64> {
        let head = self.arena.chunk::<1>(slot.tail_at()).filter(|_| slot.header.has_terms);
        head.map(|&[head]| head)
    }

    /// The tail of an envelope.
    pub(super) fn tail(&self, slot: &Slot) -> Tail {
        self.tail_head(slot).map_or(Tail::NONE, Tail::load)
    }

    /// Whether what lies behind the claims of a small envelope is its tail and
    /// fits its block. Nothing is believed before.
    pub(super) fn has_sound_tail(&self, slot: &Slot) -> bool {
        if !slot.header.has_terms {
            return true;
        }
        let block_end = slot.at + (1 << slot.class.block_shift());
        let words = slot.tail_at()..block_end;
        if words.is_empty() {
            return false;
        }
        let words = self.arena.words(words.start, words.len());
        let tail = read_words(words, slot.header.shares);
        tail.is_some_and(|tail| Class::of(slot.header.shares, tail.rows()) == slot.class)
    }

    /// The words of the tail; none where there is none.
    pub(super) fn tail_words(&self, slot: &Slot) -> &[u64] {
        self.arena.words(slot.tail_at(), row_words(self.tail(slot).rows()))
    }

    /// The bytes of the terms; none where there are none.
    pub(super) fn terms_bytes(&self, slot: &Slot) -> &[u8] {
        let tail = self.tail(slot);
        let words = self.arena.words(slot.tail_at() + HEAD_WORDS, tail.terms_words());
        words.as_bytes().get(..usize::from(tail.terms_bytes)).unwrap_or_default()
    }

    /// The terms of an envelope. They were read when they were put there, so
    /// they can be.
    pub(super) fn terms(&self, slot: &Slot) -> Terms<'_> {
        Terms::read(self.terms_bytes(slot)).unwrap_or_default()
    }

    /// Puts the terms of a new envelope behind its claims; nobody has guessed.
    pub(super) fn put_terms(&mut self, slot: &Slot, tail: Tail, terms: &[u8]) {
        if tail == Tail::NONE {
            return;
        }
        let at = slot.tail_at();
        self.arena.zero(at, row_words(tail.rows()));
        self.arena.put(at, tail.head(0));
        let place = self.arena.bytes_mut(at + HEAD_WORDS, tail.terms_words());
        if let Some(place) = place.get_mut(..terms.len()) {
            place.copy_from_slice(terms);
        }
    }

    /// Puts back a tail that was read by [`read_words`].
    pub(super) fn put_tail_words(&mut self, slot: &Slot, words: &[u64]) {
        let place = self.arena.bytes_mut(slot.tail_at(), words.len());
        place.copy_from_slice(words.as_bytes());
    }

    /// The wrong guesses so far: of everybody, and of a user.
    pub(super) fn guesses(&self, slot: &Slot, user: UserId) -> (u32, u8) {
        let Some(head) = self.tail_head(slot) else { return (0, 0) };
        let count = self.line(slot, user).map_or(0, |(_, line, mark)| line.count(mark));
        (high(head), count)
    }

    /// The line that counts a user, its place, and the user's mark in it.
    fn line(&self, slot: &Slot, user: UserId) -> Option<(usize, Line, u64)> {
        let tail = self.tail(slot);
        let (hash, mark) = mark_of(user, slot.header.seed);
        let line = hash.checked_rem(u64::from(tail.lines))?;
        let first = slot.tail_at() + HEAD_WORDS + tail.terms_words();
        let at = first + LINE_WORDS * index_of_word(line);
        Some((at, Line(*self.arena.chunk(at)?), mark))
    }

    /// Forgets who has guessed; how often all have, stays. Only to be found.
    pub(super) fn forget_guessers(&mut self, slot: &Slot) {
        let tail = self.tail(slot);
        let first = slot.tail_at() + HEAD_WORDS + tail.terms_words();
        self.arena.zero(first, usize::from(tail.lines) * LINE_WORDS);
    }

    /// Counts a wrong guess.
    pub(super) fn guess(&mut self, record: &Guessed) -> Result<(), Misfit> {
        let &Guessed { envelope, user, guesses, .. } = record;
        let slot = self.get(envelope).filter(|slot| slot.header.is_open());
        let slot = slot.ok_or(Misfit::NotOpen(envelope))?;
        let contradiction = Misfit::Contradiction(envelope);
        let head = self.tail_head(&slot).ok_or(contradiction)?;
        let (at, mut line, mark) = self.line(&slot, user).ok_or(contradiction)?;
        if high(head) != guesses {
            return Err(contradiction);
        }
        line.add(mark);
        self.arena.put_chunk(at, &line.0);
        self.arena.put(slot.tail_at(), pair(low(head), guesses.saturating_add(1)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::index;
    use super::*;

    #[test]
    fn the_length_of_a_tail_follows_from_terms_and_shares() {
        assert_eq!(Tail::NONE.rows(), 0);
        let greeted = Terms { greeting: b"123456", ..Terms::default() }.to_bytes();
        assert_eq!(greeted.len(), 9);
        assert_eq!(Tail::of(&greeted, 5).unwrap().rows(), 2, "a head and two words");
        let password = Some(Password::Kept { key_id: 1, mac: [2; 32] });
        let secret = Terms { password, ..Terms::default() }.to_bytes();
        assert_eq!(secret.len(), 39);
        assert_eq!(Tail::of(&secret, 5).unwrap().rows(), index_rows(1 + 5 + 8 * 8));
        assert_eq!(Tail::of(&secret, 1 << 20).unwrap().rows(), index_rows(1 + 5 + 8 * 512));
        let said = Terms { password: Some(Password::Said(b"x")), ..Terms::default() };
        assert!(Tail::of(&said.to_bytes(), 5).is_none(), "no password lies in a table");
        assert!(Tail::of(&[99], 5).is_none());
    }

    fn index_rows(words: u32) -> u32 {
        words.div_ceil(2)
    }

    #[test]
    fn words_of_another_tail_are_none() {
        let terms = Terms { greeting: b"12345", ..Terms::default() }.to_bytes();
        let tail = Tail::of(&terms, 5).unwrap();
        let mut words = vec![tail.head(0), 0, 0, 0];
        words[1..2].as_mut_bytes().copy_from_slice(&terms);
        assert!(read_words(&words, 5) == Some(tail) && index(tail.rows()) == 1);
        assert!(read_words(&[], 5).is_none() && read_words(&words[..1], 5).is_none());
        for (at, bits) in [(0, 1), (0, 1 << 16), (1, 1), (1, 1 << 8)] {
            words[at] ^= bits;
            assert!(read_words(&words, 5).is_none(), "word {at} bit {bits}");
            words[at] ^= bits;
        }
        assert!(read_words(&[Tail::NONE.head(0), 0, 0, 0], 5).is_none(), "no terms, no tail");
        let password = Some(Password::Kept { key_id: 1, mac: [2; 32] });
        let secret = Terms { password, ..Terms::default() }.to_bytes();
        let tail = Tail::of(&secret, 5).unwrap();
        let mut words = vec![0; row_words(tail.rows())];
        words[0] = tail.head(7);
        words[1..6].as_mut_bytes()[..secret.len()].copy_from_slice(&secret);
        assert!(read_words(&words, 5) == Some(tail));
        assert!(read_words(&words[..words.len() - 1], 5).is_none(), "a guesser is missing");
    }
}
