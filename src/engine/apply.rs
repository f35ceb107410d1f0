//! The only way the state changes: a record is applied, or refused whole.
//!
//! The same transitions run after a decision and in recovery. Nothing is
//! decided here; it is checked that the record fits before anything is touched,
//! and the tables derived from envelopes are kept in step.

use super::class::SlotRef;
use super::slots::Vacancy;
use super::{Claimed, Closed, Engine, Issued, Misfit, Record, Recycled};
use crate::units::UnixSeconds;

impl Engine {
    /// Applies a record. On `Err` nothing has changed; no record whatsoever
    /// makes it panic.
    #[inline]
    pub fn apply(&mut self, record: &Record) -> Result<(), Misfit> {
        match record {
            Record::Claimed(claimed) => self.apply_claimed(claimed),
            Record::Issued(funded) => self.apply_issued(funded),
            Record::Closed(closed) => self.apply_closed(closed),
            Record::Recycled(recycled) => self.apply_recycled(recycled),
            Record::Paid(_) | Record::Voided(_) | Record::Returned(_) => {
                Err(Misfit::NotOpen(record.envelope()))
            }
        }
    }

    /// The envelope gets the slot that its id names, whichever would be next:
    /// records are not decided again.
    fn apply_issued(&mut self, record: &Issued) -> Result<(), Misfit> {
        if self.orders.find(&self.slots, record.sender, record.order).is_some() {
            return Err(Misfit::Contradiction(record.envelope));
        }
        let vacancy = self.slots.vacancy_for(record)?;
        if self.live >= self.capacity.envelopes {
            return Err(Misfit::Full);
        }
        let page = match vacancy.page {
            Some(page) => page,
            None => self.make_page(&vacancy)?,
        };
        if vacancy.run_order.is_some() {
            self.vacancies.saw_large(&vacancy);
        } else {
            self.vacancies.take(&mut self.slots, SlotRef::new(page, vacancy.block.slot()));
        }
        let slot = self.slots.open(&vacancy, page, record).ok_or(Misfit::Full)?;
        let expires_at = record.at.saturating_add(record.lifetime_s);
        self.wheel.link(&mut self.slots, slot, expires_at, record.at);
        self.orders.insert(&self.slots, slot);
        self.totals.fund(record.total);
        self.live += 1;
        Ok(())
    }

    fn make_page(&mut self, vacancy: &Vacancy) -> Result<u32, Misfit> {
        let key = vacancy.block.page_key(u32::from(vacancy.envelope.partition()));
        let page = self.slots.make_page(key).ok_or(Misfit::Full)?;
        self.vacancies.add_page(&mut self.slots, page);
        Ok(page)
    }

    #[inline]
    fn apply_claimed(&mut self, record: &Claimed) -> Result<(), Misfit> {
        let exhausted = self.slots.claim(record)?;
        if let Some(slot) = exhausted {
            self.retain(slot, record.at);
        }
        self.totals.claim(u64::from(record.amount), exhausted.is_some());
        Ok(())
    }

    /// Notes that an envelope is closed; it is recycled when its retention is
    /// over.
    #[inline]
    fn retain(&mut self, slot: SlotRef, closed_at: UnixSeconds) {
        let class = self.slots.key(slot.page()).class();
        self.retained_of(class).push(slot, closed_at);
    }

    fn apply_closed(&mut self, record: &Closed) -> Result<(), Misfit> {
        let slot = self.slots.close(record)?;
        self.retain(slot, record.at);
        self.totals.close(record.refunded);
        Ok(())
    }

    /// After this the envelope's id names nothing, its order is forgotten, and
    /// what it came to is in the archive of its partition.
    fn apply_recycled(&mut self, record: &Recycled) -> Result<(), Misfit> {
        let slot = self.slots.recyclable(record)?;
        let reference = slot.reference();
        self.wheel.unlink(&mut self.slots, reference);
        self.orders.remove(&self.slots, reference);
        self.retained_of(slot.class).remove(reference);
        self.slots.free(&slot);
        self.vacancies.put(&mut self.slots, reference);
        self.archive(record);
        self.live -= 1;
        Ok(())
    }
}
