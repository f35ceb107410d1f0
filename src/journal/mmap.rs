//! The mapping of a segment file, and what is said when the disk under it
//! fails. The only room of the journal with `unsafe`.
//!
//! Nothing here decides what is written or when.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw, UncheckedAdvice};

use super::Sequence;
use super::storage::{Segment, SegmentBytes};
use crate::limits::PAGE_BYTES;

/// The exit code of a process that a disk error under the mapping ended
/// (`EX_IOERR`).
pub const SIGBUS_EXIT_CODE: i32 = 74;

/// A segment file in memory.
#[derive(Debug)]
pub struct MappedSegment {
    map: MmapMut,
    /// The same bytes once more, for a thread that syncs and touches nothing.
    again: Arc<MmapRaw>,
    file: File,
    sequence: Sequence,
    slot: Option<&'static Slot>,
}

impl MappedSegment {
    /// Maps `bytes` bytes of `file` and brings all pages in.
    pub(super) fn map(
        file: &File,
        bytes: usize,
        shard: u16,
        sequence: Sequence,
    ) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.len(bytes).populate();
        // SAFETY: the data directory is locked by this process and each segment
        // is mapped once, so nobody else of ours writes these bytes while the
        // map is borrowed. A foreign process that truncates the file makes
        // accesses fault (SIGBUS), which ends the process.
        let map = unsafe { options.map_mut(file) }?;
        // A page that was evicted comes back alone: readahead would make a
        // large folio, and each small sync in it would rewrite all of it.
        map.advise(Advice::Random)?;
        let again = Arc::new(MmapOptions::new().len(bytes).map_raw(file)?);
        let file = file.try_clone()?;
        let slot = Slot::take(map.as_ptr().addr(), bytes, shard, sequence);
        Ok(Self { map, again, file, sequence, slot })
    }

    /// The segment's number.
    pub(super) fn sequence(&self) -> Sequence {
        self.sequence
    }
}

impl Drop for MappedSegment {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.free();
        }
    }
}

impl SegmentBytes for MappedSegment {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.map
    }
}

impl Segment for MappedSegment {
    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }

    fn set_out(&mut self, range: Range<usize>) {
        if range.len() > PAGE_BYTES {
            self.let_go_of(&range);
        }
        self.write_back(&range);
    }

    fn sync(&mut self, range: Range<usize>) -> io::Result<()> {
        self.map.flush_range(range.start, range.len())
    }
}

impl MappedSegment {
    /// What another thread needs to sync `range` in our stead. A sync goes by
    /// the pages of the file, whichever mapping has made them dirty.
    pub(super) fn lend(&self, range: &Range<usize>) -> Arc<MmapRaw> {
        if range.len() > PAGE_BYTES {
            self.let_go_of(range);
        }
        Arc::clone(&self.again)
    }

    /// Begins to write a range and waits for nothing. Its errors are those that
    /// the sync after it meets again: a write that failed stays known to the
    /// file until an `fsync` has told it.
    fn write_back(&self, range: &Range<usize>) {
        let offset = |n: usize| libc::off64_t::try_from(n).unwrap_or(0);
        let (from, bytes) = (offset(range.start), offset(range.len()));
        // SAFETY: the call takes plain numbers and touches no memory of ours;
        // the descriptor is open as long as `self.file` lives.
        let _ = unsafe {
            libc::sync_file_range(self.file.as_raw_fd(), from, bytes, libc::SYNC_FILE_RANGE_WRITE)
        };
    }

    /// Takes whole pages out of the page tables before they are written back.
    ///
    /// A page that is still mapped is made clean one by one, each with an
    /// interrupt to every core that runs, or lately ran, another thread of this
    /// process; here the whole range costs one. The next batch is on other
    /// pages, so nobody misses them.
    fn let_go_of(&self, range: &Range<usize>) {
        let advice = UncheckedAdvice::DontNeed;
        // SAFETY: for a shared mapping of a file this drops page table entries
        // only: what was written stays in the page cache, dirty, and a later
        // read maps the same bytes again, so no reference sees another value.
        let done = unsafe { self.map.unchecked_advise_range(advice, range.start, range.len()) };
        debug_assert!(done.is_ok(), "the range is within the mapping, on a page border");
    }
}

/// How many mappings a SIGBUS message can name: two or three per shard are
/// mapped at a time. More are mapped without a name.
const SLOTS: usize = 256;

static MAPPED: [Slot; SLOTS] = [const { Slot::empty() }; SLOTS];

/// One mapping, readable from within a signal: no locks, no allocation.
#[derive(Debug)]
struct Slot {
    taken: AtomicBool,
    start: AtomicUsize,
    bytes: AtomicUsize,
    shard: AtomicU64,
    sequence: AtomicU64,
}

impl Slot {
    const fn empty() -> Self {
        Self {
            taken: AtomicBool::new(false),
            start: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            shard: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
        }
    }

    fn take(start: usize, bytes: usize, shard: u16, sequence: Sequence) -> Option<&'static Self> {
        let slot = MAPPED.iter().find(|slot| !slot.taken.swap(true, Ordering::AcqRel))?;
        slot.bytes.store(bytes, Ordering::Relaxed);
        slot.shard.store(u64::from(shard), Ordering::Relaxed);
        slot.sequence.store(u64::from(sequence), Ordering::Relaxed);
        slot.start.store(start, Ordering::Release); // from here on it is seen
        Some(slot)
    }

    fn free(&self) {
        self.start.store(0, Ordering::Release);
        self.taken.store(false, Ordering::Release);
    }

    /// The offset of `address` in this mapping, if it lies in it.
    fn offset(&self, address: usize) -> Option<usize> {
        let start = self.start.load(Ordering::Acquire);
        let offset = address.checked_sub(start).filter(|_| start != 0)?;
        (offset < self.bytes.load(Ordering::Relaxed)).then_some(offset)
    }
}

/// Makes a disk error or a truncated file under a mapping end the process with
/// a message that names the segment and the offset. Called once, at start.
pub fn install_sigbus_message() {
    // SAFETY: all bits zero is a valid `sigaction`: no flags, an empty mask and
    // the default action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    action.sa_sigaction = address_of(on_sigbus);
    // SAFETY: `action` is initialised, and `on_sigbus` has the signature that
    // SA_SIGINFO asks for and calls only async-signal-safe functions.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
}

type SignalFunction = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// `sigaction` takes the function as a number; there is no other way to say it.
#[expect(clippy::as_conversions)]
fn address_of(function: SignalFunction) -> libc::sighandler_t {
    function as libc::sighandler_t
}

extern "C" fn on_sigbus(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO function.
    let info = unsafe { &*info };
    // SAFETY: for SIGBUS the kernel fills in the address; for one that was sent
    // by kill(2) the same bytes hold a pid, which lies in no mapping.
    let address = unsafe { info.si_addr() }.addr();
    let found = MAPPED.iter().find_map(|slot| Some((slot, slot.offset(address)?)));
    match found {
        Some((slot, offset)) => end_with_message(slot, offset),
        None => die_by_default(),
    }
}

fn end_with_message(slot: &Slot, offset: usize) {
    let mut line = Line::new();
    line.text(b"hongbao: SIGBUS in journal segment shard-");
    line.number(slot.shard.load(Ordering::Relaxed), 3);
    line.text(b"/");
    line.number(slot.sequence.load(Ordering::Relaxed), 10);
    line.text(b".seg at offset ");
    line.number(super::widen(offset), 1);
    line.text(b": the disk failed or the file was truncated; ");
    line.text(b"check the disk, then run `hb journal verify --data DIR`\n");
    let bytes = line.written();
    // SAFETY: write(2) is async-signal-safe; pointer and length are of a live
    // buffer.
    let _ = unsafe { libc::write(2, bytes.as_ptr().cast(), bytes.len()) };
    // SAFETY: _exit(2) is async-signal-safe and does not return.
    unsafe { libc::_exit(SIGBUS_EXIT_CODE) }
}

/// Not our mapping: what would have happened without us happens.
fn die_by_default() {
    // SAFETY: signal(2) with SIG_DFL is async-signal-safe.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
    // SAFETY: raise(3) is async-signal-safe; the signal is delivered when this
    // function returns.
    unsafe { libc::raise(libc::SIGBUS) };
}

/// A line built without allocating; what does not fit is left out.
struct Line {
    bytes: [u8; 256],
    length: usize,
}

impl Line {
    fn new() -> Self {
        Self { bytes: [0; 256], length: 0 }
    }

    fn text(&mut self, text: &[u8]) {
        for byte in text {
            if let Some(slot) = self.bytes.get_mut(self.length) {
                *slot = *byte;
                self.length += 1;
            }
        }
    }

    /// Decimal, with zeros in front up to `width` digits.
    fn number(&mut self, mut value: u64, width: usize) {
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        while value > 0 || digits.len() - first < width.clamp(1, 20) {
            first -= 1;
            let digit = u8::try_from(value % 10).unwrap_or(0);
            if let Some(slot) = digits.get_mut(first) {
                *slot = b'0' + digit;
            }
            value /= 10;
        }
        self.text(digits.get(first..).unwrap_or_default());
    }

    fn written(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_text_and_padded_numbers() {
        let mut line = Line::new();
        line.text(b"shard-");
        line.number(7, 3);
        line.text(b"/");
        line.number(0, 1);
        line.number(u64::MAX, 1);
        assert_eq!(line.written(), b"shard-007/018446744073709551615");
    }

    #[test]
    fn the_name_of_a_mapping_that_is_gone_is_free_for_the_next() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        for _ in 0..2 * SLOTS {
            assert!(MappedSegment::map(&file, 4096, 1, 2).unwrap().slot.is_some());
        }
    }

    #[test]
    fn an_address_is_found_only_within_its_mapping() {
        let slot = Slot::take(0x1000, 0x200, 1, 2).unwrap();
        assert_eq!(slot.offset(0xfff), None);
        assert_eq!(slot.offset(0x1000), Some(0));
        assert_eq!(slot.offset(0x11ff), Some(0x1ff));
        assert_eq!(slot.offset(0x1200), None);
        slot.free();
        assert_eq!(slot.offset(0x1000), None);
    }
}
