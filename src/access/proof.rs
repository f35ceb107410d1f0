//! What is proved in a handshake: each side's MAC over who it is about and the
//! nonces of both, so that nothing of an earlier handshake, of the other side
//! or of another use of the key fits.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::name::PrincipalName;
use crate::wire::{Challenge, Challenged, Nonce, Proof, SECRET_BYTES_MIN};

/// What the MAC begins with: whose proof it is, and its version.
const BY_SERVER: &[u8] = b"hongbao server 1";
const BY_CLIENT: &[u8] = b"hongbao client 1";

/// A key, ready to be used; it shows nothing of itself.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// The key of a secret; `None` of one that could be guessed.
    pub fn new(secret: &[u8]) -> Option<Self> {
        let fit = secret.len() >= SECRET_BYTES_MIN;
        fit.then(|| Hmac::new_from_slice(secret).ok().map(Self)).flatten()
    }

    fn mac(&self, side: &[u8], challenge: &Challenge, server: &Nonce) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(side);
        mac.update(&challenge.principal);
        mac.update(&challenge.key_id.to_le_bytes());
        mac.update(&challenge.nonce);
        mac.update(server);
        mac
    }

    /// The server's proof.
    pub fn server_proof(&self, challenge: &Challenge, server: &Nonce) -> Proof {
        self.mac(BY_SERVER, challenge, server).finalize().into_bytes().into()
    }

    /// The client's proof.
    pub fn client_proof(&self, challenge: &Challenge, server: &Nonce) -> Proof {
        self.mac(BY_CLIENT, challenge, server).finalize().into_bytes().into()
    }

    /// Whether `proof` is the client's. The time it takes tells nothing about
    /// how much of it was right.
    pub(super) fn is_client(&self, challenge: &Challenge, server: &Nonce, proof: &Proof) -> bool {
        self.mac(BY_CLIENT, challenge, server).verify_slice(proof).is_ok()
    }

    fn is_server(&self, challenge: &Challenge, challenged: &Challenged) -> bool {
        let mac = self.mac(BY_SERVER, challenge, &challenged.nonce);
        mac.verify_slice(&challenged.proof).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Who a client is, with the key that proves it.
#[derive(Clone, Debug)]
pub struct Identity {
    name: PrincipalName,
    key_id: u32,
    key: Key,
}

impl Identity {
    /// This principal with this key of its own.
    pub fn new(name: PrincipalName, key_id: u32, key: Key) -> Self {
        Self { name, key_id, key }
    }

    /// Whose it is.
    pub fn name(&self) -> &PrincipalName {
        &self.name
    }

    /// What a handshake begins with; the nonce must be drawn for it alone.
    pub fn challenge(&self, nonce: Nonce) -> Challenge {
        Challenge { principal: self.name.padded(), key_id: self.key_id, nonce }
    }

    /// The proof that is owed to a server that has proved to have the key;
    /// nothing for any other.
    pub fn prove(&self, challenge: &Challenge, challenged: &Challenged) -> Option<Proof> {
        let known = self.key.is_server(challenge, challenged);
        known.then(|| self.key.client_proof(challenge, &challenged.nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: Challenge = Challenge { principal: [b'a'; 32], key_id: 1, nonce: [1; 32] };

    fn key() -> Key {
        Key::new(&[7; 32]).unwrap()
    }

    #[test]
    fn a_proof_holds_for_its_key_its_side_and_every_field() {
        let (key, server) = (key(), [2; 32]);
        let proof = key.client_proof(&CHALLENGE, &server);
        assert!(key.is_client(&CHALLENGE, &server, &proof));
        assert!(!Key::new(&[8; 32]).unwrap().is_client(&CHALLENGE, &server, &proof));
        assert!(!key.is_client(&CHALLENGE, &server, &key.server_proof(&CHALLENGE, &server)));
        assert!(!key.is_client(&CHALLENGE, &[3; 32], &proof), "another server nonce");
        for other in [
            Challenge { principal: [b'b'; 32], ..CHALLENGE },
            Challenge { key_id: 2, ..CHALLENGE },
            Challenge { nonce: [4; 32], ..CHALLENGE },
        ] {
            assert!(!key.is_client(&other, &server, &proof), "{other:?}");
        }
        for bit in 0..256 {
            let mut forged = proof;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.is_client(&CHALLENGE, &server, &forged), "bit {bit}");
        }
    }

    #[test]
    fn a_client_proves_nothing_to_a_server_without_the_key() {
        let identity = Identity::new("a".parse().unwrap(), 1, key());
        let challenge = identity.challenge([1; 32]);
        let answer = |key: &Key| {
            let nonce = [2; 32];
            Challenged { nonce, proof: key.server_proof(&challenge, &nonce) }
        };
        assert!(identity.prove(&challenge, &answer(&key())).is_some());
        assert!(identity.prove(&challenge, &answer(&Key::new(&[9; 32]).unwrap())).is_none());
        let echoed = Challenged { nonce: [2; 32], proof: key().client_proof(&challenge, &[2; 32]) };
        assert!(identity.prove(&challenge, &echoed).is_none(), "its own proof sent back");
    }

    #[test]
    fn a_short_secret_is_no_key_and_a_key_shows_nothing() {
        assert!(Key::new(&[1; 31]).is_none());
        assert_eq!(format!("{:?}", key()), "Key");
    }
}
