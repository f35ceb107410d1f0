//! The terms of one envelope against what was told: who was let in, who was kept
//! out, and how often somebody may guess.

use std::collections::BTreeMap;

use hongbao::units::{EnvelopeId, UserId};
use hongbao::wire::{
    Evidence, Ineligible, RateLimit, Reply, ReplyBody, Request, SendOrder, Status, Terms,
    ToldTerms, WrongPassword,
};

use crate::client::Asked;
use crate::envelope::Moment;
use crate::terms::{GUESSES_PER_SHARE_MAX, GUESSES_PER_USER_MAX, is_right, seen_by, standing};

/// Wrong guesses of a user.
#[derive(Default)]
struct Guesses {
    /// Those that were made; the answers to some were lost.
    made: u32,
    /// Those that were told, or must have been counted.
    told: u32,
    /// Those of them that must have been counted; the answer may come yet.
    presumed: u32,
    /// When the user's last one was told.
    told_at: u64,
}

/// The terms, and what came of them.
pub(crate) struct Rules {
    /// As the sender said them.
    bytes: Vec<u8>,
    guesses: BTreeMap<UserId, Guesses>,
    /// Wrong guesses of all that were told.
    all: u32,
    /// Since when nobody may guess any more.
    shut_at: Option<u64>,
}

impl Rules {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, guesses: BTreeMap::new(), all: 0, shut_at: None }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn terms(&self) -> Terms<'_> {
        Terms::read(&self.bytes).unwrap()
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.terms().is_hidden
    }

    /// Somebody is about to claim and shows this.
    pub(crate) fn asking(&mut self, user: UserId, evidence: &[u8]) {
        let evidence = Evidence::read(evidence).unwrap();
        if evidence.password.is_some() && !is_right(&evidence) {
            self.guesses.entry(user).or_default().made += 1;
        }
    }

    /// How many wrong guesses were told.
    pub(crate) fn guesses(&self) -> u64 {
        self.all.into()
    }

    /// Somebody got a share: no rule can have been in the way.
    pub(crate) fn let_in(
        &self,
        order: &SendOrder,
        envelope: EnvelopeId,
        asked: &Asked,
        moment: &Moment,
    ) {
        if self.bytes.is_empty() {
            return;
        }
        let (terms, evidence) = (self.terms(), Evidence::read(&asked.beside).unwrap());
        let user = asked.user().unwrap();
        let broken = standing(&terms, order.sender, (envelope, user), &evidence);
        assert_eq!(broken, None, "{user} has a share of {envelope} all the same");
        let (at_least, at_most) = (asked.earliest.seconds(), moment.latest.seconds());
        let begun = terms.not_before.is_none_or(|from| at_most >= from);
        assert!(begun, "{envelope} gives before its window");
        let still = terms.not_after.is_none_or(|until| at_least < until);
        assert!(still, "{envelope} gives after its window");
        let until = evidence.ticket.filter(|_| terms.wants_ticket).map(|ticket| ticket.not_after);
        assert!(until.is_none_or(|until| at_least < until), "{user}'s ticket was over");
        if terms.password.is_some() {
            assert!(is_right(&evidence), "{user} opens {envelope} with a wrong word");
            assert!(!self.is_shut(user, asked.at), "{user} has guessed too often at {envelope}");
        }
    }

    /// Whether the limits had been reached when this was asked.
    fn is_shut(&self, user: UserId, asked_at: u64) -> bool {
        let own = self.guesses.get(&user);
        let too_often = own
            .is_some_and(|own| own.told >= GUESSES_PER_USER_MAX.into() && own.told_at < asked_at);
        too_often || self.shut_at.is_some_and(|shut_at| shut_at < asked_at)
    }

    /// Somebody was kept out by a rule, which must be the first in the way.
    pub(crate) fn kept_out(
        &mut self,
        (order, envelope): (&SendOrder, EnvelopeId),
        asked: &Asked,
        reply: &Reply,
        moment: &Moment,
        is_first: bool,
    ) {
        let evidence = Evidence::read(&asked.beside).unwrap();
        let user = asked.user().unwrap();
        let terms = Terms::read(&self.bytes).unwrap();
        let broken = standing(&terms, order.sender, (envelope, user), &evidence);
        let is_look = matches!(asked.request, Request::Grab { .. });
        if reply.status == Status::NotEligible {
            let told = Ineligible::from_code(reply.detail).unwrap();
            let first = broken.filter(|rule| !is_look || rule.code() < NOT_LOOKED_AT);
            let is_standing = is_standing(told);
            assert!(!is_standing || first == Some(told), "{user}, {envelope}: {told:?}, {first:?}");
            let is_before = first.is_none_or(|first| told.code() <= first.code());
            assert!(is_before, "{user}, {envelope}: {told:?} before {first:?}");
            assert!(is_standing || is_so(&terms, told, &evidence, (asked, moment), is_first));
            return;
        }
        assert!(broken.is_none() && terms.password.is_some() && !is_look, "{envelope}: {reply:?}");
        let is_guess = evidence.password.is_some();
        match (reply.status, reply.detail) {
            (Status::WrongPassword, code) if code == WrongPassword::NotSaid.code() => {
                assert!(!is_guess);
            }
            (Status::WrongPassword, code) if code == WrongPassword::Guessed.code() => {
                assert!(is_guess && !is_right(&evidence), "{user} knew the word of {envelope}");
                self.guessed(order, user, asked.at, moment.now);
            }
            (Status::RateLimited, code) => self.limited(code, order, user, moment.now),
            other => panic!("{user} is told {other:?} about {envelope}"),
        }
    }

    /// A wrong guess was told, so it counts for ever.
    fn guessed(&mut self, order: &SendOrder, user: UserId, asked_at: u64, now: u64) {
        assert!(!self.is_shut(user, asked_at), "{user} may guess once more");
        let own = self.guesses.entry(user).or_default();
        // Somebody else may have heard of the limit before this answer was read.
        if own.presumed > 0 {
            own.presumed -= 1;
        } else {
            (own.told, own.told_at) = (own.told + 1, now);
        }
        self.all += 1;
        assert!(own.told <= GUESSES_PER_USER_MAX.into(), "{user} has guessed {} times", own.told);
        let all_max = GUESSES_PER_SHARE_MAX * order.shares;
        assert!(self.all <= all_max, "{} wrong guesses", self.all);
        if self.all == all_max {
            self.shut_at = Some(now);
        }
    }

    /// A limit was told, so it is reached for ever; by guesses that were made.
    fn limited(&mut self, code: u32, order: &SendOrder, user: UserId, now: u64) {
        if code == RateLimit::UserGuesses.code() {
            let own = self.guesses.entry(user).or_default();
            let limit = GUESSES_PER_USER_MAX.into();
            assert!(own.made >= limit, "{user} has made {} guesses", own.made);
            if own.told < limit {
                own.presumed += limit - own.told;
                (own.told, own.told_at) = (limit, now);
            }
            return;
        }
        assert_eq!(code, RateLimit::EnvelopeGuesses.code());
        let made: u32 = self.guesses.values().map(|own| own.made).sum();
        assert!(made >= GUESSES_PER_SHARE_MAX * order.shares, "{made} guesses in all");
        self.shut_at.get_or_insert(now);
    }

    /// Somebody looked at the terms.
    pub(crate) fn shown(
        &self,
        (sender, user): (UserId, UserId),
        body: &ReplyBody,
        (must_have, may_have): (bool, bool),
    ) {
        let none = ToldTerms::default();
        let told = match body {
            ReplyBody::Terms(told) => told,
            ReplyBody::None => &none,
            other => panic!("{other:?} are no terms"),
        };
        let as_seen = |has_share| seen_by(&self.terms(), sender, user, has_share);
        let fits = (told.terms() == as_seen(true) && may_have)
            || (told.terms() == as_seen(false) && !must_have);
        assert!(fits, "{user} sees {:?} of {:?}", told.terms(), self.terms());
    }

    /// The seed user is the first.
    pub(crate) fn settle(&self, envelope: EnvelopeId, first: Option<UserId>) {
        let seed = self.terms().seed_user;
        let is_kept = seed.is_none() || first.is_none() || seed == first;
        assert!(is_kept, "{envelope} began with {first:?} and not with {seed:?}");
    }
}

/// Rules from here on are no matter of a look.
const NOT_LOOKED_AT: u32 = Ineligible::NoTicket.code();

/// Whether a rule says the same whenever it is asked.
fn is_standing(rule: Ineligible) -> bool {
    let moves = [
        Ineligible::TooEarly,
        Ineligible::TooLate,
        Ineligible::SeedFirst,
        Ineligible::TicketExpired,
    ];
    !moves.contains(&rule)
}

/// Whether a rule that depends on the moment can have been in the way.
fn is_so(
    terms: &Terms<'_>,
    rule: Ineligible,
    evidence: &Evidence<'_>,
    (asked, moment): (&Asked, &Moment),
    is_first: bool,
) -> bool {
    let (at_least, at_most) = (asked.earliest.seconds(), moment.latest.seconds());
    match rule {
        Ineligible::TooEarly => terms.not_before.is_some_and(|from| at_least < from),
        Ineligible::TooLate => terms.not_after.is_some_and(|until| at_most >= until),
        Ineligible::SeedFirst => {
            let may_be = terms.seed_user.is_some_and(|seed| Some(seed) != asked.user());
            may_be && is_first
        }
        Ineligible::TicketExpired => {
            let until = evidence.ticket.filter(|_| terms.wants_ticket);
            until.is_some_and(|ticket| at_most >= ticket.not_after)
        }
        _ => false,
    }
}
