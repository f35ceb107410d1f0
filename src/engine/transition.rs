//! What a record does to the envelope that it names.
//!
//! The same for an engine that decides and for one that is being restored: the
//! tables that are derived from envelopes are not touched here. Every function
//! checks that the record fits before it changes anything, and none panics,
//! whatever the record.

use super::class::SlotRef;
use super::cold::{Cold, quarters};
use super::header::Header;
use super::marks::Marks;
use super::rules::is_sound;
use super::slots::{NO_LINK, RUN_WORD, Slot, Slots, Vacancy};
use super::tail::Tail;
use super::{
    Cause, Claimed, Closed, Issued, Misfit, Paid, Recycled, Returned, Voided, partition_of, split,
};
use crate::planted::{Bug, is_planted};
use crate::units::{EnvelopeId, EnvelopeState, Fen, MoneySource, Split, UnixSeconds, VoidCause};
use crate::wire::Row;

/// What a claim led to.
pub(super) struct Added {
    /// The slot of an envelope that is exhausted by it.
    pub(super) exhausted: Option<SlotRef>,
    /// Whether it is a win of a campaign.
    pub(super) is_win: bool,
}

impl Slots {
    /// The place that an order with these terms names, if it can have it, and
    /// its tail.
    pub(super) fn vacancy_for(
        &self,
        record: &Issued,
        terms: &[u8],
    ) -> Result<(Vacancy, Tail), Misfit> {
        let envelope = record.envelope;
        if !is_sound(record) {
            return Err(Misfit::Contradiction(envelope));
        }
        if envelope.partition() != partition_of(record.sender) {
            return Err(Misfit::EnvelopeOutOfTurn(envelope));
        }
        let tail = Tail::of(terms, record.shares).ok_or(Misfit::Contradiction(envelope))?;
        Ok((self.vacancy(envelope, record.shares, tail)?, tail))
    }

    /// Puts the envelope into a vacancy that was found just before and whose
    /// page has been made.
    pub(super) fn open(
        &mut self,
        vacancy: &Vacancy,
        page: u32,
        record: &Issued,
        (tail, terms): (Tail, &[u8]),
    ) -> Option<SlotRef> {
        let slot = SlotRef::new(page, vacancy.block.slot());
        let run = match vacancy.run_order {
            Some(order) => Some(self.make_run(order, record.shares)?),
            None => None,
        };
        let at = self.place_of(slot);
        self.arena.put_chunk(at, &header_of(record).words(NO_LINK));
        self.arena.put_chunk(slot.cold_at(), &cold_of(record).words(NO_LINK));
        if let Some(run) = run {
            // The position word beside it is only used while images are loaded.
            self.arena.put_chunk(at + RUN_WORD, &[u64::from(run), 0]);
        }
        if let Some(opened) = self.at(slot).filter(|opened| opened.header.has_terms) {
            self.put_terms(&opened, tail, terms);
        }
        Some(slot)
    }

    /// Adds a claim. Only of a campaign a user may have several.
    #[expect(clippy::inline_always, reason = "measured: what a call gives back costs 5 ns to read")]
    #[inline(always)]
    pub(super) fn claim(&mut self, record: &Claimed) -> Result<Added, Misfit> {
        let &Claimed { envelope, user, amount, rank, at } = record;
        let slot = self.get(envelope).ok_or(Misfit::NotOpen(envelope))?;
        if !slot.header.is_open() {
            return Err(Misfit::NotOpen(envelope));
        }
        let header = &slot.header;
        let fen = u64::from(amount);
        let (least, most) = split::bounds(header.unclaimed, header.shares_left(), header.share_max);
        let in_step = rank == rank_check(header.claimed) && (least..=most).contains(&fen);
        let is_win = header.split == Split::Prizes;
        if !in_step || !is_win && self.rank_of(&slot, user).is_some() {
            return Err(Misfit::Contradiction(envelope));
        }
        self.seat(&slot, Row { user, amount, at });
        // A copy that nobody refers to is changed in registers; words that were put
        // together in memory would cost 6 ns to read back.
        let mut header = slot.header;
        header.claimed += 1;
        header.unclaimed -= fen;
        let exhausted = header.shares_left() == 0;
        if exhausted {
            header.state = EnvelopeState::Exhausted;
        }
        self.put_progress(slot.at, &header);
        Ok(Added { exhausted: exhausted.then(|| slot.reference()), is_win })
    }

    /// Closes an envelope with money left.
    pub(super) fn close(&mut self, record: &Closed) -> Result<SlotRef, Misfit> {
        let &Closed { envelope, sender, refunded, held: _, cause, at } = record;
        let mut slot = self.get(envelope).ok_or(Misfit::NotOpen(envelope))?;
        if !slot.header.is_open() {
            return Err(Misfit::NotOpen(envelope));
        }
        let mut cold = self.cold(slot.reference()).ok_or(Misfit::NotOpen(envelope))?;
        if (refunded, sender) != (slot.header.unclaimed, cold.sender) {
            return Err(Misfit::Contradiction(envelope));
        }
        slot.header.state = match cause {
            Cause::Expired => EnvelopeState::Expired,
            Cause::Cancelled => EnvelopeState::Cancelled,
        };
        cold.ended_at = at;
        self.put_progress(slot.at, &slot.header);
        self.put_cold(slot.reference(), &cold);
        Ok(slot.reference())
    }

    /// A reserved envelope and its cold side.
    fn reserved(&self, envelope: EnvelopeId) -> Result<(Slot, Cold), Misfit> {
        let not_reserved = Misfit::NotReserved(envelope);
        let slot = self.get(envelope).filter(|slot| slot.header.is_reserved());
        let slot = slot.ok_or(not_reserved)?;
        Ok((slot, self.cold(slot.reference()).ok_or(not_reserved)?))
    }

    /// Opens a reserved envelope: its money is there, and its lifetime begins.
    pub(super) fn pay(&mut self, record: &Paid) -> Result<Slot, Misfit> {
        let &Paid { envelope, sender, payment, total, at, source } = record;
        let (mut slot, mut cold) = self.reserved(envelope)?;
        // Not: after the order. A clock that was set back must not end a server.
        let in_time = at < slot.header.expires_at;
        let as_ordered = (sender, total, source)
            == (cold.sender, cold.total, slot.header.marks.source())
            && is_payment(&cold, source, payment);
        let expires_at = at.checked_add(cold.ended_at).filter(|_| in_time && as_ordered);
        let expires_at = expires_at.ok_or(Misfit::Contradiction(envelope))?;
        slot.header.state = EnvelopeState::Open;
        slot.header.expires_at = expires_at;
        slot.header.marks = slot.header.marks.named_later(cold.payment != payment);
        let waited = quarters(cold.created_at, at);
        cold = Cold { payment, waited, created_at: at, ended_at: 0, ..cold };
        self.put_progress(slot.at, &slot.header);
        self.put_cold(slot.reference(), &cold);
        Ok(slot)
    }

    /// Ends a reserved envelope that will never open.
    pub(super) fn void(&mut self, record: &Voided) -> Result<SlotRef, Misfit> {
        let &Voided { envelope, sender, total, at, source, cause } = record;
        let (mut slot, mut cold) = self.reserved(envelope)?;
        let as_ordered =
            (sender, total, source) == (cold.sender, cold.total, slot.header.marks.source());
        let is_late = at >= slot.header.expires_at;
        let fits = match cause {
            VoidCause::Lapsed => is_late,
            VoidCause::Withdrawn => !is_late,
            VoidCause::Refused => !is_late && source == MoneySource::Balance,
        };
        if !as_ordered || !fits {
            return Err(Misfit::Contradiction(envelope));
        }
        slot.header.state = EnvelopeState::Voided;
        slot.header.marks = slot.header.marks.voided(cause);
        // So that its lifetime is still known: a repeat of the order says it.
        slot.header.expires_at = cold.created_at.saturating_add(cold.ended_at);
        cold.ended_at = at;
        self.put_progress(slot.at, &slot.header);
        self.put_cold(slot.reference(), &cold);
        Ok(slot.reference())
    }

    /// Notes that the payment of a voided envelope came and went back.
    pub(super) fn give_back(&mut self, record: &Returned) -> Result<(), Misfit> {
        let &Returned { envelope, sender, payment, amount, at: _ } = record;
        let contradiction = Misfit::Contradiction(envelope);
        let mut slot = self.get(envelope).ok_or(contradiction)?;
        let mut cold = self.cold(slot.reference()).ok_or(contradiction)?;
        let marks = slot.header.marks;
        let may_come = slot.header.state == EnvelopeState::Voided
            && marks.source() == MoneySource::Payment
            && !marks.is_returned();
        let as_ordered = (sender, amount) == (cold.sender, cold.total);
        if !may_come || !as_ordered || !is_payment(&cold, MoneySource::Payment, payment) {
            return Err(contradiction);
        }
        slot.header.marks = marks.returned().named_later(cold.payment != payment);
        cold.payment = payment;
        self.put_progress(slot.at, &slot.header);
        self.put_cold(slot.reference(), &cold);
        Ok(())
    }

    /// The envelope that a recycling names, if it is over and its sums are
    /// right. One that was never paid comes to nothing, and what was `rejected`
    /// of its shares was claimed by nobody.
    pub(super) fn recyclable(
        &self,
        record: &Recycled,
        rejected: (u32, Fen),
    ) -> Result<Slot, Misfit> {
        let &Recycled { envelope, shares_claimed, claimed, total, .. } = record;
        let slot = self.get(envelope).ok_or(Misfit::NotClosed(envelope))?;
        if slot.header.is_live() {
            return Err(Misfit::NotClosed(envelope));
        }
        let cold = self.cold(slot.reference()).ok_or(Misfit::NotClosed(envelope))?;
        let (rows, gone, paid) = came_to(&slot, &cold);
        let given = (rows.checked_sub(rejected.0), gone.checked_sub(rejected.1));
        let same = given == (Some(shares_claimed), Some(claimed)) && total == paid;
        if same { Ok(slot) } else { Err(Misfit::Contradiction(envelope)) }
    }

    /// Makes a slot free; its generation stays, so that no id comes twice.
    pub(super) fn free(&mut self, slot: &Slot) {
        if slot.class.is_large() {
            self.free_run(slot);
        }
        let last = slot.header.generation - u16::from(is_planted(Bug::GenerationReused));
        self.arena.put(slot.at, u64::from(last));
    }

    /// When an envelope came to its end.
    pub(super) fn ended_at(&self, slot: &Slot, cold: &Cold) -> UnixSeconds {
        match slot.header.claimed.checked_sub(1) {
            Some(last) if slot.header.state == EnvelopeState::Exhausted => self.row(slot, last).at,
            _ => cold.ended_at,
        }
    }
}

/// The low 16 bits of a rank, as claim records carry them.
#[inline]
pub(super) fn rank_check(rank: u32) -> u16 {
    u16::try_from(rank & 0xffff).unwrap_or(u16::MAX)
}

/// Whether this can be the payment of an order from this source: the one that
/// it named or, where it named none, any.
pub(super) fn is_payment(cold: &Cold, source: MoneySource, payment: u64) -> bool {
    match source {
        MoneySource::Vouched => false,
        MoneySource::Balance => payment == 0,
        MoneySource::Payment => payment != 0 && (cold.payment == 0 || cold.payment == payment),
    }
}

/// What an envelope that is over came to: shares and money that left it by claims,
/// also those that were rejected later, and money put in.
pub(super) fn came_to(slot: &Slot, cold: &Cold) -> (u32, Fen, Fen) {
    let paid = if slot.header.is_paid() { cold.total } else { 0 };
    (slot.header.claimed, paid.saturating_sub(slot.header.unclaimed), paid)
}

/// When time ends an envelope that was just ordered: it expires or, where its
/// money must come first, lapses.
pub(super) fn ends_at(record: &Issued) -> UnixSeconds {
    let is_open = record.source == MoneySource::Vouched;
    record.at.saturating_add(if is_open { record.lifetime_s } else { record.pay_within_s })
}

fn header_of(record: &Issued) -> Header {
    let is_open = record.source == MoneySource::Vouched;
    Header {
        generation: record.envelope.generation(),
        state: if is_open { EnvelopeState::Open } else { EnvelopeState::Reserved },
        has_terms: record.terms_parts > 0,
        split: record.split,
        marks: Marks::of(record.source),
        shares: record.shares,
        claimed: 0,
        expires_at: ends_at(record),
        unclaimed: record.total,
        seed: record.seed,
        share_max: record.share_max,
    }
}

fn cold_of(record: &Issued) -> Cold {
    let is_open = record.source == MoneySource::Vouched;
    Cold {
        sender: record.sender,
        order: record.order,
        payment: record.payment,
        total: record.total,
        waited: 0,
        created_at: record.at,
        ended_at: if is_open { 0 } else { record.lifetime_s },
        nonce: record.nonce,
    }
}
