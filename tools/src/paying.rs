//! The commands about an order and its money: send, fund, void.

use std::time::Duration;

use anyhow::{Context, Result};
use hongbao::client::{ClientError, Funded, Refusal, Sent};
use hongbao::payment_keys;
use hongbao::units::{EnvelopeId, EnvelopeState, Fen, MoneySource};
use hongbao::wire::{NotOpen, Payment, SendOrder, Status, Terms};
use serde_json::json;

use crate::args::{CancelArgs, FundArgs, SendArgs};
use crate::calls::state_word;
use crate::exit::Usage;
use crate::money::yuan;
use crate::output::{Output, id};
use crate::target::Target;
use crate::terms;

/// How long `hb send` waits for the ledger's word.
const LEDGER_PATIENCE: Duration = Duration::from_secs(10);

/// `hb send`.
pub(crate) fn send(target: &Target, args: &SendArgs, output: Output) -> Result<()> {
    let order = order_of(args)?;
    let mut client = target.connect()?;
    let terms_bytes = args.terms.bytes()?;
    let sent = match Terms::read(&terms_bytes) {
        Some(terms) if terms != Terms::default() => client.send_with(&order, &terms)?,
        _ => client.send(&order)?,
    };
    let waits = order.source == MoneySource::Balance && sent.state == EnvelopeState::Reserved;
    let state =
        if waits { client.await_money(sent.envelope, LEDGER_PATIENCE)?.state } else { sent.state };
    if state == EnvelopeState::Voided {
        let (status, detail) = (Status::NotOpen, NotOpen::NeverPaid.code());
        let refused = ClientError::Refused(Refusal { status, detail });
        return Err(refused).with_context(|| format!("envelope {}", sent.envelope));
    }
    let json = json!({
        "envelope": id(sent.envelope), "repeated": sent.repeated, "state": state_word(state),
        "total_fen": order.total, "shares": order.shares,
        "commitment": hex::encode(sent.commitment), "nonce": order.nonce,
    });
    output.print(&json, || sent_words(&order, &sent, state));
    Ok(())
}

fn sent_words(order: &SendOrder, sent: &Sent, state: EnvelopeState) -> String {
    let already = if sent.repeated { ", sent before by the same order" } else { "" };
    let (envelope, total, shares) = (sent.envelope, yuan(order.total), order.shares);
    let reserved =
        if state == EnvelopeState::Reserved { waiting(order, envelope) } else { String::new() };
    let commitment = hex::encode(sent.commitment);
    format!(
        "envelope {envelope}: {total} in {shares} shares{already}{reserved}\n  commitment {commitment}"
    )
}

/// What a reserved envelope waits for.
fn waiting(order: &SendOrder, envelope: EnvelopeId) -> String {
    match order.source {
        MoneySource::Payment => format!(
            "\n  reserved: open once the payment system confirms it (hb fund {envelope} --amount {})",
            plain_yuan(order.total)
        ),
        MoneySource::Vouched | MoneySource::Balance => format!(
            "\n  reserved: the ledger said nothing for {} s; look again with hb show {envelope}",
            LEDGER_PATIENCE.as_secs()
        ),
    }
}

/// An amount as a flag takes it.
fn plain_yuan(fen: Fen) -> String {
    yuan(fen).trim_end_matches(" yuan").to_owned()
}

fn order_of(args: &SendArgs) -> Result<SendOrder> {
    let too_long = || Usage("--lifetime is too long: at most 136 years".into());
    let too_much = || Usage("--share-max is too much: at most 42949672.95 yuan".into());
    Ok(SendOrder {
        nonce: args.nonce,
        source: args.from.source(),
        sender: args.sender,
        order: args.order,
        payment: args.payment.unwrap_or(0),
        total: args.total,
        shares: args.shares,
        lifetime_s: u32::try_from(args.lifetime.as_secs()).map_err(|_| too_long())?,
        share_max: u32::try_from(args.share_max.unwrap_or(0)).map_err(|_| too_much())?,
        split: args.split.split(),
    })
}

/// `hb fund`.
pub(crate) fn fund(target: &Target, args: &FundArgs, output: Output) -> Result<()> {
    let (keys, ids) =
        payment_keys::read(&args.key_file).map_err(|error| Usage(error.to_string()))?;
    let key_id = terms::one_of(&ids, args.key_id)?;
    let mut client = target.connect()?;
    let FundArgs { envelope, payment, amount, .. } = *args;
    let confirmed = Payment { envelope, payment, amount };
    let seal = keys.seal(key_id, client.hello().cell, &confirmed);
    let seal = seal.ok_or_else(|| terms::no_such_key(key_id, &ids))?;
    let funded = client.fund(&confirmed, key_id, seal)?;
    let (returned, repeated) = match funded {
        Funded::Opened { repeated } => (0, repeated),
        Funded::Returned { amount, repeated } => (amount, repeated),
    };
    let json = json!({
        "envelope": id(envelope), "opened": returned == 0, "returned_fen": returned,
        "repeated": repeated,
    });
    output.print(&json, || {
        let already = if repeated { " (confirmed before)" } else { "" };
        match funded {
            Funded::Opened { .. } => format!("envelope {envelope} is open{already}"),
            Funded::Returned { amount, .. } => {
                format!("too late: {} went to the sender's balance{already}", yuan(amount))
            }
        }
    });
    Ok(())
}

/// `hb void`.
pub(crate) fn void(target: &Target, by: &CancelArgs, output: Output) -> Result<()> {
    let voided = target.connect()?.void(by.envelope, by.sender)?;
    let json = json!({ "envelope": id(by.envelope), "repeated": voided.repeated });
    output.print(&json, || {
        let already = if voided.repeated { " (withdrawn before)" } else { "" };
        format!("envelope {} will not open{already}", by.envelope)
    });
    Ok(())
}
