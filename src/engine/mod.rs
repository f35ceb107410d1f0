//! The pure state machine: envelopes, their shares and who claimed them.
//!
//! It decides (`fund`, `claim`, `cancel`, … give an outcome and perhaps a
//! record) and it changes (`apply` takes a record), and the two never mix: a
//! decision changes nothing and `apply` decides nothing. There is no I/O here,
//! no clock, no source of randomness, no thread and no unsafe code. After
//! [`Engine::new`] no method allocates.

mod apply;
mod arena;
mod buddy;
mod claims;
mod class;
mod decision;
mod digest;
mod directory;
mod expiries;
mod hash;
mod header;
mod orders;
mod rules;
mod slots;
pub mod split;
mod totals;
mod validate;
mod words;

pub use decision::{Cause, Claimed, Closed, Decision, Funded, Misfit, Outcome, Record};
pub use hash::partition_of;
pub use rules::EnvelopeLimits;
pub use totals::Totals;
pub use words::index;

use expiries::Expiries;
use orders::Orders;
use slots::Slots;

use crate::units::{Cell, EnvelopeId, UserId};

/// What the tables are sized for; all of it is reserved at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The most envelopes, ever.
    pub envelopes: u32,
    /// Bytes for envelopes with their claims, in whole pages of 64 KiB. Each
    /// pair of partition and size in use takes at least one page.
    pub table_bytes: usize,
}

/// Where an envelope may be; only good for [`Engine::touch`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Place(usize);

/// All envelopes of some partitions of a cell.
pub struct Engine {
    slots: Slots,
    orders: Orders,
    expiries: Expiries,
    limits: EnvelopeLimits,
    totals: Totals,
}

impl Engine {
    /// An engine without envelopes. Everything it will ever use is reserved
    /// here: [`Engine::memory_bytes`], touched by the system as it is used.
    pub fn new(cell: Cell, capacity: Capacity, limits: EnvelopeLimits) -> Self {
        Self {
            slots: Slots::new(cell, capacity.table_bytes),
            orders: Orders::new(capacity.envelopes),
            expiries: Expiries::new(capacity.envelopes),
            limits,
            totals: Totals::default(),
        }
    }

    /// The bytes that [`Engine::new`] reserves for this capacity.
    pub fn memory_bytes(capacity: &Capacity) -> usize {
        Slots::bytes(capacity.table_bytes)
            + Orders::bytes(capacity.envelopes)
            + Expiries::bytes(capacity.envelopes)
    }

    /// The running sums.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// All envelopes, in the order in which they were funded.
    pub fn envelopes(&self) -> impl Iterator<Item = EnvelopeId> + '_ {
        self.orders.iter().map(|order| order.envelope)
    }

    /// Where the envelope's header lies, for [`Engine::touch`].
    #[inline]
    pub fn place(&self, envelope: EnvelopeId) -> Place {
        Place(self.slots.place(envelope))
    }

    /// Loads the word at a place. All places of a group are found before the
    /// first of them is touched: what follows is nothing but loads that do not
    /// depend on each other, so the processor waits for all their cache misses
    /// at once. The result means nothing and is only to be kept alive.
    #[inline]
    pub fn touch(&self, place: Place) -> u64 {
        self.slots.touch(place.0)
    }

    /// Where a claim of this user would read and write, after the header was
    /// touched.
    #[inline]
    pub fn claim_places(&self, envelope: EnvelopeId, user: UserId) -> [Place; 4] {
        let slot = self.slots.get(envelope);
        slot.map_or([0; 4], |slot| slot.claim_places(user)).map(Place)
    }
}
