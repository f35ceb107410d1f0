//! The figures of the README: server on core 0, load on core 1, each figure of
//! hongbao beside the floor's, both in one run.

mod eve2;
mod expiry;
mod hot;
mod ledger;
mod load;
mod overload;
mod rush;
mod server;
mod shapes;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Measure hongbao, and the floor beside it
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    setup: Setup,
    #[command(subcommand)]
    figure: Option<Figure>,
}

/// How every figure is taken.
#[derive(Args)]
struct Setup {
    /// Seconds of each load
    #[arg(long, global = true, default_value_t = 3.0)]
    seconds: f64,
    /// Runs of each figure; the median is shown
    #[arg(long, global = true, default_value_t = 3)]
    runs: usize,
    /// Open envelopes [default: 1000000; rush and expiry 10000000]
    #[arg(long, global = true)]
    envelopes: Option<u32>,
    /// Where the journal goes; a real disk, not tmpfs
    #[arg(long, global = true, default_value = ".")]
    dir: PathBuf,
    /// MiB of a segment of the journal; every shard keeps three
    #[arg(long, global = true, default_value_t = 256)]
    segment_mib: u64,
    /// Do not pin server and load to cores 0 and 1
    #[arg(long, global = true)]
    unpinned: bool,
}

impl Setup {
    fn envelopes(&self) -> u32 {
        self.envelopes.unwrap_or(1_000_000)
    }

    /// Takes a figure as often as asked.
    fn repeat<T>(&self, mut once: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
        (0..self.runs.max(1)).map(|_| once()).collect()
    }

    /// Says how the figures below were taken.
    fn tell(&self, what: &str) {
        let pinned = if self.unpinned { "not pinned" } else { "server core 0, load core 1" };
        println!("{what}; {} s, median of {} runs, {pinned}", self.seconds, self.runs.max(1));
    }
}

/// Which figures; none: claims a second in four shapes of load.
#[derive(Subcommand)]
enum Figure {
    /// Ten million envelopes of five shares: rate, latency, disk and memory
    Rush(rush::Rush),
    /// New Year's Eve with one shard and with two, and with every request
    /// crossing between them
    Eve2,
    /// One envelope that everybody wants, and the others beside it
    Hot(hot::Hot),
    /// Credits a second in the ledger beside claims, and how it catches up
    Ledger(ledger::Ledger),
    /// Ten million envelopes that expire in one minute, beside claims
    Expiry(expiry::Expiry),
    /// Ten times more than the server can do, and what is left of it
    Overload(overload::Overload),
}

fn main() -> Result<()> {
    let Cli { setup, figure } = Cli::parse();
    match figure {
        None => shapes::figure(&setup),
        Some(Figure::Rush(rush)) => rush::figure(&setup, &rush),
        Some(Figure::Eve2) => eve2::figure(&setup),
        Some(Figure::Hot(hot)) => hot::figure(&setup, &hot),
        Some(Figure::Ledger(ledger)) => ledger::figure(&setup, &ledger),
        Some(Figure::Expiry(expiry)) => expiry::figure(&setup, &expiry),
        Some(Figure::Overload(overload)) => overload::figure(&setup, &overload),
    }
}
