//! The audit: what the server shows against what the clients were told.
//!
//! A pure function of the book and of what was read over the wire, so that it
//! can be tested with lies. It must be able to fail.

use std::collections::HashMap;

use hongbao::units::{EnvelopeId, EnvelopeState, Fen, UserId};
use hongbao::wire::{Row, SendOrder, Summary};

use super::book::{Book, Told};

/// How many findings are told in words.
const FINDINGS_TOLD: usize = 10;

/// What the server shows.
#[derive(Default)]
pub(super) struct Shown {
    /// Summary and claims of each envelope that is there.
    pub(super) envelopes: HashMap<EnvelopeId, (Summary, Vec<Row>)>,
    /// The answer to each told share claimed once more; none is "not yours".
    pub(super) repeats: HashMap<(EnvelopeId, UserId), Fen>,
}

/// The result.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Promises that the server no longer keeps.
    pub(super) lost: u64,
    /// Shares or envelopes given twice.
    pub(super) double: u64,
    /// Shares that nobody was told of, though every request was answered.
    pub(super) untold: u64,
    /// The money that does not add up or changed, in fen.
    pub(super) money_off_fen: Fen,
    /// What was claimed, refunded and is left, in fen.
    pub(super) claimed_fen: Fen,
    pub(super) refunded_fen: Fen,
    pub(super) left_fen: Fen,
    /// How many envelopes gave money back.
    pub(super) refunds: u64,
    /// The first findings, in words.
    pub(super) findings: Vec<String>,
}

impl Verdict {
    /// Whether every promise is kept and every fen is accounted for.
    pub(super) fn is_ok(&self) -> bool {
        (self.lost, self.double, self.untold, self.money_off_fen) == (0, 0, 0, 0)
            && self.findings.is_empty()
    }

    fn find(&mut self, text: impl FnOnce() -> String) {
        if self.findings.len() < FINDINGS_TOLD {
            self.findings.push(text());
        }
    }
}

/// Compares the two.
pub(super) fn audit(book: &Book, shown: &Shown) -> Verdict {
    let mut verdict = Verdict { double: book.twice, ..Verdict::default() };
    if book.twice > 0 {
        verdict.find(|| format!("{} shares or orders were told as new twice", book.twice));
    }
    if book.changed_fen > 0 {
        verdict.money_off_fen += book.changed_fen;
        verdict.find(|| format!("repeated answers differ by {} fen", book.changed_fen));
    }
    for (envelope, order) in &book.envelopes {
        let Some((summary, rows)) = shown.envelopes.get(envelope) else {
            verdict.lost += 1;
            verdict.find(|| format!("envelope {envelope} was acknowledged and is gone"));
            continue;
        };
        check_order(&mut verdict, *envelope, order, summary);
        check_money(&mut verdict, *envelope, summary, rows);
        check_rows(&mut verdict, *envelope, book, summary, rows);
        check_refund(&mut verdict, *envelope, book, summary);
    }
    check_shares(&mut verdict, book, shown);
    verdict
}

/// The envelope is the one that was ordered.
fn check_order(verdict: &mut Verdict, envelope: EnvelopeId, order: &SendOrder, s: &Summary) {
    let shown = SendOrder {
        nonce: 0,
        source: hongbao::units::MoneySource::Vouched,
        sender: s.sender,
        order: s.order,
        payment: s.payment,
        total: s.total,
        shares: s.shares,
        lifetime_s: s.expires_at.saturating_sub(s.created_at),
        share_max: s.share_max,
        split: s.split,
    };
    if shown != *order {
        verdict.lost += 1;
        verdict.find(|| format!("envelope {envelope} is not as ordered: {shown:?}, not {order:?}"));
    }
}

/// Total = claimed + refunded + left, and nothing is left in what is closed.
fn check_money(verdict: &mut Verdict, envelope: EnvelopeId, s: &Summary, rows: &[Row]) {
    let claimed: Fen = rows.iter().map(|row| Fen::from(row.amount)).sum();
    let accounted = claimed + s.refunded + s.left;
    let closed = matches!(s.state, EnvelopeState::Expired | EnvelopeState::Cancelled);
    let off = accounted.abs_diff(s.total) + if closed { s.left } else { 0 };
    if off > 0 {
        verdict.money_off_fen += off;
        verdict.find(|| {
            let (total, refunded, left) = (s.total, s.refunded, s.left);
            format!(
                "envelope {envelope} of {total} fen: claimed {claimed}, refunded {refunded}, \
                 left {left} ({:?})",
                s.state
            )
        });
    }
    verdict.claimed_fen += claimed;
    verdict.refunded_fen += s.refunded;
    verdict.left_fen += s.left;
    verdict.refunds += u64::from(s.refunded > 0);
}

/// Nobody has two shares, and nobody has one without having been told.
fn check_rows(
    verdict: &mut Verdict,
    envelope: EnvelopeId,
    book: &Book,
    summary: &Summary,
    rows: &[Row],
) {
    let mut users: Vec<UserId> = rows.iter().map(|row| row.user).collect();
    users.sort_unstable();
    let double = users.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let listed = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let beyond = listed.saturating_sub(summary.shares.min(summary.claimed));
    if double > 0 || beyond > 0 {
        verdict.double += u64::try_from(double).unwrap_or(u64::MAX).max(beyond.into());
        verdict.find(|| format!("envelope {envelope} gave a user two shares, or too many shares"));
    }
    let missing = summary.claimed.saturating_sub(listed);
    if missing > 0 {
        verdict.lost += u64::from(missing);
        verdict.find(|| format!("envelope {envelope} lists {missing} claims less than it counts"));
    }
    users.dedup();
    for user in users.into_iter().filter(|user| !book.claims.contains_key(&(envelope, *user))) {
        verdict.untold += 1;
        verdict.find(|| format!("user {user} has a share of {envelope} and was never told"));
    }
}

/// A cancellation gave back what it was told to.
fn check_refund(verdict: &mut Verdict, envelope: EnvelopeId, book: &Book, summary: &Summary) {
    let Some(&told) = book.refunds.get(&envelope) else { return };
    if told != summary.refunded {
        verdict.money_off_fen += told.abs_diff(summary.refunded);
        let shown = summary.refunded;
        verdict.find(|| format!("envelope {envelope}: refund told {told} fen, shown {shown}"));
    }
}

/// Every told share is listed, and told again, with the same amount.
fn check_shares(verdict: &mut Verdict, book: &Book, shown: &Shown) {
    let mut listed = HashMap::with_capacity(book.claims.len());
    for (envelope, (_, rows)) in &shown.envelopes {
        listed.extend(rows.iter().map(|row| ((*envelope, row.user), Fen::from(row.amount))));
    }
    for (share, Told { amount, .. }) in &book.claims {
        let (envelope, user) = share;
        let (Some(row), Some(again)) = (listed.get(share), shown.repeats.get(share)) else {
            verdict.lost += 1;
            verdict
                .find(|| format!("the share of user {user} in {envelope}, {amount} fen, is lost"));
            continue;
        };
        let off = row.abs_diff(*amount).max(again.abs_diff(*amount));
        if off > 0 {
            verdict.money_off_fen += off;
            verdict.find(|| {
                format!(
                    "user {user} was told {amount} fen of {envelope}; it lists {row}, and a \
                     repeated claim tells {again}"
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hongbao::units::Split;
    use hongbao::wire::{Request, Status};

    const ONE: EnvelopeId = EnvelopeId(11);
    const TWO: EnvelopeId = EnvelopeId(22);

    fn order(number: u64) -> SendOrder {
        SendOrder {
            nonce: 0,
            source: hongbao::units::MoneySource::Vouched,
            sender: UserId(1),
            order: number,
            payment: 7,
            total: 1000,
            shares: 3,
            lifetime_s: 60,
            share_max: 0,
            split: Split::DoubleMean,
        }
    }

    fn summary(order: &SendOrder, claimed: u32, left: Fen, refunded: Fen) -> Summary {
        let state = if refunded > 0 { EnvelopeState::Cancelled } else { EnvelopeState::Open };
        Summary {
            sender: order.sender,
            order: order.order,
            payment: order.payment,
            total: order.total,
            left,
            refunded,
            shares: order.shares,
            claimed,
            share_max: order.share_max,
            created_at: 100,
            expires_at: 160,
            state,
            split: order.split,
            source: order.source,
            luckiest: None,
        }
    }

    fn row(user: u64, amount: u32) -> Row {
        Row { user: UserId(user), amount, at: 101 }
    }

    /// One envelope with two claims, one with a claim and a cancelled rest.
    fn honest() -> (Book, Shown) {
        let mut book = Book::default();
        let mut shown = Shown::default();
        for (number, id) in [(1, ONE), (2, TWO)] {
            book.enter(&Request::Send(order(number)), Status::Ok, Some(id.0));
        }
        for (envelope, user, amount) in [(ONE, 5, 300), (ONE, 6, 200), (TWO, 5, 400)] {
            let claim = Request::Claim { envelope, user: UserId(user) };
            book.enter(&claim, Status::Ok, Some(amount));
            shown.repeats.insert((envelope, UserId(user)), amount);
        }
        book.enter(&Request::Cancel { envelope: TWO, sender: UserId(1) }, Status::Ok, Some(600));
        let rows = vec![row(5, 300), row(6, 200)];
        shown.envelopes.insert(ONE, (summary(&order(1), 2, 500, 0), rows));
        shown.envelopes.insert(TWO, (summary(&order(2), 1, 0, 600), vec![row(5, 400)]));
        (book, shown)
    }

    /// The verdict on the honest state after one lie: lost, double, untold, off.
    fn after(lie: impl FnOnce(&mut Book, &mut Shown)) -> (u64, u64, u64, Fen) {
        let (mut book, mut shown) = honest();
        lie(&mut book, &mut shown);
        let verdict = audit(&book, &shown);
        assert!(!verdict.is_ok() && !verdict.findings.is_empty(), "the lie was believed");
        (verdict.lost, verdict.double, verdict.untold, verdict.money_off_fen)
    }

    fn of(shown: &mut Shown, envelope: EnvelopeId) -> &mut (Summary, Vec<Row>) {
        shown.envelopes.get_mut(&envelope).unwrap()
    }

    #[test]
    fn an_honest_server_passes() {
        let (book, shown) = honest();
        let verdict = audit(&book, &shown);
        assert!(verdict.is_ok(), "{verdict:?}");
        let sums = (verdict.claimed_fen, verdict.refunded_fen, verdict.left_fen, verdict.refunds);
        assert_eq!((sums, book.promises(), book.sent_fen()), ((900, 600, 500, 1), 6, 2000));
    }

    #[test]
    fn a_lost_claim_is_found() {
        let lie = |_: &mut Book, shown: &mut Shown| {
            let (summary, rows) = of(shown, ONE);
            rows.pop();
            (summary.claimed, summary.left) = (1, 700); // the books even balance
            shown.repeats.remove(&(ONE, UserId(6)));
        };
        assert_eq!(after(lie), (1, 0, 0, 0));
    }

    #[test]
    fn a_claim_listed_but_not_told_again_is_lost() {
        assert_eq!(
            after(|_, shown| {
                shown.repeats.remove(&(ONE, UserId(5)));
            }),
            (1, 0, 0, 0)
        );
    }

    #[test]
    fn a_changed_amount_is_found() {
        let lie = |_: &mut Book, shown: &mut Shown| {
            let (summary, rows) = of(shown, ONE);
            rows[0].amount += 7;
            summary.left -= 7; // the books even balance
        };
        assert_eq!(after(lie), (0, 0, 0, 7));
    }

    #[test]
    fn a_repeated_claim_with_another_amount_is_found() {
        assert_eq!(
            after(|_, shown| {
                shown.repeats.insert((TWO, UserId(5)), 401);
            }),
            (0, 0, 0, 1)
        );
    }

    #[test]
    fn a_double_share_is_found() {
        let lie = |_: &mut Book, shown: &mut Shown| {
            let (summary, rows) = of(shown, ONE);
            rows.push(row(5, 300));
            (summary.claimed, summary.left) = (3, 200);
        };
        assert_eq!(after(lie), (0, 1, 0, 0));
    }

    #[test]
    fn a_share_told_as_new_twice_is_found() {
        let claim = Request::Claim { envelope: ONE, user: UserId(5) };
        assert_eq!(after(|book, _| book.enter(&claim, Status::Ok, Some(300))), (0, 1, 0, 0));
    }

    #[test]
    fn money_off_is_found() {
        assert_eq!(after(|_, shown| of(shown, ONE).0.left += 3), (0, 0, 0, 3));
        assert_eq!(after(|_, shown| of(shown, TWO).0.refunded -= 2).3, 4); // off, and not as told
    }

    #[test]
    fn money_left_in_a_closed_envelope_is_found() {
        let lie = |_: &mut Book, shown: &mut Shown| {
            of(shown, ONE).0.state = EnvelopeState::Expired;
        };
        assert_eq!(after(lie), (0, 0, 0, 500));
    }

    #[test]
    fn a_missing_or_altered_envelope_is_found() {
        assert_eq!(after(|_, shown| drop(shown.envelopes.remove(&TWO))), (2, 0, 0, 0));
        assert_eq!(after(|_, shown| of(shown, ONE).0.sender = UserId(9)), (1, 0, 0, 0));
    }

    #[test]
    fn a_share_that_nobody_was_told_of_is_found() {
        let lie = |_: &mut Book, shown: &mut Shown| {
            let (summary, rows) = of(shown, ONE);
            rows.push(row(9, 500));
            (summary.claimed, summary.left) = (3, 0);
        };
        assert_eq!(after(lie), (0, 0, 1, 0));
    }

    #[test]
    fn an_order_told_two_envelopes_is_found() {
        let lie = |book: &mut Book, shown: &mut Shown| {
            let other = EnvelopeId(33);
            book.enter(&Request::Send(order(1)), Status::Ok, Some(other.0));
            shown.envelopes.insert(other, (summary(&order(1), 0, 1000, 0), vec![]));
        };
        assert_eq!(after(lie), (0, 1, 0, 0));
    }
}
