//! The data directory: one process at a time, on a disk that can carry it.
//!
//! Everything is checked before anything is created; a refusal leaves nothing
//! behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Access, FlockOperation};

use super::failure::{CommitFailed, OnFailedSync, SyncFailure};
use super::room::{self, CHECKPOINTS_AT_ONCE, Room};
use super::{files, marker, widen};

/// How long the lock is tried for: a killed process with a ring holds it some
/// milliseconds longer than it lives.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Segments per shard that must fit into a new directory: the one that is
/// written, the one ahead, and the one that is kept for a start.
const SEGMENTS_AT_START: u64 = 3;

/// Copy-on-write file systems, by the magic in their superblock. They write
/// every page elsewhere: allocating ahead means nothing there.
const COPY_ON_WRITE: [(u64, &str); 3] =
    [(0x9123_683e, "btrfs"), (0x2fc1_2fc1, "zfs"), (0xca45_1a4e, "bcachefs")];

/// The opened and locked data directory. The lock is held as long as this or a
/// storage on it lives.
#[derive(Clone, Debug)]
pub struct Directory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    room: Arc<Room>,
    failure: Arc<SyncFailure>,
    _lock: File,
}

/// Why the data directory cannot be used. Nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process runs on it.
    #[error("{path}: another hongbao ({holder}) uses this data directory; stop it first")]
    Locked {
        /// The lock file.
        path: String,
        /// Its process, as the lock file says.
        holder: String,
    },
    /// It cannot be written.
    #[error("{path}: not writable: {source}; check its owner, mode and mount")]
    NotWritable {
        /// The directory, or its nearest existing parent.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file system copies on write.
    #[error(
        "{path}: lies on {kind}, which copies on write and cannot keep journal pages in place; \
         use a directory on ext4 or xfs"
    )]
    CopyOnWrite {
        /// The directory, or its nearest existing parent.
        path: String,
        /// The file system.
        kind: &'static str,
    },
    /// A new journal would not fit.
    #[error(
        "{path}: {free} bytes are free and a new journal needs {needed} (for each shard three \
         segments, and three checkpoints as large as its tables); free space, or set a smaller \
         segment_kib or table_mib"
    )]
    NoRoom {
        /// The directory, or its nearest existing parent.
        path: String,
        /// What is free.
        free: u64,
        /// What is needed.
        needed: u64,
    },
    /// After a failed sync the tail could not be read from the disk.
    #[error(
        "{path}: a sync failed in an earlier run and the tail cannot be re-read from the disk: \
         {source}; check the disk, copy the directory to another one, and start there"
    )]
    NotHealed {
        /// The note's file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another failure.
    #[error("{path}: {source}; check the disk and the permissions of the data directory")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Directory {
    /// Whether a process runs on the data directory now. The lock is only
    /// touched for a moment, in which a start would try again.
    pub fn is_in_use(path: &Path) -> Result<bool, DirectoryError> {
        let path = path.join(files::LOCK);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(|e| io_error(&path, e))?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(io_error(&path, error.into())),
        }
    }

    /// Checks, creates where it is missing, and locks the data directory for
    /// `shards` shards with segments of `segment_bytes` and without checkpoints.
    pub fn open(path: &Path, segment_bytes: usize, shards: u16) -> Result<Self, DirectoryError> {
        Self::open_beside(path, segment_bytes, shards, 0)
    }

    /// The same where checkpoints are taken, of at most `checkpoint_bytes` for
    /// each shard: segments leave the space that these need.
    pub fn open_beside(
        path: &Path,
        segment_bytes: usize,
        shards: u16,
        checkpoint_bytes: u64,
    ) -> Result<Self, DirectoryError> {
        let existing = nearest_existing(path);
        check_writable(existing)?;
        check_file_system(existing)?;
        if files::arrangements(path).map_err(|e| io_error(path, e))?.is_empty() {
            let checkpoints = checkpoint_bytes.saturating_mul(CHECKPOINTS_AT_ONCE);
            let each = (widen(segment_bytes) * SEGMENTS_AT_START).saturating_add(checkpoints);
            check_room(existing, each.saturating_mul(u64::from(shards.max(1))))?;
        }
        fs::create_dir_all(path).map_err(|e| io_error(path, e))?;
        let lock = lock(&path.join(files::LOCK))?;
        if marker::found(path).map_err(|e| io_error(path, e))? {
            let note = display(&path.join(files::SYNC_FAILED));
            marker::heal(path)
                .map_err(|source| DirectoryError::NotHealed { path: note, source })?;
        }
        let room = Arc::new(Room::leaving(checkpoint_bytes));
        let (failure, path) = (SyncFailure::in_directory(path), path.to_owned());
        Ok(Self { inner: Arc::new(Inner { path, room, failure, _lock: lock }) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// From now on the first sync that fails, for whoever it is, calls `end`, which is
    /// to end the process; only the first such call counts. An error if one has failed
    /// already.
    pub fn on_failed_sync(&self, end: OnFailedSync) -> Result<(), CommitFailed> {
        self.inner.failure.ends(end)
    }

    pub(super) fn failure(&self) -> &Arc<SyncFailure> {
        &self.inner.failure
    }

    /// The space that segments leave.
    pub(super) fn room(&self) -> Arc<Room> {
        Arc::clone(&self.inner.room)
    }

    /// The file system it lies on, in words for the operator.
    pub fn file_system(&self) -> &'static str {
        let magic = rustix::fs::statfs(self.path()).map_or(0, |stat| stat.f_type);
        in_words(u64::try_from(magic).unwrap_or(0))
    }
}

fn in_words(magic: u64) -> &'static str {
    match magic & 0xffff_ffff {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x0102_1994 => "tmpfs: in memory, gone with the power whatever the durability",
        _ => "file system not known to keep what it syncs: prefer ext4 or xfs",
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

fn io_error(path: &Path, source: io::Error) -> DirectoryError {
    DirectoryError::Io { path: display(path), source }
}

/// The path itself, or the parent in which it would be created.
fn nearest_existing(path: &Path) -> &Path {
    let here = path.ancestors().find(|p| p.exists());
    here.filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn check_writable(existing: &Path) -> Result<(), DirectoryError> {
    let refuse = |source| DirectoryError::NotWritable { path: display(existing), source };
    if !existing.is_dir() {
        return Err(refuse(io::ErrorKind::NotADirectory.into()));
    }
    let needed = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(existing, needed).map_err(|e| refuse(e.into()))
}

fn check_file_system(existing: &Path) -> Result<(), DirectoryError> {
    let stat = rustix::fs::statfs(existing).map_err(|e| io_error(existing, e.into()))?;
    match copy_on_write(u64::try_from(stat.f_type).unwrap_or(0)) {
        Some(kind) => Err(DirectoryError::CopyOnWrite { path: display(existing), kind }),
        None => Ok(()),
    }
}

fn copy_on_write(magic: u64) -> Option<&'static str> {
    COPY_ON_WRITE.iter().find(|(known, _)| *known == magic & 0xffff_ffff).map(|(_, kind)| *kind)
}

fn check_room(existing: &Path, needed: u64) -> Result<(), DirectoryError> {
    let free = room::free(existing).map_err(|e| io_error(existing, e))?;
    if free < needed {
        return Err(DirectoryError::NoRoom { path: display(existing), free, needed });
    }
    Ok(())
}

/// A data directory on which no server starts as long as this lives.
#[derive(Debug)]
pub struct DirectoryHold {
    _lock: File,
}

impl DirectoryHold {
    /// Holds a directory that no server uses; nothing in it is changed.
    pub fn take(path: &Path) -> Result<Self, DirectoryError> {
        Ok(Self { _lock: lock(&path.join(files::LOCK))? })
    }
}

/// Locks the file and writes our process id into it, for the message that the
/// next one to try will show.
fn lock(path: &Path) -> Result<File, DirectoryError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path).map_err(|e| io_error(path, e))?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                noted.map_err(|e| io_error(path, e))?;
                return Ok(file);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(io_error(path, error.into())),
        }
    }
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder); // only for the message
    let pid = holder.trim();
    let holder =
        if pid.is_empty() { "its pid is unknown".to_owned() } else { format!("pid {pid}") };
    Err(DirectoryError::Locked { path: display(path), holder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_told_in_words_by_their_magic() {
        let words = [0xef53, 0xffff_ffff_5846_5342, 0x0102_1994, 0x6969].map(in_words);
        assert_eq!(words[..2], ["ext4", "xfs"]);
        assert!(words[2].starts_with("tmpfs") && words[3].contains("not known"), "{words:?}");
        let data = tempfile::tempdir().unwrap();
        let directory = Directory::open(data.path(), 1 << 16, 1).unwrap();
        let magic = rustix::fs::statfs(data.path()).unwrap().f_type;
        assert_eq!(directory.file_system(), in_words(u64::try_from(magic).unwrap()));
    }

    #[test]
    fn a_directory_is_in_use_as_long_as_it_is_held() {
        let data = tempfile::tempdir().unwrap();
        assert!(!Directory::is_in_use(data.path()).unwrap(), "nobody ever was");
        let hold = DirectoryHold::take(data.path()).unwrap();
        assert!(Directory::is_in_use(data.path()).unwrap());
        drop(hold);
        assert!(!Directory::is_in_use(data.path()).unwrap());
        let file = data.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Directory::is_in_use(&file).unwrap_err().to_string();
        assert!(error.contains(&format!("{}/LOCK", file.display())), "{error}");
    }

    #[test]
    fn room_is_kept_for_what_checkpoints_may_become() {
        let data = tempfile::tempdir().unwrap();
        let shard = files::shard_path(&files::arrangement_path(data.path(), 1), 0);
        fs::create_dir_all(&shard).unwrap();
        let takes = |checkpoint_bytes| {
            let directory = Directory::open_beside(data.path(), 1 << 16, 1, checkpoint_bytes);
            directory.unwrap().room().take(&shard, 4096, false, || Ok(()))
        };
        assert!(takes(0).is_ok() && takes(4096).is_ok());
        assert_eq!(takes(1 << 60).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_new_directory_needs_room_for_its_segments_and_checkpoints() {
        let data = tempfile::tempdir().unwrap();
        let needed = |segment_bytes, shards, checkpoint_bytes| {
            let opened =
                Directory::open_beside(data.path(), segment_bytes, shards, checkpoint_bytes);
            let Err(DirectoryError::NoRoom { needed, .. }) = opened else { panic!("too small") };
            needed
        };
        let segments = SEGMENTS_AT_START << 50;
        assert_eq!(needed(1 << 50, 1, 0), segments);
        assert_eq!(needed(1 << 50, 3, 0), 3 * segments);
        assert_eq!(needed(1 << 50, 2, 1 << 40), 2 * (segments + (CHECKPOINTS_AT_ONCE << 40)));
        assert!(!data.path().join(files::LOCK).exists());
    }

    #[test]
    fn copy_on_write_file_systems_are_known_by_their_magic() {
        assert_eq!(copy_on_write(0x9123_683e), Some("btrfs"));
        assert_eq!(copy_on_write(0xffff_ffff_9123_683e), Some("btrfs"));
        assert_eq!(copy_on_write(0x2fc1_2fc1), Some("zfs"));
        assert_eq!(copy_on_write(0xef53), None);
    }
}
