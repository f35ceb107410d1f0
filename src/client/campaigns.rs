//! The typed calls about campaigns.

use super::calls::refused;
use super::error::ClientError;
use super::routed::Client;
use crate::units::{EnvelopeId, Fen, UserId};
use crate::wire::{
    Attached, CampaignStatus, Command, Evidence, PlanPart, Reply, ReplyBody, Request, Status,
};

/// What a shake came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shaken {
    /// A prize.
    Won {
        /// Its amount, in fen.
        amount: Fen,
        /// Which kind of the plan.
        kind: u32,
    },
    /// Nothing.
    Lost {
        /// What the plan tells losers.
        fallback: u32,
    },
    /// Nothing: the user has won what it may, in this slot or at all.
    CapReached {
        /// What it won last, in fen.
        amount: Fen,
    },
}

/// What a user has won of a campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wins {
    /// How many prizes.
    pub count: u32,
    /// The last, in fen; 0 where there is none.
    pub last: Fen,
}

impl Client {
    /// Shakes once. Unlike all other calls, the same again is another try; after
    /// a lost answer [`Client::campaign_wins`] tells whether it had won.
    pub fn shake(&mut self, campaign: EnvelopeId, user: UserId) -> Result<Shaken, ClientError> {
        shaken(&self.call(&Request::Shake { campaign, user })?)
    }

    /// The same, and shows from where it comes.
    pub fn shake_with(
        &mut self,
        campaign: EnvelopeId,
        user: UserId,
        evidence: &Evidence<'_>,
    ) -> Result<Shaken, ClientError> {
        let request = Request::ShakeWith { campaign, user, evidence: Attached::default() };
        shaken(&self.call_with(&request, &evidence.to_bytes())?)
    }

    /// Writes a part of a campaign's plan; says whether it was so before.
    pub fn campaign_plan(
        &mut self,
        campaign: EnvelopeId,
        sponsor: UserId,
        part: PlanPart,
    ) -> Result<bool, ClientError> {
        self.arrange(&Request::CampaignPlan { campaign, sponsor, part })
    }

    /// Starts or pauses a campaign; says whether it was so before.
    pub fn campaign_command(
        &mut self,
        campaign: EnvelopeId,
        sponsor: UserId,
        command: Command,
    ) -> Result<bool, ClientError> {
        self.arrange(&Request::CampaignCommand { campaign, sponsor, command })
    }

    fn arrange(&mut self, request: &Request) -> Result<bool, ClientError> {
        let reply = self.call(request)?;
        match reply.status {
            Status::Ok => Ok(reply.detail == 1),
            _ => Err(refused(&reply)),
        }
    }

    /// How a campaign stands.
    pub fn campaign_status(&mut self, campaign: EnvelopeId) -> Result<CampaignStatus, ClientError> {
        let reply = self.call(&Request::CampaignStatus { campaign })?;
        match (reply.status, &reply.body) {
            (Status::Ok, ReplyBody::Campaign(status)) => Ok(status.clone()),
            _ => Err(refused(&reply)),
        }
    }

    /// What a user has won of a campaign.
    pub fn campaign_wins(
        &mut self,
        campaign: EnvelopeId,
        user: UserId,
    ) -> Result<Wins, ClientError> {
        let reply = self.call(&Request::CampaignWins { campaign, user })?;
        match (reply.status, &reply.body) {
            (Status::Ok, ReplyBody::Amount(last)) => Ok(Wins { count: reply.detail, last: *last }),
            (Status::NothingWon, _) => Ok(Wins::default()),
            _ => Err(refused(&reply)),
        }
    }
}

fn shaken(reply: &Reply) -> Result<Shaken, ClientError> {
    match (reply.status, &reply.body) {
        (Status::Ok, ReplyBody::Amount(amount)) => {
            Ok(Shaken::Won { amount: *amount, kind: reply.detail })
        }
        (Status::AlreadyClaimed, ReplyBody::Amount(amount)) => {
            Ok(Shaken::CapReached { amount: *amount })
        }
        (Status::NothingWon, _) => Ok(Shaken::Lost { fallback: reply.detail }),
        _ => Err(refused(reply)),
    }
}
