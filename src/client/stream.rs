//! One socket of either kind, with timeouts.
//!
//! This room never knows what the bytes mean.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::address::Address;
use crate::tls::{Connector, TlsStream};

/// A connected socket.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    Unix(UnixStream),
}

impl Stream {
    /// Connects, a TCP connection over TLS if there is a `tls`; `reply_timeout`
    /// bounds every later read and write.
    pub(super) fn connect(
        address: &Address,
        tls: Option<&Connector>,
        connect_timeout: Duration,
        reply_timeout: Duration,
    ) -> io::Result<Self> {
        match address {
            Address::Tcp(name) => {
                let socket = connect_tcp(name, connect_timeout)?;
                socket.set_nodelay(true)?; // flush says when to send; the kernel need not guess
                socket.set_read_timeout(Some(reply_timeout))?;
                socket.set_write_timeout(Some(reply_timeout))?;
                let Some(tls) = tls else { return Ok(Self::Tcp(socket)) };
                let host = name.rsplit_once(':').map_or(name.as_str(), |(host, _)| host);
                Ok(Self::Tls(Box::new(tls.connect(host, socket)?)))
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
            Self::Tls(stream) => stream.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.flush(),
            Self::Tcp(_) | Self::Unix(_) => Ok(()), // sockets hold nothing back
        }
    }
}
