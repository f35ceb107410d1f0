//! What is asked: the request streams of `load` and `demo`.
//!
//! A mix is a seeded generator. It never touches a socket or a clock.

mod crowd;
mod eve;
mod issue;
mod shake;

use hongbao::units::{EnvelopeId, UserId};
use hongbao::wire::{Request, Status};

pub(crate) use crowd::Crowd;
pub(crate) use eve::{Eve, Shape};
pub(crate) use issue::Issue;
pub(crate) use shake::Shake;

/// A stream of requests that may learn from the answers.
pub(crate) trait Mix {
    /// The next request and a note to be given back with its answer; `None`
    /// when there is nothing to ask (any more, or before more answers came).
    fn next(&mut self) -> Option<(Request, u32)>;

    /// The answer to a request of this note.
    fn answered(&mut self, note: u32, answer: Answer);
}

/// What a mix learns of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The outcome.
    pub(crate) status: Status,
    /// By status: a repeat mark, a retry-after, a reason.
    pub(crate) detail: u32,
    /// The amount or the id that came with it.
    pub(crate) number: Option<u64>,
}

/// Keeps the numbers of one run apart from those of every other run on the
/// same server: users and orders carry it in their upper 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run(pub(crate) u32);

impl Run {
    /// The run's order or user with this number.
    fn numbered(self, number: u64) -> u64 {
        (u64::from(self.0) << 32).wrapping_add(number)
    }

    /// The `number`th user of this run.
    pub(crate) fn user(self, number: u64) -> UserId {
        UserId(self.numbered(number))
    }

    /// The `number`th order of this run.
    pub(crate) fn order(self, number: u32) -> u64 {
        self.numbered(number.into())
    }

    /// Who sends that order: each sender sends a few.
    pub(crate) fn sender(self, number: u32) -> UserId {
        self.user(u64::from(number / 4))
    }
}

/// The claim of a user on an envelope.
fn claim(envelope: EnvelopeId, user: UserId) -> Request {
    Request::Claim { envelope, user }
}
