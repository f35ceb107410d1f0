//! One batch: a 64-byte header, then records; what one commit makes durable.
//!
//! A batch starts on a page of its own and never spans segments. Its header is
//! self-describing and knows its position, so a batch can be shipped as it is.
//! Nothing here knows how batches follow each other.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Position, Sequence, widen};
use crate::checksum::{crc32c_seeded, seed_of};
use crate::units::Time;

/// Bytes before the first record of a batch.
pub const BATCH_HEADER_BYTES: usize = size_of::<HeaderBytes>();

/// The batch was written without waiting for syncs (`durability = os`), so its
/// `durable_upto` may lie further behind than the batch before it.
const FLAG_UNSYNCED: u32 = 1;

/// The header as it lies on disk, little endian.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderBytes {
    header_crc: U32,
    body_crc: U32,
    previous: U32,
    body_bytes: U32,
    records: U32,
    epoch: U32,
    sequence: U32,
    flags: U32,
    batch: U64,
    position: U64,
    time: U64,
    durable_upto: U64,
}

const _: () = assert!(size_of::<HeaderBytes>() == 64);

/// What a batch says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Its own checksum, which the next batch repeats.
    pub checksum: u32,
    /// The checksum of its records.
    pub body_checksum: u32,
    /// The checksum of the batch before it; 0 for the first of the journal.
    pub previous: u32,
    /// How many bytes of records follow the header.
    pub body_bytes: u32,
    /// How many records follow.
    pub records: u32,
    /// Which run of the server wrote it, from 1.
    pub epoch: u32,
    /// The segment it lies in.
    pub sequence: Sequence,
    /// Whether it was written under `durability = os`.
    pub unsynced: bool,
    /// Its number in the journal, from 1.
    pub batch: u64,
    /// Where it starts.
    pub position: Position,
    /// When it was sealed; never less than the batch before.
    pub time: Time,
    /// Everything up to here was durable when it was sealed.
    pub durable_upto: Position,
}

impl BatchHeader {
    /// Where its last record ends.
    pub fn end(&self) -> Position {
        let bytes = widen(BATCH_HEADER_BYTES) + u64::from(self.body_bytes);
        Position(self.position.0.saturating_add(bytes))
    }

    /// Whether it says that it lies there.
    pub(super) fn lies_at(&self, sequence: Sequence, position: Position) -> bool {
        self.sequence == sequence && self.position == position
    }
}

/// Fills in the header of the batch in `bytes` (header and records) and
/// returns its checksum. The two checksums in `header` are computed here.
pub(super) fn seal(header: &BatchHeader, bytes: &mut [u8]) -> u32 {
    let seed = seed_of(u64::from(header.sequence));
    let Some((head, body)) = bytes.split_first_chunk_mut::<BATCH_HEADER_BYTES>() else {
        debug_assert!(false, "a batch is at least a header");
        return 0;
    };
    let mut raw = HeaderBytes {
        header_crc: U32::ZERO,
        body_crc: U32::new(crc32c_seeded(seed, body)),
        previous: U32::new(header.previous),
        body_bytes: U32::new(header.body_bytes),
        records: U32::new(header.records),
        epoch: U32::new(header.epoch),
        sequence: U32::new(header.sequence),
        flags: U32::new(if header.unsynced { FLAG_UNSYNCED } else { 0 }),
        batch: U64::new(header.batch),
        position: U64::new(header.position.0),
        time: U64::new(header.time.0),
        durable_upto: U64::new(header.durable_upto.0),
    };
    let checksum = header_checksum(&raw, seed);
    raw.header_crc = U32::new(checksum);
    head.copy_from_slice(raw.as_bytes());
    checksum
}

fn header_checksum(raw: &HeaderBytes, seed: u32) -> u32 {
    crc32c_seeded(seed, raw.as_bytes().split_at(4).1)
}

/// The header at the front of `bytes`, if its own checksum holds, it belongs
/// to segment `sequence` and it says it lies at `position`.
///
/// The body is not looked at: a valid header proves what it knew, even when
/// its own records never reached the disk.
pub(super) fn read(bytes: &[u8], sequence: Sequence, position: Position) -> Option<BatchHeader> {
    let (raw, _) = HeaderBytes::ref_from_prefix(bytes).ok()?;
    // The cheap comparisons come first: a scan asks this of every page.
    if raw.sequence.get() != sequence || raw.position.get() != position.0 {
        return None;
    }
    parse(raw)
}

/// The header at the front of `bytes`, if its own checksum holds, wherever it
/// says it lies.
pub(super) fn header(bytes: &[u8]) -> Option<BatchHeader> {
    HeaderBytes::ref_from_prefix(bytes).ok().and_then(|(raw, _)| parse(raw))
}

/// Whether a batch of an earlier segment lies here: a recycled file that was
/// not overwritten yet.
pub(super) fn is_stale(bytes: &[u8], sequence: Sequence) -> bool {
    HeaderBytes::ref_from_prefix(bytes)
        .is_ok_and(|(raw, _)| raw.sequence.get() < sequence && parse(raw).is_some())
}

fn parse(raw: &HeaderBytes) -> Option<BatchHeader> {
    let seed = seed_of(u64::from(raw.sequence.get()));
    let known_flags = raw.flags.get() & !FLAG_UNSYNCED == 0;
    if !known_flags || header_checksum(raw, seed) != raw.header_crc.get() {
        return None;
    }
    Some(BatchHeader {
        checksum: raw.header_crc.get(),
        body_checksum: raw.body_crc.get(),
        previous: raw.previous.get(),
        body_bytes: raw.body_bytes.get(),
        records: raw.records.get(),
        epoch: raw.epoch.get(),
        sequence: raw.sequence.get(),
        unsynced: raw.flags.get() & FLAG_UNSYNCED != 0,
        batch: raw.batch.get(),
        position: Position(raw.position.get()),
        time: Time(raw.time.get()),
        durable_upto: Position(raw.durable_upto.get()),
    })
}

/// The records of the batch at the front of `bytes`, if all of them are there
/// and their checksum holds.
pub(super) fn body<'a>(header: &BatchHeader, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(header.body_bytes).ok()?;
    let body = bytes.get(BATCH_HEADER_BYTES..)?.get(..length)?;
    let seed = seed_of(u64::from(header.sequence));
    (crc32c_seeded(seed, body) == header.body_checksum).then_some(body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::{
        Cause, Claimed, Closed, Commanded, Denied, Guessed, Held, Issued, Marked, Paid, Planned,
        Record, Recycled, Resolved, Returned, Tagged, TermsPart, Voided,
    };
    use crate::journal::record;
    use crate::units::{EnvelopeId, MoneySource, Seed, Split, UserId, VoidCause};
    use crate::wire::{Command, PlanPart, Resolution, ResolvedBy, RiskRule, Slot, Standing, Tags};

    fn a_record_of_each_kind() -> [Record; 16] {
        let envelope = EnvelopeId::new(7, 3, 9, 1);
        let mut bytes = [0; 64];
        bytes[..7].copy_from_slice(b"\x0b\x04\x00luck");
        [
            Record::Issued(Issued {
                envelope,
                sender: UserId(1001),
                order: 42,
                payment: 43,
                total: 8888,
                seed: Seed([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]),
                shares: 10,
                share_max: 5000,
                nonce: 44,
                lifetime_s: 86_400,
                pay_within_s: 900,
                at: 1_700_000_000,
                split: Split::DoubleMean,
                source: MoneySource::Payment,
                terms_parts: 0,
            }),
            Record::Claimed(Claimed {
                envelope,
                user: UserId(2002),
                amount: 888,
                rank: 0,
                at: 1_700_000_001,
            }),
            Record::Closed(Closed {
                envelope,
                sender: UserId(1001),
                refunded: 8000,
                held: 0,
                cause: Cause::Cancelled,
                at: 1_700_000_002,
            }),
            Record::Recycled(Recycled {
                envelope,
                shares_claimed: 1,
                claimed: 888,
                total: 8888,
                at: 1_700_000_003,
            }),
            Record::Paid(Paid {
                envelope,
                sender: UserId(1001),
                payment: 43,
                total: 8888,
                at: 1_700_000_004,
                source: MoneySource::Payment,
            }),
            Record::Voided(Voided {
                envelope,
                sender: UserId(1001),
                total: 8888,
                at: 1_700_000_005,
                source: MoneySource::Balance,
                cause: VoidCause::Refused,
            }),
            Record::Returned(Returned {
                envelope,
                sender: UserId(1001),
                payment: 43,
                amount: 8888,
                at: 1_700_000_006,
            }),
            Record::TermsPart(TermsPart { envelope, number: 0, length: 7, bytes }),
            Record::Guessed(Guessed {
                envelope,
                user: UserId(3003),
                guesses: 9,
                at: 1_700_000_007,
            }),
            Record::Planned(Planned {
                envelope,
                part: PlanPart::Slot(3, Slot { start: 1_700_000_100, length_s: 60, quota: 500 }),
                at: 1_700_000_007,
            }),
            Record::Commanded(Commanded { envelope, command: Command::Start, at: 1_700_000_008 }),
            held(envelope),
            resolved(envelope),
            marked(),
            tagged(envelope),
            denied(envelope),
        ]
    }

    fn held(envelope: EnvelopeId) -> Record {
        let (user, at) = (UserId(2003), 1_700_000_009);
        let claimed = Claimed { envelope, user, amount: 777, rank: 1, at };
        Record::Held(Held { claimed, rule: RiskRule::Amount, until: 1_700_003_609 })
    }

    fn resolved(envelope: EnvelopeId) -> Record {
        Record::Resolved(Resolved {
            envelope,
            user: UserId(2003),
            sender: UserId(1001),
            amount: 777,
            at: 1_700_003_609,
            resolution: Resolution::Reject,
            by: ResolvedBy::Time,
        })
    }

    fn marked() -> Record {
        let standing = Standing { grade: 7, denied: true, watched: false, at: 1_700_003_610 };
        Record::Marked(Marked { partition: 3, user: UserId(2003), standing })
    }

    fn tagged(envelope: EnvelopeId) -> Record {
        let tags = Tags { device: Some(0x1122_3344_5566_7788), address: None };
        Record::Tagged(Tagged { envelope, user: UserId(2003), tags, at: 1_700_003_611 })
    }

    fn denied(envelope: EnvelopeId) -> Record {
        let (user, rule) = (UserId(2003), RiskRule::DeviceDenied);
        Record::Denied(Denied { envelope, user, amount: 777, rule, at: 1_700_003_612 })
    }

    fn golden_batch() -> (BatchHeader, Vec<u8>) {
        let mut bytes = vec![0; BATCH_HEADER_BYTES];
        for r in a_record_of_each_kind() {
            let start = bytes.len();
            bytes.resize(start + record::encoded_bytes(&r), 0);
            record::encode(&r, seed_of(5), &mut bytes[start..]);
        }
        let mut header = BatchHeader {
            checksum: 0,
            body_checksum: 0,
            previous: 0x1122_3344,
            body_bytes: u32::try_from(bytes.len() - BATCH_HEADER_BYTES).unwrap(),
            records: 9,
            epoch: 2,
            sequence: 5,
            unsynced: false,
            batch: 77,
            position: Position(0x10000),
            time: Time(1_700_000_002_500),
            durable_upto: Position(0xf123),
        };
        header.checksum = seal(&header, &mut bytes);
        (header, bytes)
    }

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write;
        let mut out = String::new();
        for row in bytes.chunks(32) {
            for byte in row {
                write!(out, "{byte:02x}").unwrap();
            }
            out.push('\n');
        }
        out
    }

    #[test]
    fn the_format_does_not_drift() {
        let (_, bytes) = golden_batch();
        assert_eq!(hex(&bytes), include_str!("golden_batch.hex"));
    }

    #[test]
    fn a_sealed_batch_reads_back() {
        let (mut header, bytes) = golden_batch();
        let read = read(&bytes, 5, Position(0x10000)).unwrap();
        header.body_checksum = read.body_checksum;
        assert_eq!(read, header);
        let mut rest = body(&read, &bytes).unwrap();
        for expected in a_record_of_each_kind() {
            let (length, record) = record::decode(rest, seed_of(5)).unwrap();
            assert_eq!(record, expected);
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn a_batch_elsewhere_is_none() {
        let (_, bytes) = golden_batch();
        assert!(read(&bytes, 6, Position(0x10000)).is_none());
        assert!(read(&bytes, 5, Position(0x11000)).is_none());
        assert!(is_stale(&bytes, 6));
        assert!(!is_stale(&bytes, 5));
    }

    fn headers() -> impl Strategy<Value = BatchHeader> {
        any::<([u32; 4], bool, [u64; 4])>().prop_map(|(halves, unsynced, words)| {
            let [previous, records, epoch, sequence] = halves;
            let [batch, position, time, durable_upto] = words;
            BatchHeader {
                checksum: 0,
                body_checksum: 0,
                previous,
                body_bytes: 0,
                records,
                epoch,
                sequence,
                unsynced,
                batch,
                position: Position(position),
                time: Time(time),
                durable_upto: Position(durable_upto),
            }
        })
    }

    proptest! {
        #[test]
        fn any_sealed_batch_reads_back(header in headers(), records: Vec<u8>, bit: u16) {
            let mut bytes = [&[0; BATCH_HEADER_BYTES][..], &records].concat();
            let body_bytes = u32::try_from(records.len()).unwrap();
            let checksum = seal(&BatchHeader { body_bytes, ..header }, &mut bytes);
            let found = read(&bytes, header.sequence, header.position).unwrap();
            let body_checksum = found.body_checksum;
            prop_assert_eq!(found, BatchHeader { checksum, body_checksum, body_bytes, ..header });
            prop_assert_eq!(body(&found, &bytes), Some(&records[..]));
            // Any bit of it is guarded by one of the two checksums.
            let bit = usize::from(bit) % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = read(&bytes, header.sequence, header.position);
            prop_assert!(found.and_then(|found| body(&found, &bytes)).is_none());
        }
    }
}
