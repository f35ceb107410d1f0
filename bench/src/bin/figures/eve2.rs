//! New Year's Eve with one shard and with two, the load on the same cores.

use anyhow::Result;

use crate::Setup;
use crate::load::{load, median, refused_and_errors};
use crate::server::{Plan, Server};

/// The rows: name, shards, on whose connections requests are put.
const ROWS: &[(&str, u32, &str)] = &[
    ("1 shard", 1, "owner"),
    ("2 shards, straight to the owner", 2, "owner"),
    ("2 shards, always to the wrong one", 2, "wrong"),
];

pub(crate) fn figure(setup: &Setup) -> Result<()> {
    let envelopes = setup.envelopes.unwrap_or(200_000);
    setup.tell(&format!("eve, {envelopes} envelopes at first, 64 x 128 closed, load on all cores"));
    let flags = format!(
        "--mix eve --conns 64 --depth 128 --envelopes {envelopes} --seconds {}",
        setup.seconds
    );
    // All rows once, then all again, so that the machine's hours meet them alike.
    let rounds = setup.repeat(|| {
        let mut round = vec![load(setup, &Server::floor(setup)?, true, &flags)?];
        for (_, shards, through) in ROWS {
            // New envelopes come all the time: room for many times the first.
            let plan = Plan {
                shards: *shards,
                envelopes: envelopes.saturating_mul(20).max(200_000),
                shares: 13,
                ..Plan::default()
            };
            let server = Server::hongbao(setup, &plan)?;
            round.push(load(setup, &server, true, &format!("{flags} --through {through}"))?);
        }
        Ok(round)
    })?;
    if rounds.iter().any(|round| round[2].shards != 2) {
        println!("this server has one shard only: the rows below are all the same");
    }
    let floor = median(&rounds, |round| round[0].requests_per_s);
    let one = median(&rounds, |round| round[1].requests_per_s);
    println!(
        "{:<36} {:>12} {:>10} {:>10} {:>9} {:>9} {:>8} {:>7}",
        "", "requests/s", "of 1 shard", "of floor", "p50 us", "p99 us", "refused", "errors"
    );
    println!("{:<36} {floor:>12.0} {:>10} {:>10.2}", "floor", "", 1.0);
    for (place, (name, ..)) in (1..).zip(ROWS) {
        let rate = median(&rounds, |round| round[place].requests_per_s);
        let (refused, errors) = refused_and_errors(rounds.iter().map(|round| &round[place]));
        println!(
            "{name:<36} {rate:>12.0} {:>10.2} {:>10.2} {:>9.0} {:>9.0} {refused:>8} {errors:>7}",
            rate / one,
            rate / floor,
            median(&rounds, |round| round[place].p50_us),
            median(&rounds, |round| round[place].p99_us),
        );
    }
    Ok(())
}
