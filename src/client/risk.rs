//! The typed calls of a risk service and of operators.

use super::calls::refused;
use super::error::ClientError;
use super::routed::Client;
use crate::units::{EnvelopeId, Fen, UserId};
use crate::wire::{
    Explained, HOLD_ROWS_MAX, Hold, HoldsFrom, Mark, RISK_EVENTS_MAX, ReplyBody, Request,
    Resolution, RiskEvent, Status,
};

/// Marks that are under way together: their requests and replies for some shards
/// fit the buffers of a connection.
const MARKS_IN_FLIGHT: usize = 128;

/// A hold was decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Its amount, in fen.
    pub amount: Fen,
    /// Whether it was decided so before.
    pub repeated: bool,
}

impl Client {
    /// A partition of each shard of the server: shard s owns the partition s.
    fn partitions(&self) -> std::ops::RangeInclusive<u8> {
        0..=u8::try_from(self.hello().ports.len().saturating_sub(1)).unwrap_or(u8::MAX)
    }

    /// Says something of a user, to every shard. Said again, it changes nothing, so
    /// after an error the same call makes it whole. True if all shards knew it.
    pub fn risk_mark(&mut self, user: UserId, mark: Mark) -> Result<bool, ClientError> {
        let mut known = true;
        for partition in self.partitions() {
            let reply = self.call(&Request::RiskMark { partition, user, mark })?;
            match reply.status {
                Status::Ok => known &= reply.detail == 1,
                _ => return Err(refused(&reply)),
            }
        }
        Ok(known)
    }

    /// Says much of many users, many at a time. After an error the same again makes
    /// it whole.
    pub fn risk_load(&mut self, marks: &[(UserId, Mark)]) -> Result<(), ClientError> {
        for group in marks.chunks(MARKS_IN_FLIGHT) {
            for &(user, mark) in group {
                for partition in self.partitions() {
                    self.submit(&Request::RiskMark { partition, user, mark });
                }
            }
            self.flush()?;
            let mut all_done = true;
            while self.waiting() > 0 {
                all_done &= self.receive()?.status == Status::Ok;
            }
            if !all_done {
                // One by one, which waits where the server wants that, and tells why.
                group
                    .iter()
                    .try_for_each(|&(user, mark)| self.risk_mark(user, mark).map(|_| ()))?;
            }
        }
        Ok(())
    }

    /// Why a user is treated as it is.
    pub fn risk_explain(&mut self, user: UserId) -> Result<Explained, ClientError> {
        let reply = self.call(&Request::RiskExplain { partition: 0, user })?;
        match (reply.status, &reply.body) {
            (Status::Ok, ReplyBody::Explained(explained)) => Ok(*explained),
            _ => Err(refused(&reply)),
        }
    }

    /// All shares that are held or were rejected, or those of one user, shard by
    /// shard.
    pub fn risk_holds(&mut self, only: Option<UserId>) -> Result<Vec<Hold>, ClientError> {
        let mut all = Vec::new();
        for partition in self.partitions() {
            let mut after = (EnvelopeId(0), only.unwrap_or_default());
            loop {
                let only = only.is_some();
                let page = self.risk_page(HoldsFrom { partition, after, only })?;
                let is_last = page.len() < HOLD_ROWS_MAX;
                after = page.last().map_or(after, |hold| (hold.envelope, hold.user));
                all.extend(page);
                if is_last {
                    break;
                }
            }
        }
        Ok(all)
    }

    fn risk_page(&mut self, from: HoldsFrom) -> Result<Vec<Hold>, ClientError> {
        let reply = self.call(&Request::RiskHolds(from))?;
        match (reply.status, reply.body) {
            (Status::Ok, ReplyBody::Holds(holds)) => Ok(holds),
            (status, body) => Err(refused(&crate::wire::Reply { status, body, ..reply })),
        }
    }

    /// What rules of risk did of late, shard by shard. `after` has the last number
    /// that is known of each shard, none at first, and is moved on.
    pub fn risk_feed(&mut self, after: &mut Vec<u64>) -> Result<Vec<RiskEvent>, ClientError> {
        let mut all = Vec::new();
        after.resize(self.hello().ports.len(), 0);
        for (partition, after) in self.partitions().zip(after) {
            loop {
                let reply = self.call(&Request::RiskFeed { partition, after: *after })?;
                let ReplyBody::RiskEvents(page) = &reply.body else { return Err(refused(&reply)) };
                *after = page.last().map_or(*after, |event| event.number);
                all.extend_from_slice(page);
                if page.len() < RISK_EVENTS_MAX {
                    break;
                }
            }
        }
        Ok(all)
    }

    /// Releases or rejects a held share.
    pub fn risk_resolve(
        &mut self,
        envelope: EnvelopeId,
        user: UserId,
        resolution: Resolution,
    ) -> Result<Decided, ClientError> {
        let reply = self.call(&Request::RiskResolve { envelope, user, resolution })?;
        match (reply.status, &reply.body) {
            (Status::Ok, ReplyBody::Amount(amount)) => {
                Ok(Decided { amount: *amount, repeated: reply.detail == 1 })
            }
            _ => Err(refused(&reply)),
        }
    }
}
