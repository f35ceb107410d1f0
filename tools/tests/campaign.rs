//! `hb campaign` and `hb load --mix shake` against a server in this process.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use hongbao::config::{Cores, LedgerPlace, MaybeListen};
use hongbao::{Config, Server};
use serde_json::Value;

fn start(data: &std::path::Path) -> Server {
    let config = Config {
        data: data.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        segment_kib: 256,
        table_mib: 64,
        envelopes_max: 20_000,
        shards: Some(2),
        cores: Cores::Free,
        admin: MaybeListen::Nowhere,
        ledger: LedgerPlace::Nowhere,
        wait_us_max: 60_000_000,
        ..Config::default()
    };
    Server::start(config).unwrap()
}

fn hb(server: &Server, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hb"));
    command.args(["--addr", &server.address().to_string()]).args(args).output().unwrap()
}

fn json(server: &Server, args: &[&str]) -> Value {
    let output = hb(server, &[&["--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn create<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let base = ["campaign", "create", "--sponsor", "42", "--order", "1", "--payment", "9"];
    let prizes = ["--prize", "0.50x30", "--prize", "8.88x2"];
    [&base[..], &prizes, more].concat()
}

#[test]
fn a_campaign_is_created_started_paused_shaken_shown_and_stopped() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let slot = ["--slot", "+0s,10m,16x2", "--fallback", "7", "--wait"];
    let created = json(&server, &create(&slot));
    assert_eq!(created["started"], false);
    let campaign = created["campaign"].as_str().unwrap().to_owned();
    let refused = hb(&server, &["campaign", "shake", &campaign, "5"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(json(&server, &["campaign", "start", &campaign, "42"])["phase"], "runs");
    let began = Instant::now();
    let mut user = 100;
    let won = loop {
        user += 1;
        let shaken = json(&server, &["campaign", "shake", &campaign, &user.to_string()]);
        if shaken["result"] == "won" {
            break shaken["amount_fen"].as_u64().unwrap();
        }
        assert_eq!((&shaken["result"], &shaken["fallback"]), (&"lost".into(), &7.into()));
        assert!(began.elapsed() < Duration::from_secs(60), "nobody wins");
    };
    assert!([50, 888].contains(&won));
    let wins = json(&server, &["campaign", "wins", &campaign, &user.to_string()]);
    assert_eq!((&wins["wins"], &wins["last_fen"]), (&1.into(), &won.into()));
    assert_eq!(json(&server, &["campaign", "pause", &campaign, "42"])["phase"], "pauses");
    let status = json(&server, &["campaign", "status", &campaign]);
    assert_eq!((&status["phase"], &status["won"]), (&"paused".into(), &1.into()));
    assert_eq!(status["slots"].as_array().unwrap().len(), 2);
    let words = hb(&server, &["campaign", "status", &campaign]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("32 prizes planned") && words.contains("1 of 16"), "{words}");
    let stopped = json(&server, &["campaign", "stop", &campaign, "42"]);
    assert_eq!(stopped["refunded_fen"], 30 * 50 + 2 * 888 - won);
    // Its end is told, and with the seed every prize follows.
    assert_eq!(json(&server, &["verify", &campaign])["verified"], true);
}

#[test]
fn a_plan_that_is_refused_says_what_is_wrong() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let refused = hb(&server, &create(&["--slot", "+0s,10m,33"]));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(told.contains("starting campaign") && told.contains("slots of the plan"), "{told}");
    let usage = hb(&server, &create(&["--slot", "soon"]));
    assert_eq!(usage.status.code(), Some(2), "{usage:?}");
}

#[test]
fn a_load_of_shakes_keeps_to_the_plan() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let load = ["load", "--mix", "shake", "--conns", "4", "--depth", "64", "--seconds", "3"];
    let summary = json(&server, &[&load[..], &["--shares", "3000"]].concat());
    let shaken = &summary["campaign"];
    let [won, winners, planned] =
        ["won", "winners", "planned"].map(|f| shaken[f].as_u64().unwrap());
    assert_eq!((won, planned, &summary["errors"]), (winners, 3000, &0.into()));
    assert!(won > 0 && won <= 3000 && shaken["losers"].as_u64().unwrap() > 1000, "{summary}");
}
