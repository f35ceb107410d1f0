//! The whole server minus the kernel, on one thread: shards, mesh, journals on
//! disks in memory, checkpoints, frames on sockets, clients and time, all moved
//! by one seed, and behind it the follower and its ledger. Power fails at any
//! moment, syncs and reads fail, disks fill and are slow, clocks jump, shards
//! become more or fewer, clients vanish and repeat themselves; nothing that was
//! acknowledged is lost or changes, and no money appears or goes.
//!
//! `SIMULATED_LIVES` and `SIMULATED_FROM` choose the seeds; a failure prints the
//! command that shows it again. `corpus.txt` keeps seeds that once found
//! something.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod asking;
mod book;
mod campaign;
mod client;
mod clock;
mod envelope;
mod faults;
mod following;
mod held;
mod history;
mod ledger;
mod life;
#[cfg(feature = "planted")]
mod planted;
mod rearrange;
mod rules;
mod server;
mod tally;
mod terms;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use life::Life;
use tally::Tally;

/// Seeds of a run in the tests: about a million operations.
const LIVES: u64 = 40;

/// Memory that a run may have more at its end than after its first quarter:
/// what allocators keep, and not something for each seed.
const GROWTH_BYTES_MAX: u64 = 128 << 20;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// Lives through `count` seeds from `first`, on two threads.
fn live(first: u64, count: u64) -> Tally {
    let next = AtomicU64::new(first);
    let lives = || {
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return tally;
            }
            let again = Repeat(seed);
            tally.add(&Life::new(seed).run());
            std::mem::forget(again);
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(lives);
        let mut tally = lives();
        tally.add(&other.join().unwrap());
        tally
    })
}

/// Says, when a life fails, how to see it again.
struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        let seed = self.0;
        eprintln!("SIMULATED_FROM={seed} SIMULATED_LIVES=1 cargo test --test simulation no_fault");
    }
}

/// The memory that this process has now.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn no_fault_loses_or_changes_what_was_acknowledged() {
    let (first, count) = (setting("SIMULATED_FROM", 1), setting("SIMULATED_LIVES", LIVES));
    let began = Instant::now();
    let quarter = count / 4;
    let mut tally = live(first, quarter);
    let before = resident_bytes();
    tally.add(&live(first + quarter, count - quarter));
    let grown = resident_bytes().saturating_sub(before);
    println!("seeds {first} to {}: {tally}, in {:.0?}", first + count - 1, began.elapsed());
    if count >= LIVES {
        let missing = tally.missing();
        assert!(missing.is_empty(), "what never came proves nothing: {missing:?} of {tally}");
        assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes more than after {quarter} seeds");
    }
}

#[test]
fn what_was_found_once_stays_found() {
    let corpus = include_str!("corpus.txt");
    let lines = corpus.lines().filter(|line| !line.starts_with('#'));
    for (seed, why) in lines.filter_map(|line| line.split_once(' ')) {
        println!("seed {seed}: {why}");
        live(seed.parse().expect("a seed, then why it is kept"), 1);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    // Of the second life shares are held.
    for seed in [4, 6] {
        assert_eq!(Life::new(seed).run(), Life::new(seed).run(), "seed {seed}");
    }
}
