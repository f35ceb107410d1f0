//! The journal alone on a disk that fails or loses its power: a real file system on a
//! loop device. That takes root; what a machine cannot do is skipped with a line.
#![allow(clippy::unwrap_used)] // also in the functions that tests share

#[path = "rig/disk.rs"]
#[allow(dead_code, unreachable_pub)] // each suite uses its own part of it
mod disk;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use disk::Disk;
use hongbao::engine::{Claimed, Record};
use hongbao::journal::{
    AppendError, Arrangement, ChainEnd, CommitFailed, Directory, Identity, Journal, MmapStorage,
    NextError, Recovering, RecoveryError, Source, Storage, Tail, TailError,
};
use hongbao::units::{Durability, EnvelopeId, Time, UserId};

const US: Identity = Identity { cell: 1, shard: 0, shards: 1 };
const FIRST: Identity = Identity { shards: 2, ..US };
const SEGMENT: usize = 64 << 10;
const NOW: Time = Time(1_700_000_000_000);

fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn claim(n: u64) -> Record {
    Record::Claimed(Claimed {
        envelope: EnvelopeId::new(1, 2, 3, 4),
        user: UserId(n),
        amount: 100,
        rank: 0,
        at: 1_700_000_000,
    })
}

/// The journal and the users whose claims it has.
type Opened = (Journal<MmapStorage>, Vec<u64>);

fn open(data: &Path, durability: Durability) -> Result<Opened, RecoveryError> {
    opened(storage(data), durability)
}

fn open_overlapping(data: &Path) -> Opened {
    let storage = storage(data).overlapping(None, Box::new(|| {})).unwrap();
    opened(storage, Durability::Sync).unwrap()
}

fn storage(data: &Path) -> MmapStorage {
    let directory = Directory::open(data, SEGMENT, 1).unwrap();
    let arrangement = Arrangement::current_or_first(&directory, 1).unwrap();
    MmapStorage::new(&arrangement, US, SEGMENT, None).unwrap()
}

fn opened(storage: MmapStorage, durability: Durability) -> Result<Opened, RecoveryError> {
    let mut users = Vec::new();
    let (journal, _) = Recovering::open(storage, US, durability)?.replay(NOW, |record| {
        if let Record::Claimed(claimed) = record {
            users.push(claimed.user.0);
        }
        Ok(())
    })?;
    Ok((journal, users))
}

/// The bytes of a file are in the cache only: the disk has other ones.
fn leave_in_the_cache(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&vec![0x5a; bytes.len()], 0).unwrap();
    file.sync_all().unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    bytes
}

/// A page of a file on a broken disk cannot be written back, and the kernel keeps that for
/// whoever asks next: as when a shard has set a write out and its process ends.
fn leave_a_failure_nobody_was_told(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut page = [0; 4096];
    file.read_exact_at(&mut page, 8192).unwrap();
    file.write_all_at(&page, 8192).unwrap();
    drop(file);
    rustix::fs::sync();
}

/// Which of six segments are on the disk after a power cut, of which the cache had all and
/// those from the third on were settled. `None` where nothing can be cut.
fn settled_and_cut(disk: &Disk) -> Option<[bool; 6]> {
    const SEGMENTS: [u32; 6] = [1, 2, 3, 4, 5, 6];
    let data = disk.path().join("data");
    let (mut journal, _) = open(&data, Durability::Sync).unwrap();
    for n in 0..12_000 {
        journal.append(&claim(n), NOW).unwrap();
    }
    journal.mark(NOW).unwrap();
    drop(journal);
    let segment = |n: u32| data.join(format!("arrangement-000001/shard-000/{n:010}.seg"));
    let bytes = SEGMENTS.map(|n| leave_in_the_cache(&segment(n)));
    let directory = Directory::open(&data, SEGMENT, 1).unwrap();
    let arrangement = Arrangement::current(&directory).unwrap().unwrap();
    let mut storage = MmapStorage::new(&arrangement, US, SEGMENT, None).unwrap();
    storage.sync_from(3).unwrap().unwrap();
    drop((storage, arrangement, directory));
    if !disk.cut() {
        println!("skipped: no file system can be shut down here (apt-get install xfsprogs)");
        return None;
    }
    disk.remount();
    let found = SEGMENTS.map(|n| fs::read(segment(n)).unwrap());
    let is_there =
        |n: u32| found[usize::try_from(n).unwrap() - 1] == bytes[usize::try_from(n).unwrap() - 1];
    Some(SEGMENTS.map(is_there))
}

/// What a start has read may be in the cache only, and it builds upon it. So it settles
/// every segment from the one on behind which nothing is known to be durable.
#[test]
fn what_is_settled_survives_a_power_cut() {
    for made in [|| Disk::made(32, &[]), Disk::xfs] {
        let mut is_lost = false;
        for _ in 0..5 {
            let Some(there) = made().and_then(|disk| settled_and_cut(&disk)) else { return };
            assert_eq!(there[2..], [true; 4]);
            is_lost = there[..2] == [false; 2];
            if is_lost {
                break; // else the kernel has written them of its own accord
            }
        }
        assert!(is_lost, "what was not settled was there each time");
    }
}

/// What a process has written and nobody synced: if it cannot be written back, the next
/// start hears of it. It cannot know which page of the cache the disk does not have; the
/// start after it reads the disk.
#[test]
fn a_start_that_hears_of_a_failed_write_leaves_the_note_for_the_next_one() {
    let Some(disk) = Disk::made(32, &["-O", "^has_journal", "-N", "128"]) else { return };
    let data = disk.path().join("data");
    let (mut journal, _) = open(&data, Durability::Sync).unwrap();
    for n in 0..5 {
        journal.append(&claim(n), NOW).unwrap();
    }
    journal.mark(NOW).unwrap();
    drop(journal);
    let (mut journal, _) = open(&data, Durability::Os).unwrap();
    let segment = |n: u32| data.join(format!("arrangement-000001/shard-000/{n:010}.seg"));
    until("the segment ahead is there", Duration::from_secs(20), || segment(2).exists());
    if !disk.break_after(0) {
        println!("skipped: no holes can be dug into the image here");
        return;
    }
    for n in 5..10 {
        journal.append(&claim(n), NOW).unwrap();
        journal.commit(NOW).unwrap();
    }
    drop(journal);
    rustix::fs::sync();
    disk.heal();
    let cached = fs::read(segment(1)).unwrap();
    let Err(refused) = open(&data, Durability::Sync) else { panic!("it heard nothing") };
    assert!(
        refused.to_string().contains("0000000001.seg: the sync at offset 0 failed: No space left"),
        "{refused}"
    );
    assert!(data.join("sync-failed").exists());
    let (_, users) = open(&data, Durability::Sync).unwrap();
    assert!(!data.join("sync-failed").exists());
    assert!(users.into_iter().eq(0..5), "the cache is believed");
    assert_ne!(fs::read(segment(1)).unwrap(), cached);
}

fn broken() -> CommitFailed {
    let (file, reason) = ("a segment".to_owned(), "a broken disk".to_owned());
    CommitFailed { file, offset: 4096, reason }
}

/// An arrangement of two shards, and their storages.
fn two_storages(data: &Path) -> (Arrangement, [MmapStorage; 2]) {
    let directory = Directory::open(data, SEGMENT, 2).unwrap();
    let arrangement = Arrangement::current_or_first(&directory, 2).unwrap();
    let storages = [0, 1].map(|shard| {
        MmapStorage::new(&arrangement, Identity { shard, ..FIRST }, SEGMENT, None).unwrap()
    });
    (arrangement, storages)
}

/// A start after it reads the last three segments again, and there would be a fourth.
#[test]
fn after_a_failed_sync_no_segment_is_made_ready() {
    let guard = tempfile::tempdir().unwrap();
    let (_, [mut ours, mut other]) = two_storages(&guard.path().join("data"));
    drop(ours.next(1, 0, NOW).unwrap());
    until("the segment ahead is there", Duration::from_secs(20), || {
        ours.sequences().unwrap() == [1, 2]
    });
    other.note_failed_sync(&broken());
    drop(ours.next(2, 0x10000, NOW).unwrap());
    let Err(NextError::Io(error)) = ours.next(3, 0x20000, NOW) else { panic!("it is made") };
    assert!(error.to_string().contains("3.seg: cannot be made ready: a segment: "), "{error}");
    assert_eq!(ours.sequences().unwrap(), [1, 2]);
}

/// Under `os` a batch is told without a sync, but not after one has failed.
#[test]
fn under_os_nothing_is_told_after_a_sync_has_failed_for_anybody() {
    let guard = tempfile::tempdir().unwrap();
    let (_, [ours, mut other]) = two_storages(&guard.path().join("data"));
    let recovering = Recovering::open(ours, FIRST, Durability::Os).unwrap();
    let (mut journal, _) = recovering.replay(NOW, |_| Ok(())).unwrap();
    journal.append(&claim(1), NOW).unwrap();
    journal.commit(NOW).unwrap();
    journal.append(&claim(2), NOW).unwrap();
    other.note_failed_sync(&broken());
    assert_eq!(journal.commit(NOW).unwrap_err(), broken());
    assert!(matches!(journal.append(&claim(3), NOW), Err(AppendError::Failed(_))));
    assert_eq!(journal.mark(NOW).unwrap_err(), broken());
}

/// One that failed for somebody succeeds for whoever opens the file later.
#[test]
fn who_reads_a_journal_believes_no_sync_after_a_failed_one() {
    let guard = tempfile::tempdir().unwrap();
    let (arrangement, [ours, mut other]) = two_storages(&guard.path().join("data"));
    let recovering = Recovering::open(ours, FIRST, Durability::Os).unwrap();
    let (mut journal, _) = recovering.replay(NOW, |_| Ok(())).unwrap();
    journal.append(&claim(1), NOW).unwrap();
    let upto = journal.commit(NOW).unwrap().upto();
    let reader = || {
        let mut tail = Tail::new(arrangement.source(0), FIRST, ChainEnd::default());
        assert_eq!(tail.read(upto, 10, &mut |_, _, _| {}).unwrap(), 1);
        tail
    };
    reader().sync().unwrap();
    other.note_failed_sync(&broken());
    let Err(TailError::NotSynced(failed)) = reader().sync() else { panic!("it is believed") };
    assert_eq!(failed, broken());
    let late = arrangement.directory().on_failed_sync(Box::new(|_| {}));
    assert_eq!(late.unwrap_err(), broken());
}

/// A journal that ends for another reason has not asked how its last sync went.
#[test]
fn a_sync_that_nobody_waited_for_leaves_its_note_too() {
    let Some(disk) = Disk::made(32, &["-O", "^has_journal", "-N", "128"]) else { return };
    let data = disk.path().join("data");
    let (journal, _) = open_overlapping(&data);
    drop(journal);
    assert!(!data.join("sync-failed").exists());
    let (mut journal, _) = open_overlapping(&data);
    until("the segment ahead is there", Duration::from_secs(20), || {
        data.join("arrangement-000001/shard-000/0000000002.seg").exists()
    });
    if !disk.break_after(0) {
        println!("skipped: no holes can be dug into the image here");
        return;
    }
    journal.append(&claim(1), NOW).unwrap();
    assert!(journal.begin_commit(NOW).unwrap().is_none(), "it is only begun");
    drop(journal);
    assert!(data.join("sync-failed").exists());
}

#[test]
fn a_sync_that_fails_leaves_a_note_and_what_was_committed_before_it() {
    let Some(disk) = Disk::made(32, &["-O", "^has_journal", "-N", "128"]) else { return };
    let data = disk.path().join("data");
    let (mut journal, _) = open(&data, Durability::Sync).unwrap();
    until("the segment ahead is there", Duration::from_secs(20), || {
        data.join("arrangement-000001/shard-000/0000000002.seg").exists()
    });
    if !disk.break_after(5) {
        println!("skipped: no holes can be dug into the image here");
        return;
    }
    let mut committed = 0;
    let failed = loop {
        journal.append(&claim(committed), NOW).unwrap();
        match journal.commit(NOW) {
            Ok(_) => committed += 1,
            Err(failed) => break failed,
        }
    };
    assert!(failed.to_string().contains("0000000001.seg: the sync at offset "), "{failed}");
    let again = journal.commit(NOW).unwrap_err();
    assert_eq!(again, failed, "the first failure is the last");
    drop(journal);
    assert!(data.join("sync-failed").exists());
    leave_a_failure_nobody_was_told(&data.join("arrangement-000001/shard-000/0000000002.seg"));
    disk.heal();
    let (_, users) = open(&data, Durability::Sync).unwrap();
    assert!(!data.join("sync-failed").exists());
    assert!(committed > 0 && users.into_iter().eq(0..committed), "{committed} were committed");
}
