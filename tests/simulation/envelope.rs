//! One envelope as it was told, and what must therefore be true of it for ever.

use std::collections::BTreeMap;

use hongbao::units::{
    EnvelopeId, EnvelopeState, Fen, MoneySource, Seed, Split, Time, UnixSeconds, UserId,
};
use hongbao::wire::{
    Confirmed, DetailPage, NotOpen, Reply, ReplyBody, Request, Reveal, Row, SendOrder, Status,
    Summary,
};

use crate::campaign::Campaign;
use crate::client::Asked;
use crate::held::Holds;
use crate::history::{Event, NOT_PAID, OVER, after, contradiction, given};
use crate::rules::Rules;
use crate::server::RETENTION_S;

/// When something is told.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    /// The step of the simulation.
    pub(crate) now: u64,
    /// The latest that it can be for the server.
    pub(crate) latest: Time,
}

/// One share as it was told.
pub(crate) struct Share {
    pub(crate) amount: Fen,
    /// When it was first told.
    pub(crate) told_at: u64,
    /// Somebody was told that it is new.
    pub(crate) fresh: bool,
}

/// Why nobody gets anything any more, and since when that is known.
#[derive(Clone, Copy)]
struct Ended {
    why: (Status, u32),
    told_at: u64,
}

/// One envelope as it was told.
pub(crate) struct Envelope {
    pub(crate) id: EnvelopeId,
    pub(crate) order: SendOrder,
    /// The earliest that it can have been when it was ordered.
    pub(crate) ordered_at: UnixSeconds,
    pub(crate) rules: Rules,
    /// What a campaign has beside its envelope.
    pub(crate) campaign: Campaign,
    pub(crate) holds: Holds,
    told_at: u64,
    commitment: [u8; 32],
    seed: Option<Seed>,
    pub(crate) shares: BTreeMap<UserId, Share>,
    /// What the shares come to.
    given: Fen,
    /// Rows by rank: user, amount, and when.
    pub(crate) ranks: BTreeMap<u32, (UserId, u32, u32)>,
    /// Who may have a share, since they asked and were not refused; and when
    /// they first did.
    pub(crate) askers: BTreeMap<UserId, u64>,
    ended: Option<Ended>,
    refunded: Option<Fen>,
    /// The payment that opened it, and when that was told.
    paid: Option<(u64, u64)>,
    returned: Option<u64>,
    pub(crate) summary: Option<Summary>,
    pub(crate) events: Vec<Event>,
}

impl Envelope {
    pub(crate) fn ordered(
        id: EnvelopeId,
        order: SendOrder,
        terms: Vec<u8>,
        commitment: [u8; 32],
        told_at: u64,
    ) -> Self {
        Self {
            id,
            order,
            ordered_at: order.nonce,
            rules: Rules::of(terms),
            campaign: Campaign::default(),
            holds: Holds::default(),
            told_at,
            commitment,
            seed: None,
            shares: BTreeMap::new(),
            given: 0,
            ranks: BTreeMap::new(),
            askers: BTreeMap::new(),
            ended: None,
            refunded: None,
            paid: None,
            returned: None,
            summary: None,
            events: Vec::new(),
        }
    }

    pub(crate) fn is_campaign(&self) -> bool {
        self.order.split == Split::Prizes
    }

    /// The shares that somebody was told of.
    pub(crate) fn shares(&self) -> impl Iterator<Item = (UserId, Fen)> + '_ {
        self.shares.iter().map(|(user, share)| (*user, share.amount))
    }

    /// What went back to the sender at the end, as far as it is known.
    pub(crate) fn refunded(&self) -> Option<Fen> {
        let in_all = self.summary.filter(|_| self.holds.above.is_none());
        self.refunded.or(in_all.map(|summary| summary.refunded))
    }

    /// Somebody is about to ask for a share.
    pub(crate) fn asking(&mut self, user: UserId, now: u64) {
        self.askers.entry(user).or_insert(now);
    }

    /// Whether it can have been closed so long ago that it is forgotten.
    pub(crate) fn may_be_gone(&self, latest: Time) -> bool {
        latest.seconds() >= self.order.nonce.saturating_add(RETENTION_S)
    }

    /// The same order is answered once more.
    pub(crate) fn repeated(&self, commitment: [u8; 32], is_repeat: bool, asked_at: u64) {
        assert!(self.told_at >= asked_at || is_repeat, "{:?} is repeated", self.order);
        assert_eq!(self.commitment, commitment, "{} is bound to other draws", self.id);
    }

    /// Says whether a share was given.
    pub(crate) fn told(&mut self, asked: &Asked, reply: &Reply, moment: &Moment) -> bool {
        self.in_time(reply, moment.latest.seconds());
        if self.is_campaign() && self.campaign_told(asked, reply, moment) {
            return false;
        }
        let refusal = (reply.status, reply.detail);
        match (&asked.request, reply.status, &reply.body) {
            (Request::Claim { .. } | Request::ClaimWith { .. } | Request::Grab { .. }, ..) => {
                return self.claimed(asked, reply, moment);
            }
            (Request::Show { .. }, Status::Ok, ReplyBody::Summary(summary)) => {
                self.summarised(summary, asked.at, moment.now);
            }
            (Request::Detail { .. }, Status::Ok, ReplyBody::Detail(page)) => {
                if self.rules.is_hidden() {
                    self.note(OVER, (asked.at, moment.now));
                }
                self.paged(page, (asked.at, moment.now));
            }
            (Request::Detail { .. }, Status::NotEligible, _) => {
                let is_over = self.had_ended(asked.at);
                assert!(self.rules.is_hidden() && !is_over, "{}: {reply:?}", self.id);
            }
            (Request::RiskResolve { .. }, ..) => self.resolved(asked, reply, moment),
            (Request::Terms { user, .. }, Status::Ok, body) => self.terms_told(*user, body, asked),
            (Request::Cancel { sender, .. }, status, body) => {
                self.cancelled(*sender, (status, body), refusal, (asked.at, moment.now));
            }
            (Request::Fund { payment, .. }, Status::Ok, _) => {
                let confirmed = Confirmed::from_code(reply.detail).unwrap();
                self.funded(*payment, confirmed, (asked.at, moment.now));
            }
            (Request::Void { .. }, Status::Ok, _) => self.never_paid((asked.at, moment.now)),
            (Request::Reveal { .. }, Status::Ok, ReplyBody::Reveal(reveal)) => {
                self.revealed(reveal);
            }
            (Request::Fund { .. } | Request::Void { .. }, Status::Conflict | Status::Denied, _) => {
            }
            (Request::Fund { .. } | Request::Void { .. }, ..) => {
                self.refuses(refusal, (asked.at, moment.now));
            }
            (request, ..) => panic!("{request:?} is told {reply:?}"),
        }
        false
    }

    /// Nothing has expired, and nobody has claimed, before it can have been so late.
    fn in_time(&self, reply: &Reply, latest: UnixSeconds) {
        let ordered_at = self.ordered_at;
        let is_over = latest >= ordered_at.saturating_add(self.order.lifetime_s);
        assert!(reply.status != Status::Expired || is_over, "{} ends before its time", self.id);
        if let ReplyBody::Detail(page) = &reply.body {
            let told = page.rows.iter().filter(|row| row.amount > 0);
            let mut wrong = told.filter(|row| !(ordered_at..=latest).contains(&row.at));
            let wrong = wrong.next();
            assert!(wrong.is_none(), "{}: {wrong:?} is not of {ordered_at} to {latest}", self.id);
        }
    }

    /// What was told to somebody who wants a share, or looks for one.
    fn claimed(&mut self, asked: &Asked, reply: &Reply, moment: &Moment) -> bool {
        let (asked_at, now) = (asked.at, moment.now);
        let user = asked.user().unwrap();
        let claims = !matches!(asked.request, Request::Grab { .. });
        match (reply.status, &reply.body) {
            (Status::Ok, ReplyBody::Amount(amount)) if claims => {
                assert!(!self.had_ended(asked_at), "{} gives after its end", self.id);
                assert!(!self.was_over(asked.earliest), "{} gives late", self.id);
                self.rules.let_in(&self.order, self.id, asked, moment);
                self.has(user, *amount, Some(asked_at), now);
                return true;
            }
            (Status::AlreadyClaimed, ReplyBody::Amount(amount)) => {
                self.has(user, *amount, None, now);
            }
            _ => self.not_given(user, asked, reply, moment),
        }
        false
    }

    /// Somebody gets nothing, who has nothing either.
    fn not_given(&mut self, user: UserId, asked: &Asked, reply: &Reply, moment: &Moment) {
        let when @ (asked_at, _) = (asked.at, moment.now);
        let has = self.shares.get(&user).is_some_and(|share| share.told_at < asked_at);
        assert!(!has, "{user} has a share of {} and is told {reply:?}", self.id);
        if reply.status == Status::Withheld {
            return self.withholds(user, asked, moment);
        }
        let is_withheld = self.holds.was_told(user, asked_at);
        assert!(!is_withheld, "{user}'s share of {} is withheld: {reply:?}", self.id);
        match reply.status {
            Status::Ok => {
                let is_look = matches!(asked.request, Request::Grab { .. });
                assert!(!self.had_ended(asked_at) && is_look && reply.detail > 0);
                self.note(after(self.order.shares - reply.detail), when);
            }
            Status::NotEligible | Status::WrongPassword | Status::RateLimited => {
                assert!(!self.had_ended(asked_at), "{} goes on after its end", self.id);
                let is_first = self.taken_before(asked_at) == 0;
                self.rules.kept_out((&self.order, self.id), asked, reply, moment, is_first);
            }
            _ => self.refuses((reply.status, reply.detail), when),
        }
    }

    /// Whether its time was over at this moment.
    fn was_over(&self, at: Time) -> bool {
        let opened = self.summary.filter(|summary| summary.state != EnvelopeState::Reserved);
        opened.is_some_and(|summary| at.seconds() >= summary.expires_at)
    }

    pub(crate) fn had_ended(&self, asked_at: u64) -> bool {
        self.ended.is_some_and(|ended| ended.told_at < asked_at)
    }

    fn note(&mut self, place: u64, (asked, told): (u64, u64)) {
        self.events.push(Event { place, asked, told });
    }

    /// Somebody is told of a share; that it is new, if it was `given` to a
    /// question of that step.
    pub(crate) fn has(&mut self, user: UserId, amount: Fen, given: Option<u64>, now: u64) {
        self.holds.gives(user, amount, given.is_some());
        let Self { id, order, askers, .. } = self;
        assert!(askers.contains_key(&user), "{user} has a share of {id} and never asked");
        assert!(amount >= 1, "every share of {id} is a fen at least");
        assert!(order.share_max == 0 || amount <= order.share_max.into());
        let sum = &mut self.given;
        let share = self.shares.entry(user).or_insert_with(|| {
            *sum += amount;
            Share { amount, told_at: now, fresh: false }
        });
        assert_eq!(share.amount, amount, "{user}'s share of {id} has changed");
        if let Some(asked_at) = given {
            assert!(!share.fresh, "{user} got a share of {id} twice");
            assert!(share.told_at >= asked_at, "{user}'s share of {id} was forgotten");
            share.fresh = true;
        }
        assert!(self.shares.len() <= usize::try_from(order.shares).unwrap());
        assert!(self.given <= order.total, "{id} gives more than it has");
    }

    /// An end is for ever, and for one reason.
    pub(crate) fn refuses(&mut self, why: (Status, u32), when: (u64, u64)) {
        if why == (Status::NotOpen, NotOpen::NotPaid.code()) {
            let paid = self.paid.is_some_and(|(_, told_at)| told_at < when.0);
            assert!(self.order.source != MoneySource::Vouched && !paid, "{} is paid", self.id);
            return self.note(NOT_PAID, when);
        }
        let ends = matches!(why.0, Status::SoldOut | Status::Expired | Status::NotOpen);
        assert!(ends, "{} refuses with {why:?}", self.id);
        let ended = self.ended.get_or_insert(Ended { why, told_at: when.1 });
        assert_eq!(ended.why, why, "{} has ended in two ways", self.id);
        self.note(OVER, when);
    }

    /// How many shares were known to be taken by then, given or not.
    fn taken_before(&self, asked_at: u64) -> usize {
        let is_known = |share: &Share| share.told_at < asked_at;
        let given = self.shares.values().filter(|share| is_known(share)).count();
        let withheld = self.holds.told_before(asked_at);
        given + withheld.filter(|user| !self.shares.get(user).is_some_and(is_known)).count()
    }

    fn summarised(&mut self, summary: &Summary, asked_at: u64, now: u64) {
        let known = self.taken_before(asked_at);
        assert!(known <= usize::try_from(summary.claimed).unwrap(), "{}", self.id);
        assert_eq!((summary.total, summary.shares), (self.order.total, self.order.shares));
        let live = matches!(summary.state, EnvelopeState::Open | EnvelopeState::Reserved);
        assert!(!live || !self.had_ended(asked_at), "{} lives again", self.id);
        assert!(summary.left + summary.refunded <= summary.total);
        let place = match summary.state {
            EnvelopeState::Reserved => NOT_PAID,
            EnvelopeState::Open => after(summary.claimed),
            _ => OVER,
        };
        self.note(place, (asked_at, now));
        self.summary = Some(*summary);
    }

    fn paged(&mut self, page: &DetailPage, (asked_at, now): (u64, u64)) {
        for (rank, &row) in (page.from..).zip(&page.rows) {
            let Row { user, amount, at } = row;
            if amount == 0 {
                self.hides(rank, row, asked_at);
                continue;
            }
            self.holds.shows(rank);
            if !self.is_campaign() {
                self.has(user, amount.into(), None, now);
            }
            let known = *self.ranks.entry(rank).or_insert((user, amount, at));
            assert_eq!(known, (user, amount, at), "rank {rank} of {} has changed", self.id);
        }
    }

    fn terms_told(&self, user: UserId, body: &ReplyBody, asked: &Asked) {
        let share = self.shares.get(&user);
        let must = share.is_some_and(|share| share.told_at < asked.at);
        let may = self.askers.contains_key(&user) && !self.holds.went_back(user);
        self.rules.shown((self.order.sender, user), body, (must, may));
    }

    fn cancelled(
        &mut self,
        sender: UserId,
        (status, body): (Status, &ReplyBody),
        refusal: (Status, u32),
        when: (u64, u64),
    ) {
        if sender != self.order.sender {
            return assert_eq!(status, Status::Denied, "{sender} did not send {}", self.id);
        }
        let ReplyBody::Amount(amount) = body else {
            return self.refuses(refusal, when);
        };
        let refunded = *self.refunded.get_or_insert(*amount);
        assert_eq!(refunded, *amount, "{} went back as another sum", self.id);
        self.refuses((Status::NotOpen, NotOpen::Cancelled.code()), when);
    }

    fn funded(&mut self, payment: u64, confirmed: Confirmed, when: (u64, u64)) {
        match confirmed {
            Confirmed::Opened | Confirmed::OpenedBefore => {
                let (known, _) = *self.paid.get_or_insert((payment, when.1));
                assert_eq!(known, payment, "{} was paid twice", self.id);
            }
            Confirmed::Returned | Confirmed::ReturnedBefore => {
                let known = *self.returned.get_or_insert(payment);
                assert_eq!(known, payment, "{} gave two payments back", self.id);
                self.never_paid(when);
            }
        }
        assert!(self.paid.is_none() || self.returned.is_none(), "{}: one money", self.id);
    }

    fn never_paid(&mut self, when: (u64, u64)) {
        assert!(self.paid.is_none(), "{} was paid", self.id);
        self.refuses((Status::NotOpen, NotOpen::NeverPaid.code()), when);
    }

    fn revealed(&mut self, reveal: &Reveal) {
        assert_eq!(self.commitment, reveal.commitment);
        if let Some(seed) = reveal.seed {
            let known = *self.seed.get_or_insert(seed);
            assert!(known == seed, "{} was drawn from another seed", self.id);
        }
    }

    /// Total = claimed + refunded + left, row by row, in an order that can be.
    pub(crate) fn settle(&self) {
        let Some(summary) = &self.summary else { return };
        if let Some(refunded) = self.refunded {
            // What was rejected went back as well.
            let is_it = refunded == summary.refunded
                || refunded < summary.refunded && self.holds.above.is_some();
            assert!(is_it, "{} went back as {refunded}: {summary:?}", self.id);
        }
        let claimed = usize::try_from(summary.claimed).unwrap();
        assert!(self.ranks.len() <= claimed && self.shares.len() <= claimed, "{}", self.id);
        let is_live = matches!(summary.state, EnvelopeState::Open | EnvelopeState::Reserved);
        if self.rules.is_hidden() && is_live {
            return; // its rows are not shown yet
        }
        let blank = self.holds.blank();
        assert_eq!(self.ranks.len() + blank, claimed, "{}: every row is shown", self.id);
        let sum: Fen = self.ranks.values().map(|(_, amount, _)| Fen::from(*amount)).sum();
        let paid = !matches!(summary.state, EnvelopeState::Reserved | EnvelopeState::Voided);
        let whole = if paid { summary.total } else { 0 };
        let told = sum + summary.left + summary.refunded;
        let is_whole = told == whole || told < whole && blank > 0;
        assert!(is_whole, "{}: {summary:?}", self.id);
        let times: Vec<u32> = self.ranks.values().map(|(.., at)| *at).collect();
        assert!(times.is_sorted(), "{}: its time ran back", self.id);
        self.rules.settle(self.id, self.ranks.get(&0).map(|(user, ..)| *user));
        if self.is_campaign() {
            return self.campaign.settle(self.id, &self.ranks);
        }
        assert_eq!((self.shares.len(), self.given), (self.ranks.len(), sum), "{}", self.id);
        let contradiction = contradiction(self.history());
        assert_eq!(contradiction, None, "{}: no single thread can have done this", self.id);
    }

    /// Everything that happened to it, with its place in the only order.
    fn history(&self) -> Vec<Event> {
        let shares = self.ranks.iter().map(|(rank, (user, ..))| {
            let (asked, told) = (self.askers[user], self.shares[user].told_at);
            Event { place: given(*rank), asked, told }
        });
        shares.chain(self.events.iter().copied()).collect()
    }
}
