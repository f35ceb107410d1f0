//! What readers say of journals with checkpoints: the inspector, and whoever wants all
//! that is there.

use std::fs;
use std::path::Path;

use hongbao::journal::{
    ChainEnd, Identity, Position, RecoveryError, WholeJournal, inspect, inspect::SegmentReport,
};
use hongbao::limits::PAGE_BYTES;

use crate::replica::{COUNTERS, Counters, claim};
use crate::{NOW, Open, SMALL, US, arrangement, closed, data, flip, open, rearrange, shard};

/// What a whole journal says: its arrangement, checkpoint, slices and records.
fn whole(path: &Path) -> Vec<(u32, Option<u32>, u64, u64)> {
    let journals = WholeJournal::all(path).unwrap().into_iter();
    let say = |mut journal: WholeJournal| {
        let (mut slices, mut records) = (0, 0);
        let load = |_: &[u8]| {
            slices += 1;
            Ok(1)
        };
        journal.load(load).unwrap();
        journal.each_record(|_, _| records += 1).unwrap();
        assert_eq!(journal.begin() == ChainEnd::default(), journal.checkpoint().is_none());
        (journal.arrangement(), journal.checkpoint(), slices, records)
    };
    journals.map(say).collect()
}

const SLICES: u64 = 16;

#[test]
fn who_wants_all_begins_with_the_oldest_checkpoint_where_the_beginning_is_gone() {
    let (data, _) = closed(); // checkpoints 2 and 3, with 2000 records between and 500 after
    assert_eq!(u64::try_from(COUNTERS).unwrap(), SLICES);
    assert_eq!(whole(&data.path), [(1, Some(2), SLICES, 2500)]);
    let bytes = fs::metadata(shard(&data.path).join("0000000002.ckp")).unwrap().len();
    let journal = &WholeJournal::all(&data.path).unwrap()[0];
    assert_eq!(journal.checkpoint_bytes().unwrap(), bytes);
}

#[test]
fn who_wants_all_begins_at_the_beginning_where_that_is_there() {
    let data = data();
    let mut open = open(&data.path).unwrap();
    for _ in 0..3 {
        open.write(20); // and nothing is freed
        open.checkpoint().unwrap();
    }
    drop(open);
    assert_eq!(whole(&data.path), [(1, None, 0, 6000)]);
    let report = &inspect::stat(&data.path).unwrap()[0];
    assert_eq!((report.walked_from, report.records), (None, 6000));
    let may_go = |segment: &SegmentReport| segment.base + segment.bytes <= report.keep_from.0;
    let freeable = report.segments.iter().filter(|segment| may_go(segment));
    let freeable: Vec<_> = freeable.map(|segment| segment.sequence).collect();
    assert!(freeable.len() > 1 && freeable.len() + 1 < report.segments.len(), "{freeable:?}");
    let told = report.segments.iter().filter(|segment| segment.freeable);
    assert!(told.map(|segment| segment.sequence).eq(freeable.iter().copied()));
    let bytes = u64::try_from(freeable.len() * SMALL).unwrap();
    assert_eq!(report.freeable_bytes, bytes);
}

/// The segment that is written stays, though the checkpoints are past all of it.
#[test]
fn a_segment_that_is_full_to_its_end_and_still_written_is_not_freeable() {
    const HEADERS: usize = 64;
    const CLAIM: usize = 32;
    let data = data();
    let mut open = open(&data.path).unwrap();
    for n in 0..(SMALL - 2 * PAGE_BYTES - HEADERS) / CLAIM {
        let record = claim(u64::try_from(n).unwrap());
        let end = open.journal.append(&record, NOW).unwrap();
        open.state.take(end, &record);
    }
    open.journal.commit(NOW).unwrap();
    let end = Position(u64::try_from(SMALL).unwrap());
    assert_eq!((open.journal.appended(), open.journal.segment_begin()), (end, Position(0)));
    for _ in 0..2 {
        open.checkpoint().unwrap();
    }
    drop(open);
    let report = &inspect::stat(&data.path).unwrap()[0];
    assert_eq!((report.keep_from, report.freeable_bytes), (end, 0));
}

/// A new arrangement begins with its checkpoints, before anything is written in it.
#[test]
fn a_new_arrangement_is_read_from_its_checkpoints() {
    let (data, state) = closed();
    let new = rearrange(&arrangement(&data.path), true).1.unwrap();
    assert_eq!(whole(&data.path), [(2, Some(1), SLICES, 0); 2]);
    let reports = inspect::stat(&data.path).unwrap();
    let of = |shard| Identity { cell: US.cell, shard, shards: 2 };
    let told: Vec<_> = reports.iter().map(|one| (one.identity, one.walked_from)).collect();
    assert_eq!(told, [(of(0), Some(1)), (of(1), Some(1))]);
    let mut open: Open = crate::open_shard(new, of(0)).unwrap();
    assert_eq!(open.state.meaning(), state.meaning());
    open.write(2);
    open.journal.mark(NOW).unwrap();
    drop(open);
    assert_eq!(whole(&data.path), [(2, Some(1), SLICES, 200), (2, Some(1), SLICES, 0)]);
    let reports = inspect::stat(&data.path).unwrap();
    assert_eq!((reports[0].walked_from, reports[0].records), (Some(1), 200));
}

#[test]
fn what_is_damaged_is_named_with_its_path() {
    let (data, _) = closed();
    let both = [2, 3].map(|number| shard(&data.path).join(format!("{number:010}.ckp")));
    flip(&both[0], 4100);
    let report = &inspect::stat(&data.path).unwrap()[0];
    assert_eq!(Path::new(&report.checkpoints[0].file), both[0]);
    assert!(report.checkpoints[0].checked.is_err() && report.checkpoints[1].checked.is_ok());
    flip(&both[1], 4100);
    for told in [inspect::stat(&data.path).err(), WholeJournal::all(&data.path).err()] {
        let Some(told) = told else { panic!("none is whole") };
        assert!(matches!(told, RecoveryError::NoWholeCheckpoint { .. }));
        assert!(told.to_string().contains(both[1].to_str().unwrap()), "{told}");
    }
    for path in both {
        fs::remove_file(path).unwrap();
    }
    let founded = rearrange_and_lose(&data.path);
    assert!(founded.contains("arrangement-000002/shard-000"), "{founded}");
}

/// What is told of a new arrangement whose only checkpoint is gone.
fn rearrange_and_lose(path: &Path) -> String {
    let state = Counters::default();
    let building = arrangement(path).build_next(US.cell, 1).unwrap();
    building.write_shard(0, NOW, state.slices(0)).unwrap();
    let new = building.commit().unwrap();
    fs::remove_file(new.shard_path(0).join("0000000001.ckp")).unwrap();
    WholeJournal::all(path).unwrap_err().to_string()
}
