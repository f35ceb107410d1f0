//! What can go wrong for a client, each with what to do about it.

use std::io;
use std::time::Duration;

use super::address::Address;
use crate::access::HandshakeError;
use crate::limits::PROTOCOL_VERSION;
use crate::wire::{
    BadRequest, DecodeReplyError, Denial, Ineligible, NotOpen, RateLimit, Reply, Status,
    WrongPassword,
};

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "no server at {address} ({cause}): start one with `hongbao serve`, or give the right \
         address with --addr"
    )]
    NoServer {
        /// Where it was looked for.
        address: Address,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The connection broke and could not be had again in time. Whether the
    /// last request was done is not known; sending it again is safe.
    #[error(
        "the connection to {address} broke ({cause}): see whether the server still runs; sending \
         the same request again is safe"
    )]
    Broken {
        /// The server.
        address: Address,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The server was silent for too long. Whether the request was done is not
    /// known; sending it again is safe.
    #[error(
        "no answer from {address} within {waited:?}: see its log or raise the timeout; sending \
         the same request again is safe"
    )]
    Silent {
        /// The server.
        address: Address,
        /// How long the answer was waited for.
        waited: Duration,
    },
    /// The other side does not speak this protocol.
    #[error("{0}")]
    Garbled(#[from] DecodeReplyError),
    /// The server speaks another version of the protocol.
    #[error(
        "the server speaks protocol version {server}, this client {PROTOCOL_VERSION}: upgrade the \
         older of the two"
    )]
    Version {
        /// The server's version; 0 if it did not tell.
        server: u32,
    },
    /// One of the two sides did not prove who it is.
    #[error("{address}: {cause}")]
    Handshake {
        /// The server.
        address: Address,
        /// Which of them, and what to do.
        cause: HandshakeError,
    },
    /// The two sides do not agree on TLS, or one does not believe the other.
    #[error(
        "{address}: TLS: {cause}; see that this is the port of `tls_listen`, that --tls-ca has the \
         issuer of the server's certificate, and whether the server wants ours (--tls-cert)"
    )]
    Tls {
        /// The server.
        address: Address,
        /// What is wrong.
        cause: io::Error,
    },
    /// The reply's body is not that of the request.
    #[error("the server's reply does not belong to the request: is this a hongbao port?")]
    Unexpected,
    /// A call was made while submitted requests wait for their replies.
    #[error("{0} submitted requests still wait for their replies: receive them before a call")]
    RepliesWaiting(usize),
    /// The server said no; nothing was changed.
    #[error("{0}")]
    Refused(Refusal),
}

/// A server's no. Nothing was changed by the refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which no.
    pub status: Status,
    /// By status: a retry-after in ms, or the code of a [`BadRequest`], a
    /// [`NotOpen`], a [`Denial`], an [`Ineligible`], a [`WrongPassword`] or a
    /// [`RateLimit`].
    pub detail: u32,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.status {
            Status::SoldOut => "sold out: every share is taken",
            Status::Expired => "expired: its time ran out, what was left went back to the sender",
            Status::NotOpen => self.not_open(),
            Status::NotFound => "not found: no such envelope on this server",
            Status::Denied => self.denied(),
            Status::NotEligible => self.not_eligible(),
            Status::WrongPassword => self.wrong_password(),
            Status::RateLimited => self.rate_limited(),
            Status::Overloaded => "overloaded: nothing was done",
            Status::Unavailable => "unavailable: the server has no room, nothing was done",
            Status::Conflict => {
                "conflict: the order number was used for another envelope, or the payment is not \
                 the order's, or the order is paid already; look at it with `show`"
            }
            Status::NothingWon => "nothing won",
            Status::Withheld => "not given for now; nothing was done that is lost, ask again later",
            Status::BadRequest => "bad request",
            Status::Ok | Status::AlreadyClaimed => "done",
        })?;
        match self.status {
            Status::Overloaded | Status::Unavailable => {
                write!(f, "; try again after {} ms", self.detail)
            }
            Status::BadRequest => match BadRequest::from_code(self.detail) {
                Some(reason) => write!(f, ": {reason}"),
                None => write!(f, ": reason {}", self.detail),
            },
            _ => Ok(()),
        }
    }
}

impl Refusal {
    fn not_open(self) -> &'static str {
        match self.detail {
            detail if detail == NotOpen::NotPaid.code() => "not open: it waits for its money",
            detail if detail == NotOpen::NeverPaid.code() => {
                "not open: its money never came, and it never will be; send a new order"
            }
            detail if detail == NotOpen::NotBegun.code() => {
                "not open: the campaign was not started, or nobody takes part yet"
            }
            detail if detail == NotOpen::Paused.code() => "not open: the campaign pauses",
            _ => "not open: the sender took it back",
        }
    }

    fn not_eligible(self) -> &'static str {
        match Ineligible::from_code(self.detail) {
            Some(Ineligible::TooEarly) => "not eligible: it has not begun; claim later",
            Some(Ineligible::TooLate) => "not eligible: the time to claim it is over",
            Some(Ineligible::Sender) => "not eligible: its sender may not claim it",
            Some(Ineligible::NotNamed) => "not eligible: it is for others",
            Some(Ineligible::SeedFirst) => {
                "not eligible yet: the user it was sent to must take a share first"
            }
            Some(Ineligible::NoTicket) => {
                "not eligible: it wants a ticket of its group; claim with one"
            }
            Some(Ineligible::UnknownTicketKey) => {
                "not eligible: the ticket's key is not one of this server's ticket_keys"
            }
            Some(Ineligible::WrongTicket) => {
                "not eligible: the ticket is not for this envelope, user and server"
            }
            Some(Ineligible::TicketExpired) => "not eligible: the ticket is too old; get a new one",
            Some(Ineligible::NoPosition) => {
                "not eligible: it can be claimed at a place only; claim with a position"
            }
            Some(Ineligible::TooFar) => "not eligible: too far from the place where it is",
            Some(Ineligible::Hidden) => "hidden: who got what is told once the envelope is over",
            None => "not eligible",
        }
    }

    fn wrong_password(self) -> &'static str {
        match self.detail {
            detail if detail == WrongPassword::NotSaid.code() => "it has a password: claim with it",
            detail if detail == WrongPassword::KeyGone.code() => {
                "its password cannot be checked: its key is no longer in password_keys"
            }
            _ => "wrong password",
        }
    }

    fn rate_limited(self) -> &'static str {
        match self.detail {
            detail if detail == RateLimit::UserGuesses.code() => {
                "limited: this user has guessed wrong too often; nothing was done"
            }
            detail if detail == RateLimit::EnvelopeGuesses.code() => {
                "limited: its password was guessed wrong too often; nothing was done"
            }
            _ => {
                "limited: a limit of the server's on what a user sends or receives a day, or has \
                 open, is reached; nothing was done"
            }
        }
    }

    fn denied(self) -> &'static str {
        match self.detail {
            detail if detail == Denial::Seal.code() => {
                "denied: the seal is not that of a payment key of this server; look at the key, \
                 its id, and the server's cell"
            }
            detail if detail == Denial::NoKeys.code() => {
                "denied: this server has no payment keys; set payment_keys to a file of keys"
            }
            detail if detail == Denial::Stranger.code() => {
                "denied: this server wants to know who you are; give the file of your key with \
                 --principal-key"
            }
            detail if detail == Denial::Role.code() => {
                "denied: the roles of your key do not allow this; use another principal's, or see \
                 `roles` in its file on the server"
            }
            detail if detail == Denial::Proof.code() => {
                "denied: the server does not know this key of yours; see its `keys`"
            }
            detail if detail == Denial::ByShakingOnly.code() => {
                "denied: the prizes of a campaign are won by shaking; use `hb campaign shake`"
            }
            _ => "denied: only the sender may do this",
        }
    }
}

impl ClientError {
    /// Whether another connection could bring the answer. Safe for every
    /// operation of the protocol: each is idempotent, but a shake, which is another try.
    pub fn is_broken_connection(&self) -> bool {
        matches!(self, Self::NoServer { .. } | Self::Broken { .. } | Self::Silent { .. })
    }

    /// What a handshake at `address` has failed of.
    pub(super) fn of_handshake(address: &Address, error: HandshakeError) -> Self {
        let address = address.clone();
        match error {
            HandshakeError::Broken(cause) if cause.kind() == io::ErrorKind::InvalidData => {
                Self::Tls { address, cause }
            }
            HandshakeError::Broken(cause) => Self::Broken { address, cause },
            HandshakeError::Refused { status, detail, .. } => {
                Self::Refused(Refusal { status, detail })
            }
            cause => Self::Handshake { address, cause },
        }
    }

    /// What TLS with `address` has failed of.
    pub(super) fn of_tls(address: &Address, cause: io::Error) -> Self {
        Self::Tls { address: address.clone(), cause }
    }

    /// The refusal in a reply that is one.
    pub(super) fn refused(reply: &Reply) -> Self {
        Self::Refused(Refusal { status: reply.status, detail: reply.detail })
    }
}
