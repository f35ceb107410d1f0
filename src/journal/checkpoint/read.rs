//! Reading a checkpoint: first whether all of it is whole, then its slices.
//!
//! The two are passes over the file, because the engine must not be given half
//! a state: the second finds in the page cache what the first has read.

use std::io;
use std::thread;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::format::{BLOCK_BYTES, Blocks, CheckpointFault, Footer, footer_of, slices_of};
use super::{CheckpointInfo, CheckpointNumber, Header, header_of};
use crate::journal::storage::ReadAt;
use crate::journal::{Identity, Position, widen};
use crate::limits::PAGE_BYTES;

/// Blocks on their way from the thread that reads to the one that loads.
const BLOCKS_AHEAD: usize = 2;

/// A checkpoint of which every byte was verified.
#[derive(Clone, Copy, Debug)]
pub(in crate::journal) struct Examined {
    pub(in crate::journal) header: Header,
    pub(in crate::journal) footer: Footer,
    seed: u32,
}

impl Examined {
    pub(in crate::journal) fn info(&self, keep_from: Position) -> CheckpointInfo {
        CheckpointInfo {
            number: self.header.number,
            began: self.header.start.position(),
            end: self.footer.end,
            bytes: self.footer.file_bytes,
            began_at: self.header.start.began_at,
            keep_from,
        }
    }
}

/// Why a checkpoint's slices were not all loaded.
pub(in crate::journal) enum LoadFailed<E> {
    /// It reads otherwise than when it was examined.
    Fault(CheckpointFault),
    /// The loading side refused the slice of this number, from 0.
    Refused(u64, E),
}

/// Reads every byte of a checkpoint and says whether it is whole and, where an
/// identity is given, ours. A damaged one whose footer is whole has still
/// proved how far the journal was committed: that is the position beside.
pub(in crate::journal) fn examine(
    file: &dyn ReadAt,
    number: CheckpointNumber,
    identity: Option<Identity>,
) -> Result<Examined, (CheckpointFault, Position)> {
    let nowhere = |fault| (fault, Position(0));
    let examined = frame(file, number, identity).map_err(nowhere)?;
    let end = examined.footer.end;
    let mut blocks = Blocks::new(examined.seed, examined.footer);
    let mut block = vec![0; BLOCK_BYTES];
    while read_block(file, &mut blocks, &mut block).map_err(|fault| (fault, end))?.is_some() {}
    blocks.finish().map_err(|fault| (fault, end))?;
    Ok(examined)
}

/// The first and the last page.
fn frame(
    file: &dyn ReadAt,
    number: CheckpointNumber,
    identity: Option<Identity>,
) -> Result<Examined, CheckpointFault> {
    let bytes = file.bytes();
    let Some(last) = bytes.checked_sub(widen(PAGE_BYTES)).filter(|last| *last > 0) else {
        return Err(CheckpointFault::NotACheckpoint);
    };
    let mut page = vec![0; PAGE_BYTES];
    read(file, &mut page, 0)?;
    let (header, seed) = header_of(&page, number)?;
    let Identity { cell, shard, shards } = header.identity;
    if identity.is_some_and(|ours| ours != header.identity) {
        return Err(CheckpointFault::Other { cell, shard, shards });
    }
    read(file, &mut page, last)?;
    Ok(Examined { header, footer: footer_of(&page, bytes, seed)?, seed })
}

fn read(file: &dyn ReadAt, into: &mut [u8], offset: u64) -> Result<(), CheckpointFault> {
    let unreadable = |error: io::Error| {
        let reason = error.to_string();
        CheckpointFault::Unreadable { offset, reason }
    };
    file.read_exact_at(into, offset).map_err(unreadable)
}

/// Reads and checks the next block into the front of `buffer`; its length, or
/// `None` after the last.
fn read_block(
    file: &dyn ReadAt,
    blocks: &mut Blocks,
    buffer: &mut [u8],
) -> Result<Option<usize>, CheckpointFault> {
    let Some(offset) = blocks.next_offset() else { return Ok(None) };
    let Some((front, _)) = buffer.split_at_mut_checked(PAGE_BYTES) else { return Ok(None) };
    read(file, front, offset)?;
    let length = blocks.length(front)?;
    let rest = buffer.get_mut(PAGE_BYTES..length).unwrap_or_default();
    read(file, rest, offset.saturating_add(widen(PAGE_BYTES)))?;
    blocks.check(buffer.get(..length).unwrap_or_default())?;
    Ok(Some(length))
}

type Ahead = Result<(Vec<u8>, usize), CheckpointFault>;

/// Shows every slice in order, and how many bytes of the file were read by
/// then. Another thread reads and checks ahead; both channels end with the
/// closure, which lets that thread go.
pub(in crate::journal) fn each_slice<E>(
    file: &dyn ReadAt,
    examined: &Examined,
    mut load: impl FnMut(&[u8], u64) -> Result<(), E>,
) -> Result<(), LoadFailed<E>> {
    let (filled, full) = bounded::<Ahead>(BLOCKS_AHEAD);
    let (empty, emptied) = bounded(BLOCKS_AHEAD);
    for _ in 0..BLOCKS_AHEAD {
        let _ = empty.send(vec![0; BLOCK_BYTES]); // there is room for all of them
    }
    let blocks = Blocks::new(examined.seed, examined.footer);
    thread::scope(move |scope| {
        scope.spawn(move || read_ahead(file, blocks, &emptied, &filled));
        let (mut done, mut number) = (widen(PAGE_BYTES), 0);
        for ahead in &full {
            let (block, length) = ahead.map_err(LoadFailed::Fault)?;
            done += widen(length);
            let mut refused = Ok(());
            slices_of(block.get(..length).unwrap_or_default(), |slice| {
                if let (Some(slice), Ok(())) = (slice, &refused) {
                    refused = load(slice, done).map_err(|e| LoadFailed::Refused(number, e));
                    number += 1;
                }
            });
            refused?;
            let _ = empty.try_send(block); // the reader may be done
        }
        Ok(())
    })
}

fn read_ahead(
    file: &dyn ReadAt,
    mut blocks: Blocks,
    emptied: &Receiver<Vec<u8>>,
    filled: &Sender<Ahead>,
) {
    for mut buffer in emptied {
        let ahead = match read_block(file, &mut blocks, &mut buffer) {
            Ok(Some(length)) => Ok((buffer, length)),
            Ok(None) => match blocks.finish() {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            Err(fault) => Err(fault),
        };
        let failed = ahead.is_err();
        if filled.send(ahead).is_err() || failed {
            return;
        }
    }
}
