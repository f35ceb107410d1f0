//! What an envelope's header remembers of its money, in six bits.
//!
//! ```text
//! bit 2..=3  source
//! bit 4..=5  why it was voided + 1; 0 where it was not
//! bit 6      the payment came after that, and went back
//! bit 7      the payment's reference was named by the confirmation only
//! ```
//!
//! They share a byte with the split's two low bits. A claim carries them
//! along and looks at none of them.

use crate::units::{MoneySource, Split, VoidCause};

/// The bits of the split.
const SPLIT_BITS: u8 = 0b11;

const SOURCE_SHIFT: u32 = 2;
const CAUSE_SHIFT: u32 = 4;
const TWO_BITS: u8 = 0b11;
const RETURNED: u8 = 1 << 6;
const NAMED_LATER: u8 = 1 << 7;

/// The marks; see the module's head.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    /// Of an envelope that was just ordered.
    pub(super) fn of(source: MoneySource) -> Self {
        Self(source.code() << SOURCE_SHIFT)
    }

    /// Split and marks out of their byte.
    #[inline]
    pub(super) fn load(byte: u8) -> Option<(Split, Self)> {
        Some((Split::from_code(byte & SPLIT_BITS)?, Self(byte & !SPLIT_BITS)))
    }

    /// The byte of both.
    #[inline]
    pub(super) fn byte(self, split: Split) -> u8 {
        self.0 | split.code()
    }

    /// Where the money comes from. Only an image can hold a code that names
    /// none, and such a one is refused.
    pub(super) fn source(self) -> MoneySource {
        self.sound_source().unwrap_or(MoneySource::Vouched)
    }

    /// The source, if its code names one.
    pub(super) fn sound_source(self) -> Option<MoneySource> {
        MoneySource::from_code(self.0 >> SOURCE_SHIFT & TWO_BITS)
    }

    /// Why it was voided, if it was.
    pub(super) fn cause(self) -> Option<VoidCause> {
        VoidCause::from_code((self.0 >> CAUSE_SHIFT & TWO_BITS).checked_sub(1)?)
    }

    /// The same, voided.
    pub(super) fn voided(self, cause: VoidCause) -> Self {
        Self(self.0 & !(TWO_BITS << CAUSE_SHIFT) | (cause.code() + 1) << CAUSE_SHIFT)
    }

    /// Whether a late payment went back.
    pub(super) fn is_returned(self) -> bool {
        self.0 & RETURNED != 0
    }

    /// The same, with the payment gone back.
    pub(super) fn returned(self) -> Self {
        Self(self.0 | RETURNED)
    }

    /// Whether the order did not name the payment that was confirmed.
    pub(super) fn is_named_later(self) -> bool {
        self.0 & NAMED_LATER != 0
    }

    /// The same, with a payment that the order did not name, if it did not.
    pub(super) fn named_later(self, is_later: bool) -> Self {
        if is_later { Self(self.0 | NAMED_LATER) } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_do_not_meet_each_other_or_the_split() {
        for source in [MoneySource::Vouched, MoneySource::Balance, MoneySource::Payment] {
            for cause in [VoidCause::Lapsed, VoidCause::Withdrawn, VoidCause::Refused] {
                let fresh = Marks::of(source);
                assert_eq!((fresh.cause(), fresh.is_returned()), (None, false));
                let marks = fresh.voided(cause).returned().named_later(true);
                for split in [Split::Equal, Split::DoubleMean, Split::LineCutting, Split::Prizes] {
                    let (same_split, same) = Marks::load(marks.byte(split)).unwrap();
                    assert!(same_split == split && same == marks);
                }
                assert_eq!((marks.source(), marks.cause()), (source, Some(cause)));
                assert!(marks.is_returned() && marks.is_named_later());
                assert!(!fresh.named_later(false).is_named_later());
            }
        }
        let twice = Marks::of(MoneySource::Payment).voided(VoidCause::Refused);
        let twice = twice.voided(VoidCause::Lapsed);
        assert!(twice == Marks::of(MoneySource::Payment).voided(VoidCause::Lapsed));
        assert!(Marks(0xc).sound_source().is_none());
    }
}
