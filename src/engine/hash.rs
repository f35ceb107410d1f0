//! The fixed mixer behind partitions and hash tables.
//!
//! Not a keyed function: amounts are drawn in `split`, never here.

use crate::units::UserId;

/// The finalizer of splitmix64: a bijection in which every bit of the input
/// moves about half of the output.
#[inline]
pub fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The partition that all envelopes of a sender live in. It is part of every
/// envelope id and decides the shard, so this function never changes.
#[inline]
pub fn partition_of(sender: UserId) -> u8 {
    mix(sender.0).to_be_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_part_of_the_format() {
        let partitions = [0, 1, 2, 1_000_000, u64::MAX].map(|user| partition_of(UserId(user)));
        assert_eq!(partitions, PARTITIONS_FOR_EVER);
    }

    #[test]
    fn partitions_of_consecutive_senders_are_spread_evenly() {
        let mut counts = [0_u32; 256];
        for user in 0..25_600 {
            counts[usize::from(partition_of(UserId(user)))] += 1;
        }
        assert!(counts.iter().all(|&count| (50..=150).contains(&count)), "{counts:?}");
    }

    const PARTITIONS_FOR_EVER: [u8; 5] = [0, 86, 219, 98, 180];
}
