//! Credits a second into a ledger, by how many rows it holds: the embedded one,
//! or a database, which must be new. The last line is a hash.
//! `ledger [--postgres ADDRESS] [CREDITS [BATCH [eve|rush]]]`

use bench::ledger::{Credits, Mix, credit_into, credit_rate};
use hongbao::follow::ledger::Ledger;
use hongbao::follow::ledger::postgres::Postgres;

fn main() -> anyhow::Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let address = match words.iter().position(|word| word == "--postgres") {
        Some(at) if at + 1 < words.len() => words.drain(at..at + 2).next_back(),
        Some(_) => anyhow::bail!("--postgres needs an address, postgres://USER@HOST/DATABASE"),
        None => None,
    };
    let mut words = words.into_iter();
    let mut number = |otherwise| words.next().map_or(Ok(otherwise), |word| word.parse::<u64>());
    let (credits, batch) = (number(1_000_000)?, number(100_000)?.max(1));
    let mix = if words.next().as_deref() == Some("eve") { Mix::Eve } else { Mix::Rush };
    if let Some(address) = address {
        let mut ledger = Postgres::open(&address)?;
        anyhow::ensure!(ledger.cursors()?.is_empty(), "the database has a ledger; give a new one");
        let digest = credit_into(&mut ledger, None, mix, credits, batch, |seen| {
            println!("{} rows: {} credits/s", seen.rows, seen.per_s);
        });
        println!("hash {digest:016x}");
        return Ok(());
    }
    let figure = credit_rate(mix, credits, batch, |seen| {
        let Credits { rows, per_cpu_s, per_s, wal_bytes } = seen;
        let wal = wal_bytes >> 20;
        println!("{rows} rows: {per_cpu_s} credits/CPU-s, {per_s} credits/s, log {wal} MiB");
    });
    println!("{} bytes a credit; hash {:016x}", figure.bytes_per_credit, figure.digest);
    Ok(())
}
