//! The first failed sync of a data directory, whoever met it.
//!
//! Linux tells a write that failed to everybody who opened the file before somebody was
//! told, each at the next sync. Whoever opens it later hears of a success, and reads from
//! the page cache what is not on the disk. So who hears of it says so here, and who syncs
//! what somebody else has written asks here afterwards.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::marker;

/// A sync failed. What it covered may be lost although it still reads back,
/// so the process must end without another word to anyone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file}: the sync at offset {offset} failed: {reason}; the server stops, and re-reads the \
     tail from the disk at its next start; if this repeats, replace the disk"
)]
pub struct CommitFailed {
    /// The segment's file.
    pub file: String,
    /// The first byte of the range.
    pub offset: u64,
    /// What the system said.
    pub reason: String,
}

impl CommitFailed {
    /// Of a sync of all of it.
    pub(super) fn of_file(file: &Path, error: &io::Error) -> Self {
        Self { file: file.display().to_string(), offset: 0, reason: error.to_string() }
    }
}

/// What ends the process; called once, when the note is left.
pub type OnFailedSync = Box<dyn Fn(&CommitFailed) + Send + Sync>;

/// What all who use a data directory know of its syncs.
pub(super) struct SyncFailure {
    data: PathBuf,
    first: OnceLock<CommitFailed>,
    /// The note is left, as well as that can be done.
    noted: OnceLock<()>,
    end: OnceLock<OnFailedSync>,
}

impl SyncFailure {
    pub(super) fn in_directory(data: &Path) -> Arc<Self> {
        let (data, first) = (data.to_owned(), OnceLock::new());
        Arc::new(Self { data, first, noted: OnceLock::new(), end: OnceLock::new() })
    }

    /// A sync has failed: everybody knows it, then the note is left, then the process
    /// ends. Only the first counts.
    #[cold]
    pub(super) fn meet(&self, failed: &CommitFailed) {
        let is_first = self.first.set(failed.clone()).is_ok();
        let _ = self.check();
        if let Some(end) = self.end.get().filter(|_| is_first) {
            end(failed);
        }
    }

    /// How a sync of a whole file went: well only if none has failed for anybody.
    pub(super) fn judge(&self, file: &Path, synced: io::Result<()>) -> Result<(), CommitFailed> {
        if let Err(error) = synced {
            self.meet(&CommitFailed::of_file(file, &error));
        }
        self.check()
    }

    /// Whether a sync has failed. Who is told may end the process, so the note is there.
    pub(super) fn check(&self) -> Result<(), CommitFailed> {
        let Some(failed) = self.first.get() else { return Ok(()) };
        self.noted.get_or_init(|| marker::leave(&self.data, &failed.file));
        Err(failed.clone())
    }

    /// From now on a failed sync calls `end`; only the first such call counts. An error
    /// if one has failed already.
    pub(super) fn ends(&self, end: OnFailedSync) -> Result<(), CommitFailed> {
        let _ = self.end.set(end);
        self.check()
    }
}

impl fmt::Debug for SyncFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SyncFailure").field(&self.first.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn failing() -> io::Result<()> {
        Err(io::Error::other("a broken disk"))
    }

    #[test]
    fn the_first_failure_is_told_to_all_and_ends_the_process_once() {
        let data = tempfile::tempdir().unwrap();
        let failure = SyncFailure::in_directory(data.path());
        let (ends, note) = (Arc::new(AtomicU32::new(0)), data.path().join("sync-failed"));
        let (counted, left) = (Arc::clone(&ends), note.clone());
        let end = move |failed: &CommitFailed| {
            assert!(left.exists() && failed.file == "1.seg", "the note is left before the end");
            counted.fetch_add(1, Ordering::Relaxed);
        };
        failure.ends(Box::new(end)).unwrap();
        failure.judge(Path::new("1.seg"), Ok(())).unwrap();
        assert!(failure.check().is_ok() && !note.exists());
        let first = failure.judge(Path::new("1.seg"), failing()).unwrap_err();
        let (file, reason) = ("1.seg".to_owned(), "a broken disk".to_owned());
        assert_eq!(first, CommitFailed { file, offset: 0, reason });
        let words = r#"SyncFailure(Some(CommitFailed { file: "1.seg", "#;
        assert!(format!("{failure:?}").starts_with(words), "{failure:?}");
        for later in [failing(), Ok(())] {
            assert_eq!(failure.judge(Path::new("2.seg"), later).unwrap_err(), first);
        }
        assert_eq!(ends.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn who_would_end_the_process_hears_of_what_has_failed_before() {
        let data = tempfile::tempdir().unwrap();
        let failure = SyncFailure::in_directory(data.path());
        let first = failure.judge(Path::new("1.seg"), failing()).unwrap_err();
        assert_eq!(failure.ends(Box::new(|_| {})).unwrap_err(), first);
    }
}
