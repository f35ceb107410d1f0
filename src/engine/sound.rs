//! Whether an envelope that comes out of an image can have come about.
//!
//! A checksum says that an image is what was written; this says that no
//! envelope in it can break a sum or a bound later, whoever wrote it.

use super::class::{Class, PageKey};
use super::cold::{Cold, QUARTER_S};
use super::header::Header;
use super::marks::Marks;
use super::rules::is_drawable_total;
use super::slots::{Slot, Slots};
use super::tail::Tail;
use super::{partition_of, split};
use crate::limits::PAY_WITHIN_S_MAX;
use crate::units::{EnvelopeState, MoneySource, VoidCause};

/// Whether an envelope's header, cold side and tail fit each other and their
/// page. Its claims must add up, too: [`Slots::rows_add_up`].
pub(super) fn is_sound(header: &Header, cold: &Cold, key: PageKey, tail: Tail) -> bool {
    let &Header { generation, shares, claimed, unclaimed, share_max, .. } = header;
    generation > 0
        && claimed <= shares
        && unclaimed <= cold.total
        && header.expires_at >= cold.created_at
        && Class::of(shares, tail.rows()) == key.class()
        && partition_of(cold.sender) == key.partition()
        && is_drawable_total(cold.total, shares, share_max, header.split)
        && match header.state {
            EnvelopeState::Exhausted => claimed == shares && unclaimed == 0,
            _ => split::feasible(unclaimed, shares - claimed, share_max),
        }
        && header.marks.sound_source().is_some_and(|source| match header.state {
            EnvelopeState::Reserved => is_sound_reserved(header, cold, source),
            EnvelopeState::Voided => is_sound_voided(header, cold, source),
            _ => is_sound_paid(header, cold, source),
        })
}

/// Whether the marks, the payment and the wait of an order are those of one
/// that was not paid.
fn is_sound_unpaid(header: &Header, cold: &Cold, source: MoneySource) -> bool {
    header.claimed == 0
        && header.unclaimed == cold.total
        && cold.waited == 0
        && match source {
            MoneySource::Vouched => false,
            MoneySource::Balance => cold.payment == 0,
            MoneySource::Payment => true,
        }
}

fn is_sound_reserved(header: &Header, cold: &Cold, source: MoneySource) -> bool {
    is_sound_unpaid(header, cold, source)
        && header.marks == Marks::of(source)
        && (1..=PAY_WITHIN_S_MAX).contains(&(header.expires_at - cold.created_at))
        && header.expires_at.checked_add(cold.ended_at).is_some()
}

fn is_sound_voided(header: &Header, cold: &Cold, source: MoneySource) -> bool {
    let marks = header.marks;
    let by_ledger = marks.cause() == Some(VoidCause::Refused);
    let may_return = source == MoneySource::Payment && cold.payment != 0;
    is_sound_unpaid(header, cold, source)
        && marks.cause().is_some()
        && (!by_ledger || source == MoneySource::Balance)
        && (!marks.is_returned() || may_return)
        && (!marks.is_named_later() || marks.is_returned())
}

fn is_sound_paid(header: &Header, cold: &Cold, source: MoneySource) -> bool {
    let fresh = Marks::of(source);
    let paid_as_ordered = header.marks == fresh;
    cold.waited <= cold.created_at / QUARTER_S
        && match source {
            MoneySource::Vouched => paid_as_ordered && cold.waited == 0,
            MoneySource::Balance => paid_as_ordered && cold.payment == 0,
            MoneySource::Payment => {
                cold.payment != 0 && (paid_as_ordered || header.marks == fresh.named_later(true))
            }
        }
}

impl Slots {
    /// Whether what was claimed is what is missing from the total.
    pub(super) fn rows_add_up(&self, slot: &Slot, cold: &Cold) -> bool {
        let amounts = (0..slot.header.claimed).map(|rank| u64::from(self.row(slot, rank).amount));
        amounts.sum::<u64>() == cold.total - slot.header.unclaimed
    }
}
