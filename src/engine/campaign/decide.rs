//! What is decided about campaigns. Nothing here changes the state.

use super::super::cold::Cold;
use super::super::slots::Slot;
use super::super::transition::rank_check;
use super::super::validate::refusal_now;
use super::super::{Claimed, Commanded, Decision, Engine, Outcome, Planned, Record};
use super::{Campaign, Plan, prizes};
use crate::planted::{Bug, is_planted};
use crate::units::{EnvelopeId, EnvelopeState, Fen, Split, Time, UnixSeconds, UserId};
use crate::wire::{CampaignPhase, Command, PlanPart, Row};

/// A campaign as it stands.
#[derive(Clone, Copy, Debug)]
pub struct CampaignView<'a> {
    /// Its envelope.
    pub envelope: EnvelopeId,
    /// What was planned.
    pub plan: &'a Plan,
    /// Where it is between its order and its end.
    pub phase: CampaignPhase,
    /// Where its envelope is in its life.
    pub state: EnvelopeState,
    /// When that expires; while it is reserved, when it lapses.
    pub ends_at: UnixSeconds,
    /// How many prizes there are.
    pub prizes: u32,
    /// How many of them may have been won by now.
    pub released: u32,
    /// How many were won.
    pub won: u32,
    /// What those come to, in fen.
    pub won_fen: Fen,
    /// Wins by kind of prize.
    pub won_by_kind: &'a [u32],
    /// Wins by slot.
    pub won_by_slot: &'a [u32],
}

impl Engine {
    fn campaign_of(&self, envelope: EnvelopeId) -> Option<(Slot, &Campaign)> {
        let slot = self.slots.get(envelope)?;
        let is_campaign = slot.header.split == Split::Prizes;
        Some((slot, self.campaigns.find(envelope).filter(|_| is_campaign)?))
    }

    /// Decides about a shake that was drawn to be worth asking about. In this
    /// order: the campaign must be open and running, the user must have wins
    /// left, a slot must be under way, and it must have a prize left.
    pub fn shake(&self, envelope: EnvelopeId, user: UserId, now: Time) -> Decision {
        let Some((slot, campaign)) = self.campaign_of(envelope) else {
            return Decision::only(Outcome::NotFound);
        };
        if let Some(refusal) = refusal_now(&slot.header, now).or(not_running(campaign, now)) {
            return Decision::only(refusal);
        }
        let round = campaign.plan.slot_at(now.seconds());
        if let Some((wins, last)) = self.slots.wins_of(&slot, user) {
            let begun = round.and_then(|round| campaign.plan.slots().get(round));
            let in_round = begun.is_some_and(|round| last.at >= round.start);
            let is_capped = in_round || wins >= campaign.plan.terms().wins_max;
            if is_capped && !is_planted(Bug::CapForgotten) {
                let amount = last.amount.into();
                return Decision::only(Outcome::CapReached { amount });
            }
        }
        let nothing = Outcome::NothingWon { fallback: campaign.plan.terms().fallback };
        let released = campaign.plan.released(now) + u32::from(is_planted(Bug::PrizeTooEarly));
        if round.is_none() || slot.header.claimed >= released {
            return Decision::only(nothing);
        }
        won(envelope, &slot, campaign, user, now).unwrap_or(Decision::only(nothing))
    }

    /// Decides about a part of a plan, which only the sponsor may say, and only
    /// before the campaign was ever started.
    pub fn plan(
        &self,
        envelope: EnvelopeId,
        sponsor: UserId,
        part: &PlanPart,
        now: Time,
    ) -> Decision {
        let (slot, _, campaign) = match self.sponsored(envelope, sponsor) {
            Ok(found) => found,
            Err(refusal) => return Decision::only(refusal),
        };
        match refusal_now(&slot.header, now) {
            None | Some(Outcome::NotPaid) => {}
            Some(refusal) => return Decision::only(refusal),
        }
        if campaign.plan.has(part) {
            return Decision::only(Outcome::Arranged { repeated: true });
        }
        if campaign.phase != CampaignPhase::Draft {
            return Decision::only(Outcome::Conflict);
        }
        Decision {
            outcome: Outcome::Arranged { repeated: false },
            record: Some(Record::Planned(Planned { envelope, part: *part, at: now.seconds() })),
        }
    }

    /// Decides about starting or pausing, which only the sponsor may say.
    pub fn command(
        &self,
        envelope: EnvelopeId,
        sponsor: UserId,
        command: Command,
        now: Time,
    ) -> Decision {
        let (slot, cold, campaign) = match self.sponsored(envelope, sponsor) {
            Ok(found) => found,
            Err(refusal) => return Decision::only(refusal),
        };
        let header = &slot.header;
        if let Some(refusal) = refusal_now(header, now) {
            return Decision::only(refusal);
        }
        match (command, campaign.phase) {
            (Command::Start, CampaignPhase::Running) | (Command::Pause, CampaignPhase::Paused) => {
                return Decision::only(Outcome::Arranged { repeated: true });
            }
            (Command::Pause, CampaignPhase::Draft) => return Decision::only(Outcome::NotBegun),
            (Command::Start, CampaignPhase::Draft) => {
                let whole = campaign.plan.check(header.shares, cold.total, header.expires_at);
                if let Err(reason) = whole {
                    return Decision::only(Outcome::Invalid(reason));
                }
            }
            (Command::Start, CampaignPhase::Paused) | (Command::Pause, CampaignPhase::Running) => {}
        }
        Decision {
            outcome: Outcome::Arranged { repeated: false },
            record: Some(Record::Commanded(Commanded { envelope, command, at: now.seconds() })),
        }
    }

    /// A sponsor's campaign, or why it is none.
    fn sponsored(
        &self,
        envelope: EnvelopeId,
        sponsor: UserId,
    ) -> Result<(Slot, Cold, &Campaign), Outcome> {
        let (slot, campaign) = self.campaign_of(envelope).ok_or(Outcome::NotFound)?;
        let cold = self.slots.cold(slot.reference()).ok_or(Outcome::NotFound)?;
        if cold.sender == sponsor { Ok((slot, cold, campaign)) } else { Err(Outcome::Denied) }
    }

    /// How many prizes a user has won, and the latest.
    pub fn wins(&self, envelope: EnvelopeId, user: UserId) -> Outcome {
        let Some((slot, _)) = self.campaign_of(envelope) else {
            return Outcome::NotFound;
        };
        let wins = self.slots.wins_of(&slot, user);
        let told = |(wins, last): (u32, Row)| (wins, last.amount.into());
        let (wins, amount) = wins.map_or((0, 0), told);
        Outcome::Wins { wins, amount }
    }

    /// A campaign as it stands.
    pub fn campaign(&self, envelope: EnvelopeId, now: Time) -> Option<CampaignView<'_>> {
        let (slot, campaign) = self.campaign_of(envelope)?;
        let cold = self.slots.cold(slot.reference())?;
        let (plan, header) = (&campaign.plan, &slot.header);
        Some(CampaignView {
            envelope,
            plan,
            phase: campaign.phase,
            state: header.state,
            ends_at: header.expires_at,
            prizes: header.shares,
            released: plan.released(now).min(header.shares),
            won: header.claimed,
            won_fen: cold.total.saturating_sub(header.unclaimed),
            won_by_kind: &campaign.won_by_kind[..plan.prizes().len()],
            won_by_slot: &campaign.won_by_slot[..plan.slots().len()],
        })
    }

    /// All campaigns, and what a shake of each is told at once where none is
    /// won: `None` while prizes are given out.
    pub fn campaigns(&self, now: Time) -> impl Iterator<Item = (EnvelopeId, Option<Outcome>)> {
        self.campaigns.iter().filter_map(move |campaign| {
            let slot = self.slots.get(campaign.envelope)?;
            // Its end is told when its record is there, not before.
            let header = &slot.header;
            let refusal = (!header.is_overdue(now)).then(|| refusal_now(header, now)).flatten();
            Some((campaign.envelope, refusal.or(not_running(campaign, now))))
        })
    }
}

fn not_running(campaign: &Campaign, now: Time) -> Option<Outcome> {
    match campaign.phase {
        CampaignPhase::Draft => Some(Outcome::NotBegun),
        CampaignPhase::Paused => Some(Outcome::Paused),
        CampaignPhase::Running if now.seconds() < campaign.plan.terms().opens_at => {
            Some(Outcome::NotBegun)
        }
        CampaignPhase::Running => None,
    }
}

/// The next prize is this user's.
fn won(
    envelope: EnvelopeId,
    slot: &Slot,
    campaign: &Campaign,
    user: UserId,
    now: Time,
) -> Option<Decision> {
    let header = &slot.header;
    let rank = header.claimed.saturating_sub(is_planted(Bug::PrizeGivenTwice).into());
    let place = prizes::place(header.seed, header.shares, rank);
    let (kind, prize) = campaign.plan.kind_at(place)?;
    let record = Record::Claimed(Claimed {
        envelope,
        user,
        amount: prize.amount,
        rank: rank_check(header.claimed),
        at: now.seconds(),
    });
    let kind = u32::try_from(kind).unwrap_or(u32::MAX);
    let outcome = Outcome::Won { amount: prize.amount.into(), kind };
    Some(Decision { outcome, record: Some(record) })
}
