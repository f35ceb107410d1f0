//! The flags of `hb load`, and what follows from them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::pace::Pace;
use super::route::Through;
use super::schedule::{Phase, Phases};
use crate::exit::Usage;
use crate::mix::Run;

/// How long a load lasts that is bounded by nothing else.
const SECONDS: f64 = 10.0;

/// The rate that a closed loop's evening is thought to have.
const NOMINAL_RATE: u32 = 1_000_000;

/// `hb load`.
#[derive(Args)]
pub(crate) struct LoadArgs {
    /// What is asked
    #[arg(long, value_enum, default_value = "rush")]
    pub(super) mix: MixName,
    /// Open loop: so many requests a second on a fixed schedule, latency counted
    /// from the scheduled time. Without it: closed loop, as fast as answers come
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rate: Option<u32>,
    /// Open loop in phases of constant rates, RATExSECONDS,RATExSECONDS,...,
    /// such as 2000000x5,20000000x30,2000000x10
    #[arg(long, conflicts_with_all = ["rate", "seconds"])]
    pub(super) phases: Option<Phases>,
    /// How long each request's asker cares, in microseconds; its frame says what
    /// is left of it. Open loop: what could not be written within half of it is
    /// dropped unsent
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) budget_us: Option<u32>,
    /// Connections, evenly over all shards
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) conns: u32,
    /// Requests in flight on each connection [default: 16; in an open loop 1024]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    depth: Option<u32>,
    /// On whose connection a request is put
    #[arg(long, value_enum, default_value = "owner")]
    pub(super) through: Through,
    /// How long, in seconds [default: 10; with --requests until they are done]
    #[arg(long)]
    seconds: Option<f64>,
    /// Stop after so many requests, if that is earlier
    #[arg(long)]
    pub(super) requests: Option<u64>,
    /// Envelopes issued first [default: rush 1000000, eve 200000; hot has one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) envelopes: Option<u32>,
    /// Shares of each envelope [default: rush 5, hot and shake 1000000;
    /// eve draws them]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) shares: Option<u32>,
    /// A second stream beside the first: so many claims a second, open loop, on
    /// other envelopes (--beside-envelopes of 5 shares) over 16 connections of
    /// their own, with latencies of its own
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) beside: Option<u32>,
    /// Envelopes of the second stream
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) beside_envelopes: u32,
    /// The seed of all draws: the same gives the same stream
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Numbers this run's orders and users [default: from the clock, so that
    /// runs do not meet]. The same again reuses the same envelopes
    #[arg(long)]
    run: Option<u32>,
    /// Number of the first user of rush and hot: a run that goes on with new users
    /// on the same envelopes begins where the one before it ended
    #[arg(long, default_value_t = 0)]
    pub(super) users_from: u32,
    /// Write what became of the requests of each second to this CSV file
    #[arg(long, value_name = "FILE")]
    pub(super) timeline: Option<PathBuf>,
    /// Stay on this core
    #[arg(long)]
    core: Option<usize>,
}

/// The mixes.
#[derive(Clone, Copy, ValueEnum, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum MixName {
    /// Many small envelopes, every claim by a new user
    Rush,
    /// One large envelope, everybody on it; --requests beyond its shares go on
    /// when it is sold out
    Hot,
    /// New Year's Eve: sends, looks, claims, details and retries
    Eve,
    /// One campaign, everybody shakes; --shares prizes, in slots of a second
    Shake,
}

impl LoadArgs {
    /// A closed loop is shaped by its depth; an open loop must not be.
    pub(super) fn depth(&self) -> u32 {
        let open = self.rate.is_some() || self.phases.is_some();
        self.depth.unwrap_or(if open { 1024 } else { 16 })
    }

    /// The phases of an open loop; none of a closed one.
    pub(super) fn open_phases(&self) -> Result<Vec<Phase>> {
        match (&self.phases, self.rate) {
            (Some(phases), _) => Ok(phases.0.clone()),
            (None, Some(rate)) => Ok(vec![Phase { rate, length: self.length()? }]),
            (None, None) => Ok(vec![]),
        }
    }

    /// How the main stream is paced.
    pub(super) fn pace(&self) -> Result<Pace> {
        let phases = self.open_phases()?;
        if phases.is_empty() {
            return Ok(Pace::Closed { length: self.length()?, budget: self.budget() });
        }
        Ok(Pace::Open { phases, budget: self.budget() })
    }

    /// How long an asker cares.
    pub(super) fn budget(&self) -> Option<Duration> {
        self.budget_us.map(|us| Duration::from_micros(us.into()))
    }

    /// How long the load lasts; as good as for ever, where the number of
    /// requests ends it.
    pub(super) fn length(&self) -> Result<Duration> {
        let Some(seconds) = self.seconds else {
            let ended = self.requests.is_some() || self.phases.is_some();
            let days = Duration::from_secs(30 * 24 * 3600);
            return Ok(if ended { days } else { Duration::from_secs_f64(SECONDS) });
        };
        Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| Usage("--seconds must be more than 0".into()).into())
    }

    /// Requests a second that an evening is thought to have.
    pub(super) fn nominal_rate(&self) -> u32 {
        let first = self.phases.as_ref().and_then(|phases| phases.0.first());
        let rate = self.rate.or(first.map(|phase| phase.rate)).filter(|rate| *rate > 0);
        rate.unwrap_or(NOMINAL_RATE)
    }

    /// The number of this run. The lower half of the clock's milliseconds comes
    /// again after 49 days.
    pub(super) fn run(&self) -> Run {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock = u32::try_from(since.as_millis() & 0xffff_ffff).unwrap_or(0);
        Run(self.run.unwrap_or(clock))
    }

    /// Stays on the core that was asked for.
    pub(super) fn pin(&self) -> Result<()> {
        let Some(core) = self.core else { return Ok(()) };
        if core >= rustix::thread::CpuSet::MAX_CPU {
            return Err(Usage(format!("--core {core}: there is no such core")).into());
        }
        let mut cores = rustix::thread::CpuSet::new();
        cores.set(core);
        rustix::thread::sched_setaffinity(None, &cores).map_err(|_| {
            Usage(format!("--core {core}: this machine has no such core for us")).into()
        })
    }
}
