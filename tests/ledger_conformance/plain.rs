//! Random movements against plain maps: the same balances, holds, lists, day
//! totals and verdicts, and sums that stay zero.

use std::collections::BTreeMap;
use std::path::Path;

use hongbao::engine::Record;
use hongbao::follow::ledger::Balance;
use hongbao::follow::ledger::lists::Page;
use hongbao::units::{EnvelopeId, MoneySource, UserId};
use hongbao::wire::Resolution;

use crate::Kept;
use crate::records::{
    Journal, claimed, closed_holding, held, issued, paid, resolved, returned, voided,
};

const USERS: u64 = 400;
const SEED: u64 = 0x5eed_1ed6;

/// A small, obviously deterministic stream (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Life {
    Reserved,
    Open,
    Voided,
    Over,
}

#[derive(Clone, Copy)]
struct Order {
    id: u64,
    sender: u64,
    total: u64,
    left: u64,
    shares_left: u64,
    source: MoneySource,
    life: Life,
    covered: bool,
}

#[derive(Default)]
struct Plain {
    available: BTreeMap<u64, u64>,
    held: BTreeMap<u64, u64>,
    orders: Vec<Order>,
    received: BTreeMap<u64, Vec<(u64, u64, u32)>>,
    shares: BTreeMap<u64, Vec<(u64, u64)>>,
    said: Vec<(u64, bool)>,
    /// Shares that are held: place of the order, user, amount.
    withheld: Vec<(usize, u64, u64)>,
}

impl Plain {
    fn order(&mut self, random: &mut Random) -> Record {
        let id = 1000 + u64::try_from(self.orders.len()).unwrap();
        let (sender, shares) = (random.below(USERS), 1 + random.below(8));
        let total = shares * (1 + random.below(500));
        let source = MoneySource::from_code(u8::try_from(random.below(3)).unwrap()).unwrap();
        let mut order = Order {
            id,
            sender,
            total,
            left: total,
            shares_left: shares,
            source,
            life: if source == MoneySource::Vouched { Life::Open } else { Life::Reserved },
            covered: false,
        };
        if source == MoneySource::Balance {
            let available = self.available.entry(sender).or_default();
            order.covered = *available >= total;
            self.said.push((id, order.covered));
            if order.covered {
                *available -= total;
                *self.held.entry(sender).or_default() += total;
            }
        }
        self.orders.push(order);
        issued(id, sender, total, u32::try_from(shares).unwrap(), source)
    }

    fn happen(&mut self, random: &mut Random, at: u32) -> Record {
        let live: Vec<usize> = (self.orders.len().saturating_sub(40)..self.orders.len())
            .filter(|&i| self.orders[i].life != Life::Over)
            .collect();
        if live.is_empty() || random.below(6) == 0 {
            return self.order(random);
        }
        if !self.withheld.is_empty() && random.below(8) == 0 {
            return self.decide(random, at);
        }
        let chosen = live[usize::try_from(random.below(live.len().try_into().unwrap())).unwrap()];
        let mut order = self.orders[chosen];
        let record = match order.life {
            Life::Reserved => self.settle(&mut order, random),
            Life::Open => self.spend(chosen, &mut order, random, at),
            Life::Voided | Life::Over => {
                order.life = Life::Over;
                *self.available.entry(order.sender).or_default() += order.total;
                returned(order.id, order.sender, order.total)
            }
        };
        self.orders[chosen] = order;
        record
    }

    fn settle(&mut self, order: &mut Order, random: &mut Random) -> Record {
        let &mut Order { id, sender, total, source, .. } = order;
        let from_balance = source == MoneySource::Balance;
        if order.covered {
            *self.held.get_mut(&sender).unwrap() -= total;
        }
        if random.below(3) == 0 || (from_balance && !order.covered) {
            order.life = if from_balance { Life::Over } else { Life::Voided };
            if order.covered {
                *self.available.entry(sender).or_default() += total;
            }
            return voided(id, sender, total, source);
        }
        order.life = Life::Open;
        paid(id, sender, total, source)
    }

    /// Somebody decides about a held share, whatever became of its envelope.
    fn decide(&mut self, random: &mut Random, at: u32) -> Record {
        let count = u64::try_from(self.withheld.len()).unwrap();
        let one = usize::try_from(random.below(count)).unwrap();
        let (place, user, amount) = self.withheld.swap_remove(one);
        let Order { id, sender, .. } = self.orders[place];
        let release = random.below(2) == 0;
        if release {
            self.received.entry(user).or_default().push((id, amount, at));
            self.shares.entry(id).or_default().push((user, amount));
        }
        *self.available.entry(if release { user } else { sender }).or_default() += amount;
        let resolution = if release { Resolution::Release } else { Resolution::Reject };
        resolved((id, sender), (user, u32::try_from(amount).unwrap()), resolution, at)
    }

    fn spend(&mut self, place: usize, order: &mut Order, random: &mut Random, at: u32) -> Record {
        if random.below(20) == 0 {
            order.life = Life::Over;
            *self.available.entry(order.sender).or_default() += order.left;
            let held = self.withheld.iter().filter(|held| held.0 == place);
            let held = held.map(|held| held.2).sum();
            return closed_holding(order.id, order.sender, order.left, held);
        }
        let last = order.shares_left == 1;
        let most = order.left - (order.shares_left - 1);
        let amount = if last { order.left } else { 1 + random.below(most) };
        order.left -= amount;
        order.shares_left -= 1;
        order.life = if last { Life::Over } else { Life::Open };
        let user = random.below(USERS);
        if random.below(5) == 0 {
            self.withheld.push((place, user, amount));
            return held(order.id, user, u32::try_from(amount).unwrap(), at);
        }
        *self.available.entry(user).or_default() += amount;
        self.received.entry(user).or_default().push((order.id, amount, at));
        self.shares.entry(order.id).or_default().push((user, amount));
        claimed(order.id, user, u32::try_from(amount).unwrap(), at)
    }

    fn same_balances(&self, ledger: &mut impl Kept) {
        for user in 0..USERS {
            let of = |map: &BTreeMap<u64, u64>| map.get(&user).copied().unwrap_or(0);
            let expected = Balance { available: of(&self.available), held: of(&self.held) };
            assert_eq!(ledger.balance(UserId(user)).unwrap(), expected, "user {user}");
        }
    }

    fn same_lists(&self, ledger: &mut impl Kept) {
        let all = Page::first(u32::MAX);
        for user in 0..USERS {
            let rows = ledger.received(UserId(user), all).unwrap().rows;
            let rows: Vec<_> = rows.iter().map(|r| (r.envelope.0, r.amount, r.at)).collect();
            let mut plain = self.received.get(&user).cloned().unwrap_or_default();
            let mut days = BTreeMap::<i64, (u64, u64)>::new();
            for &(_, amount, at) in &plain {
                let day = days.entry((i64::from(at) + 28_800) / 86_400).or_default();
                *day = (day.0 + 1, day.1 + amount);
            }
            plain.reverse();
            assert_eq!(rows, plain, "received by {user}");
            let totals = ledger.received_by_day(UserId(user), 28_800).unwrap();
            let totals: Vec<_> = totals.iter().rev().map(|t| (t.day, (t.count, t.sum))).collect();
            assert_eq!(totals, days.into_iter().collect::<Vec<_>>(), "days of {user}");
            let sent = ledger.sent(UserId(user), all).unwrap().rows;
            let sent: Vec<_> = sent.iter().rev().map(|s| (s.envelope.0, s.summary.total)).collect();
            let orders = self.orders.iter().filter(|order| order.sender == user);
            assert_eq!(sent, orders.map(|o| (o.id, o.total)).collect::<Vec<_>>());
        }
        for (&id, shares) in &self.shares {
            let rows = ledger.envelope_claims(EnvelopeId(id), all).unwrap().rows;
            let rows: Vec<_> = rows.iter().rev().map(|s| (s.user.0, s.amount)).collect();
            assert_eq!(&rows, shares, "envelope {id}");
        }
    }
}

pub(crate) fn random_movements_equal_plain_maps<L: Kept>(open: fn(&Path) -> L, records: usize) {
    println!("seed {SEED:#x}");
    let (mut random, mut plain) = (Random(SEED), Plain::default());
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = open(directory.path());
    let mut journals = [Journal::new(0), Journal::new(1)];
    let (mut done, mut step) = (0, 0_u64);
    while done < records {
        let size = usize::try_from(1 + random.below(2000)).unwrap();
        let at = 1_000_000 + u32::try_from(step).unwrap() * 1_800;
        let batch: Vec<_> = (0..size).map(|_| plain.happen(&mut random, at)).collect();
        let shard = usize::try_from(random.below(2)).unwrap();
        let said = journals[shard].apply(&mut ledger, &batch).unwrap();
        let said: Vec<_> = said.iter().map(|v| (v.envelope.0, v.covered)).collect();
        assert_eq!(said, std::mem::take(&mut plain.said), "step {step}");
        move_by_hand(&mut random, &mut plain, &mut ledger, step);
        plain.same_balances(&mut ledger);
        if step % 8 == 0 {
            ledger.check().unwrap();
        }
        done += size;
        step += 1;
    }
    ledger.check().unwrap();
    plain.same_lists(&mut ledger);
}

fn move_by_hand(random: &mut Random, plain: &mut Plain, ledger: &mut impl Kept, step: u64) {
    let (user, amount) = (random.below(USERS), random.below(5000));
    let available = plain.available.entry(user).or_default();
    if random.below(2) == 0 {
        ledger.deposit(UserId(user), amount, step, 1).unwrap();
        *available += amount;
    } else if amount <= *available {
        ledger.withdraw(UserId(user), amount, step, 1).unwrap();
        *available -= amount;
    } else {
        ledger.withdraw(UserId(user), amount, step, 1).unwrap_err();
    }
}
