//! Why a settlement stream ends: a code on the wire, and words for people.

/// Why the server ends a stream. `position` and `detail` travel beside the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// A frame that is none, or that does not belong here.
    #[error("a frame makes no sense: its length, operation or reserved bytes are wrong")]
    Malformed,
    /// Another version of the stream.
    #[error("the server speaks version {0} of the settlement stream")]
    Version(u32),
    /// The name is none.
    #[error("a subscriber's name is 1 to 32 of a-z, 0-9 and -, filled up with zeros")]
    Name,
    /// A window that the server does not give.
    #[error("the window is too small: the least is {0} bytes")]
    Window(u32),
    /// There is no such shard.
    #[error("there is no such shard: the server has {0}, numbered from 0")]
    UnknownShard(u32),
    /// The position is one of another arrangement.
    #[error(
        "the data is arranged anew since then (arrangement {0}): everything before was sent, go on \
         where you left off"
    )]
    OtherArrangement(u32),
    /// The cursor is none that was sent.
    #[error("no batch ends at position {0} as the cursor says: send a cursor as it was received")]
    NotABorder(u64),
    /// The journal does not reach back so far.
    #[error(
        "what comes next was freed: the journal begins at position {0}; what is missing can only \
         come from a copy of the data"
    )]
    Freed(u64),
    /// The position does not exist yet.
    #[error(
        "the journal ends at position {0}, before the cursor: these books belong to another data \
         directory, or an older copy of it was put back"
    )]
    Ahead(u64),
    /// Somebody else is this subscriber.
    #[error("a subscriber of this name is connected for this shard")]
    InUse,
    /// No room for another one.
    #[error("there are {0} connections or names already, and no more are taken")]
    Full(u32),
    /// An acknowledgement of what was not sent.
    #[error("what was acknowledged was never sent on this connection")]
    NotSent,
    /// The server ends.
    #[error("the server is draining; connect again when it is back")]
    Draining,
    /// The journal cannot be read, or the cursor not be kept.
    #[error("the server cannot go on with this journal; see what it says on standard error")]
    Unreadable,
    /// There is nobody of this name.
    #[error("no subscriber has this name")]
    Unknown,
    /// Who asks has not said who it is.
    #[error(
        "the server wants to know who you are: give the file of a settler's key with \
         --principal-key"
    )]
    Denied,
    /// A code that this version does not know.
    #[error("the server ends the stream with code {0}")]
    Other(u8),
}

impl Ending {
    /// Code, detail and position as they travel.
    pub fn parts(self) -> (u8, u32, u64) {
        match self {
            Self::Malformed => (1, 0, 0),
            Self::Version(version) => (2, version, 0),
            Self::Name => (3, 0, 0),
            Self::Window(least) => (4, least, 0),
            Self::UnknownShard(shards) => (5, shards, 0),
            Self::OtherArrangement(current) => (6, current, 0),
            Self::NotABorder(position) => (7, 0, position),
            Self::Freed(first) => (8, 0, first),
            Self::Ahead(end) => (9, 0, end),
            Self::InUse => (10, 0, 0),
            Self::Full(bound) => (11, bound, 0),
            Self::NotSent => (12, 0, 0),
            Self::Draining => (13, 0, 0),
            Self::Unreadable => (14, 0, 0),
            Self::Unknown => (15, 0, 0),
            Self::Denied => (32, 0, 0),
            Self::Other(code) => (code, 0, 0),
        }
    }

    /// The ending of these parts.
    pub fn of_parts(code: u8, detail: u32, position: u64) -> Self {
        match code {
            1 => Self::Malformed,
            2 => Self::Version(detail),
            3 => Self::Name,
            4 => Self::Window(detail),
            5 => Self::UnknownShard(detail),
            6 => Self::OtherArrangement(detail),
            7 => Self::NotABorder(position),
            8 => Self::Freed(position),
            9 => Self::Ahead(position),
            10 => Self::InUse,
            11 => Self::Full(detail),
            12 => Self::NotSent,
            13 => Self::Draining,
            14 => Self::Unreadable,
            15 => Self::Unknown,
            32 => Self::Denied,
            other => Self::Other(other),
        }
    }
}
