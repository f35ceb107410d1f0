//! The commands about an open envelope: grab, claim, show, detail, cancel.

use std::fmt::Write;

use anyhow::{Context, Result};
use hongbao::client::Look;
use hongbao::units::{EnvelopeState, MoneySource, Split};
use hongbao::wire::{Evidence, Row, Summary};
use serde_json::{Value, json};

use crate::args::{CancelArgs, EnvelopeArgs, PairArgs};
use crate::ledger;
use crate::money::yuan;
use crate::output::{Output, id};
use crate::target::Target;
use crate::terms::ClaimArgs;

/// `hb grab`.
pub(crate) fn grab(target: &Target, pair: &PairArgs, output: Output) -> Result<()> {
    match target.connect()?.grab(pair.envelope, pair.user)? {
        Look::Left { shares } => {
            let json = json!({ "winnable": true, "shares_left": shares, "amount_fen": null });
            output.print(&json, || format!("{shares} shares left: claim now"));
        }
        Look::Has { amount } => {
            let json = json!({ "winnable": false, "shares_left": null, "amount_fen": amount });
            output.print(&json, || format!("this user has {} from it already", yuan(amount)));
        }
    }
    Ok(())
}

/// `hb claim`.
pub(crate) fn claim(target: &Target, args: &ClaimArgs, output: Output) -> Result<()> {
    let (pair, evidence) = (&args.pair, args.evidence());
    let mut client = target.connect()?;
    let claimed = if evidence == Evidence::default() {
        client.claim(pair.envelope, pair.user)?
    } else {
        client.claim_with(pair.envelope, pair.user, &evidence)?
    };
    let json = json!({
        "envelope": id(pair.envelope), "user": id(pair.user),
        "amount_fen": claimed.amount, "repeated": claimed.repeated,
    });
    output.print(&json, || {
        let already = if claimed.repeated { " (claimed before; the same share)" } else { "" };
        format!("{}{already}", yuan(claimed.amount))
    });
    Ok(())
}

/// `hb show`.
pub(crate) fn show(target: &Target, one: &EnvelopeArgs, output: Output) -> Result<()> {
    let summary = match target.connect()?.show(one.envelope) {
        Err(error) => return ledger::archived(one, error, output),
        Ok(summary) => summary,
    };
    let mut json = summary_json(&summary);
    json["envelope"] = id(one.envelope).into();
    output.print(&json, || summary_words(one, &summary));
    Ok(())
}

fn summary_json(summary: &Summary) -> Value {
    json!({
        "sender": id(summary.sender), "order": id(summary.order), "payment": id(summary.payment),
        "total_fen": summary.total, "left_fen": summary.left, "refunded_fen": summary.refunded,
        "shares": summary.shares, "claimed": summary.claimed,
        "share_max_fen": summary.share_max, "created_at": summary.created_at,
        "expires_at": summary.expires_at, "state": state_word(summary.state),
        "split": split_word(summary.split), "source": source_word(summary.source),
        "luckiest": summary.luckiest.map(|(user, _)| id(user)),
        "luckiest_fen": summary.luckiest.map(|(_, amount)| amount),
    })
}

fn summary_words(one: &EnvelopeArgs, s: &Summary) -> String {
    let (state, source) = (state_word(s.state), source_word(s.source));
    let (total, split) = (yuan(s.total), split_word(s.split));
    let mut text = format!(
        "envelope {}: {state}\n  from user {} (order {}, {source}), {total} in {} shares, {split}",
        one.envelope, s.sender, s.order, s.shares
    );
    let _ = match s.state {
        EnvelopeState::Reserved => {
            write!(text, "\n  not paid yet, lapses at {}", moment(s.expires_at))
        }
        EnvelopeState::Voided => write!(text, "\n  never paid"),
        _ => write!(text, "{}", paid_words(s)),
    }; // a String takes all
    text
}

/// What became of the money of an envelope that has opened.
fn paid_words(s: &Summary) -> String {
    let given = s.total.saturating_sub(s.left).saturating_sub(s.refunded);
    let (given, left, refunded) = (yuan(given), yuan(s.left), yuan(s.refunded));
    let best =
        s.luckiest.map(|(user, amount)| format!("\n  luckiest user {user} with {}", yuan(amount)));
    format!(
        "\n  claimed {given} in {} shares, left {left}, refunded {refunded}{}\n  expires at {}",
        s.claimed,
        best.unwrap_or_default(),
        moment(s.expires_at)
    )
}

/// `hb detail`.
pub(crate) fn detail(target: &Target, one: &EnvelopeArgs, output: Output) -> Result<()> {
    let detail = match target.connect()?.detail(one.envelope) {
        Err(error) => return ledger::archived(one, error, output).context("reading the detail"),
        Ok(detail) => detail,
    };
    // Before the last share is taken somebody may still be luckier.
    let is_whole = usize::try_from(detail.shares).is_ok_and(|shares| shares == detail.rows.len());
    let best = luckiest(&detail.rows).filter(|_| is_whole);
    let row_json =
        |row: &Row| json!({ "user": id(row.user), "amount_fen": row.amount, "at": row.at });
    let json = json!({
        "envelope": id(one.envelope), "shares": detail.shares, "claimed": detail.rows.len(),
        "luckiest": best.map(|row| id(row.user)),
        "rows": detail.rows.iter().map(row_json).collect::<Vec<_>>(),
    });
    output.print(&json, || {
        let mut text = format!("{} of {} shares claimed", detail.rows.len(), detail.shares);
        for row in &detail.rows {
            let star = if best == Some(row) { "  luckiest" } else { "" };
            let (user, amount, at) = (row.user, yuan(row.amount.into()), moment(row.at));
            let _ = write!(text, "\n  {amount:>14}  user {user}  {at}{star}"); // a String takes all
        }
        text
    });
    Ok(())
}

/// The earliest of the equal maxima, as the server names it.
fn luckiest(rows: &[Row]) -> Option<&Row> {
    rows.iter().rev().max_by_key(|row| row.amount)
}

/// `hb cancel`.
pub(crate) fn cancel(target: &Target, by: &CancelArgs, output: Output) -> Result<()> {
    let refunded = target.connect()?.cancel(by.envelope, by.sender)?;
    let json = json!({
        "envelope": id(by.envelope), "refunded_fen": refunded.amount, "repeated": refunded.repeated,
    });
    output.print(&json, || {
        let already = if refunded.repeated { " (cancelled before)" } else { "" };
        format!("{} went back to user {}{already}", yuan(refunded.amount), by.sender)
    });
    Ok(())
}

pub(crate) fn state_word(state: EnvelopeState) -> &'static str {
    match state {
        EnvelopeState::Open => "open",
        EnvelopeState::Exhausted => "exhausted",
        EnvelopeState::Expired => "expired",
        EnvelopeState::Cancelled => "cancelled",
        EnvelopeState::Reserved => "reserved",
        EnvelopeState::Voided => "voided",
    }
}

fn source_word(source: MoneySource) -> &'static str {
    match source {
        MoneySource::Vouched => "vouched",
        MoneySource::Balance => "balance",
        MoneySource::Payment => "payment",
    }
}

fn split_word(split: Split) -> &'static str {
    match split {
        Split::Equal => "equal",
        Split::DoubleMean => "random",
        Split::LineCutting => "cut",
        Split::Prizes => "prizes",
    }
}

pub(crate) fn moment(seconds: u32) -> String {
    let since = std::time::Duration::from_secs(seconds.into());
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hongbao::units::UserId;

    #[test]
    fn the_luckiest_is_the_earliest_of_the_equal_maxima() {
        let row = |user, amount| Row { user: UserId(user), amount, at: 0 };
        let rows = [row(1, 5), row(2, 9), row(3, 9), row(4, 1)];
        assert_eq!(luckiest(&rows).map(|row| row.user), Some(UserId(2)));
        assert_eq!(luckiest(&[]), None);
    }
}
