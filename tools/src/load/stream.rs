//! One stream of requests: a supply, the connections it goes over, its books.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::epoll;

use super::driver::Clock;
use super::ledger::{Ledger, Offers};
use super::line::Line;
use super::pace::Feed;
use super::route::Routes;
use super::supply::Supply;
use crate::mix::{Answer, Mix};
use crate::number::index;
use crate::target::Target;

/// The connections of a group.
struct Group {
    members: Vec<usize>,
    /// Which of them takes what is due next.
    turn: usize,
}

/// Connections, ready for any number of streams, one after the other.
pub(super) struct Lines {
    all: Vec<Option<Line>>,
    groups: Vec<Group>,
    routes: Routes,
    /// The number of the stream, with which events of its lines come.
    number: u32,
}

impl Lines {
    /// Connects `conns` connections of this depth, evenly over all shards.
    pub(super) fn connect(
        poll: &OwnedFd,
        number: u32,
        target: &Target,
        routes: Routes,
        (conns, depth): (u32, u32),
    ) -> Result<Self> {
        let group = |_: &_| Group { members: vec![], turn: 0 };
        let groups: Vec<Group> = routes.groups.iter().map(group).collect();
        let mut lines = Self { all: Vec::with_capacity(index(conns)), groups, routes, number };
        for place in 0..index(conns) {
            let group = place % lines.groups.len();
            let addresses = &lines.routes.groups[group];
            let address = &addresses[place / lines.groups.len() % addresses.len()];
            let line = Line::connect(address, target, depth)
                .with_context(|| format!("opening connection {place} of {conns} to {address}"))?;
            epoll::add(poll, &line, lines.data(place), epoll::EventFlags::IN)?;
            lines.all.push(Some(line));
            lines.groups[group].members.push(place);
        }
        Ok(lines)
    }

    fn data(&self, place: usize) -> epoll::EventData {
        let place = u64::try_from(place).unwrap_or(u64::MAX);
        epoll::EventData::new_u64(u64::from(self.number) << 32 | place)
    }

    /// The connections of a group in their turns; each call is the next one's.
    fn in_turn(&mut self, group: usize) -> usize {
        let group = &mut self.groups[group];
        group.turn = (group.turn + 1) % group.members.len();
        group.members[group.turn]
    }
}

/// What the driver asks of a stream, whatever its mix.
pub(super) trait Playing {
    /// The number with which events of its connections come.
    fn number(&self) -> u32;
    /// A connection can be read, or written again.
    fn ready(&mut self, poll: BorrowedFd<'_>, place: usize, clock: &Clock) -> Result<()>;
    /// Gives what is due to the connections in turn.
    fn hand_out(&mut self, poll: BorrowedFd<'_>, now_ns: u64);
    /// How long until something is due that no event will tell of.
    fn due_in(&self, now_ns: u64) -> Option<Duration>;
    /// Whether all is asked and answered.
    fn is_over(&self, now_ns: u64) -> bool;
    /// Asks nothing more.
    fn stop(&mut self);
    /// How many requests wait for their answers.
    fn in_flight(&self) -> u64;
    /// When the last answer came.
    fn last_answer_ns(&self) -> u64;
    /// The books.
    fn ledger(&self) -> &Ledger;
}

/// A stream under way.
pub(super) struct Stream<'r, M> {
    supply: Supply<'r, M>,
    lines: &'r mut Lines,
    ledger: Ledger,
    in_flight: u64,
    last_answer_ns: u64,
    /// Something is due and no connection has room: only an event helps.
    blocked: bool,
}

/// What a stream has done.
pub(super) struct Outcome {
    pub(super) ledger: Ledger,
    pub(super) offers: Offers,
    /// Until the last answer.
    pub(super) seconds: f64,
}

impl<'r, M: Mix> Stream<'r, M> {
    /// A feed on connections.
    pub(super) fn new(feed: Feed<'r, M>, lines: &'r mut Lines, ledger: Ledger) -> Self {
        let supply = Supply::new(feed, lines.groups.len());
        Self { supply, lines, ledger, in_flight: 0, last_answer_ns: 0, blocked: false }
    }

    /// Its result.
    pub(super) fn end(self) -> Outcome {
        let seconds = Duration::from_nanos(self.last_answer_ns).as_secs_f64();
        let feed = self.supply.feed;
        let until_ns = feed.offered_until_ns();
        let offers = Offers { until_ns, schedule: feed.schedule };
        Outcome { ledger: self.ledger, offers, seconds }
    }

    fn group_of(&self, place: usize) -> usize {
        place % self.lines.groups.len()
    }

    /// One read, and every whole reply of it; returns the time of the read.
    fn receive(&mut self, place: usize, clock: &Clock) -> io::Result<u64> {
        let Some(line) = self.lines.all[place].as_mut() else { return Ok(clock.now_ns()) };
        line.read()?;
        let now_ns = clock.now_ns();
        while let Some(arrived) = line.next_reply()? {
            let Ok(arrived) = arrived else {
                self.ledger.lost += 1;
                continue;
            };
            self.in_flight -= 1;
            self.last_answer_ns = now_ns;
            let head = &arrived.head;
            self.ledger.answered(head, arrived.meant_at, now_ns);
            let (status, detail, number) = (head.status, head.detail, head.number);
            self.supply.feed.mix.answered(arrived.note, Answer { status, detail, number });
        }
        Ok(now_ns)
    }

    /// Fills the free slots with what may be asked now, in few large writes.
    fn fill(&mut self, poll: BorrowedFd<'_>, place: usize, now_ns: u64) -> io::Result<()> {
        let (group, data) = (self.group_of(place), self.lines.data(place));
        let Some(line) = self.lines.all[place].as_mut() else { return Ok(()) };
        let was_stuck = line.is_stuck();
        let mut more = true;
        while more {
            while line.has_room() && !line.has_load() {
                let Some(due) = self.supply.next(&self.lines.routes, group, now_ns) else {
                    more = false;
                    break;
                };
                self.ledger.sent(due.meant_at);
                let budget_us = self.supply.feed.budget_left_us(&due, now_ns);
                line.ask(due, budget_us);
                self.in_flight += 1;
            }
            line.write()?;
            more &= line.has_room();
        }
        if was_stuck != line.is_stuck() {
            let write =
                if line.is_stuck() { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            epoll::modify(poll, &*line, data, epoll::EventFlags::IN | write)?;
        }
        Ok(())
    }

    /// A connection broke: what was in flight on it will not be answered.
    fn lose(&mut self, place: usize, error: &io::Error) -> Result<()> {
        let group = self.group_of(place);
        if let Some(line) = self.lines.all[place].take() {
            let count = u64::try_from(line.in_flight())?;
            self.in_flight -= count;
            self.ledger.lost += count;
        } // closing it also takes it out of the epoll
        let members = &self.lines.groups[group].members;
        if members.iter().all(|place| self.lines.all[*place].is_none()) {
            bail!("the server closed every connection ({error}): see its log");
        }
        Ok(())
    }
}

impl<M: Mix> Playing for Stream<'_, M> {
    fn number(&self) -> u32 {
        self.lines.number
    }

    fn ready(&mut self, poll: BorrowedFd<'_>, place: usize, clock: &Clock) -> Result<()> {
        let turned = self.receive(place, clock).and_then(|now_ns| self.fill(poll, place, now_ns));
        turned.or_else(|error| self.lose(place, &error))
    }

    fn hand_out(&mut self, poll: BorrowedFd<'_>, now_ns: u64) {
        self.supply.prune(now_ns);
        for group in 0..self.lines.groups.len() {
            for _ in 0..self.lines.groups[group].members.len() {
                if !self.supply.has_for(group, now_ns) {
                    break;
                }
                let place = self.lines.in_turn(group);
                if self.lines.all[place].as_ref().is_some_and(Line::has_room) {
                    // A broken connection is met, and counted, at its next readiness.
                    let _ = self.fill(poll, place, now_ns);
                }
            }
        }
        self.blocked = self.supply.is_due(now_ns);
    }

    fn due_in(&self, now_ns: u64) -> Option<Duration> {
        self.supply.feed.due_in(now_ns).filter(|_| !self.blocked)
    }

    fn is_over(&self, now_ns: u64) -> bool {
        self.in_flight == 0 && self.supply.is_over(now_ns)
    }

    fn stop(&mut self) {
        self.supply.feed.stop();
    }

    fn in_flight(&self) -> u64 {
        self.in_flight
    }

    fn last_answer_ns(&self) -> u64 {
        self.last_answer_ns
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
