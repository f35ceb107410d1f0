//! The names in the data directory, and the few file operations that more than
//! one part needs.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::storage::Stored;
use super::{Sequence, widen};
use crate::limits::PAGE_BYTES;

/// The file that is locked.
pub(super) const LOCK: &str = "LOCK";

/// The note that a sync failed.
pub(super) const SYNC_FAILED: &str = "sync-failed";

const SEGMENT_SUFFIX: &str = ".seg";
const UNFINISHED_SUFFIX: &str = ".seg.tmp";

/// The directory of a shard's segments.
pub(super) fn shard_path(data: &Path, shard: u16) -> PathBuf {
    data.join(format!("shard-{shard:03}"))
}

/// A segment's file.
pub(super) fn segment_path(shard: &Path, sequence: Sequence) -> PathBuf {
    shard.join(format!("{sequence:010}{SEGMENT_SUFFIX}"))
}

/// A segment's file while it is being made.
pub(super) fn unfinished_path(shard: &Path, sequence: Sequence) -> PathBuf {
    shard.join(format!("{sequence:010}{UNFINISHED_SUFFIX}"))
}

/// The shards that have a directory, ascending.
pub(super) fn shards(data: &Path) -> io::Result<Vec<u16>> {
    names(data, |name| name.strip_prefix("shard-")?.parse().ok())
}

/// The segments of a shard, ascending; none where the directory is missing.
pub(super) fn sequences(shard: &Path) -> io::Result<Vec<Sequence>> {
    names(shard, |name| sequence_of(name, SEGMENT_SUFFIX))
}

/// The segments that were not finished.
pub(super) fn unfinished(shard: &Path) -> io::Result<Vec<Sequence>> {
    names(shard, |name| sequence_of(name, UNFINISHED_SUFFIX))
}

fn sequence_of(name: &str, suffix: &str) -> Option<Sequence> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 10).then(|| digits.parse().ok())?
}

fn names<T: Ord>(directory: &Path, meaning: impl Fn(&str) -> Option<T>) -> io::Result<Vec<T>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(entry?.file_name().to_str().and_then(&meaning));
    }
    found.sort();
    Ok(found)
}

/// The first page of a file and its length.
pub(super) fn peek(path: &Path) -> io::Result<Stored> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut front = Vec::with_capacity(PAGE_BYTES);
    file.take(widen(PAGE_BYTES)).read_to_end(&mut front)?;
    Ok(Stored { front, bytes })
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
