//! What replay and checkpoints cost, without the engine; small in the tests.
//! `SCALE=100 cargo test --release --test journal_figures -- --nocapture`
#![allow(clippy::unwrap_used)] // also in the functions that tests share
#![allow(clippy::as_conversions, clippy::cast_precision_loss)] // figures for people

mod replica;

use std::hint::black_box;
use std::time::{Duration, Instant};

use hongbao::engine::{Misfit, Record};
use hongbao::journal::{
    Arrangement, ChainEnd, CheckpointSettings, CheckpointStart, CheckpointWriter, Directory,
    Identity, Journal, MmapStorage, Position, Recovered, Recovering, Replica, Tail, Unfit,
    write_checkpoint,
};
use hongbao::units::{Durability, Time};
use replica::claim;

const US: Identity = Identity { cell: 1, shard: 0, shards: 1 };
const SEGMENT: usize = 64 << 20;
const NOW: Time = Time(1_700_000_000_000);

/// Looks at every byte it is given and keeps a sum.
#[derive(Default)]
struct Seen {
    records: u64,
    bytes: u64,
    sum: u64,
}

impl Replica for Seen {
    fn load(&mut self, slice: &[u8]) -> Result<u64, Unfit> {
        self.bytes += slice.len() as u64;
        let words = slice.chunks_exact(8);
        let sum = words.filter_map(|w| w.first_chunk()).map(|w| u64::from_le_bytes(*w));
        self.sum = sum.fold(self.sum, u64::wrapping_add);
        Ok(1)
    }

    fn apply(&mut self, records: &[(Position, Record)]) -> Result<(), (Position, Misfit)> {
        self.records += records.len() as u64;
        for (end, record) in records {
            let Record::Claimed(claimed) = record else { continue };
            self.sum = self.sum.wrapping_add(claimed.user.0 ^ end.0);
        }
        Ok(())
    }
}

fn scale() -> u64 {
    std::env::var("SCALE").map_or(1, |text| text.parse().expect("a number"))
}

fn arrangement(path: &std::path::Path) -> Arrangement {
    let directory = Directory::open(path, SEGMENT, 1).unwrap();
    Arrangement::current_or_first(&directory, 1).unwrap()
}

fn open(arrangement: &Arrangement) -> (Journal<MmapStorage>, Recovered, Seen, Duration) {
    let started = Instant::now();
    let storage = MmapStorage::new(arrangement, US, SEGMENT, None).unwrap();
    let mut sum = Seen::default();
    let recovering = Recovering::open(storage, US, Durability::Os).unwrap();
    let (journal, recovered) = recovering.recover(NOW, &mut sum, &|_| {}).unwrap();
    (journal, recovered, sum, started.elapsed())
}

fn per_second(amount: u64, taken: Duration) -> f64 {
    amount as f64 / taken.as_secs_f64() / 1e6
}

#[test]
fn replay() {
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let arrangement = arrangement(data.path());
    let records = 200_000 * scale();
    let (mut journal, ..) = open(&arrangement);
    for n in 0..records {
        journal.append(&claim(n), NOW).unwrap();
        if n % 250 == 249 {
            journal.commit(NOW).unwrap();
        }
    }
    journal.commit(NOW).unwrap();
    drop(journal);
    for (what, cold) in [("from the page cache", false), ("from the disk", true)] {
        if cold && std::fs::write("/proc/sys/vm/drop_caches", "1").is_err() {
            println!("skipped: dropping the page cache needs root");
            continue;
        }
        let mut sum = Seen::default();
        let started = Instant::now();
        let source = Recovering::open(arrangement.source(0), US, Durability::Os).unwrap();
        source.read(&mut sum, &|_| {}).unwrap();
        let taken = started.elapsed();
        println!("replay {what}, only read: {:.1} M records/s", per_second(records, taken));
        assert_eq!(sum.records, records);
        if cold {
            let _ = std::fs::write("/proc/sys/vm/drop_caches", "1");
        }
        let (_, recovered, sum, taken) = open(&arrangement);
        println!(
            "replay {what}, to a running journal: {:.1} M records/s ({taken:?}, sum {})",
            per_second(recovered.records, taken),
            black_box(sum.sum)
        );
        assert_eq!(recovered.records, records);
    }
}

#[test]
fn checkpoint() {
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let arrangement = arrangement(data.path());
    let slices = 160 * scale();
    let slice = vec![0x35_u8; 65_000];
    let started = Instant::now();
    let start = CheckpointStart::founding(1, NOW);
    let all = (0..slices).map(|_| &slice);
    let info = write_checkpoint(&arrangement.shard_path(0), US, start, Position(0), all).unwrap();
    println!(
        "checkpoint written and verified: {:.0} MB/s",
        per_second(info.bytes, started.elapsed())
    );
    for (what, cold) in [("from the disk", true), ("from the page cache", false)] {
        if cold && std::fs::write("/proc/sys/vm/drop_caches", "1").is_err() {
            println!("skipped: dropping the page cache needs root");
            continue;
        }
        let started = Instant::now();
        let source = Recovering::open(arrangement.source(0), US, Durability::Os).unwrap();
        let verified = started.elapsed();
        let mut sum = Seen::default();
        source.read(&mut sum, &|_| {}).unwrap();
        let taken = started.elapsed();
        assert_eq!(sum.bytes, slices * 65_000);
        println!(
            "checkpoint {what}: verified {:.0} MB/s, then loaded {:.0} MB/s, both {:.0} MB/s",
            per_second(info.bytes, verified),
            per_second(info.bytes, taken.saturating_sub(verified)),
            per_second(info.bytes, taken)
        );
    }
}

/// The latencies of commits of one page, in microseconds: median and 99 %.
fn commits(journal: &mut Journal<MmapStorage>, mut each: impl FnMut() -> bool) -> (u128, u128) {
    let mut taken = Vec::new();
    for n in 0.. {
        journal.append(&claim(n), NOW).unwrap();
        let started = Instant::now();
        journal.commit(NOW).unwrap();
        taken.push(started.elapsed().as_micros());
        if !each() {
            break;
        }
    }
    taken.sort_unstable();
    (taken[taken.len() / 2], taken[taken.len() * 99 / 100])
}

#[test]
fn commits_beside_a_checkpoint() {
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let arrangement = arrangement(data.path());
    let storage = MmapStorage::new(&arrangement, US, SEGMENT, None).unwrap();
    let recovering = Recovering::open(storage, US, Durability::Sync).unwrap();
    let mut sum = Seen::default();
    let (mut journal, _) = recovering.recover(NOW, &mut sum, &|_| {}).unwrap();
    let mut left = 300 * scale();
    let (median, p99) = commits(&mut journal, || {
        left -= 1;
        left > 0
    });
    println!("commits alone: {median} us, p99 {p99} us");
    for bytes_per_s in [None, Some(100 << 20), Some(20 << 20)] {
        let settings = CheckpointSettings { bytes_per_s, background_core: None };
        let mut writer = CheckpointWriter::new(&arrangement, US, settings).unwrap();
        let start = journal.checkpoint_start().unwrap();
        writer.begin(start);
        let until = Instant::now() + Duration::from_millis(50 * scale().min(40));
        let mut bytes = 0_u64;
        let (median, p99) = commits(&mut journal, || {
            while let Some(mut buffer) = writer.buffer() {
                buffer.resize(65_000, 0x35);
                bytes += 65_000;
                writer.put(buffer);
            }
            Instant::now() < until
        });
        let rate = bytes_per_s.map_or("no limit".to_owned(), |b| format!("{} MiB/s", b >> 20));
        println!(
            "commits beside a checkpoint, {rate} ({} MB written): {median} us, p99 {p99} us",
            bytes / 1_000_000
        );
        writer.abandon();
    }
}

/// What a follower pays to read: from the page cache, by reads into a buffer.
#[test]
fn tail() {
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let arrangement = arrangement(data.path());
    let records = 200_000 * scale();
    let (mut journal, ..) = open(&arrangement);
    for n in 0..records {
        journal.append(&claim(n), NOW).unwrap();
        if n % 250 == 249 {
            journal.commit(NOW).unwrap();
        }
    }
    journal.mark(NOW).unwrap();
    let mut tail = Tail::new(arrangement.source(0), US, ChainEnd::default());
    let (mut group, mut seen) = (Vec::new(), 0);
    let started = Instant::now();
    loop {
        group.clear();
        let take = &mut |batch: Position, index, record| group.push((batch, index, record));
        let taken = tail.read(journal.durable_upto(), 10_000, take).unwrap();
        if taken == 0 {
            break;
        }
        seen += u64::try_from(taken).unwrap();
        black_box(&group);
    }
    println!("tail: {:.1} M records/s", per_second(records, started.elapsed()));
    assert_eq!(seen, records);
}
