//! What operators ask of the ledger, on its way to the follower's thread: only
//! that one touches the ledger, so what is asked meets whole transactions.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::board::{FollowerBoard, State};
use crate::shard::Sleeper;

/// Requests that wait at most; an operator's tools ask one by one.
const REQUESTS_MAX: usize = 64;

/// What is done with the ledger once it is a request's turn.
type Work<L> = Box<dyn FnOnce(Result<&mut L, NotNow>) + Send>;

/// One request.
pub(super) enum Asked<L: ?Sized> {
    /// At once.
    Now(Work<L>),
    /// When everything that is committed now is applied.
    Caught(Work<L>),
    /// Poison or not, go on.
    Retry(Reply),
    /// Pass over the record that the ledger refuses.
    Skip {
        /// Why, in the operator's words.
        reason: String,
        /// Told what came of it.
        reply: Reply,
    },
}

/// Told what came of a command.
pub(super) type Reply = Box<dyn FnOnce(Result<String, NotNow>) + Send>;

/// Why a request was not done. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotNow(pub String);

/// The asking end.
#[derive(Debug)]
pub struct Desk<L: ?Sized> {
    board: Arc<FollowerBoard>,
    asked: SyncSender<Asked<L>>,
    sleeper: Arc<Sleeper>,
}

impl<L: ?Sized> Clone for Desk<L> {
    fn clone(&self) -> Self {
        let (board, sleeper) = (Arc::clone(&self.board), Arc::clone(&self.sleeper));
        Self { board, asked: self.asked.clone(), sleeper }
    }
}

/// The follower's end.
#[derive(Debug)]
pub struct Requests<L: ?Sized> {
    pub(super) board: Arc<FollowerBoard>,
    pub(super) asked: Receiver<Asked<L>>,
    pub(super) sleeper: Arc<Sleeper>,
}

/// Both ends, for the follower that `sleeper` wakes.
pub fn desk<L: ?Sized>(board: Arc<FollowerBoard>, sleeper: Arc<Sleeper>) -> (Desk<L>, Requests<L>) {
    let (ask, asked) = sync_channel(REQUESTS_MAX);
    let desk = Desk { board: Arc::clone(&board), asked: ask, sleeper: Arc::clone(&sleeper) };
    (desk, Requests { board, asked, sleeper })
}

impl<L: ?Sized> Desk<L> {
    /// Where the follower shows how it is.
    pub fn board(&self) -> &FollowerBoard {
        &self.board
    }

    /// Does `work` with the ledger; `reply` gets what it says, on the follower's
    /// thread.
    pub fn ask<T>(
        &self,
        work: impl FnOnce(&mut L) -> T + Send + 'static,
        reply: impl FnOnce(Result<T, NotNow>) + Send + 'static,
    ) -> Result<(), NotNow> {
        self.put(Asked::Now(Box::new(|ledger| reply(ledger.map(work)))))
    }

    /// The same when everything that is committed now is applied, so that what
    /// is queued for an account is in it.
    pub fn ask_caught_up<T>(
        &self,
        work: impl FnOnce(&mut L) -> T + Send + 'static,
        reply: impl FnOnce(Result<T, NotNow>) + Send + 'static,
    ) -> Result<(), NotNow> {
        self.put(Asked::Caught(Box::new(|ledger| reply(ledger.map(work)))))
    }

    /// A stopped or waiting follower tries again.
    pub fn retry(
        &self,
        reply: impl FnOnce(Result<String, NotNow>) + Send + 'static,
    ) -> Result<(), NotNow> {
        self.put(Asked::Retry(Box::new(reply)))
    }

    /// The record that the ledger refuses is passed over, which the ledger keeps
    /// with the operator's reason.
    pub fn skip(
        &self,
        reason: String,
        reply: impl FnOnce(Result<String, NotNow>) + Send + 'static,
    ) -> Result<(), NotNow> {
        self.put(Asked::Skip { reason, reply: Box::new(reply) })
    }

    fn put(&self, asked: Asked<L>) -> Result<(), NotNow> {
        let not_now = |words: &str| Err(NotNow(words.to_owned()));
        match self.board.state() {
            State::Starting => return not_now("the ledger is not open yet; ask again"),
            State::Ended => return not_now("the server is draining"),
            _ => {}
        }
        match self.asked.try_send(asked) {
            Ok(()) => {
                self.sleeper.wake();
                Ok(())
            }
            Err(TrySendError::Full(_)) => {
                not_now("too many requests wait for the ledger; ask again")
            }
            Err(TrySendError::Disconnected(_)) => not_now("the server is draining"),
        }
    }
}
