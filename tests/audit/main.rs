//! The audit against lies: each kind of wrong record in a journal whose
//! checksums are right, each kind of wrong row in a ledger, and it is named.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod ledger;
mod rig;
#[path = "../ledger_conformance/server.rs"]
mod server;
mod speed;

use hongbao::audit::{Settings, Turnover};
use hongbao::engine::{Cause, Claimed, Closed, Guessed, Issued, Paid, Record, Resolved, TermsPart};
use hongbao::units::{MoneySource, UserId};
use hongbao::wire::{ResolvedBy, Terms};
use rig::{
    AT, SENDER, Writer, audit_of, claim, close, close_holding, difference, envelope, held, order,
    paid, recycled, resolved, returned, voided,
};

const SEGMENT: usize = 64 << 10;
const OFFLINE: Settings = Settings { online: false, draws: false, utc_offset_min: 0 };
const ONLINE: Settings = Settings { online: true, ..OFFLINE };

use MoneySource::{Balance, Payment, Vouched};
use hongbao::wire::Resolution::{Reject, Release};

/// Honest lives of all kinds, over several batches.
fn honest() -> Vec<Vec<Record>> {
    let ordered = |n, source| Record::Issued(order(n, source));
    vec![
        vec![ordered(1, Vouched), ordered(2, Payment), ordered(3, Balance), ordered(4, Payment)],
        vec![claim(1, 21, 34, 0), claim(1, 22, 33, 1)],
        vec![paid(2, Payment), voided(3, Balance), voided(4, Payment), returned(4)],
        vec![claim(1, 23, 33, 2), claim(2, 21, 34, 0), close(2, 66), recycled(1, 3, 100, 100)],
        vec![ordered(5, Vouched), claim(5, 21, 34, 0), ordered(6, Balance)],
    ]
}

fn with(lie: &[Record]) -> Writer {
    let mut writer = Writer::new(SEGMENT);
    for batch in honest() {
        writer.commit(&batch);
    }
    if !lie.is_empty() {
        writer.commit(lie);
    }
    writer.close();
    writer
}

#[test]
fn an_honest_journal_passes_and_its_sums_are_told() {
    let writer = with(&[]);
    for settings in [OFFLINE, ONLINE] {
        let report = audit_of(&writer.data(), settings).unwrap();
        let balance = report.balance;
        assert!(balance.is_even());
        let sums = [balance.before, balance.funded, balance.claimed, balance.refunded];
        assert_eq!((sums, balance.left), ([0, 300, 168, 66], 66));
        assert_eq!((report.records, report.envelopes), (17, 5));
        assert_eq!(report.days.len(), 1);
        let day: Turnover = report.days[&(AT / 86_400)];
        assert_eq!((day.funded.count, day.funded.fen), (3, 300));
        assert_eq!((day.claimed.count, day.claimed.fen), (5, 168));
        assert_eq!((day.refunded.count, day.refunded.fen), (1, 66));
        assert_eq!((day.returned.count, day.returned.fen), (1, 100));
    }
    let east = audit_of(&writer.data(), Settings { utc_offset_min: 480, ..OFFLINE }).unwrap();
    assert_eq!(east.days.keys().copied().collect::<Vec<_>>(), [(AT + 8 * 3600) / 86_400]);
}

#[test]
fn every_lie_in_the_journal_is_named_with_its_records() {
    let other_order = |change: fn(&mut Issued)| {
        let mut issued = order(9, Vouched);
        change(&mut issued);
        Record::Issued(issued)
    };
    let late = |record: Record| match record {
        Record::Claimed(c) => Record::Claimed(Claimed { at: AT + 3600, ..c }),
        Record::Paid(p) => Record::Paid(Paid { at: AT + 60, ..p }),
        other => other,
    };
    let closed = |refunded, sender, cause, at| {
        let sender = UserId(sender);
        Record::Closed(Closed { envelope: envelope(5), sender, refunded, held: 0, cause, at })
    };
    let lies: Vec<(Vec<Record>, &str)> = vec![
        (vec![claim(5, 21, 33, 1)], "user 21 got a second share"),
        (vec![claim(5, 22, 0, 1)], "the share is empty"),
        (vec![claim(5, 22, 67, 1)], "a share of 67 fen was given of 66 that were left"),
        (vec![claim(5, 22, 66, 1)], "leaves 0 fen for 1 shares"),
        (vec![claim(5, 22, 33, 1), claim(5, 23, 32, 2)], "leaves 1 fen for 0 shares"),
        (vec![claim(5, 22, 33, 2)], "rank is not the next"),
        (vec![claim(2, 22, 33, 1)], "money left the envelope after it was closed"),
        (vec![claim(6, 22, 33, 0)], "money left the envelope before it was paid"),
        (vec![claim(3, 22, 33, 0)], "money left the envelope after it was voided"),
        (vec![claim(1, 22, 33, 0)], "never ordered"),
        (
            vec![claim(5, 22, 33, 1), claim(5, 23, 33, 2), claim(5, 24, 1, 3)],
            "money left the envelope after its last share",
        ),
        (vec![late(claim(5, 22, 33, 1))], "the envelope's time was over at"),
        (vec![close(5, 67)], "67 fen were refunded of 66 that were left"),
        (vec![close(5, 65)], "65 fen were refunded of 66 that were left"),
        (vec![close(5, 66), close(5, 66)], "the rest was refunded twice"),
        (vec![close(2, 66)], "the rest was refunded twice"),
        (vec![close(6, 100)], "before it was paid"),
        (vec![closed(66, 8, Cause::Cancelled, AT + 2)], "user 8 is not its sender"),
        (vec![closed(66, 7, Cause::Expired, AT + 2)], "does not fit the end of its time"),
        (vec![closed(66, 7, Cause::Cancelled, AT + 3600)], "does not fit the end of its time"),
        (vec![Record::Issued(order(5, Vouched))], "ordered twice"),
        (vec![other_order(|i| i.order = 5)], "made another envelope before"),
        (vec![other_order(|i| i.total = 2)], "2 fen cannot be cut into 3 shares"),
        (vec![other_order(|i| i.shares = 0)], "cannot be cut into 0 shares"),
        (vec![other_order(|i| i.share_max = 33)], "cannot be cut"),
        (vec![paid(2, Payment)], "paid or voided after it was closed"),
        (vec![paid(3, Balance)], "paid or voided after it was voided"),
        (vec![paid(6, Payment)], "not from where the order said"),
        (vec![late(paid(6, Balance))], "the envelope's time was over at"),
        (vec![paid(6, Balance), paid(6, Balance)], "paid or voided while it was open"),
        (vec![paid(6, Balance), voided(6, Balance)], "paid or voided while it was open"),
        (vec![voided(3, Balance)], "paid or voided after it was voided"),
        (vec![returned(4)], "went back twice"),
        (vec![returned(2)], "whose order was not voided"),
        (vec![recycled(5, 1, 34, 100)], "before it was over"),
        (vec![recycled(2, 1, 34, 99)], "its recycling says (1, 34, 99)"),
        (vec![recycled(9, 1, 34, 99)], "never ordered"),
    ];
    each_is_named(lies);
}

#[test]
fn every_lie_about_a_held_share_is_named_with_its_records() {
    let by_the_other = |record: Record| match record {
        Record::Resolved(r) => {
            let by = if r.by == ResolvedBy::Word { ResolvedBy::Time } else { ResolvedBy::Word };
            Record::Resolved(Resolved { by, ..r })
        }
        other => other,
    };
    each_is_named(vec![
        (vec![held(5, 21, 33, 1)], "user 21 got a second share"),
        (vec![held(5, 22, 33, 1), claim(5, 22, 33, 2)], "user 22 got a second share"),
        (vec![resolved(5, 21, 34, Release, 1)], "21 has no such share held"),
        (vec![held(5, 22, 33, 1), resolved(5, 22, 32, Release, 1)], "22 has no such share"),
        (
            vec![
                held(5, 22, 33, 1),
                resolved(5, 22, 33, Release, 1),
                resolved(5, 22, 33, Reject, 2),
            ],
            "22 has no such share held",
        ),
        (
            vec![held(5, 22, 33, 1), by_the_other(resolved(5, 22, 33, Reject, 59))],
            "time decides from",
        ),
        (
            vec![held(5, 22, 33, 1), by_the_other(resolved(5, 22, 33, Reject, 60))],
            "time decides from",
        ),
        (vec![held(5, 22, 33, 1), close(5, 33)], "0 fen are held, and 33 are"),
        (vec![held(5, 22, 33, 1), close(5, 66)], "66 fen were refunded of 33 that were left"),
        (
            vec![held(5, 22, 33, 1), claim(5, 23, 33, 2), recycled(5, 2, 67, 100)],
            "forgotten while 33 fen of it were held",
        ),
        (
            vec![
                held(5, 22, 33, 1),
                claim(5, 23, 33, 2),
                resolved(5, 22, 33, Reject, 3),
                recycled(5, 3, 100, 100),
            ],
            "its recycling says (3, 100, 100)",
        ),
    ]);
}

fn each_is_named(lies: Vec<(Vec<Record>, &str)>) {
    for (lie, words) in lies {
        let writer = with(&lie);
        let last = *lie.last().unwrap();
        for settings in [OFFLINE, ONLINE] {
            let found = difference(audit_of(&writer.data(), settings));
            assert!(found.words.contains(words), "{} is not {words}", found.words);
            assert!(found.words.contains(&last.envelope().to_string()), "{}", found.words);
            let (id, shown) = *found.records.last().unwrap();
            assert_eq!(shown, last, "{words}");
            assert_eq!(usize::try_from(id.index).unwrap(), lie.len() - 1, "{words}");
            let first = found.records[0];
            let never = words == "never ordered";
            assert!(never || matches!(first.1, Record::Issued(_)) || found.records.len() > 1);
        }
    }
}

#[test]
fn what_is_held_is_neither_claimed_nor_left_until_it_is_decided() {
    let (first, second) = (held(5, 22, 33, 1), held(5, 23, 33, 2));
    let release = resolved(5, 22, 33, Release, 59);
    let reject = resolved(5, 23, 33, Reject, 60);
    let balance_of = |records: &[Record]| {
        let writer = with(records);
        let balance = audit_of(&writer.data(), OFFLINE).unwrap().balance;
        assert_eq!(balance, audit_of(&writer.data(), ONLINE).unwrap().balance);
        [balance.claimed, balance.held, balance.refunded, balance.left]
    };
    assert_eq!(balance_of(&[first]), [168, 33, 66, 33]);
    assert_eq!(balance_of(&[first, second]), [168, 66, 66, 0]);
    assert_eq!(balance_of(&[first, second, release]), [201, 33, 66, 0]);
    assert_eq!(balance_of(&[first, second, release, reject]), [201, 0, 99, 0]);
    // Closed while one is held, and that one decided after it, either way.
    let closed = close_holding(5, 33, 33);
    assert_eq!(balance_of(&[first, closed]), [168, 33, 99, 0]);
    assert_eq!(balance_of(&[first, closed, release]), [201, 0, 99, 0]);
    let reject = resolved(5, 22, 33, Reject, 9);
    assert_eq!(balance_of(&[first, closed, reject, recycled(5, 1, 34, 100)]), [168, 0, 132, 0]);
}

#[test]
fn a_draw_that_the_seed_does_not_give_is_found_where_asked_for() {
    // The equal split gives 33 as the second share of 66 in 2.
    let writer = with(&[claim(5, 22, 32, 1)]);
    audit_of(&writer.data(), OFFLINE).unwrap();
    let found = difference(audit_of(&writer.data(), Settings { draws: true, ..OFFLINE }));
    assert!(found.words.contains("the share is 32 fen, and its draw gives 33"), "{found}");
}

/// An order with terms, behind their parts.
fn ordered_with(n: u32, terms: &Terms<'_>) -> Vec<Record> {
    let parts: Vec<_> = TermsPart::cut(envelope(n), &terms.to_bytes()).collect();
    let terms_parts = u8::try_from(parts.len()).unwrap();
    let issued = Record::Issued(Issued { terms_parts, ..order(n, Vouched) });
    parts.into_iter().map(Record::TermsPart).chain([issued]).collect()
}

#[test]
fn shares_for_whom_the_terms_keep_out_are_found() {
    let named: Vec<_> = (20..90_u64).map(u64::to_le_bytes).collect();
    let nothing = Terms::default();
    let guess = Record::Guessed(Guessed {
        envelope: envelope(50),
        user: UserId(22),
        guesses: 0,
        at: AT + 1,
    });
    let cases = [
        (Terms { named: &named, ..nothing }, claim(50, 19, 34, 0), "user 19 out (NotNamed)"),
        (Terms { not_before: Some(AT + 2), ..nothing }, claim(50, 22, 34, 0), "(TooEarly)"),
        (Terms { not_after: Some(AT + 1), ..nothing }, claim(50, 22, 34, 0), "(TooLate)"),
        (Terms { not_sender: true, ..nothing }, claim(50, SENDER, 34, 0), "(Sender)"),
        (Terms { seed_user: Some(UserId(3)), ..nothing }, claim(50, 22, 34, 0), "(SeedFirst)"),
        (Terms { greeting: b"luck", ..nothing }, guess, "the envelope has none"),
    ];
    for (terms, lie, words) in cases {
        let mut records = ordered_with(50, &terms);
        audit_of(&with(&records).data(), OFFLINE).unwrap();
        records.push(lie);
        let found = difference(audit_of(&with(&records).data(), OFFLINE));
        assert!(found.words.contains(words), "{found} is not {words}");
        assert_eq!(found.records.last().unwrap().1, lie);
    }
    let seeded = Terms { seed_user: Some(UserId(3)), named: &[], ..nothing };
    let fair = [claim(50, 3, 34, 0), claim(50, 22, 33, 1)];
    audit_of(&with(&[&ordered_with(50, &seeded)[..], &fair].concat()).data(), OFFLINE).unwrap();
    let whole = ordered_with(50, &Terms { named: &named, ..nothing });
    for missing in 0..whole.len() - 1 {
        let mut cut = whole.clone();
        cut.remove(missing);
        let found = difference(audit_of(&with(&cut).data(), OFFLINE));
        assert!(found.words.contains("terms of the order are missing"), "{found}");
    }
}

#[test]
fn evidence_is_bounded_and_says_what_is_left_out() {
    let mut big = order(50, Vouched);
    (big.shares, big.total) = (1000, 1000);
    let mut lie = vec![Record::Issued(big)];
    lie.extend((0..900).map(|n| claim(50, 1000 + u64::from(n), 1, n)));
    lie.push(claim(50, 1300, 1, 900));
    let writer = with(&lie);
    let found = difference(audit_of(&writer.data(), OFFLINE));
    assert!(found.words.contains("user 1300 got a second share"));
    let of_user =
        |record: &&(_, Record)| matches!(record.1, Record::Claimed(c) if c.user.0 == 1300);
    assert_eq!(found.records.iter().filter(of_user).count(), 2, "both claims are shown");
    assert!(found.records.len() < 20, "{}", found.records.len());
    let shown = u64::try_from(found.records.len()).unwrap();
    assert_eq!(found.left_out + shown, 902);
}
