//! The rules of an envelope's terms, as far as its records show whether they
//! were kept: when, and by whom. What a claimer had to show is in no record.
//!
//! Written from the rules and not from the engine, so that both would have to be
//! wrong in the same way.

use std::collections::HashSet;

use super::broken::Broken;
use crate::engine::{Claimed, Issued, TermsPart};
use crate::units::{EnvelopeId, UnixSeconds, UserId};
use crate::wire::{Ineligible, Terms};

/// What one envelope asks for.
#[derive(Debug)]
pub(super) struct Rules {
    from: UnixSeconds,
    /// The first moment that is too late.
    until: UnixSeconds,
    outsider: Option<UserId>,
    /// Empty is everybody.
    named: HashSet<UserId>,
    seed_user: Option<UserId>,
    pub(super) has_password: bool,
}

impl Rules {
    /// The rules in the terms of a sender's envelope; none without terms.
    pub(super) fn read(terms: &[u8], sender: UserId) -> Result<Option<Box<Self>>, Broken> {
        if terms.is_empty() {
            return Ok(None);
        }
        let terms = Terms::read(terms).ok_or(Broken::BadTerms)?;
        let user = |name: &[u8; 8]| UserId(u64::from_le_bytes(*name));
        Ok(Some(Box::new(Self {
            from: terms.not_before.unwrap_or(0),
            until: terms.not_after.unwrap_or(UnixSeconds::MAX),
            outsider: terms.not_sender.then_some(sender),
            named: terms.named.iter().map(user).collect(),
            seed_user: terms.seed_user,
            has_password: terms.password.is_some(),
        })))
    }

    /// Whether they let a claim through that comes after so many others.
    pub(super) fn admit(&self, claim: &Claimed, others: u32) -> Result<(), Broken> {
        let broken = if claim.at < self.from {
            Ineligible::TooEarly
        } else if claim.at >= self.until {
            Ineligible::TooLate
        } else if self.outsider == Some(claim.user) {
            Ineligible::Sender
        } else if !self.named.is_empty() && !self.named.contains(&claim.user) {
            Ineligible::NotNamed
        } else if others == 0 && self.seed_user.is_some_and(|seed| seed != claim.user) {
            Ineligible::SeedFirst
        } else {
            return Ok(());
        };
        Err(Broken::KeptOut { user: claim.user, broken })
    }
}

/// Parts of terms whose order has not come yet.
#[derive(Debug, Default)]
pub(super) struct Parts {
    envelope: EnvelopeId,
    count: u8,
    terms: Vec<u8>,
}

impl Parts {
    pub(super) fn add(&mut self, part: &TermsPart) -> Result<(), Broken> {
        if part.number == 0 {
            *self = Self { envelope: part.envelope, ..Self::default() };
        }
        if (part.envelope, part.number) != (self.envelope, self.count) {
            return Err(Broken::BadTerms);
        }
        self.terms.extend_from_slice(part.terms().ok_or(Broken::BadTerms)?);
        self.count += 1;
        Ok(())
    }

    /// The terms of an order.
    pub(super) fn of(&self, record: &Issued) -> Result<&[u8], Broken> {
        match record.terms_parts {
            0 => Ok(&[]),
            parts if (record.envelope, parts) == (self.envelope, self.count) => Ok(&self.terms),
            _ => Err(Broken::BadTerms),
        }
    }
}
