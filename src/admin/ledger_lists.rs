//! The ledger's lists over HTTP: sent, received, days, and the detail of an
//! envelope whose slot may be recycled.
//!
//! A page names where the next one continues; what that means is the ledger's
//! own business. Amounts are whole fen.

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::Asked;
use super::ledger::{Answer, Asking, Number, Refusal, Turn, asked, json_answer, query};
use super::view::snake;
use crate::follow::ledger::Received;
use crate::follow::ledger::lists::{Continuation, DayTotal, Envelope, Page, Rows, Sent, Share};
use crate::units::{EnvelopeId, UserId};

/// Rows of a page, where the asker does not say.
const ROWS: u32 = 50;

/// Rows of a page at most: the follower's thread waits while they are read.
const ROWS_MAX: u32 = 1000;

#[derive(Deserialize)]
pub(super) struct ListOf {
    user: Number,
    after: Option<Number>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct DetailOf {
    id: Number,
    after: Option<Number>,
    limit: Option<u32>,
}

fn page(after: Option<Number>, limit: Option<u32>) -> Page {
    let after = after.map(|Number(after)| Continuation(after));
    Page { after, limit: limit.unwrap_or(ROWS).clamp(1, ROWS_MAX) }
}

fn rows_json<T>(rows: &Rows<T>, row: impl Fn(&T) -> Value) -> Value {
    let next = rows.next.map(|Continuation(next)| next.to_string());
    json!({ "rows": rows.rows.iter().map(row).collect::<Vec<_>>(), "next": next })
}

fn received_json(row: &Received) -> Value {
    json!({ "envelope": row.envelope.to_string(), "amount_fen": row.amount, "at": row.at })
}

fn share_json(row: &Share) -> Value {
    json!({ "user": row.user.to_string(), "amount_fen": row.amount, "at": row.at })
}

fn sent_json(row: &Sent) -> Value {
    let mut json = envelope_json(row.envelope, &row.summary);
    json["at"] = row.summary.created.into();
    json
}

fn envelope_json(id: EnvelopeId, of: &Envelope) -> Value {
    json!({
        "envelope": id.to_string(), "sender": of.sender.to_string(),
        "order": of.order.to_string(), "payment": of.payment.to_string(),
        "state": snake(&format!("{:?}", of.state)), "split": snake(&format!("{:?}", of.split)),
        "source": snake(&format!("{:?}", of.source)),
        "total_fen": of.total, "shares": of.shares, "claimed": of.claims,
        "claimed_fen": of.claimed, "refunded_fen": of.refunded, "returned_fen": of.returned,
        "left_fen": of.left(), "created_at": of.created, "opened_at": of.opened,
        "closed_at": of.closed,
    })
}

pub(super) async fn received(State(desk): Asked, asking: Asking<ListOf>) -> Answer {
    let ListOf { user, after, limit } = query(asking)?;
    let page = page(after, limit);
    let rows = asked(&desk, Turn::Next, move |books| books.received(UserId(user.0), page)).await?;
    json_answer(&rows_json(&rows, received_json))
}

pub(super) async fn sent(State(desk): Asked, asking: Asking<ListOf>) -> Answer {
    let ListOf { user, after, limit } = query(asking)?;
    let page = page(after, limit);
    let rows = asked(&desk, Turn::Next, move |books| books.sent(UserId(user.0), page)).await?;
    json_answer(&rows_json(&rows, sent_json))
}

pub(super) async fn days(State(desk): Asked, asking: Asking<ListOf>) -> Answer {
    let user = UserId(query(asking)?.user.0);
    let offset_s = desk.facts.utc_offset_s;
    let (sent, received) = asked(&desk, Turn::Next, move |books| {
        Ok((books.sent_by_day(user, offset_s)?, books.received_by_day(user, offset_s)?))
    })
    .await?;
    json_answer(&json!({ "rows": days_json(&sent, &received), "next": null }))
}

/// Both kinds of totals in one row a day, newest first.
fn days_json(sent: &[DayTotal], received: &[DayTotal]) -> Vec<Value> {
    let mut days: Vec<i64> = sent.iter().chain(received).map(|total| total.day).collect();
    days.sort_unstable_by(|a, b| b.cmp(a));
    days.dedup();
    let of = |totals: &[DayTotal], day| {
        totals.iter().find(|total| total.day == day).copied().unwrap_or_default()
    };
    let row = |day| {
        let (sent, received) = (of(sent, day), of(received, day));
        json!({
            "day": day, "sent": sent.count, "sent_fen": sent.sum,
            "received": received.count, "received_fen": received.sum,
        })
    };
    days.into_iter().map(row).collect()
}

pub(super) async fn envelope(State(desk): Asked, asking: Asking<DetailOf>) -> Answer {
    let DetailOf { id, after, limit } = query(asking)?;
    let (id, page) = (EnvelopeId(id.0), page(after, limit));
    let found = asked(&desk, Turn::Next, move |books| {
        let Some(envelope) = books.envelope(id)? else { return Ok(None) };
        Ok(Some((envelope, books.envelope_claims(id, page)?)))
    });
    let Some((envelope, claims)) = found.await? else {
        return Err(Refusal::not_found(format!("the ledger knows no envelope {id}")));
    };
    let mut json = envelope_json(id, &envelope);
    let rows = rows_json(&claims, share_json);
    json["rows"] = rows["rows"].clone();
    json["next"] = rows["next"].clone();
    json_answer(&json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_both_totals_and_the_newest_is_first() {
        let total = |day, count, sum| DayTotal { day, count, sum };
        let days =
            days_json(&[total(3, 1, 10), total(1, 2, 20)], &[total(2, 3, 30), total(1, 4, 40)]);
        let found: Vec<_> =
            days.iter().map(|d| (&d["day"], &d["sent_fen"], &d["received"])).collect();
        let zero = Value::from(0);
        let [three, two, one] = [3, 2, 1].map(Value::from);
        let (ten, twenty, four) = (Value::from(10), Value::from(20), Value::from(4));
        let right = [(&three, &ten, &zero), (&two, &zero, &three), (&one, &twenty, &four)];
        assert_eq!(found, right);
    }
}
