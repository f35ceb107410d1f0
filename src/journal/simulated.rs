//! A disk in memory that crashes, tears and fails on demand, for tests.
//!
//! Each segment exists twice: as the process sees it and as the disk has it.
//! A sync copies pages from one to the other; a crash keeps some of the pages
//! that were not synced, in no order, as real disks do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::checkpoint::{CheckpointInfo, CheckpointNumber, CheckpointStart, Header, Packer};
use super::storage::{NextError, ReadAt, Segment, SegmentBytes, Source, Storage, Stored};
use super::{Identity, Position, SegmentHeader, Sequence, narrow, segment, widen};
use crate::limits::PAGE_BYTES;
use crate::units::Time;

/// The unit a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// How a page that was not synced may be left by a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tearing {
    /// Old or new, the page as a whole.
    Pages,
    /// Each sector of it old or new.
    Sectors,
}

/// One segment file, twice.
#[derive(Clone, Debug, Default)]
struct Image {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// What the cache believes to be on the disk since a sync failed, which it
    /// is not: what is not written again is not synced again.
    believed: Option<Vec<u8>>,
}

impl Image {
    /// The pages of `range` go from the cache to the disk, but for those that
    /// the cache believes to be there already.
    fn write_back(&mut self, cached: &[u8], range: Range<usize>) {
        for at in range.step_by(PAGE_BYTES) {
            let page = at..at + PAGE_BYTES;
            let believed = self.believed.as_ref().and_then(|all| all.get(page.clone()));
            let Some(bytes) = cached.get(page.clone()).filter(|bytes| Some(*bytes) != believed)
            else {
                continue;
            };
            if let Some(durable) = self.durable.get_mut(page) {
                durable.copy_from_slice(bytes);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    segments: BTreeMap<Sequence, Image>,
    /// Checkpoints are written past the cache and named when they are whole, so
    /// a crash finds each as it is.
    checkpoints: BTreeMap<CheckpointNumber, Arc<Vec<u8>>>,
    /// Where each of them began.
    began: BTreeMap<CheckpointNumber, Position>,
    syncs: u64,
    fail_sync: Option<u64>,
    segments_max: Option<usize>,
    marker: bool,
    writes: u64,
}

/// The disk. It outlives the journals that are opened on it; drop a journal
/// before crashing its disk.
#[derive(Clone, Debug)]
pub struct Disk {
    state: Rc<RefCell<State>>,
    identity: Identity,
    segment_bytes: usize,
}

impl Disk {
    /// An empty disk for the segments of one shard.
    pub fn new(identity: Identity, segment_bytes: usize) -> Self {
        assert!(segment::sound_size(segment_bytes), "whole pages, within the limits");
        Self { state: Rc::default(), identity, segment_bytes }
    }

    /// The storage to open a journal on.
    pub fn storage(&self) -> SimulatedStorage {
        let (tried, lacks_room, retired) = (None, false, Position(0));
        SimulatedStorage { disk: self.clone(), tried, lacks_room, retired }
    }

    /// An independent copy of the disk as it is.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.state.borrow().clone();
        Self { state: Rc::new(RefCell::new(state)), ..*self }
    }

    /// Power fails: of the pages that were not synced a random part survives.
    /// A sync that was to fail no longer does.
    pub fn crash(&self, seed: u64, tearing: Tearing) {
        let mut draw = Draw(seed);
        let mut state = self.state.borrow_mut();
        state.fail_sync = None;
        state.marker = false; // the page cache is gone with the power
        for image in state.segments.values_mut() {
            let unit = match tearing {
                Tearing::Pages => PAGE_BYTES,
                Tearing::Sectors => SECTOR_BYTES,
            };
            let Image { live, durable, believed } = image;
            for (new, old) in live.chunks(unit).zip(durable.chunks_mut(unit)) {
                if new != old && draw.coin() {
                    old.copy_from_slice(new);
                }
            }
            live.copy_from_slice(durable);
            *believed = None;
        }
    }

    /// Only the process dies: what it wrote stays readable, unless a sync
    /// failed; then the tail is read from the disk, as the marker asks.
    pub fn restart(&self) {
        let mut state = self.state.borrow_mut();
        if std::mem::take(&mut state.marker) {
            for image in state.segments.values_mut() {
                image.live.clone_from(&image.durable);
                image.believed = None;
            }
        }
    }

    /// The `n`-th sync from now fails (1 is the next).
    pub fn fail_sync(&self, n: u64) {
        let mut state = self.state.borrow_mut();
        state.fail_sync = Some(state.syncs + n);
    }

    /// No more than `count` segments fit.
    pub fn segments_max(&self, count: Option<usize>) {
        self.state.borrow_mut().segments_max = count;
    }

    /// Nothing that was to fail or to be full is so any more.
    pub fn mend(&self) {
        let mut state = self.state.borrow_mut();
        (state.fail_sync, state.segments_max) = (None, None);
    }

    /// Whether a failed sync left its note.
    pub fn marked(&self) -> bool {
        self.state.borrow().marker
    }

    /// How many syncs there were.
    pub fn syncs(&self) -> u64 {
        self.state.borrow().syncs
    }

    /// How often a segment was written, synced, made or given back changed.
    pub fn writes(&self) -> u64 {
        self.state.borrow().writes
    }

    /// Every byte of every segment, as it reads now.
    pub fn contents(&self) -> BTreeMap<Sequence, Vec<u8>> {
        let state = self.state.borrow();
        state.segments.iter().map(|(sequence, image)| (*sequence, image.live.clone())).collect()
    }

    /// Writes a whole checkpoint, as the background thread does, and removes
    /// the one before the older of the last two.
    pub fn checkpoint(
        &self,
        start: CheckpointStart,
        end: Position,
        slices: &[&[u8]],
    ) -> CheckpointInfo {
        let mut state = self.state.borrow_mut();
        let last = state.checkpoints.last_key_value().map_or(0, |(last, _)| *last);
        let number = last + 1;
        let header = Header { identity: self.identity, number, start };
        let (mut packer, mut bytes) = Packer::new(&header);
        let close = |packer: &mut Packer, bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(packer.seal().map_or(&[], |(_, block)| block));
            packer.opened();
        };
        for slice in slices {
            if !packer.fits(slice.len()) {
                close(&mut packer, &mut bytes);
            }
            packer.push(slice);
        }
        close(&mut packer, &mut bytes);
        bytes.extend(packer.footer(end).1);
        let size = widen(bytes.len());
        state.checkpoints.insert(number, Arc::new(bytes));
        state.checkpoints.retain(|n, _| *n >= last);
        let keep_from = state.began.get(&last).copied().unwrap_or_default();
        state.began.insert(number, start.position());
        CheckpointInfo {
            number,
            began: start.position(),
            end,
            bytes: size,
            began_at: start.began_at,
            keep_from,
        }
    }

    /// The checkpoints, ascending.
    pub fn checkpoints(&self) -> Vec<CheckpointNumber> {
        self.state.borrow().checkpoints.keys().copied().collect()
    }

    /// Changes the bytes of a checkpoint behind the journal's back.
    pub fn alter_checkpoint(&self, number: CheckpointNumber, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.borrow_mut();
        let found = state.checkpoints.get_mut(&number).expect("the checkpoint exists");
        change(Arc::make_mut(found));
    }

    /// Takes a checkpoint's file away.
    pub fn remove_checkpoint(&self, number: CheckpointNumber) {
        self.state.borrow_mut().checkpoints.remove(&number);
    }

    /// Changes the bytes of a segment behind the journal's back.
    pub fn alter(&self, sequence: Sequence, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.borrow_mut();
        if let Some(image) = state.segments.get_mut(&sequence) {
            change(&mut image.live);
            image.durable.clone_from(&image.live);
        }
    }

    /// Removes a segment behind the journal's back.
    pub fn remove(&self, sequence: Sequence) {
        self.state.borrow_mut().segments.remove(&sequence);
    }

    fn make(&self, sequence: Sequence, base: u64) -> Result<(), NextError> {
        let mut state = self.state.borrow_mut();
        if state.segments.contains_key(&sequence) {
            return Ok(());
        }
        if state.segments_max.is_some_and(|max| state.segments.len() >= max) {
            return Err(NextError::Full);
        }
        let (identity, segment_bytes) = (self.identity, widen(self.segment_bytes));
        let mut live = segment::encode(&SegmentHeader { identity, sequence, base, segment_bytes });
        live.resize(self.segment_bytes, 0);
        let image = Image { durable: live.clone(), live, believed: None };
        state.segments.insert(sequence, image);
        state.writes += 1;
        Ok(())
    }
}

/// A small generator (splitmix64) for the crash; tests print its seed.
struct Draw(u64);

impl Draw {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed >> 63 == 1
    }
}

/// The disk, as a journal sees it.
#[derive(Debug)]
pub struct SimulatedStorage {
    disk: Disk,
    tried: Option<Time>,
    /// The segment ahead did not fit.
    lacks_room: bool,
    retired: Position,
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
struct InMemory(Arc<Vec<u8>>);

impl ReadAt for InMemory {
    fn bytes(&self) -> u64 {
        widen(self.0.len())
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let from = self.0.get(narrow(offset)..).unwrap_or_default();
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
        let mut state = self.disk.state.borrow_mut();
        state.syncs += 1;
        state.writes += 1;
        let fails = state.fail_sync.is_some_and(|n| state.syncs == n);
        let image = state.segments.get_mut(&self.sequence);
        match image {
            Some(image) if fails => image.believed = Some(self.bytes.clone()),
            Some(image) => image.write_back(&self.bytes, range),
            None => {}
        }
        if fails { Err(io::Error::other("simulated disk error")) } else { Ok(()) }
    }
}

impl Source for SimulatedStorage {
    type Segment = SimulatedSegment;

    fn sequences(&self) -> io::Result<Vec<Sequence>> {
        Ok(self.disk.state.borrow().segments.keys().copied().collect())
    }

    fn peek(&self, sequence: Sequence) -> io::Result<Stored> {
        let state = self.disk.state.borrow();
        let image = state.segments.get(&sequence).ok_or(io::ErrorKind::NotFound)?;
        let front = image.live.get(..PAGE_BYTES).unwrap_or(&image.live).to_vec();
        Ok(Stored { front, bytes: widen(image.live.len()) })
    }

    fn open(&mut self, sequence: Sequence) -> io::Result<SimulatedSegment> {
        let mut state = self.disk.state.borrow_mut();
        let image = state.segments.get_mut(&sequence).ok_or(io::ErrorKind::NotFound)?;
        let bytes = image.live.clone();
        drop(state);
        Ok(SimulatedSegment { disk: self.disk.clone(), sequence, bytes })
    }

    fn checkpoints(&self) -> io::Result<Vec<CheckpointNumber>> {
        Ok(self.disk.checkpoints())
    }

    fn checkpoint(&self, number: CheckpointNumber) -> io::Result<Box<dyn ReadAt>> {
        let state = self.disk.state.borrow();
        let found = state.checkpoints.get(&number).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(InMemory(Arc::clone(found))))
    }

    fn checkpoint_name(&self, number: CheckpointNumber) -> String {
        format!("simulated/{number:010}.ckp")
    }

    fn founded(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        "simulated".to_owned()
    }

    fn name(&self, sequence: Sequence) -> String {
        format!("simulated/{sequence:010}.seg")
    }
}

impl Storage for SimulatedStorage {
    fn settle(&mut self, from: Sequence, refused: &[CheckpointNumber]) -> io::Result<()> {
        let mut state = self.disk.state.borrow_mut();
        state.writes += 1;
        state.checkpoints.retain(|number, _| !refused.contains(number));
        for (_, image) in state.segments.range_mut(from..) {
            let live = std::mem::take(&mut image.live);
            image.write_back(&live, 0..live.len());
            image.live = live;
        }
        Ok(())
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
        let all = 0..full.bytes.len();
        if sync && full.sync(all).is_ok() {
            self.retired = end; // without it, as if the background had not come to it
        }
    }

    fn retired_upto(&self) -> io::Result<Position> {
        Ok(self.retired)
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

    fn note_failed_sync(&mut self, _file: &str) {
        self.disk.state.borrow_mut().marker = true;
    }
}
