//! Whether the simulation finds the bugs that are known: each is planted, and
//! some seed must show it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hongbao::planted::{Bug, plant};

use crate::life::Life;

/// Seeds that a bug may live through.
const SEEDS: u64 = 200;

/// The first seed that shows a bug, and what it says.
fn shown(bug: Bug) -> Option<(u64, String)> {
    plant(Some(bug));
    let found = (1..=SEEDS).find_map(|seed| {
        let run = catch_unwind(AssertUnwindSafe(|| Life::new(seed).run()));
        let panic = run.err()?;
        let said = panic.downcast_ref::<String>().cloned();
        Some((seed, said.unwrap_or_else(|| format!("{:?}", panic.downcast_ref::<&str>()))))
    });
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let found: Vec<_> = Bug::ALL.into_iter().map(|bug| (bug, shown(bug))).collect();
    let _ = std::panic::take_hook();
    for (bug, shown) in &found {
        match shown {
            Some((seed, said)) => println!("{bug:?}: seed {seed}: {}", said.replace('\n', " ")),
            None => println!("{bug:?}: NOT FOUND in {SEEDS} seeds"),
        }
    }
    assert!(found.iter().all(|(_, shown)| shown.is_some()));
}
