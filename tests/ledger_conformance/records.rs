//! Short ways to say what happened, and a journal that numbers it.

use hongbao::engine::{
    Cause, Claimed, Closed, Held, Issued, Paid, Record, Resolved, Returned, Voided,
};
use hongbao::follow::ledger::{Cursor, Entry, Ledger, LedgerError, Verdict};
use hongbao::follow::movement::MovementId;
use hongbao::units::{EnvelopeId, Fen, MoneySource, Seed, Split, UserId, VoidCause};
use hongbao::wire::{Resolution, ResolvedBy, RiskRule};

/// One shard's journal, as far as a ledger sees it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Journal {
    pub(crate) shard: u16,
    pub(crate) cursor: Cursor,
}

impl Journal {
    pub(crate) fn new(shard: u16) -> Self {
        Self { shard, cursor: Cursor { arrangement: 1, shard, ..Cursor::default() } }
    }

    /// The entries of the next batch, and the cursor behind it.
    pub(crate) fn next(&self, records: &[Record]) -> (Vec<Entry>, Cursor) {
        let batch = self.cursor.position;
        let id = |index| MovementId { cell: 1, arrangement: 1, shard: self.shard, batch, index };
        let entries = (0..).zip(records).map(|(i, &record)| Entry { id: id(i), record });
        let cursor = Cursor { position: batch + 4096, batch: self.cursor.batch + 1, ..self.cursor };
        (entries.collect(), cursor)
    }

    /// Applies a batch and goes on behind it if it was taken.
    pub(crate) fn apply(
        &mut self,
        ledger: &mut impl Ledger,
        records: &[Record],
    ) -> Result<Vec<Verdict>, LedgerError> {
        let (entries, cursor) = self.next(records);
        let verdicts = ledger.apply(&entries, &cursor)?;
        self.cursor = cursor;
        Ok(verdicts)
    }
}

pub(crate) fn issued(id: u64, sender: u64, total: Fen, shares: u32, source: MoneySource) -> Record {
    Record::Issued(Issued {
        envelope: EnvelopeId(id),
        sender: UserId(sender),
        order: id,
        payment: 0,
        total,
        seed: Seed::default(),
        nonce: 0,
        shares,
        share_max: 0,
        lifetime_s: 86_400,
        pay_within_s: 900,
        at: 1000,
        split: Split::Equal,
        source,
        terms_parts: 0,
    })
}

pub(crate) fn paid(id: u64, sender: u64, total: Fen, source: MoneySource) -> Record {
    let (envelope, sender) = (EnvelopeId(id), UserId(sender));
    Record::Paid(Paid { envelope, sender, payment: 7, total, at: 1001, source })
}

pub(crate) fn voided(id: u64, sender: u64, total: Fen, source: MoneySource) -> Record {
    let (envelope, sender, cause) = (EnvelopeId(id), UserId(sender), VoidCause::Lapsed);
    Record::Voided(Voided { envelope, sender, total, at: 1002, source, cause })
}

pub(crate) fn returned(id: u64, sender: u64, amount: Fen) -> Record {
    let (envelope, sender) = (EnvelopeId(id), UserId(sender));
    Record::Returned(Returned { envelope, sender, payment: 7, amount, at: 1003 })
}

pub(crate) fn claimed(id: u64, user: u64, amount: u32, at: u32) -> Record {
    Record::Claimed(Claimed { envelope: EnvelopeId(id), user: UserId(user), amount, rank: 0, at })
}

pub(crate) fn closed(id: u64, sender: u64, refunded: Fen) -> Record {
    let (envelope, sender, cause) = (EnvelopeId(id), UserId(sender), Cause::Expired);
    Record::Closed(Closed { envelope, sender, refunded, held: 0, cause, at: 2000 })
}

/// A closing while so much of the envelope is held.
pub(crate) fn closed_holding(id: u64, sender: u64, refunded: Fen, held: Fen) -> Record {
    match closed(id, sender, refunded) {
        Record::Closed(closed) => Record::Closed(Closed { held, ..closed }),
        other => other,
    }
}

pub(crate) fn held(id: u64, user: u64, amount: u32, at: u32) -> Record {
    let claimed = Claimed { envelope: EnvelopeId(id), user: UserId(user), amount, rank: 0, at };
    Record::Held(Held { claimed, rule: RiskRule::Amount, until: at + 60 })
}

pub(crate) fn resolved(
    (id, sender): (u64, u64),
    (user, amount): (u64, u32),
    resolution: Resolution,
    at: u32,
) -> Record {
    let (envelope, user, sender) = (EnvelopeId(id), UserId(user), UserId(sender));
    let by = ResolvedBy::Word;
    Record::Resolved(Resolved { envelope, user, sender, amount, at, resolution, by })
}
