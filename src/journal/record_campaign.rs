//! The records of plans and commands of campaigns ↔ bytes; see `record`.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::record::{KIND_COMMANDED, KIND_PLANNED, Unreadable};
use crate::engine::{Commanded, Planned};
use crate::units::EnvelopeId;
use crate::wire::{Command, PlanPart};

/// `crc 4 | kind 1, part 1, number 1, reserved 1 | envelope 8 | three numbers,
/// 4 each | at 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct PlannedBytes {
    crc: U32,
    kind: u8,
    part: u8,
    number: u8,
    reserved: u8,
    envelope: U64,
    numbers: [U32; 3],
    at: U32,
}

/// `crc 4 | kind 1, command 1, reserved 2 | envelope 8 | at 4 | reserved 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct CommandedBytes {
    crc: U32,
    kind: u8,
    command: u8,
    reserved: U16,
    envelope: U64,
    at: U32,
    reserved_tail: U32,
}

const _: () = assert!(size_of::<PlannedBytes>() == 32);
const _: () = assert!(size_of::<CommandedBytes>() == 24);

pub(super) fn planned_bytes(p: &Planned) -> PlannedBytes {
    let (part, number, numbers) = p.part.numbers();
    PlannedBytes {
        crc: U32::ZERO,
        kind: KIND_PLANNED,
        part,
        number,
        reserved: 0,
        envelope: U64::new(p.envelope.0),
        numbers: numbers.map(U32::new),
        at: U32::new(p.at),
    }
}

pub(super) fn commanded_bytes(c: &Commanded) -> CommandedBytes {
    CommandedBytes {
        crc: U32::ZERO,
        kind: KIND_COMMANDED,
        command: c.command.code(),
        reserved: U16::ZERO,
        envelope: U64::new(c.envelope.0),
        at: U32::new(c.at),
        reserved_tail: U32::ZERO,
    }
}

pub(super) fn decode_planned(bytes: &[u8]) -> Result<Planned, Unreadable> {
    let p = PlannedBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    if p.reserved != 0 {
        return Err(Unreadable);
    }
    let part = PlanPart::of_numbers(p.part, p.number, p.numbers.map(U32::get));
    Ok(Planned {
        envelope: EnvelopeId(p.envelope.get()),
        part: part.map_err(|_| Unreadable)?,
        at: p.at.get(),
    })
}

pub(super) fn decode_commanded(bytes: &[u8]) -> Result<Commanded, Unreadable> {
    let c = CommandedBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    if c.reserved.get() != 0 || c.reserved_tail.get() != 0 {
        return Err(Unreadable);
    }
    Ok(Commanded {
        envelope: EnvelopeId(c.envelope.get()),
        command: Command::from_code(c.command).ok_or(Unreadable)?,
        at: c.at.get(),
    })
}
