//! What a shortened journal begins with: the envelopes of its oldest whole
//! checkpoint, each as of the moment at which it was copied.
//!
//! The engine only reads the checkpoint here; it applies no record.

use super::AuditError;
use super::books::Books;
use super::campaign::Campaign;
use super::envelope::{Account, Holders, Life, Terms};
use super::rules::Rules;
use super::withheld::Withheld;
use crate::engine::{BadImage, Capacity, EnvelopeLimits, Kept, Record, Restoring, SenderLimits};
use crate::journal::{RecoveryError, WholeJournal};
use crate::units::{EnvelopeId, EnvelopeState, Fen};
use crate::wire::HoldState;

/// The tables that a checkpoint is read into, at first; a large envelope needs
/// more than its part of the file, so they are doubled as long as it does not fit.
const TABLE_BYTES_MIN: u64 = 16 << 20;

/// Doubled so often at most: a file that needs a thousand times its size is none.
const DOUBLINGS: u32 = 10;

/// What was before the journal's first batch.
pub(super) struct Opening(Option<Restoring>);

impl Opening {
    /// Reads the checkpoint that a journal begins with and opens the books.
    pub(super) fn read(journal: &WholeJournal, books: &mut Books) -> Result<Self, AuditError> {
        if journal.checkpoint().is_none() {
            return Ok(Self(None));
        }
        let bytes = journal.checkpoint_bytes()?.max(TABLE_BYTES_MIN);
        for doubled in 1..=DOUBLINGS {
            let table = usize::try_from(bytes << doubled).unwrap_or(usize::MAX);
            match load(journal, table) {
                Err(RecoveryError::UnfitSlice { reason, .. }) if is_full(&*reason) => {}
                other => {
                    let restoring = other?;
                    open(&restoring, books);
                    return Ok(Self(Some(restoring)));
                }
            }
        }
        Err(AuditError::NoMemory)
    }

    /// Whether what a record in this batch did is in the books already.
    pub(super) fn has(&self, record: &Record, batch: u64) -> bool {
        let envelope = record.envelope();
        self.0.as_ref().is_some_and(|restoring| match record {
            Record::Planned(_) | Record::Commanded(_) => batch < restoring.kept_plan_upto(envelope),
            // What it decides may be known already, and is looked up.
            Record::Resolved(_) => batch < restoring.kept_from(envelope),
            _ => batch < restoring.kept_upto(envelope),
        })
    }
}

fn is_full(reason: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    reason.downcast_ref() == Some(&BadImage::Full)
}

fn load(journal: &WholeJournal, table_bytes: usize) -> Result<Restoring, RecoveryError> {
    let identity = journal.identity();
    let capacity = Capacity { envelopes: 1, table_bytes, retention_s: 0 };
    let limits = EnvelopeLimits {
        shares_max: 0,
        total_fen_max: 0,
        share_mean_fen_max: 0,
        lifetime_s_max: 0,
        pay_within_s: 1,
        senders: SenderLimits::NONE,
    };
    // Nothing is ever ordered here, so the limits do not matter.
    let mut restoring =
        Restoring::new(identity.cell, capacity, limits, identity.shard, identity.shards);
    journal.load(|slice| Ok(restoring.load(slice)?))?;
    Ok(restoring)
}

fn open(restoring: &Restoring, books: &mut Books) {
    for kept in restoring.kept() {
        let mut account = account(&kept);
        // The image was found sound, so its terms can be read.
        let rules = Rules::read(restoring.kept_terms(kept.envelope), kept.sender);
        account.rules = rules.unwrap_or_default();
        account.campaign = campaign(restoring, kept.envelope);
        withhold(restoring, &kept, &mut account);
        if account.life == Life::Open {
            for row in restoring.kept_rows(kept.envelope) {
                account.holders.add(row.user);
            }
        }
        books.open_with(kept.envelope, account);
    }
}

/// Holds are copied at a moment of their own: those count whose shares are there.
fn withhold(restoring: &Restoring, kept: &Kept, account: &mut Account) {
    if !restoring.has_holds() {
        return;
    }
    let mut withheld = Withheld::opened();
    for hold in restoring.kept_holds(kept.envelope) {
        if restoring.kept_rows(kept.envelope).any(|row| row.user == hold.user) {
            let amount = Fen::from(hold.amount);
            account.claimed = account.claimed.saturating_sub(amount);
            if hold.state == HoldState::Rejected {
                account.refunded += amount;
            }
            withheld.keep(hold);
        }
    }
    account.withheld = Some(Box::new(withheld));
}

fn campaign(restoring: &Restoring, envelope: EnvelopeId) -> Option<Box<Campaign>> {
    let (plan, phase) = restoring.kept_plan(envelope)?;
    Some(Box::new(Campaign::kept(plan.parts(), phase, restoring.kept_rows(envelope))))
}

fn account(kept: &Kept) -> Account {
    let life = match kept.state {
        EnvelopeState::Reserved => Life::Reserved,
        EnvelopeState::Open => Life::Open,
        EnvelopeState::Exhausted => Life::Exhausted,
        EnvelopeState::Expired | EnvelopeState::Cancelled => Life::Closed,
        EnvelopeState::Voided if kept.is_returned => Life::Returned,
        EnvelopeState::Voided => Life::Voided,
    };
    let is_paid = matches!(life, Life::Open | Life::Exhausted | Life::Closed);
    let claimed: Fen = if is_paid { kept.total.saturating_sub(kept.unclaimed) } else { 0 };
    Account {
        terms: Terms {
            sender: kept.sender,
            order: kept.order,
            payment: kept.payment,
            source: kept.source,
            total: kept.total,
            shares: kept.shares,
            share_max: kept.share_max,
            lifetime_s: kept.lifetime_s,
            split: kept.split,
            seed: kept.seed,
        },
        rules: None,
        life,
        until: kept.until,
        claims: kept.claimed,
        claimed,
        withheld: None,
        refunded: if life == Life::Closed { kept.unclaimed } else { 0 },
        holders: Holders::nobody(),
        campaign: None,
    }
}
