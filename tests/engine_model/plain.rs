//! An envelope without slots, classes or seeds, and the rules of an order:
//! what DOMAIN says, written down directly.

use std::collections::HashMap;

use hongbao::engine::Outcome;
use hongbao::units::{EnvelopeState, Fen, MoneySource, Split, UserId, VoidCause};
use hongbao::wire::{BadRequest, Row, SendOrder, Summary};

use crate::PAY_WITHIN_S;

/// An envelope as anyone would write it down.
pub(crate) struct Plain {
    /// As it was ordered; the reference of its payment may be another.
    pub(crate) order: SendOrder,
    pub(crate) payment: u64,
    pub(crate) ordered_at: u32,
    /// When it opened.
    pub(crate) opened_at: Option<u32>,
    pub(crate) state: EnvelopeState,
    pub(crate) cause: Option<VoidCause>,
    pub(crate) returned: bool,
    pub(crate) rows: Vec<Row>,
    pub(crate) shares_of: HashMap<u64, u32>,
    pub(crate) refunded: Fen,
}

impl Plain {
    pub(crate) fn new(order: SendOrder, ordered_at: u32) -> Self {
        let is_open = order.source == MoneySource::Vouched;
        Self {
            order,
            payment: order.payment,
            ordered_at,
            opened_at: is_open.then_some(ordered_at),
            state: if is_open { EnvelopeState::Open } else { EnvelopeState::Reserved },
            cause: None,
            returned: false,
            rows: Vec::new(),
            shares_of: HashMap::new(),
            refunded: 0,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state, EnvelopeState::Open | EnvelopeState::Reserved)
    }

    /// Whether this may be the payment that it waits for or has had.
    pub(crate) fn accepts(&self, payment: u64, amount: Fen) -> bool {
        self.order.source == MoneySource::Payment
            && amount == self.order.total
            && (self.payment == 0 || self.payment == payment)
    }

    /// The earliest of the largest shares, once all are taken.
    fn luckiest(&self) -> Option<(UserId, Fen)> {
        let most = self.rows.iter().map(|row| row.amount).max()?;
        let first = self.rows.iter().find(|row| row.amount == most)?;
        (self.shares_left() == 0).then_some((first.user, most.into()))
    }

    pub(crate) fn claimed_fen(&self) -> Fen {
        self.rows.iter().map(|row| u64::from(row.amount)).sum()
    }

    pub(crate) fn rest(&self) -> Fen {
        self.order.total - self.claimed_fen()
    }

    /// When time ends it: it expires or, while it waits, lapses.
    pub(crate) fn ends_at(&self) -> u32 {
        match self.state {
            EnvelopeState::Reserved => self.ordered_at + PAY_WITHIN_S,
            _ => self.opened_at.unwrap_or(self.ordered_at) + self.order.lifetime_s,
        }
    }

    pub(crate) fn shares_left(&self) -> u32 {
        self.order.shares - u32::try_from(self.rows.len()).expect("within shares")
    }

    pub(crate) fn closed(&self) -> Option<Outcome> {
        match self.state {
            EnvelopeState::Open => None,
            EnvelopeState::Exhausted => Some(Outcome::SoldOut),
            EnvelopeState::Expired => Some(Outcome::Expired),
            EnvelopeState::Cancelled => Some(Outcome::Cancelled),
            EnvelopeState::Reserved => Some(Outcome::NotPaid),
            EnvelopeState::Voided => Some(Outcome::NeverPaid),
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        let open = self.state == EnvelopeState::Open;
        Summary {
            sender: self.order.sender,
            order: self.order.order,
            payment: self.payment,
            total: self.order.total,
            left: if open { self.rest() } else { 0 },
            refunded: self.refunded,
            shares: self.order.shares,
            claimed: self.order.shares - self.shares_left(),
            share_max: self.order.share_max,
            created_at: self.opened_at.unwrap_or(self.ordered_at),
            expires_at: self.ends_at(),
            state: self.state,
            split: self.order.split,
            source: self.order.source,
            luckiest: self.luckiest(),
        }
    }

    /// Whether this amount may be the next share, by the rules alone.
    pub(crate) fn allows(&self, amount: Fen) -> bool {
        let (left, others) = (self.rest(), u64::from(self.shares_left() - 1));
        let share_max = u64::from(self.order.share_max);
        let cap = if share_max == 0 { u64::from(u32::MAX) } else { share_max };
        let rest_is_right = match others {
            0 => amount == left,
            _ => left >= amount + others && left - amount <= others * cap,
        };
        let is_equal = amount == left.div_ceil(others + 1);
        (1..=cap).contains(&amount)
            && rest_is_right
            && (self.order.split != Split::Equal || is_equal)
    }
}

pub(crate) fn broken_rule(order: &SendOrder) -> Option<BadRequest> {
    let shares = u64::from(order.shares);
    let cap = if order.share_max == 0 { u64::from(u32::MAX) } else { u64::from(order.share_max) };
    let crowd = order.split == Split::LineCutting && order.shares > 1000;
    if shares == 0 || shares > 3000 || crowd {
        Some(BadRequest::Shares)
    } else if order.total < shares || order.total > 10_000_000.min(shares * 20_000) {
        Some(BadRequest::Total)
    } else if order.total > shares * cap {
        Some(BadRequest::ShareMax)
    } else if order.lifetime_s == 0 || order.lifetime_s > 86_400 {
        Some(BadRequest::Lifetime)
    } else if order.source == MoneySource::Balance && order.payment != 0 {
        Some(BadRequest::Payment)
    } else {
        None
    }
}
