//! The mix `eve`: a New Year's Eve in small.
//!
//! Per 100 requests: 1.4 sends, 11.4 winning claims, 57 losing or repeated
//! claims and looks, 28 detail reads, 2 retries of the same request. Envelope
//! sizes, group sizes and arrivals follow the published figures: 35 % have one
//! share, the others are lognormal (median 5, σ 0.8) in 2..=100; groups are
//! lognormal (median 20) up to 500; who asks comes, exponentially with a mean
//! of 3 s, after the envelope, but for a tail of 10 % spread over all of them.
//! 4 % of the envelopes are never emptied.
//!
//! The draws are fixed by the seed. Which envelopes are known, and so may be
//! asked about, depends on the answers that have come.

use std::collections::VecDeque;

use hongbao::units::{EnvelopeId, Split, UserId};
use hongbao::wire::{Request, SendOrder, Status};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, LogNormal};

use super::{Answer, Mix, Run, claim};
use crate::number::{index, whole};

/// The most members of a group; also the distance between the user numbers of
/// two envelopes' groups, so that every group is people of its own.
const GROUP_MAX: u32 = 500;

/// How often a fitting envelope is looked for before another is taken.
const LOOKS: usize = 8;

/// The note of a request whose answer teaches nothing.
const NO_NOTE: u32 = u32::MAX;

/// The settings of the evening.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The seed of all draws.
    pub(crate) seed: u64,
    /// Whose orders and users these are.
    pub(crate) run: Run,
    /// Requests a second that the evening is thought to have: it turns the
    /// 3 s between an envelope and its claims into a number of requests.
    pub(crate) rate: u32,
    /// Whether envelopes that are never emptied are cancelled, or live for 2 s
    /// only, so that refunds happen within a short run.
    pub(crate) refunds: bool,
}

/// One envelope of the evening.
struct Plan {
    envelope: EnvelopeId,
    total: u64,
    shares: u32,
    /// How many new users will claim; less than `shares` for the 4 %.
    winners: u32,
    /// How many of them have asked.
    asked: u32,
    group: u32,
    lifetime_s: u32,
    cancelled: bool,
}

/// What kind of request comes next.
enum Kind {
    Send,
    Win,
    Look,
    Late,
    Repeat,
    Detail,
    Retry,
}

/// The generator.
pub(crate) struct Eve {
    shape: Shape,
    draws: ChaCha8Rng,
    sizes: LogNormal<f64>,
    groups: LogNormal<f64>,
    /// How many envelopes are sent within the mean delay of a claim.
    window: f64,
    plans: Vec<Plan>,
    /// The plans whose envelope is known, in the order they became so.
    live: Vec<u32>,
    /// In `live`: below it nobody new will claim.
    oldest_open: usize,
    to_cancel: Vec<u32>,
    recent: VecDeque<(Request, u32)>,
}

impl Eve {
    /// An evening that has not begun.
    pub(crate) fn new(shape: Shape) -> Self {
        let lognormal = |median: f64, sigma| {
            LogNormal::new(median.ln(), sigma).expect("the constants are a distribution")
        };
        Self {
            shape,
            draws: ChaCha8Rng::seed_from_u64(shape.seed),
            sizes: lognormal(5.0, 0.8),
            groups: lognormal(20.0, 1.0),
            window: f64::from(shape.rate) * 0.014 * 3.0,
            plans: Vec::with_capacity(1 << 20), // growth later is rare and amortised
            live: Vec::with_capacity(1 << 20),
            oldest_open: 0,
            to_cancel: Vec::new(),
            recent: VecDeque::with_capacity(64),
        }
    }

    /// Draws one more envelope and returns its number.
    pub(crate) fn plan(&mut self) -> u32 {
        let shares = self.size();
        let unspent = self.draws.random_range(0..100) < 4;
        let winners = if unspent { self.draws.random_range(0..shares) } else { shares };
        let (mut lifetime_s, mut cancelled) = (24 * 3600, false);
        if unspent && self.shape.refunds {
            cancelled = self.draws.random();
            lifetime_s = if cancelled { lifetime_s } else { 2 };
        }
        let mean_fen = self.draws.random_range(20..2000_u64);
        let group = whole(self.groups.sample(&mut self.draws));
        let group = u32::try_from(group).unwrap_or(GROUP_MAX).clamp(shares + 1, GROUP_MAX);
        let total = u64::from(shares) * mean_fen;
        let (envelope, asked) = (EnvelopeId(0), 0);
        self.plans.push(Plan {
            envelope,
            total,
            shares,
            winners,
            asked,
            group,
            lifetime_s,
            cancelled,
        });
        u32::try_from(self.plans.len() - 1).unwrap_or(NO_NOTE)
    }

    fn size(&mut self) -> u32 {
        if self.draws.random_range(0..100) < 35 {
            return 1;
        }
        let size = whole(self.sizes.sample(&mut self.draws).round());
        u32::try_from(size).unwrap_or(100).clamp(2, 100)
    }

    /// The order of a drawn envelope.
    pub(crate) fn order(&self, number: u32) -> SendOrder {
        let plan = &self.plans[index(number)];
        SendOrder {
            nonce: 0,
            source: hongbao::units::MoneySource::Vouched,
            sender: self.shape.run.sender(number),
            order: self.shape.run.order(number),
            payment: self.shape.run.order(number),
            total: plan.total,
            shares: plan.shares,
            lifetime_s: plan.lifetime_s,
            share_max: 0,
            split: Split::DoubleMean,
        }
    }

    /// The envelope of an order is known now, so people may ask about it.
    pub(crate) fn known(&mut self, number: u32, envelope: EnvelopeId) {
        let plan = &mut self.plans[index(number)];
        if plan.envelope != EnvelopeId(0) {
            return; // a retried send was answered twice
        }
        plan.envelope = envelope;
        self.live.push(number);
        self.cancel_if_done(number);
    }

    fn cancel_if_done(&mut self, number: u32) {
        let plan = &self.plans[index(number)];
        if plan.cancelled && plan.asked == plan.winners {
            self.to_cancel.push(number);
        }
    }

    /// An envelope by the age at which people ask about it.
    fn pick(&mut self) -> Option<u32> {
        let newest = self.live.len().checked_sub(1)?;
        let back = if self.draws.random_range(0..10) == 0 {
            self.draws.random_range(0..=newest)
        } else {
            let age: f64 = Exp1.sample(&mut self.draws);
            usize::try_from(whole(age * self.window)).unwrap_or(newest).min(newest)
        };
        Some(self.live[newest - back])
    }

    fn pick_where(&mut self, fits: impl Fn(&Plan) -> bool) -> Option<u32> {
        for _ in 0..LOOKS {
            let number = self.pick()?;
            if fits(&self.plans[index(number)]) {
                return Some(number);
            }
        }
        None
    }

    fn kind(&mut self) -> Kind {
        // Per 998: the published figures add up to 99.8. How the 57 are made
        // up is not published: half are looks, the others claims that lose
        // and claims that are repeated.
        match self.draws.random_range(0..998) {
            0..14 => Kind::Send,
            14..128 => Kind::Win,
            128..428 => Kind::Look,
            428..598 => Kind::Late,
            598..698 => Kind::Repeat,
            698..978 => Kind::Detail,
            _ => Kind::Retry,
        }
    }

    fn member(&self, number: u32, member: u32) -> UserId {
        self.shape.run.user(u64::from(number) * u64::from(GROUP_MAX) + u64::from(member))
    }

    fn send(&mut self) -> (Request, u32) {
        let number = self.plan();
        (Request::Send(self.order(number)), number)
    }

    /// A claim of a new user that is meant to win.
    fn win(&mut self) -> Option<Request> {
        let open = |plan: &Plan| plan.asked < plan.winners;
        let number = self.pick_where(open).or_else(|| self.oldest_open())?;
        let plan = &mut self.plans[index(number)];
        let (envelope, member) = (plan.envelope, plan.asked);
        plan.asked += 1;
        self.cancel_if_done(number);
        Some(claim(envelope, self.member(number, member)))
    }

    fn oldest_open(&mut self) -> Option<u32> {
        loop {
            let number = *self.live.get(self.oldest_open)?;
            let plan = &self.plans[index(number)];
            if plan.asked < plan.winners {
                return Some(number);
            }
            self.oldest_open += 1;
        }
    }

    /// A claim of somebody who comes when all is gone.
    fn late(&mut self) -> Option<Request> {
        let number = self.pick_where(|plan| plan.asked == plan.shares)?;
        let plan = &self.plans[index(number)];
        let (envelope, shares, group) = (plan.envelope, plan.shares, plan.group);
        let member = self.draws.random_range(shares..group);
        Some(claim(envelope, self.member(number, member)))
    }

    /// A claim of somebody who has claimed before.
    fn repeat(&mut self) -> Option<Request> {
        let number = self.pick_where(|plan| plan.asked > 0)?;
        let (envelope, asked) =
            (self.plans[index(number)].envelope, self.plans[index(number)].asked);
        let member = self.draws.random_range(0..asked);
        Some(claim(envelope, self.member(number, member)))
    }

    fn look(&mut self) -> Option<Request> {
        let number = self.pick()?;
        let (envelope, group) =
            (self.plans[index(number)].envelope, self.plans[index(number)].group);
        let member = self.draws.random_range(0..group);
        Some(Request::Grab { envelope, user: self.member(number, member) })
    }

    fn detail(&mut self) -> Option<Request> {
        let number = self.pick()?;
        let envelope = self.plans[index(number)].envelope;
        Some(Request::Detail { envelope, from: 0, rows_max: 100 })
    }

    fn retry(&mut self) -> Option<(Request, u32)> {
        let count = self.recent.len();
        (count > 0).then(|| self.recent[self.draws.random_range(0..count)])
    }

    fn cancel(&mut self) -> Option<Request> {
        let number = self.to_cancel.pop()?;
        let envelope = self.plans[index(number)].envelope;
        Some(Request::Cancel { envelope, sender: self.shape.run.sender(number) })
    }

    fn remember(&mut self, asked: (Request, u32)) {
        if self.recent.len() == 64 {
            self.recent.pop_front();
        }
        self.recent.push_back(asked);
    }

    /// The request of a kind; `None` where no envelope fits it now.
    fn of_kind(&mut self, kind: &Kind) -> Option<(Request, u32)> {
        let request = match kind {
            Kind::Send => return Some(self.send()),
            Kind::Retry => return self.retry(),
            Kind::Win => self.win(),
            Kind::Late => self.late(),
            Kind::Repeat => self.repeat(),
            Kind::Look => self.look(),
            Kind::Detail => self.detail(),
        };
        request.map(|request| (request, NO_NOTE))
    }
}

impl Mix for Eve {
    fn next(&mut self) -> Option<(Request, u32)> {
        if let Some(request) = self.cancel() {
            return Some((request, NO_NOTE));
        }
        let kind = self.kind();
        let asked = match self.of_kind(&kind) {
            Some(asked) => asked,
            None => match self.look() {
                Some(request) => (request, NO_NOTE),
                None => self.send(), // nothing is known yet: an evening begins with an envelope
            },
        };
        if matches!(kind, Kind::Send | Kind::Win) {
            self.remember(asked);
        }
        Some(asked)
    }

    fn answered(&mut self, note: u32, answer: Answer) {
        if let (true, Status::Ok, Some(id)) = (note != NO_NOTE, answer.status, answer.number) {
            self.known(note, EnvelopeId(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(id: u64) -> Answer {
        Answer { status: Status::Ok, detail: 0, number: Some(id) }
    }

    fn eve(refunds: bool) -> Eve {
        Eve::new(Shape { seed: 5, run: Run(3), rate: 100_000, refunds })
    }

    /// An evening whose every request is answered at once.
    fn requests(eve: &mut Eve, stock: u32, count: usize) -> Vec<Request> {
        for number in 0..stock {
            let plan = eve.plan();
            eve.known(plan, EnvelopeId(u64::from(number) + 1));
        }
        let mut next_id = 1_000_000;
        let mut asked = Vec::new();
        for _ in 0..count {
            let (request, note) = eve.next().unwrap();
            next_id += 1;
            eve.answered(note, ok(next_id));
            asked.push(request);
        }
        asked
    }

    #[test]
    fn the_kinds_come_as_often_as_published() {
        let mut eve = eve(false);
        let asked = requests(&mut eve, 20_000, 200_000);
        let count = |kind: fn(&Request) -> bool| asked.iter().filter(|r| kind(r)).count();
        let sends = count(|request| matches!(request, Request::Send(_)));
        let looks = count(|request| matches!(request, Request::Grab { .. }));
        let details = count(|request| matches!(request, Request::Detail { .. }));
        let wins: u32 = eve.plans.iter().map(|plan| plan.asked).sum();
        let lost = asked.len() - sends - details - index(wins) - looks;
        assert!((2600..3600).contains(&sends), "{sends} of 1.4 %, and retries");
        assert!((22_000..23_600).contains(&wins), "{wins} of 11.4 %");
        assert!((55_000..57_200).contains(&details), "{details} of 28 %");
        assert!((114_000..119_000).contains(&(looks + lost)), "{looks} + {lost} of 57 %");
        assert!(looks > 55_000 && lost > 40_000, "{looks} looks, {lost} losing claims");
    }

    #[test]
    fn envelopes_are_as_large_as_published() {
        let mut eve = eve(false);
        for _ in 0..20_000 {
            eve.plan();
        }
        let shares: u32 = eve.plans.iter().map(|plan| plan.shares).sum();
        assert!((92_000..112_000).contains(&shares), "{shares} shares, about 5.1 each");
        let ones = eve.plans.iter().filter(|plan| plan.shares == 1).count();
        assert!((6_600..7_400).contains(&ones), "{ones} of one share");
        let unspent = eve.plans.iter().filter(|plan| plan.winners < plan.shares).count();
        assert!((600..1000).contains(&unspent), "{unspent} not emptied");
    }

    #[test]
    fn a_seed_fixes_the_stream() {
        assert_eq!(requests(&mut eve(true), 50, 5000), requests(&mut eve(true), 50, 5000));
    }

    #[test]
    fn an_evening_with_refunds_cancels_only_what_nobody_new_will_claim() {
        let mut eve = eve(true);
        let asked = requests(&mut eve, 2000, 50_000);
        let cancels = asked.iter().filter(|r| matches!(r, Request::Cancel { .. })).count();
        assert!(cancels > 20, "{cancels}");
        assert!(eve.plans.iter().any(|plan| plan.lifetime_s == 2));
    }

    #[test]
    fn a_send_answered_twice_is_one_envelope() {
        let mut eve = eve(false);
        let plan = eve.plan();
        eve.answered(plan, ok(9));
        eve.answered(plan, ok(9));
        assert_eq!(eve.live.len(), 1);
    }
}
