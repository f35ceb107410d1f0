//! `hb settle follow|forget`: a complete receiver of the settlement stream.
//!
//! It is an example to copy from: each shard on a thread with its own connection,
//! movements into the books in the transaction that moves the cursor, an
//! acknowledgement only after that is durable. Killed at any moment, it goes on
//! without a double or a missing movement.

mod books;
mod follow;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use hongbao::follow::settle::{
    Ending, SubscriberName, SubscriptionError, forget_as, forget_offline,
};
use serde_json::json;

use crate::output::Output;
use crate::target::Target;

/// Between two tries to reach a server that is away.
const RETRY: Duration = Duration::from_millis(200);

/// `hb settle`.
#[derive(Subcommand)]
pub(crate) enum SettleCommand {
    /// Keep double-entry books of every movement of money, in a file of `SQLite`
    Follow(FollowArgs),
    /// Forget a subscriber that will not come again: its journal may be freed
    Forget(ForgetArgs),
}

/// `hb settle follow`.
#[derive(Args)]
pub(crate) struct FollowArgs {
    /// The server's settlement port, `host:port`
    #[arg(long, value_name = "ADDRESS", env = "HONGBAO_SETTLEMENT_ADDR")]
    from: String,
    /// Under which name the server knows us: a-z, 0-9 and -
    #[arg(long)]
    name: SubscriberName,
    /// One shard's number, or `all`
    #[arg(long, default_value = "all", value_parser = which)]
    shard: Which,
    /// Where the books are: DIR/NAME.books
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
    /// How many bytes may be on the way
    #[arg(long, default_value_t = 1 << 20)]
    window: u32,
    /// End when everything that was committed at the beginning is booked
    #[arg(long)]
    once: bool,
}

/// `hb settle forget`.
#[derive(Args)]
pub(crate) struct ForgetArgs {
    /// The subscriber
    name: SubscriberName,
    /// The settlement port of a running server
    #[arg(long, value_name = "ADDRESS", required_unless_present = "data")]
    from: Option<String>,
    /// The data directory of a server that does not run
    #[arg(long, value_name = "DIR", conflicts_with = "from")]
    data: Option<PathBuf>,
}

/// Which shards.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    All,
    One(u16),
}

fn which(text: &str) -> Result<Which, String> {
    match text {
        "all" => Ok(Which::All),
        number => number.parse().map(Which::One).map_err(|_| "`all`, or a shard's number".into()),
    }
}

pub(crate) fn resolve(address: &str) -> Result<SocketAddr> {
    let found = address.to_socket_addrs().with_context(|| format!("{address}: no host:port"))?;
    found.into_iter().next().with_context(|| format!("{address} has no address"))
}

/// `hb settle`.
pub(crate) fn run(target: &Target, command: &SettleCommand, output: Output) -> Result<()> {
    match command {
        SettleCommand::Follow(args) => follow::run(target, args, output),
        SettleCommand::Forget(args) => forget_one(target, args, output),
    }
}

fn forget_one(target: &Target, args: &ForgetArgs, output: Output) -> Result<()> {
    if let Some(from) = &args.from {
        let identity = target.identity.as_deref();
        forget_as(identity, resolve(from)?, &args.name)
            .with_context(|| format!("forgetting {}", args.name))?;
    } else if let Some(data) = &args.data
        && !forget_offline(data, &args.name)?
    {
        bail!("{}: no subscriber {} is here", data.display(), args.name);
    }
    let name = args.name.as_str();
    output.print(&json!({ "forgotten": name }), || format!("{name} is forgotten"));
    Ok(())
}

/// A server that is away is waited for; what it refuses is an error.
pub(crate) fn pause(error: SubscriptionError, address: SocketAddr) -> Result<()> {
    let is_passing = matches!(
        error,
        // A connection of ours that has just died may still have the name.
        SubscriptionError::Broken(_) | SubscriptionError::Ended(Ending::Draining | Ending::InUse)
    );
    if !is_passing {
        return Err(error).with_context(|| format!("subscribing at {address}"));
    }
    thread::sleep(RETRY);
    Ok(())
}
