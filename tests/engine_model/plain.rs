//! An envelope without slots, classes or seeds, and the rules of an order:
//! what DOMAIN says, written down directly.

use std::collections::HashMap;

use hongbao::engine::Outcome;
use hongbao::units::{EnvelopeState, Fen, Split};
use hongbao::wire::{BadRequest, Row, SendOrder, Summary};

/// An envelope as anyone would write it down.
pub(crate) struct Plain {
    pub(crate) order: SendOrder,
    pub(crate) created_at: u32,
    pub(crate) state: EnvelopeState,
    pub(crate) rows: Vec<Row>,
    pub(crate) shares_of: HashMap<u64, u32>,
    pub(crate) refunded: Fen,
}

impl Plain {
    pub(crate) fn claimed_fen(&self) -> Fen {
        self.rows.iter().map(|row| u64::from(row.amount)).sum()
    }

    pub(crate) fn rest(&self) -> Fen {
        self.order.total - self.claimed_fen()
    }

    pub(crate) fn expires_at(&self) -> u32 {
        self.created_at + self.order.lifetime_s
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
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        let open = self.state == EnvelopeState::Open;
        Summary {
            sender: self.order.sender,
            order: self.order.order,
            payment: self.order.payment,
            total: self.order.total,
            left: if open { self.rest() } else { 0 },
            refunded: self.refunded,
            shares: self.order.shares,
            claimed: self.order.shares - self.shares_left(),
            share_max: self.order.share_max,
            created_at: self.created_at,
            expires_at: self.expires_at(),
            state: self.state,
            split: self.order.split,
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
    } else {
        None
    }
}
