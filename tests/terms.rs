//! Envelopes with terms over real sockets: every rule, let through and refused
//! for each reason, repeated, sold out, over, after a restart, and through the
//! wrong door.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hongbao::client::{Client, ClientError, Look, Refusal};
use hongbao::config::LedgerPlace;
use hongbao::units::{EnvelopeId, EnvelopeState, Place, Point, UserId};
use hongbao::wire::{
    BadRequest, Evidence, Ineligible, Keys, NotOpen, Password, RateLimit, SendOrder, Status, Tags,
    Terms, Ticket, TicketKeys, WrongPassword,
};
use hongbao::{Config, Server};
use rig::{address, config, key_file, order, secret, until};

const SENDER: UserId = UserId(7);
const MEMBER: UserId = UserId(11);
const SEED_USER: UserId = UserId(12);
const PATIENCE: Duration = Duration::from_secs(30);

fn keys(dir: &Path) -> PathBuf {
    key_file(dir, &[1, 2])
}

fn with_keys(dir: &Path) -> Config {
    Config {
        ticket_keys: Some(keys(dir)),
        password_keys: Some(keys(dir)),
        guesses_per_user_max: 3,
        ledger: LedgerPlace::Program, // whose word a test says itself
        ..config(&dir.join("data"))
    }
}

fn start(dir: &Path) -> Server {
    Server::start(with_keys(dir)).unwrap()
}

fn connect(server: &Server) -> Client {
    rig::connect(server)
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (Status, u32) {
    match result.expect_err("a refusal") {
        ClientError::Refused(Refusal { status, detail }) => (status, detail),
        other => panic!("{other}"),
    }
}

fn kept_out(why: Ineligible) -> (Status, u32) {
    (Status::NotEligible, why.code())
}

fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u32::try_from(since.as_secs()).unwrap()
}

fn ticket(key: u8, envelope: EnvelopeId, user: UserId, not_after: u32) -> Ticket {
    let mut keys = Keys::default();
    keys.add(key.into(), &secret(key)).unwrap();
    let cell = Config::default().cell;
    TicketKeys::from(keys).ticket(key.into(), cell, (envelope, user), not_after).unwrap()
}

fn centre() -> Point {
    Point::new(399_087_000, 1_163_975_000).unwrap()
}

fn park() -> Option<Place> {
    Place::new(centre(), 500)
}

/// One claim, and what it is told.
struct Try {
    user: UserId,
    evidence: Evidence<'static>,
    told: Result<(), (Status, u32)>,
}

fn refusal(user: UserId, evidence: Evidence<'static>, told: (Status, u32)) -> Try {
    Try { user, evidence, told: Err(told) }
}

fn plain(user: UserId, why: Ineligible) -> Try {
    refusal(user, Evidence::default(), kept_out(why))
}

fn win(user: UserId, evidence: Evidence<'static>) -> Try {
    Try { user, evidence, told: Ok(()) }
}

/// Every rule with claims in order: the refused ones first, then those that get
/// both shares.
fn table(envelope: EnvelopeId, rule: usize) -> Vec<Try> {
    let nothing = Evidence::default();
    let said = |word: &'static [u8]| Evidence { password: Some(word), ..nothing };
    let shown = |ticket| Evidence { ticket: Some(ticket), ..nothing };
    let at =
        |latitude, longitude| Evidence { position: Point::new(latitude, longitude), ..nothing };
    let (good, other) = (ticket(2, envelope, MEMBER, u32::MAX), UserId(99));
    let whole = Evidence {
        ticket: Some(ticket(1, envelope, MEMBER, u32::MAX)),
        position: Some(centre()),
        password: Some(b"open sesame"),
        tags: Tags::default(),
    };
    let wrong_word = (Status::WrongPassword, WrongPassword::Guessed.code());
    match rule {
        0 => vec![win(MEMBER, nothing), win(SENDER, nothing)], // a greeting keeps nobody out
        1 => vec![
            plain(MEMBER, Ineligible::TooEarly),
            refusal(SENDER, said(b"x"), kept_out(Ineligible::TooEarly)),
        ],
        2 => vec![plain(SENDER, Ineligible::Sender), win(MEMBER, nothing), win(other, nothing)],
        3 => vec![
            plain(other, Ineligible::NotNamed),
            plain(SENDER, Ineligible::NotNamed),
            win(MEMBER, nothing),
            win(SEED_USER, nothing),
        ],
        4 => vec![
            plain(MEMBER, Ineligible::SeedFirst),
            win(SEED_USER, nothing),
            win(MEMBER, nothing),
        ],
        5 => vec![
            plain(MEMBER, Ineligible::NoTicket),
            refusal(other, shown(good), kept_out(Ineligible::WrongTicket)),
            refusal(
                MEMBER,
                shown(Ticket { not_after: 5, ..good }),
                kept_out(Ineligible::WrongTicket),
            ),
            refusal(
                MEMBER,
                shown(Ticket { key_id: 9, ..good }),
                kept_out(Ineligible::UnknownTicketKey),
            ),
            refusal(
                MEMBER,
                shown(ticket(1, envelope, MEMBER, 5)),
                kept_out(Ineligible::TicketExpired),
            ),
            win(MEMBER, shown(good)),
            win(other, shown(ticket(1, envelope, other, u32::MAX))),
        ],
        6 => vec![
            plain(MEMBER, Ineligible::NoPosition),
            refusal(MEMBER, at(399_187_000, 1_163_975_000), kept_out(Ineligible::TooFar)),
            win(MEMBER, at(399_097_000, 1_163_975_000)),
            win(other, at(399_087_000, 1_163_925_000)),
        ],
        7 => vec![
            refusal(MEMBER, nothing, (Status::WrongPassword, WrongPassword::NotSaid.code())),
            refusal(MEMBER, said(b"open sesamy"), wrong_word),
            refusal(other, said(b"open"), wrong_word),
            win(MEMBER, said(b"open sesame")),
            win(other, said(b"open sesame")),
        ],
        8 => vec![
            refusal(MEMBER, said(b"open sesame"), kept_out(Ineligible::NoTicket)),
            refusal(MEMBER, Evidence { position: None, ..whole }, kept_out(Ineligible::NoPosition)),
            refusal(MEMBER, Evidence { password: Some(b"no"), ..whole }, wrong_word),
            win(MEMBER, whole),
            win(other, Evidence { ticket: Some(ticket(2, envelope, other, u32::MAX)), ..whole }),
        ],
        _ => Vec::new(),
    }
}

const RULES: usize = 9;

fn terms(rule: usize, names: &[[u8; 8]]) -> Terms<'_> {
    let greeting = "恭喜发财".as_bytes();
    let password = Some(Password::Said(b"open sesame"));
    let nothing = Terms::default();
    match rule {
        1 => Terms { not_before: Some(now() + 3000), ..nothing },
        2 => Terms { not_sender: true, ..nothing },
        3 => Terms { named: names, ..nothing },
        4 => Terms { seed_user: Some(SEED_USER), ..nothing },
        5 => Terms { wants_ticket: true, ..nothing },
        6 => Terms { place: park(), ..nothing },
        7 => Terms { password, ..nothing },
        8 => Terms { password, wants_ticket: true, place: park(), not_sender: true, ..nothing },
        _ => Terms { greeting, ..nothing },
    }
}

fn ordered(number: u64) -> SendOrder {
    order(SENDER.0, number, 1000, 2)
}

fn names() -> [[u8; 8]; 2] {
    [MEMBER, SEED_USER].map(|user| user.0.to_le_bytes())
}

fn claim(client: &mut Client, envelope: EnvelopeId, one: &Try) -> Result<u64, (Status, u32)> {
    match client.claim_with(envelope, one.user, &one.evidence) {
        Ok(claimed) => {
            assert!(!claimed.repeated);
            Ok(claimed.amount)
        }
        Err(error) => Err(refused::<()>(Err(error))),
    }
}

/// The door of the shard that does not own it, or the only one.
fn wrong_door(server: &Server, client: &Client, envelope: EnvelopeId) -> Client {
    let ports = &client.hello().ports;
    let other = (usize::from(envelope.partition()) + 1) % ports.len();
    let door = SocketAddr::new(server.address().ip(), ports[other]);
    Client::connect(&address(&door.to_string())).unwrap()
}

fn go_through_the_table(shards: u16) {
    let dir = tempfile::tempdir().unwrap();
    let several = Config { shards: Some(shards), ..with_keys(dir.path()) };
    let server = Server::start(several.clone()).unwrap();
    let (mut client, names) = (connect(&server), names());
    let mut kept = Vec::new();
    for rule in 0..RULES {
        let number = u64::try_from(rule).unwrap();
        let terms = terms(rule, &names);
        let sent = client.send_with(&ordered(number), &terms).unwrap();
        let envelope = sent.envelope;
        let again = client.send_with(&ordered(number), &terms).unwrap();
        assert!(again.repeated && again.envelope == envelope, "rule {rule}");
        assert_eq!(refused(client.send(&ordered(number))).0, Status::Conflict, "rule {rule}");
        let mut amounts = Vec::new();
        for (n, one) in table(envelope, rule).iter().enumerate() {
            let before = client.show(envelope).unwrap();
            let got = if n % 2 == 0 {
                claim(&mut client, envelope, one)
            } else {
                let mut other = wrong_door(&server, &client, envelope);
                let tag = other.submit_with(&request(envelope, one), &one.evidence.to_bytes());
                other.flush().unwrap();
                let reply = other.receive().unwrap();
                assert_eq!(reply.tag, tag);
                match reply.body {
                    hongbao::wire::ReplyBody::Amount(amount) => Ok(amount),
                    _ => Err((reply.status, reply.detail)),
                }
            };
            let told = got.map(|_| ());
            assert_eq!(told, one.told, "rule {rule}, claim {n}");
            match got {
                Ok(amount) => amounts.push((one.user, amount)),
                Err(_) => assert_eq!(client.show(envelope).unwrap(), before, "nothing is taken"),
            }
        }
        check_after(&mut client, envelope, &amounts);
        kept.push((rule, envelope, amounts));
    }
    server.drain().unwrap();
    let server = Server::start(several).unwrap();
    let mut client = connect(&server);
    for (rule, envelope, amounts) in kept {
        check_after(&mut client, envelope, &amounts);
        let told = client.terms(envelope, SENDER).unwrap();
        let asked = terms(rule, &names);
        assert_eq!((told.terms().greeting, told.terms().named), (asked.greeting, asked.named));
        let refusals = table(envelope, rule).into_iter().filter(|one| one.told.is_err());
        for one in refusals.filter(|_| amounts.is_empty()) {
            let got = claim(&mut client, envelope, &one).map(|_| ());
            assert_eq!(got, one.told, "rule {rule} after a restart");
        }
    }
}

fn request(envelope: EnvelopeId, one: &Try) -> hongbao::wire::Request {
    let evidence = hongbao::wire::Attached::default();
    hongbao::wire::Request::ClaimWith { envelope, user: one.user, evidence }
}

/// Repeats tell the same amounts whatever is shown, and the rest is sold out.
fn check_after(client: &mut Client, envelope: EnvelopeId, amounts: &[(UserId, u64)]) {
    for &(user, amount) in amounts {
        let again = client.claim(envelope, user).unwrap();
        assert_eq!((again.amount, again.repeated), (amount, true));
        let wrong = Evidence { password: Some(b"whatever"), ..Evidence::default() };
        assert_eq!(client.claim_with(envelope, user, &wrong).unwrap().amount, amount);
        assert_eq!(client.grab(envelope, user).unwrap(), Look::Has { amount });
    }
    if amounts.len() == 2 {
        assert_eq!(refused(client.claim(envelope, UserId(500))).0, Status::SoldOut);
        assert_eq!(refused(client.grab(envelope, UserId(500))).0, Status::SoldOut);
        assert_eq!(client.show(envelope).unwrap().left, 0);
    }
}

#[test]
fn every_rule_is_kept_and_told_and_survives_a_restart() {
    go_through_the_table(1);
}

#[test]
fn every_rule_is_kept_through_the_door_of_another_shard() {
    go_through_the_table(2);
}

#[test]
fn a_look_tells_what_needs_nothing_to_be_shown() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let (mut client, names) = (connect(&server), names());
    let mut look = |rule, user| {
        let number = u64::try_from(rule).unwrap();
        let envelope = client.send_with(&ordered(number), &terms(rule, &names)).unwrap().envelope;
        client.grab(envelope, user)
    };
    assert_eq!(refused(look(1, MEMBER)), kept_out(Ineligible::TooEarly));
    assert_eq!(refused(look(2, SENDER)), kept_out(Ineligible::Sender));
    assert_eq!(refused(look(3, UserId(99))), kept_out(Ineligible::NotNamed));
    assert_eq!(refused(look(4, MEMBER)), kept_out(Ineligible::SeedFirst));
    for rule in [0, 5, 6, 7, 8] {
        assert_eq!(look(rule, MEMBER).unwrap(), Look::Left { shares: 2 }, "rule {rule}");
    }
}

#[test]
fn a_window_opens_at_its_moment() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let mut client = connect(&server);
    let window = Terms { not_before: Some(now() + 2), ..Terms::default() };
    let envelope = client.send_with(&ordered(1), &window).unwrap().envelope;
    let early = kept_out(Ineligible::TooEarly);
    assert_eq!(refused(client.claim(envelope, MEMBER)), early);
    until("it opens", PATIENCE, || match client.claim(envelope, MEMBER) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(refused::<()>(Err(error)), early);
            false
        }
    });
    assert_eq!(client.show(envelope).unwrap().claimed, 1, "calls before it took nothing");
}

#[test]
fn a_closed_window_leaves_the_rest_to_expiry() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let mut client = connect(&server);
    let window = Terms { not_after: Some(now() + 2), ..Terms::default() };
    let short = SendOrder { lifetime_s: 4, ..ordered(1) };
    let envelope = client.send_with(&short, &window).unwrap().envelope;
    client.claim(envelope, MEMBER).unwrap();
    // A look takes no share, so it can be repeated until it is refused.
    let mut told = Vec::new();
    until("it has expired", PATIENCE, || {
        assert!(client.claim(envelope, MEMBER).unwrap().repeated, "a repeat is told for ever");
        told.extend(client.grab(envelope, UserId(1)).err().map(|error| refused::<()>(Err(error))));
        told.last() == Some(&(Status::Expired, 0))
    });
    told.dedup();
    assert_eq!(told, [kept_out(Ineligible::TooLate), (Status::Expired, 0)]);
    let summary = client.show(envelope).unwrap();
    assert_eq!(summary.refunded + client.claim(envelope, MEMBER).unwrap().amount, 1000);
}

#[test]
fn an_envelope_with_terms_waits_for_its_money_like_any() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let mut client = connect(&server);
    let source = hongbao::units::MoneySource::Balance;
    let waits = SendOrder { source, payment: 0, ..ordered(1) };
    let envelope = client.send_with(&waits, &terms(7, &[])).unwrap().envelope;
    let word = Evidence { password: Some(b"open sesame"), ..Evidence::default() };
    let told = refused(client.claim_with(envelope, MEMBER, &word));
    assert_eq!(told, (Status::NotOpen, NotOpen::NotPaid.code()));
    let way = &server.covers()[0];
    way.push(hongbao::shard::Cover { envelope, covered: true }).unwrap();
    way.ring();
    assert_eq!(client.await_money(envelope, PATIENCE).unwrap().state, EnvelopeState::Open);
    client.claim_with(envelope, MEMBER, &word).unwrap();
    assert!(!client.cancel(envelope, SENDER).unwrap().repeated);
    let told = refused(client.claim_with(envelope, UserId(1), &word));
    assert_eq!(told, (Status::NotOpen, NotOpen::Cancelled.code()));
}

#[test]
fn rows_are_hidden_until_the_envelope_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let mut client = connect(&server);
    let hidden = Terms { is_hidden: true, ..Terms::default() };
    let envelope = client.send_with(&ordered(1), &hidden).unwrap().envelope;
    let mine = client.claim(envelope, MEMBER).unwrap().amount;
    assert_eq!(refused(client.detail(envelope)), kept_out(Ineligible::Hidden));
    assert_eq!(client.claim(envelope, MEMBER).unwrap().amount, mine, "one sees one's own");
    client.claim(envelope, SENDER).unwrap();
    assert_eq!(client.detail(envelope).unwrap().rows.len(), 2);
    let envelope = client.send_with(&ordered(2), &hidden).unwrap().envelope;
    client.cancel(envelope, SENDER).unwrap();
    assert_eq!(client.detail(envelope).unwrap().rows.len(), 0);
}

#[test]
fn the_payload_is_told_to_those_who_may_see_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let (mut client, names) = (connect(&server), names());
    let long = [b'g'; 600];
    let payload = Terms {
        named: &names,
        greeting: &long,
        cover: Some(42),
        coupon: b"SPRING-2027",
        photo: b"photo/1",
        password: Some(Password::Said(b"open sesame")),
        ..Terms::default()
    };
    let envelope = client.send_with(&ordered(1), &payload).unwrap().envelope;
    let word = Evidence { password: Some(b"open sesame"), ..Evidence::default() };
    client.claim_with(envelope, MEMBER, &word).unwrap();
    let wanted = Some(Password::Wanted);
    let for_all = Terms { named: &[], coupon: b"", photo: b"", password: wanted, ..payload };
    let own = [MEMBER.0.to_le_bytes()];
    for (user, told) in [
        (UserId(99), for_all),
        (SENDER, Terms { password: wanted, ..payload }),
        (MEMBER, Terms { named: &own, password: wanted, ..payload }),
        (SEED_USER, Terms { named: &[SEED_USER.0.to_le_bytes()], ..for_all }),
    ] {
        assert_eq!(client.terms(envelope, user).unwrap().terms(), told, "user {user}");
    }
    let plain = client.send(&ordered(2)).unwrap().envelope;
    assert_eq!(client.terms(plain, MEMBER).unwrap().terms(), Terms::default());
    assert_eq!(refused(client.terms(EnvelopeId(1), MEMBER)).0, Status::NotFound);
}

/// Until a checkpoint was begun and taken after this moment. With nothing new
/// none would be.
fn await_checkpoint(server: &Server, client: &mut Client) {
    let taken = || server.boards()[0].counters().checkpoints.taken;
    let before = taken();
    let mut number = 1_000_000 * (before + 1);
    until("a checkpoint is taken", PATIENCE, || {
        number += 1;
        client.send(&order(8, number, 1, 1)).unwrap();
        taken() > before + 1
    });
}

#[test]
fn guesses_are_counted_by_user_and_envelope_over_a_checkpoint_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let limited =
        Config { guesses_per_share_max: 4, checkpoint_interval_s: 1, ..with_keys(dir.path()) };
    let server = Server::start(limited.clone()).unwrap();
    let mut client = connect(&server);
    let say = |client: &mut Client, envelope, user, word: &'static [u8]| {
        client.claim_with(
            envelope,
            UserId(user),
            &Evidence { password: Some(word), ..Evidence::default() },
        )
    };
    let wrong = (Status::WrongPassword, WrongPassword::Guessed.code());
    let user_limit = (Status::RateLimited, RateLimit::UserGuesses.code());
    let envelope_limit = (Status::RateLimited, RateLimit::EnvelopeGuesses.code());
    let small = client.send_with(&ordered(1), &terms(7, &[])).unwrap().envelope;
    for _ in 0..2 {
        assert_eq!(refused(say(&mut client, small, 1, b"no")), wrong);
    }
    await_checkpoint(&server, &mut client);
    assert_eq!(refused(say(&mut client, small, 1, b"no")), wrong);
    server.drain().unwrap();
    let server = Server::start(limited.clone()).unwrap();
    let mut client = connect(&server);
    let records = || server.boards()[0].counters().journal.records;
    let before = records();
    for word in [&b"no"[..], b"open sesame"] {
        assert_eq!(refused(say(&mut client, small, 1, word)), user_limit, "also the right one");
    }
    assert_eq!(refused(client.claim(small, UserId(1))), (Status::WrongPassword, 1));
    assert_eq!(records(), before, "what is refused by a limit touches no disk");
    // 2 shares times 4 guesses for everybody; 3 are used up.
    for user in 2..7 {
        assert_eq!(refused(say(&mut client, small, user, b"no")), wrong);
    }
    assert_eq!(refused(say(&mut client, small, 9, b"no")), envelope_limit);
    assert_eq!(refused(say(&mut client, small, 9, b"open sesame")), envelope_limit);
    assert_eq!(client.show(small).unwrap().claimed, 0);
}

#[test]
fn a_large_envelope_counts_guesses_over_a_checkpoint_too() {
    let dir = tempfile::tempdir().unwrap();
    let limited = Config { shares_max: 100_000, checkpoint_interval_s: 1, ..with_keys(dir.path()) };
    let server = Server::start(limited.clone()).unwrap();
    let mut client = connect(&server);
    let large = SendOrder { shares: 5000, total: 50_000, ..ordered(1) };
    let envelope = client.send_with(&large, &terms(7, &[])).unwrap().envelope;
    let word = |word| Evidence { password: Some(word), ..Evidence::default() };
    for user in 0..50 {
        let told = refused(client.claim_with(envelope, UserId(user), &word(b"no")));
        assert_eq!(told.0, Status::WrongPassword);
        client.claim_with(envelope, UserId(1000 + user), &word(b"open sesame")).unwrap();
    }
    await_checkpoint(&server, &mut client);
    for user in 0..50 {
        for _ in 0..2 {
            let told = refused(client.claim_with(envelope, UserId(user), &word(b"no")));
            assert_eq!(told.0, Status::WrongPassword);
        }
    }
    server.drain().unwrap();
    let server = Server::start(limited).unwrap();
    let mut client = connect(&server);
    for user in 0..50 {
        let told = refused(client.claim_with(envelope, UserId(user), &word(b"no")));
        assert_eq!(told, (Status::RateLimited, RateLimit::UserGuesses.code()), "user {user}");
        assert!(client.claim(envelope, UserId(1000 + user)).unwrap().repeated);
    }
    assert_eq!(client.show(envelope).unwrap().claimed, 50);
}

#[test]
fn keys_that_are_not_there_are_told_and_keys_may_change() {
    let dir = tempfile::tempdir().unwrap();
    let bare = config(&dir.path().join("data"));
    let server = Server::start(bare.clone()).unwrap();
    let mut client = connect(&server);
    for rule in [5, 7] {
        let told = refused(client.send_with(&ordered(1), &terms(rule, &[])));
        assert_eq!(told, (Status::BadRequest, BadRequest::NoRuleKeys.code()));
    }
    server.drain().unwrap();
    let with = |ids: &[u8]| {
        let password_keys = Some(key_file(dir.path(), ids));
        let server = Server::start(Config { password_keys, ..bare.clone() }).unwrap();
        (connect(&server), server)
    };
    let word = Evidence { password: Some(b"open sesame"), ..Evidence::default() };
    let (mut client, server) = with(&[1]);
    let envelope = client.send_with(&ordered(1), &terms(7, &[])).unwrap().envelope;
    server.drain().unwrap();
    let (mut client, server) = with(&[1, 2]);
    let again = client.send_with(&ordered(1), &terms(7, &[])).unwrap();
    assert!(again.repeated && again.envelope == envelope, "under the key that it had");
    client.claim_with(envelope, MEMBER, &word).unwrap();
    server.drain().unwrap();
    let (mut client, server) = with(&[2]);
    let told = refused(client.claim_with(envelope, SENDER, &word));
    assert_eq!(told, (Status::WrongPassword, WrongPassword::KeyGone.code()));
    server.drain().unwrap();
}

#[test]
fn impossible_terms_are_refused_and_take_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let mut client = connect(&server);
    for impossible in [
        Terms { not_after: Some(now() - 5), ..Terms::default() },
        Terms { not_before: Some(now() + 9000), ..Terms::default() },
        Terms { seed_user: Some(SENDER), not_sender: true, ..Terms::default() },
        Terms { not_before: Some(now() + 9), not_after: Some(now() + 9), ..Terms::default() },
        Terms { named: &names(), seed_user: Some(UserId(1)), ..Terms::default() },
        Terms { password: Some(Password::Wanted), ..Terms::default() },
        Terms { password: Some(Password::Kept { key_id: 1, mac: [0; 32] }), ..Terms::default() },
        Terms { greeting: &[1; 601], ..Terms::default() },
    ] {
        let told = refused(client.send_with(&ordered(1), &impossible));
        assert_eq!(told, (Status::BadRequest, BadRequest::Terms.code()), "{impossible:?}");
    }
    let mut totals = server.boards()[0].counters().totals;
    until("the board is shown", PATIENCE, || {
        totals = server.boards()[0].counters().totals;
        totals.envelopes == 0
    });
    assert!(!client.send(&ordered(1)).unwrap().repeated, "the order number is still free");
}
