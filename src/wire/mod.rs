//! Bytes ↔ meaning of the protocol; `docs/PROTOCOL.md` has the same as tables.
//!
//! The only room that knows the offsets of a frame. It does no I/O, keeps no
//! state and never looks at what a request is about.

mod bodies;
mod decode;
mod frame;
mod handshake;
mod reply;
mod request;
mod seal;
mod status;
mod told;

pub use decode::{DecodeReplyError, Reply, ReplyBody, ReplyHead, decode_reply, peek_reply};
pub use frame::{BadRequest, Broken, Decoded, HEADER_BYTES, decode_allowed, decode_request};
pub use handshake::{
    Challenge, Challenged, Heard, Nonce, PRINCIPAL_BYTES, Proof, Said, decode_stranger,
    encode_authenticate, encode_challenge,
};
pub use reply::{ReplyWriter, reply_bytes_max};
pub use request::{Op, Operations, Payment, Request, SendOrder, encode_request};
pub use seal::{BadKey, PaymentKeys, SECRET_BYTES_MIN, Seal};
pub use status::{Confirmed, Denial, NotOpen, Status};
pub use told::{DetailPage, Hello, Ordered, Reveal, Row, Summary};
