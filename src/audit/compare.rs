//! The ledger against the journal: every record that moves money of a user is
//! booked once, as it says, up to the cursor, and nothing else is.
//!
//! Both sides are added up in whatever order they come: how many, how much, and
//! the sum of a hash of 128 bits of each. Only where these differ is the first
//! difference looked for, which takes two more looks at both sides.

use std::collections::{HashMap, HashSet};
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::engine::Record;
use crate::follow::ledger::{Audited, Cursor, LedgerError, Line, Numbered};
use crate::follow::movement::{Account, Movement, MovementId, Why};
use crate::units::{EnvelopeId, Fen, UserId};

/// One row of a user's account, as both sides can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Booking {
    pub(super) id: MovementId,
    pub(super) user: UserId,
    pub(super) why: Why,
    pub(super) amount: Fen,
    pub(super) envelope: EnvelopeId,
}

/// Bookings added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) count: u64,
    pub(super) fen: u128,
    mixed: u128,
}

impl Added {
    pub(super) fn add(&mut self, booking: &Booking) {
        self.count += 1;
        self.fen += u128::from(booking.amount);
        self.mixed = self.mixed.wrapping_add(mixed(booking));
    }
}

/// A hash that nobody can steer who does not choose its key, which is this
/// program's; rows that are wrong by accident or by hand do not cancel out.
fn mixed(booking: &Booking) -> u128 {
    let Booking { id, user, why, amount, envelope } = *booking;
    let mut hasher = SipHasher13::new_with_keys(0x6175_6469_7431, u64::from(id.cell));
    hasher.write_u64(u64::from(id.arrangement) << 32 | u64::from(id.shard));
    hasher.write_u64(id.batch);
    hasher.write_u64(u64::from(id.index) << 8 | u64::from(code(why)));
    hasher.write_u64(user.0);
    hasher.write_u64(amount);
    hasher.write_u64(envelope.0);
    hasher.finish128().as_u128()
}

fn code(why: Why) -> u8 {
    match why {
        Why::Hold => 1,
        Why::Release => 2,
        Why::Fund => 3,
        Why::Claim => 4,
        Why::Refund => 5,
        Why::Return => 6,
        Why::Deposit => 7,
        Why::Withdraw => 8,
    }
}

/// What a record must be booked as on a user's account, whatever the balance.
/// Of holds and their release, see `holds`.
pub(super) fn expected(id: MovementId, record: &Record) -> Option<Booking> {
    let movement = Movement::of(record)?;
    let Movement { why: Why::Claim | Why::Refund | Why::Return, to: Account::User(user), .. } =
        movement
    else {
        return None;
    };
    let Movement { why, amount, envelope, .. } = movement;
    Some(Booking { id, user, why, amount, envelope })
}

/// The name of a row's record, by the number of its booking.
pub(super) struct Names {
    cell: u8,
    numbered: Vec<Numbered>,
}

impl Names {
    pub(super) fn new(cell: u8, numbered: Vec<Numbered>) -> Self {
        Self { cell, numbered }
    }

    /// `None` for a number before all batches, and for an operator's movement.
    pub(super) fn name(&self, number: u64) -> Option<MovementId> {
        let after = self.numbered.partition_point(|batch| batch.first <= number);
        let batch = self.numbered.get(after.checked_sub(1)?)?;
        let index = u32::try_from(number - batch.first).ok()?;
        let Numbered { arrangement, shard, position, .. } = *batch;
        let id = MovementId { cell: self.cell, arrangement, shard, batch: position, index };
        (arrangement > 0).then_some(id)
    }
}

/// What is held, by the rows of accounts: the row of the hold and, if it went
/// back, that of the release.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) hold: Booking,
    pub(super) release: Option<Booking>,
}

/// The ledger at one moment, ready to be compared.
pub(super) struct Snapshot {
    pub(super) cursors: Vec<Cursor>,
    pub(super) names: Names,
    pub(super) passed_over: HashSet<MovementId>,
    pub(super) holds: HashMap<EnvelopeId, Held>,
    pub(super) escrow: i128,
}

/// A difference in the ledger alone, in words.
pub(super) type Wrong = String;

/// Where a shard's journal begins and the ledger's cursor ends, by shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) arrangement: u32,
    pub(super) shard: u16,
    pub(super) from: u64,
    pub(super) upto: u64,
}

impl Span {
    /// Whether the journal there tells of this record.
    pub(super) fn has(&self, id: &MovementId) -> bool {
        (id.arrangement, id.shard) == (self.arrangement, self.shard) && id.batch >= self.from
    }
}

impl Snapshot {
    /// Reads what is not a row of an account.
    pub(super) fn take(ledger: &mut dyn Audited, cell: u8) -> Result<Self, LedgerError> {
        Ok(Self {
            cursors: ledger.applied()?,
            names: Names::new(cell, ledger.numbered()?),
            passed_over: ledger.passed_over()?.into_iter().collect(),
            holds: HashMap::new(),
            escrow: ledger.escrow()?,
        })
    }

    /// How far this shard was applied; 0 for one that was not.
    pub(super) fn cursor(&self, arrangement: u32, shard: u16) -> u64 {
        let of = |cursor: &&Cursor| (cursor.arrangement, cursor.shard) == (arrangement, shard);
        self.cursors.iter().find(of).map_or(0, |cursor| cursor.position)
    }

    /// Adds up the rows that the journals tell of, by shard, and gathers holds.
    /// The first row that can be wrong by itself is said.
    pub(super) fn add_up(
        &mut self,
        ledger: &mut dyn Audited,
        spans: &[Span],
    ) -> Result<Result<Vec<Added>, Wrong>, LedgerError> {
        let mut added = vec![Added::default(); spans.len()];
        let mut releases = Vec::new();
        let mut wrong = None;
        let (names, holds) = (&self.names, &mut self.holds);
        ledger.each_line(&mut |line| {
            let Some(booking) = booking(names, line) else {
                if !matches!(line.why, Why::Deposit | Why::Withdraw) {
                    wrong.get_or_insert_with(|| format!("{} is of no record", row(line)));
                }
                return;
            };
            match line.why {
                Why::Hold => {
                    let before = holds.insert(line.envelope, Held { hold: booking, release: None });
                    if before.is_some() {
                        wrong.get_or_insert_with(|| format!("{} is there twice", row(line)));
                    }
                }
                Why::Release => releases.push(booking),
                Why::Deposit | Why::Withdraw | Why::Fund => {
                    wrong.get_or_insert_with(|| format!("{} is of no such record", row(line)));
                }
                Why::Claim | Why::Refund | Why::Return => {
                    let of = spans.iter().position(|span| span.has(&booking.id));
                    if let Some(added) = of.and_then(|shard| added.get_mut(shard)) {
                        added.add(&booking);
                    }
                }
            }
        })?;
        for release in releases {
            match self.holds.get_mut(&release.envelope) {
                Some(held) if held.release.is_none() => held.release = Some(release),
                _ => {
                    let words = format!("{} gives back what is not held", said(&release));
                    wrong.get_or_insert(words);
                }
            }
        }
        Ok(wrong.map_or(Ok(added), Err))
    }
}

/// A row of an account as a booking of its record.
pub(super) fn booking(names: &Names, line: &Line) -> Option<Booking> {
    let Line { user, number, why, amount, envelope, .. } = *line;
    Some(Booking { id: names.name(number)?, user, why, amount, envelope })
}

fn row(line: &Line) -> String {
    let Line { user, number, why, amount, envelope, .. } = line;
    format!("the ledger's row {number} ({why:?}, user {user}, {amount} fen, envelope {envelope})")
}

/// A booking in words.
pub(super) fn said(booking: &Booking) -> String {
    let Booking { id, user, why, amount, envelope } = booking;
    format!("{why:?} of {amount} fen, user {user}, envelope {envelope} ({})", place(id))
}

/// The place of a record in words.
pub(super) fn place(id: &MovementId) -> String {
    let MovementId { arrangement, shard, batch, index, .. } = id;
    format!("arrangement {arrangement}, shard {shard}, batch at {batch}, record {index}")
}

/// The first difference of two sorted lists, in words, and the record it is
/// about.
pub(super) fn first_difference(
    journal: &[Booking],
    ledger: &[Booking],
) -> Option<(MovementId, String)> {
    let mut ours = journal.iter().peekable();
    let mut theirs = ledger.iter().peekable();
    loop {
        match (ours.peek(), theirs.peek()) {
            (Some(a), Some(b)) if a == b => {
                let id = a.id;
                ours.next();
                theirs.next();
                let twice = theirs.peek().filter(|again| again.id == id);
                if let Some(again) = twice {
                    return Some((id, format!("booked twice: {}", said(again))));
                }
            }
            (Some(a), Some(b)) if a.id == b.id => {
                return Some((a.id, format!("booked as {} but it is {}", said(b), said(a))));
            }
            (Some(a), Some(b)) if b.id < a.id => return Some(of_nothing(b)),
            (Some(a), _) => return Some((a.id, format!("not booked: {}", said(a)))),
            (None, Some(b)) => return Some(of_nothing(b)),
            (None, None) => return None,
        }
    }
}

fn of_nothing(booking: &Booking) -> (MovementId, String) {
    (booking.id, format!("booked for no such record: {}", said(booking)))
}
