//! Shares that are looked at twice, and what operators and the risk service ask
//! and say. Where nothing of risk is configured nothing here is ever called by a
//! claim.
//!
//! The engine decides about a claim as if there were no risk; what comes of a
//! share that somebody would get is judged behind that, so stock, order and
//! amount depend on it in nothing. What is not given is told in one way, for
//! every reason.

use std::sync::Arc;

use super::answer::Verdict;
use super::turn::{Fatal, Shard};
use super::windows::Windows;
use crate::engine::{
    Claimed, Decision, Denied, Engine, Frequency, Guessed, Outcome, Record, Resolved, RiskPolicy,
    Tagged,
};
use crate::journal::Storage;
use crate::net::Kernel;
use crate::planted::{Bug, is_planted};
use crate::units::{Split, Time, UnixSeconds, UserId};
use crate::wire::{
    BadRequest, Explained, Request, Resolution, ResolvedBy, RiskEvent, RiskRule, RiskStep,
    RiskVerdict, Tags,
};

/// Holds that one turn ends at most: a crowd of them waits, claims do not.
const HOLDS_PER_TURN: usize = 64;

/// Denials of one second that are recorded by a shard at most: 32 KB.
const DENIALS_PER_S: u32 = 1000;

/// How many denials were recorded in the second under way.
#[derive(Default)]
pub(super) struct Denials {
    at: UnixSeconds,
    recorded: u32,
}

impl Denials {
    /// Whether one more may be recorded now.
    fn take(&mut self, at: UnixSeconds) -> bool {
        if at != self.at {
            *self = Self { at, recorded: 0 };
        }
        self.recorded += 1;
        self.recorded <= DENIALS_PER_S
    }
}

/// What a shard judges shares by.
#[derive(Clone)]
pub struct Judging {
    /// The rules.
    pub policy: RiskPolicy,
    /// What they count, over all shards.
    pub windows: Arc<Windows>,
}

/// Who asks for a share, and from where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) user: UserId,
    pub(super) tags: Tags,
}

impl Asker {
    /// Of a request that says nothing of where it came from.
    pub(super) fn untold(user: UserId) -> Self {
        Self { user, tags: Tags::default() }
    }
}

impl<S: Storage, K: Kernel> Shard<S, K> {
    /// What becomes of a decision by the rules of risk. A win that is not given is
    /// no win; one that is held is.
    pub(super) fn judged(&mut self, decision: Decision, asker: Asker, now: Time) -> Decision {
        let Some(judging) = &self.judging else { return decision };
        if is_try(&decision) {
            judging.windows.count_try(asker.user, now.seconds());
        }
        match decision.record {
            Some(Record::Claimed(claimed)) => self.judged_win(decision, &claimed, asker.tags),
            Some(Record::Guessed(guessed)) => self.judged_guess(decision, &guessed),
            _ => decision,
        }
    }

    /// What the rules say of a win, which is counted.
    fn verdict_on(&self, judging: &Judging, claimed: &Claimed, tags: Tags) -> RiskVerdict {
        let &Claimed { user, amount, at, .. } = claimed;
        let standing = self.engine.standing(user);
        let grade = self.engine.grade_of(&standing);
        let often = judging.windows.count_win(user, tags, at);
        let judge = |fen| judging.policy.judge(&standing, grade, fen, &often);
        match judge(amount.into()) {
            // Whoever comes next meets the same prize, so a rule about its amount would
            // send everybody away.
            RiskVerdict::Hold(RiskRule::Amount) if self.is_prize(claimed) => judge(0),
            verdict => verdict,
        }
    }

    fn judged_win(&mut self, decision: Decision, claimed: &Claimed, tags: Tags) -> Decision {
        let Some(judging) = &self.judging else { return decision };
        let verdict = self.verdict_on(judging, claimed, tags);
        let hold_s = judging.policy.hold_s;
        let judged = match verdict {
            RiskVerdict::Allow => return decision,
            // Of a campaign nothing is held: whoever would be looked at wins nothing.
            _ if self.is_prize(claimed) => self.engine.nothing_won(claimed.envelope),
            RiskVerdict::Hold(rule) => self.engine.hold(claimed, rule, hold_s),
            RiskVerdict::Deny(_) => Decision { outcome: Outcome::Withheld, record: None },
        };
        if judged.record.is_none() {
            judging.windows.uncount_win(claimed.user, tags, claimed.at);
        }
        match verdict {
            RiskVerdict::Hold(rule) if judged.record.is_some() => {
                self.counters.risk_held += 1;
                self.note(claimed, RiskStep::Held, rule);
            }
            RiskVerdict::Hold(rule) | RiskVerdict::Deny(rule) => {
                return self.denied(judged.outcome, claimed, rule);
            }
            RiskVerdict::Allow => {}
        }
        judged
    }

    /// Whoever has guessed wrong too often of late is told the same of a wrong word as
    /// of the right one, and nothing of it is written: it has learnt nothing.
    fn judged_guess(&mut self, decision: Decision, guessed: &Guessed) -> Decision {
        let Some(judging) = &self.judging else { return decision };
        let &Guessed { envelope, user, at, .. } = guessed;
        let often = judging.windows.look(user, at);
        if !judging.policy.denies_guesses(often.guesses) {
            judging.windows.count_guess(user, at);
            return decision;
        }
        let nothing = Claimed { envelope, user, amount: 0, rank: 0, at };
        self.denied(Outcome::Withheld, &nothing, RiskRule::GuessesDenied)
    }

    /// A denial is told to whoever looks at the ring, and counted. It is a record as
    /// well where it is the first of the user by the rule in a window, and not too many
    /// are in a second: else whoever is denied could write the journal full.
    fn denied(&mut self, outcome: Outcome, claimed: &Claimed, rule: RiskRule) -> Decision {
        self.counters.risk_denied += 1;
        self.note(claimed, RiskStep::Denied, rule);
        let &Claimed { envelope, user, amount, at, .. } = claimed;
        let windows = self.judging.as_ref().map(|judging| &judging.windows);
        let is_news = windows.is_some_and(|windows| windows.is_news(user, rule, at));
        let is_recorded = is_news && self.denials.take(at);
        let record = Record::Denied(Denied { envelope, user, amount, rule, at });
        Decision { outcome, record: is_recorded.then_some(record) }
    }

    /// The record of where a share was won from, if a rule counts that.
    pub(super) fn tagged(&self, record: &Record, tags: Tags) -> Option<Record> {
        let claimed = share_in(record)?;
        let tags = self.judging.as_ref()?.windows.counted(tags);
        let &Claimed { envelope, user, at, .. } = claimed;
        let is_said = tags != Tags::default();
        is_said.then_some(Record::Tagged(Tagged { envelope, user, tags, at }))
    }

    /// Takes back what was counted for a record that came to nothing.
    #[cold]
    pub(super) fn uncounted(&self, record: &Record, tags: Tags) {
        let Some(judging) = &self.judging else { return };
        if let Some(claimed) = share_in(record) {
            judging.windows.uncount_win(claimed.user, tags, claimed.at);
        }
        if let Record::Guessed(guessed) = record {
            judging.windows.uncount_guess(guessed.user, guessed.at);
        }
    }

    /// Takes back a try that is to be made again.
    #[cold]
    pub(super) fn untried(&self, user: UserId, now: Time) {
        if let Some(judging) = &self.judging {
            judging.windows.uncount_try(user, now.seconds());
        }
    }

    /// Counts the try of a shake that is told where it came in.
    #[inline]
    pub(super) fn tried(&self, user: UserId, now: Time) {
        if let Some(judging) = &self.judging {
            judging.windows.count_try(user, now.seconds());
        }
    }

    fn note(&mut self, claimed: &Claimed, what: RiskStep, rule: RiskRule) {
        let &Claimed { envelope, user, amount, at, .. } = claimed;
        let (number, rule) = (0, Some(rule));
        self.trail.note(RiskEvent {
            number,
            envelope,
            user,
            amount,
            at,
            what,
            rule,
            by_time: false,
        });
    }

    fn note_resolved(&mut self, record: &Record) {
        let Record::Resolved(resolved) = record else { return };
        let &Resolved { envelope, user, amount, at, .. } = resolved;
        let what = match resolved.resolution {
            Resolution::Release => RiskStep::Released,
            Resolution::Reject => RiskStep::Rejected,
        };
        let by_time = resolved.by == ResolvedBy::Time;
        self.trail.note(RiskEvent {
            number: 0,
            envelope,
            user,
            amount,
            at,
            what,
            rule: None,
            by_time,
        });
    }

    fn is_prize(&self, claimed: &Claimed) -> bool {
        self.engine.split_of(claimed.envelope) == Some(Split::Prizes)
    }

    /// What is asked or said about risk.
    #[cold]
    pub(super) fn decide_risk(&mut self, request: &Request, now: Time) -> Result<Verdict, Fatal> {
        let envelope = request.envelope().unwrap_or_default();
        let decision = match *request {
            Request::RiskMark { .. } if !self.engine.keeps_grades() => {
                return Ok(self.nonsense(BadRequest::NoRisk));
            }
            Request::RiskMark { partition, user, mark } => {
                self.engine.mark(partition, user, mark, now)
            }
            Request::RiskResolve { envelope, user, resolution } => {
                self.engine.resolve(envelope, user, resolution, now)
            }
            Request::RiskExplain { user, .. } => return Ok(Verdict::Explained(user, now)),
            Request::RiskHolds(from) => return Ok(Verdict::Holds(from)),
            Request::RiskFeed { after, .. } => return Ok(Verdict::Feed(after)),
            _ => return Ok(self.nonsense(BadRequest::UnknownOp)),
        };
        let outcome = match decision.record {
            Some(Record::Resolved(_)) if is_planted(Bug::VerdictUnrecorded) => decision.outcome,
            Some(record) if !self.make_true(&record, now)? => Outcome::Full,
            Some(record) => {
                self.note_resolved(&record);
                decision.outcome
            }
            None => decision.outcome,
        };
        Ok(Verdict::Decided(outcome, envelope))
    }

    /// Time decides about holds that nobody decided about.
    pub(super) fn end_holds(&mut self, now: Time) -> Result<bool, Fatal> {
        for _ in 0..HOLDS_PER_TURN {
            let Some(record) = self.engine.due_hold(now) else { break };
            if !self.make_true(&record, now)? {
                return Ok(false);
            }
            self.note_resolved(&record);
        }
        Ok(true)
    }
}

/// Why a user is treated as it is.
#[cold]
pub(super) fn explained(
    engine: &Engine,
    judging: Option<&Judging>,
    user: UserId,
    now: Time,
) -> Explained {
    let standing = engine.standing(user);
    let grade = engine.grade_of(&standing);
    let policy = judging.map_or_else(RiskPolicy::default, |judging| judging.policy);
    let (often, window_s) = judging.map_or_else(Default::default, |Judging { windows, .. }| {
        (windows.look(user, now.seconds()), windows.window_s())
    });
    // Counted in some slices of eight bits each.
    let [tries, guesses] =
        [often.tries, often.guesses].map(|count| u16::try_from(count).unwrap_or(u16::MAX));
    let next = Frequency { wins: often.wins + 1, tries: often.tries + 1, ..often };
    let verdict = policy.judge(&standing, grade, 1, &next);
    let hold_above_fen = policy.hold_above_fen;
    Explained {
        standing,
        grade,
        wins: often.wins,
        tries,
        guesses,
        window_s,
        verdict,
        hold_above_fen,
    }
}

/// Whether a decision is about a try: any claim or shake, but not one that is told
/// what it has already.
fn is_try(decision: &Decision) -> bool {
    let told_again = matches!(
        decision.outcome,
        Outcome::AlreadyClaimed { .. } | Outcome::CapReached { .. } | Outcome::Withheld
    );
    !told_again
}

/// The share that a record gives or holds.
#[inline]
pub(super) fn share_in(record: &Record) -> Option<&Claimed> {
    match record {
        Record::Claimed(claimed) => Some(claimed),
        Record::Held(held) => Some(&held.claimed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_denials_recorded_than_it_may() {
        let mut denials = Denials::default();
        for at in [5, 6, 9] {
            let recorded = (0..5 * DENIALS_PER_S).filter(|_| denials.take(at)).count();
            assert_eq!(u32::try_from(recorded), Ok(DENIALS_PER_S));
        }
    }
}
