//! What clients were told, and what must therefore be true for ever.
//!
//! Every answer is held against everything that was told before its question
//! was asked; what is told of one envelope is held in `envelope`.

use std::collections::BTreeMap;

use hongbao::units::{EnvelopeId, Fen, Time, UnixSeconds, UserId};
use hongbao::wire::{BadRequest, Ordered, Reply, ReplyBody, Request, SendOrder, Status, Terms};

use crate::client::{Asked, Question};
use crate::envelope::{Envelope, Moment};

/// An order with its terms, as somebody asked for it.
pub(crate) type Version = (SendOrder, Vec<u8>);

/// Everything that was told.
#[derive(Default)]
pub(crate) struct Book {
    envelopes: Vec<Envelope>,
    by_id: BTreeMap<EnvelopeId, usize>,
    by_order: BTreeMap<(UserId, u64), usize>,
    campaigns: Vec<usize>,
    crowds: Vec<usize>,
    /// Every version of every order that was ever asked for, with its terms.
    asked: BTreeMap<(UserId, u64), Vec<Version>>,
    /// When each order was asked for first.
    first_asked: BTreeMap<(UserId, u64), u64>,
    /// When processes began, and the earliest that it can have been for them.
    begun: Vec<(u64, UnixSeconds)>,
    /// The step of the simulation.
    pub(crate) now: u64,
    /// The earliest and the latest that it can be for the server.
    pub(crate) earliest: Time,
    pub(crate) latest: Time,
    /// Answers that were held against the book.
    pub(crate) answers: u64,
    /// Of these, shares that were given.
    pub(crate) shares: u64,
    /// Shares above this are held, if any are.
    hold_above: Option<Fen>,
}

/// An envelope with so many shares is for a crowd.
pub(crate) const CROWD_SHARES: u32 = 1000;

impl Book {
    /// Nothing was told yet; shares above an amount are held, if any are.
    pub(crate) fn new(hold_above: Option<Fen>) -> Self {
        Self { hold_above, ..Self::default() }
    }

    pub(crate) fn envelopes(&self) -> &[Envelope] {
        &self.envelopes
    }

    /// The campaigns, in the order in which they became known.
    pub(crate) fn campaigns(&self) -> Vec<&Envelope> {
        self.campaigns.iter().map(|&index| &self.envelopes[index]).collect()
    }

    /// The latest envelope for a crowd.
    pub(crate) fn crowd(&self) -> Option<&Envelope> {
        self.crowds.last().map(|&index| &self.envelopes[index])
    }

    /// An order that was asked for before; whether it was done is not said.
    pub(crate) fn some_order(&self, number: u64) -> Option<&Version> {
        let count = u64::try_from(self.asked.len()).ok().filter(|count| *count > 0)?;
        let nth = usize::try_from(number % count).ok()?;
        self.asked.values().nth(nth).map(|versions| &versions[0])
    }

    /// Notes what is about to be asked.
    pub(crate) fn asking(&mut self, question: &Question) {
        let Question { request, beside } = question;
        if let Some(order) = request.order() {
            let key = (order.sender, order.order);
            self.first_asked.entry(key).or_insert(self.now);
            let versions = self.asked.entry(key).or_default();
            return versions.push((*order, beside.clone()));
        }
        let Some(&index) = request.envelope().and_then(|id| self.by_id.get(&id)) else { return };
        let envelope = &mut self.envelopes[index];
        match *request {
            Request::Claim { user, .. } => envelope.asking(user, self.now),
            Request::ClaimWith { user, .. } => {
                envelope.asking(user, self.now);
                envelope.rules.asking(user, beside);
            }
            _ => envelope.campaign.asking(request),
        }
    }

    /// A process begins. If the wall is behind and nothing was recorded lately, it
    /// is earlier again than it was for the one before.
    pub(crate) fn begun(&mut self, earliest: Time) {
        self.begun.push((self.now, earliest.seconds()));
    }

    /// The earliest that it can have been when an order was done, which may have
    /// waited for another process.
    fn ordered_at(&self, order: &SendOrder) -> UnixSeconds {
        let asked_at = self.first_asked[&(order.sender, order.order)];
        let since = self.begun.iter().rev().take_while(|(at, _)| *at >= asked_at);
        // The simulation writes the time of the order into its nonce.
        since.map(|(_, earliest)| *earliest).fold(order.nonce, UnixSeconds::min)
    }

    /// Holds an answer against all that was told before.
    pub(crate) fn answered(&mut self, asked: &Asked, reply: &Reply) {
        self.answers += 1;
        if matches!(reply.status, Status::Unavailable | Status::Overloaded) {
            return;
        }
        let may_be = reply.status != Status::BadRequest || may_be_nonsense(asked, reply);
        assert!(may_be, "{:?} is sound: {reply:?}", asked.request);
        if let Some(order) = asked.request.order() {
            return self.ordered(order, asked, reply);
        }
        let id = asked.request.envelope().unwrap();
        let Self { now, latest, .. } = *self;
        let envelope = &mut self.envelopes[self.by_id[&id]];
        if reply.status == Status::NotFound {
            let may_be = envelope.may_be_gone(latest) || envelope.may_be_undecidable(asked);
            assert!(may_be, "{id} is known: {reply:?}");
            return;
        }
        let given = envelope.told(asked, reply, &Moment { now, latest });
        self.shares += u64::from(given);
    }

    fn ordered(&mut self, order: &SendOrder, asked: &Asked, reply: &Reply) {
        let key = (order.sender, order.order);
        let (Status::Ok, ReplyBody::Ordered(ordered)) = (reply.status, &reply.body) else {
            if reply.status == Status::BadRequest {
                return; // its window was over by then
            }
            assert_eq!(reply.status, Status::Conflict, "{order:?}");
            let differs = |version: &Version| version.0 != *order || version.1 != asked.beside;
            let differs = self.asked[&key].iter().any(differs);
            return assert!(differs, "{order:?} was only ever asked for as it is");
        };
        let earlier = self.by_order.get(&key).map(|&index| &self.envelopes[index]);
        let same = |known: &&Envelope| known.id == ordered.envelope;
        match earlier.filter(|known| same(known) || !known.may_be_gone(self.latest)) {
            Some(known) => {
                assert_eq!(known.id, ordered.envelope, "an order has one envelope");
                assert_eq!(known.order, *order, "another order under the same number");
                assert_eq!(known.rules.bytes(), asked.beside, "other terms under the same number");
                known.repeated(ordered.commitment, reply.detail == 1, asked.at);
            }
            None => self.open(order, &asked.beside, ordered),
        }
    }

    fn open(&mut self, order: &SendOrder, terms: &[u8], ordered: &Ordered) {
        let index = self.envelopes.len();
        let taken = self.by_id.insert(ordered.envelope, index);
        assert!(taken.is_none(), "{} was given out before", ordered.envelope);
        self.by_order.insert((order.sender, order.order), index);
        let (id, commitment) = (ordered.envelope, ordered.commitment);
        let mut envelope = Envelope::ordered(id, *order, terms.to_vec(), commitment, self.now);
        envelope.ordered_at = self.ordered_at(order);
        envelope.holds.above = self.hold_above;
        if envelope.is_campaign() {
            self.campaigns.push(index);
        } else if order.shares >= CROWD_SHARES {
            self.crowds.push(index);
        }
        self.envelopes.push(envelope);
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

/// Whether a request that is sound in itself can come at a moment at which it is
/// not: a window that is over, or a start before the plan is whole.
fn may_be_nonsense(asked: &Asked, reply: &Reply) -> bool {
    match asked.request {
        Request::CampaignCommand { .. } => true,
        Request::SendWith { .. } => {
            let terms = Terms::read(&asked.beside).unwrap();
            let has_window = terms.not_before.is_some() || terms.not_after.is_some();
            has_window && reply.detail == BadRequest::Terms.code()
        }
        _ => false,
    }
}
