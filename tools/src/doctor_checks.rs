//! What `hb doctor` finds good or bad: functions of the text that the kernel
//! shows, each with its advice. Nothing here reads the machine.

use std::io;
use std::path::Path;

use serde::Serialize;

use crate::doctor_disk::{Space, SyncTimes};

/// How good a finding is; the worst decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, worse than it could.
    Warn,
    /// The server does not start, or does not keep its promise.
    Bad,
}

impl Verdict {
    /// The verdict in one word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// One line of the report.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) found: String,
    /// What to do, where something is to be done.
    pub(crate) advice: Option<String>,
}

fn ok(name: &'static str, found: impl Into<String>) -> Finding {
    Finding { name, verdict: Verdict::Ok, found: found.into(), advice: None }
}

fn warn(name: &'static str, found: impl Into<String>, advice: &str) -> Finding {
    let advice = Some(advice.to_owned());
    Finding { name, verdict: Verdict::Warn, found: found.into(), advice }
}

fn bad(name: &'static str, found: impl Into<String>, advice: &str) -> Finding {
    Finding { verdict: Verdict::Bad, ..warn(name, found, advice) }
}

/// Linux 6.1 has every `io_uring` operation that is used.
pub(crate) fn kernel(release: Option<&str>) -> Finding {
    let name = "kernel";
    let Some(release) = release else {
        return bad(name, "no /proc/sys/kernel/osrelease", "run on Linux 6.1 or newer");
    };
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {release}");
    if version >= (6, 1) { ok(name, found) } else { bad(name, found, "run Linux 6.1 or newer") }
}

/// What the server's own question to the kernel came to; its error says what
/// to do.
pub(crate) fn ring(asked: Result<(), String>) -> Finding {
    match asked {
        Ok(()) => ok("io_uring", "a ring like the server's can be made"),
        Err(told) => bad("io_uring", "refused", &told),
    }
}

/// The same for locked memory.
pub(crate) fn memlock(asked: Result<(), String>, limit: Option<u64>) -> Finding {
    let found = limit.map_or("unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
    match asked {
        Ok(()) => ok("memlock", found),
        Err(told) => bad("memlock", found, &told),
    }
}

/// Descriptors besides the connections, as the server keeps them spare.
const SPARE_DESCRIPTORS: u64 = 64;

/// The server raises its soft limit itself, so the hard one counts.
pub(crate) fn descriptors(hard: Option<u64>) -> Finding {
    let name = "nofile";
    let connections = hard.unwrap_or(u64::MAX).saturating_sub(SPARE_DESCRIPTORS).min(65_536);
    let found = format!("enough for {connections} connections");
    let advice = "raise it with `ulimit -Hn` or LimitNOFILE=";
    match connections {
        0..1024 => bad(name, found, &format!("{advice}, or lower --connections-max")),
        1024..16_384 => warn(name, found, &format!("{advice} if more are to come")),
        _ => ok(name, found),
    }
}

/// Cores this process may use, of those that are there (`0-3,6`).
pub(crate) fn cores(allowed: u32, online: Option<&str>) -> Finding {
    let all = online.map_or(0, |ranges| ranges.split(',').map(range_len).sum());
    let found = format!("{allowed} of {} may be used", all.max(allowed));
    let advice = "a shard wants a core, and one more is for the background and the control plane";
    match allowed {
        0..2 => warn("cores", found, advice),
        _ => ok("cores", found),
    }
}

fn range_len(range: &str) -> u32 {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
        (Ok(first), Ok(last)) => last.saturating_sub(first) + 1,
        _ => 0,
    }
}

/// A share of the processor in `cpu.max` stops all shards for the rest of each
/// period.
pub(crate) fn quota(cpu_max: Option<&str>) -> Finding {
    match cpu_max {
        None => ok("cpu quota", "none"),
        Some(text) if text.starts_with("max") => ok("cpu quota", "none"),
        Some(text) => {
            let advice = "shards stand still when it is used up: give whole cores (cpuset) instead";
            warn("cpu quota", format!("cpu.max is `{text}`"), advice)
        }
    }
}

/// One name per core that scales its frequency.
pub(crate) fn governors(names: &[String]) -> Finding {
    let name = "governor";
    match names.iter().find(|governor| *governor != "performance") {
        _ if names.is_empty() => ok(name, "none: the frequency is not scaled from here"),
        None => ok(name, "performance"),
        Some(other) => {
            let advice = "`cpupower frequency-set -g performance`; waking up costs latency";
            warn(name, other.clone(), advice)
        }
    }
}

/// The word in brackets is the one that is set.
fn chosen(text: &str) -> &str {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or(text, |(word, _)| word)
}

/// The tables ask for huge pages by `madvise`.
pub(crate) fn huge_pages(enabled: Option<&str>, defrag: Option<&str>) -> Finding {
    let name = "huge pages";
    let place = "/sys/kernel/mm/transparent_hugepage";
    let (enabled, defrag) = (enabled.map(chosen), defrag.map(chosen));
    let found = format!("enabled {}, defrag {}", enabled.unwrap_or("-"), defrag.unwrap_or("-"));
    match (enabled, defrag) {
        (None | Some("never"), _) => {
            let advice = format!("`echo madvise > {place}/enabled`; claims miss the TLB without");
            warn(name, found, &advice)
        }
        (_, Some("always")) => {
            let advice = format!("`echo madvise > {place}/defrag`; any page fault may compact");
            warn(name, found, &advice)
        }
        _ => ok(name, found),
    }
}

/// `/proc/meminfo`: swap that is in use may be ours.
pub(crate) fn swap(meminfo: Option<&str>) -> Finding {
    let kib = |key: &str| {
        let line = meminfo?.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
    };
    let (Some(all), Some(free)) = (kib("SwapTotal"), kib("SwapFree")) else {
        return warn("swap", "not known", "see that /proc/meminfo can be read");
    };
    match (all, all.saturating_sub(free)) {
        (0, _) => ok("swap", "none"),
        (_, 0) => ok("swap", format!("{} MiB, none used", all / 1024)),
        (_, used) => {
            let advice = "a table that is swapped out costs milliseconds a claim: `swapoff -a`, \
                          or MemorySwapMax=0 for the service";
            warn("swap", format!("{} of {} MiB used", used / 1024, all / 1024), advice)
        }
    }
}

/// Sources that are read without a system call.
const FAST_CLOCKS: [&str; 4] =
    ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"];

/// The clock is read some times a turn.
pub(crate) fn clock(source: Option<&str>) -> Finding {
    match source {
        Some(fast) if FAST_CLOCKS.contains(&fast) => ok("clock", fast),
        None => warn("clock", "not known", "see that /sys is mounted"),
        Some(slow) => {
            let advice = "reading it is a system call: boot with `clocksource=tsc` if the \
                          machine has a stable one";
            warn("clock", slow, advice)
        }
    }
}

/// The mount below a path, by `/proc/self/mountinfo`: the longest mount point
/// that leads to it, the last of equals.
fn mount_of<'a>(place: &Path, mountinfo: &'a str) -> Option<(&'a str, &'a str, String)> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(4);
        let (point, options) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, _, super_options) = (right.next()?, right.next()?, right.next().unwrap_or(""));
        Some((point, kind, format!("{options},{super_options}")))
    });
    mounts
        .filter(|(point, ..)| place.starts_with(point.replace("\\040", " ")))
        .max_by_key(|(point, ..)| point.len())
}

/// Pages must be written in place, and must reach the disk when they are synced.
pub(crate) fn file_system(place: &Path, mountinfo: &str) -> Finding {
    let name = "file system";
    let Some((point, kind, options)) = mount_of(place, mountinfo) else {
        return warn(name, "not known", "see that /proc is mounted; prefer ext4 or xfs");
    };
    let found = format!("{kind} on {point}");
    let has = |wanted: &[&str]| options.split(',').any(|option| wanted.contains(&option));
    let in_place = "it copies on write and is refused: use a directory on ext4 or xfs";
    match kind {
        "btrfs" | "zfs" | "bcachefs" => bad(name, found, in_place),
        _ if has(&["ro"]) => {
            bad(name, format!("{found}, read-only"), "find out why (`dmesg`), then remount it")
        }
        _ if has(&["nobarrier", "barrier=0"]) => bad(
            name,
            format!("{found}, without barriers"),
            "a sync does not reach the disk: mount it without nobarrier",
        ),
        "ext4" | "xfs" => ok(name, found),
        "tmpfs" | "ramfs" => warn(name, found, "it is gone with the power: for trials only"),
        "overlay" => warn(name, found, "use a volume: every first write copies the file"),
        _ => warn(name, found, "not known to keep what it syncs: prefer ext4 or xfs"),
    }
}

/// Three segments a shard and three checkpoints of full tables, all of the
/// default sizes, must fit into a new directory.
const NEW_JOURNAL_BYTES: u64 = (3 * 256 + 3 * 1024) << 20;

/// Room for the journal.
pub(crate) fn free_space(space: io::Result<Space>) -> Finding {
    let name = "free space";
    let Space { free, all } = match space {
        Ok(space) => space,
        Err(error) => return bad(name, error.to_string(), "check the disk"),
    };
    let found = format!("{} of {} MiB", free >> 20, all >> 20);
    if free < NEW_JOURNAL_BYTES {
        let advice = "a new journal takes three segments (256 MiB each) a shard and three \
                      checkpoints of all tables (1 GiB each): free space, or lower --segment-kib \
                      and --table-mib";
        bad(name, found, advice)
    } else if free < all / 10 {
        warn(name, found, "sends and claims are refused when it is full: free space soon")
    } else {
        ok(name, found)
    }
}

/// Above these the claim of milliseconds an answer cannot be kept.
const SYNC_P50_US: u64 = 2000;
const SYNC_P99_US: u64 = 20_000;

/// Whether more wants to run than there are cores, by `/proc/loadavg`.
pub(crate) fn is_busy(loadavg: Option<&str>, cores: u32) -> bool {
    let load = loadavg.and_then(|text| text.split(['.', ' ']).next()?.parse::<u32>().ok());
    load.is_some_and(|load| load >= cores.max(1))
}

/// What a commit waits for. On a busy machine the kernel's own threads wait for
/// a core, and the figure is not the disk's.
pub(crate) fn sync_latency(times: io::Result<SyncTimes>, busy: bool) -> Finding {
    let name = "sync";
    let SyncTimes { syncs, p50_us, p99_us, max_us } = match times {
        Ok(times) => times,
        Err(error) => {
            let advice = "check the directory's owner, mode, mount and disk";
            return bad(name, format!("a page cannot be written and synced: {error}"), advice);
        }
    };
    let found =
        format!("p50 {p50_us} us, p99 {p99_us} us, max {max_us} us ({syncs} syncs of 4 KiB)");
    let is_slow = p50_us > SYNC_P50_US || p99_us > SYNC_P99_US;
    if is_slow && busy {
        return warn(name, found, "the machine is busy: ask again when nothing else runs");
    }
    if is_slow {
        let advice = "every answer waits for one: use an NVMe disk (best with power-loss \
                      protection), alone for the data";
        return warn(name, found, advice);
    }
    ok(name, found)
}

/// The data directory cannot even be looked for.
pub(crate) fn no_place(data: &Path, error: &io::Error) -> Finding {
    let found = format!("{}: {error}", data.display());
    bad("data", found, "give a directory, or one that can be made, with --data")
}

#[cfg(test)]
mod tests;
