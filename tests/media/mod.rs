//! A journal in memory that is only read, so that a recovery copies nothing, and
//! what a recovery finds in it.
#![allow(dead_code)] // every test uses its own part of this
#![allow(unreachable_pub)] // and sees it as a module of its own
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use std::io;
use std::sync::Arc;

use hongbao::engine::{Misfit, Record};
use hongbao::journal::{
    Identity, Position, ReadAt, Recovering, RecoveryError, Replica, SegmentBytes, Source, Stored,
    Unfit,
};
use hongbao::limits::PAGE_BYTES;
use hongbao::units::Durability;

/// Whose journals these are.
pub const US: Identity = Identity { cell: 1, shard: 0, shards: 1 };

/// Every record with the position after it.
pub type Records = Vec<(Position, Record)>;

/// Segments from 1 on, and checkpoints from 1 on.
pub struct Media<'a> {
    segments: Vec<&'a [u8]>,
    checkpoints: Vec<Arc<Vec<u8>>>,
}

pub struct Opened<'a>(&'a [u8]);

impl SegmentBytes for Opened<'_> {
    fn bytes(&self) -> &[u8] {
        self.0
    }
}

impl<'a> Media<'a> {
    pub fn of(segments: &[&'a [u8]]) -> Self {
        Self { segments: segments.to_vec(), checkpoints: Vec::new() }
    }

    #[must_use]
    pub fn with(self, checkpoints: Vec<Arc<Vec<u8>>>) -> Self {
        Self { checkpoints, ..self }
    }

    fn segment(&self, sequence: u32) -> io::Result<&'a [u8]> {
        at(&self.segments, sequence).copied()
    }
}

fn at<T>(all: &[T], number: u32) -> io::Result<&T> {
    let index = usize::try_from(number).unwrap().checked_sub(1);
    Ok(index.and_then(|index| all.get(index)).ok_or(io::ErrorKind::NotFound)?)
}

impl<'a> Source for Media<'a> {
    type Segment = Opened<'a>;

    fn sequences(&self) -> io::Result<Vec<u32>> {
        Ok((1..).take(self.segments.len()).collect())
    }

    fn peek(&self, sequence: u32) -> io::Result<Stored> {
        let segment = self.segment(sequence)?;
        let front = segment.get(..PAGE_BYTES).unwrap_or(segment).to_vec();
        Ok(Stored { front, bytes: segment.len().try_into().unwrap() })
    }

    fn open(&mut self, sequence: u32) -> io::Result<Opened<'a>> {
        self.segment(sequence).map(Opened)
    }

    fn checkpoints(&self) -> io::Result<Vec<u32>> {
        Ok((1..).take(self.checkpoints.len()).collect())
    }

    fn checkpoint(&self, number: u32) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(InMemory(Arc::clone(at(&self.checkpoints, number)?))))
    }

    fn checkpoint_name(&self, number: u32) -> String {
        format!("memory/{number}.ckp")
    }

    fn founded(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn name(&self, sequence: u32) -> String {
        format!("memory/{sequence}.seg")
    }
}

struct InMemory(Arc<Vec<u8>>);

impl ReadAt for InMemory {
    fn bytes(&self) -> u64 {
        self.0.len().try_into().unwrap()
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self.0.get(from..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A replica that remembers what it is given.
#[derive(Default)]
pub struct Found {
    pub slices: Vec<Vec<u8>>,
    pub records: Records,
}

impl Replica for Found {
    fn load(&mut self, slice: &[u8]) -> Result<u64, Unfit> {
        self.slices.push(slice.to_vec());
        Ok(1)
    }

    fn apply(&mut self, records: &[(Position, Record)]) -> Result<(), (Position, Misfit)> {
        self.records.extend_from_slice(records);
        Ok(())
    }
}

/// What recovery makes of it: its records, or a refusal.
pub fn recover(media: Media<'_>) -> Result<Records, RecoveryError> {
    let mut found = Found::default();
    Recovering::open(media, US, Durability::Sync)?.read(&mut found, &|_| {})?;
    Ok(found.records)
}
