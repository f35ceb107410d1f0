//! Reading a journal from its first batch to the end of the valid prefix, and
//! gathering what lies after it.
//!
//! Nothing here writes, decides, or panics on any bytes.

use super::batch::{self, BatchHeader};
use super::decide::{Findings, Leftover, SegmentFault, Stray};
use super::recovery::RecoveryError;
use super::segment::{self, SegmentHeader};
use super::storage::{SegmentBytes, Source};
use super::{Identity, Position, Sequence, page_up, widen};
use crate::limits::PAGE_BYTES;
use crate::units::Time;

static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// Where the chain of batches stands: what the next one must continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Chain {
    pub(super) batch: u64,
    pub(super) checksum: u32,
    pub(super) epoch: u32,
    pub(super) time: Time,
    pub(super) end: Position,
}

impl Chain {
    /// Whether `header` is what this writer would have written next.
    fn continues(&self, header: &BatchHeader) -> bool {
        let known = if header.unsynced {
            header.durable_upto <= self.end
        } else {
            header.durable_upto == self.end // the commit before was durable
        };
        known
            && header.previous == self.checksum
            && header.batch == self.batch.saturating_add(1)
            && header.epoch.wrapping_sub(self.epoch) <= 1
            && header.time >= self.time
    }

    pub(super) fn advance(&mut self, header: &BatchHeader) {
        *self = Self {
            batch: header.batch,
            checksum: header.checksum,
            epoch: header.epoch,
            time: header.time,
            end: header.end(),
        };
    }
}

/// The headers of all segments, or the first fault and the sequence it is at.
///
/// Without an identity (the inspector has none) the first segment's is taken.
pub(super) fn headers<S: Source>(
    source: &S,
    identity: Option<Identity>,
) -> Result<Vec<SegmentHeader>, RecoveryError> {
    let sequences = source.sequences().map_err(|e| RecoveryError::io(source.place(), e))?;
    let mut headers: Vec<SegmentHeader> = Vec::with_capacity(sequences.len());
    let (mut expected, mut base) = (1, 0);
    for sequence in sequences {
        if sequence != expected {
            return Err(RecoveryError::faulty(source.name(expected), SegmentFault::Missing));
        }
        let name = || source.name(sequence);
        let stored = source.peek(sequence).map_err(|e| RecoveryError::io(name(), e))?;
        let ours = identity.or(headers.first().map(|first| first.identity));
        let header = segment::read(sequence, &stored)
            .and_then(|h| {
                segment::judge(&h, ours.unwrap_or(h.identity), base)?;
                Ok(h)
            })
            .map_err(|fault| RecoveryError::faulty(name(), fault))?;
        expected = sequence.saturating_add(1);
        base = header.base.saturating_add(header.segment_bytes);
        headers.push(header);
    }
    Ok(headers)
}

/// What a walk through the journal found.
pub(super) struct Walked<T> {
    pub(super) chain: Chain,
    pub(super) findings: Findings,
    /// The segment the prefix ends in, and those after it.
    pub(super) tail: Vec<(SegmentHeader, T)>,
    /// The page after the prefix, in the first segment of the tail.
    pub(super) stop: usize,
}

/// Called for each valid batch of the prefix, in order, with its records.
pub(super) type Visit<'a> =
    dyn FnMut(&SegmentHeader, &BatchHeader, &[u8]) -> Result<(), RecoveryError> + 'a;

/// Follows the chain from the first segment to where it ends.
pub(super) fn walk<S: Source>(
    source: &mut S,
    headers: &[SegmentHeader],
    visit: &mut Visit<'_>,
) -> Result<Walked<S::Segment>, RecoveryError> {
    let mut chain = Chain::default();
    let mut durable_upto = Position(0);
    let mut tail = Vec::new();
    let mut stop = PAGE_BYTES;
    for header in headers {
        let name = source.name(header.sequence);
        let opened = source.open(header.sequence).map_err(|e| RecoveryError::io(name, e))?;
        let before = chain.batch;
        // Once a segment does not continue the chain, no later one can.
        if tail.len() < 2 {
            let bytes = opened.bytes();
            let reached = follow(header, bytes, &mut chain, &mut durable_upto, visit)?;
            if chain.batch > before {
                tail.clear();
                stop = reached;
            }
        }
        tail.push((*header, opened));
    }
    let findings = gather(&tail, stop, &chain, durable_upto);
    Ok(Walked { chain, findings, tail, stop })
}

/// Follows the chain within one segment; returns the page after its last batch.
fn follow(
    header: &SegmentHeader,
    bytes: &[u8],
    chain: &mut Chain,
    durable_upto: &mut Position,
    visit: &mut Visit<'_>,
) -> Result<usize, RecoveryError> {
    let mut offset = PAGE_BYTES;
    while let Some(page) = bytes.get(offset..) {
        let found = batch::read(page, header.sequence, Position::of(header.base, offset));
        let Some(found) = found.filter(|found| chain.continues(found)) else { break };
        let Some(body) = batch::body(&found, page) else { break };
        visit(header, &found, body)?;
        *durable_upto = found.durable_upto.max(*durable_upto);
        chain.advance(&found);
        offset = page_up(offset + batch::BATCH_HEADER_BYTES + body.len());
    }
    Ok(offset)
}

/// Looks at every page after the prefix.
fn gather<T: SegmentBytes>(
    tail: &[(SegmentHeader, T)],
    stop: usize,
    chain: &Chain,
    durable_upto: Position,
) -> Findings {
    let mut findings =
        Findings { fault: None, end: chain.end, durable_upto, stray: None, leftover: None };
    let mut headers_found = false;
    for (index, (segment, opened)) in tail.iter().enumerate() {
        let start = if index == 0 { stop } else { PAGE_BYTES };
        for (offset, page) in pages_left(opened.bytes(), start) {
            let position = Position::of(segment.base, offset);
            let stale = batch::is_stale(page, segment.sequence);
            let left = if stale { Leftover::Stale } else { Leftover::Bytes(position) };
            findings.leftover.get_or_insert(left);
            let Some(found) = batch::read(page, segment.sequence, position) else { continue };
            headers_found = true;
            findings.durable_upto = findings.durable_upto.max(found.durable_upto);
            // The one batch in flight starts right after the prefix, or first
            // in the next segment. Without syncs any later batch may be there.
            let in_flight = offset == start && index < 2 && chain.continues(&found);
            if !in_flight && !found.unsynced {
                findings.stray.get_or_insert(Stray { position });
            }
        }
    }
    if headers_found && findings.leftover == Some(Leftover::Stale) {
        let first = tail.first().map_or(0, |(segment, _)| segment.base);
        findings.leftover = Some(Leftover::Bytes(Position::of(first, stop)));
    }
    findings
}

/// The pages from `start` on that are not all zeros, with their offsets.
pub(super) fn pages_left(bytes: &[u8], start: usize) -> impl Iterator<Item = (usize, &[u8])> {
    let pages = bytes.get(start..).unwrap_or_default().chunks(PAGE_BYTES);
    pages
        .enumerate()
        .map(move |(index, page)| (start + index * PAGE_BYTES, page))
        .filter(|(_, page)| ZEROS.get(..page.len()) != Some(*page))
}

/// The offset in its file of a position in `segment`.
pub(super) fn offset_of(segment: &SegmentHeader, position: Position) -> u64 {
    position.0.saturating_sub(segment.base)
}

/// The segment of `headers` that holds `position`, or the last.
pub(super) fn segment_at(headers: &[SegmentHeader], position: Position) -> Option<&SegmentHeader> {
    headers.iter().rev().find(|h| h.base <= position.0).or(headers.last())
}

/// The first segment that may hold bytes after `position`.
pub(super) fn first_after(headers: &[SegmentHeader], position: Position) -> Sequence {
    segment_at(headers, position).map_or(1, |h| h.sequence)
}

/// How many bytes of `header`'s segment the prefix takes, pages in full.
pub(super) fn bytes_used(header: &SegmentHeader, end: Position) -> u64 {
    let used = offset_of(header, end).min(header.segment_bytes);
    used.max(widen(PAGE_BYTES)).next_multiple_of(widen(PAGE_BYTES))
}
