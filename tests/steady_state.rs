//! A running shard allocates nothing, and an idle one uses no processor.
//!
//! One test in this file: its allocator counts one thread, and its idle
//! measure wants no other test beside it.
#![allow(unsafe_code)] // a global allocator is unsafe by its trait
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hongbao::client::Client;
use hongbao::shard::Cover;
use hongbao::units::{EnvelopeId, MoneySource, Split, UserId};
use hongbao::wire::{Command, Payment, PlanPart, PlanTerms, Prize, Request, SendOrder, Slot};
use hongbao::{Config, Server};
use rig::{config, confirm, connect, key_file, order};

/// Counts what the watched thread asks for.
struct Counting;

static WATCHED: AtomicI32 = AtomicI32::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);

fn count() {
    let watched = WATCHED.load(Ordering::Relaxed);
    if watched != 0 && rustix::thread::gettid().as_raw_nonzero().get() == watched {
        ASKED.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller keeps the promises of `dealloc`.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises of `realloc`.
        unsafe { System.realloc(start, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn shard_thread() -> i32 {
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        if std::fs::read_to_string(path.join("comm")).unwrap().trim() == "shard-0" {
            return path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        }
    }
    panic!("no shard thread");
}

/// Processor time of this process, in seconds.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap()).as_secs_f64()
}

/// Orders that are paid, forged, withdrawn, paid too late, covered, refused and
/// revealed.
fn pay(server: &Server, client: &mut Client, number: u64) {
    let mut reserve = |n: u64, source| {
        let number = number * 10 + n;
        let order = SendOrder { source, payment: 0, ..order(number % 17, number, 5000, 50) };
        client.send(&order).unwrap().envelope
    };
    let [paid, late] = [1, 2].map(|n| reserve(n, MoneySource::Payment));
    let [covered, refused] = [3, 4].map(|n| reserve(n, MoneySource::Balance));
    let way = &server.covers()[0];
    way.push(Cover { envelope: covered, covered: true }).unwrap();
    way.push(Cover { envelope: refused, covered: false }).unwrap();
    way.ring();
    let payment = |envelope| Payment { envelope, payment: number + 1, amount: 5000 };
    client.submit(&Request::Void { envelope: late, sender: UserId((number * 10 + 2) % 17) });
    for id in [2, 1, 1] {
        client.submit(&confirm(id, &payment(paid)));
        client.submit(&confirm(id, &payment(late)));
    }
    for envelope in [paid, late, covered, refused] {
        client.submit(&Request::Reveal { envelope });
        client.submit(&Request::Show { envelope });
    }
    client.flush().unwrap();
    while client.waiting() > 0 {
        client.receive().unwrap();
    }
}

/// A campaign of a slot that lasts, with its plan.
fn sponsor(client: &mut Client) -> EnvelopeId {
    let wanted = SendOrder { split: Split::Prizes, ..order(5, 77_777, 50_000, 10_000) };
    let campaign = client.send(&wanted).unwrap().envelope;
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let start = u32::try_from(since).unwrap();
    for part in [
        PlanPart::Terms(PlanTerms { wins_max: 1, opens_at: start, fallback: 0 }),
        PlanPart::Prize(0, Prize { amount: 5, count: 10_000 }),
        PlanPart::Slot(0, Slot { start, length_s: 600, quota: 10_000 }),
    ] {
        client.campaign_plan(campaign, UserId(5), part).unwrap();
    }
    client.campaign_command(campaign, UserId(5), Command::Start).unwrap();
    campaign
}

/// Shakes that win and that lose, and looks at the campaign.
fn shake(client: &mut Client, campaign: EnvelopeId, number: u64) {
    for user in 0..20 {
        client.submit(&Request::Shake { campaign, user: UserId(number * 10 + user) });
    }
    client.submit(&Request::CampaignStatus { campaign });
    client.submit(&Request::CampaignWins { campaign, user: UserId(number * 10) });
    client.flush().unwrap();
    while client.waiting() > 0 {
        client.receive().unwrap();
    }
}

#[test]
fn the_loop_allocates_nothing_and_an_idle_server_sleeps() {
    let data = tempfile::tempdir().unwrap();
    let payment_keys = Some(key_file(data.path(), &[1]));
    let config = Config {
        payment_keys,
        ledger: hongbao::config::LedgerPlace::Program,
        // With a limit, whose path does all that the one without does.
        receives_per_day_max: 50_000,
        receivers_max: 1000,
        ..config(&data.path().join("data"))
    };
    let server = Server::start(config).unwrap();
    let mut client = connect(&server);
    WATCHED.store(shard_thread(), Ordering::Relaxed);
    let campaign = sponsor(&mut client);

    // Sends, wins, losses, repeats, looks, lists, refunds, payments and bad
    // requests, through several segments of 256 KiB.
    let mut requests = 0u64;
    for n in 0..400 {
        let sent = client.send(&order(n % 17, n, 5000, 50)).unwrap();
        let envelope = sent.envelope;
        for user in 0..60 {
            client.submit(&Request::Claim { envelope, user: UserId(user) });
        }
        client.submit(&Request::Show { envelope });
        client.submit(&Request::Detail { envelope, from: 0, rows_max: 100 });
        client.submit(&Request::Grab { envelope, user: UserId(3) });
        client.submit(&Request::Claim { envelope: EnvelopeId(0), user: UserId(3) });
        client.flush().unwrap();
        while client.waiting() > 0 {
            client.receive().unwrap();
            requests += 1;
        }
        let half = client.send(&order(n % 17, n + 1_000_000, 5000, 50)).unwrap().envelope;
        client.cancel(half, UserId(n % 17)).unwrap();
        pay(&server, &mut client, n + 10_000_000);
        shake(&mut client, campaign, n);
    }
    assert!(client.campaign_status(campaign).unwrap().head.won > 0);
    client.cancel(campaign, UserId(5)).unwrap();
    drop(connect(&server)); // a connection that comes and goes
    client.show(EnvelopeId(0)).unwrap_err();
    let asked = ASKED.load(Ordering::Relaxed);
    WATCHED.store(0, Ordering::Relaxed);
    assert!(requests > 20_000);
    assert_eq!(asked, 0, "the shard's thread used the allocator");
    assert!(server.boards()[0].counters().journal.rolls > 2, "the journal has rolled");

    // Idle, with a connection open: under 0.5 % of a core.
    let settled = Instant::now() + Duration::from_millis(200);
    while Instant::now() < settled {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let share = (cpu_seconds() - cpu) / wall.elapsed().as_secs_f64();
    println!("idle: {:.3} % of a core", share * 100.0);
    assert!(share < 0.005, "idle server uses {:.2} % of a core", share * 100.0);
}
