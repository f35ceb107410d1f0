//! Reading a journal while it is written: batch after batch, up to a position
//! that is known to be committed, and never beyond it.
//!
//! The files belong to a running server, so they are read into a buffer and not
//! mapped, and nothing is read ahead: large folios in the page cache would make
//! its syncs rewrite what is acknowledged (`docs/JOURNAL.md` §9). Nothing here
//! writes, or knows what becomes of the records.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::batch::{self, BATCH_HEADER_BYTES, BatchHeader};
use super::checkpoint::CheckpointStart;
use super::failure::CommitFailed;
use super::read_only::JournalFiles;
use super::refusal::RecoveryError;
use super::scan::{self, Chain};
use super::segment::{self, SegmentHeader};
use super::storage::Source;
use super::{Identity, Position, Sequence, narrow, page_up, record, widen};
use crate::checksum::seed_of;
use crate::engine::Record;
use crate::limits::PAGE_BYTES;
use crate::units::Time;

/// How much is read at once: a system call costs little against it, and it
/// stays in the second-level cache until it is decoded.
const WINDOW_BYTES: usize = 512 << 10;

/// Where a chain of batches stands: all that a reader must keep to go on later,
/// and to notice that what follows is not what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ChainEnd {
    /// Where the last batch ends.
    pub position: Position,
    /// Its number; 0 is none yet.
    pub batch: u64,
    /// Its checksum, which the next one names.
    pub checksum: u32,
    /// Its epoch.
    pub epoch: u32,
    /// When it was sealed.
    pub time: Time,
}

impl ChainEnd {
    /// Before the first batch of a journal of this arrangement.
    pub fn beginning(arrangement: u32) -> Self {
        if arrangement > 1 {
            CheckpointStart::founding(arrangement, Time(0)).chain.into()
        } else {
            Self::default()
        }
    }
}

impl From<Chain> for ChainEnd {
    fn from(chain: Chain) -> Self {
        let Chain { batch, checksum, epoch, time, end: position } = chain;
        Self { position, batch, checksum, epoch, time }
    }
}

impl From<ChainEnd> for Chain {
    fn from(end: ChainEnd) -> Self {
        let ChainEnd { position: end, batch, checksum, epoch, time } = end;
        Self { batch, checksum, epoch, time, end }
    }
}

/// Why a journal cannot be read on. It stays so: trying again cannot help,
/// except after a failure of the disk.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The part that is to be read was removed.
    #[error(
        "{place}: this journal begins at position {first} and is needed from {needed} on; what \
         was freed cannot be followed any more, so a ledger cannot be added later: start with \
         `ledger = none`, or with a new data directory"
    )]
    Shortened {
        /// The shard's directory.
        place: String,
        /// Where the oldest segment begins.
        first: Position,
        /// Where reading must begin.
        needed: Position,
    },
    /// What lies there does not continue what was read.
    #[error(
        "{file}: at offset {offset} the journal does not continue what was read up to position \
         {after}: the file is damaged, or belongs to another history; run `hb journal verify \
         --data DIR`"
    )]
    Broken {
        /// The file.
        file: String,
        /// Where the next batch should be.
        offset: u64,
        /// The end of the last batch that was read.
        after: Position,
    },
    /// A segment cannot be used, or a record cannot be read.
    #[error(transparent)]
    Unreadable(#[from] RecoveryError),
    /// What was read cannot be made durable. Whoever writes the journal must end.
    #[error(transparent)]
    NotSynced(#[from] CommitFailed),
}

/// A reader of one shard's journal.
#[derive(Debug)]
pub struct Tail {
    files: JournalFiles,
    identity: Identity,
    chain: Chain,
    segment: Option<OpenSegment>,
    window: Window,
}

/// The segment that is read.
#[derive(Debug)]
struct OpenSegment {
    header: SegmentHeader,
    file: File,
}

/// What lies at the page where the next batch must begin.
enum Next {
    /// It, whole and sound.
    Batch(BatchHeader),
    /// Nothing that is committed.
    Nothing,
    /// The segment's unused rest, it seems.
    Elsewhere,
}

impl Tail {
    /// Reads the journal in `files` on from `from`.
    pub fn new(files: JournalFiles, identity: Identity, from: ChainEnd) -> Self {
        Self { files, identity, chain: from.into(), segment: None, window: Window::default() }
    }

    /// The end of the last batch that was read.
    pub fn end(&self) -> ChainEnd {
        self.chain.into()
    }

    /// Reads whole batches up to the committed position `upto`, until at least
    /// `records_max` records were taken. Each record comes with the position at
    /// which its batch begins and its place in it. After an error what was
    /// taken since the call does not count.
    pub fn read(
        &mut self,
        upto: Position,
        records_max: usize,
        take: &mut impl FnMut(Position, u32, Record),
    ) -> Result<usize, TailError> {
        let mut records = 0;
        while records < records_max && self.chain.end < upto {
            let Some(batch) = self.next(upto)? else { break };
            records += self.records(&batch, take)?;
            self.chain.advance(&batch);
        }
        Ok(records)
    }

    /// Reads every batch that is there and whole, committed or not: what a look
    /// at a running server's journal can see. What is half-written is not there
    /// yet, and what is damaged cannot be told from it.
    pub fn read_whole(
        &mut self,
        take: &mut impl FnMut(Position, u32, Record),
    ) -> Result<usize, TailError> {
        let mut records = 0;
        while let Some(batch) = self.next_whole()? {
            records += self.records(&batch, take)?;
            self.chain.advance(&batch);
        }
        self.window.clear(); // what was not there yet is looked at anew
        Ok(records)
    }

    /// The next batch that is whole, here or first in the next segment.
    fn next_whole(&mut self) -> Result<Option<BatchHeader>, TailError> {
        if self.segment.is_none() {
            self.segment = Some(self.first_segment()?);
            self.window.clear();
        }
        if let Some(batch) = self.look_whole()? {
            return Ok(Some(batch));
        }
        let Some(OpenSegment { header: here, .. }) = self.segment else { return Ok(None) };
        // The segment ahead may not be ready yet.
        let Ok(next) = self.header(here.sequence.saturating_add(1)) else { return Ok(None) };
        let opened = self.open(next)?;
        let here = self.segment.replace(opened);
        self.window.clear();
        let found = self.look_whole()?;
        if found.is_none() {
            self.segment = here;
            self.window.clear();
        }
        Ok(found)
    }

    /// The batch at the page after the last one, if all of it is there.
    fn look_whole(&mut self) -> Result<Option<BatchHeader>, TailError> {
        let Some(OpenSegment { header, file }) = &self.segment else { return Ok(None) };
        let size = narrow(header.segment_bytes);
        let offset = page_after(header, self.chain.end);
        if offset + BATCH_HEADER_BYTES > size {
            return Ok(None);
        }
        let failed = |error| RecoveryError::io(self.files.name(header.sequence), error);
        let front = offset..offset + BATCH_HEADER_BYTES;
        let bytes = self.window.cover(file, front, size).map_err(failed)?;
        let found = batch::read(bytes, header.sequence, Position::of(header.base, offset));
        let Some(found) = found.filter(|found| self.chain.continues(found)) else {
            return Ok(None);
        };
        let whole = batch_range(header, &found);
        if size < whole.end {
            return Ok(None);
        }
        let bytes = self.window.cover(file, whole, size).map_err(failed)?;
        Ok(batch::body(&found, bytes).map(|_| found))
    }

    /// Whether what lies next, up to the committed position `upto`, continues
    /// what was read. Nothing is taken.
    pub fn check(&mut self, upto: Position) -> Result<(), TailError> {
        if self.chain.end < upto {
            self.next(upto)?;
        }
        Ok(())
    }

    /// Makes what was read durable. Under `durability = os` what is committed is
    /// not on the disk yet; whoever keeps durably what follows from it asks for
    /// this first, or would know more after a power cut than the journal. An error,
    /// and for ever, once a sync of this data directory has failed for anybody.
    pub fn sync(&self) -> Result<(), TailError> {
        let Some(OpenSegment { header, file }) = &self.segment else { return Ok(()) };
        Ok(self.files.judge(header.sequence, file.sync_data())?)
    }

    /// The next batch, with its bytes in the window.
    fn next(&mut self, upto: Position) -> Result<Option<BatchHeader>, TailError> {
        if self.segment.is_none() {
            self.segment = Some(self.first_segment()?);
            self.window.clear();
        }
        for first in [true, false] {
            match self.look(upto)? {
                Next::Batch(batch) => return Ok(Some(batch)),
                Next::Nothing => return Ok(None),
                Next::Elsewhere if first => self.cross()?,
                Next::Elsewhere => break,
            }
        }
        Err(self.broken())
    }

    /// Looks at the page after the last batch, in the segment that is open.
    fn look(&mut self, upto: Position) -> Result<Next, TailError> {
        let Some(OpenSegment { header, file }) = &self.segment else { return Ok(Next::Nothing) };
        let size = narrow(header.segment_bytes);
        // Nothing beyond what is committed is even read.
        let limit = narrow(upto.0.saturating_sub(header.base)).min(size);
        let goes_on = upto.0 > header.base.saturating_add(header.segment_bytes);
        let offset = page_after(header, self.chain.end);
        if offset >= size && goes_on {
            return Ok(Next::Elsewhere);
        }
        if limit < offset + BATCH_HEADER_BYTES {
            return Ok(Next::Nothing);
        }
        let failed = |error| RecoveryError::io(self.files.name(header.sequence), error);
        let front = offset..offset + BATCH_HEADER_BYTES;
        let bytes = self.window.cover(file, front, limit).map_err(failed)?;
        let found = batch::read(bytes, header.sequence, Position::of(header.base, offset));
        let Some(found) = found.filter(|found| self.chain.continues(found)) else {
            let unused = bytes.iter().all(|byte| *byte == 0);
            let unused = unused || batch::is_stale(bytes, header.sequence);
            return if goes_on && unused { Ok(Next::Elsewhere) } else { Err(self.broken()) };
        };
        if upto < found.end() {
            return Ok(Next::Nothing);
        }
        let whole = batch_range(header, &found);
        let bytes = self.window.cover(file, whole, limit).map_err(failed)?;
        let sound = batch::body(&found, bytes).is_some();
        if sound { Ok(Next::Batch(found)) } else { Err(self.broken()) }
    }

    /// Shows the records of the batch that was just looked at.
    fn records(
        &self,
        batch: &BatchHeader,
        take: &mut impl FnMut(Position, u32, Record),
    ) -> Result<usize, TailError> {
        let Some(OpenSegment { header, .. }) = &self.segment else { return Ok(0) };
        let seed = seed_of(u64::from(header.sequence));
        let bytes = self.window.get(batch_range(header, batch)).unwrap_or_default();
        let mut rest = bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default();
        let mut index = 0;
        while !rest.is_empty() {
            let Ok((length, record)) = record::decode(rest, seed) else { break };
            take(batch.position, index, record);
            rest = rest.get(length..).unwrap_or_default();
            index += 1;
        }
        if rest.is_empty() && index == batch.records {
            return Ok(narrow(index.into()));
        }
        let (file, offset) =
            (self.files.name(header.sequence), scan::offset_of(header, batch.position));
        Err(RecoveryError::UnreadableRecord { file, offset }.into())
    }

    /// Opens the segment that holds the end of the last batch.
    fn first_segment(&self) -> Result<OpenSegment, TailError> {
        let sequences = self.files.sequences();
        let sequences = sequences.map_err(|e| RecoveryError::io(self.files.place(), e))?;
        let needed = self.chain.end;
        let mut first = None;
        for sequence in sequences.into_iter().rev() {
            let header = self.header(sequence)?;
            if header.base <= needed.0 {
                return self.open(header);
            }
            first = Some(Position(header.base));
        }
        match first {
            Some(first) => Err(TailError::Shortened { place: self.files.place(), first, needed }),
            None => Err(RecoveryError::MissingSegment { file: self.files.name(1) }.into()),
        }
    }

    /// Goes on to the segment after the one that is open.
    fn cross(&mut self) -> Result<(), TailError> {
        let Some(OpenSegment { header: full, .. }) = self.segment else { return Ok(()) };
        let next = self.header(full.sequence.saturating_add(1))?;
        let base = full.base.saturating_add(full.segment_bytes);
        segment::judge(&next, self.identity, base)
            .map_err(|fault| RecoveryError::faulty(self.files.name(next.sequence), fault))?;
        self.sync()?; // so that `sync` needs to know of no segment but the last
        self.segment = Some(self.open(next)?);
        self.window.clear();
        Ok(())
    }

    fn header(&self, sequence: Sequence) -> Result<SegmentHeader, RecoveryError> {
        let name = || self.files.name(sequence);
        let stored = self.files.peek(sequence).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RecoveryError::MissingSegment { file: name() },
            _ => RecoveryError::io(name(), error),
        })?;
        let header = segment::read(sequence, &stored);
        let header = header.map_err(|fault| RecoveryError::faulty(name(), fault))?;
        segment::judge(&header, self.identity, header.base)
            .map_err(|fault| RecoveryError::faulty(name(), fault))?;
        Ok(header)
    }

    fn open(&self, header: SegmentHeader) -> Result<OpenSegment, TailError> {
        let opened = self.files.open_unmapped(header.sequence);
        let file =
            opened.map_err(|error| RecoveryError::io(self.files.name(header.sequence), error))?;
        Ok(OpenSegment { header, file })
    }

    fn broken(&self) -> TailError {
        let after = self.chain.end;
        let Some(OpenSegment { header, .. }) = &self.segment else {
            return TailError::Broken { file: self.files.place(), offset: 0, after };
        };
        let offset = widen(page_after(header, after));
        TailError::Broken { file: self.files.name(header.sequence), offset, after }
    }
}

/// The offset of the page at which the batch after `position` begins.
fn page_after(segment: &SegmentHeader, position: Position) -> usize {
    page_up(narrow(scan::offset_of(segment, position))).max(PAGE_BYTES)
}

/// Where a batch lies in its file.
fn batch_range(segment: &SegmentHeader, batch: &BatchHeader) -> Range<usize> {
    let start = narrow(scan::offset_of(segment, batch.position));
    start..narrow(scan::offset_of(segment, batch.end()))
}

/// Bytes of the open segment in memory. All of them were committed when they
/// were read, so they do not change.
#[derive(Debug, Default)]
struct Window {
    bytes: Vec<u8>,
    from: usize,
}

impl Window {
    fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The bytes at `range` of the file, if they are here.
    fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        let start = range.start.checked_sub(self.from)?;
        self.bytes.get(start..start + range.len())
    }

    /// The bytes at `range` of `file`; what follows is read with them, but
    /// nothing from `limit` on.
    fn cover(&mut self, file: &File, range: Range<usize>, limit: usize) -> io::Result<&[u8]> {
        if self.get(range.clone()).is_none() {
            let end = range.end.max(range.start.saturating_add(WINDOW_BYTES)).min(limit);
            self.from = range.start;
            self.bytes.resize(end.saturating_sub(range.start), 0);
            let read = file.read_exact_at(&mut self.bytes, widen(range.start));
            if read.is_err() {
                self.bytes.clear();
            }
            read?;
        }
        self.get(range).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::Claimed;
    use crate::journal::files;
    use crate::units::{EnvelopeId, Time, UserId};

    const BYTES: u64 = 1 << 16;
    const CLAIM_BYTES: usize = 32;
    const US: Identity = Identity { cell: 1, shard: 0, shards: 1 };

    /// A segment whose first batch has two records and says that it has so many.
    fn segment_of(records: u32) -> Vec<u8> {
        let header = SegmentHeader { identity: US, sequence: 1, base: 0, segment_bytes: BYTES };
        let mut bytes = segment::encode(&header);
        bytes.resize(narrow(BYTES), 0);
        let (envelope, user) = (EnvelopeId::new(1, 2, 3, 4), UserId(5));
        let record = Record::Claimed(Claimed { envelope, user, amount: 1, rank: 0, at: 9 });
        let body = record::bytes_of_record(&record, seed_of(1)).repeat(2);
        let batch = &mut bytes[PAGE_BYTES..][..BATCH_HEADER_BYTES + body.len()];
        batch[BATCH_HEADER_BYTES..].copy_from_slice(&body);
        let header = BatchHeader {
            checksum: 0,
            body_checksum: 0,
            previous: 0,
            body_bytes: u32::try_from(body.len()).unwrap(),
            records,
            epoch: 1,
            sequence: 1,
            unsynced: false,
            batch: 1,
            position: Position(widen(PAGE_BYTES)),
            time: Time(7),
            durable_upto: Position(0),
        };
        batch::seal(&header, batch);
        bytes
    }

    #[test]
    fn a_batch_whose_records_are_not_as_many_as_it_says_cannot_be_read() {
        for records in 0..4 {
            let shard = tempfile::tempdir().unwrap();
            fs::write(files::segment_path(shard.path(), 1), segment_of(records)).unwrap();
            let files = JournalFiles::new(shard.path().to_owned(), false, None);
            let mut tail = Tail::new(files, US, ChainEnd::default());
            let end = Position(widen(PAGE_BYTES + BATCH_HEADER_BYTES + 2 * CLAIM_BYTES));
            let read = tail.read(end, 9, &mut |_, _, _| {});
            match read {
                Ok(found) => assert_eq!((found, records), (2, 2)),
                Err(error) => {
                    let told = error.to_string();
                    assert!(told.contains("the batch at offset 4096 holds a record"), "{told}");
                    assert_ne!(records, 2);
                }
            }
        }
    }
}
