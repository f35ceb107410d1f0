//! The loop of the load: one thread, one epoll, many connections.
//!
//! Per readiness of a connection: one read, all its replies counted, its free
//! slots filled with new requests, one write. The clock is read once for that.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hongbao::client::Address;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::line::Line;
use super::pace::Feed;
use super::tally::Tally;
use crate::mix::{Answer, Mix};
use crate::number::{index, per_second};
use crate::progress::Progress;

/// How long the last replies are waited for after the end of the load, and
/// how long a server may say nothing at all.
const GRACE: Duration = Duration::from_secs(10);

/// The longest sleep, so that the progress line moves.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// A wait for a request's time that is shorter than this is spun: the kernel
/// would wake too late.
const SPIN_BELOW: Duration = Duration::from_micros(30);

/// Connections, ready for any number of runs.
pub(crate) struct Driver {
    epoll: std::os::fd::OwnedFd,
    lines: Vec<Option<Line>>,
    /// Open loop: which connection takes what is due next.
    turn: usize,
}

/// How long a run took, and what came back.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) seconds: f64,
}

impl Driver {
    /// Connects all connections.
    pub(crate) fn connect(address: &Address, conns: u32, depth: u32) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut lines = Vec::with_capacity(index(conns));
        for number in 0..u64::from(conns) {
            let line = Line::connect(address, depth)
                .with_context(|| format!("opening connection {number} of {conns} to {address}"))?;
            let data = epoll::EventData::new_u64(number);
            epoll::add(&epoll, &line, data, epoll::EventFlags::IN)?;
            lines.push(Some(line));
        }
        Ok(Self { epoll, lines, turn: 0 })
    }

    /// Plays a feed to its end.
    pub(crate) fn run<M: Mix>(
        &mut self,
        feed: &mut Feed<'_, M>,
        progress: &mut Progress,
        what: &str,
    ) -> Result<Outcome> {
        let mut run = Running::begin(feed);
        run.fill_all(self)?;
        let mut events = Vec::with_capacity(self.lines.len().max(1));
        while !run.is_over() {
            events.clear();
            let timeout = run.sleep();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            for event in &events {
                self.turn_of(event.data.u64(), &mut run)?;
            }
            run.between(self, !events.is_empty(), progress, what)?;
        }
        Ok(run.end())
    }

    /// One connection's turn. A connection that breaks is left, and what was
    /// in flight on it is counted; the load goes on while one is left.
    fn turn_of<M: Mix>(&mut self, number: u64, run: &mut Running<'_, '_, M>) -> Result<()> {
        let number = usize::try_from(number)?;
        let Some(line) = self.lines[number].as_mut() else { return Ok(()) };
        let turned = run.receive(line).and_then(|()| run.fill(line, &self.epoll, number));
        if let Err(error) = turned {
            run.lose(u64::try_from(line.in_flight())?);
            self.lines[number] = None; // closing it also takes it out of the epoll
            if self.lines.iter().all(Option::is_none) {
                bail!("the server closed every connection ({error}): see its log");
            }
        }
        Ok(())
    }
}

/// One run under way.
struct Running<'r, 'm, M> {
    feed: &'r mut Feed<'m, M>,
    tally: Tally,
    began: Instant,
    in_flight: u64,
    last_answer_ns: u64,
    /// For the rate of the progress line: what had come by then, and when.
    shown: (u64, u64),
}

impl<'r, 'm, M: Mix> Running<'r, 'm, M> {
    fn begin(feed: &'r mut Feed<'m, M>) -> Self {
        let (tally, began) = (Tally::new(), Instant::now());
        Self { feed, tally, began, in_flight: 0, last_answer_ns: 0, shown: (0, 0) }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn is_over(&self) -> bool {
        self.in_flight == 0 && self.feed.is_over(self.now_ns())
    }

    fn fill_all(&mut self, driver: &mut Driver) -> Result<()> {
        for (number, line) in driver.lines.iter_mut().enumerate() {
            if let Some(line) = line {
                self.fill(line, &driver.epoll, number)?;
            }
        }
        Ok(())
    }

    /// One read, and every whole reply of it.
    fn receive(&mut self, line: &mut Line) -> io::Result<()> {
        line.read()?;
        let now = self.now_ns();
        while let Some(arrived) = line.next_reply()? {
            let Ok(arrived) = arrived else {
                self.tally.stray += 1;
                continue;
            };
            self.in_flight -= 1;
            self.last_answer_ns = now;
            let head = &arrived.head;
            self.tally.answer(head.op, head.status, now.saturating_sub(arrived.meant_at));
            let (status, detail, number) = (head.status, head.detail, head.number);
            self.feed.mix.answered(arrived.note, Answer { status, detail, number });
        }
        Ok(())
    }

    /// Fills the free slots with what may be asked now, and one write.
    fn fill(
        &mut self,
        line: &mut Line,
        epoll: &std::os::fd::OwnedFd,
        number: usize,
    ) -> io::Result<()> {
        let now = self.now_ns();
        while line.has_room() {
            let Some((request, note, meant_at)) = self.feed.next(now) else { break };
            line.ask(&request, note, meant_at);
            self.in_flight += 1;
        }
        let was_stuck = line.is_stuck();
        line.write()?;
        if was_stuck != line.is_stuck() {
            let write =
                if line.is_stuck() { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(u64::try_from(number).unwrap_or(u64::MAX));
            epoll::modify(epoll, &*line, data, epoll::EventFlags::IN | write)?;
        }
        Ok(())
    }

    /// What a broken connection had in flight will not be answered.
    fn lose(&mut self, count: u64) {
        self.in_flight -= count;
        self.tally.stray += count;
    }

    /// Between two waits: hands out what is due, watches for silence, shows
    /// how far it is.
    fn between(
        &mut self,
        driver: &mut Driver,
        woken: bool,
        progress: &mut Progress,
        what: &str,
    ) -> Result<()> {
        self.hand_out(driver);
        let now = self.now_ns();
        let silence = Duration::from_nanos(now.saturating_sub(self.last_answer_ns));
        if !woken && self.in_flight > 0 && silence > GRACE {
            bail!("no answer for {silence:.0?} while {} requests wait", self.in_flight);
        }
        if progress.is_due(Instant::now()) {
            progress.show(self.progress_text(what, now));
        }
        Ok(())
    }

    /// Open loop: what is due goes to the connections in turn, each taking all
    /// it has room for.
    fn hand_out(&mut self, driver: &mut Driver) {
        let count = driver.lines.len();
        for _ in 0..count {
            if !self.feed.is_due(self.now_ns()) {
                break;
            }
            driver.turn = (driver.turn + 1) % count;
            let number = driver.turn;
            if let Some(line) = driver.lines[number].as_mut()
                && line.has_room()
            {
                // A broken connection is met, and counted, at its next readiness.
                let _ = self.fill(line, &driver.epoll, number);
            }
        }
    }

    /// How long to wait for replies at most.
    fn sleep(&self) -> Timespec {
        let sleep = match self.feed.due_in(self.now_ns()) {
            Some(wait) if wait < SPIN_BELOW => Duration::ZERO,
            Some(wait) => wait.min(SLEEP_MAX),
            None => SLEEP_MAX,
        };
        let nanos = i64::from(sleep.subsec_nanos());
        Timespec { tv_sec: i64::try_from(sleep.as_secs()).unwrap_or(0), tv_nsec: nanos }
    }

    fn progress_text(&mut self, what: &str, now: u64) -> String {
        let (count_then, then) = self.shown;
        let count = self.tally.answered();
        self.shown = (count, now);
        let span = Duration::from_nanos(now.saturating_sub(then)).as_secs_f64();
        let rate = per_second(count - count_then, span);
        format!(
            "{what}: {:.0?}, {} answers, {}/s, p99 {:.0} us",
            Duration::from_secs(Duration::from_nanos(now).as_secs()),
            indicatif::HumanCount(count),
            indicatif::HumanCount(rate),
            self.tally.quantile_us(0.99),
        )
    }

    fn end(self) -> Outcome {
        let seconds = Duration::from_nanos(self.last_answer_ns).as_secs_f64();
        Outcome { tally: self.tally, seconds }
    }
}
