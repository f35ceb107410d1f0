//! Looking at a journal without touching it: what `hb journal verify`, `dump`
//! and `stat` show.
//!
//! Nothing here writes, creates or locks anything. On a running server the last
//! batch may be seen half-written; it then shows as a torn tail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::batch::BatchHeader;
use super::checkpoint::{CheckpointFault, CheckpointInfo, CheckpointNumber};
use super::decide::Row;
use super::read_only::{JournalFiles, LoadedSegment};
use super::recovery::{Names, each_record as records_of, refuse_damage};
use super::refusal::RecoveryError;
use super::scan::Walked;
use super::storage::Source;
use super::told::told_cursors;
use super::{Identity, Position, SegmentHeader, Sequence, arrangement, choose, files, scan, widen};
use crate::engine::Record;
use crate::limits::PAGE_BYTES;
use crate::units::Time;

/// What was found in one shard's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardReport {
    /// Whose journal it is.
    pub identity: Identity,
    /// What a start would decide about the end; refusals are errors instead.
    pub row: Row,
    /// Where the valid batches end.
    pub end: Position,
    /// The greatest position that is known to be committed.
    pub durable_upto: Position,
    /// Records in valid batches.
    pub records: u64,
    /// Valid batches.
    pub batches: u64,
    /// Runs of the server: the epoch of the last batch.
    pub epochs: u32,
    /// The segments, in order.
    pub segments: Vec<SegmentReport>,
    /// The checkpoints, in order.
    pub checkpoints: Vec<CheckpointReport>,
    /// The checkpoint that the walk began with: the oldest that is whole, so
    /// that as much as possible is verified. `None`: the journal's first batch.
    pub walked_from: Option<CheckpointNumber>,
    /// Where the older of two whole checkpoints begins; everything before it
    /// may be freed as far as no follower needs it.
    pub keep_from: Position,
    /// Bytes of segments that may be freed.
    pub freeable_bytes: u64,
    /// The cursors of followers, which hold segments back, as they last told.
    pub followers: Vec<FollowerReport>,
}

impl ShardReport {
    /// A segment that a follower has not passed is not freeable yet.
    fn hold(&mut self) {
        let passed = self.followers.iter().map(|follower| follower.cursor.0).min();
        let passed = passed.unwrap_or(u64::MAX);
        for segment in &mut self.segments {
            segment.freeable &= segment.base.saturating_add(segment.bytes) <= passed;
        }
        let freeable = self.segments.iter().filter(|segment| segment.freeable);
        self.freeable_bytes = freeable.map(|segment| segment.bytes).sum();
    }
}

/// One checkpoint file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointReport {
    /// The file.
    pub file: String,
    /// Its number.
    pub number: CheckpointNumber,
    /// What it says, or what is wrong with it.
    pub checked: Result<CheckpointInfo, CheckpointFault>,
}

/// How far a follower has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerReport {
    /// Its name.
    pub name: String,
    /// Its cursor.
    pub cursor: Position,
}

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// The file.
    pub file: String,
    /// Its number.
    pub sequence: Sequence,
    /// The position of its first byte.
    pub base: u64,
    /// Its size.
    pub bytes: u64,
    /// The header page and the pages that batches take.
    pub bytes_used: u64,
    /// Whether its batches were walked; those before the oldest whole
    /// checkpoint are not, for nothing says how their chain begins.
    pub walked: bool,
    /// Whether it lies wholly before the older of two checkpoints and before
    /// every follower's cursor.
    pub freeable: bool,
    /// Its valid batches.
    pub batches: u64,
    /// Their records.
    pub records: u64,
    /// When the first batch was sealed.
    pub first_time: Option<Time>,
    /// When the last batch was sealed.
    pub last_time: Option<Time>,
}

/// Reads every shard's journal and reports, or says what is damaged.
pub fn verify(data: &Path) -> Result<Vec<ShardReport>, RecoveryError> {
    stat(data)
}

/// The figures of every shard's journal. They need every batch to be read, so
/// this is the same walk as [`verify`].
pub fn stat(data: &Path) -> Result<Vec<ShardReport>, RecoveryError> {
    let mut reports = Vec::new();
    for mut files in shards(data)? {
        reports.extend(report(&mut files, &mut |_, _, _| {})?);
    }
    let newest = arrangement::newest(data);
    let newest = newest.map_err(|e| RecoveryError::io(data.display().to_string(), e))?;
    for report in &mut reports {
        let arrangement = newest.as_ref().map_or(0, |(number, _)| *number);
        report.followers = told_cursors(data, arrangement, report.identity.shard);
        report.hold();
    }
    Ok(reports)
}

/// Shows every record of every shard, in order, with the position it starts at
/// and its batch. What comes before damage is shown before the error.
pub fn each_record(
    data: &Path,
    mut show: impl FnMut(Position, &BatchHeader, &Record),
) -> Result<(), RecoveryError> {
    for mut files in shards(data)? {
        report(&mut files, &mut show)?;
    }
    Ok(())
}

fn shards(data: &Path) -> Result<Vec<JournalFiles>, RecoveryError> {
    let failed = |e| RecoveryError::io(data.display().to_string(), e);
    fs::metadata(data).map_err(failed)?;
    let Some((number, path)) = arrangement::newest(data).map_err(failed)? else {
        return Ok(Vec::new());
    };
    let shards = files::shards(&path).map_err(failed)?;
    let files = |shard| JournalFiles::new(files::shard_path(&path, shard), number > 1, None);
    Ok(shards.into_iter().map(files).collect())
}

/// Walks one shard. A directory without files has nothing to report.
fn report(
    files: &mut JournalFiles,
    show: &mut dyn FnMut(Position, &BatchHeader, &Record),
) -> Result<Option<ShardReport>, RecoveryError> {
    let checkpoints = checkpoints(files)?;
    let found = scan::every_header(files)?;
    let chosen = choose::checkpoint(files, None)?; // refuses what a start refuses
    let whole_journal = found.first().is_some_and(|(s, _)| *s == 1) && !files.founded();
    let begin = if whole_journal { None } else { choose::oldest(files, &chosen)? };
    let from = scan::From {
        chain: begin.map(|(chain, _)| chain).unwrap_or_default(),
        checkpoint_end: chosen.from.checkpoint_end,
    };
    let headers = scan::headers(files, None, from.chain.end)?;
    let identity = headers.first().map(|h| h.identity).or(chosen.identity());
    let Some(identity) = identity else { return Ok(None) };
    let found = found.iter().filter_map(|(_, header)| header.as_ref().ok());
    let mut segments: Segments = found.map(|h| (h.sequence, empty_report(files, h))).collect();
    let (walked, row) = walk(files, &headers, from, &mut segments, show)?;
    let keep_from = keep_from(&checkpoints);
    let current = walked.tail.first().map_or(0, |(header, _)| header.sequence);
    for segment in segments.values_mut() {
        let end = segment.base.saturating_add(segment.bytes);
        segment.freeable = end <= keep_from.0 && segment.sequence < current;
    }
    let segments: Vec<SegmentReport> = segments.into_values().collect();
    Ok(Some(ShardReport {
        identity,
        row,
        end: walked.chain.end,
        durable_upto: walked.findings.durable_upto.max(walked.findings.checkpoint_end),
        records: segments.iter().map(|s| s.records).sum(),
        batches: segments.iter().map(|s| s.batches).sum(),
        epochs: walked.chain.epoch,
        walked_from: begin.map(|(_, number)| number),
        freeable_bytes: segments.iter().filter(|s| s.freeable).map(|s| s.bytes).sum(),
        segments,
        checkpoints,
        keep_from,
        followers: Vec::new(),
    }))
}

type Segments = BTreeMap<Sequence, SegmentReport>;

/// Counts and shows every batch, and decides about the end as a start does.
fn walk(
    files: &mut JournalFiles,
    headers: &[SegmentHeader],
    from: scan::From,
    segments: &mut Segments,
    show: &mut dyn FnMut(Position, &BatchHeader, &Record),
) -> Result<(Walked<LoadedSegment>, Row), RecoveryError> {
    let names = Names::of(files, headers);
    for header in headers {
        segments.entry(header.sequence).and_modify(|report| report.walked = true);
    }
    let walked = scan::walk(files, headers, from, &mut |segment, batch, body| {
        if let Some(report) = segments.get_mut(&segment.sequence) {
            count(report, segment, batch);
        }
        records_of(&names, segment, batch, body, &mut |position, record| {
            show(position, batch, record);
            Ok(())
        })
    })?;
    let row = refuse_damage(&names, headers, &walked)?;
    Ok((walked, row))
}

/// Every checkpoint, read to its last byte.
fn checkpoints(files: &JournalFiles) -> Result<Vec<CheckpointReport>, RecoveryError> {
    let numbers = files.checkpoints().map_err(|e| RecoveryError::io(files.place(), e))?;
    let mut keep_from = Position(0);
    let mut report = |number| {
        let examined = choose::examine_one(files, number, None);
        let checked = examined.map(|one| one.info(keep_from)).map_err(|(fault, _)| fault);
        keep_from = checked.as_ref().map_or(keep_from, |info| info.began);
        CheckpointReport { file: files.checkpoint_name(number), number, checked }
    };
    Ok(numbers.into_iter().map(&mut report).collect())
}

/// Where the second newest whole checkpoint begins; 0 without two.
fn keep_from(checkpoints: &[CheckpointReport]) -> Position {
    let mut whole = checkpoints.iter().rev().filter_map(|c| c.checked.as_ref().ok());
    whole.nth(1).map_or(Position(0), |older| older.began)
}

fn empty_report(files: &JournalFiles, header: &SegmentHeader) -> SegmentReport {
    SegmentReport {
        file: files.name(header.sequence),
        sequence: header.sequence,
        base: header.base,
        bytes: header.segment_bytes,
        bytes_used: widen(PAGE_BYTES),
        walked: false,
        freeable: false,
        batches: 0,
        records: 0,
        first_time: None,
        last_time: None,
    }
}

fn count(report: &mut SegmentReport, segment: &SegmentHeader, batch: &BatchHeader) {
    report.bytes_used = scan::bytes_used(segment, batch.end());
    report.batches += 1;
    report.records += u64::from(batch.records);
    report.first_time.get_or_insert(batch.time);
    report.last_time = Some(batch.time);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(sequence: Sequence, freeable: bool) -> SegmentReport {
        SegmentReport {
            file: String::new(),
            sequence,
            base: 1000 * u64::from(sequence - 1),
            bytes: 1000,
            bytes_used: 1000,
            walked: true,
            freeable,
            batches: 1,
            records: 1,
            first_time: None,
            last_time: None,
        }
    }

    #[test]
    fn the_slowest_follower_holds_what_it_has_not_passed() {
        let segments =
            vec![segment(1, true), segment(2, true), segment(3, true), segment(4, false)];
        let freeable = |cursors: &[u64]| {
            let follower =
                |cursor: &u64| FollowerReport { name: String::new(), cursor: Position(*cursor) };
            let mut report = ShardReport {
                identity: Identity { cell: 1, shard: 0, shards: 1 },
                row: Row::CleanEnd,
                end: Position(4000),
                durable_upto: Position(4000),
                records: 4,
                batches: 4,
                epochs: 1,
                segments: segments.clone(),
                checkpoints: Vec::new(),
                walked_from: None,
                keep_from: Position(3000),
                freeable_bytes: 0,
                followers: cursors.iter().map(follower).collect(),
            };
            report.hold();
            let all = report.segments.iter().map(|segment| u64::from(segment.freeable) * 1000);
            assert_eq!(report.freeable_bytes, all.sum::<u64>());
            report.freeable_bytes
        };
        assert_eq!(freeable(&[]), 3000, "nobody holds anything");
        assert_eq!(freeable(&[9000, 2000]), 2000, "the second is passed to its last byte");
        assert_eq!([freeable(&[1999]), freeable(&[0]), freeable(&[5000])], [1000, 0, 3000]);
    }
}
