//! The principals that a server knows, and its half of a handshake.

use super::name::PrincipalName;
use super::proof::Key;
use super::roles::Roles;
use crate::wire::{Challenge, Challenged, Nonce, Proof};

/// Live keys of one principal: the one in use, and the one it is changed to.
const KEYS_MAX: usize = 2;

/// Principals at most: a connection keeps the number of its own in 16 bits.
const PRINCIPALS_MAX: usize = 1 << 16;

/// The place of a principal in its keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrincipalNumber(pub u16);

/// One who may connect.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Its name.
    pub name: PrincipalName,
    /// What it may do.
    pub roles: Roles,
    /// Its live keys, by id.
    pub keys: Vec<(u32, Key)>,
}

/// Why principals make no keyring.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// No way in.
    #[error("it has no key: write `[[key]]`, `id = 1` and `secret = \"<64 hex digits>\"`")]
    NoKey,
    /// A rotation that nobody has ended.
    #[error("it has {0} keys: two may be live while one is changed, take the oldest out")]
    ManyKeys(usize),
    /// Two secrets under one id.
    #[error("key {0} is there twice: give every key its own id")]
    KeyTwice(u32),
    /// Nothing it may do.
    #[error(
        "it has no role: write `roles = [\"claimer\"]`, of issuer, claimer, payer, settler, admin"
    )]
    NoRole,
    /// More than can be told apart.
    #[error("there are more than 65536 principals")]
    ManyPrincipals,
}

/// Everybody who may connect.
#[derive(Clone, Debug)]
pub struct Keyring {
    principals: Vec<Principal>,
    /// Whether a principal may come by a certificate instead of a key.
    knows_certificates: bool,
    /// Answers for those who are nobody, so that they look like everybody.
    decoy: Key,
}

/// A handshake that waits for the client's proof.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    challenge: Challenge,
    nonce: Nonce,
    key: Option<(PrincipalNumber, u8)>,
}

impl Keyring {
    /// Nobody yet. `decoy` is a key that nobody has.
    pub fn new(decoy: Key) -> Self {
        Self { principals: Vec::new(), knows_certificates: false, decoy }
    }

    /// The same, where certificates name principals as well, so that they need
    /// no key.
    #[must_use]
    pub fn with_certificates(self) -> Self {
        Self { knows_certificates: true, ..self }
    }

    /// Adds one whose name is not there yet.
    pub fn add(&mut self, principal: Principal) -> Result<(), KeyringError> {
        let keys = &principal.keys;
        if keys.is_empty() && !self.knows_certificates {
            return Err(KeyringError::NoKey);
        }
        if keys.len() > KEYS_MAX {
            return Err(KeyringError::ManyKeys(keys.len()));
        }
        if let [(first, _), (second, _)] = keys[..]
            && first == second
        {
            return Err(KeyringError::KeyTwice(first));
        }
        if principal.roles == Roles::default() {
            return Err(KeyringError::NoRole);
        }
        if self.principals.len() >= PRINCIPALS_MAX {
            return Err(KeyringError::ManyPrincipals);
        }
        self.principals.push(principal);
        Ok(())
    }

    /// All of them, by number.
    pub fn principals(&self) -> &[Principal] {
        &self.principals
    }

    /// What one of them may do.
    pub fn roles(&self, who: PrincipalNumber) -> Roles {
        self.principals.get(usize::from(who.0)).map_or(Roles::default(), |known| known.roles)
    }

    /// The one of this name.
    pub fn named(&self, name: &PrincipalName) -> Option<PrincipalNumber> {
        let place = self.principals.iter().position(|principal| principal.name == *name)?;
        u16::try_from(place).ok().map(PrincipalNumber)
    }

    /// The answer to a challenge with a nonce that was drawn for it, and what to
    /// keep for the proof. One who is not known is answered alike, with a key
    /// that nobody has: who is known here cannot be found out by asking.
    pub fn answer(&self, challenge: &Challenge, nonce: Nonce) -> (Challenged, Pending) {
        let key = self.find(challenge);
        let proof = self.key(key).server_proof(challenge, &nonce);
        (Challenged { nonce, proof }, Pending { challenge: *challenge, nonce, key })
    }

    /// Whose proof this is.
    pub fn verify(&self, pending: &Pending, proof: &Proof) -> Option<PrincipalNumber> {
        let is_right = self.key(pending.key).is_client(&pending.challenge, &pending.nonce, proof);
        pending.key.filter(|_| is_right).map(|(who, _)| who)
    }

    fn key(&self, key: Option<(PrincipalNumber, u8)>) -> &Key {
        let known = key.and_then(|(who, place)| {
            self.principals.get(usize::from(who.0))?.keys.get(usize::from(place))
        });
        known.map_or(&self.decoy, |(_, key)| key)
    }

    /// Looks at all of them, whoever is asked for.
    fn find(&self, challenge: &Challenge) -> Option<(PrincipalNumber, u8)> {
        let mut found = None;
        for (principal, number) in self.principals.iter().zip(0..=u16::MAX) {
            let is_named = principal.name.padded() == challenge.principal;
            for ((id, _), place) in principal.keys.iter().zip(0..=u8::MAX) {
                if is_named && *id == challenge.key_id {
                    found = Some((PrincipalNumber(number), place));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Identity, Role};

    fn key(byte: u8) -> Key {
        Key::new(&[byte; 32]).unwrap()
    }

    fn principal(name: &str, keys: &[(u32, u8)]) -> Principal {
        Principal {
            name: name.parse().unwrap(),
            roles: Roles::of(&[Role::Claimer]),
            keys: keys.iter().map(|&(id, byte)| (id, key(byte))).collect(),
        }
    }

    fn keyring() -> Keyring {
        let mut keyring = Keyring::new(key(0));
        keyring.add(principal("old", &[(1, 1)])).unwrap();
        keyring.add(principal("gateway", &[(1, 2), (2, 3)])).unwrap();
        keyring
    }

    fn shaken(identity: &Identity) -> Option<PrincipalNumber> {
        let (keyring, challenge) = (keyring(), identity.challenge([5; 32]));
        let (challenged, pending) = keyring.answer(&challenge, [6; 32]);
        keyring.verify(&pending, &identity.prove(&challenge, &challenged)?)
    }

    fn identity(name: &str, id: u32, byte: u8) -> Identity {
        Identity::new(name.parse().unwrap(), id, key(byte))
    }

    #[test]
    fn either_live_key_of_a_principal_lets_it_in() {
        for (id, byte) in [(1, 2), (2, 3)] {
            assert_eq!(shaken(&identity("gateway", id, byte)), Some(PrincipalNumber(1)));
        }
        assert_eq!(shaken(&identity("old", 1, 1)), Some(PrincipalNumber(0)));
    }

    #[test]
    fn another_key_another_id_and_another_name_let_nobody_in() {
        for (name, id, byte) in [("gateway", 1, 3), ("gateway", 3, 3), ("old", 1, 2), ("x", 1, 1)] {
            assert_eq!(shaken(&identity(name, id, byte)), None, "{name} {id} {byte}");
        }
    }

    #[test]
    fn nobody_is_answered_like_somebody_and_is_let_in_by_nothing() {
        let keyring = keyring();
        let challenge = identity("x", 1, 0).challenge([5; 32]);
        let (challenged, pending) = keyring.answer(&challenge, [6; 32]);
        assert_eq!(challenged.nonce, [6; 32]);
        // Even with the decoy itself, which is nobody's.
        let proof = key(0).client_proof(&challenge, &[6; 32]);
        assert_eq!(keyring.verify(&pending, &proof), None);
    }

    #[test]
    fn a_principal_has_a_role_and_one_or_two_keys_of_different_ids() {
        let mut keyring = keyring();
        let mut add = |keys: &[(u32, u8)]| keyring.add(principal("new", keys));
        assert_eq!(add(&[]), Err(KeyringError::NoKey));
        assert_eq!(add(&[(1, 1), (2, 2), (3, 3)]), Err(KeyringError::ManyKeys(3)));
        assert_eq!(add(&[(4, 1), (4, 2)]), Err(KeyringError::KeyTwice(4)));
        let none = Principal { roles: Roles::default(), ..principal("new", &[(1, 1)]) };
        assert_eq!(keyring.add(none), Err(KeyringError::NoRole));
    }

    #[test]
    fn one_without_a_key_is_found_by_its_name_and_let_in_by_no_proof() {
        let mut keyring = Keyring::new(key(0)).with_certificates();
        keyring.add(principal("bank", &[(1, 1)])).unwrap();
        keyring.add(principal("machine", &[])).unwrap();
        assert_eq!(keyring.named(&"machine".parse().unwrap()), Some(PrincipalNumber(1)));
        assert_eq!(keyring.named(&"nobody".parse().unwrap()), None);
        let challenge = identity("machine", 1, 0).challenge([5; 32]);
        let (_, pending) = keyring.answer(&challenge, [6; 32]);
        let proof = key(0).client_proof(&challenge, &[6; 32]);
        assert_eq!(keyring.verify(&pending, &proof), None);
    }
}
