//! The space on the disk that segments leave to checkpoints.
//!
//! Segments go only when two checkpoints are past them. A journal that took
//! the last byte for a segment could never be shortened again, so a segment is
//! made only where two generations and the one being written still fit beside
//! it, however large they become, and one more segment for each shard. Only a
//! start that finds its last segment full takes of what is kept. It knows the
//! lengths of files and nothing of what is in them.

use std::fs;
use std::io;
use std::path::Path;

use parking_lot::Mutex;

use super::files;

/// Checkpoints of a shard that may be on the disk at a time.
pub(super) const CHECKPOINTS_AT_ONCE: u64 = 3;

/// What segments of one data directory leave.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// The largest a checkpoint of one shard can be; 0 where none are taken.
    checkpoint_bytes: u64,
    /// Held by the shard that allocates, so that two never take the same space.
    allocating: Mutex<()>,
}

impl Room {
    /// For checkpoints of at most so many bytes a shard.
    pub(super) fn leaving(checkpoint_bytes: u64) -> Self {
        Self { checkpoint_bytes, allocating: Mutex::default() }
    }

    /// Does `allocate`, which makes a segment of `bytes` on the disk of `shard`,
    /// if everything that is kept of it is left afterwards; otherwise the disk is
    /// full. The segment of a `start` is of what is kept: one for that, and where
    /// starts follow each other faster than checkpoints, of the room for these,
    /// which is that of full tables.
    pub(super) fn take<T>(
        &self,
        shard: &Path,
        bytes: u64,
        start: bool,
        allocate: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let _alone = self.allocating.lock();
        if self.checkpoint_bytes > 0 && !start {
            let kept = self.kept(shard.parent().unwrap_or(shard), bytes)?;
            if free(shard)? < bytes.saturating_add(kept) {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        allocate()
    }

    /// What the checkpoints of an arrangement's shards may still take, and
    /// `segment_bytes` for each shard.
    fn kept(&self, arrangement: &Path, segment_bytes: u64) -> io::Result<u64> {
        let full = self.checkpoint_bytes.saturating_mul(CHECKPOINTS_AT_ONCE);
        let mut kept: u64 = 0;
        for shard in files::shards(arrangement)? {
            let there = taken(&files::shard_path(arrangement, shard))?;
            kept = kept.saturating_add(full.saturating_sub(there)).saturating_add(segment_bytes);
        }
        Ok(kept)
    }
}

/// What the checkpoints of a shard have of the disk, also unfinished ones. A
/// file that goes meanwhile has nothing.
fn taken(shard: &Path) -> io::Result<u64> {
    let finished = files::checkpoints(shard)?.into_iter();
    let unfinished = files::unfinished_checkpoints(shard)?.into_iter();
    let paths = finished
        .map(|number| files::checkpoint_path(shard, number))
        .chain(unfinished.map(|number| files::unfinished_checkpoint_path(shard, number)));
    Ok(paths.filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum())
}

/// What is free on the disk of a path.
pub(super) fn free(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_checkpoints_are_there_needs_no_room_again() {
        let data = tempfile::tempdir().unwrap();
        let room = Room::leaving(1000);
        let shard = |number| files::shard_path(data.path(), number);
        for number in 0..2 {
            fs::create_dir(shard(number)).unwrap();
        }
        let kept = || room.kept(data.path(), 0).unwrap();
        assert_eq!(kept(), 6000);
        fs::write(files::checkpoint_path(&shard(0), 1), [0; 600]).unwrap();
        assert_eq!(kept(), 5400);
        fs::write(files::unfinished_checkpoint_path(&shard(0), 2), [0; 300]).unwrap();
        assert_eq!(kept(), 5100);
        fs::write(files::checkpoint_path(&shard(1), 7), [0; 4000]).unwrap();
        assert_eq!(kept(), 2100, "one shard has no part of another's");
        assert_eq!(room.kept(data.path(), 64).unwrap(), 2228, "a segment for the start of each");
    }

    #[test]
    fn a_segment_is_allocated_only_beside_the_checkpoints() {
        let data = tempfile::tempdir().unwrap();
        let shard = files::shard_path(data.path(), 0);
        fs::create_dir(&shard).unwrap();
        let taken = |room: Room, bytes, start| room.take(&shard, bytes, start, || Ok(()));
        let part = free(&shard).unwrap() / 16;
        assert!(taken(Room::leaving(part), 4096, false).is_ok());
        let full = taken(Room::leaving(part), 8 * part, false).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(taken(Room::leaving(part), 8 * part, true).is_ok(), "a start takes what is kept");
        assert!(taken(Room::default(), 14 * part, false).is_ok(), "no checkpoints are taken");
    }
}
