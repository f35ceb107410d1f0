//! The hidden command that is the demo's server process.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use hongbao::config::{LedgerPlace, MaybeListen};
use hongbao::{Config, Server};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Small segments are ready soon and take little of a temporary directory.
const SEGMENT_KIB: u32 = 64 * 1024;

/// `hb serve-for-demo`.
#[derive(Args)]
pub(crate) struct ServeArgs {
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    port_file: PathBuf,
    /// Where the settlement stream is
    #[arg(long, default_value = "none")]
    settlement: MaybeListen,
    #[arg(long)]
    shards: Option<u16>,
}

/// Serves until SIGTERM, or until whoever started it, and holds the other end of
/// its standard input, is gone.
pub(crate) fn serve(args: &ServeArgs) -> Result<()> {
    let config = Config {
        data: args.data.clone(),
        listen: args.listen,
        segment_kib: SEGMENT_KIB,
        admin: MaybeListen::Nowhere,
        settlement: args.settlement,
        shards: args.shards,
        checkpoint_interval_s: 0,     // it is over before one is due
        ledger: LedgerPlace::Nowhere, // without an admin port nobody could look at it
        ..Config::default()
    };
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let server = Server::start(config).context("starting the server")?;
    for fact in server.facts() {
        eprintln!("{fact}");
    }
    let unfinished = args.port_file.with_extension("new");
    fs::write(&unfinished, server.address().to_string())?;
    fs::rename(&unfinished, &args.port_file)?; // whole or not there
    let starter_gone = signals.handle();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink()); // ends with the pipe's other end
        starter_gone.close();
    });
    signals.forever().next();
    server.drain().context("draining")?;
    Ok(())
}
