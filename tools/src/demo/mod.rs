//! `hb demo`: an evening in small, a crash in its middle, and the audit.
//!
//! Everything is real: a server process with its journal, sockets, SIGKILL. The
//! clients keep a book of every answer; at the end the server is asked for
//! everything and compared with the book.

mod audit;
mod book;
mod crew;
mod observe;
mod serve;
mod server;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use hongbao::client::{Address, Client};
use serde::Serialize;
use tempfile::TempDir;

use crate::exit::{AuditFailed, Usage};
use crate::mix::{Eve, Issue, Run, Shape};
use crate::money::yuan;
use crate::number::per_second;
use crate::output::Output;
use crate::progress::{Progress, Voice};
use audit::{Verdict, audit};
use book::Book;
use crew::Crew;
use server::Server;

pub(crate) use serve::{ServeArgs, serve};

/// A few connections of a modest depth: the demo is about being right.
const CONNECTIONS: usize = 4;
const DEPTH: usize = 64;

/// Envelopes on the table when the evening begins.
const STOCK: u32 = 4000;

/// About the requests a second of such clients; see [`Shape::rate`].
const RATE: u32 = 100_000;

/// `hb demo`.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// How long the load lasts, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// The seed of all draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What the load and the crash were like.
struct Played {
    crew: Crew,
    book: Book,
    seconds: f64,
    killed_after: Duration,
    down: Duration,
}

/// `hb demo`.
pub(crate) fn run(args: &DemoArgs, output: Output) -> Result<()> {
    if args.seconds == 0 {
        return Err(Usage("--seconds must be at least 1".into()).into());
    }
    let dir = tempfile::Builder::new().prefix("hongbao-demo-").tempdir()?;
    let result = play_and_audit(args, &dir);
    let (summary, verdict) = result.with_context(|| keep(&dir))?;
    output.print(&summary, || summary.words());
    if verdict.is_ok() {
        return Ok(());
    }
    let kept = keep(&dir);
    let findings = verdict.findings.join("\n  ");
    Err(AuditFailed(format!("the audit failed; {kept}\n  {findings}")).into())
}

/// Keeps the directory for whoever looks into the failure, and names it.
fn keep(dir: &TempDir) -> String {
    let copy = dir.path().with_extension("kept");
    match std::fs::rename(dir.path(), &copy) {
        Ok(()) => format!("its data and log are kept in {}", copy.display()),
        Err(error) => format!("its data could not be kept: {error}"),
    }
}

fn play_and_audit(args: &DemoArgs, dir: &TempDir) -> Result<(Summary, Verdict)> {
    let mut progress = Progress::start();
    let mut server = Server::start(dir.path())?;
    let played = play(args, &mut server, &mut progress)?;
    progress.show("audit: reading everything back".into());
    let mut client = Client::connect(&address_of(&server))?;
    let shown = observe::observe(&mut client, &played.book).context("reading for the audit")?;
    let verdict = audit(&played.book, &shown);
    drop(client);
    server.stop()?;
    Ok((Summary::of(&played, &verdict), verdict))
}

fn address_of(server: &Server) -> Address {
    Address::Tcp(server.address.to_string())
}

/// The load, with the crash in its middle. The crash is a thread of its own, so
/// that it comes at whatever moment of the load it is then.
fn play(args: &DemoArgs, server: &mut Server, progress: &mut Progress) -> Result<Played> {
    let mut crew = Crew::connect(&address_of(server), CONNECTIONS, DEPTH)?;
    let mut book = Book::default();
    let mut eve = stocked_eve(args.seed, &mut crew, &mut book)?;
    crew.tally = crate::load::Tally::new(); // the stock is not part of what is measured
    let length = Duration::from_secs(args.seconds.into());
    let voice = progress.voice();
    let began = Instant::now();
    let (played, crashed) = std::thread::scope(|scope| {
        let crash = scope.spawn(|| crash(server, length / 2, &voice));
        let played = play_until(length, &mut crew, &mut eve, &mut book, progress);
        (played, crash.join())
    });
    let seconds = began.elapsed().as_secs_f64();
    // A restart that failed explains clients that found nobody.
    let down = crashed.map_err(|_| anyhow!("the crash has crashed"))??;
    played?;
    Ok(Played { crew, book, seconds, killed_after: length / 2, down })
}

fn play_until(
    length: Duration,
    crew: &mut Crew,
    eve: &mut Eve,
    book: &mut Book,
    progress: &mut Progress,
) -> Result<()> {
    let began = Instant::now();
    crew.fill(eve);
    while crew.round(eve, book, began.elapsed() < length)? {
        if progress.is_due(Instant::now()) {
            progress.show(progress_text(crew, began.elapsed()));
        }
    }
    Ok(())
}

fn stocked_eve(seed: u64, crew: &mut Crew, book: &mut Book) -> Result<Eve> {
    let mut eve = Eve::new(Shape { seed, run: Run(1), rate: RATE, refunds: true });
    for _ in 0..STOCK {
        eve.plan();
    }
    let mut issue = Issue::new(STOCK, |number| eve.order(number));
    crew.fill(&mut issue);
    while crew.round(&mut issue, book, true)? {}
    let ids = issue.finish().map_err(hongbao::client::ClientError::Refused)?;
    for (number, id) in (0..STOCK).zip(ids) {
        eve.known(number, id);
    }
    Ok(eve)
}

/// Kills the server and starts it again; how long nobody was there.
fn crash(server: &mut Server, after: Duration, voice: &Voice) -> Result<Duration> {
    std::thread::sleep(after);
    let began = Instant::now();
    server.kill();
    voice.tell("server killed (SIGKILL) with requests under way; starting it again");
    server.restart().context("after the crash")?;
    let down = began.elapsed();
    voice.tell(&format!("server recovered and listening after {:.2} s", down.as_secs_f64()));
    Ok(down)
}

fn progress_text(crew: &Crew, elapsed: Duration) -> String {
    let (claims, tally) = (crew.tally.claims(), &crew.tally);
    format!(
        "demo: {} s, {} shares won, {}/s, p99 {:.0} us",
        elapsed.as_secs(),
        indicatif::HumanCount(claims),
        indicatif::HumanCount(per_second(claims, elapsed.as_secs_f64())),
        tally.quantile_us(0.99),
    )
}

/// What the demo found; the fields are stable.
#[derive(Serialize)]
struct Summary {
    seconds: f64,
    requests: u64,
    requests_per_s: u64,
    claims: u64,
    claims_per_s: u64,
    p50_us: f64,
    p99_us: f64,
    refused: u64,
    errors: u64,
    envelopes: usize,
    sent_fen: u64,
    claimed_fen: u64,
    refunded_fen: u64,
    left_fen: u64,
    refunds: u64,
    killed_after_s: f64,
    down_s: f64,
    asked_again: u64,
    acknowledged: u64,
    lost: u64,
    double: u64,
    untold: u64,
    money_off_fen: u64,
    audit: &'static str,
}

impl Summary {
    fn of(played: &Played, verdict: &Verdict) -> Self {
        let tally = &played.crew.tally;
        Self {
            seconds: played.seconds,
            requests: tally.answered(),
            requests_per_s: per_second(tally.answered(), played.seconds),
            claims: tally.claims(),
            claims_per_s: per_second(tally.claims(), played.seconds),
            p50_us: tally.quantile_us(0.5),
            p99_us: tally.quantile_us(0.99),
            refused: tally.refused(),
            errors: tally.errors(),
            envelopes: played.book.envelopes.len(),
            sent_fen: played.book.sent_fen(),
            claimed_fen: verdict.claimed_fen,
            refunded_fen: verdict.refunded_fen,
            left_fen: verdict.left_fen,
            refunds: verdict.refunds,
            killed_after_s: played.killed_after.as_secs_f64(),
            down_s: played.down.as_secs_f64(),
            asked_again: played.crew.asked_again,
            acknowledged: played.book.promises(),
            lost: verdict.lost,
            double: verdict.double,
            untold: verdict.untold,
            money_off_fen: verdict.money_off_fen,
            audit: if verdict.is_ok() { "ok" } else { "failed" },
        }
    }

    fn words(&self) -> String {
        let count = |count: u64| indicatif::HumanCount(count).to_string();
        let sent = u64::try_from(self.envelopes).unwrap_or(u64::MAX);
        let result = match self.audit {
            "ok" => "OK: every answer that was given is kept, once, and every fen is accounted for",
            _ => "FAILED",
        };
        format!(
            "envelopes  {} with {}\n\
             claims     {} shares won, {} a second ({} requests a second)\n\
             latency    half within {} us, 99 % within {} us\n\
             crash      server killed after {:.1} s, back after {:.2} s; \
             {} requests had no answer and were sent again\n\
             money      {} claimed + {} refunded ({} envelopes) + {} left = {}\n\
             audit      {} acknowledged answers checked: {} lost, {} double, {} off\n\
             result     {result}",
            count(sent),
            yuan(self.sent_fen),
            count(self.claims),
            count(self.claims_per_s),
            count(self.requests_per_s),
            self.p50_us,
            self.p99_us,
            self.killed_after_s,
            self.down_s,
            count(self.asked_again),
            yuan(self.claimed_fen),
            yuan(self.refunded_fen),
            count(self.refunds),
            yuan(self.left_fen),
            yuan(self.claimed_fen + self.refunded_fen + self.left_fen),
            count(self.acknowledged),
            count(self.lost),
            count(self.double),
            yuan(self.money_off_fen),
        )
    }
}
