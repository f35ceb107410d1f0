//! The only way the state changes: a record is applied, or refused whole.
//!
//! The same transitions run after a decision and in recovery. Nothing is
//! decided here; it is checked that the record fits before anything is touched,
//! and the tables derived from envelopes are kept in step.

use super::campaign::Campaign;
use super::class::SlotRef;
use super::slots::Vacancy;
use super::transition::ends_at;
use super::{
    Claimed, Closed, Commanded, Engine, Issued, Misfit, Paid, Planned, Record, Recycled, Returned,
    TermsPart, Voided,
};
use crate::planted::{Bug, is_planted};
use crate::units::{EnvelopeId, MoneySource, Split, UnixSeconds};
use crate::wire::Row;

impl Engine {
    /// Applies a record. On `Err` nothing has changed; no record whatsoever
    /// makes it panic.
    #[inline]
    pub fn apply(&mut self, record: &Record) -> Result<(), Misfit> {
        match record {
            Record::Claimed(claimed) => self.apply_claimed(claimed),
            rarer => self.apply_rarer(rarer),
        }
    }

    /// All records but the claims, which are nearly all there are and need no call.
    fn apply_rarer(&mut self, record: &Record) -> Result<(), Misfit> {
        match record {
            Record::Claimed(claimed) => self.apply_claimed(claimed),
            Record::Issued(issued) => self.apply_issued(issued),
            Record::Closed(closed) => self.apply_closed(closed),
            Record::Recycled(recycled) => self.apply_recycled(recycled),
            Record::Paid(paid) => self.apply_paid(paid),
            Record::Voided(voided) => self.apply_voided(voided),
            Record::Returned(returned) => self.apply_returned(returned),
            Record::TermsPart(part) => self.stage(part),
            Record::Guessed(guessed) => self.apply_guessed(guessed),
            Record::Planned(planned) => self.apply_planned(planned),
            Record::Commanded(commanded) => self.apply_commanded(commanded),
            Record::Held(held) => self.apply_held(held),
            Record::Resolved(resolved) => self.apply_resolved(resolved),
            Record::Marked(marked) => self.apply_marked(marked),
            Record::Denied(_) => Ok(()), // nothing was changed by it
            Record::Tagged(_) => {
                self.remember(record);
                Ok(())
            }
        }
    }

    /// Takes a part of the terms of the order that comes next.
    pub(super) fn stage(&mut self, part: &TermsPart) -> Result<(), Misfit> {
        let is_next = self.staged.take(part);
        if is_next { Ok(()) } else { Err(Misfit::Contradiction(part.envelope)) }
    }

    /// The envelope gets the slot that its id names, whichever would be next:
    /// records are not decided again.
    fn apply_issued(&mut self, record: &Issued) -> Result<(), Misfit> {
        if self.orders.find(&self.slots, record.sender, record.order).is_some() {
            return Err(Misfit::Contradiction(record.envelope));
        }
        let terms = self.staged.of(record).ok_or(Misfit::Contradiction(record.envelope))?;
        let (vacancy, tail) = self.slots.vacancy_for(record, terms)?;
        let is_campaign = record.split == Split::Prizes;
        let has_room = !is_campaign || self.campaigns.has_room();
        if self.live >= self.capacity.envelopes || !has_room {
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
        let terms = self.staged.of(record).unwrap_or_default();
        let slot = self.slots.open(&vacancy, page, record, (tail, terms)).ok_or(Misfit::Full)?;
        self.wheel.link(&mut self.slots, slot, ends_at(record), record.at);
        if !(is_planted(Bug::OrderForgotten) && record.order.is_multiple_of(16)) {
            self.orders.insert(&self.slots, slot);
        }
        if record.source == MoneySource::Vouched {
            self.totals.fund(record.total);
        } else {
            self.totals.reserve();
        }
        if let Some(senders) = &mut self.senders {
            senders.ordered(record.sender, record.total, record.at);
        }
        if is_campaign {
            self.campaigns.insert(Campaign::ordered(record.envelope));
        }
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
        let claim = self.slots.claim(record)?;
        if claim.is_win {
            self.count_win(record);
        }
        let exhausted = claim.exhausted;
        if let Some(slot) = exhausted {
            self.end(slot, record.at);
            if !self.risk.holds.is_empty() {
                self.renew_luckiest(record.envelope);
            }
        }
        self.totals.claim(u64::from(record.amount), exhausted.is_some());
        Ok(())
    }

    /// Notes that an envelope is over; it is recycled when its retention is.
    #[inline]
    pub(super) fn end(&mut self, slot: SlotRef, ended_at: UnixSeconds) {
        let class = self.slots.key(slot.page()).class();
        self.retained_of(class).push(slot, ended_at);
        if self.senders.is_some() {
            self.end_of_senders(slot);
        }
    }

    #[cold]
    fn end_of_senders(&mut self, slot: SlotRef) {
        if let (Some(senders), Some(cold)) = (&mut self.senders, self.slots.cold(slot)) {
            senders.ended(cold.sender);
        }
    }

    #[cold]
    fn count_win(&mut self, record: &Claimed) {
        let &Claimed { envelope, user, amount, at, .. } = record;
        if let Some(campaign) = self.campaigns.find_mut(envelope) {
            campaign.count(&Row { user, amount, at });
        }
    }

    fn apply_planned(&mut self, record: &Planned) -> Result<(), Misfit> {
        self.campaign_mut(record.envelope)?.plan(record)
    }

    fn apply_commanded(&mut self, record: &Commanded) -> Result<(), Misfit> {
        self.campaign_mut(record.envelope)?.command(record)
    }

    fn campaign_mut(&mut self, envelope: EnvelopeId) -> Result<&mut Campaign, Misfit> {
        self.campaigns.find_mut(envelope).ok_or(Misfit::NotOpen(envelope))
    }

    fn apply_closed(&mut self, record: &Closed) -> Result<(), Misfit> {
        if self.withheld(record.envelope).held_fen != record.held {
            return Err(Misfit::Contradiction(record.envelope));
        }
        let slot = self.slots.close(record)?;
        self.end(slot, record.at);
        self.totals.close(record.refunded);
        Ok(())
    }

    /// The envelope leaves the list of those that lapse for the one of those
    /// that expire.
    fn apply_paid(&mut self, record: &Paid) -> Result<(), Misfit> {
        let slot = self.slots.pay(record)?;
        let (reference, expires_at) = (slot.reference(), slot.header.expires_at);
        self.wheel.unlink(&mut self.slots, reference);
        self.wheel.link(&mut self.slots, reference, expires_at, record.at);
        self.totals.pay(record.total);
        Ok(())
    }

    fn apply_voided(&mut self, record: &Voided) -> Result<(), Misfit> {
        let slot = self.slots.void(record)?;
        self.wheel.unlink(&mut self.slots, slot);
        self.end(slot, record.at);
        if let (Some(senders), Some(cold)) = (&mut self.senders, self.slots.cold(slot)) {
            senders.voided(cold.sender, cold.total, cold.created_at);
        }
        self.totals.reserved -= 1;
        self.note(&Record::Voided(*record));
        Ok(())
    }

    fn apply_returned(&mut self, record: &Returned) -> Result<(), Misfit> {
        self.slots.give_back(record)?;
        self.note(&Record::Returned(*record));
        Ok(())
    }

    /// Counts what only the archive of a partition remembers.
    fn note(&mut self, record: &Record) {
        self.totals.note(record);
        self.archived[usize::from(record.envelope().partition())].note(record);
    }

    /// After this the envelope's id names nothing, its order is forgotten, and
    /// what it came to is in the archive of its partition.
    fn apply_recycled(&mut self, record: &Recycled) -> Result<(), Misfit> {
        let withheld = self.withheld(record.envelope);
        if withheld.held > 0 {
            return Err(Misfit::NotClosed(record.envelope));
        }
        let rejected = (withheld.rejected, withheld.rejected_fen);
        let slot = self.slots.recyclable(record, rejected)?;
        let reference = slot.reference();
        self.wheel.unlink(&mut self.slots, reference);
        self.orders.remove(&self.slots, reference);
        self.retained_of(slot.class).remove(reference);
        if let (Some(senders), Some(cold)) = (&mut self.senders, self.slots.cold(reference)) {
            senders.forgot(cold.sender);
        }
        if slot.header.split == Split::Prizes {
            self.campaigns.remove(record.envelope);
        }
        if !self.risk.holds.is_empty() {
            self.risk.holds.forget(record.envelope);
        }
        self.slots.free(&slot);
        self.vacancies.put(&mut self.slots, reference);
        self.archive(record);
        self.live -= 1;
        Ok(())
    }
}
