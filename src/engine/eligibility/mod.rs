//! Who may claim from an envelope with terms: every rule, in one fixed order.
//!
//! Whoever asks has no share of it, and it has shares left and time; that was
//! looked at before, as for any envelope. Then, and the first that is broken is
//! told: the window, the sender, the named users, the seed user, the ticket, the
//! place, and last the password, so that nobody who could not claim anyway tries
//! words on it, or uses up guesses. A refusal takes nothing from the stock. The
//! grade comes behind all of them, with the rules of risk, and is told like those.
//!
//! Pure like the rest of the engine: keys and limits are arguments.

pub(super) mod guesses;
mod place;

use super::header::Header;
use super::slots::Slot;
use super::{Decision, Engine, Guessed, Outcome, Record};
use crate::limits::GUESSES_PER_USER_MAX;
use crate::planted::{Bug, is_planted};
use crate::units::{Cell, EnvelopeId, EnvelopeState, Time, UnixSeconds, UserId};
use crate::wire::{
    Evidence, Ineligible, Password, PasswordKeys, RateLimit, Terms, TicketKeys, WrongPassword,
};

/// How often a password may be guessed wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessLimits {
    /// By one user at one envelope; at most [`GUESSES_PER_USER_MAX`].
    pub per_user_max: u8,
    /// By everybody at one envelope, for each of its shares; 0 is any number.
    pub per_share_max: u32,
}

impl Default for GuessLimits {
    fn default() -> Self {
        Self { per_user_max: 5, per_share_max: 200 }
    }
}

/// What a server checks evidence with.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// The keys of gateways that give tickets.
    pub tickets: TicketKeys,
    /// The keys under which passwords are kept.
    pub passwords: PasswordKeys,
    /// How often they may be guessed.
    pub guesses: GuessLimits,
}

/// Who claims what, when, and with what to show.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) envelope: EnvelopeId,
    pub(super) user: UserId,
    pub(super) evidence: &'a Evidence<'a>,
    pub(super) now: Time,
}

type Judged = Result<(), Ineligible>;

fn keep(rule: bool, broken: Ineligible) -> Judged {
    if rule { Ok(()) } else { Err(broken) }
}

/// The rules that can be judged without anything to show.
fn check_who_and_when(
    terms: &Terms<'_>,
    sender: UserId,
    claimed: u32,
    user: UserId,
    at: UnixSeconds,
) -> Judged {
    let may_be_first = claimed > 0 || terms.seed_user.is_none_or(|seed| seed == user);
    keep(terms.not_before.is_none_or(|from| at >= from), Ineligible::TooEarly)?;
    keep(terms.not_after.is_none_or(|until| at < until), Ineligible::TooLate)?;
    keep(!terms.not_sender || user != sender, Ineligible::Sender)?;
    keep(terms.names(user), Ineligible::NotNamed)?;
    keep(may_be_first, Ineligible::SeedFirst)
}

/// The rules that something must be shown for, but for the password.
fn check_shown(terms: &Terms<'_>, asking: &Asking<'_>, cell: Cell, gate: &Gate) -> Judged {
    if terms.wants_ticket {
        let ticket = asking.evidence.ticket.as_ref().ok_or(Ineligible::NoTicket)?;
        let whose = (asking.envelope, asking.user);
        let genuine = gate.tickets.is_genuine(cell, whose, ticket);
        keep(genuine.ok_or(Ineligible::UnknownTicketKey)?, Ineligible::WrongTicket)?;
        let is_good = asking.now.seconds() < ticket.not_after || is_planted(Bug::TicketOutlived);
        keep(is_good, Ineligible::TicketExpired)?;
    }
    if let Some(place) = terms.place {
        let position = asking.evidence.position.ok_or(Ineligible::NoPosition)?;
        keep(place::has(place, position), Ineligible::TooFar)?;
    }
    Ok(())
}

impl GuessLimits {
    /// The limit that so many wrong guesses have reached, if they have one.
    fn reached(self, shares: u32, (all, of_user): (u32, u8)) -> Option<RateLimit> {
        let per_user = self.per_user_max.min(GUESSES_PER_USER_MAX);
        let all_max = self.per_share_max.saturating_mul(shares);
        if of_user >= per_user {
            return Some(RateLimit::UserGuesses);
        }
        (self.per_share_max > 0 && all >= all_max).then_some(RateLimit::EnvelopeGuesses)
    }
}

impl Engine {
    /// Why this envelope's terms do not let a claim through, if they do not; a
    /// wrong guess leaves a record.
    #[cold]
    pub(super) fn kept_out(
        &self,
        slot: &Slot,
        asking: &Asking<'_>,
        gate: &Gate,
    ) -> Option<Decision> {
        let terms = self.slots.terms(slot);
        let sender = self.slots.cold(slot.reference())?.sender;
        let (claimed, at) = (slot.header.claimed, asking.now.seconds());
        let judged = check_who_and_when(&terms, sender, claimed, asking.user, at)
            .and_then(|()| check_shown(&terms, asking, self.slots.cell(), gate));
        match (judged, terms.password) {
            (Err(broken), _) => Some(Decision::only(Outcome::NotEligible(broken))),
            (Ok(()), Some(Password::Kept { key_id, mac })) => {
                self.misspoken(slot, asking, (key_id, &mac), gate)
            }
            (Ok(()), _) => None,
        }
    }

    /// Why what was said does not open the envelope. Above the limits nothing
    /// is compared and nothing is written.
    fn misspoken(
        &self,
        slot: &Slot,
        asking: &Asking<'_>,
        kept: (u32, &[u8; 32]),
        gate: &Gate,
    ) -> Option<Decision> {
        let wrong = |why| Some(Decision::only(Outcome::WrongPassword(why)));
        let Some(said) = asking.evidence.password else { return wrong(WrongPassword::NotSaid) };
        let guesses = self.slots.guesses(slot, asking.user);
        if let Some(limit) = gate.guesses.reached(slot.header.shares, guesses) {
            return Some(Decision::only(Outcome::TooManyGuesses(limit)));
        }
        let cold = self.slots.cold(slot.reference())?;
        let salt = (cold.sender, cold.order);
        match gate.passwords.is_right(kept, self.slots.cell(), salt, said) {
            Some(true) => None,
            None => wrong(WrongPassword::KeyGone),
            Some(false) => {
                let &Asking { envelope, user, now, .. } = asking;
                let record = Guessed { envelope, user, guesses: guesses.0, at: now.seconds() };
                let outcome = Outcome::WrongPassword(WrongPassword::Guessed);
                let record = Record::Guessed(record);
                let record = (!is_planted(Bug::GuessUnrecorded)).then_some(record);
                Some(Decision { outcome, record })
            }
        }
    }

    /// What a look tells of an envelope with terms: the rules that need nothing
    /// to show are judged, the others are not.
    #[cold]
    pub(super) fn looks_kept_out(&self, slot: &Slot, user: UserId, now: Time) -> Option<Outcome> {
        let terms = self.slots.terms(slot);
        let sender = self.slots.cold(slot.reference())?.sender;
        let claimed = slot.header.claimed;
        let judged = check_who_and_when(&terms, sender, claimed, user, now.seconds());
        judged.err().map(Outcome::NotEligible)
    }

    /// Whether the rows of this envelope are hidden now.
    pub(super) fn is_hidden(&self, slot: &Slot) -> bool {
        slot.header.has_terms && !is_over(&slot.header) && self.slots.terms(slot).is_hidden
    }

    /// The terms of an envelope as far as a user may see them: names are the
    /// sender's, references are for those who have a share, and of a password
    /// nobody sees more than that there is one. `None` without such an envelope.
    pub fn terms(&self, envelope: EnvelopeId, user: UserId) -> Option<Terms<'_>> {
        let slot = self.slots.get(envelope)?;
        if !slot.header.has_terms {
            return Some(Terms::default());
        }
        let is_sender = self.slots.cold(slot.reference())?.sender == user;
        let has_share = self.slots.rank_of(&slot, user).is_some() && !self.is_withheld(&slot, user);
        let mut terms = self.slots.terms(&slot);
        terms.password = terms.password.map(|_| Password::Wanted);
        if !is_sender {
            let own = terms.named.iter().position(|name| u64::from_le_bytes(*name) == user.0);
            terms.named = own.and_then(|at| terms.named.get(at..=at)).unwrap_or_default();
            terms.seed_user = terms.seed_user.filter(|&seed| seed == user);
        }
        if !is_sender && !has_share {
            (terms.coupon, terms.photo) = (&[], &[]);
        }
        Some(terms)
    }

    /// Under which key the password of an order is kept that was sent before.
    pub fn password_key(&self, sender: UserId, order: u64) -> Option<u32> {
        let slot = self.slots.at(self.orders.find(&self.slots, sender, order)?)?;
        match self.slots.terms(&slot).password {
            Some(Password::Kept { key_id, .. }) => Some(key_id),
            _ => None,
        }
    }
}

fn is_over(header: &Header) -> bool {
    !matches!(header.state, EnvelopeState::Open | EnvelopeState::Reserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_guesses_is_reached_by_the_last_that_it_allows() {
        let limits = GuessLimits { per_user_max: 3, per_share_max: 2 };
        assert_eq!(limits.reached(5, (9, 2)), None);
        assert_eq!(limits.reached(5, (10, 2)), Some(RateLimit::EnvelopeGuesses));
        assert_eq!(limits.reached(5, (10, 3)), Some(RateLimit::UserGuesses));
        let without = GuessLimits { per_share_max: 0, ..limits };
        assert_eq!(without.reached(5, (u32::MAX, 2)), None);
    }
}
