//! The whole server minus the kernel, on one thread: shards, mesh, journals on
//! disks in memory, checkpoints, frames on sockets, clients and time, all moved
//! by one seed. Power fails at any moment, syncs fail, disks fill, clocks jump,
//! clients vanish and repeat themselves; nothing that was acknowledged is lost
//! or changes, and no money appears or goes.
//!
//! `SIMULATED_LIVES` and `SIMULATED_FROM` choose the seeds; a failure prints the
//! command that shows it again.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod book;
mod client;
mod life;
#[cfg(feature = "planted")]
mod planted;
mod server;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use life::{Life, Tally};

/// Seeds of a run in the tests: about a million operations.
const LIVES: u64 = 64;

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

#[test]
fn no_fault_loses_or_changes_what_was_acknowledged() {
    let (first, count) = (setting("SIMULATED_FROM", 1), setting("SIMULATED_LIVES", LIVES));
    let began = Instant::now();
    let tally = live(first, count);
    println!("seeds {first} to {}: {tally}, in {:.0?}", first + count - 1, began.elapsed());
    if count >= LIVES {
        assert!(tally.has_seen_everything(), "a fault that never came proves nothing: {tally}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 5] {
        assert_eq!(Life::new(seed).run(), Life::new(seed).run(), "seed {seed}");
    }
}
