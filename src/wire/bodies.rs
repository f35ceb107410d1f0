//! The layouts of replies: a header, and a body for each operation.
//!
//! `docs/PROTOCOL.md` has the same as tables.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `0 length | 2 op | 3 status | 4 detail | 8 tag`, little endian.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ReplyHeader {
    pub(super) length: U16,
    pub(super) op: u8,
    pub(super) status: u8,
    pub(super) detail: U32,
    pub(super) tag: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HelloHead {
    pub(super) version: U32,
    pub(super) frame_bytes_max: U32,
    pub(super) cell: u8,
    pub(super) durability: u8,
    pub(super) shards: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct NumberBody {
    pub(super) number: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct OrderedBody {
    pub(super) envelope: U64,
    pub(super) state: u8,
    pub(super) reserved: [u8; 7],
    pub(super) commitment: [u8; 32],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RevealBody {
    pub(super) commitment: [u8; 32],
    pub(super) seed: [U64; 2],
    pub(super) nonce: U32,
    pub(super) revealed: u8,
    pub(super) reserved: [u8; 3],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SummaryBody {
    pub(super) sender: U64,
    pub(super) order: U64,
    pub(super) payment: U64,
    pub(super) total: U64,
    pub(super) left: U64,
    pub(super) refunded: U64,
    pub(super) shares: U32,
    pub(super) claimed: U32,
    pub(super) share_max: U32,
    pub(super) created_at: U32,
    pub(super) expires_at: U32,
    pub(super) state: u8,
    pub(super) split: u8,
    pub(super) reserved: U16,
    pub(super) luckiest: U64,
    pub(super) luckiest_amount: U32,
    pub(super) source: u8,
    pub(super) reserved_tail: [u8; 3],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct DetailHead {
    pub(super) shares: U32,
    pub(super) claimed: U32,
    pub(super) from: U32,
    pub(super) rows: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RowBody {
    pub(super) user: U64,
    pub(super) amount: U32,
    pub(super) at: U32,
}
