//! The note that a sync failed, and what a start does about it.
//!
//! After a failed sync the page cache still shows bytes that never reached the
//! disk, and the next sync reports success. So a start that finds the note
//! reads the tail past the cache, writes those same bytes through it, and only
//! then lets anyone read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use memmap2::MmapMut;
use rustix::fs::OFlags;

use super::{files, widen};

/// How much is read at a time; a multiple of every disk's block size.
const CHUNK_BYTES: usize = 1 << 20;

/// Leaves the note. Best effort: the process ends anyway.
pub(super) fn leave(data: &Path, file: &str) {
    let note = data.join(files::SYNC_FAILED);
    let written = fs::write(&note, format!("a sync of {file} failed\n"));
    let synced = written.and_then(|()| File::open(&note)?.sync_all());
    let _ = synced.and_then(|()| files::sync_directory(data));
}

/// Whether the note is there.
pub(super) fn found(data: &Path) -> io::Result<bool> {
    data.join(files::SYNC_FAILED).try_exists()
}

/// Makes the page cache of every shard's tail equal to the disk, and the disk
/// to it; then removes the note.
pub(super) fn heal(data: &Path) -> io::Result<()> {
    for arrangement in files::arrangements(data)? {
        let arrangement = files::arrangement_path(data, arrangement);
        for shard in files::shards(&arrangement)? {
            let shard = files::shard_path(&arrangement, shard);
            for sequence in tail(&files::sequences(&shard)?) {
                rewrite(&files::segment_path(&shard, *sequence))?;
            }
        }
    }
    fs::remove_file(data.join(files::SYNC_FAILED))?;
    files::sync_directory(data)
}

/// What may not be on the disk when a sync has failed: the last three segments.
///
/// Under `os` a full segment is synced in the background, after the second one behind it
/// was made ready and before the third is. Under `sync` its last batch is committed after
/// the next one was taken and the one after that asked for. After a failure none is made.
fn tail(sequences: &[u32]) -> &[u32] {
    sequences.get(sequences.len().saturating_sub(3)..).unwrap_or_default()
}

fn rewrite(path: &Path) -> io::Result<()> {
    let direct = i32::try_from(OFlags::DIRECT.bits()).map_err(io::Error::other)?;
    let disk = OpenOptions::new().read(true).custom_flags(direct).open(path)?;
    let cached = OpenOptions::new().write(true).open(path)?;
    // Not looked at: a write that failed while nobody waited for it is told at the next
    // sync, and what failed before is what all this is for.
    let _ = cached.sync_data();
    // An anonymous mapping is aligned as O_DIRECT needs it.
    let mut buffer = MmapMut::map_anon(CHUNK_BYTES)?;
    let mut offset = 0;
    loop {
        let read = disk.read_at(&mut buffer, offset)?;
        if read == 0 {
            break;
        }
        for page in buffer.get(..read).unwrap_or_default().chunks(crate::limits::PAGE_BYTES) {
            cached.write_all_at(page, offset)?; // page by page: no large folios
            offset += widen(page.len());
        }
    }
    cached.sync_data()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_last_three_segments_are_written_again_and_then_the_note_goes() {
        let data = tempfile::tempdir().unwrap();
        let shard = files::shard_path(&files::arrangement_path(data.path(), 1), 0);
        fs::create_dir_all(&shard).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(1000);
        let bytes: Vec<u8> = (0..3 * CHUNK_BYTES / 2).map(|n| n.to_le_bytes()[0] | 1).collect();
        let path = |sequence| files::segment_path(&shard, sequence);
        for sequence in 1..=4 {
            fs::write(path(sequence), &bytes).unwrap();
            let file = OpenOptions::new().write(true).open(path(sequence)).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap();
        if OpenOptions::new().read(true).custom_flags(direct).open(path(1)).is_err() {
            println!("skipped: no O_DIRECT here");
            return;
        }
        assert!(!found(data.path()).unwrap());
        leave(data.path(), "0000000004.seg");
        assert!(found(data.path()).unwrap());
        heal(data.path()).unwrap();
        assert!(!found(data.path()).unwrap());
        let modified = |sequence| fs::metadata(path(sequence)).unwrap().modified().unwrap();
        let is_written = |sequence| modified(sequence) > long_ago + Duration::from_secs(500);
        assert_eq!([1, 2, 3, 4].map(is_written), [false, true, true, true]);
        assert!((1..=4).all(|sequence| fs::read(path(sequence)).unwrap() == bytes));
    }
}
