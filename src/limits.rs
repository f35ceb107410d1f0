//! Every fixed bound of the server, each with its why.
//!
//! What an operator may change is configuration (`config`); what is here is
//! part of a format or sized into a structure.

use std::time::Duration;

use crate::units::Fen;

/// The version of the wire protocol, said in `hello`.
pub const PROTOCOL_VERSION: u32 = 1;

/// The longest frame in either direction, in bytes. One page: a frame cut in
/// two between receive buffers is completed in a carry of this size.
pub const FRAME_BYTES_MAX: usize = 4096;

/// The longest frame of a connection that has not said who it is, in bytes:
/// a handshake needs 88.
pub const STRANGER_FRAME_BYTES_MAX: usize = 256;

/// Rows in one detail reply: as many 16-byte rows as fit a frame after its
/// headers.
pub const DETAIL_ROWS_MAX: u32 = 252;

/// What a TLS handshake may take in one direction, in bytes: a greeting and a
/// chain of certificates are a tenth of it.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 32 * 1024;

/// The largest amount of one share: a claim record holds it in 32 bits.
pub const SHARE_FEN_MAX: Fen = 0xffff_ffff;

/// The largest total of one envelope: sums of two such totals stay far from
/// overflowing 64 bits.
pub const TOTAL_FEN_MAX: Fen = 1 << 48;

/// The longest an order may wait for its money, in seconds: what an envelope
/// remembers of it fits ten bits.
pub const PAY_WITHIN_S_MAX: u32 = 7 * 24 * 3600;

/// Line cutting draws once per share that is left for each claim, so it is
/// meant for groups, not for crowds.
pub const LINE_CUTTING_SHARES_MAX: u32 = 1000;

/// The longest terms of one envelope, in bytes: a greeting, some references and
/// two hundred names, and a frame has room for twice that.
pub const TERMS_BYTES_MAX: usize = 2048;

/// Bytes of terms in one record, which is thereby shorter than an order's.
pub const TERMS_PART_BYTES: usize = 64;

/// Records that the longest terms take before their order's record.
pub const TERMS_PARTS_MAX: usize = TERMS_BYTES_MAX / TERMS_PART_BYTES;

/// The longest password, in bytes: a line of a poem, not a page.
pub const PASSWORD_BYTES_MAX: usize = 64;

/// The longest greeting, in bytes: 200 characters of three bytes.
pub const GREETING_BYTES_MAX: usize = 600;

/// The longest reference to a coupon or a photo, in bytes: a short address.
pub const REFERENCE_BYTES_MAX: usize = 256;

/// The most wrong guesses of one user that can be counted, in 8 bits, and some
/// to spare.
pub const GUESSES_PER_USER_MAX: u8 = 250;

/// Journal pages: every commit starts on a fresh one, so that a sync never
/// rewrites acknowledged bytes.
pub const PAGE_BYTES: usize = 4096;

/// The smallest segment: a header page and room for some batches.
pub const SEGMENT_BYTES_MIN: usize = 16 * PAGE_BYTES;

/// The largest segment: offsets and batch lengths are 32 bits.
pub const SEGMENT_BYTES_MAX: usize = 1 << 31;

/// How long after the last commit an idle journal writes `durable_upto` once
/// more (DESIGN §5).
pub const IDLE_MARK_AFTER: Duration = Duration::from_millis(10);

/// Locked memory that the background executor's ring asks for, in bytes.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// How long a shard waits for a journal segment of which nothing more is written,
/// in seconds. All of it takes under one; a disk that rests this long is broken.
pub const PREPARE_WAIT_S: u64 = 30;

/// How soon a segment that met a full disk is tried again, in milliseconds.
pub const PREPARE_RETRY_MS: u64 = 500;

/// Kinds of prizes in one campaign: what a page about it can list.
pub const CAMPAIGN_KINDS_MAX: usize = 16;

/// Slots of one campaign's plan: with prizes and seconds its status still fits
/// one frame.
pub const CAMPAIGN_SLOTS_MAX: usize = 64;

/// Prizes of one campaign. Each takes 24 bytes of the tables from the start.
pub const CAMPAIGN_PRIZES_MAX: u32 = 10_000_000;

/// The longest campaign, in seconds.
pub const CAMPAIGN_LIFETIME_S_MAX: u32 = 31 * 24 * 3600;

/// Campaigns that one shard takes; each has a plan of about a page beside the
/// tables of envelopes.
pub const CAMPAIGNS_PER_SHARD_MAX: usize = 64;

/// Campaigns of all shards that a shake is decided for where it arrives.
/// Beyond them it is carried to the owner like any other request.
pub const CAMPAIGNS_SHOWN_MAX: usize = 256;

/// Seconds that the report of a campaign reaches back.
pub const CAMPAIGN_SECONDS: usize = 60;

/// The most shares that one shard can be told to hold: the list is sorted, and an
/// addition moves what is behind it, at this length for some tenths of a
/// millisecond.
pub const HOLDS_MAX: u32 = 1 << 16;

/// The longest that a share may be held, in seconds: an envelope cannot be
/// recycled before.
pub const HOLD_S_MAX: u32 = 30 * 24 * 3600;

/// The most wins of a user in a window that a rule can tell apart: they are
/// counted in eight bits.
pub const WINS_COUNTED_MAX: u8 = 200;

/// Room for operation codes in tables by operation; codes are from 1.
pub const OPS: usize = 32;

/// Room for status codes in tables by status.
pub const STATUSES: usize = 24;

/// Requests that one parcel between two shards carries: as many as a shard
/// decides in one round.
pub const PARCEL_REQUESTS: usize = 256;

/// Bytes of terms and evidence that come with the requests of one round. With
/// more the round is over; places in it are 16 bits.
pub const ATTACHED_BYTES_MAX: usize = 64 * 1024;

/// Bytes of terms and evidence in one parcel: those of a round of claims by
/// password, or a few orders. A fuller one is sent, and another begun.
pub const PARCEL_ATTACHED_BYTES: usize = 16 * 1024;

/// Bytes of replies that one parcel brings back: what one connection may hold.
pub const PARCEL_REPLY_BYTES: usize = 64 * 1024;

/// Parcels of one shard for all others, shared out evenly. With all that are
/// for one shard away, the next request for it is refused: nobody waits for a
/// shard that is stuck.
pub const PARCELS_PER_SHARD: usize = 64;

/// Parcels for one other shard at least: one on its way, one being filled, and
/// two coming back.
pub const PARCELS_PER_PAIR_MIN: usize = 4;

/// The most shares of a user and day that can be counted: in 16 bits, of which
/// one value is a mark.
pub const RECEIVES_PER_DAY_MAX: u16 = u16::MAX - 1;

/// Verdicts of the ledger that may wait for one shard: what several turns take.
pub const COVERS_QUEUED: usize = 8192;

/// How long a queue must stand before it counts as pressure, in microseconds;
/// long enough for several commits of a slow disk.
pub const WAIT_WINDOW_US: u32 = 100_000;

/// The longest a refused client is told to stay away, in milliseconds.
pub const RETRY_AFTER_MS_MAX: u32 = 1000;
