//! The ledger over HTTP: balances, deposits and withdrawals, lists, and what to
//! do about a follower that has stopped.
//!
//! What is asked goes to the follower's thread and comes back from there; no
//! shard hears of it. Ids are decimal strings in the answers, because 64 bits do
//! not survive the readers that keep numbers as doubles.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::http::{Asked, Desk, is_from_browser, wall};
use super::ledger_lists;
use super::status::FollowerStatus;
use crate::follow::ledger::{Accounts, Balance, LedgerError};
use crate::follow::{Desk as LedgerDesk, NotNow};
use crate::units::{Fen, UserId};

/// How long an operator's request waits for its turn: for some transactions,
/// and for a withdrawal as long as a backlog takes.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/", get(status))
        .route("/balance", get(balance))
        .route("/deposit", post(deposit))
        .route("/withdraw", post(withdraw))
        .route("/sent", get(ledger_lists::sent))
        .route("/received", get(ledger_lists::received))
        .route("/days", get(ledger_lists::days))
        .route("/envelope", get(ledger_lists::envelope))
        .route("/retry", post(retry))
        .route("/skip", post(skip))
}

/// Why there is no answer.
pub(super) struct Refusal(StatusCode, String);

impl Refusal {
    pub(super) fn not_found(why: String) -> Self {
        Self(StatusCode::NOT_FOUND, why)
    }

    fn bad(why: impl Display) -> Self {
        Self(StatusCode::BAD_REQUEST, why.to_string())
    }
}

impl From<NotNow> for Refusal {
    fn from(not_now: NotNow) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, not_now.0)
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        let code = match error {
            LedgerError::Insufficient { .. } | LedgerError::Conflict(_) => StatusCode::CONFLICT,
            LedgerError::Uncountable(_) => StatusCode::BAD_REQUEST,
            LedgerError::Unreachable(_) | LedgerError::Poison { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Self(code, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

pub(super) type Answer = Result<Response, Refusal>;

pub(super) fn json_answer(value: &impl Serialize) -> Answer {
    let text = serde_json::to_string(value)
        .map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// A number as text or as a number; both keep all 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(pub(super) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        match Either::deserialize(from) {
            Ok(Either::Number(number)) => Ok(Self(number)),
            Ok(Either::Text(text)) if text.parse::<u64>().is_ok() => {
                Ok(Self(text.parse().unwrap_or_default()))
            }
            _ => Err(serde::de::Error::custom("a whole number below 2^64 is wanted")),
        }
    }
}

fn ledger_of(desk: &Desk) -> Result<&LedgerDesk<dyn Accounts>, Refusal> {
    let none = "this server has no ledger: it was started with `ledger = none`";
    desk.ledger.as_ref().ok_or_else(|| Refusal(StatusCode::NOT_FOUND, none.to_owned()))
}

/// What the follower's thread works on.
type Books = dyn Accounts;

/// When a request's turn comes.
#[derive(Clone, Copy)]
pub(super) enum Turn {
    /// Between two transactions.
    Next,
    /// When everything that is committed now is applied.
    CaughtUp,
}

/// Does `work` on the follower's thread and waits for what it says.
pub(super) async fn asked<T: Send + 'static>(
    desk: &Desk,
    turn: Turn,
    work: impl FnOnce(&mut Books) -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, Refusal> {
    let ledger = ledger_of(desk)?;
    let (say, said) = oneshot::channel();
    let reply = move |answer| drop(say.send(answer)); // whoever asked may be gone
    match turn {
        Turn::Next => ledger.ask(work, reply)?,
        Turn::CaughtUp => ledger.ask_caught_up(work, reply)?,
    }
    Ok(heard(said).await???)
}

/// Waits for an answer of the follower's thread.
async fn heard<T>(said: oneshot::Receiver<T>) -> Result<T, NotNow> {
    match tokio::time::timeout(PATIENCE, said).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(NotNow("the server is draining".to_owned())),
        Err(_) => Err(NotNow(format!(
            "not done within {} s; it may still be, so ask again with the same reference",
            PATIENCE.as_secs()
        ))),
    }
}

async fn status(State(desk): Asked) -> Answer {
    let report = ledger_of(&desk)?.board().report(wall());
    json_answer(&FollowerStatus::of(Some(&report)))
}

#[derive(Deserialize)]
struct OfUser {
    user: Number,
}

/// What a query string says, or what is wrong with it.
pub(super) fn query<T: DeserializeOwned>(
    found: Result<Query<T>, axum::extract::rejection::QueryRejection>,
) -> Result<T, Refusal> {
    found.map(|Query(found)| found).map_err(|rejection| Refusal::bad(rejection.body_text()))
}

pub(super) type Asking<T> = Result<Query<T>, axum::extract::rejection::QueryRejection>;

fn balance_json(user: UserId, balance: Balance) -> Value {
    json!({
        "user": user.to_string(), "available_fen": balance.available, "held_fen": balance.held,
    })
}

async fn balance(State(desk): Asked, asking: Asking<OfUser>) -> Answer {
    let user = UserId(query(asking)?.user.0);
    let balance = asked(&desk, Turn::Next, move |ledger| ledger.balance(user)).await?;
    json_answer(&balance_json(user, balance))
}

/// Money that goes in or out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    user: Number,
    amount_fen: Fen,
    /// The same again changes nothing.
    reference: Number,
}

fn body<T: DeserializeOwned>(headers: &HeaderMap, bytes: &Bytes) -> Result<T, Refusal> {
    if is_from_browser(headers) {
        let words = "a browser may not move money; use `hb`".to_owned();
        return Err(Refusal(StatusCode::FORBIDDEN, words));
    }
    serde_json::from_slice(bytes).map_err(Refusal::bad)
}

fn transfer(headers: &HeaderMap, bytes: &Bytes) -> Result<(UserId, Fen, u64), Refusal> {
    let Transfer { user, amount_fen, reference } = body(headers, bytes)?;
    if amount_fen == 0 {
        return Err(Refusal::bad("amount_fen must be at least 1"));
    }
    Ok((UserId(user.0), amount_fen, reference.0))
}

async fn deposit(State(desk): Asked, headers: HeaderMap, bytes: Bytes) -> Answer {
    let (user, amount, reference) = transfer(&headers, &bytes)?;
    let at = wall().seconds();
    let work = move |ledger: &mut Books| ledger.deposit(user, amount, reference, at);
    let balance = asked(&desk, Turn::Next, work).await?;
    json_answer(&balance_json(user, balance))
}

async fn withdraw(State(desk): Asked, headers: HeaderMap, bytes: Bytes) -> Answer {
    let (user, amount, reference) = transfer(&headers, &bytes)?;
    let at = wall().seconds();
    let work = move |ledger: &mut Books| ledger.withdraw(user, amount, reference, at);
    let balance = asked(&desk, Turn::CaughtUp, work).await?;
    json_answer(&balance_json(user, balance))
}

async fn retry(State(desk): Asked, headers: HeaderMap) -> Answer {
    if is_from_browser(&headers) {
        return Err(Refusal(StatusCode::FORBIDDEN, "use `hb ledger retry`".to_owned()));
    }
    let (say, said) = oneshot::channel();
    ledger_of(&desk)?.retry(move |answer| drop(say.send(answer)))?;
    json_answer(&json!({ "done": heard(said).await?? }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    reason: String,
}

async fn skip(State(desk): Asked, headers: HeaderMap, bytes: Bytes) -> Answer {
    let Skip { reason } = body(&headers, &bytes)?;
    if reason.trim().is_empty() {
        return Err(Refusal::bad("a skip needs a reason: it is kept in the ledger"));
    }
    let (say, said) = oneshot::channel();
    ledger_of(&desk)?.skip(reason, move |answer| drop(say.send(answer)))?;
    json_answer(&json!({ "done": heard(said).await?? }))
}
