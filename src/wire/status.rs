//! What became of a request, in one byte.

/// The outcome of a request. `Ok` and `AlreadyClaimed` carry the operation's
/// body; every other status is a bare header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Done. For `send`, `cancel`, `fund` and `void`, `detail` 1 marks a repeat;
    /// for `grab` it is how many shares are left; for `fund` see [`Confirmed`].
    Ok = 0,
    /// This user's share was decided earlier; the body tells it again.
    AlreadyClaimed = 1,
    /// Nothing is left.
    SoldOut = 2,
    /// Its time has run out.
    Expired = 3,
    /// Nobody can claim from it; `detail` is a [`NotOpen`] code.
    NotOpen = 4,
    /// No such envelope here.
    NotFound = 5,
    /// Who asks may not do this; `detail` is a [`Denial`] code.
    Denied = 8,
    /// A limit of the sender's, or for a claim of the user's, was reached;
    /// nothing was applied. It holds for the day or until envelopes close, so
    /// there is no retry-after.
    RateLimited = 9,
    /// Too much work; nothing was applied; `detail` is a retry-after in ms.
    Overloaded = 10,
    /// No room; nothing was applied; `detail` is a retry-after in ms.
    Unavailable = 11,
    /// `detail` is a `BadRequest` code.
    BadRequest = 12,
    /// The same order came with other parameters; nothing was changed.
    Conflict = 13,
}

impl Status {
    /// The byte in the frame.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::AlreadyClaimed => 1,
            Self::SoldOut => 2,
            Self::Expired => 3,
            Self::NotOpen => 4,
            Self::NotFound => 5,
            Self::Denied => 8,
            Self::RateLimited => 9,
            Self::Overloaded => 10,
            Self::Unavailable => 11,
            Self::BadRequest => 12,
            Self::Conflict => 13,
        }
    }

    /// The status of a byte.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Ok,
            1 => Self::AlreadyClaimed,
            2 => Self::SoldOut,
            3 => Self::Expired,
            4 => Self::NotOpen,
            5 => Self::NotFound,
            8 => Self::Denied,
            9 => Self::RateLimited,
            10 => Self::Overloaded,
            11 => Self::Unavailable,
            12 => Self::BadRequest,
            13 => Self::Conflict,
            _ => return None,
        })
    }
}

/// Why nobody can claim from an envelope that neither ran out nor expired: the
/// `detail` of [`Status::NotOpen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NotOpen {
    /// The sender took it back.
    Cancelled = 0,
    /// It waits for its money.
    NotPaid = 1,
    /// It was never paid, and never will be.
    NeverPaid = 2,
}

impl NotOpen {
    /// The number that travels in `detail`.
    pub const fn code(self) -> u32 {
        match self {
            Self::Cancelled => 0,
            Self::NotPaid => 1,
            Self::NeverPaid => 2,
        }
    }
}

/// Who may not: the `detail` of [`Status::Denied`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Denial {
    /// Only the sender may do this.
    Sender = 0,
    /// The seal is not that of a key of the server's.
    Seal = 1,
    /// The server has no payment keys, so it believes nobody.
    NoKeys = 2,
    /// Nobody is served here before a handshake.
    Stranger = 16,
    /// The roles of who asks do not allow it.
    Role = 17,
    /// The proof is not that of a key of the server's.
    Proof = 18,
}

impl Denial {
    /// The number that travels in `detail`.
    pub const fn code(self) -> u32 {
        match self {
            Self::Sender => 0,
            Self::Seal => 1,
            Self::NoKeys => 2,
            Self::Stranger => 16,
            Self::Role => 17,
            Self::Proof => 18,
        }
    }
}

/// What a confirmed payment led to: the `detail` of `fund` with [`Status::Ok`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Confirmed {
    /// The envelope is open.
    Opened = 0,
    /// The same payment had opened it before.
    OpenedBefore = 1,
    /// It came too late and went to the sender's balance.
    Returned = 2,
    /// The same payment had gone back before.
    ReturnedBefore = 3,
}

impl Confirmed {
    /// The number that travels in `detail`.
    pub const fn code(self) -> u32 {
        match self {
            Self::Opened => 0,
            Self::OpenedBefore => 1,
            Self::Returned => 2,
            Self::ReturnedBefore => 3,
        }
    }

    /// The meaning of a number.
    pub const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Opened,
            1 => Self::OpenedBefore,
            2 => Self::Returned,
            3 => Self::ReturnedBefore,
            _ => return None,
        })
    }
}
