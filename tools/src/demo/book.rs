//! What the clients were told: every acknowledged answer of the demo.
//!
//! The book never asks the server; it is what the server is checked against.

use std::collections::HashMap;

use hongbao::units::{EnvelopeId, Fen, UserId};
use hongbao::wire::{Request, SendOrder, Status};

/// A share that somebody was told to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Its amount, as told first.
    pub(super) amount: Fen,
    /// Whether it was told as newly won, rather than as won before.
    pub(super) as_new: bool,
}

/// The book.
#[derive(Default)]
pub(super) struct Book {
    /// Every envelope, with its order.
    pub(super) envelopes: HashMap<EnvelopeId, SendOrder>,
    /// Every share.
    pub(super) claims: HashMap<(EnvelopeId, UserId), Told>,
    /// Every refund by cancellation.
    pub(super) refunds: HashMap<EnvelopeId, Fen>,
    orders: HashMap<(UserId, u64), EnvelopeId>,
    /// Shares told as new twice, and orders told two envelopes.
    pub(super) twice: u64,
    /// By how much later answers differ from the first.
    pub(super) changed_fen: Fen,
}

impl Book {
    /// Enters an answer.
    pub(super) fn enter(&mut self, request: &Request, status: Status, number: Option<u64>) {
        let (Status::Ok | Status::AlreadyClaimed, Some(number)) = (status, number) else {
            return; // a refusal, or a look: nothing was promised
        };
        match *request {
            Request::Send(order) => self.enter_send(&order, EnvelopeId(number)),
            Request::Claim { envelope, user } => {
                let told = Told { amount: number, as_new: status == Status::Ok };
                self.enter_claim((envelope, user), told);
            }
            Request::Cancel { envelope, .. } => {
                let first = *self.refunds.entry(envelope).or_insert(number);
                self.changed_fen += first.abs_diff(number);
            }
            _ => {}
        }
    }

    fn enter_send(&mut self, order: &SendOrder, envelope: EnvelopeId) {
        let first = *self.orders.entry((order.sender, order.order)).or_insert(envelope);
        if first != envelope {
            self.twice += 1;
        }
        self.envelopes.insert(envelope, *order);
    }

    fn enter_claim(&mut self, share: (EnvelopeId, UserId), told: Told) {
        let Some(first) = self.claims.get_mut(&share) else {
            self.claims.insert(share, told);
            return;
        };
        self.changed_fen += first.amount.abs_diff(told.amount);
        if first.as_new && told.as_new {
            self.twice += 1; // the first decision had been forgotten
        }
        first.as_new |= told.as_new;
    }

    /// How many promises the book holds.
    pub(super) fn promises(&self) -> u64 {
        let count = self.envelopes.len() + self.claims.len() + self.refunds.len();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// All the money that was sent.
    pub(super) fn sent_fen(&self) -> Fen {
        self.envelopes.values().map(|order| order.total).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Request = Request::Claim { envelope: EnvelopeId(1), user: UserId(2) };

    #[test]
    fn a_repeated_answer_that_agrees_is_no_news() {
        let mut book = Book::default();
        book.enter(&CLAIM, Status::Ok, Some(50));
        book.enter(&CLAIM, Status::AlreadyClaimed, Some(50));
        book.enter(&CLAIM, Status::SoldOut, None);
        assert_eq!((book.twice, book.changed_fen, book.promises()), (0, 0, 1));
    }

    #[test]
    fn a_share_won_twice_or_of_another_amount_is_noticed() {
        let mut book = Book::default();
        book.enter(&CLAIM, Status::Ok, Some(50));
        book.enter(&CLAIM, Status::Ok, Some(50));
        book.enter(&CLAIM, Status::AlreadyClaimed, Some(48));
        assert_eq!((book.twice, book.changed_fen), (1, 2));
    }

    #[test]
    fn a_repeat_overtaking_the_first_answer_is_no_second_win() {
        let mut book = Book::default();
        book.enter(&CLAIM, Status::AlreadyClaimed, Some(50));
        book.enter(&CLAIM, Status::Ok, Some(50));
        assert_eq!(book.twice, 0);
    }
}
