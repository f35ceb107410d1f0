//! Ten million envelopes whose time ends within one minute, while claims on
//! others go on: what the claims feel, second by second.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;
use hongbao::client::{Address, Client};
use hongbao::units::{MoneySource, Split, UserId};
use hongbao::wire::{Request, SendOrder, Status};

use crate::Setup;
use crate::load::{Load, load};
use crate::server::{Plan, Server, program};

/// Of an envelope that expires; nobody claims one, so all of it goes back.
const SHARES: u32 = 5;
const TOTAL: u64 = 500;

/// Of an envelope that the claims are on.
const BESIDE_SHARES: u32 = 60;

/// Orders that are on their way together.
const AT_ONCE: u32 = 2048;

/// What the load needs to send its own envelopes, in seconds.
const STOCK: u32 = 3;

/// How long the claims go on after the last should have expired, in seconds: it
/// may do so a second later than its order asked, and the load may have begun as
/// much earlier as it took less for its own envelopes.
const AFTER: u32 = STOCK + 3;

/// `figures expiry`.
#[derive(Args)]
pub(crate) struct Expiry {
    /// Within so many seconds all of them expire
    #[arg(long, default_value_t = 60)]
    window: u32,
    /// Claims a second on other envelopes meanwhile
    #[arg(long, default_value_t = 1_000_000)]
    rate: u32,
    /// For so many seconds before the first expires, too
    #[arg(long, default_value_t = 10)]
    before: u32,
    /// From the first order to the first expiry, in seconds [default: what so
    /// many orders take on a slow machine]
    #[arg(long)]
    lead: Option<u32>,
}

/// One second of the load.
struct Second {
    answered: u64,
    p99_us: f64,
    expired: u64,
}

pub(crate) fn figure(setup: &Setup, expiry: &Expiry) -> Result<()> {
    let Expiry { window, rate, before, lead } = *expiry;
    ensure!(window > 0, "--window is at least one second");
    let envelopes = setup.envelopes.unwrap_or(10_000_000);
    let lead = lead.unwrap_or(before + STOCK + 10 + envelopes / 100_000);
    println!("expiry, {envelopes} envelopes within {window} s beside {rate} claims/s; one run");
    let seconds = before + window + AFTER;
    let others = claimed_envelopes(rate, seconds);
    let claims = Claims { rate, seconds, others };
    let floor = claims.play(setup, &Server::floor(setup)?)?;
    let more = (others, BESIDE_SHARES);
    let plan = Plan { shards: 1, envelopes, shares: SHARES, more, admin: true, ..Plan::default() };
    let server = Server::hongbao(setup, &plan)?;
    let first_end = now_s()? + lead;
    send(&server, envelopes, first_end, window)?;
    wait_until(first_end.saturating_sub(before + STOCK))?;
    let watch = Watch::begin(&server)?;
    let mut ours = claims.play(setup, &server)?;
    let ended = Instant::now();
    let expired = watch.end()?;
    note_expired(&mut ours, &expired, ended);
    tell(&ours, &floor);
    let all = count(&expired, ended);
    ensure!(all == u64::from(envelopes), "only {all} of {envelopes} envelopes expired in time");
    Ok(())
}

/// Enters what expired in which second; the last of them has just `ended`.
fn note_expired(seconds: &mut [Second], expired: &Expired, ended: Instant) {
    for (second, left) in seconds.iter_mut().rev().zip(1..) {
        let from = ended.checked_sub(Duration::from_secs(left)).unwrap_or(ended);
        second.expired = count(expired, from + Duration::from_secs(1)) - count(expired, from);
    }
}

/// Enough for every claim to find a share.
fn claimed_envelopes(rate: u32, seconds: u32) -> u32 {
    rate.saturating_mul(seconds) / BESIDE_SHARES + 1
}

fn now_s() -> Result<u32> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    u32::try_from(now).context("the clock is beyond the protocol's seconds")
}

fn wait_until(second: u32) -> Result<()> {
    let left = second.checked_sub(now_s()?).context("the orders took too long: raise --lead")?;
    std::thread::sleep(Duration::from_secs(left.into()));
    Ok(())
}

/// Sends the envelopes, evenly over the seconds of their ends.
fn send(server: &Server, envelopes: u32, first_end: u32, window: u32) -> Result<()> {
    let address: Address = server.address.parse().map_err(anyhow::Error::msg)?;
    let mut client = Client::connect(&address)?;
    for from in (0..envelopes).step_by(usize::try_from(AT_ONCE)?) {
        let now = now_s()?;
        for number in from..envelopes.min(from + AT_ONCE) {
            let end = first_end + number % window;
            let lifetime_s = end.checked_sub(now).filter(|left| *left > 0);
            let lifetime_s = lifetime_s.context("the orders took too long: raise --lead")?;
            client.submit(&Request::Send(order(number, lifetime_s)));
        }
        client.flush()?;
        while client.waiting() > 0 {
            let reply = client.receive()?;
            ensure!(reply.status == Status::Ok, "an order was answered with {:?}", reply.status);
        }
    }
    Ok(())
}

/// Of senders that no load has.
fn order(number: u32, lifetime_s: u32) -> SendOrder {
    SendOrder {
        nonce: 0,
        source: MoneySource::Vouched,
        sender: UserId(1 << 40 | u64::from(number / 8)),
        order: number.into(),
        payment: number.into(),
        total: TOTAL,
        shares: SHARES,
        lifetime_s,
        share_max: 0,
        split: Split::DoubleMean,
    }
}

/// The load.
struct Claims {
    rate: u32,
    seconds: u32,
    others: u32,
}

impl Claims {
    fn play(&self, setup: &Setup, server: &Server) -> Result<Vec<Second>> {
        let Self { rate, seconds, others } = self;
        let timeline = tempfile::NamedTempFile::new()?;
        let flags = format!(
            "--mix rush --conns 64 --rate {rate} --seconds {seconds} --envelopes {others} \
             --shares {BESIDE_SHARES} --timeline {}",
            timeline.path().display()
        );
        let Load { errors, refused, .. } = load(setup, server, false, &flags)?;
        ensure!(errors == 0, "{errors} errors");
        if refused > 0 {
            println!("{refused} claims were refused under pressure");
        }
        let text = std::fs::read_to_string(timeline.path())?;
        text.lines().skip(1).map(second).collect()
    }
}

/// A line of the timeline: second, offered, sent, useful, late, refused, p99.
fn second(line: &str) -> Result<Second> {
    let fields: Vec<&str> = line.split(',').collect();
    let [_, _, _, useful, late, _, p99_us] = fields[..] else {
        anyhow::bail!("a line of the timeline is not whole: {line}");
    };
    let answered = useful.parse::<u64>()? + late.parse::<u64>()?;
    Ok(Second { answered, p99_us: p99_us.parse()?, expired: 0 })
}

/// How many envelopes had expired by when, as the server's refunds tell.
type Expired = Vec<(Instant, u64)>;

fn count(expired: &Expired, by: Instant) -> u64 {
    let after = expired.partition_point(|(at, _)| *at <= by);
    after.checked_sub(1).map_or(0, |at| expired[at].1)
}

/// `hb stats --watch` beside the load.
struct Watch {
    stats: Child,
    seen: JoinHandle<Result<Expired>>,
}

impl Watch {
    fn begin(server: &Server) -> Result<Self> {
        let admin = server.admin.as_ref().context("the server has a control plane")?;
        let mut command = Command::new(program("hb")?);
        command.args(["--json", "stats", "--watch", "--every", "200ms", "--admin", admin]);
        let mut stats = command.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(stats.stdout.take().context("it has an output")?).lines();
        let seen = std::thread::spawn(move || {
            lines
                .map(|line| {
                    let stats: serde_json::Value = serde_json::from_str(&line?)?;
                    let fen = stats["money"]["refunded_fen"].as_u64().context("no refunds")?;
                    Ok((Instant::now(), fen / TOTAL))
                })
                .collect()
        });
        Ok(Self { stats, seen })
    }

    /// One more look, and what was seen.
    fn end(mut self) -> Result<Expired> {
        std::thread::sleep(Duration::from_millis(500));
        self.stats.kill()?;
        self.stats.wait()?;
        self.seen.join().map_err(|_| anyhow::anyhow!("the watching thread panicked"))?
    }
}

fn tell(ours: &[Second], floor: &[Second]) {
    println!(
        "{:>6} {:>10} {:>10} {:>9} {:>9}",
        "second", "expired", "answers", "p99 us", "floor us"
    );
    for (number, (ours, floor)) in ours.iter().zip(floor).enumerate() {
        let Second { answered, p99_us, expired } = ours;
        let floor = floor.p99_us;
        println!("{number:>6} {expired:>10} {answered:>10} {p99_us:>9.0} {floor:>9.0}");
    }
    let first = ours.iter().position(|second| second.expired > 0).unwrap_or(ours.len());
    let last = ours.iter().rposition(|second| second.expired > 0).map_or(first, |last| last + 1);
    let spread = |seconds: &[Second]| {
        let mut p99s: Vec<f64> = seconds.iter().map(|second| second.p99_us).collect();
        p99s.sort_by(f64::total_cmp);
        let at = |place: usize| p99s.get(place).copied().unwrap_or(f64::NAN);
        format!(
            "{:.0} us in the median second, {:.0} in the worst",
            at(p99s.len() / 2),
            at(p99s.len().saturating_sub(1))
        )
    };
    println!("p99 before: {}", spread(&ours[..first]));
    println!("p99 while {} s of them expire: {}", last - first, spread(&ours[first..last]));
    println!("p99 of the floor: {}", spread(floor));
}
