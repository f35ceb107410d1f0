//! `hb doctor`: can this machine carry a hongbao well, and what should be
//! changed?
//!
//! It looks, measures the disk for two seconds with a file that vanishes, and
//! changes nothing. What a finding means is in `doctor_checks`, as functions of
//! the text that the kernel shows; this file only asks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use rustix::process::{Resource, getrlimit};
use rustix::thread::sched_getaffinity;
use serde::Serialize;

use crate::doctor_checks::{self as checks, Finding, Verdict};
use crate::doctor_disk as disk;
use crate::exit::AuditFailed;
use crate::output::Output;

/// `hb doctor`.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// The data directory, or where it would be made
    #[arg(long, default_value = "./hongbao-data")]
    data: PathBuf,
}

#[derive(Serialize)]
struct Report {
    verdict: Verdict,
    checks: Vec<Finding>,
}

/// Looks at everything and tells it; an error only if something is bad.
pub(crate) fn run(args: &DoctorArgs, output: Output) -> Result<()> {
    let mut found = machine();
    found.extend(place(&args.data));
    let verdict = found.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    let report = Report { verdict, checks: found };
    output.print(&report, || words(&report.checks));
    if verdict == Verdict::Bad {
        let bad = report.checks.iter().filter(|finding| finding.verdict == Verdict::Bad);
        let names: Vec<_> = bad.map(|finding| finding.name).collect();
        return Err(AuditFailed(format!("not fit to serve: {}", names.join(", "))).into());
    }
    Ok(())
}

fn words(found: &[Finding]) -> String {
    let mut lines = Vec::new();
    for Finding { name, verdict, found, advice } in found {
        lines.push(format!("{:<4}  {name:<11}  {found}", verdict.word()));
        if let Some(advice) = advice {
            lines.push(format!("      {:<11}  -> {advice}", ""));
        }
    }
    lines.join("\n")
}

/// The text of a file of the kernel; `None` where it has none.
fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

fn machine() -> Vec<Finding> {
    let refused = |error: &dyn std::error::Error| error.to_string();
    let ring = hongbao::net::check_ring().map_err(|error| refused(&error));
    let memlock = hongbao::journal::check_memlock().map_err(|error| refused(&error));
    let huge = "/sys/kernel/mm/transparent_hugepage";
    let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    vec![
        checks::kernel(text("/proc/sys/kernel/osrelease").as_deref()),
        checks::ring(ring),
        checks::memlock(memlock, getrlimit(Resource::Memlock).current),
        checks::descriptors(getrlimit(Resource::Nofile).maximum),
        checks::cores(allowed_cores(), text("/sys/devices/system/cpu/online").as_deref()),
        checks::quota(text("/sys/fs/cgroup/cpu.max").as_deref()),
        checks::governors(&governors()),
        checks::huge_pages(
            text(&format!("{huge}/enabled")).as_deref(),
            text(&format!("{huge}/defrag")).as_deref(),
        ),
        checks::swap(text("/proc/meminfo").as_deref()),
        checks::clock(text(clock).as_deref()),
    ]
}

fn allowed_cores() -> u32 {
    sched_getaffinity(None).map_or(0, |set| set.count())
}

fn governors() -> Vec<String> {
    let cores = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    cores
        .filter_map(|core| fs::read_to_string(core.path().join("cpufreq/scaling_governor")).ok())
        .map(|governor| governor.trim_end().to_owned())
        .collect()
}

/// What lies below the data directory.
fn place(data: &Path) -> Vec<Finding> {
    let existing = match disk::nearest_existing(data) {
        Ok(existing) => existing,
        Err(error) => return vec![checks::no_place(data, &error)],
    };
    let mounts = text("/proc/self/mountinfo").unwrap_or_default();
    let busy = checks::is_busy(text("/proc/loadavg").as_deref(), allowed_cores());
    vec![
        checks::file_system(&existing, &mounts),
        checks::free_space(disk::space(&existing)),
        checks::sync_latency(disk::probe(&existing), busy),
    ]
}
