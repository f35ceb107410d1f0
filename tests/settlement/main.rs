//! The settlement stream: every movement once and in order, wherever it is taken
//! up again; never more on the way than its window; and a reason for every end.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use hongbao::follow::ledger::Cursor;
use hongbao::follow::settle::{
    Ending, Frame, Push, SettleError, Start, Subscribers, Subscription, WINDOW_BYTES_MIN, decode,
    encode, forget, forget_offline,
};
use hongbao::journal::inspect;
use rig::{Choice, Writer, ask, last_frame, send, some_record, take_until};

const WINDOW: u32 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_stream_is_what_a_naive_read_finds() {
    println!("seeds 0..6");
    for seed in 0..6 {
        let mut choice = Choice(seed);
        let mut writer = Writer::new(2);
        writer.commit_some(&mut choice, 60);
        let port = writer.serve();
        let window = WINDOW_BYTES_MIN + u32::try_from(choice.below(20_000)).unwrap();
        for shard in 0..2 {
            let mut stream = port.subscribe(&ask("bank", shard, Start::LeftOff, window)).unwrap();
            assert_eq!((stream.accepted().shards, stream.accepted().cell), (2, 1));
            let (mut taken, _) = take_until(&mut stream, writer.committed(shard));
            // What is committed while somebody listens comes too.
            writer.commit_some(&mut choice, 20);
            let more = [some_record(&mut choice), some_record(&mut choice)];
            writer.commit(shard.into(), more);
            taken.extend(take_until(&mut stream, writer.committed(shard)).0);
            assert!(taken == writer.naive(shard), "seed {seed}, shard {shard}");
        }
    }
}

#[test]
fn after_every_border_comes_exactly_the_rest() {
    let mut choice = Choice(7);
    let mut writer = Writer::new(1);
    for _ in 0..30 {
        writer.commit(0, (0..700).map(|_| some_record(&mut choice)));
    }
    let port = writer.serve();
    let (whole, borders) = take_until(
        &mut port.subscribe(&ask("bank", 0, Start::Beginning, WINDOW)).unwrap(),
        writer.committed(0),
    );
    assert!(whole == writer.naive(0));
    assert!(borders.len() >= 10, "{} borders", borders.len());
    for (n, (before, cursor)) in borders.iter().rev().skip(1).enumerate() {
        let asked = ask(&format!("again-{n}"), 0, Start::After(*cursor), WINDOW);
        let mut stream = port.subscribe(&asked).unwrap();
        assert_eq!(stream.accepted().start, *cursor);
        let (rest, _) = take_until(&mut stream, writer.committed(0));
        assert!(rest == whole[*before..], "after {before}");
    }
}

#[test]
fn a_new_start_goes_on_where_the_subscriber_left_off() {
    let mut choice = Choice(8);
    let mut writer = Writer::new(2);
    writer.commit_some(&mut choice, 50);
    let asked = ask("bank", 1, Start::LeftOff, WINDOW);
    let port = writer.serve();
    let end = writer.committed(1);
    let mut stream = port.subscribe(&asked).unwrap();
    let (taken, borders) = take_until(&mut stream, end);
    drop(stream);
    drop(port); // flushes what was acknowledged
    let report = &inspect::stat(&writer.data()).unwrap()[1];
    let told: Vec<_> = report.followers.iter().map(|f| (f.name.as_str(), f.cursor.0)).collect();
    assert_eq!(told, [("settle-bank", end)], "operators see it");
    writer.commit(1, (0..200).map(|_| some_record(&mut choice)));
    let port = writer.serve();
    let mut stream = port.subscribe(&asked).unwrap();
    assert_eq!(stream.accepted().start, borders.last().unwrap().1);
    let (rest, _) = take_until(&mut stream, writer.committed(1));
    assert!([taken, rest].concat() == writer.naive(1));
}

/// Reads whole frames with little patience: what was read until nothing came.
fn read_until_silent(socket: &mut std::net::TcpStream) -> usize {
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
    while let Ok(more) = socket.read(&mut buffer) {
        assert!(more > 0, "the stream ended");
        bytes += more;
    }
    bytes
}

#[test]
fn no_more_than_the_window_is_on_the_way() {
    let mut choice = Choice(9);
    let mut writer = Writer::new(1);
    // One batch alone is larger than the window.
    writer.commit(0, (0..1500).map(|_| some_record(&mut choice)));
    writer.commit_some(&mut choice, 20);
    let port = writer.serve();
    let mut socket = port.raw();
    let window = 10_000;
    send(&mut socket, &Frame::Subscribe(ask("slow", 0, Start::LeftOff, window)));
    let mut accepted = [0; 72];
    socket.read_exact(&mut accepted).unwrap();
    let Some((Frame::Accepted(accepted), 72)) = decode(&accepted, 72).unwrap() else { panic!() };
    let first = read_until_silent(&mut socket);
    let window = usize::try_from(window).unwrap();
    assert!((window - 80..=window).contains(&first), "{first} bytes");
    // What is taken and not booked opens the window by as much.
    let taken = 5000;
    send(&mut socket, &Frame::Acknowledge { border: accepted.start, taken });
    let second = read_until_silent(&mut socket);
    assert!((5000 - 160..=5080).contains(&second), "{second} bytes");
    assert_eq!(port.subscribers.behind()[0].1, writer.committed(0), "nothing is booked");
}

#[test]
fn what_makes_no_sense_ends_the_stream_with_a_reason() {
    let writer = Writer::new(1);
    let port = writer.serve();
    let mut sound = Vec::new();
    encode(&Frame::Subscribe(ask("bank", 0, Start::LeftOff, WINDOW)), &mut sound);
    let changed = |at: usize, byte: u8| {
        let mut bytes = sound.clone();
        bytes[at] = byte;
        bytes
    };
    let cases = [
        (changed(0, 97), Ending::Malformed),  // longer than any request
        (changed(0, 15), Ending::Malformed),  // shorter than a header
        (changed(0, 80), Ending::Malformed),  // not this operation's
        (changed(2, 99), Ending::Malformed),  // no operation
        (changed(3, 1), Ending::Malformed),   // a code in a request
        (changed(4, 1), Ending::Malformed),   // a detail in a request
        (changed(8, 1), Ending::Malformed),   // reserved
        (changed(16, b'B'), Ending::Name),    // a capital letter
        (changed(16, 0), Ending::Name),       // letters after the end
        (changed(48, 1), Ending::Malformed),  // a cursor that is not asked for
        (changed(94, 3), Ending::Malformed),  // no such start
        (changed(95, 2), Ending::Version(1)), // another version
        (changed(92, 1), Ending::UnknownShard(1)), // no such shard
        (changed(90, 0), Ending::Window(WINDOW_BYTES_MIN)), // no window
    ];
    for (bytes, ending) in cases {
        let mut socket = port.raw();
        socket.write_all(&bytes).unwrap();
        assert_eq!(last_frame(&mut socket), Some(Frame::End(ending)));
    }
    assert!(port.subscribers.behind().is_empty(), "nobody was let in");
}

#[test]
fn bytes_at_random_end_it_too() {
    println!("seed 11");
    let mut choice = Choice(11);
    let writer = Writer::new(1);
    let port = writer.serve();
    for _ in 0..200 {
        let length = 16 + choice.below(200);
        let mut bytes: Vec<_> =
            (0..length).map(|_| u8::try_from(choice.below(256)).unwrap()).collect();
        (bytes[0], bytes[1]) = (16 + u8::try_from(choice.below(100)).unwrap(), 0);
        let mut socket = port.raw();
        socket.write_all(&bytes).unwrap();
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let last = last_frame(&mut socket);
        assert!(matches!(last, None | Some(Frame::End(_))), "{bytes:?}: {last:?}");
    }
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_ends_the_stream() {
    let mut choice = Choice(12);
    let mut writer = Writer::new(1);
    writer.commit(0, (0..10).map(|_| some_record(&mut choice)));
    let port = writer.serve();
    let start = Cursor { arrangement: 1, ..Cursor::default() };
    let never = Cursor { position: 8192, ..start };
    for (border, taken) in [(start, u64::MAX), (never, 0)] {
        let mut socket = port.raw();
        until("the name is free", || {
            socket = port.raw();
            send(&mut socket, &Frame::Subscribe(ask("bank", 0, Start::Beginning, WINDOW)));
            let mut length = [0; 2];
            socket.read_exact(&mut length).unwrap();
            socket.read_exact(&mut vec![0; usize::from(u16::from_le_bytes(length)) - 2]).unwrap();
            length == [72, 0]
        });
        send(&mut socket, &Frame::Acknowledge { border, taken });
        assert_eq!(last_frame(&mut socket), Some(Frame::End(Ending::NotSent)));
    }
}

#[test]
fn every_start_that_cannot_be_is_refused_with_its_reason() {
    let mut choice = Choice(13);
    let mut writer = Writer::new(2);
    writer.commit_some(&mut choice, 20);
    let port = writer.serve();
    let end = writer.committed(0);
    let mut first = port.subscribe(&ask("bank", 0, Start::LeftOff, WINDOW)).unwrap();
    let (_, borders) = take_until(&mut first, end);
    let sound = borders[0].1;
    let other = |start| port.ending(&ask("other", 0, Start::After(start), WINDOW));
    assert_eq!(port.ending(&ask("bank", 0, Start::LeftOff, WINDOW)), Ending::InUse);
    assert_eq!(port.ending(&ask("bank", 2, Start::LeftOff, WINDOW)), Ending::UnknownShard(2));
    assert_eq!(other(Cursor { arrangement: 2, ..sound }), Ending::OtherArrangement(1));
    assert_eq!(other(Cursor { position: end + 4096, ..sound }), Ending::Ahead(end));
    let inside = Cursor { position: 4096 + 64, ..sound };
    assert_eq!(other(inside), Ending::NotABorder(4096 + 64));
    writer.commit(0, [some_record(&mut choice)]); // so that something comes after
    let foreign = Cursor { checksum: sound.checksum ^ 1, ..sound };
    assert_eq!(other(foreign), Ending::NotABorder(sound.position));
    assert_eq!(other(Cursor { shard: 1, ..sound }), Ending::NotABorder(sound.position));
    assert!(port.subscribe(&ask("bank", 1, Start::LeftOff, WINDOW)).is_ok(), "another shard");
}

#[test]
fn who_is_forgotten_holds_nothing_and_begins_anew() {
    let mut writer = Writer::new(1);
    writer.commit(0, [some_record(&mut Choice(14))]);
    let port = writer.serve();
    let bank = "bank".parse().unwrap();
    let forgotten = || forget(port.address, &bank).map_err(|error| error.to_string());
    assert_eq!(forgotten(), Err(Ending::Unknown.to_string()));
    let stream = port.subscribe(&ask("bank", 0, Start::LeftOff, WINDOW)).unwrap();
    assert_eq!(forgotten(), Err(Ending::InUse.to_string()));
    drop(stream);
    until("it is forgotten", || forgotten().is_ok());
    assert!(port.subscribers.behind().is_empty());
    assert!(inspect::stat(&writer.data()).unwrap()[0].followers.is_empty());
    drop(port.subscribe(&ask("bank", 0, Start::LeftOff, WINDOW)).unwrap());
    let refused = forget_offline(&writer.data(), &bank).unwrap_err();
    assert!(refused.to_string().contains("pid"), "a directory in use: {refused}");
}

#[test]
fn an_arrangement_is_given_up_only_when_its_movements_are_booked() {
    let mut writer = Writer::new(2);
    for shard in 0..2 {
        writer.commit(shard, (0..50).map(|_| some_record(&mut Choice(15))));
    }
    let (data, old) = (writer.data(), writer.followees());
    Subscribers::check_consumed(&data, &old).unwrap(); // nobody subscribes
    let port = writer.serve();
    let take = |shard| {
        let mut stream = port.subscribe(&ask("bank", shard, Start::LeftOff, WINDOW)).unwrap();
        take_until(&mut stream, writer.committed(shard));
    };
    take(0);
    until("the cursor is kept", || {
        let behind = Subscribers::check_consumed(&data, &old);
        let Err(SettleError::Behind { shard, shards: 2, .. }) = behind else { panic!() };
        shard == 1
    });
    take(1);
    until("both are kept", || Subscribers::check_consumed(&data, &old).is_ok());
}

#[test]
fn a_file_that_is_none_refuses_the_start_and_says_which() {
    let mut writer = Writer::new(1);
    writer.commit(0, [some_record(&mut Choice(16))]);
    let directory = writer.data().join("followers");
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("settle-bank.cursor");
    let line = |arrangement: u32, position: u64| {
        format!(
            "arrangement {arrangement} shard 0 position {position} batch 9 checksum 1 epoch 1 time_ms 1\n"
        )
    };
    for (text, words) in [
        ("nonsense\n".to_owned(), "`nonsense` is no cursor"),
        (line(7, 4096), "arrangement 7"),
        (line(1, 1 << 40), "hb settle forget bank"),
    ] {
        std::fs::write(&file, text).unwrap();
        let refused = Subscribers::load(&writer.data(), writer.followees()).unwrap_err();
        assert!(refused.to_string().contains(words), "{refused}");
    }
}

#[test]
fn a_stream_without_news_says_so_every_second() {
    let writer = Writer::new(1);
    let port = writer.serve();
    let mut stream: Subscription = port.subscribe(&ask("bank", 0, Start::LeftOff, WINDOW)).unwrap();
    for _ in 0..2 {
        let Push::Border { cursor, committed } = stream.wait().unwrap() else { panic!() };
        assert_eq!((cursor.position, committed), (writer.committed(0), writer.committed(0)));
        stream.acknowledge(cursor).unwrap();
    }
}
