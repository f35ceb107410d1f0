//! Taking checkpoints: a few slices a turn, while the shard goes on.
//!
//! A slice is the state after everything appended, committed or not; so a
//! checkpoint is finished only when the journal is durable up to its last
//! slice. The background plane writes and verifies; what comes back is how it
//! ended. A failed checkpoint costs nothing but a longer restart.
//!
//! Where the journal finds no room for its next segment, checkpoints are taken
//! at once, also of a state that is in one already, until both generations are
//! past the segments before the one that is written, so that those may go.

use std::time::Duration;

use super::turn::{Fatal, Shard};
use crate::engine::ImageCursor;
use crate::journal::{CheckpointFailed, CheckpointInfo, CheckpointWriter, Position, Storage};
use crate::net::Kernel;
use crate::units::{Durability, Time};

/// Slices of 64 KiB that one turn copies at most: some tens of microseconds.
const SLICES_PER_TURN: usize = 4;

/// How soon a shard without requests turns again while it copies.
const COPY_PAUSE: Duration = Duration::from_millis(1);

/// How soon it looks whether the background is done.
const LOOK_PAUSE_MS: u64 = 20;

/// How soon a checkpoint that failed is tried again where the journal needs it
/// to get room.
const RETRY_PAUSE_MS: u64 = 5000;

/// How long checkpoints must have been no help before that is said: what they
/// have freed takes a moment to go.
const SAY_FULL_AFTER_MS: u64 = 10_000;

/// Where the checkpoint under way stands.
enum Stage {
    Idle,
    /// Slices are being copied.
    Copying(ImageCursor),
    /// All are copied; the journal must be durable up to here.
    Copied(Position),
    /// The background writes the rest and verifies.
    Closing,
}

/// One shard's checkpoints.
pub struct Checkpoints {
    /// `None` where none are taken.
    writer: Option<CheckpointWriter>,
    interval_ms: u64,
    next_at: Time,
    stage: Stage,
    /// Under `os`: when the journal may be synced again.
    look_at: Time,
    /// Records the journal had when the last one was begun.
    records: u64,
    /// After a failure: not before this, however little room there is.
    retry_at: Time,
    /// When to say that checkpoints cannot make room, while they cannot.
    say_full_at: Option<Time>,
}

impl Checkpoints {
    /// Checkpoints every `interval_ms`, the first so long after `now`; 0 takes
    /// none. `records_replayed` says whether there is anything new to take.
    pub fn new(
        writer: CheckpointWriter,
        interval_ms: u64,
        now: Time,
        records_replayed: u64,
    ) -> Self {
        let next_at = Time(now.0.saturating_add(interval_ms));
        // What was replayed is not in a checkpoint: the first is due for it.
        let records = if records_replayed > 0 { u64::MAX } else { 0 };
        Self { writer: Some(writer), interval_ms, next_at, records, ..Self::never() }
    }

    /// None at all, for a shard whose disk is in memory.
    pub fn never() -> Self {
        let (next_at, look_at, retry_at) = (Time(0), Time(0), Time(0));
        let (writer, stage, say_full_at) = (None, Stage::Idle, None);
        let (interval_ms, records) = (0, 0);
        Self { writer, interval_ms, next_at, stage, look_at, records, retry_at, say_full_at }
    }

    /// How long the shard may sleep for the sake of this.
    pub(super) fn sleep_at_most(&self, now: Time) -> Option<Duration> {
        match self.stage {
            Stage::Idle if self.interval_ms == 0 => None,
            Stage::Idle => Some(Duration::from_millis(self.next_at.0.saturating_sub(now.0))),
            Stage::Copying(_) => Some(COPY_PAUSE),
            Stage::Copied(_) | Stage::Closing => Some(Duration::from_millis(LOOK_PAUSE_MS)),
        }
    }

    fn is_due(&self, now: Time) -> bool {
        self.interval_ms > 0 && now >= self.next_at
    }

    fn wait_for_next(&mut self, now: Time) {
        self.next_at = Time(now.0.saturating_add(self.interval_ms));
        self.stage = Stage::Idle;
    }
}

impl<S: Storage, K: Kernel> Shard<S, K> {
    /// Does this turn's part of a checkpoint.
    pub(super) fn checkpoint(&mut self, now: Time) -> Result<(), Fatal> {
        let for_room = self.journal.lacks_room() && self.makes_room(now);
        let is_due = for_room || self.checkpoints.is_due(now);
        if matches!(self.checkpoints.stage, Stage::Idle) && !is_due {
            return Ok(());
        }
        let Some(mut writer) = self.checkpoints.writer.take() else { return Ok(()) };
        let went = self.checkpoint_with(&mut writer, for_room, now);
        self.checkpoints.writer = Some(writer);
        went
    }

    fn checkpoint_with(
        &mut self,
        writer: &mut CheckpointWriter,
        for_room: bool,
        now: Time,
    ) -> Result<(), Fatal> {
        match std::mem::replace(&mut self.checkpoints.stage, Stage::Idle) {
            Stage::Idle => self.begin_checkpoint(writer, for_room, now),
            Stage::Copying(cursor) => self.copy_slices(writer, cursor),
            Stage::Copied(end) => self.close_checkpoint(writer, end, now)?,
            Stage::Closing => self.checkpoints.stage = Stage::Closing,
        }
        if let Some(ended) = writer.poll() {
            self.end_checkpoint(ended, now);
        }
        Ok(())
    }

    fn begin_checkpoint(&mut self, writer: &mut CheckpointWriter, for_room: bool, now: Time) {
        let records = self.journal.stats().records;
        let Some(start) = self.journal.checkpoint_start() else { return };
        if records == self.checkpoints.records && !for_room {
            return self.checkpoints.wait_for_next(now); // nothing is new
        }
        self.checkpoints.records = records;
        writer.begin(start.at(now));
        self.counters.checkpoints.under_way = true;
        let cursor = self.engine.begin_image();
        self.copy_slices(writer, cursor);
    }

    fn copy_slices(&mut self, writer: &mut CheckpointWriter, mut cursor: ImageCursor) {
        let position = self.journal.appended();
        for _ in 0..SLICES_PER_TURN {
            let Some(mut slice) = writer.buffer() else { break };
            let copied = self.engine.next_slice(&mut cursor, position.0, &mut slice);
            writer.put(slice);
            if !copied {
                self.engine.end_image(cursor);
                self.checkpoints.stage = Stage::Copied(position);
                return;
            }
        }
        self.checkpoints.stage = Stage::Copying(cursor);
    }

    /// Under `os` the journal is behind what was copied: it is synced first, or
    /// the checkpoint could know more than the journal after a power cut.
    fn close_checkpoint(
        &mut self,
        writer: &mut CheckpointWriter,
        end: Position,
        now: Time,
    ) -> Result<(), Fatal> {
        // Not every turn: it syncs on the shard's thread.
        let may_look = now.0 >= self.checkpoints.look_at.0;
        if self.facts.durability == Durability::Os && may_look && self.journal.durable_upto() < end
        {
            self.checkpoints.look_at = Time(now.0 + LOOK_PAUSE_MS);
            self.journal.mark(now)?;
        }
        self.checkpoints.stage = if self.journal.durable_upto() < end {
            Stage::Copied(end)
        } else {
            writer.finish(end);
            Stage::Closing
        };
        Ok(())
    }

    /// The journal has no room for its next segment: whether a checkpoint now
    /// makes some. Two do that begin in the segment that is written; when they
    /// are there somebody else must, which is said once.
    #[cold]
    fn makes_room(&mut self, now: Time) -> bool {
        let checkpoints = &mut self.checkpoints;
        if checkpoints.interval_ms > 0 && self.outlook.keeps_from() < self.journal.segment_begin() {
            checkpoints.say_full_at = None;
            return now >= checkpoints.retry_at;
        }
        let say_at = Time(now.0.saturating_add(SAY_FULL_AFTER_MS));
        if *checkpoints.say_full_at.get_or_insert(say_at) <= now {
            checkpoints.say_full_at = Some(Time(u64::MAX));
            eprintln!(
                "hongbao: shard {}: no room for the next journal segment beside what is kept for \
                 checkpoints; free space on the data directory's disk, or see `hb journal stat` \
                 for who still needs old segments",
                self.mesh.own()
            );
        }
        false
    }

    /// Segments that neither a restart nor the follower needs may go.
    pub(super) fn free(&mut self) {
        if let Some(before) = self.outlook.may_free() {
            self.journal.free_before(before);
        }
    }

    fn end_checkpoint(&mut self, ended: Result<CheckpointInfo, CheckpointFailed>, now: Time) {
        if let Stage::Copying(cursor) = std::mem::replace(&mut self.checkpoints.stage, Stage::Idle)
        {
            self.engine.end_image(cursor);
        }
        self.checkpoints.wait_for_next(now);
        let counters = &mut self.counters.checkpoints;
        counters.under_way = false;
        match ended {
            Ok(info) => {
                counters.taken += 1;
                counters.note(&info);
                self.outlook.keep_from(info.keep_from);
            }
            Err(failed) => {
                counters.failed += 1;
                self.checkpoints.records = u64::MAX; // try again in any case
                self.checkpoints.retry_at = Time(now.0.saturating_add(RETRY_PAUSE_MS));
                eprintln!("hongbao: shard {}: {failed}", self.mesh.own());
            }
        }
    }
}
