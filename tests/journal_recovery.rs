//! What recovery makes of a journal that was crashed, torn, flipped or cut, on
//! the simulated disk.
#![allow(clippy::as_conversions)] // counts of a test, all small
#![allow(clippy::unwrap_used)] // also in the functions that tests share

use std::collections::BTreeMap;
use std::time::Instant;

use hongbao::engine::{Cause, Claimed, Closed, Misfit, Record};
use hongbao::journal::simulated::{Disk, SimulatedStorage, Tearing};
use hongbao::journal::{
    AppendError, Identity, Journal, Position, Recovered, Recovering, RecoveryError, Replica,
    Segment, SegmentBytes, Source, Unfit,
};
use hongbao::limits::PAGE_BYTES;
use hongbao::units::{Durability, EnvelopeId, Time, UserId};

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

fn user(record: &Record) -> u64 {
    match record {
        Record::Claimed(claimed) => claimed.user.0,
        _ => u64::MAX,
    }
}

type Opened = (Journal<SimulatedStorage>, Recovered, Vec<u64>);

/// Opens the disk's journal and lists the users of its records.
fn open_as(
    disk: &Disk,
    identity: Identity,
    durability: Durability,
) -> Result<Opened, RecoveryError> {
    let mut users = Vec::new();
    let recovering = Recovering::open(disk.storage(), identity, durability)?;
    let (journal, recovered) = recovering.replay(NOW, |record| {
        users.push(user(record));
        Ok(())
    })?;
    Ok((journal, recovered, users))
}

fn open(disk: &Disk) -> Result<Opened, RecoveryError> {
    open_as(disk, US, Durability::Sync)
}

/// The claims of users 0, 1, 2, …, in batches of the given sizes.
fn write_batches(journal: &mut Journal<SimulatedStorage>, sizes: &[u64]) {
    let mut next = 0;
    for size in sizes {
        for _ in 0..*size {
            journal.append(&claim(next), NOW).unwrap();
            next += 1;
        }
        journal.commit(NOW).unwrap();
    }
}

/// A disk with batches of these sizes, closed as a drain does.
fn closed_disk(sizes: &[u64]) -> Disk {
    let disk = Disk::new(US, SMALL);
    let (mut journal, ..) = open(&disk).unwrap();
    write_batches(&mut journal, sizes);
    journal.mark(NOW).unwrap();
    disk
}

fn refuses_unchanged(disk: &Disk, identity: Identity) -> RecoveryError {
    let (before, writes) = (disk.contents(), disk.writes());
    let Err(error) = open_as(disk, identity, Durability::Sync) else { panic!("not refused") };
    assert_eq!(disk.contents(), before, "a refusal changed the disk");
    assert_eq!(disk.writes(), writes, "a refusal wrote to the disk");
    let line = error.to_string();
    assert!(line.contains("simulated/") && !line.contains('\n'), "{line}");
    error
}

/// A generator for the tests' own choices (splitmix64); its seed is printed.
struct Choice(u64);

impl Choice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }
}

#[test]
fn a_new_journal_is_empty_and_a_closed_one_comes_back_whole() {
    let disk = Disk::new(US, SMALL);
    let (mut journal, recovered, users) = open(&disk).unwrap();
    assert_eq!((recovered.epoch, recovered.segments, users.len()), (1, 0, 0));
    assert!(!journal.mark_wanted());
    write_batches(&mut journal, &[3, 200, 1]);
    assert!(journal.mark_wanted());
    journal.mark(NOW).unwrap();
    assert!(!journal.mark_wanted());
    drop(journal);
    let (journal, recovered, users) = open(&disk).unwrap();
    assert!(users.into_iter().eq(0..204));
    assert_eq!((recovered.records, recovered.batches, recovered.epoch), (204, 5, 2));
    assert_eq!((recovered.torn.clone(), recovered.last_time), (None, NOW));
    assert!(!journal.mark_wanted());
}

#[test]
fn time_never_goes_back() {
    let disk = Disk::new(US, SMALL);
    let (mut journal, ..) = open(&disk).unwrap();
    journal.append(&claim(1), Time(0)).unwrap();
    journal.commit(Time(NOW.0 + 5)).unwrap();
    journal.append(&claim(2), Time(0)).unwrap();
    journal.commit(Time(7)).unwrap();
    drop(journal);
    assert_eq!(open(&disk).unwrap().1.last_time, Time(NOW.0 + 5));
}

/// What a wall says counts for a journal that knows no time yet, and for no other.
#[test]
fn a_start_goes_on_with_the_time_of_its_journal() {
    let disk = Disk::new(US, SMALL);
    for (wall, expected) in [(NOW, NOW), (Time(NOW.0 + 86_400_000), NOW), (Time(5), NOW)] {
        let recovering = Recovering::open(disk.storage(), US, Durability::Sync).unwrap();
        drop(recovering.replay(wall, |_| Ok(())).unwrap());
        let recovering = Recovering::open(disk.fork().storage(), US, Durability::Sync).unwrap();
        let (_, recovered) = recovering.replay(NOW, |_| Ok(())).unwrap();
        assert_eq!(recovered.last_time, expected, "a wall at {wall:?}");
    }
}

#[test]
fn a_commit_without_records_writes_nothing() {
    let disk = Disk::new(US, SMALL);
    let (mut journal, ..) = open(&disk).unwrap();
    let end = journal.append(&claim(1), NOW).unwrap();
    assert_eq!(journal.commit(NOW).unwrap().upto(), end);
    assert_eq!(journal.appended(), end);
    let (syncs, stats) = (disk.syncs(), journal.stats());
    assert_eq!(journal.commit(NOW).unwrap().upto(), end);
    assert_eq!((disk.syncs(), journal.stats()), (syncs, stats));
}

#[test]
fn each_commit_is_one_sync_of_pages_of_its_own() {
    let disk = Disk::new(US, SMALL);
    let (mut journal, ..) = open(&disk).unwrap();
    let before = disk.syncs();
    write_batches(&mut journal, &[1, 1, 126, 127]);
    assert_eq!(disk.syncs() - before, 4);
    // 126 claims and a header are one page; 127 are two.
    assert_eq!(journal.stats().page_bytes, (1 + 1 + 1 + 1 + 2) * 4096);
}

/// What one life of a journal promised, and what it may have left behind.
struct Promised {
    /// So many records were committed.
    committed: u64,
    /// Where batches end, in records.
    borders: Vec<u64>,
    /// So many records were appended.
    appended: u64,
}

impl Promised {
    fn nothing_after(found: u64) -> Self {
        Self { committed: found, borders: vec![found], appended: found }
    }

    /// Appends the next claim; `false` once the journal has failed.
    fn append(&mut self, journal: &mut Journal<SimulatedStorage>) -> bool {
        let rolls = journal.stats().rolls;
        if journal.append(&claim(self.appended), NOW).is_err() {
            self.borders.push(self.appended);
            return false;
        }
        if journal.stats().rolls > rolls {
            self.committed = self.appended; // the roll committed the open batch
            self.borders.push(self.appended);
        }
        self.appended += 1;
        true
    }

    /// A random life: batches, marks, perhaps a failing sync, and records that
    /// nobody commits.
    fn live(&mut self, journal: &mut Journal<SimulatedStorage>, choice: &mut Choice) {
        for _ in 0..choice.below(12) {
            let all = (0..=choice.below(400)).all(|_| self.append(journal));
            self.borders.push(self.appended);
            if !all || journal.commit(NOW).is_err() {
                return;
            }
            self.committed = self.appended;
            if choice.below(3) == 0 && journal.mark(NOW).is_err() {
                return;
            }
        }
        let _ = (0..choice.below(200)).all(|_| self.append(journal));
    }

    fn check(&self, seed: u64, users: &[u64]) {
        let found = users.len() as u64;
        assert!(users.iter().copied().eq(0..found), "seed {seed}: not a prefix");
        assert!(found >= self.committed, "seed {seed}: {found} of {}", self.committed);
        assert!(self.borders.contains(&found), "seed {seed}: half a batch ({found})");
    }
}

/// The claim: what was committed is recovered, in order, and what comes after
/// it is what was appended next, in whole batches.
#[test]
fn after_a_crash_a_prefix_with_everything_committed_is_recovered() {
    const ROUNDS: u64 = 3000;
    let started = Instant::now();
    let mut torn = 0_u32;
    println!("seeds 0..{ROUNDS}");
    for seed in 0..ROUNDS {
        let mut choice = Choice(seed);
        let disk = Disk::new(US, SMALL);
        let mut promised = Promised::nothing_after(0);
        for life in 0..4 {
            let (mut journal, recovered, users) =
                open(&disk).unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            torn += u32::from(recovered.torn.is_some());
            promised.check(seed, &users);
            promised = Promised::nothing_after(users.len() as u64);
            if choice.below(2) == 0 {
                disk.fail_sync(choice.below(8) + 1);
            }
            promised.live(&mut journal, &mut choice);
            drop(journal);
            let tearing = if choice.below(2) == 0 { Tearing::Pages } else { Tearing::Sectors };
            disk.crash(seed ^ life, tearing);
        }
    }
    println!("{ROUNDS} rounds of 4 lives, {torn} torn tails, {:?}", started.elapsed());
    assert!(torn > 100, "the test tears too little");
}

#[test]
fn cut_at_every_byte_of_the_last_two_batches_ends_at_a_batch_border() {
    let disk = Disk::new(US, SMALL);
    let (mut journal, ..) = open(&disk).unwrap();
    write_batches(&mut journal, &[5, 140, 130]);
    drop(journal);
    // Pages: header, epoch, 5 claims, 140 claims (2), 130 claims (2).
    let (first, end) = (3 * PAGE_BYTES, 7 * PAGE_BYTES);
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    for cut in first..=end {
        let copy = disk.fork();
        copy.alter(1, |bytes| bytes[cut..].fill(0));
        let outcome = match open(&copy) {
            Ok((_, _, users)) => {
                assert!([5, 145, 275].contains(&users.len()), "cut {cut}: {}", users.len());
                assert!(users.iter().copied().eq(0..users.len() as u64));
                format!("{} records", users.len())
            }
            Err(RecoveryError::DamageBelowCommitted { .. }) => "refused".to_owned(),
            Err(error) => panic!("cut {cut}: {error}"),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("cuts: {outcomes:?}");
    assert_eq!(outcomes.len(), 3);
}

#[test]
fn every_flipped_bit_is_harmless_or_refused() {
    let started = Instant::now();
    // glibc raises its trim threshold when a large block is freed; without it
    // each of these rounds gives its memory back and takes it again (33 s, not 3).
    drop(vec![0_u8; 16 << 20]);
    let disk = closed_disk(&[3, 20, 130]);
    let whole = open(&disk.fork()).unwrap().2;
    // Segment 1: header, epoch, 3, 20, 130 (2 pages), mark: 7 pages. Its zero
    // tail and the segment ahead are sampled; that one's header is not.
    let used = 7 * PAGE_BYTES;
    let bits = (0..used * 8)
        .chain((used * 8..SMALL * 8).step_by(1009))
        .map(|bit| (1, bit))
        .chain((0..PAGE_BYTES * 8).map(|bit| (2, bit)))
        .chain((PAGE_BYTES * 8..SMALL * 8).step_by(1009).map(|bit| (2, bit)));
    let (mut flips, mut recovered, mut refused) = (0_u32, 0_u32, 0_u32);
    for (sequence, bit) in bits {
        let copy = disk.fork();
        copy.alter(sequence, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        flips += 1;
        match open(&copy) {
            Ok((_, _, users)) => {
                assert_eq!(users, whole, "segment {sequence} bit {bit}: another answer");
                recovered += 1;
            }
            Err(error) => {
                let told = error.to_string();
                assert!(told.contains(".seg") && !told.contains('\n'), "{told}");
                refused += 1;
            }
        }
    }
    println!("{flips} flips: {recovered} exact, {refused} refused, {:?}", started.elapsed());
    assert!(recovered > 0 && refused > 0);
}

#[test]
fn any_bytes_at_all_are_read_without_panic() {
    let disk = closed_disk(&[3, 20]);
    println!("seeds 0..2000");
    for seed in 0..2000 {
        let mut choice = Choice(seed);
        let copy = disk.fork();
        copy.alter(1, |bytes| {
            for _ in 0..=choice.below(40) {
                let at = usize::try_from(choice.below(6 * 4096)).unwrap();
                let length = usize::try_from(choice.below(64)).unwrap();
                let with = u8::try_from(choice.below(256)).unwrap();
                bytes[at..at + length].fill(with);
            }
        });
        let _ = open(&copy);
    }
}

// One test per row of the table in docs/JOURNAL.md.

#[test]
fn row_clean_end_cuts_nothing() {
    let disk = closed_disk(&[3, 20]);
    let (_, recovered, users) = open(&disk).unwrap();
    assert_eq!((users.len(), recovered.torn), (23, None));
}

#[test]
fn row_torn_tail_is_zeroed_durably_and_told() {
    let disk = Disk::new(US, SMALL);
    let (mut journal, ..) = open(&disk).unwrap();
    write_batches(&mut journal, &[5, 130]);
    drop(journal);
    let torn_at = 3 * PAGE_BYTES;
    disk.alter(1, |bytes| bytes[torn_at + 4096 + 9] ^= 1); // page 2 of the last batch
    let (mut journal, recovered, users) = open(&disk).unwrap();
    let torn = recovered.torn.unwrap();
    assert_eq!(torn.position, Position(torn_at as u64));
    assert_eq!((torn.bytes, torn.file.as_str()), (8192, "simulated/0000000001.seg"));
    assert_eq!(users.len(), 5);
    journal.append(&claim(99), NOW).unwrap();
    journal.commit(NOW).unwrap();
    drop(journal);
    disk.crash(0, Tearing::Pages);
    assert_eq!(open(&disk).unwrap().2, [0, 1, 2, 3, 4, 99]);
}

#[test]
fn row_damage_below_committed_refuses_with_file_and_offset() {
    let disk = closed_disk(&[5, 130, 7]);
    disk.alter(1, |bytes| bytes[3 * PAGE_BYTES + 500] ^= 4);
    match refuses_unchanged(&disk, US) {
        RecoveryError::DamageBelowCommitted { file, offset, end, committed } => {
            assert_eq!((file.as_str(), offset), ("simulated/0000000001.seg", 3 * 4096));
            assert_eq!(end, Position(2 * 4096 + 64 + 5 * 32));
            assert!(committed > end);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn damage_is_told_even_where_only_a_later_segment_knows_of_it() {
    let disk = closed_disk(&[100; 30]); // 15 pages of batches in a segment
    assert!(disk.contents().len() > 3);
    disk.alter(2, |bytes| bytes[PAGE_BYTES..].fill(0));
    match refuses_unchanged(&disk, US) {
        RecoveryError::DamageBelowCommitted { file, offset, .. } => {
            assert_eq!((file.as_str(), offset), ("simulated/0000000002.seg", 4096));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn row_damage_beyond_window_refuses() {
    // Two histories: the second goes on differently after the same first batch,
    // so a batch of it is valid, in place, and known to be committed no
    // further than the first history's end, yet does not follow it.
    let disk = Disk::new(US, SMALL);
    let (mut journal, ..) = open(&disk).unwrap();
    write_batches(&mut journal, &[5]);
    drop(journal);
    let other = disk.fork();
    let (journal, ..) = open(&other).unwrap(); // epoch 2's batch at page 3
    drop(journal);
    let page = other.contents()[&1][3 * PAGE_BYTES..4 * PAGE_BYTES].to_vec();
    // Another first history: same lengths, other records.
    let third = Disk::new(US, SMALL);
    let (mut journal, ..) = open(&third).unwrap();
    for n in 10..15 {
        journal.append(&claim(n), NOW).unwrap();
    }
    journal.commit(NOW).unwrap();
    drop(journal);
    third.alter(1, |bytes| bytes[3 * PAGE_BYTES..4 * PAGE_BYTES].copy_from_slice(&page));
    match refuses_unchanged(&third, US) {
        RecoveryError::DamageBeyondWindow { offset, .. } => assert_eq!(offset, 3 * 4096),
        other => panic!("{other}"),
    }
}

/// A batch that was committed lies where the next one belongs, whose header
/// knows of the commit and lies where the first belongs: of both, only that
/// they were moved can still be seen.
#[test]
fn pages_swapped_among_the_last_two_batches_are_no_torn_tail() {
    // So many claims in the batches, each page of the one with each of the other.
    let mut swaps = 0;
    for sizes in [[5, 7], [130, 7], [7, 130], [200, 130], [400, 400]] {
        let disk = Disk::new(US, SMALL);
        let (mut journal, ..) = open(&disk).unwrap();
        write_batches(&mut journal, &sizes);
        drop(journal); // killed: of the last batch nothing else knows
        let pages = |size: u64| usize::try_from((64 + size * 32).div_ceil(4096)).unwrap();
        let committed = 2..2 + pages(sizes[0]); // page 1 has the epoch's batch
        for one in committed.clone() {
            for other in committed.end..committed.end + pages(sizes[1]) {
                let torn = disk.fork();
                torn.alter(1, |bytes| {
                    let (left, right) = bytes.split_at_mut(other * PAGE_BYTES);
                    left[one * PAGE_BYTES..][..PAGE_BYTES]
                        .swap_with_slice(&mut right[..PAGE_BYTES]);
                });
                refuses_unchanged(&torn, US);
                swaps += 1;
            }
        }
    }
    println!("{swaps} swaps, each refused");
    assert_eq!(swaps, 1 + 2 + 2 + 4 + 16);
}

#[test]
fn row_stale_bytes_of_a_recycled_segment_are_ignored() {
    let disk = closed_disk(&[100; 20]);
    let old = disk.contents()[&1].clone();
    let ahead = *disk.contents().keys().last().unwrap();
    disk.alter(ahead, |bytes| bytes[PAGE_BYTES..].copy_from_slice(&old[PAGE_BYTES..]));
    let (mut journal, recovered, users) = open(&disk).unwrap();
    assert_eq!((users.len(), recovered.torn), (2000, None));
    for n in 2000..3000 {
        journal.append(&claim(n), NOW).unwrap(); // into the recycled segment
    }
    journal.commit(NOW).unwrap();
    journal.mark(NOW).unwrap();
    drop(journal);
    let (_, recovered, users) = open(&disk).unwrap();
    assert!(users.into_iter().eq(0..3000));
    assert_eq!(recovered.torn, None);
}

#[test]
fn row_missing_segment_refuses() {
    let disk = closed_disk(&[100; 30]);
    for gone in [1, 2] {
        let copy = disk.fork();
        copy.remove(gone);
        match refuses_unchanged(&copy, US) {
            RecoveryError::MissingSegment { file } => {
                assert_eq!(file, format!("simulated/{gone:010}.seg"));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn rows_of_identity_refuse_another_cell_shard_or_number_of_shards() {
    let disk = closed_disk(&[3]);
    let other_cell = refuses_unchanged(&disk, Identity { cell: 9, ..US });
    assert!(matches!(other_cell, RecoveryError::WrongCell { found: 1, .. }), "{other_cell}");
    let other_shards = refuses_unchanged(&disk, Identity { shards: 2, ..US });
    assert!(matches!(other_shards, RecoveryError::WrongShards { found: 1, .. }));
    let other_shard = refuses_unchanged(&disk, Identity { shard: 1, ..US });
    assert!(matches!(other_shard, RecoveryError::WrongShard { found: 0, .. }));
}

#[test]
fn rows_of_files_refuse_other_versions_other_files_damage_and_truncation() {
    type Change = fn(&mut Vec<u8>);
    type Expected = fn(&RecoveryError) -> bool;
    let cases: [(&str, Change, Expected); 5] = [
        ("version", |b| b[8] = 9, |e| matches!(e, RecoveryError::WrongVersion { found: 9, .. })),
        ("magic", |b| b[0] = 0, |e| matches!(e, RecoveryError::NotASegment { .. })),
        ("header", |b| b[20] ^= 1, |e| matches!(e, RecoveryError::DamagedHeader { .. })),
        ("cut", |b| b.truncate(8192), |e| matches!(e, RecoveryError::Truncated { .. })),
        ("gone", |b| b.truncate(3), |e| matches!(e, RecoveryError::Truncated { found: 3, .. })),
    ];
    for (name, change, expected) in cases {
        let disk = closed_disk(&[3]);
        disk.alter(1, change);
        let error = refuses_unchanged(&disk, US);
        assert!(expected(&error), "{name}: {error}");
    }
}

#[test]
fn a_record_that_does_not_fit_is_refused_with_its_position() {
    let disk = closed_disk(&[3, 4]);
    let writes = disk.writes();
    let recovering = Recovering::open(disk.storage(), US, Durability::Sync).unwrap();
    let misfit = Misfit::NotOpen(EnvelopeId(5));
    let result =
        recovering.replay(NOW, |record| if user(record) == 4 { Err(misfit) } else { Ok(()) });
    match result.err().unwrap() {
        RecoveryError::Misfit { position, misfit: found, .. } => {
            assert_eq!(position, Position(3 * 4096 + 64 + 32));
            assert_eq!(found, misfit);
        }
        other => panic!("{other}"),
    }
    assert_eq!(disk.writes(), writes);
}

#[test]
fn the_first_failed_sync_is_the_last_and_the_next_start_believes_the_disk() {
    let disk = Disk::new(US, SMALL);
    let (mut journal, ..) = open(&disk).unwrap();
    write_batches(&mut journal, &[3]);
    disk.fail_sync(1);
    journal.append(&claim(3), NOW).unwrap();
    let failed = journal.commit(NOW).unwrap_err();
    assert_eq!((failed.file.as_str(), failed.offset), ("simulated/0000000001.seg", 3 * 4096));
    assert!(disk.marked());
    assert!(matches!(journal.append(&claim(4), NOW), Err(AppendError::Failed(_))));
    assert_eq!(journal.commit(NOW), Err(failed.clone()));
    assert_eq!(journal.mark(NOW), Err(failed));
    drop(journal);
    disk.restart();
    assert_eq!(open(&disk).unwrap().2, [0, 1, 2]);
}

/// The `number`-th sync of a start fails, and the next start is asked: its journal goes on
/// in a new batch, and after a power cut it is the same.
fn started_after_a_failed_start(disk: &Disk, number: u64, seed: u64) {
    let told = format!("seed {seed}, sync {number}");
    disk.fail_sync(number);
    assert!(open(disk).is_err() && disk.marked(), "{told}: no note");
    disk.restart();
    let (mut journal, _, mut users) = open(disk).unwrap();
    assert!(users.starts_with(&[0, 1, 2]), "{told}");
    journal.append(&claim(1000), NOW).unwrap();
    journal.commit(NOW).unwrap();
    users.push(1000);
    drop(journal);
    disk.crash(seed, Tearing::Pages);
    assert_eq!(open(disk).unwrap().2, users, "{told}");
}

/// What it has read may be in the cache only, and what it has cut; a sync that has failed
/// succeeds the next time.
#[test]
fn after_a_sync_that_fails_in_a_start_the_next_one_believes_the_disk() {
    println!("seeds 0..20");
    let (mut torn, mut failed) = (0, 0);
    for (seed, is_cut_off) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let disk = Disk::new(US, SMALL);
        let (mut journal, ..) = open(&disk).unwrap();
        write_batches(&mut journal, &[3]);
        for n in 3..900 {
            journal.append(&claim(n), NOW).unwrap();
        }
        disk.kill_in_sync(1);
        assert!(journal.commit(NOW).is_err());
        drop(journal);
        assert!(!disk.marked(), "who is killed leaves no note");
        if is_cut_off {
            disk.crash(seed, Tearing::Pages);
        } else {
            disk.restart();
        }
        let sound = disk.fork();
        let before = sound.syncs();
        torn += u32::from(open(&sound).unwrap().1.torn.is_some());
        for number in 1..=sound.syncs() - before {
            started_after_a_failed_start(&disk.fork(), number, seed);
            failed += 1;
        }
    }
    println!("{failed} starts failed, {torn} of 40 tails were torn");
    assert!(torn > 10 && failed > 100);
}

#[test]
fn a_sync_that_fails_at_a_segment_switch_is_the_last_and_loses_nothing_committed() {
    // The batch that fills the segment is committed by the record after it.
    let disk = Disk::new(US, SMALL);
    let (mut journal, ..) = open(&disk).unwrap();
    write_batches(&mut journal, &[3, 2]);
    disk.fail_sync(1);
    let mut next = 5;
    let failed = loop {
        match journal.append(&claim(next), NOW) {
            Ok(_) => next += 1,
            Err(error) => break error,
        }
    };
    let told = failed.to_string();
    assert!(matches!(failed, AppendError::Failed(_)), "{told}");
    assert!(told.contains("simulated/0000000001.seg: the sync at offset 16384"), "{told}");
    assert!(next > 1000 && disk.marked());
    assert!(matches!(journal.append(&claim(next), NOW), Err(AppendError::Failed(_))));
    assert!(journal.commit(NOW).is_err() && journal.mark(NOW).is_err());
    drop(journal);
    disk.restart();
    let (mut journal, _, users) = open(&disk).unwrap();
    assert_eq!(users, [0, 1, 2, 3, 4]);
    journal.append(&claim(5), NOW).unwrap();
    journal.commit(NOW).unwrap();
}

#[test]
fn without_space_nothing_changes_and_it_goes_on_when_there_is_space_again() {
    let disk = Disk::new(US, SMALL);
    disk.segments_max(Some(2));
    let (mut journal, ..) = open(&disk).unwrap();
    let mut written = 0;
    loop {
        let before = (journal.appended(), journal.stats());
        match journal.append(&claim(written), NOW) {
            Ok(_) => written += 1,
            Err(AppendError::NoSpace) => {
                assert_eq!((journal.appended(), journal.stats()), before);
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(journal.commit(NOW).unwrap().upto(), journal.appended());
    disk.segments_max(None);
    assert!(matches!(journal.append(&claim(written), NOW), Err(AppendError::NoSpace)));
    let later = Time(NOW.0 + 500);
    journal.append(&claim(written), later).unwrap();
    journal.commit(later).unwrap();
    drop(journal);
    assert!(open(&disk).unwrap().2.into_iter().eq(0..=written));
}

#[test]
fn under_os_a_commit_syncs_nothing_and_survives_the_process() {
    let disk = Disk::new(US, SMALL);
    let (mut journal, ..) = open_as(&disk, US, Durability::Os).unwrap();
    let before = disk.syncs();
    write_batches(&mut journal, &[5, 130, 7]);
    assert_eq!(disk.syncs(), before);
    assert!(!journal.mark_wanted());
    drop(journal);
    disk.restart();
    assert_eq!(open(&disk).unwrap().2.len(), 142);
}

#[test]
fn under_os_a_power_cut_leaves_a_prefix_whatever_the_setting_is_afterwards() {
    println!("seeds 0..500");
    for seed in 0..500 {
        let disk = Disk::new(US, SMALL);
        let (mut journal, ..) = open_as(&disk, US, Durability::Os).unwrap();
        write_batches(&mut journal, &[60; 20]); // over two segments
        drop(journal);
        disk.crash(seed, Tearing::Pages);
        let (mut journal, _, users) =
            open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = users.len() as u64;
        assert!(users.into_iter().eq(0..found) && found.is_multiple_of(60), "seed {seed}");
        journal.append(&claim(found), NOW).unwrap();
        journal.commit(NOW).unwrap();
        drop(journal);
        disk.crash(seed, Tearing::Pages);
        assert!(open(&disk).unwrap().2.into_iter().eq(0..=found), "seed {seed}");
    }
}

#[test]
fn under_os_a_mark_makes_everything_durable() {
    let disk = Disk::new(US, SMALL);
    let (mut journal, ..) = open_as(&disk, US, Durability::Os).unwrap();
    write_batches(&mut journal, &[5, 130, 7]);
    journal.mark(NOW).unwrap();
    drop(journal);
    disk.crash(3, Tearing::Pages);
    assert_eq!(open(&disk).unwrap().2.len(), 142);
}

#[test]
fn the_simulated_disk_shows_what_was_synced_and_nothing_else_for_sure() {
    let disk = closed_disk(&[1]);
    let mut segment = disk.storage().open(2).unwrap();
    let end = SMALL - PAGE_BYTES;
    segment.bytes_mut()[PAGE_BYTES..].fill(7);
    segment.sync(PAGE_BYTES..2 * PAGE_BYTES).unwrap();
    assert_eq!(segment.bytes()[end], 7);
    drop(segment);
    disk.crash(1, Tearing::Pages);
    let bytes = disk.contents()[&2].clone();
    assert!(bytes[PAGE_BYTES..2 * PAGE_BYTES].iter().all(|b| *b == 7));
    assert!(bytes[2 * PAGE_BYTES..].contains(&0), "a crash loses something");
}

/// What is cut off is zeros on the disk, not in the page cache only: else the next power
/// cut would bring it back.
#[test]
fn a_torn_tail_is_cut_durably_to_its_last_page() {
    let mut cut = 0;
    println!("seeds 0..40");
    for seed in 0..40 {
        let disk = Disk::new(US, SMALL);
        let (mut journal, ..) = open(&disk).unwrap();
        write_batches(&mut journal, &[3]);
        for n in 3..900 {
            journal.append(&claim(n), NOW).unwrap();
        }
        disk.fail_sync(1);
        assert!(journal.commit(NOW).is_err());
        drop(journal);
        disk.crash(seed, Tearing::Pages);
        let (journal, recovered, users) = open(&disk).unwrap();
        assert!(users.into_iter().eq(0..3));
        let Some(torn) = recovered.torn else { continue };
        cut += u32::from(torn.bytes > 2 * PAGE_BYTES as u64);
        drop(journal);
        disk.each_segment(|sequence, _, durable| {
            let end = usize::try_from(recovered.end.0).unwrap();
            let rest = if sequence == 1 {
                &durable[end.next_multiple_of(PAGE_BYTES) + PAGE_BYTES..]
            } else {
                &durable[PAGE_BYTES..]
            };
            assert!(rest.iter().all(|byte| *byte == 0), "seed {seed}: segment {sequence}");
        });
    }
    assert!(cut > 10, "{cut} of several pages");
}

#[test]
fn a_journal_without_its_first_segments_names_the_first_that_is_missing() {
    for removed in 1..4 {
        let disk = closed_disk(&[1000, 1000, 1000, 1000, 1000, 1000]);
        (1..=removed).for_each(|sequence| disk.remove(sequence));
        let RecoveryError::MissingSegment { file } = refuses_unchanged(&disk, US) else {
            panic!("{removed} removed")
        };
        assert!(file.ends_with("0000000001.seg"), "{file}");
    }
}

#[test]
fn a_record_that_does_not_fit_is_named_with_its_place() {
    let disk = closed_disk(&[3, 5]);
    for (stranger, position) in [(0, 8192 + 64), (2, 8192 + 64 + 2 * 32), (5, 12_288 + 64 + 2 * 32)]
    {
        let recovering = Recovering::open(disk.storage(), US, Durability::Sync).unwrap();
        let replayed = recovering.replay(NOW, |record| {
            if user(record) == stranger { Err(Misfit::Full) } else { Ok(()) }
        });
        let Err(RecoveryError::Misfit { file, offset, position: found, misfit }) = replayed else {
            panic!("{stranger} fits")
        };
        assert_eq!((offset, found, misfit), (position, Position(position), Misfit::Full));
        assert_eq!(file, "simulated/0000000001.seg");
    }
}

/// The records of a batch are of two lengths; the place of each follows from its own.
#[test]
fn the_place_of_a_record_counts_those_before_it() {
    let disk = Disk::new(US, SMALL);
    let (mut journal, ..) = open(&disk).unwrap();
    let closed = Closed {
        envelope: EnvelopeId::new(1, 2, 3, 4),
        sender: UserId(1),
        refunded: 5,
        held: 0,
        cause: Cause::Expired,
        at: 1_700_000_000,
    };
    journal.append(&claim(0), NOW).unwrap();
    let begin = journal.append(&claim(1), NOW).unwrap();
    journal.append(&Record::Closed(closed), NOW).unwrap();
    journal.commit(NOW).unwrap();
    journal.mark(NOW).unwrap();
    drop(journal);
    let recovering = Recovering::open(disk.storage(), US, Durability::Sync).unwrap();
    let replayed = recovering.replay(NOW, |record| match record {
        Record::Closed(_) => Err(Misfit::Full),
        _ => Ok(()),
    });
    let Err(RecoveryError::Misfit { position, .. }) = replayed else { panic!("it fits") };
    assert_eq!(position, begin);
}

#[test]
fn a_start_is_told_in_one_line() {
    let disk = closed_disk(&[3, 5]);
    let told = open(&disk).unwrap().1.to_string();
    assert!(told.starts_with("8 records in 4 batches from 2 segments; run 2"), "{told}");
    assert!(!told.contains("cut") && !told.contains('\n'), "{told}");
    let (mut journal, ..) = open(&disk).unwrap();
    journal.append(&claim(8), NOW).unwrap();
    journal.commit(NOW).unwrap();
    let offset = usize::try_from(journal.appended().0).unwrap() - 1;
    drop(journal);
    disk.alter(1, |bytes| bytes[offset] ^= 1);
    let told = open(&disk).unwrap().1.to_string();
    assert!(told.contains("an unacknowledged batch was cut at ") && !told.contains('\n'));
    assert!(told.contains("(simulated/0000000001.seg, 4096 bytes zeroed)"), "{told}");
}

/// Also when nothing was damaged but the first and the one after it.
#[test]
fn the_first_segment_that_is_missing_is_named_and_not_the_damage_after_it() {
    let disk = closed_disk(&[3000, 3000]);
    disk.remove(1);
    disk.alter(2, |bytes| bytes[20] ^= 1);
    let told = refuses_unchanged(&disk, US).to_string();
    assert!(told.contains("0000000001.seg"), "{told}");
}

struct Counting(u64);

impl Replica for Counting {
    fn load(&mut self, _slice: &[u8]) -> Result<u64, Unfit> {
        Ok(0)
    }

    fn apply(&mut self, records: &[(Position, Record)]) -> Result<(), (Position, Misfit)> {
        self.0 += u64::try_from(records.len()).unwrap();
        Ok(())
    }
}

#[test]
fn a_replay_tells_how_far_it_is_and_then_that_it_is_done() {
    const SEGMENT: usize = 1 << 20;
    let disk = Disk::new(US, SEGMENT);
    let (mut journal, ..) = open(&disk).unwrap();
    write_batches(&mut journal, &[10_000; 50]); // 16 MB of records
    journal.mark(NOW).unwrap();
    drop(journal);
    let told = std::cell::RefCell::new(Vec::new());
    let recovering = Recovering::open(disk.storage(), US, Durability::Sync).unwrap();
    let mut counting = Counting(0);
    recovering.recover(NOW, &mut counting, &|progress| told.borrow_mut().push(progress)).unwrap();
    let (told, total) = (told.into_inner(), disk.contents().len() * SEGMENT);
    let total = u64::try_from(total).unwrap();
    assert!(told.iter().all(|progress| progress.bytes_total == total));
    let done: Vec<_> = told.iter().map(|progress| progress.bytes_done).collect();
    assert!(done.len() > 2 && done.is_sorted() && done[0] < total / 2, "{done:?}");
    let last = told.last().unwrap();
    assert_eq!((last.bytes_done, last.records, counting.0), (total, 500_000, 500_000));
    let steps = done.windows(2).map(|two| two[1] - two[0]).take(done.len() - 2);
    assert!(steps.min().unwrap() >= 4 << 20, "not at every batch: {done:?}");
}
