//! Claims a second in four shapes of load, every envelope open.

use anyhow::{Context, Result};

use crate::Setup;
use crate::load::{load, median, refused_and_errors};
use crate::server::{Plan, Server};

const SHARES: u32 = 20;

/// How the load is offered: its name and its flags.
const SHAPES: &[(&str, &str)] = &[
    ("64 x 128 closed", "--conns 64 --depth 128"),
    ("64 x 16 closed", "--conns 64 --depth 16"),
    ("64 x 1 closed", "--conns 64 --depth 1"),
    ("1 M/s open", "--conns 64 --rate 1000000"),
];

pub(crate) fn figure(setup: &Setup) -> Result<()> {
    let envelopes = setup.envelopes();
    let rush = bench::engine_rush(envelopes, 5, 4_000_000).context("the engine bench failed")?;
    println!("engine alone: {:.0} ns a claim, digest {:016x}", rush.ns_per_claim, rush.digest);
    setup.tell(&format!("rush, {envelopes} envelopes of {SHARES} shares"));
    println!(
        "{:<16} {:>12} {:>12} {:>6} {:>9} {:>9} {:>9} {:>7}",
        "load", "claims/s", "floor/s", "ratio", "p50 us", "p99 us", "refused", "errors"
    );
    SHAPES.iter().try_for_each(|(name, flags)| measure(setup, name, flags))
}

/// Each run gets a fresh server, so that every envelope is open again.
fn measure(setup: &Setup, name: &str, flags: &str) -> Result<()> {
    let envelopes = setup.envelopes();
    let seconds = setup.seconds;
    let flags =
        format!("--mix rush --seconds {seconds} --envelopes {envelopes} --shares {SHARES} {flags}");
    let pairs = setup.repeat(|| {
        let floor = load(setup, &Server::floor(setup)?, false, &flags)?;
        let server = Server::hongbao(
            setup,
            &Plan { shards: 1, envelopes, shares: SHARES, ..Plan::default() },
        )?;
        Ok((floor, load(setup, &server, false, &flags)?))
    })?;
    let (refused, errors) = refused_and_errors(pairs.iter().map(|(_, ours)| ours));
    let claims = median(&pairs, |(_, ours)| ours.claims_per_s);
    let floor = median(&pairs, |(floor, _)| floor.requests_per_s);
    println!(
        "{name:<16} {claims:>12.0} {floor:>12.0} {:>6.2} {:>9.0} {:>9.0} {refused:>9} {errors:>7}",
        claims / floor,
        median(&pairs, |(_, ours)| ours.p50_us),
        median(&pairs, |(_, ours)| ours.p99_us),
    );
    Ok(())
}
