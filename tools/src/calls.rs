//! The commands about an open envelope: grab, claim, show, detail, cancel.

use std::fmt::Write;

use anyhow::{Context, Result};
use hongbao::client::{Address, Client, Look};
use hongbao::units::{EnvelopeState, Split};
use hongbao::wire::{Row, Summary};
use serde_json::{Value, json};

use crate::args::{CancelArgs, EnvelopeArgs, PairArgs};
use crate::money::yuan;
use crate::output::{Output, id};

/// `hb grab`.
pub(crate) fn grab(addr: &Address, pair: &PairArgs, output: Output) -> Result<()> {
    match Client::connect(addr)?.grab(pair.envelope, pair.user)? {
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
pub(crate) fn claim(addr: &Address, pair: &PairArgs, output: Output) -> Result<()> {
    let claimed = Client::connect(addr)?.claim(pair.envelope, pair.user)?;
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
pub(crate) fn show(addr: &Address, one: &EnvelopeArgs, output: Output) -> Result<()> {
    let summary = Client::connect(addr)?.show(one.envelope)?;
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
        "split": split_word(summary.split),
    })
}

fn summary_words(one: &EnvelopeArgs, s: &Summary) -> String {
    let given = s.total.saturating_sub(s.left).saturating_sub(s.refunded);
    format!(
        "envelope {}: {}\n  from user {} (order {}), {} in {} shares, {}\n  \
         claimed {} in {} shares, left {}, refunded {}\n  expires at {}",
        one.envelope,
        state_word(s.state),
        s.sender,
        s.order,
        yuan(s.total),
        s.shares,
        split_word(s.split),
        yuan(given),
        s.claimed,
        yuan(s.left),
        yuan(s.refunded),
        moment(s.expires_at),
    )
}

/// `hb detail`.
pub(crate) fn detail(addr: &Address, one: &EnvelopeArgs, output: Output) -> Result<()> {
    let detail = Client::connect(addr)?.detail(one.envelope).context("reading the detail")?;
    let best = luckiest(&detail.rows);
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
pub(crate) fn cancel(addr: &Address, by: &CancelArgs, output: Output) -> Result<()> {
    let refunded = Client::connect(addr)?.cancel(by.envelope, by.sender)?;
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

fn split_word(split: Split) -> &'static str {
    match split {
        Split::Equal => "equal",
        Split::DoubleMean => "random",
        Split::LineCutting => "cut",
    }
}

fn moment(seconds: u32) -> String {
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
