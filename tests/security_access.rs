//! Who may come in, and who may ask for what, against a running server:
//! handshakes, roles, keys, unix users. docs/SECURITY.md names these tests.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hongbao::access::{HandshakeError, Role, TABLE, shake_hands};
use hongbao::client::{Address, Client, ClientError};
use hongbao::units::{EnvelopeId, UserId};
use hongbao::wire::{
    BadRequest, Denial, HEADER_BYTES, Op, Request, Status, encode_authenticate, encode_challenge,
    encode_request,
};
use hongbao::{Config, Server};
use rig::principals::{client_of, identity, one_of_each, put, raw, raw_of, secret_text};
use rig::{command, config, order, until};

const WITHIN: Duration = Duration::from_secs(20);

fn with_keys(data: &Path) -> Config {
    let keys = data.join("keys");
    let keys = if keys.exists() { keys } else { one_of_each(data) };
    Config { data: data.join("data"), keys: Some(keys), ..config(data) }
}

fn frame(op: u8, tag: u64, body: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_request(&mut frame, tag, 0, &Request::Show { envelope: EnvelopeId(1) });
    frame.resize(HEADER_BYTES + body, 0xa5);
    frame[2] = op;
    let length = u16::try_from(frame.len()).unwrap();
    frame[..2].copy_from_slice(&length.to_le_bytes());
    frame
}

/// Reads one bare reply: status, detail, tag.
fn bare(stream: &mut TcpStream) -> (u8, u32, u64) {
    let mut reply = [0; HEADER_BYTES];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(u16::from_le_bytes([reply[0], reply[1]]), 16, "op {}", reply[2]);
    let detail = u32::from_le_bytes(reply[4..8].try_into().unwrap());
    (reply[3], detail, u64::from_le_bytes(reply[8..16].try_into().unwrap()))
}

fn denied(why: Denial, tag: u64) -> (u8, u32, u64) {
    (Status::Denied.code(), why.code(), tag)
}

fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_))
}

#[test]
fn nobody_is_served_before_a_handshake_and_the_connection_closes() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(with_keys(data.path())).unwrap();
    let others = (0..=255).filter(|op| ![19, 20].contains(op));
    for op in others {
        let mut stream = raw(server.address());
        stream.write_all(&frame(op, 7, 16)).unwrap();
        assert_eq!(bare(&mut stream), denied(Denial::Stranger, 7), "op {op}");
        assert!(is_closed(&mut stream), "op {op}");
    }
    let net = server.boards()[0].counters().net;
    assert_eq!((net.refused_handshakes, net.requests), (254, 0), "none came to a shard");
}

#[test]
fn a_proof_without_a_challenge_and_a_second_challenge_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(with_keys(data.path())).unwrap();
    let mut stream = raw(server.address());
    let mut authenticate = Vec::new();
    encode_authenticate(&mut authenticate, 3, &[0; 32]);
    stream.write_all(&authenticate).unwrap();
    assert_eq!(bare(&mut stream), denied(Denial::Stranger, 3));
    assert!(is_closed(&mut stream));

    let mut stream = raw(server.address());
    let mut challenge = Vec::new();
    encode_challenge(&mut challenge, 4, &identity("all", 1).challenge([1; 32]));
    stream.write_all(&challenge.repeat(2)).unwrap();
    let mut challenged = [0; HEADER_BYTES + 64];
    stream.read_exact(&mut challenged).unwrap();
    assert_eq!(bare(&mut stream), denied(Denial::Stranger, 4));
    assert!(is_closed(&mut stream));
}

#[test]
fn a_stranger_may_send_256_bytes_and_no_more() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(with_keys(data.path())).unwrap();
    let mut stream = raw(server.address());
    // The header alone: nobody waits for a body that may not come.
    stream.write_all(&frame(19, 7, 241)[..HEADER_BYTES]).unwrap();
    let expected = (Status::BadRequest.code(), BadRequest::FrameLength.code(), 7);
    assert_eq!(bare(&mut stream), expected);
    assert!(is_closed(&mut stream));
    let mut stream = raw(server.address());
    stream.write_all(&frame(19, 7, 240)).unwrap();
    let expected = (Status::BadRequest.code(), BadRequest::BodyLength.code(), 7);
    assert_eq!(bare(&mut stream), expected);
    assert!(is_closed(&mut stream));
}

#[test]
fn a_role_may_ask_for_what_the_table_says_and_the_rest_is_denied_unread() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(with_keys(data.path())).unwrap();
    let roles = [
        ("issuer", Role::Issuer),
        ("claimer", Role::Claimer),
        ("payer", Role::Payer),
        ("settler", Role::Settler),
        ("admin", Role::Admin),
    ];
    for (name, role) in roles {
        let mut stream = raw_of(server.address(), name);
        for op in 0..=63 {
            let row = TABLE.iter().find(|row| row.0.code() == op);
            let allowed = row.is_some_and(|row| row.1.contains(&role));
            // A body of no operation: who is allowed is told so, and of who is
            // not nobody has looked at it.
            stream.write_all(&frame(op, op.into(), 3)).unwrap();
            let expected = if allowed {
                (Status::BadRequest.code(), BadRequest::BodyLength.code(), op.into())
            } else {
                denied(Denial::Role, op.into())
            };
            assert_eq!(bare(&mut stream), expected, "{name} {op}");
        }
    }
}

#[test]
fn money_goes_round_between_principals_of_different_roles() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(Config { shards: Some(2), ..with_keys(data.path()) }).unwrap();
    let client = |name| client_of(server.address(), identity(name, 1)).unwrap();
    let (mut issuer, mut claimer) = (client("issuer"), client("claimer"));
    for sender in 0..8 {
        // Both shards, each over its own door.
        let envelope = issuer.send(&order(sender, 1, 500, 5)).unwrap().envelope;
        assert!(claimer.claim(envelope, UserId(1)).unwrap().amount >= 1);
        let refused = claimer.cancel(envelope, UserId(sender)).unwrap_err();
        assert!(refused.to_string().contains("roles"), "{refused}");
        assert!(issuer.claim(envelope, UserId(1)).is_err());
        assert!(issuer.cancel(envelope, UserId(sender)).unwrap().amount <= 499);
    }
    assert!(claimer.send(&order(1, 2, 500, 5)).is_err());
}

#[test]
fn only_a_live_key_of_the_named_principal_lets_in() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(with_keys(data.path())).unwrap();
    for id in [1, 2] {
        client_of(server.address(), identity("all", id)).unwrap();
    }
    // A key that is out, a key of somebody else's, a name that nobody has: all
    // the same from outside, the server does not prove to have it.
    for wrong in [identity("all", 3), identity("admin", 2), identity("nobody", 1)] {
        let error = client_of(server.address(), wrong).err().unwrap();
        let ClientError::Handshake { cause: HandshakeError::Impostor(_), .. } = error else {
            panic!("{error}");
        };
    }
    // Who says nothing of itself is told what is missing.
    let address = Address::Tcp(server.address().to_string());
    let told = Client::connect(&address).err().unwrap().to_string();
    assert!(told.contains("--principal-key"), "{told}");
}

#[test]
fn a_recorded_handshake_cannot_be_played_again() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(with_keys(data.path())).unwrap();
    let who = identity("all", 1);
    let challenge = who.challenge([1; 32]);
    let (mut begin, mut end) = (Vec::new(), Vec::new());
    encode_challenge(&mut begin, 1, &challenge);
    let mut nonces = Vec::new();
    for round in 0..5 {
        let mut stream = raw(server.address());
        stream.write_all(&begin).unwrap();
        let mut reply = [0; HEADER_BYTES + 64];
        stream.read_exact(&mut reply).unwrap();
        let Some((_, decoded)) = hongbao::wire::decode_reply(&reply).unwrap() else { panic!() };
        let hongbao::wire::ReplyBody::Challenged(challenged) = decoded.body else { panic!() };
        assert!(!nonces.contains(&challenged.nonce), "a nonce is never told twice");
        nonces.push(challenged.nonce);
        if round == 0 {
            encode_authenticate(&mut end, 2, &who.prove(&challenge, &challenged).unwrap());
        }
        stream.write_all(&end).unwrap();
        let expected = if round == 0 { (0, 0, 2) } else { denied(Denial::Proof, 2) };
        assert_eq!(bare(&mut stream), expected, "round {round}");
        assert_eq!(round > 0, round > 0 && is_closed(&mut stream));
    }
}

#[test]
fn a_key_is_changed_without_anybody_shut_out() {
    let data = tempfile::tempdir().unwrap();
    let keys = data.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    // The server's file at each step, the keys that work, those that do not.
    let steps: [(&[u8], &[u8], &[u8]); 3] =
        [(&[1], &[1], &[2]), (&[1, 2], &[1, 2], &[]), (&[2], &[2], &[1])];
    for (live, good, bad) in steps {
        put(&keys, "gateway", "\"claimer\"", live);
        let server = Server::start(with_keys(data.path())).unwrap();
        for &id in good {
            client_of(server.address(), identity("gateway", id)).unwrap();
        }
        for &id in bad {
            assert!(client_of(server.address(), identity("gateway", id)).is_err());
        }
        server.drain().unwrap();
    }
}

#[test]
fn a_principal_may_have_so_many_connections_and_others_do_not_notice() {
    let data = tempfile::tempdir().unwrap();
    let few = Config { connections_per_principal_max: 2, ..with_keys(data.path()) };
    let server = Server::start(few).unwrap();
    let kept: Vec<_> = (0..2).map(|_| raw_of(server.address(), "claimer")).collect();
    let refused = shake_hands(&mut raw(server.address()), &identity("claimer", 1));
    let Err(HandshakeError::Refused { status: Status::Overloaded, .. }) = refused else {
        panic!("{refused:?}");
    };
    raw_of(server.address(), "issuer");
    drop(kept);
    until("the places are free again", WITHIN, || {
        shake_hands(&mut raw(server.address()), &identity("claimer", 1)).is_ok()
    });
}

#[test]
fn strangers_are_few_and_those_who_are_known_do_not_notice() {
    let data = tempfile::tempdir().unwrap();
    let few = Config { strangers_per_address_max: 3, ..with_keys(data.path()) };
    let server = Server::start(few).unwrap();
    let mut known = client_of(server.address(), identity("all", 1)).unwrap();
    let strangers: Vec<_> = (0..3).map(|_| raw(server.address())).collect();
    let strange = || server.boards()[0].counters().net;
    until("all three are in", WITHIN, || {
        let _ = known.show(EnvelopeId(1));
        strange().connections == 4
    });
    assert!(is_closed(&mut raw(server.address())), "a fourth is turned away");
    let envelope = known.send(&order(7, 1, 500, 5)).unwrap().envelope;
    assert!(known.claim(envelope, UserId(1)).is_ok());
    assert_eq!(strange().turned_away, 1);
    drop(strangers);
    until("there is room again", WITHIN, || {
        client_of(server.address(), identity("all", 2)).is_ok()
    });
}

#[test]
fn a_server_without_keys_is_not_believed_by_a_client_that_has_one() {
    let data = tempfile::tempdir().unwrap();
    let server = rig::start(data.path());
    let error = client_of(server.address(), identity("all", 1)).err().unwrap();
    assert!(error.to_string().contains("has no keys"), "{error}");
    // And its handshake changes nothing for others.
    let mut stream = raw(server.address());
    stream.write_all(&frame(Op::Authenticate.code(), 9, 32)).unwrap();
    let expected = (Status::BadRequest.code(), BadRequest::Handshake.code(), 9);
    assert_eq!(bare(&mut stream), expected);
    assert!(rig::connect(&server).hello().version == 1);
}

/// The line with which a start is refused, nothing changed on disk.
fn refusal(data: &Path, flags: &[&str]) -> String {
    let output = command(&data.join("data"), flags).output().unwrap();
    assert!(!output.status.success(), "it started");
    assert!(!data.join("data").exists(), "something changed on disk");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().count(), 1, "not one line: {told}");
    told
}

#[test]
fn a_start_beyond_loopback_without_keys_is_refused() {
    let data = tempfile::tempdir().unwrap();
    for flags in [["--listen", "0.0.0.0:0"], ["--listen", "[::]:0"], ["--settlement", "0.0.0.0:0"]]
    {
        let told = refusal(data.path(), &flags);
        assert!(told.contains("--keys") && told.contains("127.0.0.1"), "{told}");
    }
}

#[test]
fn keys_that_others_could_read_or_nobody_has_refuse_the_start() {
    let data = tempfile::tempdir().unwrap();
    let keys = one_of_each(data.path());
    let flags = ["--keys", keys.to_str().unwrap()];
    let open = keys.join("all.toml");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o640)).unwrap();
    let told = refusal(data.path(), &flags);
    assert!(told.contains("chmod 600") && told.contains("all.toml"), "{told}");
    for file in std::fs::read_dir(&keys).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    assert!(refusal(data.path(), &flags).contains("no key"));
    assert!(refusal(data.path(), &["--keys", "/nowhere"]).contains("/nowhere"));
}

#[test]
fn no_secret_is_in_what_a_server_says_of_itself() {
    let data = tempfile::tempdir().unwrap();
    let keys = one_of_each(data.path());
    let flags = ["--keys", keys.to_str().unwrap()];
    let server = rig::Process::start(&data.path().join("data"), &flags);
    assert!(server.facts.contains("all (issuer, claimer, payer, settler, admin)"));
    for (name, id) in [("all", 1), ("all", 2), ("claimer", 1)] {
        assert!(!server.facts.contains(&secret_text(name, id)[..16]), "{}", server.facts);
    }
}

const CHILD: &str = "HB_TEST_SOCKET";

/// Not a test of its own: what a process of another user does.
#[test]
fn as_another_user() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let address = Address::Unix(path.into());
    let answered = Client::connect(&address).is_ok();
    println!("answered: {answered}");
}

/// Whether a process of the user 65534 is answered on the unix socket.
fn answers_another_user(socket: &Path) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "as_another_user", "--nocapture"]).env(CHILD, socket).uid(65534);
    let output = child.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("answered: "), "{told} {output:?}");
    told.contains("answered: true")
}

#[test]
fn a_unix_socket_serves_its_own_user_root_and_those_who_are_listed() {
    let data = tempfile::tempdir().unwrap();
    let socket = data.path().join("hb.sock");
    let unix = Config { unix: Some(socket.clone()), ..with_keys(data.path()) };
    for (uids, answered) in [("none", false), ("65534", true)] {
        let config = Config { unix_uids: uids.parse().unwrap(), ..unix.clone() };
        let server = Server::start(config).unwrap();
        // Keys are for TCP; here the kernel says who it is.
        let mut own = Client::connect(&Address::Unix(socket.clone())).unwrap();
        own.send(&order(7, 1, 500, 5)).unwrap();
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can try the socket as another user");
            return;
        }
        for (path, mode) in [(data.path(), 0o755), (&socket, 0o777)] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        }
        assert_eq!(answers_another_user(&socket), answered, "{uids}");
        let refused = u64::from(!answered);
        assert_eq!(server.boards()[0].counters().net.refused_users, refused);
        server.drain().unwrap();
    }
}
