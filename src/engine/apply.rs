//! The only way the state changes: a record is applied, or refused whole.
//!
//! The same function runs after a decision and in recovery. It decides
//! nothing; it checks that the record fits before it touches anything.

use super::header::Header;
use super::orders::Order;
use super::rules::is_sound;
use super::slots::Slots;
use super::{Cause, Claimed, Closed, Engine, Funded, Misfit, Record, split};
use crate::units::EnvelopeState;
use crate::wire::Row;

impl Engine {
    /// Applies a record. On `Err` nothing has changed; no record whatsoever
    /// makes it panic.
    #[inline]
    pub fn apply(&mut self, record: &Record) -> Result<(), Misfit> {
        match record {
            Record::Claimed(claimed) => self.apply_claimed(claimed),
            Record::Funded(funded) => self.apply_funded(funded),
            Record::Closed(closed) => self.apply_closed(closed),
        }
    }

    fn apply_funded(&mut self, record: &Funded) -> Result<(), Misfit> {
        let &Funded { envelope, sender, order, total, shares, share_max, split, .. } = record;
        if !is_sound(total, shares, share_max, split) || self.orders.find(sender, order).is_some() {
            return Err(Misfit::Contradiction(envelope));
        }
        let vacancy = self.vacancy(sender, shares).ok_or(Misfit::Full)?;
        if vacancy.envelope != envelope {
            return Err(Misfit::EnvelopeOutOfTurn(envelope));
        }
        let order_ref = self.orders.len();
        let header = header_of(record, order_ref);
        self.slots.take(&vacancy, &header).ok_or(Misfit::Full)?;
        self.orders.push(order_of(record));
        self.expiries.push(header.expires_at, envelope);
        self.totals.fund(total);
        Ok(())
    }

    #[inline]
    fn apply_claimed(&mut self, record: &Claimed) -> Result<(), Misfit> {
        let &Claimed { envelope, user, amount, rank, at } = record;
        let mut slot = self.slots.get(envelope).ok_or(Misfit::NotOpen(envelope))?;
        if !slot.header.is_open() {
            return Err(Misfit::NotOpen(envelope));
        }
        let header = &slot.header;
        let fen = u64::from(amount);
        let (least, most) = split::bounds(header.unclaimed, header.shares_left(), header.share_max);
        let in_step = rank == rank_check(header.claimed) && (least..=most).contains(&fen);
        if !in_step || self.slots.rank_of(&slot, user).is_some() {
            return Err(Misfit::Contradiction(envelope));
        }
        self.slots.seat(&slot, Row { user, amount, at });
        slot.header.claimed += 1;
        slot.header.unclaimed -= fen;
        let exhausted = slot.header.shares_left() == 0;
        if exhausted {
            slot.header.state = EnvelopeState::Exhausted;
        }
        self.slots.put_header(&slot);
        self.totals.claim(fen, exhausted);
        Ok(())
    }

    fn apply_closed(&mut self, record: &Closed) -> Result<(), Misfit> {
        let &Closed { envelope, refunded, cause, .. } = record;
        let mut slot = self.slots.get(envelope).ok_or(Misfit::NotOpen(envelope))?;
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
        self.slots.put_header(&slot);
        self.totals.close(refunded);
        Ok(())
    }
}

/// The low 16 bits of a rank, as claim records carry them.
#[inline]
pub(super) fn rank_check(rank: u32) -> u16 {
    u16::try_from(rank & 0xffff).unwrap_or(u16::MAX)
}

fn header_of(record: &Funded, order_ref: u32) -> Header {
    Header {
        generation: Slots::generation(),
        state: EnvelopeState::Open,
        split: record.split,
        shares: record.shares,
        claimed: 0,
        expires_at: record.at.saturating_add(record.lifetime_s),
        unclaimed: record.total,
        seed: record.seed,
        order_ref,
        share_max: record.share_max,
    }
}

fn order_of(record: &Funded) -> Order {
    Order {
        sender: record.sender,
        number: record.order,
        payment: record.payment,
        envelope: record.envelope,
        total: record.total,
        created_at: record.at,
        lifetime_s: record.lifetime_s,
    }
}
