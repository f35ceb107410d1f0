//! What recovery makes of checkpoints that are whole, damaged, cut or gone, on
//! the simulated disk.
#![allow(clippy::unwrap_used)] // also in the functions that tests share

mod replica;

use std::time::Instant;

use hongbao::journal::simulated::{Disk, SimulatedStorage, Tearing};
use hongbao::journal::{
    CheckpointFault, Identity, Journal, Position, Recovered, Recovering, RecoveryError,
};
use hongbao::limits::PAGE_BYTES;
use hongbao::units::{Durability, Time};
use replica::{COUNTERS, Counters, claim};

const US: Identity = Identity { cell: 1, shard: 0, shards: 1 };
const SMALL: usize = 64 << 10;
const NOW: Time = Time(1_700_000_000_000);

type Opened = (Journal<SimulatedStorage>, Recovered, Counters);

fn open_as(disk: &Disk, durability: Durability) -> Result<Opened, RecoveryError> {
    let mut state = Counters::default();
    let recovering = Recovering::open(disk.storage(), US, durability)?;
    let (journal, recovered) = recovering.recover(NOW, &mut state, &|_| {})?;
    Ok((journal, recovered, state))
}

fn open(disk: &Disk) -> Result<Opened, RecoveryError> {
    open_as(disk, Durability::Sync)
}

/// Appends the next `count` claims and commits them.
fn write(journal: &mut Journal<SimulatedStorage>, state: &mut Counters, count: u64) {
    for _ in 0..count {
        let record = claim(state.records());
        let end = journal.append(&record, NOW).unwrap();
        state.take(end, &record);
    }
    journal.commit(NOW).unwrap();
}

/// A checkpoint of the state as it is.
fn checkpoint(disk: &Disk, journal: &Journal<SimulatedStorage>, state: &Counters) {
    let slices = state.slices(0);
    let slices: Vec<&[u8]> = slices.iter().map(Vec::as_slice).collect();
    let start = journal.checkpoint_start().unwrap();
    disk.checkpoint(start, start.position(), &slices);
}

/// Two checkpoints, some batches before, between and after; closed.
fn closed() -> (Disk, Counters) {
    let disk = Disk::new(US, SMALL);
    let (mut journal, _, mut state) = open(&disk).unwrap();
    for count in [1700, 2500, 1100] {
        for _ in 0..count / 100 {
            write(&mut journal, &mut state, 100);
        }
        if count != 1100 {
            checkpoint(&disk, &journal, &state);
        }
    }
    journal.mark(NOW).unwrap();
    (disk, state)
}

fn refuses_unchanged(disk: &Disk) -> RecoveryError {
    let (before, writes) = (disk.contents(), disk.writes());
    let Err(error) = open(disk) else { panic!("not refused") };
    assert_eq!(disk.contents(), before, "a refusal changed the disk");
    assert_eq!(disk.writes(), writes, "a refusal wrote to the disk");
    let line = error.to_string();
    assert!(line.contains("simulated") && !line.contains('\n'), "{line}");
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
fn row_newest_the_replay_begins_at_the_newest_checkpoint() {
    let (disk, state) = closed();
    let (_, recovered, found) = open(&disk).unwrap();
    assert_eq!(found.meaning(), state.meaning());
    assert_eq!((recovered.records, recovered.loaded), (1100, 16));
    let used = recovered.checkpoint.unwrap();
    assert_eq!((used.number, recovered.warnings.len()), (2, 0));
    assert!(recovered.keep_from > Position(0) && recovered.keep_from < used.began);
}

#[test]
fn row_older_a_damaged_newest_is_told_and_the_older_gives_the_same_state() {
    let (disk, state) = closed();
    disk.alter_checkpoint(2, |bytes| bytes[PAGE_BYTES + 100] ^= 1);
    let (journal, recovered, found) = open(&disk).unwrap();
    assert_eq!(found.meaning(), state.meaning());
    assert_eq!((recovered.records, recovered.checkpoint.unwrap().number), (3600, 1));
    let told = &recovered.warnings[0];
    assert!(told.contains("0000000002.ckp") && told.contains("0000000001.ckp"), "{told}");
    assert_eq!(recovered.keep_from, Position(0), "the older is the only one now");
    drop(journal);
    assert_eq!(disk.checkpoints(), [1], "the damaged one is no generation any more");
}

#[test]
fn row_none_yet_the_replay_begins_with_the_journal() {
    let (disk, state) = closed();
    disk.remove_checkpoint(1);
    disk.remove_checkpoint(2);
    let (_, recovered, found) = open(&disk).unwrap();
    assert_eq!((recovered.records, recovered.checkpoint), (5300, None));
    assert_eq!(found.meaning(), state.meaning());
}

#[test]
fn row_beginning_a_whole_journal_is_enough_where_no_checkpoint_is_whole() {
    let (disk, state) = closed();
    disk.alter_checkpoint(1, |bytes| bytes[20] ^= 1);
    disk.alter_checkpoint(2, |bytes| bytes.truncate(5000));
    let (_, recovered, found) = open(&disk).unwrap();
    assert_eq!((recovered.records, recovered.warnings.len()), (5300, 2));
    assert_eq!(found.meaning(), state.meaning());
}

#[test]
fn row_none_whole_refuses_where_the_journal_does_not_go_back() {
    let (disk, _) = closed();
    disk.remove(1);
    open(&disk.fork()).unwrap();
    disk.alter_checkpoint(1, |bytes| bytes[20] ^= 1);
    disk.alter_checkpoint(2, |bytes| bytes[PAGE_BYTES + 20] ^= 1);
    let refused = refuses_unchanged(&disk);
    let told = refused.to_string();
    assert!(told.contains("0000000002.ckp") && told.contains("0000000001.ckp"), "{told}");
    assert!(told.contains("or every segment from simulated/0000000001.seg on"), "{told}");
    match refused {
        RecoveryError::NoWholeCheckpoint { fault, .. } => {
            assert_eq!(fault, CheckpointFault::Block { index: 0, offset: 4096 });
        }
        other => panic!("{other}"),
    }
}

#[test]
fn row_ends_before_checkpoint_refuses_whichever_checkpoint_says_so() {
    let (disk, _) = closed();
    let last = *disk.contents().keys().last().unwrap();
    let begins = open(&disk.fork()).unwrap().1.checkpoint.unwrap().began;
    // Only the first segment is left: it is whole, and ends before checkpoint 2.
    assert!(begins.0 > u64::try_from(SMALL).unwrap());
    (2..=last).for_each(|sequence| disk.remove(sequence));
    for damaged in [false, true] {
        if damaged {
            disk.alter_checkpoint(2, |bytes| bytes[PAGE_BYTES + 20] ^= 1);
        }
        match refuses_unchanged(&disk) {
            RecoveryError::EndsBeforeCheckpoint { checkpoint_end, file, .. } => {
                assert_eq!(checkpoint_end, begins);
                assert!(file.ends_with("0000000001.seg"), "{file}");
            }
            RecoveryError::DamageBelowCommitted { .. } if damaged => {}
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_checkpoint_without_any_segment_refuses() {
    let (disk, _) = closed();
    disk.contents().keys().for_each(|sequence| disk.remove(*sequence));
    let refused = refuses_unchanged(&disk);
    assert!(matches!(refused, RecoveryError::EndsBeforeCheckpoint { .. }), "{refused}");
}

#[test]
fn segments_before_the_used_checkpoint_may_be_missing_in_any_way() {
    let (disk, state) = closed();
    let began = open(&disk.fork()).unwrap().1.checkpoint.unwrap().began.0;
    let needed = u32::try_from(began / u64::try_from(SMALL).unwrap()).unwrap() + 1;
    assert!(needed > 2, "the test needs segments before it");
    for gone in 1..needed {
        let copy = disk.fork();
        copy.remove(gone);
        assert_eq!(open(&copy).unwrap().2.meaning(), state.meaning(), "without {gone}");
    }
    disk.remove(needed);
    assert!(matches!(refuses_unchanged(&disk), RecoveryError::MissingSegment { .. }));
}

/// The sequence of the segment that the replay begins in.
fn first_needed(disk: &Disk) -> u32 {
    let began = open(&disk.fork()).unwrap().1.checkpoint.unwrap().began.0;
    u32::try_from(began / u64::try_from(SMALL).unwrap()).unwrap() + 1
}

#[test]
fn damage_to_the_segment_that_the_replay_begins_in_is_told_as_that() {
    let (disk, _) = closed();
    let needed = first_needed(&disk);
    (1..needed).for_each(|sequence| disk.remove(sequence));
    disk.alter(needed, |bytes| bytes[20] ^= 1);
    let refused = refuses_unchanged(&disk);
    assert!(!matches!(refused, RecoveryError::MissingSegment { .. }), "{refused}");
    assert!(refused.to_string().contains(&format!("{needed:010}.seg")), "{refused}");
}

/// The one before it may be gone; but if it is there it says where the next begins.
#[test]
fn the_segment_before_the_first_that_is_needed_must_end_where_that_begins() {
    let (disk, _) = closed();
    let needed = first_needed(&disk);
    let other = Disk::new(US, 2 * SMALL); // segments twice as long
    let (mut journal, _, mut state) = open(&other).unwrap();
    write(&mut journal, &mut state, 1);
    while other.contents().len() < usize::try_from(needed).unwrap() {
        write(&mut journal, &mut state, 1000);
    }
    drop(journal);
    let before = other.contents().remove(&(needed - 1)).unwrap();
    disk.alter(needed - 1, |bytes| *bytes = before);
    assert!(refuses_unchanged(&disk).to_string().contains(&format!("{needed:010}.seg")));
    disk.remove(needed - 1);
    open(&disk).unwrap();
}

/// A checkpoint that begins with the last batch of a segment needs nothing of it.
#[test]
fn a_replay_may_begin_in_the_last_page_of_a_segment_that_is_gone_and_not_before() {
    for (claims, is_enough) in [(1780, true), (1600, false)] {
        let disk = Disk::new(US, SMALL);
        let (mut journal, _, mut state) = open(&disk).unwrap();
        write(&mut journal, &mut state, claims);
        checkpoint(&disk, &journal, &state);
        let left = SMALL - usize::try_from(journal.appended().0).unwrap();
        assert_eq!(left < PAGE_BYTES, is_enough, "{left} bytes are left");
        write(&mut journal, &mut state, 2000);
        journal.mark(NOW).unwrap();
        drop(journal);
        disk.remove(1);
        if is_enough {
            assert_eq!(open(&disk).unwrap().2.meaning(), state.meaning());
        } else {
            let refused = refuses_unchanged(&disk);
            assert!(matches!(refused, RecoveryError::MissingSegment { .. }), "{refused}");
        }
    }
}

#[test]
fn a_checkpoint_says_when_it_was_begun_and_what_it_is() {
    let disk = Disk::new(US, SMALL);
    let (mut journal, _, mut state) = open(&disk).unwrap();
    write(&mut journal, &mut state, 10);
    let start = journal.checkpoint_start().unwrap().at(Time(NOW.0 + 77));
    disk.checkpoint(start, start.position(), &[&state.slice(0, 0)]);
    drop(journal);
    let found = Recovering::open(disk.storage(), US, Durability::Sync).unwrap().checkpoint();
    let found = found.unwrap();
    assert_eq!(found.began_at, Time(NOW.0 + 77));
    let began = start.position();
    let told = format!("checkpoint 1 (12288 bytes, positions {began} to {began})");
    assert_eq!(found.to_string(), told);
    let started = open(&disk).unwrap().1.to_string();
    assert!(started.starts_with(&format!("1 envelopes from {told}, 0 records in ")), "{started}");
}

#[test]
fn who_takes_records_one_by_one_takes_no_checkpoint() {
    let (disk, _) = closed();
    let recovering = Recovering::open(disk.storage(), US, Durability::Sync).unwrap();
    let error = recovering.replay(NOW, |_| Ok(())).err().unwrap();
    assert!(matches!(error, RecoveryError::UnfitSlice { slice: 0, .. }), "{error}");
}

#[test]
fn freeing_keeps_what_the_older_generation_needs() {
    let (disk, mut state) = closed();
    let (mut journal, recovered, _) = open(&disk).unwrap();
    journal.free_before(recovered.keep_from);
    write(&mut journal, &mut state, 10);
    drop(journal);
    assert!(!disk.contents().contains_key(&1), "something was freed");
    assert_eq!(open(&disk.fork()).unwrap().2.meaning(), state.meaning());
    disk.alter_checkpoint(2, |bytes| bytes[PAGE_BYTES] ^= 1);
    assert_eq!(open(&disk).unwrap().2.meaning(), state.meaning());
}

#[test]
fn a_sync_that_fails_while_a_checkpoint_is_taken_leaves_the_older_ones_and_all_committed() {
    let (disk, _) = closed();
    let (mut journal, _, mut state) = open(&disk).unwrap();
    let start = journal.checkpoint_start().unwrap();
    write(&mut journal, &mut state, 100);
    let committed = journal.durable_upto();
    disk.fail_sync(1);
    journal.append(&claim(state.records()), NOW).unwrap();
    journal.commit(NOW).unwrap_err();
    // One that has seen the lost record would wait for this, and never end.
    assert_eq!(journal.durable_upto(), committed);
    assert!(journal.checkpoint_start().is_none(), "none begins after a failure");
    drop(journal);
    disk.restart();
    let (_, recovered, found) = open(&disk.fork()).unwrap();
    assert_eq!(recovered.checkpoint.unwrap().number, 2);
    assert_eq!(found.meaning(), state.meaning());
    // One whose end was committed may still get its name.
    let slices = state.slices(0);
    disk.checkpoint(start, committed, &slices.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (_, recovered, found) = open(&disk).unwrap();
    assert_eq!(recovered.checkpoint.unwrap().number, 3);
    assert_eq!(found.meaning(), state.meaning());
}

#[test]
fn every_flipped_bit_of_a_checkpoint_is_found() {
    let started = Instant::now();
    let (with_older, state) = closed();
    let (without, _) = closed();
    without.remove(1);
    without.remove_checkpoint(1);
    let mut bytes = 0;
    without.alter_checkpoint(2, |file| bytes = file.len());
    assert_eq!(bytes, 3 * PAGE_BYTES);
    let mut flips = 0;
    for bit in 0..bytes * 8 {
        let flip = |file: &mut Vec<u8>| file[bit / 8] ^= 1 << (bit % 8);
        without.alter_checkpoint(2, flip);
        assert!(Recovering::open(without.storage(), US, Durability::Sync).is_err(), "bit {bit}");
        without.alter_checkpoint(2, flip);
        if bit % 97 == 0 {
            let copy = with_older.fork();
            copy.alter_checkpoint(2, flip);
            let (_, recovered, found) = open(&copy).unwrap();
            assert_eq!(recovered.checkpoint.unwrap().number, 1, "bit {bit}");
            assert_eq!(found.meaning(), state.meaning(), "bit {bit}");
        }
        flips += 1;
    }
    open(&without).unwrap();
    println!("{flips} flips, all found, {:?}", started.elapsed());
}

#[test]
fn every_truncation_of_a_checkpoint_is_found() {
    let (disk, _) = closed();
    disk.remove(1);
    disk.remove_checkpoint(1);
    let mut whole = Vec::new();
    disk.alter_checkpoint(2, |file| whole.clone_from(file));
    for length in 0..whole.len() {
        disk.alter_checkpoint(2, |file| file.truncate(length));
        assert!(Recovering::open(disk.storage(), US, Durability::Sync).is_err(), "{length}");
        disk.alter_checkpoint(2, |file| file.clone_from(&whole));
    }
    disk.alter_checkpoint(2, |file| file.push(0));
    assert!(open(&disk).is_err(), "a longer file");
}

#[test]
fn any_bytes_at_all_are_read_without_panic() {
    let (disk, _) = closed();
    println!("seeds 0..3000");
    for seed in 0..3000 {
        let mut choice = Choice(seed);
        let copy = disk.fork();
        copy.alter_checkpoint(2, |bytes| {
            for _ in 0..=choice.below(20) {
                let at = usize::try_from(choice.below(12_000)).unwrap();
                let length = usize::try_from(choice.below(64)).unwrap();
                bytes[at..at + length].fill(u8::try_from(choice.below(256)).unwrap());
            }
        });
        open(&copy).unwrap();
    }
}

/// One life of a journal with checkpoints taken while records go on.
struct Life<'a> {
    disk: &'a Disk,
    journal: Journal<SimulatedStorage>,
    choice: &'a mut Choice,
    state: Counters,
    /// The meaning of the state after each number of records.
    history: Vec<Vec<(u64, u64)>>,
    committed: u64,
}

impl Life<'_> {
    fn append(&mut self) -> Position {
        let record = claim(self.state.records());
        let end = self.journal.append(&record, NOW).unwrap();
        self.state.take(end, &record);
        self.history.push(self.state.meaning());
        end
    }

    fn batch(&mut self) {
        for _ in 0..=self.choice.below(200) {
            self.append();
        }
        self.journal.commit(NOW).unwrap();
        self.committed = self.state.records();
    }

    /// Slices come between appends and batches, a few at a time.
    fn checkpoint(&mut self) {
        let Some(start) = self.journal.checkpoint_start() else { panic!("at rest") };
        let mut slices = Vec::new();
        for index in 0..COUNTERS {
            slices.push(self.state.slice(index, 0));
            match self.choice.below(4) {
                0 => self.batch(),
                1 => drop(self.append()),
                _ => {}
            }
        }
        let end = self.journal.appended();
        self.journal.commit(NOW).unwrap();
        self.committed = self.state.records();
        while self.journal.durable_upto() < end {
            self.journal.mark(NOW).unwrap();
        }
        let slices: Vec<&[u8]> = slices.iter().map(Vec::as_slice).collect();
        self.disk.checkpoint(start, end, &slices);
    }
}

/// The claim: a replay from a checkpoint in the middle of random batches gives
/// what a replay of everything gives, whatever was freed, after any crash.
#[test]
fn a_replay_from_a_checkpoint_is_a_replay_of_everything() {
    const ROUNDS: u64 = 400;
    println!("seeds 0..{ROUNDS}");
    let (mut from_checkpoint, mut freed) = (0_u32, 0_u32);
    for seed in 0..ROUNDS {
        let mut choice = Choice(seed);
        let disk = Disk::new(US, SMALL);
        let mut history = vec![Counters::default().meaning()];
        let mut committed = 0;
        let everything = choice.below(2) == 0;
        for life in 0..4 {
            let durability =
                [Durability::Sync, Durability::Os][usize::try_from(choice.below(2)).unwrap()];
            let (mut journal, recovered, state) = open_as(&disk, durability)
                .unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            let found = state.records();
            assert!(found >= committed, "seed {seed}, life {life}: {found} of {committed}");
            let index = usize::try_from(found).unwrap();
            assert_eq!(state.meaning(), history[index], "seed {seed}, life {life}");
            history.truncate(index + 1);
            from_checkpoint += u32::from(recovered.checkpoint.is_some());
            if !everything {
                journal.free_before(recovered.keep_from);
            }
            let mut life =
                Life { disk: &disk, journal, choice: &mut choice, state, history, committed };
            for _ in 0..3 {
                for _ in 0..life.choice.below(12) {
                    life.batch();
                }
                life.checkpoint();
                life.batch();
            }
            if durability == Durability::Os {
                life.journal.mark(NOW).unwrap();
            }
            Life { history, committed, .. } = life;
            freed += u32::from(!disk.contents().contains_key(&1));
            disk.crash(seed, Tearing::Pages);
        }
    }
    println!("{from_checkpoint} starts from a checkpoint, {freed} lives without segment 1");
    assert!(from_checkpoint > 1000 && freed > 100);
}
