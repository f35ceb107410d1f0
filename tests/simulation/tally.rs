//! What happened in some lives, in numbers.

use std::fmt;

/// Declares the tally once: its fields, their sums and how they are told.
macro_rules! tally {
    ($($field:ident: $words:literal, at least $least:literal;)*) => {
        /// What happened in some lives.
        #[derive(Debug, Default, PartialEq, Eq)]
        pub(crate) struct Tally {
            $(pub(crate) $field: u64,)*
            /// A hash over all states at the end.
            pub(crate) digest: u64,
        }

        impl Tally {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
                self.digest = self.digest.wrapping_add(other.digest);
            }

            /// What came less often than a run of the tests promises.
            pub(crate) fn missing(&self) -> Vec<&'static str> {
                let found = [$((self.$field >= $least, $words),)*];
                found.into_iter().filter(|(enough, _)| !enough).map(|(_, words)| words).collect()
            }
        }

        impl fmt::Display for Tally {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(write!(f, "{} {}, ", self.$field, $words)?;)*
                write!(f, "digest {:016x}", self.digest)
            }
        }
    };
}

tally! {
    lives: "lives", at least 1;
    answers: "answers", at least 1_000_000;
    shares: "shares", at least 100_000;
    envelopes: "envelopes", at least 10_000;
    wins: "prizes won", at least 300;
    guesses: "wrong guesses", at least 1000;
    withheld: "shares withheld", at least 5000;
    decided: "holds decided", at least 500;
    restarts: "restarts", at least 2000;
    power_cuts: "power cuts", at least 50;
    kills: "kills", at least 50;
    failed_syncs: "failed syncs", at least 50;
    killed_in_syncs: "kills in a sync", at least 50;
    full_disks: "full disks", at least 50;
    slow_disks: "slow disks", at least 50;
    overlapped: "overlapped commits", at least 20;
    clock_jumps: "clock jumps", at least 50;
    walls_refused: "walls refused", at least 50;
    walls_accepted: "walls accepted", at least 50;
    vanished: "clients vanished", at least 50;
    checkpoints: "checkpoints", at least 50;
    rearranged: "rearrangements", at least 50;
    half_rearranged: "broken off", at least 20;
    credited: "records in the ledger", at least 100_000;
    ledger_crashes: "crashes of the ledger", at least 50;
    unread: "reads failed", at least 50;
    damaged: "times damaged", at least 50;
    refused: "refused", at least 50;
}
