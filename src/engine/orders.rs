//! What each sender ordered, found again by (sender, order number).
//!
//! This is what makes sending idempotent, for ever: orders are never removed.
//! All memory is taken in `new`.

use super::hash::mix;
use super::words::{buckets_for, first_bucket, index, narrow};
use crate::units::{EnvelopeId, Fen, UnixSeconds, UserId};

/// What an envelope's header does not hold: the cold side of it.
#[derive(Clone, Copy)]
pub(super) struct Order {
    /// Who paid.
    pub(super) sender: UserId,
    /// The sender's number for the order.
    pub(super) number: u64,
    /// The payment's reference.
    pub(super) payment: u64,
    /// The envelope that was funded.
    pub(super) envelope: EnvelopeId,
    /// The money that was put in, in fen.
    pub(super) total: Fen,
    /// When.
    pub(super) created_at: UnixSeconds,
    /// How long it may be claimed, in seconds.
    pub(super) lifetime_s: u32,
}

/// All orders, in the order of funding.
pub(super) struct Orders {
    slab: Vec<Order>,
    capacity: u32,
    /// Place in the slab + 1, by hash of (sender, order); 0 is empty. A crowd
    /// of colliding orders would cost its sender a funded envelope each, so
    /// the hash needs no secret.
    buckets: Vec<u32>,
}

impl Orders {
    /// The bytes that [`Orders::new`] reserves.
    pub(super) fn bytes(capacity: u32) -> usize {
        index(capacity) * size_of::<Order>() + buckets_for(capacity) * size_of::<u32>()
    }

    /// No orders, and room for `capacity`.
    pub(super) fn new(capacity: u32) -> Self {
        let slab = Vec::with_capacity(index(capacity));
        Self { slab, capacity, buckets: vec![0; buckets_for(capacity)] }
    }

    /// Whether there is no room for another.
    pub(super) fn is_full(&self) -> bool {
        self.slab.len() >= index(self.capacity)
    }

    /// The order that an envelope's header refers to.
    pub(super) fn get(&self, order_ref: u32) -> Option<&Order> {
        self.slab.get(index(order_ref))
    }

    /// All orders, in the order of funding.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Order> {
        self.slab.iter()
    }

    /// The sender's order of that number.
    pub(super) fn find(&self, sender: UserId, number: u64) -> Option<&Order> {
        let is_it = |found: &&Order| found.sender == sender && found.number == number;
        let mut at = self.first(sender, number);
        loop {
            let found = self.get(self.buckets[at].checked_sub(1)?)?;
            if is_it(&found) {
                return Some(found);
            }
            at = self.after(at);
        }
    }

    /// How many there are; also the reference of the next one.
    pub(super) fn len(&self) -> u32 {
        narrow(self.slab.len())
    }

    /// Adds an order that is not there yet, while there is room.
    pub(super) fn push(&mut self, order: Order) {
        let mut at = self.first(order.sender, order.number);
        while self.buckets[at] != 0 {
            at = self.after(at);
        }
        self.slab.push(order);
        self.buckets[at] = self.len();
    }

    fn first(&self, sender: UserId, number: u64) -> usize {
        first_bucket(mix(mix(sender.0) ^ number), self.buckets.len())
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.buckets.len() - 1)
    }
}
