//! The storage of a real journal: mapped files in the data directory, with one
//! segment always ready ahead.
//!
//! This side lives on the shard's thread: it sends jobs and takes segments, and
//! never writes a file itself once the journal runs.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use rustix::process::{Resource, getrlimit};

use super::arrangement::Arrangement;
use super::checkpoint::CheckpointNumber;
use super::executor::executor;
use super::failure::CommitFailed;
use super::files::WholeFile;
use super::mmap::MappedSegment;
use super::pace::Pace;
use super::prepare::{Job, Preparer, Retired, Wanted, map_warm};
use super::storage::{NextError, ReadAt, Source, Storage, Stored};
use super::syncer::{Ring, Syncer};
use super::{Identity, Position, SegmentBytes, Sequence, files, narrow, segment, widen};
use crate::limits::{
    MEMLOCK_BYTES_MIN, PREPARE_RETRY_MS, PREPARE_WAIT_S, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
};
use crate::units::Time;

/// Jobs that can wait: one preparation and some full segments.
const JOBS_MAX: usize = 8;

/// Between two looks for a segment that is not ready.
const WAIT_PAUSE: Duration = Duration::from_micros(100);

/// How long an ending storage waits for its thread.
const END_WAIT: Duration = Duration::from_secs(5);

/// The segments and checkpoints of one shard, in its arrangement's directory.
pub struct MmapStorage {
    arrangement: Arrangement,
    shard: PathBuf,
    identity: Identity,
    ahead: Ahead,
    jobs: Option<Sender<Job>>,
    ready: Receiver<io::Result<MappedSegment>>,
    retired: Arc<Retired>,
    pace: Arc<Pace>,
    thread: Option<JoinHandle<()>>,
    /// Syncs beside the shard, where that was asked for.
    syncer: Option<Syncer>,
}

/// How the segment ahead stands.
enum Ahead {
    /// Nobody asked for it.
    Unasked,
    /// The thread is at it, for the first time.
    Asked,
    /// The thread is at it again after a failure; nobody waits.
    AskedAgain,
    /// It lies here.
    Ready(MappedSegment),
    /// It failed at this time; `Some` is what it was, until it was told.
    Failed(Time, Option<io::Error>),
}

/// Why the storage cannot be used. Nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The limit of locked memory is too low.
    #[error(
        "locked memory is limited to {limit} bytes and the background ring needs {needed}; raise \
         it (`ulimit -l 8192`, or `LimitMEMLOCK=8M` in the systemd unit)"
    )]
    Memlock {
        /// The limit.
        limit: u64,
        /// What is needed.
        needed: u64,
    },
    /// The segment size is not one the format allows.
    #[error(
        "a segment of {bytes} bytes is not possible; use a multiple of 4096 from {min} to {max}",
        min = SEGMENT_BYTES_MIN,
        max = SEGMENT_BYTES_MAX
    )]
    SegmentBytes {
        /// What was asked for.
        bytes: usize,
    },
    /// The background thread cannot run.
    #[error(
        "the thread that makes journal segments cannot start: {0}; check that io_uring is allowed \
         (kernel.io_uring_disabled, seccomp) and that the background core exists"
    )]
    Background(#[source] io::Error),
}

impl MmapStorage {
    /// The segments of shard `identity.shard`; new ones get `segment_bytes`.
    /// The background thread stays on `background_core` where one is given.
    pub fn new(
        arrangement: &Arrangement,
        identity: Identity,
        segment_bytes: usize,
        background_core: Option<usize>,
    ) -> Result<Self, StorageError> {
        if !segment::sound_size(segment_bytes) {
            return Err(StorageError::SegmentBytes { bytes: segment_bytes });
        }
        check_memlock()?;
        let shard = arrangement.shard_path(identity.shard);
        let (retired, pace) = (Arc::default(), Arc::<Pace>::default());
        let preparer = Preparer {
            failure: Arc::clone(arrangement.directory().failure()),
            shard: shard.clone(),
            identity,
            segment_bytes,
            pace: Arc::clone(&pace),
            room: arrangement.directory().room(),
            retired: Arc::clone(&retired),
        };
        let (jobs, ready, thread) =
            start(preparer, background_core).map_err(StorageError::Background)?;
        let (arrangement, jobs, thread) = (arrangement.clone(), Some(jobs), Some(thread));
        let ahead = Ahead::Unasked;
        let syncer = None;
        Ok(Self { arrangement, shard, identity, ahead, jobs, ready, retired, pace, thread, syncer })
    }

    /// Syncs of whole batches may be begun and ended later; `ring` is called at
    /// the end of each. Their thread runs on `core`, or where the calling one may
    /// run.
    pub fn overlapping(mut self, core: Option<usize>, ring: Ring) -> Result<Self, StorageError> {
        self.syncer = Some(Syncer::start(core, ring).map_err(StorageError::Background)?);
        Ok(self)
    }

    fn ask(&mut self, sequence: Sequence, base: u64, ahead: Ahead) {
        self.ask_for(Wanted { sequence, base, at_start: false }, ahead);
    }

    fn ask_for(&mut self, wanted: Wanted, ahead: Ahead) {
        let job = Job::Prepare(wanted);
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        let gone = || io::Error::other("the thread that makes journal segments is gone");
        self.ahead = if sent { ahead } else { Ahead::Failed(Time(0), Some(gone())) };
    }

    fn arrived(&mut self, segment: io::Result<MappedSegment>, now: Time) {
        self.ahead = match segment {
            Ok(segment) => Ahead::Ready(segment),
            Err(error) => Ahead::Failed(now, Some(error)),
        };
    }

    /// The shard is faster than the disk: it waits here. It looks again and
    /// again, because a blocking receive allocates the first time.
    fn wait(&mut self, now: Time) -> Result<(), NextError> {
        let mut patience = self.pace.patience(Instant::now());
        self.pace.hurry();
        loop {
            match self.ready.try_recv() {
                Ok(segment) => self.arrived(segment, now),
                Err(TryRecvError::Empty) if self.pace.is_awaited(&mut patience, Instant::now()) => {
                    std::thread::sleep(WAIT_PAUSE);
                    continue;
                }
                Err(TryRecvError::Empty) => {
                    let late =
                        format!("not ready, and nothing of it written for {PREPARE_WAIT_S} s");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, late).into());
                }
                Err(TryRecvError::Disconnected) => {
                    let gone = io::Error::other("the thread that makes journal segments is gone");
                    self.ahead = Ahead::Failed(now, Some(gone));
                }
            }
            return Ok(());
        }
    }
}

/// Whether the background ring may lock the memory it needs; asked before
/// anything on disk is touched.
pub fn check_memlock() -> Result<(), StorageError> {
    match getrlimit(Resource::Memlock).current {
        Some(limit) if limit < MEMLOCK_BYTES_MIN => {
            Err(StorageError::Memlock { limit, needed: MEMLOCK_BYTES_MIN })
        }
        _ => Ok(()),
    }
}

type Started = (Sender<Job>, Receiver<io::Result<MappedSegment>>, JoinHandle<()>);

/// Starts the thread and waits until its executor runs.
fn start(preparer: Preparer, core: Option<usize>) -> io::Result<Started> {
    let (jobs, jobs_in) = bounded(JOBS_MAX);
    let (ready_out, ready) = bounded(2);
    let (up, is_up) = bounded(1);
    let thread =
        std::thread::Builder::new().name("journal-next".to_owned()).spawn(
            move || match executor("journal-next", core) {
                Ok(executor) => {
                    let _ = up.send(Ok(()));
                    preparer.run(&executor, &jobs_in, &ready_out);
                }
                Err(error) => {
                    let _ = up.send(Err(error));
                }
            },
        )?;
    is_up.recv().map_err(io::Error::other)??;
    Ok((jobs, ready, thread))
}

impl Drop for MmapStorage {
    fn drop(&mut self) {
        self.pace.cancel();
        self.jobs = None;
        // A journal that ends for another reason has not heard how its last sync went.
        if let Some(Err(error)) = self.syncer.as_mut().map(Syncer::finish) {
            self.note_failed_sync(&CommitFailed::of_file(&self.shard, &error));
        }
        // The thread drops its end of the channel last. One that hangs on a
        // broken disk is left behind: it must not keep the process from ending.
        let ended = loop {
            match self.ready.recv_timeout(END_WAIT) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => break false,
                Err(RecvTimeoutError::Disconnected) => break true,
            }
        };
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join(); // it panics only on a broken invariant
        }
    }
}

impl Source for MmapStorage {
    type Segment = MappedSegment;

    fn sequences(&self) -> io::Result<Vec<Sequence>> {
        files::sequences(&self.shard)
    }

    fn peek(&self, sequence: Sequence) -> io::Result<Stored> {
        files::peek(&files::segment_path(&self.shard, sequence))
    }

    fn open(&mut self, sequence: Sequence) -> io::Result<MappedSegment> {
        let path = files::segment_path(&self.shard, sequence);
        let last = self.sequences()?.last().copied().unwrap_or(sequence);
        if last.saturating_sub(sequence) < 2 {
            let failure = self.arrangement.directory().failure();
            return map_warm(failure, &path, self.identity.shard, sequence); // may be written
        }
        let file = File::options().read(true).write(true).open(&path)?;
        let bytes = narrow(file.metadata()?.len());
        MappedSegment::map(&file, bytes, self.identity.shard, sequence)
    }

    /// Not the last two: they may be written, and are read in their own way.
    fn read_ahead(&mut self, sequence: Sequence) {
        let last = self.sequences().unwrap_or_default().last().copied();
        if last.is_some_and(|last| last.saturating_sub(sequence) >= 2) {
            files::read_ahead(files::segment_path(&self.shard, sequence));
        }
    }

    fn checkpoints(&self) -> io::Result<Vec<CheckpointNumber>> {
        files::checkpoints(&self.shard)
    }

    fn checkpoint(&self, number: CheckpointNumber) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(WholeFile::open(&files::checkpoint_path(&self.shard, number))?))
    }

    fn checkpoint_name(&self, number: CheckpointNumber) -> String {
        files::checkpoint_path(&self.shard, number).display().to_string()
    }

    fn founded(&self) -> bool {
        self.arrangement.founded()
    }

    fn place(&self) -> String {
        self.shard.display().to_string()
    }

    fn name(&self, sequence: Sequence) -> String {
        files::segment_path(&self.shard, sequence).display().to_string()
    }
}

impl Storage for MmapStorage {
    fn settle(&mut self, refused: &[CheckpointNumber]) -> io::Result<()> {
        let data = self.arrangement.directory().path();
        for sequence in files::unfinished(&self.shard)? {
            fs::remove_file(files::unfinished_path(&self.shard, sequence))?;
        }
        for number in files::unfinished_checkpoints(&self.shard)? {
            fs::remove_file(files::unfinished_checkpoint_path(&self.shard, number))?;
        }
        for number in refused {
            fs::remove_file(files::checkpoint_path(&self.shard, *number))?;
        }
        files::sync_directory(&self.shard)?;
        files::sync_directory(self.arrangement.path())?;
        files::sync_directory(data)?;
        let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty());
        files::sync_directory(parent.unwrap_or(std::path::Path::new(".")))
    }

    fn sync_from(&mut self, from: Sequence) -> io::Result<Result<(), CommitFailed>> {
        let failure = self.arrangement.directory().failure();
        for sequence in files::sequences(&self.shard)?.into_iter().filter(|s| *s >= from) {
            let path = files::segment_path(&self.shard, sequence);
            let synced = failure.judge(&path, File::open(&path)?.sync_all());
            if synced.is_err() {
                return Ok(synced);
            }
        }
        Ok(Ok(()))
    }

    fn next(
        &mut self,
        sequence: Sequence,
        base: u64,
        now: Time,
    ) -> Result<MappedSegment, NextError> {
        if matches!(self.ahead, Ahead::Unasked) {
            self.ask_for(Wanted { sequence, base, at_start: true }, Ahead::Asked);
        }
        if matches!(self.ahead, Ahead::Asked) {
            self.wait(now)?;
        }
        self.poll(sequence, base, now);
        match std::mem::replace(&mut self.ahead, Ahead::Unasked) {
            Ahead::Ready(segment) => {
                debug_assert_eq!(segment.sequence(), sequence);
                let after = base.saturating_add(widen(segment.bytes().len()));
                self.ask(sequence.saturating_add(1), after, Ahead::Asked);
                Ok(segment)
            }
            Ahead::Failed(at, Some(error)) if !is_full(&error) => {
                self.ahead = Ahead::Failed(at, None);
                Err(error.into())
            }
            other => {
                self.ahead = other;
                Err(NextError::Full)
            }
        }
    }

    fn prepare(&mut self, sequence: Sequence, base: u64) {
        if matches!(self.ahead, Ahead::Unasked) {
            self.ask(sequence, base, Ahead::Asked);
        }
    }

    fn tend(&mut self, upto: Position, sequence: Sequence, base: u64, now: Time) {
        self.pace.note(upto);
        match self.ahead {
            Ahead::Ready(_) | Ahead::Unasked => {}
            Ahead::Asked | Ahead::AskedAgain | Ahead::Failed(..) => self.poll(sequence, base, now),
        }
    }

    fn lacks_room(&self) -> bool {
        match &self.ahead {
            Ahead::AskedAgain => true,
            Ahead::Failed(_, error) => error.as_ref().is_none_or(is_full),
            Ahead::Unasked | Ahead::Asked | Ahead::Ready(_) => false,
        }
    }

    fn retire(&mut self, segment: MappedSegment, end: Position, sync: bool) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::Retire { segment, end, sync });
        }
    }

    fn retired_upto(&self) -> Result<Position, CommitFailed> {
        self.arrangement.directory().failure().check()?;
        Ok(Position(self.retired.upto.load(Ordering::Acquire)))
    }

    fn free_before(&mut self, before: Position, current: Sequence) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.try_send(Job::Free { before, current }); // or with the next call
        }
    }

    fn free_failed(&self) -> Option<String> {
        self.retired.free_failed.lock().clone()
    }

    fn begin_sync(&mut self, segment: &mut MappedSegment, range: Range<usize>) -> bool {
        let Some(syncer) = &self.syncer else { return false };
        syncer.begin(segment.lend(&range), range)
    }

    fn sync_has_ended(&self) -> bool {
        self.syncer.as_ref().is_some_and(Syncer::has_ended)
    }

    fn end_sync(&mut self) -> io::Result<()> {
        self.syncer.as_ref().map_or(Ok(()), Syncer::end)
    }

    fn note_failed_sync(&mut self, failed: &CommitFailed) {
        self.arrangement.directory().failure().meet(failed);
    }
}

impl MmapStorage {
    /// Takes what arrived. After a full disk it asks again, at most twice a
    /// second; any other failure lies here until it is told.
    fn poll(&mut self, sequence: Sequence, base: u64, now: Time) {
        if matches!(self.ahead, Ahead::Asked | Ahead::AskedAgain)
            && let Ok(segment) = self.ready.try_recv()
        {
            self.arrived(segment, now);
        }
        if let Ahead::Failed(at, error) = &self.ahead
            && error.as_ref().is_none_or(is_full)
            && now.0 >= at.0.saturating_add(PREPARE_RETRY_MS)
        {
            self.ask(sequence, base, Ahead::AskedAgain);
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
