//! A journal of 1 MiB as a server leaves it: sixteen segments, many lives that
//! ended in crashes, batches of one record and of several pages.

use hongbao::engine::{
    Cause, Claimed, Closed, Commanded, Denied, Guessed, Held, Issued, Marked, Paid, Planned,
    Record, Recycled, Resolved, Returned, Tagged, TermsPart, Voided,
};
use hongbao::journal::simulated::{Disk, SimulatedStorage, Tearing};
use hongbao::journal::{Journal, Recovering};
use hongbao::limits::{PAGE_BYTES, SEGMENT_BYTES_MIN};
use hongbao::units::{Durability, EnvelopeId, MoneySource, Seed, Split, Time, UserId, VoidCause};
use hongbao::wire::{Command, PlanPart, Prize, Resolution, ResolvedBy, RiskRule, Standing, Tags};

use super::Choice;
use super::media::{Found, Records, US};

pub const SEGMENT_BYTES: usize = SEGMENT_BYTES_MIN;
pub const SEGMENTS: usize = 16;
pub const BYTES: usize = SEGMENTS * SEGMENT_BYTES;

const NOW: Time = Time(1_700_000_000_000);

/// How the journal was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// By a drain: a mark says that everything is committed.
    Closed,
    /// By a kill: nothing says so of the last batch yet.
    Killed,
}

/// The journal, what is in it, and what its files were before.
pub struct Written {
    pub disk: Disk,
    pub segments: Vec<Vec<u8>>,
    pub records: Records,
    /// So many of the records are known to be committed.
    pub known: usize,
    /// Every file at earlier moments, those that were there.
    pub older: Vec<Vec<Vec<u8>>>,
}

impl Written {
    pub fn new(seed: u64, left: Left) -> Self {
        let mut choice = Choice(seed);
        let disk = Disk::new(US, SEGMENT_BYTES);
        let (mut older, mut records) = (Vec::new(), Records::new());
        while segments(&disk).len() < SEGMENTS {
            live(&disk, &mut records, &mut choice);
            older.push(segments(&disk));
            disk.crash(choice.below(u64::MAX), Tearing::Sectors);
            older.push(segments(&disk));
        }
        let (mut journal, _) = open(&disk, &mut records);
        let mut known = records.len();
        for _ in 0..3 {
            known = records.len();
            append(&mut journal, &mut records, &mut choice, 3);
            journal.commit(NOW).unwrap();
        }
        if left == Left::Closed {
            journal.mark(NOW).unwrap();
            known = records.len();
        }
        drop(journal);
        let segments = segments(&disk);
        assert_eq!(segments.iter().map(Vec::len).sum::<usize>(), BYTES);
        Self { disk, segments, records, known, older }
    }

    /// The bytes of one place in all segments, end to end.
    pub fn at(&self, offset: usize, length: usize) -> &[u8] {
        let (segment, offset) = (offset / SEGMENT_BYTES, offset % SEGMENT_BYTES);
        &self.segments[segment][offset..offset + length]
    }

    /// Where each batch lies: its first byte and the page after it.
    pub fn batches(&self) -> Vec<(usize, usize)> {
        let mut batches = Vec::new();
        for base in (0..BYTES).step_by(SEGMENT_BYTES) {
            let mut offset = base + PAGE_BYTES;
            while offset < base + SEGMENT_BYTES {
                let body = self.at(offset, 16).last_chunk::<4>().unwrap();
                let body = usize::try_from(u32::from_le_bytes(*body)).unwrap();
                let end = (offset + 64 + body).next_multiple_of(PAGE_BYTES);
                if self.at(offset, 64) != [0; 64] {
                    batches.push((offset, end));
                }
                offset = end;
            }
        }
        batches
    }
}

fn segments(disk: &Disk) -> Vec<Vec<u8>> {
    disk.contents().into_values().collect()
}

/// One life: some batches, perhaps a mark, and records that nobody commits.
fn live(disk: &Disk, records: &mut Records, choice: &mut Choice) {
    let (mut journal, _) = open(disk, records);
    for _ in 0..=choice.below(4) {
        let count = if choice.below(24) == 0 { 128 + choice.below(150) } else { choice.below(7) };
        append(&mut journal, records, choice, count);
        journal.commit(NOW).unwrap();
    }
    if choice.below(3) == 0 {
        journal.mark(NOW).unwrap();
    }
    let committed = records.len();
    append(&mut journal, records, choice, 200);
    records.truncate(committed); // the crash may leave some of them
}

fn append(
    journal: &mut Journal<SimulatedStorage>,
    records: &mut Records,
    choice: &mut Choice,
    count: u64,
) {
    for _ in 0..count {
        let record = record(choice);
        records.push((journal.append(&record, NOW).unwrap(), record));
    }
}

/// Opens the journal; `records`, all of them committed, must be its beginning,
/// and become what it has.
pub fn open(disk: &Disk, records: &mut Records) -> (Journal<SimulatedStorage>, bool) {
    let mut found = Found::default();
    let recovering = Recovering::open(disk.storage(), US, Durability::Sync).unwrap();
    let (journal, recovered) = recovering.recover(NOW, &mut found, &|_| {}).unwrap();
    assert!(found.records.starts_with(records), "a committed record is lost");
    *records = found.records;
    (journal, recovered.torn.is_some())
}

/// A record of any kind, with fields of any value: the journal does not judge.
fn record(choice: &mut Choice) -> Record {
    let mut any = || choice.below(u64::MAX);
    let (envelope, user) = (EnvelopeId(any()), UserId(any()));
    let half = |n: u64| u32::try_from(n >> 32).unwrap();
    let (a, b, c, at) = (any(), any(), any(), half(any()));
    let (sender, source) = (user, MoneySource::Balance);
    match any() % 19 {
        0 => Record::Issued(Issued {
            envelope,
            sender,
            order: a,
            payment: b,
            total: c,
            seed: Seed([a ^ c, b ^ c]),
            shares: half(a),
            share_max: half(b),
            nonce: half(c),
            lifetime_s: half(a ^ b),
            pay_within_s: half(b ^ c),
            at,
            split: Split::LineCutting,
            source,
            terms_parts: 0,
        }),
        1 => {
            let (held, cause) = (b >> 16, Cause::Expired);
            Record::Closed(Closed { envelope, sender, refunded: a, held, cause, at })
        }
        2 => Record::Recycled(Recycled {
            envelope,
            shares_claimed: half(a),
            claimed: b,
            total: c,
            at,
        }),
        3 => Record::Paid(Paid { envelope, sender, payment: a, total: b, at, source }),
        4 => {
            let cause = VoidCause::Lapsed;
            Record::Voided(Voided { envelope, sender, total: a, at, source, cause })
        }
        5 => Record::Returned(Returned { envelope, sender, payment: a, amount: b, at }),
        6 => {
            let bytes = std::array::from_fn(|n| a.to_le_bytes()[n % 8]);
            Record::TermsPart(TermsPart { envelope, number: 0, length: 64, bytes })
        }
        7 => Record::Guessed(Guessed { envelope, user, guesses: half(a), at }),
        8 => {
            let prize = Prize { amount: half(a).max(1), count: half(b).max(1) };
            Record::Planned(Planned { envelope, part: PlanPart::Prize(3, prize), at })
        }
        9 => Record::Commanded(Commanded { envelope, command: Command::Pause, at }),
        10 => {
            let claimed = Claimed { envelope, user, amount: half(a), rank: 7, at };
            Record::Held(Held { claimed, rule: RiskRule::Amount, until: half(b) })
        }
        11 => {
            let (resolution, by) = (Resolution::Reject, ResolvedBy::Time);
            let (sender, amount) = (UserId(a), half(b));
            Record::Resolved(Resolved { envelope, user, sender, amount, at, resolution, by })
        }
        12 => {
            let standing = Standing { grade: 9, denied: true, watched: false, at };
            Record::Marked(Marked { partition: 3, user, standing })
        }
        14 => {
            let (amount, rule) = (half(a), RiskRule::TriesDenied);
            Record::Denied(Denied { envelope, user, amount, rule, at })
        }
        13 => {
            let tags = Tags { device: Some(a), address: Some(b) };
            Record::Tagged(Tagged { envelope, user, tags, at })
        }
        _ => {
            let rank = u16::try_from(b >> 48).unwrap();
            Record::Claimed(Claimed { envelope, user, amount: half(a), rank, at })
        }
    }
}
