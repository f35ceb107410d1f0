//! `hb verify`: what a server told of its draws before anybody claimed, against
//! what it tells now. Everything is computed here; nothing of it is believed.

use std::fmt::Write;

use anyhow::Result;
use hongbao::engine::commitment::{Hash, Terms, receipt, verify, verify_prizes};
use hongbao::units::{EnvelopeId, EnvelopeState, Fen, Seed, Split};
use hongbao::wire::{Prize, Reveal, Row, Summary};
use serde_json::{Value, json};

use crate::args::VerifyArgs;
use crate::exit::{AuditFailed, NotYet};
use crate::money::yuan;
use crate::output::{Output, id};
use crate::target::Target;

/// A closed envelope, whole.
struct Told {
    envelope: EnvelopeId,
    reveal: Reveal,
    seed: Seed,
    summary: Summary,
    rows: Vec<Row>,
    /// The kinds of prizes, of a campaign.
    prizes: Vec<Prize>,
}

/// `hb verify`.
pub(crate) fn run(target: &Target, args: &VerifyArgs, output: Output) -> Result<()> {
    let told = ask(target, args.envelope)?;
    let last = check(&told, args.commitment)?;
    let receipts = if args.receipts { chain(&told) } else { Vec::new() };
    let json = json!({
        "envelope": id(told.envelope), "verified": true, "claims": told.rows.len(),
        "commitment": hex::encode(told.reveal.commitment),
        "commitment_given": args.commitment.is_some(), "nonce": told.reveal.nonce,
        "seed": hex::encode(seed_bytes(told.seed)), "last_receipt": hex::encode(last),
        "receipts": args.receipts.then(|| receipts_json(&told, &receipts)),
    });
    output.print(&json, || words(&told, args, &last, &receipts));
    Ok(())
}

fn ask(target: &Target, envelope: EnvelopeId) -> Result<Told> {
    let mut client = target.connect()?;
    let reveal = client.reveal(envelope)?;
    let not_yet =
        || NotYet(format!("envelope {envelope} is not closed yet: its seed is shown then"));
    let seed = reveal.seed.ok_or_else(not_yet)?;
    let summary = client.show(envelope)?;
    // What is closed changes no more, so all three belong together.
    let rows = client.detail(envelope)?.rows;
    let prizes = match summary.split {
        Split::Prizes => client.campaign_status(envelope)?.prizes,
        _ => Vec::new(),
    };
    let prizes = prizes.into_iter().map(|(prize, _)| prize).collect();
    Ok(Told { envelope, reveal, seed, summary, rows, prizes })
}

/// The last receipt, or the first thing that does not hold.
fn check(told: &Told, given: Option<Hash>) -> Result<Hash, AuditFailed> {
    let Told { envelope, reveal, summary, rows, .. } = told;
    let failed = |what: &str| AuditFailed(format!("envelope {envelope} does not verify: {what}"));
    if given.is_some_and(|given| given != reveal.commitment) {
        return Err(failed("the server tells another commitment now than the one you gave"));
    }
    if u32::try_from(rows.len()).ok() != Some(summary.claimed) {
        return Err(failed("there are not as many claims listed as the summary counts"));
    }
    let claimed: Fen = rows.iter().map(|row| Fen::from(row.amount)).sum();
    let was_paid = summary.state != EnvelopeState::Voided;
    if was_paid && claimed + summary.refunded + summary.left != summary.total {
        return Err(failed("claimed, refunded and left are not the total"));
    }
    let terms = terms(told);
    let (commitment, rows) = (&reveal.commitment, rows.iter().copied());
    let last = match summary.split {
        Split::Prizes => verify_prizes(&terms, told.seed, commitment, &told.prizes, rows),
        _ => verify(&terms, told.seed, commitment, rows),
    };
    last.map_err(|error| failed(&error.to_string()))
}

fn terms(told: &Told) -> Terms {
    let Summary { total, shares, share_max, split, .. } = told.summary;
    let (envelope, nonce) = (told.envelope, told.reveal.nonce);
    Terms { envelope, nonce, total, shares, share_max, split }
}

/// The receipt of each claim.
fn chain(told: &Told) -> Vec<Hash> {
    let ranked = (0..).zip(&told.rows);
    let next = |last: &mut Hash, (rank, row): (u32, &Row)| {
        *last = receipt(last, rank, row);
        Some(*last)
    };
    ranked.scan(told.reveal.commitment, next).collect()
}

fn seed_bytes(seed: Seed) -> Vec<u8> {
    seed.0.iter().flat_map(|half| half.to_le_bytes()).collect()
}

fn receipts_json(told: &Told, receipts: &[Hash]) -> Vec<Value> {
    let row = |(row, hash): (&Row, &Hash)| {
        let receipt = hex::encode(hash);
        json!({ "user": id(row.user), "amount_fen": row.amount, "at": row.at, "receipt": receipt })
    };
    told.rows.iter().zip(receipts).map(row).collect()
}

fn words(told: &Told, args: &VerifyArgs, last: &Hash, receipts: &[Hash]) -> String {
    let (envelope, claims) = (told.envelope, told.rows.len());
    let whose = match args.commitment {
        Some(_) => "as you gave it",
        None => "as the server tells it; give the one of `hb send` with --commitment",
    };
    let commitment = hex::encode(told.reveal.commitment);
    let mut text = format!(
        "envelope {envelope} verifies: all {claims} amounts follow from its seed\n  \
         commitment   {commitment} ({whose})\n  last receipt {}",
        hex::encode(last)
    );
    for (row, receipt) in told.rows.iter().zip(receipts) {
        let (amount, receipt) = (yuan(row.amount.into()), hex::encode(receipt));
        let _ = write!(text, "\n  {amount:>14}  user {}  {receipt}", row.user); // a String takes all
    }
    text
}
