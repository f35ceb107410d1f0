//! Every command and flag of `hb`, with its help text.
//!
//! This room only describes; it never acts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use hongbao::units::{EnvelopeId, Fen, MoneySource, Split, UserId};

use crate::admin::AdminArgs;
use crate::audit::AuditArgs;
use crate::campaign::CampaignCommand;
use crate::clock::ClockArgs;
use crate::demo::{DemoArgs, ServeArgs};
use crate::doctor::DoctorArgs;
use crate::journal::JournalCommand;
use crate::ledger::{BalanceArgs, HistoryArgs, LedgerCommand, TransferArgs};
use crate::load::LoadArgs;
use crate::money;
use crate::risk::RiskCommand;
use crate::settle::SettleCommand;
use crate::stats::StatsArgs;
use crate::target::TargetArgs;
use crate::terms::{ClaimArgs, TermsArgs, TicketArgs};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the server refused: sold out, expired, not found, conflict, not yet, ...
  2  usage: a flag or value is wrong
  3  cannot reach the server, or another input/output failure
  4  an audit or verification failed, or `hb doctor` found something bad

Money is written in yuan (88 or 88.00) and shown in yuan; --json tells fen, and
ids, users, orders and payments as strings, which keep all of their 64 bits.";

/// The command line.
#[derive(Parser)]
#[command(name = "hb", version, about = "Send, claim, load and audit red envelopes", after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Order an envelope and put money in it
    Send(SendArgs),
    /// Confirm the payment of an order, as its payment system
    Fund(FundArgs),
    /// Withdraw an order that is not paid (only the sender may)
    Void(CancelArgs),
    /// Look whether something is left; wins nothing
    Grab(PairArgs),
    /// Take one share
    Claim(ClaimArgs),
    /// Make a ticket for a user, as the gateway of the user's group
    Ticket(TicketArgs),
    /// Show the terms of an envelope, as far as a user may see them
    Terms(PairArgs),
    /// Show the summary of an envelope
    Show(EnvelopeArgs),
    /// List who got what
    Detail(EnvelopeArgs),
    /// Take the rest back (only the sender may)
    Cancel(CancelArgs),
    /// Recompute every amount of a closed envelope from its seed
    Verify(VerifyArgs),
    /// Give out a sponsor's prizes over time: create, start, status, shake, stop, ...
    #[command(subcommand)]
    Campaign(CampaignCommand),
    /// Grade users, keep the lists, decide about held shares, explain
    #[command(subcommand)]
    Risk(RiskCommand),
    /// Put load on a server and measure it
    Load(LoadArgs),
    /// Serve, crash, recover and audit: the whole thing in one command
    Demo(DemoArgs),
    #[command(hide = true)]
    ServeForDemo(ServeArgs),
    /// Look at a journal on disk; nothing is changed
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Prove that no fen was made, lost or given twice, and that the ledger agrees
    Audit(AuditArgs),
    /// Show what the shards of a running server do
    Stats(StatsArgs),
    /// Show what a user may spend
    Balance(BalanceArgs),
    /// Put money into a user's balance
    Deposit(TransferArgs),
    /// Take money out of a user's balance
    Withdraw(TransferArgs),
    /// List what a user has received or sent, newest first
    History(HistoryArgs),
    /// Look after the ledger of a running server
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Receive every movement of money, for a ledger of your own
    #[command(subcommand)]
    Settle(SettleCommand),
    /// Show the time of a running server against the clock on its wall
    Clock(ClockArgs),
    /// Ask a running server to end in order: everything acknowledged is durable
    Drain(AdminArgs),
    /// Look whether this machine can carry a server well; nothing is changed
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// `hb send`.
#[derive(Args)]
pub(crate) struct SendArgs {
    /// Who pays, and who gets the refund
    #[arg(long, value_parser = user)]
    pub(crate) sender: UserId,
    /// The sender's own number for this order; the same again gives the same envelope
    #[arg(long)]
    pub(crate) order: u64,
    /// Where the money comes from
    #[arg(long, value_enum, default_value = "vouched")]
    pub(crate) from: SourceName,
    /// The reference under which the money is held; wanted where you vouch for it
    #[arg(long, required_unless_present = "from", required_if_eq("from", "vouched"))]
    pub(crate) payment: Option<u64>,
    /// The money, in yuan, such as 88.00
    #[arg(long, value_name = "YUAN", value_parser = money::parse_yuan)]
    pub(crate) total: Fen,
    /// Into how many shares it is cut
    #[arg(long)]
    pub(crate) shares: u32,
    /// How it is cut
    #[arg(long, value_enum, default_value = "random")]
    pub(crate) split: SplitName,
    /// How long it may be claimed: 90s, 30m, 24h, 3days
    #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
    pub(crate) lifetime: Duration,
    /// The most one share may be, in yuan
    #[arg(long, value_name = "YUAN", value_parser = money::parse_yuan)]
    pub(crate) share_max: Option<Fen>,
    /// Your part of the commitment to the draws: any number
    #[arg(long, default_value_t = 0)]
    pub(crate) nonce: u32,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
}

/// The sources of money, as a user names them.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SourceName {
    /// You vouch that it is paid: open at once
    Vouched,
    /// The sender's balance: open when the ledger has put it aside
    Balance,
    /// An outside payment: open when its payment system confirms it
    Payment,
}

impl SourceName {
    /// The source of this name.
    pub(crate) fn source(self) -> MoneySource {
        match self {
            Self::Vouched => MoneySource::Vouched,
            Self::Balance => MoneySource::Balance,
            Self::Payment => MoneySource::Payment,
        }
    }
}

/// `hb fund`.
#[derive(Args)]
pub(crate) struct FundArgs {
    /// The envelope's number, as `hb send` printed it
    #[arg(value_parser = envelope)]
    pub(crate) envelope: EnvelopeId,
    /// The payment's reference
    #[arg(long)]
    pub(crate) payment: u64,
    /// The money that came, in yuan: the envelope's total
    #[arg(long, value_name = "YUAN", value_parser = money::parse_yuan)]
    pub(crate) amount: Fen,
    /// The file with the key to seal with, as the server's `payment_keys`
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: PathBuf,
    /// Which key of the file; wanted where it has several
    #[arg(long)]
    pub(crate) key_id: Option<u32>,
}

/// `hb verify`.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The envelope's number, as `hb send` printed it
    #[arg(value_parser = envelope)]
    pub(crate) envelope: EnvelopeId,
    /// The commitment that `hb send` printed; without it that of the server is believed
    #[arg(long, value_name = "HEX", value_parser = hash)]
    pub(crate) commitment: Option<[u8; 32]>,
    /// Print every claim with its receipt
    #[arg(long)]
    pub(crate) receipts: bool,
}

/// The rules of a cut, as a user names them.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SplitName {
    /// Every share the same
    Equal,
    /// Each share uniform around the mean of what is left
    Random,
    /// The gaps between random cuts; wilder, for up to 1000 shares
    Cut,
}

impl SplitName {
    /// The rule of this name.
    pub(crate) fn split(self) -> Split {
        match self {
            Self::Equal => Split::Equal,
            Self::Random => Split::DoubleMean,
            Self::Cut => Split::LineCutting,
        }
    }
}

/// An envelope and a user.
#[derive(Args)]
pub(crate) struct PairArgs {
    /// The envelope's number, as `hb send` printed it
    #[arg(value_parser = envelope)]
    pub(crate) envelope: EnvelopeId,
    /// The user's number
    #[arg(value_parser = user)]
    pub(crate) user: UserId,
}

/// An envelope.
#[derive(Args)]
pub(crate) struct EnvelopeArgs {
    /// The envelope's number, as `hb send` printed it
    #[arg(value_parser = envelope)]
    pub(crate) envelope: EnvelopeId,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

/// An envelope and its sender.
#[derive(Args)]
pub(crate) struct CancelArgs {
    /// The envelope's number, as `hb send` printed it
    #[arg(value_parser = envelope)]
    pub(crate) envelope: EnvelopeId,
    /// The user who sent it
    #[arg(value_parser = user)]
    pub(crate) sender: UserId,
}

pub(crate) fn envelope(text: &str) -> Result<EnvelopeId, String> {
    text.parse().map(EnvelopeId).map_err(|_| "an envelope is a whole number".into())
}

fn hash(text: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    let parsed = hex::decode_to_slice(text, &mut hash);
    parsed.map(|()| hash).map_err(|_| "a commitment is 64 hex digits".into())
}

pub(crate) fn user(text: &str) -> Result<UserId, String> {
    text.parse().map(UserId).map_err(|_| "a user is a whole number".into())
}
