//! What is fuzzed: each target takes any bytes and must neither panic nor break
//! what it asserts. `tests/fuzzing.rs` runs them over the corpus and mutations of
//! it; a fuzzer that is guided by coverage can call the same functions.
//!
//! Checksums are put right by the targets themselves, else nothing would be
//! reached behind them.
#![allow(clippy::unwrap_used)] // what a target takes for granted
#![allow(unreachable_pub)] // the tests see this as a module of their own
#![allow(dead_code)]
#![allow(missing_docs)]

pub mod checkpoints;
pub mod configuration;
pub mod frames;
#[path = "../../media/mod.rs"]
pub mod media;
pub mod records;
pub mod segments;

/// A target.
pub type Target = fn(&[u8]);

/// All of them: the name of the file in `corpus/`, and how many mutations
/// take a second or two.
pub const TARGETS: [(&str, Target, u64); 7] = [
    ("requests", frames::requests, 200_000),
    ("replies", frames::replies, 500_000),
    ("records", records::records, 500_000),
    ("segments", segments::segments, 100_000),
    ("checkpoints", checkpoints::checkpoints, 100_000),
    ("images", checkpoints::images, 1000),
    ("configuration", configuration::configuration, 50_000),
];

/// Takes a fuzzer's bytes one after another; zeros when there are no more.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.some(1).first().copied().unwrap_or(0)
    }

    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// As many as the next byte says, times `unit`.
    pub fn counted(&mut self, unit: usize) -> &'a [u8] {
        let count = usize::from(self.byte());
        self.some(count * unit)
    }

    /// So many, or what there is.
    pub fn some(&mut self, count: usize) -> &'a [u8] {
        let (some, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        some
    }

    /// Changes some bytes of `target` as the fuzzer says.
    pub fn patch(&mut self, target: &mut [u8]) {
        for _ in 0..self.byte() % 5 {
            let (at, value) = (usize::from(self.word()), self.byte());
            let length = target.len();
            target[at % length] ^= value;
        }
    }
}
