//! The control plane: health, metrics, status and the drain, for operators,
//! supervisors and scrapers.
//!
//! It lives on threads of its own and reads the boards that the shards show.
//! It never makes a shard wait, never decides about money, and nothing of it
//! (no tokio, no HTTP) can be reached from a shard's loop.

mod clock;
mod connections;
mod follower;
mod http;
mod ledger;
mod ledger_lists;
mod liveness;
mod metrics;
mod progress;
mod status;
mod systemd;
mod token;
mod view;

pub use http::{Admin, AdminError, AdminSettings, BoundAdmin, Watched};
pub use liveness::{Check, Liveness};
pub use metrics::openmetrics;
pub use progress::Progress;
pub use status::{
    CapacityStatus, CheckpointStatus, ClockStatus, ConnectionStatus, CursorStatus, Distribution,
    FollowerStatus, JournalStatus, MoneyStatus, RecordName, RecoveryStatus, RefusedStatus,
    ShardStatus, Status, TableStatus,
};
pub use systemd::{Notifying, Systemd};
pub use token::{Drawn, TOKEN_FILE, Token, TokenError};
pub use view::{RecoveryView, ServerFacts, ShardView, View};
