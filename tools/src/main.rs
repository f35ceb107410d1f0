//! `hb`: the command line of hongbao.
//!
//! This file reads the arguments, starts the command and turns its result into
//! an exit code. What a command does is in the file of its name.

mod admin;
mod args;
mod audit;
mod calls;
mod campaign;
mod clock;
mod demo;
mod doctor;
mod doctor_checks;
mod doctor_disk;
mod drain;
mod exit;
mod journal;
mod ledger;
mod load;
mod mix;
mod money;
mod number;
mod output;
mod paying;
mod progress;
mod risk;
mod risk_news;
mod settle;
mod stats;
mod stats_table;
mod target;
mod terms;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Command};
use output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output { json: cli.json };
    match run(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error, output),
    }
}

fn run(cli: Cli, output: Output) -> anyhow::Result<()> {
    let target = cli.target.target()?;
    match cli.command {
        Command::Send(order) => paying::send(&target, &order, output),
        Command::Fund(payment) => paying::fund(&target, &payment, output),
        Command::Void(by) => paying::void(&target, &by, output),
        Command::Grab(pair) => calls::grab(&target, &pair, output),
        Command::Claim(claim) => calls::claim(&target, &claim, output),
        Command::Ticket(args) => terms::ticket(&target, &args, output),
        Command::Terms(pair) => terms::show(&target, &pair, output),
        Command::Show(one) => calls::show(&target, &one, output),
        Command::Detail(one) => calls::detail(&target, &one, output),
        Command::Verify(args) => verify::run(&target, &args, output),
        Command::Cancel(by) => calls::cancel(&target, &by, output),
        Command::Risk(command) => risk::run(&target, &command, output),
        Command::Campaign(command) => campaign::run(&target, &command, output),
        Command::Load(plan) => load::run(&target, &plan, output),
        Command::Demo(plan) => demo::run(&plan, output),
        Command::ServeForDemo(args) => demo::serve(&args),
        Command::Journal(command) => journal::run(&command, output),
        Command::Audit(args) => audit::run(&args, output),
        Command::Stats(args) => stats::run(&args, output),
        Command::Balance(args) => ledger::balance(&args, output),
        Command::Deposit(args) => ledger::deposit(&args, output),
        Command::Withdraw(args) => ledger::withdraw(&args, output),
        Command::History(args) => ledger::history(&args, output),
        Command::Ledger(command) => ledger::run(&command, output),
        Command::Settle(command) => settle::run(&target, &command, output),
        Command::Clock(args) => clock::run(&args, output),
        Command::Drain(args) => drain::run(&args, output),
        Command::Doctor(args) => doctor::run(&args, output),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "hb", &mut std::io::stdout());
            Ok(())
        }
    }
}
