//! The records of held shares, of what is said of users and of where shares were won
//! from ↔ bytes; see `record`.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::record::{KIND_DENIED, KIND_HELD, KIND_MARKED, KIND_RESOLVED, KIND_TAGGED, Unreadable};
use crate::engine::{Claimed, Denied, Held, Marked, Resolved, Tagged};
use crate::units::{EnvelopeId, UserId};
use crate::wire::{Resolution, ResolvedBy, RiskRule, Standing, Tags};

/// `crc 4 | kind 1, rule 1, rank 2 | envelope 8 | user 8 | amount 4 | at 4 |
/// until 4 | reserved 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HeldBytes {
    crc: U32,
    kind: u8,
    rule: u8,
    rank: U16,
    envelope: U64,
    user: U64,
    amount: U32,
    at: U32,
    until: U32,
    reserved: U32,
}

/// `crc 4 | kind 1, resolution 1, by 1, reserved 1 | envelope | user | sender, 8
/// each | amount 4 | at 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ResolvedBytes {
    crc: U32,
    kind: u8,
    resolution: u8,
    by: u8,
    reserved: u8,
    envelope: U64,
    user: U64,
    sender: U64,
    amount: U32,
    at: U32,
}

/// `crc 4 | kind 1, partition 1, grade 1, lists 1 | user 8 | at 4 | reserved 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct MarkedBytes {
    crc: U32,
    kind: u8,
    partition: u8,
    grade: u8,
    lists: u8,
    user: U64,
    at: U32,
    reserved: U32,
}

/// `crc 4 | kind 1, said 1 (1 device, 2 address), reserved 2 | envelope | user | device |
/// address, 8 each | at 4 | reserved 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct TaggedBytes {
    crc: U32,
    kind: u8,
    said: u8,
    reserved: U16,
    envelope: U64,
    user: U64,
    device: U64,
    address: U64,
    at: U32,
    reserved_tail: U32,
}

/// `crc 4 | kind 1, rule 1, reserved 2 | envelope 8 | user 8 | amount 4 | at 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct DeniedBytes {
    crc: U32,
    kind: u8,
    rule: u8,
    reserved: U16,
    envelope: U64,
    user: U64,
    amount: U32,
    at: U32,
}

const _: () = assert!(size_of::<HeldBytes>() == 40);
const _: () = assert!(size_of::<DeniedBytes>() == 32);
const _: () = assert!(size_of::<ResolvedBytes>() == 40);
const _: () = assert!(size_of::<MarkedBytes>() == 24);
const _: () = assert!(size_of::<TaggedBytes>() == 48);

pub(super) fn held_bytes(h: &Held) -> HeldBytes {
    HeldBytes {
        crc: U32::ZERO,
        kind: KIND_HELD,
        rule: h.rule.code(),
        rank: U16::new(h.claimed.rank),
        envelope: U64::new(h.claimed.envelope.0),
        user: U64::new(h.claimed.user.0),
        amount: U32::new(h.claimed.amount),
        at: U32::new(h.claimed.at),
        until: U32::new(h.until),
        reserved: U32::ZERO,
    }
}

pub(super) fn resolved_bytes(r: &Resolved) -> ResolvedBytes {
    ResolvedBytes {
        crc: U32::ZERO,
        kind: KIND_RESOLVED,
        resolution: r.resolution.code(),
        by: r.by.code(),
        reserved: 0,
        envelope: U64::new(r.envelope.0),
        user: U64::new(r.user.0),
        sender: U64::new(r.sender.0),
        amount: U32::new(r.amount),
        at: U32::new(r.at),
    }
}

pub(super) fn marked_bytes(m: &Marked) -> MarkedBytes {
    MarkedBytes {
        crc: U32::ZERO,
        kind: KIND_MARKED,
        partition: m.partition,
        grade: m.standing.grade,
        lists: m.standing.lists(),
        user: U64::new(m.user.0),
        at: U32::new(m.standing.at),
        reserved: U32::ZERO,
    }
}

pub(super) fn tagged_bytes(t: &Tagged) -> TaggedBytes {
    let Tags { device, address } = t.tags;
    TaggedBytes {
        crc: U32::ZERO,
        kind: KIND_TAGGED,
        said: u8::from(device.is_some()) | u8::from(address.is_some()) << 1,
        reserved: U16::ZERO,
        envelope: U64::new(t.envelope.0),
        user: U64::new(t.user.0),
        device: U64::new(device.unwrap_or(0)),
        address: U64::new(address.unwrap_or(0)),
        at: U32::new(t.at),
        reserved_tail: U32::ZERO,
    }
}

pub(super) fn denied_bytes(d: &Denied) -> DeniedBytes {
    DeniedBytes {
        crc: U32::ZERO,
        kind: KIND_DENIED,
        rule: d.rule.code(),
        reserved: U16::ZERO,
        envelope: U64::new(d.envelope.0),
        user: U64::new(d.user.0),
        amount: U32::new(d.amount),
        at: U32::new(d.at),
    }
}

pub(super) fn decode_held(bytes: &[u8]) -> Result<Held, Unreadable> {
    let h = HeldBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    if h.reserved.get() != 0 {
        return Err(Unreadable);
    }
    let claimed = Claimed {
        envelope: EnvelopeId(h.envelope.get()),
        user: UserId(h.user.get()),
        amount: h.amount.get(),
        rank: h.rank.get(),
        at: h.at.get(),
    };
    let rule = RiskRule::from_code(h.rule).ok_or(Unreadable)?;
    Ok(Held { claimed, rule, until: h.until.get() })
}

pub(super) fn decode_resolved(bytes: &[u8]) -> Result<Resolved, Unreadable> {
    let r = ResolvedBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    if r.reserved != 0 {
        return Err(Unreadable);
    }
    Ok(Resolved {
        envelope: EnvelopeId(r.envelope.get()),
        user: UserId(r.user.get()),
        sender: UserId(r.sender.get()),
        amount: r.amount.get(),
        at: r.at.get(),
        resolution: Resolution::from_code(r.resolution).ok_or(Unreadable)?,
        by: ResolvedBy::from_code(r.by).ok_or(Unreadable)?,
    })
}

pub(super) fn decode_marked(bytes: &[u8]) -> Result<Marked, Unreadable> {
    let m = MarkedBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    if m.reserved.get() != 0 {
        return Err(Unreadable);
    }
    let standing = Standing::of(m.grade, m.lists, m.at.get()).ok_or(Unreadable)?;
    Ok(Marked { partition: m.partition, user: UserId(m.user.get()), standing })
}

/// What is not said is 0, so that the same meaning is always the same bytes.
pub(super) fn decode_tagged(bytes: &[u8]) -> Result<Tagged, Unreadable> {
    let t = TaggedBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    let (device, address) = (t.device.get(), t.address.get());
    let tag = |is_said: bool, tag: u64| {
        if is_said || tag == 0 { Ok(is_said.then_some(tag)) } else { Err(Unreadable) }
    };
    let tags =
        Tags { device: tag(t.said & 1 != 0, device)?, address: tag(t.said & 2 != 0, address)? };
    if !(1..=3).contains(&t.said) || t.reserved.get() != 0 || t.reserved_tail.get() != 0 {
        return Err(Unreadable);
    }
    let (envelope, user) = (EnvelopeId(t.envelope.get()), UserId(t.user.get()));
    Ok(Tagged { envelope, user, tags, at: t.at.get() })
}

pub(super) fn decode_denied(bytes: &[u8]) -> Result<Denied, Unreadable> {
    let d = DeniedBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    if d.reserved.get() != 0 {
        return Err(Unreadable);
    }
    Ok(Denied {
        envelope: EnvelopeId(d.envelope.get()),
        user: UserId(d.user.get()),
        amount: d.amount.get(),
        rule: RiskRule::from_code(d.rule).ok_or(Unreadable)?,
        at: d.at.get(),
    })
}
