//! An envelope with terms as the rules say it: lists, and one `if` after the
//! other.

use std::collections::{BTreeMap, BTreeSet};

use hongbao::engine::{Outcome, mix};
use hongbao::units::{Place, Point, Seed, UnixSeconds, UserId};
use hongbao::wire::{Ineligible, RateLimit, Resolution, SendOrder, Ticket, WrongPassword};

pub(crate) const PER_USER_MAX: u8 = 3;
pub(crate) const PER_SHARE_MAX: u32 = 4;

/// The middle of every place, and what is surely within it and beyond it.
pub(crate) fn centre() -> Point {
    Point::new(399_087_000, 1_163_975_000).expect("a point")
}

pub(crate) fn near() -> Point {
    Point::new(399_097_000, 1_163_975_000).expect("a point") // 111 m
}

pub(crate) fn far() -> Point {
    Point::new(399_187_000, 1_163_975_000).expect("a point") // 1.1 km
}

pub(crate) const RADIUS_M: u32 = 500;

/// What a sender asked for beyond the money.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wishes {
    pub(crate) not_before: Option<UnixSeconds>,
    pub(crate) not_after: Option<UnixSeconds>,
    pub(crate) not_sender: bool,
    /// Ascending.
    pub(crate) named: Vec<u64>,
    pub(crate) seed_user: Option<u64>,
    pub(crate) hidden: bool,
    pub(crate) ticket: bool,
    pub(crate) place: Option<Place>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) greeting: Vec<u8>,
    pub(crate) photo: Vec<u8>,
    /// 0 is any.
    pub(crate) grade_min: u8,
}

/// What a claimer shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) ticket: Option<(Ticket, Genuine)>,
    pub(crate) position: Option<Point>,
    pub(crate) password: Option<Vec<u8>>,
}

/// What the maker of a ticket knows of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Genuine {
    Yes,
    No,
    UnknownKey,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Life {
    Open,
    SoldOut,
    Expired,
    Cancelled,
}

/// One envelope of equal shares.
#[derive(Debug)]
pub(crate) struct Naive {
    pub(crate) order: SendOrder,
    pub(crate) wishes: Wishes,
    pub(crate) seed: Seed,
    pub(crate) until: UnixSeconds,
    pub(crate) life: Life,
    pub(crate) holders: Vec<(u64, u64)>,
    /// Until when the shares of these users are held.
    pub(crate) held: BTreeMap<u64, UnixSeconds>,
    /// Whose shares went back.
    pub(crate) rejected: BTreeSet<u64>,
    pub(crate) wrong: u32,
    /// Lines of at most eight users with their counts, in order of place.
    lines: Vec<Vec<(u64, u8)>>,
}

impl Naive {
    pub(crate) fn new(order: SendOrder, wishes: Wishes, seed: Seed, until: UnixSeconds) -> Self {
        let mut lines = 8;
        while lines < order.shares / 2 && lines < 512 {
            lines *= 2;
        }
        let lines = (0..lines).map(|_| Vec::new()).collect();
        let (life, holders) = (Life::Open, Vec::new());
        let (held, rejected) = Default::default();
        Self { order, wishes, seed, until, life, holders, held, rejected, wrong: 0, lines }
    }

    fn line(&mut self, user: u64) -> &mut Vec<(u64, u8)> {
        let count = u64::try_from(self.lines.len()).expect("few");
        let at = mix(user ^ self.seed.0[1]) % count;
        &mut self.lines[usize::try_from(at).expect("few")]
    }

    /// How often a user is known to have guessed wrong.
    pub(crate) fn guesses(&mut self, user: u64) -> u8 {
        self.line(user).iter().find(|(of, _)| *of == user).map_or(0, |&(_, count)| count)
    }

    pub(crate) fn guess(&mut self, user: u64) {
        self.wrong += 1;
        let line = self.line(user);
        if let Some((_, count)) = line.iter_mut().find(|(of, _)| *of == user) {
            *count += 1;
        } else if line.len() < 8 {
            line.push((user, 1));
        } else {
            let least = line.iter().map(|&(_, count)| count).min().expect("eight");
            let first = line.iter().position(|&(_, count)| count == least).expect("there");
            line[first] = (user, 1);
        }
    }

    pub(crate) fn share_of(&self, user: u64) -> Option<u64> {
        self.holders.iter().find(|(of, _)| *of == user).map(|&(_, amount)| amount)
    }

    pub(crate) fn next_amount(&self) -> u64 {
        let (total, shares) = (self.order.total, u64::from(self.order.shares));
        let rank = u64::try_from(self.holders.len()).expect("few");
        total / shares + u64::from(rank < total % shares)
    }

    pub(crate) fn left(&self) -> u64 {
        self.order.total - self.holders.iter().map(|&(_, amount)| amount).sum::<u64>()
    }

    /// Whether this user has won a share that is not its own.
    pub(crate) fn is_withheld(&self, user: u64) -> bool {
        self.held.contains_key(&user) || self.rejected.contains(&user)
    }

    /// What a decision about a share is told, and whether it changes anything; from
    /// the end of a hold on time decides, which rejects.
    pub(crate) fn resolve(&self, user: u64, how: Resolution, at: UnixSeconds) -> (Outcome, bool) {
        let Some(amount) = self.share_of(user) else { return (Outcome::NotFound, false) };
        let is_overdue = self.held.get(&user).is_some_and(|&until| at >= until);
        let is_held = self.held.contains_key(&user);
        let won = match () {
            () if is_overdue || self.rejected.contains(&user) => Resolution::Reject,
            () if is_held => how,
            () => Resolution::Release,
        };
        let told = Outcome::Resolved { amount, repeated: !is_held };
        (if how == won { told } else { Outcome::Conflict }, is_held)
    }

    /// The largest share that was given, the first of the equal, once all are taken
    /// and none is held.
    pub(crate) fn luckiest(&self) -> Option<(UserId, u64)> {
        if self.life != Life::SoldOut || !self.held.is_empty() {
            return None;
        }
        let given = self.holders.iter().filter(|(user, _)| !self.rejected.contains(user));
        given.rev().max_by_key(|(_, amount)| *amount).map(|&(user, amount)| (UserId(user), amount))
    }

    /// What the holder of a share, or anybody of a closed one, is told.
    pub(crate) fn before_any_rule(&self, user: u64) -> Option<Outcome> {
        if self.is_withheld(user) {
            return Some(Outcome::Withheld);
        }
        if let Some(amount) = self.share_of(user) {
            return Some(Outcome::AlreadyClaimed { amount });
        }
        match self.life {
            Life::Open => None,
            Life::SoldOut => Some(Outcome::SoldOut),
            Life::Expired => Some(Outcome::Expired),
            Life::Cancelled => Some(Outcome::Cancelled),
        }
    }

    /// The rules that nothing must be shown for.
    pub(crate) fn keeps_out(&self, user: u64, now: UnixSeconds) -> Option<Ineligible> {
        let wishes = &self.wishes;
        if wishes.not_before.is_some_and(|from| now < from) {
            return Some(Ineligible::TooEarly);
        }
        if wishes.not_after.is_some_and(|until| now >= until) {
            return Some(Ineligible::TooLate);
        }
        if wishes.not_sender && UserId(user) == self.order.sender {
            return Some(Ineligible::Sender);
        }
        if !wishes.named.is_empty() && !wishes.named.contains(&user) {
            return Some(Ineligible::NotNamed);
        }
        if self.holders.is_empty() && wishes.seed_user.is_some_and(|seed| seed != user) {
            return Some(Ineligible::SeedFirst);
        }
        None
    }

    fn evidence_keeps_out(&self, shown: &Shown, now: UnixSeconds) -> Option<Ineligible> {
        if self.wishes.ticket {
            match shown.ticket {
                None => return Some(Ineligible::NoTicket),
                Some((_, Genuine::UnknownKey)) => return Some(Ineligible::UnknownTicketKey),
                Some((_, Genuine::No)) => return Some(Ineligible::WrongTicket),
                Some((ticket, Genuine::Yes)) if now >= ticket.not_after => {
                    return Some(Ineligible::TicketExpired);
                }
                Some((_, Genuine::Yes)) => {}
            }
        }
        if self.wishes.place.is_some() {
            match shown.position {
                None => return Some(Ineligible::NoPosition),
                Some(position) if position == far() => return Some(Ineligible::TooFar),
                Some(_) => {}
            }
        }
        None
    }

    /// What a claim must be told, and whether it leaves a guess behind.
    pub(crate) fn claim(
        &mut self,
        user: u64,
        grade: u8,
        shown: &Shown,
        now: UnixSeconds,
    ) -> (Outcome, bool) {
        if let Some(told) = self.before_any_rule(user) {
            return (told, false);
        }
        let broken = self.keeps_out(user, now).or_else(|| self.evidence_keeps_out(shown, now));
        if let Some(broken) = broken {
            return (Outcome::NotEligible(broken), false);
        }
        if let Some(password) = self.wishes.password.clone() {
            let Some(said) = &shown.password else {
                return (Outcome::WrongPassword(WrongPassword::NotSaid), false);
            };
            if self.guesses(user) >= PER_USER_MAX {
                return (Outcome::TooManyGuesses(RateLimit::UserGuesses), false);
            }
            if self.wrong >= PER_SHARE_MAX * self.order.shares {
                return (Outcome::TooManyGuesses(RateLimit::EnvelopeGuesses), false);
            }
            if *said != password {
                return (Outcome::WrongPassword(WrongPassword::Guessed), true);
            }
        }
        if grade < self.wishes.grade_min {
            return (Outcome::Withheld, false);
        }
        (Outcome::Claimed { amount: self.next_amount() }, false)
    }
}
