//! The writer's other side on the writer's own thread, for simulations: it
//! works when it is told to, on a disk in memory.

use crossbeam::channel::{Receiver, Sender, bounded};

use super::background::{Message, Outcome};
use super::writer::{BUFFER_BYTES, BUFFERS, CheckpointWriter, OTHER_MESSAGES};
use super::{CheckpointFailed, CheckpointStart};
use crate::journal::Position;
use crate::journal::simulated::Disk;

/// What a checkpoint has so far.
struct Begun {
    attempt: u64,
    start: CheckpointStart,
    slices: Vec<Vec<u8>>,
}

/// Writes the checkpoints of one shard to a [`Disk`], a message at a time.
pub struct SimulatedBackground {
    disk: Disk,
    inbox: Receiver<Message>,
    emptied: Sender<Vec<u8>>,
    outcomes: Sender<Outcome>,
    begun: Option<Begun>,
}

impl SimulatedBackground {
    /// A writer for a shard, and what does its work.
    pub fn new(disk: Disk) -> (CheckpointWriter, Self) {
        let (outbox, inbox) = bounded(BUFFERS + OTHER_MESSAGES);
        let (emptied, free) = bounded(BUFFERS);
        let (outcomes, told) = bounded(OTHER_MESSAGES);
        for _ in 0..BUFFERS {
            let _ = emptied.try_send(Vec::with_capacity(BUFFER_BYTES)); // there is room for all
        }
        let writer = CheckpointWriter::between(outbox, free, told);
        (writer, Self { disk, inbox, emptied, outcomes, begun: None })
    }

    /// Does what the next message asks, if there is one.
    pub fn work(&mut self) {
        match self.inbox.try_recv() {
            Ok(Message::Begin(attempt, start)) => {
                self.begun = Some(Begun { attempt, start, slices: Vec::new() });
            }
            Ok(Message::Slice(buffer)) => {
                if let Some(begun) = &mut self.begun {
                    begun.slices.push(buffer.clone());
                }
                let _ = self.emptied.try_send(buffer); // there is room for all of them
            }
            Ok(Message::Finish(end)) => self.finish(end),
            Ok(Message::Abandon) => self.begun = None,
            Err(_) => {}
        }
    }

    /// A checkpoint that is begun fails, as one does on a full disk.
    pub fn fail(&mut self) {
        if let Some(begun) = self.begun.take() {
            let file = "simulated/new.ckp".to_owned();
            let failed = CheckpointFailed::NoSpace { file };
            let _ = self.outcomes.try_send((begun.attempt, Err(failed)));
        }
    }

    fn finish(&mut self, end: Position) {
        let Some(Begun { attempt, start, slices }) = self.begun.take() else { return };
        let slices: Vec<&[u8]> = slices.iter().map(Vec::as_slice).collect();
        let info = self.disk.checkpoint(start, end, &slices);
        let _ = self.outcomes.try_send((attempt, Ok(info)));
    }
}
