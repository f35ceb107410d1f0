//! The journal on real files: what it costs, what it refuses, and that a
//! refusal leaves every byte and every name as it was.
#![allow(clippy::as_conversions)] // counts of a test, all small
#![allow(clippy::unwrap_used)] // also in the functions that tests share

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use hongbao::engine::{Claimed, Record};
use hongbao::journal::{
    AppendError, Arrangement, Directory, DirectoryError, Identity, Journal, MmapStorage, NextError,
    Recovered, Recovering, RecoveryError, Row, StorageError, WholeJournal, check_memlock, inspect,
    mmap,
};
use hongbao::limits::{MEMLOCK_BYTES_MIN, PAGE_BYTES};
use hongbao::units::{Durability, EnvelopeId, Time, UserId};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};

const US: Identity = Identity { cell: 1, shard: 0, shards: 1 };
const SMALL: usize = 64 << 10;
const NOW: Time = Time(1_700_000_000_000);

fn claim(n: u64) -> Record {
    Record::Claimed(Claimed {
        envelope: EnvelopeId::new(1, 2, 3, 4),
        user: UserId(n),
        amount: 100,
        rank: 0,
        at: 1_700_000_000,
    })
}

struct Data {
    _guard: tempfile::TempDir,
    path: PathBuf,
}

/// A data directory on the disk of the repository: /tmp may be a tmpfs.
fn data() -> Data {
    let guard = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = guard.path().join("data");
    Data { _guard: guard, path }
}

type Opened = (Journal<MmapStorage>, Recovered, Vec<u64>);

fn open_with(
    path: &Path,
    identity: Identity,
    segment_bytes: usize,
    durability: Durability,
) -> Result<Opened, RecoveryError> {
    let directory = Directory::open(path, segment_bytes, identity.shards).unwrap();
    let arrangement = Arrangement::current_or_first(&directory, 1).unwrap();
    let storage = MmapStorage::new(&arrangement, identity, segment_bytes, None).unwrap();
    let mut users = Vec::new();
    let recovering = Recovering::open(storage, identity, durability)?;
    let (journal, recovered) = recovering.replay(NOW, |record| {
        if let Record::Claimed(claimed) = record {
            users.push(claimed.user.0);
        }
        Ok(())
    })?;
    Ok((journal, recovered, users))
}

/// The arrangement of a new directory; it keeps the directory locked.
fn first_arrangement(path: &Path) -> Arrangement {
    let directory = Directory::open(path, SMALL, 1).unwrap();
    Arrangement::current_or_first(&directory, 1).unwrap()
}

fn open(path: &Path) -> Result<Opened, RecoveryError> {
    open_with(path, US, SMALL, Durability::Sync)
}

fn write_batches(journal: &mut Journal<MmapStorage>, from: u64, sizes: &[u64]) {
    let mut next = from;
    for size in sizes {
        for _ in 0..*size {
            journal.append(&claim(next), NOW).unwrap();
            next += 1;
        }
        journal.commit(NOW).unwrap();
    }
}

/// A journal over several segments, closed as a drain does.
fn closed() -> Data {
    let data = data();
    let (mut journal, ..) = open(&data.path).unwrap();
    write_batches(&mut journal, 0, &[100; 30]);
    journal.mark(NOW).unwrap();
    data
}

fn segment(data: &Path, sequence: u32) -> PathBuf {
    data.join(format!("arrangement-000001/shard-000/{sequence:010}.seg"))
}

/// Every name and every byte, except the pid in the lock file.
fn everything(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![data.to_owned()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.file_name().is_some_and(|name| name != "LOCK") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn refuses_unchanged(path: &Path, identity: Identity) -> RecoveryError {
    let before = everything(path);
    let result = open_with(path, identity, SMALL, Durability::Sync);
    let error = result.err().expect("refused");
    assert!(everything(path) == before, "a refusal changed the directory: {error}");
    let line = error.to_string();
    assert!(line.contains("shard-000/") && !line.contains('\n'), "{line}");
    error
}

fn write_at(path: &Path, offset: usize, byte: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] = byte;
    fs::write(path, bytes).unwrap();
}

/// Waits until the segment ahead has its name.
fn wait_for(path: &Path) {
    for _ in 0..500 {
        if path.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} was not made ready", path.display());
}

#[test]
fn records_come_back_over_several_segments_and_starts() {
    let data = data();
    let mut written = 0;
    for epoch in 1..=4 {
        let (mut journal, recovered, users) = open(&data.path).unwrap();
        assert!(users.into_iter().eq(0..written));
        assert_eq!((recovered.epoch, recovered.torn), (epoch, None));
        write_batches(&mut journal, written, &[100; 15]);
        written += 1500;
    }
    assert_eq!(open(&data.path).unwrap().2.len(), 6000);
}

#[test]
fn segments_of_another_size_follow_each_other() {
    let data = data();
    for (index, size) in [SMALL, 2 * SMALL, SMALL].into_iter().enumerate() {
        let (mut journal, _, users) = open_with(&data.path, US, size, Durability::Sync).unwrap();
        let written = index as u64 * 3000;
        assert!(users.into_iter().eq(0..written));
        write_batches(&mut journal, written, &[100; 30]);
    }
    assert_eq!(open(&data.path).unwrap().2.len(), 9000);
}

/// The shard goes on with the next batch while another thread waits for the disk.
#[test]
fn a_commit_that_was_begun_ends_beside_the_next_batch() {
    let data = data();
    let (tell, ended) = std::sync::mpsc::channel();
    let ring = Box::new(move || tell.send(()).unwrap());
    let storage = MmapStorage::new(&first_arrangement(&data.path), US, SMALL, None).unwrap();
    let storage = storage.overlapping(None, ring).unwrap();
    let recovering = Recovering::open(storage, US, Durability::Sync).unwrap();
    let (mut journal, _) = recovering.replay(NOW, |_| Ok(())).unwrap();
    assert!(journal.begin_commit(NOW).unwrap().is_some(), "there is nothing to wait for");
    let mut users = 0..;
    let mut append = |journal: &mut Journal<MmapStorage>, count| {
        for n in users.by_ref().take(count) {
            journal.append(&claim(n), NOW).unwrap();
        }
    };
    let mut under_way = 0;
    for _ in 0..60 {
        append(&mut journal, 100);
        let begun = journal.appended();
        assert!(!journal.is_committing() && journal.commit_has_ended());
        assert!(journal.begin_commit(NOW).unwrap().is_none(), "it is on its way");
        under_way += u32::from(!journal.commit_has_ended());
        assert!(journal.is_committing() && journal.uncommitted() == 0);
        append(&mut journal, 1);
        ended.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(journal.commit_has_ended());
        let committed = journal.end_commit().unwrap();
        assert!(committed.upto() >= begun && !journal.is_committing());
        journal.commit(NOW).unwrap();
    }
    assert!(journal.stats().rolls > 2);
    assert!(under_way > 0 || !is_on_a_disk(&data.path), "no disk is done at once");
    drop(journal);
    let (_, _, found) = open(&data.path).unwrap();
    assert!(found.into_iter().eq(0..60 * 101));
}

#[test]
fn under_os_full_segments_are_synced_in_the_background_and_records_come_back() {
    let data = data();
    let (mut journal, ..) = open_with(&data.path, US, SMALL, Durability::Os).unwrap();
    write_batches(&mut journal, 0, &[100; 60]);
    journal.mark(NOW).unwrap();
    drop(journal);
    assert!(inspect::verify(&data.path).unwrap()[0].durable_upto.0 > SMALL as u64);
    let (_, recovered, users) = open(&data.path).unwrap();
    assert!(users.into_iter().eq(0..6000));
    assert_eq!(recovered.torn, None);
}

/// Whether a sync of what lies there means that it is on a disk.
fn is_on_a_disk(path: &Path) -> bool {
    const EXT4_XFS: [i64; 2] = [0xef53, 0x5846_5342];
    let is_one = EXT4_XFS.contains(&rustix::fs::statfs(path).unwrap().f_type);
    if !is_one {
        println!("skipped: neither ext4 nor xfs");
    }
    is_one
}

/// Of the pages of this file that are mapped, those that were written and are not on
/// the disk yet, in KiB; `None` where that cannot be told.
fn dirty_kib(path: &Path) -> Option<u64> {
    if !is_on_a_disk(path) {
        return None;
    }
    let maps = fs::read_to_string("/proc/self/smaps").ok()?;
    let (mut sum, mut is_ours) = (0, false);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        match (words.next()?, words.next()?) {
            ("Shared_Dirty:" | "Private_Dirty:", kib) if is_ours => {
                sum += kib.parse::<u64>().ok()?;
            }
            (range, _) if range.contains('-') => is_ours = line.ends_with(path.to_str()?),
            _ => {}
        }
    }
    Some(sum)
}

#[test]
fn what_is_committed_is_on_the_disk_and_not_only_on_its_way() {
    let data = data();
    let (mut journal, ..) = open(&data.path).unwrap();
    let Some(at_first) = dirty_kib(&segment(&data.path, 1)) else { return };
    let dirty = || dirty_kib(&segment(&data.path, 1)).unwrap();
    assert_eq!(at_first, 0);
    let mut was_dirty = false;
    for _ in 0..10 {
        journal.append(&claim(1), NOW).unwrap();
        was_dirty |= dirty() > 0; // unless somebody syncs the whole machine just now
        journal.commit(NOW).unwrap();
        assert_eq!(dirty(), 0);
    }
    assert!(was_dirty);
}

/// Under `os` what is committed may be in the cache only, and whoever has read it asks.
#[test]
fn a_reader_can_make_durable_what_it_has_read() {
    let data = data();
    let (mut journal, ..) = open_with(&data.path, US, SMALL, Durability::Os).unwrap();
    let Some(at_first) = dirty_kib(&segment(&data.path, 1)) else { return };
    let dirty = || dirty_kib(&segment(&data.path, 1)).unwrap();
    assert_eq!(at_first, 0);
    let mut reader = WholeJournal::all(&data.path).unwrap().remove(0).tail();
    let mut was_dirty = false;
    for _ in 0..10 {
        journal.append(&claim(1), NOW).unwrap();
        let upto = journal.commit(NOW).unwrap().upto();
        assert_eq!(reader.read(upto, 9, &mut |_, _, _| {}).unwrap(), 1);
        was_dirty |= dirty() > 0; // unless somebody syncs the whole machine just now
        reader.sync().unwrap();
        assert_eq!(dirty(), 0);
    }
    assert!(was_dirty);
}

/// What this thread made dirty, in bytes. A large folio counts in full, as it
/// is then written in full.
fn dirtied() -> Option<u64> {
    let io = fs::read_to_string("/proc/thread-self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

fn kib_per_sync(journal: &mut Journal<MmapStorage>, commits: u32) -> Option<f64> {
    let before = dirtied()?;
    for n in 0..u64::from(commits) {
        journal.append(&claim(n), NOW).unwrap();
        journal.commit(NOW).unwrap();
    }
    let bytes = u32::try_from(dirtied()? - before).unwrap();
    (bytes > 0).then(|| f64::from(bytes) / 1024.0 / f64::from(commits))
}

#[test]
fn a_sync_of_one_page_writes_one_page_also_after_a_restart() {
    const SEGMENT: usize = 4 << 20;
    let data = data();
    for start in ["first start", "restart", "restart on restored files"] {
        if start.ends_with("files") {
            // Large writes leave large folios in the page cache.
            for sequence in [1, 2] {
                let bytes = fs::read(segment(&data.path, sequence)).unwrap();
                fs::write(segment(&data.path, sequence), bytes).unwrap();
            }
        }
        let (mut journal, ..) = open_with(&data.path, US, SEGMENT, Durability::Sync).unwrap();
        wait_for(&segment(&data.path, 2));
        match kib_per_sync(&mut journal, 200) {
            Some(kib) => {
                println!("{start}: {kib:.2} KiB per sync of one page");
                assert!(kib <= 8.0, "{start}: {kib} KiB per sync");
            }
            None => println!("skipped: /proc/thread-self/io does not count writes here"),
        }
    }
}

#[test]
fn the_preparing_thread_sleeps_while_there_is_nothing_to_do() {
    let output = in_child("idle");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
}

fn child_idle(path: &Path) {
    let (_journal, ..) = open(path).unwrap();
    wait_for(&segment(path, 2));
    std::thread::sleep(Duration::from_millis(50));
    let before = thread_ticks("journal-next");
    std::thread::sleep(Duration::from_millis(500));
    let after = thread_ticks("journal-next");
    println!("ticks of the preparing thread in half a second: {}", after - before);
    assert!(after - before <= 1);
}

/// The CPU time of our threads of this name, in clock ticks.
fn thread_ticks(name: &str) -> u64 {
    let mut ticks = 0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
        let Some((front, rest)) = stat.rsplit_once(')') else { continue };
        if front.ends_with(name) {
            let fields: Vec<&str> = rest.split_whitespace().collect();
            ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    ticks
}

#[test]
fn a_second_process_is_refused_and_told_the_pid() {
    let data = data();
    let _first = Directory::open(&data.path, SMALL, 1).unwrap();
    let error = Directory::open(&data.path, SMALL, 1).unwrap_err();
    assert!(matches!(error, DirectoryError::Locked { .. }));
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
}

#[test]
fn the_lock_lasts_as_long_as_the_storage() {
    let data = data();
    let (journal, ..) = open(&data.path).unwrap();
    assert!(Directory::open(&data.path, SMALL, 1).is_err());
    drop(journal);
    Directory::open(&data.path, SMALL, 1).unwrap();
}

#[test]
fn a_new_directory_without_room_is_refused_before_anything_is_created() {
    let data = data();
    let error = Directory::open(&data.path, 1 << 31, u16::MAX).unwrap_err();
    assert!(matches!(error, DirectoryError::NoRoom { .. }), "{error}");
    assert!(!data.path.exists());
}

#[test]
fn a_path_that_cannot_be_written_is_refused_and_nothing_is_created() {
    let data = data();
    fs::write(&data.path, b"a file").unwrap();
    let error = Directory::open(&data.path.join("below"), SMALL, 1).unwrap_err();
    assert!(matches!(error, DirectoryError::NotWritable { .. }), "{error}");
    assert_eq!(fs::read(&data.path).unwrap(), b"a file");
}

/// Takes `chattr +i` back, whatever happens.
struct Immutable<'a>(&'a Path);

impl Drop for Immutable<'_> {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").arg(self.0).status();
    }
}

#[test]
fn an_immutable_directory_is_refused_even_for_root() {
    let data = data();
    fs::create_dir(&data.path).unwrap();
    let set = Command::new("chattr").arg("+i").arg(&data.path).stderr(Stdio::null()).status();
    if !set.is_ok_and(|status| status.success()) {
        println!("skipped: chattr +i is not possible here");
        return;
    }
    let _immutable = Immutable(&data.path);
    let error = Directory::open(&data.path, SMALL, 1).unwrap_err();
    assert!(matches!(error, DirectoryError::NotWritable { .. }), "{error}");
    assert_eq!(fs::read_dir(&data.path).unwrap().count(), 0);
}

#[test]
fn a_missing_segment_refuses() {
    for gone in [1, 2] {
        let data = closed();
        fs::remove_file(segment(&data.path, gone)).unwrap();
        let error = refuses_unchanged(&data.path, US);
        assert!(matches!(error, RecoveryError::MissingSegment { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{gone:010}.seg")), "{error}");
    }
}

#[test]
fn another_cell_version_or_number_of_shards_refuses() {
    let data = closed();
    let error = refuses_unchanged(&data.path, Identity { cell: 2, ..US });
    assert!(matches!(error, RecoveryError::WrongCell { found: 1, .. }), "{error}");
    let error = refuses_unchanged(&data.path, Identity { shards: 2, ..US });
    assert!(matches!(error, RecoveryError::WrongShards { found: 1, .. }), "{error}");
    write_at(&segment(&data.path, 1), 8, 77);
    let error = refuses_unchanged(&data.path, US);
    assert!(matches!(error, RecoveryError::WrongVersion { found: 77, .. }), "{error}");
    write_at(&segment(&data.path, 1), 0, b'?');
    let error = refuses_unchanged(&data.path, US);
    assert!(matches!(error, RecoveryError::NotASegment { .. }), "{error}");
}

#[test]
fn a_file_truncated_anywhere_refuses() {
    let data = closed();
    let path = segment(&data.path, 2);
    let bytes = fs::read(&path).unwrap();
    for length in [0, 1, 100, 4095, 4096, 4097, 10_000, SMALL - 4096, SMALL - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = refuses_unchanged(&data.path, US);
        assert!(matches!(error, RecoveryError::Truncated { .. }), "{length}: {error}");
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(open(&data.path).unwrap().2.len(), 3000);
}

#[test]
fn damage_refuses_and_leaves_even_unfinished_files_alone() {
    let data = closed();
    fs::write(data.path.join("arrangement-000001/shard-000/0000000009.seg.tmp"), b"half").unwrap();
    let mut bytes = fs::read(segment(&data.path, 1)).unwrap();
    bytes[2 * PAGE_BYTES + 700] ^= 1;
    fs::write(segment(&data.path, 1), bytes).unwrap();
    let error = refuses_unchanged(&data.path, US);
    assert!(matches!(error, RecoveryError::DamageBelowCommitted { offset: 8192, .. }), "{error}");
    assert!(inspect::verify(&data.path).is_err());
}

/// It may be whole: only its reader is short of descriptors or rights.
#[test]
fn a_checkpoint_that_cannot_be_opened_refuses_and_stays() {
    let data = closed();
    let checkpoint = segment(&data.path, 1).with_file_name("0000000001.ckp");
    std::os::unix::fs::symlink(&checkpoint, &checkpoint).unwrap(); // ELOOP, also for root
    let error = open(&data.path).err().expect("refused");
    assert!(error.to_string().contains("0000000001.ckp"), "{error}");
    assert!(fs::symlink_metadata(&checkpoint).is_ok(), "it was removed");
}

#[test]
fn unfinished_segments_are_removed_at_a_start() {
    let data = closed();
    let unfinished = data.path.join("arrangement-000001/shard-000/0000000009.seg.tmp");
    fs::write(&unfinished, b"half").unwrap();
    open(&data.path).unwrap();
    assert!(!unfinished.exists());
}

#[test]
fn a_torn_tail_on_disk_is_cut_once_and_told() {
    let data = data();
    let (mut journal, ..) = open(&data.path).unwrap();
    write_batches(&mut journal, 0, &[5, 130]);
    drop(journal);
    let path = segment(&data.path, 1);
    write_at(&path, 4 * PAGE_BYTES + 1, 0xff); // the second page of the last batch
    let (journal, recovered, users) = open(&data.path).unwrap();
    let torn = recovered.torn.unwrap();
    assert_eq!((torn.position.0, torn.bytes), (3 * 4096, 2 * 4096));
    assert!(torn.file.ends_with("0000000001.seg"));
    assert_eq!(users.len(), 5);
    drop(journal);
    let (_, recovered, users) = open(&data.path).unwrap();
    assert_eq!((recovered.torn, users.len()), (None, 5));
}

#[test]
fn after_a_failed_sync_the_next_start_rereads_the_tail_and_removes_the_note() {
    let data = closed();
    let note = data.path.join("sync-failed");
    fs::write(&note, b"a sync of 0000000003.seg failed\n").unwrap();
    let before = fs::read(segment(&data.path, 1)).unwrap();
    match Directory::open(&data.path, SMALL, 1) {
        Ok(_) => {}
        Err(DirectoryError::NotHealed { source, .. }) => {
            println!("skipped: no O_DIRECT here: {source}");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    assert!(!note.exists());
    assert_eq!(fs::read(segment(&data.path, 1)).unwrap(), before);
    assert_eq!(open(&data.path).unwrap().2.len(), 3000);
}

#[test]
fn inspecting_shows_everything_and_changes_nothing() {
    let data = closed();
    let before = everything(&data.path);
    let report = &inspect::verify(&data.path).unwrap()[0];
    assert_eq!((report.identity, report.row), (US, Row::CleanEnd));
    assert_eq!((report.records, report.batches, report.epochs), (3000, 32, 1));
    assert!(report.segments.len() >= 3);
    assert_eq!(report.segments[0].bytes, SMALL as u64);
    assert_eq!(report.segments[0].bytes_used, SMALL as u64);
    assert_eq!(report.segments[0].first_time, Some(NOW));
    let mut users = Vec::new();
    let mut last = 0;
    inspect::each_record(&data.path, |position, batch, record| {
        assert!(position.0 > last && position < batch.end());
        last = position.0;
        let Record::Claimed(claimed) = record else { panic!() };
        users.push(claimed.user.0);
    })
    .unwrap();
    assert!(users.into_iter().eq(0..3000));
    assert!(everything(&data.path) == before);
    assert!(inspect::verify(&data.path.join("nowhere")).is_err());
    assert!(!data.path.join("nowhere").exists());
}

#[test]
fn a_running_journal_can_be_inspected() {
    let data = data();
    let (mut journal, ..) = open(&data.path).unwrap();
    write_batches(&mut journal, 0, &[7, 7]);
    assert_eq!(inspect::stat(&data.path).unwrap()[0].records, 14);
}

#[test]
fn impossible_segment_sizes_are_refused() {
    let data = data();
    let arrangement = first_arrangement(&data.path);
    for bytes in [0, 4096, SMALL + 1, (1 << 31) + 4096] {
        let error = MmapStorage::new(&arrangement, US, bytes, None).err().unwrap();
        assert!(matches!(error, StorageError::SegmentBytes { .. }), "{error}");
    }
}

#[test]
fn a_background_core_that_does_not_exist_is_refused() {
    let data = data();
    let arrangement = first_arrangement(&data.path);
    let error = MmapStorage::new(&arrangement, US, SMALL, Some(4000)).err().unwrap();
    assert!(matches!(error, StorageError::Background(_)), "{error}");
    MmapStorage::new(&arrangement, US, SMALL, Some(0)).unwrap();
}

/// A small file system of its own, unmounted at the end.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn tmpfs(kib: u32) -> Option<Self> {
        let at = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "none"]).arg(at.path());
        let mounted = mount.stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at));
        }
        println!("skipped: mounting a tmpfs needs root");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_records_and_keeps_what_is_committed() {
    let Some(disk) = Mounted::tmpfs(300) else { return };
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![1; 100 << 10]).unwrap();
    let path = disk.0.path().join("data");
    let (mut journal, ..) = open(&path).unwrap();
    let (mut written, mut now) = (0, NOW);
    let full = loop {
        match journal.append(&claim(written), now) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, AppendError::NoSpace), "{full}");
    assert_eq!(journal.commit(now).unwrap().upto(), journal.appended());
    let names = fs::read_dir(path.join("arrangement-000001/shard-000")).unwrap();
    assert!(names.into_iter().all(|n| n.unwrap().path().extension().unwrap() == "seg"));
    fs::remove_file(&ballast).unwrap();
    for _ in 0..100 {
        now.0 += 500;
        std::thread::sleep(Duration::from_millis(10));
        if journal.append(&claim(written), now).is_ok() {
            written += 1;
            break;
        }
    }
    journal.commit(now).unwrap();
    drop(journal);
    let (_, _, users) = open(&path).unwrap();
    assert!(users.len() as u64 == written && users.into_iter().eq(0..written));
}

/// The shard learns of a full disk before it needs the next segment, and of space again.
#[test]
fn a_segment_ahead_that_did_not_fit_is_asked_for_again_twice_a_second() {
    const SEGMENT: usize = 2 * SMALL;
    let Some(disk) = Mounted::tmpfs(450) else { return };
    let (ballast, path) = (disk.0.path().join("ballast"), disk.0.path().join("data"));
    let (mut journal, ..) = open_with(&path, US, SEGMENT, Durability::Sync).unwrap();
    wait_for(&segment(&path, 2));
    fs::write(&ballast, vec![1; 100 << 10]).unwrap(); // a third does not fit beside it
    while journal.stats().rolls == 0 {
        journal.append(&claim(1), NOW).unwrap();
    }
    let mut comes_to = |lacks_room, now, (commits, pause_ms)| {
        (0..commits).any(|_| {
            journal.append(&claim(1), now).unwrap();
            journal.commit(now).unwrap();
            let has_come = journal.lacks_room() == lacks_room;
            if !has_come {
                std::thread::sleep(Duration::from_millis(pause_ms)); // the thread is at it
            }
            has_come
        })
    };
    assert!(comes_to(true, NOW, (8, 1000)), "it was never told");
    fs::remove_file(&ballast).unwrap();
    assert!(!comes_to(false, Time(NOW.0 + 499), (3, 100)), "not at every commit");
    assert!(comes_to(false, Time(NOW.0 + 500), (8, 1000)), "there is space again");
}

#[test]
fn a_segment_that_cannot_be_made_is_told_with_the_reason() {
    let data = data();
    let (mut journal, ..) = open(&data.path).unwrap();
    wait_for(&segment(&data.path, 2));
    let in_the_way = segment(&data.path, 3).with_extension("seg.tmp");
    fs::create_dir(&in_the_way).unwrap();
    let failed = (0..).find_map(|n| journal.append(&claim(n), NOW).err()).unwrap();
    assert!(matches!(failed, AppendError::Failed(_)), "{failed}");
    assert!(failed.to_string().contains("0000000003.seg: cannot be made ready: "), "{failed}");
}

#[test]
fn a_start_makes_the_next_segment_ready_before_it_is_needed() {
    let data = closed();
    let last = (1..99).take_while(|n| segment(&data.path, *n).exists()).last().unwrap();
    fs::remove_file(segment(&data.path, last)).unwrap(); // as after a kill before it was made
    let _open = open(&data.path).unwrap();
    wait_for(&segment(&data.path, last));
}

#[test]
fn a_data_directory_may_be_named_by_a_relative_path() {
    let guard = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut child = child_command("relative", Path::new("data"));
    let output = child.current_dir(guard.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(segment(&guard.path().join("data"), 1).exists());
}

fn child_relative(path: &Path) {
    drop(open(path).unwrap());
    open(path).unwrap();
}

#[test]
fn a_first_segment_that_does_not_fit_is_told() {
    let Some(disk) = Mounted::tmpfs(300) else { return };
    let path = disk.0.path().join("data");
    let arrangement = first_arrangement(&path);
    fs::write(disk.0.path().join("ballast"), vec![1; 290 << 10]).unwrap();
    let storage = MmapStorage::new(&arrangement, US, SMALL, None).unwrap();
    let recovering = Recovering::open(storage, US, Durability::Sync).unwrap();
    let error = recovering.replay(NOW, |_| Ok(())).err().unwrap();
    assert!(matches!(error, RecoveryError::Next(NextError::Full)), "{error}");
}

#[test]
fn a_truncated_file_under_the_map_ends_the_process_with_its_name() {
    let output = in_child("sigbus");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(mmap::SIGBUS_EXIT_CODE), "{text}");
    assert!(
        text.contains("SIGBUS in journal segment shard-000/0000000001.seg at offset 8"),
        "{text}"
    );
}

/// A fault that is not in a journal ends the process as if nobody had asked.
#[test]
fn a_sigbus_elsewhere_ends_the_process_by_that_signal() {
    let output = in_child("sigbus elsewhere");
    assert_eq!(output.status.signal(), Some(Signal::BUS.as_raw()), "{output:?}");
}

fn child_sigbus_elsewhere() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).unwrap(); // nobody wants its memory
    mmap::install_sigbus_message();
    rustix::process::kill_process(rustix::process::getpid(), Signal::BUS).unwrap();
}

fn child_sigbus(path: &Path) {
    mmap::install_sigbus_message();
    let (mut journal, ..) = open(path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(segment(path, 1)).unwrap();
    file.set_len(4096).unwrap();
    for n in 0.. {
        journal.append(&claim(n), NOW).unwrap();
    }
}

#[test]
fn too_little_locked_memory_is_told_with_the_fix() {
    let output = in_child("memlock");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("ulimit -l"), "{text}");
}

fn child_memlock(path: &Path) {
    for (limit, is_enough) in [(MEMLOCK_BYTES_MIN, true), (MEMLOCK_BYTES_MIN - 1, false)] {
        let limit = Some(limit);
        setrlimit(Resource::Memlock, Rlimit { current: limit, maximum: limit }).unwrap();
        assert_eq!(check_memlock().is_ok(), is_enough);
    }
    let arrangement = first_arrangement(path);
    let error = MmapStorage::new(&arrangement, US, SMALL, None).err().unwrap();
    assert!(matches!(error, StorageError::Memlock { .. }));
    println!("{error}");
}

#[test]
fn a_killed_process_loses_nothing_it_said_was_committed() {
    let data = data();
    let mut child = child_command("writer", &data.path).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(count) = line.strip_prefix("committed ") else { continue };
        told = count.parse().unwrap();
        if told >= 3000 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (_, _, users) = open(&data.path).unwrap();
    println!("told {told}, recovered {}", users.len());
    assert!(users.len() as u64 >= told && told >= 3000);
    let found = users.len() as u64;
    assert!(users.into_iter().eq(0..found));
}

fn child_writer(path: &Path) {
    let (mut journal, ..) = open(path).unwrap();
    for batch in 1.. {
        write_batches(&mut journal, (batch - 1) * 50, &[50]);
        println!("committed {}", batch * 50);
    }
}

const CHILD: &str = "HONGBAO_JOURNAL_CHILD";
const CHILD_DATA: &str = "HONGBAO_JOURNAL_DATA";

fn child_command(what: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_process", "--nocapture"]);
    command.env(CHILD, what).env(CHILD_DATA, path);
    command
}

/// Runs one of the `child_…` functions in a process of its own.
fn in_child(what: &str) -> Output {
    let data = data();
    child_command(what, &data.path).output().unwrap()
}

/// Not a test of its own: where the children of the tests above begin.
#[test]
fn child_process() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let path = PathBuf::from(std::env::var_os(CHILD_DATA).unwrap());
    match what.as_str() {
        "idle" => child_idle(&path),
        "sigbus" => child_sigbus(&path),
        "sigbus elsewhere" => child_sigbus_elsewhere(),
        "relative" => child_relative(&path),
        "memlock" => child_memlock(&path),
        "writer" => child_writer(&path),
        other => panic!("no child named {other}"),
    }
}
