//! The tree with every switch that compiles, and its test programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::list::Mutant;
use crate::rewrite::{Rewritten, rewrite};

/// What a build from nothing may take.
const BUILD_S: &str = "1800";
/// What it may take to check one mutant; some loop while they are compiled.
const ONE_CHECK_S: &str = "120";

/// Why a mutant has no switch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Apart {
    /// It does not compile.
    Unviable,
    /// It is computed while compiling.
    Fixed,
}

pub struct Built {
    sources: BTreeMap<PathBuf, String>,
    pub programs: Vec<PathBuf>,
    pub apart: BTreeMap<u32, Apart>,
}

/// Rewrites the sources of `tree`, a copy, until all of it compiles, and builds the
/// tests that `arguments` of `cargo test` name.
pub fn build(tree: &Path, mutants: &[Mutant], arguments: &[String]) -> Result<Built> {
    let sources = read(tree, mutants)?;
    prepare(tree)?;
    let mut apart = BTreeMap::new();
    loop {
        let mut rewritten = BTreeMap::new();
        for (file, source) in &sources {
            let theirs = mutants.iter().filter(|m| m.file == *file && !apart.contains_key(&m.id));
            let (written, fixed) = rewrite(source, &theirs.collect::<Vec<_>>())
                .with_context(|| file.display().to_string())?;
            apart.extend(fixed.into_iter().map(|id| (id, Apart::Fixed)));
            fs::write(tree.join(file), &written.text)?;
            rewritten.insert(file.clone(), written);
        }
        let unviable = unviable(tree, &rewritten)?;
        if unviable.is_empty() {
            break;
        }
        eprintln!("{} mutants that do not compile", unviable.len());
        apart.extend(unviable.into_iter().map(|id| (id, Apart::Unviable)));
    }
    let programs = programs(tree, arguments)?;
    let programs = programs.with_context(|| format!("no tests for {}", tree.display()))?;
    Ok(Built { sources, programs, apart })
}

impl Built {
    /// Puts the sources back as they were.
    pub fn restore(&self, tree: &Path) -> Result<()> {
        self.sources.iter().try_for_each(|(file, source)| fs::write(tree.join(file), source))?;
        Ok(())
    }
}

/// `work` while the tree has this mutant alone, as it is written; `None` if the library does
/// not compile with it. The tree has no change afterwards.
pub fn alone<T>(
    tree: &Path,
    mutant: &Mutant,
    work: impl FnOnce() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let path = tree.join(&mutant.file);
    let source = fs::read_to_string(&path)?;
    let (start, end) = (mutant.start.byte(&source), mutant.end.byte(&source));
    fs::write(&path, [&source[..start], &mutant.replacement, &source[end..]].concat())?;
    let check = cargo(tree, ONE_CHECK_S, &["check", "--lib"]).output()?.status;
    let result = if compiles(check, tree)? { work() } else { Ok(None) };
    fs::write(&path, source)?;
    result
}

/// Whether it does. That cargo cannot run at all, for want of space or the like, is no
/// answer to that.
fn compiles(status: ExitStatus, tree: &Path) -> Result<bool> {
    const REFUSED: i32 = 101;
    const TIMED_OUT: i32 = 124; // of `timeout`: the compiler would never end
    match status.code() {
        Some(0) => Ok(true),
        Some(REFUSED | TIMED_OUT) => Ok(false),
        _ => bail!("cargo in {}: {status}", tree.display()),
    }
}

fn read(tree: &Path, mutants: &[Mutant]) -> Result<BTreeMap<PathBuf, String>> {
    let files: BTreeSet<_> = mutants.iter().map(|mutant| mutant.file.clone()).collect();
    let read = |file: PathBuf| {
        let source = fs::read_to_string(tree.join(&file));
        source.map(|source| (file.clone(), source)).with_context(|| file.display().to_string())
    };
    files.into_iter().map(read).collect()
}

fn prepare(tree: &Path) -> Result<()> {
    fs::write(tree.join("src/switches.rs"), include_str!("switches.rs.in"))?;
    let library = tree.join("src/lib.rs");
    let text = fs::read_to_string(&library)?;
    ensure!(!text.contains("mod switches"), "{}: is rewritten already", tree.display());
    fs::write(library, text + "\npub mod switches;\n")?;
    Ok(())
}

#[derive(Deserialize)]
struct Line {
    message: Option<Message>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Message {
    level: String,
    rendered: Option<String>,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    file_name: PathBuf,
    byte_start: usize,
    byte_end: usize,
}

/// `cargo` for so many seconds; `timeout` ends it with the compilers it has started.
fn cargo(tree: &Path, limit_s: &str, arguments: &[&str]) -> Command {
    let mut cargo = Command::new("timeout");
    cargo.args([limit_s, "cargo"]).current_dir(tree).args(arguments);
    cargo.args(["--message-format=json", "--quiet"]);
    // A mutant may well overflow or loop for ever; the tests are to say so.
    cargo.env("RUSTFLAGS", "--cap-lints=allow").stderr(Stdio::null());
    cargo
}

/// The mutants that the compiler complains about: of all the places an error names,
/// those of the smallest pieces.
fn unviable(tree: &Path, rewritten: &BTreeMap<PathBuf, Rewritten>) -> Result<BTreeSet<u32>> {
    let output = cargo(tree, BUILD_S, &["check", "--lib"]).output()?;
    let mut found = BTreeSet::new();
    let mut unplaced = None;
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Line { message: Some(message), .. } = serde_json::from_slice(line)? else { continue };
        if message.level != "error" || message.spans.is_empty() {
            continue;
        }
        let blamed: BTreeSet<u32> =
            message.spans.iter().flat_map(|span| blamed(span, rewritten)).collect();
        if blamed.is_empty() {
            unplaced = message.rendered;
        }
        found.extend(blamed);
    }
    match unplaced {
        Some(error) if found.is_empty() => bail!("no mutant is to blame for this:\n{error}"),
        None if found.is_empty() => {
            ensure!(output.status.success(), "cargo check failed in {}", tree.display());
        }
        _ => {}
    }
    Ok(found)
}

fn blamed(span: &Span, rewritten: &BTreeMap<PathBuf, Rewritten>) -> Vec<u32> {
    let places = rewritten.get(&span.file_name).map_or(&[][..], |written| &written.places);
    let around = |place: &&(std::ops::Range<usize>, u32)| {
        place.0.start <= span.byte_start && span.byte_end <= place.0.end
    };
    if !places.iter().any(|place| around(&place)) {
        // A match that wants one of its arms: the error names what is matched.
        let after =
            rewritten.get(&span.file_name).and_then(|w| w.arms.range(span.byte_end..).next());
        return after.map(|(_, id)| *id).into_iter().collect();
    }
    let smallest = places.iter().filter(around).map(|place| place.0.len()).min();
    let is_smallest = |place: &&(std::ops::Range<usize>, u32)| Some(place.0.len()) == smallest;
    places.iter().filter(around).filter(is_smallest).map(|place| place.1).collect()
}

/// Builds the test programs that `arguments` of `cargo test` name; `None` if one of them
/// does not compile.
pub fn programs(tree: &Path, arguments: &[String]) -> Result<Option<Vec<PathBuf>>> {
    let mut cargo = cargo(tree, BUILD_S, &["test", "--no-run"]);
    let output = cargo.args(arguments).stderr(Stdio::inherit()).output()?;
    if !compiles(output.status, tree)? {
        return Ok(None);
    }
    let mut programs = Vec::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        programs.extend(serde_json::from_slice::<Line>(line)?.executable);
    }
    Ok(Some(programs))
}
