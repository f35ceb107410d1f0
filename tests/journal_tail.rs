//! A reader beside a running journal sees every committed record once, in
//! order, never one that is not committed, and notices whatever does not follow.
#![allow(clippy::unwrap_used)] // also in the functions that tests share

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hongbao::engine::{Cause, Claimed, Closed, Record};
use hongbao::journal::{
    Arrangement, ChainEnd, Directory, Identity, Journal, MmapStorage, Position, Recovering,
    RecoveryError, Tail, TailError, WholeJournal, inspect,
};
use hongbao::limits::PAGE_BYTES;
use hongbao::units::{Durability, EnvelopeId, Time, UserId};

const US: Identity = Identity { cell: 1, shard: 0, shards: 1 };
const SMALL: usize = 64 << 10;
const NOW: Time = Time(1_700_000_000_000);

/// A generator for the tests' own choices (splitmix64); its seed is printed.
struct Choice(u64);

impl Choice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Records of two lengths, each with its number.
fn record(n: u64) -> Record {
    let envelope = EnvelopeId::new(1, 2, 3, 4);
    if n.is_multiple_of(5) {
        let (sender, cause) = (UserId(n), Cause::Expired);
        return Record::Closed(Closed {
            envelope,
            sender,
            refunded: n,
            held: 0,
            cause,
            at: 1_700_000_000,
        });
    }
    Record::Claimed(Claimed { envelope, user: UserId(n), amount: 1, rank: 0, at: 1_700_000_000 })
}

type Place = (u64, u32, Record);

struct Data {
    _guard: tempfile::TempDir,
    path: PathBuf,
}

fn data() -> Data {
    let guard = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = guard.path().join("data");
    Data { _guard: guard, path }
}

fn arrangement(path: &Path) -> Arrangement {
    let directory = Directory::open(path, SMALL, 1).unwrap();
    Arrangement::current_or_first(&directory, 1).unwrap()
}

fn open(arrangement: &Arrangement, durability: Durability) -> Journal<MmapStorage> {
    let storage = MmapStorage::new(arrangement, US, SMALL, None).unwrap();
    Recovering::open(storage, US, durability).unwrap().replay(NOW, |_| Ok(())).unwrap().0
}

fn append(journal: &mut Journal<MmapStorage>, from: &mut u64, records: u64) {
    for _ in 0..records {
        journal.append(&record(*from), NOW).unwrap();
        *from += 1;
    }
}

fn committed(journal: &Journal<MmapStorage>) -> Position {
    journal.checkpoint_start().unwrap().position()
}

fn tail(arrangement: &Arrangement, from: ChainEnd) -> Tail {
    Tail::new(arrangement.source(0), US, from)
}

fn read(tail: &mut Tail, upto: Position, max: usize) -> Result<Vec<Place>, TailError> {
    let mut found = Vec::new();
    let take = &mut |batch: Position, index, record| found.push((batch.0, index, record));
    let records = tail.read(upto, max, take)?;
    assert_eq!(records, found.len());
    Ok(found)
}

/// Every record as a walk through whole segments finds it.
fn naive(path: &Path) -> Vec<Place> {
    let (mut found, mut last) = (Vec::new(), (0, 0));
    inspect::each_record(path, |_, batch, record| {
        last =
            if last.0 == batch.position.0 { (last.0, last.1 + 1) } else { (batch.position.0, 0) };
        found.push((last.0, last.1, *record));
    })
    .unwrap();
    found
}

/// Several segments, closed as a drain does, and where it ends.
fn closed(path: &Path) -> (Arrangement, Position) {
    let arrangement = arrangement(path);
    let mut journal = open(&arrangement, Durability::Sync);
    let mut next = 0;
    for _ in 0..60 {
        append(&mut journal, &mut next, 100);
        journal.commit(NOW).unwrap();
    }
    journal.mark(NOW).unwrap();
    let end = journal.durable_upto();
    (arrangement, end)
}

fn segment(path: &Path, sequence: u32) -> PathBuf {
    path.join(format!("arrangement-000001/shard-000/{sequence:010}.seg"))
}

#[test]
fn it_sees_what_a_walk_through_the_whole_journal_sees() {
    println!("seeds 0..12");
    for seed in 0..12 {
        let mut choice = Choice(seed);
        let data = data();
        let arrangement = arrangement(&data.path);
        let durability = if seed % 3 == 0 { Durability::Os } else { Durability::Sync };
        let mut reader = tail(&arrangement, ChainEnd::beginning(1));
        let (mut seen, mut next) = (Vec::new(), 0);
        for _ in 0..3 {
            let mut journal = open(&arrangement, durability);
            for _ in 0..60 {
                let records = choice.below(400);
                append(&mut journal, &mut next, records);
                match choice.below(4) {
                    0 => journal.mark(NOW).unwrap(),
                    1 => drop(journal.begin_commit(NOW).unwrap()),
                    _ => drop(journal.commit(NOW).unwrap()),
                }
                let upto = committed(&journal);
                let max = usize::try_from(1 + choice.below(900)).unwrap();
                seen.extend(read(&mut reader, upto, max).unwrap());
                assert!(reader.end().position <= upto, "seed {seed}");
                if choice.below(10) == 0 {
                    reader = tail(&arrangement, reader.end());
                }
            }
            journal.commit(NOW).unwrap();
            let upto = committed(&journal);
            seen.extend(read(&mut reader, upto, usize::MAX).unwrap());
            reader.sync().unwrap();
            assert_eq!(reader.end().position, upto, "seed {seed}");
        }
        assert!(seen == naive(&data.path), "seed {seed}: {} records", seen.len());
        assert_eq!(u64::try_from(seen.len()).unwrap(), next, "seed {seed}");
    }
}

#[test]
fn it_never_goes_beyond_what_is_committed() {
    println!("seed 7");
    let mut choice = Choice(7);
    let data = data();
    let (arrangement, end) = closed(&data.path);
    let all = naive(&data.path);
    for _ in 0..300 {
        // Any position: also one inside a batch, or in the room between two.
        let upto = Position(choice.below(end.0 + 1));
        let mut reader = tail(&arrangement, ChainEnd::default());
        let seen = read(&mut reader, upto, usize::MAX).unwrap();
        assert!(reader.end().position <= upto);
        assert_eq!(seen, all[..seen.len()]);
        let rest = read(&mut reader, end, usize::MAX).unwrap();
        assert_eq!(rest, all[seen.len()..], "upto {upto}");
    }
}

#[test]
fn it_keeps_pace_with_a_writer_on_another_thread() {
    const RECORDS: u64 = 40_000;
    let data = data();
    let arrangement = arrangement(&data.path);
    let upto = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let written = scope.spawn(|| {
            let mut journal = open(&arrangement, Durability::Sync);
            let mut next = 0;
            while next < RECORDS {
                let records = 1 + next % 130;
                append(&mut journal, &mut next, records);
                journal.commit(NOW).unwrap();
                upto.store(committed(&journal).0, Ordering::Release);
            }
            next
        });
        let mut reader = tail(&arrangement, ChainEnd::default());
        let mut seen = 0;
        loop {
            let done = written.is_finished();
            let here = Position(upto.load(Ordering::Acquire));
            for (_, _, found) in read(&mut reader, here, usize::MAX).unwrap() {
                assert_eq!(found, record(seen));
                seen += 1;
            }
            if done && reader.end().position == Position(upto.load(Ordering::Acquire)) {
                break;
            }
        }
        assert_eq!(seen, written.join().unwrap());
    });
}

#[test]
fn damage_is_an_error_with_its_file_and_offset() {
    println!("seed 11");
    let mut choice = Choice(11);
    let data = data();
    let (arrangement, end) = closed(&data.path);
    let path = segment(&data.path, 2);
    let sound = fs::read(&path).unwrap();
    for _ in 0..200 {
        // Batches of 100 records take a page; the rest of it is not looked at.
        let page = 1 + choice.below(14);
        let offset = page * 4096 + choice.below(3000);
        let mut bytes = sound.clone();
        bytes[usize::try_from(offset).unwrap()] ^= 1 << choice.below(8);
        fs::write(&path, bytes).unwrap();
        let mut reader = tail(&arrangement, ChainEnd::default());
        let error = read(&mut reader, end, usize::MAX).unwrap_err();
        let TailError::Broken { file, offset: at, after } = &error else { panic!("{error}") };
        assert_eq!((file.as_str(), *at), (path.to_str().unwrap(), page * 4096), "{offset}");
        assert_eq!(*after, reader.end().position);
        assert!(!error.to_string().contains('\n'));
    }
    fs::write(&path, sound).unwrap();
    read(&mut tail(&arrangement, ChainEnd::default()), end, usize::MAX).unwrap();
}

#[test]
fn another_history_is_noticed_at_the_next_batch() {
    let data = data();
    let (arrangement, end) = closed(&data.path);
    let mut reader = tail(&arrangement, ChainEnd::default());
    read(&mut reader, Position(end.0 / 2), usize::MAX).unwrap();
    let here = reader.end();
    tail(&arrangement, here).check(end).unwrap();
    let others = [
        ChainEnd { checksum: here.checksum ^ 1, ..here },
        ChainEnd { batch: here.batch + 1, ..here },
        ChainEnd { epoch: here.epoch + 2, ..here },
        ChainEnd { position: Position(here.position.0 - 32), ..here },
    ];
    for other in others {
        let refused = tail(&arrangement, other).check(end);
        assert!(matches!(refused, Err(TailError::Broken { .. })), "{other:?}: {refused:?}");
    }
    let refused = tail(&arrangement, ChainEnd::beginning(2)).check(end);
    assert!(matches!(refused, Err(TailError::Broken { .. })), "{refused:?}");
}

#[test]
fn a_freed_beginning_is_told_with_what_to_do() {
    let data = data();
    let (arrangement, end) = closed(&data.path);
    let mut reader = tail(&arrangement, ChainEnd::default());
    read(&mut reader, Position(end.0 / 2), usize::MAX).unwrap();
    fs::remove_file(segment(&data.path, 1)).unwrap();
    let error = tail(&arrangement, ChainEnd::default()).check(end).unwrap_err();
    let TailError::Shortened { first, needed, .. } = error else { panic!("{error}") };
    assert_eq!((first.0, needed.0), (65536, 0));
    assert!(error.to_string().contains("ledger = none"), "{error}");
    // Whoever is past it does not miss it.
    let rest = read(&mut tail(&arrangement, reader.end()), end, usize::MAX).unwrap();
    assert!(!rest.is_empty());
}

#[test]
fn a_missing_or_foreign_segment_is_told() {
    let data = data();
    let (arrangement, end) = closed(&data.path);
    let other = Tail::new(arrangement.source(0), Identity { cell: 2, ..US }, ChainEnd::default())
        .check(end)
        .unwrap_err();
    assert!(other.to_string().contains("cell 1"), "{other}");
    fs::remove_file(segment(&data.path, 2)).unwrap();
    let gone = read(&mut tail(&arrangement, ChainEnd::default()), end, usize::MAX).unwrap_err();
    assert!(gone.to_string().contains("0000000002.seg"), "{gone}");
    let is_missing = |error: &TailError| {
        matches!(error, TailError::Unreadable(RecoveryError::MissingSegment { .. }))
    };
    assert!(is_missing(&gone), "{gone}");
    for sequence in (1..99).filter(|sequence| segment(&data.path, *sequence).exists()) {
        fs::remove_file(segment(&data.path, sequence)).unwrap();
    }
    let mut reader = tail(&arrangement, ChainEnd::default());
    reader.check(Position(0)).expect("nothing is asked of it");
    assert!(is_missing(&reader.check(end).unwrap_err()));
}

/// Records that stay together leave the rest of a segment as it was made.
#[test]
fn pages_that_were_never_written_are_passed_over_and_a_whole_segment_is_not() {
    let data = data();
    let arrangement = arrangement(&data.path);
    let mut journal = open(&arrangement, Durability::Sync);
    let mut next = 0;
    append(&mut journal, &mut next, 1500);
    journal.commit(NOW).unwrap();
    let left = SMALL - usize::try_from(journal.appended().0).unwrap();
    assert!(left > PAGE_BYTES && left < 400 * 32, "{left} bytes are left");
    journal.append_together((next..next + 400).map(record), NOW).unwrap();
    next += 400;
    append(&mut journal, &mut next, 3000);
    journal.mark(NOW).unwrap();
    let end = committed(&journal);
    drop(journal);
    let all = read(&mut tail(&arrangement, ChainEnd::default()), end, usize::MAX).unwrap();
    assert!(u64::try_from(all.len()).unwrap() == next && all == naive(&data.path));
    let mut blank = fs::read(segment(&data.path, 2)).unwrap();
    blank[PAGE_BYTES..].fill(0);
    fs::write(segment(&data.path, 2), blank).unwrap();
    let broken = read(&mut tail(&arrangement, ChainEnd::default()), end, usize::MAX).unwrap_err();
    assert!(matches!(broken, TailError::Broken { .. }), "{broken}");
    assert!(broken.to_string().contains("0000000002.seg"), "{broken}");
}

fn read_whole(reader: &mut Tail) -> Vec<Place> {
    let mut found = Vec::new();
    let take = &mut |batch: Position, index, record| found.push((batch.0, index, record));
    assert_eq!(reader.read_whole(take).unwrap(), found.len());
    found
}

#[test]
fn a_look_at_a_running_journal_sees_whole_batches_and_goes_on_from_there() {
    println!("seeds 0..3");
    for seed in 0..3 {
        let mut choice = Choice(seed);
        let data = data();
        let arrangement = arrangement(&data.path);
        let mut journal = open(&arrangement, Durability::Sync);
        let mut reader = WholeJournal::all(&data.path).unwrap().remove(0).tail();
        assert!(read_whole(&mut reader).is_empty());
        let (mut seen, mut next) = (Vec::new(), 0);
        for _ in 0..100 {
            let records = choice.below(200);
            let rolls = journal.stats().rolls;
            append(&mut journal, &mut next, records);
            let mut new = read_whole(&mut reader);
            let is_split = journal.stats().rolls > rolls; // the end of a segment commits
            assert!(is_split || new.is_empty(), "seed {seed}: they are not committed");
            journal.commit(NOW).unwrap();
            new.extend(read_whole(&mut reader));
            assert_eq!(u64::try_from(new.len()).unwrap(), records, "seed {seed}");
            seen.extend(new);
            assert_eq!(reader.end().position, journal.appended(), "seed {seed}");
        }
        assert!(journal.stats().rolls > 2, "seed {seed}");
        drop(journal);
        assert!(seen == naive(&data.path), "seed {seed}");
    }
}

/// A batch whose records are not there yet, as when it is looked at while it is written.
#[test]
fn half_a_batch_is_not_there_yet() {
    let data = data();
    let (_arrangement, end) = closed(&data.path);
    let all = naive(&data.path);
    let mut reader = WholeJournal::all(&data.path).unwrap().remove(0).tail();
    let last = segment(&data.path, last_segment(&data.path));
    let whole = fs::read(&last).unwrap();
    let (batch, ..) = *all.last().unwrap();
    let offset = usize::try_from(batch).unwrap() % SMALL; // every segment is as long
    let mut half = whole.clone();
    half[offset + 200] ^= 1;
    fs::write(&last, &half).unwrap();
    let before = all.iter().filter(|(at, ..)| *at < batch).count();
    assert_eq!(read_whole(&mut reader).len(), before);
    assert_eq!(read_whole(&mut reader).len(), 0);
    fs::write(&last, &whole).unwrap();
    assert_eq!(read_whole(&mut reader).len(), all.len() - before);
    assert_eq!(reader.end().position, end);
}

/// The last segment that is written; one is made ahead of it.
fn last_segment(path: &Path) -> u32 {
    (1..99).take_while(|sequence| segment(path, *sequence).exists()).last().unwrap() - 1
}

#[test]
fn a_whole_journal_says_what_it_is_and_shows_every_record() {
    let data = data();
    assert!(WholeJournal::all(&data.path).is_err(), "nothing is there");
    fs::create_dir(&data.path).unwrap();
    assert!(WholeJournal::all(&data.path).unwrap().is_empty(), "nothing was ever written");
    let (_arrangement, end) = closed(&data.path);
    let mut journals = WholeJournal::all(&data.path).unwrap();
    assert_eq!(journals.len(), 1);
    let journal = &mut journals[0];
    assert_eq!((journal.identity(), journal.arrangement()), (US, 1));
    assert_eq!((journal.begin(), journal.checkpoint()), (ChainEnd::beginning(1), None));
    assert_eq!(journal.checkpoint_bytes().unwrap(), 0);
    let segments = u64::from(last_segment(&data.path) + 1);
    assert_eq!(journal.bytes().unwrap(), segments * u64::try_from(SMALL).unwrap());
    journal.load(|_| panic!("there is no checkpoint")).unwrap();
    let mut shown = Vec::new();
    let ended = journal.each_record(|batch, record| shown.push((batch.position.0, *record)));
    assert_eq!(ended.unwrap(), end);
    let expected = naive(&data.path).into_iter().map(|(at, _, record)| (at, record));
    assert!(shown.into_iter().eq(expected));
}

#[test]
fn a_read_ends_with_the_batch_that_has_enough() {
    let data = data();
    let (arrangement, end) = closed(&data.path); // batches of 100 records, and a mark
    let mut reader = tail(&arrangement, ChainEnd::beginning(1));
    assert_eq!(read(&mut reader, end, 0).unwrap(), []);
    assert_eq!(read(&mut reader, Position(0), 9).unwrap(), []);
    for (max, found) in [(100, 100), (101, 200), (1, 100), (99, 100)] {
        assert_eq!(read(&mut reader, end, max).unwrap().len(), found, "at least {max}");
    }
    read(&mut reader, end, usize::MAX).unwrap();
    assert_eq!(reader.end().position, end, "to the mark, which is a header only");
    reader.check(end).unwrap();
}

#[test]
fn a_chain_begins_with_its_arrangement() {
    assert_eq!(ChainEnd::beginning(1), ChainEnd::default());
    assert_ne!(ChainEnd::beginning(2), ChainEnd::default());
    assert_ne!(ChainEnd::beginning(2), ChainEnd::beginning(3));
}
