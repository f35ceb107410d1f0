//! Campaigns in a shard: a shake is drawn where it arrives, and only one that is
//! drawn goes on to the campaign's owner, which decides about it like about a
//! claim.
//!
//! So a losing shake costs a look at what the owner shows (`crowd`), touches
//! neither disk nor mesh, and allocates nothing; and the owner's work follows
//! the prizes, not the crowd. The owner looks at its campaigns every few
//! milliseconds: what the plan has released, what was won, how fast the crowd
//! shakes (`pace`). What it sees is kept by second (`report`).

mod crowd;
mod pace;
mod report;
#[cfg(test)]
mod tests;

pub(super) use crowd::Crowd;

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::rand_core::RngCore;

use super::answer::Verdict;
use super::turn::{Fatal, Shard};
use crate::engine::{CampaignView, Engine, Outcome};
use crate::journal::{Position, Storage};
use crate::limits::CAMPAIGNS_PER_SHARD_MAX;
use crate::net::{Asked, Kernel};
use crate::units::{EnvelopeId, Time, UnixSeconds};
use crate::wire::{CampaignSecond, Request};
use crowd::Drawn;
use pace::{AHEAD_MS, Pace};
use report::{Report, Standing};

/// How often the owner looks at a campaign that gives out prizes.
const LOOK_MS: u64 = 5;

/// How often at one that does not, for the time being,
const IDLE_LOOK_MS: u64 = 250;

/// and how often at one that is over.
const LAST_LOOK_MS: u64 = 60_000;

/// A campaign of this shard's.
struct Own {
    campaign: EnvelopeId,
    /// Where it is shown, if there was a place.
    place: Option<usize>,
    /// What the crowd is told without a draw.
    said: Option<Outcome>,
    /// What it is to be told once the journal is committed up to there.
    change: Option<(Option<Outcome>, Position)>,
    pace: Pace,
    report: Report,
}

/// How the journal stands, for whoever shows something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stands {
    /// The end of what was appended.
    pub(super) appended: Position,
    /// Everything before this is committed.
    pub(super) committed: Position,
    /// Everything before this is in the ledger; all ones without a ledger.
    pub(super) passed: Position,
}

/// What a shard knows of campaigns, beside its engine.
pub(super) struct Campaigns {
    crowd: Arc<Crowd>,
    shard: usize,
    own: Vec<Own>,
    now: Time,
    look_at: Time,
    /// Whether a ledger follows, as of the last look.
    is_followed: bool,
}

impl Campaigns {
    /// Of a shard that has not looked yet.
    pub(super) fn new(crowd: Arc<Crowd>, shard: usize, engine: &Engine) -> Self {
        let room = CAMPAIGNS_PER_SHARD_MAX.max(engine.campaigns(Time(0)).count());
        let own = Vec::with_capacity(room);
        Self { crowd, shard, own, now: Time(0), look_at: Time(0), is_followed: false }
    }

    /// Whether it is time to look.
    #[inline]
    pub(super) fn is_due(&self, now: Time) -> bool {
        now >= self.look_at
    }

    /// Something was decided about a campaign: the next look is due.
    pub(super) fn look_soon(&mut self) {
        self.look_at = Time(0);
    }

    /// The journal is committed up to there: what waited for it is shown, before
    /// anybody hears that it was done.
    pub(super) fn release(&mut self, upto: Position) {
        for own in &mut self.own {
            own.show(&self.crowd, upto);
        }
    }

    /// How long the shard may sleep for the sake of this.
    pub(super) fn sleep_at_most(&self, now: Time) -> Option<Duration> {
        let wait = self.look_at.0.saturating_sub(now.0);
        (!self.own.is_empty()).then_some(Duration::from_millis(wait))
    }

    /// Looks at every campaign of this shard, and shows what is to be shown.
    pub(super) fn look(&mut self, engine: &Engine, now: Time, stands: Stands) {
        (self.now, self.is_followed) = (now, stands.passed != Position(u64::MAX));
        self.forget_gone(engine, now);
        let mut look_ms = LAST_LOOK_MS;
        for (campaign, refusal) in engine.campaigns(now) {
            let Some(view) = engine.campaign(campaign, now) else { continue };
            let known = self.own.iter().position(|own| own.campaign == campaign);
            let own = known.unwrap_or_else(|| self.meet(&view, now, stands));
            let Some(own) = self.own.get_mut(own) else { continue };
            own.say(&self.crowd, refusal, stands);
            own.offer(&self.crowd, &view, now, stands);
            look_ms = look_ms.min(own.look_ms(refusal));
        }
        self.look_at = Time(now.0.saturating_add(look_ms));
    }

    /// Campaigns that were recycled are shown no more.
    fn forget_gone(&mut self, engine: &Engine, now: Time) {
        let crowd = &self.crowd;
        self.own.retain(|own| {
            let is_there = engine.campaigns(now).any(|(campaign, _)| campaign == own.campaign);
            if let (false, Some(place)) = (is_there, own.place) {
                crowd.leave(place);
            }
            is_there
        });
    }

    /// A campaign that was not seen before; its place among our own.
    fn meet(&mut self, view: &CampaignView<'_>, now: Time, stands: Stands) -> usize {
        let place = self.crowd.enter(view.envelope);
        let shakes = place.map_or(0, |place| self.crowd.shakes(place));
        self.own.push(Own {
            campaign: view.envelope,
            place,
            said: None,
            change: None,
            pace: Pace::new(shakes, now),
            report: Report::new(&standing(view, shakes, now, stands)),
        });
        self.own.len() - 1
    }

    /// What has become of a campaign, by second: shakes, credits where a ledger
    /// follows, and the seconds.
    pub(super) fn report(
        &self,
        campaign: EnvelopeId,
    ) -> (u64, Option<u32>, impl ExactSizeIterator<Item = CampaignSecond> + '_) {
        let own = self.own.iter().find(|own| own.campaign == campaign);
        let place = own.and_then(|own| own.place);
        let shakes = place.map_or(0, |place| self.crowd.shakes(place));
        let credited = own.filter(|_| self.is_followed).map(|own| own.report.credited());
        let seconds = own.map_or(&EMPTY, |own| &own.report).seconds();
        (shakes, credited, seconds)
    }

    /// When the shard looked last.
    pub(super) fn now(&self) -> Time {
        self.now
    }
}

static EMPTY: Report = Report::empty();

impl Own {
    /// What is told without a draw changes when its record is committed. Until
    /// then nobody is drawn (`offer`), which tells nothing.
    fn say(&mut self, crowd: &Crowd, refusal: Option<Outcome>, stands: Stands) {
        if refusal == self.said {
            self.change = None;
        } else if self.change.is_none_or(|(change, _)| change != refusal) {
            self.change = Some((refusal, stands.appended));
        }
        self.show(crowd, stands.committed);
    }

    fn show(&mut self, crowd: &Crowd, committed: Position) {
        if let Some((change, at)) = self.change
            && at <= committed
        {
            (self.said, self.change) = (change, None);
            if let Some(place) = self.place {
                crowd.refuse(place, change);
            }
        }
    }

    /// How soon there may be something else to see.
    fn look_ms(&self, refusal: Option<Outcome>) -> u64 {
        match refusal {
            _ if self.change.is_some() => LOOK_MS,
            None => LOOK_MS,
            Some(Outcome::NotBegun | Outcome::Paused | Outcome::NotPaid) => IDLE_LOOK_MS,
            Some(_) => LAST_LOOK_MS,
        }
    }

    /// Shows how likely a shake is to go on, and how many may.
    fn offer(&mut self, crowd: &Crowd, view: &CampaignView<'_>, now: Time, stands: Stands) {
        let shakes = self.place.map_or(0, |place| crowd.shakes(place));
        self.pace.observe(shakes, now);
        self.report.note(&standing(view, shakes, now, stands));
        let gives = self.said.is_none() && self.change.is_none();
        let available = if gives { available(view, now) } else { 0 };
        if let Some(place) = self.place {
            let fallback = view.plan.terms().fallback;
            crowd.offer(place, self.pace.threshold(available), available, fallback);
        }
    }
}

/// What may still be won until the pace's look ahead.
fn available(view: &CampaignView<'_>, now: Time) -> u32 {
    if view.plan.slot_at(now.seconds()).is_none() {
        return 0;
    }
    let ahead = Time(now.0.saturating_add(AHEAD_MS));
    view.plan.released(ahead).min(view.prizes).saturating_sub(view.won)
}

fn standing(view: &CampaignView<'_>, shakes: u64, now: Time, stands: Stands) -> Standing {
    let at: UnixSeconds = now.seconds();
    let (released, won) = (view.released, view.won);
    let Stands { appended, passed, .. } = stands;
    Standing { at, released, won, shakes, appended, passed }
}

impl<S: Storage, K: Kernel> Shard<S, K> {
    /// What a shake is told where it arrives; `None` of any other request, and
    /// of a shake that goes on to its owner.
    #[inline]
    pub(super) fn drawn(&mut self, asked: &Asked, now: Time) -> Option<Verdict> {
        let Ok(Request::Shake { campaign, user } | Request::ShakeWith { campaign, user, .. }) =
            asked.request
        else {
            return None;
        };
        let (crowd, seeds) = (&self.campaigns.crowd, &mut self.seeds);
        match crowd.draw(campaign, self.campaigns.shard, || seeds.next_u64()) {
            Drawn::AskOwner => None,
            Drawn::Told(outcome) => {
                if let Some(retry_after_ms) = self.put_off(asked) {
                    return Some(Verdict::Overloaded(retry_after_ms));
                }
                self.tried(user, now);
                Some(Verdict::Decided(outcome, campaign))
            }
        }
    }

    /// Decides about a plan, a command or a user's wins.
    #[cold]
    pub(super) fn decide_campaign(
        &mut self,
        request: &Request,
        now: Time,
    ) -> Result<Verdict, Fatal> {
        let envelope = request.envelope().unwrap_or_default();
        if !self.expire_touched(request, now)? {
            return Ok(Verdict::Decided(Outcome::Full, envelope));
        }
        let decision = match *request {
            Request::CampaignPlan { campaign, sponsor, ref part } => {
                self.engine.plan(campaign, sponsor, part, now)
            }
            Request::CampaignCommand { campaign, sponsor, command } => {
                self.engine.command(campaign, sponsor, command, now)
            }
            Request::CampaignWins { campaign, user } => {
                return Ok(Verdict::Decided(self.engine.wins(campaign, user), envelope));
            }
            _ => return Ok(self.nonsense(crate::wire::BadRequest::UnknownOp)),
        };
        let outcome = match decision.record {
            Some(record) if !self.make_true(&record, now)? => Outcome::Full,
            _ => decision.outcome,
        };
        self.campaigns.look_soon();
        self.look_at_campaigns(now);
        Ok(Verdict::Decided(outcome, envelope))
    }

    /// Looks at this shard's campaigns, if it is time.
    pub(super) fn look_at_campaigns(&mut self, now: Time) {
        if self.campaigns.is_due(now) {
            let appended = self.journal.appended();
            let stands = Stands {
                appended,
                committed: if self.is_settled() { appended } else { self.committed_upto },
                passed: self.outlook.passed(),
            };
            self.campaigns.look(&self.engine, now, stands);
        }
    }
}
