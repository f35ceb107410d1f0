//! The seal of a payment system on a payment that it confirms: a MAC, so that
//! nobody else can say that money came.
//!
//! It covers the server's cell too: a seal for one server opens nothing on
//! another that has the same key. Nothing here reads a file, and checking a
//! seal allocates nothing.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::keys::{BadKey, Keys};
use super::request::Payment;
use crate::units::Cell;

/// What the MAC begins with: the use and its version, so that the same key on
/// other words gives no seal.
const USE: &[u8] = b"hongbao fund 1";

/// The 32 bytes of a seal.
pub type Seal = [u8; 32];

/// The keys whose seals a server believes.
#[derive(Clone, Debug, Default)]
pub struct PaymentKeys(Keys);

impl From<Keys> for PaymentKeys {
    fn from(keys: Keys) -> Self {
        Self(keys)
    }
}

impl PaymentKeys {
    /// Adds a key; the payment system names it by `id` in what it seals.
    pub fn add(&mut self, id: u32, secret: &[u8]) -> Result<(), BadKey> {
        self.0.add(id, secret)
    }

    /// Whether there is no key, so that no payment can be believed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The seal of key `id` on a payment; `None` where there is no such key.
    pub fn seal(&self, id: u32, cell: Cell, payment: &Payment) -> Option<Seal> {
        Some(self.mac(id, cell, payment)?.finalize().into_bytes().into())
    }

    /// Whether `seal` is that of key `id`. The time it takes tells nothing
    /// about how much of it was right.
    pub fn is_sealed(&self, id: u32, cell: Cell, payment: &Payment, seal: &Seal) -> bool {
        self.mac(id, cell, payment).is_some_and(|mac| mac.verify_slice(seal).is_ok())
    }

    fn mac(&self, id: u32, cell: Cell, payment: &Payment) -> Option<Hmac<Sha256>> {
        let mut mac = self.0.begin(id, USE)?;
        mac.update(&[cell]);
        mac.update(&payment.envelope.0.to_le_bytes());
        mac.update(&payment.payment.to_le_bytes());
        mac.update(&payment.amount.to_le_bytes());
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::EnvelopeId;

    const PAYMENT: Payment = Payment { envelope: EnvelopeId(0x0102), payment: 9, amount: 8800 };

    fn keys() -> PaymentKeys {
        let mut keys = PaymentKeys::default();
        keys.add(1, &[1; 32]).unwrap();
        keys.add(2, &[2; 40]).unwrap();
        keys
    }

    #[test]
    fn a_seal_holds_for_its_key_its_cell_and_every_field() {
        let keys = keys();
        let seal = keys.seal(1, 3, &PAYMENT).unwrap();
        assert!(keys.is_sealed(1, 3, &PAYMENT, &seal));
        assert!(!keys.is_sealed(2, 3, &PAYMENT, &seal), "another key");
        assert!(!keys.is_sealed(7, 3, &PAYMENT, &seal), "no key");
        assert!(!keys.is_sealed(1, 4, &PAYMENT, &seal), "another cell");
        for other in [
            Payment { envelope: EnvelopeId(0x0103), ..PAYMENT },
            Payment { payment: 10, ..PAYMENT },
            Payment { amount: 8801, ..PAYMENT },
        ] {
            assert!(!keys.is_sealed(1, 3, &other, &seal), "{other:?}");
        }
        for bit in 0..256 {
            let mut forged = seal;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!keys.is_sealed(1, 3, &PAYMENT, &forged), "bit {bit}");
        }
    }
}
