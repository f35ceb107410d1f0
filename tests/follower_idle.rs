//! A follower with nothing to do sleeps for good, and a lone order is decided
//! within some milliseconds.
//!
//! One test in this file: it looks at the one thread of its name.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::fs;
use std::time::{Duration, Instant};

use hongbao::config::LedgerPlace;
use hongbao::units::{EnvelopeState, MoneySource, UserId};
use hongbao::wire::SendOrder;
use hongbao::{Config, Server};
use rig::{config, connect, order};

/// How often the ledger's thread has been woken up.
fn wakings() -> u64 {
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        if fs::read_to_string(path.join("comm")).unwrap().trim() == "ledger" {
            let status = fs::read_to_string(path.join("status")).unwrap();
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt")).unwrap();
            return line.split_whitespace().nth(1).unwrap().parse().unwrap();
        }
    }
    panic!("no ledger's thread");
}

#[test]
fn an_idle_follower_sleeps_and_a_lone_order_is_decided_soon() {
    let data = tempfile::tempdir().unwrap();
    let server =
        Server::start(Config { ledger: LedgerPlace::Embedded, ..config(data.path()) }).unwrap();
    let mut client = connect(&server);
    let mut took = Vec::new();
    for n in 0..20 {
        let source = MoneySource::Balance;
        let order = SendOrder { source, payment: 0, ..order(7, n, 500, 5) };
        let began = Instant::now();
        let envelope = client.send(&order).unwrap().envelope;
        while client.show(envelope).unwrap().state == EnvelopeState::Reserved {
            assert!(began.elapsed() < Duration::from_secs(20), "not decided");
            std::thread::sleep(Duration::from_micros(200));
        }
        took.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(20)); // alone
    }
    took.sort_unstable();
    println!("a lone order is decided in {:?}, at most {:?}", took[10], took[19]);
    let envelope = client.send(&order(7, 99, 500, 5)).unwrap().envelope;
    client.claim(envelope, UserId(1)).unwrap();
    // Its last business: a second later it tells its cursors to the operators.
    let file = data.path().join("followers/ledger.cursor");
    let (began, mut told) = (Instant::now(), String::new());
    loop {
        std::thread::sleep(Duration::from_millis(1500));
        let now = fs::read_to_string(&file).unwrap_or_default();
        if now == told && !now.is_empty() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it does not come to rest");
        told = now;
    }
    let before = wakings();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(wakings(), before, "an idle follower was woken");
}
