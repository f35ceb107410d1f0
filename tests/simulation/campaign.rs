//! A campaign as it was told: its plan is fixed once it was started, no more is
//! ever won than the plan has released, and what was won stays.

use std::collections::{BTreeMap, BTreeSet};

use hongbao::units::{EnvelopeId, Fen, UnixSeconds, UserId};
use hongbao::wire::{
    BadRequest, CampaignPhase, CampaignStatus, Command, Denial, NotOpen, PlanPart, PlanTerms,
    Prize, Reply, ReplyBody, Request, Slot, Status,
};

use crate::client::Asked;
use crate::envelope::{Envelope, Moment};

/// The rows of a campaign by rank: user, amount, and when.
type Rows = BTreeMap<u32, (UserId, u32, u32)>;

/// A plan as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    terms: PlanTerms,
    prizes: Vec<Prize>,
    slots: Vec<Slot>,
}

/// A prize that somebody was told to have won.
struct Win {
    user: UserId,
    amount: Fen,
    told_at: u64,
}

/// What a campaign has beside its envelope.
#[derive(Default)]
pub(crate) struct Campaign {
    /// Every part that was ever asked for.
    parts: Vec<PlanPart>,
    shakers: BTreeSet<UserId>,
    /// When it was first told that it is started.
    started_at: Option<u64>,
    /// The plan, once it was seen to be fixed, and when that was first told.
    plan: Option<(Plan, u64)>,
    wins: Vec<Win>,
    /// How many wins a user was told to have, and when.
    counted: BTreeMap<UserId, (u32, u64)>,
}

impl Campaign {
    /// This is about to be asked.
    pub(crate) fn asking(&mut self, request: &Request) {
        match *request {
            Request::CampaignPlan { part, .. } => self.parts.push(part),
            Request::Shake { user, .. } => {
                self.shakers.insert(user);
            }
            _ => {}
        }
    }

    /// How many parts were asked for, one of them perhaps more than once.
    pub(crate) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The prizes that were told, by user.
    pub(crate) fn wins(&self) -> impl Iterator<Item = (UserId, Fen)> + '_ {
        self.wins.iter().map(|win| (win.user, win.amount))
    }

    fn had_started(&self, asked_at: u64) -> bool {
        self.started_at.is_some_and(|started_at| started_at < asked_at)
    }

    fn won_before(&self, asked_at: u64) -> impl Iterator<Item = &Win> {
        self.wins.iter().filter(move |win| win.told_at < asked_at)
    }

    fn won(&mut self, user: UserId, amount: Fen, kind: u32, (asked_at, now): (u64, u64)) {
        if let Some((plan, _)) = &self.plan {
            let prize = plan.prizes.get(usize::try_from(kind).unwrap());
            assert_eq!(prize.map(|prize| Fen::from(prize.amount)), Some(amount));
            let before = self.won_before(asked_at).filter(|win| win.user == user).count();
            assert!(before < usize::try_from(plan.terms.wins_max).unwrap(), "{user} wins on");
        }
        assert!(self.shakers.contains(&user));
        self.wins.push(Win { user, amount, told_at: now });
    }

    /// A loser is told what some version of the plan says, or nothing yet.
    fn lost(&self, fallback: u32) {
        let said = |part: &PlanPart| matches!(part, PlanPart::Terms(t) if t.fallback == fallback);
        assert!(fallback == 0 || self.parts.iter().any(said), "nobody said {fallback}");
    }

    /// The parts of a plan that were never asked for.
    fn made_up(&self, plan: &Plan) -> usize {
        let terms = (plan.terms != PlanTerms::default()).then_some(PlanPart::Terms(plan.terms));
        let prizes = (0..).zip(&plan.prizes).map(|(kind, prize)| PlanPart::Prize(kind, *prize));
        let slots = (0..).zip(&plan.slots).map(|(number, slot)| PlanPart::Slot(number, *slot));
        let parts = terms.into_iter().chain(prizes).chain(slots);
        parts.filter(|part| !self.parts.contains(part)).count()
    }

    fn reported(&mut self, status: &CampaignStatus, (asked_at, now): (u64, u64)) {
        let head = &status.head;
        let prizes: Vec<Prize> = status.prizes.iter().map(|(prize, _)| *prize).collect();
        let slots: Vec<Slot> = status.slots.iter().map(|(slot, _)| *slot).collect();
        let plan = Plan { terms: head.terms, prizes, slots };
        assert_eq!(self.made_up(&plan), 0, "{plan:?}");
        let known = self.won_before(asked_at).count();
        assert!(known <= usize::try_from(head.won).unwrap(), "{known} wins are known");
        if head.phase == CampaignPhase::Draft {
            let was_fixed = self.plan.as_ref().is_some_and(|(_, told_at)| *told_at < asked_at);
            assert!(!was_fixed && !self.had_started(asked_at), "a draft again");
            assert_eq!(head.won, 0);
            return;
        }
        let (fixed, _) = self.plan.get_or_insert_with(|| (plan.clone(), now));
        assert_eq!(*fixed, plan, "the plan was fixed");
        assert!(head.won <= head.prizes);
        let by_kind: u32 = status.prizes.iter().map(|(_, won)| won).sum();
        let by_slot: u32 = status.slots.iter().map(|(_, won)| won).sum();
        assert_eq!((by_kind, by_slot), (head.won, head.won), "every win has kind and slot");
        let money = status.prizes.iter().map(|(p, won)| Fen::from(p.amount) * Fen::from(*won));
        assert_eq!(money.sum::<Fen>(), head.won_fen);
    }

    fn counted(&mut self, user: UserId, wins: u32, (asked_at, now): (u64, u64)) {
        let known = self.won_before(asked_at).filter(|win| win.user == user).count();
        assert!(known <= usize::try_from(wins).unwrap(), "{user} has won {known} times");
        let (before, told_at) = self.counted.get(&user).copied().unwrap_or_default();
        assert!(before <= wins || told_at >= asked_at, "{user} had {before} wins, now {wins}");
        if before <= wins {
            self.counted.insert(user, (wins, now));
        }
    }

    /// Whether every row keeps to the plan, and every win that was told is there.
    pub(crate) fn settle(&self, id: EnvelopeId, rows: &Rows) {
        if rows.is_empty() {
            return assert!(self.wins.is_empty(), "{id}: wins are gone");
        }
        let (plan, _) = self.plan.as_ref().expect("who wins has a plan");
        for (rank, (user, amount, at)) in rows {
            let come: u64 = plan.slots.iter().map(|slot| released(slot, *at)).sum();
            assert!(u64::from(*rank) < come, "{id}: win {rank} when {come} were released");
            let kind = plan.prizes.iter().find(|prize| prize.amount == *amount);
            let alike = rows.values().filter(|row| row.1 == *amount).count();
            let there = kind.map_or(0, |kind| usize::try_from(kind.count).unwrap());
            assert!(alike <= there, "{id}: {alike} of {there} prizes of {amount}");
            let slot = plan.slots.iter().find(|slot| (slot.start..slot.end()).contains(at));
            let slot = slot.expect("nothing is won outside slots");
            let own = |row: &&(UserId, u32, u32)| row.0 == *user;
            let in_slot = rows.values().filter(own);
            let in_slot = in_slot.filter(|row| (slot.start..slot.end()).contains(&row.2)).count();
            assert_eq!(in_slot, 1, "{id}: {user} wins once a slot");
            let wins = rows.values().filter(own).count();
            assert!(wins <= usize::try_from(plan.terms.wins_max).unwrap(), "{id}: {user}");
            assert!(*at >= plan.terms.opens_at);
        }
        let listed = rows.values().map(|(user, amount, _)| (*user, Fen::from(*amount)));
        let mut left = BTreeMap::<(UserId, Fen), usize>::new();
        listed.for_each(|win| *left.entry(win).or_default() += 1);
        for win in self.wins() {
            let left = left.get_mut(&win).filter(|left| **left > 0);
            *left.unwrap_or_else(|| panic!("{id}: {win:?} was told and is not listed")) -= 1;
        }
    }
}

/// How many prizes a slot has released by the end of a second, at most: a
/// fifteenth at once, and all when an eighth of its time is left.
fn released(slot: &Slot, at: UnixSeconds) -> u64 {
    let Some(elapsed) = (at + 1).checked_sub(slot.start).filter(|elapsed| *elapsed > 0) else {
        return 0;
    };
    let (elapsed, length) = (u64::from(elapsed), u64::from(slot.length_s));
    let quota = u64::from(slot.quota);
    (quota * (16 * elapsed + length)).div_ceil(15 * length).min(quota)
}

impl Envelope {
    /// Says whether this was a matter of a campaign only.
    pub(crate) fn campaign_told(&mut self, asked: &Asked, reply: &Reply, moment: &Moment) -> bool {
        let when = (asked.at, moment.now);
        match (&asked.request, reply.status, &reply.body) {
            (Request::CampaignStatus { .. }, Status::Ok, ReplyBody::Campaign(status)) => {
                self.campaign.reported(status, when);
            }
            (Request::CampaignWins { user, .. }, Status::Ok, ReplyBody::Amount(_)) => {
                self.campaign.counted(*user, reply.detail, when);
            }
            (Request::CampaignWins { user, .. }, Status::NothingWon, _) => {
                self.campaign.counted(*user, 0, when);
            }
            (Request::Shake { user, .. }, ..) => self.shaken(*user, reply, when),
            (Request::CampaignPlan { sponsor, .. }, ..) => self.planned(*sponsor, reply, when),
            (Request::CampaignCommand { sponsor, command, .. }, ..) => {
                self.commanded(*sponsor, *command, reply, when);
            }
            (Request::Claim { user, .. }, Status::AlreadyClaimed, _) => {
                assert!(self.campaign.shakers.contains(user), "{user} never shook {}", self.id);
            }
            (Request::Claim { .. }, Status::Denied, _) => {
                assert_eq!(reply.detail, Denial::ByShakingOnly.code());
            }
            (Request::Claim { .. }, ..) => self.shut((reply.status, reply.detail), when),
            _ => return false,
        }
        true
    }

    fn shaken(&mut self, user: UserId, reply: &Reply, when: (u64, u64)) {
        match (reply.status, &reply.body) {
            (Status::Ok, ReplyBody::Amount(amount)) => {
                assert!(!self.had_ended(when.0), "{} gives after its end", self.id);
                self.campaign.won(user, *amount, reply.detail, when);
            }
            (Status::AlreadyClaimed, ReplyBody::Amount(_)) => {
                assert!(self.campaign.shakers.contains(&user));
            }
            (Status::NothingWon, ReplyBody::None) => self.campaign.lost(reply.detail),
            _ => self.shut((reply.status, reply.detail), when),
        }
    }

    /// A campaign gives nothing, for now or for ever.
    fn shut(&mut self, why: (Status, u32), when: (u64, u64)) {
        if why == (Status::NotOpen, NotOpen::NotBegun.code()) {
            let has_given = self.campaign.won_before(when.0).next().is_some();
            return assert!(!has_given, "{} has given something", self.id);
        }
        if why == (Status::NotOpen, NotOpen::Paused.code()) {
            return;
        }
        self.refuses(why, when);
    }

    fn planned(&mut self, sponsor: UserId, reply: &Reply, when: (u64, u64)) {
        match reply.status {
            Status::Denied => assert!(sponsor != self.order.sender),
            Status::Ok if reply.detail == 0 => {
                assert!(!self.campaign.had_started(when.0), "{}: its plan is fixed", self.id);
            }
            Status::Ok | Status::Conflict => {}
            status => self.shut((status, reply.detail), when),
        }
    }

    fn commanded(&mut self, sponsor: UserId, command: Command, reply: &Reply, when: (u64, u64)) {
        match (reply.status, command) {
            (Status::Denied, _) => assert!(sponsor != self.order.sender),
            (Status::Ok, Command::Start) => {
                self.campaign.started_at.get_or_insert(when.1);
            }
            (Status::Ok, Command::Pause) => {}
            (Status::BadRequest, Command::Start) => {
                let not_whole =
                    [BadRequest::PlanTerms, BadRequest::PlanPrizes, BadRequest::PlanSlots];
                assert!(not_whole.map(BadRequest::code).contains(&reply.detail), "{reply:?}");
                assert!(!self.campaign.had_started(when.0), "{} had a whole plan", self.id);
            }
            (status, _) => self.shut((status, reply.detail), when),
        }
    }
}
