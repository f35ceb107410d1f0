//! The thread that writes checkpoints, beside the one that makes segments
//! ready: a shard that waits for a segment must not wait for a checkpoint too.
//!
//! It sleeps on its channel while there is nothing to write.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam::channel::{Receiver, Sender};
use glommio::LocalExecutor;

use super::file::{Place, Writing};
use super::{CheckpointFailed, CheckpointInfo, CheckpointStart};
use crate::journal::Position;
use crate::journal::executor::{be_nice, ticking};

/// What the shard says.
pub(super) enum Message {
    /// A checkpoint begins; its outcome is told with this number.
    Begin(u64, CheckpointStart),
    /// Its next slice.
    Slice(Vec<u8>),
    /// That was all of it.
    Finish(Position),
    /// It is not wanted any more.
    Abandon,
}

/// The number of the attempt, and how it ended.
pub(super) type Outcome = (u64, Result<CheckpointInfo, CheckpointFailed>);

/// The thread's side of the channels.
pub(super) struct Background {
    pub(super) place: Place,
    pub(super) inbox: Receiver<Message>,
    pub(super) emptied: Sender<Vec<u8>>,
    pub(super) outcomes: Sender<Outcome>,
    pub(super) cancelled: Arc<AtomicBool>,
}

impl Background {
    /// Writes checkpoints until the other side is gone. What arrives after a
    /// failure, until the next beginning, is let go.
    pub(super) fn run(&self, executor: &LocalExecutor) {
        be_nice();
        for message in &self.inbox {
            match message {
                Message::Begin(attempt, start) => {
                    if let Some(outcome) = executor.run(ticking(self.write(start))) {
                        let _ = self.outcomes.send((attempt, outcome)); // or nobody asks any more
                    }
                }
                Message::Slice(buffer) => self.give_back(buffer),
                Message::Finish(_) | Message::Abandon => {}
            }
        }
    }

    /// One checkpoint, from its beginning to its end; `None` if it was
    /// abandoned.
    async fn write(
        &self,
        start: CheckpointStart,
    ) -> Option<Result<CheckpointInfo, CheckpointFailed>> {
        let mut writing = match Writing::begin(&self.place, start, &self.cancelled).await {
            Ok(writing) => writing,
            Err(error) => return Some(Err(error)),
        };
        loop {
            // Blocking is right: nothing else runs on this executor.
            match self.inbox.recv() {
                Ok(Message::Slice(buffer)) => {
                    let put = writing.put(&buffer).await;
                    self.give_back(buffer);
                    if let Err(error) = put {
                        return Some(Err(writing.give_up(error).await));
                    }
                }
                Ok(Message::Finish(end)) => return Some(writing.finish(end).await),
                Ok(Message::Begin(..) | Message::Abandon) | Err(_) => {
                    writing.give_up(CheckpointFailed::Ended).await;
                    return None;
                }
            }
        }
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let _ = self.emptied.try_send(buffer); // there is room for all of them
    }
}
