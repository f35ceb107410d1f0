//! The words of risk: rules, marks, holds and what is decided about them.
//!
//! Nothing here judges anybody; that is the engine's. How they travel is in
//! `risk_bodies`.

use crate::units::{EnvelopeId, UnixSeconds, UserId};

/// Which rule led to a verdict; the numbers are told to operators only, and
/// stand in journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RiskRule {
    /// The user is on the deny list.
    DenyList = 1,
    /// The user is on the watch list.
    WatchList = 2,
    /// The user's grade is below the one that is denied.
    GradeDenied = 3,
    /// The user's grade is below the one that is held.
    GradeHeld = 4,
    /// The share is above the amount from which every share is looked at.
    Amount = 5,
    /// The user has won too often in the window to be given more.
    WinsDenied = 6,
    /// The user has won often enough in the window to be looked at.
    WinsHeld = 7,
    /// There were too many wins from the device in the window to give more.
    DeviceDenied = 8,
    /// There were enough wins from the device in the window to be looked at.
    DeviceHeld = 9,
    /// There were too many wins from the address in the window to give more.
    AddressDenied = 10,
    /// There were enough wins from the address in the window to be looked at.
    AddressHeld = 11,
    /// The user has tried too often in the window to be given anything.
    TriesDenied = 12,
    /// The user has tried often enough in the window to be looked at.
    TriesHeld = 13,
    /// The user has guessed wrong too often in the window to be given anything.
    GuessesDenied = 14,
    /// The user has guessed wrong often enough in the window to be looked at.
    GuessesHeld = 15,
}

impl RiskRule {
    /// The number in frames and journals.
    pub const fn code(self) -> u8 {
        match self {
            Self::DenyList => 1,
            Self::WatchList => 2,
            Self::GradeDenied => 3,
            Self::GradeHeld => 4,
            Self::Amount => 5,
            Self::WinsDenied => 6,
            Self::WinsHeld => 7,
            Self::DeviceDenied => 8,
            Self::DeviceHeld => 9,
            Self::AddressDenied => 10,
            Self::AddressHeld => 11,
            Self::TriesDenied => 12,
            Self::TriesHeld => 13,
            Self::GuessesDenied => 14,
            Self::GuessesHeld => 15,
        }
    }

    /// The rule of a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::DenyList,
            2 => Self::WatchList,
            3 => Self::GradeDenied,
            4 => Self::GradeHeld,
            5 => Self::Amount,
            6 => Self::WinsDenied,
            7 => Self::WinsHeld,
            8 => Self::DeviceDenied,
            9 => Self::DeviceHeld,
            10 => Self::AddressDenied,
            11 => Self::AddressHeld,
            12 => Self::TriesDenied,
            13 => Self::TriesHeld,
            14 => Self::GuessesDenied,
            15 => Self::GuessesHeld,
            _ => return None,
        })
    }

    /// A short name, for operators.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DenyList => "deny-list",
            Self::WatchList => "watch-list",
            Self::GradeDenied => "grade-denied",
            Self::GradeHeld => "grade-held",
            Self::Amount => "amount",
            Self::WinsDenied => "wins-denied",
            Self::WinsHeld => "wins-held",
            Self::DeviceDenied => "device-denied",
            Self::DeviceHeld => "device-held",
            Self::AddressDenied => "address-denied",
            Self::AddressHeld => "address-held",
            Self::TriesDenied => "tries-denied",
            Self::TriesHeld => "tries-held",
            Self::GuessesDenied => "guesses-denied",
            Self::GuessesHeld => "guesses-held",
        }
    }
}

/// From where somebody asks, as a gateway tells devices and addresses apart: any
/// numbers, so that nothing of the device or the address itself is kept here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tags {
    /// Of the device.
    pub device: Option<u64>,
    /// Of the address.
    pub address: Option<u64>,
}

/// What is to become of a share that somebody has won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RiskVerdict {
    /// It is given.
    Allow,
    /// It is kept until somebody decides, or time does.
    Hold(RiskRule),
    /// It is not given, and stays for others.
    Deny(RiskRule),
}

impl RiskVerdict {
    /// The verdict's number, and that of its rule; 0 where there is none.
    pub const fn codes(self) -> (u8, u8) {
        match self {
            Self::Allow => (0, 0),
            Self::Hold(rule) => (1, rule.code()),
            Self::Deny(rule) => (2, rule.code()),
        }
    }

    /// The verdict of two numbers.
    pub const fn from_codes(verdict: u8, rule: u8) -> Option<Self> {
        match (verdict, RiskRule::from_code(rule)) {
            (0, None) if rule == 0 => Some(Self::Allow),
            (1, Some(rule)) => Some(Self::Hold(rule)),
            (2, Some(rule)) => Some(Self::Deny(rule)),
            _ => None,
        }
    }
}

/// One thing that is said of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The grade, the higher the better; 0 forgets it.
    Grade(u8),
    /// Whether it is on the deny list.
    Deny(bool),
    /// Whether it is on the watch list.
    Watch(bool),
}

impl Mark {
    /// The two numbers that travel.
    pub fn codes(self) -> (u8, u8) {
        match self {
            Self::Grade(grade) => (1, grade),
            Self::Deny(is_on) => (2, is_on.into()),
            Self::Watch(is_on) => (3, is_on.into()),
        }
    }

    /// The mark of two numbers.
    pub const fn from_codes(change: u8, value: u8) -> Option<Self> {
        match (change, value) {
            (1, grade) => Some(Self::Grade(grade)),
            (2, 0 | 1) => Some(Self::Deny(value == 1)),
            (3, 0 | 1) => Some(Self::Watch(value == 1)),
            _ => None,
        }
    }
}

/// What is known of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The grade, the higher the better; 0 where none was said.
    pub grade: u8,
    /// Whether it is on the deny list.
    pub denied: bool,
    /// Whether it is on the watch list.
    pub watched: bool,
    /// When that was said last; 0 never.
    pub at: UnixSeconds,
}

impl Standing {
    /// With a mark more.
    #[must_use]
    pub const fn with(mut self, mark: Mark, at: UnixSeconds) -> Self {
        match mark {
            Mark::Grade(grade) => self.grade = grade,
            Mark::Deny(is_on) => self.denied = is_on,
            Mark::Watch(is_on) => self.watched = is_on,
        }
        self.at = at;
        self
    }

    /// The lists as bits: 1 deny, 2 watch.
    pub fn lists(&self) -> u8 {
        u8::from(self.denied) | u8::from(self.watched) << 1
    }

    /// A standing from its numbers; `None` where a list is not known.
    pub const fn of(grade: u8, lists: u8, at: UnixSeconds) -> Option<Self> {
        if lists > 3 {
            return None;
        }
        Some(Self { grade, denied: lists & 1 != 0, watched: lists & 2 != 0, at })
    }
}

/// What is decided about a held share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Resolution {
    /// The claimant gets it.
    Release = 1,
    /// It goes back to the sender.
    Reject = 2,
}

impl Resolution {
    /// The number in frames and journals.
    pub const fn code(self) -> u8 {
        match self {
            Self::Release => 1,
            Self::Reject => 2,
        }
    }

    /// The resolution of a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Release),
            2 => Some(Self::Reject),
            _ => None,
        }
    }
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ResolvedBy {
    /// An operator or the risk service.
    Word = 0,
    /// Nobody did in time, and the setting says what happens then.
    Time = 1,
}

impl ResolvedBy {
    /// The number in journals.
    pub const fn code(self) -> u8 {
        match self {
            Self::Word => 0,
            Self::Time => 1,
        }
    }

    /// The meaning of a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Word),
            1 => Some(Self::Time),
            _ => None,
        }
    }
}

/// Where a share that was held is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HoldState {
    /// Kept.
    Held = 1,
    /// Gone back to the sender, for good.
    Rejected = 2,
}

impl HoldState {
    /// The number in frames and images.
    pub const fn code(self) -> u8 {
        match self {
            Self::Held => 1,
            Self::Rejected => 2,
        }
    }

    /// The state of a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Held),
            2 => Some(Self::Rejected),
            _ => None,
        }
    }
}

/// A share that was not given to whoever won it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Of which envelope.
    pub envelope: EnvelopeId,
    /// Who won it.
    pub user: UserId,
    /// How much, in fen.
    pub amount: u32,
    /// When it was won.
    pub at: UnixSeconds,
    /// When time decides, if nobody else did.
    pub until: UnixSeconds,
    /// Why it is held.
    pub rule: RiskRule,
    /// What became of it.
    pub state: HoldState,
}

/// What happened to a share by risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RiskStep {
    /// It was held.
    Held = 1,
    /// It was not given.
    Denied = 2,
    /// It was held, and is its claimant's.
    Released = 3,
    /// It was held, and went back.
    Rejected = 4,
}

impl RiskStep {
    /// The number in frames.
    pub const fn code(self) -> u8 {
        match self {
            Self::Held => 1,
            Self::Denied => 2,
            Self::Released => 3,
            Self::Rejected => 4,
        }
    }

    /// The step of a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Held),
            2 => Some(Self::Denied),
            3 => Some(Self::Released),
            4 => Some(Self::Rejected),
            _ => None,
        }
    }
}

/// One thing that a rule of risk did, or that was decided about a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RiskEvent {
    /// Grows with every event of a shard, also over restarts.
    pub number: u64,
    /// Of which envelope.
    pub envelope: EnvelopeId,
    /// Whose share it was, or would have been.
    pub user: UserId,
    /// How much, in fen.
    pub amount: u32,
    /// When.
    pub at: UnixSeconds,
    /// What.
    pub what: RiskStep,
    /// By which rule, where a rule did it.
    pub rule: Option<RiskRule>,
    /// Whether time decided.
    pub by_time: bool,
}

/// Why a user is treated as it is, as far as it is known where it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What was said of the user.
    pub standing: Standing,
    /// The grade that counts: the user's, or that of users who have none.
    pub grade: u8,
    /// Shares won in the window, given or held; 0 where nobody counts.
    pub wins: u32,
    /// Tries in the window, of those that are remembered; 0 where nobody counts.
    pub tries: u16,
    /// Wrong guesses in the window, at all envelopes; 0 where nobody counts.
    pub guesses: u16,
    /// How long the window is, in seconds.
    pub window_s: u32,
    /// What the next share of 1 fen would meet.
    pub verdict: RiskVerdict,
    /// From which amount on every share is held, in fen; 0 never.
    pub hold_above_fen: u32,
}

/// Which holds are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldsFrom {
    /// Of the shard that owns this partition.
    pub partition: u8,
    /// Only those after this envelope and user, in their order.
    pub after: (EnvelopeId, UserId),
    /// Only those of this user.
    pub only: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_travels_comes_back() {
        for code in 0..=255 {
            assert!(RiskRule::from_code(code).is_none_or(|rule| rule.code() == code));
            assert!(Resolution::from_code(code).is_none_or(|by| by.code() == code));
            assert!(ResolvedBy::from_code(code).is_none_or(|by| by.code() == code));
            assert!(HoldState::from_code(code).is_none_or(|state| state.code() == code));
            assert!(RiskStep::from_code(code).is_none_or(|step| step.code() == code));
            for value in 0..=255 {
                let mark = Mark::from_codes(code, value);
                assert!(mark.is_none_or(|mark| mark.codes() == (code, value)));
                let verdict = RiskVerdict::from_codes(code, value);
                assert!(verdict.is_none_or(|verdict| verdict.codes() == (code, value)));
                let standing = Standing::of(code, value, 9);
                assert!(standing.is_none_or(|s| (s.grade, s.lists()) == (code, value)));
            }
        }
    }

    #[test]
    fn marks_change_what_they_say_and_nothing_else() {
        let graded = Standing::default().with(Mark::Grade(7), 1);
        let denied = graded.with(Mark::Deny(true), 2);
        assert_eq!(denied, Standing { grade: 7, denied: true, watched: false, at: 2 });
        let watched = denied.with(Mark::Deny(false), 3).with(Mark::Watch(true), 4);
        assert_eq!(watched, Standing { grade: 7, denied: false, watched: true, at: 4 });
    }
}
