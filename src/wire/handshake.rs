//! The frames with which a connection proves who it is, before it may ask for
//! anything, and the little that is read of anybody else.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::frame::{BadRequest, Broken, HEADER_BYTES, RequestHeader};
use super::op::Op;
use crate::limits::STRANGER_FRAME_BYTES_MAX;

/// Bytes of the longest name of a principal.
pub const PRINCIPAL_BYTES: usize = 32;

/// A number that is drawn for one handshake and never again.
pub type Nonce = [u8; 32];

/// The 32 bytes that only the holder of the key can make for two nonces.
pub type Proof = [u8; 32];

/// The first frame of a handshake: who wants to prove what with which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The name, then zeros.
    pub principal: [u8; PRINCIPAL_BYTES],
    /// Which of its keys.
    pub key_id: u32,
    /// Drawn by the client.
    pub nonce: Nonce,
}

/// The server's answer: its nonce, and the proof that it has the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenged {
    /// Drawn by the server.
    pub nonce: Nonce,
    /// The server's proof.
    pub proof: Proof,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ChallengeBody {
    principal: [u8; PRINCIPAL_BYTES],
    nonce: [u8; 32],
    key_id: U32,
    reserved: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ChallengedBody {
    pub(super) nonce: [u8; 32],
    pub(super) proof: [u8; 32],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AuthenticateBody {
    proof: [u8; 32],
}

/// What one who has not proved anything yet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It begins the handshake.
    Challenge(Challenge),
    /// It ends it.
    Authenticate(Proof),
    /// Something else; its body was not looked at.
    Other,
    /// One of the two, written wrongly.
    Nonsense(BadRequest),
}

/// What stands at the front of a stranger's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Not yet a whole frame; read on.
    Incomplete,
    /// One frame of `bytes` bytes.
    Frame {
        /// Its length, header included.
        bytes: usize,
        /// The operation byte, to be repeated in the reply.
        op: u8,
        /// The tag, to be repeated in the reply.
        tag: u64,
        /// What it says.
        said: Said,
    },
    /// A length that cannot be, or that a stranger may not send.
    Broken(Broken),
}

/// Decodes the frame at the front of a stream whose sender is not known yet:
/// never more than a few bytes, and nothing but a handshake.
pub fn decode_stranger(stream: &[u8]) -> Heard {
    let Ok((header, rest)) = RequestHeader::ref_from_prefix(stream) else {
        return Heard::Incomplete;
    };
    let (op, tag) = (header.op, header.tag.get());
    let bytes = usize::from(header.length.get());
    if !(HEADER_BYTES..=STRANGER_FRAME_BYTES_MAX).contains(&bytes) {
        return Heard::Broken(Broken { op, tag });
    }
    let Some(body) = rest.get(..bytes - HEADER_BYTES) else {
        return Heard::Incomplete;
    };
    let said = match Op::from_code(op) {
        Some(Op::Challenge | Op::Authenticate) if header.flags != 0 => {
            Said::Nonsense(BadRequest::Flags)
        }
        Some(Op::Challenge) => said(decode_challenge(body).map(Said::Challenge)),
        Some(Op::Authenticate) => said(decode_proof(body).map(Said::Authenticate)),
        _ => Said::Other,
    };
    Heard::Frame { bytes, op, tag, said }
}

fn said(decoded: Result<Said, BadRequest>) -> Said {
    decoded.unwrap_or_else(Said::Nonsense)
}

fn decode_challenge(body: &[u8]) -> Result<Challenge, BadRequest> {
    let body = ChallengeBody::ref_from_bytes(body).map_err(|_| BadRequest::BodyLength)?;
    if body.reserved.get() != 0 {
        return Err(BadRequest::Reserved);
    }
    let (principal, key_id, nonce) = (body.principal, body.key_id.get(), body.nonce);
    Ok(Challenge { principal, key_id, nonce })
}

fn decode_proof(body: &[u8]) -> Result<Proof, BadRequest> {
    let body = AuthenticateBody::ref_from_bytes(body).map_err(|_| BadRequest::BodyLength)?;
    Ok(body.proof)
}

/// Appends the frame that begins a handshake.
pub fn encode_challenge(out: &mut impl for<'a> Extend<&'a u8>, tag: u64, challenge: &Challenge) {
    let body = ChallengeBody {
        principal: challenge.principal,
        nonce: challenge.nonce,
        key_id: U32::new(challenge.key_id),
        reserved: U32::new(0),
    };
    put(out, Op::Challenge, tag, body.as_bytes());
}

/// Appends the frame that ends it.
pub fn encode_authenticate(out: &mut impl for<'a> Extend<&'a u8>, tag: u64, proof: &Proof) {
    put(out, Op::Authenticate, tag, proof);
}

fn put(out: &mut impl for<'a> Extend<&'a u8>, op: Op, tag: u64, body: &[u8]) {
    let header = RequestHeader {
        length: U16::new(u16::try_from(HEADER_BYTES + body.len()).unwrap_or(u16::MAX)),
        op: op.code(),
        flags: 0,
        budget_us: U32::new(0),
        tag: U64::new(tag),
    };
    out.extend(header.as_bytes());
    out.extend(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: Challenge =
        Challenge { principal: [b'a'; PRINCIPAL_BYTES], key_id: 7, nonce: [9; 32] };

    fn challenge() -> Vec<u8> {
        let mut frame = Vec::new();
        encode_challenge(&mut frame, 5, &CHALLENGE);
        frame
    }

    fn heard(frame: &[u8]) -> Said {
        match decode_stranger(frame) {
            Heard::Frame { bytes, tag: 5, said, .. } if bytes == frame.len() => said,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_frames_go_both_ways() {
        assert_eq!(heard(&challenge()), Said::Challenge(CHALLENGE));
        let mut frame = Vec::new();
        encode_authenticate(&mut frame, 5, &[3; 32]);
        assert_eq!(heard(&frame), Said::Authenticate([3; 32]));
    }

    #[test]
    fn a_stranger_is_not_read_beyond_256_bytes_nor_beyond_the_operation() {
        for (length, broken) in [(15, true), (16, false), (256, false), (257, true), (4096, true)] {
            let mut frame = vec![0xee; 16];
            frame[..2].copy_from_slice(&u16::to_le_bytes(length));
            let heard = decode_stranger(&frame);
            assert_eq!(matches!(heard, Heard::Broken(_)), broken, "{length}: {heard:?}");
        }
        for op in (0..=255).filter(|op| ![19, 20].contains(op)) {
            let mut frame = challenge();
            frame[2] = op;
            assert_eq!(heard(&frame), Said::Other, "{op}");
        }
    }

    #[test]
    fn a_handshake_that_is_written_wrongly_is_told_why() {
        let changed = |at: usize, byte| {
            let mut frame = challenge();
            frame[at] = byte;
            heard(&frame)
        };
        assert_eq!(changed(3, 1), Said::Nonsense(BadRequest::Flags));
        assert_eq!(changed(87, 1), Said::Nonsense(BadRequest::Reserved));
        assert_eq!(changed(2, 20), Said::Nonsense(BadRequest::BodyLength));
        for cut in 0..challenge().len() {
            assert_eq!(decode_stranger(&challenge()[..cut]), Heard::Incomplete);
        }
    }
}
