//! The time of the server against the clock on the wall, and an operator's word
//! that the wall is right.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::http::{Asked, Desk, is_from_browser};
use super::ledger::{Answer, json_answer};
use super::status::ClockStatus;
use crate::net::both;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/", get(shown)).route("/accept", post(accept))
}

async fn shown(State(desk): Asked) -> Answer {
    let (uptime, wall) = both();
    json_answer(&ClockStatus::of(&desk.clock.standing(uptime, wall)))
}

/// Accepts the wall as it stands, whatever it was; a word that is said twice does
/// no harm.
async fn accept(State(desk): Asked, headers: HeaderMap) -> Response {
    if is_from_browser(&headers) {
        let words = "a browser may not change the time; use `hb clock accept`\n";
        return (StatusCode::FORBIDDEN, words).into_response();
    }
    let (uptime, wall) = both();
    let (standing, before) = desk.clock.accept(uptime, wall);
    eprintln!(
        "hongbao: an operator has accepted the clock on the wall, {} ms away; time is {} ms",
        before.ahead_ms, standing.time.0
    );
    // What is due by the new time is due now.
    desk.boards().iter().for_each(|board| board.nudge());
    json_answer(&ClockStatus::of(&standing)).into_response()
}
