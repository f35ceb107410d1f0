//! The credits' bench, run small, so that it does not rot.

use bench::ledger::{Mix, credit_rate};

#[test]
fn a_small_run_credits_everything_and_repeats_itself() {
    for mix in [Mix::Eve, Mix::Rush] {
        let run = |batch| {
            let mut rows = Vec::new();
            let figure = credit_rate(mix, 5_000, batch, |seen| rows.push(seen.rows));
            assert_eq!(rows.last(), Some(&5_000), "{mix:?}");
            println!(
                "{mix:?}: {} bytes a credit, hash {:016x}",
                figure.bytes_per_credit, figure.digest
            );
            figure.digest
        };
        assert_eq!(run(1_000), run(300), "{mix:?}");
    }
}
