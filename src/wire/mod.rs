//! Bytes ↔ meaning of the protocol; `docs/PROTOCOL.md` has the same as tables.
//!
//! The only room that knows the offsets of a frame. It does no I/O, keeps no
//! state and never looks at what a request is about.

mod attached;
mod bodies;
mod campaign;
mod decode;
mod encode;
mod evidence;
mod fields;
mod frame;
mod handshake;
mod keys;
mod op;
mod plan;
mod reply;
mod request;
mod risk;
mod risk_bodies;
mod seal;
mod status;
mod terms;
mod told;

pub use attached::Attached;
pub use campaign::{CampaignHead, CampaignSecond, CampaignStatus};
pub use decode::{DecodeReplyError, Reply, ReplyBody, ReplyHead, decode_reply, peek_reply};
pub use encode::{encode_request, encode_with};
pub use evidence::{Evidence, Ticket};
pub use frame::{BadRequest, Broken, Decoded, Frame, Framed, HEADER_BYTES, decode_request};
pub use handshake::{
    Challenge, Challenged, Heard, Nonce, PRINCIPAL_BYTES, Proof, Said, decode_stranger,
    encode_authenticate, encode_challenge,
};
pub use keys::{BadKey, Keys, PasswordKeys, SECRET_BYTES_MIN, Salt, TicketKeys};
pub use op::{Op, Operations};
pub use plan::{CampaignPhase, Command, PlanPart, PlanTerms, Prize, Slot};
pub use reply::{ReplyWriter, reply_bytes_max};
pub use request::{Payment, Request, SendOrder};
pub use risk::{
    Explained, Hold, HoldState, HoldsFrom, Mark, Resolution, ResolvedBy, RiskEvent, RiskRule,
    RiskStep, RiskVerdict, Standing, Tags,
};
pub use risk_bodies::{HOLD_ROWS_MAX, RISK_EVENTS_MAX};
pub use seal::{PaymentKeys, Seal};
pub use status::{Confirmed, Denial, Ineligible, NotOpen, RateLimit, Status, WrongPassword};
pub use terms::{Password, Terms};
pub use told::{DetailPage, Hello, Ordered, Reveal, Row, Summary, ToldTerms};
