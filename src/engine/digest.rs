//! One number for the whole state, so that a replay can be compared.
//!
//! It is made of what envelopes mean and not of where they are, and it is a
//! sum over the envelopes: the digests of several engines that share the
//! partitions of a cell add up to the same, however they share them.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::Engine;
use super::orders::Order;

impl Engine {
    /// A hash of all envelopes with their orders and claims. Slow: it reads
    /// everything.
    pub fn digest(&self) -> u64 {
        self.orders.iter().fold(0, |sum, order| sum.wrapping_add(self.digest_of(order)))
    }

    fn digest_of(&self, order: &Order) -> u64 {
        let mut hash = SipHasher24::new_with_keys(0, 0);
        hash_order(&mut hash, order);
        let Some(slot) = self.slots.get(order.envelope) else {
            return hash.finish();
        };
        let header = slot.header;
        for word in [header.unclaimed, header.seed.0[0], header.seed.0[1]] {
            hash.write_u64(word);
        }
        for word in [header.shares, header.claimed, header.expires_at, header.share_max] {
            hash.write_u32(word);
        }
        hash.write_u8(header.state.code());
        hash.write_u8(header.split.code());
        for row in self.slots.rows(slot, 0) {
            hash.write_u64(row.user.0);
            hash.write_u32(row.amount);
            hash.write_u32(row.at);
        }
        hash.finish()
    }
}

fn hash_order(hash: &mut SipHasher24, order: &Order) {
    let Order { sender, number, payment, envelope, total, created_at, lifetime_s } = *order;
    for word in [sender.0, number, payment, envelope.0, total] {
        hash.write_u64(word);
    }
    hash.write_u32(created_at);
    hash.write_u32(lifetime_s);
}
