//! Zeroed memory for large tables, on huge pages where the kernel gives them.
//!
//! A table that is read at random costs a walk of the page tables at nearly
//! every read with pages of 4 KiB; with pages of 2 MiB it does not. Nothing is
//! touched here: the kernel takes memory as it is used.

use std::ops::{Deref, DerefMut};

#[cfg(not(miri))]
mod pages {
    use memmap2::{Advice, MmapMut};
    use zerocopy::FromBytes;

    /// An anonymous private mapping, whole words long.
    pub(super) struct Pages(MmapMut);

    impl Pages {
        pub(super) fn zeroed(words: usize) -> Option<Self> {
            let map = MmapMut::map_anon(words.max(1).checked_mul(8)?).ok()?;
            // Refused where the kernel has no huge pages; it works without.
            let _ = map.advise(Advice::HugePage);
            Some(Self(map))
        }

        #[inline]
        pub(super) fn words(&self) -> &[u64] {
            // A mapping begins at a page, so this never fails.
            <[u64]>::ref_from_bytes(&self.0).unwrap_or_default()
        }

        #[inline]
        pub(super) fn words_mut(&mut self) -> &mut [u64] {
            <[u64]>::mut_from_bytes(&mut self.0).unwrap_or_default()
        }
    }
}

#[cfg(miri)]
mod pages {
    /// The interpreter has no huge pages and is slow with mappings.
    pub(super) struct Pages(Vec<u64>);

    impl Pages {
        pub(super) fn zeroed(words: usize) -> Option<Self> {
            Some(Self(vec![0; words.max(1)]))
        }

        pub(super) fn words(&self) -> &[u64] {
            &self.0
        }

        pub(super) fn words_mut(&mut self) -> &mut [u64] {
            &mut self.0
        }
    }
}

/// A fixed number of 64-bit words, all zero at first, beginning at a page of
/// the machine.
pub struct Words(pages::Pages);

impl Words {
    /// `count` zeroed words.
    ///
    /// # Panics
    ///
    /// If the system has no room for them in the address space; a server
    /// compares with the machine's memory before it comes to this.
    pub fn zeroed(count: usize) -> Self {
        Self(pages::Pages::zeroed(count).expect("room for the tables in the address space"))
    }
}

impl Deref for Words {
    type Target = [u64];

    #[inline]
    fn deref(&self) -> &[u64] {
        self.0.words()
    }
}

impl DerefMut for Words {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u64] {
        self.0.words_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_zero_then_what_was_put_there() {
        let mut words = Words::zeroed(1000);
        assert!(words.len() >= 1000 && words.iter().all(|&word| word == 0));
        words[999] = 7;
        assert_eq!(words[999], 7);
    }
}
