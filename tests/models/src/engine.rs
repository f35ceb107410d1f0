//! What the tables that shards share need of the engine.

use crate::units::{UnixSeconds, UserId};

#[path = "../../../src/engine/hash.rs"]
mod hash;

pub(crate) use hash::mix;

/// An engine that has recovered nothing: a start counts claims before there are
/// other threads, so models begin after it.
pub struct Engine;

/// A claim that an engine has recovered.
pub(crate) struct Claim {
    pub(crate) user: UserId,
    pub(crate) at: UnixSeconds,
}

impl Engine {
    #[expect(clippy::unused_self, reason = "as the engine's own")]
    pub(crate) fn claims(&self) -> std::iter::Empty<Claim> {
        std::iter::empty()
    }
}
