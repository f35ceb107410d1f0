//! The control plane over real HTTP and a real notify socket: boards made by
//! hand where a state is wanted, a real shard where life is.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod living;
mod openmetrics;
mod supervisor;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hongbao::admin::{Admin, AdminSettings, BoundAdmin, ServerFacts, Status, Watched};
use hongbao::net::{Waker, both};
use hongbao::shard::{Board, Chronometer, Phase};
use hongbao::units::{Durability, Time};
use living::Living;

/// A board whose shard does nothing at all.
pub(crate) fn board(phase: Phase) -> Arc<Board> {
    let board = Board::new(Waker::new().unwrap());
    board.enter(phase);
    Arc::new(board)
}

pub(crate) fn facts() -> ServerFacts {
    ServerFacts {
        version: "1.2.3".into(),
        cell: 7,
        shards: 2,
        durability: Durability::Sync,
        listen: vec!["127.0.0.1:7878".into(), "/run/hongbao.sock".into()],
        data: "/var/lib/hongbao".into(),
        started_at: Time(1_700_000_000_500),
        envelopes_max: 2_000_000,
        table_bytes: 1 << 30,
        connections_max: 1024,
        utc_offset_s: 0,
    }
}

const DAY_MS: u64 = 86_400_000;

/// The time of a server since whose start somebody has set the wall ahead.
fn a_day_behind() -> Arc<Chronometer> {
    let (uptime, wall) = both();
    Arc::new(Chronometer::starting(uptime, Time(wall.0 - DAY_MS), 10))
}

/// A control plane on a port of its own, and how often a drain was begun.
fn serve(boards: &[Arc<Board>]) -> (Admin, Arc<AtomicUsize>) {
    let drains = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&drains);
    let drain = Box::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let settings = AdminSettings { listen: ([127, 0, 0, 1], 0).into(), core: None };
    let bound = BoundAdmin::bind(settings).unwrap();
    assert_eq!(bound.warning(), None);
    let (boards, token) = (boards.to_vec(), None);
    let clock = a_day_behind();
    let watched = Watched { boards, facts: facts(), ledger: None, clock, drain, token };
    (bound.start(watched).unwrap(), drains)
}

struct Answer {
    code: u16,
    text: String,
    content_type: String,
}

fn ask(request: minreq::Request) -> Answer {
    let response = request.with_timeout(20).send().unwrap();
    let content_type = response.header("content-type").unwrap_or_default().to_owned();
    Answer { code: response.status_code, text: response.as_str().unwrap().to_owned(), content_type }
}

fn url(admin: &Admin, path: &str) -> String {
    format!("http://{}{path}", admin.address())
}

fn get(admin: &Admin, path: &str) -> Answer {
    ask(minreq::get(url(admin, path)))
}

#[test]
fn readiness_tells_its_reasons_until_every_shard_is_ready() {
    let boards = [board(Phase::Ready), board(Phase::Recovering)];
    boards[1].recovery_bytes.store(4_900_000_000, Ordering::Relaxed);
    boards[1].recovered_bytes.store(2_110_000_000, Ordering::Relaxed);
    let (admin, _) = serve(&boards);
    let told = get(&admin, "/readyz");
    assert_eq!(told.code, 503);
    let reason = "shard 1: recovering, 43 % (2.1 GB of 4.9 GB)";
    assert!(told.text.starts_with(reason) && told.text.lines().count() == 1, "{}", told.text);
    boards[1].enter(Phase::Ready);
    let told = get(&admin, "/readyz");
    assert_eq!((told.code, told.text.as_str()), (200, "ready\n"));
    boards[0].enter(Phase::Draining);
    let told = get(&admin, "/readyz");
    assert_eq!((told.code, told.text.as_str()), (503, "shard 0: draining\n"));
}

#[test]
fn the_recovery_pace_is_known_without_anybody_having_asked_before() {
    let boards = [board(Phase::Recovering)];
    boards[0].recovery_bytes.store(1 << 40, Ordering::Relaxed);
    let (admin, _) = serve(&boards);
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        boards[0].recovered_bytes.fetch_add(1 << 20, Ordering::Relaxed);
        boards[0].recovered_records.fetch_add(1000, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(10));
    }
    let told = get(&admin, "/readyz").text;
    assert!(told.contains("k records/s, ") && told.contains(" left"), "{told}");
}

#[test]
fn a_recovering_server_is_alive_and_says_what_is_not_judged() {
    let (admin, _) = serve(&[board(Phase::Starting), board(Phase::Recovering)]);
    let told = get(&admin, "/livez");
    assert_eq!(told.code, 200);
    assert!(told.text.contains("2 recovering"), "{}", told.text);
}

#[test]
fn an_idle_shard_is_alive_because_a_nudge_makes_it_turn() {
    let living = Living::start();
    let (admin, _) = serve(&[Arc::clone(&living.board)]);
    let before = living.board.counters().turns;
    let begun = Instant::now();
    for _ in 0..20 {
        let told = get(&admin, "/livez");
        assert_eq!((told.code, told.text.as_str()), (200, "alive: every shard turns\n"));
    }
    assert!(living.board.counters().turns >= before + 20);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn liveness_names_the_shard_that_stands_still() {
    let living = Living::start();
    let (admin, _) = serve(&[Arc::clone(&living.board), board(Phase::Ready)]);
    let told = get(&admin, "/livez");
    assert_eq!(told.code, 503);
    assert!(told.text.starts_with("shard 1: ") && told.text.lines().count() == 1, "{}", told.text);
}

#[test]
fn several_callers_share_one_check() {
    let (admin, _) = serve(&[board(Phase::Ready)]);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(get(&admin, "/livez").code, 503));
        }
    });
    // One check is a second; two where somebody came after the first had ended.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_drain_is_begun_once_however_often_it_is_asked_for() {
    let living = Living::start();
    let (admin, drains) = serve(&[Arc::clone(&living.board)]);
    assert_eq!(get(&admin, "/drain").code, 405);
    let browser = minreq::post(url(&admin, "/drain")).with_header("Origin", "http://evil.example");
    assert_eq!(ask(browser).code, 403);
    assert_eq!((drains.load(Ordering::Relaxed), get(&admin, "/readyz").code), (0, 200));
    for _ in 0..3 {
        assert_eq!(ask(minreq::post(url(&admin, "/drain"))).code, 202);
    }
    assert_eq!(drains.load(Ordering::Relaxed), 1);
    let told = get(&admin, "/readyz");
    assert!(told.code == 503 && told.text.starts_with("draining"), "{}", told.text);
    let status: Status = serde_json::from_str(&get(&admin, "/status").text).unwrap();
    assert!(status.draining && !status.ready);
}

#[test]
fn metrics_are_served_as_openmetrics() {
    let living = Living::start();
    let (admin, _) = serve(&[Arc::clone(&living.board), board(Phase::Recovering)]);
    let told = get(&admin, "/metrics");
    assert_eq!(told.code, 200);
    assert_eq!(told.content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let samples = openmetrics::check(&told.text);
    assert_eq!(samples["hongbao_shard_phase{shard=\"1\",phase=\"recovering\"}"], "1");
    assert_eq!(samples["hongbao_shard_phase{shard=\"0\",phase=\"ready\"}"], "1");
    assert_eq!(samples["hongbao_ready"], "0");
}

#[test]
fn an_unknown_path_is_told_the_paths_there_are() {
    let (admin, _) = serve(&[board(Phase::Ready)]);
    let told = get(&admin, "/health");
    assert_eq!(told.code, 404);
    for path in ["/livez", "/readyz", "/metrics", "/status", "/drain"] {
        assert!(told.text.contains(path), "{}", told.text);
    }
}

#[test]
fn a_port_in_use_refuses_and_says_what_to_do() {
    let (admin, _) = serve(&[board(Phase::Ready)]);
    let settings = AdminSettings { listen: admin.address(), core: None };
    let told = BoundAdmin::bind(settings).unwrap_err().to_string();
    assert!(told.contains("in use") && told.contains("--admin"), "{told}");
    let settings = AdminSettings { listen: ([192, 0, 2, 1], 7880).into(), core: None };
    let told = BoundAdmin::bind(settings).unwrap_err().to_string();
    assert!(told.contains("an address of this machine"), "{told}");
    let settings = AdminSettings { listen: ([127, 0, 0, 1], 0).into(), core: Some(9999) };
    assert!(BoundAdmin::bind(settings).unwrap_err().to_string().contains("core 9999"));
}

#[test]
fn a_port_beyond_loopback_comes_with_a_warning() {
    let settings = AdminSettings { listen: ([0, 0, 0, 0], 0).into(), core: None };
    let warning = BoundAdmin::bind(settings).unwrap().warning().unwrap();
    assert!(warning.contains("not on loopback"), "{warning}");
}

#[test]
fn a_dropped_control_plane_gives_its_port_back_at_once() {
    let (admin, _) = serve(&[board(Phase::Ready)]);
    let address = admin.address();
    // A connection that is kept open must not keep the thread.
    let _open = std::net::TcpStream::connect(address).unwrap();
    let begun = Instant::now();
    drop(admin);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_wall_that_was_set_is_told_and_followed_when_an_operator_accepts_it() {
    let (admin, _) = serve(&[board(Phase::Ready)]);
    let clock = |told: &Answer| -> serde_json::Value { serde_json::from_str(&told.text).unwrap() };
    let told = clock(&get(&admin, "/clock"));
    assert_eq!(told["state"], "refused", "{told}");
    let ahead_ms = told["wall_ahead_ms"].as_u64().unwrap();
    assert!(ahead_ms.abs_diff(DAY_MS) <= 2, "{told}");
    let status = clock(&get(&admin, "/status"));
    assert_eq!((&status["clock"]["state"], &status["ready"]), (&"refused".into(), &true.into()));
    let metrics = get(&admin, "/metrics").text;
    assert!(metrics.contains("\nhongbao_clock_state 2\n"), "{metrics}");
    assert!(metrics.contains("\nhongbao_clock_wall_ahead_seconds 86"), "{metrics}");

    let accept = || minreq::post(url(&admin, "/clock/accept"));
    let refused = ask(accept().with_header("Origin", "http://127.0.0.1"));
    assert_eq!(refused.code, 403, "{}", refused.text);
    assert_eq!(clock(&get(&admin, "/clock"))["state"], "refused");
    assert_eq!(clock(&ask(accept()))["state"], "agrees");
    let told = clock(&get(&admin, "/clock"));
    assert!(told["wall_ahead_ms"].as_i64().unwrap().abs() <= 2, "{told}");
}
