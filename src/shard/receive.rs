//! Claims where a limit is set on what a user receives by day, or risk looks at
//! them. Without either, nothing here is ever called by a plain claim.
//!
//! The share is drawn, counted, appended, applied, in this order: what the
//! limits do not allow takes nothing from the stock and leaves no record. A
//! user who has a share of the envelope is told so before anything is counted,
//! so a repeat gets its amount however much else was received since.

use std::sync::Arc;

use super::answer::Verdict;
use super::receivers::{Counting, Receivers};
use super::risk::{Asker, share_in};
use super::turn::{Fatal, Shard};
use crate::engine::{Claimed, Decision, Engine, Outcome, Record};
use crate::journal::{Committed, Storage};
use crate::net::{Asked, Kernel};
use crate::units::{Stamp, Time, UserId};
use crate::wire::{Request, Tags};

/// When to ask again after a limit was met for claims that are not committed
/// yet, in milliseconds: a commit takes less.
const UNSETTLED_RETRY_MS: u32 = 2;

/// One shard's end of the table of receivers.
pub struct Receiving {
    receivers: Arc<Receivers>,
    shard: usize,
    /// The first round with claims counted since the last commit was begun.
    counted_from: Option<Stamp>,
}

impl Receiving {
    /// The end of a shard that has counted nothing yet.
    pub fn new(receivers: Arc<Receivers>, shard: u16) -> Self {
        Self { receivers, shard: shard.into(), counted_from: None }
    }

    /// Counts the claims that a recovered shard has of the day of `now` and
    /// later; false where the table is too small. All shards must have done so
    /// before the first of them decides.
    pub fn recover(receivers: &Receivers, engine: &Engine, now: Time) -> bool {
        let is_today = |at| at >= now.seconds() || receivers.is_same_day(at, now.seconds());
        let mut today = engine.claims().filter(|claim| is_today(claim.at));
        today.all(|claim| receivers.recover(claim.user, claim.amount, claim.at))
    }

    /// Loads what the claims of a group will need.
    #[inline]
    pub(super) fn touch(&self, group: &[Asked]) -> u64 {
        group.iter().fold(0, |seen, asked| match asked.request {
            Ok(Request::Claim { user, .. }) => seen ^ self.receivers.touch(user),
            _ => seen,
        })
    }

    #[inline]
    fn count(&mut self, claimed: &Claimed, round: Stamp) -> Counting {
        let &Claimed { user, amount, at, .. } = claimed;
        if self.counted_from.is_none() {
            self.counted_from = Some(round);
            self.receivers.hold_from(self.shard, round);
        }
        self.receivers.count(self.shard, user, amount, at, round)
    }

    fn uncount(&self, claimed: &Claimed) {
        self.receivers.uncount(claimed.user, claimed.amount, claimed.at);
    }

    /// What was counted until now waits for the commit that begins.
    pub(super) fn seal(&mut self) {
        self.counted_from = None;
    }

    /// What was sealed is committed; what was counted since is not.
    pub(super) fn release(&mut self, _: Committed) {
        self.receivers.settle(self.shard, self.counted_from);
    }
}

impl<S: Storage, K: Kernel> Shard<S, K> {
    /// Makes a decision about a claim or a shake true like `verdict`, as risk lets it
    /// and within the limits. A share that is held counts as received.
    #[inline(never)] // the path without limits stays as short as it is
    pub(super) fn within_limits(
        &mut self,
        decision: &Decision,
        request: &Request,
        asker: Asker,
        now: Time,
    ) -> Result<Verdict, Fatal> {
        let Decision { mut outcome, record } = self.judged(*decision, asker, now);
        if let Some(record) = record {
            match self.count_share(&record) {
                Counting::Counted if self.make_share_true(&record, asker.tags, now)? => {}
                Counting::Counted => {
                    self.uncount_share(&record);
                    self.uncounted(&record, asker.tags);
                    // A denial without its record is one all the same.
                    if !matches!(record, Record::Denied(_)) {
                        outcome = Outcome::Full;
                    }
                }
                refused => {
                    self.uncounted(&record, asker.tags);
                    outcome = match refused {
                        Counting::Unsettled => return Ok(self.put_off_share(asker.user, now)),
                        Counting::LimitReached => Outcome::LimitReached,
                        Counting::NoRoom | Counting::Counted => Outcome::Full,
                    };
                }
            }
        } else if matches!(outcome, Outcome::Expired | Outcome::NeverPaid)
            && !self.expire_touched(request, now)?
        {
            outcome = Outcome::Full;
        }
        if outcome == Outcome::Full {
            self.untried(asker.user, now);
        }
        Ok(Verdict::Decided(outcome, request.envelope().unwrap_or_default()))
    }

    #[cold]
    fn put_off_share(&self, user: UserId, now: Time) -> Verdict {
        self.untried(user, now);
        Verdict::Overloaded(UNSETTLED_RETRY_MS)
    }

    /// Where a rule counts from where shares are won, that is a record as well.
    fn make_share_true(&mut self, record: &Record, tags: Tags, now: Time) -> Result<bool, Fatal> {
        match self.tagged(record, tags) {
            Some(tagged) => self.make_all_true([tagged, *record].into_iter(), now),
            None => self.make_true(record, now),
        }
    }

    #[inline]
    fn count_share(&mut self, record: &Record) -> Counting {
        match (share_in(record), &mut self.receiving) {
            (Some(claimed), Some(receiving)) => receiving.count(claimed, self.round_at),
            _ => Counting::Counted, // nobody receives anything
        }
    }

    #[cold]
    fn uncount_share(&self, record: &Record) {
        if let (Some(claimed), Some(receiving)) = (share_in(record), &self.receiving) {
            receiving.uncount(claimed);
        }
    }
}
