//! One audit's comparison of ledger and journals, record by record while they
//! are read, and at the end.

use std::collections::HashSet;

use super::books::Books;
use super::compare::{
    Added, Booking, Held, Snapshot, Span, Wrong, booking, expected, first_difference, place, said,
};
use crate::engine::{Record, Voided};
use crate::follow::ledger::{Audited, LedgerError};
use crate::follow::movement::{MovementId, Why};
use crate::journal::WholeJournal;
use crate::units::{EnvelopeId, MoneySource, VoidCause};

/// Parts that a shard's records are split into to find the first difference.
const PARTS: u64 = 4096;

/// What was compared, for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Rows of users' accounts that the journals tell of.
    pub bookings: u64,
    /// The money in them, in fen.
    pub fen: u128,
    /// How far each shard's journal was applied, by shard.
    pub cursors: Vec<u64>,
    /// Records that an operator had passed over.
    pub passed_over: u64,
}

pub(super) struct Against {
    snapshot: Snapshot,
    spans: Vec<Span>,
    ours: Vec<Added>,
    theirs: Vec<Added>,
    /// What came into envelopes after the cursors, less what left them.
    after: i128,
    /// Orders from a balance whose wait ended after the cursors.
    ended_after: HashSet<EnvelopeId>,
    passed_over: u64,
}

impl Against {
    /// Adds up the ledger; what is wrong in it by itself is said.
    pub(super) fn begin(
        ledger: &mut dyn Audited,
        journals: &[WholeJournal],
    ) -> Result<Result<Self, Wrong>, LedgerError> {
        let cell = journals.first().map_or(0, |journal| journal.identity().cell);
        let mut snapshot = Snapshot::take(ledger, cell)?;
        let span = |journal: &WholeJournal| {
            let (arrangement, shard) = (journal.arrangement(), journal.identity().shard);
            let (from, upto) = (journal.begin().position.0, snapshot.cursor(arrangement, shard));
            Span { arrangement, shard, from, upto }
        };
        let spans: Vec<Span> = journals.iter().map(span).collect();
        let theirs = match snapshot.add_up(ledger, &spans)? {
            Ok(theirs) => theirs,
            Err(wrong) => return Ok(Err(wrong)),
        };
        Ok(Ok(Self {
            ours: vec![Added::default(); spans.len()],
            snapshot,
            spans,
            theirs,
            after: 0,
            ended_after: HashSet::new(),
            passed_over: 0,
        }))
    }

    /// The next record of a shard, by its place among the journals.
    pub(super) fn see(
        &mut self,
        shard: usize,
        id: MovementId,
        record: &Record,
    ) -> Result<(), Wrong> {
        let Some(span) = self.spans.get(shard) else { return Ok(()) };
        if id.batch >= span.upto {
            self.after += into_envelopes(record);
            if let Record::Paid(_) | Record::Voided(_) = record {
                self.ended_after.insert(record.envelope());
            }
            return Ok(());
        }
        if !self.snapshot.passed_over.is_empty() && self.snapshot.passed_over.contains(&id) {
            self.passed_over += 1;
            return Ok(());
        }
        if let (Some(booking), Some(ours)) = (expected(id, record), self.ours.get_mut(shard)) {
            ours.add(&booking);
            return Ok(());
        }
        self.hold(id, record)
    }

    /// What is held, and what becomes of it.
    fn hold(&mut self, id: MovementId, record: &Record) -> Result<(), Wrong> {
        let holds = &mut self.snapshot.holds;
        match record {
            Record::Issued(r) if r.source == MoneySource::Balance => {
                let (user, amount, envelope) = (r.sender, r.total, r.envelope);
                let right = Booking { id, user, why: Why::Hold, amount, envelope };
                match holds.get(&envelope) {
                    Some(held) if held.hold != right => Err(as_it_is(&held.hold, &right)),
                    _ => Ok(()),
                }
            }
            Record::Paid(r) if r.source == MoneySource::Balance => {
                match holds.remove(&r.envelope) {
                    Some(Held { release: None, .. }) => Ok(()),
                    Some(_) => Err(format!("{} was paid from a hold that went back", r.envelope)),
                    None => Err(format!("{} was paid from a hold that was never made", r.envelope)),
                }
            }
            Record::Voided(r) if r.source == MoneySource::Balance => {
                match holds.remove(&r.envelope) {
                    None => Ok(()),
                    Some(held) => released(id, r, &held),
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether both sides came to the same; the place of a shard that did not.
    pub(super) fn differs(&self) -> Option<usize> {
        self.ours.iter().zip(&self.theirs).position(|(ours, theirs)| ours != theirs)
    }

    /// The ledger's position of a shard must be one that its journal has.
    pub(super) fn reaches(&self, shard: usize, end: u64) -> Result<(), Wrong> {
        match self.spans.get(shard) {
            Some(span) if span.upto > end => Err(format!(
                "the ledger has applied shard {} up to position {}, and its journal ends at {end}",
                span.shard, span.upto
            )),
            _ => Ok(()),
        }
    }

    /// What can only be said once every record was seen.
    pub(super) fn finish(
        &mut self,
        ledger: &mut dyn Audited,
        books: &Books,
    ) -> Result<Result<(), Wrong>, LedgerError> {
        let held = ledger.held()?;
        for row in &held {
            let known = self.snapshot.holds.remove(&row.envelope);
            let is_it = known.is_some_and(|known| {
                let booked = (known.hold.user, known.hold.amount);
                known.release.is_none() && booked == (row.user, row.amount)
            });
            let waits = books.is_reserved(row.envelope) || self.ended_after.contains(&row.envelope);
            if !is_it || !waits {
                return Ok(Err(format!("the ledger holds what no order waits for: {row:?}")));
            }
        }
        let told = |id: &MovementId| self.spans.iter().any(|span| span.has(id));
        let left = self.snapshot.holds.values().find(|held| told(&held.hold.id));
        if let Some(held) = left {
            let booking = held.release.as_ref().unwrap_or(&held.hold);
            return Ok(Err(format!("the journal does not say why: {}", said(booking))));
        }
        let inside = books.balance().left + books.balance().held;
        let expected = i128::try_from(inside).unwrap_or(i128::MAX) - self.after;
        let escrow = self.snapshot.escrow;
        if self.snapshot.passed_over.is_empty() && escrow != expected {
            return Ok(Err(format!(
                "the ledger has {escrow} fen in envelopes, and the journal {expected}"
            )));
        }
        let sums = ledger.check_sums();
        Ok(sums.map_err(|difference| difference.to_string()))
    }

    pub(super) fn compared(&self) -> Compared {
        Compared {
            bookings: self.ours.iter().map(|ours| ours.count).sum(),
            fen: self.ours.iter().map(|ours| ours.fen).sum(),
            cursors: self.spans.iter().map(|span| span.upto).collect(),
            passed_over: self.passed_over,
        }
    }

    /// The first record of a shard that the ledger books otherwise, in words:
    /// the shard is split into parts, and the first part that differs is
    /// compared row by row. `read` shows every record of the shard's journal.
    pub(super) fn first_difference<E>(
        &self,
        shard: usize,
        ledger: &mut dyn Audited,
        mut read: impl FnMut(&mut dyn FnMut(MovementId, &Record)) -> Result<(), E>,
    ) -> Result<Option<(MovementId, EnvelopeId, String)>, E>
    where
        E: From<LedgerError>,
    {
        let Some(span) = self.spans.get(shard).copied() else { return Ok(None) };
        let size = (span.upto.saturating_sub(span.from) / PARTS).max(1);
        let part = |id: &MovementId| (id.batch.saturating_sub(span.from) / size).min(PARTS);
        let count = usize::try_from(PARTS).unwrap_or(0) + 1;
        let mut sums = [vec![Added::default(); count], vec![Added::default(); count]];
        let [ours, theirs] = &mut sums;
        let at = |id: &MovementId| usize::try_from(part(id)).unwrap_or(0);
        read(&mut |id, record| {
            if let Some(booking) = self.booked(&span, id, record) {
                ours[at(&booking.id)].add(&booking);
            }
        })?;
        self.each_booking(&span, ledger, |booking| theirs[at(&booking.id)].add(&booking))?;
        let Some(first) = sums[0].iter().zip(&sums[1]).position(|(a, b)| a != b) else {
            return Ok(None);
        };
        let [mut ours, mut theirs] = [Vec::new(), Vec::new()];
        read(&mut |id, record| {
            let booking = self.booked(&span, id, record);
            ours.extend(booking.filter(|booking| at(&booking.id) == first));
        })?;
        self.each_booking(&span, ledger, |booking| {
            if at(&booking.id) == first {
                theirs.push(booking);
            }
        })?;
        ours.sort_unstable();
        theirs.sort_unstable();
        Ok(first_difference(&ours, &theirs).map(|(id, words)| {
            let of = |all: &[Booking]| all.iter().find(|b| b.id == id).map(|b| b.envelope);
            (id, of(&ours).or(of(&theirs)).unwrap_or_default(), words)
        }))
    }

    /// What the ledger must have of a record.
    fn booked(&self, span: &Span, id: MovementId, record: &Record) -> Option<Booking> {
        let is_due = id.batch < span.upto && !self.snapshot.passed_over.contains(&id);
        expected(id, record).filter(|_| is_due)
    }

    fn each_booking(
        &self,
        span: &Span,
        ledger: &mut dyn Audited,
        mut show: impl FnMut(Booking),
    ) -> Result<(), LedgerError> {
        ledger.each_line(&mut |line| {
            let of_record = matches!(line.why, Why::Claim | Why::Refund | Why::Return);
            let booking = booking(&self.snapshot.names, line).filter(|b| span.has(&b.id));
            booking.filter(|_| of_record).into_iter().for_each(&mut show);
        })
    }
}

fn as_it_is(booked: &Booking, right: &Booking) -> Wrong {
    format!("booked as {} but it is {}", said(booked), said(right))
}

/// Whether a hold went back as the record says.
fn released(id: MovementId, record: &Voided, held: &Held) -> Result<(), Wrong> {
    let (user, amount, envelope) = (record.sender, record.total, record.envelope);
    let right = Booking { id, user, why: Why::Release, amount, envelope };
    match held.release {
        _ if record.cause == VoidCause::Refused => {
            Err(format!("refused for want of money that was held: {}", said(&held.hold)))
        }
        Some(release) if release == right => Ok(()),
        Some(release) => Err(as_it_is(&release, &right)),
        None => Err(format!("a hold was not given back at {}: {}", place(&id), said(&held.hold))),
    }
}

/// What a record brings into envelopes, or takes out of them.
fn into_envelopes(record: &Record) -> i128 {
    match record {
        Record::Issued(r) if r.source == MoneySource::Vouched => i128::from(r.total),
        Record::Paid(r) => i128::from(r.total),
        Record::Claimed(r) => -i128::from(r.amount),
        Record::Closed(r) => -i128::from(r.refunded),
        Record::Resolved(r) => -i128::from(r.amount),
        _ => 0,
    }
}
