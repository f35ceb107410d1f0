//! `hb campaign status`: the sums, the slots as bars, the last seconds as a plot.

use std::fmt::Write;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use hongbao::units::EnvelopeState;
use hongbao::wire::{CampaignPhase, CampaignSecond, CampaignStatus};
use serde_json::{Value, json};

use super::args::StatusArgs;
use crate::calls::{moment, state_word};
use crate::money::yuan;
use crate::output::{Output, id};
use crate::target::Target;

/// Signs of a bar.
const BAR: usize = 30;

/// Rows of the plot.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Clears the terminal and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(super) fn run(target: &Target, args: &StatusArgs, output: Output) -> Result<()> {
    let mut client = target.connect()?;
    loop {
        let status = client.campaign_status(args.campaign)?;
        let mut json = to_json(&status);
        json["campaign"] = id(args.campaign).into();
        let clear = if args.watch { CLEAR } else { "" };
        output.print(&json, || format!("{clear}campaign {}: {}", args.campaign, words(&status)));
        if !args.watch || is_over(status.head.state) {
            return Ok(());
        }
        sleep(Duration::from_secs(1));
    }
}

fn is_over(state: EnvelopeState) -> bool {
    !matches!(state, EnvelopeState::Open | EnvelopeState::Reserved)
}

fn phase_word(phase: CampaignPhase) -> &'static str {
    match phase {
        CampaignPhase::Draft => "not started",
        CampaignPhase::Running => "running",
        CampaignPhase::Paused => "paused",
    }
}

fn to_json(status: &CampaignStatus) -> Value {
    let head = &status.head;
    let prizes = status.prizes.iter().map(
        |(prize, won)| json!({ "amount_fen": prize.amount, "count": prize.count, "won": won }),
    );
    let slots = status.slots.iter().map(|(slot, won)| {
        json!({
            "start": slot.start, "length_s": slot.length_s, "quota": slot.quota, "won": won,
        })
    });
    let seconds = status.seconds.iter().map(|second| {
        json!({
            "at": second.at, "released": second.released, "won": second.won,
            "credited": head.credited.map(|_| second.credited), "shakes": second.shakes,
        })
    });
    json!({
        "state": state_word(head.state), "phase": phase_word(head.phase),
        "wins_max": head.terms.wins_max, "opens_at": head.terms.opens_at,
        "ends_at": head.ends_at, "fallback": head.terms.fallback,
        "planned": head.prizes, "released": head.released, "won": head.won,
        "credited": head.credited, "won_fen": head.won_fen, "shakes": head.shakes,
        "prizes": prizes.collect::<Vec<_>>(), "slots": slots.collect::<Vec<_>>(),
        "seconds": seconds.collect::<Vec<_>>(),
    })
}

fn words(status: &CampaignStatus) -> String {
    let head = &status.head;
    let credited = head.credited.map_or("no ledger follows".into(), |n| format!("{n} credited"));
    let mut text = format!(
        "{}, {}, until {}\n  {} prizes planned, {} released, {} won ({}), {credited}; {} shakes",
        phase_word(head.phase),
        state_word(head.state),
        moment(head.ends_at),
        head.prizes,
        head.released,
        head.won,
        yuan(head.won_fen),
        head.shakes,
    );
    for (prize, won) in &status.prizes {
        let amount = yuan(prize.amount.into());
        let _ = write!(text, "\n  {amount:>16}  {}", bar(*won, prize.count)); // a String takes all
    }
    for (slot, won) in &status.slots {
        let (start, length) = (moment(slot.start), slot.length_s);
        let _ = write!(text, "\n  {start} {length:>5} s  {}", bar(*won, slot.quota));
    }
    text + &plot(&status.seconds)
}

/// How much of a number has come. A slot that gives out what others left over
/// has more than its own.
fn bar(come: u32, planned: u32) -> String {
    let share = usize::try_from(u64::from(come) * 30 / u64::from(planned.max(1)));
    let full = share.unwrap_or(BAR).min(BAR);
    format!("[{}{}] {come} of {planned}", "#".repeat(full), ".".repeat(BAR - full))
}

/// The last seconds: what was released in each, above what was won in it.
fn plot(seconds: &[CampaignSecond]) -> String {
    let steps = |of: fn(&CampaignSecond) -> u32| -> Vec<u32> {
        seconds.windows(2).map(|pair| of(&pair[1]).saturating_sub(of(&pair[0]))).collect()
    };
    let (released, won) = (steps(|second| second.released), steps(|second| second.won));
    let most = released.iter().chain(&won).copied().max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    format!(
        "\n  released/s {}\n  won/s      {}  (the fullest second: {most})",
        line(&released, most),
        line(&won, most)
    )
}

fn line(steps: &[u32], most: u32) -> String {
    let level = |step: &u32| {
        // Anything at all is seen.
        let level = (u64::from(*step) * 8).div_ceil(u64::from(most.max(1)));
        LEVELS[usize::try_from(level).unwrap_or(8).min(8)]
    };
    steps.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_never_longer_than_their_frame() {
        assert_eq!(bar(0, 10), format!("[{}] 0 of 10", ".".repeat(30)));
        assert_eq!(bar(5, 10), format!("[{}{}] 5 of 10", "#".repeat(15), ".".repeat(15)));
        assert_eq!(bar(u32::MAX, 1), format!("[{}] {} of 1", "#".repeat(30), u32::MAX));
    }

    #[test]
    fn a_plot_shows_what_came_in_each_second() {
        let at = |at, released, won| CampaignSecond { at, released, won, credited: 0, shakes: 0 };
        let text = plot(&[at(1, 0, 0), at(2, 8, 1), at(3, 12, 9), at(4, 12, 9)]);
        assert!(text.contains("released/s █▄ \n") && text.contains("▁█ "), "{text}");
        assert_eq!(plot(&[at(1, 5, 5)]), "");
    }
}
