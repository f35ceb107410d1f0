//! `hb risk` against a server in this process.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::process::{Command, Output};

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
        risk_users_max: 1000,
        risk_hold_below: 50,
        risk_hold_above_fen: 20_000,
        risk_deny_device_wins: 1,
        settlement: MaybeListen::At(([127, 0, 0, 1], 0).into()),
        risk_window_s: 43_200,
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

fn words(server: &Server, args: &[&str]) -> String {
    let output = hb(server, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    let words = String::from_utf8(output.stdout).unwrap();
    println!("$ hb {}\n{words}", args.join(" "));
    words
}

fn send(server: &Server, order: &str, more: &[&str]) -> String {
    let base = ["send", "--sender", "7", "--order", order, "--payment", "1", "--total", "88.00"];
    let sent = json(server, &[&base[..], &["--shares", "4", "--split", "equal"], more].concat());
    sent["envelope"].as_str().unwrap().to_owned()
}

#[test]
fn users_are_graded_listed_and_explained_and_their_shares_released_and_rejected() {
    let data = tempfile::tempdir().unwrap();
    let server = start(&data.path().join("data"));
    let file = data.path().join("grades.csv");
    std::fs::write(&file, "# the scan of tonight\n66,40\n67,90,watch\n68,0,deny\n").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(json(&server, &["risk", "load", file])["users"], 3);
    assert!(words(&server, &["risk", "load", file]).contains("3 users"));
    let envelope = send(&server, "1", &[]);
    for user in ["66", "67", "68"] {
        let told = hb(&server, &["claim", &envelope, user]);
        assert_eq!(told.status.code(), Some(1), "{told:?}");
        assert!(String::from_utf8(told.stderr).unwrap().contains("not given"), "nothing more");
    }
    let explained = json(&server, &["risk", "explain", "66"]);
    assert_eq!((&explained["grade"], &explained["verdict"]), (&40.into(), &"hold".into()));
    assert_eq!((&explained["rule"], &explained["rule_id"]), (&"grade-held".into(), &4.into()));
    let held = &explained["holds"][0];
    assert_eq!((&held["state"], &held["amount_fen"]), (&"held".into(), &2200.into()));
    assert!(words(&server, &["risk", "explain", "66"]).contains("held, rule grade-held (4)"));
    assert!(words(&server, &["risk", "explain", "68"]).contains("not given, rule deny-list (1)"));
    assert!(words(&server, &["risk", "explain", "69"]).contains("no grade, counts as 100"));
    assert_eq!(words(&server, &["risk", "list"]).lines().count(), 2);
    let release = ["risk", "hold", "release", &envelope, "66"];
    assert_eq!(json(&server, &release)["repeated"], false);
    assert!(words(&server, &release).contains("is the user's, as was decided before"));
    let reject = ["risk", "hold", "reject", &envelope, "67"];
    assert!(words(&server, &reject).contains("went back to the sender"));
    assert_eq!(hb(&server, &["risk", "hold", "reject", &envelope, "66"]).status.code(), Some(1));
    assert_eq!(json(&server, &["claim", &envelope, "66"])["amount_fen"], 2200);
    let feed = words(&server, &["risk", "feed"]);
    let steps = ["denied, rule deny-list (1)", "held, rule watch-list (2)", "released", "rejected"];
    assert!(steps.iter().all(|step| feed.contains(step)), "{feed}");
    let explained = json(&server, &["risk", "explain", "68"]);
    assert_eq!(explained["events"][0]["rule"], "deny-list");
    assert_eq!(json(&server, &["risk", "deny", "68", "--off"])["repeated"], false);
    assert_eq!(json(&server, &["claim", &envelope, "68"])["amount_fen"], 2200);
    assert!(words(&server, &["risk", "watch", "70"]).contains("on the watch list"));
    let graded = send(&server, "2", &["--grade-min", "101"]);
    assert_eq!(hb(&server, &["claim", &graded, "71"]).status.code(), Some(1));
    assert!(words(&server, &["risk", "grade", "71", "101"]).contains("grade 101"));
    assert_eq!(json(&server, &["claim", &graded, "71"])["amount_fen"], 2200);
    assert!(words(&server, &["terms", &graded, "71"]).contains("101 or better"));
    std::fs::write(data.path().join("bad.csv"), "66;40\n").unwrap();
    let bad = hb(&server, &["risk", "load", data.path().join("bad.csv").to_str().unwrap()]);
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
}

#[test]
fn a_device_that_has_won_is_given_no_more() {
    let data = tempfile::tempdir().unwrap();
    let server = start(&data.path().join("data"));
    let envelope = send(&server, "1", &[]);
    let claim =
        |user, device: &[&str]| hb(&server, &[&["claim", &envelope, user], device].concat());
    assert!(claim("1", &["--device", "77", "--address", "5"]).status.success());
    assert_eq!(claim("2", &["--device", "77", "--address", "6"]).status.code(), Some(1));
    assert!(claim("2", &["--device", "78"]).status.success());
    let explained = words(&server, &["risk", "explain", "2"]);
    assert!(explained.contains("denied, rule device-denied (8)"), "{explained}");
    assert!(words(&server, &["risk", "watch", "3"]).contains("on the watch list"));
    let from = server.settlement().unwrap().to_string();
    let feed = ["risk", "feed", "--from", &from, "--name", "risk-desk"];
    let told = words(&server, &feed);
    assert!(told.contains("user 2: 22.00 yuan denied, rule device-denied (8)"), "{told}");
    assert_eq!(told.matches("user 3: marked, grade 0, lists 2").count(), 2, "by each shard");
    assert!(claim("3", &[]).status.code() == Some(1));
    let news = || -> Vec<Value> {
        let output = hb(&server, &[&["--json"], &feed[..]].concat());
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let news = news();
    let held = |news: &&Value| news["what"] == "held" && news["user"] == "3";
    assert_eq!(news.iter().filter(held).count(), 1, "{news:?}");
    let wrong = ["risk", "feed", "--from", &from, "--name", "desk"];
    assert_eq!(hb(&server, &wrong).status.code(), Some(2));
}
