//! `hb audit`: no fen made, lost or given twice, and the ledger says the same as
//! the journal. Offline, or beside the server that runs on the directory.

use std::path::PathBuf;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::Args;
use hongbao::audit::{
    AuditError, Compared, Difference, Progress as Read, Report, Settings, ShardReport, Sum,
    Turnover, audit,
};
use hongbao::config::LedgerPlace;
use hongbao::engine::Record;
use hongbao::follow::ledger::{Audited, embedded, postgres};
use hongbao::follow::movement::MovementId;
use hongbao::journal::{Directory, RecoveryError};
use serde_json::{Value, json};

use crate::exit::{AuditFailed, AuditTold};
use crate::journal::{record_fields, record_words};
use crate::money::yuan_sum;
use crate::number::per_second;
use crate::output::Output;
use crate::progress::Progress;

/// `hb audit`.
#[derive(Args)]
pub(crate) struct AuditArgs {
    /// The server's data directory, on this machine
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Draw every amount again from its envelope's seed, too
    #[arg(long)]
    draws: bool,
    /// Look at the journal only, whatever ledger is there
    #[arg(long)]
    journal_only: bool,
    /// The server's `ledger`, as in its configuration; without it the file of the
    /// data directory, if it is there
    #[arg(long, value_name = "PLACE", env = "HONGBAO_LEDGER", hide_env_values = true)]
    ledger: Option<LedgerPlace>,
    /// Where a day of the totals begins: minutes east of universal time
    #[arg(long, value_name = "MINUTES", default_value_t = 480, allow_negative_numbers = true)]
    utc_offset_min: i32,
}

/// `hb audit`.
pub(crate) fn run(args: &AuditArgs, output: Output) -> Result<()> {
    let online = Directory::is_in_use(&args.data)?;
    let AuditArgs { draws, utc_offset_min, .. } = *args;
    let settings = Settings { online, draws, utc_offset_min };
    let mut ledger = ledger(args)?;
    let began = Instant::now();
    let mut progress = Progress::start();
    let mut tell = |read: Read| {
        let now = Instant::now();
        if progress.is_due(now) {
            progress.show(progress_words(&read, now - began));
        }
    };
    let audited = {
        let ledger = match &mut ledger {
            Some(ledger) => Some::<&mut dyn Audited>(&mut **ledger),
            None => None,
        };
        audit(&args.data, ledger, settings, &mut tell)
    };
    drop(progress);
    let report = match audited {
        Ok(report) => report,
        Err(AuditError::Different(difference)) => return Err(tell_difference(*difference, output)),
        Err(error) => return Err(failed(error)),
    };
    if report.shards.is_empty() {
        bail!("{}: no journal is here; give the server's data directory", args.data.display());
    }
    output.print(&report_json(&report, online), || report_words(&report, online, began.elapsed()));
    Ok(())
}

/// The ledger to compare with, if there is one.
fn ledger(args: &AuditArgs) -> Result<Option<Box<dyn Audited>>> {
    match &args.ledger {
        _ if args.journal_only => Ok(None),
        Some(LedgerPlace::Nowhere | LedgerPlace::Program) => Ok(None),
        Some(LedgerPlace::Postgres(address)) => {
            Ok(Some(Box::new(postgres::Reading::open(address)?)))
        }
        Some(LedgerPlace::Embedded) | None => {
            let file = embedded::Reading::open(&args.data)?;
            Ok(file.map(|ledger| -> Box<dyn Audited> { Box::new(ledger) }))
        }
    }
}

/// Damage is what an audit looks for, too; a disk that cannot be read is not.
fn failed(error: AuditError) -> anyhow::Error {
    match error {
        AuditError::Journal(RecoveryError::Io { .. })
        | AuditError::Ledger(_)
        | AuditError::Freed { .. }
        | AuditError::NoMemory => error.into(),
        damage => AuditFailed(damage.to_string()).into(),
    }
}

fn progress_words(read: &Read, elapsed: Duration) -> String {
    let Read { records, shard, shards, bytes } = read;
    let rate = per_second(*records, elapsed.as_secs_f64());
    let mib = bytes >> 20;
    format!("shard {shard} of {shards}: {records} records, at {mib} MiB, {rate} records/s")
}

/// The first difference and its records.
fn tell_difference(difference: Difference, output: Output) -> anyhow::Error {
    let Difference { words, records, left_out } = difference;
    if output.json {
        let records: Vec<Value> = records.iter().map(|(id, r)| evidence_json(id, r)).collect();
        output.json_only(&json!({
            "ok": false, "difference": words, "records": records, "left_out": left_out,
            "exit_code": 4,
        }));
        return AuditTold(words).into();
    }
    for (id, record) in &records {
        let MovementId { shard, batch, index, .. } = id;
        println!(
            "shard {shard}, batch at {batch:>10}, record {index:>5}  {}",
            record_words(record)
        );
    }
    if left_out > 0 {
        println!("({left_out} claims of the envelope are left out)");
    }
    AuditFailed(words).into()
}

fn evidence_json(id: &MovementId, record: &Record) -> Value {
    let mut json = record_fields(record);
    json["arrangement"] = id.arrangement.into();
    json["shard"] = id.shard.into();
    json["batch_position"] = id.batch.into();
    json["index"] = id.index.into();
    json
}

fn report_words(report: &Report, online: bool, took: Duration) -> String {
    let rate = per_second(report.records, took.as_secs_f64());
    let mut lines: Vec<String> = report.shards.iter().map(shard_words).collect();
    let balance = &report.balance;
    let before = if balance.before > 0 {
        format!("{} from before + ", yuan_sum(balance.before))
    } else {
        String::new()
    };
    let held = if balance.held > 0 {
        format!("{} held + ", yuan_sum(balance.held))
    } else {
        String::new()
    };
    lines.push(format!(
        "envelopes: {before}{} funded = {} claimed + {held}{} refunded + {} left, in each and in all",
        yuan_sum(balance.funded),
        yuan_sum(balance.claimed),
        yuan_sum(balance.refunded),
        yuan_sum(balance.left),
    ));
    lines.push(report.ledger.as_ref().map_or_else(
        || "ledger: none was compared".to_owned(),
        |compared| ledger_words(report, compared),
    ));
    lines.extend(report.days.iter().map(|(day, turnover)| day_words(*day, turnover)));
    let beside = if online { ", beside the running server" } else { "" };
    lines.push(format!("clean: {} records, {rate} records/s{beside}", report.records));
    lines.join("\n")
}

fn shard_words(shard: &ShardReport) -> String {
    let ShardReport { identity, from, checkpoint, upto, records } = shard;
    let since = match checkpoint {
        None => "complete from its first batch".to_owned(),
        Some(number) => {
            format!("complete from there; what was before is as checkpoint {number} says")
        }
    };
    let (shard, shards) = (identity.shard, identity.shards);
    format!("shard {shard} of {shards}: {records} records, positions {from} to {upto}, {since}")
}

fn ledger_words(report: &Report, compared: &Compared) -> String {
    let Compared { bookings, fen, cursors, passed_over } = compared;
    let shards = report.shards.iter().zip(cursors);
    let at: Vec<String> =
        shards.map(|(shard, at)| format!("shard {} up to {at}", shard.identity.shard)).collect();
    let skipped = if *passed_over > 0 {
        format!("; {passed_over} records were passed over by an operator")
    } else {
        String::new()
    };
    format!(
        "ledger: {bookings} credits and refunds ({}) are each booked once, {}; its sums hold{skipped}",
        yuan_sum(*fen),
        at.join(", ")
    )
}

/// The date of a day since the Unix epoch.
fn date(day: u32) -> String {
    let moment = UNIX_EPOCH + Duration::from_secs(u64::from(day) * 86_400);
    humantime::format_rfc3339_seconds(moment).to_string().chars().take(10).collect()
}

fn day_words(day: u32, turnover: &Turnover) -> String {
    let one = |sum: &Sum, what: &str| format!("{} {what} ({})", sum.count, yuan_sum(sum.fen));
    let Turnover { funded, claimed, held, refunded, returned } = turnover;
    let mut all = vec![one(funded, "funded"), one(claimed, "claimed"), one(refunded, "refunded")];
    if held.count > 0 {
        all.push(one(held, "held"));
    }
    if returned.count > 0 {
        all.push(one(returned, "late payments returned"));
    }
    format!("{}: {}", date(day), all.join(", "))
}

fn report_json(report: &Report, online: bool) -> Value {
    let shard = |s: &ShardReport| {
        json!({
            "shard": s.identity.shard, "shards": s.identity.shards, "from": s.from.0,
            "checkpoint": s.checkpoint, "upto": s.upto.0, "records": s.records,
        })
    };
    let ledger = |compared: &Compared| {
        json!({
            "bookings": compared.bookings, "fen": sum_json(compared.fen),
            "cursors": compared.cursors, "passed_over": compared.passed_over,
        })
    };
    let balance = &report.balance;
    json!({
        "ok": true, "online": online, "records": report.records, "envelopes": report.envelopes,
        "shards": report.shards.iter().map(shard).collect::<Vec<_>>(),
        "before_fen": sum_json(balance.before), "funded_fen": sum_json(balance.funded),
        "claimed_fen": sum_json(balance.claimed), "refunded_fen": sum_json(balance.refunded),
        "left_fen": sum_json(balance.left), "held_fen": sum_json(balance.held),
        "ledger": report.ledger.as_ref().map(ledger),
        "days": report.days.iter().map(|(day, t)| day_json(*day, t)).collect::<Vec<_>>(),
    })
}

fn day_json(day: u32, turnover: &Turnover) -> Value {
    let one = |sum: &Sum| json!({ "count": sum.count, "fen": sum_json(sum.fen) });
    json!({
        "day": date(day), "funded": one(&turnover.funded), "claimed": one(&turnover.claimed),
        "held": one(&turnover.held), "refunded": one(&turnover.refunded), "returned": one(&turnover.returned),
    })
}

/// A sum as JSON carries it: a number as long as that has all its bits.
fn sum_json(fen: u128) -> Value {
    u64::try_from(fen).map_or_else(|_| fen.to_string().into(), Into::into)
}
