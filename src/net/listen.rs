//! Listening sockets: bound early, so that a port in use is known before
//! anything on disk is touched, and opened only when the state is recovered.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Access;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

const BACKLOG: i32 = 4096;

/// `sun_path` without its final zero.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// The kernel frees the listener of a killed `io_uring` process some
/// milliseconds after the process is gone; whoever restarts it at once meets
/// its own port in use.
const BIND_TRIES: u32 = 50;
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error(
        "{0} is in use by another process; stop it or choose another port (--listen, --tls-listen)"
    )]
    PortInUse(SocketAddr),
    /// The address cannot be bound for another reason.
    #[error("cannot listen on {0}: {1}; choose an address of this machine with --listen")]
    Tcp(SocketAddr, io::Error),
    /// A server answers on the unix socket.
    #[error("{0} is in use by another server; stop it or choose another path with --unix")]
    PathInUse(PathBuf),
    /// The path is not a socket that we may replace.
    #[error("cannot listen on {0}: {1}; choose a path in a writable directory with --unix")]
    Unix(PathBuf, io::Error),
}

/// What is spoken at a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Frames over TCP.
    Tcp,
    /// Frames over TLS over TCP.
    Tls,
    /// Frames over a unix socket.
    Unix,
}

/// A bound TCP socket that nobody can connect to yet.
#[derive(Debug)]
pub struct BoundListener {
    socket: OwnedFd,
    address: SocketAddr,
    door: Door,
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    door: Door,
    /// The file of a unix socket, removed when the listener goes.
    path: Option<PathBuf>,
}

impl BoundListener {
    /// Binds a TCP address; port 0 lets the kernel choose. A port in use is
    /// tried again for a moment.
    pub fn tcp(address: SocketAddr) -> Result<Self, ListenError> {
        for _ in 1..BIND_TRIES {
            match Self::bind(address, false) {
                Err(ListenError::PortInUse(_)) => std::thread::sleep(BIND_PAUSE),
                done => return done,
            }
        }
        Self::bind(address, false)
    }

    /// Binds one TCP address `count` times; the kernel spreads connections
    /// over those who listen. Another server that shares the port the same way
    /// would go unnoticed, so it is bound alone first.
    pub fn shared_tcp(address: SocketAddr, count: u16) -> Result<Vec<Self>, ListenError> {
        let alone = Self::tcp(address)?;
        if count <= 1 {
            return Ok(vec![alone]);
        }
        let address = alone.address;
        drop(alone);
        (0..count).map(|_| Self::bind(address, true)).collect()
    }

    fn bind(address: SocketAddr, shared: bool) -> Result<Self, ListenError> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let bind = || -> rustix::io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            if shared {
                sockopt::set_socket_reuseport(&socket, true)?;
            }
            rustix::net::bind(&socket, &address)?;
            Ok(socket)
        };
        let socket = bind().map_err(|error| match error {
            rustix::io::Errno::ADDRINUSE => ListenError::PortInUse(address),
            other => ListenError::Tcp(address, other.into()),
        })?;
        let bound = std::net::TcpListener::from(socket);
        let address = bound.local_addr().map_err(|error| ListenError::Tcp(address, error))?;
        Ok(Self { socket: bound.into(), address, door: Door::Tcp })
    }

    /// The same for connections over TLS.
    #[must_use]
    pub fn secured(self) -> Self {
        Self { door: Door::Tls, ..self }
    }

    /// The address, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the door.
    pub fn listen(self) -> Result<Listener, ListenError> {
        match rustix::net::listen(&self.socket, BACKLOG) {
            Ok(()) => Ok(Listener { socket: self.socket, door: self.door, path: None }),
            // Two sockets may be bound to one port; only one may listen.
            Err(rustix::io::Errno::ADDRINUSE) => Err(ListenError::PortInUse(self.address)),
            Err(error) => Err(ListenError::Tcp(self.address, error.into())),
        }
    }
}

impl Listener {
    /// Says why `unix` would fail, without changing anything.
    pub fn check_unix(path: &Path) -> Result<(), ListenError> {
        let fail =
            |text: &str| Err(ListenError::Unix(path.to_owned(), io::Error::other(text.to_owned())));
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        if !parent.is_dir() {
            return fail("its directory does not exist");
        }
        if path.as_os_str().len() > UNIX_PATH_BYTES_MAX {
            return fail("the path is longer than the 107 bytes of a unix socket address");
        }
        if rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            return fail("its directory is not writable");
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
                fail("a file that is no socket is in the way")
            }
            // Nothing is there.
            Err(_) => Ok(()),
            // A socket: stale only if the kernel says that nobody listens.
            Ok(_) => match UnixStream::connect(path).map_err(|error| error.kind()) {
                Err(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
                _ => Err(ListenError::PathInUse(path.to_owned())),
            },
        }
    }

    /// Listens on a unix socket, replacing one that nobody answers on.
    pub fn unix(path: &Path) -> Result<Self, ListenError> {
        Self::check_unix(path)?;
        if path.exists() {
            std::fs::remove_file(path).map_err(|e| ListenError::Unix(path.to_owned(), e))?;
        }
        let socket = UnixListener::bind(path).map_err(|e| ListenError::Unix(path.to_owned(), e))?;
        Ok(Self { socket: socket.into(), door: Door::Unix, path: Some(path.to_owned()) })
    }

    pub(super) fn door(&self) -> Door {
        self.door
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
