//! `hb stats`, `hb drain` and `hb doctor`, against a control plane of boards
//! made by hand and against this machine.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hongbao::admin::{Admin, AdminSettings, BoundAdmin, ServerFacts, Watched};
use hongbao::net::{Waker, both};
use hongbao::shard::{Board, Chronometer, Phase};
use hongbao::units::{Durability, Time};
use serde_json::Value;

fn hb(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hb")).args(args).output().unwrap()
}

fn told(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A control plane with one ready shard and one that recovers.
fn served() -> (Admin, String, Arc<AtomicUsize>) {
    let board = |phase| {
        let board = Board::new(Waker::new().unwrap());
        board.enter(phase);
        Arc::new(board)
    };
    let drains = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&drains);
    let facts = ServerFacts {
        version: "1.2.3".into(),
        cell: 7,
        shards: 2,
        durability: Durability::Os,
        listen: Vec::new(),
        data: "/data".into(),
        started_at: Time(0),
        envelopes_max: 1,
        table_bytes: 1,
        connections_max: 1,
        utc_offset_s: 0,
    };
    let drain = Box::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let bound =
        BoundAdmin::bind(AdminSettings { listen: ([127, 0, 0, 1], 0).into(), core: None }).unwrap();
    let boards = vec![board(Phase::Ready), board(Phase::Recovering)];
    let (uptime, wall) = both();
    let clock = Arc::new(Chronometer::starting(uptime, Time(wall.0 - 3_600_000), 10));
    let watched = Watched { boards, facts, ledger: None, clock, drain, token: None };
    let admin = bound.start(watched).unwrap();
    let address = admin.address().to_string();
    (admin, address, drains)
}

#[test]
fn stats_show_a_line_for_every_shard_and_why_a_server_is_not_ready() {
    let (_admin, address, _) = served();
    let output = hb(&["stats", "--every", "100ms", "--admin", &address]);
    assert!(output.status.success(), "{output:?}");
    let words = told(&output.stdout);
    assert!(words.starts_with("hongbao 1.2.3, cell 7, os, up "), "{words}");
    assert!(words.contains("not ready\n  shard 1: recovering, "), "{words}");
    for (place, shard) in [(3, "0 ready"), (4, "1 recovering")] {
        let line = words.lines().nth(place).unwrap();
        assert!(
            line.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(shard),
            "{words}"
        );
    }
    let output = hb(&["--json", "stats", "--every", "1ms", "--admin", &address]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["ready"], &json["shards"][1]["phase"]),
        (&false.into(), &"recovering".into())
    );
    assert_eq!(
        (&json["shards"][0]["commit_p99_us"], &json["money"]["left_fen"]),
        (&Value::Null, &0.into())
    );
}

#[test]
fn a_watch_ends_with_the_server_and_says_so() {
    let (admin, address, _) = served();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hb"));
    command.args(["--json", "stats", "--watch", "--every", "10ms", "--admin", &address]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    for _ in 0..3 {
        let json: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(json["cell"], 7);
    }
    drop(admin);
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_drain_is_asked_for_and_told() {
    let (_admin, address, drains) = served();
    let output = hb(&["drain", "--admin", &format!("http://{address}")]);
    assert!(output.status.success() && told(&output.stdout).starts_with("draining"), "{output:?}");
    assert_eq!(drains.load(Ordering::Relaxed), 1);
    let output = hb(&["stats", "--every", "1ms", "--admin", &address]);
    assert!(told(&output.stdout).contains(": draining\n"), "{output:?}");
}

#[test]
fn a_wall_that_was_set_is_shown_and_accepted() {
    let (_admin, address, _) = served();
    let output = hb(&["clock", "--admin", &address]);
    assert!(output.status.success(), "{output:?}");
    let words = told(&output.stdout);
    assert!(words.contains("s ahead and is not followed"), "{words}");
    let output = hb(&["clock", "accept", "--admin", &address]);
    assert!(told(&output.stdout).starts_with("time is that of the clock"), "{output:?}");
    let output = hb(&["--json", "clock", "--admin", &address]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["state"], "agrees", "{json}");
}

#[test]
fn where_nothing_answers_the_error_says_what_to_do() {
    for command in ["stats", "drain", "clock"] {
        let output = hb(&[command, "--admin", "127.0.0.1:1"]);
        assert_eq!(output.status.code(), Some(3));
        let words = told(&output.stderr);
        let parts = ["no admin port answers at http://127.0.0.1:1", "hongbao serve", "--admin"];
        assert!(parts.iter().all(|part| words.contains(part)), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    }
    let output = hb(&["stats", "--admin", "https://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_port_that_is_no_admin_port_is_told_apart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (turn, stream) in listener.incoming().enumerate() {
            let answer = ["HTTP/1.1 404 Not Found\r\n\r\nwhat?", "HTTP/1.1 200 OK\r\n\r\nhello"];
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 1000]);
            let _ = std::io::Write::write_all(&mut stream, answer[turn % 2].as_bytes());
        }
    });
    for words in ["refused with 404: what?", "is no status of a hongbao"] {
        let output = hb(&["stats", "--admin", &address]);
        assert_eq!(output.status.code(), Some(3));
        assert!(told(&output.stderr).contains(words), "{output:?}");
    }
}

#[test]
fn the_doctor_tells_every_check_and_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("to-be/made");
    let output = hb(&["--json", "doctor", "--data", data.to_str().unwrap()]);
    let json: Value =
        serde_json::from_slice(output.stdout.split(|b| *b == b'\n').next().unwrap()).unwrap();
    println!("{json:#}");
    let names: Vec<_> =
        json["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    let wanted = [
        "kernel",
        "io_uring",
        "memlock",
        "nofile",
        "cores",
        "cpu quota",
        "governor",
        "huge pages",
        "swap",
        "clock",
        "file system",
        "free space",
        "sync",
    ];
    assert_eq!(names, wanted);
    let code = if json["verdict"] == "bad" { 4 } else { 0 };
    assert_eq!(output.status.code(), Some(code));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn a_data_directory_that_is_a_file_is_bad() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = hb(&["doctor", "--data", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4));
    let words = told(&output.stdout);
    assert!(words.contains("bad   data ") && words.contains("--data"), "{words}");
    assert!(told(&output.stderr).contains("not fit to serve: data"), "{output:?}");
}
