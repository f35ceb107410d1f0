//! Checkpoints and arrangements on real files: written in the background,
//! verified, survived in every state a kill can leave.
#![allow(clippy::case_sensitive_file_extension_comparisons)] // our own names
#![allow(clippy::unwrap_used)] // also in the functions that tests share

mod readers;
#[path = "../replica/mod.rs"]
mod replica;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hongbao::journal::{
    Arrangement, CheckpointFailed, CheckpointInfo, CheckpointSettings, CheckpointWriter, Directory,
    Identity, Journal, MmapStorage, Position, Recovered, Recovering, RecoveryError, inspect,
};
use hongbao::units::{Durability, Time};
use replica::{Counters, claim};

const US: Identity = Identity { cell: 1, shard: 0, shards: 1 };
const SMALL: usize = 64 << 10;
const NOW: Time = Time(1_700_000_000_000);
const PADDING: usize = 60_000;

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

/// An open journal with its state and its checkpoint writer.
struct Open {
    arrangement: Arrangement,
    journal: Journal<MmapStorage>,
    recovered: Recovered,
    state: Counters,
    writer: CheckpointWriter,
}

fn arrangement(path: &Path) -> Arrangement {
    let directory = Directory::open(path, SMALL, 1).unwrap();
    Arrangement::current_or_first(&directory, 1).unwrap()
}

fn open_shard(arrangement: Arrangement, identity: Identity) -> Result<Open, RecoveryError> {
    let storage = MmapStorage::new(&arrangement, identity, SMALL, None).unwrap();
    let mut state = Counters::default();
    let recovering = Recovering::open(storage, identity, Durability::Sync)?;
    let (journal, recovered) = recovering.recover(NOW, &mut state, &|_| {})?;
    let settings = CheckpointSettings::default();
    let writer = CheckpointWriter::new(&arrangement, identity, settings).unwrap();
    Ok(Open { arrangement, journal, recovered, state, writer })
}

fn open(path: &Path) -> Result<Open, RecoveryError> {
    open_shard(arrangement(path), US)
}

impl Open {
    fn write(&mut self, batches: u64) {
        for _ in 0..batches {
            for _ in 0..100 {
                let record = claim(self.state.records());
                let end = self.journal.append(&record, NOW).unwrap();
                self.state.take(end, &record);
            }
            self.journal.commit(NOW).unwrap();
        }
    }

    fn checkpoint(&mut self) -> Result<CheckpointInfo, CheckpointFailed> {
        let start = self.journal.checkpoint_start().unwrap();
        self.writer.begin(start);
        for slice in self.state.slices(PADDING) {
            self.put(&slice);
        }
        self.writer.finish(start.position());
        self.outcome()
    }

    fn put(&mut self, slice: &[u8]) {
        let mut buffer = loop {
            match self.writer.buffer() {
                Some(buffer) => break buffer,
                None => std::thread::yield_now(),
            }
        };
        assert!(buffer.is_empty() && buffer.capacity() >= slice.len());
        buffer.extend_from_slice(slice);
        self.writer.put(buffer);
    }

    fn outcome(&mut self) -> Result<CheckpointInfo, CheckpointFailed> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(outcome) = self.writer.poll() {
                return outcome;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no outcome");
    }
}

/// Three checkpoints, of which two are left, with batches between and after.
fn closed() -> (Data, Counters) {
    let data = data();
    let mut open = open(&data.path).unwrap();
    for _ in 0..3 {
        open.write(20);
        let info = open.checkpoint().unwrap();
        open.journal.free_before(info.keep_from);
    }
    open.write(5);
    open.journal.mark(NOW).unwrap();
    let state = open.state.clone();
    drop(open);
    (data, state)
}

fn shard(data: &Path) -> PathBuf {
    data.join("arrangement-000001/shard-000")
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
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

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_checkpoint_is_written_named_and_replayed_from() {
    let (data, state) = closed();
    let found = names(&shard(&data.path));
    let checkpoints: Vec<_> = found.iter().filter(|name| name.contains("ckp")).collect();
    assert_eq!(checkpoints, ["0000000002.ckp", "0000000003.ckp"]);
    assert!(!found.contains(&"0000000001.seg".to_owned()), "freed: {found:?}");
    let open = open(&data.path).unwrap();
    assert_eq!(open.state.meaning(), state.meaning());
    let used = open.recovered.checkpoint.unwrap();
    assert_eq!((used.number, open.recovered.loaded, open.recovered.records), (3, 16, 500));
    assert!(used.bytes > 900_000 && used.keep_from > Position(0));
}

#[test]
fn many_slices_of_every_length_come_back() {
    let data = data();
    let mut open = open(&data.path).unwrap();
    open.write(3);
    let start = open.journal.checkpoint_start().unwrap();
    open.writer.begin(start);
    for round in 0..40 {
        for index in 0..16 {
            let slice = open.state.slice(index, (round * 1777 + index * 4099) % 65_000);
            open.put(&slice);
        }
    }
    open.writer.finish(open.journal.appended());
    let info = open.outcome().unwrap();
    assert!(info.bytes > 15 << 20, "several blocks: {}", info.bytes);
    let state = open.state.clone();
    drop(open);
    let report = &inspect::verify(&data.path).unwrap()[0];
    assert_eq!(report.checkpoints[0].checked.as_ref().unwrap().bytes, info.bytes);
    let open = self::open(&data.path).unwrap();
    assert_eq!((open.state.meaning(), open.recovered.loaded), (state.meaning(), 640));
}

#[test]
fn an_abandoned_checkpoint_leaves_nothing_and_the_next_one_works() {
    let data = data();
    let mut open = open(&data.path).unwrap();
    open.write(3);
    for _ in 0..5 {
        let start = open.journal.checkpoint_start().unwrap();
        open.writer.begin(start);
        assert!(open.writer.is_running());
        for slice in open.state.slices(PADDING) {
            open.put(&slice);
        }
        open.writer.abandon();
        assert!(!open.writer.is_running());
    }
    assert_eq!(open.checkpoint().unwrap().number, 1);
    assert!(names(&shard(&data.path)).iter().all(|name| !name.ends_with(".tmp")));
}

/// The first ends after nobody asks for it any more; the second is told of its own end.
#[test]
fn how_a_checkpoint_ended_is_not_told_of_the_next() {
    let data = data();
    let mut open = open(&data.path).unwrap();
    open.write(3);
    let start = open.journal.checkpoint_start().unwrap();
    open.writer.begin(start);
    for slice in open.state.slices(0) {
        open.put(&slice);
    }
    open.writer.finish(start.position());
    let second = open.checkpoint().unwrap(); // and nobody has polled the first
    assert_eq!((second.number, second.keep_from), (2, start.position()));
}

#[test]
fn a_writer_that_is_dropped_ends_at_once_and_lets_go_of_the_directory() {
    let data = data();
    let mut open = open(&data.path).unwrap();
    open.write(3);
    let settings = CheckpointSettings { bytes_per_s: Some(1), background_core: None };
    open.writer = CheckpointWriter::new(&open.arrangement, US, settings).unwrap();
    open.writer.begin(open.journal.checkpoint_start().unwrap());
    for _ in 0..2 {
        for slice in open.state.slices(PADDING) {
            open.put(&slice); // more than a block: it would take days
        }
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let unfinished = shard(&data.path).join("0000000001.ckp.tmp");
    let has_a_block = || fs::metadata(&unfinished).is_ok_and(|file| file.len() > 4096);
    while !has_a_block() {
        assert!(Instant::now() < deadline, "it was never begun");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(open);
    assert!(!unfinished.exists());
    Directory::open(&data.path, SMALL, 1).unwrap();
}

#[test]
fn a_limited_writer_takes_its_time() {
    let data = data();
    let mut open = open(&data.path).unwrap();
    open.write(3);
    let settings = CheckpointSettings { bytes_per_s: Some(4 << 20), background_core: None };
    open.writer = CheckpointWriter::new(&open.arrangement, US, settings).unwrap();
    let started = Instant::now();
    let info = open.checkpoint().unwrap();
    let taken = started.elapsed();
    println!("{} bytes in {taken:?} at 4 MiB/s", info.bytes);
    assert!(taken > Duration::from_millis(200));
}

#[test]
fn states_that_a_kill_leaves_are_all_recovered_and_tidied() {
    type Change = fn(&Path);
    let (data, state) = closed();
    let cases: [(&str, Change); 6] = [
        ("unfinished checkpoint", |s| fs::write(s.join("0000000004.ckp.tmp"), b"half").unwrap()),
        ("named, the oldest not removed", |s| {
            fs::copy(s.join("0000000002.ckp"), s.join("0000000001.ckp")).map(drop).unwrap();
        }),
        ("nothing freed yet", |s| {
            fs::write(s.join("0000000001.seg"), vec![7; 64 << 10]).unwrap();
        }),
        ("only the newest is whole", |s| flip(&s.join("0000000002.ckp"), 5000)),
        ("only the older is whole", |s| flip(&s.join("0000000003.ckp"), 5000)),
        ("only the older is there", |s| fs::remove_file(s.join("0000000003.ckp")).unwrap()),
    ];
    for (what, change) in cases {
        let copy = self::data();
        assert!(
            Command::new("cp").arg("-r").args([&data.path, &copy.path]).status().unwrap().success()
        );
        change(&shard(&copy.path));
        let mut open = open(&copy.path).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(open.state.meaning(), state.meaning(), "{what}");
        assert!(names(&shard(&copy.path)).iter().all(|name| !name.ends_with(".ckp.tmp")), "{what}");
        open.write(3);
        let info = open.checkpoint().unwrap();
        open.journal.free_before(info.keep_from);
        let state = open.state.clone();
        drop(open);
        let after = names(&shard(&copy.path));
        assert_eq!(after.iter().filter(|name| name.ends_with(".ckp")).count(), 2, "{what}");
        let open = self::open(&copy.path).unwrap();
        assert_eq!(open.state.meaning(), state.meaning(), "{what}, afterwards");
    }
}

#[test]
fn a_damaged_header_frees_nothing_and_is_told() {
    let data = data();
    let mut open = open(&data.path).unwrap();
    open.write(60);
    let end = open.journal.appended();
    flip(&shard(&data.path).join("0000000002.seg"), 20);
    open.journal.free_before(end);
    let deadline = Instant::now() + Duration::from_secs(30);
    let told = loop {
        match open.journal.free_failed() {
            Some(told) => break told,
            None => assert!(Instant::now() < deadline),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(told.contains("0000000002.seg"), "{told}");
    assert!(shard(&data.path).join("0000000001.seg").exists());
}

#[test]
fn damage_to_both_checkpoints_refuses_and_changes_nothing() {
    let (data, _) = closed();
    flip(&shard(&data.path).join("0000000002.ckp"), 5000);
    flip(&shard(&data.path).join("0000000003.ckp"), 5000);
    let before = everything(&data.path);
    let error = open(&data.path).err().unwrap();
    assert!(matches!(error, RecoveryError::NoWholeCheckpoint { .. }), "{error}");
    assert!(everything(&data.path) == before, "a refusal changed the directory");
    assert!(inspect::verify(&data.path).is_err());
}

#[test]
fn inspecting_shows_checkpoints_and_what_may_be_freed() {
    let (data, _) = closed();
    let before = everything(&data.path);
    let report = &inspect::stat(&data.path).unwrap()[0];
    let numbers: Vec<_> = report.checkpoints.iter().map(|c| c.number).collect();
    assert_eq!((numbers, report.walked_from), (vec![2, 3], Some(2)));
    let older = report.checkpoints[0].checked.as_ref().unwrap();
    assert_eq!((report.keep_from, report.records), (older.began, 2500));
    assert!(report.followers.is_empty());
    assert_eq!(report.freeable_bytes % u64::try_from(SMALL).unwrap(), 0);
    assert!(everything(&data.path) == before);
}

/// A small file system of its own, unmounted at the end.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// An ext4 in a file, through a loop device, or a tmpfs.
    fn small(mib: u64) -> Option<Self> {
        let at = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let image = at.path().with_extension("img");
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let quiet = |command: &mut Command| {
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        let made = quiet(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
        let looped =
            made && quiet(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(at.path()));
        let _ = fs::remove_file(&image); // the mount keeps it
        if looped {
            return Some(Self(at));
        }
        let size = format!("size={mib}m");
        if quiet(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(at.path())) {
            println!("a tmpfs: no loop device here");
            return Some(Self(at));
        }
        println!("skipped: mounting needs root");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_fails_the_checkpoint_and_nothing_else() {
    let Some(disk) = Mounted::small(16) else { return };
    let path = disk.0.path().join("data");
    let mut open = open(&path).unwrap();
    open.write(3);
    let kept = open.checkpoint().unwrap();
    let start = open.journal.checkpoint_start().unwrap();
    open.writer.begin(start);
    for _ in 0..20 {
        for slice in open.state.slices(PADDING) {
            open.put(&slice);
        }
    }
    open.writer.finish(start.position());
    let failed = open.outcome().unwrap_err();
    assert!(matches!(failed, CheckpointFailed::NoSpace { .. }), "{failed}");
    let left = names(&shard(&path));
    assert!(left.iter().all(|name| !name.ends_with(".tmp")), "{left:?}");
    open.write(40);
    let again = open.checkpoint().unwrap();
    assert_eq!((again.number, again.keep_from), (kept.number + 1, kept.began));
    let state = open.state.clone();
    drop(open);
    assert_eq!(self::open(&path).unwrap().state.meaning(), state.meaning());
}

/// Two shards of a data directory of one, as a change of `shards` makes them.
fn rearrange(old: &Arrangement, commit: bool) -> (Counters, Option<Arrangement>) {
    let mut state = Counters::default();
    let source = Recovering::open(old.source(0), US, Durability::Sync).unwrap();
    let read = source.read(&mut state, &|_| {}).unwrap();
    let building = old.build_next(US.cell, 2).unwrap();
    assert_eq!(building.shards(), 2);
    for shard in 0..2 {
        building.write_shard(shard, read.last_time, state.clone().moved().slices(100)).unwrap();
    }
    let done = commit.then(|| building.commit().unwrap());
    (state, done)
}

/// Takes `chattr +i` back, whatever happens.
struct Immutable(PathBuf);

impl Drop for Immutable {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").arg(&self.0).status();
    }
}

/// What an earlier rearrangement left is not taken for a part of this one.
#[test]
fn what_cannot_be_removed_is_not_built_upon() {
    let (data, _) = closed();
    let left = data.path.join("arrangement-000002.tmp/shard-000/0000000007.ckp");
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    fs::write(&left, b"of an earlier one").unwrap();
    let set = Command::new("chattr").arg("+i").arg(&left).stderr(Stdio::null()).status();
    if !set.is_ok_and(|status| status.success()) {
        println!("skipped: chattr +i is not possible here");
        return;
    }
    let immutable = Immutable(left);
    let old = arrangement(&data.path);
    let told = old.build_next(US.cell, 2).err().unwrap().to_string();
    assert!(told.contains("arrangement-000002.tmp"), "{told}");
    drop(immutable);
    assert!(rearrange(&old, true).1.is_some());
}

/// As one that is removed between the listing and the opening.
#[test]
fn a_checkpoint_that_has_gone_since_it_was_listed_is_as_good_as_damaged() {
    let (data, state) = closed();
    let gone = shard(&data.path).join("0000000009.ckp");
    std::os::unix::fs::symlink("nowhere", &gone).unwrap();
    let open = open(&data.path).unwrap();
    assert_eq!(open.state.meaning(), state.meaning());
    assert_eq!(open.recovered.warnings.len(), 1);
    assert!(open.recovered.warnings[0].contains("0000000009.ckp"), "{:?}", open.recovered);
    assert!(fs::symlink_metadata(&gone).is_err(), "it is put away");
}

#[test]
fn a_rearrangement_reads_the_old_and_replaces_it_whole() {
    let (data, state) = closed();
    let old = arrangement(&data.path);
    assert_eq!((old.number(), old.shards()), (1, 1));
    let before = everything(&data.path);
    let (read, none) = rearrange(&old, false);
    assert!(none.is_none() && read.meaning() == state.meaning());
    assert!(everything(&data.path) == before, "an unfinished one is gone, the old untouched");
    let (_, new) = rearrange(&old, true);
    let new = new.unwrap();
    drop(old);
    assert_eq!((new.number(), new.shards()), (2, 2));
    assert_eq!(names(&data.path), ["LOCK", "arrangement-000001", "arrangement-000002"]);
    new.settle().unwrap(); // once every shard was recovered from it
    assert_eq!(names(&data.path), ["LOCK", "arrangement-000002"]);
    for shard in 0..2 {
        let identity = Identity { cell: 1, shard, shards: 2 };
        let mut open = open_shard(new.clone(), identity).unwrap();
        assert_eq!(open.state.meaning(), state.meaning());
        assert_eq!((open.recovered.records, open.recovered.epoch), (0, 1));
        assert!(open.recovered.last_time >= NOW, "time does not go back");
        open.write(2);
        let state = open.state.clone();
        drop(open);
        assert_eq!(open_shard(new.clone(), identity).unwrap().state.meaning(), state.meaning());
    }
}

#[test]
fn a_new_arrangement_is_never_replayed_without_its_checkpoint() {
    let (data, _) = closed();
    let new = rearrange(&arrangement(&data.path), true).1.unwrap();
    let identity = Identity { cell: 1, shard: 1, shards: 2 };
    let mut open = open_shard(new.clone(), identity).unwrap();
    open.write(2);
    drop(open);
    let checkpoint = new.shard_path(1).join("0000000001.ckp");
    let whole = fs::read(&checkpoint).unwrap();
    flip(&checkpoint, 4100);
    let error = open_shard(new.clone(), identity).err().unwrap();
    assert!(matches!(error, RecoveryError::NoWholeCheckpoint { .. }), "{error}");
    assert!(!error.to_string().contains("every segment"), "none of them has its beginning");
    fs::remove_file(&checkpoint).unwrap();
    let error = open_shard(new.clone(), identity).err().unwrap();
    assert!(matches!(error, RecoveryError::CheckpointGone { .. }), "{error}");
    assert!(error.to_string().contains("arrangement-000002/shard-001"), "{error}");
    fs::write(&checkpoint, whole).unwrap();
    open_shard(new, identity).unwrap();
}

#[test]
fn killed_during_a_rearrangement_the_old_or_the_new_is_whole() {
    let (data, state) = closed();
    // Before the rename: an unfinished arrangement beside the old one.
    let unfinished = data.path.join("arrangement-000002.tmp/shard-000");
    fs::create_dir_all(&unfinished).unwrap();
    fs::write(unfinished.join("0000000001.ckp"), b"half").unwrap();
    let old = arrangement(&data.path);
    assert_eq!((old.number(), old.shards()), (1, 1));
    let open = open_shard(old.clone(), US).unwrap();
    assert_eq!(open.state.meaning(), state.meaning());
    drop(open);
    old.settle().unwrap();
    assert_eq!(names(&data.path), ["LOCK", "arrangement-000001"]);
    // After the rename: the old one is still there, in part.
    drop(rearrange(&old, true));
    fs::remove_file(old.path().join("shard-000/0000000003.ckp")).unwrap();
    drop(old);
    let new = arrangement(&data.path);
    assert_eq!((new.number(), new.shards()), (2, 2));
    let identity = Identity { cell: 1, shard: 0, shards: 2 };
    assert_eq!(open_shard(new.clone(), identity).unwrap().state.meaning(), state.meaning());
    new.settle().unwrap();
    assert_eq!(names(&data.path), ["LOCK", "arrangement-000002"]);
}

#[test]
fn a_torn_tail_is_passed_over_and_left_alone_by_a_reader() {
    let (data, _) = closed();
    let mut open = open(&data.path).unwrap();
    open.write(1);
    let records = open.state.records();
    drop(open);
    let segments: Vec<String> =
        names(&shard(&data.path)).into_iter().filter(|n| n.ends_with(".seg")).collect();
    // The last batch lies in the last segment that is not all zeros.
    let torn = segments.iter().rev().find_map(|name| {
        let path = shard(&data.path).join(name);
        let bytes = fs::read(&path).unwrap();
        let page =
            (1..bytes.len() / 4096).rev().find(|p| bytes[p * 4096..][..4096] != [0; 4096])?;
        Some((path, page * 4096 + 200))
    });
    let (path, offset) = torn.unwrap();
    flip(&path, offset);
    let before = everything(&data.path);
    let mut state = Counters::default();
    let source = Recovering::open(arrangement(&data.path).source(0), US, Durability::Sync).unwrap();
    source.read(&mut state, &|_| {}).unwrap();
    assert_eq!(state.records(), records - 100);
    assert!(everything(&data.path) == before);
}

#[test]
fn a_shard_that_is_missing_and_data_of_before_are_refused() {
    let data = data();
    fs::create_dir_all(data.path.join("arrangement-000004/shard-001")).unwrap();
    let directory = Directory::open(&data.path, SMALL, 1).unwrap();
    let told = Arrangement::current(&directory).unwrap_err().to_string();
    assert!(told.contains("arrangement-000004/shard-000"), "{told}");
    fs::remove_dir_all(data.path.join("arrangement-000004")).unwrap();
    fs::create_dir_all(data.path.join("shard-000")).unwrap();
    let told = Arrangement::current(&directory).unwrap_err().to_string();
    assert!(told.contains("earlier hongbao"), "{told}");
    assert!(!data.path.join("arrangement-000001").exists());
}
