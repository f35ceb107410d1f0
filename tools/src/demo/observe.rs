//! Reading everything back over the wire, for the audit.

use std::collections::HashMap;

use anyhow::Result;
use hongbao::client::Client;
use hongbao::limits::DETAIL_ROWS_MAX;
use hongbao::units::EnvelopeId;
use hongbao::wire::{Reply, ReplyBody, Request, Status};

use super::audit::Shown;
use super::book::Book;

/// Requests in flight while reading: their replies stay well within the
/// socket buffers.
const WINDOW: usize = 128;

/// Asks for every envelope and every share of the book.
pub(super) fn observe(client: &mut Client, book: &Book) -> Result<Shown> {
    let mut shown = Shown::default();
    let mut summaries = HashMap::new();
    let mut rows = HashMap::new();
    let mut longer = Vec::new();
    let summed = book.envelopes.keys().map(|&envelope| Request::Show { envelope });
    ask_all(client, summed, |request, reply| {
        if let (Some(envelope), ReplyBody::Summary(summary)) = (request.envelope(), reply.body) {
            summaries.insert(envelope, summary);
        }
    })?;
    let details = book.envelopes.keys().map(|&envelope| first_page(envelope));
    ask_all(client, details, |request, reply| {
        if let (Some(envelope), ReplyBody::Detail(page)) = (request.envelope(), reply.body) {
            if usize::try_from(page.claimed).is_ok_and(|all| all > page.rows.len()) {
                longer.push(envelope);
            }
            rows.insert(envelope, page.rows);
        }
    })?;
    for envelope in longer {
        rows.insert(envelope, client.detail(envelope)?.rows);
    }
    for (envelope, summary) in summaries {
        let rows = rows.remove(&envelope).unwrap_or_default();
        shown.envelopes.insert(envelope, (summary, rows));
    }
    repeat_claims(client, book, &mut shown)?;
    Ok(shown)
}

fn first_page(envelope: EnvelopeId) -> Request {
    Request::Detail { envelope, from: 0, rows_max: DETAIL_ROWS_MAX }
}

/// Claims every told share once more; this comes last, because a server that
/// had lost one would give a new one.
fn repeat_claims(client: &mut Client, book: &Book, shown: &mut Shown) -> Result<()> {
    let claims = book.claims.keys().map(|&(envelope, user)| Request::Claim { envelope, user });
    ask_all(client, claims, |request, reply| {
        if let (Request::Claim { envelope, user }, Status::AlreadyClaimed, ReplyBody::Amount(fen)) =
            (*request, reply.status, reply.body)
        {
            shown.repeats.insert((envelope, user), fen);
        }
    })
}

/// Asks many requests, some in flight at a time.
fn ask_all(
    client: &mut Client,
    requests: impl Iterator<Item = Request>,
    mut answer: impl FnMut(&Request, Reply),
) -> Result<()> {
    let mut requests = requests.peekable();
    let mut asked = HashMap::with_capacity(WINDOW);
    while requests.peek().is_some() {
        for request in requests.by_ref().take(WINDOW) {
            asked.insert(client.submit(&request), request);
        }
        client.flush()?;
        while !asked.is_empty() {
            let reply = client.receive()?;
            if let Some(request) = asked.remove(&reply.tag) {
                answer(&request, reply);
            }
        }
    }
    Ok(())
}
