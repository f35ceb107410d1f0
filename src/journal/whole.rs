//! One shard's journal for a reader who wants all that is there of it: where it
//! begins, the checkpoint that says what was before, and every record since.
//!
//! Nothing here writes, creates or locks anything. A journal at rest is judged
//! at its end as a start would; one that a server writes is read as far as its
//! batches are whole.

use std::path::Path;

use super::checkpoint::{CheckpointNumber, LoadFailed, each_slice};
use super::read_only::JournalFiles;
use super::recovery::{Names, each_record, refuse_damage};
use super::refusal::RecoveryError;
use super::replay::Unfit;
use super::scan::{self, Chain};
use super::storage::Source;
use super::{BatchHeader, ChainEnd, Identity, Position, Tail, arrangement, choose, files};
use crate::engine::Record;

/// What there is of one shard's journal.
#[derive(Debug)]
pub struct WholeJournal {
    files: JournalFiles,
    identity: Identity,
    arrangement: u32,
    begin: Option<(Chain, CheckpointNumber)>,
    checkpoint_end: Position,
}

impl WholeJournal {
    /// The journals of the arrangement in use, by shard; none of one that was
    /// never written.
    pub fn all(data: &Path) -> Result<Vec<Self>, RecoveryError> {
        let failed = |e| RecoveryError::io(data.display().to_string(), e);
        std::fs::metadata(data).map_err(failed)?;
        let Some((number, path)) = arrangement::newest(data).map_err(failed)? else {
            return Ok(Vec::new());
        };
        let mut journals = Vec::new();
        for shard in files::shards(&path).map_err(failed)? {
            let files = JournalFiles::new(files::shard_path(&path, shard), number > 1, None);
            journals.extend(Self::open(files, number)?);
        }
        Ok(journals)
    }

    fn open(files: JournalFiles, arrangement: u32) -> Result<Option<Self>, RecoveryError> {
        let found = scan::every_header(&files)?;
        let chosen = choose::checkpoint(&files, None)?; // refuses what a start refuses
        let whole = found.first().is_some_and(|(sequence, _)| *sequence == 1) && !files.founded();
        let begin = if whole { None } else { choose::oldest(&files, &chosen)? };
        let of_segment = found.iter().find_map(|(_, header)| header.as_ref().ok());
        let identity = of_segment.map(|header| header.identity).or(chosen.identity());
        let checkpoint_end = chosen.from.checkpoint_end;
        let open = |identity| Self { files, identity, arrangement, begin, checkpoint_end };
        Ok(identity.map(open))
    }

    /// Whose it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Which arrangement of the shards it is of, from 1.
    pub fn arrangement(&self) -> u32 {
        self.arrangement
    }

    /// Before the first batch that is there.
    pub fn begin(&self) -> ChainEnd {
        self.begin.map(|(chain, _)| chain).unwrap_or_default().into()
    }

    /// The checkpoint that says what was before, if anything was.
    pub fn checkpoint(&self) -> Option<CheckpointNumber> {
        self.begin.map(|(_, number)| number)
    }

    /// The bytes of its segments, for a progress.
    pub fn bytes(&self) -> Result<u64, RecoveryError> {
        let headers = scan::headers(&self.files, Some(self.identity), self.begin().position)?;
        Ok(headers.iter().map(|header| header.segment_bytes).sum())
    }

    /// The size of that checkpoint's file.
    pub fn checkpoint_bytes(&self) -> Result<u64, RecoveryError> {
        let Some(number) = self.checkpoint() else { return Ok(0) };
        let file = self.files.checkpoint(number);
        let file = file.map_err(|e| RecoveryError::io(self.files.checkpoint_name(number), e))?;
        Ok(file.bytes())
    }

    /// Shows every slice of that checkpoint.
    pub fn load(
        &self,
        mut load: impl FnMut(&[u8]) -> Result<u64, Unfit>,
    ) -> Result<(), RecoveryError> {
        let Some(number) = self.checkpoint() else { return Ok(()) };
        let name = || self.files.checkpoint_name(number);
        let file = self.files.checkpoint(number).map_err(|e| RecoveryError::io(name(), e))?;
        let changed = |fault| RecoveryError::CheckpointChanged { file: name(), fault };
        let examined = choose::examine_one(&self.files, number, Some(self.identity));
        let examined = examined.map_err(|(fault, _)| changed(fault))?;
        let loaded = each_slice(&*file, &examined, |slice, _| load(slice).map(|_| ()));
        loaded.map_err(|failed| match failed {
            LoadFailed::Fault(fault) => changed(fault),
            LoadFailed::Refused(slice, reason) => {
                RecoveryError::UnfitSlice { file: name(), slice, reason }
            }
        })
    }

    /// Shows every record with its batch, in order, and where the journal ends.
    /// Nobody may write it meanwhile. Damage is an error.
    pub fn each_record(
        &mut self,
        mut show: impl FnMut(&BatchHeader, &Record),
    ) -> Result<Position, RecoveryError> {
        let chain = self.begin.map(|(chain, _)| chain).unwrap_or_default();
        let from = scan::From { chain, checkpoint_end: self.checkpoint_end };
        let headers = scan::headers(&self.files, Some(self.identity), chain.end)?;
        let names = Names::of(&self.files, &headers);
        let walked = scan::walk(&mut self.files, &headers, from, &mut |segment, batch, body| {
            each_record(&names, segment, batch, body, &mut |_, record| {
                show(batch, record);
                Ok(())
            })
        })?;
        refuse_damage(&names, &headers, &walked)?;
        Ok(walked.chain.end)
    }

    /// A reader that may read beside the server that writes it.
    pub fn tail(&self) -> Tail {
        Tail::new(self.files.clone(), self.identity, self.begin())
    }
}
