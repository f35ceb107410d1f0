//! A disk in memory that crashes, tears and fails on demand, for tests.
//!
//! Each segment exists twice: as the process sees it and as the disk has it.
//! A sync copies pages from one to the other; a crash keeps some of the pages
//! that were not synced, in no order, as real disks do.

mod storage;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::checkpoint::{CheckpointInfo, CheckpointNumber, CheckpointStart, Header, Packer};
use super::storage::NextError;
use super::{Identity, Position, SegmentHeader, Sequence, segment, widen};
use crate::limits::PAGE_BYTES;
pub use storage::{SimulatedSegment, SimulatedStorage};

/// The unit a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// What a read that was to fail says.
const READ_ERROR: &str = "simulated read error";

/// What a caller is told who will not live to hear it.
const KILLED: &str = "simulated kill in a sync";

/// How a page that was not synced may be left by a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tearing {
    /// Old or new, the page as a whole.
    Pages,
    /// Each sector of it old or new.
    Sectors,
}

/// When a full segment is synced that a journal leaves to the background.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Background {
    #[default]
    AtOnce,
    Late,
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

/// What passes while the disk works, for whoever counts time.
#[derive(Clone)]
struct Delay(Rc<dyn Fn()>);

impl fmt::Debug for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delay")
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
    kill_in_sync: Option<u64>,
    segments_max: Option<usize>,
    marker: bool,
    writes: u64,
    reads: u64,
    fail_read: Option<u64>,
    /// Whether a sync may go on beside the shard's work, and how often one did.
    overlaps: bool,
    overlapped: u64,
    background: Background,
    delay: Option<Delay>,
    /// The journal has begun with a checkpoint.
    founded: bool,
}

impl State {
    /// Whether this read gets through.
    fn read(&mut self) -> io::Result<()> {
        self.reads += 1;
        let fails = self.fail_read == Some(self.reads);
        if fails { Err(io::Error::other(READ_ERROR)) } else { Ok(()) }
    }
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

    /// A disk whose journal begins with this checkpoint, as those of a new
    /// arrangement do.
    pub fn founded(
        identity: Identity,
        segment_bytes: usize,
        start: CheckpointStart,
        slices: &[&[u8]],
    ) -> Self {
        let disk = Self::new(identity, segment_bytes);
        disk.state.borrow_mut().founded = true;
        disk.checkpoint(start, Position(0), slices);
        disk
    }

    /// The storage to open a journal on.
    pub fn storage(&self) -> SimulatedStorage {
        SimulatedStorage::of(self.clone())
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
        (state.fail_sync, state.kill_in_sync, state.fail_read) = (None, None, None);
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

    /// Somebody who reads the segments has synced them.
    pub fn sync_all(&self) {
        for image in self.state.borrow_mut().segments.values_mut() {
            let live = image.live.clone();
            image.write_back(&live, 0..live.len());
        }
    }

    /// The `n`-th sync from now fails (1 is the next).
    pub fn fail_sync(&self, n: u64) {
        let mut state = self.state.borrow_mut();
        state.fail_sync = Some(state.syncs + n);
    }

    /// The process is killed in the `n`-th sync from now (1 is the next): what it was
    /// to write can be read and is not on the disk, and there is no note of it.
    pub fn kill_in_sync(&self, n: u64) {
        let mut state = self.state.borrow_mut();
        state.kill_in_sync = Some(state.syncs + n);
    }

    /// The `n`-th read from now fails (1 is the next): the front of a segment, a
    /// segment, or a checkpoint from its middle on.
    pub fn fail_read(&self, n: u64) {
        let mut state = self.state.borrow_mut();
        state.fail_read = Some(state.reads + n);
    }

    /// From now on a sync may go on beside the work of a shard, which must look
    /// by itself whether it has ended: nobody rings.
    pub fn overlap_syncs(&self) {
        self.state.borrow_mut().overlaps = true;
    }

    /// From now on the background does not come to full segments, which it is to sync.
    pub fn retire_late(&self) {
        self.state.borrow_mut().background = Background::Late;
    }

    /// From now on `meanwhile` is called while a sync is under way.
    pub fn slow_down(&self, meanwhile: Option<Rc<dyn Fn()>>) {
        self.state.borrow_mut().delay = meanwhile.map(Delay);
    }

    /// No more than `count` segments fit.
    pub fn segments_max(&self, count: Option<usize>) {
        self.state.borrow_mut().segments_max = count;
    }

    /// Nothing that was to fail or to be full is so any more.
    pub fn mend(&self) {
        let mut state = self.state.borrow_mut();
        (state.fail_sync, state.kill_in_sync) = (None, None);
        (state.fail_read, state.segments_max) = (None, None);
    }

    /// No read is to fail any more.
    pub fn mend_reads(&self) {
        self.state.borrow_mut().fail_read = None;
    }

    /// Whether a failed sync left its note.
    pub fn marked(&self) -> bool {
        self.state.borrow().marker
    }

    /// How many syncs there were.
    pub fn syncs(&self) -> u64 {
        self.state.borrow().syncs
    }

    /// How many of them went on beside the shard's work.
    pub fn overlapped(&self) -> u64 {
        self.state.borrow().overlapped
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

    /// Shows every segment: as it reads while nobody has it open, and as the disk
    /// has it.
    pub fn each_segment(&self, mut look: impl FnMut(Sequence, &[u8], &[u8])) {
        for (sequence, image) in &self.state.borrow().segments {
            look(*sequence, &image.live, &image.durable);
        }
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

    /// A sync of what the process sees as `cached`.
    fn sync(&self, sequence: Sequence, cached: &[u8], range: Range<usize>) -> io::Result<()> {
        let delay = self.state.borrow().delay.clone();
        if let Some(Delay(meanwhile)) = delay {
            meanwhile();
        }
        let mut state = self.state.borrow_mut();
        state.syncs += 1;
        state.writes += 1;
        if state.kill_in_sync == Some(state.syncs) {
            return Err(io::Error::other(KILLED));
        }
        let fails = state.fail_sync.is_some_and(|n| state.syncs == n);
        match state.segments.get_mut(&sequence) {
            Some(image) if fails => image.believed = Some(cached.to_vec()),
            Some(image) => image.write_back(cached, range),
            None => {}
        }
        if fails { Err(io::Error::other("simulated disk error")) } else { Ok(()) }
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
