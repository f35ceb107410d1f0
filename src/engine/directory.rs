//! From a page's name (partition, class, number) to its place in the arena.
//!
//! Every request on an envelope begins here, so what it touches must stay in
//! the cache beside everything else: pages of one partition and size are
//! numbered from 0 on, so each has a run of places that is indexed by the
//! number, four bytes a page. A number that is far out of line is a stray. Of
//! large envelopes all are: their numbers are never reused, and a restored
//! engine has only the pages that still hold one. Entries are never removed.

use super::class::{PageKey, SMALL_CLASSES};
use super::strays::Strays;
use super::words::{index, narrow};
use crate::memory::Halves;

/// Runs, by small class and then partition: those of a class lie together.
const RUNS: usize = 8 << 8;
const _: () = assert!(SMALL_CLASSES == 8);

/// Entries that are reserved for each page of the arena. A run grows by
/// doubling, and what it leaves behind is not used again. A run for n pages in
/// line is at most 2n - 2 long (or 1), all it left behind is shorter than it,
/// and so all runs together never take more than four entries a page. Only
/// numbers out of line can take more, and become strays then.
const ENTRIES_PER_PAGE: usize = 4;

/// Where the entries of a partition and class are.
#[derive(Clone, Copy, Default)]
struct Run {
    base: u32,
    len: u32,
}

/// The runs, and the strays.
pub(super) struct Directory {
    runs: Vec<Run>,
    /// Arena page + 1; 0 where there is none.
    entries: Halves,
    /// Entries from here on are in no run yet.
    taken: u32,
    strays: Strays,
}

impl Directory {
    fn entries_for(pages: u32) -> usize {
        ENTRIES_PER_PAGE * index(pages)
    }

    /// The bytes that [`Directory::new`] reserves.
    pub(super) fn bytes(pages: u32) -> usize {
        let runs = RUNS * size_of::<Run>();
        runs + Halves::bytes_for(Self::entries_for(pages)) + Strays::bytes(pages)
    }

    /// A directory with room for every page of an arena.
    pub(super) fn new(pages: u32) -> Self {
        Self {
            runs: vec![Run::default(); RUNS],
            entries: Halves::zeroed(Self::entries_for(pages)),
            taken: 0,
            strays: Strays::new(pages),
        }
    }

    /// Which run a page is in; none of them if it is of large envelopes.
    #[inline]
    fn run_of(key: PageKey) -> usize {
        index(key.class().number() << 8 | u32::from(key.partition()))
    }

    /// The arena page of a key.
    #[inline]
    pub(super) fn find(&self, key: PageKey) -> Option<u32> {
        let run = self.runs.get(Self::run_of(key)).copied().unwrap_or_default();
        if key.page_no() < run.len {
            let entry = *self.entries.get(index(run.base + key.page_no()))?;
            if entry != 0 {
                return Some(entry - 1);
            }
        }
        self.strays.find(key)
    }

    /// Adds a key that is not there yet.
    pub(super) fn insert(&mut self, key: PageKey, page: u32) {
        match self.entry(key) {
            Some(at) => self.entries[at] = page + 1,
            None => self.strays.insert(key, page),
        }
    }

    /// The entry of a key, if it can be in line.
    fn entry(&mut self, key: PageKey) -> Option<usize> {
        let (at, page_no) = (Self::run_of(key), key.page_no());
        let run = *self.runs.get(at)?;
        let run = if page_no < run.len { run } else { self.grown(run, page_no)? };
        self.runs[at] = run;
        Some(index(run.base + page_no))
    }

    /// A longer run with the same entries that reaches to a number, if there
    /// is room for it.
    fn grown(&mut self, run: Run, page_no: u32) -> Option<Run> {
        let len = (page_no + 1).next_power_of_two();
        if len > narrow(self.entries.len()) - self.taken {
            return None;
        }
        let old = index(run.base)..index(run.base + run.len);
        self.entries.copy_within(old, index(self.taken));
        let grown = Run { base: self.taken, len };
        self.taken += len;
        Some(grown)
    }
}

#[cfg(test)]
mod tests {
    use super::super::class::Class;
    use super::super::hash::mix;
    use super::super::words::low;
    use super::*;
    use std::collections::HashMap;

    fn key(partition: u32, class: u32, page_no: u32) -> PageKey {
        PageKey(partition << 24 | class << 20 | page_no)
    }

    /// Enters keys as they come and compares with the obvious twin; gives how
    /// many of them became strays.
    fn walk(keys: &[PageKey]) -> usize {
        let mut directory = Directory::new(narrow(keys.len()));
        let mut twin = HashMap::new();
        for (page, &key) in (0..).zip(keys) {
            assert_eq!(directory.find(key), None);
            directory.insert(key, page);
            twin.insert(key.0, page);
        }
        for (&name, &page) in &twin {
            assert_eq!(directory.find(PageKey(name)), Some(page));
            for near in [name ^ 1, name.wrapping_add(1), name ^ 1 << 20, name ^ 1 << 24] {
                assert_eq!(directory.find(PageKey(near)), twin.get(&near).copied());
            }
        }
        keys.iter().filter(|&&key| directory.strays.find(key).is_some()).count()
    }

    /// The keys of some partitions and classes, in line, in a shuffled order
    /// unless they are one after another.
    fn in_line(runs: u32, shuffled: bool) -> Vec<PageKey> {
        let lengths = (0..runs).map(|run| (run, low(mix(u64::from(run))) % 40));
        let mut keys: Vec<_> = lengths
            .flat_map(|(run, pages)| (0..pages).map(move |n| key(run % 251, run % 8, n)))
            .collect();
        if shuffled {
            keys.sort_by_key(|key| mix(u64::from(key.0)));
        }
        keys
    }

    #[test]
    fn pages_in_line_are_never_strays_in_whatever_order_they_come() {
        let runs = if cfg!(miri) { 3 } else { 200 };
        assert_eq!(walk(&in_line(runs, false)), 0);
        assert_eq!(walk(&in_line(runs, true)), 0);
        let mut backwards = in_line(runs, false);
        backwards.reverse();
        assert_eq!(walk(&backwards), 0);
    }

    #[test]
    fn growth_by_one_page_at_a_time_fits_at_every_length() {
        for pages in 1..if cfg!(miri) { 9 } else { 300 } {
            let keys: Vec<_> = (0..pages).map(|n| key(7, 3, n)).collect();
            assert_eq!(walk(&keys), 0, "{pages} pages");
        }
    }

    #[test]
    fn any_page_number_is_found() {
        let pages = if cfg!(miri) { 30 } else { 1000 };
        let mut keys: Vec<_> = (0..pages).map(|n| PageKey(low(mix(n)))).collect();
        keys.extend((0..10).map(|n| key(9, 2, (1 << 20) - 1 - n)));
        keys.extend((0..10).map(|n| key(9, 2, n)));
        assert!(walk(&keys) > keys.len() / 2);
    }

    #[test]
    fn pages_of_large_envelopes_are_strays() {
        let large = Class::LARGE.number();
        let keys: Vec<_> = (0..20).map(|n| key(3, large, 500 + n)).collect();
        assert_eq!(walk(&keys), keys.len());
    }

    #[test]
    fn the_last_room_is_taken_and_what_comes_then_is_a_stray() {
        let mut directory = Directory::new(1);
        directory.insert(key(1, 2, narrow(ENTRIES_PER_PAGE) - 1), 8);
        assert_eq!((directory.taken, directory.strays.find(key(1, 2, 3))), (4, None));
        directory.insert(key(1, 3, 0), 9);
        assert_eq!((directory.taken, directory.strays.find(key(1, 3, 0))), (4, Some(9)));
        assert_eq!(directory.find(key(1, 2, 3)), Some(8));
    }

    #[test]
    fn it_reserves_what_it_says() {
        let directory = Directory::new(100);
        let runs = directory.runs.len() * size_of::<Run>();
        let entries = directory.entries.len() * size_of::<u32>();
        assert_eq!(Directory::bytes(100), runs + entries + Strays::bytes(100));
    }

    #[test]
    fn an_empty_directory_finds_nothing_and_enters_nothing_in_line() {
        let mut directory = Directory::new(0);
        assert_eq!(directory.find(key(0, 0, 0)), None);
        assert!(directory.grown(Run::default(), (1 << 20) - 1).is_none());
    }
}
