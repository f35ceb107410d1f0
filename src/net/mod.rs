//! The outside of a shard: sockets, frames in, replies out, on one `io_uring`.
//!
//! Knows connections and bytes; never what a request means, and never lets a
//! reply out that the journal has not released.

mod buffers;
mod connection;
mod intake;
mod kernel;
mod listen;
mod ring;
pub mod simulated;

mod traffic;

#[doc(hidden)]
pub use intake::read_pieces;
pub use intake::{Asked, Inbox};
pub use kernel::Kernel;
pub use listen::{BoundListener, ListenError, Listener};
pub use ring::{RingRefused, Uring, check as check_ring, wall};
pub use traffic::{Net, NetCounters, NetSettings, Waker};
