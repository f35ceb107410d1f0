//! The receive buffers that are lent to the kernel, and their ring.
//!
//! Only `net::ring` uses this room. A buffer is either the kernel's or, while
//! a [`Lent`] token for it exists, ours; never both.
#![allow(unsafe_code)] // the memory is shared with the kernel, as `net::ring` is

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// How many receive buffers a shard lends to the kernel (DESIGN §1).
pub(super) const BUFFERS: u16 = 256;

/// Bytes of one receive buffer.
pub(super) const BUFFER_BYTES: usize = 16 * 1024;

/// The right to read one received buffer; handing it back ends it.
#[derive(Debug, PartialEq, Eq)]
pub struct Lent {
    id: u16,
    bytes: usize,
}

impl Lent {
    /// Which buffer it is, and how many bytes of it were received.
    pub(super) fn place(&self) -> (u16, usize) {
        (self.id, self.bytes)
    }
}

/// The buffers, and the ring of entries in which the kernel finds the free ones.
pub(super) struct ReceiveBuffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    tail: u16,
}

fn layout(bytes: usize) -> Layout {
    // Both sizes are constants far below the limit that would be an error.
    Layout::from_size_align(bytes, 4096).unwrap_or(Layout::new::<u8>())
}

fn entries_layout() -> Layout {
    layout(usize::from(BUFFERS) * size_of::<BufRingEntry>())
}

fn memory_layout() -> Layout {
    layout(usize::from(BUFFERS) * BUFFER_BYTES)
}

fn zeroed(layout: Layout) -> NonNull<u8> {
    // SAFETY: both layouts have a size above zero, which is all that
    // `alloc_zeroed` asks for.
    let start = unsafe { alloc_zeroed(layout) };
    NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout))
}

impl ReceiveBuffers {
    /// Reserves the memory; nothing is the kernel's before `hand_out_all`.
    pub(super) fn new() -> Self {
        Self { entries: zeroed(entries_layout()).cast(), memory: zeroed(memory_layout()), tail: 0 }
    }

    /// Where the entries start, for the registration with the ring.
    pub(super) fn entries_address(&self) -> u64 {
        u64::try_from(self.entries.as_ptr().addr()).unwrap_or(u64::MAX)
    }

    /// Gives every buffer to the kernel, once, after the registration.
    pub(super) fn hand_out_all(&mut self) {
        for id in 0..BUFFERS {
            self.put_entry(id);
        }
        self.publish();
    }

    /// The token for buffer `id`, which a completion says holds `bytes` bytes.
    pub(super) fn take(id: u16, bytes: usize) -> Lent {
        assert!(
            id < BUFFERS && bytes <= BUFFER_BYTES,
            "the kernel names a buffer that it was lent"
        );
        Lent { id, bytes }
    }

    /// What was received.
    pub(super) fn bytes(&self, lent: &Lent) -> &[u8] {
        let start = self.start_of(lent.id);
        // SAFETY: `Lent` exists only between the completion that gave the
        // buffer to us and `give_back`, so the kernel does not write to these
        // `bytes <= BUFFER_BYTES` initialized bytes while they are borrowed.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), lent.bytes) }
    }

    /// Makes the buffer free for the kernel again, at the next `publish`.
    #[expect(clippy::needless_pass_by_value, reason = "the token ends here")]
    pub(super) fn give_back(&mut self, lent: Lent) {
        self.put_entry(lent.id);
    }

    /// Lets the kernel see what was given back.
    pub(super) fn publish(&mut self) {
        // SAFETY: `entries` is the start of a live, initialized ring of
        // entries, whose first entry holds the tail in its reserved field.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the field is two-aligned, lives as long as `self`, and is
        // shared with the kernel only, which reads it atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn start_of(&self, id: u16) -> NonNull<u8> {
        // SAFETY: `id < BUFFERS` (checked when the token was made, or a loop
        // bound), so the offset stays inside the one allocation.
        unsafe { self.memory.add(usize::from(id) * BUFFER_BYTES) }
    }

    fn put_entry(&mut self, id: u16) {
        let address = u64::try_from(self.start_of(id).as_ptr().addr()).unwrap_or(u64::MAX);
        let place = usize::from(self.tail % BUFFERS);
        // SAFETY: `place < BUFFERS`, so the entry is inside the allocation.
        let mut entry = unsafe { self.entries.add(place) };
        // SAFETY: zeroed entries are valid; the kernel reads only entries
        // before the published tail, and this one is not before it.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(address);
        entry.set_len(u32::try_from(BUFFER_BYTES).unwrap_or(u32::MAX));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Frees the memory. The caller has seen that the kernel uses none of it;
    /// otherwise the memory is leaked on purpose by not calling this.
    pub(super) fn free(&mut self) {
        // SAFETY: allocated in `new` with this layout and freed only here;
        // `net::ring` calls this once, when it drops, with nothing in flight.
        unsafe { dealloc(self.memory.as_ptr(), memory_layout()) };
        // SAFETY: as above, for the entries, after the ring is unregistered.
        unsafe { dealloc(self.entries.as_ptr().cast(), entries_layout()) };
    }
}
