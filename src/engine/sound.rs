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
    let is_closed = matches!(header.state, EnvelopeState::Expired | EnvelopeState::Cancelled);
    (is_closed || cold.ended_at == 0)
        && cold.waited <= cold.created_at / QUARTER_S
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Fen, Seed, Split, UserId};

    const SENDER: UserId = UserId(3);

    fn header(state: EnvelopeState, marks: Marks, claimed: u32, unclaimed: Fen) -> Header {
        Header {
            generation: 1,
            state,
            has_terms: false,
            split: Split::DoubleMean,
            marks,
            shares: 5,
            claimed,
            expires_at: 2000,
            unclaimed,
            seed: Seed([1, 2]),
            share_max: 40,
        }
    }

    fn cold(payment: u64) -> Cold {
        Cold {
            sender: SENDER,
            order: 1,
            payment,
            total: 100,
            waited: 0,
            created_at: 1800,
            ended_at: 0,
            nonce: 0,
        }
    }

    fn is_it(header: &Header, cold: &Cold) -> bool {
        let page = Class::of(5, 0).block(0, 0).unwrap().page_key(partition_of(SENDER).into());
        is_sound(header, cold, page, Tail::NONE)
    }

    type Change = fn(&mut Header, &mut Cold);

    /// The envelope is sound, and with each of these changes alone it is not.
    fn each_is_unsound(header: Header, cold: Cold, changes: &[Change]) {
        assert!(is_it(&header, &cold), "{:?}", header.state);
        for (number, change) in changes.iter().enumerate() {
            let (mut header, mut cold) = (header, cold);
            change(&mut header, &mut cold);
            assert!(!is_it(&header, &cold), "{:?}: change {number}", header.state);
        }
    }

    #[test]
    fn an_open_envelope_keeps_every_bound() {
        let open = header(EnvelopeState::Open, Marks::of(MoneySource::Vouched), 2, 60);
        each_is_unsound(
            open,
            cold(9),
            &[
                |header, _| header.generation = 0,
                |header, _| header.claimed = 6,
                |header, _| (header.claimed, header.unclaimed) = (0, 101),
                |header, _| header.expires_at = 1799,
                |header, _| header.shares = 6,
                |_, cold| cold.sender = UserId(4),
                |_, cold| cold.total = 201,       // more than five of 40
                |header, _| header.unclaimed = 2, // less than a fen for each of three
                |header, _| header.unclaimed = 121,
                |header, _| header.marks = Marks::load(0xc).unwrap().1, // no source
                |header, _| header.marks = header.marks.named_later(true),
                |_, cold| cold.waited = 1,
                |_, cold| cold.ended_at = 1900,
                |header, _| header.state = EnvelopeState::Exhausted,
                |header, _| header.state = EnvelopeState::Reserved,
                |header, _| header.state = EnvelopeState::Voided,
            ],
        );
        each_is_unsound(Header { expires_at: 1800, ..open }, cold(9), &[]);
    }

    #[test]
    fn an_exhausted_envelope_has_nothing_left() {
        let exhausted = header(EnvelopeState::Exhausted, Marks::of(MoneySource::Vouched), 5, 0);
        each_is_unsound(
            exhausted,
            cold(9),
            &[
                |header, _| header.claimed = 4,
                |header, _| header.unclaimed = 1,
                |_, cold| cold.ended_at = 1900, // a claim does not come there
            ],
        );
        for state in [EnvelopeState::Expired, EnvelopeState::Cancelled] {
            let closed = header(state, Marks::of(MoneySource::Vouched), 2, 60);
            each_is_unsound(closed, Cold { ended_at: 1900, ..cold(9) }, &[]);
        }
    }

    #[test]
    fn a_paid_envelope_is_paid_as_it_was_ordered() {
        let balance = header(EnvelopeState::Open, Marks::of(MoneySource::Balance), 0, 100);
        each_is_unsound(
            balance,
            cold(0),
            &[
                |_, cold| cold.payment = 1,
                |header, _| header.marks = header.marks.returned(),
                |_, cold| cold.waited = 3, // before the beginning of time
            ],
        );
        each_is_unsound(balance, Cold { waited: 2, ..cold(0) }, &[]);
        let payment = Marks::of(MoneySource::Payment);
        for marks in [payment, payment.named_later(true)] {
            each_is_unsound(
                header(EnvelopeState::Open, marks, 0, 100),
                cold(7),
                &[
                    |_, cold| cold.payment = 0,
                    |header, _| header.marks = header.marks.returned(),
                    |header, _| header.marks = header.marks.voided(VoidCause::Lapsed),
                ],
            );
        }
    }

    #[test]
    fn a_reserved_envelope_waits_for_its_money() {
        for (source, payment) in
            [(MoneySource::Balance, 0), (MoneySource::Payment, 0), (MoneySource::Payment, 8)]
        {
            let reserved = header(EnvelopeState::Reserved, Marks::of(source), 0, 100);
            each_is_unsound(
                reserved,
                Cold { ended_at: 60, ..cold(payment) },
                &[
                    |header, _| (header.claimed, header.unclaimed) = (1, 99),
                    |header, _| header.unclaimed = 99,
                    |_, cold| cold.waited = 1,
                    |header, _| header.marks = header.marks.named_later(true),
                    |header, _| header.marks = Marks::of(MoneySource::Vouched),
                    |header, cold| header.expires_at = cold.created_at,
                    |header, cold| header.expires_at = cold.created_at + PAY_WITHIN_S_MAX + 1,
                    |_, cold| cold.ended_at = u32::MAX - 1999,
                ],
            );
            let last = Header { expires_at: 1800 + PAY_WITHIN_S_MAX, ..reserved };
            each_is_unsound(last, cold(payment), &[]);
        }
        let balance = header(EnvelopeState::Reserved, Marks::of(MoneySource::Balance), 0, 100);
        each_is_unsound(balance, cold(0), &[|_, cold| cold.payment = 1]);
    }

    #[test]
    fn a_voided_envelope_says_why_and_what_came_back() {
        let payment = Marks::of(MoneySource::Payment);
        for cause in [VoidCause::Lapsed, VoidCause::Withdrawn] {
            let voided = header(EnvelopeState::Voided, payment.voided(cause), 0, 100);
            each_is_unsound(
                voided,
                cold(0),
                &[
                    |header, _| header.marks = Marks::of(MoneySource::Payment),
                    |header, _| header.marks = header.marks.returned(), // of what payment?
                    |header, _| header.marks = header.marks.named_later(true),
                    |header, _| header.unclaimed = 0,
                    |header, _| header.marks = header.marks.voided(VoidCause::Refused),
                ],
            );
            let returned = Header { marks: voided.marks.returned(), ..voided };
            each_is_unsound(returned, cold(8), &[]);
            let named = Header { marks: returned.marks.named_later(true), ..voided };
            each_is_unsound(named, cold(8), &[|_, cold| cold.payment = 0]);
        }
        let balance = Marks::of(MoneySource::Balance).voided(VoidCause::Refused);
        each_is_unsound(
            header(EnvelopeState::Voided, balance, 0, 100),
            cold(0),
            &[|header, _| header.marks = header.marks.returned(), |_, cold| cold.payment = 1],
        );
    }
}
