//! The follower against a ledger of plain maps: every committed record once and
//! in order, whatever fails in between, and nothing that is skipped in silence.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod books;
#[path = "../rig/disk.rs"]
#[allow(dead_code, unreachable_pub)] // each suite uses its own part of it
mod disk;
mod rig;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use books::Disk;
use hongbao::engine::{Claimed, Issued, Record};
use hongbao::follow::ledger::{LedgerError, Verdict};
use hongbao::follow::movement::MovementId;
use hongbao::follow::{Obstacle, State, follow_to_end};
use hongbao::journal::{CommitFailed, Position};
use hongbao::units::{EnvelopeId, MoneySource, Seed, Split, UserId};
use rig::{Choice, Running, Writer, until, wait_until};

fn envelope(n: u32) -> EnvelopeId {
    EnvelopeId::new(1, 0, n, 1)
}

fn claim(user: u64, amount: u32) -> Record {
    let user = UserId(user);
    Record::Claimed(Claimed { envelope: envelope(1), user, amount, rank: 0, at: 1_700_000_000 })
}

fn order(n: u32, sender: u64, total: u64, source: MoneySource) -> Record {
    Record::Issued(Issued {
        envelope: envelope(n),
        sender: UserId(sender),
        order: n.into(),
        payment: 0,
        total,
        seed: Seed([1, 2]),
        nonce: 0,
        shares: 1,
        share_max: 0,
        lifetime_s: 60,
        pay_within_s: 60,
        at: 1_700_000_000,
        split: Split::Equal,
        source,
        terms_parts: 0,
    })
}

#[test]
fn every_record_counts_once_whatever_fails() {
    println!("seeds 0..20");
    for seed in 0..20 {
        let mut choice = Choice(seed);
        let mut writer = Writer::new(1 + u16::try_from(seed % 3).unwrap());
        let disk = Disk::default();
        for _ in 0..60 {
            let faults = &mut disk.faults.lock().unwrap();
            let call = choice.below(600);
            if choice.below(2) == 0 {
                faults.before.insert(call)
            } else {
                faults.after.insert(call)
            };
        }
        let mut next = 0;
        for _ in 0..4 {
            // Ended at a random moment, and begun again on what is durable.
            let running = Running::begin(&writer, &disk).unwrap();
            for _ in 0..40 {
                let shard = choice.below(writer.shards().into());
                let records = choice.below(300);
                writer.commit(shard, (0..records).map(|n| claim(next + n, 1)));
                next += records;
            }
            drop(running);
        }
        let running = Running::begin(&writer, &disk).unwrap();
        wait_until("all is applied", || running.lag_bytes() == 0 && running.is_running());
        drop(running);
        let books = disk.books();
        for shard in 0..writer.shards() {
            let of_shard = books.applied.iter().filter(|entry| entry.id.shard == shard);
            let applied: Vec<_> = of_shard.map(|e| (e.id.batch, e.id.index, e.record)).collect();
            assert!(applied == writer.naive(shard), "seed {seed}, shard {shard}");
        }
        assert_eq!(u64::try_from(books.applied.len()).unwrap(), next, "seed {seed}");
        assert_eq!(books.sum(), 0, "seed {seed}");
    }
}

#[test]
fn a_ledger_that_is_away_is_waited_for() {
    let mut writer = Writer::new(1);
    let disk = Disk::default();
    disk.faults.lock().unwrap().away = true;
    let running = Running::begin(&writer, &disk).unwrap();
    writer.commit(0, [claim(1, 5)]);
    wait_until("it waits", || matches!(running.state(), State::Waiting { .. }));
    assert_eq!(writer.followed(0).passed(), Position(0), "nothing may be freed");
    let refused = running.withdraw(UserId(1), 5, 1).unwrap_err();
    assert!(refused.0.contains("hb ledger status"), "{refused}");
    disk.faults.lock().unwrap().away = false;
    wait_until("it goes on", || running.is_running() && running.lag_bytes() == 0);
    assert_eq!(disk.books().applied.len(), 1);
    assert_eq!(writer.followed(0).passed(), writer.followed(0).committed());
}

#[test]
fn poison_stops_everything_until_it_is_skipped_with_a_reason() {
    let mut writer = Writer::new(2);
    let disk = Disk::default();
    disk.faults.lock().unwrap().poison = Some(UserId(13));
    let running = Running::begin(&writer, &disk).unwrap();
    writer.commit(0, (0..10).map(|user| claim(user, 1)));
    wait_until("the first are applied", || disk.books().applied.len() == 10);
    let batch = writer.commit(0, (10..20).map(|user| claim(user, 1)));
    wait_until("it has stopped", || matches!(running.state(), State::Poisoned { .. }));
    let State::Poisoned { id: Some(id), reason } = running.state() else { panic!() };
    let named = MovementId { cell: 1, arrangement: 1, shard: 0, batch: batch.0, index: 3 };
    assert_eq!((id, reason.as_str()), (named, "not that one"));
    // Nothing goes on by itself, on no shard, and trying again changes nothing.
    writer.commit(1, [claim(99, 1)]);
    let calls = disk.faults.lock().unwrap().calls + 1;
    running.retry().unwrap();
    let is_poisoned = || matches!(running.state(), State::Poisoned { .. });
    wait_until("it is refused again", || {
        disk.faults.lock().unwrap().calls == calls && is_poisoned()
    });
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(disk.faults.lock().unwrap().calls, calls, "it loops");
    assert_eq!(disk.books().applied.len(), 10);
    running.skip("a test").unwrap();
    wait_until("it goes on", || running.is_running() && running.lag_bytes() == 0);
    let books = disk.books();
    assert_eq!(books.applied.len(), 20, "all but one");
    assert_eq!(books.skipped.get(&named).map(String::as_str), Some("a test"));
    assert!(running.skip("again").unwrap_err().0.contains("nothing to skip"));
}

#[test]
fn poison_that_is_cured_needs_no_skip() {
    let mut writer = Writer::new(1);
    let disk = Disk::default();
    disk.faults.lock().unwrap().poison = Some(UserId(3));
    let running = Running::begin(&writer, &disk).unwrap();
    writer.commit(0, (0..5).map(|user| claim(user, 1)));
    wait_until("it has stopped", || matches!(running.state(), State::Poisoned { .. }));
    disk.faults.lock().unwrap().poison = None;
    running.retry().unwrap();
    wait_until("it goes on", || running.lag_bytes() == 0);
    assert_eq!(disk.books().applied.len(), 5);
}

/// A sync that has failed succeeds the next time and means nothing: what was read then is
/// never applied, however often an operator asks.
#[test]
fn a_sync_that_fails_stops_the_follower_for_good_and_ends_the_process() {
    let words = ["-O", "^has_journal", "-N", "128"];
    let Some(failing) = disk::Disk::made(32, &words) else { return };
    let data = failing.path().join("data");
    let mut writer = Writer::unsynced(data.clone());
    let ended = Arc::<Mutex<Vec<CommitFailed>>>::default();
    let end = Arc::clone(&ended);
    let end = Box::new(move |failed: &CommitFailed| end.lock().unwrap().push(failed.clone()));
    writer.directory().on_failed_sync(end).unwrap();
    let disk = Disk::default();
    let running = Running::begin(&writer, &disk).unwrap();
    writer.commit(0, (0..10).map(|user| claim(user, 1)));
    wait_until("the first are applied", || disk.books().applied.len() == 10);
    let ahead = data.join("arrangement-000001/shard-000/0000000002.seg");
    wait_until("nothing is made ready any more", || ahead.exists());
    if !failing.break_after(0) {
        println!("skipped: no holes can be dug into the image here");
        return;
    }
    writer.commit(0, (10..20).map(|user| claim(user, 1)));
    let has_stopped = || matches!(running.state(), State::Poisoned { .. });
    wait_until("it has stopped", has_stopped);
    let failed = ended.lock().unwrap().clone();
    assert!(failed.len() == 1 && failed[0].file.ends_with("0000000001.seg"), "{failed:?}");
    assert!(data.join("sync-failed").exists());
    failing.heal();
    let _ = running.retry().unwrap();
    wait_until("it has stopped again", has_stopped);
    assert_eq!(disk.books().applied.len(), 10);
    assert_eq!(ended.lock().unwrap().len(), 1, "a process ends once");
    let late = writer.directory().on_failed_sync(Box::new(|_| {}));
    assert_eq!(late.unwrap_err(), failed[0]);
}

#[test]
fn a_withdrawal_sees_what_is_queued() {
    let mut writer = Writer::new(2);
    let disk = Disk::default();
    let running = Running::begin(&writer, &disk).unwrap();
    let mut expected = 0;
    for round in 0..50_u64 {
        for shard in 0..2 {
            writer.commit(shard, (0..200).map(|_| claim(7, 1)));
        }
        expected += 400;
        let left = running.withdraw(UserId(7), 400, round).unwrap().unwrap();
        expected -= 400;
        assert_eq!(left.available, expected, "round {round}");
    }
    let too_much = running.withdraw(UserId(7), 1, 99).unwrap();
    assert!(matches!(too_much, Err(LedgerError::Insufficient { balance: 0 })));
}

#[test]
fn a_lone_order_is_decided_soon_and_verdicts_wait_for_room() {
    let mut writer = Writer::new(2);
    let disk = Disk::default();
    let told = Arc::new(Mutex::new((Vec::new(), true)));
    let running = {
        let told = Arc::clone(&told);
        Running::telling(&writer, &disk, move |shard, waiting| {
            let (told, room) = &mut *told.lock().unwrap();
            if *room {
                told.extend(waiting.drain(..).map(|verdict| (shard, verdict)));
            }
        })
        .unwrap()
    };
    running.deposit(UserId(5), 100, 1).unwrap().unwrap();
    writer.commit(0, [order(2, 5, 60, MoneySource::Balance)]);
    wait_until("the first is decided", || !told.lock().unwrap().0.is_empty());
    told.lock().unwrap().1 = false;
    writer.commit(0, [order(4, 5, 60, MoneySource::Balance)]);
    wait_until("the second is applied", || disk.books().open_orders.len() == 2);
    assert_eq!(told.lock().unwrap().0.len(), 1, "the queue is full");
    told.lock().unwrap().1 = true;
    wait_until("the second is told", || told.lock().unwrap().0.len() == 2);
    let covered = |n, covered| (0, Verdict { envelope: envelope(n), covered });
    assert_eq!(told.lock().unwrap().0, [covered(2, true), covered(4, false)]);
    drop(running);
    // Whether they have arrived, nobody knows after a crash: told again.
    told.lock().unwrap().0.clear();
    let again = Arc::clone(&told);
    let _running = Running::telling(&writer, &disk, move |shard, waiting| {
        again.lock().unwrap().0.extend(waiting.drain(..).map(|verdict| (shard, verdict)));
    });
    wait_until("they are told again", || told.lock().unwrap().0.len() == 2);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let mut writer = Writer::new(1);
    let disk = Disk::default();
    let running = Running::begin(&writer, &disk).unwrap();
    writer.commit(0, (0..10).map(|user| claim(user, 1)));
    wait_until("all is applied", || running.lag_bytes() == 0);
    drop(running);
    let mut shorter = Writer::new(1);
    let ahead = Running::begin(&shorter, &disk).err().unwrap();
    assert!(matches!(ahead, Obstacle::Ahead { shard: 0, .. }), "{ahead}");
    for _ in 0..4 {
        shorter.commit(0, (0..200).map(|user| claim(user, 2)));
    }
    let other = Running::begin(&shorter, &disk).err().unwrap();
    assert!(matches!(other, Obstacle::Journal(_)), "{other}");
    let new = Disk::default();
    let mut followees = writer.followees();
    followees[0].arrangement = 2;
    let added_later = follow_to_end(&mut *new.open().unwrap(), &followees, 1).unwrap_err();
    assert!(added_later.to_string().contains("ledger = none"), "{added_later}");
    // The arrangement after the one in use may be begun, not more.
    let mut ledger = disk.open().unwrap();
    follow_to_end(&mut *ledger, &writer.followees(), 3).unwrap();
    assert_eq!(disk.books().cursors.len(), 4);
    assert_eq!(disk.books().cursors[&(2, 2)].position, 0);
    drop(Running::begin(&writer, &disk).unwrap());
}

#[test]
fn an_arrangement_is_applied_to_its_end_before_it_goes() {
    let mut writer = Writer::new(3);
    let disk = Disk::default();
    for shard in 0..3 {
        for _ in 0..30 {
            writer.commit(shard, (0..100).map(|user| claim(user, 1)));
        }
    }
    let mut ledger = disk.open().unwrap();
    follow_to_end(&mut *ledger, &writer.followees(), 2).unwrap();
    let books = disk.books();
    assert_eq!(books.applied.len(), 9000);
    for shard in 0..3 {
        assert_eq!(books.cursors[&(1, shard)].position, writer.followed(shard).committed().0);
    }
    disk.faults.lock().unwrap().away = true;
    let away = follow_to_end(&mut *ledger, &writer.followees(), 2).unwrap_err();
    assert!(matches!(away, Obstacle::Unreachable(_)), "{away}");
}
