//! The `hongbao` server binary: flags in, one line per fact out, a drain on
//! SIGTERM. Everything else is in the library.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use hongbao::Server;
use hongbao::admin::{Progress, Systemd};
use hongbao::config::{Given, Resolved};
use hongbao::server::{EXIT_FATAL, StartError, Starting};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A red-envelope claim server for one box.
#[derive(Parser)]
#[command(version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done (drained); 1 refused to start, the line says why; \
2 wrong usage; 74 ended by its disk or ring.

Precedence of settings: flag, then --config file (TOML, same names with _), \
then HONGBAO_* variable, then default.";

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, then drain
    #[command(args_override_self = true)]
    Serve(Settings),
    /// Print every setting, its value and where it came from; start nothing
    #[command(args_override_self = true)]
    CheckConfig(Settings),
}

#[derive(clap::Args)]
struct Settings {
    /// TOML file with settings
    #[arg(long, env = "HONGBAO_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Given,
}

/// How often a long recovery says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(settings) => serve(settings),
        Command::CheckConfig(settings) => check_config(settings),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hongbao: {error}");
            let refused = error.downcast_ref::<StartError>();
            if refused.is_some_and(StartError::is_failed_sync) {
                ExitCode::from(EXIT_FATAL)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn resolve(settings: Settings) -> Result<Resolved, Failure> {
    let file = settings.config.as_deref();
    Ok(Resolved::from_sources(settings.flags, file, std::env::vars_os())?)
}

fn serve(settings: Settings) -> Result<(), Failure> {
    let resolved = resolve(settings)?;
    // Registered before the start, so that no moment of it is deaf.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let starting = Starting::begin(resolved.config)?;
    let systemd = Systemd::from_variables(|name| std::env::var_os(name), std::process::id());
    // Told to stop when this goes, after the drain.
    let _notifying =
        systemd.map(|systemd| systemd.start(starting.boards().to_vec())).transpose()?;
    let server = tell_progress(starting)?;
    for fact in server.facts() {
        say(fact);
    }
    say("ready");
    let stopper = server.stopper();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            stopper.stop();
        }
    });
    server.wait()?;
    say("drained: everything acknowledged is durable");
    Ok(())
}

/// Waits for the recovery, with a line a second about how far it is.
fn tell_progress(starting: Starting) -> Result<Server, StartError> {
    let mut progress = Progress::of(starting.boards().to_vec());
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let teller = std::thread::spawn(move || {
        while is_done.recv_timeout(PROGRESS_EVERY) == Err(RecvTimeoutError::Timeout) {
            say(&format!("recovering  {}", progress.line(Instant::now())));
        }
    });
    let server = starting.finish();
    drop(done);
    let _ = teller.join();
    server
}

/// A line on standard output. Whoever read it may be gone; the server stays.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn check_config(settings: Settings) -> Result<(), Failure> {
    for (key, value, source) in resolve(settings)?.origins {
        println!("{key:<20} {value:<24} {source}");
    }
    Ok(())
}
