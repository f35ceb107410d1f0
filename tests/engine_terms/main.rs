//! Envelopes with terms against a naive model: every rule in every combination,
//! claims with all sorts of evidence, shares that are held and decided about, grades
//! that change, a clock that jumps, slots used again, images taken in traffic.

mod dice;
mod naive;
mod world;

use world::World;

/// Every answer that a claim can get here; the rest is other tests' matter.
const MET: [&str; 23] = [
    "Claimed",
    "AlreadyClaimed",
    "SoldOut",
    "Expired",
    "Cancelled",
    "NotEligible(TooEarly)",
    "NotEligible(TooLate)",
    "NotEligible(Sender)",
    "NotEligible(NotNamed)",
    "NotEligible(SeedFirst)",
    "NotEligible(NoTicket)",
    "NotEligible(UnknownTicketKey)",
    "NotEligible(WrongTicket)",
    "NotEligible(TicketExpired)",
    "NotEligible(NoPosition)",
    "NotEligible(TooFar)",
    "WrongPassword(NotSaid)",
    "WrongPassword(Guessed)",
    "TooManyGuesses(UserGuesses)",
    "Withheld",
    "Resolved",
    "Conflict",
    "Arranged",
];

#[test]
fn every_combination_of_rules_is_judged_as_the_naive_model_does() {
    let steps = if cfg!(miri) { 200 } else { 250_000 };
    let mut envelope_limit = 0;
    for seed in 1..=4 {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for step in 0..steps {
            world.step();
            if step % (steps / 4) == steps / 8 {
                world.check_restored();
            }
        }
        world.check_restored();
        println!("{} records, {:?}", world.records.len(), world.met);
        if !cfg!(miri) {
            let often = |name: &&str| world.met.get(*name).is_some_and(|&times| times > 20);
            let missing: Vec<_> = MET.iter().filter(|name| !often(name)).collect();
            assert!(missing.is_empty(), "too seldom: {missing:?}");
        }
        envelope_limit += world.met.get("TooManyGuesses(EnvelopeGuesses)").copied().unwrap_or(0);
    }
    assert!(cfg!(miri) || envelope_limit > 20, "{envelope_limit}");
}
