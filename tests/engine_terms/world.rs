//! The engine and the naive envelopes side by side, step by step.

use std::collections::BTreeMap;

use hongbao::engine::{
    Capacity, Claimed, Decision, Engine, EnvelopeLimits, Gate, GuessLimits, Held, Outcome, Recent,
    RecentStep, Record, Restoring, RiskSettings, SenderLimits, Tagged, TermsPart,
};
use hongbao::units::{
    EnvelopeId, EnvelopeState, MoneySource, Place, Seed, Split, Time, UnixSeconds, UserId,
};
use hongbao::wire::{
    BadRequest, Evidence, HoldsFrom, Ineligible, Keys, Mark, Password, Resolution, RiskRule, Row,
    SendOrder, Standing, Tags, Terms, TicketKeys,
};

use crate::dice::Dice;
use crate::naive::{
    Genuine, Life, Naive, PER_SHARE_MAX, PER_USER_MAX, RADIUS_M, Shown, Wishes, centre, far, near,
};

const CELL: u8 = 7;
const START: u64 = 1_700_000_000_000;
const USERS: u64 = 40;

const LIMITS: EnvelopeLimits = EnvelopeLimits {
    shares_max: 3000,
    total_fen_max: 10_000_000,
    share_mean_fen_max: 20_000,
    lifetime_s_max: 200_000,
    pay_within_s: 400,
    senders: SenderLimits::NONE,
};

const CAPACITY: Capacity = Capacity { envelopes: 4000, table_bytes: 96 << 20, retention_s: 900 };

const GRADE_UNKNOWN: u8 = 100;

const RISK: RiskSettings = RiskSettings {
    users_max: 30,
    holds_max: 600,
    grade_unknown: GRADE_UNKNOWN,
    timed_out: Resolution::Reject,
    recent_max: 5000,
    recent_s: RECENT_S,
};

/// How long wins with tags and wrong guesses are remembered.
const RECENT_S: u32 = 200;

fn engine() -> Engine {
    Engine::new(CELL, CAPACITY, LIMITS).with_risk(RISK)
}

fn keys(ids: &[u8]) -> Keys {
    let mut keys = Keys::default();
    for &id in ids {
        keys.add(id.into(), &[id; 32]).expect("a key");
    }
    keys
}

fn gate() -> Gate {
    Gate {
        tickets: keys(&[1, 2]).into(),
        passwords: keys(&[3]).into(),
        guesses: GuessLimits { per_user_max: PER_USER_MAX, per_share_max: PER_SHARE_MAX },
    }
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) records: Vec<Record>,
    /// How often each outcome was met, by its name.
    pub(crate) met: BTreeMap<String, u32>,
    gate: Gate,
    envelopes: BTreeMap<EnvelopeId, Naive>,
    dice: Dice,
    now: Time,
    orders: u64,
    hot: Option<EnvelopeId>,
    /// What was said of users.
    said: BTreeMap<u64, Standing>,
    /// Wins with tags and wrong guesses, all that there ever were.
    recent: Vec<Recent>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            engine: engine(),
            records: Vec::new(),
            met: BTreeMap::new(),
            gate: gate(),
            envelopes: BTreeMap::new(),
            dice: Dice(seed),
            now: Time(START),
            orders: 0,
            hot: None,
            said: BTreeMap::new(),
            recent: Vec::new(),
        }
    }

    fn apply(&mut self, record: Record) {
        self.engine.apply(&record).expect("what was decided fits");
        self.records.push(record);
    }

    /// The word of a clock, which may jump a day either way: time is the latest
    /// that was ever heard.
    fn hear_clock(&mut self) {
        let heard = match self.dice.below(4000) {
            0 => self.now.0 + 86_400_000,
            1 => self.now.0 - 86_400_000,
            _ => self.now.0 + self.dice.below(1000),
        };
        self.now = self.now.max(Time(heard));
    }

    pub(crate) fn step(&mut self) {
        self.hear_clock();
        self.recycle();
        match self.dice.below(100) {
            0..5 => self.issue(),
            5..7 => self.repeat_order(),
            7..78 => self.claim(),
            78..80 => self.mark(),
            80..85 => self.resolve(),
            85..92 => self.look(),
            92..97 => self.see_terms(),
            _ => self.cancel(),
        }
    }

    fn seconds(&self) -> UnixSeconds {
        self.now.seconds()
    }

    /// Some envelope, half of the time the one that everybody talks about.
    fn any(&mut self) -> Option<EnvelopeId> {
        let is_gone = self.hot.is_none_or(|hot| !self.envelopes.contains_key(&hot));
        if is_gone || self.dice.one_in(300) {
            let some: Vec<_> = (0..6).filter_map(|_| self.whichever()).collect();
            self.hot = some.into_iter().max_by_key(|envelope| {
                let naive = &self.envelopes[envelope];
                naive.life == Life::Open && naive.wishes.password.is_some()
            });
        }
        if self.dice.one_in(2) { self.hot } else { self.whichever() }
    }

    fn whichever(&mut self) -> Option<EnvelopeId> {
        let count = u64::try_from(self.envelopes.len()).expect("few");
        let at = self.dice.below(count.max(1));
        self.envelopes.keys().nth(usize::try_from(at).expect("few")).copied()
    }

    fn wishes(&mut self, sender: u64) -> Wishes {
        let (dice, now) = (&mut self.dice, self.now.seconds());
        let mut wishes = Wishes::default();
        if dice.one_in(4) {
            wishes.not_before = Some(now + dice.below_32(600));
        }
        if dice.one_in(4) {
            wishes.not_after = Some(now + 600 + dice.below_32(2000));
        }
        wishes.not_sender = dice.one_in(4);
        if dice.one_in(4) {
            wishes.named = (0..USERS).filter(|_| dice.one_in(2)).collect();
        }
        if dice.one_in(4) {
            let may = |user: &u64| {
                let named = wishes.named.is_empty() || wishes.named.contains(user);
                named && !(wishes.not_sender && *user == sender)
            };
            wishes.seed_user = Some(dice.below(USERS)).filter(may);
        }
        wishes.hidden = dice.one_in(4);
        wishes.ticket = dice.one_in(4);
        wishes.place = if dice.one_in(4) { Place::new(centre(), RADIUS_M) } else { None };
        wishes.password = dice.one_in(3).then(|| vec![b'p'; 1 + usize::from(dice.byte() % 64)]);
        let long = if dice.one_in(9) { 600 } else { 20 };
        wishes.greeting = vec![b'g'; usize::try_from(dice.below(long)).expect("short")];
        wishes.grade_min = if dice.one_in(4) { 60 + dice.byte() % 80 } else { 0 };
        wishes.photo = if dice.one_in(3) { b"photo".to_vec() } else { Vec::new() };
        wishes
    }

    /// The terms of these wishes, in the form in which they are kept.
    fn kept(&self, order: &SendOrder, wishes: &Wishes) -> Vec<u8> {
        let named: Vec<_> = wishes.named.iter().map(|user| user.to_le_bytes()).collect();
        let salt = (order.sender, order.order);
        let keep = |said: &Vec<u8>| self.gate.passwords.keep(3, CELL, salt, said).expect("a key");
        Terms {
            not_before: wishes.not_before,
            not_after: wishes.not_after,
            not_sender: wishes.not_sender,
            named: &named,
            seed_user: wishes.seed_user.map(UserId),
            is_hidden: wishes.hidden,
            wants_ticket: wishes.ticket,
            place: wishes.place,
            password: wishes
                .password
                .as_ref()
                .map(|said| Password::Kept { key_id: 3, mac: keep(said) }),
            greeting: &wishes.greeting,
            photo: &wishes.photo,
            grade_min: wishes.grade_min,
            ..Terms::default()
        }
        .to_bytes()
    }

    fn issue(&mut self) {
        let sender = self.dice.below(USERS);
        self.orders += 1;
        let shares = match self.dice.below(30) {
            0 => 1 + self.dice.below_32(2000),
            1..4 => 400 + self.dice.below_32(120), // some are large by their terms
            _ => 1 + self.dice.below_32(8),
        };
        let order = SendOrder {
            sender: UserId(sender),
            order: self.orders,
            payment: 0,
            total: u64::from(shares) * (1 + self.dice.below(9))
                + self.dice.below(u64::from(shares)),
            shares,
            lifetime_s: 1 + self.dice.below_32(9000),
            share_max: 0,
            split: Split::Equal,
            source: MoneySource::Vouched,
            nonce: 0,
        };
        let wishes = self.wishes(sender);
        let terms = self.kept(&order, &wishes);
        let seed = Seed([self.dice.word(), self.dice.word()]);
        let Decision { outcome, record } = self.engine.issue_with(&order, &terms, seed, self.now);
        let until = self.seconds() + order.lifetime_s;
        if wishes.not_before.is_some_and(|from| from >= until) {
            assert_eq!(outcome, Outcome::Invalid(BadRequest::Terms), "it would never be open");
            return;
        }
        let (Outcome::Issued { envelope, .. }, Some(record)) = (outcome, record) else {
            assert_eq!((outcome, record), (Outcome::Full, None));
            return;
        };
        for part in TermsPart::cut(envelope, &terms) {
            self.apply(Record::TermsPart(part));
        }
        self.apply(record);
        self.envelopes.insert(envelope, Naive::new(order, wishes, seed, until));
    }

    fn repeat_order(&mut self) {
        let Some(envelope) = self.any() else { return };
        let naive = &self.envelopes[&envelope];
        let (order, mut wishes) = (naive.order, naive.wishes.clone());
        let same = self.dice.one_in(2);
        if !same {
            wishes.hidden = !wishes.hidden;
        }
        let terms = self.kept(&order, &wishes);
        let told = self.engine.issue_with(&order, &terms, Seed([1, 2]), self.now);
        assert_eq!(told.record, None);
        match told.outcome {
            Outcome::Issued { envelope: again, repeated: true, .. } if same => {
                assert_eq!(again, envelope);
            }
            outcome => assert_eq!((outcome, same), (Outcome::Conflict, false)),
        }
    }

    /// As the shard does: whoever touches an overdue envelope ends it.
    fn end_if_over(&mut self, envelope: EnvelopeId) {
        let naive = &self.envelopes[&envelope];
        let is_over = naive.life == Life::Open && self.seconds() >= naive.until;
        let expiry = self.engine.overdue(envelope, self.now);
        assert_eq!(expiry.is_some(), is_over);
        if let Some(expiry) = expiry {
            self.apply(expiry);
            self.envelopes.get_mut(&envelope).expect("known").life = Life::Expired;
        }
    }

    fn shown(&mut self, envelope: EnvelopeId, user: u64) -> Shown {
        let said = self.envelopes[&envelope].wishes.password.clone();
        let now = self.seconds();
        let dice = &mut self.dice;
        let mut shown = Shown::default();
        if !dice.one_in(6) {
            shown.position = Some(if dice.one_in(4) { far() } else { near() });
        }
        if !dice.one_in(6) {
            let wrong = b"wrong".to_vec();
            let said = said.unwrap_or_else(|| wrong.clone());
            shown.password = Some(if dice.one_in(4) { said } else { wrong });
        }
        if !dice.one_in(6) {
            let whose = (envelope, UserId(user + u64::from(dice.one_in(8))));
            let not_after = now + dice.below_32(4);
            let key_id = if dice.one_in(8) { 9 } else { 1 + dice.below_32(2) };
            let made = TicketKeys::from(keys(&[1, 2, 9])).ticket(key_id, CELL, whose, not_after);
            let genuine = match whose.1 {
                _ if key_id == 9 => Genuine::UnknownKey,
                UserId(of) if of == user => Genuine::Yes,
                _ => Genuine::No,
            };
            shown.ticket = made.map(|ticket| (ticket, genuine));
        }
        shown
    }

    fn claim(&mut self) {
        let Some(envelope) = self.any() else { return };
        self.end_if_over(envelope);
        let user = match self.dice.below(4) {
            0 => self.envelopes[&envelope].order.sender.0,
            1 => self.dice.below(400),
            _ => self.dice.below(USERS),
        };
        let plain = self.dice.one_in(4);
        let shown = if plain { Shown::default() } else { self.shown(envelope, user) };
        let now = self.seconds();
        let grade = self.said.get(&user).map_or(0, |standing| standing.grade);
        let grade = if grade > 0 { grade } else { GRADE_UNKNOWN };
        let naive = self.envelopes.get_mut(&envelope).expect("known");
        let (expected, leaves_guess) = naive.claim(user, grade, &shown, now);
        let password = shown.password.as_deref();
        let ticket = shown.ticket.map(|(ticket, _)| ticket);
        let evidence =
            Evidence { ticket, position: shown.position, password, tags: Tags::default() };
        let decision = if plain {
            self.engine.claim(envelope, UserId(user), self.now)
        } else {
            self.engine.claim_with(envelope, UserId(user), &evidence, &self.gate, self.now)
        };
        assert_eq!(decision.outcome, expected, "user {user} of {naive:?} showing {shown:?}");
        let won = matches!(expected, Outcome::Claimed { .. });
        assert_eq!(decision.record.is_some(), won || leaves_guess);
        if leaves_guess {
            naive.guess(user);
        }
        let mut record = decision.record;
        if let (true, Some(Record::Claimed(claimed))) = (self.dice.one_in(3), record) {
            record = Some(hold(&self.engine, naive, &claimed, 1 + self.dice.below_32(900)));
        }
        if let Outcome::Claimed { amount } = expected {
            naive.holders.push((user, amount));
            let all = naive.holders.len() == usize::try_from(naive.order.shares).expect("few");
            naive.life = if all { Life::SoldOut } else { Life::Open };
        }
        *self.met.entry(name_of(&expected)).or_default() += 1;
        if let Some(record) = record {
            self.remember(&record);
            self.apply(record);
        }
    }

    /// Half of the shares are won from somewhere, which is a record of its own before
    /// that of the share; a wrong guess is remembered by its own.
    fn remember(&mut self, record: &Record) {
        let (at, envelope) = (self.seconds(), record.envelope());
        let (user, what) = match record {
            Record::Guessed(guessed) => (guessed.user, RecentStep::Guessed(guessed.guesses)),
            Record::Claimed(Claimed { user, .. })
            | Record::Held(Held { claimed: Claimed { user, .. }, .. })
                if self.dice.one_in(2) =>
            {
                let (device, address) = match self.dice.below(3) {
                    0 => (Some(self.dice.below(9)), None),
                    1 => (None, Some(self.dice.below(9))),
                    _ => (Some(self.dice.word()), Some(0)),
                };
                let tags = Tags { device, address };
                self.apply(Record::Tagged(Tagged { envelope, user: *user, tags, at }));
                (*user, RecentStep::Won(device, address))
            }
            _ => return,
        };
        self.recent.push(Recent { at, envelope, user, what });
    }

    /// What happened of late is known to these engines together, each thing once.
    fn is_remembered<'a>(&self, engines: impl Iterator<Item = &'a Engine>) {
        let mut known: Vec<_> = engines.flat_map(Engine::recent).collect();
        let newest = self.recent.iter().map(|recent| recent.at).max().unwrap_or(0);
        let is_kept = |recent: &Recent| recent.at + RECENT_S >= newest;
        // A shard that was quiet has not noticed yet that some of it is over.
        known.retain(is_kept);
        known.sort_unstable();
        let mut expected: Vec<_> = self.recent.iter().copied().filter(is_kept).collect();
        expected.sort_unstable();
        assert_eq!(known, expected);
    }

    /// Something is said of a user.
    fn mark(&mut self) {
        let user = self.dice.below(USERS);
        let mark = match self.dice.below(4) {
            0 => Mark::Deny(self.dice.one_in(2)),
            1 => Mark::Watch(self.dice.one_in(2)),
            _ => Mark::Grade(self.dice.byte()),
        };
        let before = self.said.get(&user).copied().unwrap_or_default();
        let after = before.with(mark, self.seconds());
        let Decision { outcome, record } = self.engine.mark(9, UserId(user), mark, self.now);
        let changes = (after.grade, after.lists()) != (before.grade, before.lists());
        let is_full = changes && self.said.len() == 30 && !self.said.contains_key(&user);
        let expected = Outcome::Arranged { repeated: !changes };
        assert_eq!(outcome, if is_full { Outcome::Full } else { expected });
        assert_eq!(record.is_some(), changes && !is_full);
        if let Some(record) = record {
            self.said.insert(user, after);
            self.apply(record);
        }
        *self.met.entry(name_of(&outcome)).or_default() += 1;
    }

    /// Somebody decides about a share of somebody.
    fn resolve(&mut self) {
        let Some(envelope) = self.any() else { return };
        let (at, naive) = (self.seconds(), &self.envelopes[&envelope]);
        let held = naive.held.keys().nth(usize::try_from(self.dice.below(3)).expect("few"));
        let user = held.copied().unwrap_or_else(|| self.dice.below(USERS));
        let how = if self.dice.one_in(2) { Resolution::Release } else { Resolution::Reject };
        let (expected, changes) = naive.resolve(user, how, at);
        let Decision { outcome, record } =
            self.engine.resolve(envelope, UserId(user), how, self.now);
        assert_eq!((outcome, record.is_some()), (expected, changes), "{user} {how:?} {naive:?}");
        *self.met.entry(name_of(&outcome)).or_default() += 1;
        if let Some(record) = record {
            self.resolved(record);
        }
    }

    fn resolved(&mut self, record: Record) {
        let Record::Resolved(resolved) = record else { panic!("{record:?}") };
        let naive = self.envelopes.get_mut(&resolved.envelope).expect("it is kept");
        assert!(naive.held.remove(&resolved.user.0).is_some(), "decided once");
        if resolved.resolution == Resolution::Reject {
            naive.rejected.insert(resolved.user.0);
        }
        self.apply(record);
    }

    /// Grab, show and detail.
    fn look(&mut self) {
        let Some(envelope) = self.any() else { return };
        self.end_if_over(envelope);
        let (user, now) = (self.dice.below(USERS), self.seconds());
        let naive = &self.envelopes[&envelope];
        let claimed = u32::try_from(naive.holders.len()).expect("few");
        let winnable = Outcome::Winnable { shares_left: naive.order.shares - claimed };
        let kept_out = naive.keeps_out(user, now).map(Outcome::NotEligible);
        let expected = naive.before_any_rule(user).or(kept_out).unwrap_or(winnable);
        assert_eq!(self.engine.grab(envelope, UserId(user), self.now), expected);
        let hidden = naive.wishes.hidden && naive.life == Life::Open;
        let detail = self.engine.detail(envelope, 0, 9);
        assert_eq!(detail == Outcome::NotEligible(Ineligible::Hidden), hidden);
        let summary = self.engine.show(envelope).expect("it is kept");
        let left = if naive.life == Life::Open { naive.left() } else { 0 };
        assert_eq!((summary.claimed, summary.left), (claimed, left));
        assert_eq!(summary.luckiest, naive.luckiest());
        let rows = self.engine.rows(envelope, 0);
        let is_shown = |(row, holder): (Row, &(u64, u64))| {
            if naive.is_withheld(holder.0) {
                (row.user, row.amount, row.at) == (UserId(0), 0, 0)
            } else {
                (row.user.0, u64::from(row.amount)) == *holder
            }
        };
        assert!(rows.zip(&naive.holders).all(is_shown), "of what is withheld nothing is told");
        assert_eq!(summary.state == EnvelopeState::Open, naive.life == Life::Open);
    }

    fn see_terms(&mut self) {
        let Some(envelope) = self.any() else { return };
        let user = self.dice.below(USERS);
        let naive = &self.envelopes[&envelope];
        let told = self.engine.terms(envelope, UserId(user)).expect("it is kept");
        let wishes = &naive.wishes;
        let is_sender = naive.order.sender == UserId(user);
        let key = wishes.password.as_ref().map(|_| 3); // the only key of passwords
        let order = (naive.order.sender, naive.order.order);
        assert_eq!(self.engine.password_key(order.0, order.1), key);
        assert!(self.engine.keeps_grades());
        let has_share = naive.share_of(user).is_some() && !naive.is_withheld(user);
        let may_see = is_sender || has_share;
        assert_eq!(told.greeting, wishes.greeting);
        assert_eq!(told.photo, if may_see { &wishes.photo[..] } else { &[] });
        assert_eq!(told.password, wishes.password.as_ref().map(|_| Password::Wanted));
        let named: Vec<_> = told.named.iter().map(|name| u64::from_le_bytes(*name)).collect();
        let expected = wishes.named.iter().filter(|&&name| is_sender || name == user);
        assert!(expected.eq(&named), "{named:?}");
        assert_eq!((told.not_before, told.not_after), (wishes.not_before, wishes.not_after));
        assert_eq!(told.grade_min, wishes.grade_min);
        let seed_user = wishes.seed_user.filter(|&seed| is_sender || seed == user);
        assert_eq!(told.seed_user.map(|seed| seed.0), seed_user);
        assert_eq!((told.place, told.wants_ticket), (wishes.place, wishes.ticket));
    }

    fn cancel(&mut self) {
        let Some(envelope) = self.any() else { return };
        if self.dice.one_in(3) {
            self.end_if_over(envelope);
            let naive = self.envelopes.get_mut(&envelope).expect("known");
            let record = self.engine.cancel(envelope, naive.order.sender, self.now).record;
            assert_eq!(record.is_some(), naive.life == Life::Open);
            if let Some(record) = record {
                naive.life = Life::Cancelled;
                self.apply(record);
            }
        }
    }

    fn recycle(&mut self) {
        while let Some(record) = self.engine.due_hold(self.now) {
            self.resolved(record);
        }
        let at = self.seconds();
        let is_overdue = |naive: &Naive| naive.held.values().any(|&until| until <= at);
        assert!(!self.envelopes.values().any(is_overdue), "every hold ends in time");
        while let Some(record) = self.engine.recyclable(self.now) {
            self.apply(record);
            let gone = self.envelopes.remove(&record.envelope()).expect("it was kept");
            assert!(gone.held.is_empty(), "nothing that is held is forgotten");
        }
    }

    /// The engine that the records alone make, and the one of an image that is
    /// taken in the middle of the next steps and of the records after it.
    pub(crate) fn check_restored(&mut self) {
        let mut replayed = engine();
        self.records.iter().for_each(|record| replayed.apply(record).expect("it fits"));
        assert_eq!(replayed.digest(), self.engine.digest());
        self.is_known(&replayed);
        self.is_remembered(std::iter::once(&replayed));
        self.is_remembered(std::iter::once(&self.engine));
        self.check_sums();
        // Of a quiet moment all that happened of late is in the image, of a busy one
        // nothing; what comes after the image is in the records only.
        let steps_between = if self.dice.one_in(2) { 1 } else { 30 };
        let began = self.position();
        let (mut cursor, mut slices) = (self.engine.begin_image(), Vec::new());
        loop {
            let (mut slice, position) = (Vec::new(), self.position());
            if !self.engine.next_slice(&mut cursor, position, &mut slice) {
                break;
            }
            slices.push(slice);
            (0..self.dice.below(steps_between)).for_each(|_| self.step());
        }
        self.engine.end_image(cursor);
        (0..self.dice.below(60)).for_each(|_| self.step());
        for shards in [1, 2] {
            let each = (0..shards).map(|shard| self.restored(&slices, began, shard, shards));
            let each: Vec<Engine> = each.collect();
            let digest = each.iter().map(Engine::digest).fold(0, u64::wrapping_add);
            assert_eq!(digest, self.engine.digest(), "{shards} shards");
            self.is_remembered(each.iter());
            for engine in &each {
                self.is_known(engine);
            }
            if shards == 1 {
                assert_eq!(each[0].totals(), self.engine.totals());
            }
        }
    }

    /// Every shard knows all that was said of users.
    fn is_known(&self, engine: &Engine) {
        for user in 0..USERS {
            let (now, known) = (engine.standing(UserId(user)), self.said.get(&user));
            let said = known.copied().unwrap_or_default();
            assert_eq!((now.grade, now.lists()), (said.grade, said.lists()), "user {user}");
        }
    }

    /// Funded is claimed, held, refunded or left, and what is held is what holds are.
    fn check_sums(&self) {
        let totals = self.engine.totals();
        let inside = totals.held + totals.left;
        assert_eq!(totals.funded, totals.claimed + totals.refunded + inside);
        let from = HoldsFrom { partition: 0, after: (EnvelopeId(0), UserId(0)), only: false };
        let listed = self.engine.holds(&from).count();
        let naive = self.envelopes.values().map(|naive| naive.held.len() + naive.rejected.len());
        assert_eq!(listed, naive.sum::<usize>());
        let held_of = |naive: &Naive| -> u64 {
            naive.held.keys().map(|&user| naive.share_of(user).expect("won")).sum()
        };
        let held: u64 = self.envelopes.values().map(held_of).sum();
        assert_eq!(totals.held, u128::from(held));
    }

    fn position(&self) -> u64 {
        u64::try_from(self.records.len()).expect("few")
    }

    fn restored(&self, slices: &[Vec<u8>], from: u64, shard: u16, shards: u16) -> Engine {
        let mut restoring = Restoring::new(CELL, CAPACITY, LIMITS, shard, shards).with_risk(RISK);
        for slice in slices {
            restoring.load(slice).expect("what was saved can be loaded");
        }
        let ends = (1_u64..).zip(self.records.iter().copied());
        let tail: Vec<_> = ends.filter(|&(end, _)| end > from).collect();
        restoring.apply(&tail).expect("the tail fits");
        restoring.finish().expect("it is whole")
    }
}

/// The record that holds a share in the place of giving it, if there is room.
fn hold(engine: &Engine, naive: &mut Naive, claimed: &Claimed, hold_s: u32) -> Record {
    let Decision { outcome, record } = engine.hold(claimed, RiskRule::GradeHeld, hold_s);
    let Some(record) = record else {
        assert_eq!(outcome, Outcome::Full);
        return Record::Claimed(*claimed);
    };
    assert_eq!(outcome, Outcome::Withheld);
    naive.held.insert(claimed.user.0, claimed.at + hold_s);
    record
}

/// The name of an outcome without its numbers.
fn name_of(outcome: &Outcome) -> String {
    let text = format!("{outcome:?}");
    text.split(" {").next().unwrap_or(&text).to_owned()
}
