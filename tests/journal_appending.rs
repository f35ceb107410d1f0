//! Where a writer puts what it is given, to the byte: batches, pages, the ends of
//! segments, and what it counts of it. On the simulated disk.
#![allow(clippy::unwrap_used)] // also in the functions that tests share

use hongbao::engine::{Claimed, Record};
use hongbao::journal::simulated::{Disk, SimulatedStorage};
use hongbao::journal::{
    BATCH_HEADER_BYTES, Identity, Journal, JournalStats, Position, Recovering, RecoveryError,
};
use hongbao::limits::PAGE_BYTES;
use hongbao::units::{Durability, EnvelopeId, Time, UserId};

const US: Identity = Identity { cell: 1, shard: 0, shards: 1 };
const SEGMENT: usize = 64 << 10;
const NOW: Time = Time(1_700_000_000_000);
/// The bytes of a claim's record.
const CLAIM: usize = 32;
/// The claims of a batch that takes all of a segment behind its header page.
const CLAIMS_OF_A_SEGMENT: usize = (SEGMENT - PAGE_BYTES - BATCH_HEADER_BYTES) / CLAIM;
/// The same of the first segment, where the first batch of the epoch has a page.
const CLAIMS_OF_THE_FIRST: usize = (SEGMENT - 2 * PAGE_BYTES - BATCH_HEADER_BYTES) / CLAIM;

fn claim(n: usize) -> Record {
    Record::Claimed(Claimed {
        envelope: EnvelopeId::new(1, 2, 3, 4),
        user: UserId(u64::try_from(n).unwrap()),
        amount: 100,
        rank: 0,
        at: 1_700_000_000,
    })
}

fn open_as(disk: &Disk, durability: Durability) -> Journal<SimulatedStorage> {
    let recovering = Recovering::open(disk.storage(), US, durability).unwrap();
    recovering.replay(NOW, |_| Ok(())).unwrap().0
}

fn users(disk: &Disk) -> Result<Vec<u64>, RecoveryError> {
    let mut users = Vec::new();
    let recovering = Recovering::open(disk.storage(), US, Durability::Sync)?;
    recovering.replay(NOW, |record| {
        if let Record::Claimed(claimed) = record {
            users.push(claimed.user.0);
        }
        Ok(())
    })?;
    Ok(users)
}

/// A new journal that stands at the first batch of its second segment, whose pages are
/// all free: nothing but records was written to it.
fn at_a_whole_segment(disk: &Disk) -> Journal<SimulatedStorage> {
    let mut journal = open_as(disk, Durability::Sync);
    let mut n = 0;
    while journal.segment_begin() == Position(0) {
        journal.append(&claim(n), NOW).unwrap();
        n += 1;
    }
    journal
}

fn position(segment: usize, offset: usize) -> Position {
    Position(u64::try_from(segment * SEGMENT + offset).unwrap())
}

#[test]
fn a_segment_is_filled_to_its_last_byte() {
    let disk = Disk::new(US, SEGMENT);
    let mut journal = at_a_whole_segment(&disk);
    let mut end = journal.appended(); // the one that did not fit before
    assert_eq!(end, position(1, PAGE_BYTES + BATCH_HEADER_BYTES + CLAIM));
    for n in 1..CLAIMS_OF_A_SEGMENT {
        end = journal.append(&claim(n), NOW).unwrap();
    }
    assert_eq!((end, journal.segment_begin()), (position(2, 0), position(1, 0)));
    end = journal.append(&claim(0), NOW).unwrap();
    assert_eq!(end, position(2, PAGE_BYTES + BATCH_HEADER_BYTES + CLAIM));
    assert_eq!((journal.segment_begin(), journal.uncommitted()), (position(2, 0), 1));
}

#[test]
fn a_position_is_a_number_and_told_as_that() {
    assert_eq!(
        (u64::from(Position(70_000)), Position(70_000).to_string()),
        (70_000, "70000".into())
    );
}

#[test]
fn records_that_belong_together_are_never_parted() {
    for (room, segment) in [(3, 1), (2, 2), (1, 2), (0, 2)] {
        let disk = Disk::new(US, SEGMENT);
        let mut journal = at_a_whole_segment(&disk);
        for n in 1..CLAIMS_OF_A_SEGMENT - room {
            journal.append(&claim(n), NOW).unwrap();
        }
        journal.append_together((7..10).map(claim), NOW).unwrap();
        assert_eq!(journal.segment_begin(), position(segment, 0), "room for {room}");
        let behind = if segment == 1 { CLAIMS_OF_A_SEGMENT } else { 3 };
        let end = PAGE_BYTES + BATCH_HEADER_BYTES + CLAIM * behind;
        assert_eq!(journal.appended(), position(segment, end));
        journal.mark(NOW).unwrap();
        drop(journal);
        assert!(users(&disk).unwrap().ends_with(&[7, 8, 9]));
    }
}

#[test]
fn a_mark_has_its_place_in_the_next_segment_where_one_is_full() {
    for (claims, segment) in [(CLAIMS_OF_A_SEGMENT, 2), (1, 1)] {
        let disk = Disk::new(US, SEGMENT);
        let mut journal = at_a_whole_segment(&disk);
        for n in 1..claims {
            journal.append(&claim(n), NOW).unwrap();
        }
        journal.commit(NOW).unwrap();
        assert_eq!((journal.segment_begin(), journal.mark_wanted()), (position(1, 0), true));
        let marks = journal.stats().marks;
        journal.mark(NOW).unwrap();
        assert_eq!((journal.segment_begin(), journal.mark_wanted()), (position(segment, 0), false));
        assert_eq!(journal.stats().marks, marks + 1);
        journal.mark(NOW).unwrap();
        assert_eq!(journal.stats().marks, marks + 1, "there is nothing left to cover");
        drop(journal);
        assert_eq!(users(&disk).unwrap().len(), CLAIMS_OF_THE_FIRST + claims);
    }
}

#[test]
fn a_commit_that_was_begun_has_ended_when_its_sync_has() {
    let disk = Disk::new(US, SEGMENT);
    disk.overlap_syncs();
    let mut journal = open_as(&disk, Durability::Sync);
    let mut looks = 0;
    for n in 0..5 {
        assert!(journal.commit_has_ended() && !journal.is_committing());
        journal.append(&claim(n), NOW).unwrap();
        assert_eq!(journal.begin_commit(NOW).unwrap(), None);
        assert!(journal.is_committing());
        while !journal.commit_has_ended() {
            looks += 1;
            assert!(looks < 100, "it never ends");
        }
        assert_eq!(journal.end_commit().unwrap().upto(), journal.appended());
    }
    assert!(looks > 0, "it had ended each time as it was begun");
}

/// Under `os` a full segment is synced in the background. As long as that has not been
/// done nothing behind it counts as durable, whatever is synced of the next.
#[test]
fn under_os_nothing_is_durable_behind_a_segment_that_is_not() {
    for is_synced in [true, false] {
        let disk = Disk::new(US, SEGMENT);
        let mut journal = open_as(&disk, Durability::Os);
        journal.append(&claim(0), NOW).unwrap();
        journal.commit(NOW).unwrap();
        journal.mark(NOW).unwrap();
        let durable = journal.durable_upto();
        assert_eq!(durable, journal.appended(), "with the mark");
        if !is_synced {
            disk.retire_late();
        }
        for n in 0..CLAIMS_OF_A_SEGMENT {
            journal.append(&claim(n), NOW).unwrap();
        }
        assert_eq!(journal.segment_begin(), position(1, 0));
        journal.commit(NOW).unwrap();
        journal.mark(NOW).unwrap();
        let expected = if is_synced { journal.appended() } else { durable };
        assert_eq!(journal.durable_upto(), expected);
        assert_eq!(journal.has_retired().unwrap(), is_synced);
    }
}

#[test]
fn a_segment_that_has_no_room_ahead_is_told_before_it_is_needed() {
    let disk = Disk::new(US, SEGMENT);
    let mut journal = open_as(&disk, Durability::Sync);
    assert!(!journal.lacks_room());
    disk.segments_max(Some(2)); // both are there
    while journal.segment_begin() == Position(0) {
        journal.append(&claim(1), NOW).unwrap();
    }
    assert!(journal.lacks_room());
}

#[test]
fn it_counts_the_bytes_of_records_and_the_pages_they_take() {
    let disk = Disk::new(US, SEGMENT);
    let mut journal = open_as(&disk, Durability::Sync);
    let header = u64::try_from(BATCH_HEADER_BYTES).unwrap();
    let (claim_bytes, page) = (u64::try_from(CLAIM).unwrap(), u64::try_from(PAGE_BYTES).unwrap());
    let mut expected =
        JournalStats { marks: 1, bytes: header, page_bytes: page, ..Default::default() };
    assert_eq!(journal.stats(), expected, "the first batch of an epoch");
    for (records, pages) in [(1_u64, 1_u64), (126, 1), (127, 2), (300, 3)] {
        for n in 0..usize::try_from(records).unwrap() {
            assert_eq!(u64::from(journal.uncommitted()), u64::try_from(n).unwrap());
            journal.append(&claim(n), NOW).unwrap();
        }
        journal.commit(NOW).unwrap();
        assert_eq!(journal.uncommitted(), 0);
        expected.records += records;
        expected.commits += 1;
        expected.bytes += header + claim_bytes * records;
        expected.page_bytes += page * pages;
        assert_eq!(journal.stats(), expected, "{records} records");
    }
    journal.commit(NOW).unwrap();
    assert_eq!(journal.stats(), expected, "nothing was appended");
    journal.mark(NOW).unwrap();
    (expected.marks, expected.bytes) = (2, expected.bytes + header);
    expected.page_bytes += page;
    assert_eq!(journal.stats(), expected);
    for n in 0..2 * CLAIMS_OF_A_SEGMENT {
        journal.append(&claim(n), NOW).unwrap();
    }
    assert_eq!(journal.stats().rolls, 2);
}

/// Under `os` a full segment is on its way to the disk while the next is written. What
/// lies behind it is not durable before it is.
#[test]
fn nothing_is_durable_before_the_segment_in_front_of_it() {
    let disk = Disk::new(US, SEGMENT);
    let mut journal = open_as(&disk, Durability::Os);
    journal.append(&claim(0), NOW).unwrap();
    journal.commit(NOW).unwrap();
    let first = journal.appended();
    assert!(journal.durable_upto() < first);
    journal.mark(NOW).unwrap();
    assert!(journal.durable_upto() >= first);
}
