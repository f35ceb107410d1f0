//! The rules, one claim each.

use std::path::Path;
use std::process::Command;

use hongbao::follow::ledger::embedded::Embedded;
use hongbao::follow::ledger::lists::{Continuation, DayTotal, Page};
use hongbao::follow::ledger::{Balance, Cursor, Ledger, LedgerError, Verdict};
use hongbao::units::MoneySource::{Balance as FromBalance, Payment, Vouched};
use hongbao::units::{EnvelopeId, EnvelopeState, Fen, UserId};
use hongbao::wire::Resolution::{Reject, Release};

use crate::Kept;
use crate::records::{
    Journal, claimed, closed, closed_holding, held, issued, paid, resolved, returned, voided,
};

type Open<L> = fn(&Path) -> L;

struct Bench<L> {
    directory: tempfile::TempDir,
    ledger: L,
    journal: Journal,
}

fn bench<L: Kept>(open: Open<L>) -> Bench<L> {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path());
    Bench { directory, ledger, journal: Journal::new(0) }
}

impl<L: Kept> Bench<L> {
    fn apply(&mut self, records: &[hongbao::engine::Record]) -> Vec<Verdict> {
        let verdicts = self.journal.apply(&mut self.ledger, records).unwrap();
        self.ledger.check().unwrap();
        verdicts
    }

    #[track_caller]
    fn poison(&mut self, records: &[hongbao::engine::Record], index: u32, says: &str) {
        let error = self.journal.apply(&mut self.ledger, records).unwrap_err();
        let LedgerError::Poison { id, reason } = error else { panic!("{error}") };
        assert_eq!((id.batch, id.index), (self.journal.cursor.position, index), "{reason}");
        assert!(reason.contains(says), "{reason:?} does not say {says:?}");
        self.ledger.check().unwrap();
    }

    fn balance(&mut self, user: u64) -> (Fen, Fen) {
        let Balance { available, held } = self.ledger.balance(UserId(user)).unwrap();
        (available, held)
    }

    fn deposit(&mut self, user: u64, amount: Fen, reference: u64) {
        self.ledger.deposit(UserId(user), amount, reference, 1).unwrap();
    }
}

fn verdict(envelope: u64, covered: bool) -> Verdict {
    Verdict { envelope: EnvelopeId(envelope), covered }
}

pub(crate) fn a_balance_that_covers_an_order_is_held<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.deposit(5, 100, 1);
    assert_eq!(b.apply(&[issued(10, 5, 100, 2, FromBalance)]), [verdict(10, true)]);
    assert_eq!(b.balance(5), (0, 100));
    assert_eq!(b.ledger.pending().unwrap(), [verdict(10, true)]);
}

pub(crate) fn a_balance_that_does_not_cover_moves_nothing<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.deposit(5, 99, 1);
    assert_eq!(b.apply(&[issued(10, 5, 100, 2, FromBalance)]), [verdict(10, false)]);
    assert_eq!(b.balance(5), (99, 0));
    assert_eq!(b.ledger.pending().unwrap(), [verdict(10, false)]);
}

pub(crate) fn a_credit_in_the_same_batch_covers_an_order<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    let batch = [
        issued(10, 1, 100, 1, Vouched),
        issued(11, 5, 60, 1, FromBalance),
        claimed(10, 5, 100, 1500),
        issued(12, 5, 60, 1, FromBalance),
        issued(13, 5, 60, 1, FromBalance),
    ];
    let said = b.apply(&batch);
    assert_eq!(said, [verdict(11, false), verdict(12, true), verdict(13, false)]);
    assert_eq!(b.balance(5), (40, 60));
}

pub(crate) fn a_paid_order_spends_its_hold<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.deposit(5, 100, 1);
    b.apply(&[issued(10, 5, 80, 1, FromBalance)]);
    b.apply(&[paid(10, 5, 80, FromBalance), claimed(10, 6, 80, 1500)]);
    assert_eq!((b.balance(5), b.balance(6)), ((20, 0), (80, 0)));
    assert_eq!(b.ledger.pending().unwrap(), []);
    let envelope = b.ledger.envelope(EnvelopeId(10)).unwrap().unwrap();
    assert_eq!((envelope.state, envelope.left()), (EnvelopeState::Exhausted, 0));
}

pub(crate) fn a_voided_order_gives_its_hold_back<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.deposit(5, 100, 1);
    b.apply(&[issued(10, 5, 80, 1, FromBalance)]);
    b.apply(&[voided(10, 5, 80, FromBalance)]);
    assert_eq!(b.balance(5), (100, 0));
    b.poison(&[voided(10, 5, 80, FromBalance)], 0, "not this reserved order");
}

pub(crate) fn a_refused_order_is_voided_without_money<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.apply(&[issued(10, 5, 80, 1, FromBalance)]);
    b.apply(&[voided(10, 5, 80, FromBalance)]);
    assert_eq!(b.balance(5), (0, 0));
    assert_eq!(b.ledger.pending().unwrap(), []);
}

pub(crate) fn paying_without_a_hold_is_poison<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.apply(&[issued(10, 5, 80, 1, FromBalance)]);
    b.poison(&[paid(10, 5, 80, FromBalance)], 0, "hold that is not there");
    b.poison(&[paid(10, 5, 81, FromBalance)], 0, "not this reserved order");
}

pub(crate) fn claims_beyond_the_envelope_are_poison<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.apply(&[issued(10, 1, 100, 3, Vouched), claimed(10, 2, 60, 1500)]);
    b.poison(&[claimed(10, 3, 41, 1500)], 0, "has 40");
    b.poison(&[claimed(10, 3, 30, 1500), claimed(10, 4, 11, 1500)], 1, "has 10");
    b.poison(&[claimed(10, 3, 30, 1500), claimed(10, 4, 9, 1500)], 1, "leaves money");
}

pub(crate) fn an_unknown_envelope_is_poison<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.poison(&[claimed(10, 3, 1, 1500)], 0, "unknown");
    b.poison(&[closed(10, 3, 1)], 0, "unknown");
    b.poison(&[claimed(10, 3, 1, 1500), issued(10, 1, 100, 3, Vouched)], 0, "unknown");
    b.apply(&[issued(10, 1, 100, 3, Vouched)]);
    b.poison(&[issued(10, 1, 100, 3, Vouched)], 0, "issued before");
}

pub(crate) fn a_second_refund_is_poison<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.apply(&[issued(10, 1, 100, 3, Vouched), claimed(10, 2, 60, 1500)]);
    b.poison(&[closed(10, 1, 41)], 0, "40 of envelope 10");
    b.poison(&[closed(10, 9, 40)], 0, "are 1's");
    b.apply(&[closed(10, 1, 40)]);
    assert_eq!(b.balance(1), (40, 0));
    b.poison(&[closed(10, 1, 40)], 0, "not open");
    b.poison(&[claimed(10, 3, 1, 1500)], 0, "not open");
}

pub(crate) fn a_late_payment_goes_back_once<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.apply(&[issued(10, 5, 80, 1, Payment)]);
    b.poison(&[returned(10, 5, 80)], 0, "not a voided order");
    b.apply(&[voided(10, 5, 80, Payment), returned(10, 5, 80)]);
    assert_eq!(b.balance(5), (80, 0));
    b.poison(&[returned(10, 5, 80)], 0, "went back before");
}

pub(crate) fn a_held_share_is_credited_or_goes_back_when_it_is_decided<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.apply(&[issued(10, 1, 100, 3, Vouched), held(10, 2, 30, 1500), held(10, 3, 30, 1500)]);
    assert_eq!((b.balance(2), b.balance(3), b.balance(1)), ((0, 0), (0, 0), (0, 0)));
    b.apply(&[claimed(10, 4, 40, 1501)]);
    let state = |b: &mut Bench<L>| {
        let envelope = b.ledger.envelope(EnvelopeId(10)).unwrap().unwrap();
        (envelope.state, envelope.left(), envelope.claims, envelope.refunded)
    };
    assert_eq!(state(&mut b), (EnvelopeState::Open, 60, 1, 0), "what is held is not gone");
    b.apply(&[resolved((10, 1), (2, 30), Release, 1502)]);
    assert_eq!((b.balance(2), state(&mut b).1), ((30, 0), 30));
    b.apply(&[resolved((10, 1), (3, 30), Reject, 1503)]);
    assert_eq!((b.balance(3), b.balance(1)), ((0, 0), (30, 0)));
    assert_eq!(state(&mut b), (EnvelopeState::Exhausted, 0, 2, 30));
    let shares = b.ledger.envelope_claims(EnvelopeId(10), Page::first(9)).unwrap().rows;
    let shares: Vec<_> = shares.iter().map(|share| (share.user.0, share.amount)).collect();
    assert_eq!(shares, [(2, 30), (4, 40)]);
    b.poison(&[resolved((10, 1), (3, 30), Reject, 1503)], 0, "10 has 0");
}

pub(crate) fn a_closing_leaves_what_is_held<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.apply(&[issued(10, 1, 100, 3, Vouched), held(10, 2, 30, 1500), held(10, 3, 20, 1500)]);
    b.poison(&[closed(10, 1, 50)], 0, "100 of envelope 10");
    b.poison(&[closed_holding(10, 1, 50, 49)], 0, "100 of envelope 10");
    b.apply(&[closed_holding(10, 1, 50, 50)]);
    assert_eq!(b.balance(1), (50, 0));
    b.apply(&[resolved((10, 1), (2, 30), Release, 2001)]);
    b.apply(&[resolved((10, 1), (3, 20), Reject, 2002)]);
    assert_eq!((b.balance(1), b.balance(2)), ((70, 0), (30, 0)));
    let envelope = b.ledger.envelope(EnvelopeId(10)).unwrap().unwrap();
    assert_eq!((envelope.state, envelope.left()), (EnvelopeState::Expired, 0));
}

pub(crate) fn decisions_about_more_than_is_there_are_poison<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.apply(&[issued(10, 1, 100, 2, Vouched), held(10, 2, 60, 1500)]);
    b.poison(&[resolved((10, 1), (2, 101), Release, 1501)], 0, "10 has 100");
    b.poison(&[resolved((10, 9), (2, 60), Reject, 1501)], 0, "not of 9");
    b.poison(&[resolved((11, 1), (2, 60), Reject, 1501)], 0, "unknown");
}

pub(crate) fn more_money_than_can_be_counted_is_poison<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    let most = u64::MAX / 2;
    b.poison(&[issued(9, 1, most + 1, 1, Vouched)], 0, "more than a ledger can count");
    b.apply(&[issued(10, 1, most, 2, Vouched)]);
    b.poison(&[issued(11, 1, 2, 1, Vouched)], 0, "more money than");
    assert!(b.ledger.deposit(UserId(1), 2, 1, 1).is_err());
}

pub(crate) fn the_same_cursor_twice_changes_nothing<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.deposit(5, 100, 1);
    let before = b.journal;
    let batch =
        [issued(10, 1, 9, 3, Vouched), claimed(10, 2, 3, 7), issued(11, 5, 9, 1, FromBalance)];
    let said = b.apply(&batch);
    b.journal = before;
    assert_eq!(b.apply(&batch), said);
    assert_eq!((b.balance(2), b.balance(5)), ((3, 0), (91, 9)));
}

pub(crate) fn a_record_before_the_cursor_is_poison<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    let old = b.journal.next(&[issued(10, 1, 9, 3, Vouched)]).0;
    b.apply(&[issued(10, 1, 9, 3, Vouched)]);
    let cursor = b.journal.next(&[]).1;
    let error = b.ledger.apply(&old, &cursor).unwrap_err();
    assert!(error.to_string().contains("applied already"), "{error}");
}

pub(crate) fn a_cursor_that_falls_back_is_poison<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    let first = b.journal.next(&[]).1;
    b.apply(&[issued(10, 1, 9, 3, Vouched)]);
    b.apply(&[claimed(10, 2, 3, 7)]);
    for cursor in [first, Cursor { batch: 1, ..b.journal.next(&[]).1 }] {
        let error = b.ledger.apply(&[], &cursor).unwrap_err();
        assert!(error.to_string().contains("does not continue"), "{error}");
    }
    assert_eq!(b.ledger.cursors().unwrap(), [b.journal.cursor]);
}

pub(crate) fn records_out_of_order_are_poison<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    let (mut entries, cursor) =
        b.journal.next(&[issued(10, 1, 9, 3, Vouched), claimed(10, 2, 3, 7)]);
    entries[1].id.index = 0;
    assert!(b.ledger.apply(&entries, &cursor).is_err());
    entries[1].id.index = 1;
    entries[1].id.batch = cursor.position;
    assert!(b.ledger.apply(&entries, &cursor).is_err());
    entries[1].id.batch = 0;
    entries[1].id.shard = 1;
    assert!(b.ledger.apply(&entries, &cursor).is_err());
    entries[1].id.shard = 0;
    entries[1].id.cell = 2;
    assert!(b.ledger.apply(&entries, &cursor).is_err());
    assert_eq!(b.ledger.cursors().unwrap(), []);
}

pub(crate) fn a_reference_counts_once<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    for _ in 0..2 {
        b.deposit(5, 100, 1);
        b.ledger.withdraw(UserId(5), 30, 2, 1).unwrap();
        assert_eq!(b.balance(5), (70, 0));
    }
    assert!(matches!(b.ledger.deposit(UserId(5), 99, 1, 1), Err(LedgerError::Conflict(1))));
    assert!(matches!(b.ledger.deposit(UserId(6), 100, 1, 1), Err(LedgerError::Conflict(1))));
    assert!(matches!(b.ledger.withdraw(UserId(5), 1, 1, 1), Err(LedgerError::Conflict(1))));
    b.ledger.check().unwrap();
}

pub(crate) fn a_withdrawal_of_more_than_is_there_is_refused<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.deposit(5, 100, 1);
    b.apply(&[issued(10, 5, 60, 1, FromBalance)]);
    let error = b.ledger.withdraw(UserId(5), 41, 2, 1).unwrap_err();
    assert!(matches!(error, LedgerError::Insufficient { balance: 40 }), "{error}");
    b.ledger.withdraw(UserId(5), 40, 2, 1).unwrap();
    assert_eq!(b.balance(5), (0, 60));
}

pub(crate) fn only_the_skipped_record_is_passed_over<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    let batch = [issued(10, 1, 9, 3, Vouched), claimed(11, 2, 3, 7), claimed(10, 3, 3, 7)];
    b.poison(&batch, 1, "unknown");
    let id = b.journal.next(&batch).0[1].id;
    b.ledger.skip(&id, "made by hand", 99).unwrap();
    b.apply(&batch);
    assert_eq!((b.balance(2), b.balance(3)), ((0, 0), (3, 0)));
    b.poison(&batch[1..], 0, "unknown");
}

pub(crate) fn everything_is_there_after_a_reopen<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.deposit(5, 100, 1);
    b.apply(&[issued(10, 5, 60, 2, FromBalance)]);
    drop(b.ledger);
    b.ledger = open(b.directory.path());
    assert_eq!(b.ledger.cursors().unwrap(), [b.journal.cursor]);
    assert_eq!(b.ledger.pending().unwrap(), [verdict(10, true)]);
    b.apply(&[paid(10, 5, 60, FromBalance), claimed(10, 5, 30, 1500)]);
    assert_eq!(b.balance(5), (70, 0));
}

pub(crate) fn a_refused_batch_leaves_no_trace<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    b.poison(&[issued(10, 1, 9, 3, Vouched), claimed(10, 2, 3, 7), claimed(11, 2, 3, 7)], 2, "");
    assert_eq!(b.balance(2), (0, 0));
    assert_eq!(b.ledger.envelope(EnvelopeId(10)).unwrap(), None);
    assert_eq!(b.ledger.cursors().unwrap(), []);
}

pub(crate) fn lists_are_paged_newest_first<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    for id in 10..17 {
        b.apply(&[issued(id, 1, 9, 9, Vouched), claimed(id, 2, 1, 7), claimed(id, 3, 1, 8)]);
    }
    let (mut page, mut ids, mut pages) = (Page::first(3), Vec::new(), 0);
    loop {
        let received = b.ledger.received(UserId(2), page).unwrap();
        ids.extend(received.rows.iter().map(|row| row.envelope.0));
        pages += 1;
        let Some(next) = received.next else { break };
        page = Page { after: Some(next), limit: 3 };
    }
    assert_eq!((ids, pages), ((10..17).rev().collect(), 3));
    let sent = b.ledger.sent(UserId(1), Page::first(2)).unwrap();
    assert_eq!((sent.rows[1].envelope.0, sent.rows[1].summary.claimed), (15, 2));
    let rest = Page { after: sent.next, limit: 9 };
    assert_eq!(b.ledger.sent(UserId(1), rest).unwrap().rows.len(), 5);
    let shares = b.ledger.envelope_claims(EnvelopeId(12), Page::first(9)).unwrap();
    let users: Vec<_> = shares.rows.iter().map(|share| share.user.0).collect();
    assert_eq!((users, shares.next), (vec![3, 2], None::<Continuation>));
}

pub(crate) fn days_begin_at_the_asked_midnight<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    let midnight = 86_400 - 8 * 3600;
    let at = [midnight - 1, midnight, midnight + 5];
    b.apply(&[issued(10, 1, 9, 9, Vouched)]);
    b.apply(&at.map(|at| claimed(10, 2, 1, at)));
    let day = |day, count| DayTotal { day, count, sum: count };
    let china = b.ledger.received_by_day(UserId(2), 8 * 3600).unwrap();
    assert_eq!(china, [day(1, 2), day(0, 1)]);
    assert_eq!(b.ledger.received_by_day(UserId(2), 0).unwrap(), [day(0, 3)]);
    let sent = b.ledger.sent_by_day(UserId(1), 0).unwrap();
    assert_eq!(sent, [DayTotal { day: 0, count: 1, sum: 9 }]);
}

pub(crate) fn ids_of_the_upper_half_are_ids<L: Kept>(open: Open<L>) {
    let mut b = bench(open);
    let (id, user) = (u64::MAX - 5, u64::MAX);
    b.apply(&[issued(id, user, 9, 9, Vouched), claimed(id, user, 1, 7)]);
    assert_eq!(b.balance(user), (1, 0));
    let received = b.ledger.received(UserId(user), Page::first(2)).unwrap();
    assert_eq!(received.rows[0].envelope.0, id);
    assert_eq!(b.ledger.sent(UserId(user), Page::first(2)).unwrap().rows[0].envelope.0, id);
}

const CHILD: &str = "HONGBAO_LEDGER_CUT_OFF";

/// The test's own binary, as a child, applies batches until it is killed; what
/// the file then holds must be whole batches, each once.
pub(crate) fn cut_off(open: Open<Embedded>) {
    if let Some(directory) = std::env::var_os(CHILD) {
        claim_for_ever(&mut open(Path::new(&directory)));
    }
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=5 {
        let mut ledger = open(directory.path());
        let me = std::env::current_exe().unwrap();
        let mut child = Command::new(me)
            .args(["--exact", "a_transaction_cut_off_by_the_process_end_counts_for_nothing"])
            .env(CHILD, directory.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let batches =
            |ledger: &mut Embedded| ledger.cursors().unwrap().first().map_or(0, |c| c.batch);
        let (before, deadline) = (batches(&mut ledger), std::time::Instant::now());
        while batches(&mut ledger) < before + round {
            assert!(deadline.elapsed().as_secs() < 60, "the child does not apply");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        ledger.check().unwrap();
        let credited = ledger.balance(UserId(2)).unwrap().available;
        assert_eq!(credited, (batches(&mut ledger) - 1) * PER_BATCH, "each batch exactly once");
    }
}

const PER_BATCH: u64 = 2000;

fn claim_for_ever(ledger: &mut Embedded) -> ! {
    let mut journal = Journal::new(0);
    if let Some(&cursor) = ledger.cursors().unwrap().first() {
        journal.cursor = cursor;
    } else {
        let record = issued(10, 1, u64::from(u32::MAX), u32::MAX, Vouched);
        journal.apply(ledger, &[record]).unwrap();
    }
    let batch = vec![claimed(10, 2, 1, 7); usize::try_from(PER_BATCH).unwrap()];
    loop {
        journal.apply(ledger, &batch).unwrap();
    }
}
