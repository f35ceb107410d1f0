//! `hb balance`, `deposit`, `withdraw`, `history` and `ledger` with a real server
//! and its embedded ledger.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use hongbao::config::{Cores, MaybeListen};
use hongbao::{Config, Server};
use serde_json::Value;

struct Served {
    server: Server,
    dir: tempfile::TempDir,
}

fn serve() -> Served {
    let data = tempfile::tempdir().unwrap();
    let config = Config {
        data: data.path().join("data"),
        listen: ([127, 0, 0, 1], 0).into(),
        admin: MaybeListen::At(([127, 0, 0, 1], 0).into()),
        segment_kib: 256,
        table_mib: 64,
        envelopes_max: 20_000,
        shards: Some(1),
        cores: Cores::Free,
        retention_s: 0, // what is closed is forgotten at once
        wait_us_max: 60_000_000,
        ..Config::default()
    };
    Served { server: Server::start(config).unwrap(), dir: data }
}

impl Served {
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hb"));
        command.args(["--addr", &self.server.address().to_string()]).args(args);
        command.env("HONGBAO_ADMIN", self.server.admin().unwrap().to_string());
        command.env("HONGBAO_DATA", self.dir.path().join("data"));
        command.output().unwrap()
    }

    fn words(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.words(&[&["--json"], args].concat())).unwrap()
    }
}

#[test]
fn money_is_put_in_given_away_listed_and_taken_out() {
    let served = serve();
    let deposited = served.words(&["deposit", "7", "88.00", "--reference", "1"]);
    assert_eq!(deposited, "user 7 has 88.00 yuan\n");
    served.words(&["deposit", "7", "88.00", "--reference", "1"]);
    let order = ["send", "--sender", "7", "--order", "1", "--from", "balance", "--total", "80"];
    let sent = served.json(&[&order[..], &["--shares", "1"]].concat());
    let envelope = sent["envelope"].as_str().unwrap();
    served.words(&["claim", envelope, "11"]);
    let out = served.json(&["withdraw", "11", "30", "--reference", "2"]);
    assert_eq!((&out["user"], &out["available_fen"]), (&"11".into(), &5000.into()));
    let refused = served.run(&["withdraw", "11", "50.01", "--reference", "3"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(served.words(&["balance", "7"]), "8.00 yuan\n");
    for (args, words) in [
        (&["history", "11"][..], "80.00 yuan"),
        (&["history", "7", "--sent"], envelope),
        (&["history", "11", "--days"], "received 80.00 yuan in 1"),
        (&["history", "12"], "nothing yet"),
        (&["ledger", "status"], "running"),
        (&["ledger", "retry"], "nothing to try again"),
    ] {
        let told = served.words(args);
        assert!(told.contains(words), "{args:?}: {told}");
    }
    let skipped = served.run(&["ledger", "skip", "--reason", "why not"]);
    assert!(String::from_utf8_lossy(&skipped.stderr).contains("nothing to skip"), "{skipped:?}");
    // Exhausted and forgotten by the shard, known to the ledger.
    let began = Instant::now();
    while !served.words(&["show", envelope]).contains("from the ledger") {
        assert!(began.elapsed() < Duration::from_secs(20), "not forgotten");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(served.words(&["detail", envelope]).contains("80.00 yuan  user 11"));
    assert_eq!(served.run(&["show", "5"]).status.code(), Some(1));
}
