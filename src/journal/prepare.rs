//! The thread that makes segments ready, off the shard's thread.
//!
//! It sleeps on a channel while there is nothing to do. A segment is allocated,
//! filled with zeros page by page, synced, named, and mapped with all its pages
//! in memory, so that the shard's writes meet no allocation, no unwritten
//! extent and no cold page. A write of more than a page would make a large
//! folio, and every small sync within it would rewrite all of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::channel::{Receiver, Sender};
use glommio::LocalExecutor;
use parking_lot::Mutex;
use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;

use super::executor::{be_nice, ticking};
use super::failure::SyncFailure;
use super::mmap::MappedSegment;
use super::pace::Pace;
use super::room::Room;
use super::segment::{self, SegmentHeader};
use super::storage::Segment;
use super::{Identity, Position, Sequence, files, narrow, widen};
use crate::limits::PAGE_BYTES;

/// Pages between two syncs of a segment being made: 256 KiB, which a commit
/// that meets them on the disk waits for less than a millisecond.
const PAGES_PER_SYNC: usize = 64;
const BYTES_PER_SYNC: usize = PAGES_PER_SYNC * PAGE_BYTES;
const _: () = assert!(BYTES_PER_SYNC == 256 << 10);

const READ_BYTES: usize = 1 << 20;

/// What the thread is asked to do.
pub(super) enum Job {
    /// Make a segment ready.
    Prepare(Wanted),
    /// Unmap a full segment, after a sync where `sync` says so.
    Retire { segment: MappedSegment, end: Position, sync: bool },
    /// Remove the segments wholly before a position, none from `current` on.
    Free { before: Position, current: Sequence },
}

/// A segment that is to be made ready.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) sequence: Sequence,
    pub(super) base: u64,
    /// A start cannot go on without it, and takes the room that is kept for that.
    pub(super) at_start: bool,
}

/// What the background has synced, for the shard to read.
#[derive(Debug, Default)]
pub(super) struct Retired {
    pub(super) upto: AtomicU64,
    /// Why the last removal of segments did not get through.
    pub(super) free_failed: Mutex<Option<String>>,
}

/// The thread's view of the storage.
pub(super) struct Preparer {
    pub(super) failure: Arc<SyncFailure>,
    pub(super) shard: PathBuf,
    pub(super) identity: Identity,
    pub(super) segment_bytes: usize,
    pub(super) pace: Arc<Pace>,
    pub(super) room: Arc<Room>,
    pub(super) retired: Arc<Retired>,
}

impl Preparer {
    /// Does jobs until the other side is gone.
    pub(super) fn run(
        &self,
        executor: &LocalExecutor,
        jobs: &Receiver<Job>,
        ready: &Sender<io::Result<MappedSegment>>,
    ) {
        for job in jobs {
            match job {
                Job::Prepare(wanted) => {
                    // With one more the segment whose sync failed would not be among those
                    // that the next start reads again.
                    let may = self.failure.check().map_err(io::Error::other);
                    let segment = may.and_then(|()| self.prepare(executor, wanted));
                    let segment = segment.map_err(|error| self.not_ready(wanted.sequence, &error));
                    if ready.send(segment).is_err() {
                        return;
                    }
                }
                Job::Retire { segment, end, sync } => self.retire(segment, end, sync),
                Job::Free { before, current } => {
                    let freed = free(&self.shard, before, current);
                    let mut failed = self.retired.free_failed.lock();
                    *failed = freed.err().map(|error| format!("{}: {error}", self.shard.display()));
                }
            }
        }
    }

    fn prepare(&self, executor: &LocalExecutor, wanted: Wanted) -> io::Result<MappedSegment> {
        let Wanted { sequence, base, .. } = wanted;
        let path = files::segment_path(&self.shard, sequence);
        if path.exists() {
            // A segment that was ready when the server stopped.
            check_base(&path, sequence, base)?;
            files::sync_directory(&self.shard)?; // its naming may not have been synced
            return map_warm(&self.failure, &path, self.identity.shard, sequence);
        }
        let unfinished = files::unfinished_path(&self.shard, sequence);
        let made = self.make(executor, &unfinished, wanted);
        if made.is_err() {
            let _ = fs::remove_file(&unfinished); // a full disk gets its space back
        }
        made?;
        fs::rename(&unfinished, &path)?;
        files::sync_directory(&self.shard)?;
        let file = File::options().read(true).write(true).open(&path)?;
        MappedSegment::map(&file, self.segment_bytes, self.identity.shard, sequence)
    }

    /// The error with the segment's name; a full disk stays a full disk.
    fn not_ready(&self, sequence: Sequence, error: &io::Error) -> io::Error {
        let path = files::segment_path(&self.shard, sequence);
        let told = format!("{}: cannot be made ready: {error}; check the disk", path.display());
        io::Error::new(error.kind(), told)
    }

    /// A whole segment under its unfinished name, synced.
    fn make(&self, executor: &LocalExecutor, path: &Path, wanted: Wanted) -> io::Result<()> {
        let Wanted { sequence, base, at_start } = wanted;
        let (identity, segment_bytes) = (self.identity, widen(self.segment_bytes));
        let header = SegmentHeader { identity, sequence, base, segment_bytes };
        let front = segment::encode(&header);
        let file = self
            .room
            .take(&self.shard, segment_bytes, at_start, || allocate(path, segment_bytes))?;
        let pages = self.segment_bytes / PAGE_BYTES;
        let pace = Arc::clone(&self.pace);
        executor.run(ticking(async move {
            let filling = move || fill(&file, &front, pages, &pace);
            glommio::executor().spawn_blocking(filling).await
        }))
    }

    fn retire(&self, mut segment: MappedSegment, end: Position, sync: bool) {
        if !sync {
            return;
        }
        let all = 0..super::SegmentBytes::bytes(&segment).len();
        let path = files::segment_path(&self.shard, segment.sequence());
        if self.failure.judge(&path, segment.sync(all)).is_ok() {
            self.retired.upto.store(end.0, Ordering::Release);
        }
    }
}

/// Removes segments, oldest first, so that those left have no gap, whenever it
/// is interrupted. Where one ends is read from the one after it, as every
/// recovery would: whatever an earlier removal has left goes too, and a damaged
/// header never makes a segment go that may be needed.
fn free(shard: &Path, before: Position, current: Sequence) -> io::Result<()> {
    let mut removed = false;
    let mut sequences = files::sequences(shard)?.into_iter().filter(|s| *s <= current).peekable();
    while let (Some(sequence), Some(next)) = (sequences.next(), sequences.peek()) {
        let path = files::segment_path(shard, *next);
        let after = segment::read(*next, &files::peek(&path)?)
            .map_err(|fault| io::Error::other(format!("{}: {fault:?}", path.display())))?;
        if after.base > before.0 {
            break;
        }
        fs::remove_file(files::segment_path(shard, sequence))?;
        removed = true;
    }
    if removed { files::sync_directory(shard) } else { Ok(()) }
}

/// The segment ahead must still be the one that recovery saw.
fn check_base(path: &Path, sequence: Sequence, base: u64) -> io::Result<()> {
    let header = segment::read(sequence, &files::peek(path)?).ok();
    match header {
        Some(header) if header.base == base => Ok(()),
        _ => Err(io::Error::other(format!("{}: changed from outside", path.display()))),
    }
}

/// Maps an existing segment whose pages will be written: all of them are read
/// from the disk again, one folio per page.
pub(super) fn map_warm(
    failure: &SyncFailure,
    path: &Path,
    shard: u16,
    sequence: Sequence,
) -> io::Result<MappedSegment> {
    let file = File::options().read(true).write(true).open(path)?;
    failure.judge(path, file.sync_data()).map_err(io::Error::other)?;
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?; // drops large folios
    rustix::fs::fadvise(&file, 0, None, Advice::Random)?; // and makes no new ones
    let bytes = file.metadata()?.len();
    let mut scratch = vec![0; READ_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let read = file.read_at(&mut scratch, offset)?;
        if read == 0 {
            break;
        }
        offset += widen(read);
    }
    MappedSegment::map(&file, narrow(bytes), shard, sequence)
}

/// A file that has its space, where the file system gives it ahead.
fn allocate(path: &Path, bytes: u64) -> io::Result<File> {
    let file = File::create(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP) | Ok(()) => Ok(file),
        Err(error) => Err(error.into()),
    }
}

/// Writes the header page and then zeros, a page per write, and syncs bit by
/// bit, so that a commit never waits behind a whole segment.
///
/// It runs on the executor's thread for blocking calls: the same writes as
/// operations of its ring are handed to kernel threads one by one, which costs
/// four times the processor time and goes to any core, also the shard's.
fn fill(file: &File, front: &[u8], pages: usize, pace: &Pace) -> io::Result<()> {
    // A whole segment at once would take a core from whoever shares it for a
    // third of a second.
    be_nice();
    let zeros = [0; PAGE_BYTES];
    let mut making = pace.begin();
    for page in 0..pages {
        let bytes = if page == 0 { front } else { &zeros };
        file.write_all_at(bytes, widen(page * PAGE_BYTES))?;
        if (page + 1).is_multiple_of(PAGES_PER_SYNC) {
            file.sync_data()?;
            if pace.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            pace.rest(&mut making, BYTES_PER_SYNC);
        }
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 1 << 16;

    /// A shard's directory with the headers of so many segments.
    fn shard_of(segments: Sequence) -> tempfile::TempDir {
        let shard = tempfile::tempdir().unwrap();
        let identity = Identity { cell: 1, shard: 0, shards: 1 };
        for sequence in 1..=segments {
            let base = BYTES * u64::from(sequence - 1);
            let header = SegmentHeader { identity, sequence, base, segment_bytes: BYTES };
            let mut bytes = segment::encode(&header);
            bytes.resize(narrow(BYTES), 0);
            fs::write(files::segment_path(shard.path(), sequence), bytes).unwrap();
        }
        shard
    }

    #[test]
    fn a_segment_goes_once_all_of_it_is_before_and_never_the_current_one() {
        let cases = [
            (BYTES - 1, 4, 1),
            (BYTES, 4, 2),
            (2 * BYTES - 1, 4, 2),
            (2 * BYTES, 4, 3),
            (9 * BYTES, 3, 3),
            (9 * BYTES, 4, 4),
        ];
        for (before, current, first) in cases {
            let shard = shard_of(4);
            free(shard.path(), Position(before), current).unwrap();
            let left = files::sequences(shard.path()).unwrap();
            assert!(left.into_iter().eq(first..=4), "before {before}");
        }
    }

    #[test]
    fn the_segment_ahead_must_be_the_one_that_a_start_saw() {
        let shard = shard_of(2);
        let path = files::segment_path(shard.path(), 2);
        check_base(&path, 2, BYTES).unwrap();
        let told = check_base(&path, 2, BYTES + 4096).unwrap_err().to_string();
        assert!(told.ends_with("0000000002.seg: changed from outside"), "{told}");
        assert!(check_base(&path, 3, BYTES).is_err(), "it is another");
    }
}
