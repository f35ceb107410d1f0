//! The terms of envelopes: what senders ask for, what claimers show, and who is
//! kept out, as sentences.

use hongbao::engine::{Gate, GuessLimits};
use hongbao::net::simulated::World;
use hongbao::units::{EnvelopeId, Place, Point, UnixSeconds, UserId};
use hongbao::wire::{
    Evidence, Ineligible, Keys, Password, PasswordKeys, SendOrder, Terms, Ticket, TicketKeys,
};

use crate::server::CELL;

/// How often one user may guess wrong at one envelope,
pub(crate) const GUESSES_PER_USER_MAX: u8 = 3;

/// and all users, for each of its shares.
pub(crate) const GUESSES_PER_SHARE_MAX: u32 = 2;

/// So few guess that a line of the table has room for all: counts are exact.
pub(crate) const GUESSERS: u64 = 8;

/// Whoever has the password says this.
const WORD: &[u8] = b"open sesame";

const STRANGE_KEY: u32 = 9;

fn ticket_keys(ids: &[u8]) -> TicketKeys {
    let mut keys = Keys::default();
    for &id in ids {
        keys.add(id.into(), &[id; 32]).unwrap();
    }
    keys.into()
}

/// What the server checks evidence with.
pub(crate) fn gate() -> Gate {
    let mut passwords = Keys::default();
    passwords.add(1, &[11; 32]).unwrap();
    Gate {
        tickets: ticket_keys(&[1, 2]),
        passwords: PasswordKeys::from(passwords),
        guesses: GuessLimits {
            per_user_max: GUESSES_PER_USER_MAX,
            per_share_max: GUESSES_PER_SHARE_MAX,
        },
    }
}

fn centre() -> Point {
    Point::new(399_087_000, 1_163_975_000).unwrap()
}

fn far_away() -> Point {
    Point::new(-399_087_000, 1_163_975_000).unwrap()
}

/// Users below `end`, ascending.
fn some_users(world: &World, end: u64) -> Vec<[u8; 8]> {
    let users = (1..=end).filter(|_| world.one_in(3));
    let mut users: Vec<_> = users.map(u64::to_le_bytes).collect();
    users.push((end + 1).to_le_bytes());
    users
}

/// Terms for an order, about as late as this: the bytes as the sender says them.
pub(crate) fn some_terms(
    world: &World,
    order: &SendOrder,
    now: UnixSeconds,
    users: u64,
) -> Vec<u8> {
    let seconds = |end| u32::try_from(world.below(end)).unwrap();
    let named = if world.one_in(4) { some_users(world, users - 1) } else { Vec::new() };
    let not_before = world.one_in(5).then(|| now + seconds(4));
    let not_after = world.one_in(4).then(|| now + 4 + seconds(30));
    let not_sender = world.one_in(3);
    let seed = UserId(users);
    let coupon: &[u8] = if world.one_in(3) { b"a cup of tea" } else { b"" };
    let terms = Terms {
        not_before,
        not_after,
        not_sender,
        named: &named,
        seed_user: (world.one_in(6) && seed != order.sender).then_some(seed),
        is_hidden: world.one_in(4),
        wants_ticket: world.one_in(4),
        place: Place::new(centre(), 500).filter(|_| world.one_in(5)),
        password: world.one_in(3).then_some(Password::Said(WORD)),
        greeting: "恭喜发财".as_bytes(),
        cover: world.one_in(3).then_some(7),
        coupon,
        photo: b"",
        grade_min: 0,
    };
    terms.to_bytes()
}

/// What somebody shows: mostly what is asked for, sometimes something of it
/// wrong.
pub(crate) fn some_evidence(
    world: &World,
    terms: &Terms<'_>,
    (envelope, user): (EnvelopeId, UserId),
    now: UnixSeconds,
) -> Vec<u8> {
    let spoilt = world.below(12);
    let ticket = |of: UserId, keys: &[u8], id: u32| {
        let not_after = now + u32::try_from(world.below(30)).unwrap();
        ticket_keys(keys).ticket(id, CELL, (envelope, of), not_after)
    };
    let ticket = match spoilt {
        0 => None,
        1 => ticket(UserId(user.0 + 1), &[1, 2], 1),
        2 => ticket(user, &[9], STRANGE_KEY),
        _ => ticket(user, &[1, 2], 1 + u32::from(world.one_in(2))),
    };
    let position = match spoilt {
        3 => None,
        4 => Some(far_away()),
        _ => Some(centre()),
    };
    let guesses = user.0 <= GUESSERS && world.one_in(2);
    let password = match spoilt {
        5 => None,
        _ if guesses => Some(&b"open rye"[..]),
        _ => Some(WORD),
    };
    let evidence = Evidence {
        ticket: ticket.filter(|_| terms.wants_ticket),
        position: position.filter(|_| terms.place.is_some()),
        password: password.filter(|_| terms.password.is_some()),
        ..Evidence::default()
    };
    evidence.to_bytes()
}

/// Whether what is said is the password.
pub(crate) fn is_right(evidence: &Evidence<'_>) -> bool {
    evidence.password == Some(WORD)
}

/// The first rule in the server's order that keeps a user out whatever the
/// time, and whoever came before.
pub(crate) fn standing(
    terms: &Terms<'_>,
    sender: UserId,
    (envelope, user): (EnvelopeId, UserId),
    evidence: &Evidence<'_>,
) -> Option<Ineligible> {
    if terms.not_sender && user == sender {
        return Some(Ineligible::Sender);
    }
    let name = user.0.to_le_bytes();
    if !terms.named.is_empty() && !terms.named.contains(&name) {
        return Some(Ineligible::NotNamed);
    }
    let of_ticket = terms.wants_ticket.then(|| wrong_ticket(evidence, (envelope, user))).flatten();
    of_ticket.or_else(|| match evidence.position {
        _ if terms.place.is_none() => None,
        None => Some(Ineligible::NoPosition),
        Some(position) => (position != centre()).then_some(Ineligible::TooFar),
    })
}

fn wrong_ticket(evidence: &Evidence<'_>, whose: (EnvelopeId, UserId)) -> Option<Ineligible> {
    let Some(ticket @ Ticket { key_id, .. }) = evidence.ticket else {
        return Some(Ineligible::NoTicket);
    };
    match ticket_keys(&[1, 2]).is_genuine(CELL, whose, &ticket) {
        None => {
            assert_eq!(key_id, STRANGE_KEY);
            Some(Ineligible::UnknownTicketKey)
        }
        Some(false) => Some(Ineligible::WrongTicket),
        Some(true) => None,
    }
}

/// The terms as a user may see them.
pub(crate) fn seen_by<'a>(
    terms: &Terms<'a>,
    sender: UserId,
    user: UserId,
    has_share: bool,
) -> Terms<'a> {
    let own = terms.named.iter().position(|name| *name == user.0.to_le_bytes());
    let password = terms.password.map(|_| Password::Wanted);
    if user == sender {
        return Terms { password, ..*terms };
    }
    Terms {
        password,
        named: own.map_or(&[], |at| &terms.named[at..=at]),
        seed_user: terms.seed_user.filter(|seed| *seed == user),
        coupon: if has_share { terms.coupon } else { b"" },
        photo: if has_share { terms.photo } else { b"" },
        ..*terms
    }
}
