//! Servers of a figure: hongbao or the floor, each a process of its own.
//!
//! The only place that knows the flags of the server.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::Setup;

/// A server process, killed when it goes; its output stays open until then.
struct Running(Child, Option<BufReader<ChildStdout>>);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that listens, with its data, which goes with it.
pub(crate) struct Server {
    running: Running,
    data: Option<TempDir>,
    pub(crate) address: String,
    /// Its control plane, where the plan asks for one.
    pub(crate) admin: Option<String>,
}

/// What a figure asks of hongbao beside its defaults.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) shards: u32,
    pub(crate) envelopes: u32,
    /// Of the largest envelope.
    pub(crate) shares: u32,
    /// Whether a ledger credits beside it. The figures of the claim path have
    /// none: it would share its core with the load.
    pub(crate) ledger: bool,
    /// So many more envelopes of so many shares.
    pub(crate) more: (u32, u32),
    /// Whether it has a control plane; with a ledger it has.
    pub(crate) admin: bool,
}

/// Envelopes besides those of the figure: of runs beside it, and of chance.
const SPARE: u64 = 20_000;

/// Each of 256 partitions has a page per size that is not full.
const PARTIAL_PAGES_MIB: u64 = 20;

/// The program of this name beside this one.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.parent().context("the runner stands in a directory")?.join(name);
    ensure!(
        path.exists(),
        "{} is missing: run `cargo build --release --workspace`",
        path.display()
    );
    Ok(path)
}

/// A program on one core, if they are to be pinned.
pub(crate) fn pinned(setup: &Setup, core: &str, program: &Path) -> Command {
    if setup.unpinned {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// Where the shards run: on the cores from 0, the background plane on core 1.
fn placement(setup: &Setup, shards: u32) -> Vec<String> {
    let mut flags = vec!["--shards".into(), shards.to_string()];
    if setup.unpinned {
        flags.extend(["--cores", "none"].map(String::from));
    } else {
        let cores: Vec<String> = (0..shards).map(|core| core.to_string()).collect();
        flags.extend(["--cores".into(), cores.join(",")]);
        flags.extend(["--background-core", "1"].map(String::from));
    }
    flags
}

/// Envelopes of one size, some more for chance, and MiB of tables for them.
fn room(envelopes: u32, shares: u32) -> (u64, u64) {
    if envelopes == 0 {
        return (0, 0);
    }
    let envelopes = u64::from(envelopes) + u64::from(envelopes) / 256;
    // A block of a power of two with header and claims, and a cold side.
    let block = (48 + 16 * u64::from(shares).min(100)).next_power_of_two() + 48;
    let bytes = ((envelopes + SPARE) * block).max(u64::from(shares) * 64);
    (envelopes, (bytes >> 20) + PARTIAL_PAGES_MIB)
}

/// The next word of the output that begins so.
fn next_word(output: &mut impl BufRead, begins: &str) -> Result<String> {
    let mut line = String::new();
    while output.read_line(&mut line)? > 0 {
        let word = line.split_whitespace().find(|word| word.starts_with(begins));
        if let Some(word) = word {
            return Ok(word.trim_end_matches(',').to_owned());
        }
        line.clear();
    }
    anyhow::bail!("the server ended before it listened")
}

impl Server {
    /// A fresh hongbao, with room for the plan.
    pub(crate) fn hongbao(setup: &Setup, plan: &Plan) -> Result<Self> {
        let data = tempfile::Builder::new().prefix("hongbao-figures-").tempdir_in(&setup.dir)?;
        let mut command = Command::new(program("hongbao")?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
        command.args(placement(setup, plan.shards));
        let has_admin = plan.ledger || plan.admin;
        command.args(["--ledger", if plan.ledger { "embedded" } else { "none" }]);
        command.args(["--admin", if has_admin { "127.0.0.1:0" } else { "none" }]);
        let (more, shares_of_more) = plan.more;
        let sizes = [room(plan.envelopes, plan.shares), room(more, shares_of_more)];
        let envelopes = sizes.iter().map(|(envelopes, _)| envelopes).sum::<u64>() + SPARE;
        let table_mib = sizes.iter().map(|(_, mib)| mib).sum();
        for (flag, value) in [
            ("--envelopes-max", envelopes),
            ("--table-mib", table_mib),
            ("--segment-kib", setup.segment_mib << 10),
            ("--shares-max", plan.shares.max(shares_of_more).max(100).into()),
        ] {
            command.args([flag, &value.to_string()]);
        }
        Self::start(command, Some(data), has_admin)
    }

    /// The floor.
    pub(crate) fn floor(setup: &Setup) -> Result<Self> {
        let mut command = pinned(setup, "0", &program("floor")?);
        command.args(["--listen", "127.0.0.1:0"]);
        Self::start(command, None, false)
    }

    /// Its address is in the first line that names one; that of its control
    /// plane in a later one.
    fn start(mut command: Command, data: Option<TempDir>, has_admin: bool) -> Result<Self> {
        command.stdout(Stdio::piped());
        let mut running = Running(command.spawn()?, None);
        let stdout = running.0.stdout.take().context("the server has an output")?;
        let mut stdout = BufReader::new(stdout);
        let address = next_word(&mut stdout, "127.0.0.1:")?;
        let admin = has_admin.then(|| next_word(&mut stdout, "http://")).transpose()?;
        running.1 = Some(stdout);
        Ok(Self { running, data, address, admin })
    }

    /// The directory of its data.
    pub(crate) fn data(&self) -> Result<&Path> {
        self.data.as_ref().map(TempDir::path).context("the floor has no data")
    }

    /// How much of the journal is written, in bytes: what is used of its files,
    /// not how large they are.
    pub(crate) fn journal_bytes(&self) -> Result<u64> {
        let data = self.data.as_ref().context("the floor has no journal")?;
        let mut command = Command::new(program("hb")?);
        command.args(["--json", "journal", "stat", "--data"]).arg(data.path());
        let output = command.stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "hb journal stat failed");
        let stat: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let segments = stat["shards"].as_array().into_iter().flatten();
        let segments = segments.filter_map(|shard| shard["segments"].as_array()).flatten();
        Ok(segments.filter_map(|segment| segment["bytes_used"].as_u64()).sum())
    }

    /// Memory of the process that is no file's, in bytes: the journal's mapping
    /// does not count.
    pub(crate) fn memory_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.0.id()))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.context("the kernel tells RssAnon")? * 1024)
    }
}
