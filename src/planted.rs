//! Bugs that are planted on purpose, one at a time, to see whether the tests
//! find them; `docs/TESTING.md` has the table of which finds which.
//!
//! Only the feature `planted` can make one true. Without it every question here
//! is a constant no, and nothing of this is in the server.

/// A known bug. Each is a mistake that somebody made in a system like this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A reply leaves though its batch was not synced.
    SyncSkipped = 1,
    /// A failed sync is tried again, and its second answer is believed.
    SyncRetried,
    /// The start after a failed sync believes the page cache.
    StalePageTrusted,
    /// The same where the sync that failed was one of a start.
    StaleStartTrusted,
    /// A header tells its own batch as known to be committed.
    CommittedAhead,
    /// Damage below what is known to be committed is cut off like a torn tail.
    DamageCutOff,
    /// Now and then a claim is told and applied, and never appended.
    AppendForgotten,
    /// A claim is told though the journal has no room for it.
    FullDiskClaims,
    /// "Expired" is told before the expiry is a record.
    ExpiryUnrecorded,
    /// A claim does not look at the time.
    ClaimAfterExpiry,
    /// A repeated claim tells another amount.
    RepeatRedrawn,
    /// Now and then an order's number is forgotten.
    OrderForgotten,
    /// A slot gets its last generation once more.
    GenerationReused,
    /// Anybody may cancel.
    AnybodyCancels,
    /// Records that an image has already are applied once more.
    ImageReplayed,
    /// Segments go before a restart can do without them.
    FreedEarly,
    /// The mesh loses a parcel now and then.
    ParcelDropped,
    /// Time is whatever the wall clock says.
    ClockRunsBack,
    /// After a restart time is whatever the wall clock says.
    ClockForgotten,
    /// Credits are in the ledger, and the cursor is where it was.
    CreditWithoutCursor,
    /// What is left goes back to the sender by two records.
    RefundTwice,
    /// A wrong guess is told and not recorded.
    GuessUnrecorded,
    /// A checkpoint does not know who has guessed.
    GuessesForgotten,
    /// Nobody looks until when a ticket is good.
    TicketOutlived,
    /// One prize more than the plan has released may be won.
    PrizeTooEarly,
    /// The second win gets the prize of the first.
    PrizeGivenTwice,
    /// Nobody looks how much a user has won.
    CapForgotten,
    /// A segment that cannot be read is as good as none.
    UnreadPassedOver,
    /// A batch whose sync was begun beside the next is told as committed.
    OverlapTold,
    /// A new arrangement does not know what time it was in the old one.
    TimeNotCarried,
    /// A repeated claim of a held share tells its amount.
    HeldTold,
    /// What is decided about a hold is told and not recorded.
    VerdictUnrecorded,
    /// A rejected share is its claimant's all the same.
    RejectedGiven,
    /// A share that was given may still be rejected.
    GivenRejected,
    /// A checkpoint does not know what is held.
    HoldsForgotten,
    /// Whoever sets the wall clock ahead sets the time of the server.
    WallFollowed,
    /// What comes just before a shard sleeps waits until something else wakes it.
    SleptOver,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 37] = [
        Self::SyncSkipped,
        Self::SyncRetried,
        Self::StalePageTrusted,
        Self::StaleStartTrusted,
        Self::CommittedAhead,
        Self::DamageCutOff,
        Self::AppendForgotten,
        Self::FullDiskClaims,
        Self::ExpiryUnrecorded,
        Self::ClaimAfterExpiry,
        Self::RepeatRedrawn,
        Self::OrderForgotten,
        Self::GenerationReused,
        Self::AnybodyCancels,
        Self::ImageReplayed,
        Self::FreedEarly,
        Self::ParcelDropped,
        Self::ClockRunsBack,
        Self::ClockForgotten,
        Self::CreditWithoutCursor,
        Self::RefundTwice,
        Self::GuessUnrecorded,
        Self::GuessesForgotten,
        Self::TicketOutlived,
        Self::PrizeTooEarly,
        Self::PrizeGivenTwice,
        Self::CapForgotten,
        Self::UnreadPassedOver,
        Self::OverlapTold,
        Self::TimeNotCarried,
        Self::HeldTold,
        Self::VerdictUnrecorded,
        Self::RejectedGiven,
        Self::GivenRejected,
        Self::HoldsForgotten,
        Self::WallFollowed,
        Self::SleptOver,
    ];
}

#[cfg(feature = "planted")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

#[cfg(feature = "planted")]
#[inline]
#[expect(clippy::as_conversions, reason = "a variant without fields is its number")]
const fn number(bug: Bug) -> u8 {
    bug as u8
}

/// Plants a bug in this process, in the place of the one before; `None` takes
/// it out.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, number), std::sync::atomic::Ordering::SeqCst);
}

/// Whether this bug is planted.
#[cfg(feature = "planted")]
#[inline]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == number(bug)
}

/// Whether this bug is planted: no.
#[cfg(not(feature = "planted"))]
#[expect(clippy::inline_always, reason = "a constant, also where nothing is optimised")]
#[inline(always)]
pub(crate) const fn is_planted(_bug: Bug) -> bool {
    false
}
