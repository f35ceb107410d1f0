//! Reading a journal from its first batch to the end of the valid prefix, and
//! gathering what lies after it.
//!
//! Nothing here writes, decides, or panics on any bytes.

use super::batch::{self, BatchHeader};
use super::decide::{Findings, Leftover, SegmentFault, Stray};
use super::refusal::RecoveryError;
use super::segment::{self, SegmentHeader};
use super::storage::{SegmentBytes, Source};
use super::{Identity, Position, Sequence, narrow, page_up, widen};
use crate::limits::PAGE_BYTES;
use crate::planted::{Bug, is_planted};
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
    pub(super) fn continues(&self, header: &BatchHeader) -> bool {
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

/// The headers of the segments that a replay from `from` needs, or the first
/// fault and the sequence it is at. Segments before them may be there or not:
/// they are what a removal has not come to yet.
///
/// Without an identity (the inspector has none) the first segment's is taken.
pub(super) fn headers<S: Source>(
    source: &S,
    identity: Option<Identity>,
    from: Position,
) -> Result<Vec<SegmentHeader>, RecoveryError> {
    let fault = |sequence, fault| RecoveryError::faulty(source.name(sequence), fault);
    let found = every_header(source)?;
    let needed = first_needed(&found, from);
    let (mut expected, mut base) = match needed.first() {
        Some((sequence, Ok(first))) if from.0 > 0 => {
            let before = found.len() - needed.len();
            let before = before.checked_sub(1).and_then(|index| found.get(index));
            (
                *sequence,
                base_of_first(first, before, from)
                    .ok_or_else(|| fault(sequence.saturating_sub(1), SegmentFault::Missing))?,
            )
        }
        Some((sequence, Err(_))) if from.0 > 0 => (*sequence, 0),
        _ => (1, 0),
    };
    let mut headers: Vec<SegmentHeader> = Vec::with_capacity(needed.len());
    for (sequence, header) in needed {
        if *sequence != expected {
            return Err(fault(expected, SegmentFault::Missing));
        }
        let header = (*header).map_err(|f| fault(*sequence, f))?;
        let ours = identity.or(headers.first().map(|first| first.identity));
        segment::judge(&header, ours.unwrap_or(header.identity), base)
            .map_err(|f| fault(*sequence, f))?;
        expected = sequence.saturating_add(1);
        base = header.base.saturating_add(header.segment_bytes);
        headers.push(header);
    }
    Ok(headers)
}

type Peeked = (Sequence, Result<SegmentHeader, SegmentFault>);

/// Every segment's first page, as it reads.
pub(super) fn every_header<S: Source>(source: &S) -> Result<Vec<Peeked>, RecoveryError> {
    let sequences = source.sequences().map_err(|e| RecoveryError::io(source.place(), e))?;
    let peek = |sequence| {
        let stored = source.peek(sequence);
        let stored = stored.map_err(|e| RecoveryError::io(source.name(sequence), e))?;
        Ok((sequence, segment::read(sequence, &stored)))
    };
    sequences.into_iter().map(peek).collect()
}

/// The segments from the one that holds `from` on.
fn first_needed(found: &[Peeked], from: Position) -> &[Peeked] {
    let holds = |(_, header): &Peeked| header.is_ok_and(|h| h.base <= from.0);
    let first = if from.0 == 0 { 0 } else { found.iter().rposition(holds).unwrap_or(0) };
    found.get(first..).unwrap_or_default()
}

/// Where the first needed segment must begin: where the one before it ends, if
/// that is still there. A segment that begins after `from` does only if `from`
/// lies in the last page before it.
fn base_of_first(first: &SegmentHeader, before: Option<&Peeked>, from: Position) -> Option<u64> {
    if first.base > from.0 && from.0.next_multiple_of(widen(PAGE_BYTES)) != first.base {
        return None;
    }
    match before {
        Some((sequence, Ok(before))) if sequence.saturating_add(1) == first.sequence => {
            Some(before.base.saturating_add(before.segment_bytes))
        }
        _ => Some(first.base),
    }
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

/// Where a walk begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct From {
    /// The chain there.
    pub(super) chain: Chain,
    /// The greatest end of a checkpoint: the journal was committed up to there.
    pub(super) checkpoint_end: Position,
}

/// Follows the chain from where a checkpoint, or the journal, begins to where
/// it ends.
pub(super) fn walk<S: Source>(
    source: &mut S,
    headers: &[SegmentHeader],
    from: From,
    visit: &mut Visit<'_>,
) -> Result<Walked<S::Segment>, RecoveryError> {
    let mut chain = from.chain;
    let mut durable_upto = Position(0);
    let mut tail = Vec::new();
    let mut offset = headers.first().map_or(PAGE_BYTES, |first| page_after(first, chain.end));
    let mut stop = offset;
    for (index, header) in headers.iter().enumerate() {
        let name = source.name(header.sequence);
        let opened = match source.open(header.sequence) {
            Err(_) if is_planted(Bug::UnreadPassedOver) => break,
            opened => opened.map_err(|e| RecoveryError::io(name, e))?,
        };
        if let Some(next) = headers.get(index + 1) {
            source.read_ahead(next.sequence);
        }
        let before = chain.batch;
        // Once a segment does not continue the chain, no later one can.
        if tail.len() < 2 {
            let bytes = opened.bytes();
            let reached = follow(header, bytes, offset, &mut chain, &mut durable_upto, visit)?;
            if chain.batch > before {
                tail.clear();
                stop = reached;
            }
        }
        offset = PAGE_BYTES;
        tail.push((*header, opened));
    }
    // A checkpoint may begin where these segments never were.
    let files_end = headers.last().map_or(0, |h| h.base.saturating_add(h.segment_bytes));
    let end = Position(chain.end.0.min(files_end));
    let mut findings = gather(&tail, stop, &chain, durable_upto);
    findings.end = end;
    findings.checkpoint_end = from.checkpoint_end;
    Ok(Walked { chain, findings, tail, stop })
}

/// The offset of the page after `position` in the segment that a walk begins in.
fn page_after(segment: &SegmentHeader, position: Position) -> usize {
    page_up(narrow(offset_of(segment, position))).max(PAGE_BYTES)
}

/// Follows the chain within one segment; returns the page after its last batch.
fn follow(
    header: &SegmentHeader,
    bytes: &[u8],
    mut offset: usize,
    chain: &mut Chain,
    durable_upto: &mut Position,
    visit: &mut Visit<'_>,
) -> Result<usize, RecoveryError> {
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
    let mut findings = Findings { durable_upto, ..Findings::default() };
    let (mut headers_found, mut after_flight) = (false, None);
    for (index, (segment, opened)) in tail.iter().enumerate() {
        let start = if index == 0 { stop } else { PAGE_BYTES };
        for (offset, page) in pages_left(opened.bytes(), start) {
            let position = Position::of(segment.base, offset);
            let header = batch::header(page);
            let stale = header.is_some_and(|found| found.sequence < segment.sequence);
            let left = if stale { Leftover::Stale } else { Leftover::Bytes(position) };
            findings.leftover.get_or_insert(left);
            let Some(found) = header else { continue };
            if !found.lies_at(segment.sequence, position) {
                if is_moved(&found, chain, after_flight.as_ref()) {
                    findings.stray.get_or_insert(Stray { position });
                }
                continue;
            }
            headers_found = true;
            findings.durable_upto = findings.durable_upto.max(found.durable_upto);
            // The one batch in flight starts right after the prefix, or first
            // in the next segment. Without syncs any later batch may be there.
            if offset == start && index < 2 && chain.continues(&found) {
                let mut after = *chain;
                after.advance(&found);
                after_flight.get_or_insert(after);
            } else if !found.unsynced {
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

/// Whether a header that lies where it does not belong was moved there by the
/// disk: it is the batch after the prefix, or the one after the batch in flight.
/// No crash moves a page. What a client had stored in a record cannot look so: it
/// would have to know the checksum of the batch before.
fn is_moved(found: &BatchHeader, chain: &Chain, after_flight: Option<&Chain>) -> bool {
    chain.continues(found) || after_flight.is_some_and(|after| after.continues(found))
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

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 1 << 16;

    impl SegmentBytes for Vec<u8> {
        fn bytes(&self) -> &[u8] {
            self
        }
    }

    fn segment(sequence: Sequence) -> SegmentHeader {
        let base = widen(BYTES) * u64::from(sequence - 1);
        let identity = Identity { cell: 1, shard: 0, shards: 1 };
        SegmentHeader { identity, sequence, base, segment_bytes: widen(BYTES) }
    }

    const CHAIN: Chain =
        Chain { batch: 7, checksum: 99, epoch: 3, time: Time(5), end: Position(4000) };

    /// The header of an empty batch after [`CHAIN`] that lies here.
    fn next_at(sequence: Sequence, offset: usize) -> BatchHeader {
        BatchHeader {
            checksum: 0,
            body_checksum: 0,
            previous: CHAIN.checksum,
            body_bytes: 0,
            records: 0,
            epoch: CHAIN.epoch,
            sequence,
            unsynced: false,
            batch: CHAIN.batch + 1,
            position: at(sequence, offset),
            time: CHAIN.time,
            durable_upto: CHAIN.end,
        }
    }

    /// What is found in segments 1 to 4 with these pages, each with the segment and the
    /// offset that it is written to; the prefix ends in the first, after its header.
    fn found(pages: &[(Sequence, usize, BatchHeader)]) -> Findings {
        let mut tail: Vec<_> = (1..=4).map(|n| (segment(n), vec![0; BYTES])).collect();
        for (sequence, offset, header) in pages {
            let bytes = &mut tail[narrow(u64::from(*sequence)) - 1].1;
            batch::seal(header, &mut bytes[*offset..][..batch::BATCH_HEADER_BYTES]);
        }
        gather(&tail, PAGE_BYTES, &CHAIN, Position(0))
    }

    fn at(sequence: Sequence, offset: usize) -> Position {
        Position::of(segment(sequence).base, offset)
    }

    #[test]
    fn the_next_batch_may_be_where_it_would_be_and_nowhere_else() {
        let first = PAGE_BYTES;
        for (sequence, offset, is_stray) in [
            (1, first, false),
            (2, first, false),
            (3, first, true),
            (1, 2 * first, true),
            (2, 2 * first, true),
        ] {
            let (found, here) =
                (found(&[(sequence, offset, next_at(sequence, offset))]), at(sequence, offset));
            assert_eq!(found.stray.map(|stray| stray.position), is_stray.then_some(here));
            assert_eq!(
                (found.leftover, found.durable_upto),
                (Some(Leftover::Bytes(here)), CHAIN.end)
            );
        }
        let another = BatchHeader { previous: 98, ..next_at(1, first) };
        let stray = found(&[(1, first, another)]).stray;
        assert_eq!(stray.map(|stray| stray.position), Some(at(1, first)));
        let unsynced = BatchHeader { unsynced: true, ..another };
        assert_eq!(found(&[(1, first, unsynced)]).stray, None, "pages come in any order");
    }

    #[test]
    fn what_an_earlier_segment_left_is_stale_until_something_of_this_one_is_there() {
        let (first, later) = (PAGE_BYTES, 5 * PAGE_BYTES);
        let stale = (2, first, BatchHeader { previous: 0, ..next_at(1, first) });
        assert_eq!(found(&[stale]).leftover, Some(Leftover::Stale));
        let moved = (2, first, BatchHeader { previous: 0, ..next_at(2, later) });
        let there = Some(Leftover::Bytes(at(2, first)));
        assert_eq!(found(&[moved]).leftover, there);
        assert_eq!((found(&[moved]).stray, found(&[moved]).durable_upto), (None, Position(0)));
        let next = (3, later, next_at(3, later));
        assert_eq!(found(&[stale, next]).leftover, Some(Leftover::Bytes(at(1, first))));
        assert_eq!(found(&[moved, next]).leftover, there);
    }
}
