//! What every ledger must do, rule by rule. The suite is a macro over a way to
//! open one in a directory, so that each adapter is held to the same claims.
#![allow(clippy::unwrap_used)] // also in the functions that tests share

mod damage;
mod outage;
mod plain;
mod records;
mod rules;
mod server;

use std::path::Path;

use hongbao::follow::ledger::Ledger;
use hongbao::follow::ledger::embedded::Embedded;
use hongbao::follow::ledger::lists::{Difference, History};
use hongbao::follow::ledger::postgres::Postgres;

/// A ledger that can also look through its own sums.
pub(crate) trait Kept: Ledger + History {
    fn check(&mut self) -> Result<(), Difference>;
}

impl Kept for Embedded {
    fn check(&mut self) -> Result<(), Difference> {
        Embedded::check(self)
    }
}

impl Kept for Postgres {
    fn check(&mut self) -> Result<(), Difference> {
        Postgres::check(self)
    }
}

fn embedded(directory: &Path) -> Embedded {
    Embedded::open(directory).unwrap()
}

/// The ledger of a directory is the database of its name.
fn postgres(directory: &Path) -> Postgres {
    let server = server::shared().expect("asked for before");
    Postgres::open(&server.address(directory)).unwrap()
}

macro_rules! conformance {
    ($adapter:ident if $there:expr, $records:literal; $($rule:ident),* $(,)?) => {
        mod $adapter {
            $(#[test]
            fn $rule() {
                if $there {
                    super::rules::$rule(super::$adapter);
                }
            })*

            #[test]
            fn random_movements_equal_plain_maps() {
                if $there {
                    super::plain::random_movements_equal_plain_maps(super::$adapter, $records);
                }
            }
        }
    };
}

macro_rules! every_rule {
    ($adapter:ident if $there:expr, $records:literal) => {
        conformance!($adapter if $there, $records;
            a_balance_that_covers_an_order_is_held,
            a_balance_that_does_not_cover_moves_nothing,
            a_credit_in_the_same_batch_covers_an_order,
            a_paid_order_spends_its_hold,
            a_voided_order_gives_its_hold_back,
            a_refused_order_is_voided_without_money,
            paying_without_a_hold_is_poison,
            claims_beyond_the_envelope_are_poison,
            an_unknown_envelope_is_poison,
            a_second_refund_is_poison,
            a_late_payment_goes_back_once,
            a_held_share_is_credited_or_goes_back_when_it_is_decided,
            a_closing_leaves_what_is_held,
            decisions_about_more_than_is_there_are_poison,
            more_money_than_can_be_counted_is_poison,
            the_same_cursor_twice_changes_nothing,
            a_record_before_the_cursor_is_poison,
            a_cursor_that_falls_back_is_poison,
            records_out_of_order_are_poison,
            a_reference_counts_once,
            a_withdrawal_of_more_than_is_there_is_refused,
            only_the_skipped_record_is_passed_over,
            everything_is_there_after_a_reopen,
            a_refused_batch_leaves_no_trace,
            lists_are_paged_newest_first,
            days_begin_at_the_asked_midnight,
            ids_of_the_upper_half_are_ids,
        );
    };
}

// After every batch all balances are asked for: in a database each is a journey.
every_rule!(embedded if true, 120_000);
every_rule!(postgres if crate::server::shared().is_some(), 30_000);

/// A transaction that its process left open is as if it never was, and the
/// same batch again then counts once.
#[test]
fn a_transaction_cut_off_by_the_process_end_counts_for_nothing() {
    rules::cut_off(embedded);
}
