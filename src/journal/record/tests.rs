//! Any record and its bytes, both ways.

use super::*;
use crate::engine::{
    Commanded, Denied, Guessed, Held, Marked, Planned, Resolved, Tagged, TermsPart,
};
use crate::limits::TERMS_PART_BYTES;
use crate::wire::{Command, PlanPart, Resolution, ResolvedBy, RiskRule, Slot, Standing, Tags};
use proptest::prelude::*;

fn records() -> impl Strategy<Value = Record> {
    let claimed = any::<(u64, u64, u32, u16, u32)>().prop_map(|(e, user, amount, rank, at)| {
        let (envelope, user) = (EnvelopeId(e), UserId(user));
        Record::Claimed(Claimed { envelope, user, amount, rank, at })
    });
    let issued = any::<([u64; 7], [u32; 6])>().prop_map(|(a, b)| {
        Record::Issued(Issued {
            envelope: EnvelopeId(a[0]),
            sender: UserId(a[1]),
            order: a[2],
            payment: a[3],
            total: a[4],
            seed: Seed([a[5], a[6]]),
            nonce: b[5],
            shares: b[0],
            share_max: b[1],
            lifetime_s: b[2],
            pay_within_s: b[4],
            at: b[3],
            source: source(a[6]),
            terms_parts: b[0].to_le_bytes()[0],
            split: [Split::Equal, Split::DoubleMean, Split::LineCutting, Split::Prizes]
                [usize::try_from(b[3] % 4).unwrap()],
        })
    });
    let closed =
        any::<([u64; 4], bool, u32)>().prop_map(|([e, s, refunded, held], expired, at)| {
            let held = held >> 16;
            let cause = if expired { Cause::Expired } else { Cause::Cancelled };
            let (envelope, sender) = (EnvelopeId(e), UserId(s));
            Record::Closed(Closed { envelope, sender, refunded, held, cause, at })
        });
    let recycled = any::<([u64; 3], [u32; 2])>().prop_map(|([e, claimed, total], b)| {
        let (envelope, [shares_claimed, at]) = (EnvelopeId(e), b);
        Record::Recycled(Recycled { envelope, shares_claimed, claimed, total, at })
    });
    let others = prop_oneof![payments(), with_terms(), campaigns(), risk()];
    prop_oneof![claimed, issued, closed, recycled, others]
}

fn risk() -> impl Strategy<Value = Record> {
    let held =
        any::<([u64; 2], [u32; 3], u16)>().prop_map(|([e, u], [amount, at, until], rank)| {
            let (envelope, user) = (EnvelopeId(e), UserId(u));
            let claimed = Claimed { envelope, user, amount, rank, at };
            Record::Held(Held { claimed, rule: RiskRule::Amount, until })
        });
    let resolved = any::<([u64; 3], [u32; 2], bool)>().prop_map(|([e, u, s], [amount, at], is)| {
        let (envelope, user, sender) = (EnvelopeId(e), UserId(u), UserId(s));
        let resolution = if is { Resolution::Release } else { Resolution::Reject };
        let by = if amount % 2 == 0 { ResolvedBy::Word } else { ResolvedBy::Time };
        Record::Resolved(Resolved { envelope, user, sender, amount, at, resolution, by })
    });
    let marked = any::<(u8, u8, u64, u32)>().prop_map(|(partition, grade, user, at)| {
        let standing = Standing::of(grade, partition % 4, at).unwrap();
        Record::Marked(Marked { partition, user: UserId(user), standing })
    });
    let some = |tag: u64| Some(tag).filter(|tag| tag % 3 > 0);
    let tagged = any::<([u64; 4], u32)>().prop_filter_map("no tag", move |([e, u, d, a], at)| {
        let tags = Tags { device: some(d), address: some(a) };
        let tagged = Tagged { envelope: EnvelopeId(e), user: UserId(u), tags, at };
        (tags != Tags::default()).then_some(Record::Tagged(tagged))
    });
    let denied = any::<([u64; 2], [u32; 2], u8)>().prop_map(|([e, u], [amount, at], rule)| {
        let rule = RiskRule::from_code(1 + rule % 15).unwrap();
        let (envelope, user) = (EnvelopeId(e), UserId(u));
        Record::Denied(Denied { envelope, user, amount, rule, at })
    });
    prop_oneof![held, resolved, marked, tagged, denied]
}

fn with_terms() -> impl Strategy<Value = Record> {
    let part = any::<(u64, u8, [u8; 32], [u8; 32])>().prop_map(|(e, number, a, b)| {
        let mut bytes = [0; TERMS_PART_BYTES];
        bytes[..32].copy_from_slice(&a);
        bytes[32..].copy_from_slice(&b);
        let length = 1 + number % 64;
        bytes[usize::from(length)..].fill(0);
        Record::TermsPart(TermsPart { envelope: EnvelopeId(e), number, length, bytes })
    });
    let guessed = any::<(u64, u64, u32, u32)>().prop_map(|(e, user, guesses, at)| {
        let (envelope, user) = (EnvelopeId(e), UserId(user));
        Record::Guessed(Guessed { envelope, user, guesses, at })
    });
    prop_oneof![part, guessed]
}

fn campaigns() -> impl Strategy<Value = Record> {
    let planned = any::<(u64, [u32; 3], u32)>().prop_map(|(e, [start, length, quota], at)| {
        let (length_s, quota) = (length.max(1), quota.max(1));
        let start = start.min(u32::MAX - length_s);
        let part = PlanPart::Slot(5, Slot { start, length_s, quota });
        Record::Planned(Planned { envelope: EnvelopeId(e), part, at })
    });
    let commanded = any::<(u64, bool, u32)>().prop_map(|(e, start, at)| {
        let command = if start { Command::Start } else { Command::Pause };
        Record::Commanded(Commanded { envelope: EnvelopeId(e), command, at })
    });
    prop_oneof![planned, commanded]
}

fn payments() -> impl Strategy<Value = Record> {
    let paid = any::<([u64; 4], u32)>().prop_map(|([e, s, payment, total], at)| {
        let (envelope, sender, source) = (EnvelopeId(e), UserId(s), source(total));
        Record::Paid(Paid { envelope, sender, payment, total, at, source })
    });
    let voided = any::<([u64; 3], u32)>().prop_map(|([e, s, total], at)| {
        let (envelope, sender, source) = (EnvelopeId(e), UserId(s), source(total));
        let cause = [VoidCause::Lapsed, VoidCause::Withdrawn, VoidCause::Refused]
            [usize::try_from(at % 3).unwrap()];
        Record::Voided(Voided { envelope, sender, total, at, source, cause })
    });
    let returned = any::<([u64; 4], u32)>().prop_map(|([e, s, payment, amount], at)| {
        let (envelope, sender) = (EnvelopeId(e), UserId(s));
        Record::Returned(Returned { envelope, sender, payment, amount, at })
    });
    prop_oneof![paid, voided, returned]
}

fn source(n: u64) -> MoneySource {
    [MoneySource::Vouched, MoneySource::Balance, MoneySource::Payment]
        [usize::try_from(n % 3).unwrap()]
}

proptest! {
    #[test]
    fn every_record_comes_back_from_its_bytes(record in records(), seed: u32) {
        let mut bytes = vec![0xff; encoded_bytes(&record)];
        encode(&record, seed, &mut bytes);
        prop_assert_eq!(decode(&bytes, seed), Ok((bytes.len(), record)));
        prop_assert_eq!(bytes.len() % 8, 0);
        prop_assert_eq!(record_of_bytes(&bytes, seed), Some((bytes.len(), record)));
        prop_assert_eq!(bytes_of_record(&record, seed), bytes.clone());
        prop_assert_eq!(decode(&bytes, seed ^ 1), Err(Unreadable));
    }

    /// Reserved bytes are 0, and every meaning has one form: any byte but the checksum
    /// is changed, and the checksum put right.
    #[test]
    fn what_is_read_would_be_written_as_the_same_bytes(record in records(), seed: u32, by: u8) {
        let mut bytes = vec![0; encoded_bytes(&record)];
        encode(&record, seed, &mut bytes);
        for at in 4..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= by.max(1);
            let crc = crc32c_seeded(seed, &changed[4..]);
            changed[..4].copy_from_slice(&crc.to_le_bytes());
            if let Ok((length, read)) = decode(&changed, seed) {
                let mut written = vec![0; encoded_bytes(&read)];
                encode(&read, seed, &mut written);
                prop_assert_eq!(&written, &changed[..length], "{:?}: byte {}", read, at);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, seed: u32) {
        let _ = decode(&bytes, seed);
    }
}
