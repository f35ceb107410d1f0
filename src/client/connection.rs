//! One connection to a server: requests out, replies in.

use std::cmp::Ordering;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};

use super::address::Address;
use super::error::{ClientError, Refusal};
use super::stream::Stream;
use crate::access::{Identity, shake_hands};
use crate::limits::PROTOCOL_VERSION;
use crate::tls::Connector;
use crate::wire::{Hello, Reply, ReplyBody, Request, Status, decode_reply, encode_with};

/// How many bytes one read asks the kernel for.
const READ_BYTES: usize = 16 * 1024;

/// Who a client is, and how patient.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for each reply.
    pub reply_timeout: Duration,
    /// How often [`Client::call`](super::Client::call) tries before it gives up; at least once.
    pub tries: u32,
    /// The pause before the second try; each later one is twice as long.
    pub first_pause: Duration,
    /// How long the server may let a request wait, in microseconds; 0 is no
    /// limit. A request that waited longer is refused unexecuted.
    pub budget_us: u32,
    /// Who we are to a server that asks, on a TCP connection; on a unix socket
    /// the kernel says so.
    pub identity: Option<Arc<Identity>>,
    /// TLS on TCP connections, with whom we believe and the certificate we
    /// show; where that names a principal, `identity` is not needed.
    pub tls: Option<Connector>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            reply_timeout: Duration::from_secs(10),
            tries: 4,
            first_pause: Duration::from_millis(100),
            budget_us: 0,
            identity: None,
            tls: None,
        }
    }
}

/// One connection, pipelined: many requests may wait for their replies.
pub struct Connection {
    address: Address,
    settings: Settings,
    stream: Stream,
    hello: Hello,
    incoming: BytesMut,
    outgoing: BytesMut,
    next_tag: u64,
    waiting: usize,
}

impl Connection {
    /// Connects and says hello.
    pub(super) fn connect(address: &Address, settings: Settings) -> Result<Self, ClientError> {
        let stream = open(address, &settings)?;
        let hello = Hello { version: 0, frame_bytes_max: 0, cell: 0, durability: 0, ports: vec![] };
        let mut connection = Self {
            address: address.clone(),
            settings,
            stream,
            hello,
            incoming: BytesMut::with_capacity(READ_BYTES),
            outgoing: BytesMut::with_capacity(READ_BYTES),
            next_tag: 0,
            waiting: 0,
        };
        connection.say_hello()?;
        Ok(connection)
    }

    /// Leaves the connection and makes a new one; what was submitted and not
    /// received is forgotten.
    pub(super) fn reconnect(&mut self) -> Result<(), ClientError> {
        self.stream = open(&self.address, &self.settings)?;
        self.incoming.clear();
        self.outgoing.clear();
        self.waiting = 0;
        self.say_hello()
    }

    /// The facts of the connected server.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Where its other end is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How many submitted requests wait for their reply.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Puts a request in the out buffer and returns its tag; [`Self::flush`]
    /// sends it. Replies may come in another order than requests.
    ///
    /// Receive before some tens of kilobytes of replies are under way: a
    /// server stops reading from a client that does not.
    pub fn submit(&mut self, request: &Request) -> u64 {
        self.submit_with(request, &[])
    }

    /// [`Self::submit`] of a request with the bytes of terms or evidence.
    pub fn submit_with(&mut self, request: &Request, beside: &[u8]) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        encode_with(&mut self.outgoing, tag, self.settings.budget_us, request, beside);
        self.waiting += 1;
        tag
    }

    /// Sends what was submitted.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        let sent = self.stream.write_all(&self.outgoing).and_then(|()| self.stream.flush());
        self.outgoing.clear();
        sent.map_err(|cause| self.lost(cause))
    }

    /// The next reply, whichever request it belongs to.
    pub fn receive(&mut self) -> Result<Reply, ClientError> {
        loop {
            if let Some((bytes, reply)) = decode_reply(&self.incoming)? {
                self.incoming.advance(bytes);
                self.waiting = self.waiting.saturating_sub(1);
                return Ok(reply);
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> Result<(), ClientError> {
        let filled = self.incoming.len();
        self.incoming.resize(filled + READ_BYTES, 0);
        let read = self.stream.read(&mut self.incoming[filled..]);
        self.incoming.truncate(filled + read.as_ref().map_or(0, |count| *count));
        match read {
            Ok(0) => Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(cause) => Err(self.lost(cause)),
        }
    }

    fn lost(&self, cause: io::Error) -> ClientError {
        let address = self.address.clone();
        match cause.kind() {
            io::ErrorKind::InvalidData => ClientError::of_tls(&address, cause),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Silent { address, waited: self.settings.reply_timeout }
            }
            _ => ClientError::Broken { address, cause },
        }
    }

    /// One request, one answer, one try; nothing else may be in flight.
    pub(super) fn call_once(
        &mut self,
        request: &Request,
        beside: &[u8],
    ) -> Result<Reply, ClientError> {
        let tag = self.submit_with(request, beside);
        let reply = self.flush().and_then(|()| self.receive_for(tag));
        // The request is this call's own; no one else will ask for its reply.
        self.waiting = 0;
        reply
    }

    /// The reply to `tag`. Before it may come one to a call that had given up
    /// waiting.
    fn receive_for(&mut self, tag: u64) -> Result<Reply, ClientError> {
        loop {
            let reply = self.receive()?;
            match reply.tag.cmp(&tag) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(reply),
                Ordering::Greater => return Err(ClientError::Unexpected),
            }
        }
    }

    fn say_hello(&mut self) -> Result<(), ClientError> {
        let reply = self.call_once(&Request::Hello { version: PROTOCOL_VERSION }, &[])?;
        match (reply.status, reply.body) {
            (Status::Ok, ReplyBody::Hello(hello)) if hello.version == PROTOCOL_VERSION => {
                self.hello = hello;
                Ok(())
            }
            (_, ReplyBody::Hello(hello)) => Err(ClientError::Version { server: hello.version }),
            (Status::BadRequest, _) => Err(ClientError::Version { server: 0 }),
            (Status::Ok | Status::AlreadyClaimed, _) => Err(ClientError::Unexpected),
            (status, _) => Err(ClientError::Refused(Refusal { status, detail: reply.detail })),
        }
    }
}

fn open(address: &Address, settings: &Settings) -> Result<Stream, ClientError> {
    let (patience, reply_timeout) = (settings.connect_timeout, settings.reply_timeout);
    let stream = Stream::connect(address, settings.tls.as_ref(), patience, reply_timeout);
    let mut stream = stream.map_err(|cause| match cause.kind() {
        io::ErrorKind::InvalidData => ClientError::of_tls(address, cause),
        _ => ClientError::NoServer { address: address.clone(), cause },
    })?;
    if let (Some(identity), Address::Tcp(_)) = (&settings.identity, address) {
        shake_hands(&mut stream, identity)
            .map_err(|error| ClientError::of_handshake(address, error))?;
    }
    Ok(stream)
}
