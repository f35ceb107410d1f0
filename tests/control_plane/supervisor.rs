//! What a supervisor hears on its notify socket.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hongbao::admin::{Notifying, Systemd};
use hongbao::shard::{Board, Phase};

use crate::board;
use crate::living::Living;

struct Supervisor {
    socket: UnixDatagram,
    _place: tempfile::TempDir,
    notifying: Option<Notifying>,
}

impl Supervisor {
    fn of(boards: &[Arc<Board>], watchdog: Option<Duration>) -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let systemd = Systemd { socket: path.into(), watchdog };
        let notifying = Some(systemd.start(boards.to_vec()).unwrap());
        Self { socket, _place: place, notifying }
    }

    /// The next datagram, if one comes within the time.
    fn hears(&self, within: Duration) -> Option<String> {
        let until = Instant::now() + within;
        let mut bytes = [0; 4096];
        while Instant::now() < until {
            if let Ok(count) = self.socket.recv(&mut bytes) {
                return Some(String::from_utf8(bytes[..count].to_vec()).unwrap());
            }
        }
        None
    }

    fn next(&self) -> String {
        self.hears(Duration::from_secs(10)).expect("a datagram")
    }
}

#[test]
fn ready_is_said_once_after_all_shards_and_stopping_after_it() {
    let boards = [board(Phase::Starting), board(Phase::Ready)];
    let supervisor = Supervisor::of(&boards, None);
    let told = supervisor.next();
    assert!(told.starts_with("STATUS=1 of 2 shards recovering"), "{told}");
    assert!(told.contains("\nEXTEND_TIMEOUT_USEC=300000000"), "{told}");
    boards[0].enter(Phase::Recovering);
    boards[0].recovery_bytes.store(1000, Ordering::Relaxed);
    boards[0].recovered_bytes.store(500, Ordering::Relaxed);
    let told = supervisor.next();
    assert!(told.contains("50 %") && told.contains("EXTEND_TIMEOUT_USEC"), "{told}");
    // The rate of the window may still change the line; then nothing moves any
    // more, and no more time is asked for.
    while let Some(told) = supervisor.hears(Duration::from_millis(1200)) {
        assert!(told.starts_with("STATUS=1 of 2") && !told.contains("READY"), "{told}");
    }
    boards[0].enter(Phase::Ready);
    assert_eq!(supervisor.next(), "READY=1\nSTATUS=ready");
    boards[1].enter(Phase::Draining);
    assert_eq!(supervisor.next(), "STOPPING=1\nSTATUS=draining");
    boards[1].enter(Phase::Ended);
    drop(supervisor.notifying);
    let mut rest = [0; 100];
    assert!(supervisor.socket.recv(&mut rest).is_err(), "nothing is said twice");
}

#[test]
fn the_watchdog_is_fed_as_long_as_every_shard_turns() {
    let living = Living::start();
    let still = board(Phase::Ended);
    let boards = [Arc::clone(&living.board)];
    let supervisor = Supervisor::of(&boards, Some(Duration::from_millis(200)));
    assert_eq!(supervisor.next(), "READY=1\nSTATUS=ready");
    for _ in 0..3 {
        assert_eq!(supervisor.next(), "WATCHDOG=1");
    }
    drop(supervisor);
    // The same with a shard that stands still: ready, and then no sign of life.
    still.enter(Phase::Ready);
    let boards = [Arc::clone(&living.board), still];
    let supervisor = Supervisor::of(&boards, Some(Duration::from_millis(200)));
    assert_eq!(supervisor.next(), "READY=1\nSTATUS=ready");
    assert_eq!(supervisor.hears(Duration::from_millis(1500)), None);
}

#[test]
fn the_end_is_said_even_by_a_start_that_was_given_up() {
    let mut supervisor = Supervisor::of(&[board(Phase::Starting)], None);
    assert!(supervisor.next().starts_with("STATUS="));
    drop(supervisor.notifying.take());
    assert_eq!(supervisor.next(), "STOPPING=1\nSTATUS=draining");
}

#[test]
fn a_socket_that_is_not_there_is_named() {
    let systemd = Systemd { socket: "/nowhere/notify".into(), watchdog: None };
    let told = systemd.start(Vec::new()).unwrap_err().to_string();
    assert!(told.starts_with("NOTIFY_SOCKET /nowhere/notify: "), "{told}");
}
