//! `hb risk feed --from`: what a risk service is to hear, out of the journal, with a
//! cursor that the server keeps.
//!
//! A line is printed before it is acknowledged, so after whatever ends this nothing is
//! missing, and the last lines may come again, each with the id that it had.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use anyhow::{Result, bail};
use hongbao::access::Identity;
use hongbao::follow::news::{News, NewsOf};
use hongbao::follow::settle::{
    Ask, Content, Push, Start, SubscriberName, Subscription, SubscriptionError, Told,
};
use hongbao::wire::{Resolution, ResolvedBy};
use serde_json::{Value, json};

use crate::calls::moment;
use crate::exit::Usage;
use crate::money::yuan;
use crate::output::{Output, id};
use crate::settle::{pause, resolve};
use crate::target::Target;

/// Bytes that may be on the way.
const WINDOW: u32 = 1 << 20;

/// What all shards' threads share.
struct Feed {
    identity: Option<Arc<Identity>>,
    address: SocketAddr,
    name: SubscriberName,
    follow: bool,
    output: Output,
}

/// Prints news of all shards: up to what is committed now, or for ever.
pub(crate) fn run(
    target: &Target,
    (from, name): (&str, &SubscriberName),
    follow: bool,
    output: Output,
) -> Result<()> {
    if name.content() != Content::News {
        let words = format!("{name}: the name of a risk service begins with risk-");
        return Err(Usage(words).into());
    }
    let (identity, address) = (target.identity.clone(), resolve(from)?);
    let feed = Feed { identity, address, name: name.clone(), follow, output };
    let shards = loop {
        match feed.open(0) {
            Ok(stream) => break stream.accepted().shards,
            Err(error) => pause(error, feed.address)?,
        }
    };
    thread::scope(|scope| {
        let feed = &feed;
        let told = (0..shards).map(|shard| scope.spawn(move || feed.tell(shard)));
        let told: Vec<_> = told.collect();
        for thread in told {
            thread.join().unwrap_or_else(|_| bail!("a thread has panicked"))?;
        }
        Ok(())
    })
}

impl Feed {
    fn open(&self, shard: u16) -> Result<Subscription, SubscriptionError> {
        let ask = Ask { name: self.name.clone(), shard, start: Start::LeftOff, window: WINDOW };
        Subscription::open_as(self.identity.as_deref(), self.address, &ask)
    }

    fn tell(&self, shard: u16) -> Result<()> {
        loop {
            match self.open(shard).and_then(|stream| self.stream(stream)) {
                Ok(()) => return Ok(()),
                Err(error) => pause(error, self.address)?,
            }
        }
    }

    /// One connection, until everything is told.
    fn stream(&self, mut stream: Subscription) -> Result<(), SubscriptionError> {
        let accepted = *stream.accepted();
        let is_all = |position| !self.follow && position >= accepted.committed;
        let mut is_done = is_all(accepted.start.position);
        while !is_done {
            match stream.wait()? {
                Push::News(told) => {
                    for told in &told {
                        self.print(told);
                    }
                    stream.take()?;
                }
                Push::Border { cursor, .. } => {
                    stream.acknowledge(cursor)?;
                    is_done = is_all(cursor.position);
                }
                Push::Movements(_) => return Err(SubscriptionError::Foreign),
            }
        }
        Ok(())
    }

    fn print(&self, told: &Told) {
        self.output.print(&json_of(told), || words_of(&told.news));
    }
}

fn json_of(told: &Told) -> Value {
    let News { envelope, user, at, what } = told.news;
    let mut json = json!({
        "id": told.id.to_string(), "user": id(user), "at": at, "what": what_of(&what),
    });
    let mut put = |more: Value| {
        if let (Some(json), Value::Object(more)) = (json.as_object_mut(), more) {
            json.extend(more);
        }
    };
    match what {
        NewsOf::Held { amount, rule, until } => put(json!({
            "envelope": id(envelope), "amount_fen": amount, "rule": rule.name(),
            "rule_id": rule.code(), "until": until,
        })),
        NewsOf::Denied { amount, rule } => put(json!({
            "envelope": id(envelope), "amount_fen": amount, "rule": rule.name(),
            "rule_id": rule.code(),
        })),
        NewsOf::Resolved { amount, by, .. } => put(json!({
            "envelope": id(envelope), "amount_fen": amount, "by_time": by == ResolvedBy::Time,
        })),
        NewsOf::Marked { grade, lists } => put(json!({ "grade": grade, "lists": lists })),
    }
    json
}

fn what_of(what: &NewsOf) -> &'static str {
    match what {
        NewsOf::Held { .. } => "held",
        NewsOf::Denied { .. } => "denied",
        NewsOf::Resolved { resolution: Resolution::Release, .. } => "released",
        NewsOf::Resolved { resolution: Resolution::Reject, .. } => "rejected",
        NewsOf::Marked { .. } => "marked",
    }
}

fn words_of(news: &News) -> String {
    let News { envelope, user, at, what } = news;
    let (at, done) = (moment(*at), what_of(what));
    let share = |amount: u32| {
        let amount = yuan(u64::from(amount));
        format!("{at} envelope {envelope} user {user}: {amount} {done}")
    };
    match *what {
        NewsOf::Held { amount, rule, .. } | NewsOf::Denied { amount, rule } => {
            format!("{}, rule {} ({})", share(amount), rule.name(), rule.code())
        }
        NewsOf::Resolved { amount, by: ResolvedBy::Time, .. } => {
            format!("{} by time", share(amount))
        }
        NewsOf::Resolved { amount, .. } => share(amount),
        NewsOf::Marked { grade, lists } => {
            format!("{at} user {user}: marked, grade {grade}, lists {lists}")
        }
    }
}
