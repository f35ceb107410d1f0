//! `hb risk`: grades, lists, held shares, and why a user is treated as it is.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use hongbao::follow::settle::SubscriberName;
use hongbao::units::{EnvelopeId, UserId};
use hongbao::wire::{
    Explained, Hold, HoldState, Mark, Resolution, RiskEvent, RiskRule, RiskStep, RiskVerdict,
};
use serde_json::{Value, json};

use crate::args::{envelope, user};
use crate::calls::moment;
use crate::exit::Usage;
use crate::money::yuan;
use crate::output::{Output, id};
use crate::risk_news;
use crate::target::Target;

/// Between two looks of a feed that is followed.
const FEED_PAUSE: Duration = Duration::from_secs(1);

/// `hb risk`.
#[derive(Subcommand)]
pub(crate) enum RiskCommand {
    /// Say what is known of a user, what its next share would meet, and what is held
    Explain(UserArgs),
    /// List all shares that are held or were rejected
    List,
    /// Give a user a grade, 1 to 255, the higher the better; 0 takes it away
    Grade(GradeArgs),
    /// Put a user on the deny list: it is given nothing
    Deny(ListArgs),
    /// Put a user on the watch list: what it wins is held
    Watch(ListArgs),
    /// Load grades and lists from a file: lines of USER,GRADE or USER,GRADE,LISTS,
    /// where LISTS is deny, watch, deny+watch or none
    Load(LoadArgs),
    /// Tell what rules of risk did of late: held, denied, released, rejected
    Feed(FeedArgs),
    /// Decide about a held share
    #[command(subcommand)]
    Hold(HoldCommand),
}

/// `hb risk hold`.
#[derive(Subcommand)]
pub(crate) enum HoldCommand {
    /// The claimant gets it
    Release(HoldArgs),
    /// It goes back to the sender, and the claimant gets nothing
    Reject(HoldArgs),
}

/// A user.
#[derive(Args)]
pub(crate) struct UserArgs {
    /// The user's number
    #[arg(value_parser = user)]
    user: UserId,
}

/// `hb risk grade`.
#[derive(Args)]
pub(crate) struct GradeArgs {
    /// The user's number
    #[arg(value_parser = user)]
    user: UserId,
    /// The grade
    grade: u8,
}

/// `hb risk deny` and `hb risk watch`.
#[derive(Args)]
pub(crate) struct ListArgs {
    /// The user's number
    #[arg(value_parser = user)]
    user: UserId,
    /// Take it off the list
    #[arg(long)]
    off: bool,
}

/// `hb risk load`.
#[derive(Args)]
pub(crate) struct LoadArgs {
    /// The file
    file: PathBuf,
}

/// A held share.
#[derive(Args)]
pub(crate) struct HoldArgs {
    /// The envelope's number
    #[arg(value_parser = envelope)]
    envelope: EnvelopeId,
    /// The user who has won it
    #[arg(value_parser = user)]
    user: UserId,
}

/// `hb risk feed`.
#[derive(Args)]
pub(crate) struct FeedArgs {
    /// Go on with what comes, until it is interrupted
    #[arg(long)]
    follow: bool,
    /// Read the journal, by the server's settlement port: everything that is a record,
    /// from where the name left off
    #[arg(long, value_name = "ADDRESS", env = "HONGBAO_SETTLEMENT_ADDR", requires = "name")]
    from: Option<String>,
    /// Under which name the server knows us: risk-, and more of a-z, 0-9 and -
    #[arg(long, requires = "from")]
    name: Option<SubscriberName>,
}

/// `hb risk`.
pub(crate) fn run(target: &Target, command: &RiskCommand, output: Output) -> Result<()> {
    match command {
        RiskCommand::Explain(args) => explain(target, args.user, output),
        RiskCommand::List => list(target, output),
        RiskCommand::Grade(args) => mark(target, args.user, Mark::Grade(args.grade), output),
        RiskCommand::Deny(args) => mark(target, args.user, Mark::Deny(!args.off), output),
        RiskCommand::Watch(args) => mark(target, args.user, Mark::Watch(!args.off), output),
        RiskCommand::Load(args) => load(target, args, output),
        RiskCommand::Feed(args) => feed(target, args, output),
        RiskCommand::Hold(HoldCommand::Release(args)) => {
            resolve(target, args, Resolution::Release, output)
        }
        RiskCommand::Hold(HoldCommand::Reject(args)) => {
            resolve(target, args, Resolution::Reject, output)
        }
    }
}

fn mark(target: &Target, user: UserId, mark: Mark, output: Output) -> Result<()> {
    let repeated = target.connect()?.risk_mark(user, mark)?;
    let json = json!({ "user": id(user), "repeated": repeated });
    let before = if repeated { ", as it was before" } else { "" };
    output.print(&json, || format!("user {user}: {}{before}", mark_words(mark)));
    Ok(())
}

fn mark_words(mark: Mark) -> String {
    match mark {
        Mark::Grade(0) => "no grade".into(),
        Mark::Grade(grade) => format!("grade {grade}"),
        Mark::Deny(true) => "on the deny list".into(),
        Mark::Deny(false) => "not on the deny list".into(),
        Mark::Watch(true) => "on the watch list".into(),
        Mark::Watch(false) => "not on the watch list".into(),
    }
}

/// A file that was loaded in part can be loaded again: a mark said twice is one.
fn load(target: &Target, args: &LoadArgs, output: Output) -> Result<()> {
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("reading {}", args.file.display()))?;
    let (mut users, mut marks) = (0_u64, Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, said) = read_line(line).ok_or_else(|| {
            Usage(format!(
                "{} line {number}: `{line}` is not USER,GRADE or USER,GRADE,LISTS, as 7,80,watch",
                args.file.display()
            ))
        })?;
        marks.extend(said.into_iter().map(|mark| (user, mark)));
        users += 1;
    }
    target.connect()?.risk_load(&marks).context("marking users")?;
    output.print(&json!({ "users": users }), || format!("{users} users are marked"));
    Ok(())
}

fn read_line(line: &str) -> Option<(UserId, Vec<Mark>)> {
    let mut parts = line.split(',').map(str::trim);
    let (user, grade) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let mut marks = vec![Mark::Grade(grade)];
    if let Some(lists) = parts.next() {
        let (deny, watch) = match lists {
            "none" => (false, false),
            "deny" => (true, false),
            "watch" => (false, true),
            "deny+watch" => (true, true),
            _ => return None,
        };
        marks.extend([Mark::Deny(deny), Mark::Watch(watch)]);
    }
    parts.next().is_none().then_some((UserId(user), marks))
}

fn resolve(target: &Target, args: &HoldArgs, how: Resolution, output: Output) -> Result<()> {
    let &HoldArgs { envelope, user } = args;
    let decided = target.connect()?.risk_resolve(envelope, user, how)?;
    let words = match how {
        Resolution::Release => "is the user's",
        Resolution::Reject => "went back to the sender",
    };
    let json = json!({
        "envelope": id(envelope), "user": id(user), "amount_fen": decided.amount,
        "resolution": format!("{how:?}").to_lowercase(), "repeated": decided.repeated,
    });
    let before = if decided.repeated { ", as was decided before" } else { "" };
    let amount = yuan(decided.amount);
    output.print(&json, || format!("{amount} of envelope {envelope} {words}{before}"));
    Ok(())
}

fn list(target: &Target, output: Output) -> Result<()> {
    let holds = target.connect()?.risk_holds(None)?;
    let json = json!({ "holds": holds.iter().map(hold_json).collect::<Vec<_>>() });
    output.print(&json, || {
        if holds.is_empty() {
            return "nothing is held".into();
        }
        holds.iter().map(hold_words).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

fn hold_json(hold: &Hold) -> Value {
    json!({
        "envelope": id(hold.envelope), "user": id(hold.user), "amount_fen": hold.amount,
        "at": hold.at, "until": hold.until, "rule": hold.rule.name(), "rule_id": hold.rule.code(),
        "state": match hold.state {
            HoldState::Held => "held",
            HoldState::Rejected => "rejected",
        },
    })
}

fn hold_words(hold: &Hold) -> String {
    let Hold { envelope, user, at, until, rule, .. } = hold;
    let (amount, won, rule) = (yuan(hold.amount.into()), moment(*at), rule.name());
    let state = match hold.state {
        HoldState::Held => format!("held until {}", moment(*until)),
        HoldState::Rejected => "rejected".into(),
    };
    format!("envelope {envelope} user {user}: {amount} won {won}, {state}, rule {rule}")
}

/// One line an event; with `--json` one object a line.
fn feed(target: &Target, args: &FeedArgs, output: Output) -> Result<()> {
    if let (Some(from), Some(name)) = (&args.from, &args.name) {
        return risk_news::run(target, (from, name), args.follow, output);
    }
    let mut client = target.connect()?;
    let mut after = Vec::new();
    loop {
        let mut events = client.risk_feed(&mut after)?;
        events.sort_by_key(|event| event.at);
        for event in &events {
            output.print(&event_json(event), || event_words(event));
        }
        if !args.follow {
            return Ok(());
        }
        std::thread::sleep(FEED_PAUSE);
    }
}

fn step_name(event: &RiskEvent) -> &'static str {
    match event.what {
        RiskStep::Held => "held",
        RiskStep::Denied => "denied",
        RiskStep::Released => "released",
        RiskStep::Rejected => "rejected",
    }
}

fn event_json(event: &RiskEvent) -> Value {
    json!({
        "number": id(event.number), "envelope": id(event.envelope), "user": id(event.user),
        "amount_fen": event.amount, "at": event.at, "what": step_name(event),
        "rule": event.rule.map(RiskRule::name), "rule_id": event.rule.map(RiskRule::code),
        "by_time": event.by_time,
    })
}

fn event_words(event: &RiskEvent) -> String {
    let RiskEvent { envelope, user, amount, at, .. } = event;
    let (amount, at, what) = (yuan(u64::from(*amount)), moment(*at), step_name(event));
    let why = match event.rule {
        Some(rule) => format!(", rule {} ({})", rule.name(), rule.code()),
        None if event.by_time => " by time".into(),
        None => String::new(),
    };
    format!("{at} envelope {envelope} user {user}: {amount} {what}{why}")
}

fn explain(target: &Target, user: UserId, output: Output) -> Result<()> {
    let mut client = target.connect()?;
    let explained = client.risk_explain(user)?;
    let holds = client.risk_holds(Some(user))?;
    let mut events = client.risk_feed(&mut Vec::new())?;
    events.retain(|event| event.user == user);
    events.sort_by_key(|event| event.at);
    output.print(&explained_json(user, &explained, (&holds, &events)), || {
        let mut lines = vec![format!("user {user}: {}", standing_words(&explained))];
        lines.push(format!("  next share: {}", verdict_words(&explained)));
        if explained.window_s > 0 {
            let Explained { wins, tries, guesses, window_s, .. } = explained;
            lines.push(format!(
                "  in the last {window_s} s or a little longer: {wins} won, {tries} tries, \
                 {guesses} wrong guesses, as far as rules count them"
            ));
        }
        lines.extend(holds.iter().map(|hold| format!("  {}", hold_words(hold))));
        lines.extend(events.iter().map(|event| format!("  {}", event_words(event))));
        lines.join("\n")
    });
    Ok(())
}

fn verdict_codes(verdict: RiskVerdict) -> (&'static str, Option<&'static str>, Option<u8>) {
    match verdict {
        RiskVerdict::Allow => ("allow", None, None),
        RiskVerdict::Hold(rule) => ("hold", Some(rule.name()), Some(rule.code())),
        RiskVerdict::Deny(rule) => ("deny", Some(rule.name()), Some(rule.code())),
    }
}

fn explained_json(
    user: UserId,
    told: &Explained,
    (holds, events): (&[Hold], &[RiskEvent]),
) -> Value {
    let (verdict, rule, rule_id) = verdict_codes(told.verdict);
    json!({
        "user": id(user), "grade": told.standing.grade, "grade_that_counts": told.grade,
        "denied": told.standing.denied, "watched": told.standing.watched,
        "marked_at": told.standing.at, "wins": told.wins, "tries": told.tries,
        "guesses": told.guesses, "window_s": told.window_s,
        "verdict": verdict, "rule": rule, "rule_id": rule_id,
        "hold_above_fen": told.hold_above_fen,
        "holds": holds.iter().map(hold_json).collect::<Vec<_>>(),
        "events": events.iter().map(event_json).collect::<Vec<_>>(),
    })
}

fn standing_words(told: &Explained) -> String {
    let standing = &told.standing;
    let grade = match standing.grade {
        0 => format!("no grade, counts as {}", told.grade),
        grade => format!("grade {grade}"),
    };
    let list = |is_on: bool, list: &str| is_on.then(|| format!("on the {list} list"));
    let said = (standing.at > 0).then(|| format!("said {}", moment(standing.at)));
    let (deny, watch) = (list(standing.denied, "deny"), list(standing.watched, "watch"));
    let words = [Some(grade), deny, watch, said];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn verdict_words(told: &Explained) -> String {
    let above = match told.hold_above_fen {
        0 => String::new(),
        fen => format!(", above {} held", yuan(fen.into())),
    };
    match verdict_codes(told.verdict) {
        ("allow", ..) => format!("given{above}"),
        (verdict, rule, rule_id) => {
            let done = if verdict == "hold" { "held" } else { "not given" };
            format!("{done}, rule {} ({})", rule.unwrap_or_default(), rule_id.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_file_are_read_or_refused() {
        assert_eq!(read_line("7,80"), Some((UserId(7), vec![Mark::Grade(80)])));
        let marks = vec![Mark::Grade(0), Mark::Deny(true), Mark::Watch(true)];
        assert_eq!(read_line(" 7 , 0 , deny+watch "), Some((UserId(7), marks)));
        for wrong in ["7", "7,256", "x,1", "7,1,maybe", "7,1,deny,1", "-1,1"] {
            assert_eq!(read_line(wrong), None, "{wrong}");
        }
    }
}
