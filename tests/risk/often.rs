//! How often something is done in a window: from a device or an address, by tries,
//! by wrong guesses; over shards, doors, restarts and kills.

use std::path::Path;
use std::time::Duration;

use hongbao::Config;
use hongbao::audit::{Settings as AuditSettings, audit};
use hongbao::client::{Client, ClientError, Shaken};
use hongbao::units::{EnvelopeId, Split, UserId};
use hongbao::wire::{
    Command, Evidence, Password, PlanPart, PlanTerms, Prize, RiskRule, RiskStep, SendOrder, Slot,
    Status, Tags, Terms, WrongPassword,
};

use super::rig::{Process, connect, key_file, order, until};
use super::{WITHHELD, claim, doors, envelopes, equal, given, start};

const PATIENCE: Duration = Duration::from_secs(60);

/// A window that no test outlives.
const WINDOW_S: u32 = 43_200;

fn from(device: u64, address: u64) -> Tags {
    Tags { device: Some(device), address: Some(address) }
}

fn shown(tags: Tags) -> Evidence<'static> {
    Evidence { tags, ..Evidence::default() }
}

/// What a claim from somewhere is told.
fn claim_from(client: &mut Client, envelope: EnvelopeId, user: u64, tags: Tags) -> Status {
    said(client, envelope, user, &shown(tags)).0
}

fn said(client: &mut Client, envelope: EnvelopeId, user: u64, with: &Evidence) -> (Status, u32) {
    match client.claim_with(envelope, UserId(user), with) {
        Ok(claimed) if claimed.repeated => (Status::AlreadyClaimed, 0),
        Ok(_) => (Status::Ok, 0),
        Err(ClientError::Refused(refusal)) => (refusal.status, refusal.detail),
        Err(other) => panic!("{other}"),
    }
}

/// The rules that denied or held something, in the order of shards and events.
fn rules_told(client: &mut Client, user: u64) -> Vec<(RiskStep, Option<RiskRule>)> {
    let events = client.risk_feed(&mut Vec::new()).unwrap();
    let of_user = events.iter().filter(|event| event.user == UserId(user));
    of_user.map(|event| (event.what, event.rule)).collect()
}

#[test]
fn wins_from_a_device_are_counted_whoever_uses_it_over_all_shards_and_restarts() {
    for (shards, then) in [(1, 2), (2, 2), (3, 1)] {
        let data = tempfile::tempdir().unwrap();
        let rules = |c| Config {
            risk_hold_device_wins: 3,
            risk_deny_device_wins: 5,
            risk_window_s: WINDOW_S,
            ..c
        };
        let server = start(data.path(), shards, rules);
        let mut doors = doors(&server);
        let count = doors.len();
        let sent = envelopes(&mut doors[0], 1, 12);
        for (n, &envelope) in (0_u64..).zip(sent.iter().take(8)) {
            let door = &mut doors[usize::try_from(n).unwrap() % count];
            let told = claim_from(door, envelope, n, from(77, n));
            assert_eq!(told, if n < 3 { Status::Ok } else { Status::Withheld }, "{shards}, {n}");
            assert_eq!(claim_from(door, envelope, n + 100, from(n + 100, 7)), Status::Ok);
            assert_eq!(claim(door, envelope, n + 200), given(100), "from nowhere");
        }
        let held = doors[0].risk_holds(None).unwrap();
        assert!(held.len() == 2 && held.iter().all(|hold| hold.rule == RiskRule::DeviceHeld));
        let denied = (RiskStep::Denied, Some(RiskRule::DeviceDenied));
        assert_eq!(rules_told(&mut doors[0], 6), [denied]);
        server.drain().unwrap();
        let server = start(data.path(), then, rules);
        let mut client = connect(&server);
        assert_eq!(claim_from(&mut client, sent[9], 50, from(77, 1)), Status::Withheld);
        assert_eq!(rules_told(&mut client, 50), [denied], "{shards} shards, then {then}");
        assert_eq!(claim_from(&mut client, sent[9], 51, from(78, 1)), Status::Ok);
    }
}

#[test]
fn what_windows_have_counted_survives_kills_and_checkpoints() {
    let data = tempfile::tempdir().unwrap();
    let keys = key_file(data.path(), &[1]);
    let window = WINDOW_S.to_string();
    let flags = [
        ["--risk-deny-address-wins", "2"],
        ["--risk-hold-guesses", "2"],
        ["--risk-window-s", &window],
        ["--checkpoint-interval-s", "1"],
        ["--password-keys", keys.to_str().unwrap()],
    ];
    let flags = flags.as_flattened();
    let data = data.path().join("data");
    let mut process = Process::start(&data, flags);
    let mut client = process.connect();
    let word = Terms { password: Some(Password::Said(b"open")), ..Terms::default() };
    let sent = [1, 2, 3].map(|n| client.send_with(&equal(70, n, 100, 9), &word).unwrap().envelope);
    let open = |tags| Evidence { password: Some(b"open"), tags, ..Evidence::default() };
    let wrong = Evidence { password: Some(b"shut"), ..Evidence::default() };
    for &envelope in &sent[..2] {
        assert_eq!(said(&mut client, envelope, 5, &open(from(1, 7))).0, Status::Ok);
    }
    for &envelope in &sent {
        assert_eq!(said(&mut client, envelope, 6, &wrong).0, Status::WrongPassword);
    }
    for round in 0..3 {
        process.kill();
        process = Process::start(&data, flags);
        client = process.connect();
        let user = 10 + round;
        assert_eq!(said(&mut client, sent[0], user, &open(from(9, 7))).0, Status::Withheld);
        let denied = (RiskStep::Denied, Some(RiskRule::AddressDenied));
        assert_eq!(rules_told(&mut client, user), [denied], "round {round}");
        assert_eq!(client.risk_explain(UserId(6)).unwrap().guesses, 3, "round {round}");
        // Some traffic, and time for checkpoints; no matter whether one is taken.
        let other = client.send(&equal(70, 10 + round, 1, 50)).unwrap().envelope;
        (100..150).for_each(|user| assert_eq!(claim(&mut client, other, user), given(1)));
        if round == 1 {
            std::thread::sleep(Duration::from_millis(1500));
        }
    }
    assert_eq!(said(&mut client, sent[1], 6, &open(Tags::default())).0, Status::Withheld);
    let held = client.risk_holds(Some(UserId(6))).unwrap();
    assert!(held.len() == 1 && held[0].rule == RiskRule::GuessesHeld, "{held:?}");
}

#[test]
fn tries_count_whether_they_win_or_not_but_repeats_do_not() {
    for shards in 1..=2 {
        let data = tempfile::tempdir().unwrap();
        let rules =
            |c| Config { risk_hold_tries: 12, risk_deny_tries: 14, risk_window_s: WINDOW_S, ..c };
        let server = start(data.path(), shards, rules);
        let mut doors = doors(&server);
        let count = doors.len();
        let sent = envelopes(&mut doors[0], 1, 12);
        let gone = doors[0].send(&equal(90, 1, 1, 1)).unwrap().envelope;
        assert_eq!(claim(&mut doors[0], gone, 5), given(1));
        assert_eq!(claim(&mut doors[0], sent[0], 7), given(100));
        for n in 0..20 {
            let again = claim(&mut doors[n % count], sent[0], 7);
            assert_eq!(again.0, Status::AlreadyClaimed, "it has a share and asks again");
        }
        for n in 0..11 {
            assert_eq!(claim(&mut doors[n % count], gone, 7).0, Status::SoldOut);
        }
        assert_eq!(doors[0].risk_explain(UserId(7)).unwrap().tries, 12);
        for (n, rule) in [
            (1, Some((RiskStep::Held, Some(RiskRule::TriesHeld)))),
            (2, Some((RiskStep::Held, Some(RiskRule::TriesHeld)))),
            (3, Some((RiskStep::Denied, Some(RiskRule::TriesDenied)))),
        ] {
            assert_eq!(claim(&mut doors[n % count], sent[n], 7), WITHHELD, "{shards}, {n}");
            assert_eq!(
                rules_told(&mut doors[0], 7).into_iter().find(|told| Some(*told) == rule),
                rule
            );
        }
        assert_eq!(claim(&mut doors[0], sent[3], 8), given(100), "others have their own tries");
        server.drain().unwrap();
        let server = start(data.path(), shards, rules);
        let mut client = connect(&server);
        // Only tries that left a record are known: a share given, and two held.
        assert_eq!(client.risk_explain(UserId(7)).unwrap().tries, 3);
        assert_eq!(claim(&mut client, sent[4], 7), given(100));
    }
}

#[test]
fn who_guessed_too_often_is_told_the_same_of_the_right_word_and_of_a_wrong_one() {
    for shards in 1..=2 {
        let data = tempfile::tempdir().unwrap();
        let keys = key_file(data.path(), &[1]);
        let rules = |c| Config {
            password_keys: Some(keys.clone()),
            risk_deny_guesses: 3,
            risk_window_s: WINDOW_S,
            ..c
        };
        let server = start(&data.path().join("data"), shards, rules);
        let mut client = connect(&server);
        let word = Terms { password: Some(Password::Said(b"open")), ..Terms::default() };
        let ordered = |sender| equal(sender, 1, 100, 9);
        let sent: Vec<_> = (0..12)
            .map(|sender| client.send_with(&ordered(sender), &word).unwrap().envelope)
            .collect();
        let right = Evidence { password: Some(b"open"), ..Evidence::default() };
        let wrong = Evidence { password: Some(b"shut"), ..Evidence::default() };
        assert_eq!(said(&mut client, sent[11], 7, &right).0, Status::Ok);
        let guessed = (Status::WrongPassword, WrongPassword::Guessed.code());
        for &envelope in sent.iter().take(4) {
            assert_eq!(said(&mut client, envelope, 7, &wrong), guessed);
        }
        let server = (0..2).fold(server, |server, round| {
            let mut client = connect(&server);
            for &envelope in &sent[4..8] {
                assert_eq!(said(&mut client, envelope, 7, &right), (Status::Withheld, 0));
                assert_eq!(said(&mut client, envelope, 7, &wrong), (Status::Withheld, 0));
                assert_eq!(client.show(envelope).unwrap().claimed, round);
                assert_eq!(said(&mut client, envelope, 8 + u64::from(round), &right).0, Status::Ok);
            }
            assert_eq!(client.risk_explain(UserId(7)).unwrap().guesses, 4, "and not one more");
            assert!(
                rules_told(&mut client, 7)
                    .iter()
                    .all(|told| *told == (RiskStep::Denied, Some(RiskRule::GuessesDenied)))
            );
            assert_eq!(said(&mut client, sent[11], 7, &right).0, Status::AlreadyClaimed);
            server.drain().unwrap();
            start(&data.path().join("data"), shards, rules)
        });
        drop(server);
    }
}

/// A campaign that gives out two prizes as soon as the clock lets it.
pub(super) fn campaign(
    client: &mut Client,
    number: u64,
    shares: u32,
    is_started: bool,
) -> EnvelopeId {
    let total = 50 * u64::from(shares);
    let order = SendOrder { split: Split::Prizes, ..order(70, number, total, shares) };
    let campaign = client.send(&order).unwrap().envelope;
    let now = client.show(campaign).unwrap().created_at;
    for part in [
        PlanPart::Terms(PlanTerms { wins_max: 1, opens_at: now, fallback: 5 }),
        PlanPart::Prize(0, Prize { amount: 50, count: shares }),
        PlanPart::Slot(0, Slot { start: now, length_s: 600, quota: shares }),
    ] {
        client.campaign_plan(campaign, UserId(70), part).unwrap();
    }
    if is_started {
        client.campaign_command(campaign, UserId(70), Command::Start).unwrap();
    }
    campaign
}

#[test]
fn of_one_device_no_more_is_won_by_shaking_than_the_rule_allows() {
    for shards in 1..=2 {
        let data = tempfile::tempdir().unwrap();
        let rules = |c| Config { risk_deny_device_wins: 1, risk_window_s: WINDOW_S, ..c };
        let server = start(data.path(), shards, rules);
        let mut doors = doors(&server);
        let campaign = campaign(&mut doors[0], 1, 600, true);
        let mut user = 100;
        let mut won = |doors: &mut [Client], device| {
            user += 1;
            let count = u64::try_from(doors.len()).unwrap();
            let door = &mut doors[usize::try_from(user % count).unwrap()];
            let with = shown(Tags { device: Some(device), address: None });
            matches!(door.shake_with(campaign, UserId(user), &with).unwrap(), Shaken::Won { .. })
        };
        until("somebody has won", PATIENCE, || won(&mut doors, 1));
        let mut others = 0;
        until("three have won elsewhere", PATIENCE, || {
            assert!(!won(&mut doors, 1), "the device has won before");
            others += u32::from(won(&mut doors, 2 + u64::from(others)));
            others == 3
        });
        assert_eq!(doors[0].show(campaign).unwrap().claimed, 4);
        server.drain().unwrap();
        let server = start(data.path(), shards, rules);
        let mut client = vec![connect(&server)];
        until("one more has won after the restart", PATIENCE, || {
            assert!(!won(&mut client, 1), "the device has won before");
            won(&mut client, 9)
        });
    }
}

#[test]
fn shakes_are_tries_wherever_they_are_told() {
    let data = tempfile::tempdir().unwrap();
    let rules = |c| Config { risk_deny_tries: 50, risk_window_s: WINDOW_S, ..c };
    let server = start(data.path(), 2, rules);
    let mut doors = doors(&server);
    let waiting = campaign(&mut doors[0], 1, 9, false);
    for n in 0..50 {
        let told = doors[n % 2].shake(waiting, UserId(7));
        assert_eq!(super::refusal(told).0, Status::NotOpen, "nobody has started it");
    }
    assert_eq!(doors[1].risk_explain(UserId(7)).unwrap().tries, 50);
    let sent = envelopes(&mut doors[0], 2, 12);
    assert_eq!(claim(&mut doors[0], sent[0], 7), WITHHELD);
    assert_eq!(claim(&mut doors[0], sent[0], 8), given(100));
}

/// Nothing of the tags is told, and without a rule nothing is kept of them.
#[test]
fn tags_that_no_rule_counts_leave_no_record() {
    let data = tempfile::tempdir().unwrap();
    let tagged = |data: &Path, rules: fn(Config) -> Config| {
        let server = start(data, 1, rules);
        let mut client = connect(&server);
        let envelope = client.send(&equal(70, 1, 100, 9)).unwrap().envelope;
        for user in 0..3 {
            assert_eq!(claim_from(&mut client, envelope, user, from(1, 2)), Status::Ok);
        }
        server.drain().unwrap();
        let report = audit(data, None, AuditSettings::default(), &mut |_| {}).unwrap();
        report.records
    };
    let without = tagged(&data.path().join("one"), |c| c);
    let with = tagged(&data.path().join("two"), |c| Config { risk_deny_address_wins: 9, ..c });
    assert_eq!(with, without + 3);
}
