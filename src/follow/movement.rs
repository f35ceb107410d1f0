//! What a record means in money: from whom to whom, how much.
//!
//! Pure: a record names both ends of what it moves, so no state is needed.

use std::fmt;
use std::str::FromStr;

use crate::engine::Record;
use crate::units::{Cell, EnvelopeId, Fen, MoneySource, UnixSeconds, UserId};
use crate::wire::Resolution;

/// The name of a record, and so of the movement of money that it makes: the
/// same for ever, for every reader, so that whoever books it can be idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MovementId {
    /// The server.
    pub cell: Cell,
    /// Which arrangement of its shards, from 1; positions begin anew in each.
    pub arrangement: u32,
    /// The shard.
    pub shard: u16,
    /// The journal position at which the record's batch begins.
    pub batch: u64,
    /// The record's place in its batch, from 0.
    pub index: u32,
}

impl fmt::Display for MovementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cell, arrangement, shard, batch, index } = self;
        write!(f, "{cell}/{arrangement}/{shard}/{batch}/{index}")
    }
}

/// It is not cell/arrangement/shard/batch/index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record's name is cell/arrangement/shard/batch/index, in numbers")]
pub struct NotAName;

impl FromStr for MovementId {
    type Err = NotAName;

    fn from_str(name: &str) -> Result<Self, NotAName> {
        let parts: Vec<&str> = name.split('/').collect();
        let [cell, arrangement, shard, batch, index] = parts[..] else { return Err(NotAName) };
        Ok(Self {
            cell: cell.parse().map_err(|_| NotAName)?,
            arrangement: arrangement.parse().map_err(|_| NotAName)?,
            shard: shard.parse().map_err(|_| NotAName)?,
            batch: batch.parse().map_err(|_| NotAName)?,
            index: index.parse().map_err(|_| NotAName)?,
        })
    }
}

/// An account of the double entry. Money never leaves the sum of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// The world outside: payments come from it; its balance is what the world
    /// has put in, negative.
    Outside,
    /// A user's balance.
    User(UserId),
    /// Balances held for orders that are not open yet.
    Held,
    /// The money in envelopes.
    Escrow,
}

/// Why money moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A balance is held for an order; the ledger may refuse it.
    Hold,
    /// A hold goes back, if there is one.
    Release,
    /// An envelope opens.
    Fund,
    /// A share is credited.
    Claim,
    /// What was left goes back to the sender.
    Refund,
    /// A payment came too late and goes to its sender's balance.
    Return,
    /// An operator puts money in (not from the journal).
    Deposit,
    /// An operator takes money out (not from the journal).
    Withdraw,
}

impl Why {
    /// The reason of a code.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Hold,
            2 => Self::Release,
            3 => Self::Fund,
            4 => Self::Claim,
            5 => Self::Refund,
            6 => Self::Return,
            7 => Self::Deposit,
            8 => Self::Withdraw,
            _ => return None,
        })
    }

    /// The code in ledgers and on the settlement stream.
    pub fn code(self) -> u8 {
        match self {
            Self::Hold => 1,
            Self::Release => 2,
            Self::Fund => 3,
            Self::Claim => 4,
            Self::Refund => 5,
            Self::Return => 6,
            Self::Deposit => 7,
            Self::Withdraw => 8,
        }
    }
}

/// One movement of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Why.
    pub why: Why,
    /// From this account,
    pub from: Account,
    /// to this one,
    pub to: Account,
    /// so much, in fen.
    pub amount: Fen,
    /// For this envelope.
    pub envelope: EnvelopeId,
    /// When the record was made.
    pub at: UnixSeconds,
}

impl Movement {
    /// What `record` moves, if it moves money.
    pub fn of(record: &Record) -> Option<Self> {
        let user = Account::User;
        let (why, from, to, amount, at) = match *record {
            Record::Issued(i) => match i.source {
                MoneySource::Vouched => {
                    (Why::Fund, Account::Outside, Account::Escrow, i.total, i.at)
                }
                MoneySource::Balance => (Why::Hold, user(i.sender), Account::Held, i.total, i.at),
                MoneySource::Payment => return None,
            },
            Record::Paid(p) => {
                let balance = p.source == MoneySource::Balance;
                let from = if balance { Account::Held } else { Account::Outside };
                (Why::Fund, from, Account::Escrow, p.total, p.at)
            }
            Record::Voided(v) => match v.source {
                MoneySource::Balance => {
                    (Why::Release, Account::Held, user(v.sender), v.total, v.at)
                }
                MoneySource::Vouched | MoneySource::Payment => return None,
            },
            Record::Claimed(c) => {
                (Why::Claim, Account::Escrow, user(c.user), Fen::from(c.amount), c.at)
            }
            Record::Closed(c) => (Why::Refund, Account::Escrow, user(c.sender), c.refunded, c.at),
            Record::Resolved(r) => {
                let amount = Fen::from(r.amount);
                match r.resolution {
                    Resolution::Release => {
                        (Why::Claim, Account::Escrow, user(r.user), amount, r.at)
                    }
                    Resolution::Reject => {
                        (Why::Refund, Account::Escrow, user(r.sender), amount, r.at)
                    }
                }
            }
            Record::Returned(r) => (Why::Return, Account::Outside, user(r.sender), r.amount, r.at),
            Record::Recycled(_)
            | Record::TermsPart(_)
            | Record::Guessed(_)
            | Record::Planned(_)
            | Record::Commanded(_)
            | Record::Held(_)
            | Record::Marked(_)
            | Record::Tagged(_)
            | Record::Denied(_) => return None,
        };
        Some(Self { why, from, to, amount, envelope: record.envelope(), at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_from_their_names() {
        let id =
            MovementId { cell: 7, arrangement: 1, shard: 255, batch: u64::MAX, index: u32::MAX };
        assert_eq!(id.to_string().parse(), Ok(id));
        for name in
            ["", "7/1/255/4096", "7/1/255/4096/0/0", "256/1/0/0/0", "7/1/0/-1/0", "a/b/c/d/e"]
        {
            assert_eq!(name.parse::<MovementId>(), Err(NotAName), "{name}");
        }
    }
}
