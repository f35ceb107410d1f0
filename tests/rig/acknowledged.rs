//! What clients were told, and whether a server still says the same.

use std::collections::HashMap;

use hongbao::client::Client;
use hongbao::units::{EnvelopeId, UserId};
use hongbao::wire::{ReplyBody, Request, Status};

use super::{Process, address, order};

const CLIENTS: u64 = 3;
const DEPTH: u64 = 32;
const SHARES: u32 = 60;

/// The amount of every share that somebody was told of.
pub type Acknowledged = HashMap<(EnvelopeId, UserId), u64>;

/// Claims from several clients until the server is gone. `round` numbers their
/// orders, so that rounds do not meet.
pub struct Crowd(Vec<std::thread::JoinHandle<Acknowledged>>);

impl Crowd {
    pub fn at(server: &Process, round: u64, lifetime_s: u32) -> Self {
        Self::on(&server.address, round, lifetime_s)
    }

    pub fn on(address: &str, round: u64, lifetime_s: u32) -> Self {
        let clients = (0..CLIENTS).map(|number| {
            let address = address.to_owned();
            let sender = round * CLIENTS + number;
            std::thread::spawn(move || claim_until_killed(&address, sender, lifetime_s))
        });
        Self(clients.collect())
    }

    /// What all of them were told, once the server is gone.
    pub fn told(self) -> Acknowledged {
        self.0.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

/// Claims until the connection breaks, and returns what was acknowledged. New
/// envelopes are sent along the way, so every kind of record is cut.
fn claim_until_killed(address: &str, sender: u64, lifetime_s: u32) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    let Ok(mut client) = Client::connect(&super::address(address)) else { return acknowledged };
    for n in 0.. {
        // Of each sender, so that every shard has some of them.
        let wanted = order(sender + n * 1_000_003, n, 6000, SHARES);
        let wanted = hongbao::wire::SendOrder { lifetime_s, ..wanted };
        let Ok(sent) = client.send(&wanted) else { break };
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

/// Asserts that the server still says what was acknowledged, and that every
/// envelope's money adds up.
pub fn verify(server: &Process, acknowledged: &Acknowledged) {
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
