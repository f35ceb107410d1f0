//! Where the table of receivers lies: words that all shards share, on huge pages.
//! What they mean is none of its business.

use self_cell::{MutBorrow, self_cell};
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

use crate::memory::Bytes;
use crate::threads::AtomicU64;

/// One user on one day; never across two cache lines.
#[derive(FromBytes, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct Bucket {
    pub(super) user: AtomicU64,
    /// The day, and what was received on it, in one word.
    pub(super) received: AtomicU64,
    /// The latest round in which it has grown, as a stamp.
    pub(super) grown_at: AtomicU64,
    spare: AtomicU64,
}

/// What a bucket takes.
pub(super) const BUCKET_BYTES: usize = size_of::<Bucket>();

type All<'a> = &'a [Bucket];

self_cell!(
    /// Buckets on huge pages: every new user is a miss, and with small pages two.
    pub(super) struct Buckets {
        owner: MutBorrow<Bytes>,
        #[covariant]
        dependent: All,
    }
);

impl Buckets {
    /// So many, all empty.
    pub(super) fn zeroed(count: usize) -> Self {
        let bytes = Bytes::zeroed(count.saturating_mul(BUCKET_BYTES));
        Self::new(MutBorrow::new(bytes), |bytes| {
            // The bytes begin at a page, so this never fails.
            let all = <[Bucket]>::mut_from_bytes(bytes.borrow_mut().all_mut());
            all.map_or(&[], |all| all)
        })
    }

    #[inline]
    pub(super) fn all(&self) -> &[Bucket] {
        self.borrow_dependent()
    }
}
