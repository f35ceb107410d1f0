//! What is asked of a receiver before anything else, where the server has keys:
//! the handshake of the data port, and the role of a settler or of a risk service.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::ending::Ending;
use super::name::Content;
use super::session::{Over, WAIT_SLICE, Wire};
use crate::access::{Keyring, Pending, Roles};
use crate::wire::{Denial, Heard, Op, Proof, ReplyWriter, Said, Status, decode_stranger};

/// How long the whole handshake may take.
const GREETING_PATIENCE: Duration = Duration::from_secs(5);

/// Whether whoever has these roles may receive this; where the server has no keys
/// nobody has any, and everybody may.
pub(super) fn may(roles: Option<Roles>, content: Content) -> Result<(), Ending> {
    let may = roles.is_none_or(|roles| match content {
        Content::Movements => roles.may_settle(),
        Content::News => roles.may_hear_of_risk(),
    });
    if may { Ok(()) } else { Err(Ending::Denied) }
}

/// Asks who is there; whoever may receive nothing here is told so and hears no more.
pub(super) fn greet(wire: &mut Wire, keyring: &Keyring, stop: &AtomicBool) -> Result<Roles, Over> {
    let until = Instant::now() + GREETING_PATIENCE;
    let (tag, Said::Challenge(challenge)) = hear(wire, until, stop)? else {
        return Err(Ending::Denied.into());
    };
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|_| Over::Gone)?; // no proof without it
    let (challenged, pending) = keyring.answer(&challenge, nonce);
    ReplyWriter::new(&mut wire.out, Op::Challenge.code(), tag).challenged(&challenged);
    wire.drain();
    let (tag, Said::Authenticate(proof)) = hear(wire, until, stop)? else {
        return Err(Ending::Denied.into());
    };
    let answer = ReplyWriter::new(&mut wire.out, Op::Authenticate.code(), tag);
    match judged(keyring, &pending, &proof) {
        Ok(roles) => {
            answer.bare(Status::Ok, 0);
            wire.drain();
            Ok(roles)
        }
        Err(denial) => {
            answer.bare(Status::Denied, denial.code());
            wire.drain();
            Err(Over::Gone)
        }
    }
}

fn judged(keyring: &Keyring, pending: &Pending, proof: &Proof) -> Result<Roles, Denial> {
    let who = keyring.verify(pending, proof).ok_or(Denial::Proof)?;
    let roles = keyring.roles(who);
    let may_hear = roles.may_settle() || roles.may_hear_of_risk();
    if may_hear { Ok(roles) } else { Err(Denial::Role) }
}

/// The next frame of a receiver that nobody knows yet.
fn hear(wire: &mut Wire, until: Instant, stop: &AtomicBool) -> Result<(u64, Said), Over> {
    loop {
        wire.receive()?;
        match decode_stranger(&wire.inbox) {
            Heard::Frame { bytes, tag, said, .. } => {
                wire.inbox.drain(..bytes);
                return Ok((tag, said));
            }
            Heard::Broken(_) => return Err(Ending::Malformed.into()),
            Heard::Incomplete => {}
        }
        if stop.load(Ordering::Acquire) {
            return Err(Ending::Draining.into());
        }
        if Instant::now() >= until {
            return Err(Over::Gone);
        }
        wire.wait(WAIT_SLICE)?;
    }
}
