//! Journals with whatever records one likes, each with the right checksums.
#![allow(unreachable_pub)] // the tests see it as a module of their own

use std::path::{Path, PathBuf};

use hongbao::audit::{AuditError, Difference, Report, Settings, audit};
use hongbao::engine::{
    Cause, Claimed, Closed, Held, Issued, Paid, Record, Recycled, Resolved, Returned, Voided,
};
use hongbao::journal::{Arrangement, Directory, Identity, Journal, MmapStorage, Recovering};
use hongbao::units::{
    Durability, EnvelopeId, Fen, MoneySource, Seed, Split, Time, UserId, VoidCause,
};
use hongbao::wire::{Resolution, ResolvedBy, RiskRule};

pub const AT: u32 = 1_700_000_000;
pub const NOW: Time = Time(1_700_000_000_000);
pub const SENDER: u64 = 7;

/// The journal of one shard in a directory of its own.
pub struct Writer {
    guard: tempfile::TempDir,
    journal: Option<Journal<MmapStorage>>,
}

impl Writer {
    pub fn new(segment_bytes: usize) -> Self {
        let guard = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut this = Self { guard, journal: None };
        this.open(segment_bytes);
        this
    }

    fn open(&mut self, segment_bytes: usize) {
        let directory = Directory::open(&self.data(), segment_bytes, 1).unwrap();
        let arrangement = Arrangement::current_or_first(&directory, 1).unwrap();
        let identity = Identity { cell: 1, shard: 0, shards: 1 };
        let storage = MmapStorage::new(&arrangement, identity, segment_bytes, None).unwrap();
        let recovering = Recovering::open(storage, identity, Durability::Os).unwrap();
        let (journal, _) = recovering.replay(NOW, |_| Ok(())).unwrap();
        self.journal = Some(journal);
    }

    pub fn data(&self) -> PathBuf {
        self.guard.path().join("data")
    }

    pub fn journal(&mut self) -> &mut Journal<MmapStorage> {
        self.journal.as_mut().unwrap()
    }

    /// Commits these as one batch.
    pub fn commit(&mut self, records: &[Record]) {
        for record in records {
            self.journal().append(record, NOW).unwrap();
        }
        self.journal().commit(NOW).unwrap();
    }

    /// The server is gone.
    pub fn close(&mut self) {
        self.journal = None;
    }
}

pub fn envelope(n: u32) -> EnvelopeId {
    EnvelopeId::new(1, 0, n, 1)
}

/// An order of 100 fen in 3 shares, open for an hour or waiting for a minute.
pub fn order(n: u32, source: MoneySource) -> Issued {
    Issued {
        envelope: envelope(n),
        sender: UserId(SENDER),
        order: n.into(),
        payment: if source == MoneySource::Payment { 55 } else { 0 },
        total: 100,
        seed: Seed([1, 2]),
        nonce: 0,
        shares: 3,
        share_max: 0,
        lifetime_s: 3600,
        pay_within_s: if source == MoneySource::Vouched { 0 } else { 60 },
        at: AT,
        split: Split::Equal,
        source,
        terms_parts: 0,
    }
}

pub fn claim(n: u32, user: u64, amount: u32, rank: u16) -> Record {
    let user = UserId(user);
    Record::Claimed(Claimed { envelope: envelope(n), user, amount, rank, at: AT + 1 })
}

/// A share that is held for a minute.
pub fn held(n: u32, user: u64, amount: u32, rank: u16) -> Record {
    let user = UserId(user);
    let claimed = Claimed { envelope: envelope(n), user, amount, rank, at: AT + 1 };
    Record::Held(Held { claimed, rule: RiskRule::Amount, until: AT + 61 })
}

/// What became of it, so many seconds after it was won.
pub fn resolved(n: u32, user: u64, amount: u32, resolution: Resolution, after_s: u32) -> Record {
    let (envelope, user, sender) = (envelope(n), UserId(user), UserId(SENDER));
    let by = if after_s < 60 { ResolvedBy::Word } else { ResolvedBy::Time };
    let at = AT + 1 + after_s;
    Record::Resolved(Resolved { envelope, user, sender, amount, at, resolution, by })
}

pub fn close(n: u32, refunded: Fen) -> Record {
    let (envelope, sender) = (envelope(n), UserId(SENDER));
    Record::Closed(Closed {
        envelope,
        sender,
        refunded,
        held: 0,
        cause: Cause::Cancelled,
        at: AT + 2,
    })
}

/// The same while so much of it is held.
pub fn close_holding(n: u32, refunded: Fen, held: Fen) -> Record {
    match close(n, refunded) {
        Record::Closed(closed) => Record::Closed(Closed { held, ..closed }),
        other => other,
    }
}

pub fn paid(n: u32, source: MoneySource) -> Record {
    let payment = order(n, source).payment;
    let (envelope, sender) = (envelope(n), UserId(SENDER));
    Record::Paid(Paid { envelope, sender, payment, total: 100, at: AT + 1, source })
}

pub fn voided(n: u32, source: MoneySource) -> Record {
    let (envelope, sender, cause) = (envelope(n), UserId(SENDER), VoidCause::Withdrawn);
    Record::Voided(Voided { envelope, sender, total: 100, at: AT + 1, source, cause })
}

pub fn returned(n: u32) -> Record {
    let (envelope, sender) = (envelope(n), UserId(SENDER));
    Record::Returned(Returned { envelope, sender, payment: 55, amount: 100, at: AT + 2 })
}

pub fn recycled(n: u32, shares_claimed: u32, claimed: Fen, total: Fen) -> Record {
    let envelope = envelope(n);
    Record::Recycled(Recycled { envelope, shares_claimed, claimed, total, at: AT + 9000 })
}

pub fn audit_of(data: &Path, settings: Settings) -> Result<Report, AuditError> {
    audit(data, None, settings, &mut |_| {})
}

/// What is different, or the test has failed.
pub fn difference(found: Result<Report, AuditError>) -> Difference {
    match found {
        Err(AuditError::Different(difference)) => *difference,
        other => panic!("no difference was found: {other:?}"),
    }
}
