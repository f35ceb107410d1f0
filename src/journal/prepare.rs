//! The thread that makes segments ready, off the shard's thread.
//!
//! It sleeps on a channel while there is nothing to do. A segment is allocated,
//! filled with zeros page by page, synced, named, and mapped with all its pages
//! in memory, so that the shard's writes meet no allocation, no unwritten
//! extent and no cold page. A write of more than a page would make a large
//! folio, and every small sync within it would rewrite all of it.

use std::fs::{self, File};
use std::future::{Future, poll_fn};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use glommio::io::BufferedFile;
use glommio::timer::Timer;
use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement};
use rustix::fs::Advice;

use super::mmap::MappedSegment;
use super::segment::{self, SegmentHeader};
use super::storage::Segment;
use super::{Identity, Position, Sequence, files, marker, narrow, widen};
use crate::limits::PAGE_BYTES;

/// Writes in flight: enough to keep the kernel's workers busy (measured: 8 is
/// a third slower, 64 gains nothing over 32).
const WRITES_IN_FLIGHT: usize = 32;

/// The executor's buffers for direct I/O; it does none.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// How often the executor looks at its rings while a job runs. Its sleep can
/// miss a completion for ever (seen on Linux 6.18: about once in a thousand
/// small segments); a timer bounds that to these milliseconds.
const TICK: Duration = Duration::from_millis(5);

const READ_BYTES: usize = 1 << 20;

/// What the thread is asked to do.
pub(super) enum Job {
    /// Make a segment ready.
    Prepare { sequence: Sequence, base: u64 },
    /// Unmap a full segment, after a sync where `sync` says so.
    Retire { segment: MappedSegment, end: Position, sync: bool },
}

/// What the background has synced, for the shard to read.
#[derive(Debug, Default)]
pub(super) struct Retired {
    pub(super) upto: AtomicU64,
    pub(super) failed: AtomicBool,
}

/// The thread's view of the storage.
pub(super) struct Preparer {
    pub(super) data: PathBuf,
    pub(super) shard: PathBuf,
    pub(super) identity: Identity,
    pub(super) segment_bytes: usize,
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) retired: Arc<Retired>,
}

/// The executor, bound to `core` where one is given. It is made on the thread
/// that uses it.
pub(super) fn executor(core: Option<usize>) -> io::Result<LocalExecutor> {
    LocalExecutorBuilder::new(core.map_or(Placement::Unbound, Placement::Fixed))
        .name("journal-next")
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(Duration::from_millis(1)) // its timers advance no faster
        .make()
        .map_err(plain)
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
                Job::Prepare { sequence, base } => {
                    if ready.send(self.prepare(executor, sequence, base)).is_err() {
                        return;
                    }
                }
                Job::Retire { segment, end, sync } => self.retire(segment, end, sync),
            }
        }
    }

    fn prepare(
        &self,
        executor: &LocalExecutor,
        sequence: Sequence,
        base: u64,
    ) -> io::Result<MappedSegment> {
        let path = files::segment_path(&self.shard, sequence);
        if path.exists() {
            // A segment that was ready when the server stopped.
            check_base(&path, sequence, base)?;
            return map_warm(&path, self.identity.shard, sequence);
        }
        let unfinished = files::unfinished_path(&self.shard, sequence);
        let made = self.make(executor, &unfinished, sequence, base);
        if made.is_err() {
            let _ = fs::remove_file(&unfinished); // a full disk gets its space back
        }
        made?;
        fs::rename(&unfinished, &path)?;
        files::sync_directory(&self.shard)?;
        let file = File::options().read(true).write(true).open(&path)?;
        MappedSegment::map(&file, self.segment_bytes, self.identity.shard, sequence)
    }

    /// A whole segment under its unfinished name, synced.
    fn make(
        &self,
        executor: &LocalExecutor,
        path: &Path,
        sequence: Sequence,
        base: u64,
    ) -> io::Result<()> {
        let (identity, segment_bytes) = (self.identity, widen(self.segment_bytes));
        let header = SegmentHeader { identity, sequence, base, segment_bytes };
        let front = segment::encode(&header);
        let (path, pages) = (path.to_owned(), self.segment_bytes / PAGE_BYTES);
        let cancelled = Arc::clone(&self.cancelled);
        executor.run(ticking(async move {
            let file = BufferedFile::create(&path).await.map_err(plain)?;
            let filled = fill(&file, front, pages, &cancelled).await;
            file.close().await.map_err(plain)?;
            filled
        }))
    }

    fn retire(&self, mut segment: MappedSegment, end: Position, sync: bool) {
        if !sync {
            return;
        }
        let all = 0..super::SegmentBytes::bytes(&segment).len();
        if segment.sync(all).is_ok() {
            self.retired.upto.store(end.0, Ordering::Release);
        } else {
            let path = files::segment_path(&self.shard, segment.sequence());
            marker::leave(&self.data, &path.display().to_string());
            self.retired.failed.store(true, Ordering::Release);
        }
    }
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
pub(super) fn map_warm(path: &Path, shard: u16, sequence: Sequence) -> io::Result<MappedSegment> {
    let file = File::options().read(true).write(true).open(path)?;
    file.sync_data()?;
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

/// Runs `work` with a timer always set beside it.
async fn ticking<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut tick = Timer::new(TICK);
    poll_fn(|context| {
        while Pin::new(&mut tick).poll(context).is_ready() {
            tick = Timer::new(TICK);
        }
        work.as_mut().poll(context)
    })
    .await
}

/// Writes the header page and then zeros, a page per write, and syncs.
async fn fill(
    file: &BufferedFile,
    front: Vec<u8>,
    pages: usize,
    cancelled: &AtomicBool,
) -> io::Result<()> {
    match file.pre_allocate(widen(pages * PAGE_BYTES), false).await.map_err(plain) {
        Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
        _ => {}
    }
    let mut front = Some(front);
    for first in (0..pages).step_by(WRITES_IN_FLIGHT) {
        if cancelled.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let group = first..pages.min(first + WRITES_IN_FLIGHT);
        let writes = group.map(|page| {
            let bytes = front.take().unwrap_or_else(|| vec![0; PAGE_BYTES]);
            write_page(file, bytes, page)
        });
        all(writes.map(|write| -> Write<'_> { Box::pin(write) }).collect()).await?;
    }
    file.fdatasync().await.map_err(plain)
}

async fn write_page(file: &BufferedFile, bytes: Vec<u8>, page: usize) -> io::Result<()> {
    match file.write_at(bytes, widen(page * PAGE_BYTES)).await.map_err(plain)? {
        PAGE_BYTES => Ok(()),
        _ => Err(io::ErrorKind::StorageFull.into()), // the system could not take it all
    }
}

type Write<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>;

/// Waits for all writes; the first error is told after the last is through.
async fn all(mut writes: Vec<Write<'_>>) -> io::Result<()> {
    let mut result = Ok(());
    poll_fn(|context| {
        writes.retain_mut(|write| match write.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(error)) => {
                result = Err(error);
                false
            }
        });
        if writes.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    result
}

/// The system's own error, with its number, where glommio wrapped it.
fn plain(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::EnhancedIoError { source, .. } => source,
        other => other.into(),
    }
}
