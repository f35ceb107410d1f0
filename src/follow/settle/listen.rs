//! The settlement port: who connects gets a thread; what was acknowledged is
//! written down now and then.
//!
//! Where the server has keys, only a settler is let in; without, it belongs on
//! loopback.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use super::ending::Ending;
use super::frames::{Frame, encode};
use super::session::Session;
use super::subscribers::Subscribers;
use crate::access::Keyring;

/// Connections at most: 16 subscribers of 16 shards, or one of all 256.
const CONNECTIONS_MAX: usize = 256;

/// How often acknowledged cursors are made durable: one sync of a small file for
/// each subscriber that has moved.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// A connection that is silent so long is asked whether its other end is there,
/// so that the name of a receiver whose machine has died becomes free.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_TRIES: u32 = 4;

/// The port, bound and not served yet.
#[derive(Debug)]
pub struct BoundSettlement {
    listener: TcpListener,
    address: SocketAddr,
    keyring: Option<Arc<Keyring>>,
}

/// The settlement port. Dropped, it ends, and its connections hear why.
#[derive(Debug)]
pub struct Settlement {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl BoundSettlement {
    /// Binds the port; 0 lets the kernel choose.
    pub fn bind(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, keyring: None })
    }

    /// Whom to let in; none asks nobody.
    #[must_use]
    pub fn with_keys(self, keyring: Option<Arc<Keyring>>) -> Self {
        Self { keyring, ..self }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What an operator should know, if it is not on loopback.
    pub fn warning(&self) -> Option<String> {
        (self.keyring.is_none() && !self.address.ip().is_loopback()).then(|| {
            format!(
                "warning     the settlement port {} is not on loopback and asks nobody who they \
                 are: whoever reaches it can read every movement of money, and acknowledge them",
                self.address
            )
        })
    }

    /// Begins to serve, on threads of its own; `held` lives as long as they do.
    pub fn start<T: Send + 'static>(
        self,
        subscribers: Arc<Subscribers>,
        held: T,
    ) -> io::Result<Settlement> {
        let address = self.address;
        let stop = Arc::<AtomicBool>::default();
        let stopping = Arc::clone(&stop);
        let named = std::thread::Builder::new().name("settlement".to_owned());
        let thread = named.spawn(move || {
            let served = Served { keyring: self.keyring, subscribers, stop: stopping };
            listen(&self.listener, &served);
            drop(held);
        })?;
        Ok(Settlement { address, stop, thread: Some(thread) })
    }
}

impl Settlement {
    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What all connections share.
struct Served {
    keyring: Option<Arc<Keyring>>,
    subscribers: Arc<Subscribers>,
    stop: Arc<AtomicBool>,
}

fn listen(listener: &TcpListener, served: &Served) {
    let Served { subscribers, stop, .. } = served;
    let mut sessions: Vec<JoinHandle<()>> = Vec::new();
    let mut was_written = true;
    while !stop.load(Ordering::Acquire) {
        let until = Instant::now() + FLUSH_EVERY;
        while Instant::now() < until && !stop.load(Ordering::Acquire) {
            wait(listener, until.saturating_duration_since(Instant::now()));
            sessions.retain(|session| !session.is_finished());
            if let Ok((socket, _)) = listener.accept() {
                sessions.extend(admit(socket, sessions.len(), served));
            }
        }
        let written = subscribers.flush();
        if let (Err(error), true) = (&written, was_written) {
            eprintln!("hongbao: {error}; it is tried again, the journal is held until it works");
        }
        was_written = written.is_ok();
    }
    for session in sessions {
        let _ = session.join(); // it panics only on a broken invariant
    }
    if let Err(error) = subscribers.flush() {
        eprintln!("hongbao: {error}; what was acknowledged last is sent again after the start");
    }
}

fn wait(listener: &TcpListener, at_most: Duration) {
    let timeout = Timespec::try_from(at_most).ok();
    let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], timeout.as_ref());
}

/// A thread for the connection, if there may be another.
fn admit(socket: TcpStream, connections: usize, served: &Served) -> Option<JoinHandle<()>> {
    if connections >= CONNECTIONS_MAX {
        refuse(&socket, Ending::Full(u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX)));
        return None;
    }
    keep_alive(&socket).ok()?;
    let Served { keyring, subscribers, stop } = served;
    let (keyring, subscribers) = (keyring.clone(), subscribers.clone());
    let session = Session { socket, keyring, subscribers, stop: stop.clone() };
    let named = std::thread::Builder::new().name("settling".to_owned());
    named.spawn(move || session.run()).ok()
}

fn refuse(mut socket: &TcpStream, ending: Ending) {
    let mut frame = Vec::new();
    encode(&Frame::End(ending), &mut frame);
    let _ = io::Write::write(&mut socket, &frame); // nothing else was written, so it fits
}

fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_TRIES)?;
    Ok(())
}

impl Drop for Settlement {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
