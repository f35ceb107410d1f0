//! The words of `hb stats`: a line about the server, a table of its shards, a
//! line of money, and where there are any, of orders and of the ledger.

use std::fmt::Write;

use crate::stats::{LedgerRow, Row, Stats};

const HEAD: [&str; 13] = [
    "shard",
    "phase",
    "claims/s",
    "answers/s",
    "refused/s",
    "commit p50/p99",
    "answer p50/p99",
    "queue p99",
    "envelopes",
    "pages",
    "pressure",
    "conns",
    "checkpoint",
];

/// All of it, without a last line break.
pub(crate) fn words(stats: &Stats) -> String {
    let how = match (stats.ready, stats.draining) {
        (true, _) => "ready",
        (false, true) => "draining",
        (false, false) => "not ready",
    };
    let Stats { version, cell, durability, .. } = stats;
    let up = time(stats.uptime_s);
    let mut text = format!("hongbao {version}, cell {cell}, {durability}, up {up}: {how}\n");
    for reason in &stats.reasons {
        let _ = writeln!(text, "  {reason}"); // a string takes everything
    }
    text += &aligned(
        &std::iter::once(HEAD.map(str::to_owned))
            .chain(stats.shards.iter().map(cells))
            .collect::<Vec<_>>(),
    );
    let _ = writeln!(
        text,
        "all: {} claims/s, {} answers/s",
        many(stats.claims_per_s),
        many(stats.answers_per_s)
    );
    let money = &stats.money;
    let [funded, claimed, refunded, left] =
        [money.funded_fen, money.claimed_fen, money.refunded_fen, money.left_fen].map(yuan);
    let _ = write!(text, "yuan: {funded} = {claimed} claimed + {refunded} refunded + {left} left");
    text += &orders(stats);
    text += &ledger(&stats.ledger);
    text
}

/// Orders whose money did not come, or not yet; nothing where all were paid.
fn orders(stats: &Stats) -> String {
    let (reserved, voided) = (stats.envelopes_reserved, stats.envelopes_voided);
    if reserved + voided == 0 {
        return String::new();
    }
    let returned = yuan(stats.money.returned_fen);
    format!(
        "\norders: {reserved} wait for their money, {voided} were never paid; {returned} yuan came \
         too late and went back"
    )
}

fn ledger(row: &LedgerRow) -> String {
    let LedgerRow { state, lag_bytes, lag_ms, records_per_s } = row;
    if state == "none" {
        return String::new();
    }
    let rate = many(*records_per_s);
    let kib = many(lag_bytes.div_ceil(1024));
    format!("\nledger: {state}, {rate} records/s, {kib} KiB behind, for {}", time(lag_ms / 1000))
}

fn cells(row: &Row) -> [String; HEAD.len()] {
    [
        row.shard.to_string(),
        row.phase.clone(),
        many(row.claims_per_s),
        many(row.answers_per_s),
        many(row.refused_per_s),
        pair(row.commit_p50_us, row.commit_p99_us),
        pair(row.answer_p50_us, row.answer_p99_us),
        row.queue_p99_us.map_or_else(nothing, micros),
        format!("{} %", row.envelopes_percent),
        format!("{} %", row.pages_percent),
        row.pressure.to_string(),
        row.connections.to_string(),
        row.checkpoint_age_s.map_or_else(nothing, time),
    ]
}

fn nothing() -> String {
    "-".to_owned()
}

fn pair(p50: Option<u64>, p99: Option<u64>) -> String {
    match (p50, p99) {
        (Some(p50), Some(p99)) => format!("{}/{}", micros(p50), micros(p99)),
        _ => nothing(),
    }
}

/// Columns as wide as their widest cell, to the right.
fn aligned(rows: &[[String; HEAD.len()]]) -> String {
    let mut text = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEAD.len()).map(width).collect();
    for row in rows {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  "));
    }
    text
}

/// A count with at most five places: `999`, `12.3k`, `1.2M`.
fn many(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{}.{}k", count / 1000, count / 100 % 10),
        _ => format!("{}.{}M", count / 1_000_000, count / 100_000 % 10),
    }
}

fn micros(us: u64) -> String {
    match us {
        0..1000 => format!("{us}us"),
        1000..1_000_000 => format!("{}.{}ms", us / 1000, us / 100 % 10),
        _ => format!("{}.{}s", us / 1_000_000, us / 100_000 % 10),
    }
}

fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}min", seconds / 60),
        _ => format!("{}h", seconds / 3600),
    }
}

fn yuan(fen: u128) -> String {
    format!("{}.{:02}", fen / 100, fen % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_told_with_what_it_is_behind_and_none_is_not() {
        let (lag_bytes, lag_ms, records_per_s) = (1 << 20, 65_000, 12_345);
        let row = |state: &str| LedgerRow { state: state.into(), lag_bytes, lag_ms, records_per_s };
        let told = ledger(&row("running"));
        assert_eq!(told, "\nledger: running, 12.3k records/s, 1024 KiB behind, for 65s");
        assert_eq!(ledger(&row("none")), "");
    }

    #[test]
    fn figures_stay_short() {
        assert_eq!([many(9999), many(12_345), many(3_570_000)], ["9999", "12.3k", "3.5M"]);
        assert_eq!([micros(127), micros(8191), micros(2_097_151)], ["127us", "8.1ms", "2.0s"]);
        assert_eq!([time(119), time(600), time(86_400)], ["119s", "10min", "24h"]);
        assert_eq!(yuan(u128::from(u64::MAX) + 1), "184467440737095516.16");
    }
}
