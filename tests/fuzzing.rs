//! The fuzz targets over their corpus and mutations of it, drawn with a fixed
//! seed. Whatever was ever found lies in the corpus.
//!
//! `MUTATIONS=100 cargo test --release --test fuzzing` is a hundred times as many.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use std::collections::HashSet;
use std::path::Path;

use hongbao::engine::{Engine, Outcome};
use hongbao::units::{MoneySource, Seed, Split, Time, UserId};
use hongbao::wire::SendOrder;

#[path = "fuzz/src/lib.rs"]
mod fuzz;

use fuzz::{TARGETS, Target};

const SEED: u64 = 20_261_126;

/// How many times the mutations of a short run.
fn times() -> u64 {
    std::env::var("MUTATIONS").map_or(1, |text| text.parse().expect("a number"))
}

/// A generator for the tests' own choices (splitmix64); its seed is printed.
struct Choice(u64);

impl Choice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap() % n.max(1)
    }
}

/// The inputs of a target: in each line a name and the bytes in hexadecimal.
fn corpus_of(name: &str) -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let text = std::fs::read_to_string(corpus.join(format!("{name}.txt"))).unwrap();
    let bytes = |line: &str| hex::decode(line.split_once(' ').unwrap().1).unwrap();
    text.lines().map(bytes).collect()
}

/// One entry of the corpus with some changes: bits, bytes, parts removed, said
/// twice, or taken from another entry.
fn mutated(corpus: &[Vec<u8>], choice: &mut Choice) -> Vec<u8> {
    let mut bytes = corpus[choice.below(corpus.len())].clone();
    for _ in 0..=choice.below(6) {
        let at = choice.below(bytes.len() + 1);
        let until = (at + choice.below(40)).min(bytes.len());
        match choice.below(6) {
            0 => drop(bytes.drain(at..until)),
            1 => {
                let part = bytes[at..until].to_vec();
                bytes.splice(at..at, part);
            }
            2 => {
                let other = &corpus[choice.below(corpus.len())];
                let from = choice.below(other.len() + 1);
                let part = &other[from..(from + choice.below(80)).min(other.len())];
                bytes.splice(at..until, part.iter().copied());
            }
            3 => bytes[at..until].fill([0, 1, 0x7f, 0x80, 0xff][choice.below(5)]),
            _ if at < bytes.len() => bytes[at] ^= 1 << choice.below(8),
            _ => {}
        }
    }
    bytes
}

#[test]
fn no_bytes_break_what_a_target_asserts() {
    println!("seed {SEED}");
    for (name, target, mutations) in TARGETS {
        let began = std::time::Instant::now();
        let corpus = corpus_of(name);
        assert!(!corpus.is_empty(), "{name} has a corpus");
        for bytes in &corpus {
            target(bytes);
        }
        let mut choice = Choice(SEED);
        let count = mutations * times();
        for number in 0..count {
            let bytes = mutated(&corpus, &mut choice);
            attempt(name, number, target, &bytes);
        }
        println!("{name}: {} entries, {count} mutations, {:.1?}", corpus.len(), began.elapsed());
    }
}

/// Runs a target; where it fails, its input goes to a file that can be kept.
fn attempt(name: &str, number: u64, target: Target, bytes: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| target(bytes)) {
        let path = std::env::temp_dir().join(format!("hongbao-fuzz-{name}-{number}"));
        std::fs::write(&path, bytes).unwrap();
        eprintln!(
            "{name}: the input is in {}; put it into the corpus in hexadecimal",
            path.display()
        );
        std::panic::resume_unwind(panic);
    }
}

/// The forger's journals are believed where they are right: else the target
/// would reach nothing. The most first: nothing is left of a journal in the next.
#[test]
fn a_forged_batch_that_is_right_is_recovered() {
    let claim = [&[0; 4][..], &[1, 0, 0, 0], &[7; 24]].concat();
    let batch = [&[0, 4][..], &claim, &[0]].concat();
    for batches in (1..4).rev() {
        let found = fuzz::segments::forged(&batch.repeat(batches)).unwrap();
        assert_eq!(found.len(), batches);
    }
}

/// Every kind of record is reached: one whose checksum is put right in the wrong
/// place would never be looked into.
#[test]
fn the_corpus_has_a_record_of_each_kind() {
    let kinds: HashSet<_> = corpus_of("records")
        .iter()
        .flat_map(|bytes| fuzz::records::found(bytes))
        .map(|record| std::mem::discriminant(&record))
        .collect();
    assert_eq!(kinds.len(), 14, "{kinds:?}");
}

/// So is the image of an engine.
#[test]
fn an_image_that_is_right_is_taken_over() {
    let mut engine = Engine::new(1, fuzz::checkpoints::CAPACITY, fuzz::checkpoints::LIMITS);
    for number in 0..3 {
        let order = SendOrder {
            nonce: 0,
            source: MoneySource::Vouched,
            sender: UserId(number),
            order: number,
            payment: 9,
            total: 500,
            shares: 5,
            lifetime_s: 60,
            share_max: 0,
            split: Split::Equal,
        };
        let issued = engine.issue(&order, Seed([1, 2]), Time(1_700_000_000_000));
        engine.apply(&issued.record.unwrap()).unwrap();
        let Outcome::Issued { envelope, .. } = issued.outcome else { panic!("{issued:?}") };
        let claimed = engine.claim(envelope, UserId(7), Time(1_700_000_001_000));
        engine.apply(&claimed.record.unwrap()).unwrap();
    }
    let image = fuzz::checkpoints::image_of(&mut engine);
    assert_eq!(fuzz::checkpoints::restored(&image).unwrap().digest(), engine.digest());
}
