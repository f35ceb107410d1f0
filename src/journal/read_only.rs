//! A shard's files, read and never written: what the inspector and a
//! rearrangement see. Nothing here creates or locks anything.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Sequence;
use super::checkpoint::CheckpointNumber;
use super::failure::{CommitFailed, SyncFailure};
use super::files::{self, WholeFile};
use super::storage::{ReadAt, SegmentBytes, Source, Stored};

/// The segments and checkpoints of one shard.
#[derive(Clone, Debug)]
pub struct JournalFiles {
    shard: PathBuf,
    founded: bool,
    /// Of whoever writes them; a tool knows nothing of him.
    failure: Option<Arc<SyncFailure>>,
}

/// A segment, whole in memory: a mapping of a file that a running server writes
/// would change under a shared reference.
#[derive(Debug)]
pub struct LoadedSegment(Vec<u8>);

impl JournalFiles {
    pub(super) fn new(shard: PathBuf, founded: bool, failure: Option<Arc<SyncFailure>>) -> Self {
        Self { shard, founded, failure }
    }

    /// What a sync of a segment is worth, which somebody else has written.
    pub(super) fn judge(
        &self,
        sequence: Sequence,
        synced: io::Result<()>,
    ) -> Result<(), CommitFailed> {
        let file = files::segment_path(&self.shard, sequence);
        match &self.failure {
            Some(failure) => failure.judge(&file, synced),
            None => synced.map_err(|error| CommitFailed::of_file(&file, &error)),
        }
    }

    /// Opens a segment to be read a piece at a time, and nothing ahead of that.
    pub(super) fn open_unmapped(&self, sequence: Sequence) -> io::Result<File> {
        let file = File::open(files::segment_path(&self.shard, sequence))?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
        Ok(file)
    }
}

impl SegmentBytes for LoadedSegment {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Source for JournalFiles {
    type Segment = LoadedSegment;

    fn sequences(&self) -> io::Result<Vec<Sequence>> {
        files::sequences(&self.shard)
    }

    fn peek(&self, sequence: Sequence) -> io::Result<Stored> {
        files::peek(&files::segment_path(&self.shard, sequence))
    }

    fn open(&mut self, sequence: Sequence) -> io::Result<LoadedSegment> {
        fs::read(files::segment_path(&self.shard, sequence)).map(LoadedSegment)
    }

    fn read_ahead(&mut self, sequence: Sequence) {
        files::read_ahead(files::segment_path(&self.shard, sequence));
    }

    fn checkpoints(&self) -> io::Result<Vec<CheckpointNumber>> {
        files::checkpoints(&self.shard)
    }

    fn checkpoint(&self, number: CheckpointNumber) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(WholeFile::open(&files::checkpoint_path(&self.shard, number))?))
    }

    fn checkpoint_name(&self, number: CheckpointNumber) -> String {
        files::checkpoint_path(&self.shard, number).display().to_string()
    }

    fn founded(&self) -> bool {
        self.founded
    }

    fn place(&self) -> String {
        self.shard.display().to_string()
    }

    fn name(&self, sequence: Sequence) -> String {
        files::segment_path(&self.shard, sequence).display().to_string()
    }
}
