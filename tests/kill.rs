//! SIGKILL at any moment under load, and at the moments that matter most:
//! nothing acknowledged is lost and no amount changes.
//! `KILLS=1000 cargo test --release --test kill` for more.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rig::acknowledged::{Acknowledged, Crowd, verify};
use rig::{Process, command};

const LIFETIME_S: u32 = 3600;

/// Tables for all rounds, segments that are soon full, a checkpoint a second.
const BUSY: &[&str] =
    &["--envelopes-max", "400000", "--segment-kib", "128", "--checkpoint-interval-s", "1"];

/// Busy, with two shards.
const TWO: &[&str] = &[
    "--envelopes-max",
    "400000",
    "--segment-kib",
    "128",
    "--checkpoint-interval-s",
    "1",
    "--shards",
    "2",
];

fn kills(default: u64) -> u64 {
    std::env::var("KILLS").map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn what_was_acknowledged_survives_sigkill_with_its_amount() {
    let kills = kills(20);
    let data = tempfile::tempdir().unwrap();
    let mut all = Acknowledged::new();
    let mut server = Process::start(data.path(), BUSY);
    for round in 0..kills {
        // A fixed sequence of moments between 10 and 90 ms after the start.
        let moment = Duration::from_millis(10 + round * 37 % 80);
        let crowd = Crowd::at(&server, round, LIFETIME_S);
        std::thread::sleep(moment);
        server.kill();
        let latest = crowd.told();
        server = Process::start(data.path(), BUSY);
        verify(&server, &latest);
        all.extend(latest);
    }
    verify(&server, &all);
    println!("{kills} kills, {} claims acknowledged, none lost", all.len());
    assert!(all.len() > 100, "the load was cut before it began");
}

/// The files of a data directory whose names end like this.
fn named(data: &Path, suffix: &str) -> Vec<PathBuf> {
    let found = walk(data);
    found.into_iter().filter(|path| path.display().to_string().ends_with(suffix)).collect()
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let below: Vec<_> = found.iter().filter(|path| path.is_dir()).flat_map(|p| walk(p)).collect();
    found.extend(below);
    found.sort();
    found
}

/// Kills a loaded server when `reached` says that the point is there, some
/// times, and looks after each whether everything acknowledged is.
fn kill_when(
    point: &str,
    rounds: u64,
    flags: &[&str],
    reached: impl Fn(&Path, &[PathBuf]) -> bool,
) {
    let data = tempfile::tempdir().unwrap();
    let mut all = Acknowledged::new();
    let mut hits = 0;
    let mut server = Process::start(data.path(), flags);
    for round in 0..rounds {
        let before = walk(data.path());
        let crowd = Crowd::at(&server, round, LIFETIME_S);
        let began = Instant::now();
        let mut hit = false;
        while !hit && began.elapsed() < Duration::from_secs(15) {
            hit = reached(data.path(), &before);
        }
        server.kill();
        hits += u64::from(hit);
        let latest = crowd.told();
        server = Process::start(data.path(), flags);
        verify(&server, &latest);
        all.extend(latest);
    }
    verify(&server, &all);
    println!("killed {hits} of {rounds} times {point}; {} claims, none lost", all.len());
    assert!(hits * 2 > rounds && all.len() > 100, "the point was not met");
}

#[test]
fn a_kill_while_a_checkpoint_is_written_loses_nothing() {
    kill_when("while a checkpoint was written", kills(5), TWO, |data, _| {
        !named(data, ".ckp.tmp").is_empty()
    });
}

#[test]
fn a_kill_when_a_checkpoint_has_got_its_name_loses_nothing() {
    kill_when("at a checkpoint's naming", kills(5), TWO, |data, before| {
        named(data, ".ckp").iter().any(|path| !before.contains(path))
    });
}

#[test]
fn a_kill_at_a_segment_switch_loses_nothing() {
    kill_when("at a segment switch", kills(5), BUSY, |data, before| {
        named(data, ".seg").iter().filter(|path| !before.contains(path)).count() > 1
    });
}

#[test]
fn a_kill_while_segments_are_freed_loses_nothing() {
    kill_when("while segments were freed", kills(5), TWO, |_, before| {
        let segment = |path: &&PathBuf| path.extension().is_some_and(|kind| kind == "seg");
        before.iter().filter(segment).any(|path| !path.exists())
    });
}

#[test]
fn a_kill_in_an_expiry_storm_loses_nothing_and_refunds_once() {
    let data = tempfile::tempdir().unwrap();
    let mut all = Acknowledged::new();
    let mut server = Process::start(data.path(), TWO);
    for round in 0..kills(5) {
        // Envelopes that live for a second: from then on they expire as fast
        // as they are sent.
        let crowd = Crowd::at(&server, round, 1);
        std::thread::sleep(Duration::from_millis(1100 + round * 173 % 900));
        server.kill();
        let latest = crowd.told();
        server = Process::start(data.path(), TWO);
        verify(&server, &latest);
        all.extend(latest);
    }
    verify(&server, &all);
    assert!(all.len() > 100);
}

#[test]
fn a_kill_during_the_start_itself_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Process::start(data.path(), TWO);
    let crowd = Crowd::at(&server, 0, LIFETIME_S);
    std::thread::sleep(Duration::from_millis(1500));
    server.kill();
    let told = crowd.told();
    for round in 0..kills(12) {
        let mut child = command(data.path(), TWO).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 31 % 150));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let server = Process::start(data.path(), TWO);
    verify(&server, &told);
    assert!(told.len() > 100);
}

#[test]
fn a_kill_while_shards_are_rearranged_leaves_the_old_or_the_new() {
    let data = tempfile::tempdir().unwrap();
    let mut all = Acknowledged::new();
    for (round, shards) in (0..).zip(["1", "2", "3", "1"]) {
        let flags = [BUSY, &["--shards", shards]].concat();
        // Killed at several moments of the rearrangement before it may end.
        for moment in 0..kills(8) {
            let mut child = command(data.path(), &flags).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(moment * 13 % 120));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let mut server = Process::start(data.path(), &flags);
        verify(&server, &all);
        let crowd = Crowd::at(&server, round, LIFETIME_S);
        std::thread::sleep(Duration::from_millis(300));
        server.kill();
        all.extend(crowd.told());
    }
    let server = Process::start(data.path(), &[BUSY, &["--shards", "2"]].concat());
    verify(&server, &all);
    println!("1, 2, 3, 1 and 2 shards, {} claims, none lost", all.len());
    assert!(all.len() > 400);
    let left = named(data.path(), ".tmp");
    assert!(left.is_empty(), "unfinished files are left: {left:?}");
}
