//! An engine with one campaign beside its naive twin.

use hongbao::engine::{
    CampaignView, Capacity, Engine, EnvelopeLimits, Outcome, Record, Restoring, SenderLimits,
};
use hongbao::units::{EnvelopeId, MoneySource, Seed, Split, Time, UserId};
use hongbao::wire::{CampaignPhase, Command, PlanPart, PlanTerms, Prize, SendOrder, Slot};

use crate::naive::{Expected, Naive, Win};

pub(crate) const CELL: u8 = 7;
pub(crate) const START_S: u32 = 1_700_000_000;
pub(crate) const SPONSOR: UserId = UserId(42);

/// Amounts and counts: a small campaign, whose claims lie in its block, one at
/// the border, and one that is large.
pub(crate) const PRIZES: [&[(u32, u32)]; 3] =
    [&[(8800, 1), (50, 20), (1, 70)], &[(100, 9), (7, 500)], &[(500, 30), (20, 400), (3, 1500)]];

const LIMITS: EnvelopeLimits = EnvelopeLimits {
    shares_max: 100,
    total_fen_max: 1_000_000,
    share_mean_fen_max: 20_000,
    lifetime_s_max: 86_400,
    pay_within_s: 900,
    senders: SenderLimits::NONE,
};
const CAPACITY: Capacity = Capacity { envelopes: 1000, table_bytes: 32 << 20, retention_s: 3600 };

/// splitmix64.
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n1 = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n2 = (n1 ^ (n1 >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (n2 ^ (n2 >> 31)) % n
    }
}

/// So many seconds after the start.
pub(crate) fn at(second: u32) -> Time {
    Time(1000 * u64::from(START_S + second))
}

pub(crate) fn slot(second: u32, length_s: u32, quota: u32) -> Slot {
    Slot { start: START_S + second, length_s, quota }
}

pub(crate) fn restoring() -> Restoring {
    Restoring::new(CELL, CAPACITY, LIMITS, 0, 1)
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) naive: Naive,
    pub(crate) campaign: EnvelopeId,
    pub(crate) now: Time,
    records: Vec<Record>,
    dice: Dice,
}

impl World {
    /// A campaign without a plan, of a lifetime of so many seconds.
    pub(crate) fn draft(seed: u64, prizes: &[(u32, u32)], lifetime_s: u32) -> Self {
        let prizes: Vec<_> =
            prizes.iter().map(|&(amount, count)| Prize { amount, count }).collect();
        let naive = Naive {
            terms: PlanTerms::default(),
            prizes,
            slots: Vec::new(),
            phase: CampaignPhase::Draft,
            ends_at: START_S + lifetime_s,
            closed: None,
            wins: Vec::new(),
        };
        let mut world = Self {
            engine: Engine::new(CELL, CAPACITY, LIMITS),
            naive,
            campaign: EnvelopeId(0),
            now: at(0),
            records: Vec::new(),
            dice: Dice(seed),
        };
        world.campaign = world.another(1).unwrap();
        world
    }

    /// One more campaign of the same prizes.
    pub(crate) fn another(&mut self, order: u64) -> Option<EnvelopeId> {
        self.order(&self.order_of_another(order))
    }

    pub(crate) fn order_of_another(&self, order: u64) -> SendOrder {
        let prizes = self.naive.prizes.iter();
        let money = prizes.clone().map(|prize| u64::from(prize.amount) * u64::from(prize.count));
        SendOrder {
            sender: SPONSOR,
            order,
            payment: 5,
            total: money.sum(),
            shares: prizes.map(|prize| prize.count).sum(),
            lifetime_s: self.naive.ends_at - START_S,
            share_max: 0,
            split: Split::Prizes,
            source: MoneySource::Vouched,
            nonce: 0,
        }
    }

    fn order(&mut self, order: &SendOrder) -> Option<EnvelopeId> {
        let seed = Seed([self.dice.below(u64::MAX), self.dice.below(u64::MAX)]);
        let decision = self.engine.issue(order, seed, self.now);
        self.apply(&decision.record?);
        let Outcome::Issued { envelope, .. } = decision.outcome else { return None };
        Some(envelope)
    }

    pub(crate) fn plain_envelope(&mut self) -> EnvelopeId {
        let order = SendOrder {
            sender: SPONSOR,
            order: 77,
            payment: 5,
            total: 100,
            shares: 10,
            lifetime_s: 60,
            share_max: 0,
            split: Split::Equal,
            source: MoneySource::Vouched,
            nonce: 0,
        };
        self.order(&order).unwrap()
    }

    /// A campaign with its plan, not started.
    pub(crate) fn of(seed: u64, prizes: &[(u32, u32)], slots: &[Slot], wins_max: u32) -> Self {
        let end = slots.iter().map(Slot::end).max().unwrap();
        let mut world = Self::draft(seed, prizes, end - START_S + 10);
        world.write_plan(slots, PlanTerms { wins_max, opens_at: START_S, fallback: 9 });
        world
    }

    /// One with some slots, drawn.
    pub(crate) fn new(seed: u64, prizes: &[(u32, u32)]) -> Self {
        let mut dice = Dice(seed);
        let count: u32 = prizes.iter().map(|(_, count)| count).sum();
        let rounds = 1 + u32::try_from(dice.below(6)).unwrap();
        let (mut slots, mut from) = (Vec::new(), 5);
        for _ in 0..rounds {
            let length = 5 + u32::try_from(dice.below(40)).unwrap();
            slots.push(slot(from, length, (count / rounds).max(1)));
            from += length + u32::try_from(dice.below(10)).unwrap();
        }
        let wins_max = 1 + u32::try_from(dice.below(4)).unwrap();
        Self::of(seed, prizes, &slots, wins_max)
    }

    fn write_plan(&mut self, slots: &[Slot], terms: PlanTerms) {
        let prizes = (0..).zip(self.naive.prizes.clone());
        let prizes = prizes.map(|(kind, prize)| PlanPart::Prize(kind, prize));
        let rounds = (0..).zip(slots).map(|(number, slot)| PlanPart::Slot(number, *slot));
        let parts: Vec<_> =
            [PlanPart::Terms(terms)].into_iter().chain(prizes).chain(rounds).collect();
        for part in parts {
            assert_eq!(self.plan(part), Outcome::Arranged { repeated: false });
            assert_eq!(self.plan(part), Outcome::Arranged { repeated: true });
        }
        (self.naive.terms, self.naive.slots) = (terms, slots.to_vec());
    }

    pub(crate) fn plan(&mut self, part: PlanPart) -> Outcome {
        let decision = self.engine.plan(self.campaign, SPONSOR, &part, self.now);
        if let Some(record) = decision.record {
            self.apply(&record);
        }
        decision.outcome
    }

    pub(crate) fn command(&mut self, command: Command) -> Outcome {
        let decision = self.engine.command(self.campaign, SPONSOR, command, self.now);
        if let Some(record) = decision.record {
            self.apply(&record);
            self.naive.phase = match command {
                Command::Start => CampaignPhase::Running,
                Command::Pause => CampaignPhase::Paused,
            };
        }
        decision.outcome
    }

    pub(crate) fn start(&mut self) {
        assert_eq!(self.command(Command::Start), Outcome::Arranged { repeated: false });
    }

    pub(crate) fn apply(&mut self, record: &Record) {
        self.engine.apply(record).expect("what was decided fits");
        self.records.push(*record);
    }

    pub(crate) fn view(&self) -> CampaignView<'_> {
        self.engine.campaign(self.campaign, self.now).expect("it is there")
    }

    /// A shake, compared with what the naive model says of it.
    pub(crate) fn shake(&mut self, user: UserId) {
        let at = self.now.seconds();
        let expected = self.naive.shake(user, at);
        let decision = self.engine.shake(self.campaign, user, self.now);
        assert_eq!(decision, self.engine.shake(self.campaign, user, self.now));
        match (decision.outcome, &expected) {
            (Outcome::Won { amount, kind }, Expected::Won | Expected::WonOrNothing) => {
                let planned = self.naive.prizes[usize::try_from(kind).unwrap()];
                assert_eq!(u64::from(planned.amount), amount);
                assert!(self.naive.left_of(amount) > 0, "no prize of {amount} is left");
                self.naive.wins.push(Win { user, at, amount });
                if self.naive.wins.len() == usize::try_from(self.view().prizes).unwrap() {
                    self.naive.closed = Some(Outcome::SoldOut);
                }
                self.apply(&decision.record.expect("a win is a record"));
            }
            (Outcome::NothingWon { .. }, Expected::WonOrNothing) => {
                assert_eq!(decision.record, None);
            }
            (outcome, Expected::Exactly(exactly)) => {
                assert_eq!((outcome, decision.record), (*exactly, None));
            }
            (outcome, expected) => panic!("{outcome:?}, and the model says {expected:?}"),
        }
    }

    /// One step of random traffic: mostly shakes, sometimes time and commands.
    pub(crate) fn step(&mut self) {
        match self.dice.below(100) {
            0..2 => {
                self.command(Command::Pause);
            }
            2..8 => {
                self.command(Command::Start);
            }
            8..20 => self.now.0 += self.dice.below(300),
            20..21 => self.now.0 += self.dice.below(3000),
            _ => {
                let user = UserId(self.dice.below(400));
                self.shake(user);
            }
        }
        if let Some(record) = self.engine.due(self.now) {
            self.apply(&record);
            self.naive.closed = Some(Outcome::Expired);
        }
    }

    /// Money and prizes, by other ways.
    pub(crate) fn check_sums(&self) {
        let totals = self.engine.totals();
        assert_eq!(totals.funded, totals.claimed + totals.refunded + totals.left);
        let won: u64 = self.naive.wins.iter().map(|win| win.amount).sum();
        assert_eq!(totals.claimed, u128::from(won));
        let Some(view) = self.engine.campaign(self.campaign, self.now) else { return };
        assert_eq!((view.won, view.won_fen), (u32::try_from(self.naive.wins.len()).unwrap(), won));
        for (prize, &count) in self.naive.prizes.iter().zip(view.won_by_kind) {
            let wins = self.naive.wins.iter().filter(|win| win.amount == u64::from(prize.amount));
            assert_eq!(usize::try_from(count).unwrap(), wins.count());
            assert!(count <= prize.count);
        }
        for (slot, &count) in self.naive.slots.iter().zip(view.won_by_slot) {
            let wins = self.naive.wins.iter().filter(|w| w.at >= slot.start && w.at < slot.end());
            assert_eq!(usize::try_from(count).unwrap(), wins.count());
        }
    }

    pub(crate) fn position(&self) -> u64 {
        40 * u64::try_from(self.records.len()).unwrap()
    }

    /// Writes the plan, starts and plays, with the slices of an image taken in
    /// between; the slices, and where the image began.
    pub(crate) fn image_in_traffic(&mut self, dice: &mut Dice) -> (Vec<Vec<u8>>, u64) {
        let count: u32 = self.naive.prizes.iter().map(|prize| prize.count).sum();
        let slots = [slot(1, 30, count / 3), slot(40, 60, count / 3)];
        let begin_at = dice.below(3);
        let mut taken = None;
        for stage in 0..3 {
            if stage == begin_at {
                taken = Some(self.image(dice, stage == 2));
            }
            match stage {
                0 => self
                    .write_plan(&slots, PlanTerms { wins_max: 2, opens_at: START_S, fallback: 1 }),
                1 => self.start(),
                _ => (0..2000).for_each(|_| self.step()),
            }
        }
        taken.expect("it was begun at one of the stages")
    }

    pub(crate) fn image(&mut self, dice: &mut Dice, in_traffic: bool) -> (Vec<Vec<u8>>, u64) {
        if in_traffic {
            (0..dice.below(1500)).for_each(|_| self.step());
        }
        let began = self.position();
        let (mut cursor, mut slices) = (self.engine.begin_image(), Vec::new());
        loop {
            let mut slice = Vec::new();
            if !self.engine.next_slice(&mut cursor, self.position(), &mut slice) {
                break;
            }
            slices.push(slice);
            if in_traffic {
                (0..dice.below(60)).for_each(|_| self.step());
            }
        }
        self.engine.end_image(cursor);
        (slices, began)
    }

    /// An engine out of slices and the records after `from`.
    pub(crate) fn restored(&self, slices: &[Vec<u8>], from: u64) -> Engine {
        let mut restoring = restoring();
        for slice in slices {
            restoring.load(slice).expect("what was saved can be loaded");
        }
        restoring.apply(&self.tail(from)).expect("the tail fits");
        restoring.finish().expect("it is whole")
    }

    /// The records after a position, each with its end.
    pub(crate) fn tail(&self, from: u64) -> Vec<(u64, Record)> {
        let ends = (1..).map(|n| 40 * n);
        ends.zip(self.records.iter().copied()).filter(|(end, _)| *end > from).collect()
    }
}
