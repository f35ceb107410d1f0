//! The one line that says how far a long command is.
//!
//! On a terminal it is redrawn in place; elsewhere a plain line comes now and
//! then, so that a log stays readable. It goes to standard error only.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a terminal's line is redrawn.
const REDRAW: Duration = Duration::from_millis(200);

/// How often a plain line is written.
const PLAIN: Duration = Duration::from_secs(5);

/// The line.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last: Instant,
}

impl Progress {
    /// A line that shows nothing yet.
    pub(crate) fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        });
        Self { bar, last: Instant::now() }
    }

    /// Whether it is time for another text.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let pause = if self.bar.is_some() { REDRAW } else { PLAIN };
        now.duration_since(self.last) >= pause
    }

    /// Shows how far it is.
    pub(crate) fn show(&mut self, text: String) {
        self.last = Instant::now();
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None => eprintln!("{text}"),
        }
    }

    /// What writes lines that stay, also from another thread.
    pub(crate) fn voice(&self) -> Voice {
        Voice { bar: self.bar.clone() }
    }
}

/// Writes lines that stay above the one that moves.
pub(crate) struct Voice {
    bar: Option<ProgressBar>,
}

impl Voice {
    /// Writes a line.
    pub(crate) fn tell(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
