//! The thread that waits for the disk in a shard's stead, so that the shard
//! goes on with the next batch (DESIGN §5.3).
//!
//! It is given a range of a segment, syncs it, says how that ended and rings.
//! One range at a time; it never sees a record.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use memmap2::MmapRaw;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Between two looks of a caller who waits for the end.
const WAIT_PAUSE: Duration = Duration::from_micros(20);

/// Before the shard and before whoever fills the other cores.
const NICENESS: i32 = -15;

/// Rings the shard that waits for the end of a sync.
pub type Ring = Box<dyn Fn() + Send>;

struct Job {
    file: Arc<MmapRaw>,
    range: Range<usize>,
}

/// The shard's side of the thread.
pub(super) struct Syncer {
    jobs: Option<Sender<Job>>,
    ended: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread: on `core`, or where the calling thread may run.
    pub(super) fn start(core: Option<usize>, ring: Ring) -> io::Result<Self> {
        let (jobs, jobs_in) = bounded::<Job>(1);
        let (tell, ended) = bounded(1);
        let named = std::thread::Builder::new().name("journal-sync".to_owned());
        let thread = named.spawn(move || {
            // It needs microseconds and the shard waits for them. Refused to
            // processes without the right; they wait a little longer.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            if let Some(core) = core {
                let mut cores = CpuSet::new();
                cores.set(core); // the executors of the background stand there already
                let _ = sched_setaffinity(None, &cores);
            }
            for Job { file, range } in jobs_in {
                let synced = file.flush_range(range.start, range.len());
                if tell.send(synced).is_err() {
                    return;
                }
                ring();
            }
        })?;
        Ok(Self { jobs: Some(jobs), ended, thread: Some(thread) })
    }

    /// Hands over a range; false if the thread is gone.
    pub(super) fn begin(&self, file: Arc<MmapRaw>, range: Range<usize>) -> bool {
        let job = Job { file, range };
        self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }

    /// Whether the sync has ended.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Waits for the end. It looks again and again, because a blocking receive
    /// allocates the first time.
    pub(super) fn end(&self) -> io::Result<()> {
        loop {
            match self.ended.try_recv() {
                Ok(synced) => return synced,
                Err(TryRecvError::Empty) => std::thread::sleep(WAIT_PAUSE),
                Err(TryRecvError::Disconnected) => {
                    return Err(io::Error::other("the thread that syncs the journal is gone"));
                }
            }
        }
    }

    /// Ends the thread and says how a sync went that nobody has asked for.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it panics only on a broken invariant
        }
        self.ended.try_recv().unwrap_or(Ok(()))
    }
}
