//! `hb journal verify|dump|stat`: a journal on disk, looked at and never
//! touched.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use hongbao::engine::Record;
use hongbao::journal::inspect::{
    self, CheckpointReport, FollowerReport, SegmentReport, ShardReport,
};
use hongbao::journal::{BatchHeader, Position, RecoveryError, Row};
use hongbao::units::Time;
use serde_json::{Value, json};

use crate::exit::AuditFailed;
use crate::money::yuan;
use crate::output::{Output, id};

/// `hb journal`.
#[derive(Subcommand)]
pub(crate) enum JournalCommand {
    /// Read every byte and say whether a server would start on it
    Verify(DataArgs),
    /// Print every record, one a line
    Dump(DataArgs),
    /// Show the segments and how full they are
    Stat(DataArgs),
}

/// Where the journal is.
#[derive(Args)]
pub(crate) struct DataArgs {
    /// The server's data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// `hb journal`.
pub(crate) fn run(command: &JournalCommand, output: Output) -> Result<()> {
    match command {
        JournalCommand::Verify(args) => verify(&args.data, output),
        JournalCommand::Dump(args) => dump(&args.data, output),
        JournalCommand::Stat(args) => stat(&args.data, output),
    }
}

fn verify(data: &Path, output: Output) -> Result<()> {
    let reports = some(data, inspect::verify(data).map_err(failed)?)?;
    refuse_damaged_checkpoints(&reports)?;
    let shards: Vec<Value> = reports.iter().map(shard_json).collect();
    output.print(&json!({ "ok": true, "shards": shards }), || {
        reports.iter().map(shard_words).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

fn stat(data: &Path, output: Output) -> Result<()> {
    let reports = some(data, inspect::stat(data).map_err(failed)?)?;
    let shards: Vec<Value> = reports.iter().map(shard_with_segments_json).collect();
    output.print(&json!({ "shards": shards }), || {
        let words = |report: &ShardReport| {
            let checkpoints = report.checkpoints.iter().map(checkpoint_words);
            let segments = report.segments.iter().map(segment_words);
            let words = checkpoints.chain(segments).collect::<String>();
            shard_words(report) + &words + &kept_words(report)
        };
        reports.iter().map(words).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

fn dump(data: &Path, output: Output) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let walked = inspect::each_record(data, |position, batch, record| {
        if written.is_ok() {
            written = if output.json {
                writeln!(out, "{}", record_json(position, batch, record))
            } else {
                writeln!(out, "{position:>12}  {}", record_words(record))
            };
        }
    });
    // Whoever reads the dump may have seen enough: `hb journal dump | head`.
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        other => other?,
    }
    walked.map_err(failed)
}

/// A start survives a damaged checkpoint if it has another; a verification
/// does not pass it.
fn refuse_damaged_checkpoints(reports: &[ShardReport]) -> Result<()> {
    let mut all = reports.iter().flat_map(|report| &report.checkpoints);
    match all.find_map(|one| one.checked.as_ref().err().map(|fault| (&one.file, fault))) {
        None => Ok(()),
        Some((file, fault)) => {
            let fix = "a start uses another one and removes this; check the disk";
            Err(AuditFailed(format!("{file}: {fault}; {fix}")).into())
        }
    }
}

/// Damage is what a verification looks for; a disk that cannot be read is not.
fn failed(error: RecoveryError) -> anyhow::Error {
    match error {
        RecoveryError::Io { .. } => error.into(),
        damage => AuditFailed(damage.to_string()).into(),
    }
}

fn some(data: &Path, reports: Vec<ShardReport>) -> Result<Vec<ShardReport>> {
    if reports.is_empty() {
        bail!("{}: no journal is here; give the server's data directory", data.display());
    }
    Ok(reports)
}

fn end_words(row: Row) -> String {
    match row {
        Row::CleanEnd => "a clean end".into(),
        Row::StaleBytes => "a clean end, then old bytes of a recycled segment".into(),
        Row::TornTail { from } => {
            format!("a torn tail from {from}, never acknowledged; the next start cuts it")
        }
        refused => format!("damage: {refused:?}"),
    }
}

fn shard_words(report: &ShardReport) -> String {
    let ShardReport { identity, records, batches, epochs, end, durable_upto, .. } = report;
    format!(
        "shard {} of {}, cell {}: ok, {}\n  {records} records in {batches} batches of {epochs} \
         runs, up to position {end}, known committed up to {durable_upto}",
        identity.shard,
        identity.shards,
        identity.cell,
        end_words(report.row),
    )
}

fn segment_words(segment: &SegmentReport) -> String {
    let SegmentReport { file, bytes, bytes_used, batches, records, .. } = segment;
    if !segment.walked {
        return format!("\n  {file}: {bytes} bytes, before the oldest whole checkpoint, not read");
    }
    let freeable = if segment.freeable { ", may be freed" } else { "" };
    format!(
        "\n  {file}: {bytes_used} of {bytes} bytes, {records} records in {batches} \
         batches{freeable}"
    )
}

fn checkpoint_words(checkpoint: &CheckpointReport) -> String {
    let file = &checkpoint.file;
    match &checkpoint.checked {
        Ok(info) => format!(
            "\n  {file}: whole, {} bytes, begun at position {} {} s ago, ends at {}",
            info.bytes,
            info.began,
            age_s(info.began_at),
            info.end
        ),
        Err(fault) => format!("\n  {file}: DAMAGED: {fault}"),
    }
}

fn kept_words(report: &ShardReport) -> String {
    let cursors = report.followers.iter().map(|f| format!("{} at {}", f.name, f.cursor));
    let mut followers = cursors.collect::<Vec<_>>().join(", ");
    if followers.is_empty() {
        followers.push_str("none");
    }
    format!(
        "\n  followers: {followers}\n  kept from position {}; {} bytes of segments before it may \
         be freed",
        report.keep_from, report.freeable_bytes
    )
}

/// Whole seconds since `time`, by this machine's clock.
fn age_s(time: Time) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs().saturating_sub(time.0 / 1000)
}

fn shard_json(report: &ShardReport) -> Value {
    let torn_from = match report.row {
        Row::TornTail { from } => Some(from.0),
        _ => None,
    };
    json!({
        "cell": report.identity.cell, "shard": report.identity.shard,
        "shards": report.identity.shards, "end": report.end.0,
        "durable_upto": report.durable_upto.0, "records": report.records,
        "batches": report.batches, "epochs": report.epochs,
        "segments": report.segments.len(), "torn_from": torn_from,
    })
}

fn shard_with_segments_json(report: &ShardReport) -> Value {
    let segment = |s: &SegmentReport| {
        json!({
            "file": s.file, "sequence": s.sequence, "base": s.base, "bytes": s.bytes,
            "bytes_used": s.bytes_used, "read": s.walked, "freeable": s.freeable, "batches": s.batches, "records": s.records,
            "first_time_ms": s.first_time.map(|time| time.0),
            "last_time_ms": s.last_time.map(|time| time.0),
        })
    };
    let mut shard = shard_json(report);
    shard["walked_from_checkpoint"] = report.walked_from.into();
    shard["keep_from"] = report.keep_from.0.into();
    shard["freeable_bytes"] = report.freeable_bytes.into();
    let follower = |f: &FollowerReport| json!({ "name": f.name, "cursor": f.cursor.0 });
    shard["followers"] = report.followers.iter().map(follower).collect();
    shard["checkpoints"] = report.checkpoints.iter().map(checkpoint_json).collect();
    shard["segments"] = report.segments.iter().map(segment).collect();
    shard
}

fn checkpoint_json(checkpoint: &CheckpointReport) -> Value {
    let mut json = json!({ "file": checkpoint.file, "number": checkpoint.number });
    match &checkpoint.checked {
        Ok(info) => {
            json["valid"] = true.into();
            json["begin"] = info.began.0.into();
            json["end"] = info.end.0.into();
            json["bytes"] = info.bytes.into();
            json["began_at_ms"] = info.began_at.0.into();
            json["age_s"] = age_s(info.began_at).into();
        }
        Err(fault) => {
            json["valid"] = false.into();
            json["fault"] = fault.to_string().into();
        }
    }
    json
}

pub(crate) fn record_words(record: &Record) -> String {
    match record {
        Record::Issued(f) => format!(
            "issued   envelope {} by user {} (order {}): {} in {} shares",
            f.envelope,
            f.sender,
            f.order,
            yuan(f.total),
            f.shares
        ),
        Record::Claimed(c) => {
            let amount = yuan(c.amount.into());
            format!(
                "claimed  envelope {} by user {}: {amount}, rank {}",
                c.envelope, c.user, c.rank
            )
        }
        Record::Closed(c) => {
            format!("closed   envelope {} ({:?}): {} back", c.envelope, c.cause, yuan(c.refunded))
        }
        Record::Recycled(r) => {
            let (claimed, total) = (yuan(r.claimed), yuan(r.total));
            format!("recycled envelope {}: {claimed} of {total} claimed", r.envelope)
        }
        Record::Paid(p) => {
            let (total, source) = (yuan(p.total), p.source);
            format!("paid     envelope {}: {total} ({source:?}, payment {})", p.envelope, p.payment)
        }
        Record::Voided(v) => {
            format!("voided   envelope {} ({:?}): {} not paid", v.envelope, v.cause, yuan(v.total))
        }
        Record::Returned(r) => {
            let (amount, payment) = (yuan(r.amount), r.payment);
            format!("returned envelope {}: {amount} of payment {payment}", r.envelope)
        }
        Record::TermsPart(p) => {
            format!("terms    envelope {}: {} bytes, part {}", p.envelope, p.length, p.number)
        }
        Record::Guessed(g) => {
            format!(
                "guessed  envelope {} by user {}: wrong, after {}",
                g.envelope, g.user, g.guesses
            )
        }
        Record::Planned(p) => format!("planned  campaign {}: {:?}", p.envelope, p.part),
        Record::Commanded(c) => format!("told     campaign {}: {:?}", c.envelope, c.command),
        Record::Held(h) => format!(
            "held     envelope {} user {}: {} by rule {}",
            h.claimed.envelope,
            h.claimed.user,
            yuan(h.claimed.amount.into()),
            h.rule.name()
        ),
        Record::Resolved(r) => {
            let what = format!("{:?}", r.resolution).to_lowercase();
            let (amount, by) = (yuan(r.amount.into()), format!("{:?}", r.by).to_lowercase());
            format!("resolved envelope {} user {}: {amount} {what} by {by}", r.envelope, r.user)
        }
        Record::Marked(m) => {
            let standing = &m.standing;
            let (grade, lists) = (standing.grade, standing.lists());
            format!("marked   user {}: grade {grade}, lists {lists}", m.user)
        }
        Record::Denied(d) => format!(
            "denied   envelope {} user {}: {} by rule {}",
            d.envelope,
            d.user,
            yuan(d.amount.into()),
            d.rule.name()
        ),
        Record::Tagged(t) => {
            let said = [("device", t.tags.device), ("address", t.tags.address)];
            let said = said.into_iter().filter_map(|(name, tag)| Some(format!(" {name} {}", tag?)));
            format!("tagged   envelope {} user {}:{}", t.envelope, t.user, said.collect::<String>())
        }
    }
}

fn record_json(position: Position, batch: &BatchHeader, record: &Record) -> Value {
    let mut json = record_fields(record);
    json["position"] = position.0.into();
    json["batch"] = batch.batch.into();
    json
}

/// What a record says. The seed stays out, it would tell the coming amounts; and
/// so do terms, which have a password's hash in them.
pub(crate) fn record_fields(record: &Record) -> Value {
    match record {
        Record::Issued(f) => json!({
            "type": "issued", "envelope": id(f.envelope), "sender": id(f.sender), "order": id(f.order),
            "payment": id(f.payment), "total_fen": f.total, "shares": f.shares,
            "share_max_fen": f.share_max, "lifetime_s": f.lifetime_s, "at": f.at,
            "split": f.split.code(), "source": f.source.code(), "pay_within_s": f.pay_within_s,
            "terms_parts": f.terms_parts,
        }),
        Record::Claimed(c) => json!({
            "type": "claimed", "envelope": id(c.envelope), "user": id(c.user),
            "amount_fen": c.amount, "rank": c.rank, "at": c.at,
        }),
        Record::Closed(c) => json!({
            "type": "closed", "envelope": id(c.envelope), "sender": id(c.sender), "refunded_fen": c.refunded,
            "held_fen": c.held, "cause": format!("{:?}", c.cause).to_lowercase(), "at": c.at,
        }),
        Record::Recycled(r) => json!({
            "type": "recycled", "envelope": id(r.envelope), "shares_claimed": r.shares_claimed,
            "claimed_fen": r.claimed, "total_fen": r.total, "at": r.at,
        }),
        Record::Paid(p) => json!({
            "type": "paid", "envelope": id(p.envelope), "sender": id(p.sender),
            "payment": id(p.payment), "total_fen": p.total, "source": p.source.code(), "at": p.at,
        }),
        Record::Voided(v) => json!({
            "type": "voided", "envelope": id(v.envelope), "sender": id(v.sender),
            "total_fen": v.total, "source": v.source.code(),
            "cause": format!("{:?}", v.cause).to_lowercase(), "at": v.at,
        }),
        Record::Returned(r) => json!({
            "type": "returned", "envelope": id(r.envelope), "sender": id(r.sender),
            "payment": id(r.payment), "amount_fen": r.amount, "at": r.at,
        }),
        Record::TermsPart(p) => json!({
            "type": "terms_part", "envelope": id(p.envelope), "number": p.number, "bytes": p.length,
        }),
        Record::Guessed(g) => json!({
            "type": "guessed", "envelope": id(g.envelope), "user": id(g.user),
            "guesses_before": g.guesses, "at": g.at,
        }),
        Record::Planned(p) => {
            let (part, number, numbers) = p.part.numbers();
            json!({
                "type": "planned", "envelope": id(p.envelope), "part": part, "number": number,
                "numbers": numbers, "at": p.at,
            })
        }
        Record::Commanded(c) => json!({
            "type": "commanded", "envelope": id(c.envelope), "command": c.command.code(), "at": c.at,
        }),
        Record::Held(h) => json!({
            "type": "held", "envelope": id(h.claimed.envelope), "user": id(h.claimed.user),
            "amount_fen": h.claimed.amount, "rank": h.claimed.rank, "at": h.claimed.at,
            "rule": h.rule.name(), "until": h.until,
        }),
        Record::Resolved(r) => json!({
            "type": "resolved", "envelope": id(r.envelope), "user": id(r.user),
            "sender": id(r.sender), "amount_fen": r.amount, "at": r.at,
            "resolution": r.resolution.code(), "by": r.by.code(),
        }),
        Record::Marked(m) => json!({
            "type": "marked", "user": id(m.user), "partition": m.partition,
            "grade": m.standing.grade, "lists": m.standing.lists(), "at": m.standing.at,
        }),
        Record::Denied(d) => json!({
            "type": "denied", "envelope": id(d.envelope), "user": id(d.user),
            "amount_fen": d.amount, "rule": d.rule.name(), "at": d.at,
        }),
        Record::Tagged(t) => json!({
            "type": "tagged", "envelope": id(t.envelope), "user": id(t.user),
            "device": t.tags.device.map(id), "address": t.tags.address.map(id), "at": t.at,
        }),
    }
}
