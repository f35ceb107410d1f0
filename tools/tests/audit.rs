//! `hb audit` beside a real server, after it, and on a ledger that lies.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::path::Path;
use std::process::{Command, Output};

use hongbao::client::{Address, Client};
use hongbao::config::{Cores, LedgerPlace, MaybeListen};
use hongbao::follow::ledger::embedded::FILE;
use hongbao::units::{MoneySource, Split, UserId};
use hongbao::wire::SendOrder;
use hongbao::{Config, Server};
use rusqlite::Connection;
use serde_json::Value;

fn serve(data: &Path) -> Server {
    let config = Config {
        data: data.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        admin: MaybeListen::Nowhere,
        ledger: LedgerPlace::Embedded,
        segment_kib: 256,
        table_mib: 64,
        envelopes_max: 20_000,
        shards: Some(1),
        cores: Cores::Free,
        wait_us_max: 60_000_000,
        ..Config::default()
    };
    Server::start(config).unwrap()
}

fn hb(data: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hb"));
    command.args(["audit", "--data"]).arg(data).args(args).output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_audit_is_clean_or_says_what_is_not_with_exit_code_4() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let server = serve(&data);
    let address: Address = server.address().to_string().parse().unwrap();
    let mut client = Client::connect(&address).unwrap();
    let order = SendOrder {
        nonce: 0,
        source: MoneySource::Vouched,
        sender: UserId(7),
        order: 1,
        payment: 9,
        total: 8800,
        shares: 2,
        lifetime_s: 3600,
        share_max: 0,
        split: Split::Equal,
    };
    let envelope = client.send(&order).unwrap().envelope;
    client.claim(envelope, UserId(11)).unwrap();
    client.claim(envelope, UserId(12)).unwrap();
    let beside = hb(&data, &[]);
    let told = words(&beside);
    assert!(beside.status.success() && told.contains("beside the running server"), "{told}");
    server.drain().unwrap();
    let after = hb(&data, &["--draws"]);
    let told = words(&after);
    for part in [
        "88.00 yuan funded = 88.00 yuan claimed + 0.00 yuan refunded + 0.00 yuan left",
        "ledger: 2 credits and refunds (88.00 yuan) are each booked once",
        "1 funded (88.00 yuan), 2 claimed (88.00 yuan), 0 refunded (0.00 yuan)",
        "clean: 3 records",
    ] {
        assert!(told.contains(part), "{part} is not in: {told}");
    }
    let json: Value = serde_json::from_str(&words(&hb(&data, &["--json"]))).unwrap();
    assert_eq!((&json["ok"], &json["claimed_fen"]), (&true.into(), &8800.into()));

    let sql = "UPDATE movements SET amount = 4500 WHERE why = 4 AND user = 11";
    Connection::open(data.join(FILE)).unwrap().execute_batch(sql).unwrap();
    let lie = hb(&data, &[]);
    assert_eq!(lie.status.code(), Some(4));
    assert!(words(&lie).contains("claimed  envelope"), "its records are shown: {lie:?}");
    let said = String::from_utf8_lossy(&lie.stderr).into_owned();
    assert!(said.contains("booked as Claim of 4500 fen, user 11"), "{said}");
    let json: Value = serde_json::from_str(&words(&hb(&data, &["--json"]))).unwrap();
    assert_eq!((&json["ok"], &json["exit_code"]), (&false.into(), &4.into()));
    assert_eq!(json["records"].as_array().unwrap().len(), 2);
    assert!(hb(&data, &["--journal-only"]).status.success(), "the journal is what it was");
    assert_eq!(hb(place.path(), &[]).status.code(), Some(3), "no journal is here");
}
