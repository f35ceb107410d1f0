//! What a load has measured, as fields and as words.

use hongbao::client::Address;
use hongbao::wire::{CampaignStatus, Hello, Op, Status};
use serde::Serialize;

use super::Outcomes;
use super::flags::{LoadArgs, MixName};
use super::ledger::PhaseBook;
use super::route::Through;
use super::stream::Outcome;
use super::tally::Tally;
use crate::mix::Run;
use crate::number::per_second;

/// What was measured; the fields are stable. Latencies are those of decisions.
#[derive(Serialize)]
pub(super) struct Summary {
    mix: MixName,
    addr: String,
    durability: &'static str,
    shards: usize,
    through: Through,
    conns: u32,
    depth: u32,
    rate: Option<u32>,
    budget_us: Option<u32>,
    seed: u64,
    run: u32,
    seconds: f64,
    requests: u64,
    requests_per_s: u64,
    claims: u64,
    claims_per_s: u64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    sends: u64,
    looks: u64,
    repeated: u64,
    sold_out: u64,
    expired: u64,
    details: u64,
    #[serde(flatten)]
    fates: Fates,
    errors: u64,
    phases: Vec<PhaseSummary>,
    campaign: Option<Shaken>,
    #[serde(flatten)]
    beside: Option<Beside>,
}

/// What became of what was offered: `offered = sent + unsent`, and what was
/// sent is useful, late, refused, or an error.
#[derive(Serialize)]
struct Fates {
    offered: u64,
    sent: u64,
    unsent: u64,
    useful: u64,
    useful_per_s: u64,
    late: u64,
    refused: u64,
}

impl Fates {
    fn of(tally: &Tally, offered: u64, sent: u64, seconds: f64) -> Self {
        Self {
            offered,
            sent,
            unsent: offered.saturating_sub(sent),
            useful: tally.useful(),
            useful_per_s: per_second(tally.useful(), seconds),
            late: tally.late(),
            refused: tally.refused(),
        }
    }
}

/// One phase of an open loop.
#[derive(Serialize)]
struct PhaseSummary {
    rate: u32,
    seconds: f64,
    #[serde(flatten)]
    fates: Fates,
    p50_us: f64,
    p99_us: f64,
}

/// The stream beside the first.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "they stand among the other fields of the JSON")]
struct Beside {
    beside_rate: u32,
    beside_requests: u64,
    beside_requests_per_s: u64,
    beside_claims: u64,
    beside_p50_us: f64,
    beside_p99_us: f64,
    beside_max_us: f64,
    beside_refused: u64,
    beside_unsent: u64,
    beside_errors: u64,
}

impl Beside {
    fn of(rate: u32, Outcome { ledger, offers, seconds }: &Outcome) -> Self {
        let (tally, sent) = (ledger.total(), ledger.sent_in_all());
        let until_ns = u64::try_from(std::time::Duration::from_secs_f64(*seconds).as_nanos());
        let offered = offers.between(0, until_ns.unwrap_or(u64::MAX), sent);
        Self {
            beside_rate: rate,
            beside_requests: tally.answered(),
            beside_requests_per_s: per_second(tally.answered(), *seconds),
            beside_claims: tally.claims(),
            beside_p50_us: tally.quantile_us(0.5),
            beside_p99_us: tally.quantile_us(0.99),
            beside_max_us: tally.max_us(),
            beside_refused: tally.refused(),
            beside_unsent: offered.saturating_sub(sent),
            beside_errors: tally.errors(),
        }
    }
}

impl Summary {
    pub(super) fn of(
        args: &LoadArgs,
        addr: &Address,
        run: Run,
        hello: &Hello,
        (outcome, beside): &Outcomes,
        campaign: Option<&CampaignStatus>,
    ) -> Self {
        let Outcome { ledger, offers, seconds } = outcome;
        let (tally, sent) = (ledger.total(), ledger.sent_in_all());
        Self {
            mix: args.mix,
            addr: addr.to_string(),
            durability: if hello.durability == 0 { "sync" } else { "os" },
            shards: hello.shards(),
            through: args.through,
            conns: args.conns,
            depth: args.depth(),
            rate: args.rate,
            budget_us: args.budget_us,
            seed: args.seed,
            run: run.0,
            seconds: (seconds * 1000.0).round() / 1000.0,
            requests: tally.answered(),
            requests_per_s: per_second(tally.answered(), *seconds),
            claims: tally.claims(),
            claims_per_s: per_second(tally.claims(), *seconds),
            p50_us: tally.quantile_us(0.5),
            p99_us: tally.quantile_us(0.99),
            p999_us: tally.quantile_us(0.999),
            max_us: tally.max_us(),
            sends: tally.of_op(Op::Send),
            looks: tally.of_op(Op::Grab),
            repeated: tally.count(Op::Claim, Status::AlreadyClaimed),
            sold_out: tally.count(Op::Claim, Status::SoldOut),
            expired: tally.count(Op::Claim, Status::Expired),
            details: tally.of_op(Op::Detail),
            fates: Fates::of(&tally, offers.between(0, u64::MAX, sent), sent, *seconds),
            errors: tally.errors(),
            phases: phases(args, outcome),
            campaign: campaign.map(|status| Shaken::of(&tally, status, *seconds)),
            beside: args.beside.zip(beside.as_ref()).map(|(rate, beside)| Beside::of(rate, beside)),
        }
    }

    pub(super) fn words(&self) -> String {
        let pace = match self.rate {
            Some(rate) => format!("open loop at {}/s", count(rate.into())),
            None if !self.phases.is_empty() => "open loop in phases".into(),
            None => "closed loop".into(),
        };
        let Self { conns, depth, shards, seconds, durability, fates, .. } = self;
        let counts = [
            row("repeated", self.repeated),
            row("sold out", self.sold_out),
            row("sends", self.sends),
            row("looks", self.looks),
            row("details", self.details),
            row("unsent", fates.unsent),
            row("late", fates.late),
            row("refused", fates.refused),
            row("errors", self.errors),
        ];
        format!(
            "{conns} connections x {depth} in flight, {shards} shards, {pace}, {seconds:.1} s, \
             durability {durability}"
        ) + &rated("requests", self.requests, self.requests_per_s)
            + &rated("claims won", self.claims, self.claims_per_s)
            + &rated("useful", fates.useful, fates.useful_per_s)
            + &counts.concat()
            + &format!(
                "\n  latency      p50 {} us, p99 {} us, p99.9 {} us, longest {} us",
                self.p50_us, self.p99_us, self.p999_us, self.max_us
            )
            + &self.campaign.as_ref().map_or(String::new(), Shaken::words)
            + &self.phases.iter().map(PhaseSummary::words).collect::<String>()
            + &self.beside.as_ref().map_or(String::new(), Beside::words)
    }
}

/// What became of shakes, and of the plan.
#[derive(Serialize)]
struct Shaken {
    losers: u64,
    losers_per_s: u64,
    winners: u64,
    cap_reached: u64,
    planned: u32,
    released: u32,
    won: u32,
}

impl Shaken {
    fn of(tally: &Tally, status: &CampaignStatus, seconds: f64) -> Self {
        let losers = tally.count(Op::Shake, Status::NothingWon);
        Self {
            losers,
            losers_per_s: per_second(losers, seconds),
            winners: tally.count(Op::Shake, Status::Ok),
            cap_reached: tally.count(Op::Shake, Status::AlreadyClaimed),
            planned: status.head.prizes,
            released: status.head.released,
            won: status.head.won,
        }
    }

    fn words(&self) -> String {
        rated("losers", self.losers, self.losers_per_s)
            + &[
                row("winners", self.winners),
                row("cap reached", self.cap_reached),
                row("prizes", self.planned.into()),
                row("released", self.released.into()),
                row("won", self.won.into()),
            ]
            .concat()
    }
}

fn phases(args: &LoadArgs, Outcome { ledger, offers, .. }: &Outcome) -> Vec<PhaseSummary> {
    let Some(phases) = &args.phases else { return vec![] };
    let summary = |(phase, book): (&super::schedule::Phase, &PhaseBook)| {
        let (seconds, tally) = (phase.length.as_secs_f64(), &book.tally);
        let offered = offers.between(book.from_ns, book.until_ns, book.sent);
        PhaseSummary {
            rate: phase.rate,
            seconds,
            fates: Fates::of(tally, offered, book.sent, seconds),
            p50_us: tally.quantile_us(0.5),
            p99_us: tally.quantile_us(0.99),
        }
    };
    phases.0.iter().zip(&ledger.phases).map(summary).collect()
}

impl PhaseSummary {
    fn words(&self) -> String {
        let Fates { unsent, useful_per_s, late, refused, .. } = self.fates;
        format!(
            "\n  {:>12}/s for {} s: {}/s useful, {} unsent, {} late, {} refused, p99 {} us",
            count(self.rate.into()),
            self.seconds,
            count(useful_per_s),
            count(unsent),
            count(late),
            count(refused),
            self.p99_us,
        )
    }
}

impl Beside {
    fn words(&self) -> String {
        format!(
            "\n  beside       {} at {}/s: p50 {} us, p99 {} us, longest {} us, {} refused, {} errors",
            count(self.beside_requests),
            count(self.beside_requests_per_s),
            self.beside_p50_us,
            self.beside_p99_us,
            self.beside_max_us,
            count(self.beside_refused),
            count(self.beside_errors),
        )
    }
}

fn count(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

fn row(name: &str, value: u64) -> String {
    format!("\n  {name:<12}{:>16}", count(value))
}

fn rated(name: &str, value: u64, rate: u64) -> String {
    format!("\n  {name:<12}{:>16}  {:>12}/s", count(value), count(rate))
}
