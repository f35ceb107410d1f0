//! Buckets whose words are loom's; they lie anywhere.

use crate::threads::AtomicU64;

/// One user on one day.
#[derive(Default)]
pub(super) struct Bucket {
    pub(super) user: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) grown_at: AtomicU64,
}

pub(super) const BUCKET_BYTES: usize = size_of::<Bucket>();

pub(super) struct Buckets(Vec<Bucket>);

impl Buckets {
    pub(super) fn zeroed(count: usize) -> Self {
        Self((0..count).map(|_| Bucket::default()).collect())
    }

    pub(super) fn all(&self) -> &[Bucket] {
        &self.0
    }
}
