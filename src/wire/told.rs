//! What a reply tells, once it is decoded; and before it is written.

use super::terms::Terms;
use crate::units::{
    Cell, EnvelopeId, EnvelopeState, Fen, MoneySource, Seed, Split, UnixSeconds, UserId,
};

/// What `hello` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The protocol version of the server.
    pub version: u32,
    /// The largest frame in either direction, in bytes.
    pub frame_bytes_max: u32,
    /// The cell of this server.
    pub cell: Cell,
    /// `Durability::code` of what an acknowledgement means.
    pub durability: u8,
    /// The TCP port of each shard, in order; 0 for a server without TCP.
    pub ports: Vec<u16>,
}

impl Hello {
    /// How many shards serve the cell; at least one.
    pub fn shards(&self) -> usize {
        self.ports.len().max(1)
    }

    /// The shard that owns a partition.
    #[inline]
    pub fn owner(&self, partition: u8) -> usize {
        usize::from(partition) % self.shards()
    }
}

/// The summary of an envelope: `total = claimed + refunded + left` of one that
/// was paid; of one that is reserved or voided all three are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Who ordered it.
    pub sender: UserId,
    /// The sender's number for the order.
    pub order: u64,
    /// The payment's reference; 0 while none is known.
    pub payment: u64,
    /// The money that was, or was to be, put in, in fen.
    pub total: Fen,
    /// The money that may still be claimed, in fen.
    pub left: Fen,
    /// The money that went back to the sender, in fen.
    pub refunded: Fen,
    /// How many shares it was cut into.
    pub shares: u32,
    /// How many of them are claimed.
    pub claimed: u32,
    /// The sender's cap of one share, in fen; 0 is none.
    pub share_max: u32,
    /// When it was ordered; once it is paid, when it opened.
    pub created_at: UnixSeconds,
    /// When it expires; while it is reserved, when it lapses.
    pub expires_at: UnixSeconds,
    /// Where it is in its life.
    pub state: EnvelopeState,
    /// The rule of its cut.
    pub split: Split,
    /// Where its money comes from.
    pub source: MoneySource,
    /// Who has the largest share of an exhausted one, the earliest of the
    /// equal, and how much that is in fen.
    pub luckiest: Option<(UserId, Fen)>,
}

/// What `send` tells about the order's envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Its id.
    pub envelope: EnvelopeId,
    /// Where it is in its life.
    pub state: EnvelopeState,
    /// The hash that its draws are bound to.
    pub commitment: [u8; 32],
}

/// What `terms` tells: the terms of an envelope, without what the asker may not
/// see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldTerms(Vec<u8>);

impl From<&Terms<'_>> for ToldTerms {
    fn from(terms: &Terms<'_>) -> Self {
        Self(terms.to_bytes())
    }
}

impl ToldTerms {
    /// The terms in these bytes, if they are that.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        Terms::read(bytes).map(|_| Self(bytes.to_vec()))
    }

    /// The terms.
    pub fn terms(&self) -> Terms<'_> {
        Terms::read(&self.0).unwrap_or_default() // they were read before
    }
}

/// What `reveal` tells: the commitment, and what opens it once no coming amount
/// can be told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reveal {
    /// The hash that was told when the envelope was ordered.
    pub commitment: [u8; 32],
    /// The secret of the draws; `None` until the envelope is closed.
    pub seed: Option<Seed>,
    /// The sender's part of the hash.
    pub nonce: u32,
}

/// One claim in a detail page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who claimed.
    pub user: UserId,
    /// The amount of the share, in fen.
    pub amount: u32,
    /// When it was claimed.
    pub at: UnixSeconds,
}

/// A page of claims, in order of rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetailPage {
    /// How many shares the envelope has.
    pub shares: u32,
    /// How many of them are claimed; a page that ends below it has a next one.
    pub claimed: u32,
    /// The rank of the first row.
    pub from: u32,
    /// The rows.
    pub rows: Vec<Row>,
}
