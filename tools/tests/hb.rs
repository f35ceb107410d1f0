//! `hb` as a user meets it, against the test double: words, JSON, exit codes.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[path = "../../tests/double/mod.rs"]
mod double;

use std::process::{Command, Output};

use double::Faults;
use serde_json::Value;

fn hb(addr: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hb"));
    command.args(["--addr", addr]).args(args).output().unwrap()
}

fn json(addr: &str, args: &[&str]) -> Value {
    let output = hb(addr, &[&["--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn server(faults: Faults) -> String {
    double::start(faults).to_string()
}

fn order(addr: &str, number: &str, shares: &str) -> String {
    let args = ["send", "--sender", "7", "--order", number, "--payment", "1", "--total", "88.00"];
    json(addr, &[&args[..], &["--shares", shares]].concat())["envelope"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn an_envelope_is_sent_claimed_shown_and_cancelled() {
    let addr = server(Faults::default());
    let envelope = order(&addr, "1", "2");
    assert_eq!(json(&addr, &["grab", &envelope, "5"])["shares_left"], 2);
    let claimed = json(&addr, &["claim", &envelope, "5"]);
    assert_eq!((&claimed["amount_fen"], &claimed["repeated"]), (&4400.into(), &false.into()));
    assert_eq!(json(&addr, &["claim", &envelope, "5"])["repeated"], true);
    assert_eq!(json(&addr, &["detail", &envelope])["rows"][0]["amount_fen"], 4400);
    assert_eq!(json(&addr, &["cancel", &envelope, "7"])["refunded_fen"], 4400);
    let shown = json(&addr, &["show", &envelope]);
    assert_eq!((&shown["state"], &shown["left_fen"]), (&"cancelled".into(), &0.into()));
    let words = hb(&addr, &["claim", &envelope, "5"]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert_eq!(words, "44.00 yuan (claimed before; the same share)\n");
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A file with a payment key of its own, or with that of the double.
fn key_file(dir: &tempfile::TempDir, keys: &[(u32, [u8; 32])]) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.path().join("keys.toml");
    let entry = |(id, secret): &(u32, [u8; 32])| {
        format!("[[key]]\nid = {id}\nsecret = \"{}\"\n", hex::encode(secret))
    };
    std::fs::write(&path, keys.iter().map(entry).collect::<String>()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Orders an envelope that somebody else pays for.
fn reserve(addr: &str, number: &str, more: &[&str]) -> Output {
    let args = ["--json", "send", "--sender", "7", "--order", number, "--total", "88.00"];
    hb(addr, &[&args[..], &["--shares", "2", "--split", "equal"], more].concat())
}

fn reserved(addr: &str, number: &str) -> String {
    let output = reserve(addr, number, &["--from", "payment"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["state"], "reserved", "{told}");
    text(&told["envelope"])
}

#[test]
fn a_payment_opens_its_envelope_under_the_right_seal_only() {
    let addr = server(Faults::default());
    let dir = tempfile::tempdir().unwrap();
    let envelope = reserved(&addr, "1");
    let args = ["fund", &envelope, "--payment", "5", "--amount", "88.00", "--key-file"];
    let wrong = key_file(&dir, &[(double::KEY.0, [8; 32])]);
    let denied = hb(&addr, &[&args[..], &[&wrong]].concat());
    assert_eq!(denied.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&denied.stderr).contains("seal"), "{denied:?}");
    assert_eq!(json(&addr, &["show", &envelope])["state"], "reserved");

    let keys = key_file(&dir, &[(9, [8; 32]), double::KEY]);
    let unclear = hb(&addr, &[&args[..], &[&keys]].concat());
    assert_eq!(unclear.status.code(), Some(2), "which key? {unclear:?}");
    let with_key = [&args[..], &[&keys, "--key-id", "1"]].concat();
    let funded = json(&addr, &with_key);
    assert_eq!((&funded["opened"], &funded["repeated"]), (&true.into(), &false.into()));
    assert_eq!(json(&addr, &with_key)["repeated"], true);
    assert_eq!(json(&addr, &["claim", &envelope, "5"])["amount_fen"], 4400);
}

#[test]
fn a_withdrawn_order_sends_its_payment_back() {
    let addr = server(Faults::default());
    let dir = tempfile::tempdir().unwrap();
    let envelope = reserved(&addr, "1");
    let early = hb(&addr, &["claim", &envelope, "5"]);
    assert!(String::from_utf8_lossy(&early.stderr).contains("waits for its money"), "{early:?}");
    assert_eq!(json(&addr, &["void", &envelope, "7"])["repeated"], false);
    assert_eq!(json(&addr, &["void", &envelope, "7"])["repeated"], true);
    assert_eq!(json(&addr, &["show", &envelope])["state"], "voided");
    let words = String::from_utf8(hb(&addr, &["show", &envelope]).stdout).unwrap();
    assert!(words.ends_with("equal\n  never paid\n"), "{words}");
    let keys = key_file(&dir, &[double::KEY]);
    let args = ["fund", &envelope, "--payment", "5", "--amount", "88", "--key-file", &keys];
    let late = json(&addr, &args);
    assert_eq!((&late["opened"], &late["returned_fen"]), (&false.into(), &8800.into()), "{late}");
    let words = String::from_utf8(hb(&addr, &args).stdout).unwrap();
    assert_eq!(words, "too late: 88.00 yuan went to the sender's balance (confirmed before)\n");
}

#[test]
fn an_order_from_the_balance_waits_for_the_ledgers_word() {
    let covered = server(Faults { covers: Some(true), ..Faults::default() });
    let output = reserve(&covered, "1", &["--from", "balance"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["state"], "open", "{told}");

    let broke = server(Faults { covers: Some(false), ..Faults::default() });
    let output = reserve(&broke, "1", &["--from", "balance"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["status"], "NotOpen", "{told}");
    assert!(text(&told["error"]).contains("money never came"), "{told}");
}

#[test]
fn a_closed_envelope_verifies_and_a_false_one_is_exit_code_4() {
    let addr = server(Faults::default());
    let order = reserve(&addr, "1", &["--payment", "1", "--nonce", "77"]);
    let sent: Value = serde_json::from_slice(&order.stdout).unwrap();
    let (envelope, commitment) = (text(&sent["envelope"]), text(&sent["commitment"]));
    json(&addr, &["claim", &envelope, "5"]);
    let early = hb(&addr, &["verify", &envelope]);
    assert_eq!(early.status.code(), Some(1), "{early:?}");
    assert!(String::from_utf8_lossy(&early.stderr).contains("not closed yet"));
    json(&addr, &["claim", &envelope, "6"]);

    let shown = json(&addr, &["show", &envelope]);
    assert_eq!((&shown["luckiest"], &shown["luckiest_fen"]), (&"5".into(), &4400.into()));
    let words = String::from_utf8(hb(&addr, &["show", &envelope]).stdout).unwrap();
    assert!(words.contains("luckiest user 5 with 44.00 yuan"), "{words}");
    assert_eq!(json(&addr, &["detail", &envelope])["luckiest"], "5");

    let args = ["verify", &envelope, "--receipts", "--commitment", &commitment];
    let told = json(&addr, &args);
    assert_eq!((&told["verified"], &told["nonce"]), (&true.into(), &77.into()), "{told}");
    let receipts = told["receipts"].as_array().unwrap();
    assert_eq!((receipts.len(), &receipts[1]["receipt"]), (2, &told["last_receipt"]));
    let words = String::from_utf8(hb(&addr, &args).stdout).unwrap();
    assert!(
        words.contains("all 2 amounts follow") && words.contains("44.00 yuan  user 6"),
        "{words}"
    );

    let other = "00".repeat(32);
    let false_word = hb(&addr, &["verify", &envelope, "--commitment", &other]);
    assert_eq!(false_word.status.code(), Some(4), "{false_word:?}");

    // The double gives equal shares whatever was asked for: with a random split
    // its amounts are not those of the seed.
    let args = ["send", "--sender", "7", "--order", "2", "--payment", "1", "--total", "88.00"];
    let random = text(&json(&addr, &[&args[..], &["--shares", "2"]].concat())["envelope"]);
    json(&addr, &["claim", &random, "5"]);
    json(&addr, &["claim", &random, "6"]);
    let cheated = hb(&addr, &["verify", &random]);
    assert_eq!(cheated.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&cheated.stderr).contains("rank 0"), "{cheated:?}");
}

#[test]
fn a_payment_reference_is_wanted_only_where_the_caller_vouches() {
    let addr = server(Faults::default());
    for from in [&["--from", "vouched"][..], &[]] {
        assert_eq!(reserve(&addr, "1", from).status.code(), Some(2), "{from:?}");
    }
    assert_eq!(reserve(&addr, "1", &["--from", "payment"]).status.code(), Some(0));
}

#[test]
fn a_refusal_is_exit_code_1() {
    let addr = server(Faults::default());
    let envelope = order(&addr, "1", "1");
    json(&addr, &["claim", &envelope, "5"]);
    let output = hb(&addr, &["--json", "claim", &envelope, "6"]);
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["status"], "SoldOut");
    assert!(String::from_utf8_lossy(&output.stderr).contains("sold out"));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for args in [
        &["claim", "x", "5"][..],
        &["claim", "1"],
        &["load", "--mix", "none"],
        &["load", "--seconds", "0"],
        &[
            "send",
            "--sender",
            "1",
            "--order",
            "1",
            "--payment",
            "1",
            "--total",
            "1.005",
            "--shares",
            "1",
        ],
        &["unknown"],
    ] {
        let output = hb("127.0.0.1:1", args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn no_server_is_exit_code_3_and_says_what_to_do() {
    let output = hb("127.0.0.1:1", &["show", "1"]);
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("no server at 127.0.0.1:1") && told.contains("hongbao serve"), "{told}");
}

#[test]
fn a_load_counts_every_answer_once() {
    let addr = server(Faults::default());
    let plan = ["load", "--mix", "rush", "--conns", "4", "--depth", "8", "--seconds", "20"];
    let args = [&plan[..], &["--envelopes", "100", "--shares", "5", "--requests", "2000"]].concat();
    let told = json(&addr, &args);
    assert_eq!((&told["requests"], &told["claims"]), (&2000.into(), &500.into()), "{told}");
    assert_eq!((&told["sold_out"], &told["errors"]), (&1500.into(), &0.into()), "{told}");
    assert!(told["p50_us"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_same_run_again_meets_the_same_envelopes_and_users() {
    let addr = server(Faults::default());
    let plan = ["load", "--mix", "hot", "--conns", "1", "--depth", "8", "--run", "5"];
    let args = [&plan[..], &["--shares", "1000", "--requests", "500", "--seconds", "20"]].concat();
    assert_eq!(json(&addr, &args)["claims"], 500);
    let again = json(&addr, &args);
    assert_eq!((&again["claims"], &again["repeated"]), (&0.into(), &500.into()), "{again}");
}

#[test]
fn an_eve_in_an_open_loop_keeps_its_rate() {
    let addr = server(Faults::default());
    let plan = ["load", "--mix", "eve", "--conns", "3", "--envelopes", "50", "--rate", "2000"];
    let told = json(&addr, &[&plan[..], &["--seconds", "0.5"]].concat());
    assert_eq!((&told["requests"], &told["errors"]), (&1000.into(), &0.into()), "{told}");
    assert!(told["claims"].as_u64() > Some(50) && told["looks"].as_u64() > Some(200), "{told}");
}

#[test]
fn a_load_asks_the_owner_or_on_purpose_somebody_else() {
    for (through, crossed) in [("owner", false), ("wrong", true)] {
        let shards = double::start_shards(Faults::default(), 2);
        let addr = shards.addresses[0].to_string();
        let plan = ["load", "--mix", "eve", "--conns", "5", "--envelopes", "200"];
        let flags = ["--requests", "3000", "--through", through];
        let told = json(&addr, &[&plan[..], &flags].concat());
        assert_eq!((&told["requests"], &told["errors"]), (&3000.into(), &0.into()), "{told}");
        assert_eq!((&told["shards"], &told["unsent"]), (&2.into(), &0.into()), "{told}");
        let expected = if crossed { (0, 3200) } else { (3200, 0) };
        assert_eq!(shards.owned_and_crossed(), expected, "{through}");
    }
    let shards = double::start_shards(Faults::default(), 2);
    let plan = ["load", "--envelopes", "200", "--requests", "3000", "--through", "any"];
    json(&shards.addresses[0].to_string(), &plan);
    let (owned, crossed) = shards.owned_and_crossed();
    assert!(owned > 1000 && crossed > 1000, "{owned} and {crossed}");
}

#[test]
fn phases_and_a_timeline_account_for_every_request() {
    let addr = server(Faults::default());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("timeline.csv");
    let plan = ["load", "--conns", "2", "--depth", "64", "--envelopes", "50", "--shares", "100"];
    let flags = ["--phases", "1000x0.5,40000000x0.5,1000x0.5", "--budget-us", "20000"];
    let timeline = ["--timeline", file.to_str().unwrap()];
    let told = json(&addr, &[&plan[..], &flags, &timeline].concat());
    let number = |value: &Value| value.as_u64().unwrap();
    let phases = told["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 3, "{told}");
    assert_eq!((number(&phases[0]["offered"]), number(&phases[1]["offered"])), (500, 20_000_000));
    assert!(number(&phases[1]["unsent"]) > 1_000_000, "nobody answers so fast: {told}");
    for part in phases.iter().chain([&told]) {
        let of = |field: &str| number(&part[field]);
        assert_eq!(of("offered"), of("sent") + of("unsent"), "{part}");
        assert_eq!(of("sent"), of("useful") + of("late") + of("refused"), "{part}");
    }
    let lines = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], "second,offered,sent,useful,late,refused,p99_us");
    let offered = |line: &str| line.split(',').nth(1).unwrap().parse::<u64>().unwrap();
    assert_eq!(lines[1..].iter().map(|line| offered(line)).sum::<u64>(), number(&told["offered"]));
}

#[test]
fn a_stream_beside_a_hot_envelope_has_latencies_of_its_own() {
    let addr = server(Faults::default());
    let plan = ["load", "--mix", "hot", "--shares", "100", "--requests", "5000", "--conns", "2"];
    let beside = ["--beside", "2000", "--beside-envelopes", "500"];
    let told = json(&addr, &[&plan[..], &beside].concat());
    assert_eq!((&told["claims"], &told["sold_out"]), (&100.into(), &4900.into()), "{told}");
    assert_eq!((&told["beside_errors"], &told["beside_refused"]), (&0.into(), &0.into()), "{told}");
    assert!(told["beside_claims"].as_u64() > Some(0), "{told}");
    assert!(told["beside_p99_us"].as_f64() > Some(0.0), "{told}");
}

#[test]
fn a_run_that_goes_on_with_new_users_claims_on_the_same_envelopes() {
    let addr = server(Faults::default());
    let plan = ["load", "--run", "9", "--envelopes", "10", "--shares", "100", "--requests", "200"];
    assert_eq!(json(&addr, &plan)["claims"], 200);
    let again = json(&addr, &[&plan[..], &["--users-from", "200"]].concat());
    assert_eq!((&again["claims"], &again["repeated"]), (&200.into(), &0.into()), "{again}");
}

#[test]
fn a_full_server_ends_the_load_with_its_reason() {
    let addr = server(Faults { full: true, ..Faults::default() });
    let output = hb(&addr, &["load", "--mix", "hot", "--shares", "5"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("more room"));
}

#[test]
fn a_load_whose_server_hangs_up_ends_with_exit_code_3() {
    let addr = server(Faults { hang_up_after: Some(50), ..Faults::default() });
    let output = hb(&addr, &["load", "--mix", "hot", "--conns", "1", "--seconds", "5"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("closed every connection"));
}

#[test]
fn completions_name_the_commands() {
    let output = hb("127.0.0.1:1", &["completions", "bash"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("detail"));
}
