//! The flags of `hb campaign`.

use std::time::Duration;

use clap::{Args, Subcommand};
use hongbao::units::{EnvelopeId, UnixSeconds, UserId};
use hongbao::wire::Prize;

use crate::args::{envelope, user};
use crate::money;
use crate::terms::TagArgs;

/// `hb campaign`.
#[derive(Subcommand)]
pub(crate) enum CampaignCommand {
    /// Order a campaign, write its plan and start it
    Create(CreateArgs),
    /// Start one that waits or pauses
    Start(SponsorArgs),
    /// Give out nothing until it is started again
    Pause(SponsorArgs),
    /// End it: what was not won goes back to the sponsor
    Stop(SponsorArgs),
    /// Show how it stands: released and won, against the plan
    Status(StatusArgs),
    /// Shake once
    Shake(ShakeArgs),
    /// Show what a user has won
    Wins(ShakeArgs),
}

/// `hb campaign create`.
#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Who pays, and who gets back what is not won
    #[arg(long, value_parser = user)]
    pub(super) sponsor: UserId,
    /// The sponsor's own number for this order; the same again, with the same
    /// --lifetime, goes on with the same campaign
    #[arg(long)]
    pub(super) order: u64,
    /// The reference under which the money is held
    #[arg(long)]
    pub(super) payment: u64,
    /// Prizes, an amount in yuan and a count, such as 8.88x1000; again for each
    /// further amount
    #[arg(long = "prize", required = true, value_name = "YUANxCOUNT", value_parser = prize)]
    pub(super) prizes: Vec<Prize>,
    /// A slot, as START,LENGTH,QUOTA such as +10s,60s,500: START is Unix seconds, or
    /// +TIME from now. With xTIMES behind it so many, one after the other. What one
    /// slot leaves over, the next gives out as well
    #[arg(long = "slot", required = true, value_name = "START,LENGTH,QUOTA[xTIMES]", value_parser = slot)]
    pub(super) slots: Vec<SlotSpec>,
    /// The most prizes one user may win; at most one in each slot
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) wins_max: u32,
    /// What losers are told: any number, such as that of a coupon
    #[arg(long, default_value_t = 0)]
    pub(super) fallback: u32,
    /// How long the campaign lasts [default: until a minute after its last slot]
    #[arg(long, value_parser = humantime::parse_duration)]
    lifetime: Option<Duration>,
    /// Your part of the commitment to the order of the prizes: any number
    #[arg(long, default_value_t = 0)]
    pub(super) nonce: u32,
    /// Do not start it yet
    #[arg(long)]
    pub(super) wait: bool,
}

impl CreateArgs {
    pub(super) fn lifetime_s(&self) -> Option<u32> {
        self.lifetime.map(|lifetime| u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX))
    }
}

/// A campaign and its sponsor.
#[derive(Args)]
pub(crate) struct SponsorArgs {
    /// The campaign's number, as `hb campaign create` printed it
    #[arg(value_parser = envelope)]
    pub(super) campaign: EnvelopeId,
    /// The user who pays for it
    #[arg(value_parser = user)]
    pub(super) sponsor: UserId,
}

/// A campaign and a user.
#[derive(Args)]
pub(crate) struct ShakeArgs {
    /// The campaign's number, as `hb campaign create` printed it
    #[arg(value_parser = envelope)]
    pub(super) campaign: EnvelopeId,
    /// The user's number
    #[arg(value_parser = user)]
    pub(super) user: UserId,
    #[command(flatten)]
    pub(super) tags: TagArgs,
}

/// `hb campaign status`.
#[derive(Args)]
pub(crate) struct StatusArgs {
    /// The campaign's number, as `hb campaign create` printed it
    #[arg(value_parser = envelope)]
    pub(super) campaign: EnvelopeId,
    /// Draw it anew every second until it is over
    #[arg(long)]
    pub(super) watch: bool,
}

/// When a slot begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    At(UnixSeconds),
    In(u32),
}

/// One `--slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotSpec {
    pub(super) start: Start,
    pub(super) length_s: u32,
    pub(super) quota: u32,
    pub(super) times: u32,
}

fn prize(text: &str) -> Result<Prize, String> {
    let wrong = || format!("`{text}` is no prize: write YUANxCOUNT, as 8.88x1000");
    let (amount, count) = text.split_once('x').ok_or_else(wrong)?;
    let amount = money::parse_yuan(amount)?;
    let amount = u32::try_from(amount).map_err(|_| "a prize is at most 42949672.95 yuan")?;
    let count = count.parse().map_err(|_| wrong())?;
    if amount == 0 || count == 0 {
        return Err("a prize has an amount and a count above 0".into());
    }
    Ok(Prize { amount, count })
}

fn seconds(text: &str) -> Option<u32> {
    u32::try_from(humantime::parse_duration(text).ok()?.as_secs()).ok()
}

fn slot(text: &str) -> Result<SlotSpec, String> {
    read_slot(text).ok_or_else(|| {
        format!("`{text}` is no slot: write START,LENGTH,QUOTA or START,LENGTH,QUOTAxTIMES, as +10s,60s,500x5")
    })
}

fn read_slot(text: &str) -> Option<SlotSpec> {
    let mut parts = text.split(',');
    let (start, length, quota) = (parts.next()?, parts.next()?, parts.next()?);
    let (quota, times) = quota.split_once('x').unwrap_or((quota, "1"));
    let start = match start.strip_prefix('+') {
        Some(time) => Start::In(seconds(time)?),
        None => Start::At(start.parse().ok()?),
    };
    let (length_s, quota, times) = (seconds(length)?, quota.parse().ok()?, times.parse().ok()?);
    let is_whole = parts.next().is_none() && length_s > 0 && quota > 0 && times > 0;
    is_whole.then_some(SlotSpec { start, length_s, quota, times })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prizes_are_an_amount_and_a_count() {
        assert_eq!(prize("8.88x1000"), Ok(Prize { amount: 888, count: 1000 }));
        for wrong in ["8.88", "x", "0x5", "5x0", "1x-1", "99999999x1"] {
            assert!(prize(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn slots_begin_at_a_moment_or_after_a_time_and_repeat() {
        let read = read_slot("+10s,1m,500x5").unwrap();
        let expected = SlotSpec { start: Start::In(10), length_s: 60, quota: 500, times: 5 };
        assert_eq!(read, expected);
        assert_eq!(read_slot("1700000000,5s,1").unwrap().start, Start::At(1_700_000_000));
        for wrong in ["", "+10s,1m", "+10s,0s,5", "+1s,1s,0", "+1s,1s,1x0", "+1s,1s,1,1", "1,1,1"] {
            assert!(read_slot(wrong).is_none(), "{wrong}");
        }
    }
}
