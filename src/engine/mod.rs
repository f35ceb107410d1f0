//! The pure state machine: envelopes, their shares and who claimed them.
//!
//! It decides (`issue`, `fund`, `claim`, `cancel`, … give an outcome and perhaps a
//! record) and it changes (`apply` takes a record), and the two never mix: a
//! decision changes nothing and `apply` decides nothing. There is no I/O here,
//! no clock, no source of randomness, no thread and no unsafe code. After
//! [`Engine::new`] no method allocates.
//!
//! An envelope is two sides in one page: the hot one (header and claims, and
//! the terms of one that has some) is all that a claim touches, the cold one is
//! for sending, showing and closing. The
//! pages are the state; the index of orders, the wheel of expiries, the ring of
//! closed envelopes and the lists of free slots are derived from them. So an
//! image of the state is a walk over the pages (`image`), each as of the
//! position at which it was copied, and what is derived is made anew when an
//! engine is restored (`restore`). A closed envelope is recycled by a record
//! when its retention is over; its slot is given out again under another
//! generation. Beside the pages stand the plans of campaigns, and what `risk` keeps:
//! holds on shares that were won, what is known of users, and what happened of late
//! that rules count; all three are in images.

mod apply;
mod arena;
mod bits;
mod buddy;
pub mod campaign;
mod claims;
mod class;
mod cold;
pub mod commitment;
mod decision;
mod digest;
mod directory;
mod due;
mod eligibility;
mod hash;
mod header;
mod image;
mod kept;
mod marks;
mod orders;
mod paying;
mod restore;
mod retained;
mod risk;
mod rules;
mod senders;
mod slice;
mod slots;
mod sound;
pub mod split;
mod staged;
mod strays;
mod tail;
mod totals;
mod transition;
mod vacancies;
mod validate;
mod wheel;
mod words;

pub use campaign::{CampaignView, Plan};
pub use decision::{
    Cause, Claimed, Closed, Commanded, Decision, Denied, Guessed, Held, Issued, Marked, Misfit,
    Outcome, Paid, Planned, Record, Recycled, Resolved, Returned, Revealed, Tagged, TermsPart,
    Voided,
};
pub use eligibility::{Gate, GuessLimits};
pub use hash::{mix, partition_of};
pub use image::{IMAGE_SLICE_BYTES_MAX, ImageCursor};
pub use kept::Kept;
pub use restore::Restoring;
pub use risk::{Frequency, Recent, RecentStep, RiskPolicy, RiskSettings};
pub use rules::EnvelopeLimits;
pub use senders::SenderLimits;
pub use slice::BadImage;
pub use totals::Totals;
pub use words::index;

use campaign::Campaigns;
use orders::Orders;
use retained::Retained;
use risk::Risk;
use senders::Senders;
use slots::Slots;
use staged::Staged;
use vacancies::Vacancies;
use wheel::Wheel;

use crate::units::{Cell, EnvelopeId, PARTITIONS, UserId};
use crate::wire::Row;

/// What the tables are sized for; all of it is reserved and touched at the
/// start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The most envelopes at a time: open ones, and closed ones until they are
    /// recycled.
    pub envelopes: u32,
    /// Bytes for envelopes with their claims, in whole pages of 64 KiB. Each
    /// pair of partition and size in use takes at least one page.
    pub table_bytes: usize,
    /// How long a closed envelope is kept, in seconds. So long its claims can
    /// be read, and so long its sender's order number is remembered: a repeat
    /// of the order after that is a new order.
    pub retention_s: u32,
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Envelopes that are kept.
    pub envelopes: u32,
    /// The most there may be.
    pub envelopes_max: u32,
    /// Pages of 64 KiB in use.
    pub pages: u32,
    /// The most there may be.
    pub pages_max: u32,
}

/// Where an envelope may be; only good for [`Engine::touch`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Place(usize);

/// All envelopes of some partitions of a cell.
pub struct Engine {
    slots: Slots,
    vacancies: Vacancies,
    orders: Orders,
    wheel: Wheel,
    retained: Retained,
    retained_large: Retained,
    campaigns: Campaigns,
    /// Holds, grades and lists; only as large as it was asked for.
    risk: Risk,
    /// Only where a sender has limits.
    senders: Option<Senders>,
    capacity: Capacity,
    limits: EnvelopeLimits,
    /// Terms whose order has not come yet.
    staged: Staged,
    totals: Totals,
    /// What recycled envelopes came to, by partition.
    archived: Vec<Totals>,
    /// Envelopes that are kept.
    live: u32,
    /// Images that are being taken.
    images: u32,
    /// Closed envelopes at the head of their ring whose lines were loaded.
    touched: usize,
}

impl Engine {
    /// An engine without envelopes. Everything it will ever use is reserved
    /// here, and touched: [`Engine::memory_bytes`].
    pub fn new(cell: Cell, capacity: Capacity, limits: EnvelopeLimits) -> Self {
        let slots = Slots::new(cell, capacity.table_bytes);
        Self {
            vacancies: Vacancies::new(),
            orders: Orders::new(capacity.envelopes),
            wheel: Wheel::new(),
            retained: Retained::new(capacity.envelopes),
            // Each has a page of its own at least.
            retained_large: Retained::new(slots.page_count()),
            campaigns: Campaigns::new(),
            risk: Risk::new(RiskSettings::OFF),
            senders: Senders::new(capacity.envelopes, limits.senders),
            slots,
            capacity,
            limits,
            staged: Staged::new(),
            totals: Totals::default(),
            archived: vec![Totals::default(); usize::from(PARTITIONS)],
            live: 0,
            images: 0,
            touched: 0,
        }
    }

    /// The bytes that [`Engine::new`] reserves for this capacity and these
    /// limits.
    pub fn memory_bytes(capacity: &Capacity, limits: &EnvelopeLimits) -> usize {
        let archived = usize::from(PARTITIONS) * size_of::<Totals>();
        Slots::bytes(capacity.table_bytes)
            + Vacancies::BYTES
            + Campaigns::BYTES
            + Orders::bytes(capacity.envelopes)
            + Senders::bytes(capacity.envelopes, &limits.senders)
            + Wheel::bytes()
            + Retained::bytes(capacity.envelopes)
            + Retained::bytes(arena::Arena::pages_in(capacity.table_bytes))
            + Staged::BYTES
            + archived
    }

    /// The running sums, of recycled envelopes too.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// How full the tables are.
    pub fn fill(&self) -> Fill {
        let pages_max = self.slots.page_count();
        Fill {
            envelopes: self.live,
            envelopes_max: self.capacity.envelopes,
            pages: pages_max - self.slots.free_pages(),
            pages_max,
        }
    }

    /// All envelopes that are kept, page by page.
    pub fn envelopes(&self) -> impl Iterator<Item = EnvelopeId> + '_ {
        self.slots.iter().map(|(envelope, _)| envelope)
    }

    /// All claims of the envelopes that are kept, page by page.
    pub fn claims(&self) -> impl Iterator<Item = Row> + '_ {
        self.slots.iter().flat_map(|(_, slot)| self.slots.rows(slot, 0))
    }

    /// What must be touched before [`Engine::claim_places`] is asked: the
    /// header, unless all places follow from the id.
    #[inline]
    pub fn place(&self, envelope: EnvelopeId) -> Place {
        Place(self.slots.place_before_claim(envelope))
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
        self.slots.claim_places(envelope, user).map(Place)
    }

    /// Loads where the search for a sender's order begins, so that the misses
    /// of a group of orders overlap. The result is only to be kept alive.
    #[inline]
    pub fn touch_order(&self, sender: UserId, order: u64) -> u64 {
        u64::from(self.orders.touch(sender, order))
    }

    /// Loads what that search compares, after [`Engine::touch_order`] was
    /// called for the whole group.
    #[inline]
    pub fn touch_compared(&self, sender: UserId, order: u64) -> u64 {
        self.orders.touch_chain(&self.slots, self.orders.first(sender, order))
    }
}
