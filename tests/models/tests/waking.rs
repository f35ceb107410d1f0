//! A shard or a follower that is about to sleep, and whoever brings it work at
//! that moment: in no order of events does it sleep over the work. Loom would
//! say that nobody can go on.
#![allow(clippy::unwrap_used)] // also in what the models share

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use models::net::Waker;
use models::shard::{Bell, Sleeper, get_up, lie_down};

/// How much work was brought: a queue's length, or a position.
fn brought(work: &AtomicU64) -> u64 {
    work.load(Ordering::Acquire)
}

/// A shard's life until it has seen `all`.
fn shard(bell: &Bell, waker: &Waker, work: &AtomicU64, all: u64) {
    let mut seen = 0;
    while seen < all {
        lie_down(bell);
        if brought(work) == seen {
            waker.wait();
        }
        get_up(bell);
        seen = brought(work);
    }
}

/// Tries every order, but for those that need more than three changes between
/// threads at places where none had to wait.
fn model(events: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(events);
}

/// Brings work so many times, and rings each time.
fn bring(work: &Arc<AtomicU64>, times: u64, ring: impl Fn() + 'static) -> thread::JoinHandle<()> {
    let work = Arc::clone(work);
    thread::spawn(move || {
        for _ in 0..times {
            work.fetch_add(1, Ordering::Release);
            ring();
        }
    })
}

/// A shard that sees work from so many peers, so many times each.
fn shard_with(peers: u64, times: u64) {
    model(move || {
        let (waker, work) = (Waker::default(), Arc::new(AtomicU64::new(0)));
        let bell = Bell::new(waker.clone());
        let peers_at_work: Vec<_> = (0..peers)
            .map(|_| {
                let bell = std::sync::Arc::clone(&bell);
                bring(&work, times, move || bell.ring_if_asleep())
            })
            .collect();
        shard(&bell, &waker, &work, peers * times);
        for peer in peers_at_work {
            peer.join().unwrap();
        }
    });
}

#[test]
fn a_shard_never_sleeps_over_what_two_peers_pushed() {
    shard_with(2, 1);
}

#[test]
fn a_shard_never_sleeps_over_what_one_peer_pushed_twice() {
    shard_with(1, 2);
}

/// The follower of so many shards that commit so many times each.
fn follower_of(shards: u64, times: u64) {
    model(move || {
        let (sleeper, work) = (Arc::new(Sleeper::default()), Arc::new(AtomicU64::new(0)));
        let shards_at_work: Vec<_> = (0..shards)
            .map(|_| {
                let sleeper = Arc::clone(&sleeper);
                bring(&work, times, move || sleeper.wake_if_asleep())
            })
            .collect();
        let follower = thread::spawn(move || {
            sleeper.settle();
            let mut seen = 0;
            while seen < shards * times {
                sleeper.sleep(None, || brought(&work) > seen);
                seen = brought(&work);
            }
        });
        for shard in shards_at_work {
            shard.join().unwrap();
        }
        follower.join().unwrap();
    });
}

#[test]
fn a_follower_never_sleeps_over_what_two_shards_committed() {
    follower_of(2, 1);
}

#[test]
fn a_follower_never_sleeps_over_what_one_shard_committed_twice() {
    follower_of(1, 2);
}
