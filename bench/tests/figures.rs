//! Every figure still runs, small.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use std::path::Path;
use std::process::Command;

/// The output of a small figure; `None` where the programs it starts are not
/// built, which `cargo test --workspace` does.
fn figure(args: &[&str]) -> Option<String> {
    let figures = Path::new(env!("CARGO_BIN_EXE_figures"));
    if !["hb", "hongbao"].iter().all(|name| figures.with_file_name(name).exists()) {
        eprintln!("skipped: hb and hongbao are not built (cargo build --workspace)");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(figures);
    command.args(["--envelopes", "1000", "--seconds", "0.2", "--runs", "1", "--unpinned"]);
    command.args(["--segment-mib", "16", "--dir"]);
    let output = command.arg(dir.path()).args(args).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    Some(told)
}

fn has_lines(told: Option<String>, words: &[&str]) {
    let Some(told) = told else { return };
    for word in words {
        assert!(told.contains(word), "no {word} in {told}");
    }
}

#[test]
fn rush_tells_rates_latencies_disk_and_memory() {
    let told = figure(&["rush", "--rate", "5000"]);
    has_lines(told, &["closed", "p99 us", "journal bytes a claim", "an envelope", " 0 errors"]);
}

#[test]
fn eve2_tells_one_shard_and_two() {
    has_lines(figure(&["eve2"]), &["floor", "1 shard", "straight to the owner", "wrong one"]);
}

#[test]
fn hot_tells_what_the_others_feel() {
    let told = figure(&["hot", "--shares", "1000", "--rate", "5000", "--beside", "1000"]);
    has_lines(told, &["answers/s, floor", "beside 5000 answers/s", " 0 errors"]);
}

#[test]
fn ledger_tells_credits_and_audits_them() {
    let told = figure(&["ledger", "--rate", "5000"]);
    has_lines(
        told,
        &["claims:", " 0 errors", "credits beside:", "caught up:", "credits alone:", "clean"],
    );
}

#[test]
fn overload_tells_what_is_of_use_and_how_soon_it_is_back() {
    let flags = ["--overload-seconds", "1", "--calm-seconds", "1", "--times", "2"];
    let told = figure(&[&["overload"][..], &flags].concat());
    has_lines(told, &["hongbao: peak", "floor: peak", "of the peak", "back to normal after"]);
}

#[test]
fn expiry_tells_what_claims_feel_before_and_meanwhile() {
    let flags = ["--window", "2", "--before", "2", "--rate", "5000", "--lead", "6"];
    let told = figure(&[&["expiry"][..], &flags].concat());
    has_lines(told, &["second", "p99 before", "of them expire", "p99 of the floor"]);
}
