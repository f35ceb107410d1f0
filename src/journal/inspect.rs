//! Looking at a journal without touching it: what `hb journal verify`, `dump`
//! and `stat` show.
//!
//! Nothing here writes, creates or locks anything. On a running server the last
//! batch may be seen half-written; it then shows as a torn tail.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::batch::BatchHeader;
use super::decide::Row;
use super::recovery::{Names, RecoveryError, each_record as records_of, refuse_damage};
use super::scan;
use super::storage::{SegmentBytes, Source, Stored};
use super::{Identity, Position, SegmentHeader, Sequence, files, widen};
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

fn shards(data: &Path) -> Result<Vec<Files>, RecoveryError> {
    let failed = |e| RecoveryError::io(data.display().to_string(), e);
    fs::metadata(data).map_err(failed)?;
    let shards = files::shards(data).map_err(failed)?;
    Ok(shards.into_iter().map(|s| Files { shard: files::shard_path(data, s) }).collect())
}

/// Walks one shard. A directory without segments has nothing to report.
fn report(
    files: &mut Files,
    show: &mut dyn FnMut(Position, &BatchHeader, &Record),
) -> Result<Option<ShardReport>, RecoveryError> {
    let headers = scan::headers(files, None)?;
    let Some(first) = headers.first() else { return Ok(None) };
    let identity = first.identity;
    let names = Names::of(files, &headers);
    let mut segments: BTreeMap<Sequence, SegmentReport> =
        headers.iter().map(|h| (h.sequence, empty_report(&names, h))).collect();
    let walked = scan::walk(files, &headers, &mut |segment, batch, body| {
        if let Some(report) = segments.get_mut(&segment.sequence) {
            count(report, segment, batch);
        }
        records_of(&names, segment, batch, body, &mut |position, record| {
            show(position, batch, record);
            Ok(())
        })
    })?;
    let row = refuse_damage(&names, &headers, &walked)?;
    let segments: Vec<SegmentReport> = segments.into_values().collect();
    Ok(Some(ShardReport {
        identity,
        row,
        end: walked.chain.end,
        durable_upto: walked.findings.durable_upto,
        records: segments.iter().map(|s| s.records).sum(),
        batches: segments.iter().map(|s| s.batches).sum(),
        epochs: walked.chain.epoch,
        segments,
    }))
}

fn empty_report(names: &Names, header: &SegmentHeader) -> SegmentReport {
    SegmentReport {
        file: names.name(header.sequence),
        sequence: header.sequence,
        base: header.base,
        bytes: header.segment_bytes,
        bytes_used: widen(PAGE_BYTES),
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

/// A shard's files, read whole into memory: a mapping of a file that a running
/// server writes would change under a shared reference.
struct Files {
    shard: PathBuf,
}

struct Loaded(Vec<u8>);

impl SegmentBytes for Loaded {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Source for Files {
    type Segment = Loaded;

    fn sequences(&self) -> io::Result<Vec<Sequence>> {
        files::sequences(&self.shard)
    }

    fn peek(&self, sequence: Sequence) -> io::Result<Stored> {
        files::peek(&files::segment_path(&self.shard, sequence))
    }

    fn open(&mut self, sequence: Sequence) -> io::Result<Loaded> {
        fs::read(files::segment_path(&self.shard, sequence)).map(Loaded)
    }

    fn place(&self) -> String {
        self.shard.display().to_string()
    }

    fn name(&self, sequence: Sequence) -> String {
        files::segment_path(&self.shard, sequence).display().to_string()
    }
}
