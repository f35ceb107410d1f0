//! The tests one by one, each in a process of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::build::programs;

/// Some mutants reserve all there is.
const MEMORY: &str = "--as=17179869184";
const LOOKS_EVERY: Duration = Duration::from_millis(2);
/// What a test is given beyond four times what it took.
const PATIENCE: Duration = Duration::from_secs(3);
/// What a test may take as it was written, and noting what it comes by.
const LONG: Duration = Duration::from_secs(600);

pub struct Test {
    program: PathBuf,
    name: String,
    takes: Duration,
}

impl Test {
    pub fn name(&self) -> String {
        let program = self.program.file_stem().unwrap_or_default().to_string_lossy();
        let (program, _hash) = program.rsplit_once('-').unwrap_or((&program, ""));
        format!("{program} {}", self.name)
    }

    /// `None`: it was still running when its time was over.
    fn run(
        &self,
        tree: &Path,
        variable: (&str, &str),
        limit: Duration,
    ) -> Result<Option<ExitStatus>> {
        let mut command = Command::new("prlimit");
        command.arg(MEMORY).arg(&self.program).args(["--exact", &self.name, "--test-threads=1"]);
        command.env(variable.0, variable.1).current_dir(tree).stdin(Stdio::null());
        command.env("PROPTEST_MAX_SHRINK_ITERS", "0"); // that it fails is all that is asked
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let started = Instant::now();
        while started.elapsed() < limit {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(LOOKS_EVERY);
        }
        child.kill()?;
        child.wait()?;
        Ok(None)
    }
}

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Caught {
        by: String,
    },
    TimedOut {
        by: String,
    },
    /// Tests came by it, and all of them passed.
    Missed,
    /// No test comes by it.
    Unreached,
}

/// The tests that there are, and which of them come by which mutant.
pub struct Tests {
    tests: Vec<Test>,
    reach: BTreeMap<u32, Vec<usize>>,
}

impl Tests {
    /// Runs every test of the programs as it was written; all must pass. Those that
    /// take longer than `longest` are left out.
    pub fn of(tree: &Path, programs: &[PathBuf], longest: Duration) -> Result<Self> {
        let mut tests = Vec::new();
        for program in programs {
            tests.extend(listed(tree, program)?);
        }
        let reached = each(&tests, |index, test| reached(tree, index, test));
        let mut found = Vec::new();
        for (mut test, reached) in tests.into_iter().zip(reached) {
            let (takes, ids) = reached?;
            test.takes = takes;
            found.push((test, ids));
        }
        found.retain(|(test, _)| test.takes <= longest);
        found.sort_by_key(|(test, _)| test.takes);
        let mut reach: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, (_, ids)) in found.iter().enumerate() {
            for id in ids {
                reach.entry(*id).or_default().push(index);
            }
        }
        Ok(Self { tests: found.into_iter().map(|(test, _)| test).collect(), reach })
    }

    pub fn len(&self) -> usize {
        self.tests.len()
    }

    /// Runs what comes by this mutant, the shortest first, until one test fails.
    pub fn outcome(&self, tree: &Path, mutant: u32) -> Result<Outcome> {
        let Some(indices) = self.reach.get(&mutant) else { return Ok(Outcome::Unreached) };
        let tests = indices.iter().map(|index| &self.tests[*index]);
        first_failure(tree, tests, mutant)
    }

    /// Runs the same tests in a tree that has a mutant as it is written, program by program,
    /// for most are caught by the first. `None`: a program does not compile with it.
    pub fn outcome_alone(&self, tree: &Path, arguments: &[String]) -> Result<Option<Outcome>> {
        for argument in arguments {
            let Some(programs) = programs(tree, std::slice::from_ref(argument))? else {
                return Ok(None);
            };
            let outcome = self.outcome_of(tree, &programs)?;
            if outcome != Outcome::Missed {
                return Ok(Some(outcome));
            }
        }
        Ok(Some(Outcome::Missed))
    }

    fn outcome_of(&self, tree: &Path, programs: &[PathBuf]) -> Result<Outcome> {
        let mut tests = Vec::new();
        for program in programs {
            tests.extend(listed(tree, program)?);
        }
        let takes = |test: &Test| {
            self.tests.iter().find(|known| known.name() == test.name()).map(|test| test.takes)
        };
        tests.retain_mut(|test| {
            takes(test).is_some_and(|takes| {
                test.takes = takes;
                true
            })
        });
        tests.sort_by_key(|test| test.takes);
        first_failure(tree, tests.iter(), 0)
    }
}

fn first_failure<'a>(
    tree: &Path,
    tests: impl Iterator<Item = &'a Test>,
    mutant: u32,
) -> Result<Outcome> {
    for test in tests {
        match test.run(tree, ("MUTANT", &mutant.to_string()), test.takes * 4 + PATIENCE)? {
            Some(status) if status.success() => {}
            Some(_) => return Ok(Outcome::Caught { by: test.name() }),
            None => return Ok(Outcome::TimedOut { by: test.name() }),
        }
    }
    Ok(Outcome::Missed)
}

fn listed(tree: &Path, program: &Path) -> Result<Vec<Test>> {
    let mut command = Command::new(program);
    let output = command.current_dir(tree).args(["--list", "--format=terse"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    let of = |name: &str| Test {
        program: program.to_owned(),
        name: name.to_owned(),
        takes: Duration::ZERO,
    };
    Ok(names.map(of).collect())
}

fn reached(tree: &Path, index: usize, test: &Test) -> Result<(Duration, Vec<u32>)> {
    let path = std::env::temp_dir().join(format!("mutants-{}-{index}", std::process::id()));
    let path_text = path.to_str().context("a temporary directory in UTF-8")?;
    let recorded = test.run(tree, ("MUTANT_REACHED", path_text), LONG)?;
    let started = Instant::now();
    let repeated = test.run(tree, ("MUTANT", "0"), LONG)?;
    let takes = started.elapsed();
    for status in [recorded, repeated] {
        ensure!(
            status.is_some_and(|status| status.success()),
            "{}: fails without any mutant",
            test.name()
        );
    }
    let bytes = if path.exists() { fs::read(&path)? } else { Vec::new() };
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let ids = bytes.chunks_exact(4).map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]]));
    Ok((takes, ids.collect()))
}

/// `work` on each item, on as many threads as there are cores; in the items' order.
pub fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    let worker = || {
        while let index = next.fetch_add(1, Relaxed)
            && let Some(item) = items.get(index)
        {
            let result = work(index, item);
            done.lock().expect("no worker panics").insert(index, result);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    done.into_inner().expect("no worker panics").into_values().collect()
}
