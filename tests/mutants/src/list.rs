//! The list of `cargo mutants --list --json`: what to change, where.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

/// One change of one place.
pub struct Mutant {
    pub id: u32, // from 1: 0 is the program as it was written
    pub name: String,
    pub file: PathBuf,
    pub genre: Genre,
    pub start: Place,
    pub end: Place,
    pub replacement: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

/// Both from 1, columns in characters.
#[derive(Clone, Copy, Deserialize)]
pub struct Place {
    line: usize,
    column: usize,
}

impl Place {
    /// The byte of `source` this is.
    pub fn byte(self, source: &str) -> usize {
        let line: usize = source.split_inclusive('\n').take(self.line - 1).map(str::len).sum();
        let before = source[line..].chars().take(self.column - 1);
        line + before.map(char::len_utf8).sum::<usize>()
    }
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    file: PathBuf,
    genre: Genre,
    span: Span,
    replacement: String,
}

#[derive(Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

/// Every mutant of the file, numbered in its order.
pub fn read(path: &Path) -> Result<Vec<Mutant>> {
    parse(&fs::read_to_string(path).with_context(|| path.display().to_string())?)
}

pub fn parse(json: &str) -> Result<Vec<Mutant>> {
    let listed: Vec<Listed> = serde_json::from_str(json)?;
    let numbered = (1..).zip(listed).map(|(id, listed)| Mutant {
        id,
        name: listed.name,
        file: listed.file,
        genre: listed.genre,
        start: listed.span.start,
        end: listed.span.end,
        replacement: listed.replacement,
    });
    Ok(numbered.collect())
}
