//! Readers of the journal: what is derived from committed records, and can be
//! made again from them.
//!
//! A follower reads every shard's records in order, only what is committed, and
//! keeps its cursor in the same transaction as what it derived, so every record
//! counts exactly once. It never decides about an envelope and never makes a
//! shard wait.

mod begin;
mod board;
mod desk;
mod follower;
mod lane;
pub mod ledger;
pub mod movement;
pub mod news;
mod rearrange;
mod serve;
pub mod settle;
mod verdicts;

pub use begin::Obstacle;
pub use board::{FollowerBoard, Report, State};
pub use desk::{Desk, NotNow, Requests, desk};
pub use follower::{Follower, Open};
pub use lane::Followee;
pub use rearrange::follow_to_end;
pub use verdicts::Tell;
