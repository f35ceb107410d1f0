//! The shares of an envelope that were won and not given: which are held, and
//! which were rejected.
//!
//! An account that was opened from a checkpoint may know of a hold later or
//! earlier than of its share, because both were copied while the server went on;
//! what it then does not know is passed over, and no money is counted twice. An
//! account whose whole life is in the journal passes over nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::broken::Broken;
use super::envelope::{Account, keep};
use crate::engine::{Held, Resolved};
use crate::units::{Fen, UnixSeconds, UserId};
use crate::wire::{Hold, HoldState, Resolution, ResolvedBy};

/// What is withheld of one envelope.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    held: BTreeMap<UserId, (Fen, UnixSeconds)>,
    /// The money of `held`, in fen.
    fen: Fen,
    pub(super) rejected: BTreeSet<UserId>,
    /// Whether the account was opened from a checkpoint.
    is_opened: bool,
}

impl Withheld {
    /// What an account that was opened from a checkpoint begins with.
    pub(super) fn opened() -> Self {
        Self { is_opened: true, ..Self::default() }
    }

    /// Takes over a hold of the checkpoint.
    pub(super) fn keep(&mut self, hold: &Hold) {
        match hold.state {
            HoldState::Held => self.hold(hold.user, hold.amount.into(), hold.until),
            HoldState::Rejected => {
                self.rejected.insert(hold.user);
            }
        }
    }

    fn hold(&mut self, user: UserId, amount: Fen, until: UnixSeconds) {
        self.fen += amount;
        self.held.insert(user, (amount, until));
    }
}

impl Account {
    /// What is held, in fen.
    pub(super) fn held(&self) -> Fen {
        self.withheld.as_ref().map_or(0, |withheld| withheld.fen)
    }

    /// Whether holds of it may have been decided about before they were copied.
    pub(super) fn is_vague(&self) -> bool {
        self.withheld.as_ref().is_some_and(|withheld| withheld.is_opened)
    }

    /// A share was won and is held.
    pub(super) fn hold(&mut self, record: &Held, again: bool) -> Result<(), Broken> {
        keep(self.campaign.is_none(), Broken::HeldPrize)?;
        self.claim(&record.claimed, again)?;
        self.withhold(record);
        Ok(())
    }

    /// A share that was counted as claimed is held.
    fn withhold(&mut self, record: &Held) {
        let amount = Fen::from(record.claimed.amount);
        self.claimed = self.claimed.saturating_sub(amount);
        let withheld = self.withheld.get_or_insert_default();
        withheld.hold(record.claimed.user, amount, record.until);
    }

    /// The share is in the opening, and perhaps the hold as well. What the opening
    /// did not know of as held comes back, in fen.
    pub(super) fn recall(&mut self, record: &Held) -> Fen {
        let user = record.claimed.user;
        let is_known = self.withheld.as_ref().is_some_and(|withheld| {
            withheld.held.contains_key(&user) || withheld.rejected.contains(&user)
        });
        if is_known {
            return 0;
        }
        self.withhold(record);
        record.claimed.amount.into()
    }

    /// It was decided about a held share; how much moved, in fen.
    pub(super) fn resolve(&mut self, record: &Resolved) -> Result<Fen, Broken> {
        let user = record.user;
        let withheld = self.withheld.get_or_insert_default();
        let Some(&(amount, until)) = withheld.held.get(&user) else {
            // Of an opened account it was decided before the hold was copied.
            return keep(withheld.is_opened, Broken::NotHeld(user)).map(|()| 0);
        };
        keep(amount == Fen::from(record.amount), Broken::NotHeld(user))?;
        keep(record.sender == self.terms.sender, Broken::OtherSender(record.sender))?;
        let by_time = record.by == ResolvedBy::Time;
        let wrong_time = Broken::WrongHoldTime { at: record.at, until };
        keep(by_time == (record.at >= until), wrong_time)?;
        withheld.held.remove(&user);
        withheld.fen -= amount;
        match record.resolution {
            Resolution::Release => self.claimed += amount,
            Resolution::Reject => {
                withheld.rejected.insert(user);
                self.refunded += amount;
            }
        }
        Ok(amount)
    }
}
