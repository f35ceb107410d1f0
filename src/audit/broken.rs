//! The rules of money that a record can break.

use crate::units::{Fen, UnixSeconds, UserId};
use crate::wire::Ineligible;

/// Where an envelope was when a record came that did not belong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It waits for its money.
    Unpaid,
    /// It is open.
    Open,
    /// Every share is claimed.
    Exhausted,
    /// The rest went back.
    Closed,
    /// It was never paid.
    Voided,
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unpaid => "before it was paid",
            Self::Open => "while it was open",
            Self::Exhausted => "after its last share",
            Self::Closed => "after it was closed",
            Self::Voided => "after it was voided",
        })
    }
}

/// What a record does that it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The id is in use.
    #[error("the envelope was ordered twice")]
    OrderedTwice,
    /// Nothing is known of it.
    #[error("the envelope was never ordered")]
    NeverOrdered,
    /// One order number, two envelopes.
    #[error("the same order of the same sender made another envelope before")]
    OrderUsed,
    /// No cut has at least 1 fen and at most the cap for each.
    #[error("{total} fen cannot be cut into {shares} shares")]
    Uncuttable {
        /// The money, in fen.
        total: Fen,
        /// The shares.
        shares: u32,
    },
    /// A share or a refund of an envelope that is not open.
    #[error("money left the envelope {0}")]
    NotOpen(When),
    /// A hold that is not there, or not so, was decided about.
    #[error("{0} has no such share held")]
    NotHeld(UserId),
    /// A closing says that another sum is held than is.
    #[error("it says that {told} fen are held, and {held} are")]
    WrongHeld {
        /// What it says, in fen.
        told: Fen,
        /// What is held, in fen.
        held: Fen,
    },
    /// A hold was decided about by time too early, or by word too late.
    #[error("it was decided at {at}, and time decides from {until} on")]
    WrongHoldTime {
        /// When it was decided.
        at: UnixSeconds,
        /// From when on time decides.
        until: UnixSeconds,
    },
    /// An envelope was forgotten while a share of it was held.
    #[error("it was forgotten while {0} fen of it were held")]
    ForgottenHeld(Fen),
    /// A share of a campaign was held.
    #[error("a prize of a campaign was held, which is never done")]
    HeldPrize,
    /// Something happened when it could not any more.
    #[error("it happened at {at}, and the envelope's time was over at {until}")]
    AfterItsTime {
        /// When, in seconds since the Unix epoch.
        at: UnixSeconds,
        /// The end of its time.
        until: UnixSeconds,
    },
    /// The claims are not numbered one after the other.
    #[error("the claim's rank is not the next: a claim before it is missing, or is there twice")]
    OutOfTurn,
    /// A share must be 1 fen at least.
    #[error("the share is empty")]
    EmptyShare,
    /// More than there is.
    #[error("a share of {amount} fen was given of {left} that were left")]
    TooMuch {
        /// The share, in fen.
        amount: Fen,
        /// What was left, in fen.
        left: Fen,
    },
    /// The others cannot get theirs, or it is over the cap.
    #[error("a share of {amount} fen leaves {rest} fen for {others} shares, or is over the cap")]
    WrongShare {
        /// The share, in fen.
        amount: Fen,
        /// What it leaves, in fen.
        rest: Fen,
        /// For so many shares.
        others: u32,
    },
    /// The draw cannot be computed again.
    #[error("the share is {amount} fen, and its draw gives {drawn}")]
    OtherDraw {
        /// The share, in fen.
        amount: Fen,
        /// What the seed says, in fen.
        drawn: Fen,
    },
    /// One share a user and envelope.
    #[error("user {0} got a second share")]
    SecondShare(UserId),
    /// The terms of an order are not before it, or are none.
    #[error("the terms of the order are missing, or cannot be read")]
    BadTerms,
    /// A share for somebody who may not have one.
    #[error("the terms keep user {user} out ({broken:?})")]
    KeptOut {
        /// Who got it.
        user: UserId,
        /// The rule that is broken.
        broken: Ineligible,
    },
    /// A guess where there is nothing to guess.
    #[error("a password was guessed, and the envelope has none")]
    NoPassword,
    /// Refunded before.
    #[error("the rest was refunded twice")]
    RefundedTwice,
    /// Not what was left.
    #[error("{refunded} fen were refunded of {left} that were left")]
    WrongRefund {
        /// The refund, in fen.
        refunded: Fen,
        /// What was left, in fen.
        left: Fen,
    },
    /// Money of one sender goes to another.
    #[error("user {0} is not its sender")]
    OtherSender(UserId),
    /// Money comes from elsewhere than ordered.
    #[error("the money is not from where the order said")]
    OtherSource,
    /// The order said another.
    #[error("{0} fen is not the order's amount")]
    OtherAmount(Fen),
    /// The order said another.
    #[error("{0} is not the order's payment")]
    OtherPayment(u64),
    /// Expired or lapsed early, or cancelled late.
    #[error("its end at {at} does not fit the end of its time at {until}")]
    WrongTime {
        /// When, in seconds since the Unix epoch.
        at: UnixSeconds,
        /// The end of its time.
        until: UnixSeconds,
    },
    /// Paid or voided before.
    #[error("the order was paid or voided {0}")]
    NotReserved(When),
    /// A payment goes back although its order stands.
    #[error("a payment went back whose order was not voided")]
    NotVoided,
    /// Gone back before.
    #[error("the payment went back twice")]
    ReturnedTwice,
    /// Money was in it.
    #[error("the envelope was recycled before it was over")]
    ForgottenAlive,
    /// The sums of a recycling.
    #[error(
        "its recycling says {told:?} (shares claimed, fen claimed, fen funded), it was {ours:?}"
    )]
    WrongSums {
        /// What the record says.
        told: (u32, Fen, Fen),
        /// What its records come to.
        ours: (u32, Fen, Fen),
    },
    /// A plan for an envelope that is no campaign.
    #[error("the envelope is no campaign")]
    NoCampaign,
    /// A part of a plan that was started.
    #[error("the plan was changed after the campaign had been started")]
    PlanChanged,
    /// The plan promises something else than was funded.
    #[error(
        "the campaign was started, and its prizes do not come to {shares} shares of {total} fen"
    )]
    PlanUnfunded {
        /// The shares.
        shares: u32,
        /// The money, in fen.
        total: Fen,
    },
    /// Started while it ran, or paused while it did not.
    #[error("the campaign was told what it did already")]
    CommandedTwice,
    /// A win of a campaign that gave out nothing.
    #[error("a prize was won before the campaign was started, or while it paused")]
    NotRunning,
    /// A win between slots.
    #[error("a prize was won at {0}, in no slot of the plan")]
    OutsideSlots(UnixSeconds),
    /// More than the slots up to there allow.
    #[error("a prize was won after all {planned} that were planned up to the end of its slot")]
    OverPlan {
        /// The quotas of the slots up to there.
        planned: u64,
    },
    /// More than one user may win.
    #[error("user {0} has won more than once in a slot, or more than the plan allows")]
    OverCap(UserId),
    /// A prize that is not there, or not any more.
    #[error("a prize of {amount} fen was won, and none is left in the plan")]
    NoSuchPrize {
        /// The amount, in fen.
        amount: Fen,
    },
}
