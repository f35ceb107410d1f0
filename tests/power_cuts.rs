//! Power cuts on real file systems: at any moment under load, at the start and
//! while shards are rearranged, everything acknowledged is there afterwards,
//! with its amount.
//!
//! The file system is told to stop (the shutdown request of XFS and ext4, without
//! a flush of its log), then the server is killed, and a new mount shows what had
//! reached the disk. That takes root, a loop device and `xfs_io`; what a machine
//! cannot do is skipped with a line.
//! `CUTS=500 cargo test --release --test power_cuts -- --nocapture` for more.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::path::Path;
use std::time::Duration;

use rig::acknowledged::{Acknowledged, Crowd, verify};
use rig::disk::Disk;
use rig::{Process, command};

const LIFETIME_S: u32 = 3600;

/// Tables for all rounds, segments that are soon full, a checkpoint a second:
/// files are made, named and removed all the time.
const BUSY: &[&str] =
    &["--envelopes-max", "400000", "--segment-kib", "128", "--checkpoint-interval-s", "1"];

fn cuts(default: u64) -> u64 {
    std::env::var("CUTS").map_or(default, |text| text.parse().expect("a number"))
}

fn start(data: &Path, shards: &str) -> Process {
    Process::start(data, &[BUSY, &["--shards", shards]].concat())
}

/// Cuts the power and ends the process; false where nobody can cut it.
fn cut(disk: &Disk, server: &mut Process) -> bool {
    let done = disk.cut();
    if !done {
        println!("skipped: no file system can be shut down here (apt-get install xfsprogs)");
    }
    server.kill();
    disk.remount();
    done
}

fn under_load(disk: Option<Disk>) {
    let Some(disk) = disk else { return };
    let data = disk.path().join("data");
    let mut all = Acknowledged::new();
    let mut server = start(&data, "2");
    let rounds = cuts(6);
    for round in 0..rounds {
        // A fixed sequence of moments; many lie in a segment switch or a checkpoint.
        let moment = Duration::from_millis(20 + round * 277 % 1300);
        let crowd = Crowd::at(&server, round, LIFETIME_S);
        std::thread::sleep(moment);
        if !cut(&disk, &mut server) {
            return;
        }
        let told = crowd.told();
        server = start(&data, "2");
        verify(&server, &told);
        all.extend(told);
    }
    verify(&server, &all);
    println!("{rounds} power cuts, {} claims acknowledged, none lost", all.len());
    assert!(all.len() > 100, "the load was cut before it began");
}

#[test]
fn what_was_acknowledged_on_ext4_survives_power_cuts() {
    under_load(Disk::made(256, &[]));
}

#[test]
fn what_was_acknowledged_on_xfs_survives_power_cuts() {
    under_load(Disk::xfs());
}

/// A first start makes directories and files, and a start with another number
/// of shards makes and removes them: cut in all of that, at any moment.
fn while_files_are_made(disk: Option<Disk>) {
    let Some(disk) = disk else { return };
    let data = disk.path().join("data");
    let mut all = Acknowledged::new();
    for (round, shards) in (0..).zip(["1", "2", "3", "1"]) {
        let flags = [BUSY, &["--shards", shards]].concat();
        for moment in 0..cuts(4) {
            let mut child = command(&data, &flags).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(moment * 23 % 150));
            if !disk.cut() {
                println!("skipped: no file system can be shut down here (xfsprogs)");
                child.kill().unwrap();
                child.wait().unwrap();
                return;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            disk.remount();
        }
        let mut server = start(&data, shards);
        verify(&server, &all);
        let crowd = Crowd::at(&server, round, LIFETIME_S);
        std::thread::sleep(Duration::from_millis(300));
        assert!(cut(&disk, &mut server));
        all.extend(crowd.told());
    }
    verify(&start(&data, "2"), &all);
    println!("1, 2, 3, 1 and 2 shards, {} claims, none lost", all.len());
    assert!(all.len() > 400);
}

#[test]
fn a_power_cut_on_ext4_while_files_are_made_loses_nothing() {
    while_files_are_made(Disk::made(256, &[]));
}

#[test]
fn a_power_cut_on_xfs_while_files_are_made_loses_nothing() {
    while_files_are_made(Disk::xfs());
}
