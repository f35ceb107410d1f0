//! A million random operations against plain maps: envelopes, journal, ledger
//! and operators together, with crashes in between. The same outcomes, the same
//! balances, and no fen made or lost after any step.
//! `OPERATIONS=10000000 SEED=5 cargo test --release --test money_model` for more.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod naive;
mod world;

use world::World;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn money_is_where_plain_maps_say_after_every_step_and_every_crash() {
    let (operations, seed) = (setting("OPERATIONS", 1_000_000), setting("SEED", 1));
    println!("seed {seed}, {operations} operations");
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut world = World::new(seed, place.path().to_owned());
    for _ in 0..operations {
        world.step();
    }
    world.finish();
    let mut outcomes: Vec<_> = world.seen.outcomes.iter().collect();
    outcomes.sort();
    println!("{outcomes:#?}");
    let came = &world.seen;
    println!(
        "{} crashes ({} records lost, {} kept of what was not committed), {} transactions of \
         the follower, {} orders refused by full tables",
        came.crashes, came.records_lost, came.records_kept, came.follows, came.full
    );
    if operations >= 1_000_000 {
        assert!(came.crashes > 30 && came.records_lost > 100 && came.records_kept > 0);
        assert!(outcomes.len() > 25, "not everything has happened");
    }
}
