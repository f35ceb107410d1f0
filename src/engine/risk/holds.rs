//! The shares that are held, and those that were rejected in envelopes that are
//! kept, in the order of envelope and user.
//!
//! They are few beside all shares, so a sorted list in reserved memory is enough:
//! a hold costs a move of those behind it, a look is a binary search, and all of
//! one envelope lie side by side. Nothing is allocated after the start.

use crate::units::{EnvelopeId, Fen, UnixSeconds, UserId};
use crate::wire::{Hold, HoldState};

/// What the holds of one envelope come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Withheld {
    /// Shares that are held.
    pub(in super::super) held: u32,
    /// The money in them, in fen.
    pub(in super::super) held_fen: Fen,
    /// Shares that were rejected.
    pub(in super::super) rejected: u32,
    /// The money that went back with them, in fen.
    pub(in super::super) rejected_fen: Fen,
}

/// The list, and beside it what is due when.
pub(in super::super) struct Holds {
    all: Vec<Hold>,
    due: Vec<(UnixSeconds, EnvelopeId, UserId)>,
    max: usize,
    /// Whether there ever was one, here or where this was restored from.
    ever: bool,
}

fn key(hold: &Hold) -> (u64, u64) {
    (hold.envelope.0, hold.user.0)
}

impl Holds {
    pub(super) fn bytes(max: u32) -> usize {
        let each = size_of::<Hold>() + size_of::<(UnixSeconds, EnvelopeId, UserId)>();
        super::super::index(max).saturating_mul(each)
    }

    pub(super) fn new(max: u32) -> Self {
        let max = super::super::index(max);
        let (all, due) = (Vec::with_capacity(max), Vec::with_capacity(max));
        Self { all, due, max, ever: false }
    }

    /// Whether one more can be held.
    pub(in super::super) fn has_room(&self) -> bool {
        self.all.len() < self.max
    }

    /// Whether there is none; asked by every repeated claim.
    #[inline]
    pub(in super::super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether there ever was one, so that an image must say which there are.
    pub(super) fn were_any(&self) -> bool {
        self.ever
    }

    /// All of them, in order.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = &Hold> + Clone {
        self.all.iter()
    }

    /// All of them, in order, as they lie.
    pub(super) fn all(&self) -> &[Hold] {
        &self.all
    }

    /// Those after this envelope and user, in order.
    pub(super) fn after(&self, after: (EnvelopeId, UserId)) -> &[Hold] {
        let at = self.all.partition_point(|hold| key(hold) <= (after.0.0, after.1.0));
        self.all.get(at..).unwrap_or_default()
    }

    /// Those of one envelope.
    pub(in super::super) fn of(&self, envelope: EnvelopeId) -> &[Hold] {
        let from = self.all.partition_point(|hold| hold.envelope.0 < envelope.0);
        let upto = self.all.partition_point(|hold| hold.envelope.0 <= envelope.0);
        self.all.get(from..upto).unwrap_or_default()
    }

    fn find(&self, envelope: EnvelopeId, user: UserId) -> Result<usize, usize> {
        self.all.binary_search_by_key(&(envelope.0, user.0), key)
    }

    /// The hold on a user's share of an envelope.
    pub(in super::super) fn get(&self, envelope: EnvelopeId, user: UserId) -> Option<&Hold> {
        self.all.get(self.find(envelope, user).ok()?)
    }

    /// What those of one envelope come to.
    pub(in super::super) fn withheld(&self, envelope: EnvelopeId) -> Withheld {
        let mut sums = Withheld::default();
        for hold in self.of(envelope) {
            match hold.state {
                HoldState::Held => {
                    sums.held += 1;
                    sums.held_fen += Fen::from(hold.amount);
                }
                HoldState::Rejected => {
                    sums.rejected += 1;
                    sums.rejected_fen += Fen::from(hold.amount);
                }
            }
        }
        sums
    }

    /// Adds one, or puts it in the place of what was known of it.
    pub(super) fn put(&mut self, hold: Hold) {
        self.ever = true;
        match self.find(hold.envelope, hold.user) {
            Ok(at) => {
                self.forget_due(at);
                self.all[at] = hold;
            }
            Err(at) => self.all.insert(at, hold),
        }
        if hold.state == HoldState::Held {
            let due = (hold.until, hold.envelope, hold.user);
            let at = self.due.partition_point(|&(until, ..)| until <= hold.until);
            self.due.insert(at, due);
        }
    }

    fn forget_due(&mut self, at: usize) {
        let Hold { until, envelope, user, .. } = self.all[at];
        let from = self.due.partition_point(|due| due.0 < until);
        let rest = self.due.get(from..).unwrap_or_default();
        let found = rest.iter().position(|due| *due == (until, envelope, user));
        if let Some(found) = found {
            self.due.remove(from + found);
        }
    }

    /// Takes one away: its share is the claimant's.
    pub(super) fn remove(&mut self, envelope: EnvelopeId, user: UserId) {
        if let Ok(at) = self.find(envelope, user) {
            self.forget_due(at);
            self.all.remove(at);
        }
    }

    /// Forgets those of an envelope that is recycled.
    pub(in super::super) fn forget(&mut self, envelope: EnvelopeId) {
        let from = self.all.partition_point(|hold| hold.envelope.0 < envelope.0);
        let upto = self.all.partition_point(|hold| hold.envelope.0 <= envelope.0);
        (from..upto).for_each(|at| self.forget_due(at));
        self.all.drain(from..upto);
    }

    /// When the first is due.
    #[inline]
    pub(in super::super) fn next_due(&self) -> Option<UnixSeconds> {
        self.due.first().map(|&(until, ..)| until)
    }

    /// The one that is due first, if it is due by now.
    pub(super) fn first_due(&self, now: UnixSeconds) -> Option<&Hold> {
        let &(until, envelope, user) = self.due.first()?;
        if until <= now { self.get(envelope, user) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::super::mix;
    use super::*;
    use crate::wire::RiskRule;

    fn hold(envelope: u64, user: u64, until: UnixSeconds, state: HoldState) -> Hold {
        let (envelope, user) = (EnvelopeId(envelope), UserId(user));
        Hold { envelope, user, amount: 5, at: 1, until, rule: RiskRule::Amount, state }
    }

    #[test]
    fn holds_are_found_summed_and_due_as_in_a_plain_map() {
        let mut holds = Holds::new(600);
        let mut twin: BTreeMap<(u64, u64), Hold> = BTreeMap::new();
        for step in 0..if cfg!(miri) { 300 } else { 20_000_u64 } {
            let dice = mix(step);
            let (envelope, user) = (dice % 9, dice >> 8 & 63);
            let until = u32::try_from(dice >> 16 & 31).unwrap();
            match dice >> 40 & 7 {
                0..4 => {
                    let state =
                        if dice >> 44 & 1 == 0 { HoldState::Held } else { HoldState::Rejected };
                    holds.put(hold(envelope, user, until, state));
                    twin.insert((envelope, user), hold(envelope, user, until, state));
                }
                4..7 => {
                    holds.remove(EnvelopeId(envelope), UserId(user));
                    twin.remove(&(envelope, user));
                }
                _ => {
                    holds.forget(EnvelopeId(envelope));
                    twin.retain(|&(of, _), _| of != envelope);
                }
            }
            assert!(holds.iter().eq(twin.values()), "step {step}");
            let held = || twin.values().filter(|hold| hold.state == HoldState::Held);
            assert_eq!(holds.next_due(), held().map(|hold| hold.until).min(), "step {step}");
            assert_eq!(holds.due.len(), held().count());
            let sums = holds.withheld(EnvelopeId(envelope));
            let of_envelope = held().filter(|hold| hold.envelope.0 == envelope);
            assert_eq!(u64::from(sums.held), u64::try_from(of_envelope.count()).unwrap());
            assert_eq!(sums.held_fen, 5 * u64::from(sums.held));
        }
    }

    #[test]
    fn nothing_is_allocated_up_to_the_bound() {
        let mut holds = Holds::new(100);
        let before = (holds.all.capacity(), holds.due.capacity());
        for user in 0..100 {
            assert!(holds.has_room());
            holds.put(hold(1, user, 9, HoldState::Held));
        }
        assert!(!holds.has_room());
        assert_eq!((holds.all.capacity(), holds.due.capacity()), before);
    }
}
