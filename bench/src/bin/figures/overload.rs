//! Ten times more requests than the server can do: how much of its work is
//! still of use, and how soon it is back.

use std::path::Path;

use anyhow::Result;
use clap::Args;

use crate::Setup;
use crate::load::{Load, Phase, load, median};
use crate::server::{Plan, Server};

const SHARES: u32 = 20;
const CONNECTIONS: u32 = 64;

/// `figures overload`.
#[derive(Args)]
pub(crate) struct Overload {
    /// How many times the peak is offered
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// Seconds of the overload
    #[arg(long = "overload-seconds", default_value_t = 30.0)]
    lasting: f64,
    /// Seconds before it and after it, at half the peak
    #[arg(long = "calm-seconds", default_value_t = 10.0)]
    calm: f64,
    /// Requests in flight on each of 64 connections at most [default: what the
    /// peak answers in a quarter of the budget; with more than it answers in half
    /// of it, whatever is sent last comes too late]
    #[arg(long)]
    depth: Option<u32>,
    /// How long each asker cares, in microseconds
    #[arg(long, default_value_t = 50_000)]
    budget_us: u32,
}

struct Run {
    peak: f64,
    depth: f64,
    phases: Vec<Phase>,
    /// Seconds after the overload until all that is offered is of use again.
    back_after: f64,
}

pub(crate) fn figure(setup: &Setup, overload: &Overload) -> Result<()> {
    let envelopes = setup.envelopes();
    setup.tell(&format!(
        "overload, {envelopes} envelopes of {SHARES} shares, peak closed {CONNECTIONS} x 128, then \
         open with a budget of {} us",
        overload.budget_us
    ));
    for (name, floor) in [("hongbao", false), ("floor", true)] {
        let runs = setup.repeat(|| {
            let server = if floor {
                Server::floor(setup)?
            } else {
                Server::hongbao(
                    setup,
                    &Plan { shards: 1, envelopes, shares: SHARES, ..Plan::default() },
                )?
            };
            measure(setup, overload, &server)
        })?;
        print(name, &runs);
    }
    Ok(())
}

fn print(name: &str, runs: &[Run]) {
    let peak = median(runs, |run| run.peak);
    let depth = median(runs, |run| run.depth);
    println!("{name}: peak {peak:.0}/s; {CONNECTIONS} x {depth:.0} in flight at most");
    for place in 0..runs.first().map_or(0, |run| run.phases.len()) {
        let of = |field: fn(&Phase) -> f64| median(runs, |run| field(&run.phases[place]));
        println!(
            "  {:>10.0}/s for {:>4} s: useful {:>10.0}/s ({:.2} of the peak), p99 {:.0} us; of the \
             offered {:.3} unsent, {:.3} late, {:.3} refused",
            of(|phase| phase.rate.into()),
            of(|phase| phase.seconds),
            of(|phase| phase.useful_per_s),
            median(runs, |run| run.phases[place].useful_per_s / run.peak),
            of(|phase| phase.p99_us),
            of(|phase| part(phase.unsent, phase.offered)),
            of(|phase| part(phase.late, phase.offered)),
            of(|phase| part(phase.refused, phase.offered)),
        );
    }
    println!("  back to normal after {} s", median(runs, |run| run.back_after));
}

fn measure(setup: &Setup, overload: &Overload, server: &Server) -> Result<Run> {
    let Overload { times, lasting, calm, depth, budget_us } = overload;
    let common = format!(
        "--mix rush --run 1 --conns {CONNECTIONS} --envelopes {} --shares {SHARES}",
        setup.envelopes()
    );
    let closed = format!("{common} --depth 128 --seconds {}", setup.seconds);
    let peak = load(setup, server, false, &closed)?.requests_per_s;
    let depth = depth.map_or_else(|| in_flight(peak, *budget_us), f64::from);
    let timeline = tempfile::NamedTempFile::new()?;
    let phases = format!(
        "{half:.0}x{calm},{:.0}x{lasting},{half:.0}x{calm}",
        peak * times,
        half = peak / 2.0,
    );
    let flags = format!(
        "{common} --depth {depth:.0} --users-from 2147483648 --budget-us {budget_us} --phases {phases} \
         --timeline {}",
        timeline.path().display()
    );
    let Load { phases, .. } = load(setup, server, false, &flags)?;
    let back_after = back_after(timeline.path(), calm + lasting)?;
    Ok(Run { peak, depth, phases, back_after })
}

/// What a connection has in flight so that all of them together are answered in
/// a quarter of the budget, as a gateway limits itself that knows the peak.
fn in_flight(peak: f64, budget_us: u32) -> f64 {
    let together = peak * f64::from(budget_us) / 4e6;
    (together / f64::from(CONNECTIONS)).clamp(1.0, 4096.0)
}

/// From the timeline: how many seconds after a moment the first second comes
/// whose requests were all but a hundredth of use.
fn back_after(timeline: &Path, ended: f64) -> Result<f64> {
    let text = std::fs::read_to_string(timeline)?;
    for line in text.lines().skip(1) {
        let fields: Vec<f64> = line.split(',').filter_map(|field| field.parse().ok()).collect();
        let [second, offered, _, useful, ..] = fields[..] else {
            anyhow::bail!("a line of the timeline is not whole: {line}");
        };
        if second >= ended && offered > 0.0 && useful >= 0.99 * offered {
            return Ok(second - ended);
        }
    }
    Ok(f64::INFINITY)
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "figures are approximate")]
fn part(count: u64, whole: u64) -> f64 {
    count as f64 / whole.max(1) as f64
}
