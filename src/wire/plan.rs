//! The plan of a campaign, part by part: its terms, its prizes, its slots.
//!
//! A plan comes in small parts, each a request and a record of its own, so that
//! nothing larger than a request ever crosses from shard to shard. The same
//! three numbers stand for a part on the wire and in the journal.

use super::frame::BadRequest;
use crate::limits::{CAMPAIGN_KINDS_MAX, CAMPAIGN_SLOTS_MAX};
use crate::units::UnixSeconds;

/// What governs the whole campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanTerms {
    /// The most prizes one user may win; at most one in each slot.
    pub wins_max: u32,
    /// Nobody takes part before this moment; after the envelope's time nobody
    /// does either.
    pub opens_at: UnixSeconds,
    /// What a losing shake is told, any number: perhaps that of a coupon.
    pub fallback: u32,
}

/// Prizes of the same amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prize {
    /// The amount of each, in fen.
    pub amount: u32,
    /// How many there are.
    pub count: u32,
}

/// A stretch of time in which prizes are given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// When it begins.
    pub start: UnixSeconds,
    /// How long it lasts, in seconds.
    pub length_s: u32,
    /// How many prizes it adds to those that earlier slots have left over.
    pub quota: u32,
}

impl Slot {
    /// The first second after it.
    pub fn end(&self) -> UnixSeconds {
        self.start.saturating_add(self.length_s)
    }
}

/// One part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanPart {
    /// What governs the whole.
    Terms(PlanTerms),
    /// A kind of prizes.
    Prize(u8, Prize),
    /// A slot.
    Slot(u8, Slot),
}

impl PlanPart {
    /// Which part it is, its number among those, and its three numbers.
    pub fn numbers(&self) -> (u8, u8, [u32; 3]) {
        match *self {
            Self::Terms(PlanTerms { wins_max, opens_at, fallback }) => {
                (0, 0, [wins_max, opens_at, fallback])
            }
            Self::Prize(kind, Prize { amount, count }) => (1, kind, [amount, count, 0]),
            Self::Slot(number, Slot { start, length_s, quota }) => {
                (2, number, [start, length_s, quota])
            }
        }
    }

    /// The part of these numbers, if it can be one: every part has its place,
    /// and none of it is empty.
    pub fn of_numbers(part: u8, number: u8, [a, b, c]: [u32; 3]) -> Result<Self, BadRequest> {
        let (part, fits) = match part {
            0 => (
                Self::Terms(PlanTerms { wins_max: a, opens_at: b, fallback: c }),
                number == 0 && a > 0,
            ),
            1 => (
                Self::Prize(number, Prize { amount: a, count: b }),
                usize::from(number) < CAMPAIGN_KINDS_MAX && a > 0 && b > 0 && c == 0,
            ),
            2 => (
                Self::Slot(number, Slot { start: a, length_s: b, quota: c }),
                usize::from(number) < CAMPAIGN_SLOTS_MAX
                    && b > 0
                    && c > 0
                    && a.checked_add(b).is_some(),
            ),
            _ => return Err(BadRequest::PlanPart),
        };
        if fits { Ok(part) } else { Err(BadRequest::PlanPart) }
    }
}

/// What a sponsor tells a campaign to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// Give out prizes, as planned; from then on the plan is fixed.
    Start = 1,
    /// Give out none until it is started again.
    Pause = 2,
}

impl Command {
    /// The command of a wire or journal code.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Start),
            2 => Some(Self::Pause),
            _ => None,
        }
    }

    /// The code on the wire and in the journal.
    pub fn code(self) -> u8 {
        match self {
            Self::Start => 1,
            Self::Pause => 2,
        }
    }
}

/// Where a campaign is between its order and its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum CampaignPhase {
    /// Its plan may still be changed.
    #[default]
    Draft = 0,
    /// It gives out prizes.
    Running = 1,
    /// It gives out none for the time being.
    Paused = 2,
}

impl CampaignPhase {
    /// The phase of a code.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Draft),
            1 => Some(Self::Running),
            2 => Some(Self::Paused),
            _ => None,
        }
    }

    /// The code on the wire and in images.
    pub fn code(self) -> u8 {
        match self {
            Self::Draft => 0,
            Self::Running => 1,
            Self::Paused => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_give_back_the_part() {
        for part in [
            PlanPart::Terms(PlanTerms { wins_max: 1, opens_at: 2, fallback: 3 }),
            PlanPart::Prize(15, Prize { amount: 888, count: 5 }),
            PlanPart::Slot(63, Slot { start: 7, length_s: 8, quota: 9 }),
        ] {
            let (code, number, numbers) = part.numbers();
            assert_eq!(PlanPart::of_numbers(code, number, numbers), Ok(part));
        }
    }

    #[test]
    fn parts_without_a_place_or_a_meaning_are_refused() {
        for (part, number, numbers) in [
            (0, 1, [1, 0, 0]),
            (0, 0, [0, 0, 0]),
            (1, 16, [1, 1, 0]),
            (1, 0, [0, 1, 0]),
            (1, 0, [1, 0, 0]),
            (1, 0, [1, 1, 1]),
            (2, 64, [1, 1, 1]),
            (2, 0, [1, 0, 1]),
            (2, 0, [1, 1, 0]),
            (2, 0, [u32::MAX, 1, 1]),
            (3, 0, [1, 1, 1]),
        ] {
            let refused = PlanPart::of_numbers(part, number, numbers);
            assert_eq!(refused, Err(BadRequest::PlanPart), "{part} {number} {numbers:?}");
        }
    }
}
