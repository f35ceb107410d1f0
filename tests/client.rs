//! The client against a test double: answers, refusals, and connections that
//! break at the worst moment.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod double;

use std::time::Duration;

use double::Faults;
use hongbao::client::{Address, Claimed, Client, ClientError, Look, Refunded, Sent, Settings};
use hongbao::units::{EnvelopeId, EnvelopeState, Split, UserId};
use hongbao::wire::{Request, SendOrder, Status};

fn order(shares: u32) -> SendOrder {
    SendOrder {
        nonce: 0,
        source: hongbao::units::MoneySource::Vouched,
        sender: UserId(1),
        order: 1,
        payment: 2,
        total: 8800,
        shares,
        lifetime_s: 60,
        share_max: 0,
        split: Split::Equal,
    }
}

fn quick() -> Settings {
    Settings {
        reply_timeout: Duration::from_millis(200),
        first_pause: Duration::from_millis(1),
        tries: 3,
        ..Settings::default()
    }
}

fn client_of(faults: Faults) -> Client {
    let address = Address::Tcp(double::start(faults).to_string());
    Client::connect_with(&address, quick()).unwrap()
}

fn status_of<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Status {
    match result.unwrap_err() {
        ClientError::Refused(refusal) => refusal.status,
        other => panic!("{other}"),
    }
}

#[test]
fn every_call_has_its_typed_answer() {
    let mut client = client_of(Faults::default());
    let sent = client.send(&order(2)).unwrap();
    assert_eq!((sent.repeated, sent.state), (false, EnvelopeState::Open));
    assert_eq!(client.send(&order(2)).unwrap(), Sent { repeated: true, ..sent });
    let envelope = sent.envelope;
    assert_eq!(client.grab(envelope, UserId(5)).unwrap(), Look::Left { shares: 2 });
    let share = Claimed { amount: 4400, repeated: false };
    assert_eq!(client.claim(envelope, UserId(5)).unwrap(), share);
    let again = Claimed { amount: 4400, repeated: true };
    assert_eq!(client.claim(envelope, UserId(5)).unwrap(), again);
    assert_eq!(client.grab(envelope, UserId(5)).unwrap(), Look::Has { amount: 4400 });
    let refunded = Refunded { amount: 4400, repeated: false };
    assert_eq!(client.cancel(envelope, UserId(1)).unwrap(), refunded);
    let summary = client.show(envelope).unwrap();
    assert_eq!((summary.refunded, summary.state), (4400, EnvelopeState::Cancelled));
}

#[test]
fn a_no_names_its_status() {
    let mut client = client_of(Faults::default());
    let envelope = client.send(&order(1)).unwrap().envelope;
    client.claim(envelope, UserId(5)).unwrap();
    assert_eq!(status_of(client.claim(envelope, UserId(6))), Status::SoldOut);
    assert_eq!(status_of(client.show(EnvelopeId(99))), Status::NotFound);
    assert_eq!(status_of(client.cancel(envelope, UserId(2))), Status::Denied);
    assert_eq!(status_of(client.send(&order(3))), Status::Conflict);
}

#[test]
fn a_long_detail_is_read_over_all_its_pages() {
    let mut client = client_of(Faults::default());
    let envelope = client.send(&order(600)).unwrap().envelope;
    for user in 0..600 {
        client.submit(&Request::Claim { envelope, user: UserId(user) });
    }
    client.flush().unwrap();
    for _ in 0..600 {
        client.receive().unwrap();
    }
    let detail = client.detail(envelope).unwrap();
    assert_eq!((detail.shares, detail.rows.len()), (600, 600));
    assert_eq!(detail.rows.iter().map(|row| u64::from(row.amount)).sum::<u64>(), 8800);
}

#[test]
fn replies_carry_the_tags_of_their_requests() {
    let mut client = client_of(Faults::default());
    let envelope = client.send(&order(100)).unwrap().envelope;
    let tags: Vec<u64> = (0..100)
        .map(|user| client.submit(&Request::Claim { envelope, user: UserId(user) }))
        .collect();
    client.flush().unwrap();
    let mut answered: Vec<u64> = tags.iter().map(|_| client.receive().unwrap().tag).collect();
    answered.sort_unstable();
    assert_eq!((answered, client.waiting()), (tags, 0));
}

#[test]
fn a_call_while_replies_wait_is_refused_at_once() {
    let mut client = client_of(Faults::default());
    client.submit(&Request::Show { envelope: EnvelopeId(1) });
    let error = client.show(EnvelopeId(1)).unwrap_err();
    assert!(matches!(error, ClientError::RepliesWaiting(1)), "{error}");
}

#[test]
fn a_claim_whose_answer_was_lost_is_asked_again_and_pays_once() {
    // The hello and the send are done; the claim is done, then the line drops.
    let mut client = client_of(Faults { hang_up_after: Some(2), ..Faults::default() });
    let envelope = client.send(&order(4)).unwrap().envelope;
    let claimed = client.claim(envelope, UserId(5)).unwrap();
    assert_eq!(claimed, Claimed { amount: 2200, repeated: true });
    assert_eq!(client.show(envelope).unwrap().claimed, 1);
}

/// Envelopes of several senders, so that several shards own them.
fn spread_over_shards(client: &mut Client) -> Vec<EnvelopeId> {
    let order = |sender| SendOrder { sender: UserId(sender), ..order(100) };
    (0..32).map(|sender| client.send(&order(sender)).unwrap().envelope).collect()
}

fn client_of_shards(shards: &double::Shards) -> Client {
    let address = Address::Tcp(shards.addresses[0].to_string());
    Client::connect_with(&address, quick()).unwrap()
}

#[test]
fn every_call_goes_straight_to_the_shard_that_owns_it() {
    let shards = double::start_shards(Faults::default(), 3);
    let mut client = client_of_shards(&shards);
    for envelope in spread_over_shards(&mut client) {
        client.claim(envelope, UserId(5)).unwrap();
        client.detail(envelope).unwrap();
    }
    assert_eq!(shards.owned_and_crossed(), (96, 0));
}

#[test]
fn pipelined_requests_may_take_the_connection_of_their_owner() {
    let shards = double::start_shards(Faults::default(), 2);
    let mut client = client_of_shards(&shards);
    let envelopes = spread_over_shards(&mut client);
    for &envelope in &envelopes {
        let request = Request::Claim { envelope, user: UserId(5) };
        client.connection_of(&request).submit(&request);
    }
    assert_eq!(client.waiting(), envelopes.len());
    let error = client.show(envelopes[0]).unwrap_err();
    assert!(matches!(error, ClientError::RepliesWaiting(32)), "{error}");
    for &envelope in &envelopes {
        let connection = client.connection_of(&Request::Show { envelope });
        connection.flush().unwrap();
        assert_eq!(connection.receive().unwrap().status, Status::Ok);
    }
    assert_eq!((client.waiting(), shards.owned_and_crossed()), (0, (64, 0)));
}

#[test]
fn a_shard_whose_port_is_closed_is_reached_over_the_first_connection() {
    let shards = double::start_shards(Faults { closed_ports: true, ..Faults::default() }, 1);
    let mut client = client_of_shards(&shards);
    let envelopes = spread_over_shards(&mut client);
    assert_eq!(client.show(envelopes[0]).unwrap().shares, 100);
    let (owned, crossed) = shards.owned_and_crossed();
    assert!(owned > 0 && crossed > 0, "{owned} came to their owner, {crossed} were carried");
}

#[test]
fn after_a_restart_with_fewer_shards_the_routes_are_rebuilt() {
    let shards = double::start_shards(Faults::default(), 3);
    let mut client = client_of_shards(&shards);
    let envelopes = spread_over_shards(&mut client);
    shards.shrink_to(2);
    shards.hang_up();
    client.claim(envelopes[0], UserId(5)).unwrap();
    let (_, crossed_before) = shards.owned_and_crossed();
    for &envelope in &envelopes {
        client.claim(envelope, UserId(6)).unwrap();
    }
    assert_eq!(shards.owned_and_crossed().1, crossed_before);
    assert_eq!(client.hello().ports.len(), 2);
}

#[test]
fn a_silent_server_is_given_up_in_time() {
    let address = double::start(Faults { silent: true, ..Faults::default() }).to_string();
    let error = Client::connect_with(&Address::Tcp(address), quick()).err().unwrap();
    assert!(matches!(error, ClientError::Silent { .. }), "{error}");
    assert!(error.to_string().contains("sending the same request again is safe"), "{error}");
}

#[test]
fn another_protocol_version_is_told_apart() {
    let address = double::start(Faults { version: Some(9), ..Faults::default() }).to_string();
    let error = Client::connect_with(&Address::Tcp(address), quick()).err().unwrap();
    assert!(matches!(error, ClientError::Version { server: 9 }), "{error}");
}

#[test]
fn a_full_server_says_when_to_come_back() {
    let mut client = client_of(Faults { full: true, ..Faults::default() });
    let error = client.send(&order(1)).unwrap_err();
    assert!(error.to_string().contains("try again after 1000 ms"), "{error}");
}

#[test]
fn no_server_is_answered_with_what_to_do() {
    for address in ["127.0.0.1:1", "unix:/nonexistent/hongbao.sock"] {
        let error = Client::connect(&address.parse().unwrap()).err().unwrap();
        let text = error.to_string();
        assert!(text.starts_with(&format!("no server at {address}")), "{text}");
        assert!(text.contains("hongbao serve") && text.contains("--addr"), "{text}");
    }
}
