//! What a record does to the envelope that it names.
//!
//! The same for an engine that decides and for one that is being restored: the
//! tables that are derived from envelopes are not touched here. Every function
//! checks that the record fits before it changes anything, and none panics,
//! whatever the record.

use super::class::SlotRef;
use super::cold::Cold;
use super::header::Header;
use super::rules::is_sound;
use super::slots::{NO_LINK, RUN_WORD, Slot, Slots, Vacancy};
use super::{Cause, Claimed, Closed, Issued, Misfit, Recycled, partition_of, split};
use crate::units::{EnvelopeState, UnixSeconds};
use crate::wire::Row;

impl Slots {
    /// The place that a funding names, if it can have it.
    pub(super) fn vacancy_for(&self, record: &Issued) -> Result<Vacancy, Misfit> {
        let envelope = record.envelope;
        if !is_sound(record) {
            return Err(Misfit::Contradiction(envelope));
        }
        if envelope.partition() != partition_of(record.sender) {
            return Err(Misfit::EnvelopeOutOfTurn(envelope));
        }
        self.vacancy(envelope, record.shares)
    }

    /// Puts the envelope into a vacancy that was found just before and whose
    /// page has been made.
    pub(super) fn open(
        &mut self,
        vacancy: &Vacancy,
        page: u32,
        record: &Issued,
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
        Some(slot)
    }

    /// Adds a claim; gives the slot of an envelope that is exhausted by it.
    #[inline]
    pub(super) fn claim(&mut self, record: &Claimed) -> Result<Option<SlotRef>, Misfit> {
        let &Claimed { envelope, user, amount, rank, at } = record;
        let mut slot = self.get(envelope).ok_or(Misfit::NotOpen(envelope))?;
        if !slot.header.is_open() {
            return Err(Misfit::NotOpen(envelope));
        }
        let header = &slot.header;
        let fen = u64::from(amount);
        let (least, most) = split::bounds(header.unclaimed, header.shares_left(), header.share_max);
        let in_step = rank == rank_check(header.claimed) && (least..=most).contains(&fen);
        if !in_step || self.rank_of(&slot, user).is_some() {
            return Err(Misfit::Contradiction(envelope));
        }
        self.seat(&slot, Row { user, amount, at });
        slot.header.claimed += 1;
        slot.header.unclaimed -= fen;
        let exhausted = slot.header.shares_left() == 0;
        if exhausted {
            slot.header.state = EnvelopeState::Exhausted;
        }
        self.put_progress(&slot);
        Ok(exhausted.then(|| slot.reference()))
    }

    /// Closes an envelope with money left.
    pub(super) fn close(&mut self, record: &Closed) -> Result<SlotRef, Misfit> {
        let &Closed { envelope, sender: _, refunded, cause, at } = record;
        let mut slot = self.get(envelope).ok_or(Misfit::NotOpen(envelope))?;
        if !slot.header.is_open() {
            return Err(Misfit::NotOpen(envelope));
        }
        if refunded != slot.header.unclaimed {
            return Err(Misfit::Contradiction(envelope));
        }
        slot.header.state = match cause {
            Cause::Expired => EnvelopeState::Expired,
            Cause::Cancelled => EnvelopeState::Cancelled,
        };
        self.put_progress(&slot);
        self.put_closed_at(slot.reference(), at);
        Ok(slot.reference())
    }

    /// The closed envelope that a recycling names, if its sums are right.
    pub(super) fn recyclable(&self, record: &Recycled) -> Result<Slot, Misfit> {
        let &Recycled { envelope, shares_claimed, claimed, total, .. } = record;
        let slot = self.get(envelope).ok_or(Misfit::NotClosed(envelope))?;
        if slot.header.is_open() {
            return Err(Misfit::NotClosed(envelope));
        }
        let cold = self.cold(slot.reference()).ok_or(Misfit::NotClosed(envelope))?;
        let same = (shares_claimed, total) == (slot.header.claimed, cold.total)
            && total.checked_sub(claimed) == Some(slot.header.unclaimed);
        if same { Ok(slot) } else { Err(Misfit::Contradiction(envelope)) }
    }

    /// Makes a slot free; its generation stays, so that no id comes twice.
    pub(super) fn free(&mut self, slot: &Slot) {
        if slot.class.is_large() {
            self.free_run(slot);
        }
        self.arena.put(slot.at, u64::from(slot.header.generation));
    }

    /// When a closed envelope was closed.
    pub(super) fn closed_at(&self, slot: &Slot, cold: &Cold) -> UnixSeconds {
        match slot.header.claimed.checked_sub(1) {
            Some(last) if slot.header.state == EnvelopeState::Exhausted => self.row(slot, last).at,
            _ => cold.closed_at,
        }
    }
}

/// The low 16 bits of a rank, as claim records carry them.
#[inline]
pub(super) fn rank_check(rank: u32) -> u16 {
    u16::try_from(rank & 0xffff).unwrap_or(u16::MAX)
}

fn header_of(record: &Issued) -> Header {
    Header {
        generation: record.envelope.generation(),
        state: EnvelopeState::Open,
        split: record.split,
        shares: record.shares,
        claimed: 0,
        expires_at: record.at.saturating_add(record.lifetime_s),
        unclaimed: record.total,
        seed: record.seed,
        share_max: record.share_max,
    }
}

fn cold_of(record: &Issued) -> Cold {
    Cold {
        sender: record.sender,
        order: record.order,
        payment: record.payment,
        total: record.total,
        created_at: record.at,
        closed_at: 0,
    }
}
