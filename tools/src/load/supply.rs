//! The requests of a feed, sorted by the connections that take them.
//!
//! Who looks for a request of one group may draw some of other groups first;
//! they are put aside, in order and in bounds. When one group's place is full,
//! nobody draws until it has taken some: the mix stays what it is, and the
//! slowest shard sets the pace.

use std::collections::VecDeque;

use super::pace::{Due, Feed};
use super::route::Routes;
use crate::mix::Mix;

/// How many requests may stand aside for each group.
const ASIDE_MAX: usize = 16 * 1024;

/// A feed and what stands aside.
pub(super) struct Supply<'m, M> {
    pub(super) feed: Feed<'m, M>,
    aside: Vec<VecDeque<Due>>,
}

impl<'m, M: Mix> Supply<'m, M> {
    /// A feed for so many groups of connections.
    pub(super) fn new(feed: Feed<'m, M>, groups: usize) -> Self {
        Self { feed, aside: (0..groups).map(|_| VecDeque::new()).collect() }
    }

    /// The next request of a group that may be sent now.
    #[inline]
    pub(super) fn next(&mut self, routes: &Routes, group: usize, now_ns: u64) -> Option<Due> {
        while let Some(due) = self.aside[group].pop_front() {
            if !self.feed.is_stale(&due, now_ns) {
                return Some(due);
            }
        }
        while !self.is_full() {
            let due = self.feed.next(now_ns)?;
            let owner = routes.group_of(&due.request);
            if owner == group {
                return Some(due);
            }
            self.aside[owner].push_back(due);
        }
        None
    }

    fn is_full(&self) -> bool {
        self.aside.len() > 1 && self.aside.iter().any(|due| due.len() >= ASIDE_MAX)
    }

    /// Forgets what nobody waits for any more.
    pub(super) fn prune(&mut self, now_ns: u64) {
        let (feed, stopped) = (&self.feed, self.feed.is_stopped(now_ns));
        for aside in &mut self.aside {
            while aside.front().is_some_and(|due| stopped || feed.is_stale(due, now_ns)) {
                aside.pop_front();
            }
        }
    }

    /// Whether a group may find a request now.
    pub(super) fn has_for(&self, group: usize, now_ns: u64) -> bool {
        !self.aside[group].is_empty() || (self.feed.is_due(now_ns) && !self.is_full())
    }

    /// Whether anything is due for anybody.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.feed.is_due(now_ns) || self.aside.iter().any(|aside| !aside.is_empty())
    }

    /// Whether nothing more will be asked, once nothing is in flight.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        self.feed.is_over(now_ns) && self.aside.iter().all(VecDeque::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::pace::Pace;
    use super::super::route::Through;
    use super::*;
    use crate::mix::{Crowd, Run};
    use hongbao::units::EnvelopeId;
    use hongbao::wire::Hello;

    fn routes() -> Routes {
        let ports = vec![1, 2];
        let hello = Hello { version: 1, frame_bytes_max: 4096, cell: 1, durability: 0, ports };
        Routes::new(&"box:1".parse().unwrap(), &hello, Through::Owner, 2)
    }

    fn crowd() -> Crowd {
        let envelopes = (0..100).map(|partition| EnvelopeId::new(1, partition, 0, 0)).collect();
        Crowd::new(envelopes, 1, Run(1), 0)
    }

    #[test]
    fn each_group_gets_its_own_requests_in_order_and_none_is_lost() {
        let (routes, mut crowd) = (routes(), crowd());
        let pace = Pace::Closed { length: Duration::from_secs(1), budget: None };
        let feed = Feed::bounded(&mut crowd, pace, 2000);
        let mut supply = Supply::new(feed, 2);
        let mut users = [vec![], vec![]];
        while !supply.is_over(0) {
            for (group, users) in users.iter_mut().enumerate() {
                while let Some(due) = supply.next(&routes, group, 0) {
                    assert_eq!(routes.group_of(&due.request), group);
                    users.push(format!("{:?}", due.request));
                }
            }
        }
        assert_eq!(users[0].len() + users[1].len(), 2000);
        assert!(users[0].len() > 800 && users[1].len() > 800);
    }

    #[test]
    fn a_group_that_takes_nothing_stops_the_draws_within_bounds() {
        let (routes, mut crowd) = (routes(), crowd());
        let mut supply = Supply::new(Feed::all_of(&mut crowd), 2);
        let mut taken = 0;
        while supply.next(&routes, 0, 0).is_some() {
            taken += 1;
        }
        assert!((ASIDE_MAX / 2..2 * ASIDE_MAX).contains(&taken), "{taken}");
        assert_eq!(supply.aside[1].len(), ASIDE_MAX);
        assert!(!supply.has_for(0, 0) && supply.has_for(1, 0));
        for _ in 0..64 {
            supply.next(&routes, 1, 0).unwrap();
        }
        assert!(supply.next(&routes, 0, 0).is_some());
    }
}
