//! Mutation testing in one build: every mutant of a list is compiled into a copy of the
//! sources, behind a switch, and a variable of the environment switches one on. A mutant
//! costs the run of the tests that come by it, and no compilation.
//!
//! `cargo mutants` says what to change and where; `tests/floors/mutants` calls both.

mod build;
mod hosts;
mod list;
mod rewrite;
mod suites;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use crate::build::Apart;
use crate::list::Mutant;
use crate::suites::{Outcome, Tests, each};

/// Compiles every mutant of a list into one build, and runs the tests on each.
#[derive(Parser)]
struct Arguments {
    /// A copy of the sources, which is rewritten
    tree: PathBuf,
    /// What `cargo mutants --list --json` printed there
    list: PathBuf,
    /// Where a line for each mutant goes: outcome, name, and what has caught it
    outcomes: PathBuf,
    /// Run only what this earlier file of outcomes says that no test notices
    #[arg(long)]
    missed: Option<PathBuf>,
    /// Leave out tests that take longer, for a first look
    #[arg(long, value_name = "SECONDS", default_value = "600")]
    longest: f64,
    /// Arguments of `cargo test` that name the tests
    #[arg(last = true)]
    tests: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let tree = arguments.tree.canonicalize()?;
    let mut mutants = list::read(&arguments.list)?;
    if let Some(earlier) = &arguments.missed {
        let missed = missed(earlier)?;
        mutants.retain(|mutant| missed.contains(&mutant.name));
    }
    let built = build::build(&tree, &mutants, &arguments.tests)?;
    let tests = Tests::of(&tree, &built.programs, Duration::from_secs_f64(arguments.longest))?;
    println!("{} mutants, {} tests", mutants.len(), tests.len());

    let notes = Notes(Mutex::new(File::create(&arguments.outcomes)?));
    let (fixed, switched): (Vec<_>, Vec<_>) =
        mutants.iter().partition(|mutant| built.apart.get(&mutant.id) == Some(&Apart::Fixed));
    let run = |_, mutant: &&Mutant| {
        let is_unviable = built.apart.contains_key(&mutant.id);
        let outcome = (!is_unviable).then(|| tests.outcome(&tree, mutant.id)).transpose()?;
        notes.add(mutant, outcome)
    };
    let mut outcomes: Vec<_> = switched.iter().copied().zip(each(&switched, run)).collect();
    built.restore(&tree)?;
    for mutant in fixed {
        let run = || tests.outcome_alone(&tree, &arguments.tests);
        let outcome = build::alone(&tree, mutant, run)?;
        outcomes.push((mutant, notes.add(mutant, outcome)));
    }
    summary(outcomes)
}

/// The names of the mutants that no test had noticed.
fn missed(earlier: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(earlier)?;
    let fields = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let missed = fields.filter(|fields| ["missed", "unreached"].contains(&fields[0]));
    Ok(missed.map(|fields| fields[1].to_owned()).collect())
}

/// The file of outcomes, written as they come.
struct Notes(Mutex<File>);

impl Notes {
    /// `None`: it does not compile.
    fn add(&self, mutant: &Mutant, outcome: Option<Outcome>) -> Result<&'static str> {
        let (outcome, by) = match outcome {
            Some(Outcome::Caught { by }) => ("caught", by),
            Some(Outcome::TimedOut { by }) => ("timeout", by),
            Some(Outcome::Missed) => ("missed", String::new()),
            Some(Outcome::Unreached) => ("unreached", String::new()),
            None => ("unviable", String::new()),
        };
        let mut file = self.0.lock().expect("no worker panics");
        writeln!(file, "{outcome}\t{}\t{by}", mutant.name)?;
        Ok(outcome)
    }
}

/// Prints the counts by file and what no test has noticed, which is a failure.
fn summary(outcomes: Vec<(&Mutant, Result<&'static str>)>) -> Result<ExitCode> {
    const COLUMNS: [&str; 5] = ["caught", "timeout", "missed", "unreached", "unviable"];
    let mut files: BTreeMap<String, BTreeMap<&str, u32>> = BTreeMap::new();
    let mut left = Vec::new();
    for (mutant, outcome) in outcomes {
        let outcome = outcome?;
        for row in [mutant.file.display().to_string(), "~ all".to_owned()] {
            *files.entry(row).or_default().entry(outcome).or_default() += 1;
        }
        if ["missed", "unreached"].contains(&outcome) {
            left.push(format!("{outcome} {}", mutant.name));
        }
    }
    println!("{:<40}{}", "", COLUMNS.map(|column| format!("{column:>10}")).concat());
    for (file, counts) in &files {
        let counts = COLUMNS.map(|column| format!("{:>10}", counts.get(column).unwrap_or(&0)));
        println!("{file:<40}{}", counts.concat());
    }
    for line in &left {
        println!("{line}");
    }
    Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
