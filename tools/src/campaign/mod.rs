//! `hb campaign`: order a campaign, start, pause and stop it, shake, and see how
//! it stands.

mod args;
mod status;

use anyhow::{Context, Result, bail};
use hongbao::client::Shaken;
use hongbao::units::{Fen, MoneySource, Split, UnixSeconds};
use hongbao::wire::{Command, Evidence, PlanPart, PlanTerms, SendOrder, Slot};
use serde_json::json;

pub(crate) use args::CampaignCommand;
use args::{CreateArgs, ShakeArgs, SponsorArgs, Start};

use crate::exit::Usage;
use crate::money::yuan;
use crate::output::{Output, id};
use crate::target::Target;

/// `hb campaign`.
pub(crate) fn run(target: &Target, command: &CampaignCommand, output: Output) -> Result<()> {
    match command {
        CampaignCommand::Create(args) => create(target, args, output),
        CampaignCommand::Start(by) => tell(target, by, Command::Start, output),
        CampaignCommand::Pause(by) => tell(target, by, Command::Pause, output),
        CampaignCommand::Stop(by) => stop(target, by, output),
        CampaignCommand::Status(args) => status::run(target, args, output),
        CampaignCommand::Shake(args) => shake(target, args, output),
        CampaignCommand::Wins(args) => wins(target, args, output),
    }
}

/// Orders the envelope, writes the plan part by part, and starts it unless it is
/// to wait. The same command again goes on where it was cut.
fn create(target: &Target, args: &CreateArgs, output: Output) -> Result<()> {
    let slots = args.slots(now()?);
    let ends = slots.iter().map(Slot::end).max().unwrap_or(0);
    let mut client = target.connect()?;
    let sent = client.send(&order(args, ends)?).context("ordering the campaign's envelope")?;
    let (campaign, sponsor) = (sent.envelope, args.sponsor);
    for part in parts(args, &slots) {
        client
            .campaign_plan(campaign, sponsor, part)
            .with_context(|| format!("writing the plan of campaign {campaign}"))?;
    }
    if !args.wait {
        client
            .campaign_command(campaign, sponsor, Command::Start)
            .with_context(|| format!("starting campaign {campaign}"))?;
    }
    let commitment = hex::encode(sent.commitment);
    let json = json!({
        "campaign": id(campaign), "repeated": sent.repeated, "started": !args.wait,
        "commitment": commitment,
    });
    output.print(&json, || {
        let next = if args.wait {
            format!("waits for hb campaign start {campaign} {sponsor}")
        } else {
            format!("started; look with hb campaign status {campaign} --watch")
        };
        format!("campaign {campaign}: {next}\n  commitment {commitment}")
    });
    Ok(())
}

fn parts(args: &CreateArgs, slots: &[Slot]) -> Vec<PlanPart> {
    let opens_at = slots.iter().map(|slot| slot.start).min().unwrap_or(0);
    let terms = PlanTerms { wins_max: args.wins_max, opens_at, fallback: args.fallback };
    let prizes = (0..).zip(&args.prizes).map(|(kind, prize)| PlanPart::Prize(kind, *prize));
    let slots = (0..).zip(slots).map(|(number, slot)| PlanPart::Slot(number, *slot));
    [PlanPart::Terms(terms)].into_iter().chain(prizes).chain(slots).collect()
}

fn order(args: &CreateArgs, ends: UnixSeconds) -> Result<SendOrder> {
    let money = args.prizes.iter().map(|prize| Fen::from(prize.amount) * Fen::from(prize.count));
    let counts: u64 = args.prizes.iter().map(|prize| u64::from(prize.count)).sum();
    let lasts = ends.saturating_sub(now()?);
    if lasts == 0 {
        bail!(Usage("every --slot is over already".into()));
    }
    Ok(SendOrder {
        sender: args.sponsor,
        order: args.order,
        payment: args.payment,
        total: money.sum(),
        shares: u32::try_from(counts).map_err(|_| Usage("too many prizes".into()))?,
        // A minute more, so that the last prize can be won in the last second.
        lifetime_s: args.lifetime_s().unwrap_or(lasts + 60),
        share_max: 0,
        split: Split::Prizes,
        source: MoneySource::Vouched,
        nonce: args.nonce,
    })
}

fn now() -> Result<UnixSeconds> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(UnixSeconds::try_from(since.as_secs())?)
}

/// Starts or pauses.
fn tell(target: &Target, by: &SponsorArgs, command: Command, output: Output) -> Result<()> {
    let repeated = target.connect()?.campaign_command(by.campaign, by.sponsor, command)?;
    let word = match command {
        Command::Start => "runs",
        Command::Pause => "pauses",
    };
    let json = json!({ "campaign": id(by.campaign), "phase": word, "repeated": repeated });
    output.print(&json, || {
        let already = if repeated { " already" } else { "" };
        format!("campaign {} {word}{already}", by.campaign)
    });
    Ok(())
}

/// Ends it: what was not won goes back to the sponsor.
fn stop(target: &Target, by: &SponsorArgs, output: Output) -> Result<()> {
    let refunded = target.connect()?.cancel(by.campaign, by.sponsor)?;
    let json = json!({
        "campaign": id(by.campaign), "refunded_fen": refunded.amount,
        "repeated": refunded.repeated,
    });
    output.print(&json, || {
        let already = if refunded.repeated { " (stopped before)" } else { "" };
        format!("stopped: {} went back to user {}{already}", yuan(refunded.amount), by.sponsor)
    });
    Ok(())
}

fn shake(target: &Target, args: &ShakeArgs, output: Output) -> Result<()> {
    let shown = Evidence { tags: args.tags.tags(), ..Evidence::default() };
    let mut client = target.connect()?;
    let shaken = if shown == Evidence::default() {
        client.shake(args.campaign, args.user)?
    } else {
        client.shake_with(args.campaign, args.user, &shown)?
    };
    let (word, amount) = match shaken {
        Shaken::Won { amount, .. } | Shaken::WonBefore { amount, .. } => ("won", amount),
        Shaken::Lost { .. } => ("lost", 0),
        Shaken::CapReached { amount } => ("cap reached", amount),
    };
    let fallback = match shaken {
        Shaken::Lost { fallback } => Some(fallback),
        _ => None,
    };
    let json = json!({ "result": word, "amount_fen": amount, "fallback": fallback });
    output.print(&json, || match shaken {
        Shaken::Won { amount, .. } | Shaken::WonBefore { amount, .. } => {
            format!("won {}", yuan(amount))
        }
        Shaken::Lost { fallback: 0 } => "nothing won; shake again".into(),
        Shaken::Lost { fallback } => format!("nothing won, but number {fallback}; shake again"),
        Shaken::CapReached { amount } => {
            format!("nothing more for this user now; it last won {}", yuan(amount))
        }
    });
    Ok(())
}

fn wins(target: &Target, args: &ShakeArgs, output: Output) -> Result<()> {
    let wins = target.connect()?.campaign_wins(args.campaign, args.user)?;
    let json = json!({ "wins": wins.count, "last_fen": wins.last });
    output.print(&json, || match wins.count {
        0 => "nothing won so far".into(),
        count => format!("{count} prizes won, the last {}", yuan(wins.last)),
    });
    Ok(())
}

impl CreateArgs {
    /// The slots, with times that are relative counted from now.
    fn slots(&self, now: UnixSeconds) -> Vec<Slot> {
        let slot = |spec: &args::SlotSpec| {
            let first = match spec.start {
                Start::At(second) => second,
                Start::In(seconds) => now.saturating_add(seconds),
            };
            let (length_s, quota) = (spec.length_s, spec.quota);
            let start = move |n: u32| first.saturating_add(n.saturating_mul(length_s));
            (0..spec.times).map(move |n| Slot { start: start(n), length_s, quota })
        };
        self.slots.iter().flat_map(slot).collect()
    }
}
