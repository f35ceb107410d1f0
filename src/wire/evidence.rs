//! What a claimer shows beyond its number: a ticket, a position, a password.
//!
//! | tag | bytes | field |
//! |---:|---:|---|
//! | 1 | 40 | ticket: key id, not after, MAC |
//! | 2 | 8 | position: latitude, longitude |
//! | 3 | 1..=64 | password |
//! | 4 | 8 | device: the gateway's tag of it |
//! | 5 | 8 | address: the gateway's tag of it |
//!
//! Nothing here judges it.

use super::fields::{self, Fields, Malformed, exactly, put};
use super::risk::Tags;
use crate::limits::PASSWORD_BYTES_MAX;
use crate::units::{Point, UnixSeconds};

const TICKET: u8 = 1;
const POSITION: u8 = 2;
const PASSWORD: u8 = 3;
const DEVICE: u8 = 4;
const ADDRESS: u8 = 5;

/// A gateway's word that a user belongs to an envelope's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Which of the gateway's keys made it.
    pub key_id: u32,
    /// It is good until this moment.
    pub not_after: UnixSeconds,
    /// The MAC over envelope, user and `not_after`; see [`super::TicketKeys`].
    pub mac: [u8; 32],
}

impl Ticket {
    /// The ticket in these bytes; whether it is good is another question.
    pub fn from_bytes(bytes: &[u8; 40]) -> Self {
        let [k0, k1, k2, k3, n0, n1, n2, n3, mac @ ..] = *bytes;
        Self {
            key_id: u32::from_le_bytes([k0, k1, k2, k3]),
            not_after: u32::from_le_bytes([n0, n1, n2, n3]),
            mac,
        }
    }

    /// The bytes of this ticket.
    pub fn to_bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..4].copy_from_slice(&self.key_id.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.not_after.to_le_bytes());
        bytes[8..].copy_from_slice(&self.mac);
        bytes
    }
}

/// What came with a claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence<'a> {
    /// That the claimer belongs to the group.
    pub ticket: Option<Ticket>,
    /// Where the claimer is, as the gateway knows it.
    pub position: Option<Point>,
    /// What the claimer said.
    pub password: Option<&'a [u8]>,
    /// From where it came, as the gateway tells devices and addresses apart.
    pub tags: Tags,
}

impl<'a> Evidence<'a> {
    /// The evidence in these bytes, if it is that.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut evidence = Self::default();
        for field in Fields::of(bytes) {
            let (tag, field) = field.ok()?;
            evidence.take(tag, field).ok()?;
        }
        Some(evidence)
    }

    fn take(&mut self, tag: u8, field: &'a [u8]) -> Result<(), Malformed> {
        match tag {
            TICKET => self.ticket = Some(Ticket::from_bytes(&exactly(field)?)),
            POSITION => self.position = Some(position(exactly(field)?)?),
            PASSWORD => self.password = Some(fields::some(field, PASSWORD_BYTES_MAX)?),
            DEVICE => self.tags.device = Some(u64::from_le_bytes(exactly(field)?)),
            ADDRESS => self.tags.address = Some(u64::from_le_bytes(exactly(field)?)),
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// The bytes of this evidence.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(ticket) = &self.ticket {
            put(&mut out, TICKET, &ticket.to_bytes());
        }
        if let Some(point) = self.position {
            let mut field = [0; 8];
            field[..4].copy_from_slice(&point.latitude().to_le_bytes());
            field[4..].copy_from_slice(&point.longitude().to_le_bytes());
            put(&mut out, POSITION, &field);
        }
        if let Some(said) = self.password {
            put(&mut out, PASSWORD, said);
        }
        for (field, tag) in [(DEVICE, self.tags.device), (ADDRESS, self.tags.address)] {
            if let Some(tag) = tag {
                put(&mut out, field, &tag.to_le_bytes());
            }
        }
        out
    }
}

fn position(field: [u8; 8]) -> Result<Point, Malformed> {
    let [a0, a1, a2, a3, o0, o1, o2, o3] = field;
    let latitude = i32::from_le_bytes([a0, a1, a2, a3]);
    Point::new(latitude, i32::from_le_bytes([o0, o1, o2, o3])).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_evidence_give_it_back() {
        let ticket = Ticket { key_id: 1, not_after: 2, mac: [3; 32] };
        let position = Point::new(1, -2).unwrap();
        let tags = |device, address| Tags { device, address };
        for (ticket, position, password, tags) in [
            (None, None, None, tags(None, None)),
            (Some(ticket), None, Some(&b"x"[..]), tags(Some(0), None)),
            (None, Some(position), None, tags(None, Some(u64::MAX))),
            (Some(ticket), Some(position), Some(&[b'y'; 64][..]), tags(Some(1), Some(2))),
        ] {
            let evidence = Evidence { ticket, position, password, tags };
            let bytes = evidence.to_bytes();
            assert_eq!(Evidence::read(&bytes), Some(evidence));
        }
    }

    #[test]
    fn what_is_no_evidence_is_none() {
        let far = [2, 8, 0, 1, 233, 164, 53, 0, 0, 0, 0]; // a step north of the pole
        assert_eq!(900_000_001_i32.to_le_bytes(), far[3..7]);
        let short = [4, 7, 0, 1, 2, 3, 4, 5, 6, 7];
        let long = [5, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        let others = [&[3, 0, 0][..], &[3, 1], &[6, 0, 0], &[1, 1, 0, 9], &[0, 0, 0]];
        for bytes in others.into_iter().chain([&far[..], &short, &long]) {
            assert_eq!(Evidence::read(bytes), None, "{bytes:?}");
        }
        let long = Evidence { password: Some(&[7; 65]), ..Evidence::default() };
        assert_eq!(Evidence::read(&long.to_bytes()), None);
    }
}
