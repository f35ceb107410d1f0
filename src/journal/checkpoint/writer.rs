//! The shard's side of checkpoint writing: it hands over slices and never
//! waits, allocates or touches a file.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use super::background::{Background, Message, Outcome};
use super::file::Place;
use super::{CheckpointFailed, CheckpointInfo, CheckpointStart};
use crate::journal::arrangement::Arrangement;
use crate::journal::executor::executor;
use crate::journal::mapped::{StorageError, check_memlock};
use crate::journal::{Identity, Position};

/// Buffers that go round: enough that the disk is never without work, and
/// 5 MiB in all.
pub(super) const BUFFERS: usize = 64;

/// What a buffer holds without growing: a slice of the engine.
pub(super) const BUFFER_BYTES: usize = 72 << 10;

/// Messages besides slices that can wait: the ends and beginnings of attempts
/// that the thread has not come to.
pub(super) const OTHER_MESSAGES: usize = 16;

/// How long an ending writer waits for its thread.
const END_WAIT: Duration = Duration::from_secs(5);

/// How checkpoints are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CheckpointSettings {
    /// At most so many bytes a second; `None` for as fast as the disk takes
    /// them, one write at a time.
    pub bytes_per_s: Option<u64>,
    /// The core of the writing thread.
    pub background_core: Option<usize>,
}

/// Writes one shard's checkpoints, one at a time, in the background.
pub struct CheckpointWriter {
    outbox: Option<Sender<Message>>,
    emptied: Receiver<Vec<u8>>,
    outcomes: Receiver<Outcome>,
    free: Vec<Vec<u8>>,
    attempt: u64,
    /// Where the running attempt began.
    running: Option<Position>,
    /// A message was not taken: the running attempt cannot end well.
    refused: bool,
    cancelled: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl CheckpointWriter {
    /// The writer of shard `identity.shard`, beside its storage.
    pub fn new(
        arrangement: &Arrangement,
        identity: Identity,
        settings: CheckpointSettings,
    ) -> Result<Self, StorageError> {
        check_memlock()?;
        let shard = arrangement.shard_path(identity.shard);
        let place = Place { shard, identity, bytes_per_s: settings.bytes_per_s };
        let (outbox, inbox) = bounded(BUFFERS + OTHER_MESSAGES);
        let (give_back, emptied) = bounded(BUFFERS);
        let (tell, outcomes) = bounded(OTHER_MESSAGES);
        let cancelled = Arc::<AtomicBool>::default();
        let background = Background {
            place,
            inbox,
            emptied: give_back,
            outcomes: tell,
            cancelled: Arc::clone(&cancelled),
        };
        let thread = start(background, settings.background_core, arrangement.clone())
            .map_err(StorageError::Background)?;
        let free = (0..BUFFERS).map(|_| Vec::with_capacity(BUFFER_BYTES)).collect();
        let mut writer = Self::between(outbox, emptied, outcomes);
        (writer.free, writer.cancelled, writer.thread) = (free, cancelled, Some(thread));
        Ok(writer)
    }

    /// The shard's ends of the channels to whoever writes.
    pub(super) fn between(
        outbox: Sender<Message>,
        emptied: Receiver<Vec<u8>>,
        outcomes: Receiver<Outcome>,
    ) -> Self {
        Self {
            outbox: Some(outbox),
            emptied,
            outcomes,
            free: Vec::new(),
            attempt: 0,
            running: None,
            refused: false,
            cancelled: Arc::default(),
            thread: None,
        }
    }

    /// Begins a checkpoint. One that is still being written is abandoned.
    pub fn begin(&mut self, start: CheckpointStart) {
        self.abandon();
        self.attempt += 1;
        self.running = Some(start.position());
        self.send(Message::Begin(self.attempt, start));
    }

    /// An empty buffer for one slice; `None` while all are with the thread:
    /// ask again next turn.
    #[inline]
    pub fn buffer(&mut self) -> Option<Vec<u8>> {
        if self.free.is_empty() {
            while let Ok(buffer) = self.emptied.try_recv() {
                self.free.push(buffer);
            }
        }
        let mut buffer = self.free.pop()?;
        buffer.clear();
        Some(buffer)
    }

    /// Hands over the next slice, in a buffer of [`CheckpointWriter::buffer`].
    /// Without a running checkpoint the buffer is only taken back.
    #[inline]
    pub fn put(&mut self, slice: Vec<u8>) {
        debug_assert!(slice.len() <= BUFFER_BYTES, "a slice fits its buffer");
        if self.running.is_none() {
            self.free.push(slice);
        } else if !slice.is_empty() {
            self.send(Message::Slice(slice));
        } else {
            self.free.push(slice);
        }
    }

    /// That was all: the slices hold nothing after `end`, and the journal is
    /// durable up to there ([`super::super::Journal::durable_upto`]), or
    /// recovery would refuse this checkpoint as ahead of its journal.
    pub fn finish(&mut self, end: Position) {
        debug_assert!(self.running.is_none_or(|began| began <= end), "it ends after it began");
        if self.running.is_some() {
            self.send(Message::Finish(end));
        }
    }

    /// Lets the running checkpoint go; its file is removed.
    pub fn abandon(&mut self) {
        if self.running.take().is_some() {
            self.send(Message::Abandon);
        }
    }

    /// Whether a checkpoint was begun and is neither done, failed nor abandoned.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// How the running checkpoint ended, once, as soon as it has.
    pub fn poll(&mut self) -> Option<Result<CheckpointInfo, CheckpointFailed>> {
        if std::mem::take(&mut self.refused) {
            return self.running.take().map(|_| Err(CheckpointFailed::Ended));
        }
        loop {
            let outcome = match self.outcomes.try_recv() {
                Ok((attempt, _)) if attempt != self.attempt => continue, // was abandoned
                Ok((_, outcome)) => outcome,
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => Err(CheckpointFailed::Ended),
            };
            return self.running.take().map(|_| outcome);
        }
    }

    /// The channel has room for every buffer and more, so only a thread that is
    /// gone or hangs does not take a message; [`CheckpointWriter::poll`] says so.
    fn send(&mut self, message: Message) {
        let Some(Err(error)) = self.outbox.as_ref().map(|outbox| outbox.try_send(message)) else {
            return;
        };
        self.refused = true;
        if let Message::Slice(buffer) = error.into_inner() {
            self.free.push(buffer);
        }
    }
}

/// Starts the thread and waits until its executor runs. The arrangement goes
/// along: the directory stays locked while something is written to it.
fn start(
    background: Background,
    core: Option<usize>,
    arrangement: Arrangement,
) -> io::Result<JoinHandle<()>> {
    let (up, is_up) = bounded(1);
    let named = std::thread::Builder::new().name("checkpoint".to_owned());
    let thread = named.spawn(move || {
        let _arrangement = arrangement;
        match executor("checkpoint", core) {
            Ok(executor) => {
                let _ = up.send(Ok(()));
                background.run(&executor);
            }
            Err(error) => {
                let _ = up.send(Err(error));
            }
        }
    })?;
    is_up.recv().map_err(io::Error::other)??;
    Ok(thread)
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.outbox = None;
        // The thread drops its ends of the channels last. One that hangs on a
        // broken disk is left behind.
        let ended = loop {
            match self.outcomes.recv_timeout(END_WAIT) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => break false,
                Err(RecvTimeoutError::Disconnected) => break true,
            }
        };
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join(); // it panics only on a broken invariant
        }
    }
}
