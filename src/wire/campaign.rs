//! The layouts of requests about campaigns, and of how one stands.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::decode::DecodeReplyError;
use super::frame::{BadRequest, HEADER_BYTES};
use super::plan::{CampaignPhase, Command, PlanPart, PlanTerms, Prize, Slot};
use super::reply::ReplyWriter;
use super::request::Request;
use super::status::Status;
use crate::limits::{CAMPAIGN_KINDS_MAX, CAMPAIGN_SECONDS, CAMPAIGN_SLOTS_MAX, FRAME_BYTES_MAX};
use crate::units::{EnvelopeId, EnvelopeState, Fen, UnixSeconds, UserId};

/// `campaign | sponsor, 8 each | part 1, number 1, reserved 2 | three numbers, 4 each`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct PlanBody {
    campaign: U64,
    sponsor: U64,
    part: u8,
    number: u8,
    reserved: [u8; 2],
    numbers: [U32; 3],
}

impl PlanBody {
    pub(super) fn of(campaign: EnvelopeId, sponsor: UserId, part: &PlanPart) -> Self {
        let (part, number, numbers) = part.numbers();
        let (campaign, sponsor) = (U64::new(campaign.0), U64::new(sponsor.0));
        Self { campaign, sponsor, part, number, reserved: [0; 2], numbers: numbers.map(U32::new) }
    }

    pub(super) fn request(&self) -> Result<Request, BadRequest> {
        if self.reserved != [0; 2] {
            return Err(BadRequest::Reserved);
        }
        Ok(Request::CampaignPlan {
            campaign: EnvelopeId(self.campaign.get()),
            sponsor: UserId(self.sponsor.get()),
            part: PlanPart::of_numbers(self.part, self.number, self.numbers.map(U32::get))?,
        })
    }
}

/// `campaign | sponsor, 8 each | command 1, reserved 7`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct CommandBody {
    campaign: U64,
    sponsor: U64,
    command: u8,
    reserved: [u8; 7],
}

impl CommandBody {
    pub(super) fn of(campaign: EnvelopeId, sponsor: UserId, command: Command) -> Self {
        Self {
            campaign: U64::new(campaign.0),
            sponsor: U64::new(sponsor.0),
            command: command.code(),
            reserved: [0; 7],
        }
    }

    pub(super) fn request(&self) -> Result<Request, BadRequest> {
        if self.reserved != [0; 7] {
            return Err(BadRequest::Reserved);
        }
        Ok(Request::CampaignCommand {
            campaign: EnvelopeId(self.campaign.get()),
            sponsor: UserId(self.sponsor.get()),
            command: Command::from_code(self.command).ok_or(BadRequest::Command)?,
        })
    }
}

/// How a campaign stands, but for its lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CampaignHead {
    /// Where its envelope is in its life.
    pub state: EnvelopeState,
    /// Where it is between its order and its end.
    pub phase: CampaignPhase,
    /// What governs it.
    pub terms: PlanTerms,
    /// When its envelope expires; while it is reserved, when it lapses.
    pub ends_at: UnixSeconds,
    /// How many prizes there are.
    pub prizes: u32,
    /// How many of them may have been won by now.
    pub released: u32,
    /// How many were won.
    pub won: u32,
    /// How many of those the ledger is known to have credited; `None` where no
    /// ledger follows.
    pub credited: Option<u32>,
    /// What the wins come to, in fen.
    pub won_fen: Fen,
    /// Shakes, lost or won, since the server was started.
    pub shakes: u64,
}

/// A campaign at the end of a second; all but `shakes` since its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CampaignSecond {
    /// The second.
    pub at: UnixSeconds,
    /// Prizes that might have been won.
    pub released: u32,
    /// Prizes that were won.
    pub won: u32,
    /// Wins that the ledger was known to have credited.
    pub credited: u32,
    /// Shakes in this second.
    pub shakes: u64,
}

/// How a campaign stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignStatus {
    /// The sums.
    pub head: CampaignHead,
    /// The kinds of prizes, and how many of each were won.
    pub prizes: Vec<(Prize, u32)>,
    /// The slots, and how many prizes were won in each.
    pub slots: Vec<(Slot, u32)>,
    /// The last seconds, the oldest first.
    pub seconds: Vec<CampaignSecond>,
}

/// No ledger follows, so nothing is known of credits.
const NOT_CREDITED: u32 = u32::MAX;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeadBody {
    state: u8,
    phase: u8,
    kinds: u8,
    slots: u8,
    seconds: u8,
    reserved: [u8; 3],
    wins_max: U32,
    opens_at: U32,
    ends_at: U32,
    fallback: U32,
    prizes: U32,
    released: U32,
    won: U32,
    credited: U32,
    won_fen: U64,
    shakes: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PrizeBody {
    amount: U32,
    count: U32,
    won: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SlotBody {
    start: U32,
    length_s: U32,
    quota: U32,
    won: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SecondBody {
    at: U32,
    released: U32,
    won: U32,
    credited: U32,
    shakes: U64,
}

const LISTS_BYTES_MAX: usize = CAMPAIGN_KINDS_MAX * size_of::<PrizeBody>()
    + CAMPAIGN_SLOTS_MAX * size_of::<SlotBody>()
    + CAMPAIGN_SECONDS * size_of::<SecondBody>();
const _: () = assert!(HEADER_BYTES + size_of::<HeadBody>() + LISTS_BYTES_MAX <= FRAME_BYTES_MAX);

impl ReplyWriter<'_> {
    /// The reply to `campaign_status`. Each list is as long as its iterator
    /// says, and at most what a frame has room for.
    pub fn campaign(
        mut self,
        head: &CampaignHead,
        prizes: impl ExactSizeIterator<Item = (Prize, u32)>,
        slots: impl ExactSizeIterator<Item = (Slot, u32)>,
        seconds: impl ExactSizeIterator<Item = CampaignSecond>,
    ) {
        let kinds = prizes.len().min(CAMPAIGN_KINDS_MAX);
        let rounds = slots.len().min(CAMPAIGN_SLOTS_MAX);
        let past = seconds.len().min(CAMPAIGN_SECONDS);
        let bytes = size_of::<HeadBody>()
            + kinds * size_of::<PrizeBody>()
            + rounds * size_of::<SlotBody>()
            + past * size_of::<SecondBody>();
        self.header(Status::Ok, 0, bytes);
        let lengths = [kinds, rounds, past].map(|n| u8::try_from(n).unwrap_or(u8::MAX));
        self.out.extend_from_slice(head_body(head, lengths).as_bytes());
        for (prize, won) in prizes.take(kinds) {
            let [amount, count, won] = [prize.amount, prize.count, won].map(U32::new);
            self.out.extend_from_slice(PrizeBody { amount, count, won }.as_bytes());
        }
        for (slot, won) in slots.take(rounds) {
            self.out.extend_from_slice(slot_body(&slot, won).as_bytes());
        }
        for second in seconds.take(past) {
            self.out.extend_from_slice(second_body(&second).as_bytes());
        }
    }
}

fn head_body(head: &CampaignHead, [kinds, slots, seconds]: [u8; 3]) -> HeadBody {
    HeadBody {
        state: head.state.code(),
        phase: head.phase.code(),
        kinds,
        slots,
        seconds,
        reserved: [0; 3],
        wins_max: U32::new(head.terms.wins_max),
        opens_at: U32::new(head.terms.opens_at),
        ends_at: U32::new(head.ends_at),
        fallback: U32::new(head.terms.fallback),
        prizes: U32::new(head.prizes),
        released: U32::new(head.released),
        won: U32::new(head.won),
        credited: U32::new(head.credited.unwrap_or(NOT_CREDITED)),
        won_fen: U64::new(head.won_fen),
        shakes: U64::new(head.shakes),
    }
}

fn slot_body(slot: &Slot, won: u32) -> SlotBody {
    SlotBody {
        start: U32::new(slot.start),
        length_s: U32::new(slot.length_s),
        quota: U32::new(slot.quota),
        won: U32::new(won),
    }
}

fn second_body(second: &CampaignSecond) -> SecondBody {
    SecondBody {
        at: U32::new(second.at),
        released: U32::new(second.released),
        won: U32::new(second.won),
        credited: U32::new(second.credited),
        shakes: U64::new(second.shakes),
    }
}

/// So many bodies from the front of `bytes`, and the rest.
fn list<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    bytes: &[u8],
    count: u8,
) -> Result<(&[T], &[u8]), DecodeReplyError> {
    <[T]>::ref_from_prefix_with_elems(bytes, count.into()).map_err(|_| DecodeReplyError::Body)
}

pub(super) fn decode_campaign(body: &[u8]) -> Result<CampaignStatus, DecodeReplyError> {
    let (head, rest) = HeadBody::ref_from_prefix(body).map_err(|_| DecodeReplyError::Body)?;
    let (prizes, rest) = list::<PrizeBody>(rest, head.kinds)?;
    let (slots, rest) = list::<SlotBody>(rest, head.slots)?;
    let (seconds, rest) = list::<SecondBody>(rest, head.seconds)?;
    if !rest.is_empty() {
        return Err(DecodeReplyError::Body);
    }
    let prize =
        |p: &PrizeBody| (Prize { amount: p.amount.get(), count: p.count.get() }, p.won.get());
    let slot = |s: &SlotBody| {
        let (start, length_s, quota) = (s.start.get(), s.length_s.get(), s.quota.get());
        (Slot { start, length_s, quota }, s.won.get())
    };
    let second = |s: &SecondBody| CampaignSecond {
        at: s.at.get(),
        released: s.released.get(),
        won: s.won.get(),
        credited: s.credited.get(),
        shakes: s.shakes.get(),
    };
    Ok(CampaignStatus {
        head: told_head(head)?,
        prizes: prizes.iter().map(prize).collect(),
        slots: slots.iter().map(slot).collect(),
        seconds: seconds.iter().map(second).collect(),
    })
}

fn told_head(head: &HeadBody) -> Result<CampaignHead, DecodeReplyError> {
    Ok(CampaignHead {
        state: EnvelopeState::from_code(head.state).ok_or(DecodeReplyError::Unknown)?,
        phase: CampaignPhase::from_code(head.phase).ok_or(DecodeReplyError::Unknown)?,
        terms: PlanTerms {
            wins_max: head.wins_max.get(),
            opens_at: head.opens_at.get(),
            fallback: head.fallback.get(),
        },
        ends_at: head.ends_at.get(),
        prizes: head.prizes.get(),
        released: head.released.get(),
        won: head.won.get(),
        credited: Some(head.credited.get()).filter(|&credited| credited != NOT_CREDITED),
        won_fen: head.won_fen.get(),
        shakes: head.shakes.get(),
    })
}
