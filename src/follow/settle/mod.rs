//! The settlement stream: every movement of money, in order, for a ledger that
//! somebody else keeps.
//!
//! A subscriber has a name, under which the server keeps how far its books are,
//! and holds the journal back for it. What is sent is durable here; what is
//! acknowledged is durable there; so after any crash the receiver sees some
//! movements again, each with the id it had, and none is missing. All of it runs
//! on threads of its own: no shard waits for a subscriber, or knows of one.
//!
//! The same stream tells a risk service what was held, denied, decided and marked: a
//! subscriber whose name begins with `risk-` is sent news in the place of movements.

mod ending;
mod frames;
mod greeting;
mod listen;
mod name;
mod news;
mod session;
mod subscribers;
mod subscription;

pub use ending::Ending;
pub use frames::{
    ACKNOWLEDGE_BYTES, Accepted, Ask, BORDER_BYTES, Frame, MOVEMENT_BYTES, Moved, Start,
    WINDOW_BYTES_MAX, WINDOW_BYTES_MIN, decode, encode,
};
pub use listen::{BoundSettlement, Settlement};
pub use name::{Content, NAME_BYTES_MAX, SubscriberName};
pub use news::Told;
pub use subscribers::{SettleError, Subscribers, forget_offline};
pub use subscription::{Push, Subscription, SubscriptionError, forget, forget_as};
