//! A crowd that shakes, and whether what it was told keeps to the plan.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hongbao::Server;
use hongbao::client::Client;
use hongbao::units::{EnvelopeId, MoneySource, Split, UserId};
use hongbao::wire::{
    Command, PlanPart, PlanTerms, Prize, ReplyBody, Request, SendOrder, Slot, Status,
};

use crate::rig::{address, until};

pub(crate) const SPONSOR: UserId = UserId(77);

/// What a losing shake is told.
const FALLBACK: u32 = 7;

const CLIENTS: u64 = 3;
const DEPTH: usize = 64;

pub(crate) fn now() -> u32 {
    u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// A day that begins between 2 and 22 hours from now: no test sees two.
pub(crate) fn offset_far_from_midnight() -> i32 {
    if (7200..79_200).contains(&(now() % 86_400)) { 0 } else { 720 }
}

pub(crate) fn wait_for(what: &str, reached: impl FnMut() -> bool) {
    until(what, Duration::from_secs(60), reached);
}

/// A client at a shard's own door.
pub(crate) fn door(server: &Server, shard: usize) -> Client {
    let hello = Client::connect(&address(&server.address().to_string())).unwrap().hello().clone();
    let at = SocketAddr::new(server.address().ip(), hello.ports[shard]);
    Client::connect(&address(&at.to_string())).unwrap()
}

pub(crate) fn doors(server: &Server) -> Vec<Client> {
    (0..server.boards().len()).map(|shard| door(server, shard)).collect()
}

/// A campaign that was started; its slots follow from the moment.
pub(crate) fn sponsored(
    client: &mut Client,
    order: u64,
    prizes: &[(u32, u32)],
    slots: impl Fn(u32) -> Vec<Slot>,
    wins_max: u32,
) -> (EnvelopeId, Vec<Slot>) {
    let slots = slots(now());
    let money = prizes.iter().map(|&(amount, count)| u64::from(amount) * u64::from(count));
    let order = SendOrder {
        sender: SPONSOR,
        order,
        payment: order,
        total: money.sum(),
        shares: prizes.iter().map(|(_, count)| count).sum(),
        lifetime_s: 7200,
        share_max: 0,
        split: Split::Prizes,
        source: MoneySource::Vouched,
        nonce: 0,
    };
    let campaign = client.send(&order).unwrap().envelope;
    let terms = PlanTerms { wins_max, opens_at: slots[0].start.min(now()), fallback: FALLBACK };
    let kinds = prizes.iter().map(|&(amount, count)| Prize { amount, count });
    let kinds = (0..).zip(kinds).map(|(kind, prize)| PlanPart::Prize(kind, prize));
    let rounds = (0..).zip(&slots).map(|(number, slot)| PlanPart::Slot(number, *slot));
    for part in [PlanPart::Terms(terms)].into_iter().chain(kinds).chain(rounds) {
        assert!(!client.campaign_plan(campaign, SPONSOR, part).unwrap());
    }
    assert!(!client.campaign_command(campaign, SPONSOR, Command::Start).unwrap());
    (campaign, slots)
}

/// The prizes that somebody was told to have won.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) won: Vec<(UserId, u64)>,
    pub(crate) shakes: u64,
}

/// Clients that shake until they are stopped or the server is gone.
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Told>>,
}

impl Crowd {
    /// So many users, through all doors.
    pub(crate) fn on(server: &Server, campaign: EnvelopeId, users: u64) -> Self {
        let shards = server.boards().len();
        let doors = (0..CLIENTS).map(|n| door(server, usize::try_from(n).unwrap() % shards));
        Self::of(doors.collect(), campaign, 0, users)
    }

    /// Users numbered from `first`.
    pub(crate) fn of(clients: Vec<Client>, campaign: EnvelopeId, first: u64, users: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..).zip(clients).map(|(number, mut client): (u64, Client)| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut told = Told::default();
                let mut next = number * 1_000_003;
                let mut user = move || {
                    next += 1;
                    UserId(first + next % users)
                };
                while !stop.load(Ordering::Relaxed) {
                    if shake(&mut client, campaign, &mut user, &mut told).is_none() {
                        break; // the server is gone
                    }
                }
                told
            })
        });
        let clients = clients.collect();
        Self { stop, clients }
    }

    pub(crate) fn stop(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for told in self.clients.into_iter().map(|client| client.join().unwrap()) {
            all.won.extend(told.won);
            all.shakes += told.shakes;
        }
        all
    }
}

/// Some shakes at once.
fn shake(
    client: &mut Client,
    campaign: EnvelopeId,
    next: &mut impl FnMut() -> UserId,
    told: &mut Told,
) -> Option<()> {
    let mut asked = HashMap::new();
    for _ in 0..DEPTH {
        let user = next();
        asked.insert(client.submit(&Request::Shake { campaign, user }), user);
    }
    client.flush().ok()?;
    while client.waiting() > 0 {
        let reply = client.receive().ok()?;
        told.shakes += 1;
        match (reply.status, reply.body) {
            (Status::Ok, ReplyBody::Amount(amount)) => {
                told.won.push((asked[&reply.tag], amount));
            }
            (Status::NothingWon, ReplyBody::None) => assert_eq!(reply.detail, FALLBACK),
            (Status::AlreadyClaimed, ReplyBody::Amount(_))
            | (Status::NotOpen | Status::SoldOut | Status::Overloaded, ReplyBody::None) => {}
            other => panic!("{other:?}"),
        }
    }
    Some(())
}

/// Every win that was told is listed, and what is listed keeps to the plan: in
/// each slot, of each kind, and for each user.
pub(crate) fn check(client: &mut Client, campaign: EnvelopeId, told: &Told) {
    let status = client.campaign_status(campaign).unwrap();
    let rows = client.detail(campaign).unwrap().rows;
    let mut listed: HashMap<(UserId, u64), u32> = HashMap::new();
    let mut by_user: HashMap<UserId, Vec<u32>> = HashMap::new();
    for row in &rows {
        *listed.entry((row.user, row.amount.into())).or_default() += 1;
        by_user.entry(row.user).or_default().push(row.at);
    }
    for win in &told.won {
        let left = listed.get_mut(win).filter(|left| **left > 0);
        *left.unwrap_or_else(|| panic!("{win:?} was told and is not listed")) -= 1;
    }
    for (prize, won) in &status.prizes {
        let count = rows.iter().filter(|row| row.amount == prize.amount).count();
        assert_eq!(count, usize::try_from(*won).unwrap());
        assert!(won <= &prize.count, "{won} of {} prizes of {}", prize.count, prize.amount);
    }
    let (mut planned, mut won) = (0, 0);
    for (slot, count) in &status.slots {
        let within = |at: u32| (slot.start..slot.end()).contains(&at);
        let in_slot = rows.iter().filter(|row| within(row.at)).count();
        assert_eq!(in_slot, usize::try_from(*count).unwrap());
        (planned, won) = (planned + slot.quota, won + count);
        assert!(won <= planned, "{won} of {planned} up to the slot from {}", slot.start);
        for (user, wins) in &by_user {
            assert!(wins.iter().filter(|at| within(**at)).count() <= 1, "user {user} in one slot");
        }
    }
    assert_eq!(usize::try_from(won).unwrap(), rows.len(), "nothing was won outside slots");
    let most = by_user.values().map(Vec::len).max().unwrap_or(0);
    assert!(most <= usize::try_from(status.head.terms.wins_max).unwrap());
    let summary = client.show(campaign).unwrap();
    let given: u64 = rows.iter().map(|row| u64::from(row.amount)).sum();
    assert_eq!(summary.total, given + summary.left + summary.refunded);
    assert_eq!(given, status.head.won_fen);
}
