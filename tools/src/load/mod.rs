//! `hb load`: issue envelopes, put a mix of requests on the server, measure.

mod campaign;
mod driver;
mod flags;
mod ledger;
mod line;
mod pace;
mod route;
mod schedule;
mod stock;
mod stream;
mod summary;
mod supply;
mod tally;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hongbao::units::EnvelopeId;

use crate::mix::{Crowd, Mix, Shake};
use crate::output::Output;
use crate::progress::Progress;
use crate::target::Target;
use driver::Driver;
pub(crate) use flags::LoadArgs;
use flags::MixName;
use ledger::Ledger;
use pace::{Feed, Pace};
use route::Routes;
use schedule::Phase;
use stock::Stock;
use stream::{Lines, Outcome, Stream};
use summary::Summary;
pub(crate) use tally::Tally;

/// Connections of the stream beside another, and how deep they are.
const BESIDE_CONNS: u32 = 16;
const BESIDE_DEPTH: u32 = 1024;

/// `hb load`.
pub(crate) fn run(target: &Target, args: &LoadArgs, output: Output) -> Result<()> {
    args.pace()?; // a wrong value is told before anything is done
    args.pin()?;
    // Says hello and so meets a wrong address or version before the load.
    let hello = target.connect()?.hello().clone();
    let addr = &target.addr;
    let routes = |conns: u32| Routes::new(addr, &hello, args.through, crate::number::index(conns));
    let driver = Driver::new()?;
    let shape = (args.conns, args.depth());
    let mut lines = Lines::connect(driver.poll(), 0, target, routes(args.conns), shape)?;
    let mut beside_lines = match args.beside {
        Some(_) => {
            let shape = (BESIDE_CONNS, BESIDE_DEPTH);
            Some(Lines::connect(driver.poll(), 1, target, routes(BESIDE_CONNS), shape)?)
        }
        None => None,
    };
    let (run, mut progress) = (args.run(), Progress::start());
    let campaign = match args.mix {
        MixName::Shake => Some(campaign::begin(target, args, run)?),
        _ => None,
    };
    let mut stock = Stock { driver: &driver, progress: &mut progress, run };
    let outcomes = measure(&mut stock, args, campaign, &mut lines, beside_lines.as_mut())?;
    drop(progress);
    let campaign = campaign.map(|campaign| campaign::end(target, campaign)).transpose()?;
    if let Some(file) = &args.timeline {
        write_timeline(file, &outcomes.0).with_context(|| format!("writing {}", file.display()))?;
    }
    let summary = Summary::of(args, addr, run, &hello, &outcomes, campaign.as_ref());
    output.print(&summary, || summary.words());
    Ok(())
}

/// What the stream and the one beside it have done.
type Outcomes = (Outcome, Option<Outcome>);

/// Issues what the mix needs, then plays it.
fn measure(
    stock: &mut Stock<'_>,
    args: &LoadArgs,
    campaign: Option<EnvelopeId>,
    lines: &mut Lines,
    beside_lines: Option<&mut Lines>,
) -> Result<Outcomes> {
    let beside = match beside_lines {
        Some(lines) => {
            let crowd = stock.of_beside(lines, args.beside_envelopes, args.seed)?;
            Some((crowd, lines))
        }
        None => None,
    };
    if let Some(campaign) = campaign {
        let mut shake = Shake::new(campaign, args.seed, stock.run);
        return play(stock, args, &mut shake, lines, beside);
    }
    if args.mix == MixName::Eve {
        let mut eve = stock.of_eve(lines, args)?;
        return play(stock, args, &mut eve, lines, beside);
    }
    let (envelopes, shares) = match args.mix {
        MixName::Hot => (1, args.shares.unwrap_or(1_000_000)),
        _ => (args.envelopes.unwrap_or(1_000_000), args.shares.unwrap_or(5)),
    };
    let ids = stock.of_crowd(lines, envelopes, shares)?;
    let mut crowd = Crowd::new(ids, args.seed, stock.run, args.users_from);
    play(stock, args, &mut crowd, lines, beside)
}

/// Plays a mix, and a crowd beside it.
fn play<M: Mix>(
    stock: &mut Stock<'_>,
    args: &LoadArgs,
    mix: &mut M,
    lines: &mut Lines,
    beside: Option<(Crowd, &mut Lines)>,
) -> Result<Outcomes> {
    let feed = Feed::bounded(mix, args.pace()?, args.requests.unwrap_or(u64::MAX));
    let budget_ns = args.budget_us.map_or(u64::MAX, |us| u64::from(us) * 1000);
    let phases = args.phases.as_ref().map_or(&[][..], |phases| &phases.0);
    let ledger = Ledger::new(phases, budget_ns, args.timeline.is_some());
    let mut stream = Stream::new(feed, lines, ledger);
    let Some((mut crowd, beside_lines)) = beside else {
        stock.driver.run(&mut [&mut stream], stock.progress, "load")?;
        return Ok((stream.end(), None));
    };
    let feed = Feed::bounded(&mut crowd, beside_pace(args), u64::MAX);
    let mut second = Stream::new(feed, beside_lines, Ledger::new(&[], u64::MAX, false));
    stock.driver.run(&mut [&mut stream, &mut second], stock.progress, "load")?;
    Ok((stream.end(), Some(second.end())))
}

/// The second stream lasts as long as the first.
fn beside_pace(args: &LoadArgs) -> Pace {
    let length = Duration::from_secs(30 * 24 * 3600);
    let rate = args.beside.unwrap_or(0);
    Pace::Open { phases: vec![Phase { rate, length }], budget: None }
}

fn write_timeline(file: &Path, outcome: &Outcome) -> Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    outcome.ledger.write_timeline(&mut out, &outcome.offers)?;
    Ok(out.flush()?)
}
