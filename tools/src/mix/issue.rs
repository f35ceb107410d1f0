//! Issuing the envelopes that a mix needs before it starts.

use hongbao::client::Refusal;
use hongbao::units::EnvelopeId;
use hongbao::wire::{Request, SendOrder, Status};

use super::{Answer, Mix};
use crate::number::index;

/// Refusals without one success between them, after which a server that says
/// it has no room counts as full.
const REFUSALS_MAX: u32 = 10_000;

/// The same for a server that says it is busy: it refuses a whole depth of
/// orders at a time, and means what it says.
const BUSY_MAX: u32 = 20_000_000;

/// Sends `count` orders and collects the ids of their envelopes.
pub(crate) struct Issue<F> {
    order: F,
    envelopes: Vec<EnvelopeId>,
    next: u32,
    again: Vec<u32>,
    refusals: u32,
    failed: Option<Refusal>,
}

impl<F: FnMut(u32) -> SendOrder> Issue<F> {
    /// Will send `order(0)` to `order(count - 1)`.
    pub(crate) fn new(count: u32, order: F) -> Self {
        let envelopes = vec![EnvelopeId(0); index(count)];
        Self { order, envelopes, next: 0, again: vec![], refusals: 0, failed: None }
    }

    fn put_off(&mut self, note: u32) {
        self.refusals += 1;
        self.again.push(note);
    }

    /// The ids in the order of the orders, or why there are none.
    pub(crate) fn finish(self) -> Result<Vec<EnvelopeId>, Refusal> {
        match self.failed {
            Some(refusal) => Err(refusal),
            None => Ok(self.envelopes),
        }
    }
}

impl<F: FnMut(u32) -> SendOrder> Mix for Issue<F> {
    fn next(&mut self) -> Option<(Request, u32)> {
        if self.failed.is_some() {
            return None;
        }
        let number = match self.again.pop() {
            Some(number) => number,
            None if index(self.next) < self.envelopes.len() => {
                self.next += 1;
                self.next - 1
            }
            None => return None,
        };
        Some((Request::Send((self.order)(number)), number))
    }

    fn answered(&mut self, note: u32, Answer { status, detail, number }: Answer) {
        match (status, number) {
            (Status::Ok, Some(id)) => {
                self.envelopes[index(note)] = EnvelopeId(id);
                self.refusals = 0;
            }
            (Status::Overloaded, _) if self.refusals < BUSY_MAX => self.put_off(note),
            (Status::Unavailable, _) if self.refusals < REFUSALS_MAX => self.put_off(note),
            _ => self.failed = Some(Refusal { status, detail }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::Run;
    use hongbao::units::Split;

    fn answer(status: Status, number: Option<u64>) -> Answer {
        Answer { status, detail: 5, number }
    }

    fn issue(count: u32) -> Issue<impl FnMut(u32) -> SendOrder> {
        Issue::new(count, |number| SendOrder {
            nonce: 0,
            source: hongbao::units::MoneySource::Vouched,
            sender: Run(1).sender(number),
            order: Run(1).order(number),
            payment: 0,
            total: 10,
            shares: 1,
            lifetime_s: 1,
            share_max: 0,
            split: Split::Equal,
        })
    }

    #[test]
    fn an_order_that_was_refused_for_now_is_sent_again() {
        let mut issue = issue(2);
        let (first, note) = issue.next().unwrap();
        issue.answered(note, answer(Status::Overloaded, None));
        assert_eq!(issue.next(), Some((first, note)));
        issue.answered(note, answer(Status::Ok, Some(70)));
        let (_, note) = issue.next().unwrap();
        issue.answered(note, answer(Status::Ok, Some(71)));
        assert_eq!(issue.next(), None);
        assert_eq!(issue.finish(), Ok(vec![EnvelopeId(70), EnvelopeId(71)]));
    }

    #[test]
    fn a_server_that_stays_full_ends_the_issue() {
        let mut issue = issue(2);
        let (_, note) = issue.next().unwrap();
        for _ in 0..=REFUSALS_MAX {
            issue.answered(note, answer(Status::Unavailable, None));
        }
        assert_eq!(issue.next(), None);
        let full = Refusal { status: Status::Unavailable, detail: 5 };
        assert_eq!(issue.finish().unwrap_err(), full);
    }
}
