//! Bytes that are no requests: the server answers or closes, counts it, and
//! other connections notice nothing.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hongbao::Server;
use hongbao::units::{EnvelopeId, UserId};
use hongbao::wire::{
    Attached, BadRequest, Evidence, HEADER_BYTES, Ineligible, Request, Status, Terms,
    encode_request, encode_with,
};
use rig::{connect, order, start};

fn raw(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn claim(tag: u64) -> Vec<u8> {
    let mut frame = Vec::new();
    let request = Request::Claim { envelope: EnvelopeId(1), user: UserId(1) };
    encode_request(&mut frame, tag, 0, &request);
    frame
}

/// Reads one bare reply: status, detail, tag.
fn bare(stream: &mut TcpStream) -> (u8, u32, u64) {
    let mut reply = [0; HEADER_BYTES];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(u16::from_le_bytes([reply[0], reply[1]]), 16);
    let detail = u32::from_le_bytes(reply[4..8].try_into().unwrap());
    (reply[3], detail, u64::from_le_bytes(reply[8..16].try_into().unwrap()))
}

fn is_closed(mut stream: TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_))
}

/// What is wrong with a well-framed request is told, and the stream goes on.
fn told(server: &Server, frame: &[u8], reason: BadRequest) {
    let mut stream = raw(server);
    stream.write_all(frame).unwrap();
    assert_eq!(bare(&mut stream), (Status::BadRequest.code(), reason.code(), 5));
    stream.write_all(&claim(6)).unwrap();
    assert_eq!(bare(&mut stream), (Status::NotFound.code(), 0, 6));
}

fn changed(at: usize, byte: u8) -> Vec<u8> {
    let mut frame = claim(5);
    frame[at] = byte;
    frame
}

fn resized(length: u16) -> Vec<u8> {
    let mut frame = claim(5);
    frame.resize(usize::from(length), 0);
    frame[..2].copy_from_slice(&length.to_le_bytes());
    frame
}

#[test]
fn a_bad_request_is_told_and_its_stream_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    for op in [0, 63, 255] {
        told(&server, &changed(2, op), BadRequest::UnknownOp);
    }
    told(&server, &changed(3, 1), BadRequest::Flags);
    for length in [16, 24, 31, 33, 4096] {
        told(&server, &resized(length), BadRequest::BodyLength);
    }
    // Every operation has one length, and it is checked before anything else.
    let lengths = [
        (2, 68),
        (8, 80),
        (9, 32),
        (10, 24),
        (13, 32),
        (14, 32),
        (15, 48),
        (16, 40),
        (17, 24),
        (18, 32),
    ];
    for (op, length) in lengths {
        for wrong in [16, length - 1, length + 1, 4096] {
            let mut frame = resized(wrong);
            frame[2] = op;
            told(&server, &frame, BadRequest::BodyLength);
        }
    }
    let mut fund = resized(80);
    (fund[2], fund[44]) = (8, 1);
    told(&server, &fund, BadRequest::Reserved);
    for (op, fixed, reason) in [(11, 68, BadRequest::Terms), (12, 32, BadRequest::Evidence)] {
        let mut frame = resized(fixed - 1);
        frame[2] = op;
        told(&server, &frame, BadRequest::BodyLength);
        let mut frame = resized(fixed + 5);
        frame[2] = op;
        told(&server, &frame, reason); // fields of tag 0
    }
    assert_eq!(server.boards()[0].counters().net.bad_requests, 54);
}

#[test]
fn another_protocol_version_is_told() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut frame = Vec::new();
    encode_request(&mut frame, 5, 0, &Request::Hello { version: 2 });
    told(&server, &frame, BadRequest::Version);
}

#[test]
fn an_impossible_length_is_told_and_closes_the_connection() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    for length in [0u16, 1, 15, 4097, u16::MAX] {
        let mut stream = raw(&server);
        let mut frame = claim(5);
        frame[..2].copy_from_slice(&length.to_le_bytes());
        stream.write_all(&frame).unwrap();
        let expected = (Status::BadRequest.code(), BadRequest::FrameLength.code(), 5);
        assert_eq!(bare(&mut stream), expected);
        assert!(is_closed(stream));
    }
    assert_eq!(server.boards()[0].counters().net.broken_streams, 5);
}

#[test]
fn nothing_after_a_broken_frame_is_executed() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut client = connect(&server);
    let envelope = client.send(&order(7, 1, 5000, 50)).unwrap().envelope;
    for _ in 0..20 {
        // More than one receive buffer of whole claims behind the bad length,
        // and the hang-up right behind them.
        let mut bytes = vec![0xff; 32];
        for user in 0..2000 {
            let request = Request::Claim { envelope, user: UserId(user) };
            encode_request(&mut bytes, user, 0, &request);
        }
        let mut stream = raw(&server);
        let _ = stream.write_all(&bytes); // it may be closed on us half-way
        let _ = stream.shutdown(std::net::Shutdown::Write);
        is_closed(stream);
    }
    assert_eq!(client.show(envelope).unwrap().claimed, 0);
    assert_eq!(server.boards()[0].counters().net.broken_streams, 20);
}

#[test]
fn requests_before_a_broken_frame_are_answered() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut stream = raw(&server);
    let mut bytes = claim(1);
    bytes.extend_from_slice(&[0xff; 16]);
    stream.write_all(&bytes).unwrap();
    assert_eq!(bare(&mut stream), (Status::NotFound.code(), 0, 1));
    assert_eq!(bare(&mut stream).1, BadRequest::FrameLength.code());
    assert!(is_closed(stream));
}

#[test]
fn a_frame_split_at_every_byte_is_answered_the_same() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut stream = raw(&server);
    stream.set_nodelay(true).unwrap();
    let frames = [claim(1), claim(2)].concat();
    for cut in 1..frames.len() {
        stream.write_all(&frames[..cut]).unwrap();
        // Until the server has seen the first part there is nothing to wait
        // for; a second connection's answer shows that its loop went round.
        drop(connect(&server));
        stream.write_all(&frames[cut..]).unwrap();
        assert_eq!(bare(&mut stream), (Status::NotFound.code(), 0, 1), "cut at {cut}");
        assert_eq!(bare(&mut stream), (Status::NotFound.code(), 0, 2), "cut at {cut}");
    }
}

/// Terms and evidence are taken along from wherever their frame was cut.
#[test]
fn frames_with_fields_split_at_every_byte_are_answered_the_same() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut stream = raw(&server);
    stream.set_nodelay(true).unwrap();
    let terms = Terms { not_sender: true, greeting: b"luck", ..Terms::default() };
    let evidence = Evidence { password: Some(b"a word"), ..Evidence::default() };
    let envelope = connect(&server).send_with(&order(7, 1, 500, 1), &terms).unwrap().envelope;
    let mut frames = Vec::new();
    let send = Request::SendWith { order: order(7, 1, 500, 1), terms: Attached::default() };
    encode_with(&mut frames, 1, 0, &send, &terms.to_bytes());
    let (user, nothing) = (UserId(7), Attached::default());
    let claim = Request::ClaimWith { envelope, user, evidence: nothing };
    encode_with(&mut frames, 2, 0, &claim, &evidence.to_bytes());
    for cut in 1..frames.len() {
        stream.write_all(&frames[..cut]).unwrap();
        drop(connect(&server)); // its loop went round
        stream.write_all(&frames[cut..]).unwrap();
        let mut reply = [0; 64];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!((reply[3], reply[4], reply[16..24] == envelope.0.to_le_bytes()), (0, 1, true));
        let kept_out = (Status::NotEligible.code(), Ineligible::Sender.code(), 2);
        assert_eq!(bare(&mut stream), kept_out, "cut at {cut}");
    }
}

/// More terms in one go than a round has room for.
#[test]
fn a_round_that_is_full_of_terms_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let (greeting, coupon) = ([b'g'; 600], [b'c'; 256]);
    let terms = Terms { greeting: &greeting, coupon: &coupon, ..Terms::default() }.to_bytes();
    let mut frames = Vec::new();
    for number in 0..200 {
        let (order, terms_at) = (order(number % 5, number, 500, 1), Attached::default());
        let send = Request::SendWith { order, terms: terms_at };
        encode_with(&mut frames, number, 0, &send, &terms);
    }
    let mut stream = raw(&server);
    stream.write_all(&frames).unwrap();
    let mut client = connect(&server);
    for number in 0..200_u64 {
        let mut sent = [0; 64];
        stream.read_exact(&mut sent).unwrap();
        assert_eq!((sent[3], sent[8..16] == number.to_le_bytes()), (0, true), "order {number}");
        let envelope = EnvelopeId(u64::from_le_bytes(sent[16..24].try_into().unwrap()));
        let told = client.terms(envelope, UserId(number % 5)).unwrap();
        assert_eq!(told.terms().coupon, coupon, "order {number}");
    }
}

#[test]
fn half_a_frame_and_a_hangup_leave_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    for cut in 0..32 {
        raw(&server).write_all(&claim(1)[..cut]).unwrap();
    }
    let mut client = connect(&server);
    let envelope = client.send(&order(7, 1, 500, 5)).unwrap().envelope;
    // The hang-ups are seen in the order they came or later; wait for them.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while server.boards()[0].counters().net.connections > 1 {
        assert!(std::time::Instant::now() < deadline, "{:?}", server.boards()[0].counters().net);
        client.show(envelope).unwrap();
    }
}

#[test]
fn noise_on_one_connection_is_not_noticed_on_another() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut client = connect(&server);
    let envelope = client.send(&order(7, 1, 5000, 50)).unwrap().envelope;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for user in 0..50 {
        let noise: Vec<u8> = (0..512)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect();
        let mut stream = raw(&server);
        let _ = stream.write_all(&noise); // it may be closed on us half-way
        assert!(client.claim(envelope, UserId(user)).unwrap().amount >= 1);
    }
    assert_eq!(client.show(envelope).unwrap().left, 0);
}

#[test]
fn more_connections_than_configured_are_turned_away_and_others_go_on() {
    let data = tempfile::tempdir().unwrap();
    let few = hongbao::Config { connections_max: 3, ..rig::config(data.path()) };
    let server = Server::start(few).unwrap();
    let mut kept: Vec<_> = (0..3).map(|_| connect(&server)).collect();
    assert!(is_closed(raw(&server)));
    let envelope = kept[0].send(&order(7, 1, 5000, 50)).unwrap().envelope;
    assert_eq!(server.boards()[0].counters().net.turned_away, 1);
    kept.truncate(1);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while server.boards()[0].counters().net.connections > 1 {
        assert!(std::time::Instant::now() < deadline);
        kept[0].show(envelope).unwrap();
    }
    assert!(connect(&server).claim(envelope, UserId(1)).is_ok());
}

#[test]
fn a_client_that_never_reads_is_paused_and_others_go_on() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut client = connect(&server);
    let envelope = client.send(&order(7, 1, 5000, 50)).unwrap().envelope;
    let mut deaf = raw(&server);
    deaf.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let frames = claim(1).repeat(1000);
    // Paused means that our writes stall at last; closed would be an error of
    // another kind.
    let stalled = (0..100_000).find_map(|_| deaf.write_all(&frames).err());
    let kind = stalled.expect("a server that takes everything keeps it somewhere").kind();
    assert!(matches!(kind, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    for user in 0..50 {
        assert!(client.claim(envelope, UserId(user)).is_ok());
    }
}
