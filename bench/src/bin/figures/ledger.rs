//! The embedded ledger beside the claims it credits: how fast it applies while
//! they go on, how long it needs for the rest, and whether the sums are right.
//!
//! Server on core 0; load and ledger share core 1, as on any box of two cores.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;

use crate::Setup;
use crate::load::{Load, load};
use crate::server::{Plan, Server, program};

/// Between two looks at the ledger.
const LOOK: Duration = Duration::from_millis(50);

/// How long the ledger may stand still before the figure gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// `figures ledger`.
#[derive(Args)]
pub(crate) struct Ledger {
    /// Claims a second while it applies
    #[arg(long, default_value_t = 1_000_000)]
    rate: u32,
}

/// What is read of `hb ledger status`.
#[derive(Deserialize)]
struct Status {
    state: String,
    lag_bytes: u64,
    records: u64,
}

pub(crate) fn figure(setup: &Setup, ledger: &Ledger) -> Result<()> {
    let (seconds, envelopes) = (setup.seconds, setup.envelopes());
    println!(
        "ledger, {envelopes} envelopes of 20 shares, {} claims/s for {seconds} s",
        ledger.rate
    );
    let server = Server::hongbao(
        setup,
        &Plan { shards: 1, envelopes, shares: 20, ledger: true, ..Plan::default() },
    )?;
    let crowd = format!(
        "--mix rush --envelopes {envelopes} --shares 20 --seconds {seconds} --conns 64 --rate {}",
        ledger.rate
    );
    let Load { claims, claims_per_s, p99_us, refused, errors, .. } =
        load(setup, &server, false, &crowd)?;
    let beside = status(&server)?;
    println!(
        "claims: {claims_per_s:.0}/s, p99 {p99_us:.0} us, {refused} refused, {errors} errors; \
         at their end the ledger has applied {} records and is {} bytes behind",
        beside.records, beside.lag_bytes
    );
    let began = Instant::now();
    let after = caught_up(&server, &beside)?;
    let took = began.elapsed().as_secs_f64();
    let applied = after.records - beside.records;
    println!("caught up: {applied} records in {took:.1} s");
    println!("credits alone: {:.0}/s", f64_of(applied) / took.max(0.001));
    audit(&server, claims)
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
