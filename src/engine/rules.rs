//! What an order may ask for.
//!
//! Two sets of rules: the operator's, which a new order must keep, and the
//! format's, which every record must keep whatever the operator has set since.

use super::senders::SenderLimits;
use super::{Issued, split};
use crate::limits::{
    CAMPAIGN_LIFETIME_S_MAX, CAMPAIGN_PRIZES_MAX, LINE_CUTTING_SHARES_MAX, PAY_WITHIN_S_MAX,
    TOTAL_FEN_MAX,
};
use crate::units::{Fen, MoneySource, Split, Time, UnixSeconds};
use crate::wire::{BadRequest, SendOrder, Terms};

/// The operator's limits for one envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeLimits {
    /// The most shares.
    pub shares_max: u32,
    /// The most money, in fen; never above `TOTAL_FEN_MAX`.
    pub total_fen_max: Fen,
    /// The most money for each share on average, in fen.
    pub share_mean_fen_max: Fen,
    /// The longest lifetime, in seconds.
    pub lifetime_s_max: u32,
    /// How long an order waits for its money, in seconds; from 1 to
    /// [`PAY_WITHIN_S_MAX`].
    pub pay_within_s: u32,
    /// What one sender may do.
    pub senders: SenderLimits,
}

impl EnvelopeLimits {
    /// The first rule that the order breaks, if it breaks one. The lifetime
    /// must end before the seconds do.
    pub(super) fn check(&self, order: &SendOrder, now: Time) -> Result<(), BadRequest> {
        if order.split == Split::Prizes {
            return check_campaign(order, self.wait_of(order), now);
        }
        let shares = u64::from(order.shares);
        let rules = [
            (self.allows_shares(order), BadRequest::Shares),
            ((shares..=self.total_max(shares)).contains(&order.total), BadRequest::Total),
            (order.total <= shares * split::cap(order.share_max), BadRequest::ShareMax),
            (self.allows_lifetime(order, now), BadRequest::Lifetime),
            (may_name(order.source, order.payment), BadRequest::Payment),
        ];
        rules.into_iter().find(|&(kept, _)| !kept).map_or(Ok(()), |(_, broken)| Err(broken))
    }

    /// Whether there can be a moment in the life of an order's envelope at which
    /// its terms let somebody claim. Until when it lives is not known before it
    /// is paid, so the latest counts. A campaign has a plan in their place: who
    /// shakes shows nothing.
    pub(super) fn allow_terms(&self, order: &SendOrder, said: &[u8], now: Time) -> bool {
        let Some(terms) = Terms::read(said) else { return false };
        let at = now.seconds();
        let over = end_of_days(at, self.wait_of(order), order.lifetime_s).unwrap_or(u32::MAX);
        terms.not_before.is_none_or(|from| from < over)
            && terms.not_after.is_none_or(|until| at < until)
            && !(terms.not_sender && terms.seed_user == Some(order.sender))
            && (said.is_empty() || order.split != Split::Prizes)
    }

    fn allows_lifetime(&self, order: &SendOrder, now: Time) -> bool {
        (1..=self.lifetime_s_max).contains(&order.lifetime_s)
            && end_of_days(now.seconds(), self.wait_of(order), order.lifetime_s).is_some()
    }

    /// How long an order may wait for its money, in seconds.
    pub(super) fn wait_of(&self, order: &SendOrder) -> u32 {
        if order.source == MoneySource::Vouched { 0 } else { self.pay_within_s }
    }

    fn allows_shares(&self, order: &SendOrder) -> bool {
        (1..=self.shares_max).contains(&order.shares) && is_drawable(order.split, order.shares)
    }

    fn total_max(&self, shares: u64) -> Fen {
        let by_mean = shares.saturating_mul(self.share_mean_fen_max);
        by_mean.min(self.total_fen_max).min(TOTAL_FEN_MAX)
    }
}

/// A campaign has bounds of its own: it is for a sponsor's crowd, not for a
/// chat. Its prizes are capped by the plan alone.
fn check_campaign(order: &SendOrder, wait_s: u32, now: Time) -> Result<(), BadRequest> {
    let prizes = u64::from(order.shares);
    let lifetime = (1..=CAMPAIGN_LIFETIME_S_MAX).contains(&order.lifetime_s)
        && end_of_days(now.seconds(), wait_s, order.lifetime_s).is_some();
    let rules = [
        ((1..=CAMPAIGN_PRIZES_MAX).contains(&order.shares), BadRequest::Shares),
        ((prizes..=TOTAL_FEN_MAX).contains(&order.total), BadRequest::Total),
        (order.share_max == 0 && order.total <= prizes * split::cap(0), BadRequest::ShareMax),
        (lifetime, BadRequest::Lifetime),
        (may_name(order.source, order.payment), BadRequest::Payment),
    ];
    rules.into_iter().find(|&(kept, _)| !kept).map_or(Ok(()), |(_, broken)| Err(broken))
}

/// Line cutting is for groups, not for crowds.
fn is_drawable(split: Split, shares: u32) -> bool {
    split != Split::LineCutting || shares <= LINE_CUTTING_SHARES_MAX
}

/// Whether an order from this source may name this payment: the balance has no
/// reference, and that of a payment may come with its confirmation.
fn may_name(source: MoneySource, payment: u64) -> bool {
    source != MoneySource::Balance || payment == 0
}

/// The latest moment at which an envelope can expire, if the seconds last so
/// long.
fn end_of_days(at: UnixSeconds, pay_within_s: u32, lifetime_s: u32) -> Option<UnixSeconds> {
    at.checked_add(pay_within_s)?.checked_add(lifetime_s)
}

/// Whether money, shares and times of a record are such that every share can
/// be drawn and every sum stays in range.
pub(super) fn is_sound(record: &Issued) -> bool {
    let &Issued { total, shares, share_max, split, source, payment, .. } = record;
    let waits = if source == MoneySource::Vouched { 0..=0 } else { 1..=PAY_WITHIN_S_MAX };
    is_drawable_total(total, shares, share_max, split)
        && waits.contains(&record.pay_within_s)
        && may_name(source, payment)
        && end_of_days(record.at, record.pay_within_s, record.lifetime_s).is_some()
}

/// Whether so much money can be cut into so many shares.
pub(super) fn is_drawable_total(total: Fen, shares: u32, share_max: u32, split: Split) -> bool {
    split::feasible(total, shares, share_max)
        && total <= TOTAL_FEN_MAX
        && is_drawable(split, shares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::UserId;

    const NOW: Time = Time(1_700_000_000_000);

    const LIMITS: EnvelopeLimits = EnvelopeLimits {
        shares_max: 2000,
        total_fen_max: 1_000_000,
        share_mean_fen_max: 20_000,
        lifetime_s_max: 86_400,
        pay_within_s: 900,
        senders: SenderLimits::NONE,
    };

    fn order(total: Fen, shares: u32, share_max: u32, split: Split) -> SendOrder {
        let (sender, order, payment) = (UserId(1), 2, 3);
        SendOrder {
            nonce: 0,
            source: MoneySource::Vouched,
            sender,
            order,
            payment,
            total,
            shares,
            lifetime_s: 60,
            share_max,
            split,
        }
    }

    fn check(total: Fen, shares: u32, share_max: u32, split: Split) -> Result<(), BadRequest> {
        LIMITS.check(&order(total, shares, share_max, split), NOW)
    }

    #[test]
    fn shares_are_from_1_to_the_limit_of_the_split() {
        use Split::{DoubleMean, Equal, LineCutting};
        assert_eq!(check(100, 0, 0, Equal), Err(BadRequest::Shares));
        assert_eq!(check(9000, 2000, 0, DoubleMean), Ok(()));
        assert_eq!(check(9000, 2001, 0, DoubleMean), Err(BadRequest::Shares));
        assert_eq!(check(9000, 1000, 0, LineCutting), Ok(()));
        assert_eq!(check(9000, 1001, 0, LineCutting), Err(BadRequest::Shares));
    }

    #[test]
    fn total_is_a_fen_a_share_at_least_and_within_both_limits() {
        assert_eq!(check(4, 5, 0, Split::Equal), Err(BadRequest::Total));
        assert_eq!(check(5, 5, 0, Split::Equal), Ok(()));
        assert_eq!(check(20_000, 1, 0, Split::Equal), Ok(()));
        assert_eq!(check(20_001, 1, 0, Split::Equal), Err(BadRequest::Total));
        assert_eq!(check(1_000_001, 2000, 0, Split::Equal), Err(BadRequest::Total));
    }

    #[test]
    fn caps_must_hold_the_total() {
        assert_eq!(check(100, 10, 10, Split::DoubleMean), Ok(()));
        assert_eq!(check(100, 10, 9, Split::DoubleMean), Err(BadRequest::ShareMax));
    }

    #[test]
    fn lifetime_is_from_1_to_the_limit() {
        for (lifetime_s, kept) in [(0, false), (1, true), (86_400, true), (86_401, false)] {
            let order = SendOrder { lifetime_s, ..order(100, 10, 0, Split::Equal) };
            assert_eq!(LIMITS.check(&order, NOW).is_ok(), kept);
        }
    }

    #[test]
    fn lifetimes_beyond_the_last_second_are_refused() {
        let endless = EnvelopeLimits { lifetime_s_max: u32::MAX, ..LIMITS };
        for (lifetime_s, kept) in [(9, true), (10, false), (u32::MAX, false)] {
            let order = SendOrder { lifetime_s, ..order(100, 10, 0, Split::Equal) };
            let late = Time(1000 * (u64::from(u32::MAX) - 9));
            assert_eq!(endless.check(&order, late).is_ok(), kept);
            let earlier = Time(late.0 - 900_000);
            let order = SendOrder { source: MoneySource::Payment, ..order };
            assert_eq!(endless.check(&order, earlier).is_ok(), kept, "it may wait, too");
        }
    }

    #[test]
    fn the_balance_has_no_reference_and_a_payment_may_get_one_later() {
        let order = order(100, 10, 0, Split::Equal);
        for (source, payment, kept) in [
            (MoneySource::Vouched, 0, Ok(())),
            (MoneySource::Vouched, 3, Ok(())),
            (MoneySource::Balance, 0, Ok(())),
            (MoneySource::Balance, 3, Err(BadRequest::Payment)),
            (MoneySource::Payment, 0, Ok(())),
            (MoneySource::Payment, 3, Ok(())),
        ] {
            assert_eq!(LIMITS.check(&SendOrder { payment, source, ..order }, NOW), kept);
        }
    }

    #[test]
    fn limits_without_end_still_keep_the_format_in_range() {
        let endless = EnvelopeLimits {
            shares_max: u32::MAX,
            total_fen_max: u64::MAX,
            share_mean_fen_max: u64::MAX,
            lifetime_s_max: u32::MAX,
            ..LIMITS
        };
        let order = order(TOTAL_FEN_MAX + 1, u32::MAX, u32::MAX, Split::Equal);
        assert_eq!(endless.check(&order, NOW), Err(BadRequest::Total));
        assert_eq!(endless.check(&SendOrder { total: TOTAL_FEN_MAX, ..order }, NOW), Ok(()));
    }

    #[test]
    fn a_campaign_has_bounds_of_its_own() {
        let campaign = order(500_000, 50_000, 0, Split::Prizes);
        let check = |order: SendOrder, wait_s| check_campaign(&order, wait_s, NOW);
        assert_eq!(check(campaign, 0), Ok(()));
        let most = CAMPAIGN_PRIZES_MAX;
        assert_eq!(
            check(SendOrder { shares: most, total: u64::from(most), ..campaign }, 0),
            Ok(())
        );
        let cap = split::cap(0);
        let dearest = SendOrder { shares: 2, total: 2 * cap, ..campaign };
        assert_eq!(check(dearest, 0), Ok(()));
        for (order, broken) in [
            (SendOrder { shares: 0, ..campaign }, BadRequest::Shares),
            (SendOrder { shares: most + 1, total: TOTAL_FEN_MAX, ..campaign }, BadRequest::Shares),
            (SendOrder { total: 49_999, ..campaign }, BadRequest::Total),
            (SendOrder { total: TOTAL_FEN_MAX + 1, ..campaign }, BadRequest::Total),
            (SendOrder { total: 2 * cap + 1, ..dearest }, BadRequest::ShareMax),
            (SendOrder { share_max: 5, ..campaign }, BadRequest::ShareMax),
            (SendOrder { lifetime_s: 0, ..campaign }, BadRequest::Lifetime),
            (
                SendOrder { lifetime_s: CAMPAIGN_LIFETIME_S_MAX + 1, ..campaign },
                BadRequest::Lifetime,
            ),
            (SendOrder { source: MoneySource::Balance, ..campaign }, BadRequest::Payment),
        ] {
            assert_eq!(check(order, 0), Err(broken), "{order:?}");
        }
        assert_eq!(check(campaign, u32::MAX), Err(BadRequest::Lifetime), "beyond all days");
    }

    #[test]
    fn a_window_closes_after_the_order() {
        let order = order(100, 10, 0, Split::Equal);
        for (until, is_allowed) in [(-1, false), (0, false), (1, true)] {
            let until = NOW.seconds().checked_add_signed(until);
            let terms = Terms { not_after: until, ..Terms::default() };
            assert_eq!(LIMITS.allow_terms(&order, &terms.to_bytes(), NOW), is_allowed, "{until:?}");
        }
    }

    #[test]
    fn a_window_opens_before_the_envelope_is_over() {
        let order = order(100, 10, 0, Split::Equal);
        let over = NOW.seconds() + order.lifetime_s;
        for (from, is_allowed) in [(over - 1, true), (over, false), (over + 1, false)] {
            let terms = Terms { not_before: Some(from), ..Terms::default() };
            assert_eq!(LIMITS.allow_terms(&order, &terms.to_bytes(), NOW), is_allowed, "{from}");
        }
    }
}
