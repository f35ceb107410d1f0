//! The operations by their byte.

use crate::limits::OPS;

/// The operation byte of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// What server is this?
    Hello = 1,
    /// Order an envelope.
    Send = 2,
    /// Is anything left for me?
    Grab = 3,
    /// Take one share.
    Claim = 4,
    /// The summary of an envelope.
    Show = 5,
    /// Who got what, a page of it.
    Detail = 6,
    /// Take the rest back.
    Cancel = 7,
    /// A payment is confirmed.
    Fund = 8,
    /// An order that is not paid is withdrawn.
    Void = 9,
    /// What the draws came from.
    Reveal = 10,
    /// Order an envelope with terms.
    SendWith = 11,
    /// Take one share, and show what its terms ask for.
    ClaimWith = 12,
    /// The terms of an envelope, as far as one may see them.
    Terms = 13,
    /// Try to win a prize of a campaign.
    Shake = 14,
    /// Write a part of a campaign's plan.
    CampaignPlan = 15,
    /// Start or pause a campaign.
    CampaignCommand = 16,
    /// How a campaign stands.
    CampaignStatus = 17,
    /// What a user has won of a campaign.
    CampaignWins = 18,
    /// Who is there, on both sides?
    Challenge = 19,
    /// The proof of who asks.
    Authenticate = 20,
    /// Say something of a user: a grade, a list.
    RiskMark = 21,
    /// Why is a user treated as it is?
    RiskExplain = 22,
    /// The shares that are held, a page of them.
    RiskHolds = 23,
    /// Release or reject a held share.
    RiskResolve = 24,
    /// What rules of risk did of late.
    RiskFeed = 25,
    /// Try to win a prize, and show what came with it.
    ShakeWith = 26,
}

impl Op {
    /// The byte in the frame.
    pub const fn code(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Send => 2,
            Self::Grab => 3,
            Self::Claim => 4,
            Self::Show => 5,
            Self::Detail => 6,
            Self::Cancel => 7,
            Self::Fund => 8,
            Self::Void => 9,
            Self::Reveal => 10,
            Self::SendWith => 11,
            Self::ClaimWith => 12,
            Self::Terms => 13,
            Self::Shake => 14,
            Self::CampaignPlan => 15,
            Self::CampaignCommand => 16,
            Self::CampaignStatus => 17,
            Self::CampaignWins => 18,
            Self::Challenge => 19,
            Self::Authenticate => 20,
            Self::RiskMark => 21,
            Self::RiskExplain => 22,
            Self::RiskHolds => 23,
            Self::RiskResolve => 24,
            Self::RiskFeed => 25,
            Self::ShakeWith => 26,
        }
    }

    /// Whether bytes of any length belong to the request of an operation byte.
    #[inline]
    pub const fn attaches(code: u8) -> bool {
        code == Self::SendWith.code()
            || code == Self::ClaimWith.code()
            || code == Self::ShakeWith.code()
    }

    /// The operation of a byte.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Hello,
            2 => Self::Send,
            3 => Self::Grab,
            4 => Self::Claim,
            5 => Self::Show,
            6 => Self::Detail,
            7 => Self::Cancel,
            8 => Self::Fund,
            9 => Self::Void,
            10 => Self::Reveal,
            11 => Self::SendWith,
            12 => Self::ClaimWith,
            13 => Self::Terms,
            14 => Self::Shake,
            15 => Self::CampaignPlan,
            16 => Self::CampaignCommand,
            17 => Self::CampaignStatus,
            18 => Self::CampaignWins,
            19 => Self::Challenge,
            20 => Self::Authenticate,
            21 => Self::RiskMark,
            22 => Self::RiskExplain,
            23 => Self::RiskHolds,
            24 => Self::RiskResolve,
            25 => Self::RiskFeed,
            26 => Self::ShakeWith,
            _ => return None,
        })
    }
}

/// A set of operations: what one connection may ask for. One bit for each code,
/// so that looking costs nothing beside the frame's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations(u64);

const _: () = assert!(OPS <= 64, "every operation has a bit of its own");

impl Operations {
    /// None at all.
    pub const NOTHING: Self = Self(0);
    /// Whatever there is.
    pub const EVERYTHING: Self = Self(u64::MAX);

    /// The set with one more.
    #[must_use]
    pub const fn with(self, op: Op) -> Self {
        Self(self.0 | 1 << (op.code() & 63))
    }

    /// Whether nothing may be asked.
    #[inline]
    pub const fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// Whether the operation of this byte may be asked. Bytes above 63 share the
    /// bits of others; they name no operation, and are refused as such.
    #[inline]
    pub const fn has(self, code: u8) -> bool {
        self.0 >> (code & 63) & 1 != 0
    }
}
