//! The protocol's test vectors: bytes ↔ fields, for clients in any language.
//!
//! `vectors/wire.json` was made by an encoder of its own from the byte tables,
//! so a mistake in the codec is not repeated in what it is tested with.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use hongbao::units::{EnvelopeId, EnvelopeState, MoneySource, Place, Point, Seed, Split, UserId};
use hongbao::wire::{
    Attached, BadRequest, Broken, CampaignHead, CampaignPhase, CampaignSecond, CampaignStatus,
    Command, DecodeReplyError, Decoded, DetailPage, Evidence, Explained, Hello, Hold, HoldState,
    HoldsFrom, Keys, Mark, Op, Ordered, Password, Payment, PaymentKeys, PlanPart, PlanTerms, Prize,
    Reply, ReplyBody, ReplyWriter, Request, Resolution, Reveal, RiskEvent, RiskRule, RiskStep,
    RiskVerdict, Row, SendOrder, Slot, Standing, Status, Summary, Tags, Terms, Ticket, TicketKeys,
    decode_reply, decode_request, encode_with, peek_reply,
};
use serde_json::Value;

fn vectors(section: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("vectors/wire.json")).unwrap();
    let section = all[section].as_array().unwrap().clone();
    assert!(!section.is_empty());
    section
}

fn bytes(vector: &Value) -> Vec<u8> {
    unhex(vector, "bytes")
}

fn unhex(vector: &Value, field: &str) -> Vec<u8> {
    let hex = text(vector, field);
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn text<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_else(|| panic!("{field} of {vector}"))
}

fn n64(vector: &Value, field: &str) -> u64 {
    text(vector, field).parse().unwrap()
}

fn n32(vector: &Value, field: &str) -> u32 {
    u32::try_from(vector[field].as_u64().unwrap()).unwrap()
}

fn n8(vector: &Value, field: &str) -> u8 {
    u8::try_from(n32(vector, field)).unwrap()
}

fn envelope(vector: &Value) -> EnvelopeId {
    EnvelopeId(n64(vector, "envelope"))
}

fn user(vector: &Value, field: &str) -> UserId {
    UserId(n64(vector, field))
}

fn split(vector: &Value) -> Split {
    match text(vector, "split") {
        "equal" => Split::Equal,
        "double_mean" => Split::DoubleMean,
        "line_cutting" => Split::LineCutting,
        "prizes" => Split::Prizes,
        other => panic!("split {other}"),
    }
}

fn source(vector: &Value) -> MoneySource {
    match text(vector, "source") {
        "vouched" => MoneySource::Vouched,
        "balance" => MoneySource::Balance,
        "payment" => MoneySource::Payment,
        other => panic!("source {other}"),
    }
}

fn state(vector: &Value) -> EnvelopeState {
    match text(vector, "state") {
        "open" => EnvelopeState::Open,
        "exhausted" => EnvelopeState::Exhausted,
        "expired" => EnvelopeState::Expired,
        "cancelled" => EnvelopeState::Cancelled,
        "reserved" => EnvelopeState::Reserved,
        "voided" => EnvelopeState::Voided,
        other => panic!("state {other}"),
    }
}

fn hash(vector: &Value, field: &str) -> [u8; 32] {
    unhex(vector, field).try_into().unwrap()
}

fn op(vector: &Value) -> Op {
    match text(vector, "op") {
        "hello" => Op::Hello,
        "send" => Op::Send,
        "grab" => Op::Grab,
        "claim" => Op::Claim,
        "show" => Op::Show,
        "detail" => Op::Detail,
        "cancel" => Op::Cancel,
        "fund" => Op::Fund,
        "void" => Op::Void,
        "reveal" => Op::Reveal,
        "send_with" => Op::SendWith,
        "claim_with" => Op::ClaimWith,
        "shake_with" => Op::ShakeWith,
        "terms" => Op::Terms,
        "shake" => Op::Shake,
        "campaign_plan" => Op::CampaignPlan,
        "campaign_command" => Op::CampaignCommand,
        "campaign_status" => Op::CampaignStatus,
        "campaign_wins" => Op::CampaignWins,
        "risk_mark" => Op::RiskMark,
        "risk_explain" => Op::RiskExplain,
        "risk_holds" => Op::RiskHolds,
        "risk_resolve" => Op::RiskResolve,
        "risk_feed" => Op::RiskFeed,
        other => panic!("op {other}"),
    }
}

fn status(vector: &Value) -> Status {
    match text(vector, "status") {
        "ok" => Status::Ok,
        "already_claimed" => Status::AlreadyClaimed,
        "sold_out" => Status::SoldOut,
        "expired" => Status::Expired,
        "not_open" => Status::NotOpen,
        "not_found" => Status::NotFound,
        "not_eligible" => Status::NotEligible,
        "wrong_password" => Status::WrongPassword,
        "denied" => Status::Denied,
        "rate_limited" => Status::RateLimited,
        "overloaded" => Status::Overloaded,
        "unavailable" => Status::Unavailable,
        "bad_request" => Status::BadRequest,
        "conflict" => Status::Conflict,
        "nothing_won" => Status::NothingWon,
        "withheld" => Status::Withheld,
        other => panic!("status {other}"),
    }
}

fn order(v: &Value) -> SendOrder {
    SendOrder {
        nonce: n32(v, "nonce"),
        source: source(v),
        sender: user(v, "sender"),
        order: n64(v, "order"),
        payment: n64(v, "payment"),
        total: n64(v, "total"),
        shares: n32(v, "shares"),
        lifetime_s: n32(v, "lifetime_s"),
        share_max: n32(v, "share_max"),
        split: split(v),
    }
}

/// Where the fields of a frame lie in it: from here to its end.
fn attached(v: &Value, at: u16) -> Attached {
    Attached { at, bytes: u16::try_from(beside(v).len()).unwrap() }
}

fn point(v: &Value) -> Point {
    let units = |field| i32::try_from(v[field].as_i64().unwrap()).unwrap();
    Point::new(units("latitude"), units("longitude")).unwrap()
}

fn some_text<'v>(v: &'v Value, field: &str) -> &'v [u8] {
    v[field].as_str().unwrap_or_default().as_bytes()
}

/// What these terms are in bytes; a password without letters is one that is
/// wanted.
fn terms_bytes(v: &Value) -> Vec<u8> {
    let has = |field| !v[field].is_null();
    let name = |name: &Value| name.as_str().unwrap().parse::<u64>().unwrap().to_le_bytes();
    let named: Vec<_> = v["named"].as_array().into_iter().flatten().map(name).collect();
    let place = &v["place"];
    let password = v["password"].as_str().map(|word| match word {
        "" => Password::Wanted,
        word => Password::Said(word.as_bytes()),
    });
    Terms {
        not_before: has("not_before").then(|| n32(v, "not_before")),
        not_after: has("not_after").then(|| n32(v, "not_after")),
        not_sender: has("not_sender"),
        named: &named,
        seed_user: has("seed_user").then(|| user(v, "seed_user")),
        is_hidden: has("hidden"),
        wants_ticket: has("ticket"),
        place: has("place").then(|| Place::new(point(place), n32(place, "radius_m")).unwrap()),
        password,
        greeting: some_text(v, "greeting"),
        cover: has("cover").then(|| n64(v, "cover")),
        coupon: some_text(v, "coupon"),
        photo: some_text(v, "photo"),
        grade_min: if has("grade_min") { n8(v, "grade_min") } else { 0 },
    }
    .to_bytes()
}

fn evidence_bytes(v: &Value) -> Vec<u8> {
    let ticket = |v: &Value| Ticket {
        key_id: n32(v, "key_id"),
        not_after: n32(v, "not_after"),
        mac: hash(v, "mac"),
    };
    Evidence {
        ticket: v["ticket"].is_object().then(|| ticket(&v["ticket"])),
        position: v["position"].is_object().then(|| point(&v["position"])),
        password: v["password"].as_str().map(str::as_bytes),
        tags: Tags {
            device: v["device"].is_string().then(|| n64(v, "device")),
            address: v["address"].is_string().then(|| n64(v, "address")),
        },
    }
    .to_bytes()
}

/// The fields that follow the fixed part of a request.
fn beside(v: &Value) -> Vec<u8> {
    match op(v) {
        Op::SendWith => terms_bytes(&v["terms"]),
        Op::ClaimWith | Op::ShakeWith => evidence_bytes(&v["evidence"]),
        _ => Vec::new(),
    }
}

fn request(v: &Value) -> Request {
    match op(v) {
        Op::Hello => Request::Hello { version: n32(v, "version") },
        Op::Send => Request::Send(order(v)),
        Op::SendWith => Request::SendWith { order: order(v), terms: attached(v, 16 + 52) },
        Op::ClaimWith => {
            let (envelope, user) = (envelope(v), user(v, "user"));
            Request::ClaimWith { envelope, user, evidence: attached(v, 16 + 16) }
        }
        Op::ShakeWith => {
            let (campaign, user) = (campaign(v), user(v, "user"));
            Request::ShakeWith { campaign, user, evidence: attached(v, 16 + 16) }
        }
        Op::Terms => Request::Terms { envelope: envelope(v), user: user(v, "user") },
        Op::Grab => Request::Grab { envelope: envelope(v), user: user(v, "user") },
        Op::Claim => Request::Claim { envelope: envelope(v), user: user(v, "user") },
        Op::Show => Request::Show { envelope: envelope(v) },
        Op::Detail => Request::Detail {
            envelope: envelope(v),
            from: n32(v, "from"),
            rows_max: n32(v, "rows_max"),
        },
        Op::Cancel => Request::Cancel { envelope: envelope(v), sender: user(v, "sender") },
        Op::Fund => Request::Fund {
            envelope: envelope(v),
            payment: n64(v, "payment"),
            amount: n64(v, "amount"),
            key_id: n32(v, "key_id"),
            seal: hash(v, "seal"),
        },
        Op::Void => Request::Void { envelope: envelope(v), sender: user(v, "sender") },
        Op::Reveal => Request::Reveal { envelope: envelope(v) },
        Op::Challenge | Op::Authenticate => panic!("these are in handshake.json"),
        Op::Shake => Request::Shake { campaign: campaign(v), user: user(v, "user") },
        Op::CampaignPlan => Request::CampaignPlan {
            campaign: campaign(v),
            sponsor: user(v, "sponsor"),
            part: part(v),
        },
        Op::CampaignCommand => Request::CampaignCommand {
            campaign: campaign(v),
            sponsor: user(v, "sponsor"),
            command: match text(v, "command") {
                "start" => Command::Start,
                "pause" => Command::Pause,
                other => panic!("command {other}"),
            },
        },
        Op::CampaignStatus => Request::CampaignStatus { campaign: campaign(v) },
        Op::CampaignWins => Request::CampaignWins { campaign: campaign(v), user: user(v, "user") },
        Op::RiskMark | Op::RiskExplain | Op::RiskHolds | Op::RiskResolve | Op::RiskFeed => {
            about_risk(v)
        }
    }
}

fn about_risk(v: &Value) -> Request {
    match op(v) {
        Op::RiskMark => {
            let value = n8(v, "value");
            let mark = match text(v, "mark") {
                "grade" => Mark::Grade(value),
                "deny" => Mark::Deny(value == 1),
                "watch" => Mark::Watch(value == 1),
                other => panic!("mark {other}"),
            };
            Request::RiskMark { partition: n8(v, "partition"), user: user(v, "user"), mark }
        }
        Op::RiskExplain => {
            Request::RiskExplain { partition: n8(v, "partition"), user: user(v, "user") }
        }
        Op::RiskHolds => Request::RiskHolds(HoldsFrom {
            partition: n8(v, "partition"),
            after: (EnvelopeId(n64(v, "after_envelope")), user(v, "user")),
            only: v["only"].as_bool().unwrap(),
        }),
        Op::RiskFeed => Request::RiskFeed { partition: n8(v, "partition"), after: n64(v, "after") },
        _ => Request::RiskResolve {
            envelope: envelope(v),
            user: user(v, "user"),
            resolution: match text(v, "resolution") {
                "release" => Resolution::Release,
                "reject" => Resolution::Reject,
                other => panic!("resolution {other}"),
            },
        },
    }
}

fn explained(v: &Value) -> Explained {
    Explained {
        standing: Standing::of(n8(v, "own_grade"), n8(v, "lists"), n32(v, "at")).unwrap(),
        grade: n8(v, "grade"),
        wins: n32(v, "wins"),
        window_s: n32(v, "window_s"),
        tries: u16::try_from(n32(v, "tries")).unwrap(),
        guesses: u16::try_from(n32(v, "guesses")).unwrap(),
        verdict: RiskVerdict::from_codes(n8(v, "verdict"), n8(v, "rule")).unwrap(),
        hold_above_fen: n32(v, "hold_above_fen"),
    }
}

fn event(v: &Value) -> RiskEvent {
    RiskEvent {
        number: n64(v, "number"),
        envelope: envelope(v),
        user: user(v, "user"),
        amount: n32(v, "amount"),
        at: n32(v, "at"),
        what: RiskStep::from_code(n8(v, "what")).unwrap(),
        rule: RiskRule::from_code(n8(v, "rule")),
        by_time: v["by_time"].as_bool().unwrap(),
    }
}

fn hold(v: &Value) -> Hold {
    Hold {
        envelope: envelope(v),
        user: user(v, "user"),
        amount: n32(v, "amount"),
        at: n32(v, "at"),
        until: n32(v, "until"),
        rule: RiskRule::from_code(n8(v, "rule")).unwrap(),
        state: HoldState::from_code(n8(v, "state")).unwrap(),
    }
}

fn campaign(vector: &Value) -> EnvelopeId {
    EnvelopeId(n64(vector, "campaign"))
}

fn part(v: &Value) -> PlanPart {
    let number = |n: usize| u32::try_from(v["numbers"][n].as_u64().unwrap()).unwrap();
    let [a, b, c] = [0, 1, 2].map(number);
    match text(v, "part") {
        "terms" => PlanPart::Terms(PlanTerms { wins_max: a, opens_at: b, fallback: c }),
        "prize" => PlanPart::Prize(n8(v, "number"), Prize { amount: a, count: b }),
        "slot" => PlanPart::Slot(n8(v, "number"), Slot { start: a, length_s: b, quota: c }),
        other => panic!("part {other}"),
    }
}

fn campaign_status(v: &Value) -> CampaignStatus {
    let list = |field: &str| v[field].as_array().unwrap().clone();
    let prize =
        |p: &Value| (Prize { amount: n32(p, "amount"), count: n32(p, "count") }, n32(p, "won"));
    let slot = |s: &Value| {
        let (start, length_s, quota) = (n32(s, "start"), n32(s, "length_s"), n32(s, "quota"));
        (Slot { start, length_s, quota }, n32(s, "won"))
    };
    let second = |s: &Value| CampaignSecond {
        at: n32(s, "at"),
        released: n32(s, "released"),
        won: n32(s, "won"),
        credited: n32(s, "credited"),
        shakes: n64(s, "shakes"),
    };
    CampaignStatus {
        head: campaign_head(v),
        prizes: list("kinds").iter().map(prize).collect(),
        slots: list("slots").iter().map(slot).collect(),
        seconds: list("seconds").iter().map(second).collect(),
    }
}

fn campaign_head(v: &Value) -> CampaignHead {
    let terms = PlanTerms {
        wins_max: n32(v, "wins_max"),
        opens_at: n32(v, "opens_at"),
        fallback: n32(v, "fallback"),
    };
    CampaignHead {
        state: state(v),
        phase: match text(v, "phase") {
            "not_started" => CampaignPhase::Draft,
            "running" => CampaignPhase::Running,
            "paused" => CampaignPhase::Paused,
            other => panic!("phase {other}"),
        },
        terms,
        ends_at: n32(v, "ends_at"),
        prizes: n32(v, "prizes"),
        released: n32(v, "released"),
        won: n32(v, "won"),
        credited: (!v["credited"].is_null()).then(|| n32(v, "credited")),
        won_fen: n64(v, "won_fen"),
        shakes: n64(v, "shakes"),
    }
}

fn hello(v: &Value) -> Hello {
    let ports = v["ports"].as_array().unwrap();
    let port = |port: &Value| u16::try_from(port.as_u64().unwrap()).unwrap();
    Hello {
        version: n32(v, "version"),
        frame_bytes_max: n32(v, "frame_bytes_max"),
        cell: n8(v, "cell"),
        durability: n8(v, "durability"),
        ports: ports.iter().map(port).collect(),
    }
}

fn summary(v: &Value) -> Summary {
    Summary {
        sender: user(v, "sender"),
        order: n64(v, "order"),
        payment: n64(v, "payment"),
        total: n64(v, "total"),
        left: n64(v, "left"),
        refunded: n64(v, "refunded"),
        shares: n32(v, "shares"),
        claimed: n32(v, "claimed"),
        share_max: n32(v, "share_max"),
        created_at: n32(v, "created_at"),
        expires_at: n32(v, "expires_at"),
        state: state(v),
        split: split(v),
        source: source(v),
        luckiest: v["luckiest"]
            .is_object()
            .then(|| (user(&v["luckiest"], "user"), n64(&v["luckiest"], "amount"))),
    }
}

fn ordered(v: &Value) -> Ordered {
    Ordered { envelope: envelope(v), state: state(v), commitment: hash(v, "commitment") }
}

fn reveal(v: &Value) -> Reveal {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let seed = v["seed"].is_string().then(|| unhex(v, "seed"));
    Reveal {
        commitment: hash(v, "commitment"),
        seed: seed.map(|bytes| Seed([word(&bytes[..8]), word(&bytes[8..])])),
        nonce: n32(v, "nonce"),
    }
}

fn page(v: &Value) -> DetailPage {
    let row = |v: &Value| Row { user: user(v, "user"), amount: n32(v, "amount"), at: n32(v, "at") };
    DetailPage {
        shares: n32(v, "shares"),
        claimed: n32(v, "claimed"),
        from: n32(v, "from"),
        rows: v["rows"].as_array().unwrap().iter().map(row).collect(),
    }
}

fn reply(v: &Value) -> Reply {
    let has = |field| !v[field].is_null();
    let body = match op(v) {
        Op::Hello if has("hello") => ReplyBody::Hello(hello(&v["hello"])),
        Op::Terms if has("terms") => {
            ReplyBody::Terms((&Terms::read(&terms_bytes(&v["terms"])).unwrap()).into())
        }
        Op::Send | Op::SendWith if has("ordered") => ReplyBody::Ordered(ordered(&v["ordered"])),
        Op::Reveal if has("reveal") => ReplyBody::Reveal(reveal(&v["reveal"])),
        Op::Show if has("summary") => ReplyBody::Summary(summary(&v["summary"])),
        Op::CampaignStatus if has("campaign") => {
            ReplyBody::Campaign(campaign_status(&v["campaign"]))
        }
        Op::RiskExplain if has("explained") => ReplyBody::Explained(explained(&v["explained"])),
        Op::RiskHolds if has("holds") => {
            ReplyBody::Holds(v["holds"].as_array().unwrap().iter().map(hold).collect())
        }
        Op::RiskFeed if has("events") => {
            ReplyBody::RiskEvents(v["events"].as_array().unwrap().iter().map(event).collect())
        }
        Op::Detail if has("page") => ReplyBody::Detail(page(&v["page"])),
        _ if has("amount") => ReplyBody::Amount(n64(v, "amount")),
        _ => ReplyBody::None,
    };
    let (op, status) = (op(v).code(), status(v));
    Reply { op, status, detail: n32(v, "detail"), tag: n64(v, "tag"), body }
}

/// The server's writing of a reply.
fn written(reply: &Reply) -> Vec<u8> {
    let mut out = Vec::new();
    let writer = ReplyWriter::new(&mut out, reply.op, reply.tag);
    match &reply.body {
        ReplyBody::None => writer.bare(reply.status, reply.detail),
        ReplyBody::Amount(number) => writer.number(reply.status, reply.detail, *number),
        ReplyBody::Ordered(ordered) => writer.ordered(reply.detail, ordered),
        ReplyBody::Reveal(reveal) => writer.reveal(reveal),
        ReplyBody::Challenged(challenged) => writer.challenged(challenged),
        ReplyBody::Terms(told) => writer.terms(|out| told.terms().append_to(out)),
        ReplyBody::Hello(h) => writer.hello(h.version, h.cell, h.durability, &h.ports),
        ReplyBody::Summary(summary) => writer.summary(summary),
        ReplyBody::Explained(explained) => writer.explained(explained),
        ReplyBody::Holds(holds) => writer.holds(holds.iter().copied()),
        ReplyBody::RiskEvents(events) => writer.risk_events(events.iter().copied()),
        ReplyBody::Campaign(status) => writer.campaign(
            &status.head,
            status.prizes.iter().copied(),
            status.slots.iter().copied(),
            status.seconds.iter().copied(),
        ),
        ReplyBody::Detail(p) => {
            let count = u32::try_from(p.rows.len()).unwrap();
            writer.detail(p.shares, p.claimed, p.from, count, p.rows.iter().copied());
        }
    }
    out
}

#[test]
fn requests_go_both_ways() {
    for vector in vectors("requests") {
        let (wire, want) = (bytes(&vector), request(&vector));
        let mut out = Vec::new();
        let (tag, budget_us) = (n64(&vector, "tag"), n32(&vector, "budget_us"));
        encode_with(&mut out, tag, budget_us, &want, &beside(&vector));
        assert_eq!(out, wire, "{vector}");
        let decoded = Decoded::Frame {
            bytes: wire.len(),
            op: want.op().code(),
            tag: n64(&vector, "tag"),
            budget_us: n32(&vector, "budget_us"),
            request: Ok(want),
        };
        assert_eq!(decode_request(&wire), decoded, "{vector}");
    }
}

#[test]
fn bad_requests_are_told_why() {
    for vector in vectors("bad_requests") {
        let wire = bytes(&vector);
        let Decoded::Frame { bytes, op, tag, request, .. } = decode_request(&wire) else {
            panic!("{vector}");
        };
        let told = (bytes, u32::from(op), tag);
        assert_eq!(told, (wire.len(), n32(&vector, "op"), n64(&vector, "tag")), "{vector}");
        let reason = request.unwrap_err();
        assert_eq!(reason.code(), n32(&vector, "code"), "{vector}");
        assert_eq!(BadRequest::from_code(reason.code()), Some(reason));
    }
}

#[test]
fn a_stream_without_borders_is_broken() {
    for vector in vectors("broken_streams") {
        let broken = Broken { op: n8(&vector, "op"), tag: n64(&vector, "tag") };
        assert_eq!(decode_request(&bytes(&vector)), Decoded::Broken(broken), "{vector}");
    }
}

#[test]
fn replies_go_both_ways() {
    for vector in vectors("replies") {
        let (wire, want) = (bytes(&vector), reply(&vector));
        assert_eq!(written(&want), wire, "{vector}");
        assert_eq!(decode_reply(&wire), Ok(Some((wire.len(), want.clone()))), "{vector}");
        let head = peek_reply(&wire).unwrap().unwrap();
        assert_eq!((head.bytes, head.status, head.tag), (wire.len(), want.status, want.tag));
        let number = match want.body {
            ReplyBody::Amount(amount) => Some(amount),
            ReplyBody::Ordered(ordered) => Some(ordered.envelope.0),
            _ => None,
        };
        assert_eq!(head.number, number, "{vector}");
    }
}

#[test]
fn a_seal_is_the_mac_of_the_published_bytes() {
    for vector in vectors("seals") {
        let mut keys = PaymentKeys::default();
        keys.add(7, &unhex(&vector, "secret")).unwrap();
        let payment = Payment {
            envelope: envelope(&vector),
            payment: n64(&vector, "payment"),
            amount: n64(&vector, "amount"),
        };
        let seal = keys.seal(7, n8(&vector, "cell"), &payment);
        assert_eq!(seal, Some(hash(&vector, "seal")), "{vector}");
    }
}

#[test]
fn a_ticket_is_the_mac_of_the_published_bytes() {
    for vector in vectors("tickets") {
        let (id, mut keys) = (n32(&vector, "key_id"), Keys::default());
        keys.add(id, &unhex(&vector, "secret")).unwrap();
        let (keys, cell) = (TicketKeys::from(keys), n8(&vector, "cell"));
        let whose = (envelope(&vector), user(&vector, "user"));
        let ticket = keys.ticket(id, cell, whose, n32(&vector, "not_after")).unwrap();
        assert_eq!(ticket.mac, hash(&vector, "mac"), "{vector}");
        assert_eq!(keys.is_genuine(cell, whose, &ticket), Some(true));
    }
}

#[test]
fn every_kind_of_request_and_reply_has_a_vector() {
    // Those of a handshake are in handshake.json.
    let elsewhere = [Op::Challenge, Op::Authenticate];
    let ops = (0..=255).filter_map(Op::from_code).filter(|op| !elsewhere.contains(op));
    for code in ops.map(Op::code) {
        let is_this = |v: &Value| op(v).code() == code;
        assert!(vectors("requests").iter().any(is_this), "request {code}");
        assert!(vectors("replies").iter().any(is_this), "reply {code}");
    }
    for status in (0..=255).filter_map(Status::from_code) {
        assert!(vectors("replies").iter().any(|v| self::status(v) == status), "{status:?}");
    }
}

#[test]
fn garbled_replies_are_refused() {
    for vector in vectors("garbled_replies") {
        let want = match text(&vector, "error") {
            "length" => DecodeReplyError::Length,
            "unknown" => DecodeReplyError::Unknown,
            "body" => DecodeReplyError::Body,
            other => panic!("error {other}"),
        };
        assert_eq!(decode_reply(&bytes(&vector)), Err(want), "{vector}");
    }
}
