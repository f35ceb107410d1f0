//! SIGKILL at any moment under load: nothing acknowledged is lost and no
//! amount changes. `KILLS=1000 cargo test --release --test kill` for more.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::collections::HashMap;
use std::time::Duration;

use hongbao::client::Client;
use hongbao::units::{EnvelopeId, UserId};
use hongbao::wire::{ReplyBody, Request, Status};
use rig::{Process, address, order};

const CLIENTS: u64 = 3;
const DEPTH: u64 = 32;
const SHARES: u32 = 60;

type Acknowledged = HashMap<(EnvelopeId, UserId), u64>;

/// Claims until the connection breaks, and returns what was acknowledged. New
/// envelopes are sent along the way, so every kind of record is cut.
fn claim_until_killed(address: &str, round: u64, number: u64) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    let Ok(mut client) = Client::connect(&rig::address(address)) else { return acknowledged };
    for n in 0.. {
        let sender = round * CLIENTS + number;
        let Ok(sent) = client.send(&order(sender, n, 6000, SHARES)) else { break };
        if !claim_all(&mut client, sent.envelope, &mut acknowledged) {
            break;
        }
    }
    acknowledged
}

/// One user a share and some more, pipelined; false when the line broke.
fn claim_all(client: &mut Client, envelope: EnvelopeId, told: &mut Acknowledged) -> bool {
    let users = u64::from(SHARES) + 4;
    let mut asked = HashMap::new();
    for first in (0..users).step_by(usize::try_from(DEPTH).unwrap()) {
        for user in first..(first + DEPTH).min(users) {
            let user = UserId(user);
            asked.insert(client.submit(&Request::Claim { envelope, user }), user);
        }
        if client.flush().is_err() {
            return false;
        }
        while client.waiting() > 0 {
            let Ok(reply) = client.receive() else { return false };
            if let (Status::Ok, ReplyBody::Amount(amount)) = (reply.status, reply.body) {
                told.insert((envelope, asked[&reply.tag]), amount);
            }
        }
    }
    true
}

fn verify(server: &Process, acknowledged: &Acknowledged) {
    let mut client = Client::connect(&address(&server.address)).unwrap();
    let mut by_envelope: HashMap<EnvelopeId, Vec<(UserId, u64)>> = HashMap::new();
    for (&(envelope, user), &amount) in acknowledged {
        by_envelope.entry(envelope).or_default().push((user, amount));
    }
    for (envelope, claims) in by_envelope {
        let summary = client.show(envelope).expect("an acknowledged envelope is there");
        let rows = client.detail(envelope).unwrap().rows;
        let sum: u64 = rows.iter().map(|row| u64::from(row.amount)).sum();
        assert_eq!(summary.total, sum + summary.left + summary.refunded);
        let shares: HashMap<_, _> =
            rows.iter().map(|row| (row.user, u64::from(row.amount))).collect();
        assert_eq!(shares.len(), rows.len(), "nobody has two shares");
        for (user, amount) in claims {
            assert_eq!(shares.get(&user), Some(&amount), "envelope {envelope}, user {user}");
        }
    }
}

#[test]
fn what_was_acknowledged_survives_sigkill_with_its_amount() {
    let kills: u64 = std::env::var("KILLS").map_or(20, |text| text.parse().expect("a number"));
    let data = tempfile::tempdir().unwrap();
    let mut all = Acknowledged::new();
    let mut server = Process::start(data.path(), &[]);
    for round in 0..kills {
        // A fixed sequence of moments between 10 and 90 ms after the start.
        let moment = Duration::from_millis(10 + round * 37 % 80);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let address = server.address.clone();
                std::thread::spawn(move || claim_until_killed(&address, round, number))
            })
            .collect();
        std::thread::sleep(moment);
        server.kill();
        let mut latest = Acknowledged::new();
        for client in clients {
            latest.extend(client.join().unwrap());
        }
        server = Process::start(data.path(), &["--envelopes-max", "2000000"]);
        verify(&server, &latest);
        all.extend(latest);
    }
    verify(&server, &all);
    println!("{kills} kills, {} claims acknowledged, none lost", all.len());
    assert!(all.len() > 100, "the load was cut before it began");
}
