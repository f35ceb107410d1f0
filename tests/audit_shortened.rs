//! The audit of a journal that checkpoints have shortened: what was before its
//! first batch comes from the oldest whole checkpoint, and a lie about it is
//! found as well.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::path::Path;
use std::time::Duration;

use hongbao::audit::{AuditError, Report, Settings, audit};
use hongbao::engine::{Claimed, Misfit, Record};
use hongbao::follow::ledger::embedded::Reading;
use hongbao::journal::{
    Arrangement, Directory, Identity, MmapStorage, Position, Recovering, Replica, Unfit,
};
use hongbao::units::{Durability, EnvelopeId, Time, UserId};
use hongbao::{Config, Server};
use rig::acknowledged::Crowd;
use rig::{config, connect, order, until};

const SEGMENT: usize = 128 << 10;

fn audited(data: &Path, online: bool) -> Result<Report, AuditError> {
    let mut ledger = Reading::open(data).unwrap().expect("a ledger");
    let settings = Settings { online, draws: true, utc_offset_min: 0 };
    audit(data, Some(&mut ledger), settings, &mut |_| {})
}

/// A recovery that keeps nothing, so that anything can be written after it.
struct Nothing;

impl Replica for Nothing {
    fn load(&mut self, _: &[u8]) -> Result<u64, Unfit> {
        Ok(0)
    }

    fn apply(&mut self, _: &[(Position, Record)]) -> Result<(), (Position, Misfit)> {
        Ok(())
    }
}

/// Appends a record that no engine has decided.
fn lie(data: &Path, record: &Record) {
    let directory = Directory::open(data, SEGMENT, 1).unwrap();
    let arrangement = Arrangement::current(&directory).unwrap().unwrap();
    let identity = Identity { cell: Config::default().cell, shard: 0, shards: 1 };
    let storage = MmapStorage::new(&arrangement, identity, SEGMENT, None).unwrap();
    let recovering = Recovering::open(storage, identity, Durability::Sync).unwrap();
    let (mut journal, recovered) = recovering.recover(Time(0), &mut Nothing, &|_| {}).unwrap();
    journal.append(record, recovered.last_time).unwrap();
    journal.commit(recovered.last_time).unwrap();
}

#[test]
fn what_was_before_a_shortened_journal_counts() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = place.path().join("data");
    let settings = Config {
        segment_kib: 128,
        checkpoint_interval_s: 1,
        envelopes_max: 400_000,
        ledger: hongbao::config::LedgerPlace::Embedded,
        ..config(&data)
    };
    let server = Server::start(settings).unwrap();
    let mut client = connect(&server);
    let early = client.send(&order(7, 1, 1000, 10)).unwrap().envelope;
    let amount = client.claim(early, UserId(1)).unwrap().amount;
    let crowd = Crowd::on(&server.address().to_string(), 0, 3600);
    let mut online = 0;
    until("the beginning is gone", Duration::from_secs(60), || {
        let report = match audited(&data, true) {
            // Segments go while they are read; then it says so.
            Err(AuditError::Freed { .. }) => return false,
            audited => audited.unwrap(),
        };
        online += 1;
        report.shards[0].from > Position(0)
    });
    server.drain().unwrap();
    let told = crowd.told();
    let report = audited(&data, false).unwrap();
    let shard = &report.shards[0];
    assert!(shard.checkpoint.is_some() && shard.from > Position(0));
    assert!(report.balance.before > 0 && report.balance.is_even());
    assert!(report.ledger.unwrap().bookings < u64::try_from(told.len()).unwrap() + 1);
    println!(
        "{online} audits beside the server; {} claims, {} records left",
        told.len(),
        shard.records
    );

    let at = u32::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let twice = |envelope: EnvelopeId, user| {
        Record::Claimed(Claimed { envelope, user: UserId(user), amount: 1, rank: 1, at })
    };
    lie(&data, &twice(early, 1));
    let settings = Settings::default();
    let found = audit(&data, None, settings, &mut |_| {}).unwrap_err().to_string();
    assert!(found.contains("user 1 got a second share"), "{found} (it has {amount} fen)");
}
