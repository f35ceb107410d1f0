//! `hb load`: issue envelopes, put a mix of requests on the server, measure.

mod driver;
mod line;
mod pace;
mod tally;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use hongbao::client::{Address, Client, ClientError};
use hongbao::units::{EnvelopeId, Split};
use hongbao::wire::{Op, SendOrder, Status};
use serde::Serialize;

use crate::exit::Usage;
use crate::mix::{Crowd, Eve, Issue, Mix, Run, Shape};
use crate::number::per_second;
use crate::output::Output;
use crate::progress::Progress;
use driver::{Driver, Outcome};
use pace::Feed;
pub(crate) use tally::Tally;

/// The rate that a closed loop's evening is thought to have.
const NOMINAL_RATE: u32 = 1_000_000;

/// `hb load`.
#[derive(Args)]
pub(crate) struct LoadArgs {
    /// What is asked
    #[arg(long, value_enum, default_value = "rush")]
    mix: MixName,
    /// Open loop: so many requests a second on a fixed schedule, latency counted
    /// from the scheduled time. Without it: closed loop, as fast as answers come
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Connections
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    conns: u32,
    /// Requests in flight on each connection [default: 16; in an open loop 1024]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    depth: Option<u32>,
    /// How long, in seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Stop after so many requests, if that is earlier
    #[arg(long)]
    requests: Option<u64>,
    /// Envelopes issued first [default: rush 1000000, eve 200000; hot has one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    envelopes: Option<u32>,
    /// Shares of each envelope [default: rush 5, hot 1000000; eve draws them]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    shares: Option<u32>,
    /// The seed of all draws: the same gives the same stream
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Numbers this run's orders and users [default: from the clock, so that
    /// runs do not meet]. The same again reuses the same envelopes
    #[arg(long)]
    run: Option<u32>,
    /// Stay on this core
    #[arg(long)]
    core: Option<usize>,
}

impl LoadArgs {
    /// A closed loop is shaped by its depth; an open loop must not be.
    fn depth(&self) -> u32 {
        self.depth.unwrap_or(if self.rate.is_some() { 1024 } else { 16 })
    }
}

/// The mixes.
#[derive(Clone, Copy, ValueEnum, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum MixName {
    /// Many small envelopes, every claim by a new user
    Rush,
    /// One large envelope, everybody on it
    Hot,
    /// New Year's Eve: sends, looks, claims, details and retries
    Eve,
}

/// `hb load`.
pub(crate) fn run(addr: &Address, args: &LoadArgs, output: Output) -> Result<()> {
    let seconds = duration(args.seconds)?;
    if let Some(core) = args.core {
        pin(core)?;
    }
    // Says hello and so meets a wrong address or version before the load.
    let durability = Client::connect(addr)?.hello().durability;
    let mut progress = Progress::start();
    let run = Run(args.run.unwrap_or_else(run_of_now));
    let mut driver = Driver::connect(addr, args.conns, args.depth())?;
    let outcome = measure(&mut driver, args, run, seconds, &mut progress)?;
    drop(progress);
    let summary = Summary::of(args, addr, run, durability, &outcome);
    output.print(&summary, || summary.words());
    Ok(())
}

/// Issues what the mix needs, then plays it.
fn measure(
    driver: &mut Driver,
    args: &LoadArgs,
    run: Run,
    seconds: Duration,
    progress: &mut Progress,
) -> Result<Outcome> {
    if args.mix == MixName::Eve {
        let mut eve = stocked_eve(driver, args, run, progress)?;
        return play(driver, &mut eve, args, seconds, progress);
    }
    let (envelopes, shares) = match args.mix {
        MixName::Hot => (1, args.shares.unwrap_or(1_000_000)),
        _ => (args.envelopes.unwrap_or(1_000_000), args.shares.unwrap_or(5)),
    };
    let ids = issue(driver, envelopes, progress, |number| order(run, number, shares))?;
    let mut crowd = Crowd::new(ids, args.seed, run);
    play(driver, &mut crowd, args, seconds, progress)
}

fn duration(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| Usage("--seconds must be more than 0".into()).into())
}

fn pin(core: usize) -> Result<()> {
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(Usage(format!("--core {core}: there is no such core")).into());
    }
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores)
        .map_err(|_| Usage(format!("--core {core}: this machine has no such core for us")).into())
}

/// The lower half of the clock's milliseconds: comes again after 49 days.
fn run_of_now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_millis() & 0xffff_ffff).unwrap_or(0)
}

fn order(run: Run, number: u32, shares: u32) -> SendOrder {
    SendOrder {
        sender: run.sender(number),
        order: run.order(number),
        payment: run.order(number),
        total: u64::from(shares) * 888,
        shares,
        lifetime_s: 24 * 3600,
        share_max: 0,
        split: Split::DoubleMean,
    }
}

fn issue(
    driver: &mut Driver,
    count: u32,
    progress: &mut Progress,
    order: impl FnMut(u32) -> SendOrder,
) -> Result<Vec<EnvelopeId>> {
    let mut issue = Issue::new(count, order);
    let what = format!("issuing {} envelopes", indicatif::HumanCount(count.into()));
    driver.run(&mut Feed::all_of(&mut issue), progress, &what)?;
    issue.finish().map_err(ClientError::Refused).with_context(|| {
        format!("issuing {count} envelopes: start the server with more room (--shares-max, --envelopes-max), or ask for less")
    })
}

/// An evening that begins with envelopes on the table.
fn stocked_eve(
    driver: &mut Driver,
    args: &LoadArgs,
    run: Run,
    progress: &mut Progress,
) -> Result<Eve> {
    let rate = args.rate.unwrap_or(NOMINAL_RATE);
    let mut eve = Eve::new(Shape { seed: args.seed, run, rate, refunds: false });
    let count = args.envelopes.unwrap_or(200_000);
    for _ in 0..count {
        eve.plan();
    }
    let ids = issue(driver, count, progress, |number| eve.order(number))?;
    for (number, id) in (0..count).zip(ids) {
        eve.known(number, id);
    }
    Ok(eve)
}

fn play<M: Mix>(
    driver: &mut Driver,
    mix: &mut M,
    args: &LoadArgs,
    seconds: Duration,
    progress: &mut Progress,
) -> Result<Outcome> {
    let requests_max = args.requests.unwrap_or(u64::MAX);
    let mut feed = Feed::bounded(mix, args.rate, seconds, requests_max);
    driver.run(&mut feed, progress, "load")
}

/// What was measured; the fields are stable.
#[derive(Serialize)]
struct Summary {
    mix: MixName,
    addr: String,
    durability: &'static str,
    conns: u32,
    depth: u32,
    rate: Option<u32>,
    seed: u64,
    run: u32,
    seconds: f64,
    requests: u64,
    requests_per_s: u64,
    claims: u64,
    claims_per_s: u64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    sends: u64,
    looks: u64,
    repeated: u64,
    sold_out: u64,
    expired: u64,
    details: u64,
    refused: u64,
    errors: u64,
}

impl Summary {
    fn of(
        args: &LoadArgs,
        addr: &Address,
        run: Run,
        durability: u8,
        Outcome { tally, seconds }: &Outcome,
    ) -> Self {
        Self {
            mix: args.mix,
            addr: addr.to_string(),
            durability: if durability == 0 { "sync" } else { "os" },
            conns: args.conns,
            depth: args.depth(),
            rate: args.rate,
            seed: args.seed,
            run: run.0,
            seconds: (seconds * 1000.0).round() / 1000.0,
            requests: tally.answered(),
            requests_per_s: per_second(tally.answered(), *seconds),
            claims: tally.claims(),
            claims_per_s: per_second(tally.claims(), *seconds),
            p50_us: tally.quantile_us(0.5),
            p99_us: tally.quantile_us(0.99),
            p999_us: tally.quantile_us(0.999),
            max_us: tally.max_us(),
            sends: tally.of_op(Op::Send),
            looks: tally.of_op(Op::Grab),
            repeated: tally.count(Op::Claim, Status::AlreadyClaimed),
            sold_out: tally.count(Op::Claim, Status::SoldOut),
            expired: tally.count(Op::Claim, Status::Expired),
            details: tally.of_op(Op::Detail),
            refused: tally.refused(),
            errors: tally.errors(),
        }
    }

    fn words(&self) -> String {
        let count = |count: u64| indicatif::HumanCount(count).to_string();
        let pace = match self.rate {
            Some(rate) => format!("open loop at {}/s", count(rate.into())),
            None => "closed loop".into(),
        };
        let row = |name: &str, value: u64| format!("\n  {name:<12}{:>16}", count(value));
        let rated = |name: &str, value: u64, rate: u64| {
            format!("\n  {name:<12}{:>16}  {:>12}/s", count(value), count(rate))
        };
        format!(
            "{} connections x {} in flight, {pace}, {:.1} s, durability {}",
            self.conns, self.depth, self.seconds, self.durability
        ) + &rated("requests", self.requests, self.requests_per_s)
            + &rated("claims won", self.claims, self.claims_per_s)
            + &row("repeated", self.repeated)
            + &row("sold out", self.sold_out)
            + &row("sends", self.sends)
            + &row("looks", self.looks)
            + &row("details", self.details)
            + &row("refused", self.refused)
            + &row("errors", self.errors)
            + &format!(
                "\n  latency      p50 {} us, p99 {} us, p99.9 {} us, longest {} us",
                self.p50_us, self.p99_us, self.p999_us, self.max_us
            )
    }
}
