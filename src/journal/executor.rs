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

/// How often the executor looks at its rings while a job runs. Its sleep can
/// miss a completion for ever (seen on Linux 6.18: about once in a thousand
/// small segments); a timer bounds that to these milliseconds.
const TICK: Duration = Duration::from_millis(5);

/// An executor, bound to `core` where one is given. It is made on the thread
/// that uses it.
pub(super) fn executor(name: &str, core: Option<usize>) -> io::Result<LocalExecutor> {
    LocalExecutorBuilder::new(core.map_or(Placement::Unbound, Placement::Fixed))
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(Duration::from_millis(1)) // its timers advance no faster
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
