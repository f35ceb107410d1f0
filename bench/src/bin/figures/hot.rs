//! One envelope that everybody wants: answers a second, and what it does to
//! the claims on other envelopes.

use anyhow::Result;
use clap::Args;

use crate::Setup;
use crate::load::{Load, load, median, refused_and_errors};
use crate::server::{Plan, Server};

/// `figures hot`.
#[derive(Args)]
pub(crate) struct Hot {
    /// Shares of the envelope; when they are gone the crowd goes on asking
    #[arg(long, default_value_t = 1_000_000)]
    shares: u32,
    /// Answers a second on it while the others are measured
    #[arg(long, default_value_t = 1_000_000)]
    rate: u32,
    /// Claims a second on the others
    #[arg(long, default_value_t = 100_000)]
    beside: u32,
}

/// One round: hot alone at the floor and at hongbao, the others alone, both.
struct Round {
    floor: Load,
    alone: Load,
    others: Load,
    both: Load,
}

pub(crate) fn figure(setup: &Setup, hot: &Hot) -> Result<()> {
    let Hot { shares, rate, beside } = hot;
    setup.tell(&format!("hot, one envelope of {shares} shares"));
    let rounds = setup.repeat(|| measure(setup, hot))?;
    let floor = median(&rounds, |round| round.floor.requests_per_s);
    let alone = median(&rounds, |round| round.alone.requests_per_s);
    println!(
        "closed, 64 x 128: {alone:.0} answers/s, floor {floor:.0}, ratio {:.2}",
        alone / floor
    );
    let quiet = median(&rounds, |round| round.others.p99_us);
    let busy = median(&rounds, |round| round.both.beside_p99_us.unwrap_or(f64::NAN));
    println!(
        "{beside} claims/s on other envelopes: p50 {:.0} us, p99 {quiet:.0} us",
        median(&rounds, |round| round.others.p50_us)
    );
    println!(
        "the same beside {rate} answers/s on the hot one: p50 {:.0} us, p99 {busy:.0} us, ratio {:.2}",
        median(&rounds, |round| round.both.beside_p50_us.unwrap_or(f64::NAN)),
        busy / quiet,
    );
    let all = rounds.iter().flat_map(|round| [&round.alone, &round.others, &round.both]);
    let (refused, errors) = refused_and_errors(all);
    println!("{refused} refused, {errors} errors");
    Ok(())
}

fn measure(setup: &Setup, hot: &Hot) -> Result<Round> {
    let Hot { shares, rate, beside } = hot;
    let (seconds, envelopes) = (setup.seconds, setup.envelopes());
    let plan = Plan { shards: 1, envelopes, shares: *shares, ..Plan::default() };
    let fresh = || Server::hongbao(setup, &plan);
    let crowd = format!("--mix hot --shares {shares} --seconds {seconds} --conns 64");
    let closed = format!("{crowd} --depth 128");
    let rush = format!(
        "--mix rush --shares 5 --seconds {seconds} --conns 16 --rate {beside} --envelopes {envelopes}"
    );
    let both = format!("{crowd} --rate {rate} --beside {beside} --beside-envelopes {envelopes}");
    Ok(Round {
        floor: load(setup, &Server::floor(setup)?, false, &closed)?,
        alone: load(setup, &fresh()?, false, &closed)?,
        others: load(setup, &fresh()?, false, &rush)?,
        both: load(setup, &fresh()?, false, &both)?,
    })
}
