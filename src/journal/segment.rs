//! The first page of a segment file: whose it is and where it stands.
//!
//! The page is written once, before the file gets its name, and never again.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::decide::SegmentFault;
use super::storage::Stored;
use super::{Identity, Sequence, narrow, page_up, widen};
use crate::checksum::crc32c_seeded;
use crate::limits::{PAGE_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::units::Cell;

/// The first bytes of every segment.
const MAGIC: [u8; 8] = *b"hongbaoj";

/// The version of the format that this server writes and reads.
pub const FORMAT_VERSION: u32 = 2;

/// The page as it lies on disk, little endian; the rest of it is zeros. The
/// checksum is over all other bytes of the page.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PageBytes {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    base: U64,
    segment_bytes: U64,
    sequence: U32,
    shard: U16,
    shards: U16,
    cell: Cell,
    zeros: [u8; PAGE_BYTES - 41],
}

const _: () = assert!(size_of::<PageBytes>() == PAGE_BYTES);

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Whose it is.
    pub identity: Identity,
    /// Its number, from 1.
    pub sequence: Sequence,
    /// The position of its first byte: the base of the segment before it plus
    /// that one's size.
    pub base: u64,
    /// The size of the file.
    pub segment_bytes: u64,
}

/// A segment size that the format allows: whole pages between the two limits.
pub(super) fn sound_size(bytes: usize) -> bool {
    (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) && page_up(bytes) == bytes
}

/// The header page of a segment.
pub(super) fn encode(header: &SegmentHeader) -> Vec<u8> {
    let mut page = PageBytes {
        magic: MAGIC,
        version: U32::new(FORMAT_VERSION),
        crc: U32::ZERO,
        base: U64::new(header.base),
        segment_bytes: U64::new(header.segment_bytes),
        sequence: U32::new(header.sequence),
        shard: U16::new(header.identity.shard),
        shards: U16::new(header.identity.shards),
        cell: header.identity.cell,
        zeros: [0; PAGE_BYTES - 41],
    };
    page.crc = U32::new(checksum(&page));
    page.as_bytes().to_vec()
}

fn checksum(page: &PageBytes) -> u32 {
    let (front, rest) = page.as_bytes().split_at(12);
    crc32c_seeded(crc32c_seeded(0, front), rest.split_at(4).1)
}

/// Reads the header of the file of segment `sequence`; `stored` is its front
/// and its length.
///
/// What it says of the shard is taken as it is; see [`judge`]. The order of
/// the checks makes each fault say the nearest truth: a file that is no
/// segment, then another version (whose layout is not known), then damage.
pub(super) fn read(sequence: Sequence, stored: &Stored) -> Result<SegmentHeader, SegmentFault> {
    let short = SegmentFault::Length { expected: widen(PAGE_BYTES), found: stored.bytes };
    let magic = stored.front.first_chunk::<8>().ok_or(short)?;
    if *magic != MAGIC {
        return Err(SegmentFault::NotASegment);
    }
    let (page, _) = PageBytes::ref_from_prefix(&stored.front).map_err(|_| short)?;
    if page.version.get() != FORMAT_VERSION {
        return Err(SegmentFault::OtherVersion(page.version.get()));
    }
    let bytes = page.segment_bytes.get();
    let sound = checksum(page) == page.crc.get() && sound_size(narrow(bytes));
    if !sound || page.sequence.get() != sequence {
        return Err(SegmentFault::HeaderDamaged);
    }
    if stored.bytes != bytes {
        return Err(SegmentFault::Length { expected: bytes, found: stored.bytes });
    }
    let (shard, shards) = (page.shard.get(), page.shards.get());
    Ok(SegmentHeader {
        identity: Identity { cell: page.cell, shard, shards },
        sequence,
        base: page.base.get(),
        segment_bytes: bytes,
    })
}

/// Whether a sound header is the one that must stand here: of our shard, and
/// beginning where the segment before it ended.
pub(super) fn judge(header: &SegmentHeader, ours: Identity, base: u64) -> Result<(), SegmentFault> {
    let theirs = &header.identity;
    if theirs.cell != ours.cell {
        return Err(SegmentFault::OtherCell(theirs.cell));
    }
    if theirs.shards != ours.shards {
        return Err(SegmentFault::OtherShards(theirs.shards));
    }
    if theirs.shard != ours.shard {
        return Err(SegmentFault::OtherShard(theirs.shard));
    }
    if header.base != base {
        return Err(SegmentFault::HeaderDamaged);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: Identity = Identity { cell: 3, shard: 1, shards: 2 };

    fn header() -> SegmentHeader {
        SegmentHeader { identity: OURS, sequence: 9, base: 65536, segment_bytes: 131_072 }
    }

    fn stored(front: Vec<u8>) -> Stored {
        Stored { front, bytes: 131_072 }
    }

    #[test]
    fn a_header_reads_back() {
        let read = read(9, &stored(encode(&header()))).unwrap();
        assert_eq!(read, header());
        assert_eq!(judge(&read, OURS, 65536), Ok(()));
    }

    #[test]
    fn every_byte_of_the_page_is_guarded() {
        let page = encode(&header());
        for byte in 0..PAGE_BYTES {
            let mut page = page.clone();
            page[byte] ^= 0x10;
            assert!(read(9, &stored(page)).is_err(), "byte {byte}");
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        let page = encode(&header());
        let fault = |sequence, bytes, front: &[u8]| {
            read(sequence, &Stored { front: front.to_vec(), bytes }).unwrap_err()
        };
        assert_eq!(fault(8, 131_072, &page), SegmentFault::HeaderDamaged);
        let short = SegmentFault::Length { expected: 131_072, found: 126_976 };
        assert_eq!(fault(9, 126_976, &page), short);
        let cut = SegmentFault::Length { expected: 4096, found: 100 };
        assert_eq!(fault(9, 100, &page[..100]), cut);
        assert_eq!(fault(9, 131_072, &[0; PAGE_BYTES]), SegmentFault::NotASegment);
        let other = |ours| judge(&header(), ours, 65536).unwrap_err();
        assert_eq!(other(Identity { cell: 4, ..OURS }), SegmentFault::OtherCell(3));
        assert_eq!(other(Identity { shards: 4, ..OURS }), SegmentFault::OtherShards(2));
        assert_eq!(other(Identity { shard: 0, ..OURS }), SegmentFault::OtherShard(1));
        assert_eq!(judge(&header(), OURS, 0), Err(SegmentFault::HeaderDamaged));
    }

    proptest! {
        #[test]
        fn any_header_of_a_sound_size_reads_back(
            (cell, shard, shards) in any::<(u8, u16, u16)>(),
            (sequence, base) in any::<(u32, u64)>(),
            pages in 16..(SEGMENT_BYTES_MAX / PAGE_BYTES),
        ) {
            let (identity, bytes) = (Identity { cell, shard, shards }, widen(pages * PAGE_BYTES));
            let header = SegmentHeader { identity, sequence, base, segment_bytes: bytes };
            let stored = Stored { front: encode(&header), bytes };
            prop_assert_eq!(read(sequence, &stored), Ok(header));
            prop_assert_eq!(judge(&header, identity, base), Ok(()));
        }
    }
}
