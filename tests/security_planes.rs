//! The other two ports: the admin port wants its token of whoever changes
//! something, and the settlement port a settler. docs/SECURITY.md names these.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hongbao::access::{HandshakeError, Identity};
use hongbao::config::{LedgerPlace, MaybeListen};
use hongbao::follow::settle::{Ask, Ending, Start, Subscription, SubscriptionError, forget_as};
use hongbao::wire::{Denial, Status};
use hongbao::{Config, Server};
use rig::principals::{identity, one_of_each};
use rig::{config, until};

fn with_admin(data: &Path, at: &str) -> Config {
    let admin = MaybeListen::At(at.parse().unwrap());
    Config { data: data.join("data"), admin, ledger: LedgerPlace::Embedded, ..config(data) }
}

fn token(data: &Path) -> String {
    std::fs::read_to_string(data.join("data/admin.token")).unwrap().trim().to_owned()
}

/// The code of an answer to a request that shows this, if anything.
fn code(request: minreq::Request, shown: Option<&str>) -> u16 {
    let request = match shown {
        Some(shown) => request.with_header("Authorization", shown),
        None => request,
    };
    request.with_timeout(30).send().unwrap().status_code
}

/// Everything over the admin port that changes something, but for the drain.
const CHANGES: [(&str, &str); 5] = [
    ("/clock/accept", ""),
    ("/ledger/deposit", r#"{"user":7,"amount_fen":1,"reference":1}"#),
    ("/ledger/withdraw", r#"{"user":7,"amount_fen":1,"reference":2}"#),
    ("/ledger/retry", ""),
    ("/ledger/skip", r#"{"reason":"why not"}"#),
];

#[test]
fn whoever_changes_something_shows_the_token() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(with_admin(data.path(), "127.0.0.1:0")).unwrap();
    let url = |path: &str| format!("http://{}{path}", server.admin().unwrap());
    let right = format!("Bearer {}", token(data.path()));
    let wrong = format!("Bearer {}", "0".repeat(64));
    let bare = token(data.path());
    for shown in [None, Some(wrong.as_str()), Some("Bearer "), Some(bare.as_str())] {
        for (path, body) in CHANGES.into_iter().chain([("/drain", "")]) {
            let code = code(minreq::post(url(path)).with_body(body), shown);
            assert_eq!(code, 401, "{path} {shown:?}");
        }
        for path in ["/livez", "/readyz", "/metrics", "/status", "/clock", "/ledger"] {
            assert_eq!(code(minreq::get(url(path)), shown), 200, "{path} is for everybody here");
        }
    }
    for ((path, body), expected) in CHANGES.into_iter().zip([200, 200, 200, 200, 503]) {
        assert_eq!(code(minreq::post(url(path)).with_body(body), Some(&right)), expected, "{path}");
    }
    assert_eq!(code(minreq::post(url("/drain")), Some(&right)), 202);
    server.wait().unwrap();
}

#[test]
fn beyond_loopback_everybody_shows_the_token() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(with_admin(data.path(), "0.0.0.0:0")).unwrap();
    let at = SocketAddr::from(([127, 0, 0, 1], server.admin().unwrap().port()));
    let right = format!("Bearer {}", token(data.path()));
    for path in ["/livez", "/readyz", "/metrics", "/status", "/clock", "/ledger", "/nowhere"] {
        let url = format!("http://{at}{path}");
        assert_eq!(code(minreq::get(&url), None), 401, "{path}");
        let expected = if path == "/nowhere" { 404 } else { 200 };
        assert_eq!(code(minreq::get(&url), Some(&right)), expected, "{path}");
    }
}

#[test]
fn the_token_is_its_owners_alone_and_stays_over_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let config = with_admin(data.path(), "127.0.0.1:0");
    Server::start(config.clone()).unwrap().drain().unwrap();
    let first = token(data.path());
    let mode = data.path().join("data/admin.token").metadata().unwrap().mode();
    assert_eq!((mode & 0o777, first.len()), (0o600, 64));
    Server::start(config.clone()).unwrap().drain().unwrap();
    assert_eq!(token(data.path()), first);
    let elsewhere = data.path().join("token");
    std::fs::write(&elsewhere, "t".repeat(32)).unwrap();
    let told = Server::start(Config { admin_token: Some(elsewhere), ..config });
    assert!(told.err().unwrap().to_string().contains("chmod 600"));
}

fn subscribe(server: &Server, identity: Option<&Identity>) -> Result<u16, SubscriptionError> {
    subscribe_as("books", server, identity)
}

fn subscribe_as(
    name: &str,
    server: &Server,
    identity: Option<&Identity>,
) -> Result<u16, SubscriptionError> {
    let name = name.parse().unwrap();
    let ask = Ask { name, shard: 0, start: Start::LeftOff, window: 1 << 16 };
    let stream = Subscription::open_as(identity, server.settlement().unwrap(), &ask)?;
    Ok(stream.accepted().shards)
}

#[test]
fn only_a_settler_receives_the_settlement_stream() {
    let data = tempfile::tempdir().unwrap();
    let keys = Some(one_of_each(data.path()));
    let settlement = MaybeListen::At(([127, 0, 0, 1], 0).into());
    let with_keys =
        Config { data: data.path().join("data"), keys, settlement, ..config(data.path()) };
    let server = Server::start(with_keys).unwrap();
    let nobody = subscribe(&server, None);
    assert!(matches!(nobody, Err(SubscriptionError::Ended(Ending::Denied))), "{nobody:?}");
    for name in ["issuer", "claimer", "payer", "admin"] {
        let told = subscribe(&server, Some(&identity(name, 1)));
        let Err(SubscriptionError::Handshake(HandshakeError::Refused { status, detail, .. })) =
            told
        else {
            panic!("{name}: {told:?}");
        };
        assert_eq!((status, detail), (Status::Denied, Denial::Role.code()));
    }
    let told = subscribe(&server, Some(&identity("settler", 2)));
    let is_no_proof =
        matches!(told, Err(SubscriptionError::Handshake(HandshakeError::Impostor(_))));
    assert!(is_no_proof, "{told:?}");
    until("the name is free", std::time::Duration::from_secs(20), || {
        subscribe(&server, Some(&identity("settler", 1))).is_ok_and(|shards| shards == 1)
    });
}

#[test]
fn a_settler_hears_nothing_of_risk_and_a_risk_service_nothing_of_money() {
    let data = tempfile::tempdir().unwrap();
    let keys = one_of_each(data.path());
    rig::principals::put(&keys, "risk", "\"risk\"", &[1]);
    let settlement = MaybeListen::At(([127, 0, 0, 1], 0).into());
    let place = data.path().join("data");
    let with_keys = Config { data: place, keys: Some(keys), settlement, ..config(data.path()) };
    let server = Server::start(with_keys).unwrap();
    let denied = |told: Result<u16, SubscriptionError>| {
        matches!(told, Err(SubscriptionError::Ended(Ending::Denied)))
    };
    let (settler, risk) = (identity("settler", 1), identity("risk", 1));
    assert!(denied(subscribe_as("risk-desk", &server, Some(&settler))));
    assert!(denied(subscribe_as("books", &server, Some(&risk))));
    let forgotten = |name: &str, who: &Identity| {
        forget_as(Some(who), server.settlement().unwrap(), &name.parse().unwrap())
    };
    assert!(subscribe_as("risk-desk", &server, Some(&risk)).is_ok());
    let told = forgotten("risk-desk", &settler);
    assert!(matches!(told, Err(SubscriptionError::Ended(Ending::Denied))), "{told:?}");
    until("it is forgotten by whom it is for", std::time::Duration::from_secs(20), || {
        forgotten("risk-desk", &risk).is_ok()
    });
}
