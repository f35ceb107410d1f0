//! What is written reads back, and what a checksum alone would let pass is refused.

use proptest::prelude::*;

use super::*;

fn headers() -> impl Strategy<Value = Header> {
    any::<([u64; 4], [u32; 3], [u16; 2], u8)>().prop_map(|(words, halves, shards, cell)| {
        let [end, batch, time, began_at] = words;
        let [checksum, epoch, number] = halves;
        let [shard, shards] = shards;
        let (time, end) = (Time(time), Position(end));
        let chain = Chain { batch, checksum, epoch, time, end };
        let start = CheckpointStart { chain, began_at: Time(began_at) };
        Header { identity: Identity { cell, shard, shards }, number, start }
    })
}

/// The bytes of a file with these slices, and the offset of its block.
fn file(header: &Header, slices: &[Vec<u8>], end: Position) -> Vec<u8> {
    let (mut packer, mut file) = Packer::new(header);
    for slice in slices {
        packer.push(slice);
    }
    if let Some((offset, block)) = packer.seal() {
        assert_eq!(offset, widen(file.len()));
        file.extend_from_slice(block);
    }
    let (offset, footer) = packer.footer(end);
    assert_eq!(offset, widen(file.len()));
    [file, footer].concat()
}

proptest! {
    #[test]
    fn any_checkpoint_reads_back(
        header in headers(),
        slices in prop::collection::vec(any::<Vec<u8>>(), 1..9),
        end: u64,
    ) {
        let file = file(&header, &slices, Position(end));
        let (found, seed) = header_of(&file, header.number).unwrap();
        prop_assert_eq!(found, header);
        let last = file.len() - PAGE_BYTES;
        let footer = footer_of(&file[last..], widen(file.len()), seed).unwrap();
        prop_assert_eq!(footer.end, Position(end));
        let mut blocks = Blocks::new(seed, footer);
        let length = blocks.length(&file[PAGE_BYTES..]).unwrap();
        let block = &file[PAGE_BYTES..PAGE_BYTES + length];
        blocks.check(block).unwrap();
        prop_assert_eq!(blocks.next_offset(), None);
        prop_assert_eq!(blocks.finish(), Ok(()));
        let mut read = Vec::new();
        slices_of(block, |slice| read.push(slice.unwrap().to_vec()));
        prop_assert_eq!(read, slices);
    }
}

/// The length of a file of so many slices of this length.
fn packed(slices: u64, bytes: usize) -> u64 {
    let identity = Identity { cell: 7, shard: 0, shards: 1 };
    let start = CheckpointStart::founding(1, Time(0));
    let (mut packer, _) = Packer::new(&Header { identity, number: 1, start });
    for _ in 0..slices {
        if !packer.fits(bytes) {
            assert!(packer.seal().is_some());
            packer.opened();
        }
        packer.push(&vec![7; bytes]);
    }
    if packer.seal().is_some() {
        packer.opened();
    }
    packer.footer(Position(0)).0 + widen(PAGE_BYTES)
}

fn header() -> Header {
    let identity = Identity { cell: 7, shard: 0, shards: 1 };
    Header { identity, number: 1, start: CheckpointStart::founding(1, Time(0)) }
}

/// The seed of a file of one block of these slices, its block and its footer.
fn block_of(slices: &[Vec<u8>]) -> (u32, Vec<u8>, Footer) {
    let file = file(&header(), slices, Position(9));
    let (_, seed) = header_of(&file, 1).unwrap();
    let last = file.len() - PAGE_BYTES;
    let footer = footer_of(&file[last..], widen(file.len()), seed).unwrap();
    (seed, file[PAGE_BYTES..last].to_vec(), footer)
}

#[test]
fn blocks_that_are_not_those_of_the_footer_are_refused() {
    let (seed, block, footer) = block_of(&[vec![1; 9], vec![2; 5000]]);
    assert_eq!((footer.blocks, footer.slices, footer.bytes), (1, 2, 5009));
    let others = [
        Footer { blocks: 2, ..footer },
        Footer { slices: 3, ..footer },
        Footer { bytes: 5008, ..footer },
        Footer { blocks_crc: !footer.blocks_crc, ..footer },
    ];
    for said in [footer].into_iter().chain(others) {
        let mut blocks = Blocks::new(seed, said);
        blocks.check(&block).unwrap();
        let fault = CheckpointFault::Blocks(said.file_bytes - widen(PAGE_BYTES));
        let expected = if said == footer { Ok(()) } else { Err(fault) };
        assert_eq!(blocks.finish(), expected, "{said:?}");
    }
}

/// What a checksum alone would let pass: a writer that counts wrong.
#[test]
fn a_block_whose_slices_are_not_those_it_counts_is_refused() {
    let (seed, block, footer) = block_of(&[vec![1; 9], vec![2; 50]]);
    let takes = |change: &dyn Fn(&mut BlockHead, &mut [u8])| {
        let mut blocks = Blocks::new(seed, footer);
        let mut block = block.clone();
        let (head, rest) = BlockHead::mut_from_prefix(&mut block).unwrap();
        change(head, rest);
        let crc = blocks.tally.block_crc(&block);
        BlockHead::mut_from_prefix(&mut block).unwrap().0.crc = U32::new(crc);
        blocks.check(&block)
    };
    let damaged = Err(Blocks::new(seed, footer).damaged());
    assert_eq!(takes(&|_, _| {}), Ok(()));
    assert_eq!(takes(&|head, _| head.slices = U32::new(1)), damaged);
    assert_eq!(takes(&|head, _| head.slices = U32::new(3)), damaged);
    assert_eq!(takes(&|_, rest| rest[0] = 200), damaged, "the first is longer than all");
    assert_eq!(takes(&|_, rest| rest[SLICE_HEAD_BYTES + 9] = 200), damaged, "so is the second");
    let empty = |head: &mut BlockHead| (head.slices, head.length) = (U32::ZERO, U32::ZERO);
    assert_eq!(takes(&|head, _| empty(head)), damaged);
}

#[test]
fn a_footer_is_whole_and_says_how_long_its_file_is() {
    let file = file(&header(), &[vec![1; 9]], Position(9));
    let (_, seed) = header_of(&file, 1).unwrap();
    let (last, bytes) = (file.len() - PAGE_BYTES, widen(file.len()));
    let takes = |change: &dyn Fn(&mut FooterPage), is_sealed: bool| {
        let mut file = file.clone();
        let (page, _) = FooterPage::mut_from_prefix(&mut file[last..]).unwrap();
        change(page);
        if is_sealed {
            page.crc = U32::new(page_crc(seed, page.as_bytes()));
        }
        footer_of(&file[last..], bytes, seed)
    };
    let damaged = || Err(CheckpointFault::Footer(widen(last)));
    assert!(takes(&|_| {}, false).is_ok() && takes(&|page| page.end = U64::new(1), true).is_ok());
    assert_eq!(takes(&|page| page.end = U64::new(1), false), damaged());
    assert_eq!(takes(&|page| page.magic[0] ^= 1, true), damaged());
    assert_eq!(takes(&|page| page.file_bytes = U64::new(bytes + 1), true), damaged());
}

#[test]
fn a_block_is_no_longer_than_blocks_are_and_ends_before_the_footer() {
    let (seed, block, footer) = block_of(&[vec![1; 2 * PAGE_BYTES]]);
    let length = |bytes: usize, footer| {
        let mut front = block.clone();
        let length = U32::new(u32::try_from(bytes - size_of::<BlockHead>()).unwrap());
        BlockHead::mut_from_prefix(&mut front).unwrap().0.length = length;
        Blocks::new(seed, footer).length(&front)
    };
    let damaged = || Err(Blocks::new(seed, footer).damaged());
    assert_eq!(length(3 * PAGE_BYTES, footer), Ok(3 * PAGE_BYTES));
    assert_eq!(length(3 * PAGE_BYTES + 1, footer), damaged());
    let long = Footer { file_bytes: widen(4 * BLOCK_BYTES), ..footer };
    assert_eq!(length(BLOCK_BYTES, long), Ok(BLOCK_BYTES));
    assert_eq!(length(BLOCK_BYTES + 1, long), damaged());
}

#[test]
fn a_block_takes_slices_to_its_last_byte() {
    let (mut packer, _) = Packer::new(&header());
    let room = BLOCK_BYTES - size_of::<BlockHead>() - 2 * SLICE_HEAD_BYTES - 100;
    packer.push(&[7; 100]);
    assert!(packer.fits(room) && !packer.fits(room + 1));
    packer.push(&vec![7; room]);
    assert_eq!(packer.seal().unwrap().1.len(), BLOCK_BYTES);
    packer.opened();
    packer.push(&[7]);
    assert_eq!(packer.seal().unwrap().0, widen(PAGE_BYTES + BLOCK_BYTES));
    packer.opened();
    let (_, page) = packer.footer(Position(9));
    let (_, seed) = header_of(&Packer::new(&header()).1, 1).unwrap();
    let file_bytes = widen(PAGE_BYTES + BLOCK_BYTES + 2 * PAGE_BYTES);
    let footer = footer_of(&page, file_bytes, seed).unwrap();
    let bytes = u64::try_from(room).unwrap() + 101;
    assert_eq!((footer.blocks, footer.slices, footer.bytes), (2, 3, bytes));
}

#[test]
fn no_file_is_longer_than_its_slices_allow() {
    let image = 65_568;
    for (slices, bytes) in
        [(0, 0), (1, 1), (15, image), (40, image), (9, SLICE_BYTES_MAX), (1000, 5000)]
    {
        let (file, most) = (packed(slices, bytes), checkpoint_bytes_max(slices, bytes));
        assert!(file <= most, "{slices} of {bytes}: {file}, and {most} at most");
        assert!(most <= file + file / 50 + 16_384, "{slices} of {bytes}: {most} for {file}");
    }
}
