//! The embedded ledger beside the claims it credits: how fast it applies while
//! they go on, how long it needs for the rest, and whether the sums are right.
//!
//! Server on core 0; load and ledger share core 1, as on any box of two cores.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;

use crate::Setup;
use crate::load::{Load, load};
use crate::server::{Plan, Server, program};

/// Between two looks at the ledger.
const LOOK: Duration = Duration::from_millis(100);

/// How long the ledger may stand still before the figure gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// `figures ledger`.
#[derive(Args)]
pub(crate) struct Ledger {
    /// Claims a second while it applies
    #[arg(long, default_value_t = 1_000_000)]
    rate: u32,
    /// Shares of each envelope. A burst of 20 million claims: --shares 40 --seconds 20
    #[arg(long, default_value_t = 20)]
    shares: u32,
}

/// What is read of `hb ledger status`.
#[derive(Deserialize)]
struct Status {
    state: String,
    lag_bytes: u64,
    records: u64,
}

/// What the ledger did while claims went on.
#[derive(Default)]
struct Beside {
    credits_per_s: f64,
    lag_bytes_max: u64,
}

pub(crate) fn figure(setup: &Setup, ledger: &Ledger) -> Result<()> {
    let (seconds, envelopes) = (setup.seconds, setup.envelopes());
    let &Ledger { rate, shares } = ledger;
    println!("ledger, {envelopes} envelopes of {shares} shares, {rate} claims/s for {seconds} s");
    let server = Server::hongbao(
        setup,
        &Plan { shards: 1, envelopes, shares, ledger: true, ..Plan::default() },
    )?;
    // Orders cost more than credits and are not what is asked: they come before.
    let crowd = format!("--mix rush --run 1 --envelopes {envelopes} --shares {shares} --conns 64");
    load(setup, &server, false, &format!("{crowd} --requests 1"))?;
    let ordered = caught_up(&server, &status(&server)?)?;
    let crowd = format!("{crowd} --users-from 1 --seconds {seconds} --rate {rate}");
    let (load, beside) = watched(&server, &ordered, || load(setup, &server, false, &crowd))?;
    let Load { claims, claims_per_s, p99_us, refused, errors, .. } = load;
    println!("claims: {claims_per_s:.0}/s, p99 {p99_us:.0} us, {refused} refused, {errors} errors");
    println!(
        "credits beside: {:.0}/s, at most {} MiB behind",
        beside.credits_per_s,
        beside.lag_bytes_max >> 20
    );
    let (before, began) = (status(&server)?, Instant::now());
    let after = caught_up(&server, &before)?;
    let took = began.elapsed().as_secs_f64();
    let applied = after.records - before.records;
    println!("caught up: {applied} records in {took:.1} s");
    println!("credits alone: {:.0}/s", f64_of(applied) / took.max(0.001));
    audit(&server, claims + 1)
}

/// Looks at the ledger while claims go on, from the first that it applies.
fn watched<T>(
    server: &Server,
    before: &Status,
    claims: impl FnOnce() -> Result<T>,
) -> Result<(T, Beside)> {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| watch(server, before, &ended));
        let done = claims();
        ended.store(true, Ordering::Relaxed);
        let seen = watch.join().map_err(|_| anyhow::anyhow!("the watch panicked"))?;
        Ok((done?, seen?))
    })
}

fn watch(server: &Server, before: &Status, ended: &AtomicBool) -> Result<Beside> {
    let (mut first, mut seen) = (None, Beside::default());
    loop {
        let now = status(server)?;
        if ended.load(Ordering::Relaxed) {
            return Ok(seen); // this look may have been after the last claim
        }
        seen.lag_bytes_max = seen.lag_bytes_max.max(now.lag_bytes);
        if now.records > before.records {
            let &mut (began, records) = first.get_or_insert((Instant::now(), now.records));
            let span = began.elapsed().as_secs_f64();
            seen.credits_per_s = f64_of(now.records - records) / span.max(0.001);
        }
        thread::sleep(LOOK);
    }
}

fn status(server: &Server) -> Result<Status> {
    let admin = server.admin.as_ref().context("the server has a control plane")?;
    let mut command = Command::new(program("hb")?);
    command.args(["--json", "ledger", "status", "--admin", admin]);
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "hb ledger status failed");
    let status: Status = serde_json::from_slice(&output.stdout)?;
    ensure!(status.state == "running", "the ledger is {}", status.state);
    Ok(status)
}

fn caught_up(server: &Server, since: &Status) -> Result<Status> {
    let (mut records, mut moved) = (since.records, Instant::now());
    loop {
        let now = status(server)?;
        if now.lag_bytes == 0 {
            return Ok(now);
        }
        if now.records > records {
            (records, moved) = (now.records, Instant::now());
        }
        ensure!(moved.elapsed() < PATIENCE, "the ledger stands still");
        thread::sleep(LOOK);
    }
}

/// Every claim must be credited, once.
fn audit(server: &Server, claims: u64) -> Result<()> {
    let mut command = Command::new(program("hb")?);
    command.args(["--json", "audit", "--data"]).arg(server.data()?);
    let began = Instant::now();
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    println!("audit of {claims} claims: clean, {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Lossless below 2^53 records.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a figure to be shown")]
fn f64_of(n: u64) -> f64 {
    n as f64
}
