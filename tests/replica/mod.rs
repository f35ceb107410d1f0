//! A tiny state for tests of checkpoints: sixteen counters with a hash each,
//! and the position up to which each has seen the journal. A checkpoint of it
//! is fuzzy, as the engine's: its slices are taken while records go on.
#![allow(dead_code)] // every test file uses its own part of this
#![allow(unreachable_pub)] // and sees it as a module of its own
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use hongbao::engine::{Claimed, Misfit, Record};
use hongbao::journal::{GROUP_RECORDS_MAX, Position, Replica, Unfit};
use hongbao::units::{EnvelopeId, UserId};

pub const COUNTERS: usize = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    pub count: u64,
    pub hash: u64,
    seen: u64,
}

/// The state, and what was said on the way to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub [Counter; COUNTERS]);

pub fn claim(n: u64) -> Record {
    Record::Claimed(Claimed {
        envelope: EnvelopeId::new(1, 2, 3, 4),
        user: UserId(n),
        amount: 100,
        rank: 0,
        at: 1_700_000_000,
    })
}

impl Counters {
    pub fn records(&self) -> u64 {
        self.0.iter().map(|counter| counter.count).sum()
    }

    /// What a state means: where it was seen is not part of it.
    pub fn meaning(&self) -> Vec<(u64, u64)> {
        self.0.iter().map(|counter| (counter.count, counter.hash)).collect()
    }

    pub fn take(&mut self, end: Position, record: &Record) {
        let Record::Claimed(claimed) = record else { return };
        let index = usize::try_from(claimed.user.0).unwrap() % COUNTERS;
        let counter = &mut self.0[index];
        if end.0 > counter.seen {
            counter.count += 1;
            counter.hash = counter.hash.wrapping_mul(31).wrapping_add(claimed.user.0);
            counter.seen = end.0;
        }
    }

    /// The slice of one counter; `padding` makes it as long as one likes.
    pub fn slice(&self, index: usize, padding: usize) -> Vec<u8> {
        let Counter { count, hash, seen } = self.0[index];
        let words = [u64::try_from(index).unwrap(), count, hash, seen];
        let mut slice: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        slice.resize(slice.len() + padding, 0x5a);
        slice
    }

    pub fn slices(&self, padding: usize) -> Vec<Vec<u8>> {
        (0..COUNTERS).map(|index| self.slice(index, padding)).collect()
    }

    /// The same in another journal, which begins at position 0.
    pub fn moved(mut self) -> Self {
        for counter in &mut self.0 {
            counter.seen = 0;
        }
        self
    }
}

impl Replica for Counters {
    fn load(&mut self, slice: &[u8]) -> Result<u64, Unfit> {
        let word = |n: usize| slice[n * 8..].first_chunk().map(|w| u64::from_le_bytes(*w));
        let [index, count, hash, seen] = [0, 1, 2, 3].map(|n| word(n).unwrap());
        let counter = self.0.get_mut(usize::try_from(index)?).ok_or("no such counter")?;
        *counter = Counter { count, hash, seen };
        Ok(1)
    }

    fn apply(&mut self, records: &[(Position, Record)]) -> Result<(), (Position, Misfit)> {
        assert!(records.len() <= GROUP_RECORDS_MAX);
        for (end, record) in records {
            self.take(*end, record);
        }
        Ok(())
    }
}
