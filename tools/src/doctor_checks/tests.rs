//! Claims about the findings, on texts that kernels have shown.

use super::*;

fn verdict(finding: &Finding) -> Verdict {
    assert_eq!(finding.verdict == Verdict::Ok, finding.advice.is_none(), "{finding:?}");
    finding.verdict
}

#[test]
fn kernels_from_6_1_on_are_fit() {
    for (release, fit) in [
        ("6.1.0-18-amd64", true),
        ("6.18.44-fc-v669", true),
        ("10.0", true),
        ("6.0.12", false),
        ("5.15.0-105-generic", false),
        ("", false),
    ] {
        assert_eq!(verdict(&kernel(Some(release))) == Verdict::Ok, fit, "{release}");
    }
    assert_eq!(verdict(&kernel(None)), Verdict::Bad);
}

#[test]
fn what_the_server_would_refuse_is_bad_and_told_in_its_words() {
    let told = ring(Err("io_uring is disabled; run sysctl".into()));
    assert_eq!((verdict(&told), told.advice.unwrap().contains("sysctl")), (Verdict::Bad, true));
    assert_eq!(verdict(&memlock(Err("raise it".into()), Some(65_536))), Verdict::Bad);
    assert_eq!(memlock(Ok(()), None).found, "unlimited");
}

#[test]
fn descriptors_are_counted_in_connections() {
    assert_eq!(verdict(&descriptors(Some(1024))), Verdict::Bad);
    assert_eq!(verdict(&descriptors(Some(4096))), Verdict::Warn);
    assert_eq!(verdict(&descriptors(Some(524_288))), Verdict::Ok);
    assert_eq!(descriptors(None).found, "enough for 65536 connections");
}

#[test]
fn cores_are_counted_from_ranges() {
    assert_eq!(cores(2, Some("0-3,6")).found, "2 of 5 may be used");
    assert_eq!(verdict(&cores(1, Some("0"))), Verdict::Warn);
    assert_eq!(verdict(&cores(8, None)), Verdict::Ok);
    assert_eq!(verdict(&quota(Some("max 100000"))), Verdict::Ok);
    assert_eq!(verdict(&quota(Some("150000 100000"))), Verdict::Warn);
    assert_eq!(verdict(&quota(None)), Verdict::Ok);
}

#[test]
fn one_core_that_saves_power_is_enough_for_a_warning() {
    assert_eq!(verdict(&governors(&[])), Verdict::Ok);
    assert_eq!(verdict(&governors(&["performance".into()])), Verdict::Ok);
    let mixed = governors(&["performance".into(), "powersave".into()]);
    assert_eq!((verdict(&mixed), mixed.found.as_str()), (Verdict::Warn, "powersave"));
}

#[test]
fn huge_pages_must_be_given_to_who_asks() {
    let defrag = Some("always defer defer+madvise [madvise] never");
    assert_eq!(verdict(&huge_pages(Some("always [madvise] never"), defrag)), Verdict::Ok);
    assert_eq!(verdict(&huge_pages(Some("always madvise [never]"), defrag)), Verdict::Warn);
    let eager = Some("[always] defer defer+madvise madvise never");
    assert_eq!(verdict(&huge_pages(Some("[always] madvise never"), eager)), Verdict::Warn);
    assert_eq!(verdict(&huge_pages(None, None)), Verdict::Warn);
}

#[test]
fn swap_is_harmless_until_it_is_used() {
    let meminfo = |all: u32, free: u32| {
        format!("MemTotal: 9 kB\nSwapCached: 0 kB\nSwapTotal:  {all} kB\nSwapFree:  {free} kB\n")
    };
    assert_eq!(verdict(&swap(Some(&meminfo(0, 0)))), Verdict::Ok);
    assert_eq!(verdict(&swap(Some(&meminfo(8192, 8192)))), Verdict::Ok);
    let used = swap(Some(&meminfo(8192, 4096)));
    assert_eq!((verdict(&used), used.found.as_str()), (Verdict::Warn, "4 of 8 MiB used"));
    assert_eq!(verdict(&swap(Some("nonsense"))), Verdict::Warn);
}

#[test]
fn a_clock_behind_a_system_call_is_warned_of() {
    assert_eq!(verdict(&clock(Some("tsc"))), Verdict::Ok);
    assert_eq!(verdict(&clock(Some("hpet"))), Verdict::Warn);
    assert_eq!(verdict(&clock(None)), Verdict::Warn);
}

const MOUNTS: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
28 27 254:1 / /srv ro,relatime - xfs /dev/vdb rw,attr2
29 27 0:50 / /srv/pool rw - btrfs /dev/vdc rw,compress=zstd:3
30 27 254:2 / /fast rw,noatime - ext4 /dev/vdd rw,nobarrier
31 27 0:51 / /my\\040disk rw - tmpfs tmpfs rw
32 27 0:52 / /layers rw - overlay overlay rw,lowerdir=/a";

#[test]
fn the_file_system_below_the_longest_mount_point_counts() {
    for (place, wanted, kind) in [
        ("/var/lib/hongbao", Verdict::Ok, "ext4 on /"),
        ("/srv/data", Verdict::Bad, "xfs on /srv, read-only"),
        ("/srv/pool/data", Verdict::Bad, "btrfs"),
        ("/srv/pooled", Verdict::Bad, "xfs on /srv"),
        ("/fast/data", Verdict::Bad, "without barriers"),
        ("/my disk/data", Verdict::Warn, "tmpfs"),
        ("/layers/data", Verdict::Warn, "overlay"),
        ("/proc", Verdict::Warn, "proc"),
    ] {
        let finding = file_system(Path::new(place), MOUNTS);
        assert_eq!(verdict(&finding), wanted, "{place}: {finding:?}");
        assert!(finding.found.starts_with(kind) || finding.found.contains(kind), "{finding:?}");
    }
    assert_eq!(verdict(&file_system(Path::new("/"), "")), Verdict::Warn);
}

#[test]
fn space_must_hold_a_new_journal() {
    let space = |free: u64, all: u64| verdict(&free_space(Ok(Space { free, all })));
    assert_eq!(space(3839 << 20, 1 << 40), Verdict::Bad);
    assert_eq!(space(4 << 30, 1 << 40), Verdict::Warn);
    assert_eq!(space(1 << 39, 1 << 40), Verdict::Ok);
    assert_eq!(verdict(&free_space(Err(io::ErrorKind::NotFound.into()))), Verdict::Bad);
}

#[test]
fn a_slow_disk_is_warned_of_and_a_broken_one_is_bad() {
    let times = |p50_us, p99_us| SyncTimes { syncs: 100, p50_us, p99_us, max_us: 99_999 };
    let sync = |times| sync_latency(times, false);
    assert_eq!(verdict(&sync(Ok(times(130, 900)))), Verdict::Ok);
    assert_eq!(verdict(&sync(Ok(times(8000, 12_000)))), Verdict::Warn);
    assert_eq!(verdict(&sync(Ok(times(130, 50_000)))), Verdict::Warn);
    assert_eq!(verdict(&sync(Err(io::ErrorKind::ReadOnlyFilesystem.into()))), Verdict::Bad);
}

#[test]
fn a_busy_machine_is_blamed_before_its_disk() {
    let slow = || Ok(SyncTimes { syncs: 100, p50_us: 4000, p99_us: 8000, max_us: 9000 });
    let told = sync_latency(slow(), is_busy(Some("3.76 6.81 5.55 2/143 27838"), 2));
    assert!(told.advice.unwrap().contains("busy"));
    let told = sync_latency(slow(), is_busy(Some("0.10 0.20 0.30 2/143 27838"), 2));
    assert!(told.advice.unwrap().contains("NVMe"));
    assert!(!is_busy(None, 2) && !is_busy(Some("nonsense"), 2));
}
