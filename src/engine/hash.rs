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

    /// The first numbers of splitmix64 from the seed 0, as its authors print them:
    /// its state grows by this constant, and each is the finalizer of the state.
    #[test]
    fn mix_is_the_finalizer_of_splitmix64() {
        let states = [1, 2, 3].map(|n| 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n));
        let numbers = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        assert_eq!(states.map(mix), numbers);
    }

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
