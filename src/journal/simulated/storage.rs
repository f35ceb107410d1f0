//! The disk in memory as a journal sees it: what a mapping and a file system are
//! to a real one. It never decides when something fails; the disk is told.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::{Background, Disk, Image, READ_ERROR};
use crate::journal::checkpoint::CheckpointNumber;
use crate::journal::failure::CommitFailed;
use crate::journal::storage::{NextError, ReadAt, Segment, SegmentBytes, Source, Storage, Stored};
use crate::journal::{Position, Sequence, narrow, segment, widen};
use crate::limits::PAGE_BYTES;
use crate::units::Time;

/// A sync that goes on beside the shard's work has ended after fewer looks.
const LOOKS_END: u64 = 5;

/// The disk, as a journal sees it.
#[derive(Debug)]
pub struct SimulatedStorage {
    disk: Disk,
    tried: Option<Time>,
    /// The segment ahead did not fit.
    lacks_room: bool,
    retired: Result<Position, CommitFailed>,
    begun: Option<Begun>,
}

/// A sync that goes on beside the shard's work. It takes what the pages held
/// when it was begun: they do not change any more.
#[derive(Debug)]
struct Begun {
    sequence: Sequence,
    bytes: Vec<u8>,
    range: Range<usize>,
    /// How often it is looked at before it has ended.
    looks: Cell<u64>,
}

/// A segment the process has mapped; its bytes return to the disk's live image
/// when it is dropped.
#[derive(Debug)]
pub struct SimulatedSegment {
    disk: Disk,
    sequence: Sequence,
    bytes: Vec<u8>,
}

/// A checkpoint's bytes.
struct InMemory {
    bytes: Arc<Vec<u8>>,
    unreadable_from: u64,
}

impl ReadAt for InMemory {
    fn bytes(&self) -> u64 {
        widen(self.bytes.len())
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.saturating_add(widen(into.len())) > self.unreadable_from {
            return Err(io::Error::other(READ_ERROR));
        }
        let from = self.bytes.get(narrow(offset)..).unwrap_or_default();
        let found = from.get(..into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(found);
        Ok(())
    }
}

impl Drop for SimulatedSegment {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if let Some(image) = self.disk.state.borrow_mut().segments.get_mut(&self.sequence) {
            image.live = bytes;
        }
    }
}

impl SegmentBytes for SimulatedSegment {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Segment for SimulatedSegment {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn sync(&mut self, range: Range<usize>) -> io::Result<()> {
        self.disk.sync(self.sequence, &self.bytes, range)
    }
}

impl SimulatedStorage {
    fn failed(&self, sequence: Sequence, error: &io::Error) -> CommitFailed {
        CommitFailed { file: self.name(sequence), offset: 0, reason: error.to_string() }
    }

    pub(super) fn of(disk: Disk) -> Self {
        Self { disk, tried: None, lacks_room: false, retired: Ok(Position(0)), begun: None }
    }
}

impl Source for SimulatedStorage {
    type Segment = SimulatedSegment;

    fn sequences(&self) -> io::Result<Vec<Sequence>> {
        Ok(self.disk.state.borrow().segments.keys().copied().collect())
    }

    fn peek(&self, sequence: Sequence) -> io::Result<Stored> {
        let mut state = self.disk.state.borrow_mut();
        state.read()?;
        let image = state.segments.get(&sequence).ok_or(io::ErrorKind::NotFound)?;
        let front = image.live.get(..PAGE_BYTES).unwrap_or(&image.live).to_vec();
        Ok(Stored { front, bytes: widen(image.live.len()) })
    }

    fn open(&mut self, sequence: Sequence) -> io::Result<SimulatedSegment> {
        let mut state = self.disk.state.borrow_mut();
        state.read()?;
        let image = state.segments.get(&sequence).ok_or(io::ErrorKind::NotFound)?;
        let bytes = image.live.clone();
        drop(state);
        Ok(SimulatedSegment { disk: self.disk.clone(), sequence, bytes })
    }

    fn checkpoints(&self) -> io::Result<Vec<CheckpointNumber>> {
        Ok(self.disk.checkpoints())
    }

    fn checkpoint(&self, number: CheckpointNumber) -> io::Result<Box<dyn ReadAt>> {
        let mut state = self.disk.state.borrow_mut();
        let is_readable = state.read().is_ok();
        let found = state.checkpoints.get(&number).ok_or(io::ErrorKind::NotFound)?;
        let bytes = Arc::clone(found);
        let unreadable_from = if is_readable { u64::MAX } else { widen(bytes.len() / 2) };
        Ok(Box::new(InMemory { bytes, unreadable_from }))
    }

    fn checkpoint_name(&self, number: CheckpointNumber) -> String {
        format!("simulated/{number:010}.ckp")
    }

    fn founded(&self) -> bool {
        self.disk.state.borrow().founded
    }

    fn place(&self) -> String {
        "simulated".to_owned()
    }

    fn name(&self, sequence: Sequence) -> String {
        format!("simulated/{sequence:010}.seg")
    }
}

impl Storage for SimulatedStorage {
    fn settle(&mut self, refused: &[CheckpointNumber]) -> io::Result<()> {
        let mut state = self.disk.state.borrow_mut();
        state.writes += 1;
        state.checkpoints.retain(|number, _| !refused.contains(number));
        Ok(())
    }

    fn sync_from(&mut self, from: Sequence) -> io::Result<Result<(), CommitFailed>> {
        let of_image = |(sequence, image): (&Sequence, &Image)| (*sequence, image.live.clone());
        let images: Vec<_> =
            self.disk.state.borrow().segments.range(from..).map(of_image).collect();
        Ok(images.iter().try_for_each(|(sequence, live)| {
            let synced = self.disk.sync(*sequence, live, 0..live.len());
            synced.map_err(|error| self.failed(*sequence, &error))
        }))
    }

    fn next(
        &mut self,
        sequence: Sequence,
        base: u64,
        now: Time,
    ) -> Result<SimulatedSegment, NextError> {
        // Like the real one: a full disk is asked again at most twice a second.
        if self.tried.is_some_and(|tried| now.0 < tried.0 + 500) {
            return Err(NextError::Full);
        }
        if let Err(full) = self.disk.make(sequence, base) {
            self.tried = Some(now);
            self.lacks_room = true;
            return Err(full);
        }
        self.tried = None;
        let opened = self.open(sequence)?;
        self.prepare(sequence + 1, base + widen(opened.bytes.len()));
        Ok(opened)
    }

    fn prepare(&mut self, sequence: Sequence, base: u64) {
        self.lacks_room = self.disk.make(sequence, base).is_err(); // `next` says it again
    }

    fn lacks_room(&self) -> bool {
        self.lacks_room
    }

    fn tend(&mut self, _upto: Position, _sequence: Sequence, _base: u64, _now: Time) {}

    fn retire(&mut self, mut full: SimulatedSegment, end: Position, sync: bool) {
        let is_late = self.disk.state.borrow().background == Background::Late;
        if !sync || is_late || self.retired.is_err() {
            return;
        }
        let all = 0..full.bytes.len();
        self.retired = match full.sync(all) {
            Ok(()) => Ok(end),
            Err(error) => {
                let failed = self.failed(full.sequence, &error);
                self.note_failed_sync(&failed);
                Err(failed)
            }
        };
    }

    fn retired_upto(&self) -> Result<Position, CommitFailed> {
        self.retired.clone()
    }

    fn free_before(&mut self, before: Position, current: Sequence) {
        let mut state = self.disk.state.borrow_mut();
        state.segments.retain(|sequence, image| {
            let stored = Stored { front: image.live.clone(), bytes: widen(image.live.len()) };
            let header = segment::read(*sequence, &stored);
            let end = header.map_or(u64::MAX, |h| h.base + h.segment_bytes);
            *sequence >= current || end > before.0
        });
    }

    fn free_failed(&self) -> Option<String> {
        None
    }

    fn begin_sync(&mut self, segment: &mut SimulatedSegment, range: Range<usize>) -> bool {
        let mut state = self.disk.state.borrow_mut();
        if !state.overlaps {
            return false;
        }
        state.overlapped += 1;
        let (sequence, bytes) = (segment.sequence, segment.bytes.clone());
        let looks = Cell::new(state.syncs % LOOKS_END);
        self.begun = Some(Begun { sequence, bytes, range, looks });
        true
    }

    fn sync_has_ended(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| {
            let left = begun.looks.get();
            begun.looks.set(left.saturating_sub(1));
            left == 0
        })
    }

    fn end_sync(&mut self) -> io::Result<()> {
        let Some(Begun { sequence, bytes, range, .. }) = self.begun.take() else { return Ok(()) };
        self.disk.sync(sequence, &bytes, range)
    }

    fn note_failed_sync(&mut self, _failed: &CommitFailed) {
        let mut state = self.disk.state.borrow_mut();
        state.marker |= state.kill_in_sync != Some(state.syncs); // or it is dead by then
    }
}
