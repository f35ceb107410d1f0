//! Ten million open envelopes of five shares: claims a second, latency at a
//! fixed rate, bytes on the disk for a claim, memory for an envelope.

use anyhow::Result;
use clap::Args;

use crate::Setup;
use crate::load::{Load, load, median, refused_and_errors};
use crate::server::{Plan, Server};

const SHARES: u32 = 5;

/// The first user of the second load: far above those of the first.
const SECOND_USERS: u32 = 1 << 31;

/// `figures rush`.
#[derive(Args)]
pub(crate) struct Rush {
    /// Claims a second of the open loop
    #[arg(long, default_value_t = 4_000_000)]
    rate: u32,
}

struct Run {
    closed: Load,
    open: Load,
    /// Of hongbao only: bytes for a claim of the open loop, for an envelope.
    bytes: Option<(f64, f64)>,
}

pub(crate) fn figure(setup: &Setup, rush: &Rush) -> Result<()> {
    let envelopes = setup.envelopes.unwrap_or(10_000_000);
    setup.tell(&format!(
        "rush, {envelopes} envelopes of {SHARES} shares, one server for both loads"
    ));
    let pairs = setup.repeat(|| {
        let floor = measure(setup, rush, envelopes, &Server::floor(setup)?)?;
        let server = Server::hongbao(
            setup,
            &Plan { shards: 1, envelopes, shares: SHARES, ..Plan::default() },
        )?;
        let mut ours = measure(setup, rush, envelopes, &server)?;
        let per_envelope = of(server.memory_bytes()?, envelopes.into());
        ours.bytes = ours.bytes.map(|(per_claim, _)| (per_claim, per_envelope));
        Ok((floor, ours))
    })?;
    let row = |name: &str, field: &dyn Fn(&Run) -> f64| {
        let ours = median(&pairs, |(_, ours)| field(ours));
        let floor = median(&pairs, |(floor, _)| field(floor));
        println!("{name:<36} {ours:>12.0} {floor:>12.0} {:>6.2}", ours / floor);
    };
    println!("{:<36} {:>12} {:>12} {:>6}", "", "hongbao", "floor", "ratio");
    row("closed, 64 x 128: claims/s", &|run| run.closed.claims_per_s);
    row(&format!("open, {} scheduled: claims/s", rush.rate), &|run| run.open.claims_per_s);
    row("open: p50 us", &|run| run.open.p50_us);
    row("open: p99 us", &|run| run.open.p99_us);
    let bytes =
        |part: fn((f64, f64)) -> f64| median(&pairs, |(_, ours)| ours.bytes.map_or(f64::NAN, part));
    println!("{:<36} {:>12.1}", "open: journal bytes a claim", bytes(|(claim, _)| claim));
    println!("{:<36} {:>12.1}", "memory bytes an envelope", bytes(|(_, envelope)| envelope));
    let all = pairs.iter().flat_map(|(_, ours)| [&ours.closed, &ours.open]);
    let (refused, errors) = refused_and_errors(all);
    println!("{refused} refused, {errors} errors");
    Ok(())
}

/// Closed and open loop on the same envelopes, by new users each.
fn measure(setup: &Setup, rush: &Rush, envelopes: u32, server: &Server) -> Result<Run> {
    let seconds = setup.seconds;
    let common = format!(
        "--mix rush --run 1 --conns 64 --seconds {seconds} --envelopes {envelopes} --shares {SHARES}"
    );
    let closed = load(setup, server, false, &format!("{common} --depth 128"))?;
    let before = server.journal_bytes().ok();
    let open = format!("{common} --rate {} --users-from {SECOND_USERS}", rush.rate);
    let open = load(setup, server, false, &open)?;
    let bytes = match before {
        Some(before) => Some((of(server.journal_bytes()? - before, open.claims), 0.0)),
        None => None,
    };
    Ok(Run { closed, open, bytes })
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "figures are approximate")]
fn of(whole: u64, parts: u64) -> f64 {
    whole as f64 / parts.max(1) as f64
}
