//! The figures of the README: server on core 0, load on core 1, each figure of
//! hongbao beside the floor's, both in one run.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Deserialize;

/// Measure claims per second against the floor
#[derive(Parser)]
struct Cli {
    /// Seconds of each run
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Runs of each figure; the median is shown
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Open envelopes
    #[arg(long, default_value_t = 1_000_000)]
    envelopes: u32,
    /// Shares of each envelope
    #[arg(long, default_value_t = 20)]
    shares: u32,
    /// Where the journal goes; a real disk, not tmpfs
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Do not pin server and load to cores 0 and 1
    #[arg(long)]
    unpinned: bool,
}

/// What is read of the JSON of `hb load`.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Load {
    requests_per_s: f64,
    claims_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    refused: u64,
    errors: u64,
}

/// A server process, killed when it goes; its output stays open until then.
struct Running(Child, Option<BufReader<ChildStdout>>);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One row of the table: how the load is offered.
struct Shape {
    name: &'static str,
    flags: &'static [&'static str],
}

const SHAPES: &[Shape] = &[
    Shape { name: "64 x 128 closed", flags: &["--conns", "64", "--depth", "128"] },
    Shape { name: "64 x 16 closed", flags: &["--conns", "64", "--depth", "16"] },
    Shape { name: "64 x 1 closed", flags: &["--conns", "64", "--depth", "1"] },
    Shape { name: "1 M/s open", flags: &["--conns", "64", "--rate", "1000000"] },
];

fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.parent().context("the runner stands in a directory")?.join(name);
    ensure!(
        path.exists(),
        "{} is missing: run `cargo build --release --workspace`",
        path.display()
    );
    Ok(path)
}

/// Starts a server and returns it with its address, the last word of the first
/// line that names one.
fn start(mut command: Command) -> Result<(Running, String)> {
    command.stdout(Stdio::piped());
    let mut child = Running(command.spawn()?, None);
    let mut stdout = BufReader::new(child.0.stdout.take().context("the server has an output")?);
    let mut line = String::new();
    while stdout.read_line(&mut line)? > 0 {
        if let Some(address) = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:")) {
            let address = address.to_owned();
            child.1 = Some(stdout);
            return Ok((child, address));
        }
        line.clear();
    }
    anyhow::bail!("the server ended before it listened")
}

fn pinned(cli: &Cli, core: &str, program: &Path) -> Command {
    if cli.unpinned {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

fn load(cli: &Cli, address: &str, shape: &Shape) -> Result<Load> {
    let mut command = pinned(cli, "1", &program("hb")?);
    command.args(["--json", "--addr", address, "load", "--mix", "rush", "--seed", "42"]);
    command.args(["--seconds", &cli.seconds.to_string()]);
    command.args(["--envelopes", &cli.envelopes.to_string()]);
    command.args(["--shares", &cli.shares.to_string()]);
    let output = command.args(shape.flags).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "hb load failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The median of each field by itself, over at least one run.
fn median(runs: &[Load]) -> Load {
    let of = |field: fn(&Load) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Load {
        requests_per_s: of(|run| run.requests_per_s),
        claims_per_s: of(|run| run.claims_per_s),
        p50_us: of(|run| run.p50_us),
        p99_us: of(|run| run.p99_us),
        refused: runs.iter().map(|run| run.refused).sum(),
        errors: runs.iter().map(|run| run.errors).sum(),
    }
}

/// Each run gets a fresh server, so that every envelope is open again.
fn hongbao(cli: &Cli, shape: &Shape) -> Result<Load> {
    let data = tempfile::Builder::new().prefix("hongbao-figures-").tempdir_in(&cli.dir)?;
    let mut command = Command::new(program("hongbao")?);
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command.arg("--data").arg(data.path());
    if !cli.unpinned {
        command.args([
            "--shards",
            "1",
            "--cores",
            "0",
            "--background-core",
            "1",
            "--admin",
            "none",
        ]);
    }
    let (_server, address) = start(command)?;
    load(cli, &address, shape)
}

fn floor(cli: &Cli, shape: &Shape) -> Result<Load> {
    let mut command = pinned(cli, "0", &program("floor")?);
    command.args(["--listen", "127.0.0.1:0"]);
    let (_server, address) = start(command)?;
    load(cli, &address, shape)
}

fn measure(cli: &Cli, shape: &Shape) -> Result<()> {
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..cli.runs.max(1) {
        floors.push(floor(cli, shape)?);
        ours.push(hongbao(cli, shape)?);
    }
    let (ours, floor) = (median(&ours), median(&floors));
    println!(
        "{:<16} {:>12.0} {:>12.0} {:>6.2} {:>9.0} {:>9.0} {:>9} {:>7}",
        shape.name,
        ours.claims_per_s,
        floor.requests_per_s,
        ours.claims_per_s / floor.requests_per_s,
        ours.p50_us,
        ours.p99_us,
        ours.refused,
        ours.errors,
    );
    Ok(())
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let rush =
        bench::engine_rush(cli.envelopes, 5, 4_000_000).context("the engine bench failed")?;
    println!(
        "engine alone: {:.0} ns a claim, {:.0} bytes an envelope, digest {:016x}",
        rush.ns_per_claim, rush.bytes_per_envelope, rush.digest
    );
    println!(
        "{:<16} {:>12} {:>12} {:>6} {:>9} {:>9} {:>9} {:>7}",
        "load", "claims/s", "floor/s", "ratio", "p50 us", "p99 us", "refused", "errors"
    );
    SHAPES.iter().try_for_each(|shape| measure(&cli, shape))
}
