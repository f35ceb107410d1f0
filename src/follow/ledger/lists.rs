//! What a person asks a ledger for: lists, statements, details, totals by day.
//!
//! Everything here is read only, newest first in the order of booking, and
//! paged: a page names where the next one continues.

use super::movement_line::Line;
use super::{LedgerError, Received};
use crate::units::{EnvelopeId, EnvelopeState, Fen, MoneySource, Split, UnixSeconds, UserId};

/// The days of the lists begin at midnight here: eight hours east.
pub const CHINA_OFFSET_S: i32 = 8 * 3600;

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where the page before said to continue; `None` is the first page.
    pub after: Option<Continuation>,
    /// How many rows at most.
    pub limit: u32,
}

impl Page {
    /// The newest `limit` rows.
    pub fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }
}

/// Where a list continues. What the number means is the ledger's own business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continuation(pub u64);

/// Rows of a list, and where it continues, if it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows<T> {
    /// The rows, newest first.
    pub rows: Vec<T>,
    /// Where the next page continues; `None` where the list ends here.
    pub next: Option<Continuation>,
}

/// How many columns an envelope has, with its id.
pub(super) const ENVELOPE_COLUMNS: usize = 16;

/// What a ledger knows of an envelope, however long ago its slot was recycled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who pays.
    pub sender: UserId,
    /// The sender's number for the order.
    pub order: u64,
    /// The payment's reference.
    pub payment: u64,
    /// The money, in fen.
    pub total: Fen,
    /// The number of shares.
    pub shares: u32,
    /// The rule of the cut.
    pub split: Split,
    /// Where the money comes from.
    pub source: MoneySource,
    /// Where it is in its life.
    pub state: EnvelopeState,
    /// When it was ordered.
    pub created: UnixSeconds,
    /// When it opened; 0 is not.
    pub opened: UnixSeconds,
    /// When it was exhausted, closed or voided; 0 is not.
    pub closed: UnixSeconds,
    /// What was claimed, in fen.
    pub claimed: Fen,
    /// How many shares were.
    pub claims: u32,
    /// What went back from it, in fen.
    pub refunded: Fen,
    /// A payment that came too late and went back, in fen.
    pub returned: Fen,
}

impl Envelope {
    /// The money that is in it now, in fen.
    pub fn left(&self) -> Fen {
        let held = matches!(
            self.state,
            EnvelopeState::Open
                | EnvelopeState::Exhausted
                | EnvelopeState::Expired
                | EnvelopeState::Cancelled
        );
        if held { self.total - self.claimed - self.refunded } else { 0 }
    }

    /// A share is credited.
    pub(super) fn credit(&mut self, amount: Fen, at: UnixSeconds) {
        self.claimed += amount;
        self.claims += 1;
        self.note_end(at);
    }

    /// A share that was held goes back.
    pub(super) fn give_back(&mut self, amount: Fen, at: UnixSeconds) {
        self.refunded += amount;
        self.note_end(at);
    }

    /// It is exhausted when nothing is left of it: while a share is held, something is.
    fn note_end(&mut self, at: UnixSeconds) {
        if self.state == EnvelopeState::Open && self.left() == 0 {
            (self.state, self.closed) = (EnvelopeState::Exhausted, at);
        }
    }

    /// A row of it with its id in front, as the tables of both adapters begin.
    pub(super) fn columns(&self, id: EnvelopeId) -> [i64; ENVELOPE_COLUMNS] {
        [
            id.0.cast_signed(),
            self.sender.0.cast_signed(),
            self.order.cast_signed(),
            self.payment.cast_signed(),
            self.total.cast_signed(),
            self.shares.into(),
            self.split.code().into(),
            self.source.code().into(),
            self.state.code().into(),
            self.created.into(),
            self.opened.into(),
            self.closed.into(),
            self.claimed.cast_signed(),
            self.claims.into(),
            self.refunded.cast_signed(),
            self.returned.cast_signed(),
        ]
    }
}

/// One line of a user's sent list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its id.
    pub envelope: EnvelopeId,
    /// Everything else about it.
    pub summary: Envelope,
}

/// One line of an envelope's detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Who got it.
    pub user: UserId,
    /// How much, in fen.
    pub amount: Fen,
    /// When.
    pub at: UnixSeconds,
}

/// What one day came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DayTotal {
    /// The day, counted from 1970-01-01 at the asked offset.
    pub day: i64,
    /// How many.
    pub count: u64,
    /// How much, in fen.
    pub sum: Fen,
}

/// The lists. A request for no rows gives none.
pub trait History {
    /// The envelopes that a user ordered, also those that were never paid: their
    /// state says so.
    fn sent(&mut self, user: UserId, page: Page) -> Result<Rows<Sent>, LedgerError>;

    /// The shares that a user got.
    fn received(&mut self, user: UserId, page: Page) -> Result<Rows<Received>, LedgerError>;

    /// Everything that moved on a user's account.
    fn movements_of(&mut self, user: UserId, page: Page) -> Result<Rows<Line>, LedgerError>;

    /// What a user sent, by the day the envelope opened, newest first.
    fn sent_by_day(&mut self, user: UserId, offset_s: i32) -> Result<Vec<DayTotal>, LedgerError>;

    /// What a user received, by day, newest first.
    fn received_by_day(
        &mut self,
        user: UserId,
        offset_s: i32,
    ) -> Result<Vec<DayTotal>, LedgerError>;

    /// An envelope, whether its slot lives or was recycled.
    fn envelope(&mut self, envelope: EnvelopeId) -> Result<Option<Envelope>, LedgerError>;

    /// Who got what of it, newest first.
    fn envelope_claims(
        &mut self,
        envelope: EnvelopeId,
        page: Page,
    ) -> Result<Rows<Share>, LedgerError>;
}

/// The first thing that does not add up in a ledger, with its rows.
#[derive(Debug, thiserror::Error)]
pub enum Difference {
    /// The ledger could not be read.
    #[error(transparent)]
    Unread(#[from] LedgerError),
    /// Two sums that must be the same are not.
    #[error("{what}: the books say {booked}, the rows sum to {summed}; rows: {rows}")]
    Found {
        /// Which sums.
        what: String,
        /// What stands in the books.
        booked: i128,
        /// What the rows come to.
        summed: i128,
        /// The rows, as many as fit a line.
        rows: String,
    },
}
