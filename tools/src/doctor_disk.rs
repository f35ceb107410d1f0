//! What `hb doctor` asks a disk: its space, and how long a sync takes.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// How long the disk is measured.
const PROBE: Duration = Duration::from_secs(2);

/// One page, as the smallest commit writes it.
const PAGE_BYTES: usize = 4096;

/// Pages of the file that is written to, round and round.
const PAGES: u64 = 1024;

/// Bytes that are free for us, and all there are.
#[derive(Clone, Copy)]
pub(crate) struct Space {
    pub(crate) free: u64,
    pub(crate) all: u64,
}

/// How long syncs took, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SyncTimes {
    pub(crate) syncs: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

/// The directory itself, or the parent in which it would be made.
pub(crate) fn nearest_existing(data: &Path) -> io::Result<PathBuf> {
    let whole = std::path::absolute(data)?;
    let existing = whole.ancestors().find(|path| path.exists());
    let place = existing.unwrap_or(Path::new("/")).canonicalize()?;
    if place.is_dir() { Ok(place) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// The space of the file system.
pub(crate) fn space(place: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(place)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space { free: bytes(stat.f_bavail), all: bytes(stat.f_blocks) })
}

/// Writes and syncs single pages of a file without a name, which is made ready
/// as a journal segment is: filled with zeros page by page, and synced.
pub(crate) fn probe(place: &Path) -> io::Result<SyncTimes> {
    let mut file = tempfile::tempfile_in(place)?;
    let page = [0; PAGE_BYTES];
    for _ in 0..PAGES {
        file.write_all(&page)?;
    }
    file.sync_all()?;
    let mut times = Histogram::<u64>::new(3).map_err(io::Error::other)?;
    let begun = Instant::now();
    let mut page = [0x5a_u8; PAGE_BYTES];
    for number in (0..PAGES).cycle() {
        page[0] = page[0].wrapping_add(1); // a page that did not change needs no write
        let before = Instant::now();
        file.write_all_at(&page, number * 4096)?;
        file.sync_data()?;
        let took = u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX);
        times.record(took).map_err(io::Error::other)?; // it grows with what comes
        if begun.elapsed() >= PROBE {
            break;
        }
    }
    let at = |quantile| times.value_at_quantile(quantile);
    let (p50_us, p99_us, max_us) = (at(0.5), at(0.99), times.max());
    Ok(SyncTimes { syncs: times.len(), p50_us, p99_us, max_us })
}
