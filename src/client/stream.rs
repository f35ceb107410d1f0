//! One socket of either kind, with timeouts.
//!
//! This room never knows what the bytes mean.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::address::Address;

/// A connected socket.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects; `reply_timeout` bounds every later read and write.
    pub(super) fn connect(
        address: &Address,
        connect_timeout: Duration,
        reply_timeout: Duration,
    ) -> io::Result<Self> {
        match address {
            Address::Tcp(name) => {
                let socket = connect_tcp(name, connect_timeout)?;
                socket.set_nodelay(true)?; // flush says when to send; the kernel need not guess
                socket.set_read_timeout(Some(reply_timeout))?;
                socket.set_write_timeout(Some(reply_timeout))?;
                Ok(Self::Tcp(socket))
            }
            Address::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(reply_timeout))?;
                socket.set_write_timeout(Some(reply_timeout))?;
                Ok(Self::Unix(socket))
            }
        }
    }
}

fn connect_tcp(name: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in name.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // sockets hold nothing back
    }
}
