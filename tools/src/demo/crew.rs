//! The demo's clients: a few pipelined connections, one thread, every answer
//! entered in the book, and no request forgotten when the server dies.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use hongbao::client::{Address, Client, ClientError, Settings};
use hongbao::wire::{Reply, ReplyBody, Request};

use super::book::Book;
use crate::load::Tally;
use crate::mix::{Answer, Mix};

/// How long a lost server is waited for.
const SERVER_BACK_WITHIN: Duration = Duration::from_secs(30);

/// A request on its way.
struct Asked {
    request: Request,
    note: u32,
    /// When it was first sent; asking again does not make it younger.
    at: Instant,
}

struct Line {
    client: Client,
    asked: HashMap<u64, Asked>,
}

/// The clients.
pub(super) struct Crew {
    lines: Vec<Line>,
    depth: usize,
    pub(super) tally: Tally,
    /// Requests that were sent again because their answer was not known.
    pub(super) asked_again: u64,
}

impl Crew {
    /// Connects the clients.
    pub(super) fn connect(address: &Address, conns: usize, depth: usize) -> Result<Self> {
        let settings = Settings { reply_timeout: Duration::from_secs(20), ..Settings::default() };
        let connect = |_| Client::connect_with(address, settings.clone());
        let lines = (0..conns).map(connect).collect::<Result<Vec<_>, _>>()?;
        let lines = lines.into_iter().map(|client| Line { client, asked: HashMap::new() });
        Ok(Self { lines: lines.collect(), depth, tally: Tally::new(), asked_again: 0 })
    }

    /// Fills every connection with requests.
    pub(super) fn fill(&mut self, mix: &mut impl Mix) {
        for line in &mut self.lines {
            line.fill(mix, self.depth);
        }
    }

    /// One round: each connection's answers are entered and, unless it is the
    /// end, its place is filled again while the others' are under way. Whether
    /// anything is still in flight.
    pub(super) fn round(
        &mut self,
        mix: &mut impl Mix,
        book: &mut Book,
        more: bool,
    ) -> Result<bool> {
        for line in &mut self.lines {
            while let Err(error) = line.collect(mix, book, &mut self.tally) {
                if !error.is_broken_connection() {
                    return Err(error.into());
                }
                self.asked_again += line.ask_again()?;
            }
            if more {
                line.fill(mix, self.depth);
            }
        }
        Ok(self.lines.iter().any(|line| !line.asked.is_empty()))
    }
}

impl Line {
    fn fill(&mut self, mix: &mut impl Mix, depth: usize) {
        let at = Instant::now();
        while self.asked.len() < depth {
            let Some((request, note)) = mix.next() else { break };
            let tag = self.client.submit(&request);
            self.asked.insert(tag, Asked { request, note, at });
        }
        // A broken connection is met, and mended, when its answers are read.
        let _ = self.client.flush();
    }

    /// Receives until nothing is in flight.
    fn collect(
        &mut self,
        mix: &mut impl Mix,
        book: &mut Book,
        tally: &mut Tally,
    ) -> Result<(), ClientError> {
        while !self.asked.is_empty() {
            let reply = self.client.receive()?;
            let Some(asked) = self.asked.remove(&reply.tag) else {
                tally.stray += 1;
                continue;
            };
            let number = number_of(&reply);
            let latency = u64::try_from(asked.at.elapsed().as_nanos()).unwrap_or(u64::MAX);
            tally.answer(reply.op, reply.status, latency);
            book.enter(&asked.request, reply.status, number);
            let (status, detail) = (reply.status, reply.detail);
            mix.answered(asked.note, Answer { status, detail, number });
        }
        Ok(())
    }

    /// Connects again and sends what has no answer, as it was: operations are
    /// idempotent, so it does not matter whether the lost server had done it.
    fn ask_again(&mut self) -> Result<u64> {
        let give_up = Instant::now() + SERVER_BACK_WITHIN;
        while let Err(error) = self.client.reconnect() {
            if Instant::now() > give_up {
                return Err(error.into());
            }
            sleep(Duration::from_millis(20));
        }
        let unanswered: Vec<Asked> = self.asked.drain().map(|(_, asked)| asked).collect();
        let count = unanswered.len();
        for asked in unanswered {
            self.asked.insert(self.client.submit(&asked.request), asked);
        }
        let _ = self.client.flush(); // as in `fill`
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }
}

fn number_of(reply: &Reply) -> Option<u64> {
    match reply.body {
        ReplyBody::Amount(number) => Some(number),
        ReplyBody::Ordered(ordered) => Some(ordered.envelope.0),
        _ => None,
    }
}
