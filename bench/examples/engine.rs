//! The engine's figures alone, without server and load: envelopes, claims.

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let envelopes = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let claims = arguments.next().map_or(Ok(4_000_000), |text| text.parse())?;
    let rush = bench::engine_rush(envelopes, 5, claims).context("the rush failed")?;
    println!(
        "{envelopes} envelopes: {:.1} ns a send, {:.1} ns a claim, {:.1} bytes an envelope, \
         digest {:016x}",
        rush.ns_per_send, rush.ns_per_claim, rush.bytes_per_envelope, rush.digest
    );
    if arguments.next().as_deref() == Some("all") {
        let restore = bench::restore_rate(envelopes, 5).context("the restore failed")?;
        println!("{restore:.1?}");
        let closing = bench::closing_rate(envelopes, 5).context("the closing failed")?;
        println!("{closing:.1?}");
    }
    Ok(())
}
