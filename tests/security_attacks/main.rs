//! Every attack of docs/SECURITY.md against a live server in a process of its
//! own: connections end when they must, memory stays in its bounds, and other
//! clients hardly notice. `tools/attack.sh` runs these and prints the figures.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

#[path = "../rig/mod.rs"]
mod rig;
mod target;

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hongbao::tls::Connector;
use hongbao::units::{EnvelopeId, UserId};
use hongbao::wire::{HEADER_BYTES, Request, encode_challenge, encode_request};
use rig::certificates::HOST;
use rig::principals::{identity, raw_of};
use rig::until;
use target::{Target, WITHIN, attacker, push};

fn claims(count: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for tag in 0..count {
        let request = Request::Claim { envelope: EnvelopeId(1), user: UserId(tag) };
        encode_request(&mut bytes, tag, 0, &request);
    }
    bytes
}

/// Whether the other side has ended the connection.
fn has_ended(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 4096]) {
        Ok(bytes) => bytes == 0,
        Err(error) => {
            !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        }
    }
}

/// The beginning of the longest frame that a stranger may send, 256 bytes; more
/// of the same is the rest of it.
const LONGEST: [u8; 2] = [0, 1];

/// Lets a byte go now and then, until the server has had enough.
fn drip(mut stream: TcpStream, bytes: &[u8]) {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let began = Instant::now();
    for byte in bytes.iter().cycle() {
        if !push(&mut stream, &[*byte]) || has_ended(&mut stream) {
            break;
        }
        assert!(began.elapsed() < WITHIN, "it is never ended");
    }
}

#[test]
fn slowloris_ends_at_the_handshake_deadline() {
    let target = Target::start(&["--handshake-ms", "400"]);
    let began = Instant::now();
    drip(attacker(target.address).unwrap(), &LONGEST);
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    target.counts("late_handshakes", 1);
}

#[test]
fn a_frame_begun_ends_at_the_frame_deadline_also_of_one_who_is_known() {
    let target = Target::start(&["--frame-ms", "400"]);
    let stream = raw_of(target.address, "claimer");
    // 4096 bytes, one by one.
    drip(stream, &[0, 16]); // says that it has 4096 bytes
    target.counts("late_frames", 1);
    let mut stream = raw_of(target.address, "claimer");
    let mut begun = claims(1);
    begun.truncate(31);
    push(&mut stream, &begun);
    until("it ends", WITHIN, || has_ended(&mut stream));
    target.counts("late_frames", 2);
}

#[test]
fn whole_frames_that_come_slowly_are_no_attack() {
    let target = Target::start(&["--frame-ms", "300"]);
    let mut stream = raw_of(target.address, "claimer");
    let frame = claims(1);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(900) {
        for half in [&frame[..20], &frame[20..]] {
            assert!(push(&mut stream, half));
            std::thread::sleep(Duration::from_millis(30)); // its rate, not a hope
        }
        let mut reply = [0; HEADER_BYTES];
        stream.read_exact(&mut reply).unwrap();
    }
    assert_eq!(target.counted("late_frames"), 0);
}

#[test]
fn half_open_and_silent_connections_end() {
    let target = Target::start(&["--handshake-ms", "300", "--idle-s", "1"]);
    let mut silent: Vec<_> = (0..8).map(|_| attacker(target.address).unwrap()).collect();
    let mut half_closed = attacker(target.address).unwrap();
    half_closed.shutdown(Shutdown::Write).unwrap();
    let mut known = raw_of(target.address, "claimer");
    for stream in silent.iter_mut().chain([&mut half_closed, &mut known]) {
        until("it ends", WITHIN, || has_ended(stream));
    }
    target.counts("late_handshakes", 8);
    target.counts("idle", 1);
}

#[test]
fn one_who_does_not_read_is_ended_and_keeps_no_memory() {
    let target = Target::start(&["--write-ms", "500"]);
    let mut deaf = raw_of(target.address, "claimer");
    deaf.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let before_kib = target.memory_kib();
    let (frames, mut at) = (claims(1000), 0);
    let began = Instant::now();
    while began.elapsed() < WITHIN && target.counted("slow_readers") == 0 {
        if let Ok(written) = std::io::Write::write(&mut deaf, &frames[at..]) {
            at = (at + written) % frames.len();
        }
    }
    target.counts("slow_readers", 1);
    let more_kib = target.memory_kib().saturating_sub(before_kib);
    assert!(more_kib < 8 << 10, "{more_kib} KiB");
}

/// Connects, and goes at once.
fn knock(address: SocketAddr, _: &AtomicBool, done: &AtomicU64) {
    drop(attacker(address));
    done.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_flood_of_connections_is_not_noticed_by_others() {
    Target::start(&[]).unharmed_by("flood of connections", 2, knock);
}

#[test]
fn connections_that_are_held_leave_room_for_those_who_are_known() {
    let hold = |address, stop: &AtomicBool, done: &AtomicU64| {
        let mut held = Vec::new();
        while !stop.load(Ordering::Relaxed) && held.len() < 100 {
            held.extend(attacker(address));
        }
        done.fetch_add(1, Ordering::Relaxed);
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1)); // holding is the attack
        }
    };
    let mut target = Target::start(&[]);
    target.unharmed_by("connections that are held", 2, hold);
    assert!(target.counted("turned_away") > 0);
}

#[test]
fn slowloris_on_every_free_slot_is_not_noticed_by_others() {
    let drips = |address, stop: &AtomicBool, done: &AtomicU64| {
        let mut held: Vec<_> = (0..20).filter_map(|_| attacker(address)).collect();
        done.fetch_add(1, Ordering::Relaxed);
        while !stop.load(Ordering::Relaxed) && !held.is_empty() {
            held.retain_mut(|stream| push(stream, &LONGEST));
            std::thread::sleep(Duration::from_millis(5)); // slowness is the attack
        }
    };
    Target::start(&["--handshake-ms", "500"]).unharmed_by("slowloris", 2, drips);
}

#[test]
fn a_flood_of_handshakes_that_are_never_ended_is_not_noticed_by_others() {
    let begin = |address, _: &AtomicBool, done: &AtomicU64| {
        let mut challenge = Vec::new();
        encode_challenge(&mut challenge, 1, &identity("nobody", 1).challenge([1; 32]));
        if let Some(mut stream) = attacker(address) {
            push(&mut stream, &challenge);
            let _ = stream.read(&mut [0; 256]);
        }
        done.fetch_add(1, Ordering::Relaxed);
    };
    Target::start(&[]).unharmed_by("handshakes never ended", 2, begin);
}

#[test]
fn a_flood_of_bad_frames_is_not_noticed_by_others() {
    let mut noise = claims(200);
    for (place, byte) in noise.iter_mut().enumerate() {
        match place % 32 {
            2 => *byte = 255, // no such operation
            3 => *byte = 1,
            _ => {}
        }
    }
    let flood = |address, stop: &AtomicBool, done: &AtomicU64| {
        let mut stream = raw_of(address, "claimer");
        let mut replies = vec![0; noise.len() / 2];
        while !stop.load(Ordering::Relaxed) {
            // Reads what it is told, or it would be a slow reader.
            if !push(&mut stream, &noise) || stream.read_exact(&mut replies).is_err() {
                break;
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    Target::start(&[]).unharmed_by("bad frames of one who is known", 1, flood);
}

#[test]
fn a_flood_of_garbage_from_strangers_is_not_noticed_by_others() {
    let garbage = vec![0xa7; 64 << 10];
    let flood = |address, _: &AtomicBool, done: &AtomicU64| {
        if let Some(mut stream) = attacker(address) {
            push(&mut stream, &garbage);
        }
        done.fetch_add(1, Ordering::Relaxed);
    };
    let mut target = Target::start(&[]);
    target.unharmed_by("garbage of strangers", 2, flood);
    assert!(target.counted("broken_streams") > 0);
}

/// The bytes with which a client begins TLS.
fn greeting(tls: &Connector) -> Vec<u8> {
    let mut hello = Vec::new();
    tls.session(HOST).unwrap().encrypt(&[], &mut hello).unwrap();
    hello
}

#[test]
fn a_flood_of_tls_greetings_is_not_noticed_by_others() {
    let (mut target, door, tls) = Target::secured(&[]);
    let hello = greeting(&tls);
    let greet = |_, _: &AtomicBool, done: &AtomicU64| {
        if let Some(mut stream) = attacker(door) {
            push(&mut stream, &hello);
            let _ = stream.read(&mut [0; 4096]); // the dear part is done
        }
        done.fetch_add(1, Ordering::Relaxed);
    };
    target.unharmed_by("TLS greetings", 2, greet);
}

#[test]
fn a_flood_of_whole_tls_handshakes_is_not_noticed_by_others() {
    let (mut target, door, tls) = Target::secured(&[]);
    let shake = |_, _: &AtomicBool, done: &AtomicU64| {
        if let Some(stream) = attacker(door) {
            drop(tls.connect(HOST, stream)); // turned away, it may be
        }
        done.fetch_add(1, Ordering::Relaxed);
    };
    target.unharmed_by("whole TLS handshakes", 2, shake);
}

#[test]
fn a_flood_of_garbage_at_the_tls_port_is_not_noticed_by_others() {
    let garbage = vec![0xa7; 64 << 10];
    let (mut target, door, _) = Target::secured(&[]);
    let flood = |_, _: &AtomicBool, done: &AtomicU64| {
        if let Some(mut stream) = attacker(door) {
            push(&mut stream, &garbage);
        }
        done.fetch_add(1, Ordering::Relaxed);
    };
    target.unharmed_by("garbage at the TLS port", 2, flood);
    assert!(target.counted("refused_handshakes") > 0);
}

#[test]
fn slowloris_at_the_tls_port_is_ended_and_not_noticed_by_others() {
    let (mut target, door, tls) = Target::secured(&["--handshake-ms", "500"]);
    let hello = greeting(&tls);
    let drips = |_, stop: &AtomicBool, done: &AtomicU64| {
        let mut held: Vec<_> = (0..20).filter_map(|_| attacker(door)).collect();
        done.fetch_add(1, Ordering::Relaxed);
        for byte in &hello {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            held.retain_mut(|stream| push(stream, &[*byte]));
            std::thread::sleep(Duration::from_millis(5)); // slowness is the attack
        }
    };
    target.unharmed_by("TLS slowloris", 2, drips);
    drip(attacker(door).unwrap(), &hello);
    target.counts("late_handshakes", 1);
}

#[test]
fn half_a_tls_handshake_on_every_slot_is_bounded_in_number_and_memory() {
    let (mut target, door, tls) = Target::secured(&[]);
    let hello = greeting(&tls);
    let hold = |_, stop: &AtomicBool, done: &AtomicU64| {
        let mut held = Vec::new();
        while !stop.load(Ordering::Relaxed) && held.len() < 100 {
            let stream = attacker(door);
            held.extend(stream.map(|mut stream| push(&mut stream, &hello).then_some(stream)));
        }
        done.fetch_add(1, Ordering::Relaxed);
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1)); // holding is the attack
        }
    };
    target.unharmed_by("half TLS handshakes that are held", 2, hold);
    assert!(target.counted("turned_away") > 0);
}

#[test]
fn memory_is_bounded_whatever_is_begun_and_never_read() {
    // Every slot that there is: half a frame of 4096 bytes on each, behind
    // requests whose answers are not read.
    let claims = claims(3000);
    let mut begun = vec![0; 4095];
    begun[..2].copy_from_slice(&4096_u16.to_le_bytes());
    let exhaust = |address, stop: &AtomicBool, done: &AtomicU64| {
        let mut held: Vec<_> = (0..20).map(|_| raw_of(address, "claimer")).collect();
        for stream in &mut held {
            stream.set_nonblocking(true).unwrap();
            push(stream, &claims);
            push(stream, &begun);
        }
        done.fetch_add(1, Ordering::Relaxed);
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1)); // holding is the attack
        }
    };
    Target::start(&[]).unharmed_by("memory that is never given back", 2, exhaust);
}
