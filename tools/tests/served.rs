//! `hb` with a real server: the demo whole, and the journal after a kill.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const HB: &str = env!("CARGO_BIN_EXE_hb");

/// A server process on a directory of its own; killed at the end.
struct Served {
    dir: TempDir,
    child: Child,
    addr: String,
}

impl Served {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port_file = dir.path().join("address");
        let mut command = Command::new(HB);
        command
            .args(["serve-for-demo", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir.path().join("data"))
            .arg("--port-file")
            .arg(&port_file)
            .stdin(Stdio::piped()); // it ends when this process, and so the pipe, does
        let mut served = Self { dir, child: command.spawn().unwrap(), addr: String::new() };
        let began = Instant::now();
        while served.addr.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(20), "no server");
            std::thread::sleep(Duration::from_millis(5));
            served.addr = fs::read_to_string(&port_file).unwrap_or_default();
        }
        served
    }

    fn hb(&self, args: &[&str]) -> Value {
        let output = hb(&[&["--json", "--addr", &self.addr], args].concat());
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn data(&self) -> String {
        self.dir.path().join("data").to_str().unwrap().into()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hb(args: &[&str]) -> Output {
    Command::new(HB).args(args).output().unwrap()
}

/// A killed server that had acknowledged one envelope and two claims.
fn killed() -> (Served, Vec<Value>) {
    let mut served = Served::start();
    let send = ["send", "--sender", "7", "--order", "1", "--payment", "1", "--total", "88.00"];
    let envelope = served.hb(&[&send[..], &["--shares", "3"]].concat())["envelope"]
        .as_str()
        .unwrap()
        .to_owned();
    let claims = ["5", "6"].map(|user| served.hb(&["claim", &envelope, user]));
    served.kill();
    (served, claims.to_vec())
}

/// Every record of a journal, from its dump.
fn records(data: &str) -> Vec<Value> {
    let dump = hb(&["--json", "journal", "dump", "--data", data]).stdout;
    let lines = dump.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn the_journal_of_a_killed_server_holds_what_was_acknowledged() {
    let (served, claims) = killed();
    let data = served.data();
    let verified = hb(&["--json", "journal", "verify", "--data", &data]);
    assert!(verified.status.success(), "{verified:?}");
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(verified["shards"][0]["records"], 3, "{verified}");
    let records = records(&data);
    assert_eq!((&records[0]["type"], &records[0]["total_fen"]), (&"issued".into(), &8800.into()));
    for (record, claim) in records[1..].iter().zip(&claims) {
        assert_eq!(record["type"], "claimed");
        assert_eq!(record["amount_fen"], claim["amount_fen"]);
    }
    let stat = hb(&["journal", "stat", "--data", &data]);
    assert!(String::from_utf8_lossy(&stat.stdout).contains("3 records"), "{stat:?}");
}

#[test]
fn every_amount_of_a_real_envelope_verifies() {
    let served = Served::start();
    for (order, split) in [("1", "equal"), ("2", "random"), ("3", "cut")] {
        let words = ["send", "--sender", "7", "--order", order, "--payment", "1", "--split", split];
        let more = ["--total", "10.01", "--shares", "3", "--nonce", "99"];
        let sent = served.hb(&[&words[..], &more].concat());
        let word = |field: &str| sent[field].as_str().unwrap().to_owned();
        let (envelope, commitment) = (word("envelope"), word("commitment"));
        for user in ["1", "2", "3"] {
            served.hb(&["claim", &envelope, user]);
        }
        let told = served.hb(&["verify", &envelope, "--commitment", &commitment, "--receipts"]);
        assert_eq!((&told["verified"], &told["claims"]), (&true.into(), &3.into()), "{told}");
    }
}

#[test]
fn a_damaged_journal_is_exit_code_4() {
    let (served, _) = killed();
    let data = served.data();
    let stat = hb(&["--json", "journal", "stat", "--data", &data]);
    let stat: Value = serde_json::from_slice(&stat.stdout).unwrap();
    let file = PathBuf::from(stat["shards"][0]["segments"][0]["file"].as_str().unwrap());
    let mut segment = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    let inside_the_send = SeekFrom::Start(records(&data)[0]["position"].as_u64().unwrap() + 9);
    segment.seek(inside_the_send).unwrap();
    segment.read_exact(&mut byte).unwrap();
    segment.seek(inside_the_send).unwrap();
    segment.write_all(&[byte[0] ^ 1]).unwrap();
    let verified = hb(&["journal", "verify", "--data", &data]);
    assert_eq!(verified.status.code(), Some(4), "{verified:?}");
    assert!(String::from_utf8_lossy(&verified.stderr).contains("damage"), "{verified:?}");
}

#[test]
fn a_directory_without_a_journal_is_exit_code_3() {
    let empty = tempfile::tempdir().unwrap();
    let output = hb(&["journal", "verify", "--data", empty.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

#[test]
fn the_demo_survives_its_crash_and_passes_its_audit() {
    let output = hb(&["--json", "demo", "--seconds", "2"]);
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    for field in ["lost", "double", "untold", "money_off_fen", "errors"] {
        assert_eq!(told[field], 0, "{field} of {told}");
    }
    assert_eq!(told["audit"], "ok");
    assert!(
        told["claims"].as_u64() > Some(100) && told["asked_again"].as_u64() > Some(0),
        "{told}"
    );
}

#[test]
fn an_envelope_with_terms_is_sent_claimed_and_shown() {
    let served = Served::start();
    let send = ["send", "--sender", "7", "--order", "1", "--payment", "1", "--total", "88.00"];
    let send = [&send[..], &["--shares", "2"]].concat();
    let terms = ["--named", "12,11", "--place", "39.9087,116.3975,500", "--coupon", "C-1"];
    let ordered = served.hb(&[&send[..], &terms, &["--greeting", "恭喜发财"]].concat());
    let envelope = ordered["envelope"].as_str().unwrap();
    let no = |code, words: &str, args: &[&str]| {
        let output = hb(&[&["--addr", &served.addr], args].concat());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(words), "{told}");
    };
    let here = ["--position", "39.9090,116.3970"];
    no(1, "it is for others", &[&["claim", envelope, "13"], &here[..]].concat());
    no(1, "at a place only", &["claim", envelope, "11"]);
    no(1, "too far", &["claim", envelope, "11", "--position", "39.9,116.3975"]);
    no(1, "conflict", &send);
    served.hb(&[&["claim", envelope, "11"], &here[..]].concat());
    let told = served.hb(&["terms", envelope, "11"]);
    assert_eq!((&told["coupon"], &told["greeting"]), (&"C-1".into(), &"恭喜发财".into()));
    assert_eq!((&told["named"][0], &told["place"]["radius_m"]), (&"11".into(), &500.into()));
    assert_eq!(served.hb(&["terms", envelope, "12"])["coupon"], Value::Null);
    let again = ["send", "--sender", "7", "--order", "2", "--payment", "1", "--total", "88.00"];
    let again = [&again[..], &["--shares", "2"]].concat();
    no(2, "impossible", &[&again[..], &["--not-before", "9", "--not-after", "9"]].concat());
    no(1, "password_keys", &[&again[..], &["--password", "open sesame"]].concat());
    no(2, "a place is", &[&again[..], &["--place", "39.9"]].concat());
}
