//! The settlement stream's test vectors: bytes ↔ fields, for receivers in any
//! language.
//!
//! `vectors/settle.json` was made by an encoder of its own from the byte tables,
//! so a mistake in the codec is not repeated in what it is tested with.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use hongbao::follow::ledger::Cursor;
use hongbao::follow::movement::{Account, Movement, MovementId, Why};
use hongbao::follow::news::{News, NewsOf};
use hongbao::follow::settle::{Accepted, Ask, Ending, Frame, Moved, Start, Told, decode, encode};
use hongbao::units::{EnvelopeId, UserId};
use hongbao::wire::{Resolution, ResolvedBy, RiskRule};
use serde_json::Value;

fn text<'v>(of: &'v Value, field: &str) -> &'v str {
    of[field].as_str().unwrap_or_else(|| panic!("{field} of {of}"))
}

fn n64(of: &Value, field: &str) -> u64 {
    text(of, field).parse().unwrap()
}

fn n32(of: &Value, field: &str) -> u32 {
    u32::try_from(of[field].as_u64().unwrap()).unwrap()
}

fn n16(of: &Value, field: &str) -> u16 {
    u16::try_from(n32(of, field)).unwrap()
}

fn n8(of: &Value, field: &str) -> u8 {
    u8::try_from(n32(of, field)).unwrap()
}

fn cursor(of: &Value) -> Cursor {
    let of = &of["cursor"];
    Cursor {
        arrangement: n32(of, "arrangement"),
        shard: n16(of, "shard"),
        position: n64(of, "position"),
        batch: n64(of, "batch"),
        checksum: n32(of, "checksum"),
        epoch: n32(of, "epoch"),
        time_ms: n64(of, "time_ms"),
    }
}

fn account(row: &Value, end: &str) -> Account {
    match text(row, end) {
        "outside" => Account::Outside,
        "user" => Account::User(UserId(n64(row, &format!("{end}_user")))),
        "held" => Account::Held,
        "escrow" => Account::Escrow,
        other => panic!("{other}"),
    }
}

fn moved(row: &Value) -> Moved {
    let why = match text(row, "why") {
        "hold" => Why::Hold,
        "release" => Why::Release,
        "fund" => Why::Fund,
        "claim" => Why::Claim,
        "refund" => Why::Refund,
        "return" => Why::Return,
        other => panic!("{other}"),
    };
    let id = id(row);
    let movement = Movement {
        why,
        from: account(row, "from"),
        to: account(row, "to"),
        amount: n64(row, "amount"),
        envelope: EnvelopeId(n64(row, "envelope")),
        at: n32(row, "at"),
    };
    Moved { id, movement }
}

fn id(row: &Value) -> MovementId {
    MovementId {
        cell: n8(row, "cell"),
        arrangement: n32(row, "arrangement"),
        shard: n16(row, "shard"),
        batch: n64(row, "batch"),
        index: n32(row, "index"),
    }
}

fn told(row: &Value) -> Told {
    let id = id(row);
    let rule = || RiskRule::from_code(n8(row, "rule")).unwrap();
    let resolved = |resolution| NewsOf::Resolved {
        amount: n32(row, "amount"),
        resolution,
        by: ResolvedBy::from_code(n8(row, "by")).unwrap(),
    };
    let what = match text(row, "what") {
        "held" => {
            let (amount, until) = (n32(row, "amount"), n32(row, "until"));
            NewsOf::Held { amount, rule: rule(), until }
        }
        "denied" => NewsOf::Denied { amount: n32(row, "amount"), rule: rule() },
        "released" => resolved(Resolution::Release),
        "rejected" => resolved(Resolution::Reject),
        "marked" => NewsOf::Marked { grade: n8(row, "grade"), lists: n8(row, "lists") },
        other => panic!("{other}"),
    };
    let (envelope, user) = (EnvelopeId(n64(row, "envelope")), UserId(n64(row, "user")));
    Told { id, news: News { envelope, user, at: n32(row, "at"), what } }
}

fn ending(of: &Value) -> Ending {
    let (detail, position) = (n32(of, "detail"), n64(of, "position"));
    match text(of, "reason") {
        "malformed" => Ending::Malformed,
        "version" => Ending::Version(detail),
        "name" => Ending::Name,
        "window" => Ending::Window(detail),
        "unknown_shard" => Ending::UnknownShard(detail),
        "other_arrangement" => Ending::OtherArrangement(detail),
        "not_a_border" => Ending::NotABorder(position),
        "freed" => Ending::Freed(position),
        "ahead" => Ending::Ahead(position),
        "in_use" => Ending::InUse,
        "full" => Ending::Full(detail),
        "not_sent" => Ending::NotSent,
        "draining" => Ending::Draining,
        "unreadable" => Ending::Unreadable,
        "unknown" => Ending::Unknown,
        other => panic!("{other}"),
    }
}

fn ask(of: &Value) -> Ask {
    let start = match text(of, "start") {
        "left_off" => Start::LeftOff,
        "beginning" => Start::Beginning,
        _ => Start::After(cursor(of)),
    };
    let name = text(of, "name").parse().unwrap();
    Ask { name, shard: n16(of, "shard"), start, window: n32(of, "window") }
}

fn frame(of: &Value) -> Frame {
    match text(of, "frame") {
        "subscribe" => Frame::Subscribe(ask(of)),
        "accepted" => Frame::Accepted(Accepted {
            start: cursor(of),
            committed: n64(of, "committed"),
            window: n32(of, "window"),
            shards: n16(of, "shards"),
            cell: n8(of, "cell"),
        }),
        "acknowledge" => Frame::Acknowledge { border: cursor(of), taken: n64(of, "taken") },
        "forget" => Frame::Forget(text(of, "name").parse().unwrap()),
        "forgotten" => Frame::Forgotten,
        "border" => Frame::Border { cursor: cursor(of), committed: n64(of, "committed") },
        "movements" => Frame::Movements(of["rows"].as_array().unwrap().iter().map(moved).collect()),
        "news" => Frame::News(of["rows"].as_array().unwrap().iter().map(told).collect()),
        "end" => Frame::End(ending(of)),
        other => panic!("{other}"),
    }
}

#[test]
fn every_frame_has_these_bytes_and_no_others() {
    let all: Value = serde_json::from_str(include_str!("vectors/settle.json")).unwrap();
    let vectors = all["frames"].as_array().unwrap();
    assert!(vectors.len() > 20);
    for vector in vectors {
        let bytes = hex::decode(text(vector, "bytes")).unwrap();
        let meant = frame(vector);
        let mut written = Vec::new();
        encode(&meant, &mut written);
        assert_eq!(hex::encode(&written), hex::encode(&bytes), "{vector}");
        assert_eq!(decode(&bytes, 0xffff), Ok(Some((meant, bytes.len()))), "{vector}");
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end], 0xffff), Ok(None), "not whole: {vector}");
        }
        let bound = bytes.len() - 1;
        assert_eq!(decode(&bytes, bound), Err(Ending::Malformed), "too long: {vector}");
    }
}
