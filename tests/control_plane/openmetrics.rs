//! A small strict reader of the `OpenMetrics` text, and what a view with
//! numbers in it must come to: in the text, in the JSON, in the documentation.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hongbao::admin::{RecoveryView, ShardView, Status, View, openmetrics};
use hongbao::follow::ledger::Cursor;
use hongbao::follow::movement::MovementId;
use hongbao::follow::{Report, State};
use hongbao::shard::{Found, Phase, ShardCounters, Standing};
use hongbao::units::Time;
use serde_json::Value;

/// One family while it is read.
#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    has_help: bool,
    /// Of each histogram: the last bound and its count.
    ladders: HashMap<String, (f64, f64)>,
}

/// Checks every line and gives back the samples, their values as written.
pub(crate) fn check(text: &str) -> HashMap<String, String> {
    let body = text.strip_suffix("# EOF\n").expect("the text ends with # EOF");
    let (mut family, mut seen) = (Family::default(), HashSet::new());
    let mut samples = HashMap::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help has words");
            assert!(seen.insert(name.to_owned()), "{name} comes twice");
            assert!(help.ends_with('.') && help.len() > 10, "{line}");
            family = Family { name: name.into(), has_help: true, ..Family::default() };
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(family.has_help && family.name == name, "no help before {line}");
            family.kind = kind.into();
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(family.name == name && name.ends_with(&format!("_{unit}")), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            sample(&mut family, series, value.parse().unwrap_or_else(|_| panic!("{line}")));
            let twice = samples.insert(series.to_owned(), value.to_owned());
            assert!(twice.is_none(), "{series} comes twice");
        }
    }
    for (series, count) in samples.iter().filter(|(series, _)| series.contains("_count{")) {
        let last = series.replace("_count{", "_bucket{le=\"+Inf\",");
        assert_eq!(&samples[&last], count, "{series}");
    }
    samples
}

/// A sample belongs to the family that was announced, in the shape of its kind.
fn sample(family: &mut Family, series: &str, value: f64) {
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("labels end")),
        None => (series, ""),
    };
    let names = labels.split(',').filter(|label| !label.is_empty()).map(|label| {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{series}"));
        assert!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{series}");
        name
    });
    let names: Vec<_> = names.collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{series}");
    let suffix = name.strip_prefix(&family.name).unwrap_or_else(|| panic!("{series} is nobody's"));
    let known: &[&str] = match family.kind.as_str() {
        "counter" => &["_total"],
        "gauge" => &[""],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_sum", "_count"],
        kind => panic!("{kind}"),
    };
    assert!(known.contains(&suffix), "{series} in a {}", family.kind);
    let may_be_negative = name == "hongbao_clock_wall_ahead_seconds";
    assert!(value >= 0.0 || may_be_negative, "{series} {value}");
    if suffix == "_bucket" {
        let (rest, bound) = split_bound(labels);
        let last = family.ladders.insert(rest, (bound, value));
        let (lower, below) = last.unwrap_or((-1.0, 0.0));
        assert!(bound > lower && value >= below, "{series} does not add up");
    }
}

/// The labels of a bucket without its bound, and the bound.
fn split_bound(labels: &str) -> (String, f64) {
    let (bounds, rest): (Vec<_>, Vec<_>) =
        labels.split(',').partition(|label| label.starts_with("le="));
    let [bound] = bounds[..] else { panic!("{labels}: a bucket has one bound") };
    let bound = bound.trim_start_matches("le=").trim_matches('"').replace("+Inf", "inf");
    (rest.join(","), bound.parse().unwrap())
}

/// A busy shard, every number another.
fn busy() -> ShardView {
    let mut counters = ShardCounters { turns: 5, pressure: 2, ..ShardCounters::default() };
    counters.answers[4][0] = 100;
    counters.answers[4][1] = 7;
    counters.answers[31][23] = 1;
    counters.net.connections = 3;
    counters.net.slow_readers = 4;
    (counters.refused_late, counters.refused_pressure, counters.refused_mesh) = (11, 12, 13);
    (counters.totals.funded, counters.totals.left) = (u128::from(u64::MAX) + 1, 1 << 60);
    counters.checkpoints.began_at_ms = 1_700_000_000_000;
    counters.journal.rolls = 6;
    counters.commit_us.record(0, 1);
    counters.commit_us.record(100, 8);
    counters.commit_us.record(u64::MAX / 4, 1);
    counters.batch_records.record(8, 2);
    let recovery = RecoveryView { bytes_all: 9, bytes: 8, records: 7 };
    ShardView { phase: Phase::Ready, recovery, counters }
}

fn view() -> View {
    let idle = ShardView {
        phase: Phase::Recovering,
        recovery: RecoveryView::default(),
        counters: ShardCounters::default(),
    };
    View {
        facts: Arc::new(crate::facts()),
        now: Time(1_700_000_028_500),
        clock: Standing { found: Found::Refuses, ahead_ms: -1500, time: Time(1_700_000_030_000) },
        draining: false,
        reasons: vec!["shard 1: recovering".into()],
        shards: vec![busy(), idle],
        ledger: Some(stopped()),
    }
}

fn stopped() -> Report {
    let id = MovementId { cell: 7, arrangement: 2, shard: 1, batch: 4096, index: 3 };
    let state = State::Poisoned { id: Some(id), reason: "a test".into() };
    let cursor = Cursor { arrangement: 2, shard: 1, position: 4000, ..Cursor::default() };
    let mut report = Report { state, cursors: vec![cursor], records: 9, ..Report::default() };
    (report.lag_bytes, report.lag_ms) = (8192, 1500);
    report.transaction_us.record(100, 2);
    report.transaction_records.record(8, 2);
    report
}

#[test]
fn every_number_of_a_busy_shard_is_in_the_text() {
    let samples = check(&openmetrics(view()));
    for (series, value) in [
        ("hongbao_turns_total{shard=\"0\"}", "5"),
        ("hongbao_answers_total{shard=\"0\",op=\"claim\",status=\"ok\"}", "100"),
        ("hongbao_answers_total{shard=\"0\",op=\"claim\",status=\"already_claimed\"}", "7"),
        ("hongbao_answers_total{shard=\"0\",op=\"op_31\",status=\"status_23\"}", "1"),
        ("hongbao_answers_total{shard=\"1\",op=\"claim\",status=\"ok\"}", "0"),
        ("hongbao_refusals_total{shard=\"0\",reason=\"mesh\"}", "13"),
        ("hongbao_connections_broken_total{shard=\"0\",reason=\"slow_reader\"}", "4"),
        ("hongbao_pressure_level{shard=\"0\"}", "2"),
        ("hongbao_journal_segments_filled_total{shard=\"0\"}", "6"),
        ("hongbao_checkpoint_age_seconds{shard=\"0\"}", "30.0"),
        ("hongbao_money_left_fen{shard=\"0\"}", "1152921504606846976"),
        ("hongbao_commit_seconds_bucket{le=\"0.000064\",shard=\"0\"}", "1"),
        ("hongbao_commit_seconds_bucket{le=\"0.000128\",shard=\"0\"}", "9"),
        ("hongbao_commit_seconds_bucket{le=\"+Inf\",shard=\"0\"}", "10"),
        ("hongbao_batch_records_bucket{le=\"7.0\",shard=\"0\"}", "0"),
        ("hongbao_batch_records_bucket{le=\"15.0\",shard=\"0\"}", "2"),
        ("hongbao_batch_records_sum{shard=\"0\"}", "16.0"),
        ("hongbao_follower_lag_bytes{follower=\"ledger\"}", "8192"),
        ("hongbao_follower_lag_seconds{follower=\"ledger\"}", "1.5"),
        ("hongbao_follower_state{follower=\"ledger\"}", "2"),
        ("hongbao_follower_records_total{follower=\"ledger\"}", "9"),
        ("hongbao_follower_transaction_seconds_count{follower=\"ledger\"}", "2"),
        ("hongbao_follower_transaction_records_sum{follower=\"ledger\"}", "16.0"),
        ("hongbao_start_time_seconds", "1700000000.5"),
        ("hongbao_server_info{version=\"1.2.3\",cell=\"7\",durability=\"sync\"}", "1"),
    ] {
        assert_eq!(samples.get(series).map(String::as_str), Some(value), "{series}");
    }
    assert!(!samples.contains_key("hongbao_checkpoint_age_seconds{shard=\"1\"}"));
}

#[test]
fn money_is_written_as_whole_fen_and_held_at_its_end() {
    let text = openmetrics(view());
    assert!(text.contains("hongbao_money_left_fen{shard=\"0\"} 1152921504606846976\n"));
    let most = format!("hongbao_money_funded_fen_total{{shard=\"0\"}} {}\n", u64::MAX);
    assert!(text.contains(&most), "a sum beyond 64 bits");
    let json = serde_json::to_string(&Status::of(&view())).unwrap();
    assert!(json.contains("\"funded_fen\":18446744073709551616"), "the JSON has all of it");
}

#[test]
fn the_documentation_names_every_metric() {
    let manual = include_str!("../../docs/OPERATIONS.md");
    let text = openmetrics(view());
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let written = format!("`{}{suffix}", name.strip_prefix("hongbao_").unwrap());
        assert!(manual.contains(&written), "docs/OPERATIONS.md does not name {written}`");
    }
}

#[test]
fn the_names_of_the_json_are_stable() {
    let json: Value = serde_json::from_str(
        &serde_json::to_string(&Status::of(&View { shards: vec![busy_in_64_bits()], ..view() }))
            .unwrap(),
    )
    .unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let server = "capacity cell clock data draining durability ledger listen money now_ms ready reasons \
                  shards started_at_ms version";
    assert_eq!(keys(&json).join(" "), server);
    let shard = &json["shards"][0];
    let names = "answer_us answers bad_requests batch_records carried_in carried_out checkpoint \
                 claims commit_us connections envelopes_funded envelopes_open envelopes_reserved \
                 envelopes_voided journal money phase pressure queue_us recovery refused requests \
                 shard tables turns";
    assert_eq!(keys(shard).join(" "), names);
    assert_eq!(shard["answers"]["claim"]["already_claimed"], 7);
    assert_eq!((&shard["phase"], &shard["checkpoint"]["age_s"]), (&"ready".into(), &30.into()));
    assert_eq!(
        (&shard["commit_us"]["p50"], &shard["commit_us"]["count"]),
        (&127.into(), &10.into())
    );
    assert_eq!((&json["ready"], &json["durability"]), (&false.into(), &"sync".into()));
    assert_eq!(json["listen"][1], "/run/hongbao.sock");
    assert_eq!(keys(&json["clock"]).join(" "), "state time_ms wall_ahead_ms");
    let ledger = "cursors lag_bytes lag_ms reason record records state transaction_records \
                  transaction_us";
    assert_eq!(keys(&json["ledger"]).join(" "), ledger);
    assert_eq!(json["ledger"]["record"]["batch"], 4096);
}

/// Without the sum that only the text of the JSON can carry.
fn busy_in_64_bits() -> ShardView {
    let mut busy = busy();
    busy.counters.totals.funded = 1 << 60;
    busy
}

#[test]
fn a_reader_of_another_version_leaves_out_what_it_does_not_know() {
    let status: Status =
        serde_json::from_str(r#"{"ready":true,"news":[1],"shards":[{}]}"#).unwrap();
    assert!(status.ready && status.shards[0].claims == 0);
}
