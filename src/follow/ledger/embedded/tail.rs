//! The open stretch: what the newest movements come to, in memory.
//!
//! The file alone is the truth. Everything here is made again from it at a
//! start, after a refused call and when somebody else wrote; it spares a
//! credit every visit to a row that lies somewhere at random.

use std::collections::hash_map::Entry;

use rusqlite::Connection;

use super::load;
use crate::follow::ledger::book::Kept;
use crate::follow::ledger::{LedgerError, Line};
use crate::follow::movement::Why;
use crate::table::{TOUCHED, Table, touch};
use crate::units::{EnvelopeId, EnvelopeState, UserId};

/// How many numbers a stretch has before it is folded: enough that a fold finds
/// neighbours on a page, and at 60 bytes each not much memory.
const STRETCH: u64 = 1 << 20;

/// How many open envelopes stay in memory across a fold, at some 200 bytes each:
/// reading one anew costs half of what a credit costs beside.
const ENVELOPES: usize = 1 << 20;

/// What the open stretch did to a user.
#[derive(Clone, Copy, Default)]
pub(super) struct OfUser {
    /// What it added to the balance, in fen.
    pub(super) available: i64,
    /// The place of the newest row, from 1.
    newest: u32,
}

/// The open stretch.
pub(super) struct Tail {
    /// Its number among the stretches.
    pub(super) stretch: i64,
    /// The first number that belongs to it.
    pub(super) first: u64,
    /// The number of the next booking.
    pub(super) next: u64,
    /// The users it touched.
    pub(super) users: Table<UserId, OfUser>,
    /// For every number of the stretch, the place of the row before it of the
    /// same user.
    before: Vec<u32>,
    /// Envelopes, as they are now.
    pub(super) envelopes: Table<EnvelopeId, Kept>,
}

impl Tail {
    /// What is in the file now; `known` as it is, if nobody else wrote since.
    pub(super) fn current(known: Option<Self>, file: &Connection) -> Result<Self, LedgerError> {
        let next = load::next(file)?;
        match known {
            Some(tail) if tail.next == next => Ok(tail),
            _ => Self::read(file, next),
        }
    }

    fn read(file: &Connection, next: u64) -> Result<Self, LedgerError> {
        let (stretch, first) = load::open_stretch(file)?;
        let (users, before, envelopes) = Default::default();
        let mut tail = Self { stretch, first, next, users, before, envelopes };
        load::each_since(file, first, |line| {
            tail.add(line);
            if line.why == Why::Claim { tail.claim_again(file, line) } else { Ok(()) }
        })?;
        Ok(tail)
    }

    /// Counts a claim that the envelope's row does not count yet.
    fn claim_again(&mut self, file: &Connection, line: &Line) -> Result<(), LedgerError> {
        let Some(kept) = self.envelope(file, line.envelope)? else {
            return Ok(()); // `check` tells
        };
        if line.number > kept.last {
            kept.envelope.credit(line.amount, line.at);
            (kept.last, kept.changed) = (line.number, true);
        }
        Ok(())
    }

    /// An envelope, from memory or else from the file.
    pub(super) fn envelope(
        &mut self,
        file: &Connection,
        id: EnvelopeId,
    ) -> Result<Option<&mut Kept>, LedgerError> {
        match self.envelopes.entry(id) {
            Entry::Occupied(known) => Ok(Some(known.into_mut())),
            Entry::Vacant(place) => Ok(load::envelope(file, id)?.map(|kept| place.insert(kept))),
        }
    }

    /// Has all of `ids` in memory that are in the file; gives the reserved ones.
    pub(super) fn load(
        &mut self,
        file: &Connection,
        ids: &[EnvelopeId],
    ) -> Result<Vec<EnvelopeId>, LedgerError> {
        let (mut missing, mut reserved) = (Vec::new(), Vec::new());
        let mut note = |id, kept: &Kept| {
            if kept.envelope.state == EnvelopeState::Reserved {
                reserved.push(id);
            }
        };
        for ids in ids.chunks(TOUCHED) {
            touch(&self.envelopes, ids.iter().copied(), |kept| kept.envelope.sender.0);
            for &id in ids {
                self.envelopes.get(&id).map_or_else(|| missing.push(id), |kept| note(id, kept));
            }
        }
        load::envelopes(file, &missing, |id, kept| {
            note(id, &kept);
            self.envelopes.insert(id, kept);
        })?;
        Ok(reserved)
    }

    /// Loads what `add` and the next claim of their envelopes need.
    pub(super) fn touch(&self, lines: &[Line]) {
        touch(&self.users, lines.iter().map(|line| line.user), |user| user.newest.into());
        touch(&self.envelopes, lines.iter().map(|line| line.envelope), |kept| kept.last);
    }

    /// Counts a movement that has just got its number.
    pub(super) fn add(&mut self, line: &Line) {
        let place = usize::try_from(line.number - self.first).expect("a stretch fits an address");
        let user = self.users.entry(line.user).or_default();
        let amount = i64::try_from(line.amount).expect("a booked amount was counted");
        user.available += if line.is_debit() { -amount } else { amount };
        self.before.resize(place + 1, 0);
        self.before[place] = user.newest;
        user.newest = u32::try_from(place + 1).expect("a stretch is far below 2^32 numbers");
    }

    /// What the open stretch added to a user's balance.
    pub(super) fn added(&self, user: UserId) -> i64 {
        self.users.get(&user).map_or(0, |user| user.available)
    }

    /// The numbers of a user's rows, newest first.
    pub(super) fn numbers(&self, user: UserId) -> impl Iterator<Item = u64> {
        self.numbers_from(self.users.get(&user).copied().unwrap_or_default())
    }

    /// The same of a user that was looked up.
    pub(super) fn numbers_from(&self, user: OfUser) -> impl Iterator<Item = u64> {
        let below = |place: u32| usize::try_from(place).ok().and_then(|place| place.checked_sub(1));
        std::iter::successors(below(user.newest), move |&place| below(self.before[place]))
            .map(|place| self.first + u64::try_from(place).expect("a place is a small number"))
    }

    /// Whether it is time to fold.
    pub(super) fn is_full(&self) -> bool {
        self.next - self.first >= STRETCH
    }

    /// Begins the next stretch: everything before is in the tables.
    pub(super) fn begin(&mut self) {
        (self.stretch, self.first) = (self.stretch + 1, self.next);
        self.users.clear();
        self.before.clear();
        let live = |kept: &Kept| {
            matches!(kept.envelope.state, EnvelopeState::Open | EnvelopeState::Reserved)
        };
        let mut room = ENVELOPES;
        self.envelopes.retain(|_, kept| {
            let stays = room > 0 && live(kept);
            room -= usize::from(stays);
            stays
        });
    }
}
