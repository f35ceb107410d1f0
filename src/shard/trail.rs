//! What rules of risk did of late in this shard: the feed of a risk service.
//!
//! A ring in reserved memory, there only where shares are judged. It is no truth:
//! what is held and what became of it is in the journal and in the engine, and a
//! restart begins the ring anew. What was denied leaves no other trace than this,
//! because a denial changes nothing, and a record for each would let whoever is
//! denied write the journal full. Numbers only grow, also over restarts, so a
//! reader that asks from its last one on misses nothing but what the ring forgot.

use crate::units::Time;
use crate::wire::RiskEvent;

/// Events that are remembered.
const EVENTS: usize = 4096;

/// Numbers of a millisecond: what a shard does in one is far less.
const NUMBERS_PER_MS: u32 = 22;

/// The ring.
pub(super) struct Trail {
    events: Vec<RiskEvent>,
    /// Where the next goes once the ring is full: the oldest is there.
    oldest: usize,
    next: u64,
    max: usize,
}

impl Trail {
    /// An empty one; of a shard that judges nothing, one that stays empty.
    pub(super) fn new(judges: bool, now: Time) -> Self {
        let max = if judges { EVENTS } else { 0 };
        Self { events: Vec::with_capacity(max), oldest: 0, next: now.0 << NUMBERS_PER_MS, max }
    }

    /// Remembers an event; its number is given here.
    pub(super) fn note(&mut self, event: RiskEvent) {
        self.next += 1;
        let event = RiskEvent { number: self.next, ..event };
        if self.events.len() < self.max {
            self.events.push(event);
        } else if let Some(place) = self.events.get_mut(self.oldest) {
            *place = event;
            self.oldest = (self.oldest + 1) % self.max;
        }
    }

    /// Those after a number, the oldest first.
    pub(super) fn after(&self, number: u64) -> impl Iterator<Item = RiskEvent> + Clone + '_ {
        let (newer, older) = self.events.split_at(self.oldest);
        let all = older.iter().chain(newer).copied();
        all.skip_while(move |event| event.number <= number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{EnvelopeId, UserId};
    use crate::wire::RiskStep;

    fn event(user: u64) -> RiskEvent {
        let (envelope, user) = (EnvelopeId(1), UserId(user));
        let (number, what) = (0, RiskStep::Released);
        RiskEvent { number, envelope, user, amount: 1, at: 1, what, rule: None, by_time: false }
    }

    #[test]
    fn the_newest_are_told_in_order_from_any_number_on() {
        let mut trail = Trail::new(true, Time(5));
        let users = |trail: &Trail, after| -> Vec<u64> {
            trail.after(after).map(|event| event.user.0).collect()
        };
        assert!(users(&trail, 0).is_empty());
        (0..3).for_each(|user| trail.note(event(user)));
        assert_eq!(users(&trail, 0), [0, 1, 2]);
        let second = trail.after(0).nth(1).unwrap().number;
        assert_eq!(users(&trail, second), [2]);
        let capacity = trail.events.capacity();
        (3..5000).for_each(|user| trail.note(event(user)));
        let told = users(&trail, 0);
        assert!(told.len() == EVENTS && told.is_sorted() && told[EVENTS - 1] == 4999);
        assert_eq!(users(&trail, second).len(), EVENTS, "what is forgotten is passed over");
        assert_eq!(trail.events.capacity(), capacity);
        let last = trail.after(0).last().unwrap().number;
        assert!(users(&trail, last).is_empty());
        assert!(Trail::new(true, Time(6)).next > last, "a restart goes on");
    }

    #[test]
    fn a_shard_that_judges_nothing_remembers_nothing() {
        let mut trail = Trail::new(false, Time(5));
        trail.note(event(1));
        assert_eq!((trail.after(0).count(), trail.events.capacity()), (0, 0));
    }
}
