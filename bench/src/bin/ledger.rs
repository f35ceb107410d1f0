//! Credits a second into the embedded ledger, by how many rows it holds.
//! `ledger [CREDITS [BATCH [eve|rush]]]`; the last line is a hash.

use bench::ledger::{Credits, Mix, credit_rate};

fn main() {
    let mut words = std::env::args().skip(1);
    let mut number =
        |otherwise| words.next().map_or(otherwise, |word| word.parse::<u64>().expect("a number"));
    let (credits, batch) = (number(1_000_000), number(100_000).max(1));
    let mix = if words.next().as_deref() == Some("eve") { Mix::Eve } else { Mix::Rush };
    let figure = credit_rate(mix, credits, batch, |seen| {
        let Credits { rows, per_cpu_s, per_s, wal_bytes } = seen;
        let wal = wal_bytes >> 20;
        println!("{rows} rows: {per_cpu_s} credits/CPU-s, {per_s} credits/s, log {wal} MiB");
    });
    println!("{} bytes a credit; hash {:016x}", figure.bytes_per_credit, figure.digest);
}
