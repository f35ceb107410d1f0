//! The receiver's end of the settlement stream: blocking, one connection for one
//! shard. It keeps nothing; where to go on is for the receiver's books to know.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::ending::Ending;
use super::frames::{Accepted, Ask, Frame, Moved, decode, encode};
use super::name::SubscriberName;
use super::news::Told;
use crate::access::{HandshakeError, Identity, shake_hands};
use crate::follow::ledger::Cursor;

/// The longest frame that a server sends: 64 KiB less one.
const FRAME_BYTES_MAX: usize = 0xffff;

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// The server says something every second; after this it is gone.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Why a stream ends.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    /// The connection failed; connecting again may work.
    #[error("the settlement stream broke: {0}")]
    Broken(#[from] io::Error),
    /// The server said why.
    #[error(transparent)]
    Ended(#[from] Ending),
    /// One of the two sides did not prove who it is.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// What came is no settlement stream.
    #[error("what answers there speaks no settlement stream of version 1")]
    Foreign,
}

/// What the server has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// Movements, in order.
    Movements(Vec<Moved>),
    /// What a risk service is to hear, in order.
    News(Vec<Told>),
    /// Everything before `cursor` was sent.
    Border {
        /// Where a stream can go on.
        cursor: Cursor,
        /// How far the journal is.
        committed: u64,
    },
}

/// A stream of one shard's movements.
#[derive(Debug)]
pub struct Subscription {
    socket: TcpStream,
    inbox: Vec<u8>,
    read: usize,
    accepted: Accepted,
    /// The last border that was acknowledged.
    border: Cursor,
    /// Bytes of movements and borders given to the caller.
    given: u64,
}

impl Subscription {
    /// Subscribes, at a server that asks nobody who they are.
    pub fn open(address: SocketAddr, ask: &Ask) -> Result<Self, SubscriptionError> {
        Self::open_as(None, address, ask)
    }

    /// Subscribes as somebody.
    pub fn open_as(
        identity: Option<&Identity>,
        address: SocketAddr,
        ask: &Ask,
    ) -> Result<Self, SubscriptionError> {
        let start = Cursor::default();
        let nothing = Accepted { start, committed: 0, window: 0, shards: 0, cell: 0 };
        let mut this = Self {
            socket: connect(identity, address)?,
            inbox: Vec::new(),
            read: 0,
            accepted: nothing,
            border: start,
            given: 0,
        };
        this.send(&Frame::Subscribe(ask.clone()))?;
        match this.receive()? {
            (Frame::Accepted(accepted), _) => {
                (this.accepted, this.border) = (accepted, accepted.start);
                Ok(this)
            }
            (Frame::End(ending), _) => Err(ending.into()),
            _ => Err(SubscriptionError::Foreign),
        }
    }

    /// What the server has granted.
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// Waits for what comes next: at least a border every second.
    pub fn wait(&mut self) -> Result<Push, SubscriptionError> {
        let (frame, bytes) = self.receive()?;
        let push = match frame {
            Frame::Movements(moved) => Push::Movements(moved),
            Frame::News(told) => Push::News(told),
            Frame::Border { cursor, committed } => Push::Border { cursor, committed },
            Frame::End(ending) => return Err(ending.into()),
            _ => return Err(SubscriptionError::Foreign),
        };
        self.given += u64::try_from(bytes).unwrap_or(u64::MAX);
        Ok(push)
    }

    /// Everything before `border` is booked durably, and all that
    /// [`Self::wait`] gave is taken: the window is open again.
    pub fn acknowledge(&mut self, border: Cursor) -> Result<(), SubscriptionError> {
        self.border = border;
        self.take()
    }

    /// All that [`Self::wait`] gave is taken; nothing more is booked.
    pub fn take(&mut self) -> Result<(), SubscriptionError> {
        self.send(&Frame::Acknowledge { border: self.border, taken: self.given })
    }

    fn send(&mut self, frame: &Frame) -> Result<(), SubscriptionError> {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        Ok(self.socket.write_all(&bytes)?)
    }

    fn receive(&mut self) -> Result<(Frame, usize), SubscriptionError> {
        loop {
            let unread = self.inbox.get(self.read..).unwrap_or_default();
            let decoded = decode(unread, FRAME_BYTES_MAX);
            if let Some((frame, bytes)) = decoded.map_err(|_| SubscriptionError::Foreign)? {
                self.read += bytes;
                return Ok((frame, bytes));
            }
            self.inbox.drain(..self.read);
            self.read = 0;
            let whole = self.inbox.len();
            self.inbox.resize(whole + READ_BYTES, 0);
            let came = self.socket.read(self.inbox.get_mut(whole..).unwrap_or_default());
            self.inbox.truncate(whole + *came.as_ref().unwrap_or(&0));
            if came? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

fn connect(
    identity: Option<&Identity>,
    address: SocketAddr,
) -> Result<TcpStream, SubscriptionError> {
    let mut socket = TcpStream::connect_timeout(&address, CONNECT_PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    socket.set_write_timeout(Some(SILENCE_MAX))?;
    match identity.map(|identity| shake_hands(&mut socket, identity)) {
        None | Some(Ok(())) => {}
        Some(Err(HandshakeError::Broken(error))) => return Err(error.into()),
        Some(Err(error)) => return Err(error.into()),
    }
    Ok(socket)
}

/// Has the server forget a subscriber that will not come again.
pub fn forget(address: SocketAddr, name: &SubscriberName) -> Result<(), SubscriptionError> {
    forget_as(None, address, name)
}

/// The same as somebody.
pub fn forget_as(
    identity: Option<&Identity>,
    address: SocketAddr,
    name: &SubscriberName,
) -> Result<(), SubscriptionError> {
    let mut socket = connect(identity, address)?;
    let mut frame = Vec::new();
    encode(&Frame::Forget(name.clone()), &mut frame);
    socket.write_all(&frame)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    match decode(&answer, FRAME_BYTES_MAX) {
        Ok(Some((Frame::Forgotten, _))) => Ok(()),
        Ok(Some((Frame::End(ending), _))) => Err(ending.into()),
        _ => Err(SubscriptionError::Foreign),
    }
}
