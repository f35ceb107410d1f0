//! Secrets with ids, and what is sealed with those of gateways: tickets and
//! passwords.
//!
//! Each use begins with words of its own, so that the same secret in another
//! use gives nothing. Nothing here reads a file, and checking allocates nothing.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::evidence::Ticket;
use crate::units::{Cell, EnvelopeId, UnixSeconds, UserId};

/// The shortest secret, in bytes: as much as the MAC's own length.
pub const SECRET_BYTES_MIN: usize = 32;

const TICKET_USE: &[u8] = b"hongbao ticket 1";
const PASSWORD_USE: &[u8] = b"hongbao password 1";

/// A secret that cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It could be guessed.
    #[error("the secret of key {0} is too short: make it 32 bytes (64 hex digits) or longer")]
    Short(u32),
    /// Two secrets under one id.
    #[error("key {0} is there twice: give every key its own id")]
    Twice(u32),
}

/// Secrets by id: more than one while they are changed.
#[derive(Clone, Default)]
pub struct Keys {
    keys: Vec<(u32, Hmac<Sha256>)>,
}

impl Keys {
    /// Adds a key.
    pub fn add(&mut self, id: u32, secret: &[u8]) -> Result<(), BadKey> {
        if self.keys.iter().any(|key| key.0 == id) {
            return Err(BadKey::Twice(id));
        }
        let fit = secret.len() >= SECRET_BYTES_MIN;
        let keyed = fit.then(|| Hmac::new_from_slice(secret).ok()).flatten();
        self.keys.push((id, keyed.ok_or(BadKey::Short(id))?));
        Ok(())
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key that was added last, to make new things with.
    pub fn newest(&self) -> Option<u32> {
        self.keys.last().map(|key| key.0)
    }

    /// A MAC of this key that has seen nothing but its use.
    pub(super) fn begin(&self, id: u32, purpose: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = self.keys.iter().find(|key| key.0 == id)?.1.clone();
        mac.update(purpose);
        Some(mac)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| key.0); // a secret in a log would open envelopes
        f.debug_list().entries(ids).finish()
    }
}

/// The keys of gateways whose word on who belongs to a group is believed.
///
/// A ticket's MAC is HMAC-SHA-256 over `hongbao ticket 1`, cell u8, envelope
/// u64, user u64, not after u32.
#[derive(Clone, Debug, Default)]
pub struct TicketKeys(Keys);

impl From<Keys> for TicketKeys {
    fn from(keys: Keys) -> Self {
        Self(keys)
    }
}

impl TicketKeys {
    /// Whether no ticket can be believed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A ticket of key `id`; `None` where there is no such key.
    pub fn ticket(
        &self,
        id: u32,
        cell: Cell,
        (envelope, user): (EnvelopeId, UserId),
        not_after: UnixSeconds,
    ) -> Option<Ticket> {
        let mac = self.mac(id, cell, (envelope, user), not_after)?.finalize().into_bytes().into();
        Some(Ticket { key_id: id, not_after, mac })
    }

    /// Whether a ticket is genuine; `None` where its key is not known. The time
    /// it takes tells nothing about how much of it was right.
    pub fn is_genuine(
        &self,
        cell: Cell,
        (envelope, user): (EnvelopeId, UserId),
        ticket: &Ticket,
    ) -> Option<bool> {
        let mac = self.mac(ticket.key_id, cell, (envelope, user), ticket.not_after)?;
        Some(mac.verify_slice(&ticket.mac).is_ok())
    }

    fn mac(
        &self,
        id: u32,
        cell: Cell,
        (envelope, user): (EnvelopeId, UserId),
        not_after: UnixSeconds,
    ) -> Option<Hmac<Sha256>> {
        let mut mac = self.0.begin(id, TICKET_USE)?;
        mac.update(&[cell]);
        mac.update(&envelope.0.to_le_bytes());
        mac.update(&user.0.to_le_bytes());
        mac.update(&not_after.to_le_bytes());
        Some(mac)
    }
}

/// The server's own keys, under which passwords are kept.
///
/// What is kept is HMAC-SHA-256 over `hongbao password 1`, cell u8, sender u64,
/// order u64, and the password: the same word on two envelopes is kept as two
/// values, and without the key nobody can try words on either.
#[derive(Clone, Debug, Default)]
pub struct PasswordKeys(Keys);

/// Whose password it is: the sender, and the sender's number of the order.
pub type Salt = (UserId, u64);

impl From<Keys> for PasswordKeys {
    fn from(keys: Keys) -> Self {
        Self(keys)
    }
}

impl PasswordKeys {
    /// The key to keep new passwords under, if there is one.
    pub fn newest(&self) -> Option<u32> {
        self.0.newest()
    }

    /// What is kept of a password; `None` where there is no such key.
    pub fn keep(&self, id: u32, cell: Cell, salt: Salt, said: &[u8]) -> Option<[u8; 32]> {
        Some(self.mac(id, cell, salt, said)?.finalize().into_bytes().into())
    }

    /// Whether this is the password that was kept; `None` where its key is not
    /// known. The time it takes tells nothing about how much of it was right.
    pub fn is_right(
        &self,
        (id, kept): (u32, &[u8; 32]),
        cell: Cell,
        salt: Salt,
        said: &[u8],
    ) -> Option<bool> {
        Some(self.mac(id, cell, salt, said)?.verify_slice(kept).is_ok())
    }

    fn mac(&self, id: u32, cell: Cell, salt: Salt, said: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = self.0.begin(id, PASSWORD_USE)?;
        mac.update(&[cell]);
        mac.update(&salt.0.0.to_le_bytes());
        mac.update(&salt.1.to_le_bytes());
        mac.update(said);
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let mut keys = Keys::default();
        keys.add(1, &[1; 32]).unwrap();
        keys.add(2, &[2; 40]).unwrap();
        keys
    }

    #[test]
    fn keys_are_long_and_have_ids_of_their_own() {
        let mut keys = keys();
        assert_eq!(keys.add(1, &[9; 32]), Err(BadKey::Twice(1)));
        assert_eq!(keys.add(3, &[9; 31]), Err(BadKey::Short(3)));
        assert_eq!((keys.len(), keys.is_empty(), keys.newest()), (2, false, Some(2)));
        assert_eq!(format!("{keys:?}"), "[1, 2]", "no secret is shown");
    }

    #[test]
    fn a_ticket_is_good_for_its_envelope_its_user_and_its_time() {
        let keys = TicketKeys::from(keys());
        let whose = (EnvelopeId(5), UserId(6));
        let ticket = keys.ticket(1, 9, whose, 7).unwrap();
        assert_eq!(keys.is_genuine(9, whose, &ticket), Some(true));
        assert_eq!(keys.is_genuine(8, whose, &ticket), Some(false), "another cell");
        for other in [(EnvelopeId(4), UserId(6)), (EnvelopeId(5), UserId(7))] {
            assert_eq!(keys.is_genuine(9, other, &ticket), Some(false));
        }
        assert_eq!(keys.is_genuine(9, whose, &Ticket { not_after: 8, ..ticket }), Some(false));
        assert_eq!(keys.is_genuine(9, whose, &Ticket { key_id: 2, ..ticket }), Some(false));
        assert_eq!(keys.is_genuine(9, whose, &Ticket { key_id: 3, ..ticket }), None);
        for bit in 0..256 {
            let mut forged = ticket;
            forged.mac[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.is_genuine(9, whose, &forged), Some(false), "bit {bit}");
        }
    }

    #[test]
    fn a_password_is_right_for_its_order_and_key_only() {
        let keys = PasswordKeys::from(keys());
        let salt = (UserId(5), 6);
        let kept = keys.keep(1, 9, salt, b"open").unwrap();
        assert_eq!(keys.is_right((1, &kept), 9, salt, b"open"), Some(true));
        for wrong in [&b"opem"[..], b"ope", b"open ", b""] {
            assert_eq!(keys.is_right((1, &kept), 9, salt, wrong), Some(false));
        }
        assert_eq!(keys.is_right((1, &kept), 9, (UserId(5), 7), b"open"), Some(false));
        assert_eq!(keys.is_right((1, &kept), 9, (UserId(6), 6), b"open"), Some(false));
        assert_eq!(keys.is_right((1, &kept), 8, salt, b"open"), Some(false));
        assert_eq!(keys.is_right((2, &kept), 9, salt, b"open"), Some(false));
        assert_eq!(keys.is_right((3, &kept), 9, salt, b"open"), None);
    }
}
