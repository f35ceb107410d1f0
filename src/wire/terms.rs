//! The terms of an envelope beyond its money: who may claim when and where,
//! what others may see of it, and what the sender put in beside the money.
//!
//! | tag | bytes | field |
//! |---:|---:|---|
//! | 1 | 4 | not before |
//! | 2 | 4 | not after |
//! | 3 | 0 | the sender may not claim |
//! | 4 | 8 n | the named users, ascending |
//! | 5 | 8 | the seed user |
//! | 6 | 0 | the rows of others are hidden until it is over |
//! | 7 | 0 | a ticket is wanted |
//! | 8 | 12 | latitude, longitude, radius |
//! | 9 | 0..=64 | the password as it was said; in a reply nothing of it |
//! | 10 | 36 | the password as it is kept: key id, MAC |
//! | 11 | 1..=600 | greeting |
//! | 12 | 8 | cover |
//! | 13 | 1..=256 | coupon |
//! | 14 | 1..=256 | photo |
//! | 15 | 1 | the least grade that may claim, at least 1 |
//!
//! Terms that can be read are possible in themselves; whether they fit an order
//! the engine decides. Nothing is copied out of the bytes.

use super::fields::{self, Fields, Malformed, exactly, flag, put};
use crate::limits::{GREETING_BYTES_MAX, PASSWORD_BYTES_MAX, REFERENCE_BYTES_MAX, TERMS_BYTES_MAX};
use crate::units::{Place, Point, UnixSeconds, UserId};

const NOT_BEFORE: u8 = 1;
const NOT_AFTER: u8 = 2;
const NOT_SENDER: u8 = 3;
const NAMED: u8 = 4;
const SEED_USER: u8 = 5;
const HIDDEN: u8 = 6;
const TICKET: u8 = 7;
const PLACE: u8 = 8;
const PASSWORD_SAID: u8 = 9;
const PASSWORD_KEPT: u8 = 10;
const GREETING: u8 = 11;
const COVER: u8 = 12;
const COUPON: u8 = 13;
const PHOTO: u8 = 14;
const GRADE_MIN: u8 = 15;

/// What an envelope asks of whoever claims, and what it carries. What is left
/// out is the default of every field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms<'a> {
    /// Nobody can claim before this moment.
    pub not_before: Option<UnixSeconds>,
    /// Nobody can claim from this moment on, though it has not expired yet.
    pub not_after: Option<UnixSeconds>,
    /// Whether the sender is no claimant; by default it may be one.
    pub not_sender: bool,
    /// Only these users may claim, little endian, ascending; empty is anybody.
    pub named: &'a [[u8; 8]],
    /// This user must take a share before anybody else can.
    pub seed_user: Option<UserId>,
    /// Whether who got what is told only once the envelope is over.
    pub is_hidden: bool,
    /// Whether a claim needs a ticket of the gateway's.
    pub wants_ticket: bool,
    /// Where one must be to claim.
    pub place: Option<Place>,
    /// What one must say to claim.
    pub password: Option<Password<'a>>,
    /// What everybody is told, in whatever encoding the gateways agree on.
    pub greeting: &'a [u8],
    /// The number of the picture on it.
    pub cover: Option<u64>,
    /// A reference for whoever has a share.
    pub coupon: &'a [u8],
    /// Another.
    pub photo: &'a [u8],
    /// The least grade that may claim; 0 is any.
    pub grade_min: u8,
}

/// A password in its three lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Password<'a> {
    /// In a request: as the sender says it.
    Said(&'a [u8]),
    /// In the tables and the journal: a keyed hash and nothing else.
    Kept {
        /// Which key it was hashed with.
        key_id: u32,
        /// The hash; see [`super::PasswordKeys`].
        mac: [u8; 32],
    },
    /// In a reply: there is one.
    Wanted,
}

impl<'a> Terms<'a> {
    /// The terms in these bytes, if they are terms, in order and possible.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut terms = Self::default();
        for field in Fields::of(bytes) {
            let (tag, field) = field.ok()?;
            terms.take(tag, field).ok()?;
        }
        (bytes.len() <= TERMS_BYTES_MAX && terms.are_possible()).then_some(terms)
    }

    fn take(&mut self, tag: u8, field: &'a [u8]) -> Result<(), Malformed> {
        match tag {
            NOT_BEFORE => self.not_before = Some(u32::from_le_bytes(exactly(field)?)),
            NOT_AFTER => self.not_after = Some(u32::from_le_bytes(exactly(field)?)),
            NOT_SENDER => self.not_sender = flag(field)?,
            NAMED => self.named = names(field)?,
            SEED_USER => self.seed_user = Some(UserId(u64::from_le_bytes(exactly(field)?))),
            HIDDEN => self.is_hidden = flag(field)?,
            TICKET => self.wants_ticket = flag(field)?,
            PLACE => self.place = Some(place(&exactly(field)?)?),
            PASSWORD_SAID if field.is_empty() => self.password = Some(Password::Wanted),
            PASSWORD_SAID => {
                self.password = Some(Password::Said(fields::some(field, PASSWORD_BYTES_MAX)?));
            }
            PASSWORD_KEPT => self.password = Some(kept(&exactly(field)?)),
            GREETING => self.greeting = fields::some(field, GREETING_BYTES_MAX)?,
            COVER => self.cover = Some(u64::from_le_bytes(exactly(field)?)),
            COUPON => self.coupon = fields::some(field, REFERENCE_BYTES_MAX)?,
            PHOTO => self.photo = fields::some(field, REFERENCE_BYTES_MAX)?,
            GRADE_MIN => self.grade_min = grade(exactly(field)?)?,
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// Whether there is a moment and, as far as they say, a user for them.
    fn are_possible(&self) -> bool {
        let from = self.not_before.unwrap_or(0);
        let seed_may = self.seed_user.is_none_or(|seed| self.names(seed));
        self.not_after.is_none_or(|until| from < until) && seed_may
    }

    /// Whether this user is among the named, or nobody is named.
    pub fn names(&self, user: UserId) -> bool {
        let number = |name: &[u8; 8]| u64::from_le_bytes(*name);
        self.named.is_empty() || self.named.binary_search_by_key(&user.0, number).is_ok()
    }

    /// Appends the bytes of these terms; the same terms are the same bytes.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let is_said = |tag, said: bool, out: &mut Vec<u8>| {
            if said {
                put(out, tag, &[]);
            }
        };
        let some = |tag, field: &[u8], out: &mut Vec<u8>| {
            if !field.is_empty() {
                put(out, tag, field);
            }
        };
        let number = |tag, field: Option<u32>, out: &mut Vec<u8>| {
            some(tag, field.map(u32::to_le_bytes).as_ref().map_or(&[], |field| field), out);
        };
        let wide = |tag, field: Option<u64>, out: &mut Vec<u8>| {
            some(tag, field.map(u64::to_le_bytes).as_ref().map_or(&[], |field| field), out);
        };
        number(NOT_BEFORE, self.not_before, out);
        number(NOT_AFTER, self.not_after, out);
        is_said(NOT_SENDER, self.not_sender, out);
        some(NAMED, self.named.as_flattened(), out);
        wide(SEED_USER, self.seed_user.map(|user| user.0), out);
        is_said(HIDDEN, self.is_hidden, out);
        is_said(TICKET, self.wants_ticket, out);
        some(PLACE, self.place.map(place_bytes).as_ref().map_or(&[], |field| field), out);
        self.password.iter().for_each(|password| put_password(out, password));
        some(GREETING, self.greeting, out);
        wide(COVER, self.cover, out);
        some(COUPON, self.coupon, out);
        some(PHOTO, self.photo, out);
        if self.grade_min > 0 {
            put(out, GRADE_MIN, &[self.grade_min]);
        }
    }

    /// The bytes of these terms.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.append_to(&mut out);
        out
    }
}

fn put_password(out: &mut Vec<u8>, password: &Password<'_>) {
    match password {
        Password::Said(said) => put(out, PASSWORD_SAID, said),
        Password::Wanted => put(out, PASSWORD_SAID, &[]),
        Password::Kept { key_id, mac } => {
            let mut field = [0; 36];
            field[..4].copy_from_slice(&key_id.to_le_bytes());
            field[4..].copy_from_slice(mac);
            put(out, PASSWORD_KEPT, &field);
        }
    }
}

/// At least one, each once, in order.
fn names(field: &[u8]) -> Result<&[[u8; 8]], Malformed> {
    let (names, rest) = field.as_chunks();
    let mut pairs = names.iter().zip(names.iter().skip(1));
    let ascend = pairs.all(|(a, b)| u64::from_le_bytes(*a) < u64::from_le_bytes(*b));
    if rest.is_empty() && !names.is_empty() && ascend { Ok(names) } else { Err(Malformed) }
}

fn grade([grade]: [u8; 1]) -> Result<u8, Malformed> {
    if grade > 0 { Ok(grade) } else { Err(Malformed) }
}

fn place(field: &[u8; 12]) -> Result<Place, Malformed> {
    let [a0, a1, a2, a3, o0, o1, o2, o3, r0, r1, r2, r3] = *field;
    let (latitude, longitude) =
        (i32::from_le_bytes([a0, a1, a2, a3]), i32::from_le_bytes([o0, o1, o2, o3]));
    let centre = Point::new(latitude, longitude).ok_or(Malformed)?;
    Place::new(centre, u32::from_le_bytes([r0, r1, r2, r3])).ok_or(Malformed)
}

fn place_bytes(place: Place) -> [u8; 12] {
    let mut field = [0; 12];
    field[..4].copy_from_slice(&place.centre.latitude().to_le_bytes());
    field[4..8].copy_from_slice(&place.centre.longitude().to_le_bytes());
    field[8..].copy_from_slice(&place.radius_m.to_le_bytes());
    field
}

fn kept(field: &[u8; 36]) -> Password<'static> {
    let [k0, k1, k2, k3, mac @ ..] = *field;
    Password::Kept { key_id: u32::from_le_bytes([k0, k1, k2, k3]), mac }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(named: &[[u8; 8]]) -> Terms<'_> {
        Terms {
            not_before: Some(5),
            not_after: Some(6),
            not_sender: true,
            named,
            seed_user: Some(UserId(2)),
            is_hidden: true,
            wants_ticket: true,
            place: Place::new(Point::new(-900_000_000, 1_800_000_000).unwrap(), 100),
            password: Some(Password::Said(b"open sesame")),
            greeting: "恭喜发财".as_bytes(),
            cover: Some(7),
            coupon: b"c",
            photo: b"p",
            grade_min: 80,
        }
    }

    #[test]
    fn the_bytes_of_terms_give_them_back_and_no_others() {
        let named = [1_u64, 2, 3].map(u64::to_le_bytes);
        let whole = all(&named);
        let kept = Password::Kept { key_id: 3, mac: [9; 32] };
        for password in [whole.password, Some(kept), Some(Password::Wanted), None] {
            let terms = Terms { password, ..whole };
            let bytes = terms.to_bytes();
            assert_eq!(Terms::read(&bytes), Some(terms));
            for cut in 1..bytes.len() {
                if let Some(fewer) = Terms::read(&bytes[..cut]) {
                    assert_eq!(fewer.to_bytes(), bytes[..cut], "cut at {cut}");
                }
            }
        }
        assert_eq!(Terms::read(&[]), Some(Terms::default()));
        assert!(Terms::default().to_bytes().is_empty());
    }

    #[test]
    fn impossible_terms_are_none() {
        let named = [1_u64, 3].map(u64::to_le_bytes);
        for impossible in [
            Terms { not_before: Some(6), ..all(&named) },
            all(&named), // the seed user 2 is not among them
            Terms { named: &[[3; 8], [2; 8]], seed_user: None, ..all(&named) },
            Terms { named: &[[3; 8], [3; 8]], seed_user: None, ..all(&named) },
            Terms { greeting: &[b'g'; GREETING_BYTES_MAX + 1], ..all(&[]) },
            Terms { password: Some(Password::Said(&[1; 65])), ..all(&[]) },
        ] {
            assert_eq!(Terms::read(&impossible.to_bytes()), None, "{impossible:?}");
        }
        let many: Vec<_> = (0_u64..256).map(u64::to_le_bytes).collect();
        assert_eq!(Terms::read(&Terms { named: &many, ..Terms::default() }.to_bytes()), None);
        assert!(Terms::read(&Terms { named: &many[1..], ..Terms::default() }.to_bytes()).is_some());
        for tag in [0, 16, 255] {
            assert_eq!(Terms::read(&[tag, 0, 0]), None, "tag {tag}");
        }
        assert_eq!(Terms::read(&[11, 0, 0]), None, "an empty greeting is none at all");
    }
}
