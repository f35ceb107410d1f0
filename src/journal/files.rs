//! The names in the data directory, and the few file operations that more than
//! one part needs.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;

use super::checkpoint::CheckpointNumber;
use super::storage::{ReadAt, Stored};
use super::{Sequence, widen};
use crate::limits::PAGE_BYTES;

/// The file that is locked.
pub(super) const LOCK: &str = "LOCK";

/// The note that a sync failed.
pub(super) const SYNC_FAILED: &str = "sync-failed";

const SEGMENT_SUFFIX: &str = ".seg";
const UNFINISHED_SUFFIX: &str = ".seg.tmp";

const CHECKPOINT_SUFFIX: &str = ".ckp";
const UNFINISHED_CHECKPOINT_SUFFIX: &str = ".ckp.tmp";
const ARRANGEMENT_PREFIX: &str = "arrangement-";
const UNFINISHED_ARRANGEMENT_SUFFIX: &str = ".tmp";

/// The directory of an arrangement.
pub(super) fn arrangement_path(data: &Path, number: u32) -> PathBuf {
    data.join(format!("{ARRANGEMENT_PREFIX}{number:06}"))
}

/// The directory of an arrangement while it is being built.
pub(super) fn unfinished_arrangement_path(data: &Path, number: u32) -> PathBuf {
    data.join(format!("{ARRANGEMENT_PREFIX}{number:06}{UNFINISHED_ARRANGEMENT_SUFFIX}"))
}

/// The finished arrangements, ascending.
pub(super) fn arrangements(data: &Path) -> io::Result<Vec<u32>> {
    names(data, |name| number_of(name.strip_prefix(ARRANGEMENT_PREFIX)?, 6))
}

/// The arrangements that were not finished.
pub(super) fn unfinished_arrangements(data: &Path) -> io::Result<Vec<u32>> {
    names(data, |name| {
        let number = name.strip_prefix(ARRANGEMENT_PREFIX)?;
        number_of(number.strip_suffix(UNFINISHED_ARRANGEMENT_SUFFIX)?, 6)
    })
}

/// The directory of a shard's segments and checkpoints.
pub(super) fn shard_path(arrangement: &Path, shard: u16) -> PathBuf {
    arrangement.join(format!("shard-{shard:03}"))
}

/// A checkpoint's file.
pub(super) fn checkpoint_path(shard: &Path, number: CheckpointNumber) -> PathBuf {
    shard.join(format!("{number:010}{CHECKPOINT_SUFFIX}"))
}

/// A checkpoint's file while it is being written.
pub(super) fn unfinished_checkpoint_path(shard: &Path, number: CheckpointNumber) -> PathBuf {
    shard.join(format!("{number:010}{UNFINISHED_CHECKPOINT_SUFFIX}"))
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
pub(super) fn shards(arrangement: &Path) -> io::Result<Vec<u16>> {
    names(arrangement, |name| name.strip_prefix("shard-")?.parse().ok())
}

/// The segments of a shard, ascending; none where the directory is missing.
pub(super) fn sequences(shard: &Path) -> io::Result<Vec<Sequence>> {
    names(shard, |name| sequence_of(name, SEGMENT_SUFFIX))
}

/// The segments that were not finished.
pub(super) fn unfinished(shard: &Path) -> io::Result<Vec<Sequence>> {
    names(shard, |name| sequence_of(name, UNFINISHED_SUFFIX))
}

/// The checkpoints of a shard, ascending; none where the directory is missing.
pub(super) fn checkpoints(shard: &Path) -> io::Result<Vec<CheckpointNumber>> {
    names(shard, |name| sequence_of(name, CHECKPOINT_SUFFIX))
}

/// The checkpoints that were not finished.
pub(super) fn unfinished_checkpoints(shard: &Path) -> io::Result<Vec<CheckpointNumber>> {
    names(shard, |name| sequence_of(name, UNFINISHED_CHECKPOINT_SUFFIX))
}

fn sequence_of(name: &str, suffix: &str) -> Option<u32> {
    number_of(name.strip_suffix(suffix)?, 10)
}

fn number_of(digits: &str, length: usize) -> Option<u32> {
    let plain = digits.len() == length && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
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

/// Asks for a whole file to be read into the page cache, on a thread of its own
/// because the asking waits for the disk. It is a hint: nothing depends on it.
pub(super) fn read_ahead(path: PathBuf) {
    let _ = thread::Builder::new().name("read-ahead".to_owned()).spawn(move || {
        if let Ok(file) = File::open(path) {
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::WillNeed);
        }
    });
}

/// A file that is read at any offset.
#[derive(Debug)]
pub(super) struct WholeFile {
    file: File,
    bytes: u64,
}

impl WholeFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

impl ReadAt for WholeFile {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(&self.file, into, offset)
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_ours() {
        let shard = tempfile::tempdir().unwrap();
        let ours = ["0000000001.seg", "0000000012.seg", "4294967295.seg"];
        let others = ["1.seg", "00000000003.seg", "+000000004.seg", "000000000x.seg", "0000000005"];
        for name in ours.iter().chain(&others).chain(&["9999999999.seg", "0000000006.seg.tmp"]) {
            fs::write(shard.path().join(name), "").unwrap();
        }
        assert_eq!(sequences(shard.path()).unwrap(), [1, 12, u32::MAX]);
        assert_eq!(unfinished(shard.path()).unwrap(), [6]);
    }

    #[test]
    fn what_is_missing_has_no_names_and_what_is_no_directory_is_an_error() {
        let data = tempfile::tempdir().unwrap();
        assert!(checkpoints(&data.path().join("missing")).unwrap().is_empty());
        let file = data.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(checkpoints(&file).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        let missing = sync_directory(&data.path().join("missing"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
