//! The client's half of a handshake, on a stream that has just connected.
//!
//! Believes nothing before the server has proved to have the key, and tells
//! nothing but a name until then.

use std::io::{self, Read, Write};

use super::name::PrincipalName;
use super::proof::Identity;
use crate::wire::{
    BadRequest, DecodeReplyError, HEADER_BYTES, Nonce, Reply, ReplyBody, Status, decode_reply,
    encode_authenticate, encode_challenge,
};

/// The longest reply of a handshake; more is no hongbao port.
const REPLY_BYTES_MAX: usize = 256;

/// Why a handshake has failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// The other side does not speak this protocol.
    #[error("{0}")]
    Garbled(#[from] DecodeReplyError),
    /// The other side answers something else.
    #[error("the answer does not belong to a handshake: is this a hongbao port?")]
    Unexpected,
    /// The server did not prove that it has our key.
    #[error(
        "the server does not prove that it has the key of {0}: see that the name and the key file \
         are those of the server's `keys`, and that this is your server"
    )]
    Impostor(PrincipalName),
    /// The server asks nobody for keys, so it cannot prove who it is.
    #[error(
        "the server has no keys, so it cannot prove that it is yours: leave out the principal, or \
         set `keys` on the server"
    )]
    Keyless,
    /// The server said no.
    #[error("the server refused the key of {principal}: {status:?}, detail {detail}")]
    Refused {
        /// Whose key it is.
        principal: PrincipalName,
        /// Which no.
        status: Status,
        /// By status.
        detail: u32,
    },
}

/// Proves who we are, and has the server prove that it has the key. Nothing
/// else may have been sent on `stream`, which blocks.
pub fn shake_hands(
    stream: &mut (impl Read + Write),
    identity: &Identity,
) -> Result<(), HandshakeError> {
    let mut nonce: Nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
    let challenge = identity.challenge(nonce);
    let mut frame = Vec::new();
    encode_challenge(&mut frame, 0, &challenge);
    stream.write_all(&frame)?;
    let reply = receive(stream)?;
    let ReplyBody::Challenged(challenged) = &reply.body else {
        return Err(no(identity, &reply));
    };
    let proof = identity.prove(&challenge, challenged);
    let proof = proof.ok_or_else(|| HandshakeError::Impostor(identity.name().clone()))?;
    frame.clear();
    encode_authenticate(&mut frame, 1, &proof);
    stream.write_all(&frame)?;
    let reply = receive(stream)?;
    if reply.status == Status::Ok { Ok(()) } else { Err(no(identity, &reply)) }
}

fn no(identity: &Identity, reply: &Reply) -> HandshakeError {
    let keyless = [BadRequest::Handshake.code(), BadRequest::UnknownOp.code()];
    match reply.status {
        Status::BadRequest if keyless.contains(&reply.detail) => HandshakeError::Keyless,
        Status::Ok => HandshakeError::Unexpected,
        status => {
            let (principal, detail) = (identity.name().clone(), reply.detail);
            HandshakeError::Refused { principal, status, detail }
        }
    }
}

/// Reads one reply and not a byte more.
fn receive(stream: &mut impl Read) -> Result<Reply, HandshakeError> {
    let mut frame = [0; REPLY_BYTES_MAX];
    let (mut have, mut wanted) = (0, HEADER_BYTES);
    loop {
        let part = frame.get_mut(have..wanted).ok_or(HandshakeError::Unexpected)?;
        stream.read_exact(part)?;
        have = wanted;
        if let Some((_, reply)) = decode_reply(&frame[..have])? {
            return Ok(reply);
        }
        wanted = usize::from(u16::from_le_bytes([frame[0], frame[1]]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Key, Keyring, Principal, Role, Roles};
    use crate::wire::{Heard, ReplyWriter, Said, decode_stranger};

    /// A server in memory: answers each frame that is written, as `told` says.
    struct Double<F> {
        told: F,
        replies: io::Cursor<Vec<u8>>,
    }

    impl<F: FnMut(Said, ReplyWriter<'_>)> Write for Double<F> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Heard::Frame { bytes, op, tag, said } = decode_stranger(bytes) else {
                panic!("no whole frame");
            };
            let mut reply = Vec::new();
            (self.told)(said, ReplyWriter::new(&mut reply, op, tag));
            self.replies = io::Cursor::new(reply);
            Ok(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<F> Read for Double<F> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.replies.read(bytes)
        }
    }

    fn shaken(told: impl FnMut(Said, ReplyWriter<'_>)) -> Result<(), HandshakeError> {
        let identity = Identity::new("a".parse().unwrap(), 1, Key::new(&[1; 32]).unwrap());
        shake_hands(&mut Double { told, replies: io::Cursor::default() }, &identity)
    }

    fn keyring(byte: u8) -> Keyring {
        let key = |byte| Key::new(&[byte; 32]).unwrap();
        let mut keyring = Keyring::new(key(9));
        let (name, roles) = ("a".parse().unwrap(), Roles::of(&[Role::Claimer]));
        keyring.add(Principal { name, roles, keys: vec![(1, key(byte))] }).unwrap();
        keyring
    }

    #[test]
    fn with_one_key_on_both_sides_both_believe() {
        let (keyring, mut pending, mut let_in) = (keyring(1), None, false);
        let told = |said, reply: ReplyWriter<'_>| match said {
            Said::Challenge(challenge) => {
                let (challenged, waits) = keyring.answer(&challenge, [2; 32]);
                pending = Some(waits);
                reply.challenged(&challenged);
            }
            Said::Authenticate(proof) => {
                let_in = keyring.verify(&pending.unwrap(), &proof).is_some();
                reply.bare(Status::Ok, 0);
            }
            other => panic!("{other:?}"),
        };
        shaken(told).unwrap();
        assert!(let_in);
    }

    #[test]
    fn a_server_with_another_key_is_told_no_proof() {
        let keyring = keyring(3);
        let told = |said, reply: ReplyWriter<'_>| match said {
            Said::Challenge(challenge) => reply.challenged(&keyring.answer(&challenge, [2; 32]).0),
            other => panic!("told {other:?}"),
        };
        assert!(matches!(shaken(told), Err(HandshakeError::Impostor(_))));
    }

    #[test]
    fn a_server_that_asks_for_nothing_is_not_believed() {
        let keyless = [BadRequest::Handshake, BadRequest::UnknownOp];
        for reason in keyless {
            let told = |_, reply: ReplyWriter<'_>| reply.bare(Status::BadRequest, reason.code());
            assert!(matches!(shaken(told), Err(HandshakeError::Keyless)));
        }
        let told = |_, reply: ReplyWriter<'_>| reply.bare(Status::Ok, 0);
        assert!(matches!(shaken(told), Err(HandshakeError::Unexpected)));
        let told = |_, reply: ReplyWriter<'_>| reply.hello(1, 1, 0, &[1; 256]);
        assert!(shaken(told).is_err(), "more than a handshake has");
    }
}
