//! `hb clock`: the time of a server against the clock on its wall, and the word
//! that the wall is right.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use hongbao::admin::ClockStatus;
use serde_json::json;

use crate::admin::AdminArgs;
use crate::output::Output;

/// `hb clock`.
#[derive(Args)]
pub(crate) struct ClockArgs {
    /// What to do about it; nothing shows it only
    #[arg(value_enum)]
    word: Option<Word>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Word {
    /// The wall is right: time leaps to it, or stands until it has caught up
    Accept,
}

/// Shows, or accepts and shows.
pub(crate) fn run(args: &ClockArgs, output: Output) -> Result<()> {
    let told = match args.word {
        None => args.admin.get("/clock")?,
        Some(Word::Accept) => args.admin.post("/clock/accept")?,
    };
    let Ok(clock) = serde_json::from_str::<ClockStatus>(&told) else {
        bail!("what answers is no admin port of hongbao: {told}")
    };
    output.print(&json!(clock), || line(&clock));
    Ok(())
}

fn line(clock: &ClockStatus) -> String {
    let way = if clock.wall_ahead_ms < 0 { "behind" } else { "ahead" };
    let apart_ms = clock.wall_ahead_ms.unsigned_abs();
    let apart = format!("{}.{:03} s {way}", apart_ms / 1000, apart_ms % 1000);
    match clock.state.as_str() {
        "agrees" => "time is that of the clock on the wall".to_owned(),
        "follows" => {
            format!("the clock on the wall is {apart}; time follows by a millisecond a second")
        }
        "stands" => format!("the clock on the wall is {apart}; time stands until it has caught up"),
        _ => format!(
            "the clock on the wall is {apart} and is not followed\n\
             set it right; or, if it is right, `hb clock accept`: what is due by it opens and \
             ends at once"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_says_what_is_done_about_it() {
        let said = |state: &str, wall_ahead_ms| {
            line(&ClockStatus { state: state.to_owned(), wall_ahead_ms, time_ms: 0 })
        };
        assert!(!said("agrees", 1).contains('1'));
        assert!(said("follows", 1500).contains("1.500 s ahead; time follows"));
        assert!(said("stands", -60_001).contains("60.001 s behind; time stands"));
        assert!(said("refused", 86_400_000).contains("86400.000 s ahead and is not followed"));
    }
}
