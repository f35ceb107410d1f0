//! `hb` over TLS, with certificates made as docs/SECURITY.md says.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use hongbao::config::{Cores, LedgerPlace, MaybeListen};
use hongbao::{Config, Server};
use serde_json::Value;

/// Runs the shell lines of the page that make certificates; nothing without
/// openssl.
fn made(directory: &Path) -> bool {
    let page = include_str!("../../docs/SECURITY.md");
    let (_, lines) = page.split_once("```sh\n# certificates").expect("the recipe");
    let (lines, _) = lines.split_once("```").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-ec", &format!("#{lines}")]).current_dir(directory);
    shell.output().is_ok_and(|output| output.status.success())
}

/// A server over TLS that wants certificates.
fn serve(directory: &Path) -> (Server, SocketAddr) {
    use std::os::unix::fs::PermissionsExt;
    let keys = directory.join("keys");
    std::fs::create_dir(&keys).unwrap();
    let file = keys.join("gateway-1.toml");
    std::fs::write(&file, "roles = [\"issuer\", \"claimer\"]\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::start(Config {
        data: directory.join("data"),
        listen: ([127, 0, 0, 1], 0).into(),
        tls_listen: "127.0.0.1:0".parse().unwrap(),
        tls_certificate: Some(directory.join("server.pem")),
        tls_key: Some(directory.join("server.key")),
        tls_client_ca: Some(directory.join("issuer.pem")),
        keys: Some(keys),
        segment_kib: 1024,
        table_mib: 64,
        envelopes_max: 20_000,
        shards: Some(1),
        cores: Cores::Free,
        admin: MaybeListen::Nowhere,
        ledger: LedgerPlace::Nowhere,
        wait_us_max: 60_000_000,
        ..Config::default()
    });
    let server = server.unwrap();
    let address = server.tls_address().unwrap();
    (server, address)
}

fn hb(directory: &Path, address: SocketAddr, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hb"));
    command.current_dir(directory).args(["--json", "--addr", &address.to_string()]);
    command.args(args).output().unwrap()
}

const OURS: [&str; 6] =
    ["--tls-ca", "issuer.pem", "--tls-cert", "gateway-1.pem", "--tls-key", "gateway-1.key"];

#[test]
fn an_envelope_is_sent_claimed_and_loaded_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    if !made(directory) {
        println!("skipped: openssl does not make certificates here");
        return;
    }
    let (_server, address) = serve(directory);
    let json = |args: &[&str]| -> Value {
        let output = hb(directory, address, &[&OURS[..], args].concat());
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let order = ["send", "--sender", "7", "--order", "1", "--payment", "1", "--total", "1.00"];
    let sent = json(&[&order[..], &["--shares", "1"]].concat());
    let envelope = sent["envelope"].as_str().unwrap();
    assert_eq!(json(&["claim", envelope, "5"])["amount_fen"], 100);
    let load = ["load", "--conns", "4", "--depth", "64", "--envelopes", "1000", "--seconds", "1"];
    let told = json(&load);
    assert!(told["claims"].as_u64().unwrap_or_default() > 1000, "{told}");
    // Without a certificate, without belief, without TLS.
    for args in [&OURS[..2], &["--tls-ca", "gateway-1.pem"][..], &[][..]] {
        let output = hb(directory, address, &[args, &["claim", envelope, "5"]].concat());
        assert!(!output.status.success(), "{args:?}: {output:?}");
    }
}
