//! The handshake's test vectors: bytes ↔ fields, for clients in any language.
//!
//! `vectors/handshake.json` was made by an encoder of its own from the byte
//! tables, so a mistake in the codec is not repeated in what it is tested with.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use hongbao::access::{Identity, Key, Keyring, Principal, Role, Roles};
use hongbao::wire::{
    Challenged, Heard, Op, Proof, ReplyBody, ReplyWriter, Said, Status, decode_reply,
    decode_stranger, encode_authenticate, encode_challenge,
};
use serde_json::Value;

fn text<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_else(|| panic!("{field} of {vector}"))
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    hex::decode(text(vector, field)).unwrap()
}

fn array(vector: &Value, field: &str) -> [u8; 32] {
    bytes(vector, field).try_into().unwrap()
}

fn key(vector: &Value) -> Key {
    Key::new(&bytes(vector, "secret")).unwrap()
}

fn vectors() -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("vectors/handshake.json")).unwrap();
    all["handshakes"].as_array().unwrap().clone()
}

fn id_and_tag(vector: &Value) -> (u32, u64) {
    let key_id = u32::try_from(vector["key_id"].as_u64().unwrap()).unwrap();
    (key_id, text(vector, "tag").parse().unwrap())
}

#[test]
fn a_client_says_and_believes_the_published_bytes() {
    assert_eq!(vectors().len(), 3);
    for vector in vectors() {
        let (key_id, tag) = id_and_tag(&vector);
        let name = text(&vector, "principal").parse().unwrap();
        let identity = Identity::new(name, key_id, key(&vector));
        let challenge = identity.challenge(array(&vector, "client_nonce"));
        let mut frame = Vec::new();
        encode_challenge(&mut frame, tag, &challenge);
        assert_eq!(frame, bytes(&vector, "challenge"), "{vector}");
        let reply = bytes(&vector, "challenge_reply");
        let (_, reply) = decode_reply(&reply).unwrap().unwrap();
        let challenged = Challenged {
            nonce: array(&vector, "server_nonce"),
            proof: array(&vector, "server_proof"),
        };
        assert_eq!(reply.body, ReplyBody::Challenged(challenged));
        let proof = identity.prove(&challenge, &challenged).expect("the server has the key");
        assert_eq!(proof, array(&vector, "client_proof"), "{vector}");
        frame.clear();
        encode_authenticate(&mut frame, tag, &proof);
        assert_eq!(frame, bytes(&vector, "authenticate"), "{vector}");
        let reply = bytes(&vector, "authenticate_reply");
        let (_, reply) = decode_reply(&reply).unwrap().unwrap();
        assert_eq!((reply.status, reply.body), (Status::Ok, ReplyBody::None));
    }
}

fn said(vector: &Value, field: &str) -> (u64, Said) {
    let frame = bytes(vector, field);
    match decode_stranger(&frame) {
        Heard::Frame { bytes, tag, said, .. } if bytes == frame.len() => (tag, said),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_answers_and_believes_the_published_bytes() {
    for vector in vectors() {
        let (key_id, tag) = id_and_tag(&vector);
        let mut keyring = Keyring::new(Key::new(&[0; 32]).unwrap());
        let name = text(&vector, "principal").parse().unwrap();
        let (roles, keys) = (Roles::of(&[Role::Claimer]), vec![(key_id, key(&vector))]);
        keyring.add(Principal { name, roles, keys }).unwrap();
        let (heard, Said::Challenge(challenge)) = said(&vector, "challenge") else { panic!() };
        assert_eq!(heard, tag);
        let (challenged, pending) = keyring.answer(&challenge, array(&vector, "server_nonce"));
        let mut reply = Vec::new();
        ReplyWriter::new(&mut reply, Op::Challenge.code(), tag).challenged(&challenged);
        assert_eq!(reply, bytes(&vector, "challenge_reply"), "{vector}");
        let (heard, Said::Authenticate(proof)) = said(&vector, "authenticate") else { panic!() };
        assert_eq!(heard, tag);
        assert!(keyring.verify(&pending, &proof).is_some(), "{vector}");
        let mut other: Proof = proof;
        other[31] ^= 1;
        assert!(keyring.verify(&pending, &other).is_none());
    }
}
