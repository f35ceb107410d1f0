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
    /// A rule of the envelope's keeps this user out, now or for good; `detail`
    /// is an [`Ineligible`] code.
    NotEligible = 6,
    /// The envelope has a password, and this is not it; `detail` is a
    /// [`WrongPassword`] code.
    WrongPassword = 7,
    /// Who asks may not do this; `detail` is a [`Denial`] code.
    Denied = 8,
    /// A limit was reached; nothing was applied; `detail` is a [`RateLimit`]
    /// code. None of them is over after some time, so there is no retry-after.
    RateLimited = 9,
    /// Too much work; nothing was applied; `detail` is a retry-after in ms.
    Overloaded = 10,
    /// No room; nothing was applied; `detail` is a retry-after in ms.
    Unavailable = 11,
    /// `detail` is a `BadRequest` code.
    BadRequest = 12,
    /// The same order came with other parameters; nothing was changed.
    Conflict = 13,
    /// A shake has won nothing, or a user has; `detail` is what the campaign
    /// tells losers.
    NothingWon = 16,
    /// The share is not given, now or for good, and nobody is told why: the
    /// same bytes whatever the reason is, so nothing can be learned from them.
    Withheld = 17,
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
            Self::NotEligible => 6,
            Self::WrongPassword => 7,
            Self::Denied => 8,
            Self::RateLimited => 9,
            Self::Overloaded => 10,
            Self::Unavailable => 11,
            Self::BadRequest => 12,
            Self::Conflict => 13,
            Self::NothingWon => 16,
            Self::Withheld => 17,
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
            6 => Self::NotEligible,
            7 => Self::WrongPassword,
            8 => Self::Denied,
            9 => Self::RateLimited,
            10 => Self::Overloaded,
            11 => Self::Unavailable,
            12 => Self::BadRequest,
            13 => Self::Conflict,
            16 => Self::NothingWon,
            17 => Self::Withheld,
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
    /// A campaign that was not started, or in which nobody takes part yet.
    NotBegun = 16,
    /// A campaign that gives out nothing for the time being.
    Paused = 17,
}

impl NotOpen {
    /// The number that travels in `detail`.
    pub const fn code(self) -> u32 {
        match self {
            Self::Cancelled => 0,
            Self::NotPaid => 1,
            Self::NeverPaid => 2,
            Self::NotBegun => 16,
            Self::Paused => 17,
        }
    }
}

/// Which rule keeps a user out: the `detail` of [`Status::NotEligible`]. The
/// rules are checked in this order, and the first that is broken is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Ineligible {
    /// It has not begun.
    TooEarly = 0,
    /// Its window is over.
    TooLate = 1,
    /// The sender may not claim.
    Sender = 2,
    /// Only the named users may.
    NotNamed = 3,
    /// The seed user must take a share first.
    SeedFirst = 4,
    /// No ticket was shown.
    NoTicket = 5,
    /// The ticket is of a key that the server does not have.
    UnknownTicketKey = 6,
    /// The ticket is not for this, or forged.
    WrongTicket = 7,
    /// The ticket's time is over.
    TicketExpired = 8,
    /// No position was shown.
    NoPosition = 9,
    /// The position is outside the place.
    TooFar = 10,
    /// Who got what is hidden until the envelope is over.
    Hidden = 11,
}

impl Ineligible {
    /// The number that travels in `detail`.
    pub const fn code(self) -> u32 {
        match self {
            Self::TooEarly => 0,
            Self::TooLate => 1,
            Self::Sender => 2,
            Self::NotNamed => 3,
            Self::SeedFirst => 4,
            Self::NoTicket => 5,
            Self::UnknownTicketKey => 6,
            Self::WrongTicket => 7,
            Self::TicketExpired => 8,
            Self::NoPosition => 9,
            Self::TooFar => 10,
            Self::Hidden => 11,
        }
    }

    /// The meaning of a number.
    pub const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::TooEarly,
            1 => Self::TooLate,
            2 => Self::Sender,
            3 => Self::NotNamed,
            4 => Self::SeedFirst,
            5 => Self::NoTicket,
            6 => Self::UnknownTicketKey,
            7 => Self::WrongTicket,
            8 => Self::TicketExpired,
            9 => Self::NoPosition,
            10 => Self::TooFar,
            11 => Self::Hidden,
            _ => return None,
        })
    }
}

/// What is wrong with a password: the `detail` of [`Status::WrongPassword`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum WrongPassword {
    /// Not the one; the guess was counted.
    Guessed = 0,
    /// None was said; nothing was counted.
    NotSaid = 1,
    /// The server does not have the key any more under which it was kept.
    KeyGone = 2,
}

impl WrongPassword {
    /// The number that travels in `detail`.
    pub const fn code(self) -> u32 {
        match self {
            Self::Guessed => 0,
            Self::NotSaid => 1,
            Self::KeyGone => 2,
        }
    }
}

/// Which limit was reached: the `detail` of [`Status::RateLimited`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum RateLimit {
    /// What a sender sends, or a user receives, a day, or has open.
    Daily = 0,
    /// The wrong guesses of this user at this envelope.
    UserGuesses = 1,
    /// The wrong guesses of all users at this envelope.
    EnvelopeGuesses = 2,
}

impl RateLimit {
    /// The number that travels in `detail`.
    pub const fn code(self) -> u32 {
        match self {
            Self::Daily => 0,
            Self::UserGuesses => 1,
            Self::EnvelopeGuesses => 2,
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
    /// The shares of a campaign are won by shaking only.
    ByShakingOnly = 24,
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
            Self::ByShakingOnly => 24,
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
