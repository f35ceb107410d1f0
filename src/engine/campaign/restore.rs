//! Campaigns out of an image and the records after it.

use super::super::class::SlotRef;
use super::super::slice::{BadImage, Head, word_at};
use super::super::slots::Slot;
use super::super::{Engine, Misfit, Record, Restoring};
use super::Campaign;
use crate::units::{EnvelopeId, Split};

impl Restoring {
    /// Takes over a campaign of an image.
    pub(in super::super) fn load_campaign(
        &mut self,
        head: &Head,
        body: &[u8],
    ) -> Result<u64, BadImage> {
        let id = EnvelopeId(head.subject);
        if !self.is_ours(id.partition()) {
            return Ok(0);
        }
        if self.engine.campaigns.find(id).is_some() {
            return Err(BadImage::Repeated);
        }
        let words = (0..head.body_words).map(|n| word_at(body, n).unwrap_or_default());
        let campaign = Campaign::load(id, head.position, words).ok_or(BadImage::Unsound(id))?;
        self.engine.campaigns.insert(campaign);
        Ok(0)
    }

    /// What a record does to campaigns. Each was copied at a position of its
    /// own; one that is not there was forgotten before that.
    pub(in super::super) fn plan_one(&mut self, end: u64, record: &Record) -> Result<(), Misfit> {
        let campaigns = &mut self.engine.campaigns;
        match record {
            Record::Issued(issued) if issued.split == Split::Prizes => {
                if campaigns.find(issued.envelope).is_none() {
                    campaigns.insert(Campaign::ordered(issued.envelope));
                }
                Ok(())
            }
            Record::Planned(planned) => match campaigns.find_mut(planned.envelope) {
                Some(campaign) if campaign.copied_at < end => campaign.plan(planned),
                _ => Ok(()),
            },
            Record::Commanded(commanded) => match campaigns.find_mut(commanded.envelope) {
                Some(campaign) if campaign.copied_at < end => campaign.command(commanded),
                _ => Ok(()),
            },
            Record::Recycled(recycled) => {
                campaigns.remove(recycled.envelope);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Engine {
    /// Counts the wins of a campaign anew.
    pub(in super::super) fn recount(
        &mut self,
        reference: SlotRef,
        slot: &Slot,
    ) -> Result<(), Misfit> {
        let id = self.slots.id_of(reference, slot.header.generation).unwrap_or_default();
        let campaign = self.campaigns.find_mut(id).ok_or(Misfit::Contradiction(id))?;
        self.slots.rows(*slot, 0).for_each(|win| campaign.count(&win));
        campaign.copied_at = 0;
        Ok(())
    }

    /// Every campaign has its envelope.
    pub(in super::super) fn check_campaigns(&self) -> Result<(), Misfit> {
        let is_one = |slot: Slot| slot.header.split == Split::Prizes;
        let mut ids = self.campaigns.iter().map(|campaign| campaign.envelope);
        let without = ids.find(|id| !self.slots.get(*id).is_some_and(is_one));
        without.map_or(Ok(()), |id| Err(Misfit::Contradiction(id)))
    }
}
