//! Which runs of arena pages are free: a buddy allocator.
//!
//! A run of order k is 2^k pages and begins at a multiple of 2^k. The lowest
//! run that fits is given out, so what is free stays together at the end. All
//! its memory is taken in `new`; it never touches the pages themselves.

use super::words::{index, narrow};

/// The free runs of one order, a bit each.
struct FreeRuns {
    bits: Vec<u64>,
    count: u32,
    /// No bit is set in any word before this one; searches begin here.
    lowest: usize,
}

impl FreeRuns {
    fn words(pages: u32, order: u32) -> usize {
        (index(pages) >> order) / 64 + 1
    }

    fn has(&self, run: u32) -> bool {
        self.bits.get(index(run / 64)).is_some_and(|bits| bits >> (run % 64) & 1 == 1)
    }

    fn put(&mut self, run: u32) {
        let word = index(run / 64);
        self.bits[word] |= 1 << (run % 64);
        self.lowest = self.lowest.min(word);
        self.count += 1;
    }

    fn remove(&mut self, run: u32) {
        self.bits[index(run / 64)] &= !(1 << (run % 64));
        self.count -= 1;
    }

    fn take_lowest(&mut self) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        while self.bits[self.lowest] == 0 {
            self.lowest += 1;
        }
        let run = narrow(self.lowest) * 64 + self.bits[self.lowest].trailing_zeros();
        self.remove(run);
        Some(run)
    }
}

/// The free pages of an arena.
pub(super) struct Buddy {
    orders: Vec<FreeRuns>,
    free_pages: u32,
}

impl Buddy {
    fn orders_of(pages: u32) -> u32 {
        u32::BITS - pages.leading_zeros()
    }

    /// The smallest order whose runs have `pages` pages.
    pub(super) fn order_for(pages: usize) -> u32 {
        pages.next_power_of_two().trailing_zeros()
    }

    /// The bytes that [`Buddy::new`] reserves.
    pub(super) fn bytes(pages: u32) -> usize {
        (0..Self::orders_of(pages)).map(|order| 8 * FreeRuns::words(pages, order)).sum()
    }

    /// All of `pages` pages free, in the largest runs that fit.
    pub(super) fn new(pages: u32) -> Self {
        let free_runs = |order| {
            let bits = vec![0; FreeRuns::words(pages, order)];
            FreeRuns { bits, count: 0, lowest: 0 }
        };
        let orders = (0..Self::orders_of(pages)).map(free_runs).collect();
        let mut buddy = Self { orders, free_pages: pages };
        let mut page = 0;
        while page < pages {
            let order = page.trailing_zeros().min((pages - page).ilog2());
            buddy.orders[index(order)].put(page >> order);
            page += 1 << order;
        }
        buddy
    }

    /// How many pages are free, in runs of whatever size.
    pub(super) fn free_pages(&self) -> u32 {
        self.free_pages
    }

    /// Whether a run of this order could be allocated now.
    pub(super) fn has(&self, order: u32) -> bool {
        self.orders.iter().skip(index(order)).any(|runs| runs.count > 0)
    }

    /// The first page of the lowest run of the smallest size that fits, cut
    /// down to `order`.
    pub(super) fn allocate(&mut self, order: u32) -> Option<u32> {
        let orders = Self::orders_of(u32::MAX).min(narrow(self.orders.len()));
        let (found, run) =
            (order..orders).find_map(|k| Some((k, self.orders[index(k)].take_lowest()?)))?;
        let page = run << found;
        for half in order..found {
            let upper = page + (1 << half);
            self.orders[index(half)].put(upper >> half);
        }
        self.free_pages -= 1 << order;
        Some(page)
    }

    /// Takes back a run as it was allocated, and joins it with its free
    /// buddies. Its words are as its user left them: the next user zeroes them.
    pub(super) fn free(&mut self, page: u32, order: u32) {
        self.free_pages += 1 << order;
        let (mut run, mut order) = (page >> order, order);
        // The last order has one run, so this ends: its buddy is never there.
        while self.orders[index(order)].has(run ^ 1) {
            self.orders[index(order)].remove(run ^ 1);
            run >>= 1;
            order += 1;
        }
        self.orders[index(order)].put(run);
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::mix;
    use super::*;

    /// The obviously right twin: a flag for every page, and the rule of the
    /// real one said directly.
    struct Naive {
        free: Vec<bool>,
    }

    impl Naive {
        fn is_free(&self, order: u32, run: usize) -> bool {
            let pages = 1 << order;
            self.free.get(run * pages..(run + 1) * pages).is_some_and(|run| run.iter().all(|&f| f))
        }

        /// A free run is maximal if its buddy is not wholly free beside it.
        fn lowest_maximal(&self, order: u32) -> Option<usize> {
            (0..self.free.len() >> order)
                .find(|&run| self.is_free(order, run) && !self.is_free(order + 1, run >> 1))
        }

        fn allocate(&mut self, order: u32) -> Option<u32> {
            let (found, run) =
                (order..10).find_map(|k| self.lowest_maximal(k).map(|run| (k, run)))?;
            let page = run << found;
            self.free[page..page + (1 << order)].fill(false);
            Some(narrow(page))
        }

        fn release(&mut self, page: u32, order: u32) {
            self.free[index(page)..index(page) + (1 << order)].fill(true);
        }
    }

    fn walk(pages: u32, steps: u64) {
        let mut buddy = Buddy::new(pages);
        let mut naive = Naive { free: vec![true; index(pages)] };
        let mut held = Vec::new();
        for step in 0..steps {
            let dice = mix(step << 8 | u64::from(pages));
            let order = u32::try_from(dice % 5).unwrap();
            if dice >> 8 & 1 == 0 || held.is_empty() {
                assert_eq!(
                    buddy.has(order),
                    (order..10).any(|k| naive.lowest_maximal(k).is_some())
                );
                let page = buddy.allocate(order);
                assert_eq!(page, naive.allocate(order), "step {step} of {pages} pages");
                held.extend(page.map(|page| (page, order)));
            } else {
                let (page, order) =
                    held.swap_remove(usize::try_from(dice >> 16).unwrap() % held.len());
                buddy.free(page, order);
                naive.release(page, order);
            }
            let free = naive.free.iter().filter(|&&free| free).count();
            assert_eq!(index(buddy.free_pages()), free);
        }
    }

    #[test]
    fn it_reserves_what_it_says() {
        for pages in [1, 63, 64, 65, 4096, 5000] {
            let words: usize = Buddy::new(pages).orders.iter().map(|runs| runs.bits.len()).sum();
            assert_eq!(Buddy::bytes(pages), 8 * words);
        }
    }

    #[test]
    fn buddy_does_what_the_naive_twin_does() {
        let steps = if cfg!(miri) { 40 } else { 2000 };
        for pages in [0, 1, 2, 3, 7, 37, 64, 100] {
            walk(pages, steps);
        }
    }

    #[test]
    fn all_pages_can_be_had_singly_and_given_back_whole() {
        let mut buddy = Buddy::new(64);
        let pages: Vec<_> = std::iter::from_fn(|| buddy.allocate(0)).collect();
        assert_eq!(pages, (0..64).collect::<Vec<_>>());
        for page in pages {
            buddy.free(page, 0);
        }
        assert_eq!(buddy.allocate(6), Some(0));
    }
}
