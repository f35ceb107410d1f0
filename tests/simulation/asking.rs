//! What clients ask for: orders of every kind, claims with and without something
//! to show, shakes, and looks; most about what is young, and some nonsense.

use hongbao::net::simulated::World;
use hongbao::units::{EnvelopeId, MoneySource, Split, UnixSeconds, UserId};
use hongbao::wire::{
    Attached, Command, Payment, PlanPart, PlanTerms, Prize, Request, Resolution, SendOrder, Slot,
};

use crate::book::CROWD_SHARES;
use crate::client::Question;
use crate::envelope::Envelope;
use crate::life::Life;
use crate::server::{CELL, KEY_ID, keys};
use crate::terms::{GUESSERS, some_evidence, some_terms};

pub(crate) const USERS: u64 = 60;
pub(crate) const SENDERS: u64 = 8;

/// Claims of one client in a rush.
const RUSH: u64 = 400;

impl Life {
    fn small(&self, end: u64) -> u32 {
        u32::try_from(self.world.below(end)).unwrap()
    }

    /// About the time of the server, which never runs back.
    fn about_now(&self) -> UnixSeconds {
        self.book.latest.seconds()
    }

    pub(crate) fn some_question(&mut self) -> Option<Question> {
        let kind = self.world.below(100);
        if kind < 7 || self.book.envelopes().is_empty() {
            return Some(self.new_order());
        }
        if kind < 12 {
            return self.old_order();
        }
        if kind < 26 && !self.book.campaigns().is_empty() {
            return Some(self.about_a_campaign());
        }
        let known = self.book.envelopes();
        // Mostly the young ones, or everything is sold out.
        let back = if self.world.one_in(8) { known.len() } else { known.len().min(12) };
        let found = &known[known.len() - 1 - self.below(back)];
        // Who guesses is among the first.
        let is_secret = found.rules.terms().password.is_some() && self.world.one_in(2);
        let user = UserId(1 + self.world.below(if is_secret { GUESSERS } else { USERS }));
        Some(self.about(found, user, kind))
    }

    fn about(&self, found: &Envelope, user: UserId, kind: u64) -> Question {
        if self.room.holds_shares() && !found.is_campaign() && self.world.one_in(5) {
            return self.verdict(found, user);
        }
        let (envelope, order) = (found.id, &found.order);
        let sender = if self.world.one_in(5) { user } else { order.sender };
        let request = match kind {
            ..72 if found.is_campaign() => Request::Claim { envelope, user },
            ..72 => return self.claim(found, user),
            72..78 if found.is_campaign() => Request::Show { envelope },
            72..78 => Request::Grab { envelope, user },
            78..80 => Request::Terms { envelope, user },
            80..84 => Request::Show { envelope },
            84..89 => Request::Detail { envelope, from: 0, rows_max: u32::MAX },
            89..91 => Request::Cancel { envelope, sender },
            91..96 => self.fund(envelope, order),
            96..98 => Request::Void { envelope, sender },
            _ => Request::Reveal { envelope },
        };
        request.into()
    }

    /// What the risk service says, mostly of a share that was not given.
    fn verdict(&self, found: &Envelope, user: UserId) -> Question {
        let user = found.holds.some_withheld(self.world.below(1 << 20)).unwrap_or(user);
        let is_release = self.world.one_in(2);
        let resolution = if is_release { Resolution::Release } else { Resolution::Reject };
        Request::RiskResolve { envelope: found.id, user, resolution }.into()
    }

    fn claim(&self, found: &Envelope, user: UserId) -> Question {
        let envelope = found.id;
        let has_terms = !found.rules.bytes().is_empty();
        let shows = if has_terms { !self.world.one_in(4) } else { self.world.one_in(16) };
        if !shows {
            return Request::Claim { envelope, user }.into();
        }
        let terms = found.rules.terms();
        let now = self.about_now();
        let beside = some_evidence(&self.world, &terms, (envelope, user), now);
        let evidence = Attached::default();
        Question { request: Request::ClaimWith { envelope, user, evidence }, beside }
    }

    fn fund(&self, envelope: EnvelopeId, order: &SendOrder) -> Request {
        let payment = if self.world.one_in(6) { 77 } else { order.order | 1 << 40 };
        let amount = if self.world.one_in(8) { order.total + 1 } else { order.total };
        let seal = keys().seal(KEY_ID, CELL, &Payment { envelope, payment, amount }).unwrap();
        Request::Fund { envelope, payment, amount, key_id: KEY_ID, seal }
    }

    fn new_order(&mut self) -> Question {
        self.orders += 1;
        let order = match self.world.below(400) {
            0..3 => self.crowd_order(),
            3..9 => return Request::Send(self.campaign_order()).into(),
            _ => self.group_order(),
        };
        if self.world.one_in(2) && order.shares < CROWD_SHARES {
            let beside = some_terms(&self.world, &order, self.about_now(), USERS);
            let terms = Attached::default();
            return Question { request: Request::SendWith { order, terms }, beside };
        }
        Request::Send(order).into()
    }

    fn order(&self, split: Split, shares: u64, total: u64) -> SendOrder {
        let source = match self.world.below(12) {
            0..3 => MoneySource::Payment,
            3..5 => MoneySource::Balance,
            _ => MoneySource::Vouched,
        };
        let lives_short = self.world.one_in(3);
        let lifetime_s = if lives_short { 1 + self.small(5) } else { 1 + self.small(80_000) };
        SendOrder {
            nonce: self.book.earliest.seconds(),
            source,
            sender: UserId(1 + self.world.below(SENDERS)),
            order: self.orders,
            payment: 0,
            total,
            shares: u32::try_from(shares).unwrap(),
            lifetime_s,
            share_max: 0,
            split,
        }
    }

    fn group_order(&self) -> SendOrder {
        let world = &self.world;
        let shares = if world.one_in(12) { 1 + world.below(200) } else { 1 + world.below(8) };
        let total = shares * (1 + world.below(900));
        let split = Split::from_code(u8::try_from(world.below(3)).unwrap()).unwrap();
        let capped = total.div_ceil(shares) + world.below(500);
        let share_max = if world.one_in(4) { u32::try_from(capped).unwrap() } else { 0 };
        SendOrder { share_max, ..self.order(split, shares, total) }
    }

    fn crowd_order(&self) -> SendOrder {
        let shares = u64::from(CROWD_SHARES) + self.world.below(1500);
        let total = shares * (1 + self.world.below(900));
        let source = MoneySource::Vouched;
        SendOrder { source, lifetime_s: 80_000, ..self.order(Split::DoubleMean, shares, total) }
    }

    /// The same order again, or another one under its number.
    fn old_order(&self) -> Option<Question> {
        let (order, terms) = self.book.some_order(self.world.below(u64::MAX))?;
        let is_campaign = order.split == Split::Prizes;
        let total = if self.world.one_in(5) { order.total + 1 } else { order.total };
        let shares_max = u64::from(order.shares) * u64::from(order.share_max);
        let fits = !is_campaign && (order.share_max == 0 || total <= shares_max);
        let order = SendOrder { total: if fits { total } else { order.total }, ..*order };
        let forgets = self.world.one_in(12) && !is_campaign;
        if terms.is_empty() || forgets {
            return Some(Request::Send(order).into());
        }
        let request = Request::SendWith { order, terms: Attached::default() };
        Some(Question { request, beside: terms.clone() })
    }

    /// An order for a campaign, with its plan, which is asked for later.
    fn campaign_order(&mut self) -> SendOrder {
        let now = self.about_now();
        let plan = some_plan(&self.world, now);
        let prizes = plan.iter().filter_map(|part| match part {
            PlanPart::Prize(_, prize) => Some(*prize),
            _ => None,
        });
        let (mut shares, mut total) = (0, 0);
        for prize in prizes {
            shares += u64::from(prize.count);
            total += u64::from(prize.count) * u64::from(prize.amount);
        }
        let lifetime_s = 20 + self.small(30_000);
        let order = SendOrder { lifetime_s, ..self.order(Split::Prizes, shares, total) };
        self.plans.insert((order.sender, order.order), plan);
        order
    }

    fn about_a_campaign(&self) -> Question {
        let known = self.book.campaigns();
        let found = known[known.len() - 1 - self.below(known.len().min(2))];
        let (campaign, order) = (found.id, &found.order);
        let user = UserId(1 + self.world.below(USERS));
        let sponsor = if self.world.one_in(30) { user } else { order.sender };
        let request = match self.world.below(100) {
            0..60 => Request::Shake { campaign, user },
            60..74 => {
                // One after the other, so that it is soon whole.
                let plan = &self.plans[&(order.sender, order.order)];
                let part = plan[found.campaign.parts() % plan.len()];
                let part = other_part(&self.world, part);
                Request::CampaignPlan { campaign, sponsor, part }
            }
            74..87 => Request::CampaignCommand { campaign, sponsor, command: Command::Start },
            87 => Request::CampaignCommand { campaign, sponsor, command: Command::Pause },
            88..92 => Request::CampaignStatus { campaign },
            92..96 => Request::CampaignWins { campaign, user },
            _ => return self.about(found, user, 78 + self.world.below(22)),
        };
        request.into()
    }

    /// Every client asks at once for shares of the same envelope.
    pub(crate) fn rush(&mut self) {
        let Some(envelope) = self.book.crowd().map(|found| found.id) else { return };
        self.look_at_the_clock();
        let mut user = 1000 + self.world.below(1500);
        let mut clients = std::mem::take(&mut self.clients);
        for client in &mut clients {
            for _ in 0..RUSH {
                user += 1;
                client.ask(Request::Claim { envelope, user: UserId(user) }, &mut self.book);
            }
            self.exchange(client);
        }
        self.clients = clients;
    }
}

/// The parts of a plan that begins about now.
fn some_plan(world: &World, now: UnixSeconds) -> Vec<PlanPart> {
    let small = |end| u32::try_from(world.below(end)).unwrap();
    let terms = PlanTerms { wins_max: 1 + small(3), opens_at: now, fallback: small(1000) };
    let kinds = 1 + u8::try_from(world.below(3)).unwrap();
    let prize = |kind: u8| Prize { amount: 100 * u32::from(kind + 1), count: 2 + small(8) };
    let prizes: Vec<Prize> = (0..kinds).map(prize).collect();
    let mut left = prizes.iter().map(|prize| prize.count).sum::<u32>();
    let (mut start, mut slots) = (now, Vec::new());
    for _ in 0..=world.below(3) {
        let quota = (1 + small(8)).min(left);
        let slot = Slot { start, length_s: 1 + small(3), quota };
        if quota > 0 {
            slots.push(slot);
        }
        (left, start) = (left - quota, slot.end() + small(2));
    }
    let prizes = (0..).zip(prizes).map(|(kind, prize)| PlanPart::Prize(kind, prize));
    let slots = (0..).zip(slots).map(|(number, slot)| PlanPart::Slot(number, slot));
    [PlanPart::Terms(terms)].into_iter().chain(prizes).chain(slots).collect()
}

/// The part, or another one in its place.
fn other_part(world: &World, part: PlanPart) -> PlanPart {
    match part {
        PlanPart::Terms(terms) if world.one_in(12) => {
            PlanPart::Terms(PlanTerms { fallback: terms.fallback + 1, ..terms })
        }
        PlanPart::Slot(number, slot) if world.one_in(12) => {
            PlanPart::Slot(number, Slot { quota: 1, ..slot })
        }
        part => part,
    }
}
