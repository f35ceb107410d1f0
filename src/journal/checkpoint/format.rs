//! The bytes of a checkpoint file: a header page, blocks of slices, a footer
//! page. `docs/JOURNAL.md` has every one of them.
//!
//! Nothing here reads or writes a file, and no bytes make it panic.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{CheckpointNumber, CheckpointStart};
use crate::checksum::crc32c_seeded;
use crate::journal::scan::Chain;
use crate::journal::{FORMAT_VERSION, Identity, Position, narrow, page_up, widen};
use crate::limits::PAGE_BYTES;
use crate::units::{Cell, Time};

const MAGIC: [u8; 8] = *b"hongbaoc";
const FOOTER_MAGIC: [u8; 8] = *b"hongbaoe";

/// The most that one write takes. A commit that meets it on the disk waits for
/// this much and no more.
pub(super) const BLOCK_BYTES: usize = 1 << 20;

const SLICE_HEAD_BYTES: usize = size_of::<U32>();

/// The longest slice: what a block holds after its head.
pub const SLICE_BYTES_MAX: usize = BLOCK_BYTES - size_of::<BlockHead>() - SLICE_HEAD_BYTES;

/// The longest file of so many slices of at most `slice_bytes` each, or of more
/// and shorter ones that have no more bytes with their heads. A block is closed
/// when the next slice does not fit, and then filled up to its page.
pub fn checkpoint_bytes_max(slices: u64, slice_bytes: usize) -> u64 {
    let slice = widen(slice_bytes.min(SLICE_BYTES_MAX) + SLICE_HEAD_BYTES);
    let (page, head) = (widen(PAGE_BYTES), widen(size_of::<BlockHead>()));
    let filled = widen(BLOCK_BYTES).saturating_sub(head + slice).max(slice);
    let slices = slices.saturating_mul(slice);
    let blocks = (slices / filled).saturating_add(1);
    slices.saturating_add(blocks.saturating_mul(head + page)).saturating_add(2 * page)
}

/// The first page. The checksum is over all other bytes of the page.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderPage {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    begin: U64,
    batch: U64,
    time: U64,
    began_at: U64,
    checksum: U32,
    epoch: U32,
    number: U32,
    shard: U16,
    shards: U16,
    cell: Cell,
    zeros: [u8; PAGE_BYTES - 65],
}

/// What every block begins with; `length` bytes of slices follow, then zeros up
/// to the page's end. The checksum is over all of it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BlockHead {
    crc: U32,
    length: U32,
    slices: U32,
    zero: U32,
}

/// The last page. The checksum is over all other bytes of the page, continued
/// from the header's.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FooterPage {
    magic: [u8; 8],
    blocks_crc: U32,
    crc: U32,
    end: U64,
    blocks: U64,
    slices: U64,
    bytes: U64,
    file_bytes: U64,
    zeros: [u8; PAGE_BYTES - 56],
}

const _: () = assert!(size_of::<HeaderPage>() == PAGE_BYTES);
const _: () = assert!(size_of::<BlockHead>() == 16);
const _: () = assert!(size_of::<FooterPage>() == PAGE_BYTES);

/// What is wrong with a checkpoint file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointFault {
    /// Too short, or another magic.
    #[error("at offset 0 this is not a checkpoint")]
    NotACheckpoint,
    /// Another format version.
    #[error("at offset 8 its format is version {0}, this server reads {FORMAT_VERSION}")]
    OtherVersion(u32),
    /// The first page is damaged, or is of another checkpoint.
    #[error("its header page (offset 0 to 4095) is damaged or of another checkpoint")]
    Header,
    /// Another cell's or shard's, or of another number of shards.
    #[error("it belongs to shard {shard} of {shards} in cell {cell}")]
    Other {
        /// Its cell.
        cell: Cell,
        /// Its shard.
        shard: u16,
        /// Its number of shards.
        shards: u16,
    },
    /// The last page is not a footer: damaged, or the file is cut.
    #[error("its footer (the page at offset {0}) is damaged or cut off")]
    Footer(u64),
    /// A block is damaged, missing, or not where it was written to.
    #[error("block {index} at offset {offset} is damaged")]
    Block {
        /// Its number, from 0.
        index: u64,
        /// Where it should be.
        offset: u64,
    },
    /// The blocks do not add up to what the footer says.
    #[error("its blocks are not those that its footer (the page at offset {0}) counts")]
    Blocks(u64),
    /// It cannot be read.
    #[error("it cannot be read at offset {offset}: {reason}")]
    Unreadable {
        /// Where.
        offset: u64,
        /// What the system said.
        reason: String,
    },
}

/// What the first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal) struct Header {
    pub(in crate::journal) identity: Identity,
    pub(in crate::journal) number: CheckpointNumber,
    pub(in crate::journal) start: CheckpointStart,
}

/// What the last page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal) struct Footer {
    pub(in crate::journal) end: Position,
    pub(in crate::journal) file_bytes: u64,
    pub(in crate::journal) blocks: u64,
    slices: u64,
    bytes: u64,
    blocks_crc: u32,
}

impl Header {
    fn page(&self) -> HeaderPage {
        let Chain { batch, checksum, epoch, time, end } = self.start.chain;
        let mut page = HeaderPage {
            magic: MAGIC,
            version: U32::new(FORMAT_VERSION),
            crc: U32::ZERO,
            begin: U64::new(end.0),
            batch: U64::new(batch),
            time: U64::new(time.0),
            began_at: U64::new(self.start.began_at.0),
            checksum: U32::new(checksum),
            epoch: U32::new(epoch),
            number: U32::new(self.number),
            shard: U16::new(self.identity.shard),
            shards: U16::new(self.identity.shards),
            cell: self.identity.cell,
            zeros: FromZeros::new_zeroed(),
        };
        page.crc = U32::new(page_crc(0, page.as_bytes()));
        page
    }
}

/// The checksum of a page whose own lies at offset 12.
fn page_crc(seed: u32, page: &[u8]) -> u32 {
    let (front, rest) = page.split_at(12);
    crc32c_seeded(crc32c_seeded(seed, front), rest.split_at(4).1)
}

/// Reads the first page of checkpoint `number`, with the seed of its blocks.
pub(in crate::journal) fn header_of(
    page: &[u8],
    number: CheckpointNumber,
) -> Result<(Header, u32), CheckpointFault> {
    let (page, _) =
        HeaderPage::ref_from_prefix(page).map_err(|_| CheckpointFault::NotACheckpoint)?;
    if page.magic != MAGIC {
        return Err(CheckpointFault::NotACheckpoint);
    }
    if page.version.get() != FORMAT_VERSION {
        return Err(CheckpointFault::OtherVersion(page.version.get()));
    }
    let crc = page.crc.get();
    if page_crc(0, page.as_bytes()) != crc || page.number.get() != number {
        return Err(CheckpointFault::Header);
    }
    let chain = Chain {
        batch: page.batch.get(),
        checksum: page.checksum.get(),
        epoch: page.epoch.get(),
        time: Time(page.time.get()),
        end: Position(page.begin.get()),
    };
    let (shard, shards) = (page.shard.get(), page.shards.get());
    let identity = Identity { cell: page.cell, shard, shards };
    let start = CheckpointStart { chain, began_at: Time(page.began_at.get()) };
    Ok((Header { identity, number, start }, crc))
}

/// Reads the last page of a file of `file_bytes`; `seed` is of [`header_of`].
pub(in crate::journal) fn footer_of(
    page: &[u8],
    file_bytes: u64,
    seed: u32,
) -> Result<Footer, CheckpointFault> {
    let at = file_bytes.saturating_sub(widen(PAGE_BYTES));
    let damaged = CheckpointFault::Footer(at);
    let (page, _) = FooterPage::ref_from_prefix(page).map_err(|_| damaged.clone())?;
    let sound = page.magic == FOOTER_MAGIC
        && page_crc(seed, page.as_bytes()) == page.crc.get()
        && page.file_bytes.get() == file_bytes;
    sound.then_some(()).ok_or(damaged)?;
    Ok(Footer {
        end: Position(page.end.get()),
        file_bytes,
        blocks: page.blocks.get(),
        slices: page.slices.get(),
        bytes: page.bytes.get(),
        blocks_crc: page.blocks_crc.get(),
    })
}

/// What was counted so far, on the writing side and on the reading side; the
/// two must come out the same.
#[derive(Clone, Copy, Debug)]
struct Tally {
    seed: u32,
    offset: u64,
    blocks: u64,
    slices: u64,
    bytes: u64,
    blocks_crc: u32,
}

impl Tally {
    fn new(seed: u32) -> Self {
        let offset = widen(PAGE_BYTES); // after the header
        Self { seed, offset, blocks: 0, slices: 0, bytes: 0, blocks_crc: seed }
    }

    /// The checksum that a block must have to stand next. It knows the header
    /// and the block's number, so a block of another checkpoint or of another
    /// place does not pass.
    fn block_crc(&self, block: &[u8]) -> u32 {
        let seed = crc32c_seeded(self.seed, &self.blocks.to_le_bytes());
        crc32c_seeded(seed, block.get(4..).unwrap_or_default())
    }

    fn count(&mut self, head: &BlockHead, block: &[u8]) {
        let slices = u64::from(head.slices.get());
        self.offset = self.offset.saturating_add(widen(block.len()));
        self.blocks += 1;
        self.slices = self.slices.saturating_add(slices);
        let heads = slices.saturating_mul(widen(SLICE_HEAD_BYTES));
        let bytes = u64::from(head.length.get()).saturating_sub(heads);
        self.bytes = self.bytes.saturating_add(bytes);
        self.blocks_crc = crc32c_seeded(self.blocks_crc, &head.crc.get().to_le_bytes());
    }

    fn footer(&self, end: Position) -> FooterPage {
        let mut page = FooterPage {
            magic: FOOTER_MAGIC,
            blocks_crc: U32::new(self.blocks_crc),
            crc: U32::ZERO,
            end: U64::new(end.0),
            blocks: U64::new(self.blocks),
            slices: U64::new(self.slices),
            bytes: U64::new(self.bytes),
            file_bytes: U64::new(self.offset.saturating_add(widen(PAGE_BYTES))),
            zeros: FromZeros::new_zeroed(),
        };
        page.crc = U32::new(page_crc(self.seed, page.as_bytes()));
        page
    }
}

/// Makes the file's bytes from slices, a block at a time, in one buffer.
pub(in crate::journal) struct Packer {
    tally: Tally,
    block: Vec<u8>,
    slices: u32,
}

impl Packer {
    /// A packer and the header page that goes in front.
    pub(in crate::journal) fn new(header: &Header) -> (Self, Vec<u8>) {
        let page = header.page();
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        block.resize(size_of::<BlockHead>(), 0);
        (Self { tally: Tally::new(page.crc.get()), block, slices: 0 }, page.as_bytes().to_vec())
    }

    /// Whether a slice of this length still goes into the open block.
    pub(in crate::journal) fn fits(&self, slice: usize) -> bool {
        self.block.len() + SLICE_HEAD_BYTES + slice <= BLOCK_BYTES
    }

    /// Adds a slice that fits.
    pub(in crate::journal) fn push(&mut self, slice: &[u8]) {
        debug_assert!(self.fits(slice.len()), "whoever pushes has asked");
        let length = u32::try_from(slice.len()).unwrap_or(u32::MAX);
        self.block.extend_from_slice(&length.to_le_bytes());
        self.block.extend_from_slice(slice);
        self.slices += 1;
    }

    /// The open block, whole pages, and its offset in the file; `None` where
    /// nothing is in it. Call [`Packer::opened`] once it is written.
    pub(in crate::journal) fn seal(&mut self) -> Option<(u64, &[u8])> {
        if self.slices == 0 {
            return None;
        }
        let length = self.block.len() - size_of::<BlockHead>();
        self.block.resize(page_up(self.block.len()), 0);
        let mut head = BlockHead {
            crc: U32::ZERO,
            length: U32::new(u32::try_from(length).unwrap_or(u32::MAX)),
            slices: U32::new(self.slices),
            zero: U32::ZERO,
        };
        for crc in [0, 1] {
            if crc == 1 {
                head.crc = U32::new(self.tally.block_crc(&self.block));
            }
            if let Some(front) = self.block.first_chunk_mut::<16>() {
                front.copy_from_slice(head.as_bytes());
            }
        }
        let offset = self.tally.offset;
        self.tally.count(&head, &self.block);
        Some((offset, &self.block))
    }

    /// The next block is begun.
    pub(in crate::journal) fn opened(&mut self) {
        self.block.clear();
        self.block.resize(size_of::<BlockHead>(), 0);
        self.slices = 0;
    }

    /// The footer page and its offset, after the last block was sealed.
    pub(in crate::journal) fn footer(&self, end: Position) -> (u64, Vec<u8>) {
        (self.tally.offset, self.tally.footer(end).as_bytes().to_vec())
    }
}

/// Checks the blocks of a file in order.
pub(in crate::journal) struct Blocks {
    tally: Tally,
    footer: Footer,
}

impl Blocks {
    pub(in crate::journal) fn new(seed: u32, footer: Footer) -> Self {
        Self { tally: Tally::new(seed), footer }
    }

    /// Where the next block begins; `None` after the last.
    pub(in crate::journal) fn next_offset(&self) -> Option<u64> {
        let footer = self.footer.file_bytes.saturating_sub(widen(PAGE_BYTES));
        (self.tally.offset < footer).then_some(self.tally.offset)
    }

    /// The damage of the next block.
    pub(in crate::journal) fn damaged(&self) -> CheckpointFault {
        CheckpointFault::Block { index: self.tally.blocks, offset: self.tally.offset }
    }

    /// How long the next block says it is, in whole pages; `front` has its head.
    pub(in crate::journal) fn length(&self, front: &[u8]) -> Result<usize, CheckpointFault> {
        let (head, _) = BlockHead::ref_from_prefix(front).map_err(|_| self.damaged())?;
        let length = narrow(u64::from(head.length.get()));
        let bytes = page_up(length.saturating_add(size_of::<BlockHead>()));
        let footer = self.footer.file_bytes.saturating_sub(widen(PAGE_BYTES));
        let fits = self.tally.offset.saturating_add(widen(bytes)) <= footer;
        if bytes <= BLOCK_BYTES && fits { Ok(bytes) } else { Err(self.damaged()) }
    }

    /// Takes the next block, as long as [`Blocks::length`] says.
    pub(in crate::journal) fn check(&mut self, block: &[u8]) -> Result<(), CheckpointFault> {
        let (head, _) = BlockHead::ref_from_prefix(block).map_err(|_| self.damaged())?;
        if self.tally.block_crc(block) != head.crc.get() {
            return Err(self.damaged());
        }
        let (mut count, mut whole) = (0_u32, true);
        slices_of(block, |slice| {
            count = count.saturating_add(1);
            whole &= slice.is_some();
        });
        if !whole || count != head.slices.get() || count == 0 {
            return Err(self.damaged());
        }
        self.tally.count(head, block);
        Ok(())
    }

    /// After the last block: whether they are those that the footer counts.
    pub(in crate::journal) fn finish(&self) -> Result<(), CheckpointFault> {
        let (found, said) = (&self.tally, &self.footer);
        let same = found.blocks == said.blocks
            && found.slices == said.slices
            && found.bytes == said.bytes
            && found.blocks_crc == said.blocks_crc;
        let at = said.file_bytes.saturating_sub(widen(PAGE_BYTES));
        if same { Ok(()) } else { Err(CheckpointFault::Blocks(at)) }
    }
}

/// Shows the slices of a block in order; `None` for one that does not fit.
pub(in crate::journal) fn slices_of<'a>(block: &'a [u8], mut show: impl FnMut(Option<&'a [u8]>)) {
    let Ok((head, rest)) = BlockHead::ref_from_prefix(block) else { return show(None) };
    let Some(mut rest) = rest.get(..narrow(u64::from(head.length.get()))) else {
        return show(None);
    };
    while !rest.is_empty() {
        let slice = rest.split_first_chunk::<SLICE_HEAD_BYTES>().and_then(|(length, after)| {
            after.split_at_checked(narrow(u64::from(u32::from_le_bytes(*length))))
        });
        let Some((slice, after)) = slice else { return show(None) };
        show(Some(slice));
        rest = after;
    }
}

#[cfg(test)]
mod tests;
