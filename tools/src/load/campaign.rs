//! The campaign that `--mix shake` plays on, and whether it kept its plan.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use hongbao::units::{EnvelopeId, MoneySource, Split, UnixSeconds, UserId};
use hongbao::wire::{CampaignStatus, Command, PlanPart, PlanTerms, Prize, SendOrder, Slot};

use super::flags::LoadArgs;
use crate::mix::Run;
use crate::target::Target;

/// Prizes, where nothing else is said.
const PRIZES: u32 = 1_000_000;

/// Of a hundred prizes so many are of the first amount, the others of the second.
const LARGE_OF_100: u32 = 2;
const LARGE_FEN: u32 = 8888;
const SMALL_FEN: u32 = 88;

/// Slots of a plan at most; what is longer than these seconds has longer slots.
const SLOTS_MAX: u32 = 60;

/// A second to write the plan in before the first slot.
const LEAD_S: u32 = 1;

/// Orders and starts a campaign of slots that begin now and last as long as the
/// load.
pub(super) fn begin(target: &Target, args: &LoadArgs, run: Run) -> Result<EnvelopeId> {
    let mut client = target.connect()?;
    let sponsor = run.user(0);
    let prizes = args.shares.unwrap_or(PRIZES);
    let length = u32::try_from(args.length()?.as_secs() + 1).unwrap_or(u32::MAX).min(24 * 3600);
    let begins = now()?.saturating_add(LEAD_S);
    let kinds = kinds(prizes);
    let order = order(run, sponsor, &kinds, length + 3600);
    let campaign = client.send(&order).context("ordering the campaign")?.envelope;
    let terms = PlanTerms { wins_max: 1, opens_at: begins, fallback: 0 };
    let parts = [PlanPart::Terms(terms)].into_iter();
    let parts = parts.chain((0..).zip(kinds).map(|(n, kind)| PlanPart::Prize(n, kind)));
    let slots = slots(begins, length, prizes);
    for part in parts.chain((0..).zip(slots).map(|(n, slot)| PlanPart::Slot(n, slot))) {
        client.campaign_plan(campaign, sponsor, part).context("writing the plan")?;
    }
    client.campaign_command(campaign, sponsor, Command::Start).context("starting the campaign")?;
    Ok(campaign)
}

fn now() -> Result<UnixSeconds> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(UnixSeconds::try_from(since.as_secs())?)
}

fn kinds(prizes: u32) -> Vec<Prize> {
    let large = prizes / 100 * LARGE_OF_100;
    let kinds = [
        Prize { amount: LARGE_FEN, count: large },
        Prize { amount: SMALL_FEN, count: prizes - large },
    ];
    kinds.into_iter().filter(|kind| kind.count > 0).collect()
}

fn order(run: Run, sponsor: UserId, kinds: &[Prize], lifetime_s: u32) -> SendOrder {
    let money = kinds.iter().map(|kind| u64::from(kind.amount) * u64::from(kind.count));
    SendOrder {
        sender: sponsor,
        order: run.order(0),
        payment: run.order(0),
        total: money.sum(),
        shares: kinds.iter().map(|kind| kind.count).sum(),
        lifetime_s,
        share_max: 0,
        split: Split::Prizes,
        source: MoneySource::Vouched,
        nonce: 0,
    }
}

/// Slots one after the other, with the prizes spread evenly over them.
fn slots(begins: UnixSeconds, length: u32, prizes: u32) -> Vec<Slot> {
    let count = length.min(SLOTS_MAX).min(prizes).max(1);
    let each = length.div_ceil(count);
    let share = |n: u64| u32::try_from(u64::from(prizes) * n / u64::from(count)).unwrap_or(0);
    let slot = |n: u32| Slot {
        start: begins.saturating_add(n * each),
        length_s: each,
        quota: share(u64::from(n) + 1) - share(n.into()),
    };
    (0..count).map(slot).collect()
}

/// What the server says of it after the load. More than was planned is an error
/// of the server's.
pub(super) fn end(target: &Target, campaign: EnvelopeId) -> Result<CampaignStatus> {
    let status = target.connect()?.campaign_status(campaign)?;
    let mut planned = 0;
    let mut won = 0;
    for (slot, count) in &status.slots {
        planned += u64::from(slot.quota);
        won += u64::from(*count);
        if won > planned {
            bail!("{won} prizes were won by the end of a slot, and {planned} were planned");
        }
    }
    if let Some((prize, won)) = status.prizes.iter().find(|(prize, won)| *won > prize.count) {
        bail!("{won} prizes of {} fen were won, and {} were planned", prize.amount, prize.count);
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_share_out_all_prizes_and_follow_one_another() {
        for (length, prizes) in [(1, 5), (11, 1_000_000), (61, 7), (3601, 999_999)] {
            let slots = slots(100, length, prizes);
            assert_eq!(slots.iter().map(|slot| slot.quota).sum::<u32>(), prizes);
            assert!(slots.iter().all(|slot| slot.quota > 0) && slots[0].start == 100);
            assert!(slots.windows(2).all(|pair| pair[0].end() == pair[1].start));
            assert!(slots.len() <= 64 && slots.last().unwrap().end() >= 100 + length);
        }
    }
}
