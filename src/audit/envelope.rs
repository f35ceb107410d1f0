//! One envelope's account, and the rules that each of its records must keep.
//!
//! Written from the rules of money and not from the engine, so that both would
//! have to be wrong in the same way.

use std::collections::HashSet;

use super::broken::{Broken, When};
use super::campaign::Campaign;
use super::rules::Rules;
use super::withheld::Withheld;
use crate::engine::{
    Cause, Claimed, Closed, Commanded, Guessed, Issued, Paid, Planned, Recycled, Returned, Voided,
    split,
};
use crate::limits::SHARE_FEN_MAX;
use crate::units::{Fen, MoneySource, Seed, Split, UnixSeconds, UserId, VoidCause};

/// Holders in a plain list at most; more are kept in a set.
const FEW: usize = 64;

/// Where an envelope is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It waits for its money.
    Reserved,
    /// Shares may be claimed.
    Open,
    /// Every share was claimed.
    Exhausted,
    /// The rest went back.
    Closed,
    /// It was never paid, and never will be.
    Voided,
    /// The payment of it came too late, and went back.
    Returned,
}

/// What was agreed when it was ordered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) sender: UserId,
    pub(super) order: u64,
    /// 0 where none was named.
    pub(super) payment: u64,
    pub(super) source: MoneySource,
    pub(super) total: Fen,
    pub(super) shares: u32,
    /// 0 is none.
    pub(super) share_max: u32,
    pub(super) lifetime_s: u32,
    pub(super) split: Split,
    pub(super) seed: Seed,
}

/// The account of one envelope.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) terms: Terms,
    /// Only where there are terms beyond the money.
    pub(super) rules: Option<Box<Rules>>,
    pub(super) life: Life,
    /// When it expires, or lapses while it is reserved.
    pub(super) until: UnixSeconds,
    /// Shares that were won, also those that are held or were rejected.
    pub(super) claims: u32,
    /// The money in them but for what is held or was rejected.
    pub(super) claimed: Fen,
    /// What is held and what was rejected, where anything ever was.
    pub(super) withheld: Option<Box<Withheld>>,
    pub(super) refunded: Fen,
    pub(super) holders: Holders,
    /// What is promised beside, if its shares are prizes.
    pub(super) campaign: Option<Box<Campaign>>,
}

/// Who has a share, as long as anybody else may get one.
#[derive(Debug)]
pub(super) enum Holders {
    Few(Vec<UserId>),
    Many(HashSet<UserId>),
}

impl Holders {
    /// Nobody yet.
    pub(super) fn nobody() -> Self {
        Self::Few(Vec::new())
    }

    /// Loads what `add` will read of a short list.
    pub(super) fn touch(&self) -> u64 {
        match self {
            Self::Few(few) => few.iter().step_by(8).fold(0, |all, user| all ^ user.0),
            Self::Many(_) => 0,
        }
    }

    /// False if this user was among them.
    pub(super) fn add(&mut self, user: UserId) -> bool {
        match self {
            Self::Few(few) if few.contains(&user) => false,
            Self::Few(few) if few.len() < FEW => {
                few.push(user);
                true
            }
            Self::Few(few) => {
                *self = Self::Many(few.drain(..).chain([user]).collect());
                true
            }
            Self::Many(many) => many.insert(user),
        }
    }
}

pub(super) fn keep(rule: bool, broken: Broken) -> Result<(), Broken> {
    if rule { Ok(()) } else { Err(broken) }
}

impl Account {
    /// The account of an envelope that was just ordered under such rules.
    pub(super) fn ordered(record: &Issued, rules: Option<Box<Rules>>) -> Result<Self, Broken> {
        let terms = Terms {
            sender: record.sender,
            order: record.order,
            payment: record.payment,
            source: record.source,
            total: record.total,
            shares: record.shares,
            share_max: record.share_max,
            lifetime_s: record.lifetime_s,
            split: record.split,
            seed: record.seed,
        };
        let (total, shares) = (terms.total, terms.shares);
        keep(shares > 0 && terms.can_hold(total, shares), Broken::Uncuttable { total, shares })?;
        let open = record.source == MoneySource::Vouched;
        let wait_s = if open { record.lifetime_s } else { record.pay_within_s };
        Ok(Self {
            terms,
            rules,
            life: if open { Life::Open } else { Life::Reserved },
            until: record.at.saturating_add(wait_s),
            claims: 0,
            claimed: 0,
            withheld: None,
            refunded: 0,
            holders: Holders::nobody(),
            campaign: (terms.split == Split::Prizes).then(Box::default),
        })
    }

    /// Loads what a claim will read of it.
    pub(super) fn touch(&self) -> u64 {
        self.terms.total ^ self.claimed ^ u64::from(self.until)
    }

    /// What was put in, in fen.
    pub(super) fn funded(&self) -> Fen {
        let is_paid = matches!(self.life, Life::Open | Life::Exhausted | Life::Closed);
        if is_paid { self.terms.total } else { 0 }
    }

    /// What may still be claimed, in fen.
    pub(super) fn left(&self) -> Fen {
        let gone = self.claimed.saturating_add(self.refunded).saturating_add(self.held());
        self.funded().saturating_sub(gone)
    }

    fn shares_left(&self) -> u32 {
        self.terms.shares.saturating_sub(self.claims)
    }

    /// A share was claimed. With `again` its amount is drawn again.
    pub(super) fn claim(&mut self, record: &Claimed, again: bool) -> Result<(), Broken> {
        keep(self.life == Life::Open, Broken::NotOpen(self.when()))?;
        keep(record.at < self.until, Broken::AfterItsTime { at: record.at, until: self.until })?;
        self.rules.as_ref().map_or(Ok(()), |rules| rules.admit(record, self.claims))?;
        let (amount, left) = (Fen::from(record.amount), self.left());
        keep(u32::from(record.rank) == self.claims & 0xffff, Broken::OutOfTurn)?;
        keep(amount >= 1, Broken::EmptyShare)?;
        keep(amount <= left, Broken::TooMuch { amount, left })?;
        let (rest, others) = (left - amount, self.shares_left().saturating_sub(1));
        let fits = amount <= self.terms.cap() && self.terms.can_hold(rest, others);
        keep(fits, Broken::WrongShare { amount, rest, others })?;
        if again {
            let drawn = self.draw();
            keep(drawn == amount, Broken::OtherDraw { amount, drawn })?;
        }
        match &mut self.campaign {
            Some(campaign) => campaign.win(record, self.claims)?,
            None => keep(self.holders.add(record.user), Broken::SecondShare(record.user))?,
        }
        self.claims += 1;
        self.claimed += amount;
        if others == 0 {
            self.end(Life::Exhausted);
        }
        Ok(())
    }

    /// A password was guessed wrong.
    pub(super) fn guess(&self, record: &Guessed) -> Result<(), Broken> {
        keep(self.life == Life::Open, Broken::NotOpen(self.when()))?;
        keep(record.at < self.until, Broken::AfterItsTime { at: record.at, until: self.until })?;
        keep(self.rules.as_ref().is_some_and(|rules| rules.has_password), Broken::NoPassword)
    }

    fn draw(&self) -> Fen {
        let Terms { split, seed, share_max, shares, .. } = self.terms;
        if let Some(campaign) = &self.campaign {
            return campaign.prize_at(seed, shares, self.claims);
        }
        split::draw(split, seed, self.claims, self.left(), self.shares_left(), share_max)
    }

    /// What was left went back.
    pub(super) fn close(&mut self, record: &Closed) -> Result<(), Broken> {
        keep(self.life != Life::Closed, Broken::RefundedTwice)?;
        keep(self.life == Life::Open, Broken::NotOpen(self.when()))?;
        let (refunded, left) = (record.refunded, self.left());
        keep(refunded == left, Broken::WrongRefund { refunded, left })?;
        let (told, held) = (record.held, self.held());
        keep(told == held || self.is_vague(), Broken::WrongHeld { told, held })?;
        keep(record.sender == self.terms.sender, Broken::OtherSender(record.sender))?;
        let in_time = match record.cause {
            Cause::Expired => record.at >= self.until,
            Cause::Cancelled => record.at < self.until,
        };
        keep(in_time, Broken::WrongTime { at: record.at, until: self.until })?;
        self.refunded += refunded;
        self.end(Life::Closed);
        Ok(())
    }

    /// Its money came.
    pub(super) fn pay(&mut self, record: &Paid) -> Result<(), Broken> {
        keep(self.life == Life::Reserved, Broken::NotReserved(self.when()))?;
        keep(record.total == self.terms.total, Broken::OtherAmount(record.total))?;
        self.as_ordered(record.sender, record.source)?;
        keep(self.is_payment(record.payment), Broken::OtherPayment(record.payment))?;
        keep(record.at < self.until, Broken::AfterItsTime { at: record.at, until: self.until })?;
        self.life = Life::Open;
        self.until = record.at.saturating_add(self.terms.lifetime_s);
        Ok(())
    }

    /// It will never be paid.
    pub(super) fn void(&mut self, record: &Voided) -> Result<(), Broken> {
        keep(self.life == Life::Reserved, Broken::NotReserved(self.when()))?;
        keep(record.total == self.terms.total, Broken::OtherAmount(record.total))?;
        self.as_ordered(record.sender, record.source)?;
        let lapsed = record.cause == VoidCause::Lapsed;
        let in_time = lapsed == (record.at >= self.until);
        keep(in_time, Broken::WrongTime { at: record.at, until: self.until })?;
        self.life = Life::Voided;
        Ok(())
    }

    /// A payment came too late, and went back.
    pub(super) fn give_back(&mut self, record: &Returned) -> Result<(), Broken> {
        keep(self.life != Life::Returned, Broken::ReturnedTwice)?;
        keep(self.life == Life::Voided, Broken::NotVoided)?;
        keep(record.amount == self.terms.total, Broken::OtherAmount(record.amount))?;
        self.as_ordered(record.sender, MoneySource::Payment)?;
        keep(self.is_payment(record.payment), Broken::OtherPayment(record.payment))?;
        self.life = Life::Returned;
        Ok(())
    }

    /// A part of a campaign's plan was written.
    pub(super) fn plan(&mut self, record: &Planned) -> Result<(), Broken> {
        self.campaign.as_mut().ok_or(Broken::NoCampaign)?.plan(record)
    }

    /// A campaign was started or paused.
    pub(super) fn command(&mut self, record: &Commanded) -> Result<(), Broken> {
        keep(self.life == Life::Open, Broken::NotOpen(self.when()))?;
        let (shares, total) = (self.terms.shares, self.terms.total);
        self.campaign.as_mut().ok_or(Broken::NoCampaign)?.command(record, shares, total)
    }

    /// It is forgotten; the record says what it came to.
    pub(super) fn recycle(&self, record: &Recycled) -> Result<(), Broken> {
        keep(!matches!(self.life, Life::Open | Life::Reserved), Broken::ForgottenAlive)?;
        keep(self.held() == 0, Broken::ForgottenHeld(self.held()))?;
        let rejected = self.withheld.as_ref().map_or(0, |withheld| withheld.rejected.len());
        let given = self.claims - u32::try_from(rejected).unwrap_or(self.claims);
        let told = (record.shares_claimed, record.claimed, record.total);
        let ours = (given, self.claimed, self.funded());
        keep(told == ours || self.is_vague(), Broken::WrongSums { told, ours })
    }

    fn as_ordered(&self, sender: UserId, source: MoneySource) -> Result<(), Broken> {
        keep(sender == self.terms.sender, Broken::OtherSender(sender))?;
        keep(source == self.terms.source, Broken::OtherSource)
    }

    fn is_payment(&self, payment: u64) -> bool {
        let ordered = self.terms.payment;
        match self.terms.source {
            MoneySource::Payment => payment != 0 && (ordered == 0 || ordered == payment),
            MoneySource::Balance | MoneySource::Vouched => payment == 0,
        }
    }

    /// Nobody can get a share any more, so who has one need not be known.
    fn end(&mut self, life: Life) {
        self.life = life;
        self.holders = Holders::nobody();
    }

    fn when(&self) -> When {
        match self.life {
            Life::Reserved => When::Unpaid,
            Life::Open => When::Open,
            Life::Exhausted => When::Exhausted,
            Life::Closed => When::Closed,
            Life::Voided | Life::Returned => When::Voided,
        }
    }
}

impl Terms {
    fn cap(&self) -> Fen {
        if self.share_max == 0 { SHARE_FEN_MAX } else { Fen::from(self.share_max) }
    }

    /// Whether so many shares of at least 1 fen and at most the cap can make
    /// this sum.
    fn can_hold(&self, sum: Fen, shares: u32) -> bool {
        let shares = Fen::from(shares);
        (shares..=shares.saturating_mul(self.cap())).contains(&sum)
    }
}
