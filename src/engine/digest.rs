//! A hash of the whole state, so that a replay can be compared.
//!
//! It is made of what envelopes mean and not of where they are in memory, and
//! it is a sum over the envelopes: the digests of several engines that share
//! the partitions of a cell add up to the same, however they share them.
//! Recycled envelopes are gone from it; the totals still hold what they came to.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::Engine;
use super::slots::Slot;
use crate::units::EnvelopeId;
use crate::wire::Hold;

impl Engine {
    /// A hash of all envelopes with their orders, claims, terms and holds. Slow: it
    /// reads everything. What is known of users is not in it: every shard has it.
    pub fn digest(&self) -> u64 {
        let hashes = self.slots.iter().map(|(envelope, slot)| self.digest_of(envelope, slot));
        let holds = self.risk.holds.iter().map(digest_of_hold);
        hashes.chain(holds).fold(0, u64::wrapping_add)
    }

    fn digest_of(&self, envelope: EnvelopeId, slot: Slot) -> u64 {
        let mut hash = SipHasher24::new_with_keys(0, 0);
        let header = slot.header;
        if let Some(cold) = self.slots.cold(slot.reference()) {
            for word in [cold.sender.0, cold.order, cold.payment, cold.total] {
                hash.write_u64(word);
            }
            for word in [cold.created_at, cold.ended_at, cold.waited, cold.nonce] {
                hash.write_u32(word);
            }
        }
        for word in [envelope.0, header.unclaimed, header.seed.0[0], header.seed.0[1]] {
            hash.write_u64(word);
        }
        for word in [header.shares, header.claimed, header.expires_at, header.share_max] {
            hash.write_u32(word);
        }
        hash.write_u8(header.state.code());
        hash.write_u8(header.marks.byte(header.split));
        for row in self.slots.rows(slot, 0) {
            hash.write_u64(row.user.0);
            hash.write_u32(row.amount);
            hash.write_u32(row.at);
        }
        for &word in self.slots.tail_words(&slot) {
            hash.write_u64(word); // terms, and guesses
        }
        hash.finish()
    }
}

fn digest_of_hold(hold: &Hold) -> u64 {
    let mut hash = SipHasher24::new_with_keys(1, 0);
    for word in [hold.envelope.0, hold.user.0] {
        hash.write_u64(word);
    }
    for word in [hold.amount, hold.at, hold.until] {
        hash.write_u32(word);
    }
    hash.write_u8(hold.rule.code());
    hash.write_u8(hold.state.code());
    hash.finish()
}
