//! The follower's thread at the operators' service, between two transactions.

use super::desk::{Asked, NotNow, Reply};
use super::follower::{Course, Follower, wall};
use super::ledger::{Ledger, LedgerError};
use crate::journal::Position;

impl<L: Ledger + ?Sized> Follower<L> {
    /// Does what operators ask.
    pub(super) fn serve(&mut self) {
        while let Ok(asked) = self.requests.asked.try_recv() {
            match asked {
                Asked::Now(work) => match self.ledger.as_deref_mut() {
                    Some(ledger) => work(Ok(ledger)),
                    None => work(Err(NotNow("the ledger cannot be reached now".to_owned()))),
                },
                Asked::Caught(_) if !matches!(self.course, Course::Follow) => {
                    refuse(
                        asked,
                        "the ledger does not follow the journal now; see `hb ledger status`",
                    );
                }
                Asked::Caught(_) => {
                    let committed = self.lanes.iter().map(|lane| lane.of.followed.committed());
                    self.until_caught.push((committed.collect(), asked));
                }
                Asked::Retry(reply) => self.retry(reply),
                Asked::Skip { reason, reply } => self.skip(&reason, reply),
            }
        }
    }

    /// Does what has waited for the lanes to come as far as this.
    pub(super) fn serve_caught_up(&mut self) {
        let Some(ledger) = self.ledger.as_deref_mut() else { return };
        let applied: Vec<_> = self.lanes.iter().map(|lane| lane.applied.position).collect();
        let is_there = |(upto, _): &mut (Vec<Position>, Asked<L>)| {
            upto.iter().zip(&applied).all(|(upto, applied)| *applied >= upto.0)
        };
        for (_, asked) in self.until_caught.extract_if(.., is_there) {
            if let Asked::Now(work) | Asked::Caught(work) = asked {
                work(Ok(ledger));
            }
        }
    }

    fn retry(&mut self, reply: Reply) {
        match self.course {
            Course::Follow => reply(Ok("it runs; there is nothing to try again".to_owned())),
            _ => reply(self.go_on()),
        }
    }

    fn skip(&mut self, reason: &str, reply: Reply) {
        let Course::Stopped { before: Some(id) } = self.course else {
            return reply(Err(NotNow("no record is refused; there is nothing to skip".to_owned())));
        };
        let skipped = match self.ledger.as_mut() {
            Some(ledger) => ledger.skip(&id, reason, wall().seconds()),
            None => Err(LedgerError::Unreachable("not open".to_owned())),
        };
        match skipped {
            Ok(()) => reply(self.go_on()),
            Err(error) => reply(Err(NotNow(error.to_string()))),
        }
    }

    /// Goes on from the ledger's cursors, whatever was in the way.
    fn go_on(&mut self) -> Result<String, NotNow> {
        match self.find_place() {
            Ok(()) => Ok("it goes on from where the ledger stands".to_owned()),
            Err(obstacle) => {
                let words = obstacle.to_string();
                self.meet(obstacle);
                Err(NotNow(words))
            }
        }
    }
}

pub(super) fn refuse<L: ?Sized>(asked: Asked<L>, words: &str) {
    let not_now = NotNow(words.to_owned());
    match asked {
        Asked::Now(work) | Asked::Caught(work) => work(Err(not_now)),
        Asked::Retry(reply) | Asked::Skip { reply, .. } => reply(Err(not_now)),
    }
}
