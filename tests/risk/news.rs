//! What a risk service hears out of the journal: every record that is for it, once, in
//! order, over restarts, kills and other numbers of shards; and how few denials become
//! records, however many there are.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hongbao::config::MaybeListen;
use hongbao::follow::news::NewsOf;
use hongbao::follow::settle::{Ask, Push, Start, Subscription, Told};
use hongbao::units::{EnvelopeId, UserId};
use hongbao::wire::{Mark, Resolution, ResolvedBy, RiskRule};
use hongbao::{Config, Server};

use super::rig::{connect, until};
use super::{WITHHELD, claim, envelopes, equal, start};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that holds shares of 100 fen and tells of it.
fn telling(data: &Path, shards: u16) -> Server {
    let settlement = MaybeListen::At(([127, 0, 0, 1], 0).into());
    let rules = |c| Config { settlement, risk_hold_above_fen: 99, risk_window_s: 43_200, ..c };
    start(data, shards, rules)
}

fn open(server: &Server, shard: u16, from: Start) -> Option<Subscription> {
    let ask = Ask { name: "risk-desk".parse().unwrap(), shard, start: from, window: 1 << 16 };
    Subscription::open(server.settlement().unwrap(), &ask).ok()
}

/// Everything of one shard that is committed and was not acknowledged before.
fn hear(server: &Server, shard: u16, from: Start) -> Vec<Told> {
    let mut opened = None;
    until("the name is free again", PATIENCE, || {
        opened = open(server, shard, from);
        opened.is_some()
    });
    let (mut stream, mut heard) = (opened.unwrap(), Vec::new());
    let end = stream.accepted().committed;
    loop {
        match stream.wait().unwrap() {
            Push::News(told) => {
                heard.extend(told);
                stream.take().unwrap();
            }
            Push::Border { cursor, .. } => {
                stream.acknowledge(cursor).unwrap();
                if cursor.position >= end {
                    return heard;
                }
            }
            Push::Movements(moved) => panic!("{moved:?} to a risk service"),
        }
    }
}

fn hear_all(server: &Server, shards: u16, from: Start) -> Vec<Told> {
    (0..shards).flat_map(|shard| hear(server, shard, from)).collect()
}

/// What was told of each envelope and user, in order.
fn by_share(told: &[Told]) -> BTreeMap<(EnvelopeId, UserId), Vec<NewsOf>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for told in told {
        all.entry((told.news.envelope, told.news.user)).or_default().push(told.news.what);
    }
    all
}

#[test]
fn every_record_is_told_once_and_in_order_over_restarts() {
    for shards in 1..=2 {
        let data = tempfile::tempdir().unwrap();
        let server = telling(data.path(), shards);
        let mut client = connect(&server);
        assert_eq!(hear_all(&server, shards, Start::LeftOff), []);
        client.risk_mark(UserId(9), Mark::Deny(true)).unwrap();
        let sent = envelopes(&mut client, 1, 30);
        for &envelope in &sent {
            for user in [7, 8] {
                assert_eq!(claim(&mut client, envelope, user), WITHHELD);
            }
            client.risk_resolve(envelope, UserId(7), Resolution::Release).unwrap();
            client.risk_resolve(envelope, UserId(7), Resolution::Release).unwrap();
        }
        let first = hear_all(&server, shards, Start::LeftOff);
        let held = first.iter().filter(|told| matches!(told.news.what, NewsOf::Held { .. }));
        assert_eq!(held.count(), 2 * sent.len());
        let marked = NewsOf::Marked { grade: 0, lists: 1 };
        let marks = first.iter().filter(|told| told.news.what == marked).count();
        assert_eq!(marks, usize::from(shards), "every shard keeps it");
        server.drain().unwrap();
        let server = telling(data.path(), shards);
        let mut client = connect(&server);
        for &envelope in &sent {
            client.risk_resolve(envelope, UserId(8), Resolution::Reject).unwrap();
        }
        // What was acknowledged shortly before the restart may come again, the same.
        let second = hear_all(&server, shards, Start::LeftOff);
        let new: Vec<_> = second.into_iter().filter(|told| !first.contains(told)).collect();
        assert_eq!(new.len(), sent.len());
        let all = hear_all(&server, shards, Start::Beginning);
        let told: Vec<_> = first.iter().chain(&new).copied().collect();
        let (by_share, whole) = (by_share(&told), by_share(&all));
        assert_eq!(by_share, whole, "nothing is missing, nothing is twice");
        for &envelope in &sent {
            let of = |user| &whole[&(envelope, UserId(user))];
            let ends =
                |resolution| NewsOf::Resolved { amount: 100, resolution, by: ResolvedBy::Word };
            for (user, end) in [(7, Resolution::Release), (8, Resolution::Reject)] {
                let is_held = |what: &NewsOf| {
                    matches!(what, NewsOf::Held { amount: 100, rule: RiskRule::Amount, .. })
                };
                assert!(is_held(&of(user)[0]) && of(user)[1..] == [ends(end)]);
            }
        }
    }
}

#[test]
fn who_is_denied_again_and_again_is_one_record_for_each_rule() {
    for shards in 1..=2 {
        let data = tempfile::tempdir().unwrap();
        let server = telling(data.path(), shards);
        let mut client = connect(&server);
        let sent = envelopes(&mut client, 1, 12);
        for user in [8, 9] {
            client.risk_mark(UserId(user), Mark::Deny(true)).unwrap();
        }
        for round in 0..20 {
            for &envelope in &sent {
                for user in [8, 9] {
                    assert_eq!(claim(&mut client, envelope, user), WITHHELD, "round {round}");
                }
            }
        }
        let denied = |told: &[Told]| -> Vec<(u64, u32, RiskRule)> {
            let mut denied: Vec<_> = told
                .iter()
                .filter_map(|told| match told.news.what {
                    NewsOf::Denied { amount, rule } => Some((told.news.user.0, amount, rule)),
                    _ => None,
                })
                .collect();
            denied.sort_unstable();
            denied
        };
        let each = [8, 9].map(|user| (user, 100, RiskRule::DenyList));
        assert_eq!(denied(&hear_all(&server, shards, Start::LeftOff)), each);
        until("all of them are counted", PATIENCE, || {
            let denied = server.boards().iter().map(|board| board.counters().risk_denied);
            denied.sum::<u64>() == 20 * 12 * 2
        });
        // The share is there for others all the same, and a restart reads over it.
        server.drain().unwrap();
        let server = telling(data.path(), 3 - shards);
        let mut client = connect(&server);
        let small = client.send(&equal(70, 5, 10, 1)).unwrap().envelope;
        assert_eq!(claim(&mut client, small, 7), super::given(10));
        assert_eq!(claim(&mut client, sent[0], 9), WITHHELD);
        let heard = hear_all(&server, 3 - shards, Start::LeftOff);
        assert_eq!(denied(&heard), [(9, 100, RiskRule::DenyList)], "a start begins anew");
    }
}
