//! The layouts of requests and replies about risk.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::decode::DecodeReplyError;
use super::frame::{BadRequest, HEADER_BYTES};
use super::reply::ReplyWriter;
use super::request::Request;
use super::risk::{
    Explained, Hold, HoldState, HoldsFrom, Mark, Resolution, RiskEvent, RiskRule, RiskStep,
    RiskVerdict, Standing,
};
use super::status::Status;
use crate::limits::FRAME_BYTES_MAX;
use crate::units::{EnvelopeId, UserId};

/// `user 8 | partition 1, change 1, value 1, reserved 5`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct MarkBody {
    user: U64,
    partition: u8,
    change: u8,
    value: u8,
    reserved: [u8; 5],
}

impl MarkBody {
    pub(super) fn of(partition: u8, user: UserId, mark: Mark) -> Self {
        let (change, value) = mark.codes();
        Self { user: U64::new(user.0), partition, change, value, reserved: [0; 5] }
    }

    pub(super) fn request(&self) -> Result<Request, BadRequest> {
        if self.reserved != [0; 5] {
            return Err(BadRequest::Reserved);
        }
        Ok(Request::RiskMark {
            partition: self.partition,
            user: UserId(self.user.get()),
            mark: Mark::from_codes(self.change, self.value).ok_or(BadRequest::Risk)?,
        })
    }
}

/// `user 8 | partition 1, reserved 7`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ExplainBody {
    user: U64,
    partition: u8,
    reserved: [u8; 7],
}

impl ExplainBody {
    pub(super) fn of(partition: u8, user: UserId) -> Self {
        Self { user: U64::new(user.0), partition, reserved: [0; 7] }
    }

    pub(super) fn request(&self) -> Result<Request, BadRequest> {
        if self.reserved != [0; 7] {
            return Err(BadRequest::Reserved);
        }
        Ok(Request::RiskExplain { partition: self.partition, user: UserId(self.user.get()) })
    }
}

/// `after envelope | user, 8 each | partition 1, only 1, reserved 6`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HoldsBody {
    after: [U64; 2],
    partition: u8,
    only: u8,
    reserved: [u8; 6],
}

impl HoldsBody {
    pub(super) fn of(from: &HoldsFrom) -> Self {
        Self {
            after: [U64::new(from.after.0.0), U64::new(from.after.1.0)],
            partition: from.partition,
            only: from.only.into(),
            reserved: [0; 6],
        }
    }

    pub(super) fn request(&self) -> Result<Request, BadRequest> {
        if self.only > 1 || self.reserved != [0; 6] {
            return Err(BadRequest::Reserved);
        }
        let only = self.only == 1;
        let [envelope, user] = self.after.map(U64::get);
        let after = (EnvelopeId(envelope), UserId(user));
        Ok(Request::RiskHolds(HoldsFrom { partition: self.partition, after, only }))
    }
}

/// `envelope | user, 8 each | resolution 1, reserved 7`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ResolveBody {
    envelope: U64,
    user: U64,
    resolution: u8,
    reserved: [u8; 7],
}

impl ResolveBody {
    pub(super) fn of(envelope: EnvelopeId, user: UserId, resolution: Resolution) -> Self {
        let (envelope, user) = (U64::new(envelope.0), U64::new(user.0));
        Self { envelope, user, resolution: resolution.code(), reserved: [0; 7] }
    }

    pub(super) fn request(&self) -> Result<Request, BadRequest> {
        if self.reserved != [0; 7] {
            return Err(BadRequest::Reserved);
        }
        Ok(Request::RiskResolve {
            envelope: EnvelopeId(self.envelope.get()),
            user: UserId(self.user.get()),
            resolution: Resolution::from_code(self.resolution).ok_or(BadRequest::Risk)?,
        })
    }
}

/// `after 8 | partition 1, reserved 7`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct FeedBody {
    after: U64,
    partition: u8,
    reserved: [u8; 7],
}

impl FeedBody {
    pub(super) fn of(partition: u8, after: u64) -> Self {
        Self { after: U64::new(after), partition, reserved: [0; 7] }
    }

    pub(super) fn request(&self) -> Result<Request, BadRequest> {
        if self.reserved != [0; 7] {
            return Err(BadRequest::Reserved);
        }
        Ok(Request::RiskFeed { partition: self.partition, after: self.after.get() })
    }
}

/// `number | envelope | user, 8 each | amount | at, 4 each | what 1, rule 1, by
/// time 1, reserved 5`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EventBody {
    number: U64,
    envelope: U64,
    user: U64,
    amount: U32,
    at: U32,
    what: u8,
    rule: u8,
    by_time: u8,
    reserved: [u8; 5],
}

/// `grade 1, lists 1, grade that counts 1, verdict 1, rule 1, reserved 3 |
/// marked at | wins | window s | hold above fen, 4 each | tries | guesses, 2 each`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ExplainedBody {
    own_grade: u8,
    lists: u8,
    grade: u8,
    verdict: u8,
    rule: u8,
    reserved: [u8; 3],
    at: U32,
    wins: U32,
    window_s: U32,
    hold_above_fen: U32,
    tries: U16,
    guesses: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RowsHead {
    rows: U32,
    reserved: U32,
}

/// `envelope | user, 8 each | amount | at | until, 4 each | rule 1, state 1,
/// reserved 2`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HoldBody {
    envelope: U64,
    user: U64,
    amount: U32,
    at: U32,
    until: U32,
    rule: u8,
    state: u8,
    reserved: [u8; 2],
}

/// Holds in one reply: what fits a frame.
pub const HOLD_ROWS_MAX: usize =
    (FRAME_BYTES_MAX - HEADER_BYTES - size_of::<RowsHead>()) / size_of::<HoldBody>();

/// Events in one reply: what fits a frame.
pub const RISK_EVENTS_MAX: usize =
    (FRAME_BYTES_MAX - HEADER_BYTES - size_of::<RowsHead>()) / size_of::<EventBody>();

impl ReplyWriter<'_> {
    /// The reply to `risk_explain`.
    pub fn explained(mut self, told: &Explained) {
        let (verdict, rule) = told.verdict.codes();
        let body = ExplainedBody {
            own_grade: told.standing.grade,
            lists: told.standing.lists(),
            grade: told.grade,
            verdict,
            rule,
            reserved: [0; 3],
            at: U32::new(told.standing.at),
            wins: U32::new(told.wins),
            window_s: U32::new(told.window_s),
            hold_above_fen: U32::new(told.hold_above_fen),
            tries: U16::new(told.tries),
            guesses: U16::new(told.guesses),
        };
        self.header(Status::Ok, 0, size_of::<ExplainedBody>());
        self.out.extend_from_slice(body.as_bytes());
    }

    /// The reply to `risk_holds`: as many as fit, at most [`HOLD_ROWS_MAX`].
    pub fn holds(mut self, holds: impl Iterator<Item = Hold> + Clone) {
        self.rows_head(holds.clone().take(HOLD_ROWS_MAX).count(), size_of::<HoldBody>());
        for hold in holds.take(HOLD_ROWS_MAX) {
            let body = HoldBody {
                envelope: U64::new(hold.envelope.0),
                user: U64::new(hold.user.0),
                amount: U32::new(hold.amount),
                at: U32::new(hold.at),
                until: U32::new(hold.until),
                rule: hold.rule.code(),
                state: hold.state.code(),
                reserved: [0; 2],
            };
            self.out.extend_from_slice(body.as_bytes());
        }
    }

    fn rows_head(&mut self, rows: usize, row_bytes: usize) {
        self.header(Status::Ok, 0, size_of::<RowsHead>() + rows * row_bytes);
        let rows = U32::new(u32::try_from(rows).unwrap_or(u32::MAX));
        self.out.extend_from_slice(RowsHead { rows, reserved: U32::ZERO }.as_bytes());
    }

    /// The reply to `risk_feed`: as many as fit, at most [`RISK_EVENTS_MAX`].
    pub fn risk_events(mut self, events: impl Iterator<Item = RiskEvent> + Clone) {
        self.rows_head(events.clone().take(RISK_EVENTS_MAX).count(), size_of::<EventBody>());
        for event in events.take(RISK_EVENTS_MAX) {
            let body = EventBody {
                number: U64::new(event.number),
                envelope: U64::new(event.envelope.0),
                user: U64::new(event.user.0),
                amount: U32::new(event.amount),
                at: U32::new(event.at),
                what: event.what.code(),
                rule: event.rule.map_or(0, RiskRule::code),
                by_time: event.by_time.into(),
                reserved: [0; 5],
            };
            self.out.extend_from_slice(body.as_bytes());
        }
    }
}

pub(super) fn decode_explained(body: &[u8]) -> Result<Explained, DecodeReplyError> {
    let b = ExplainedBody::ref_from_bytes(body).map_err(|_| DecodeReplyError::Body)?;
    let standing = Standing::of(b.own_grade, b.lists, b.at.get());
    let verdict = RiskVerdict::from_codes(b.verdict, b.rule);
    Ok(Explained {
        standing: standing.ok_or(DecodeReplyError::Unknown)?,
        grade: b.grade,
        wins: b.wins.get(),
        window_s: b.window_s.get(),
        verdict: verdict.ok_or(DecodeReplyError::Unknown)?,
        hold_above_fen: b.hold_above_fen.get(),
        tries: b.tries.get(),
        guesses: b.guesses.get(),
    })
}

pub(super) fn decode_holds(body: &[u8]) -> Result<Vec<Hold>, DecodeReplyError> {
    let (head, rows) = RowsHead::ref_from_prefix(body).map_err(|_| DecodeReplyError::Body)?;
    let rows = <[HoldBody]>::ref_from_bytes(rows).map_err(|_| DecodeReplyError::Body)?;
    if u32::try_from(rows.len()).ok() != Some(head.rows.get()) {
        return Err(DecodeReplyError::Body);
    }
    rows.iter().map(hold_of).collect()
}

pub(super) fn decode_events(body: &[u8]) -> Result<Vec<RiskEvent>, DecodeReplyError> {
    let (head, rows) = RowsHead::ref_from_prefix(body).map_err(|_| DecodeReplyError::Body)?;
    let rows = <[EventBody]>::ref_from_bytes(rows).map_err(|_| DecodeReplyError::Body)?;
    if u32::try_from(rows.len()).ok() != Some(head.rows.get()) {
        return Err(DecodeReplyError::Body);
    }
    rows.iter().map(event_of).collect()
}

fn event_of(row: &EventBody) -> Result<RiskEvent, DecodeReplyError> {
    let rule = RiskRule::from_code(row.rule);
    if rule.is_none() && row.rule != 0 || row.by_time > 1 {
        return Err(DecodeReplyError::Unknown);
    }
    Ok(RiskEvent {
        number: row.number.get(),
        envelope: EnvelopeId(row.envelope.get()),
        user: UserId(row.user.get()),
        amount: row.amount.get(),
        at: row.at.get(),
        what: RiskStep::from_code(row.what).ok_or(DecodeReplyError::Unknown)?,
        rule,
        by_time: row.by_time == 1,
    })
}

fn hold_of(row: &HoldBody) -> Result<Hold, DecodeReplyError> {
    Ok(Hold {
        envelope: EnvelopeId(row.envelope.get()),
        user: UserId(row.user.get()),
        amount: row.amount.get(),
        at: row.at.get(),
        until: row.until.get(),
        rule: RiskRule::from_code(row.rule).ok_or(DecodeReplyError::Unknown)?,
        state: HoldState::from_code(row.state).ok_or(DecodeReplyError::Unknown)?,
    })
}
