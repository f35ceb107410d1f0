//! Frames in both directions.

use hongbao::net::{Unheard, read_pieces};
use hongbao::wire::{
    Decoded, HEADER_BYTES, Op, ReplyBody, decode_reply, decode_request, encode_request, peek_reply,
};

use super::Bytes;

/// A whole connection's stream, cut into pieces as the first bytes say: the
/// frame reader finds the same requests as a decoder that has it all at once,
/// and each request is again the bytes that it came from.
pub fn requests(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let cuts = [bytes.byte(), bytes.byte(), bytes.byte()].map(|cut| usize::from(cut) + 1);
    let stream = bytes.0;
    let mut rest = stream;
    let pieces = cuts.into_iter().cycle().map_while(|cut| {
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    });
    let (asked, broken) = read_pieces(pieces);
    let mut asked = asked.into_iter();
    let mut rest = stream;
    loop {
        match decode_request(rest) {
            Decoded::Frame { bytes, op, tag, budget_us, request } => {
                let found = asked.next().expect("the reader finds every frame");
                assert_eq!((found.op, found.tag, found.budget_us), (op, tag, budget_us));
                let (frame, after) = rest.split_at(bytes);
                // Where attached bytes lie is the reader's own matter.
                if Op::attaches(op) {
                    assert_eq!(found.request.is_ok(), request.is_ok());
                } else {
                    assert_eq!(found.request, request.map_err(Unheard::Nonsense));
                }
                if let (Ok(request), false) = (request, Op::attaches(op)) {
                    let mut again = Vec::new();
                    encode_request(&mut again, tag, budget_us, &request);
                    assert_eq!(again, frame);
                }
                rest = after;
            }
            Decoded::Incomplete => break assert!(!broken),
            Decoded::Broken(_) => break assert!(broken),
        }
    }
    assert!(asked.next().is_none(), "and no other");
}

/// What a client reads: its head alone says the same as the whole, and a reply
/// that means nothing still has a length, behind which the next one begins.
pub fn replies(stream: &[u8]) {
    let mut rest = stream;
    while let Ok(Some(head)) = peek_reply(rest) {
        assert!(head.bytes >= HEADER_BYTES);
        match decode_reply(rest) {
            Ok(Some((bytes, reply))) => {
                assert_eq!((bytes, reply.op, reply.tag), (head.bytes, head.op, head.tag));
                assert_eq!((reply.status, reply.detail), (head.status, head.detail));
                if let ReplyBody::Amount(amount) = reply.body {
                    assert_eq!(head.number, Some(amount));
                }
            }
            Ok(None) => panic!("a frame whose head is told is whole"),
            Err(_) => {}
        }
        rest = &rest[head.bytes..];
    }
}
