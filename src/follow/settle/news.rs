//! The rows of a `news` frame: bytes ↔ meaning, no I/O; see `frames`.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::frames::MOVEMENT_BYTES;
use crate::follow::movement::MovementId;
use crate::follow::news::{News, NewsOf};
use crate::units::{EnvelopeId, UserId};
use crate::wire::{Resolution, ResolvedBy, RiskRule};

/// News, and the id of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The same for ever.
    pub id: MovementId,
    /// What is told.
    pub news: News,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Default)]
#[repr(C)]
struct Row {
    arrangement: U32,
    shard: U16,
    cell: u8,
    what: u8,
    batch: U64,
    index: U32,
    at: U32,
    envelope: U64,
    user: U64,
    amount: U32,
    until: U32,
    rule: u8,
    by: u8,
    grade: u8,
    lists: u8,
    zero: [u8; 12],
}

// Both kinds of rows are cut into frames in the same way.
const _: () = assert!(size_of::<Row>() == MOVEMENT_BYTES);

const HELD: u8 = 1;
const DENIED: u8 = 2;
const RELEASED: u8 = 3;
const REJECTED: u8 = 4;
const MARKED: u8 = 5;

impl From<&Told> for Row {
    fn from(told: &Told) -> Self {
        let Told { id, news } = told;
        let head = Self {
            arrangement: id.arrangement.into(),
            shard: id.shard.into(),
            cell: id.cell,
            batch: id.batch.into(),
            index: id.index.into(),
            at: news.at.into(),
            envelope: news.envelope.0.into(),
            user: news.user.0.into(),
            ..Self::default()
        };
        match news.what {
            NewsOf::Held { amount, rule, until } => Self {
                what: HELD,
                amount: amount.into(),
                until: until.into(),
                rule: rule.code(),
                ..head
            },
            NewsOf::Denied { amount, rule } => {
                Self { what: DENIED, amount: amount.into(), rule: rule.code(), ..head }
            }
            NewsOf::Resolved { amount, resolution, by } => Self {
                what: match resolution {
                    Resolution::Release => RELEASED,
                    Resolution::Reject => REJECTED,
                },
                amount: amount.into(),
                by: by.code(),
                ..head
            },
            NewsOf::Marked { grade, lists } => Self { what: MARKED, grade, lists, ..head },
        }
    }
}

impl Row {
    /// What it says; nothing where it has anything besides.
    fn meaning(&self) -> Option<Told> {
        let (amount, until) = (self.amount.get(), self.until.get());
        let what = match self.what {
            HELD => NewsOf::Held { amount, rule: RiskRule::from_code(self.rule)?, until },
            DENIED => NewsOf::Denied { amount, rule: RiskRule::from_code(self.rule)? },
            RELEASED | REJECTED => NewsOf::Resolved {
                amount,
                resolution: if self.what == RELEASED {
                    Resolution::Release
                } else {
                    Resolution::Reject
                },
                by: ResolvedBy::from_code(self.by)?,
            },
            MARKED => NewsOf::Marked { grade: self.grade, lists: self.lists },
            _ => return None,
        };
        let id = MovementId {
            cell: self.cell,
            arrangement: self.arrangement.get(),
            shard: self.shard.get(),
            batch: self.batch.get(),
            index: self.index.get(),
        };
        let (envelope, user) = (EnvelopeId(self.envelope.get()), UserId(self.user.get()));
        let told = Told { id, news: News { envelope, user, at: self.at.get(), what } };
        (Self::from(&told).as_bytes() == self.as_bytes()).then_some(told)
    }
}

/// Puts news at the end of `rows`, as a `news` frame carries it.
pub(super) fn put_told(rows: &mut Vec<u8>, told: &Told) {
    rows.extend_from_slice(Row::from(told).as_bytes());
}

/// The news in so many rows.
pub(super) fn read_told(count: u32, body: &[u8]) -> Option<Vec<Told>> {
    let rows = <[Row]>::ref_from_bytes(body).ok()?;
    if u32::try_from(rows.len()) != Ok(count) {
        return None;
    }
    rows.iter().map(Row::meaning).collect()
}
