//! Tells systemd how the server is: `Type=notify` and `WatchdogSec=`.
//!
//! The protocol is a datagram of `KEY=value` lines to a unix socket. A thread
//! of its own sends it, so that it works without the admin port as well. The
//! environment is read by whoever starts this, and never changed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::liveness::check_now;
use super::progress::Progress;
use crate::shard::{Board, Phase};

/// How often the state is looked at, and the status line sent while it moves.
const TICK: Duration = Duration::from_millis(500);

/// How much longer the start may take each time the recovery has moved on. A
/// recovery that hangs is ended by systemd after this.
const EXTEND_BY: Duration = Duration::from_secs(300);

/// What systemd said in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Systemd {
    /// `NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    pub socket: OsString,
    /// `WATCHDOG_USEC`: how long systemd waits for a sign of life.
    pub watchdog: Option<Duration>,
}

/// The running notifications. Dropping them says that the server stops.
#[derive(Debug)]
pub struct Notifying {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Systemd {
    /// What the variables say; `None` where no systemd waits for us. `process`
    /// is our own id: a watchdog that was set for another process is not ours.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
        process: u32,
    ) -> Option<Self> {
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let socket = variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process));
        let watchdog = number("WATCHDOG_USEC").filter(|&us| ours && us > 0);
        Some(Self { socket, watchdog: watchdog.map(Duration::from_micros) })
    }

    /// Begins to tell how these shards are.
    pub fn start(&self, boards: Vec<Arc<Board>>) -> io::Result<Notifying> {
        let socket = connect(&self.socket).map_err(|error| {
            let named = self.socket.display();
            io::Error::new(error.kind(), format!("NOTIFY_SOCKET {named}: {error}"))
        })?;
        let (stop, stopped) = channel();
        let teller = Teller {
            socket,
            watchdog: self.watchdog.map(|within| within / 2),
            progress: Progress::of(boards.clone()),
            boards,
            said: Said::Starting,
            status: String::new(),
            fed_at: Instant::now(),
        };
        let thread = std::thread::Builder::new()
            .name("systemd".to_owned())
            .spawn(move || teller.run(&stopped))?;
        Ok(Notifying { stop: Some(stop), thread: Some(thread) })
    }
}

fn connect(socket: &OsStr) -> io::Result<UnixDatagram> {
    let ours = UnixDatagram::unbound()?;
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    ours.connect_addr(&address)?;
    // A supervisor that does not read must not hold us up.
    ours.set_nonblocking(true)?;
    Ok(ours)
}

impl Drop for Notifying {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What systemd knows of our life; it only goes forward.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Starting,
    Ready,
    Stopping,
}

struct Teller {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
    boards: Vec<Arc<Board>>,
    progress: Progress,
    said: Said,
    status: String,
    fed_at: Instant,
}

impl Teller {
    fn run(mut self, stopped: &Receiver<()>) {
        // Finer than the watchdog's half, so that a sign due just after a tick
        // does not wait for nearly another half.
        let tick = self.watchdog.map_or(TICK, |half| (half / 4).min(TICK));
        loop {
            self.tell(Instant::now());
            if stopped.recv_timeout(tick) == Err(RecvTimeoutError::Disconnected) {
                return self.stopping();
            }
        }
    }

    fn tell(&mut self, now: Instant) {
        let phases: Vec<_> = self.boards.iter().map(|board| board.phase()).collect();
        if phases.iter().any(|phase| matches!(phase, Phase::Draining | Phase::Ended)) {
            self.stopping();
        } else if phases.iter().all(|&phase| phase == Phase::Ready) {
            self.ready();
        } else {
            self.recovering(now);
        }
        self.feed(now);
    }

    fn recovering(&mut self, now: Instant) {
        let line = self.progress.line(now);
        if self.said == Said::Starting && line != self.status {
            let extend = EXTEND_BY.as_micros();
            self.send(&format!("STATUS={line}\nEXTEND_TIMEOUT_USEC={extend}"));
            self.status = line;
        }
    }

    fn ready(&mut self) {
        if self.said < Said::Ready {
            self.said = Said::Ready;
            self.send("READY=1\nSTATUS=ready");
            // The watchdog counts from here.
            self.fed_at = Instant::now();
        }
    }

    fn stopping(&mut self) {
        if self.said < Said::Stopping {
            self.said = Said::Stopping;
            self.send("STOPPING=1\nSTATUS=draining");
        }
    }

    /// A sign of life, but only if every shard turns: the process alone being
    /// there proves nothing.
    fn feed(&mut self, now: Instant) {
        let due = |half| self.said > Said::Starting && now.duration_since(self.fed_at) >= half;
        if self.watchdog.is_some_and(due) && check_now(&self.boards).is_alive() {
            self.fed_at = now;
            self.send("WATCHDOG=1");
        }
    }

    fn send(&self, lines: &str) {
        // Nobody to tell, or a full queue: the next line tries again, and a
        // server does not end because its supervisor is deaf.
        let _ = self.socket.send(lines.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], process: u32) -> Option<Systemd> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
        Systemd::from_variables(|name| find(name).map(|(_, value)| value.into()), process)
    }

    #[test]
    fn without_a_socket_nobody_waits_for_us() {
        assert_eq!(read(&[("WATCHDOG_USEC", "5000000")], 7), None);
        assert_eq!(read(&[("NOTIFY_SOCKET", "")], 7), None);
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let socket = ("NOTIFY_SOCKET", "/run/n");
        let watchdog = |rest: &[_]| read(&[&[socket], rest].concat(), 7).unwrap().watchdog;
        let usec = ("WATCHDOG_USEC", "5000000");
        assert_eq!(watchdog(&[]), None);
        assert_eq!(watchdog(&[usec]), Some(Duration::from_secs(5)));
        assert_eq!(watchdog(&[usec, ("WATCHDOG_PID", "7")]), Some(Duration::from_secs(5)));
        assert_eq!(watchdog(&[usec, ("WATCHDOG_PID", "8")]), None);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "often")]), None);
    }
}
