//! The executor of a background thread, and what is known of its ways.
//!
//! Each thread of the background plane has one of its own. Nothing here knows
//! what runs on it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use glommio::timer::Timer;
use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement};

/// The priority of background threads: a third of the weight of others on
/// their core, so that they always get on, and never push.
const NICENESS: i32 = 5;

/// The executor's registered buffers for direct I/O. They are locked memory,
/// of which every shard has two executors; larger buffers come from the heap.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// When the executor takes tasks off the processor: never, in effect.
///
/// If this timer fires between its arming and the executor's first look at it
/// (a thread that is taken off the processor for so long is enough), glommio
/// runs no task, drops the timer's event uncounted and goes to sleep with a
/// task that is ready and no timer set: for ever. With 1 ms this was seen once
/// in some hundred small segments on a loaded machine.
const PREEMPT: Duration = Duration::from_secs(3600);

/// How often the executor looks at its rings while a job runs, whatever it has
/// missed.
const TICK: Duration = Duration::from_millis(5);

/// An executor, bound to `core` where one is given. It is made on the thread
/// that uses it.
pub(super) fn executor(name: &str, core: Option<usize>) -> io::Result<LocalExecutor> {
    LocalExecutorBuilder::new(core.map_or(Placement::Unbound, Placement::Fixed))
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(PREEMPT)
        .make()
        .map_err(plain)
}

/// Runs `work` with a timer always set beside it.
pub(super) async fn ticking<T>(work: impl Future<Output = T>) -> T {
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

/// Lowers the priority of this thread. Refused only to one that is lower
/// already.
pub(super) fn be_nice() {
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// The system's own error, with its number, where glommio wrapped it.
pub(super) fn plain(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::EnhancedIoError { source, .. } => source,
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use crossbeam::channel::bounded;

    use super::*;

    /// Jobs on a machine that has no time for them: the rings, the threads for
    /// blocking calls and the sleep of the executor all come late.
    #[test]
    fn every_job_ends_on_a_loaded_machine() {
        let jobs = std::env::var("JOBS").map_or(300, |text| text.parse().unwrap());
        let stop = Arc::<AtomicBool>::default();
        for _ in 0..6 {
            let stop = Arc::clone(&stop);
            thread::spawn(move || while !stop.load(Ordering::Relaxed) {});
        }
        let (tell, told) = bounded(1);
        thread::spawn(move || {
            let _ = rustix::process::setpriority_process(None, 19); // the last to be served
            let executor = executor("test", None).unwrap();
            for _ in 0..jobs {
                executor.run(ticking(async {
                    let nap = || thread::sleep(Duration::from_micros(300));
                    glommio::executor().spawn_blocking(nap).await;
                }));
                tell.send(()).unwrap();
            }
        });
        for job in 0..jobs {
            let done = told.recv_timeout(Duration::from_secs(20));
            assert!(done.is_ok(), "job {job} of {jobs} hangs");
        }
        stop.store(true, Ordering::Relaxed);
    }
}
