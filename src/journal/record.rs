//! One record: an outcome ↔ bytes.
//!
//! Every record begins with its checksum (seeded with the segment's sequence,
//! over all bytes after it) and its type, is a multiple of 8 bytes long, and
//! its length follows from its type. Nothing here knows of batches.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::record_campaign::{
    CommandedBytes, PlannedBytes, commanded_bytes, decode_commanded, decode_planned, planned_bytes,
};
use super::record_risk::{
    DeniedBytes, HeldBytes, MarkedBytes, ResolvedBytes, TaggedBytes, decode_denied, decode_held,
    decode_marked, decode_resolved, decode_tagged, denied_bytes, held_bytes, marked_bytes,
    resolved_bytes, tagged_bytes,
};
use super::record_terms::{
    GuessedBytes, TermsPartBytes, decode_guessed, decode_terms_part, guessed_bytes,
    terms_part_bytes,
};
use crate::checksum::crc32c_seeded;
use crate::engine::{Cause, Claimed, Closed, Issued, Paid, Record, Recycled, Returned, Voided};
use crate::units::{EnvelopeId, MoneySource, Seed, Split, UserId, VoidCause};

const KIND_CLAIMED: u8 = 1;
const KIND_ISSUED: u8 = 2;
const KIND_CLOSED: u8 = 3;
const KIND_RECYCLED: u8 = 4;
const KIND_PAID: u8 = 5;
const KIND_VOIDED: u8 = 6;
const KIND_RETURNED: u8 = 7;
pub(super) const KIND_TERMS_PART: u8 = 8;
pub(super) const KIND_GUESSED: u8 = 9;
pub(super) const KIND_PLANNED: u8 = 16;
pub(super) const KIND_COMMANDED: u8 = 17;
pub(super) const KIND_HELD: u8 = 18;
pub(super) const KIND_RESOLVED: u8 = 19;
pub(super) const KIND_MARKED: u8 = 20;
pub(super) const KIND_TAGGED: u8 = 21;
pub(super) const KIND_DENIED: u8 = 22;

/// The length of the longest record.
pub const RECORD_BYTES_MAX: usize = size_of::<IssuedBytes>();

/// What every record begins with.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    crc: U32,
    kind: u8,
}

/// `crc 4 | kind 1, flags 1, rank 2 | envelope 8 | user 8 | amount 4 | at 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ClaimedBytes {
    crc: U32,
    kind: u8,
    flags: u8,
    rank: U16,
    envelope: U64,
    user: U64,
    amount: U32,
    at: U32,
}

/// `crc 4 | kind 1, split 1, source 1, terms parts 1 | envelope | sender | order |
/// payment | total, 8 each | seed 16 | shares | share_max | lifetime_s |
/// pay_within_s | at | nonce, 4 each`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct IssuedBytes {
    crc: U32,
    kind: u8,
    split: u8,
    source: u8,
    terms_parts: u8,
    envelope: U64,
    sender: U64,
    order: U64,
    payment: U64,
    total: U64,
    seed: [U64; 2],
    shares: U32,
    share_max: U32,
    lifetime_s: U32,
    pay_within_s: U32,
    at: U32,
    nonce: U32,
}

/// `crc 4 | kind 1, cause 1, held 2 (bits 32 to 47) | envelope 8 | sender 8 |
/// refunded 8 | at 4 | held 4 (bits 0 to 31)`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ClosedBytes {
    crc: U32,
    kind: u8,
    cause: u8,
    held_high: U16,
    envelope: U64,
    sender: U64,
    refunded: U64,
    at: U32,
    held_low: U32,
}

/// `crc 4 | kind 1, reserved 3 | envelope 8 | claimed 8 | total 8 |
/// shares_claimed 4 | at 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RecycledBytes {
    crc: U32,
    kind: u8,
    reserved: [u8; 3],
    envelope: U64,
    claimed: U64,
    total: U64,
    shares_claimed: U32,
    at: U32,
}

/// `crc 4 | kind 1, source 1, reserved 2 | envelope | sender | payment | total,
/// 8 each | at 4 | reserved 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PaidBytes {
    crc: U32,
    kind: u8,
    source: u8,
    reserved: U16,
    envelope: U64,
    sender: U64,
    payment: U64,
    total: U64,
    at: U32,
    reserved_tail: U32,
}

/// `crc 4 | kind 1, source 1, cause 1, reserved 1 | envelope | sender | total,
/// 8 each | at 4 | reserved 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct VoidedBytes {
    crc: U32,
    kind: u8,
    source: u8,
    cause: u8,
    reserved: u8,
    envelope: U64,
    sender: U64,
    total: U64,
    at: U32,
    reserved_tail: U32,
}

/// `crc 4 | kind 1, reserved 3 | envelope | sender | payment | amount, 8 each |
/// at 4 | reserved 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ReturnedBytes {
    crc: U32,
    kind: u8,
    reserved: [u8; 3],
    envelope: U64,
    sender: U64,
    payment: U64,
    amount: U64,
    at: U32,
    reserved_tail: U32,
}

const _: () = assert!(size_of::<ClaimedBytes>() == 32);
const _: () = assert!(size_of::<IssuedBytes>() == 88);
const _: () = assert!(size_of::<ClosedBytes>() == 40);
const _: () = assert!(size_of::<PaidBytes>() == 48);
const _: () = assert!(size_of::<VoidedBytes>() == 40);
const _: () = assert!(size_of::<ReturnedBytes>() == 48);
const _: () = assert!(size_of::<RecycledBytes>() == 40);

/// Bytes that are no record of this format version, in a batch whose checksum
/// holds: another version wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// How many bytes `record` takes.
#[inline]
pub(super) fn encoded_bytes(record: &Record) -> usize {
    match record {
        Record::Claimed(_) => size_of::<ClaimedBytes>(),
        Record::Issued(_) => size_of::<IssuedBytes>(),
        Record::Closed(_) => size_of::<ClosedBytes>(),
        Record::Recycled(_) => size_of::<RecycledBytes>(),
        Record::Paid(_) => size_of::<PaidBytes>(),
        Record::Voided(_) => size_of::<VoidedBytes>(),
        Record::Returned(_) => size_of::<ReturnedBytes>(),
        Record::TermsPart(_) => size_of::<TermsPartBytes>(),
        Record::Guessed(_) => size_of::<GuessedBytes>(),
        Record::Planned(_) => size_of::<PlannedBytes>(),
        Record::Commanded(_) => size_of::<CommandedBytes>(),
        Record::Held(_) => size_of::<HeldBytes>(),
        Record::Resolved(_) => size_of::<ResolvedBytes>(),
        Record::Marked(_) => size_of::<MarkedBytes>(),
        Record::Tagged(_) => size_of::<TaggedBytes>(),
        Record::Denied(_) => size_of::<DeniedBytes>(),
    }
}

/// Writes `record` into `out`, which is exactly [`encoded_bytes`] long.
#[inline]
pub(super) fn encode(record: &Record, seed: u32, out: &mut [u8]) {
    // The layouts and the length come from the same types, so the writes fit.
    let fits = match record {
        Record::Claimed(c) => claimed_bytes(c).write_to(out).is_ok(),
        Record::Issued(f) => issued_bytes(f).write_to(out).is_ok(),
        Record::Closed(c) => closed_bytes(c).write_to(out).is_ok(),
        Record::Recycled(r) => recycled_bytes(r).write_to(out).is_ok(),
        Record::Paid(p) => paid_bytes(p).write_to(out).is_ok(),
        Record::Voided(v) => voided_bytes(v).write_to(out).is_ok(),
        Record::Returned(r) => returned_bytes(r).write_to(out).is_ok(),
        Record::TermsPart(p) => terms_part_bytes(p).write_to(out).is_ok(),
        Record::Guessed(g) => guessed_bytes(g).write_to(out).is_ok(),
        Record::Planned(p) => planned_bytes(p).write_to(out).is_ok(),
        Record::Commanded(c) => commanded_bytes(c).write_to(out).is_ok(),
        Record::Held(h) => held_bytes(h).write_to(out).is_ok(),
        Record::Resolved(r) => resolved_bytes(r).write_to(out).is_ok(),
        Record::Marked(m) => marked_bytes(m).write_to(out).is_ok(),
        Record::Tagged(t) => tagged_bytes(t).write_to(out).is_ok(),
        Record::Denied(d) => denied_bytes(d).write_to(out).is_ok(),
    };
    debug_assert!(fits, "a record's slot is as long as the record");
    if let Some((crc, rest)) = out.split_first_chunk_mut::<4>() {
        *crc = crc32c_seeded(seed, rest).to_le_bytes();
    }
}

fn claimed_bytes(c: &Claimed) -> ClaimedBytes {
    ClaimedBytes {
        crc: U32::ZERO,
        kind: KIND_CLAIMED,
        flags: 0,
        rank: U16::new(c.rank),
        envelope: U64::new(c.envelope.0),
        user: U64::new(c.user.0),
        amount: U32::new(c.amount),
        at: U32::new(c.at),
    }
}

fn issued_bytes(f: &Issued) -> IssuedBytes {
    IssuedBytes {
        crc: U32::ZERO,
        kind: KIND_ISSUED,
        split: f.split.code(),
        source: f.source.code(),
        terms_parts: f.terms_parts,
        envelope: U64::new(f.envelope.0),
        sender: U64::new(f.sender.0),
        order: U64::new(f.order),
        payment: U64::new(f.payment),
        total: U64::new(f.total),
        seed: f.seed.0.map(U64::new),
        shares: U32::new(f.shares),
        share_max: U32::new(f.share_max),
        lifetime_s: U32::new(f.lifetime_s),
        pay_within_s: U32::new(f.pay_within_s),
        at: U32::new(f.at),
        nonce: U32::new(f.nonce),
    }
}

/// What is held is less than a total, so 48 bits are enough.
fn closed_bytes(c: &Closed) -> ClosedBytes {
    let [h0, h1, h2, h3, h4, h5, ..] = c.held.to_le_bytes();
    ClosedBytes {
        crc: U32::ZERO,
        kind: KIND_CLOSED,
        cause: match c.cause {
            Cause::Expired => 0,
            Cause::Cancelled => 1,
        },
        held_high: U16::from_bytes([h4, h5]),
        envelope: U64::new(c.envelope.0),
        sender: U64::new(c.sender.0),
        refunded: U64::new(c.refunded),
        at: U32::new(c.at),
        held_low: U32::from_bytes([h0, h1, h2, h3]),
    }
}

fn recycled_bytes(r: &Recycled) -> RecycledBytes {
    RecycledBytes {
        crc: U32::ZERO,
        kind: KIND_RECYCLED,
        reserved: [0; 3],
        envelope: U64::new(r.envelope.0),
        claimed: U64::new(r.claimed),
        total: U64::new(r.total),
        shares_claimed: U32::new(r.shares_claimed),
        at: U32::new(r.at),
    }
}

fn paid_bytes(p: &Paid) -> PaidBytes {
    PaidBytes {
        crc: U32::ZERO,
        kind: KIND_PAID,
        source: p.source.code(),
        reserved: U16::ZERO,
        envelope: U64::new(p.envelope.0),
        sender: U64::new(p.sender.0),
        payment: U64::new(p.payment),
        total: U64::new(p.total),
        at: U32::new(p.at),
        reserved_tail: U32::ZERO,
    }
}

fn voided_bytes(v: &Voided) -> VoidedBytes {
    VoidedBytes {
        crc: U32::ZERO,
        kind: KIND_VOIDED,
        source: v.source.code(),
        cause: v.cause.code(),
        reserved: 0,
        envelope: U64::new(v.envelope.0),
        sender: U64::new(v.sender.0),
        total: U64::new(v.total),
        at: U32::new(v.at),
        reserved_tail: U32::ZERO,
    }
}

fn returned_bytes(r: &Returned) -> ReturnedBytes {
    ReturnedBytes {
        crc: U32::ZERO,
        kind: KIND_RETURNED,
        reserved: [0; 3],
        envelope: U64::new(r.envelope.0),
        sender: U64::new(r.sender.0),
        payment: U64::new(r.payment),
        amount: U64::new(r.amount),
        at: U32::new(r.at),
        reserved_tail: U32::ZERO,
    }
}

/// Reads the record at the front of `bytes`: its length and meaning.
pub(super) fn decode(bytes: &[u8], seed: u32) -> Result<(usize, Record), Unreadable> {
    let (head, _) = Head::ref_from_prefix(bytes).map_err(|_| Unreadable)?;
    let length = match head.kind {
        KIND_CLAIMED => size_of::<ClaimedBytes>(),
        KIND_ISSUED => size_of::<IssuedBytes>(),
        KIND_CLOSED => size_of::<ClosedBytes>(),
        KIND_RECYCLED => size_of::<RecycledBytes>(),
        KIND_PAID => size_of::<PaidBytes>(),
        KIND_VOIDED => size_of::<VoidedBytes>(),
        KIND_RETURNED => size_of::<ReturnedBytes>(),
        KIND_TERMS_PART => size_of::<TermsPartBytes>(),
        KIND_GUESSED => size_of::<GuessedBytes>(),
        KIND_PLANNED => size_of::<PlannedBytes>(),
        KIND_COMMANDED => size_of::<CommandedBytes>(),
        KIND_HELD => size_of::<HeldBytes>(),
        KIND_RESOLVED => size_of::<ResolvedBytes>(),
        KIND_MARKED => size_of::<MarkedBytes>(),
        KIND_TAGGED => size_of::<TaggedBytes>(),
        KIND_DENIED => size_of::<DeniedBytes>(),
        _ => return Err(Unreadable),
    };
    let bytes = bytes.get(..length).ok_or(Unreadable)?;
    if crc32c_seeded(seed, bytes.get(4..).ok_or(Unreadable)?) != head.crc.get() {
        return Err(Unreadable);
    }
    let record = match head.kind {
        KIND_CLAIMED => Record::Claimed(decode_claimed(bytes)?),
        KIND_ISSUED => Record::Issued(decode_issued(bytes)?),
        KIND_CLOSED => Record::Closed(decode_closed(bytes)?),
        KIND_PAID => Record::Paid(decode_paid(bytes)?),
        KIND_VOIDED => Record::Voided(decode_voided(bytes)?),
        KIND_RETURNED => Record::Returned(decode_returned(bytes)?),
        KIND_TERMS_PART => Record::TermsPart(decode_terms_part(bytes)?),
        KIND_GUESSED => Record::Guessed(decode_guessed(bytes)?),
        KIND_PLANNED => Record::Planned(decode_planned(bytes)?),
        KIND_COMMANDED => Record::Commanded(decode_commanded(bytes)?),
        KIND_HELD => Record::Held(decode_held(bytes)?),
        KIND_RESOLVED => Record::Resolved(decode_resolved(bytes)?),
        KIND_MARKED => Record::Marked(decode_marked(bytes)?),
        KIND_TAGGED => Record::Tagged(decode_tagged(bytes)?),
        KIND_DENIED => Record::Denied(decode_denied(bytes)?),
        _ => Record::Recycled(decode_recycled(bytes)?),
    };
    Ok((length, record))
}

/// Reserved bytes must be 0, so that a later version may use them and an older
/// server refuses what it does not understand.
fn decode_claimed(bytes: &[u8]) -> Result<Claimed, Unreadable> {
    let c = ClaimedBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    if c.flags != 0 {
        return Err(Unreadable);
    }
    Ok(Claimed {
        envelope: EnvelopeId(c.envelope.get()),
        user: UserId(c.user.get()),
        amount: c.amount.get(),
        rank: c.rank.get(),
        at: c.at.get(),
    })
}

fn decode_issued(bytes: &[u8]) -> Result<Issued, Unreadable> {
    let f = IssuedBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    Ok(Issued {
        envelope: EnvelopeId(f.envelope.get()),
        sender: UserId(f.sender.get()),
        order: f.order.get(),
        payment: f.payment.get(),
        total: f.total.get(),
        seed: Seed(f.seed.map(U64::get)),
        nonce: f.nonce.get(),
        shares: f.shares.get(),
        share_max: f.share_max.get(),
        lifetime_s: f.lifetime_s.get(),
        pay_within_s: f.pay_within_s.get(),
        at: f.at.get(),
        split: Split::from_code(f.split).ok_or(Unreadable)?,
        source: MoneySource::from_code(f.source).ok_or(Unreadable)?,
        terms_parts: f.terms_parts,
    })
}

fn decode_closed(bytes: &[u8]) -> Result<Closed, Unreadable> {
    let c = ClosedBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    Ok(Closed {
        envelope: EnvelopeId(c.envelope.get()),
        sender: UserId(c.sender.get()),
        refunded: c.refunded.get(),
        held: u64::from(c.held_high.get()) << 32 | u64::from(c.held_low.get()),
        cause: match c.cause {
            0 => Cause::Expired,
            1 => Cause::Cancelled,
            _ => return Err(Unreadable),
        },
        at: c.at.get(),
    })
}

fn decode_recycled(bytes: &[u8]) -> Result<Recycled, Unreadable> {
    let r = RecycledBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    if r.reserved != [0; 3] {
        return Err(Unreadable);
    }
    Ok(Recycled {
        envelope: EnvelopeId(r.envelope.get()),
        shares_claimed: r.shares_claimed.get(),
        claimed: r.claimed.get(),
        total: r.total.get(),
        at: r.at.get(),
    })
}

fn decode_paid(bytes: &[u8]) -> Result<Paid, Unreadable> {
    let p = PaidBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    if p.reserved.get() != 0 || p.reserved_tail.get() != 0 {
        return Err(Unreadable);
    }
    Ok(Paid {
        envelope: EnvelopeId(p.envelope.get()),
        sender: UserId(p.sender.get()),
        payment: p.payment.get(),
        total: p.total.get(),
        at: p.at.get(),
        source: MoneySource::from_code(p.source).ok_or(Unreadable)?,
    })
}

fn decode_voided(bytes: &[u8]) -> Result<Voided, Unreadable> {
    let v = VoidedBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    if v.reserved != 0 || v.reserved_tail.get() != 0 {
        return Err(Unreadable);
    }
    Ok(Voided {
        envelope: EnvelopeId(v.envelope.get()),
        sender: UserId(v.sender.get()),
        total: v.total.get(),
        at: v.at.get(),
        source: MoneySource::from_code(v.source).ok_or(Unreadable)?,
        cause: VoidCause::from_code(v.cause).ok_or(Unreadable)?,
    })
}

fn decode_returned(bytes: &[u8]) -> Result<Returned, Unreadable> {
    let r = ReturnedBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    if r.reserved != [0; 3] || r.reserved_tail.get() != 0 {
        return Err(Unreadable);
    }
    Ok(Returned {
        envelope: EnvelopeId(r.envelope.get()),
        sender: UserId(r.sender.get()),
        payment: r.payment.get(),
        amount: r.amount.get(),
        at: r.at.get(),
    })
}

/// The record at the front of `bytes` with its length: for fuzzing.
#[doc(hidden)]
pub fn record_of_bytes(bytes: &[u8], seed: u32) -> Option<(usize, Record)> {
    decode(bytes, seed).ok()
}

/// The bytes of a record: for fuzzing.
#[doc(hidden)]
pub fn bytes_of_record(record: &Record, seed: u32) -> Vec<u8> {
    let mut bytes = vec![0; encoded_bytes(record)];
    encode(record, seed, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests;
