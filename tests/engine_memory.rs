//! What an engine says it will reserve, beside what the process then has more of. Alone
//! in its program, for it looks at the whole process.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use hongbao::engine::{Capacity, Engine, EnvelopeLimits, RiskSettings, SenderLimits};

const MACHINE_PAGE: usize = 4096;
/// What an allocator takes ahead, or had left of what it took before.
const SLACK: usize = 1 << 18;

const LIMITS: EnvelopeLimits = EnvelopeLimits {
    shares_max: 100,
    total_fen_max: 10_000_000,
    share_mean_fen_max: 20_000,
    lifetime_s_max: 86_400,
    pay_within_s: 60,
    senders: SenderLimits::NONE,
};

/// The address space of this process, in bytes.
fn reserved() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').next().unwrap().parse::<usize>().unwrap() * MACHINE_PAGE
}

#[test]
fn an_engine_reserves_what_it_says() {
    let none = LIMITS.senders;
    let senders = SenderLimits { sends_per_day_max: 5, ..none };
    let mut engines = Vec::new(); // kept, so that none has the memory of the one before
    for (envelopes, table_bytes, senders) in [
        (1, 1 << 16, none),
        (1_000_000, 1 << 16, none),
        (1_000_000, 1 << 16, senders),
        (1, 1 << 28, none),
        (500_000, 1 << 27, senders),
    ] {
        let capacity = Capacity { envelopes, table_bytes, retention_s: 60 };
        let limits = EnvelopeLimits { senders, ..LIMITS };
        let before = reserved();
        engines.push(Engine::new(7, capacity, limits));
        let (took, said) = (reserved() - before, Engine::memory_bytes(&capacity, &limits));
        println!("{envelopes} envelopes, {table_bytes} bytes of tables: {said} said, {took} taken");
        assert!(took.abs_diff(said) <= SLACK, "{took} bytes, not {said}");
    }
    for (users_max, holds_max, recent_max) in
        [(0, 0, 0), (500_000, 0, 0), (0, 100_000, 0), (0, 0, 200_000), (100_000, 50_000, 70_000)]
    {
        let risk = RiskSettings { users_max, holds_max, recent_max, ..RiskSettings::OFF };
        let capacity = Capacity { envelopes: 1, table_bytes: 1 << 16, retention_s: 60 };
        let engine = Engine::new(7, capacity, LIMITS);
        let before = reserved();
        engines.push(engine.with_risk(risk));
        let (took, said) = (reserved() - before, Engine::risk_bytes(&risk));
        println!("{risk:?}: {said} said, {took} taken");
        assert!(took.abs_diff(said) <= SLACK, "{took} bytes, not {said}");
    }
}
