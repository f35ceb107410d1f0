//! Which envelope is due next: a heap of expiry times.
//!
//! Each envelope enters once, when it is funded, and leaves when it is met at
//! the head, closed; so the heap never outgrows the memory taken in `new`.
//! What is in it is derived from the envelopes and no part of the state.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::words::index;
use crate::units::{EnvelopeId, UnixSeconds};

type Entry = Reverse<(UnixSeconds, EnvelopeId)>;

/// The expiry times of all envelopes that were open when last looked at.
pub(super) struct Expiries {
    heap: BinaryHeap<Entry>,
}

impl Expiries {
    /// The bytes that [`Expiries::new`] reserves.
    pub(super) fn bytes(capacity: u32) -> usize {
        index(capacity) * size_of::<Entry>()
    }

    /// No expiries, and room for `capacity`.
    pub(super) fn new(capacity: u32) -> Self {
        Self { heap: BinaryHeap::with_capacity(index(capacity)) }
    }

    /// Adds an envelope; once in its life.
    pub(super) fn push(&mut self, expires_at: UnixSeconds, envelope: EnvelopeId) {
        self.heap.push(Reverse((expires_at, envelope)));
    }

    /// The earliest.
    pub(super) fn head(&self) -> Option<(UnixSeconds, EnvelopeId)> {
        self.heap.peek().map(|&Reverse(entry)| entry)
    }

    /// Forgets the earliest.
    pub(super) fn drop_head(&mut self) {
        self.heap.pop();
    }
}
