//! Writing a checkpoint file past the page cache, and reading it back.
//!
//! It is made under its unfinished name, synced, verified block by block from
//! the disk, and only then named; the directory is synced last. So a file with
//! a checkpoint's name was whole on the disk once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use glommio::io::DmaFile;

use super::format::{BLOCK_BYTES, Blocks, CheckpointFault, footer_of};
use super::{
    CheckpointFailed, CheckpointInfo, CheckpointNumber, CheckpointStart, Header, Packer,
    SLICE_BYTES_MAX, header_of,
};
use crate::journal::executor::{executor, plain, ticking};
use crate::journal::{Identity, Position, files, widen};
use crate::limits::PAGE_BYTES;

/// The longest sleep of a slow writer before it looks whether it is to end.
const NAP: Duration = Duration::from_millis(20);

/// What a writer needs to know of its shard.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) shard: PathBuf,
    pub(super) identity: Identity,
    pub(super) bytes_per_s: Option<u64>,
}

/// A checkpoint file on its way. It belongs to the executor's thread.
pub(super) struct Writing<'a> {
    place: &'a Place,
    cancelled: &'a AtomicBool,
    header: Header,
    path: PathBuf,
    file: DmaFile,
    packer: Packer,
    next_write: Instant,
}

impl<'a> Writing<'a> {
    /// Makes the unfinished file of the next number, with its header page.
    pub(super) async fn begin(
        place: &'a Place,
        start: CheckpointStart,
        cancelled: &'a AtomicBool,
    ) -> Result<Self, CheckpointFailed> {
        let listed = files::checkpoints(&place.shard).map_err(|e| failed(&place.shard, &e))?;
        let number = listed.last().map_or(1, |last| last.saturating_add(1));
        let path = files::unfinished_checkpoint_path(&place.shard, number);
        let header = Header { identity: place.identity, number, start };
        let (packer, page) = Packer::new(&header);
        let made = DmaFile::create(&path).await.map_err(|e| failed(&path, &plain(e)));
        let file = made.inspect_err(|_| {
            let _ = fs::remove_file(&path); // it may exist, without O_DIRECT
        })?;
        let next_write = Instant::now();
        let this = Self { place, cancelled, header, path, file, packer, next_write };
        match this.write(0, &page).await {
            Ok(()) => Ok(this),
            Err(error) => Err(this.give_up(error).await),
        }
    }

    /// Adds a slice; a block that is full is written first.
    pub(super) async fn put(&mut self, slice: &[u8]) -> Result<(), CheckpointFailed> {
        if slice.len() > SLICE_BYTES_MAX {
            return Err(CheckpointFailed::SliceTooLong { bytes: slice.len() });
        }
        if !self.packer.fits(slice.len()) {
            self.write_block().await?;
        }
        self.packer.push(slice);
        Ok(())
    }

    /// Everything is there: completes the file and gives it its name.
    pub(super) async fn finish(
        mut self,
        end: Position,
    ) -> Result<CheckpointInfo, CheckpointFailed> {
        match self.complete(end).await {
            Ok(bytes) => {
                let _ = self.file.close().await; // it is synced and verified
                name(self.place, &self.header, &self.path, end, bytes)
            }
            Err(error) => Err(self.give_up(error).await),
        }
    }

    async fn complete(&mut self, end: Position) -> Result<u64, CheckpointFailed> {
        self.write_block().await?;
        let (offset, page) = self.packer.footer(end);
        self.write(offset, &page).await?;
        self.file.fdatasync().await.map_err(|e| failed(&self.path, &plain(e)))?;
        let bytes = offset.saturating_add(widen(PAGE_BYTES));
        verify(&self.path, self.header.number, bytes, self.cancelled).await?;
        Ok(bytes)
    }

    /// Removes the unfinished file: a full disk gets its space back.
    pub(super) async fn give_up(self, why: CheckpointFailed) -> CheckpointFailed {
        let _ = self.file.close().await; // nobody will read it
        let _ = fs::remove_file(&self.path); // the next start removes it too
        why
    }

    async fn write_block(&mut self) -> Result<(), CheckpointFailed> {
        let Some((offset, block)) = self.packer.seal() else { return Ok(()) };
        let bytes = block.len();
        write(&self.file, &self.path, offset, block).await?;
        self.packer.opened();
        self.pace(bytes)
    }

    async fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), CheckpointFailed> {
        write(&self.file, &self.path, offset, bytes).await
    }

    /// Waits as long as the limit of bytes a second asks for.
    fn pace(&mut self, bytes: usize) -> Result<(), CheckpointFailed> {
        if let Some(limit) = self.place.bytes_per_s.filter(|limit| *limit > 0) {
            let nanos = widen(bytes).saturating_mul(1_000_000_000) / limit;
            let from = self.next_write.max(Instant::now());
            self.next_write = from + Duration::from_nanos(nanos);
        }
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(CheckpointFailed::Ended);
            }
            let left = self.next_write.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(NAP)); // nothing else runs on this executor
        }
    }
}

/// The error in the words of a checkpoint.
pub(super) fn failed(path: &Path, error: &io::Error) -> CheckpointFailed {
    let file = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            CheckpointFailed::NoSpace { file }
        }
        _ => CheckpointFailed::Disk { file, reason: error.to_string() },
    }
}

/// Writes whole pages. A write that comes back short is continued, so that the
/// system says why.
async fn write(
    file: &DmaFile,
    path: &Path,
    mut offset: u64,
    mut bytes: &[u8],
) -> Result<(), CheckpointFailed> {
    while !bytes.is_empty() {
        let mut buffer = file.alloc_dma_buffer(bytes.len());
        buffer.as_bytes_mut().copy_from_slice(bytes);
        let written = file.write_at(buffer, offset).await.map_err(|e| failed(path, &plain(e)))?;
        let written = written / PAGE_BYTES * PAGE_BYTES;
        if written == 0 {
            return Err(failed(path, &io::ErrorKind::WriteZero.into()));
        }
        bytes = bytes.get(written..).unwrap_or_default();
        offset = offset.saturating_add(widen(written));
    }
    Ok(())
}

/// Reads the file past the page cache and checks every block of it.
async fn verify(
    path: &Path,
    number: CheckpointNumber,
    bytes: u64,
    cancelled: &AtomicBool,
) -> Result<(), CheckpointFailed> {
    let file = DmaFile::open(path).await.map_err(|e| failed(path, &plain(e)))?;
    let verified = read_back(&file, path, number, bytes, cancelled).await;
    let _ = file.close().await; // it was only read
    verified
}

async fn read_back(
    file: &DmaFile,
    path: &Path,
    number: CheckpointNumber,
    bytes: u64,
    cancelled: &AtomicBool,
) -> Result<(), CheckpointFailed> {
    let damaged = |fault: CheckpointFault| CheckpointFailed::Disk {
        file: path.display().to_string(),
        reason: format!("reading back what was just written, {fault}"),
    };
    let page = read(file, path, 0, PAGE_BYTES).await?;
    let (_, seed) = header_of(&page, number).map_err(damaged)?;
    let page = read(file, path, bytes.saturating_sub(widen(PAGE_BYTES)), PAGE_BYTES).await?;
    let mut blocks = Blocks::new(seed, footer_of(&page, bytes, seed).map_err(damaged)?);
    while let Some(offset) = blocks.next_offset() {
        if cancelled.load(Ordering::Relaxed) {
            return Err(CheckpointFailed::Ended);
        }
        let block = read(file, path, offset, BLOCK_BYTES).await?;
        let length = blocks.length(&block).map_err(damaged)?;
        let block = block.get(..length).ok_or_else(|| damaged(blocks.damaged()))?;
        blocks.check(block).map_err(damaged)?;
    }
    blocks.finish().map_err(damaged)
}

async fn read(
    file: &DmaFile,
    path: &Path,
    offset: u64,
    bytes: usize,
) -> Result<glommio::io::ReadResult, CheckpointFailed> {
    file.read_at_aligned(offset, bytes).await.map_err(|e| failed(path, &plain(e)))
}

/// Names a verified file, durably, and removes the generations before the
/// older one.
fn name(
    place: &Place,
    header: &Header,
    unfinished: &Path,
    end: Position,
    bytes: u64,
) -> Result<CheckpointInfo, CheckpointFailed> {
    let path = files::checkpoint_path(&place.shard, header.number);
    let mut info = CheckpointInfo {
        number: header.number,
        began: header.start.position(),
        end,
        bytes,
        began_at: header.start.began_at,
        keep_from: Position(0),
    };
    match rename(place, unfinished, &path) {
        Ok(keep_from) => info.keep_from = keep_from,
        Err(error) => {
            let _ = fs::remove_file(unfinished); // the next start removes it too
            return Err(failed(&path, &error));
        }
    }
    Ok(info)
}

/// Where the older generation begins, once the new one is named.
fn rename(place: &Place, unfinished: &Path, path: &Path) -> io::Result<Position> {
    let older = files::checkpoints(&place.shard)?;
    fs::rename(unfinished, path)?;
    files::sync_directory(&place.shard)?;
    let Some((last, rest)) = older.split_last() else { return Ok(Position(0)) };
    for number in rest {
        fs::remove_file(files::checkpoint_path(&place.shard, *number))?;
    }
    if !rest.is_empty() {
        files::sync_directory(&place.shard)?;
    }
    Ok(begin_of(&place.shard, *last).unwrap_or_default())
}

/// Where a checkpoint begins, as its first page says.
fn begin_of(shard: &Path, number: CheckpointNumber) -> Option<Position> {
    let front = files::peek(&files::checkpoint_path(shard, number)).ok()?.front;
    Some(header_of(&front, number).ok()?.0.start.position())
}

/// Writes a whole checkpoint into a shard's directory and returns when it is
/// on the disk and verified: what a new arrangement begins with. The file gets
/// the next number, its journal must have reached `end`.
pub fn write_checkpoint<T: AsRef<[u8]>>(
    shard: &Path,
    identity: Identity,
    start: CheckpointStart,
    end: Position,
    slices: impl IntoIterator<Item = T>,
) -> Result<CheckpointInfo, CheckpointFailed> {
    let place = Place { shard: shard.to_owned(), identity, bytes_per_s: None };
    let executor = executor("checkpoint", None).map_err(|e| failed(shard, &e))?;
    let cancelled = AtomicBool::new(false);
    executor.run(ticking(async {
        let mut writing = Writing::begin(&place, start, &cancelled).await?;
        for slice in slices {
            if let Err(error) = writing.put(slice.as_ref()).await {
                return Err(writing.give_up(error).await);
            }
        }
        writing.finish(end).await
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Time;

    const US: Identity = Identity { cell: 1, shard: 0, shards: 1 };

    fn written(shard: &Path, slices: &[Vec<u8>]) -> Result<CheckpointInfo, CheckpointFailed> {
        write_checkpoint(shard, US, CheckpointStart::founding(1, Time(5)), Position(0), slices)
    }

    #[test]
    fn what_the_disk_did_not_keep_is_found_when_it_is_read_back() {
        let shard = tempfile::tempdir().unwrap();
        let info = written(shard.path(), &[vec![1; 9], vec![2; 5000]]).unwrap();
        let path = files::checkpoint_path(shard.path(), info.number);
        let read_back = |is_cancelled| {
            let (executor, cancelled) = (executor("test", None), AtomicBool::new(is_cancelled));
            executor
                .unwrap()
                .run(ticking(async { verify(&path, info.number, info.bytes, &cancelled).await }))
        };
        assert_eq!(read_back(false), Ok(()));
        assert_eq!(read_back(true), Err(CheckpointFailed::Ended));
        let whole = fs::read(&path).unwrap();
        for at in [0, PAGE_BYTES + 40, 2 * PAGE_BYTES, whole.len() - PAGE_BYTES] {
            let mut other = whole.clone();
            other[at] ^= 1;
            fs::write(&path, other).unwrap();
            let told = read_back(false).unwrap_err().to_string();
            assert!(told.contains("reading back what was just written"), "{at}: {told}");
        }
    }

    #[test]
    fn the_longest_slice_is_taken_and_of_a_longer_one_nothing_is_left() {
        let shard = tempfile::tempdir().unwrap();
        let longest = vec![vec![7; 3], vec![8; SLICE_BYTES_MAX], vec![9; 3]];
        let info = written(shard.path(), &longest).unwrap();
        assert_eq!(info.bytes, widen(BLOCK_BYTES + 4 * PAGE_BYTES), "three blocks");
        let refused = written(shard.path(), &[vec![7; SLICE_BYTES_MAX + 1]]);
        assert_eq!(refused, Err(CheckpointFailed::SliceTooLong { bytes: SLICE_BYTES_MAX + 1 }));
        assert_eq!(fs::read_dir(shard.path()).unwrap().count(), 1, "the first");
    }

    #[test]
    fn no_bytes_a_second_is_no_limit() {
        let shard = tempfile::tempdir().unwrap();
        let cancelled = AtomicBool::new(false);
        let place = Place { shard: shard.path().to_owned(), identity: US, bytes_per_s: Some(0) };
        let start = CheckpointStart::founding(1, Time(5));
        let executor = executor("test", None).unwrap();
        let info = executor.run(ticking(async {
            let mut writing = Writing::begin(&place, start, &cancelled).await?;
            writing.put(&[1; 9]).await?;
            writing.finish(Position(0)).await
        }));
        assert_eq!(info.map(|info| info.number), Ok(1));
    }
}
