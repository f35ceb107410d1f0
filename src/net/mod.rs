//! The outside of a shard: sockets, frames in, replies out, on one `io_uring`.
//!
//! Knows connections and bytes, and who is at the other end; never what a
//! request means, and never lets a reply out that the journal has not released.

mod buffers;
mod clocks;
mod connection;
mod counters;
mod deadlines;
mod gate;
mod intake;
mod kernel;
mod listen;
mod lives;
mod ring;
mod secured;
pub mod simulated;

mod traffic;
mod waker;

pub use clocks::{WallWatch, Woken, both, uptime, wall};
pub use counters::NetCounters;
pub use deadlines::Deadlines;
pub use gate::Entry;
#[doc(hidden)]
pub use intake::read_pieces;
pub use intake::{Asked, Inbox, Unheard};
pub use kernel::Kernel;
pub use listen::{BoundListener, ListenError, Listener};
pub use ring::{RingRefused, Uring, check as check_ring};
pub use secured::TlsDoor;
pub use traffic::{Net, NetSettings};
pub use waker::Waker;
