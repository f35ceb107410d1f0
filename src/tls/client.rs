//! The client's end, on a socket of its own: whom it believes, and what it
//! shows of itself.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use webpki::KeyUsage;

use super::files::{Own, TlsError, provider, roots};
use super::session::{Session, TlsBroken};

/// How much one read asks the kernel for.
const READ_BYTES: usize = 64 * 1024;

/// Begins sessions at the client's end.
#[derive(Clone)]
pub struct Connector(Arc<ClientConfig>);

impl Connector {
    /// A client that believes servers whose certificate an issuer in `ca` has
    /// signed, and shows a certificate of its own, if it has one with its key.
    pub fn read(ca: &Path, own: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots("--tls-ca", ca)?);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let usage = KeyUsage::client_auth();
                let own = Own::read(("--tls-cert", certificate), ("--tls-key", key), usage)?;
                builder.with_client_auth_cert(own.chain, own.key).map_err(|cause| {
                    TlsError::Pair { certificate: certificate.into(), key: key.into(), cause }
                })?
            }
        };
        config.resumption = Resumption::disabled(); // the server keeps no sessions
        Ok(Self(Arc::new(config)))
    }

    /// The client's end of a connection to `host`, which the server's
    /// certificate must name.
    pub fn session(&self, host: &str) -> io::Result<Session> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(&self.0), name).map_err(failed)?;
        Ok(Session::new(connection.into()))
    }

    /// Shakes hands on a socket that has just connected to `host`. Whether the
    /// server takes our certificate is known only when it answers something.
    pub fn connect(&self, host: &str, socket: TcpStream) -> io::Result<TlsStream> {
        let mut stream = TlsStream {
            socket,
            session: self.session(host)?,
            plain: Vec::new(),
            read: 0,
            out: Vec::new(),
            sent: 0,
            heard: vec![0; READ_BYTES].into_boxed_slice(),
        };
        stream.speak(&[])?;
        while !stream.session.is_shaken() {
            if stream.hear()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(stream)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector") // it may hold a key
    }
}

fn failed(error: impl Into<TlsBroken>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error.into())
}

/// A socket behind TLS. It may block or not; where it does not, what a write
/// has taken and the socket has not leaves with the next write or flush.
pub struct TlsStream {
    socket: TcpStream,
    session: Session,
    /// Decrypted bytes, of which the first `read` were read.
    plain: Vec<u8>,
    read: usize,
    /// Encrypted bytes, of which the first `sent` have left.
    out: Vec<u8>,
    sent: usize,
    heard: Box<[u8]>,
}

impl TlsStream {
    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether encrypted bytes wait for the socket to take them.
    pub fn has_unsent(&self) -> bool {
        self.sent < self.out.len()
    }

    fn send(&mut self) -> io::Result<()> {
        while self.has_unsent() {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Encrypts, and sends as much as the socket takes.
    fn speak(&mut self, plain: &[u8]) -> io::Result<()> {
        self.session.encrypt(plain, &mut self.out).map_err(failed)?;
        match self.send() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            done => done,
        }
    }

    /// One read, decrypted; the number of bytes that came.
    fn hear(&mut self) -> io::Result<usize> {
        let count = loop {
            match self.socket.read(&mut self.heard) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        let mut taken = 0;
        while taken < count {
            match self.session.decrypt(&self.heard[taken..count], &mut self.plain) {
                Ok(more) => taken += more,
                Err(broken) => {
                    let _ = self.speak(&[]); // tells the server why, if it listens
                    return Err(failed(broken));
                }
            }
        }
        if self.session.has_words() {
            self.speak(&[])?;
        }
        Ok(count)
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.plain.len() {
            self.plain.clear();
            self.read = 0;
            if self.session.is_closed() || self.hear()? == 0 {
                return Ok(0);
            }
        }
        let count = (self.plain.len() - self.read).min(buffer.len());
        buffer[..count].copy_from_slice(&self.plain[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send()?;
        self.speak(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        if !self.has_unsent() && self.session.say_farewell() {
            let _ = self.speak(&[]); // the server will see the end anyway
        }
    }
}
