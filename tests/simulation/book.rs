//! What clients were told, and what must therefore be true for ever.
//!
//! Every answer is held against everything that was told before its question
//! was asked: so the history of every envelope is one that a single thread
//! could have made.

use std::collections::{BTreeMap, BTreeSet};

use hongbao::units::{
    EnvelopeId, EnvelopeState, Fen, MoneySource, Seed, Time, UnixSeconds, UserId,
};
use hongbao::wire::{
    Confirmed, DetailPage, NotOpen, Ordered, Reply, ReplyBody, Request, Reveal, Row, SendOrder,
    Status, Summary,
};

use crate::client::Asked;
use crate::server::RETENTION_S;

/// One share as it was told.
struct Share {
    amount: Fen,
    /// When it was first told.
    told_at: u64,
    /// Somebody was told that it is new.
    fresh: bool,
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
    /// No later than this it was ordered, by the clock on the wall.
    ordered_at: UnixSeconds,
    told_at: u64,
    commitment: [u8; 32],
    seed: Option<Seed>,
    shares: BTreeMap<UserId, Share>,
    ranks: BTreeMap<u32, (UserId, u32)>,
    /// Who may have a share, since somebody asked and was not refused.
    askers: BTreeSet<UserId>,
    ended: Option<Ended>,
    refunded: Option<Fen>,
    /// The payment that opened it, and when that was told.
    paid: Option<(u64, u64)>,
    returned: Option<u64>,
    summary: Option<Summary>,
}

/// Everything that was told.
#[derive(Default)]
pub(crate) struct Book {
    envelopes: Vec<Envelope>,
    by_id: BTreeMap<EnvelopeId, usize>,
    by_order: BTreeMap<(UserId, u64), usize>,
    /// Every version of every order that was ever asked for.
    asked: BTreeMap<(UserId, u64), Vec<SendOrder>>,
    /// The step of the simulation.
    pub(crate) now: u64,
    /// The clock on the wall, and when somebody last set it.
    pub(crate) wall: Time,
    pub(crate) jumped_at: u64,
    /// The latest that the clock on the wall ever showed.
    pub(crate) latest: Time,
    /// Answers that were held against the book.
    pub(crate) answers: u64,
    /// Of these, shares that were given.
    pub(crate) shares: u64,
}

impl Book {
    pub(crate) fn envelopes(&self) -> &[Envelope] {
        &self.envelopes
    }

    /// An order that was asked for before; whether it was done is not said.
    pub(crate) fn some_order(&self, number: u64) -> Option<SendOrder> {
        let count = u64::try_from(self.asked.len()).ok().filter(|count| *count > 0)?;
        let nth = usize::try_from(number % count).ok()?;
        self.asked.values().nth(nth).map(|versions| versions[0])
    }

    /// Notes what is about to be asked.
    pub(crate) fn asking(&mut self, request: &Request) {
        match *request {
            Request::Send(order) => {
                self.asked.entry((order.sender, order.order)).or_default().push(order);
            }
            Request::Claim { envelope, user } => {
                if let Some(&index) = self.by_id.get(&envelope) {
                    self.envelopes[index].askers.insert(user);
                }
            }
            _ => {}
        }
    }

    /// Holds an answer against all that was told before.
    pub(crate) fn answered(&mut self, asked: &Asked, reply: &Reply) {
        self.answers += 1;
        if matches!(reply.status, Status::Unavailable | Status::Overloaded) {
            return;
        }
        assert!(reply.status != Status::BadRequest, "{:?} is sound: {reply:?}", asked.request);
        if let Request::Send(order) = &asked.request {
            return self.ordered(order, asked.at, reply);
        }
        let id = asked.request.envelope().unwrap();
        let (now, latest, jumped_at) = (self.now, self.latest, self.jumped_at);
        let envelope = &mut self.envelopes[self.by_id[&id]];
        if reply.status == Status::NotFound {
            assert!(envelope.may_be_gone(latest), "{id} is known: {reply:?}");
            return;
        }
        let given = envelope.told(asked, reply, now);
        let was_over = envelope.was_over(asked.wall) && jumped_at < asked.at;
        assert!(!(given && was_over), "{id} gives after its time");
        self.shares += u64::from(given);
    }

    fn ordered(&mut self, order: &SendOrder, asked_at: u64, reply: &Reply) {
        let key = (order.sender, order.order);
        let (Status::Ok, ReplyBody::Ordered(ordered)) = (reply.status, &reply.body) else {
            assert_eq!(reply.status, Status::Conflict, "{order:?}");
            let differs = self.asked[&key].iter().any(|version| version != order);
            return assert!(differs, "{order:?} was only ever asked for as it is");
        };
        let earlier = self.by_order.get(&key).map(|&index| &self.envelopes[index]);
        let same = |known: &&Envelope| known.id == ordered.envelope;
        match earlier.filter(|known| same(known) || !known.may_be_gone(self.latest)) {
            Some(known) => {
                assert_eq!(known.id, ordered.envelope, "an order has one envelope");
                assert_eq!(known.order, *order, "another order under the same number");
                let known_before = known.told_at < asked_at;
                assert!(!known_before || reply.detail == 1, "{order:?} is repeated");
                assert_eq!(known.commitment, ordered.commitment);
            }
            None => self.open(order, ordered),
        }
    }

    fn open(&mut self, order: &SendOrder, ordered: &Ordered) {
        let index = self.envelopes.len();
        let taken = self.by_id.insert(ordered.envelope, index);
        assert!(taken.is_none(), "{} was given out before", ordered.envelope);
        self.by_order.insert((order.sender, order.order), index);
        self.envelopes.push(Envelope {
            id: ordered.envelope,
            order: *order,
            ordered_at: order.nonce, // the simulation writes the time there
            told_at: self.now,
            commitment: ordered.commitment,
            seed: None,
            shares: BTreeMap::new(),
            ranks: BTreeMap::new(),
            askers: BTreeSet::new(),
            ended: None,
            refunded: None,
            paid: None,
            returned: None,
            summary: None,
        });
    }

    /// From here on only what is shown again counts for the sums.
    pub(crate) fn begin_settling(&mut self) {
        self.envelopes.iter_mut().for_each(|envelope| envelope.summary = None);
    }

    /// Holds all sums, once every envelope was shown with its rows.
    pub(crate) fn settle(&self) {
        for envelope in &self.envelopes {
            envelope.settle();
        }
    }
}

impl Envelope {
    /// Whether it can have been closed so long ago that it is forgotten.
    fn may_be_gone(&self, latest: Time) -> bool {
        latest.seconds() >= self.ordered_at.saturating_add(RETENTION_S)
    }

    /// Says whether a share was given.
    fn told(&mut self, asked: &Asked, reply: &Reply, now: u64) -> bool {
        let refusal = (reply.status, reply.detail);
        match (&asked.request, reply.status, &reply.body) {
            (Request::Claim { user, .. }, Status::Ok, ReplyBody::Amount(amount)) => {
                assert!(!self.had_ended(asked.at), "{} gives after its end", self.id);
                self.has(*user, *amount, Some(asked.at), now);
                return true;
            }
            (
                Request::Claim { user, .. } | Request::Grab { user, .. },
                Status::AlreadyClaimed,
                ReplyBody::Amount(amount),
            ) => self.has(*user, *amount, None, now),
            (Request::Claim { user, .. } | Request::Grab { user, .. }, status, _) => {
                let has = self.shares.get(user).is_some_and(|share| share.told_at < asked.at);
                assert!(!has, "{user} has a share of {} and is told {reply:?}", self.id);
                match status {
                    Status::Ok => assert!(!self.had_ended(asked.at) && reply.detail > 0),
                    _ => self.refuses(refusal, asked.at, now),
                }
            }
            (Request::Show { .. }, Status::Ok, ReplyBody::Summary(summary)) => {
                self.summarised(summary, asked.at);
            }
            (Request::Detail { .. }, Status::Ok, ReplyBody::Detail(page)) => self.paged(page, now),
            (Request::Cancel { sender, .. }, status, body) => {
                self.cancelled(*sender, (status, body), refusal, asked.at, now);
            }
            (Request::Fund { payment, .. }, Status::Ok, _) => {
                self.funded(*payment, Confirmed::from_code(reply.detail).unwrap(), now);
            }
            (Request::Void { .. }, Status::Ok, _) => self.never_paid(now),
            (Request::Reveal { .. }, Status::Ok, ReplyBody::Reveal(reveal)) => {
                self.revealed(reveal);
            }
            (Request::Fund { .. } | Request::Void { .. }, Status::Conflict | Status::Denied, _) => {
            }
            (Request::Fund { .. } | Request::Void { .. }, ..) => {
                self.refuses(refusal, asked.at, now);
            }
            (request, ..) => panic!("{request:?} is told {reply:?}"),
        }
        false
    }

    /// Whether its time was over when the clock on the wall showed this.
    fn was_over(&self, wall: Time) -> bool {
        let opened = self.summary.filter(|summary| summary.state != EnvelopeState::Reserved);
        opened.is_some_and(|summary| wall.seconds() >= summary.expires_at)
    }

    fn had_ended(&self, asked_at: u64) -> bool {
        self.ended.is_some_and(|ended| ended.told_at < asked_at)
    }

    /// Somebody is told of a share; that it is new, if it was `given` to a
    /// question of that step.
    fn has(&mut self, user: UserId, amount: Fen, given: Option<u64>, now: u64) {
        let Self { id, order, askers, .. } = self;
        assert!(askers.contains(&user), "{user} has a share of {id} and never asked");
        assert!(amount >= 1, "every share of {id} is a fen at least");
        assert!(order.share_max == 0 || amount <= order.share_max.into());
        let share = self.shares.entry(user);
        let share = share.or_insert(Share { amount, told_at: now, fresh: false });
        assert_eq!(share.amount, amount, "{user}'s share of {id} has changed");
        if let Some(asked_at) = given {
            assert!(!share.fresh, "{user} got a share of {id} twice");
            assert!(share.told_at >= asked_at, "{user}'s share of {id} was forgotten");
            share.fresh = true;
        }
        assert!(self.shares.len() <= usize::try_from(order.shares).unwrap());
        let sum: Fen = self.shares.values().map(|share| share.amount).sum();
        assert!(sum <= order.total, "{id} gives more than it has");
    }

    /// An end is for ever, and for one reason.
    fn refuses(&mut self, why: (Status, u32), asked_at: u64, now: u64) {
        if why == (Status::NotOpen, NotOpen::NotPaid.code()) {
            let paid = self.paid.is_some_and(|(_, told_at)| told_at < asked_at);
            assert!(self.order.source != MoneySource::Vouched && !paid, "{} is paid", self.id);
            return;
        }
        let ends = matches!(why.0, Status::SoldOut | Status::Expired | Status::NotOpen);
        assert!(ends, "{} refuses with {why:?}", self.id);
        let ended = self.ended.get_or_insert(Ended { why, told_at: now });
        assert_eq!(ended.why, why, "{} has ended in two ways", self.id);
    }

    fn summarised(&mut self, summary: &Summary, asked_at: u64) {
        let known = self.shares.values().filter(|share| share.told_at < asked_at);
        assert!(known.count() <= usize::try_from(summary.claimed).unwrap(), "{}", self.id);
        assert_eq!((summary.total, summary.shares), (self.order.total, self.order.shares));
        let live = matches!(summary.state, EnvelopeState::Open | EnvelopeState::Reserved);
        assert!(!live || !self.had_ended(asked_at), "{} lives again", self.id);
        assert!(summary.left + summary.refunded <= summary.total);
        self.summary = Some(*summary);
    }

    fn paged(&mut self, page: &DetailPage, now: u64) {
        for (rank, &Row { user, amount, .. }) in (page.from..).zip(&page.rows) {
            self.has(user, amount.into(), None, now);
            let known = *self.ranks.entry(rank).or_insert((user, amount));
            assert_eq!(known, (user, amount), "rank {rank} of {} has changed", self.id);
        }
    }

    fn cancelled(
        &mut self,
        sender: UserId,
        (status, body): (Status, &ReplyBody),
        refusal: (Status, u32),
        asked_at: u64,
        now: u64,
    ) {
        if sender != self.order.sender {
            return assert_eq!(status, Status::Denied, "{sender} did not send {}", self.id);
        }
        let ReplyBody::Amount(amount) = body else {
            return self.refuses(refusal, asked_at, now);
        };
        let refunded = *self.refunded.get_or_insert(*amount);
        assert_eq!(refunded, *amount, "{} went back as another sum", self.id);
        self.refuses((Status::NotOpen, NotOpen::Cancelled.code()), asked_at, now);
    }

    fn funded(&mut self, payment: u64, confirmed: Confirmed, now: u64) {
        match confirmed {
            Confirmed::Opened | Confirmed::OpenedBefore => {
                let (known, _) = *self.paid.get_or_insert((payment, now));
                assert_eq!(known, payment, "{} was paid twice", self.id);
            }
            Confirmed::Returned | Confirmed::ReturnedBefore => {
                let known = *self.returned.get_or_insert(payment);
                assert_eq!(known, payment, "{} gave two payments back", self.id);
                self.never_paid(now);
            }
        }
        assert!(self.paid.is_none() || self.returned.is_none(), "{}: one money", self.id);
    }

    fn never_paid(&mut self, now: u64) {
        assert!(self.paid.is_none(), "{} was paid", self.id);
        self.refuses((Status::NotOpen, NotOpen::NeverPaid.code()), 0, now);
    }

    fn revealed(&mut self, reveal: &Reveal) {
        assert_eq!(self.commitment, reveal.commitment);
        if let Some(seed) = reveal.seed {
            let known = *self.seed.get_or_insert(seed);
            assert!(known == seed, "{} was drawn from another seed", self.id);
        }
    }

    /// Total = claimed + refunded + left, row by row.
    fn settle(&self) {
        let Some(summary) = &self.summary else { return };
        let sum: Fen = self.shares.values().map(|share| share.amount).sum();
        let paid = !matches!(summary.state, EnvelopeState::Reserved | EnvelopeState::Voided);
        let whole = if paid { summary.total } else { 0 };
        assert_eq!(sum + summary.left + summary.refunded, whole, "{}: {summary:?}", self.id);
        assert_eq!(self.shares.len(), usize::try_from(summary.claimed).unwrap(), "{}", self.id);
        if let Some(refunded) = self.refunded {
            assert_eq!(refunded, summary.refunded, "{}", self.id);
        }
    }
}
