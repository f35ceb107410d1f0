//! The envelopes that a mix needs before it is played.

use anyhow::{Context, Result};
use hongbao::client::ClientError;
use hongbao::units::{EnvelopeId, Split};
use hongbao::wire::SendOrder;

use super::driver::Driver;
use super::flags::LoadArgs;
use super::ledger::Ledger;
use super::pace::Feed;
use super::stream::{Lines, Stream};
use crate::mix::{Crowd, Eve, Issue, Run, Shape};
use crate::progress::Progress;

/// The first order and the first user of the stream beside another: far from
/// the other's.
const BESIDE_FROM: u32 = 1 << 31;

/// What sends orders.
pub(super) struct Stock<'a> {
    pub(super) driver: &'a Driver,
    pub(super) progress: &'a mut Progress,
    pub(super) run: Run,
}

impl Stock<'_> {
    /// Envelopes of equal size for a crowd.
    pub(super) fn of_crowd(
        &mut self,
        lines: &mut Lines,
        count: u32,
        shares: u32,
    ) -> Result<Vec<EnvelopeId>> {
        let run = self.run;
        self.issue(lines, count, |number| order(run, number, shares))
    }

    /// The crowd beside another, on envelopes of five shares.
    pub(super) fn of_beside(&mut self, lines: &mut Lines, count: u32, seed: u64) -> Result<Crowd> {
        let run = self.run;
        let order = |number| order(run, BESIDE_FROM + number % BESIDE_FROM, 5);
        let ids = self.issue(lines, count, order)?;
        Ok(Crowd::new(ids, seed.wrapping_add(1), run, BESIDE_FROM))
    }

    /// An evening that begins with envelopes on the table.
    pub(super) fn of_eve(&mut self, lines: &mut Lines, args: &LoadArgs) -> Result<Eve> {
        let (seed, run, rate) = (args.seed, self.run, args.nominal_rate());
        let mut eve = Eve::new(Shape { seed, run, rate, refunds: false });
        let count = args.envelopes.unwrap_or(200_000);
        for _ in 0..count {
            eve.plan();
        }
        let ids = self.issue(lines, count, |number| eve.order(number))?;
        for (number, id) in (0..count).zip(ids) {
            eve.known(number, id);
        }
        Ok(eve)
    }

    fn issue(
        &mut self,
        lines: &mut Lines,
        count: u32,
        order: impl FnMut(u32) -> SendOrder,
    ) -> Result<Vec<EnvelopeId>> {
        let mut issue = Issue::new(count, order);
        let what = format!("issuing {} envelopes", indicatif::HumanCount(count.into()));
        let ledger = Ledger::new(&[], u64::MAX, false);
        let mut stream = Stream::new(Feed::all_of(&mut issue), lines, ledger);
        self.driver.run(&mut [&mut stream], self.progress, &what)?;
        issue.finish().map_err(ClientError::Refused).with_context(|| {
            format!("issuing {count} envelopes: start the server with more room (--shares-max, --envelopes-max), or ask for less")
        })
    }
}

fn order(run: Run, number: u32, shares: u32) -> SendOrder {
    SendOrder {
        nonce: 0,
        source: hongbao::units::MoneySource::Vouched,
        sender: run.sender(number),
        order: run.order(number),
        payment: run.order(number),
        total: u64::from(shares) * 888,
        shares,
        lifetime_s: 24 * 3600,
        share_max: 0,
        split: Split::DoubleMean,
    }
}
