//! Whether an envelope that comes out of an image can have come about.
//!
//! A checksum says that an image is what was written; this says that no
//! envelope in it can break a sum or a bound later, whoever wrote it.

use super::class::{Class, PageKey};
use super::cold::Cold;
use super::header::Header;
use super::rules::is_drawable_total;
use super::slots::{Slot, Slots};
use super::{partition_of, split};
use crate::units::EnvelopeState;

/// Whether an envelope's header and cold side fit each other and their page.
/// Its claims must add up, too: [`Slots::rows_add_up`].
pub(super) fn is_sound(header: &Header, cold: &Cold, key: PageKey) -> bool {
    let &Header { generation, shares, claimed, unclaimed, share_max, .. } = header;
    generation > 0
        && claimed <= shares
        && unclaimed <= cold.total
        && header.expires_at >= cold.created_at
        && Class::of_shares(shares) == key.class()
        && partition_of(cold.sender) == key.partition()
        && is_drawable_total(cold.total, shares, share_max, header.split)
        && match header.state {
            EnvelopeState::Exhausted => claimed == shares && unclaimed == 0,
            _ => split::feasible(unclaimed, shares - claimed, share_max),
        }
}

impl Slots {
    /// Whether what was claimed is what is missing from the total.
    pub(super) fn rows_add_up(&self, slot: &Slot, cold: &Cold) -> bool {
        let amounts = (0..slot.header.claimed).map(|rank| u64::from(self.row(slot, rank).amount));
        amounts.sum::<u64>() == cold.total - slot.header.unclaimed
    }
}
