//! What threads share and wait with, named in one place: the shard's bell, the
//! follower's bed and the table of receivers take it from here, so that
//! `tests/models` can put loom's in its place and try every order of events.
//!
//! Nothing here decides or orders anything.

pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering, fence};
pub(crate) use std::thread::{Thread, current, park, park_timeout, yield_now};

pub(crate) use parking_lot::Mutex;
