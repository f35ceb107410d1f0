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
use crate::journal::{Identity, Position, narrow, widen};
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
    let mut block = buffer(&examined);
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

/// Room for any block of a file; none is longer than the file.
fn buffer(examined: &Examined) -> Vec<u8> {
    vec![0; BLOCK_BYTES.min(narrow(examined.footer.file_bytes))]
}

type Ahead = Result<(Vec<u8>, usize), CheckpointFault>;

/// Shows every slice in order, and how many bytes of the file were read by then.
pub(in crate::journal) fn each_slice<E>(
    file: &dyn ReadAt,
    examined: &Examined,
    mut load: impl FnMut(&[u8], u64) -> Result<(), E>,
) -> Result<(), LoadFailed<E>> {
    let (mut done, mut number) = (widen(PAGE_BYTES), 0);
    let take = |block: &[u8]| {
        done += widen(block.len());
        let mut refused = Ok(());
        slices_of(block, |slice| {
            if let (Some(slice), Ok(())) = (slice, &refused) {
                refused = load(slice, done).map_err(|e| LoadFailed::Refused(number, e));
                number += 1;
            }
        });
        refused
    };
    if examined.footer.blocks > 1 {
        while_read_ahead(file, examined, take)
    } else {
        in_turn(file, examined, take)
    }
}

/// Reads a block, then takes it: of a single one nothing can be read ahead.
fn in_turn<E>(
    file: &dyn ReadAt,
    examined: &Examined,
    mut take: impl FnMut(&[u8]) -> Result<(), LoadFailed<E>>,
) -> Result<(), LoadFailed<E>> {
    let mut blocks = Blocks::new(examined.seed, examined.footer);
    let mut block = buffer(examined);
    while let Some(length) = read_block(file, &mut blocks, &mut block).map_err(LoadFailed::Fault)? {
        take(block.get(..length).unwrap_or_default())?;
    }
    blocks.finish().map_err(LoadFailed::Fault)
}

/// Another thread reads and checks ahead of what is taken; both channels end
/// with the closure, which lets that thread go.
fn while_read_ahead<E>(
    file: &dyn ReadAt,
    examined: &Examined,
    mut take: impl FnMut(&[u8]) -> Result<(), LoadFailed<E>>,
) -> Result<(), LoadFailed<E>> {
    let (filled, full) = bounded::<Ahead>(BLOCKS_AHEAD);
    let (empty, emptied) = bounded(BLOCKS_AHEAD);
    for _ in 0..BLOCKS_AHEAD {
        let _ = empty.send(buffer(examined)); // there is room for all of them
    }
    let blocks = Blocks::new(examined.seed, examined.footer);
    thread::scope(move |scope| {
        scope.spawn(move || read_ahead(file, blocks, &emptied, &filled));
        for ahead in &full {
            let (block, length) = ahead.map_err(LoadFailed::Fault)?;
            take(block.get(..length).unwrap_or_default())?;
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

#[cfg(test)]
mod tests {
    use super::super::CheckpointStart;
    use super::super::format::Packer;
    use super::*;
    use crate::units::Time;

    impl ReadAt for Vec<u8> {
        fn bytes(&self) -> u64 {
            widen(self.len())
        }

        fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
            let found = self.get(narrow(offset)..).and_then(|rest| rest.get(..into.len()));
            into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }

    /// A file of so many blocks of three slices, each slice of its own number.
    fn file(blocks: u8) -> Vec<u8> {
        let identity = Identity { cell: 7, shard: 0, shards: 1 };
        let start = CheckpointStart::founding(1, Time(0));
        let (mut packer, mut file) = Packer::new(&Header { identity, number: 1, start });
        for block in 0..blocks {
            for slice in 0..3 {
                packer.push(&[3 * block + slice; 5000]);
            }
            file.extend_from_slice(packer.seal().unwrap().1);
            packer.opened();
        }
        file.extend(packer.footer(Position(9)).1);
        file
    }

    /// The number of each slice that is shown, and whether all of them were.
    fn shown(file: &Vec<u8>, examined: &Examined) -> (Vec<u8>, Result<(), LoadFailed<()>>) {
        let (mut numbers, mut last) = (Vec::new(), 0);
        let all = each_slice(file, examined, |slice, done| {
            assert!(slice.len() == 5000 && done >= last && done < file.bytes());
            numbers.push(slice[0]);
            last = done;
            Ok(())
        });
        (numbers, all)
    }

    #[test]
    fn a_page_alone_is_no_checkpoint() {
        let page = file(0)[..PAGE_BYTES].to_vec();
        let Err((fault, end)) = examine(&page, 1, None) else { panic!("it is no checkpoint") };
        assert_eq!((fault, end), (CheckpointFault::NotACheckpoint, Position(0)));
    }

    #[test]
    fn slices_come_in_order_from_one_block_and_from_many() {
        for blocks in [0, 1, 2, 9] {
            let file = file(blocks);
            let Ok(examined) = examine(&file, 1, None) else { panic!("{blocks} are whole") };
            let (numbers, all) = shown(&file, &examined);
            assert!(all.is_ok() && numbers.into_iter().eq(0..3 * blocks), "{blocks}");
        }
    }

    #[test]
    fn what_reads_otherwise_the_second_time_is_not_shown() {
        for blocks in [1, 9] {
            let mut file = file(blocks);
            let Ok(examined) = examine(&file, 1, None) else { panic!("{blocks} are whole") };
            let last_block = file.len() - 2 * PAGE_BYTES;
            file[last_block] ^= 1;
            let (numbers, all) = shown(&file, &examined);
            assert!(matches!(all, Err(LoadFailed::Fault(CheckpointFault::Block { .. }))));
            assert!(numbers.into_iter().eq(0..3 * (blocks - 1)), "{blocks}");
        }
    }

    #[test]
    fn nothing_is_shown_after_a_slice_that_was_refused() {
        for (blocks, refused) in [(1, 1), (9, 13)] {
            let file = file(blocks);
            let Ok(examined) = examine(&file, 1, None) else { panic!("{blocks} are whole") };
            let mut shown = 0;
            let all = each_slice(&file, &examined, |slice, _| {
                shown = slice[0];
                if slice[0] == refused { Err(()) } else { Ok(()) }
            });
            let Err(LoadFailed::Refused(number, ())) = all else { panic!("{refused} was refused") };
            assert_eq!((number, shown), (u64::from(refused), refused));
        }
    }
}
