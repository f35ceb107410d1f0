//! The outside of a shard: sockets, frames in, replies out, on one `io_uring`.
//!
//! Knows connections and bytes; never what a request means, and never lets a
//! reply out that the journal has not released.

mod buffers;
mod connection;
mod intake;
mod listen;
mod ring;
mod traffic;

pub use intake::{Asked, Inbox};
pub use listen::{BoundListener, ListenError, Listener};
pub use ring::{RingRefused, check as check_ring};
pub use traffic::{Net, NetCounters, NetSettings, Waker, stamp};
