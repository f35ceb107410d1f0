//! What a campaign promised, and whether its wins keep to it.
//!
//! Like the accounts, written from the rules and not from the engine: by slots
//! and sums, where the engine compares two numbers. Only the order of the
//! prizes is the engine's function, for it is part of the format.

use std::collections::{BTreeMap, HashMap};

use super::broken::Broken;
use crate::engine::campaign::prizes;
use crate::engine::{Claimed, Commanded, Planned};
use crate::units::{Fen, Seed, UnixSeconds, UserId};
use crate::wire::{CampaignPhase, Command, PlanPart, PlanTerms, Prize, Row, Slot};

/// The plan of a campaign, and what was won of it.
#[derive(Debug, Default)]
pub(super) struct Campaign {
    phase: CampaignPhase,
    terms: Option<PlanTerms>,
    prizes: BTreeMap<u8, Prize>,
    slots: BTreeMap<u8, Slot>,
    /// Wins by amount.
    won: HashMap<u32, u32>,
    /// Wins of each user, and when the last was.
    winners: HashMap<UserId, (u32, UnixSeconds)>,
}

impl Campaign {
    /// Takes over what a checkpoint says.
    pub(super) fn kept(
        parts: impl Iterator<Item = PlanPart>,
        phase: CampaignPhase,
        wins: impl Iterator<Item = Row>,
    ) -> Self {
        let mut campaign = Self { phase, ..Self::default() };
        parts.for_each(|part| campaign.put(part));
        wins.for_each(|win| campaign.count(&win));
        campaign
    }

    fn put(&mut self, part: PlanPart) {
        match part {
            PlanPart::Terms(terms) => self.terms = Some(terms),
            PlanPart::Prize(kind, prize) => {
                self.prizes.insert(kind, prize);
            }
            PlanPart::Slot(number, slot) => {
                self.slots.insert(number, slot);
            }
        }
    }

    fn count(&mut self, win: &Row) {
        *self.won.entry(win.amount).or_default() += 1;
        let (wins, last) = self.winners.entry(win.user).or_default();
        (*wins, *last) = (*wins + 1, win.at);
    }

    /// A part was written.
    pub(super) fn plan(&mut self, record: &Planned) -> Result<(), Broken> {
        if self.phase != CampaignPhase::Draft {
            return Err(Broken::PlanChanged);
        }
        self.put(record.part);
        Ok(())
    }

    /// It was started or paused. At its first start the plan must come to what
    /// was funded.
    pub(super) fn command(
        &mut self,
        record: &Commanded,
        shares: u32,
        total: Fen,
    ) -> Result<(), Broken> {
        let counts: u64 = self.prizes.values().map(|prize| u64::from(prize.count)).sum();
        let money = self.prizes.values().map(|p| u128::from(p.amount) * u128::from(p.count));
        let whole = counts == u64::from(shares) && money.sum::<u128>() == u128::from(total);
        self.phase = match (record.command, self.phase) {
            (Command::Start, CampaignPhase::Running)
            | (Command::Pause, CampaignPhase::Paused | CampaignPhase::Draft) => {
                return Err(Broken::CommandedTwice);
            }
            (Command::Start, _) if !whole => return Err(Broken::PlanUnfunded { shares, total }),
            (Command::Start, _) => CampaignPhase::Running,
            (Command::Pause, CampaignPhase::Running) => CampaignPhase::Paused,
        };
        Ok(())
    }

    /// A prize was won, after so many others.
    pub(super) fn win(&mut self, record: &Claimed, before: u32) -> Result<(), Broken> {
        if self.phase != CampaignPhase::Running {
            return Err(Broken::NotRunning);
        }
        let is_under_way = |slot: &&Slot| (slot.start..slot.end()).contains(&record.at);
        let slot =
            *self.slots.values().find(is_under_way).ok_or(Broken::OutsideSlots(record.at))?;
        let begun = self.slots.values().filter(|other| other.start <= slot.start);
        let planned: u64 = begun.map(|slot| u64::from(slot.quota)).sum();
        if u64::from(before) >= planned {
            return Err(Broken::OverPlan { planned });
        }
        let wins_max = self.terms.map_or(0, |terms| terms.wins_max);
        if let Some(&(wins, last)) = self.winners.get(&record.user)
            && (wins >= wins_max || last >= slot.start)
        {
            return Err(Broken::OverCap(record.user));
        }
        let there = self.prizes.values().filter(|prize| prize.amount == record.amount);
        let given = self.won.get(&record.amount).copied().unwrap_or(0);
        if given >= there.map(|prize| prize.count).sum() {
            return Err(Broken::NoSuchPrize { amount: record.amount.into() });
        }
        self.count(&Row { user: record.user, amount: record.amount, at: record.at });
        Ok(())
    }

    /// The amount of the next prize, in fen; 0 if there is none.
    pub(super) fn prize_at(&self, seed: Seed, shares: u32, rank: u32) -> Fen {
        let mut place = prizes::place(seed, shares, rank);
        for prize in self.prizes.values() {
            match place.checked_sub(prize.count) {
                Some(rest) => place = rest,
                None => return prize.amount.into(),
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::EnvelopeId;

    const CAMPAIGN: EnvelopeId = EnvelopeId(1);

    fn planned(part: PlanPart) -> Planned {
        Planned { envelope: CAMPAIGN, part, at: 1 }
    }

    fn told(command: Command) -> Commanded {
        Commanded { envelope: CAMPAIGN, command, at: 2 }
    }

    fn win(user: u64, amount: u32, at: u32) -> Claimed {
        Claimed { envelope: CAMPAIGN, user: UserId(user), amount, rank: 0, at }
    }

    /// Two slots of two prizes; two prizes of 5 fen, three of 7.
    fn campaign() -> Campaign {
        let mut campaign = Campaign::default();
        for part in [
            PlanPart::Terms(PlanTerms { wins_max: 2, opens_at: 10, fallback: 0 }),
            PlanPart::Prize(0, Prize { amount: 5, count: 2 }),
            PlanPart::Prize(1, Prize { amount: 7, count: 3 }),
            PlanPart::Slot(0, Slot { start: 10, length_s: 10, quota: 2 }),
            PlanPart::Slot(1, Slot { start: 30, length_s: 10, quota: 2 }),
        ] {
            campaign.plan(&planned(part)).unwrap();
        }
        campaign
    }

    fn running() -> Campaign {
        let mut campaign = campaign();
        campaign.command(&told(Command::Start), 5, 31).unwrap();
        campaign
    }

    #[test]
    fn wins_that_keep_to_the_plan_are_right() {
        let mut campaign = running();
        for (before, record) in
            (0..).zip([win(1, 5, 10), win(2, 7, 19), win(1, 7, 30), win(3, 5, 39)])
        {
            campaign.win(&record, before).unwrap();
        }
    }

    #[test]
    fn every_win_against_the_plan_is_found() {
        let after = |wins: &[Claimed], last: Claimed| {
            let mut campaign = running();
            let before = (0..).zip(wins).map(|(n, win)| campaign.win(win, n)).count();
            campaign.win(&last, u32::try_from(before).unwrap()).unwrap_err()
        };
        assert_eq!(after(&[], win(1, 5, 9)), Broken::OutsideSlots(9));
        assert_eq!(after(&[], win(1, 5, 20)), Broken::OutsideSlots(20));
        let two = [win(1, 5, 10), win(2, 5, 10)];
        assert_eq!(after(&two, win(3, 7, 11)), Broken::OverPlan { planned: 2 });
        assert_eq!(after(&two[..1], win(1, 7, 19)), Broken::OverCap(UserId(1)));
        assert_eq!(after(&two, win(3, 5, 30)), Broken::NoSuchPrize { amount: 5 });
        assert_eq!(after(&[], win(3, 6, 30)), Broken::NoSuchPrize { amount: 6 });
        let mut capped = running();
        capped.terms = Some(PlanTerms { wins_max: 1, ..capped.terms.unwrap() });
        capped.win(&win(1, 5, 10), 0).unwrap();
        assert_eq!(capped.win(&win(1, 7, 30), 1), Err(Broken::OverCap(UserId(1))));
    }

    #[test]
    fn commands_and_plans_out_of_turn_are_found() {
        let mut draft = campaign();
        assert_eq!(draft.win(&win(1, 5, 10), 0), Err(Broken::NotRunning));
        assert_eq!(draft.command(&told(Command::Pause), 5, 31), Err(Broken::CommandedTwice));
        for (shares, total) in [(4, 31), (5, 30)] {
            let unfunded = Broken::PlanUnfunded { shares, total };
            assert_eq!(draft.command(&told(Command::Start), shares, total), Err(unfunded));
        }
        let mut running = running();
        assert_eq!(running.command(&told(Command::Start), 5, 31), Err(Broken::CommandedTwice));
        let late = planned(PlanPart::Prize(0, Prize { amount: 5, count: 9 }));
        assert_eq!(running.plan(&late), Err(Broken::PlanChanged));
        running.command(&told(Command::Pause), 5, 31).unwrap();
        assert_eq!(running.win(&win(1, 5, 10), 0), Err(Broken::NotRunning));
    }

    #[test]
    fn the_order_of_the_prizes_gives_each_as_often_as_it_is_there() {
        let (campaign, seed) = (campaign(), Seed([3, 4]));
        let mut amounts: Vec<Fen> = (0..5).map(|rank| campaign.prize_at(seed, 5, rank)).collect();
        amounts.sort_unstable();
        assert_eq!(amounts, [5, 5, 7, 7, 7]);
    }
}
