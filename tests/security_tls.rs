//! TLS against a running server: who is let in by which certificate, what is
//! refused and counted, and that a stream may come in whatever pieces.
//! docs/SECURITY.md names these tests.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hongbao::client::{Address, Client, ClientError};
use hongbao::journal::simulated::{Disk, SimulatedStorage};
use hongbao::journal::{Identity, Journal, Position, Recovering};
use hongbao::net::simulated::{self, SimulatedKernel};
use hongbao::net::{BoundListener, Entry, Inbox, Net, NetCounters, NetSettings, TlsDoor, Waker};
use hongbao::tls::{Acceptor, Connector};
use hongbao::units::{Durability, EnvelopeId, Time, UserId};
use hongbao::wire::{Denial, HEADER_BYTES, Request, Status, encode_request};
use hongbao::{Config, Server};
use rig::certificates::{Authority, Bare, HOST, Pair, client_over};
use rig::principals::{identity, one_of_each, put, raw};
use rig::{command, config, order, until};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

const WITHIN: Duration = Duration::from_secs(20);

/// A place with an issuer, and a server that it has signed for.
struct World {
    data: tempfile::TempDir,
    authority: Authority,
    pair: Pair,
}

impl World {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let authority = Authority::new(data.path(), "authority");
        let pair = authority.issue("server", &[HOST, "localhost"]);
        Self { data, authority, pair }
    }

    /// Over TLS, without keys.
    fn open(&self) -> Config {
        self.pair.secures(config(&self.data.path().join("data")))
    }

    /// With a principal for each role.
    fn keyed(&self) -> Config {
        Config { keys: Some(one_of_each(self.data.path())), ..self.open() }
    }

    /// That wants certificates of this issuer, too.
    fn certified(&self) -> Config {
        Config { tls_client_ca: Some(self.authority.file.clone()), ..self.keyed() }
    }
}

fn start(config: Config) -> (Server, SocketAddr) {
    let server = Server::start(config).unwrap();
    let address = server.tls_address().unwrap();
    (server, address)
}

fn counted(server: &Server) -> NetCounters {
    server.boards()[0].counters().net
}

/// An envelope of five shares is ordered, and one of them claimed.
fn claims_a_share(client: &mut Client, number: u64) {
    let envelope = client.send(&order(7, number, 500, 5)).unwrap().envelope;
    let share = client.claim(envelope, UserId(1)).unwrap();
    assert!(share.amount >= 1);
    assert_eq!(client.claim(envelope, UserId(1)).unwrap().amount, share.amount);
}

fn claim(tag: u64) -> Vec<u8> {
    let mut frame = Vec::new();
    let request = Request::Claim { envelope: EnvelopeId(1), user: UserId(1) };
    encode_request(&mut frame, tag, 0, &request);
    frame
}

/// Status, detail and tag of a bare reply.
fn bare(reply: &[u8]) -> (u8, u32, u64) {
    assert_eq!(reply.len(), HEADER_BYTES);
    let detail = u32::from_le_bytes(reply[4..8].try_into().unwrap());
    (reply[3], detail, u64::from_le_bytes(reply[8..16].try_into().unwrap()))
}

fn not_found(tag: u64) -> (u8, u32, u64) {
    (Status::NotFound.code(), 0, tag)
}

fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_))
}

/// What came of a refused connection: TLS says why, or the connection is gone
/// before that could be read.
fn is_refused(result: Result<Client, ClientError>, told: &str) {
    match result.err().expect("a refusal") {
        ClientError::Tls { cause, .. } => {
            assert!(cause.to_string().contains(told), "{told}: {cause}");
        }
        ClientError::Broken { .. } | ClientError::NoServer { .. } => {}
        other => panic!("{other}"),
    }
}

#[test]
fn a_share_is_claimed_over_tls_beside_a_plain_door() {
    let world = World::new();
    let (server, address) = start(world.open());
    let tls = world.authority.connector(None);
    claims_a_share(&mut client_over(address, tls, None).unwrap(), 1);
    claims_a_share(&mut rig::connect(&server), 2);
    assert_eq!(counted(&server).refused_handshakes, 0);
    server.drain().unwrap();
}

#[test]
fn a_key_is_proved_inside_tls_where_no_certificate_is_wanted() {
    let world = World::new();
    let (_server, address) = start(world.keyed());
    let tls = world.authority.connector(None);
    claims_a_share(&mut client_over(address, tls.clone(), Some(identity("all", 1))).unwrap(), 1);
    let told = client_over(address, tls, None).err().unwrap().to_string();
    assert!(told.contains("--principal-key"), "{told}");
}

#[test]
fn a_certificate_that_names_a_principal_needs_no_key() {
    let world = World::new();
    let config = world.certified();
    // One more, who has no key at all.
    put(config.keys.as_ref().unwrap(), "machine", "\"issuer\", \"claimer\"", &[]);
    let (server, address) = start(config);
    for (name, number) in [("all", 1), ("machine", 2)] {
        let pair = world.authority.issue(name, &[name]);
        let tls = world.authority.connector(Some(&pair));
        claims_a_share(&mut client_over(address, tls, None).unwrap(), number);
    }
    assert_eq!(counted(&server).refused_handshakes, 0);
}

#[test]
fn a_principal_may_by_certificate_what_its_roles_allow() {
    let world = World::new();
    let (_server, address) = start(world.certified());
    let client = |name| {
        let pair = world.authority.issue_to_client(name, &[name]);
        client_over(address, world.authority.connector(Some(&pair)), None).unwrap()
    };
    let (mut issuer, mut claimer) = (client("issuer"), client("claimer"));
    let envelope = issuer.send(&order(7, 1, 500, 5)).unwrap().envelope;
    assert!(claimer.claim(envelope, UserId(1)).unwrap().amount >= 1);
    for refused in [
        claimer.send(&order(7, 2, 500, 5)).err().unwrap(),
        issuer.claim(envelope, UserId(2)).err().unwrap(),
    ] {
        assert!(refused.to_string().contains("roles"), "{refused}");
    }
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_wanted() {
    let world = World::new();
    let (server, address) = start(world.certified());
    let tls = world.authority.connector(None);
    is_refused(client_over(address, tls, Some(identity("all", 1))), "CertificateRequired");
    until("it is counted", WITHIN, || counted(&server).refused_handshakes >= 1);
    assert_eq!(counted(&server).requests, 0, "none came to the shard");
}

#[test]
fn a_certificate_of_another_issuer_or_of_the_past_is_refused() {
    let world = World::new();
    let other = Authority::new(world.data.path(), "other");
    let (server, address) = start(world.certified());
    let forged = other.issue("forged", &["all"]);
    let tls = world.authority.connector(Some(&forged));
    is_refused(client_over(address, tls, None), "Unknown");
    let expired = world.authority.issue_until("expired", &["all"], 2021);
    let own = Some((&*expired.certificate, &*expired.key));
    let told = Connector::read(&world.authority.file, own).unwrap_err();
    assert!(told.to_string().contains("expired"), "{told}");
    // One who looks at nothing himself hears it from the server.
    let told = told_to(address, &world.authority, &expired);
    assert!(told.is_none_or(|told| told.contains("Expired")), "the server took it");
    until("they are counted", WITHIN, || counted(&server).refused_handshakes == 2);
    assert_eq!(counted(&server).requests, 0);
}

/// What a server says to a client that shows a certificate without having
/// looked at it; nothing if the connection is gone before that can be read.
fn told_to(address: SocketAddr, believed: &Authority, own: &Pair) -> Option<String> {
    let read = |path: &Path| CertificateDer::from_pem_file(path).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(read(&believed.file)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![read(&own.certificate)], key)
        .unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = raw(address);
    let read = rustls::Stream::new(&mut connection, &mut socket).read(&mut [0]);
    let error = read.err()?;
    (error.kind() == ErrorKind::InvalidData).then(|| error.to_string())
}

#[test]
fn a_client_does_not_believe_another_issuer_or_another_name() {
    let world = World::new();
    let other = Authority::new(world.data.path(), "other");
    let (_server, address) = start(world.open());
    let told = client_over(address, other.connector(None), None).err().unwrap().to_string();
    assert!(told.contains("--tls-ca") && told.contains("UnknownIssuer"), "{told}");
    let elsewhere = world.authority.issue("elsewhere", &["elsewhere.example"]);
    let config = Config { data: world.data.path().join("more"), ..world.open() };
    let (_server, address) = start(elsewhere.secures(config));
    let told = client_over(address, world.authority.connector(None), None).err().unwrap();
    assert!(told.to_string().contains("not valid for name"), "{told}");
}

#[test]
fn a_certificate_that_names_nobody_or_two_is_a_stranger_until_a_key_is_proved() {
    let world = World::new();
    let (_server, address) = start(world.certified());
    let names: [(&str, &[&str]); 4] = [
        ("nobody", &["nobody"]),
        ("both", &["all", "admin"]),
        ("none", &[]),
        ("address", &["127.0.0.1"]),
    ];
    for (name, names) in names {
        let pair = world.authority.issue(name, names);
        let tls = world.authority.connector(Some(&pair));
        let mut stranger = Bare::shaken(address, &tls);
        stranger.say(&claim(5));
        let denied = (Status::Denied.code(), Denial::Stranger.code(), 5);
        assert_eq!(bare(&stranger.take(HEADER_BYTES)), denied, "{name}");
        client_over(address, tls, Some(identity("all", 1))).unwrap();
    }
}

#[test]
fn connections_by_certificate_count_for_their_principal() {
    let world = World::new();
    let (_server, address) =
        start(Config { connections_per_principal_max: 1, ..world.certified() });
    let pair = world.authority.issue("claimer", &["claimer"]);
    let tls = world.authority.connector(Some(&pair));
    let mut first = Bare::shaken(address, &tls);
    first.say(&claim(1));
    assert_eq!(bare(&first.take(HEADER_BYTES)), not_found(1));
    let mut second = Bare::shaken(address, &tls);
    assert!(!second.hear() || second.session.is_closed(), "it is turned away");
    drop(first);
    until("its place is free again", WITHIN, || client_over(address, tls.clone(), None).is_ok());
}

#[test]
fn over_tls_hello_tells_the_ports_for_tls() {
    let world = World::new();
    let (server, address) = start(Config { shards: Some(2), ..world.open() });
    let mut client = client_over(address, world.authority.connector(None), None).unwrap();
    let secured = client.hello().ports.clone();
    let plain = rig::connect(&server).hello().ports.clone();
    assert_eq!((secured.len(), plain.len()), (2, 2));
    assert!(secured.iter().all(|port| !plain.contains(port)), "{secured:?} {plain:?}");
    for sender in 0..8 {
        // Both shards, each over its own door.
        let envelope = client.send(&order(sender, 1, 500, 5)).unwrap().envelope;
        assert!(client.claim(envelope, UserId(1)).unwrap().amount >= 1);
    }
    let accepted: Vec<u64> =
        server.boards().iter().map(|board| board.counters().net.accepted).collect();
    assert!(accepted.iter().all(|&count| count >= 1), "{accepted:?}");
}

/// A client that can no newer than TLS 1.2 begins so.
fn old_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]); // its random number
    body.push(0); // no session
    body.extend_from_slice(&[0, 4, 0xc0, 0x2b, 0xc0, 0x2f]); // ECDHE with AES-GCM
    body.extend_from_slice(&[1, 0]); // no compression
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let schemes = [0, 13, 0, 4, 0, 2, 4, 3];
    let formats = [0, 11, 0, 2, 1, 0];
    let extensions = [&groups[..], &schemes, &formats].concat();
    body.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&extensions);
    let mut hello = vec![1, 0];
    hello.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    hello.extend_from_slice(&body);
    record(22, &hello)
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 3, 1];
    record.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    record.extend_from_slice(body);
    record
}

#[test]
fn nobody_speaks_an_older_tls() {
    let world = World::new();
    let (server, address) = start(world.open());
    let mut stream = raw(address);
    stream.write_all(&old_hello()).unwrap();
    let mut alert = [0; 7];
    stream.read_exact(&mut alert).unwrap();
    // A fatal alert: protocol version.
    assert_eq!((alert[0], &alert[5..]), (21, &[2, 70][..]), "{alert:?}");
    assert!(is_closed(&mut stream));
    until("it is counted", WITHIN, || counted(&server).refused_handshakes == 1);
}

#[test]
fn plain_bytes_at_the_tls_port_and_tls_at_the_plain_one_are_refused() {
    let world = World::new();
    let (server, address) = start(world.open());
    for garbage in [claim(1).repeat(50), vec![0; 4096], vec![0xff; 4096], vec![22; 20_000]] {
        let mut stream = raw(address);
        let _ = stream.write_all(&garbage); // it may be closed by then
        until("it is closed", WITHIN, || is_closed(&mut stream));
    }
    until("they are counted", WITHIN, || counted(&server).refused_handshakes == 4);
    assert_eq!(counted(&server).requests, 0, "none came to the shard");
    let tls = world.authority.connector(None);
    assert!(client_over(server.address(), tls, None).is_err());
    let plain = Client::connect(&Address::Tcp(address.to_string()));
    assert!(plain.is_err());
}

#[test]
fn a_handshake_that_goes_on_and_on_is_ended() {
    let world = World::new();
    let (server, address) = start(world.open());
    let mut stream = raw(address);
    // A greeting of 60,000 bytes, in records as long as may be.
    let mut hello = vec![1, 0];
    hello.extend_from_slice(&60_000_u16.to_be_bytes());
    hello.resize(16_000, 0);
    for _ in 0..4 {
        if stream.write_all(&record(22, &hello)).is_err() {
            break;
        }
        hello.fill(0);
    }
    until("it is closed", WITHIN, || is_closed(&mut stream));
    until("it is counted", WITHIN, || counted(&server).refused_handshakes == 1);
}

#[test]
fn a_handshake_that_stops_anywhere_ends_at_the_deadline() {
    let world = World::new();
    let (server, address) = start(Config { handshake_ms: 300, ..world.open() });
    let tls = world.authority.connector(None);
    let mut stopped = Vec::new();
    // Nothing, a part of the greeting, all of it, and all but the last record.
    for part in 0..3 {
        let mut bare = Bare::connect(address, &tls);
        let hello = bare.records(&[]);
        bare.socket.write_all(&hello[..hello.len() * part / 2]).unwrap();
        stopped.push(bare);
    }
    let mut last = Bare::connect(address, &tls);
    last.say(&[]);
    while !last.session.is_shaken() {
        assert!(last.hear());
    }
    let end = last.records(&[]);
    last.socket.write_all(&end[..end.len() - 1]).unwrap();
    stopped.push(last);
    for mut bare in stopped {
        until("it ends", WITHIN, || !bare.hear());
    }
    until("they are counted", WITHIN, || counted(&server).late_handshakes == 4);
    until("their places are free", WITHIN, || counted(&server).connections == 0);
}

#[test]
fn a_record_begun_ends_at_the_frame_deadline() {
    let world = World::new();
    let (server, address) = start(Config { frame_ms: 300, ..world.open() });
    let tls = world.authority.connector(None);
    let mut begun = Bare::shaken(address, &tls);
    let record = begun.records(&claim(1));
    // Byte by byte: whoever drips is not idle, and yet it ends.
    begun.socket.set_read_timeout(Some(Duration::from_millis(40))).unwrap();
    for byte in &record[..record.len() - 1] {
        if begun.socket.write_all(&[*byte]).is_err() || counted(&server).late_frames > 0 {
            break;
        }
        let _ = begun.hear(); // waits
    }
    until("it is counted", WITHIN, || counted(&server).late_frames == 1);
    // Half a frame in a whole record is a frame begun.
    let mut half = Bare::shaken(address, &tls);
    half.say(&claim(1)[..20]);
    until("it ends", WITHIN, || !half.hear());
    until("it is counted", WITHIN, || counted(&server).late_frames == 2);
}

#[test]
fn bytes_that_somebody_has_changed_end_the_connection() {
    let world = World::new();
    let (server, address) = start(world.open());
    let tls = world.authority.connector(None);
    for (at, count) in [(5, 1), (20, 2), (40, 3)] {
        let mut bare = Bare::shaken(address, &tls);
        bare.say(&claim(1));
        assert_eq!(bare_of(&mut bare), not_found(1), "it is in");
        let mut record = bare.records(&claim(1));
        record[at] ^= 1;
        bare.socket.write_all(&record).unwrap();
        until("it is counted", WITHIN, || counted(&server).broken_streams == count);
        assert_eq!(counted(&server).requests, count, "the changed one came to no shard");
    }
}

/// Between a client and a server: hands bytes on in pieces of this size, both
/// ways.
fn in_pieces(server: SocketAddr, size: usize) -> SocketAddr {
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let hand_on = move |mut from: TcpStream, mut to: TcpStream| {
        let mut piece = vec![0; size];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = raw(server);
            client.set_nodelay(true).unwrap();
            let (back, forth) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || hand_on(client, server));
            std::thread::spawn(move || hand_on(back, forth));
        }
    });
    address
}

#[test]
fn a_session_is_the_same_in_whatever_pieces_it_comes() {
    let world = World::new();
    let (server, address) = start(world.certified());
    let pair = world.authority.issue("all", &["all"]);
    let tls = world.authority.connector(Some(&pair));
    for (size, number) in [1, 2, 5, 6, 63, 1000, 4096, 5000].into_iter().zip(1..) {
        let relay = in_pieces(address, size);
        let mut client = client_over(relay, tls.clone(), None).unwrap();
        let envelope = client.send(&order(7, number, 5000, 50)).unwrap().envelope;
        for user in 0..200 {
            client.submit(&Request::Claim { envelope, user: UserId(user % 60) });
        }
        client.flush().unwrap();
        let replies = (0..200).map(|_| client.receive().unwrap().status);
        let won = replies.filter(|status| *status == Status::Ok).count();
        assert_eq!(won, 50, "pieces of {size}");
    }
    let counted = counted(&server);
    assert_eq!((counted.broken_streams, counted.refused_handshakes), (0, 0));
}

/// A journal in memory, of which this test wants only that it commits.
fn journal() -> Journal<SimulatedStorage> {
    let us = Identity { cell: 1, shard: 0, shards: 1 };
    let storage = Disk::new(us, 64 << 10).storage();
    let recovering = Recovering::open(storage, us, Durability::Sync).unwrap();
    recovering.replay(Time(1), |_| Ok(())).unwrap().0
}

/// Asks for `count` shares over TLS and waits for all answers.
fn ask(address: SocketAddr, tls: &Connector, count: u64) {
    let mut stream = tls.connect(HOST, raw(address)).unwrap();
    let frames: Vec<u8> = (0..count).flat_map(claim).collect();
    stream.write_all(&frames).unwrap();
    for tag in 0..count {
        let mut reply = [0; HEADER_BYTES];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(bare(&reply), not_found(tag));
    }
}

#[test]
fn the_simulated_kernel_serves_over_tls_in_pieces_that_a_seed_draws() {
    let world = World::new();
    let acceptor = Acceptor::read(&world.pair.certificate, &world.pair.key, None).unwrap();
    let (tls, mut journal) = (world.authority.connector(None), journal());
    for seed in 0..4 {
        let bound = BoundListener::tcp((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = bound.address();
        let entry = Entry { strangers_max: 9, strangers_per_address_max: 9, ..Entry::default() };
        let door = TlsDoor { acceptor: acceptor.clone(), ports: vec![address.port()] };
        let settings = NetSettings { entry, tls: Some(door), ..NetSettings::open(9) };
        let simulated = simulated::World::new(seed, Time(1));
        let kernel = SimulatedKernel::new(simulated.clone());
        let listeners = vec![bound.secured().listen().unwrap()];
        let mut net = Net::on(kernel, listeners, settings, Waker::new().unwrap()).unwrap();
        let mut inbox = Inbox::new();
        std::thread::scope(|scope| {
            let clients: Vec<_> =
                (0..3).map(|_| scope.spawn(|| ask(address, &tls, 3000))).collect();
            while !clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                simulated.pass(100);
                net.wait(Some(Duration::ZERO)).unwrap();
                while net.fill(&mut inbox).unwrap() {
                    for asked in inbox.asked() {
                        net.reply(asked, Position(0)).bare(Status::NotFound, 0);
                    }
                }
                net.seal();
                net.release(&journal.commit(Time(1)).unwrap()).unwrap();
            }
        });
        assert_eq!((net.counters().accepted, net.counters().requests), (3, 9000), "seed {seed}");
    }
}

#[test]
fn a_long_pipeline_has_every_answer_once_and_in_order() {
    const ASKED: u64 = 100_000;
    let world = World::new();
    let (_server, address) = start(world.open());
    let mut bare = Bare::shaken(address, &world.authority.connector(None));
    let mut frames = Vec::new();
    (0..ASKED).for_each(|tag| frames.extend_from_slice(&claim(tag)));
    let records = bare.records(&frames);
    let mut socket = bare.socket.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || socket.write_all(&records).unwrap());
        for tag in 0..ASKED {
            assert_eq!(bare_of(&mut bare), not_found(tag));
        }
    });
}

fn bare_of(from: &mut Bare) -> (u8, u32, u64) {
    bare(&from.take(HEADER_BYTES))
}

#[test]
fn a_farewell_is_answered_by_one_behind_the_last_reply() {
    let world = World::new();
    let (server, address) = start(world.open());
    let mut bare = Bare::shaken(address, &world.authority.connector(None));
    let mut last = bare.records(&claim(1));
    assert!(bare.session.say_farewell());
    last.extend_from_slice(&bare.records(&[]));
    bare.socket.write_all(&last).unwrap();
    assert_eq!(bare_of(&mut bare), not_found(1));
    until("the server says farewell", WITHIN, || !bare.hear() || bare.session.is_closed());
    assert!(bare.session.is_closed(), "nobody could have made this up");
    until("the connection is gone", WITHIN, || counted(&server).connections == 0);
    assert_eq!(counted(&server).socket_failures, 0);
}

#[test]
fn one_who_hangs_up_in_the_middle_leaves_nothing_behind() {
    let world = World::new();
    let (server, address) = start(world.open());
    let tls = world.authority.connector(None);
    for part in 0..20 {
        let mut bare = Bare::connect(address, &tls);
        let hello = bare.records(&[]);
        bare.socket.write_all(&hello[..hello.len() * part / 19]).unwrap();
        drop(bare);
        let mut bare = Bare::shaken(address, &tls);
        let record = bare.records(&claim(1));
        bare.socket.write_all(&record[..record.len() * part / 19]).unwrap();
        drop(bare);
    }
    until("all are gone", WITHIN, || counted(&server).connections == 0);
    claims_a_share(&mut client_over(address, tls, None).unwrap(), 1);
}

/// The line with which a start is refused, nothing changed on disk.
fn refusal(world: &World, flags: &[String]) -> String {
    let data = world.data.path().join("data");
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let output = command(&data, &flags).output().unwrap();
    assert!(!output.status.success(), "it started");
    assert!(!data.exists(), "something changed on disk");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().count(), 1, "not one line: {told}");
    told
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn files_that_cannot_serve_refuse_the_start() {
    let world = World::new();
    let good = world.pair.flags();
    let with = |flag: &str, path: &Path| {
        let mut flags = good.clone();
        flags.push(format!("--tls-{flag}={}", shown(path)));
        refusal(&world, &flags)
    };
    let nowhere = Path::new("/nowhere/file.pem");
    for flag in ["certificate", "key"] {
        let told = with(flag, nowhere);
        assert!(told.contains("/nowhere/file.pem") && told.contains("tls_"), "{told}");
    }
    let text = world.data.path().join("text");
    std::fs::write(&text, "no certificate").unwrap();
    assert!(with("certificate", &text).contains("no certificate in"));
    assert!(with("key", &text).contains("chmod 600"));
    std::fs::set_permissions(&text, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(with("key", &text).contains("no private key in"));
    let expired = world.authority.issue_until("expired", &[HOST], 2021);
    assert!(with("certificate", &expired.certificate).contains("expired"));
    let client = world.authority.issue_to_client("client", &[HOST]);
    let told = with("certificate", &client.certificate);
    assert!(told.contains("of no use here"), "{told}");
    let other = world.authority.issue("other", &[HOST]);
    let told = with("key", &other.key);
    assert!(told.contains("do not go together"), "{told}");
}

#[test]
fn issuers_that_cannot_be_believed_refuse_the_start() {
    let world = World::new();
    let keys = format!("--keys={}", shown(&one_of_each(world.data.path())));
    let expired = Authority::until(world.data.path(), "expired", 2021);
    let text = world.data.path().join("text");
    std::fs::write(&text, "no certificate").unwrap();
    for (path, expected) in [
        (expired.file.as_path(), "expired"),
        (text.as_path(), "no certificate in"),
        (Path::new("/nowhere/ca.pem"), "/nowhere/ca.pem"),
    ] {
        let mut flags = world.pair.flags();
        flags.extend([keys.clone(), format!("--tls-client-ca={}", shown(path))]);
        let told = refusal(&world, &flags);
        assert!(told.contains("tls_client_ca") && told.contains(expected), "{told}");
    }
}

#[test]
fn a_port_for_tls_and_for_plain_connections_refuses_the_start() {
    let world = World::new();
    let free = TcpListener::bind((HOST, 0)).unwrap().local_addr().unwrap();
    let mut flags = world.pair.flags();
    flags.extend([format!("--listen={free}"), format!("--tls-listen={free}")]);
    let told = refusal(&world, &flags);
    assert!(told.contains(&free.to_string()) && told.contains("--tls-listen"), "{told}");
}

#[test]
fn beyond_loopback_tls_wants_keys() {
    let world = World::new();
    let mut flags = world.pair.flags();
    flags.push("--tls-listen=0.0.0.0:0".to_owned());
    let told = refusal(&world, &flags);
    assert!(told.contains("tls_listen") && told.contains("--keys"), "{told}");
}

#[test]
fn nothing_of_a_key_is_in_what_a_server_says_of_itself() {
    let world = World::new();
    let flags = world.pair.flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let server = rig::Process::start(&world.data.path().join("data"), &flags);
    assert!(server.facts.contains("(tls, client certificates not asked for)"), "{}", server.facts);
    let key = std::fs::read_to_string(&world.pair.key).unwrap();
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!server.facts.contains(line), "{}", server.facts);
    }
}
