//! Loom's things under the names of `src/threads.rs`.

use std::time::Duration;

pub(crate) use loom::hint::spin_loop;
use loom::sync::MutexGuard;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering, fence};
pub(crate) use loom::thread::{Thread, current, park, yield_now};

/// Time passes as it likes here, so this may return at once.
pub(crate) fn park_timeout(_timeout: Duration) {
    yield_now();
}

/// A mutex that is never poisoned.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("a panic ends the model")
    }
}
