//! Every kind of envelope: what its sender says, what a claimer shows, and who is
//! kept out, for which reason.

use std::time::{SystemTime, UNIX_EPOCH};

use hongbao::Config;
use hongbao::client::Client;
use hongbao::units::{EnvelopeId, Place, Point, Split, UserId};
use hongbao::wire::{
    Attached, Evidence, Ineligible, Keys, Password, Reply, ReplyBody, Request, SendOrder, Status,
    Terms, Ticket, TicketKeys, WrongPassword,
};

use crate::rig::{order, secret};

/// Shares of so much are held.
pub(crate) const HELD_FEN: u64 = 16_000;

/// The grade of members, who have none.
pub(crate) const GRADE: u8 = 100;

/// What an answer says, without its tag.
pub(crate) type Said = (Status, u32, ReplyBody);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Equal,
    DoubleMean,
    LineCutting,
    Named,
    Ticket,
    Password,
    Timed,
    Window,
    Place,
    NotSender,
    Fission,
    Hidden,
    Payload,
    Graded,
    Held,
    /// Nearly all rules at once.
    Guarded,
}

impl Kind {
    pub(crate) const ALL: [Self; 16] = [
        Self::Equal,
        Self::DoubleMean,
        Self::LineCutting,
        Self::Named,
        Self::Ticket,
        Self::Password,
        Self::Timed,
        Self::Window,
        Self::Place,
        Self::NotSender,
        Self::Fission,
        Self::Hidden,
        Self::Payload,
        Self::Graded,
        Self::Held,
        Self::Guarded,
    ];
}

/// Who and when.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    pub(crate) sender: UserId,
    /// Who may claim; the first before the second.
    pub(crate) members: [UserId; 2],
    names: [[u8; 8]; 2],
    /// Who may not, where not everybody may; of a low grade.
    pub(crate) outsider: UserId,
    opens: u32,
    ends: u32,
}

impl Cast {
    /// Three users from a number on; and when a window opens, and ends.
    pub(crate) fn of(sender: u64, first: u64, (opens, ends): (u32, u32)) -> Self {
        let members = [UserId(first), UserId(first + 1)];
        let names = members.map(|user| user.0.to_le_bytes());
        let (sender, outsider) = (UserId(sender), UserId(first + 2));
        Self { sender, members, names, outsider, opens, ends }
    }
}

/// Somebody's claim that is refused.
pub(crate) struct Refusal {
    pub(crate) user: UserId,
    pub(crate) evidence: Evidence<'static>,
    pub(crate) told: (Status, u32),
}

pub(crate) fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u32::try_from(since.as_secs()).unwrap()
}

fn centre() -> Point {
    Point::new(399_087_000, 1_163_975_000).unwrap()
}

fn ticket(key: u8, envelope: EnvelopeId, user: UserId, not_after: u32) -> Ticket {
    let mut keys = Keys::default();
    keys.add(key.into(), &secret(key)).unwrap();
    let cell = Config::default().cell;
    TicketKeys::from(keys).ticket(key.into(), cell, (envelope, user), not_after).unwrap()
}

const WORD: &[u8] = b"open sesame";

pub(crate) const GUESSED: (Status, u32) = (Status::WrongPassword, WrongPassword::Guessed.code());

pub(crate) fn saying(word: &'static [u8]) -> Evidence<'static> {
    Evidence { password: Some(word), ..Evidence::default() }
}

impl Kind {
    pub(crate) fn order(self, cast: &Cast, number: u64, shares: u32, lifetime_s: u32) -> SendOrder {
        let each = if self == Self::Held { HELD_FEN } else { 300 };
        let split = match self {
            Self::Equal | Self::Held => Split::Equal,
            Self::LineCutting => Split::LineCutting,
            _ => Split::DoubleMean,
        };
        let ordered = order(cast.sender.0, number, each * u64::from(shares), shares);
        SendOrder { split, lifetime_s, ..ordered }
    }

    pub(crate) fn terms(self, cast: &Cast) -> Terms<'_> {
        let nothing = Terms::default();
        let (place, password) = (Place::new(centre(), 500), Some(Password::Said(WORD)));
        match self {
            Self::Equal | Self::DoubleMean | Self::LineCutting | Self::Held => nothing,
            Self::Named => Terms { named: &cast.names, ..nothing },
            Self::Ticket => Terms { wants_ticket: true, ..nothing },
            Self::Password => Terms { password, ..nothing },
            Self::Timed => Terms { not_before: Some(cast.opens), ..nothing },
            Self::Window => Terms { not_after: Some(cast.ends), ..nothing },
            Self::Place => Terms { place, ..nothing },
            Self::NotSender => Terms { not_sender: true, ..nothing },
            Self::Fission => Terms { seed_user: Some(cast.members[0]), ..nothing },
            Self::Hidden => Terms { is_hidden: true, ..nothing },
            Self::Payload => {
                let greeting = "恭喜发财".as_bytes();
                Terms { greeting, cover: Some(8), coupon: b"SPRING", photo: b"photo/1", ..nothing }
            }
            Self::Graded => Terms { grade_min: GRADE, ..nothing },
            Self::Guarded => {
                let rules = Terms { named: &cast.names, wants_ticket: true, place, ..nothing };
                Terms { password, not_sender: true, is_hidden: true, greeting: b"hi", ..rules }
            }
        }
    }

    /// What opens it for a user.
    pub(crate) fn evidence(self, envelope: EnvelopeId, user: UserId) -> Evidence<'static> {
        let ticket = Some(ticket(1, envelope, user, u32::MAX));
        let (position, password, nothing) = (Some(centre()), Some(WORD), Evidence::default());
        match self {
            Self::Ticket => Evidence { ticket, ..nothing },
            Self::Password => Evidence { password, ..nothing },
            Self::Place => Evidence { position, ..nothing },
            Self::Guarded => Evidence { ticket, position, password, ..Evidence::default() },
            _ => nothing,
        }
    }

    /// Who is kept out while nobody has a share yet, and its window is open.
    pub(crate) fn refusals(self, envelope: EnvelopeId, cast: &Cast) -> Vec<Refusal> {
        let ([first, second], outsider) = (cast.members, cast.outsider);
        let nothing = Evidence::default();
        let whole = self.evidence(envelope, second);
        let refusal = |user, evidence, told| Refusal { user, evidence, told };
        let kept_out = |user, evidence, why: Ineligible| {
            refusal(user, evidence, (Status::NotEligible, why.code()))
        };
        let not_said = (Status::WrongPassword, WrongPassword::NotSaid.code());
        let shown = |key, user, not_after| {
            let ticket = Some(ticket(key, envelope, user, not_after));
            Evidence { ticket, ..whole }
        };
        let far = Evidence { position: Point::new(399_187_000, 1_163_975_000), ..whole };
        match self {
            Self::Named => vec![kept_out(outsider, nothing, Ineligible::NotNamed)],
            Self::NotSender => vec![kept_out(cast.sender, nothing, Ineligible::Sender)],
            Self::Fission => vec![
                kept_out(second, nothing, Ineligible::SeedFirst),
                kept_out(outsider, nothing, Ineligible::SeedFirst),
            ],
            Self::Ticket => vec![
                kept_out(second, nothing, Ineligible::NoTicket),
                kept_out(second, shown(9, second, u32::MAX), Ineligible::UnknownTicketKey),
                kept_out(second, shown(1, first, u32::MAX), Ineligible::WrongTicket),
                kept_out(second, shown(2, second, 5), Ineligible::TicketExpired),
            ],
            Self::Place => vec![
                kept_out(second, nothing, Ineligible::NoPosition),
                kept_out(second, far, Ineligible::TooFar),
            ],
            Self::Password => {
                vec![refusal(second, nothing, not_said), refusal(second, saying(b"no"), GUESSED)]
            }
            Self::Graded => vec![refusal(outsider, nothing, (Status::Withheld, 0))],
            Self::Guarded => vec![
                kept_out(cast.sender, whole, Ineligible::Sender),
                kept_out(outsider, whole, Ineligible::NotNamed),
                kept_out(second, Evidence { ticket: None, ..whole }, Ineligible::NoTicket),
                kept_out(second, far, Ineligible::TooFar),
                refusal(second, Evidence { password: None, ..whole }, not_said),
                refusal(second, Evidence { password: Some(b"no"), ..whole }, GUESSED),
            ],
            _ => Vec::new(),
        }
    }
}

/// A claim as it goes over the wire; `None` if it is not decided: the line has
/// broken, or there was no room.
pub(crate) fn try_claim(
    client: &mut Client,
    envelope: EnvelopeId,
    user: UserId,
    evidence: &Evidence<'_>,
) -> Option<Said> {
    let request = Request::ClaimWith { envelope, user, evidence: Attached::default() };
    let tag = client.submit_with(&request, &evidence.to_bytes());
    client.flush().ok()?;
    let Reply { tag: answered, status, detail, body, .. } = client.receive().ok()?;
    assert_eq!(answered, tag);
    let is_decided = !matches!(status, Status::Unavailable | Status::Overloaded);
    is_decided.then_some((status, detail, body))
}
