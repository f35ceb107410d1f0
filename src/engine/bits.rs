//! A set of small numbers in which the next member is found quickly.

/// A bit for each number, and a bit for each word of those.
pub(super) struct Bits {
    words: Vec<u64>,
    summary: Vec<u64>,
}

impl Bits {
    /// The bytes that [`Bits::new`] reserves.
    pub(super) const fn bytes(count: usize) -> usize {
        8 * (count.div_ceil(64) + count.div_ceil(64 * 64))
    }

    /// No number below `count`.
    pub(super) fn new(count: usize) -> Self {
        Self { words: vec![0; count.div_ceil(64)], summary: vec![0; count.div_ceil(64 * 64)] }
    }

    /// Adds a number.
    pub(super) fn insert(&mut self, n: usize) {
        self.words[n / 64] |= 1 << (n % 64);
        self.summary[n / 4096] |= 1 << (n / 64 % 64);
    }

    /// Removes a number.
    pub(super) fn remove(&mut self, n: usize) {
        self.words[n / 64] &= !(1 << (n % 64));
        if self.words[n / 64] == 0 {
            self.summary[n / 4096] &= !(1 << (n / 64 % 64));
        }
    }

    /// The least member that is not below `from`.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        let word = from / 64;
        let in_word = self.words.get(word)? & u64::MAX << (from % 64);
        if in_word != 0 {
            return Some(word * 64 + lowest(in_word));
        }
        let word = self.next_word(word + 1)?;
        Some(word * 64 + lowest(self.words[word]))
    }

    /// The first word with a member that is not before `from`.
    fn next_word(&self, from: usize) -> Option<usize> {
        let first = self.summary.get(from / 64)? & u64::MAX << (from % 64);
        let rest = self.summary.iter().copied().enumerate().skip(from / 64 + 1);
        let mut candidates = std::iter::once((from / 64, first)).chain(rest);
        let (at, bits) = candidates.find(|&(_, bits)| bits != 0)?;
        Some(at * 64 + lowest(bits))
    }
}

fn lowest(bits: u64) -> usize {
    super::index(bits.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::hash::mix;
    use super::*;

    #[test]
    fn it_reserves_what_it_says() {
        for count in [1, 64, 65, 4096, 4097, 100_000] {
            let Bits { words, summary } = Bits::new(count);
            assert_eq!(Bits::bytes(count), 8 * (words.len() + summary.len()));
        }
    }

    #[test]
    fn next_member_is_the_one_of_a_sorted_set() {
        let (steps, count) = if cfg!(miri) { (200, 300) } else { (20_000, 10_000) };
        let (mut bits, mut twin) = (Bits::new(count), BTreeSet::new());
        for step in 0..steps {
            let dice = usize::try_from(mix(step) >> 1).unwrap();
            let n = dice / 8 % count;
            if dice % 8 < 3 {
                bits.insert(n);
                twin.insert(n);
            } else {
                let first = bits.next(n);
                assert_eq!(first, twin.range(n..).next().copied(), "step {step}");
                if let Some(first) = first {
                    bits.remove(first);
                    assert!(twin.remove(&first));
                }
            }
        }
        assert_eq!(bits.next(count), None);
    }
}
