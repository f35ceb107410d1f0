//! What an image holds, envelope by envelope, for a reader that keeps accounts
//! of its own and applies nothing.

use super::{Plan, Restoring};
use crate::units::{EnvelopeId, EnvelopeState, Fen, MoneySource, Seed, Split, UnixSeconds, UserId};
use crate::wire::{CampaignPhase, Row};

/// An envelope as it was when its part of the image was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub envelope: EnvelopeId,
    /// Who ordered it.
    pub sender: UserId,
    /// The sender's number for the order.
    pub order: u64,
    /// The payment's reference; 0 where none is known.
    pub payment: u64,
    /// Where the money comes from.
    pub source: MoneySource,
    /// The money that was, or was to be, put in, in fen.
    pub total: Fen,
    /// The money that nobody claimed, in fen; the total before it is paid.
    pub unclaimed: Fen,
    /// Into how many shares it is cut.
    pub shares: u32,
    /// How many of them are claimed.
    pub claimed: u32,
    /// The sender's cap of a share, in fen; 0 is none.
    pub share_max: u32,
    /// How long it may be claimed, in seconds, while it is reserved; of others it
    /// is not kept, and 0 here.
    pub lifetime_s: u32,
    /// When it expires; while it is reserved, when it lapses.
    pub until: UnixSeconds,
    /// The rule of the cut.
    pub split: Split,
    /// The secret of the draws.
    pub seed: Seed,
    /// Where it is in its life.
    pub state: EnvelopeState,
    /// Whether a late payment went back.
    pub is_returned: bool,
}

impl Restoring {
    /// Every envelope that was loaded, page by page.
    pub fn kept(&self) -> impl Iterator<Item = Kept> + '_ {
        let slots = &self.engine.slots;
        slots.iter().filter_map(|(envelope, slot)| {
            let (header, cold) = (slot.header, slots.cold(slot.reference())?);
            Some(Kept {
                envelope,
                sender: cold.sender,
                order: cold.order,
                payment: cold.payment,
                source: header.marks.source(),
                total: cold.total,
                unclaimed: header.unclaimed,
                shares: header.shares,
                claimed: header.claimed,
                share_max: header.share_max,
                lifetime_s: if header.is_reserved() { cold.ended_at } else { 0 },
                until: header.expires_at,
                split: header.split,
                seed: header.seed,
                state: header.state,
                is_returned: header.marks.is_returned(),
            })
        })
    }

    /// The claims of an envelope that was loaded, by rank.
    pub fn kept_rows(&self, envelope: EnvelopeId) -> impl Iterator<Item = Row> + '_ {
        let slots = &self.engine.slots;
        slots.get(envelope).into_iter().flat_map(|slot| slots.rows(slot, 0))
    }

    /// The bytes of the terms of an envelope that was loaded; none where it has
    /// none.
    pub fn kept_terms(&self, envelope: EnvelopeId) -> &[u8] {
        let slots = &self.engine.slots;
        slots.get(envelope).map_or(&[], |slot| slots.terms_bytes(&slot))
    }

    /// The plan of a campaign that was loaded, and where it was between its order
    /// and its end.
    pub fn kept_plan(&self, envelope: EnvelopeId) -> Option<(&Plan, CampaignPhase)> {
        let campaign = self.engine.campaigns.find(envelope)?;
        Some((&campaign.plan, campaign.phase))
    }

    /// Up to which position the plan of a campaign is in the image.
    pub fn kept_plan_upto(&self, envelope: EnvelopeId) -> u64 {
        let began = self.floors[usize::from(envelope.partition())];
        self.engine.campaigns.find(envelope).map_or(began, |kept| began.max(kept.copied_at))
    }

    /// Where the image of an envelope's partition began.
    pub fn kept_from(&self, envelope: EnvelopeId) -> u64 {
        self.floors[usize::from(envelope.partition())]
    }

    /// Up to which position the records of an envelope are in the image. They are
    /// there by whole batches.
    pub fn kept_upto(&self, envelope: EnvelopeId) -> u64 {
        let began = self.floors[usize::from(envelope.partition())];
        began.max(self.copied_at(envelope))
    }
}
