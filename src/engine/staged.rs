//! The terms of an envelope on their way from their own records into its block.
//!
//! They come in parts, just before the order's record and in the same batch, so
//! that no record is larger than an order. Until that record is applied they
//! change nothing.

use super::{Issued, TermsPart};
use crate::limits::{TERMS_BYTES_MAX, TERMS_PART_BYTES};
use crate::units::EnvelopeId;

/// The parts that have come since the last first one.
pub(super) struct Staged {
    envelope: EnvelopeId,
    parts: u8,
    terms: Vec<u8>,
}

impl Staged {
    /// The bytes that [`Staged::new`] reserves.
    pub(super) const BYTES: usize = TERMS_BYTES_MAX;

    /// Nothing has come.
    pub(super) fn new() -> Self {
        let terms = Vec::with_capacity(TERMS_BYTES_MAX);
        Self { envelope: EnvelopeId::default(), parts: 0, terms }
    }

    /// Takes the next part, or the first of another envelope's; false if it is
    /// neither.
    pub(super) fn take(&mut self, part: &TermsPart) -> bool {
        if part.number == 0 {
            (self.envelope, self.parts) = (part.envelope, 0);
            self.terms.clear();
        }
        let before = usize::from(self.parts) * TERMS_PART_BYTES;
        let is_next = (part.envelope, part.number) == (self.envelope, self.parts);
        let Some(terms) = part.terms().filter(|_| is_next && self.terms.len() == before) else {
            return false;
        };
        if before + terms.len() > TERMS_BYTES_MAX {
            return false;
        }
        self.terms.extend_from_slice(terms);
        self.parts += 1;
        true
    }

    /// The terms of an order; `None` if it has others than those that came.
    pub(super) fn of(&self, record: &Issued) -> Option<&[u8]> {
        if record.terms_parts == 0 {
            return Some(&[]);
        }
        let same = (record.envelope, record.terms_parts) == (self.envelope, self.parts);
        same.then_some(&self.terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: EnvelopeId = EnvelopeId(5);

    fn parts(length: usize) -> Vec<TermsPart> {
        let terms: Vec<u8> = (0..=255).cycle().skip(1).take(length).collect();
        TermsPart::cut(ENVELOPE, &terms).collect()
    }

    #[test]
    fn all_parts_in_order_are_the_terms_and_nothing_else_is() {
        for length in [1, 63, 64, 65, 640, TERMS_BYTES_MAX] {
            let mut staged = Staged::new();
            let parts = parts(length);
            assert_eq!(parts.len(), length.div_ceil(TERMS_PART_BYTES));
            assert!(parts.iter().all(|part| staged.take(part)), "{length} bytes");
            assert_eq!(staged.terms.len(), length);
            assert!(!staged.take(&parts[parts.len() - 1]) || parts.len() == 1, "twice");
        }
    }

    #[test]
    fn parts_out_of_order_or_of_others_are_refused() {
        let parts = parts(200);
        let mut staged = Staged::new();
        assert!(!staged.take(&parts[1]), "the first is missing");
        assert!(staged.take(&parts[0]) && !staged.take(&parts[2]), "one is missing");
        let other = TermsPart { envelope: EnvelopeId(6), ..parts[1] };
        assert!(!staged.take(&other), "of another envelope");
        assert!(parts[1..].iter().all(|part| staged.take(part)));
        let after_the_last = TermsPart { number: 4, ..parts[0] };
        assert!(!staged.take(&after_the_last), "the last was shorter");
        for broken in [TermsPart { length: 65, ..parts[0] }, TermsPart { length: 0, ..parts[0] }] {
            assert!(!staged.take(&broken));
        }
        assert!(!staged.take(&TermsPart { length: 63, ..parts[0] }), "something lies behind it");
    }
}
