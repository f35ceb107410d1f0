//! The typed calls about campaigns.

use std::thread::sleep;

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
    /// What an earlier try had won, whose answer was lost.
    WonBefore {
        /// What the user won last, in fen.
        amount: Fen,
        /// How many prizes it has won by now.
        count: u32,
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
    /// Shakes once. Unlike all other calls, the same again is another try, so it is
    /// not made again by itself; after a lost answer [`Client::campaign_wins`] tells
    /// whether it had won.
    pub fn shake(&mut self, campaign: EnvelopeId, user: UserId) -> Result<Shaken, ClientError> {
        shaken(&self.try_once(&Request::Shake { campaign, user }, &[])?)
    }

    /// [`Client::shake`] that shows from where it comes.
    pub fn shake_with(
        &mut self,
        campaign: EnvelopeId,
        user: UserId,
        evidence: &Evidence<'_>,
    ) -> Result<Shaken, ClientError> {
        let request = Request::ShakeWith { campaign, user, evidence: Attached::default() };
        shaken(&self.try_once(&request, &evidence.to_bytes())?)
    }

    /// Shakes for the next win of a user who was told of `known` wins. After a lost
    /// answer it first asks what the user has won, and shakes again only if that is
    /// no more; so a win that nobody heard of is told and not tried for once more.
    pub fn shake_for_next(
        &mut self,
        campaign: EnvelopeId,
        user: UserId,
        known: u32,
    ) -> Result<Shaken, ClientError> {
        let (tries, mut pause) = self.patience();
        let mut told = self.shake(campaign, user);
        for _ in 1..tries {
            match &told {
                Err(error) if error.is_broken_connection() => sleep(pause),
                _ => break,
            }
            pause *= 2;
            let Wins { count, last: amount } = self.campaign_wins(campaign, user)?;
            if count > known {
                return Ok(Shaken::WonBefore { amount, count });
            }
            told = self.shake(campaign, user);
        }
        told
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
