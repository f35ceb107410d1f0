//! Newtypes for what is counted and named: money, time, people, envelopes.
//!
//! This room never does I/O and never reads a clock.

use std::fmt;

/// Money in fen (1/100 yuan), always an integer.
pub type Fen = u64;

/// Seconds since the Unix epoch; good until the year 2106.
pub type UnixSeconds = u32;

/// The cell a server's data belongs to: one server, one cell.
pub type Cell = u8;

/// How many partitions a cell always has, whatever its number of shards.
pub const PARTITIONS: u16 = 256;

/// A moment in milliseconds since the Unix epoch. Time is an argument
/// everywhere below the shard; only the shard reads a clock, once a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The whole seconds of this moment, as records and replies carry them.
    pub fn seconds(self) -> UnixSeconds {
        UnixSeconds::try_from(self.0 / 1000).unwrap_or(UnixSeconds::MAX)
    }
}

/// The number of the day that a moment is in, where days begin so many minutes
/// east of universal time.
pub fn day_of(at: UnixSeconds, utc_offset_min: i32) -> u32 {
    let local = i64::from(at) + 60 * i64::from(utc_offset_min);
    // Day 0 is the one before 1970 in the farthest west.
    u32::try_from(local.div_euclid(24 * 3600) + 1).unwrap_or(0)
}

/// A moment on a clock that only runs forward, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Microseconds from `earlier` to this moment, up to 71 minutes. Threads
    /// read the clock at slightly different moments: what lies ahead is now.
    #[inline]
    pub fn since(self, earlier: Self) -> u32 {
        u32::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(u32::MAX)
    }
}

/// How long the machine has been up, in milliseconds, its sleep included. Nobody
/// can set this clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Uptime(pub u64);

/// Who claims or sends: an account number of the asking system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UserId(pub u64);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The 128-bit secret of one envelope; every draw is a function of it and the
/// claim's rank.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Seed(pub [u64; 2]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)") // a seed in a log would tell the coming amounts
    }
}

/// `cell 8 | partition 8 | slot 32 | generation 16`, most significant first.
///
/// A partition belongs to the shard `partition mod shards`, so ids survive any
/// change of the number of shards. A reused slot has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EnvelopeId(pub u64);

impl EnvelopeId {
    /// Puts the four parts together.
    pub fn new(cell: Cell, partition: u8, slot: u32, generation: u16) -> Self {
        Self(
            u64::from(cell) << 56
                | u64::from(partition) << 48
                | u64::from(slot) << 16
                | u64::from(generation),
        )
    }

    /// An id of a partition that no envelope ever has: generation 0 is never
    /// given out. It addresses the shard that owns the partition.
    pub fn of_partition(partition: u8) -> Self {
        Self::new(0, partition, 0, 0)
    }

    /// The server's cell.
    pub fn cell(self) -> Cell {
        self.0.to_be_bytes()[0]
    }

    /// The partition, which decides the owning shard.
    pub fn partition(self) -> u8 {
        self.0.to_be_bytes()[1]
    }

    /// The slot within the partition.
    pub fn slot(self) -> u32 {
        let [_, _, a, b, c, d, _, _] = self.0.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// The generation of the slot; 0 is never given out.
    pub fn generation(self) -> u16 {
        let [.., a, b] = self.0.to_be_bytes();
        u16::from_be_bytes([a, b])
    }
}

impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How an envelope's money is cut into shares (DESIGN §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Split {
    /// Every share the same; the remainder one fen each to the first.
    Equal = 0,
    /// Dithered double mean: each share is uniform around the mean of the rest.
    DoubleMean = 1,
    /// Line cutting: the shares are the gaps between distinct random cuts.
    LineCutting = 2,
    /// Prizes: the envelope is a campaign, its shares are prizes of a plan, and
    /// they are won by shaking.
    Prizes = 3,
}

impl Split {
    /// The split of a wire or journal code.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Equal),
            1 => Some(Self::DoubleMean),
            2 => Some(Self::LineCutting),
            3 => Some(Self::Prizes),
            _ => None,
        }
    }

    /// The code on the wire and in the journal.
    pub fn code(self) -> u8 {
        match self {
            Self::Equal => 0,
            Self::DoubleMean => 1,
            Self::LineCutting => 2,
            Self::Prizes => 3,
        }
    }
}

/// Where the money of an envelope comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MoneySource {
    /// The caller vouches that it is paid: the envelope is open at once.
    Vouched = 0,
    /// The sender's balance in the ledger: open when the ledger holds it.
    Balance = 1,
    /// An outside payment: open when the payment system confirms it.
    Payment = 2,
}

impl MoneySource {
    /// The source of a wire or journal code.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Vouched),
            1 => Some(Self::Balance),
            2 => Some(Self::Payment),
            _ => None,
        }
    }

    /// The code on the wire and in the journal.
    pub fn code(self) -> u8 {
        match self {
            Self::Vouched => 0,
            Self::Balance => 1,
            Self::Payment => 2,
        }
    }
}

/// Why a reserved envelope never opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum VoidCause {
    /// It was not paid in time.
    Lapsed = 0,
    /// The sender took the order back.
    Withdrawn = 1,
    /// The ledger did not have the money.
    Refused = 2,
}

impl VoidCause {
    /// The cause of a wire or journal code.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Lapsed),
            1 => Some(Self::Withdrawn),
            2 => Some(Self::Refused),
            _ => None,
        }
    }

    /// The code on the wire and in the journal.
    pub fn code(self) -> u8 {
        match self {
            Self::Lapsed => 0,
            Self::Withdrawn => 1,
            Self::Refused => 2,
        }
    }
}

/// Where an envelope is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EnvelopeState {
    /// Shares are left and may be claimed.
    Open = 1,
    /// Every share is claimed.
    Exhausted = 2,
    /// Its time ran out; what was left is refunded.
    Expired = 3,
    /// The sender took it back; what was left is refunded.
    Cancelled = 4,
    /// Ordered and not yet paid; nobody can claim.
    Reserved = 5,
    /// Never paid: the order lapsed, was withdrawn or refused.
    Voided = 6,
}

impl EnvelopeState {
    /// The state of a wire or table code.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Open),
            2 => Some(Self::Exhausted),
            3 => Some(Self::Expired),
            4 => Some(Self::Cancelled),
            5 => Some(Self::Reserved),
            6 => Some(Self::Voided),
            _ => None,
        }
    }

    /// The code on the wire and in the tables.
    pub fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Exhausted => 2,
            Self::Expired => 3,
            Self::Cancelled => 4,
            Self::Reserved => 5,
            Self::Voided => 6,
        }
    }
}

/// The most of a latitude, in units of 1e-7 degrees.
const LATITUDE_MAX: i32 = 900_000_000;

/// The most of a longitude.
const LONGITUDE_MAX: i32 = 1_800_000_000;

/// Half the way around the earth, in metres: nothing is farther away.
const RADIUS_M_MAX: u32 = 20_015_115;

/// A point on the earth, in units of 1e-7 degrees, about a centimetre.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    latitude: i32,
    longitude: i32,
}

impl Point {
    /// The point, if there is one: latitudes to 90 degrees, longitudes to 180.
    pub fn new(latitude: i32, longitude: i32) -> Option<Self> {
        let exists = latitude.unsigned_abs() <= LATITUDE_MAX.unsigned_abs()
            && longitude.unsigned_abs() <= LONGITUDE_MAX.unsigned_abs();
        exists.then_some(Self { latitude, longitude })
    }

    /// North of the equator.
    pub fn latitude(self) -> i32 {
        self.latitude
    }

    /// East of Greenwich.
    pub fn longitude(self) -> i32 {
        self.longitude
    }
}

/// All points within some metres of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its middle.
    pub centre: Point,
    /// How far it reaches, in metres, along the surface.
    pub radius_m: u32,
}

impl Place {
    /// The place, if it is larger than a point and no larger than the earth.
    pub fn new(centre: Point, radius_m: u32) -> Option<Self> {
        (1..=RADIUS_M_MAX).contains(&radius_m).then_some(Self { centre, radius_m })
    }
}

/// What an acknowledged claim survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Synced to the disk before the reply: survives a power cut.
    Sync,
    /// In the mapping before the reply: survives a crash of the process only.
    Os,
}

impl Durability {
    /// The code in the `hello` reply.
    pub fn code(self) -> u8 {
        match self {
            Self::Sync => 0,
            Self::Os => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelope_id_gives_back_its_parts() {
        let id = EnvelopeId::new(0xfe, 0xdc, 0xba98_7654, 0x3210);
        assert_eq!(id.0, 0xfedc_ba98_7654_3210);
        assert_eq!(
            (id.cell(), id.partition(), id.slot(), id.generation()),
            (0xfe, 0xdc, 0xba98_7654, 0x3210)
        );
    }

    #[test]
    fn codes_go_both_ways() {
        for split in [Split::Equal, Split::DoubleMean, Split::LineCutting, Split::Prizes] {
            assert_eq!(Split::from_code(split.code()), Some(split));
        }
        for code in 1..=6 {
            assert_eq!(EnvelopeState::from_code(code).unwrap().code(), code);
        }
    }
}
