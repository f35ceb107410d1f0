//! Every dependency comes from crates.io and has a licence that `deny.toml`
//! allows: what `cargo deny check licenses sources` asks, without it and offline.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use std::process::Command;

use serde_json::Value;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn allowed() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).unwrap();
    let deny: toml::Table = text.parse().unwrap();
    let allowed = deny["licenses"]["allow"].as_array().unwrap();
    allowed.iter().map(|licence| licence.as_str().unwrap().to_owned()).collect()
}

/// Whether of each part of a licence expression one alternative is allowed; a
/// part within an alternative is asked for as well, which refuses too much rather
/// than too little. `/` is an old way to write OR, `+` means a later version, too.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    let known = |licence: &str| {
        let licence = licence.trim().trim_end_matches('+');
        allowed.iter().any(|one| one == licence)
    };
    expression.split(" AND ").all(|part| part.split(" OR ").any(known))
}

fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--offline", "--locked"]);
    let filter = ["--filter-platform", "x86_64-unknown-linux-gnu"];
    let output = command.args(filter).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn every_dependency_is_from_crates_io_under_a_licence_that_is_allowed() {
    let (allowed, packages) = (allowed(), packages());
    let mut wrong = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("none");
        let source = package["source"].as_str();
        if source.is_some_and(|source| source != CRATES_IO) || !is_allowed(licence, &allowed) {
            wrong.push(format!("{name}: {licence}, from {source:?}"));
        }
    }
    println!("{} packages, licences and sources as in deny.toml", packages.len());
    assert!(packages.len() > 50 && wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_expression_is_allowed_where_an_alternative_is() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned);
    for good in
        ["MIT", "GPL-3.0 OR MIT", "MIT / Apache-2.0", "MIT+", "(MIT OR Apache-2.0) AND Unicode-3.0"]
    {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["", "none", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND OpenSSL"] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}
