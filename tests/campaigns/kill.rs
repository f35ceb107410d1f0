//! SIGKILL in the middle of a campaign, again and again, with another number of
//! shards each time.

use std::time::Duration;

use hongbao::audit::{Settings, audit};
use hongbao::client::Client;
use hongbao::wire::Slot;

use crate::crowd::{Crowd, Told, check, sponsored};
use crate::rig::{Process, address};

fn kills() -> u64 {
    std::env::var("KILLS").map_or(9, |text| text.parse().expect("a number"))
}

/// A checkpoint a second, so that campaigns come out of images too.
fn serve(data: &std::path::Path, shards: &str) -> Process {
    let flags = ["--shards", shards, "--checkpoint-interval-s", "1", "--segment-kib", "128"];
    Process::start(data, &flags)
}

fn clients(server: &Process) -> Vec<Client> {
    (0..3).filter_map(|_| Client::connect(&address(&server.address)).ok()).collect()
}

#[test]
fn wins_keep_to_the_plan_over_sigkill_with_one_two_and_three_shards() {
    let kills = kills();
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = place.path().join("data");
    let mut server = serve(&data, "1");
    let slots = |now| (0..60).map(|n| Slot { start: now + n, length_s: 1, quota: 200 }).collect();
    let prizes = [(8888, 200), (88, 11_800)];
    let (campaign, _) = sponsored(&mut server.connect(), 1, &prizes, slots, 3);
    let mut all = Told::default();
    for round in 0..kills {
        let crowd = Crowd::of(clients(&server), campaign, 0, 5000);
        // A fixed sequence of moments between 100 and 900 ms.
        std::thread::sleep(Duration::from_millis(100 + round * 337 % 800));
        server.kill();
        let told = crowd.stop();
        all.won.extend(told.won);
        all.shakes += told.shakes;
        server = serve(&data, ["2", "3", "1", "1"][usize::try_from(round % 4).unwrap()]);
        check(&mut server.connect(), campaign, &all);
    }
    println!("{kills} kills, {} shakes, {} wins told, none lost", all.shakes, all.won.len());
    assert!(all.won.len() > 100, "the crowd was cut before it began");
    server.terminate();
    let settings = Settings { online: false, draws: true, utc_offset_min: 0 };
    let report = audit(&data, None, settings, &mut |_| {}).unwrap();
    assert!(report.balance.is_even());
}
