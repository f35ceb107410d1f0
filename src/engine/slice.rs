//! The slices of an image: their head, and why one is refused.
//!
//! ```text
//! 0 kind u8 | version u8 | cell u8 | reserved u8 | body words u32
//! 1 position u64
//! 2 subject u64
//! 3 first rank u64
//! ```
//!
//! Everything is 64-bit words, little endian. That the bytes are those that
//! were written is for the file's checksum to say; whether they make sense is
//! checked here and in `restore`.

use super::words::{high, index, low, narrow, pair};
use crate::units::{Cell, EnvelopeId};

/// 64-bit words of a head.
pub(super) const HEAD_WORDS: usize = 4;

const VERSION: u8 = 2;

/// What a slice has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Archived totals and counters of all partitions in use, as of the
    /// beginning; [`COUNTER_WORDS`] for each.
    Counters,
    /// A page of small envelopes; the subject is its key.
    Page,
    /// Header, cold side and tail of a large envelope; the subject is its id.
    Large,
    /// Claims of a large envelope from a rank on, a user and a meta word each.
    Rows,
    /// What is kept of a campaign beside its envelope; the subject is its id.
    Campaign,
    /// Shares that are held or were rejected, in the order of envelope and user.
    Holds,
    /// What is known of users.
    Standings,
    /// What happened of late that rules of risk count.
    Recent,
}

/// Words of a partition in a slice of counters: `partition | next large index`,
/// envelopes, claims, low and high word of what was funded and claimed, how many
/// were voided, and low and high word of what was returned.
pub(super) const COUNTER_WORDS: usize = 10;

/// The head of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// What follows.
    pub(super) kind: Kind,
    /// The cell of the image.
    pub(super) cell: Cell,
    /// How many words follow.
    pub(super) body_words: usize,
    /// The slice is the state after all records up to here.
    pub(super) position: u64,
    /// Of what.
    pub(super) subject: u64,
    /// Of rows, the rank of the first.
    pub(super) first_rank: u32,
}

impl Head {
    /// The words of this head.
    pub(super) fn words(&self) -> [u64; HEAD_WORDS] {
        let kind = match self.kind {
            Kind::Counters => 1,
            Kind::Page => 2,
            Kind::Large => 3,
            Kind::Rows => 4,
            Kind::Campaign => 8,
            Kind::Holds => 16,
            Kind::Standings => 17,
            Kind::Recent => 18,
        };
        let first = u32::from_le_bytes([kind, VERSION, self.cell, 0]);
        let body_words = narrow(self.body_words);
        [pair(first, body_words), self.position, self.subject, u64::from(self.first_rank)]
    }

    /// The head of a slice, and its body as bytes.
    pub(super) fn read(slice: &[u8]) -> Result<(Self, &[u8]), BadImage> {
        let (head, body) = slice.split_at_checked(8 * HEAD_WORDS).ok_or(BadImage::Torn)?;
        let word = |n| word_at(head, n).ok_or(BadImage::Torn);
        let [kind, version, cell, reserved] = low(word(0)?).to_le_bytes();
        if version != VERSION || reserved != 0 {
            return Err(BadImage::Version(version));
        }
        let kind = match kind {
            1 => Kind::Counters,
            2 => Kind::Page,
            3 => Kind::Large,
            4 => Kind::Rows,
            8 => Kind::Campaign,
            16 => Kind::Holds,
            17 => Kind::Standings,
            18 => Kind::Recent,
            _ => return Err(BadImage::Version(version)),
        };
        let body_words = index(high(word(0)?));
        let first_rank = u32::try_from(word(3)?).map_err(|_| BadImage::Torn)?;
        if Some(body.len()) != body_words.checked_mul(8) {
            return Err(BadImage::Torn);
        }
        let (position, subject) = (word(1)?, word(2)?);
        Ok((Self { kind, cell, body_words, position, subject, first_rank }, body))
    }
}

/// A word of a body.
pub(super) fn word_at(bytes: &[u8], n: usize) -> Option<u64> {
    bytes.get(8 * n..)?.first_chunk().copied().map(u64::from_le_bytes)
}

/// Why an image cannot be loaded. The start can go on without it if the journal
/// still goes back far enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadImage {
    /// A slice is not as long as it says.
    #[error("a slice of the image is cut or misplaced")]
    Torn,
    /// Another version wrote it.
    #[error("the image has format version {0}, which this server does not read")]
    Version(u8),
    /// It is of another cell.
    #[error("the image is of cell {0}")]
    Cell(Cell),
    /// A page or envelope comes a second time.
    #[error("the image has a page or an envelope twice")]
    Repeated,
    /// An envelope cannot have come about.
    #[error("envelope {0} of the image contradicts itself")]
    Unsound(EnvelopeId),
    /// The tables are smaller than the image needs.
    #[error(
        "the tables are too small for the image; raise envelopes_max, table_mib or risk_users_max"
    )]
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_from_their_words() {
        let envelopes = [Kind::Counters, Kind::Page, Kind::Large, Kind::Rows, Kind::Campaign];
        for kind in envelopes.into_iter().chain([Kind::Holds, Kind::Standings, Kind::Recent]) {
            let head =
                Head { kind, cell: 7, body_words: 2, position: 1 << 40, subject: 9, first_rank: 3 };
            let words = head.words().into_iter().chain([5, 6]);
            let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
            let (again, body) = Head::read(&bytes).unwrap();
            assert_eq!(again, head);
            assert_eq!((word_at(body, 1), word_at(body, 2)), (Some(6), None));
            assert_eq!(Head::read(&bytes[..47]), Err(BadImage::Torn));
        }
        assert_eq!(Head::read(&[]), Err(BadImage::Torn));
        assert_eq!(Head::read(&[0; 32]), Err(BadImage::Version(0)));
    }
}
