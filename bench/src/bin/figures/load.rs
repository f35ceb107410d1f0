//! `hb load` of a figure, and the median of its runs.

use std::process::Stdio;

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::Setup;
use crate::server::{Server, pinned, program};

/// What is read of the JSON of `hb load`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Load {
    pub(crate) shards: u32,
    pub(crate) requests_per_s: f64,
    pub(crate) claims: u64,
    pub(crate) claims_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) refused: u64,
    pub(crate) errors: u64,
    pub(crate) phases: Vec<Phase>,
    pub(crate) beside_p50_us: Option<f64>,
    pub(crate) beside_p99_us: Option<f64>,
}

/// One phase of an open loop.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Phase {
    pub(crate) rate: u32,
    pub(crate) seconds: f64,
    pub(crate) offered: u64,
    pub(crate) unsent: u64,
    pub(crate) late: u64,
    pub(crate) refused: u64,
    pub(crate) useful_per_s: f64,
    pub(crate) p99_us: f64,
}

/// One load, pinned to the last core or on all of them; flags are words.
pub(crate) fn load(setup: &Setup, server: &Server, on_all: bool, flags: &str) -> Result<Load> {
    let hb = program("hb")?;
    let mut command = if on_all { std::process::Command::new(hb) } else { pinned(setup, "1", &hb) };
    command.args(["--json", "--addr", &server.address, "load", "--seed", "42"]);
    let output = command.args(flags.split_whitespace()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "hb load {flags} failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The median of a field over at least one run.
pub(crate) fn median<T>(runs: &[T], field: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(field).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What should be nothing, over all runs: refusals and errors.
pub(crate) fn refused_and_errors<'a>(runs: impl Iterator<Item = &'a Load>) -> (u64, u64) {
    runs.fold((0, 0), |(refused, errors), run| (refused + run.refused, errors + run.errors))
}
