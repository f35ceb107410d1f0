//! Zeroed memory for large tables, on huge pages where the kernel gives them.
//!
//! A table that is read at random costs a walk of the page tables at nearly
//! every read with pages of 4 KiB; with pages of 2 MiB it does not. Everything
//! is touched at the start, so what a server will ever use it has from the
//! beginning: no page faults later, and no surprise for its neighbours.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use zerocopy::{FromBytes, Immutable, IntoBytes};

#[cfg(not(any(miri, fuzzing)))]
mod pages {
    use memmap2::{Advice, MmapMut};

    /// What a mapping is touched by, where the kernel cannot do it itself.
    const MACHINE_PAGE: usize = 4096;

    /// An anonymous private mapping.
    pub(super) struct Pages(MmapMut);

    impl Pages {
        pub(super) fn touched(bytes: usize) -> Option<Self> {
            let mut map = MmapMut::map_anon(bytes.max(8)).ok()?;
            // Refused where the kernel has no huge pages; it works without.
            let _ = map.advise(Advice::HugePage);
            // Kernels before 5.14 do not know it; then every page is written.
            if map.advise(Advice::PopulateWrite).is_err() {
                map.iter_mut().step_by(MACHINE_PAGE).for_each(|byte| *byte = 0);
            }
            Some(Self(map))
        }

        #[inline]
        pub(super) fn bytes(&self) -> &[u8] {
            &self.0
        }

        #[inline]
        pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }
}

#[cfg(any(miri, fuzzing))]
mod pages {
    use zerocopy::IntoBytes;

    /// The interpreter has no huge pages and is slow with mappings; so is a fuzzer
    /// that makes an engine for each input.
    pub(super) struct Pages(Vec<u64>);

    impl Pages {
        pub(super) fn touched(bytes: usize) -> Option<Self> {
            Some(Self(vec![0; bytes.max(8).div_ceil(8)]))
        }

        pub(super) fn bytes(&self) -> &[u8] {
            self.0.as_bytes()
        }

        pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
            self.0.as_mut_bytes()
        }
    }
}

/// Zeroed bytes that begin at a page of the machine, every page touched.
pub struct Bytes(pages::Pages);

impl Bytes {
    /// So many zeroes.
    ///
    /// # Panics
    ///
    /// As [`Table::zeroed`].
    pub fn zeroed(count: usize) -> Self {
        Self(pages::Pages::touched(count).expect("room for the tables in the address space"))
    }

    /// All of them, and at least eight.
    pub fn all_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}

/// A fixed number of integers, all zero at first, beginning at a page of the
/// machine.
pub struct Table<T>(pages::Pages, PhantomData<T>);

/// 64-bit words.
pub type Words = Table<u64>;

/// 32-bit words.
pub type Halves = Table<u32>;

impl<T> Table<T> {
    /// `count` zeroes (and at least a word), every page of them touched.
    ///
    /// # Panics
    ///
    /// If the system has no room for them in the address space; a server
    /// compares with the machine's memory before it comes to this.
    pub fn zeroed(count: usize) -> Self {
        let bytes = count.checked_mul(size_of::<T>());
        let pages = bytes.and_then(pages::Pages::touched);
        Self(pages.expect("room for the tables in the address space"), PhantomData)
    }

    /// The bytes that [`Table::zeroed`] takes.
    pub fn bytes_for(count: usize) -> usize {
        count.saturating_mul(size_of::<T>())
    }
}

impl<T: FromBytes + Immutable> Deref for Table<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // A mapping begins at a page, so this never fails.
        <[T]>::ref_from_bytes(self.0.bytes()).unwrap_or_default()
    }
}

impl<T: FromBytes + IntoBytes + Immutable> DerefMut for Table<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        <[T]>::mut_from_bytes(self.0.bytes_mut()).unwrap_or_default()
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
        let mut halves = Halves::zeroed(1000);
        assert!(halves.len() >= 1000 && halves.iter().all(|&half| half == 0));
        halves[999] = 7;
        assert_eq!((halves[998], halves[999]), (0, 7));
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[cfg_attr(miri, ignore = "reads the process's own memory map")]
    fn what_is_reserved_is_resident_from_the_start() {
        let resident_kib = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let before = resident_kib();
        let words = Words::zeroed(8 << 20);
        assert!(resident_kib() >= before + (60 << 10), "64 MiB, less what other tests give back");
        assert_eq!(words[4 << 20], 0);
    }
}
