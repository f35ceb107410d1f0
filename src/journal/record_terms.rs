//! The records of terms and of wrong guesses ↔ bytes; see `record`.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::record::{KIND_GUESSED, KIND_TERMS_PART, Unreadable};
use crate::engine::{Guessed, TermsPart};
use crate::limits::TERMS_PART_BYTES;
use crate::units::{EnvelopeId, UserId};

/// `crc 4 | kind 1, number 1, length 1, reserved 1 | envelope 8 | terms 64`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct TermsPartBytes {
    crc: U32,
    kind: u8,
    number: u8,
    length: u8,
    reserved: u8,
    envelope: U64,
    bytes: [u8; TERMS_PART_BYTES],
}

/// `crc 4 | kind 1, reserved 3 | envelope 8 | user 8 | guesses 4 | at 4`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct GuessedBytes {
    crc: U32,
    kind: u8,
    reserved: [u8; 3],
    envelope: U64,
    user: U64,
    guesses: U32,
    at: U32,
}

const _: () = assert!(size_of::<TermsPartBytes>() == 80);
const _: () = assert!(size_of::<GuessedBytes>() == 32);

pub(super) fn terms_part_bytes(p: &TermsPart) -> TermsPartBytes {
    TermsPartBytes {
        crc: U32::ZERO,
        kind: KIND_TERMS_PART,
        number: p.number,
        length: p.length,
        reserved: 0,
        envelope: U64::new(p.envelope.0),
        bytes: p.bytes,
    }
}

pub(super) fn guessed_bytes(g: &Guessed) -> GuessedBytes {
    GuessedBytes {
        crc: U32::ZERO,
        kind: KIND_GUESSED,
        reserved: [0; 3],
        envelope: U64::new(g.envelope.0),
        user: U64::new(g.user.0),
        guesses: U32::new(g.guesses),
        at: U32::new(g.at),
    }
}

pub(super) fn decode_terms_part(bytes: &[u8]) -> Result<TermsPart, Unreadable> {
    let p = TermsPartBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    let (envelope, number, length) = (EnvelopeId(p.envelope.get()), p.number, p.length);
    let part = TermsPart { envelope, number, length, bytes: p.bytes };
    if p.reserved == 0 && part.terms().is_some() { Ok(part) } else { Err(Unreadable) }
}

pub(super) fn decode_guessed(bytes: &[u8]) -> Result<Guessed, Unreadable> {
    let g = GuessedBytes::ref_from_bytes(bytes).map_err(|_| Unreadable)?;
    if g.reserved != [0; 3] {
        return Err(Unreadable);
    }
    Ok(Guessed {
        envelope: EnvelopeId(g.envelope.get()),
        user: UserId(g.user.get()),
        guesses: g.guesses.get(),
        at: g.at.get(),
    })
}
