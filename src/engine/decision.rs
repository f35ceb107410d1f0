//! What the engine says: outcomes as values, and the records that make them so.
//!
//! A record holds an outcome (who got how much), never a wish, so replay
//! decides nothing again.

use crate::limits::{TERMS_PART_BYTES, TERMS_PARTS_MAX};
use crate::units::{
    EnvelopeId, EnvelopeState, Fen, MoneySource, Seed, Split, UnixSeconds, UserId, VoidCause,
};
use crate::wire::{
    BadRequest, Command, Ineligible, PlanPart, RateLimit, Resolution, ResolvedBy, RiskRule,
    Standing, Tags, WrongPassword,
};

/// A decision: what to tell, and what must be journalled first, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the asker is told after the commit.
    pub outcome: Outcome,
    /// The change, to be appended and then applied; `None` changes nothing.
    pub record: Option<Record>,
}

/// The outcome of a command.
///
/// It is copied on the way of every claim. With a tag of one byte, or a byte after
/// the amount, seven bytes are left, which are copied by two moves that overlap, and
/// the processor waits each time it reads them back; so the tag is a word, and what
/// is small stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// The order has an envelope.
    Issued {
        /// Where it is in its life: open, or reserved until it is paid.
        state: EnvelopeState,
        /// Whether the same order was sent before.
        repeated: bool,
        /// Its id.
        envelope: EnvelopeId,
    },
    /// The payment was taken: the envelope is open, or has been.
    Funded {
        /// Whether the same payment was confirmed before.
        repeated: bool,
    },
    /// The payment came too late and went to the sender's balance.
    Returned {
        /// Whether it had gone back before.
        repeated: bool,
        /// The money.
        amount: Fen,
    },
    /// The order will never be paid.
    Voided {
        /// Whether it was withdrawn before.
        repeated: bool,
    },
    /// It is reserved and waits for its money.
    NotPaid,
    /// It was never paid and never will be.
    NeverPaid,
    /// A limit of the sender's, or of the user's who claims, was reached;
    /// nothing was changed.
    LimitReached,
    /// A rule of the envelope's keeps this user out.
    NotEligible(Ineligible),
    /// This is not the password.
    WrongPassword(WrongPassword),
    /// There were too many wrong guesses: of this user's, or of all.
    TooManyGuesses(RateLimit),
    /// Something is left; nothing is won by looking.
    Winnable {
        /// How many shares are left.
        shares_left: u32,
    },
    /// This user has a share now.
    Claimed {
        /// Its amount.
        amount: Fen,
    },
    /// This user had a share before.
    AlreadyClaimed {
        /// The same amount as then.
        amount: Fen,
    },
    /// Every share is taken.
    SoldOut,
    /// Its time ran out.
    Expired,
    /// The sender took it back.
    Cancelled,
    /// The rest went back to the sender.
    Refunded {
        /// Whether it was cancelled before.
        repeated: bool,
        /// What was left.
        amount: Fen,
    },
    /// A page of claims exists; the rows are read with `Engine::rows`.
    Detail {
        /// How many shares the envelope has.
        shares: u32,
        /// How many are claimed.
        claimed: u32,
        /// The first rank of the page.
        from: u32,
        /// How many rows the page has.
        count: u32,
    },
    /// A prize of this kind was won.
    Won {
        /// Its amount.
        amount: Fen,
        /// Which kind of the plan.
        kind: u32,
    },
    /// Nothing was won.
    NothingWon {
        /// What the plan tells losers.
        fallback: u32,
    },
    /// This user has won what it may, in this slot or at all.
    CapReached {
        /// What was won last.
        amount: Fen,
    },
    /// How many prizes a user has won.
    Wins {
        /// How many.
        wins: u32,
        /// What was won last; 0 where nothing was.
        amount: Fen,
    },
    /// A part of a plan or a command to a campaign was taken.
    Arranged {
        /// Whether it was so before.
        repeated: bool,
    },
    /// The campaign was not started, or nobody takes part yet.
    NotBegun,
    /// The campaign gives out nothing for the time being.
    Paused,
    /// Its shares are prizes: they are won by shaking, not claimed.
    ByShakingOnly,
    /// The share is not given, now or for good, and the asker is not told why.
    Withheld,
    /// It is decided about a held share.
    Resolved {
        /// Whether it was decided so before.
        repeated: bool,
        /// Its amount.
        amount: Fen,
    },
    /// No such envelope.
    NotFound,
    /// Only the sender may do this.
    Denied,
    /// The same order came with other parameters.
    Conflict,
    /// The tables are full; nothing was changed.
    Full,
    /// The order breaks a rule.
    Invalid(BadRequest),
}

/// The commitment to an envelope's draws, and what opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revealed {
    /// The hash that was told when the envelope was ordered.
    pub commitment: [u8; 32],
    /// The secret of the draws; `None` while it could tell coming amounts.
    pub seed: Option<Seed>,
    /// The sender's part.
    pub nonce: u32,
}

/// A change, as the journal holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// An envelope was ordered: reserved, or open at once where the caller
    /// vouches for the money.
    Issued(Issued),
    /// A share was claimed.
    Claimed(Claimed),
    /// An envelope was closed and its rest refunded.
    Closed(Closed),
    /// A closed envelope was forgotten and its slot made free.
    Recycled(Recycled),
    /// The money of a reserved envelope is there: it is open.
    Paid(Paid),
    /// A reserved envelope will never open.
    Voided(Voided),
    /// The payment of a voided envelope came after all, and went back.
    Returned(Returned),
    /// A part of the terms of the envelope that is ordered by the next record
    /// of its own.
    TermsPart(TermsPart),
    /// A password was guessed wrong.
    Guessed(Guessed),
    /// A part of a campaign's plan was written.
    Planned(Planned),
    /// A campaign was started or paused.
    Commanded(Commanded),
    /// A share was won and is held.
    Held(Held),
    /// It was decided about a held share.
    Resolved(Resolved),
    /// Something was said of a user.
    Marked(Marked),
    /// The share of the next record was won from a device or an address.
    Tagged(Tagged),
    /// A rule of risk did not give a share.
    Denied(Denied),
}

impl Record {
    /// The envelope that it changes; of a mark, an id of its partition that no
    /// envelope has.
    #[inline]
    pub fn envelope(&self) -> EnvelopeId {
        match self {
            Self::Issued(issued) => issued.envelope,
            Self::Claimed(claimed) => claimed.envelope,
            Self::Closed(closed) => closed.envelope,
            Self::Recycled(recycled) => recycled.envelope,
            Self::Paid(paid) => paid.envelope,
            Self::Voided(voided) => voided.envelope,
            Self::Returned(returned) => returned.envelope,
            Self::TermsPart(part) => part.envelope,
            Self::Guessed(guessed) => guessed.envelope,
            Self::Planned(planned) => planned.envelope,
            Self::Commanded(commanded) => commanded.envelope,
            Self::Held(held) => held.claimed.envelope,
            Self::Resolved(resolved) => resolved.envelope,
            Self::Marked(marked) => EnvelopeId::of_partition(marked.partition),
            Self::Tagged(tagged) => tagged.envelope,
            Self::Denied(denied) => denied.envelope,
        }
    }
}

/// See [`Record::Issued`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The id it got.
    pub envelope: EnvelopeId,
    /// Who pays.
    pub sender: UserId,
    /// The sender's number for the order.
    pub order: u64,
    /// The payment's reference; 0 where the balance pays.
    pub payment: u64,
    /// The money, in fen.
    pub total: Fen,
    /// The secret that draws come from.
    pub seed: Seed,
    /// The sender's part of the published hash of the seed.
    pub nonce: u32,
    /// The number of shares.
    pub shares: u32,
    /// The sender's cap of a share, in fen; 0 is none.
    pub share_max: u32,
    /// How long it may be claimed, in seconds from when it opens.
    pub lifetime_s: u32,
    /// How long it waits for its money, in seconds from `at`; 0 where the
    /// caller vouches for it.
    pub pay_within_s: u32,
    /// When it was ordered.
    pub at: UnixSeconds,
    /// The rule of the cut.
    pub split: Split,
    /// Where the money comes from; vouched for, it is open from `at`.
    pub source: MoneySource,
    /// How many parts of its terms come before it; 0 where it has none.
    pub terms_parts: u8,
}

/// See [`Record::TermsPart`]. The terms of an envelope and its order are
/// appended together, so a reader has all of them or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermsPart {
    /// The id that the order will get.
    pub envelope: EnvelopeId,
    /// Which part, from 0.
    pub number: u8,
    /// How many of the bytes are terms; the last part may have fewer.
    pub length: u8,
    /// Terms, and zeros.
    pub bytes: [u8; TERMS_PART_BYTES],
}

const _: () = assert!(TERMS_PARTS_MAX <= 255 && TERMS_PART_BYTES <= 255);

impl TermsPart {
    /// The parts of some terms, in order.
    pub fn cut(envelope: EnvelopeId, terms: &[u8]) -> impl Iterator<Item = Self> + Clone {
        (0..).zip(terms.chunks(TERMS_PART_BYTES)).map(move |(number, chunk)| {
            let mut bytes = [0; TERMS_PART_BYTES];
            bytes[..chunk.len()].copy_from_slice(chunk);
            Self { envelope, number, length: u8::try_from(chunk.len()).unwrap_or(0), bytes }
        })
    }

    /// The terms in it; `None` if it says that there are more than fit, or has
    /// something where nothing belongs.
    pub fn terms(&self) -> Option<&[u8]> {
        let (terms, rest) = self.bytes.split_at_checked(self.length.into())?;
        (!terms.is_empty() && rest.iter().all(|&byte| byte == 0)).then_some(terms)
    }
}

/// See [`Record::Guessed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guessed {
    /// Which envelope.
    pub envelope: EnvelopeId,
    /// Who guessed.
    pub user: UserId,
    /// How many wrong guesses there were before: a check that replay is in step.
    pub guesses: u32,
    /// When.
    pub at: UnixSeconds,
}

/// See [`Record::Paid`]. Like every record about money it names both ends, so
/// that a reader of the journal needs no state to book it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid {
    /// Which envelope.
    pub envelope: EnvelopeId,
    /// Who paid.
    pub sender: UserId,
    /// The payment's reference, as confirmed; 0 where the balance paid.
    pub payment: u64,
    /// The money, in fen.
    pub total: Fen,
    /// When it opened; its lifetime counts from here.
    pub at: UnixSeconds,
    /// Where the money came from; never `Vouched`.
    pub source: MoneySource,
}

/// See [`Record::Voided`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voided {
    /// Which envelope.
    pub envelope: EnvelopeId,
    /// Whose order it was.
    pub sender: UserId,
    /// The money that was never put in, in fen.
    pub total: Fen,
    /// When.
    pub at: UnixSeconds,
    /// Where the money would have come from.
    pub source: MoneySource,
    /// Why.
    pub cause: VoidCause,
}

/// See [`Record::Returned`]. The money goes to the sender, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Which envelope.
    pub envelope: EnvelopeId,
    /// Who paid too late.
    pub sender: UserId,
    /// The payment's reference, as confirmed.
    pub payment: u64,
    /// The money, in fen.
    pub amount: Fen,
    /// When.
    pub at: UnixSeconds,
}

/// See [`Record::Planned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The campaign's envelope.
    pub envelope: EnvelopeId,
    /// What takes its place in the plan.
    pub part: PlanPart,
    /// When.
    pub at: UnixSeconds,
}

/// See [`Record::Commanded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commanded {
    /// The campaign's envelope.
    pub envelope: EnvelopeId,
    /// What it was told to do.
    pub command: Command,
    /// When.
    pub at: UnixSeconds,
}

/// See [`Record::Claimed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Which envelope.
    pub envelope: EnvelopeId,
    /// Who claimed.
    pub user: UserId,
    /// The amount, in fen.
    pub amount: u32,
    /// The low 16 bits of the claim's rank: a check that replay is in step.
    pub rank: u16,
    /// When.
    pub at: UnixSeconds,
}

/// See [`Record::Held`]. The share is claimed as far as its envelope goes, and not
/// yet its claimant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The claim.
    pub claimed: Claimed,
    /// Why it is held.
    pub rule: RiskRule,
    /// When time decides, if nobody else did.
    pub until: UnixSeconds,
}

/// See [`Record::Resolved`]. Like every record about money it names both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Which envelope.
    pub envelope: EnvelopeId,
    /// Who won the share, and gets it if it is released.
    pub user: UserId,
    /// Who sent the envelope, and gets it back if it is rejected.
    pub sender: UserId,
    /// The amount, in fen.
    pub amount: u32,
    /// When.
    pub at: UnixSeconds,
    /// What became of it.
    pub resolution: Resolution,
    /// Who decided.
    pub by: ResolvedBy,
}

/// See [`Record::Tagged`]. It is appended together with the record of the share, so a
/// reader has both or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// Of which envelope.
    pub envelope: EnvelopeId,
    /// Who won it.
    pub user: UserId,
    /// From where; at least one of the two.
    pub tags: Tags,
    /// When.
    pub at: UnixSeconds,
}

/// See [`Record::Denied`]. It changes nothing, and not every denial has one: see
/// `shard/risk.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Of which envelope.
    pub envelope: EnvelopeId,
    /// Who would have won it, or has guessed.
    pub user: UserId,
    /// The share, in fen; 0 of a guess.
    pub amount: u32,
    /// Why.
    pub rule: RiskRule,
    /// When.
    pub at: UnixSeconds,
}

/// See [`Record::Marked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// A partition of the shard that was told.
    pub partition: u8,
    /// Of whom.
    pub user: UserId,
    /// All that is said of the user from now on.
    pub standing: Standing,
}

/// See [`Record::Closed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which envelope.
    pub envelope: EnvelopeId,
    /// Who sent it, and gets what was left.
    pub sender: UserId,
    /// What was left and went back to the sender, in fen.
    pub refunded: Fen,
    /// What is held of it at that moment, in fen, and so in neither.
    pub held: Fen,
    /// Why.
    pub cause: Cause,
    /// When.
    pub at: UnixSeconds,
}

/// See [`Record::Recycled`]. It carries what the envelope came to (total less
/// claimed was refunded), because after an image was taken only this record
/// may still know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recycled {
    /// Which envelope.
    pub envelope: EnvelopeId,
    /// How many of its shares were claimed.
    pub shares_claimed: u32,
    /// The money that was claimed, in fen.
    pub claimed: Fen,
    /// The money that was put in, in fen; 0 if it was never paid.
    pub total: Fen,
    /// When.
    pub at: UnixSeconds,
}

/// Why an envelope was closed with money left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its time ran out.
    Expired,
    /// The sender took it back.
    Cancelled,
}

/// A record that does not fit the state. After `validate` it cannot happen; in
/// recovery it means another configuration or a damaged journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The tables are smaller than the journal needs.
    #[error(
        "the tables are full; start with more capacity (envelopes_max, table_mib, risk_users_max, risk_holds_max)"
    )]
    Full,
    /// The record's id names no slot of its size, or one that is taken, or a
    /// generation that is over.
    #[error("envelope id {0} cannot be given out")]
    EnvelopeOutOfTurn(EnvelopeId),
    /// The envelope is not there, or not open.
    #[error("envelope {0} is not open")]
    NotOpen(EnvelopeId),
    /// The envelope is not there, or still open.
    #[error("envelope {0} is not closed")]
    NotClosed(EnvelopeId),
    /// The envelope is not there, or does not wait for its money.
    #[error("envelope {0} does not wait for its money")]
    NotReserved(EnvelopeId),
    /// The rank, the amount, the user or the order contradicts the state.
    #[error("a record contradicts the state of envelope {0}")]
    Contradiction(EnvelopeId),
}
