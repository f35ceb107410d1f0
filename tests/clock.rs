//! The clock on the wall at a start: far behind what was recorded, or far ahead.
//! Nobody sets the machine's clock here; the journals are of other times.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::path::Path;

use hongbao::config::MaybeListen;
use hongbao::journal::{Arrangement, Directory, Identity, MmapStorage, Recovered, Recovering};
use hongbao::net::wall;
use hongbao::units::{Durability, Time};
use hongbao::{Config, Server};
use rig::{config, connect, order};
use serde_json::Value;

const DAY_MS: u64 = 86_400_000;

/// A start on a journal by this clock; the first one writes its time down.
fn opened(data: &Path, clock: Time) -> Recovered {
    let config = config(data);
    let directory = Directory::open(data, config.segment_bytes(), 1).unwrap();
    let arrangement = Arrangement::current_or_first(&directory, 1).unwrap();
    let identity = Identity { cell: config.cell, shard: 0, shards: 1 };
    let storage = MmapStorage::new(&arrangement, identity, config.segment_bytes(), None).unwrap();
    let recovering = Recovering::open(storage, identity, Durability::Sync).unwrap();
    recovering.replay(clock, |_| Ok(())).unwrap().1
}

fn serving(data: &Path) -> Config {
    rig::put_token(data);
    Config { admin: MaybeListen::At(([127, 0, 0, 1], 0).into()), ..config(data) }
}

fn told(server: &Server, request: fn(String) -> minreq::Request, path: &str) -> Value {
    let url = format!("http://{}{path}", server.admin().unwrap());
    let request = request(url).with_header("Authorization", rig::BEARER);
    let answer = request.with_timeout(60).send().unwrap();
    assert_eq!(answer.status_code, 200, "{:?}", answer.as_str());
    serde_json::from_str(answer.as_str().unwrap()).unwrap()
}

#[test]
fn time_goes_on_from_records_that_are_ahead_of_the_wall_until_the_wall_is_accepted() {
    let data = tempfile::tempdir().unwrap();
    let ahead = Time(wall().0 + DAY_MS);
    opened(data.path(), ahead);
    let server = Server::start(serving(data.path())).unwrap();
    let fact = server.facts().iter().find(|fact| fact.contains("the clock on the wall is"));
    assert!(fact.is_some_and(|fact| fact.starts_with("warning ")), "{:?}", server.facts());
    let clock = told(&server, minreq::get, "/clock");
    assert_eq!(clock["state"], "refused", "{clock}");
    assert!(clock["wall_ahead_ms"].as_i64().unwrap() < -80_000_000, "{clock}");
    let mut client = connect(&server);
    let envelope = client.send(&order(7, 1, 500, 5)).unwrap().envelope;
    let summary = client.show(envelope).unwrap();
    assert!(summary.created_at >= ahead.seconds(), "{summary:?}");

    let clock = told(&server, minreq::post, "/clock/accept");
    assert_eq!(clock["state"], "stands", "{clock}");
    let again = told(&server, minreq::get, "/status");
    assert_eq!((&again["clock"]["state"], &again["ready"]), (&"stands".into(), &true.into()));
    assert_eq!(again["clock"]["time_ms"], clock["time_ms"], "it stands");
    let envelope = client.send(&order(7, 2, 500, 5)).unwrap().envelope;
    let later = client.show(envelope).unwrap();
    assert!(later.created_at >= summary.created_at, "time never runs back");
    server.drain().unwrap();
    assert!(opened(data.path(), Time(0)).last_time >= ahead);
}

#[test]
fn a_start_far_ahead_of_the_last_record_is_refused_and_does_not_write_its_time_down() {
    let data = tempfile::tempdir().unwrap();
    let before = Time(wall().0 - DAY_MS);
    opened(data.path(), before);
    let wary = Config { clock_ahead_s_max: 3600, ..serving(data.path()) };
    let Err(refused) = Server::start(wary.clone()) else { panic!("it starts") };
    let refused = refused.to_string();
    assert!(refused.contains("s ahead of the last record") && !refused.contains('\n'), "{refused}");
    assert_eq!(opened(data.path(), wall()).last_time, before, "the wall was not believed");
    let server = Server::start(Config { clock_ahead_s_max: 0, ..wary.clone() }).unwrap();
    let fact = server.facts().iter().find(|fact| fact.contains("the last record is 1 d"));
    assert!(fact.is_some(), "{:?}", server.facts());
    connect(&server).send(&order(7, 1, 500, 5)).unwrap();
    server.drain().unwrap();
    Server::start(wary).unwrap().drain().unwrap();
}
