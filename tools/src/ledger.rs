//! The commands about balances: what a user has, deposits and withdrawals, lists,
//! and the follower that fills the ledger.
//!
//! They ask the admin port of a running server; nothing here opens a ledger.

use std::fmt::Write;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use hongbao::admin::FollowerStatus;
use hongbao::client::ClientError;
use hongbao::units::{Fen, UserId};
use hongbao::wire::Status;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::admin::AdminArgs;
use crate::args::{EnvelopeArgs, user};
use crate::calls::moment;
use crate::money::{self, yuan};
use crate::output::Output;

/// `hb balance`.
#[derive(Args)]
pub(crate) struct BalanceArgs {
    /// The user's number
    #[arg(value_parser = user)]
    user: UserId,
    #[command(flatten)]
    admin: AdminArgs,
}

/// `hb deposit` and `hb withdraw`.
#[derive(Args)]
pub(crate) struct TransferArgs {
    /// The user's number
    #[arg(value_parser = user)]
    user: UserId,
    /// The money, in yuan, such as 88.00
    #[arg(value_name = "YUAN", value_parser = money::parse_yuan)]
    amount: Fen,
    /// Your own number for it; the same again changes nothing
    #[arg(long)]
    reference: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

/// `hb history`.
#[derive(Args)]
pub(crate) struct HistoryArgs {
    /// The user's number
    #[arg(value_parser = user)]
    user: UserId,
    /// The envelopes sent, instead of the shares received
    #[arg(long, conflicts_with = "days")]
    sent: bool,
    /// Shares received; what is shown without a flag
    #[arg(long, conflicts_with_all = ["sent", "days"])]
    received: bool,
    /// Totals by day
    #[arg(long)]
    days: bool,
    /// The next page: what the page before said
    #[arg(long)]
    after: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// `hb ledger`.
#[derive(Subcommand)]
pub(crate) enum LedgerCommand {
    /// Show how far the ledger is, and what is in its way
    Status(AdminArgs),
    /// Try again now: after the ledger was away, or was put right
    Retry(AdminArgs),
    /// Pass over the record that the ledger refuses; the ledger keeps which and why
    Skip {
        /// Why, for those who read it later
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).context("the admin port gives no sound JSON; is it a hongbao's?")
}

/// An amount of an answer, in fen.
fn fen(answer: &Value, name: &str) -> Fen {
    answer.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn balance_words(answer: &Value) -> String {
    let (available, held) = (fen(answer, "available_fen"), fen(answer, "held_fen"));
    match held {
        0 => yuan(available),
        _ => format!("{}, and {} held for orders", yuan(available), yuan(held)),
    }
}

/// `hb balance`.
pub(crate) fn balance(args: &BalanceArgs, output: Output) -> Result<()> {
    let path = format!("/ledger/balance?user={}", args.user);
    let answer: Value = read(&args.admin.get(&path)?)?;
    output.print(&answer, || balance_words(&answer));
    Ok(())
}

/// `hb deposit`.
pub(crate) fn deposit(args: &TransferArgs, output: Output) -> Result<()> {
    transfer("/ledger/deposit", args, output)
}

/// `hb withdraw`.
pub(crate) fn withdraw(args: &TransferArgs, output: Output) -> Result<()> {
    transfer("/ledger/withdraw", args, output)
}

fn transfer(path: &str, args: &TransferArgs, output: Output) -> Result<()> {
    let asked = json!({
        "user": args.user.to_string(), "amount_fen": args.amount,
        "reference": args.reference.to_string(),
    });
    let answer: Value = read(&args.admin.post_json(path, &asked)?)?;
    output.print(&answer, || format!("user {} has {}", args.user, balance_words(&answer)));
    Ok(())
}

/// `hb history`.
pub(crate) fn history(args: &HistoryArgs, output: Output) -> Result<()> {
    let (list, row): (_, fn(&Value) -> String) = match (args.sent, args.days) {
        (_, true) => ("days", day_words),
        (true, _) => ("sent", sent_words),
        _ => ("received", received_words),
    };
    let after = args.after.as_ref().map(|after| format!("&after={after}")).unwrap_or_default();
    let path = format!("/ledger/{list}?user={}{after}", args.user);
    let answer: Value = read(&args.admin.get(&path)?)?;
    output.print(&answer, || {
        let rows = answer.get("rows").and_then(Value::as_array);
        let mut lines: Vec<_> = rows.into_iter().flatten().map(row).collect();
        if lines.is_empty() {
            lines.push("nothing yet".to_owned());
        }
        if let Some(next) = answer.get("next").and_then(Value::as_str) {
            lines.push(format!("more: --after {next}"));
        }
        lines.join("\n")
    });
    Ok(())
}

/// An envelope that the server has forgotten, as the ledger knows it; whoever
/// does not find it there either hears what the server said.
pub(crate) fn archived(one: &EnvelopeArgs, error: ClientError, output: Output) -> Result<()> {
    let is_gone =
        matches!(&error, ClientError::Refused(refusal) if refusal.status == Status::NotFound);
    let path = format!("/ledger/envelope?id={}&limit=1000", one.envelope);
    let found = if is_gone { one.admin.get(&path).ok() } else { None };
    let Some(found) = found else { return Err(error.into()) };
    let answer: Value = read(&found)?;
    output.print(&answer, || archived_words(&answer));
    Ok(())
}

fn archived_words(answer: &Value) -> String {
    let mut words = format!(
        "envelope {} (from the ledger): {}\n  from user {} (order {}), {} in {} shares\n  claimed {} \
         in {} shares, refunded {}",
        text(answer, "envelope"),
        text(answer, "state"),
        text(answer, "sender"),
        text(answer, "order"),
        yuan(fen(answer, "total_fen")),
        fen(answer, "shares"),
        yuan(fen(answer, "claimed_fen")),
        fen(answer, "claimed"),
        yuan(fen(answer, "refunded_fen")),
    );
    for row in answer.get("rows").and_then(Value::as_array).into_iter().flatten() {
        let amount = yuan(fen(row, "amount_fen"));
        let _ = write!(words, "\n  {amount:>14}  user {}  {}", text(row, "user"), at(row));
    }
    words
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn at(row: &Value) -> String {
    moment(u32::try_from(fen(row, "at")).unwrap_or(u32::MAX))
}

fn received_words(row: &Value) -> String {
    format!("{}  {:>16}  envelope {}", at(row), yuan(fen(row, "amount_fen")), text(row, "envelope"))
}

fn sent_words(row: &Value) -> String {
    let (total, refunded) = (yuan(fen(row, "total_fen")), fen(row, "refunded_fen"));
    let back = if refunded > 0 { format!(", {} back", yuan(refunded)) } else { String::new() };
    format!("{}  {total:>16}  envelope {}{back}", at(row), text(row, "envelope"))
}

/// The date of a day that is counted from 1970-01-01.
fn day(row: &Value) -> String {
    let seconds = fen(row, "day").saturating_mul(24 * 3600);
    let date = moment(u32::try_from(seconds).unwrap_or(u32::MAX));
    date.split('T').next().unwrap_or_default().to_owned()
}

fn day_words(row: &Value) -> String {
    format!(
        "{}  received {} in {}, sent {} in {}",
        day(row),
        yuan(fen(row, "received_fen")),
        fen(row, "received"),
        yuan(fen(row, "sent_fen")),
        fen(row, "sent"),
    )
}

/// `hb ledger`.
pub(crate) fn run(command: &LedgerCommand, output: Output) -> Result<()> {
    let answer = match command {
        LedgerCommand::Status(args) => return status(args, output),
        LedgerCommand::Retry(args) => args.post("/ledger/retry")?,
        LedgerCommand::Skip { reason, admin } => {
            admin.post_json("/ledger/skip", &json!({ "reason": reason }))?
        }
    };
    let answer: Value = read(&answer)?;
    let done = answer.get("done").and_then(Value::as_str).unwrap_or_default();
    output.print(&answer, || done.to_owned());
    Ok(())
}

fn status(args: &AdminArgs, output: Output) -> Result<()> {
    let status: FollowerStatus = read(&args.get("/ledger")?)?;
    output.print(&status, || status_words(&status));
    Ok(())
}

fn status_words(status: &FollowerStatus) -> String {
    let mut text = format!(
        "{}, {} bytes of journal behind ({}.{:03} s), {} records since the start",
        status.state,
        status.lag_bytes,
        status.lag_ms / 1000,
        status.lag_ms % 1000,
        status.records
    );
    if let Some(reason) = &status.reason {
        let _ = write!(text, "\n  {reason}"); // a String takes all
    }
    if let Some(record) = &status.record {
        let _ = write!(
            text,
            "\n  stopped before record {} of the batch at position {}, arrangement {}, shard {}\n  \
             put the ledger right and `hb ledger retry`, or `hb ledger skip --reason WHY`",
            record.index, record.batch, record.arrangement, record.shard
        );
    }
    for cursor in &status.cursors {
        let at = moment(u32::try_from(cursor.time_ms / 1000).unwrap_or(u32::MAX));
        let (shard, position) = (cursor.shard, cursor.position);
        let _ = write!(text, "\n  shard {shard} applied up to position {position}, of {at}");
    }
    text
}
