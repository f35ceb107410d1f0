//! Properties of the codec: what is written is read again, however the stream
//! is cut, and no bytes make it panic.

#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use hongbao::units::{EnvelopeId, EnvelopeState, MoneySource, Seed, Split, UserId};
use hongbao::wire::{
    Attached, Command, Decoded, Evidence, HEADER_BYTES, HoldsFrom, Mark, Ordered, PlanPart,
    ReplyBody, ReplyWriter, Request, Resolution, Reveal, Row, SendOrder, Status, Summary, Terms,
    decode_reply, decode_request, encode_request, encode_with, peek_reply,
};
use proptest::prelude::*;

fn a_split() -> impl Strategy<Value = Split> {
    prop_oneof![
        Just(Split::Equal),
        Just(Split::DoubleMean),
        Just(Split::LineCutting),
        Just(Split::Prizes)
    ]
}

fn a_source() -> impl Strategy<Value = MoneySource> {
    prop_oneof![Just(MoneySource::Vouched), Just(MoneySource::Balance), Just(MoneySource::Payment)]
}

prop_compose! {
    fn an_order()(
        sender: u64, order: u64, payment: u64, total: u64, shares: u32, lifetime_s: u32,
        share_max: u32, split in a_split(), source in a_source(), nonce: u32,
    ) -> SendOrder {
        let sender = UserId(sender);
        SendOrder {
            sender, order, payment, total, shares, lifetime_s, share_max, split, source, nonce,
        }
    }
}

prop_compose! {
    fn a_fund()(
        envelope: u64, payment: u64, amount: u64, key_id: u32, seal: [u8; 32],
    ) -> Request {
        Request::Fund { envelope: EnvelopeId(envelope), payment, amount, key_id, seal }
    }
}

fn a_part() -> impl Strategy<Value = PlanPart> {
    let parts = any::<(u8, u8, [u32; 3])>();
    let part = |(part, number, numbers): (u8, u8, [u32; 3])| {
        let [a, b, _] = numbers;
        let numbers = if part % 3 == 1 { [a, b, 0] } else { numbers };
        let number = if part % 3 == 0 { 0 } else { number % 16 };
        PlanPart::of_numbers(part % 3, number, numbers).ok()
    };
    parts.prop_filter_map("no part of a plan", part)
}

fn about_a_campaign() -> impl Strategy<Value = Request> {
    let pair = || (any::<u64>().prop_map(EnvelopeId), any::<u64>().prop_map(UserId));
    prop_oneof![
        pair().prop_map(|(campaign, user)| Request::Shake { campaign, user }),
        (pair(), a_part()).prop_map(|((campaign, sponsor), part)| {
            Request::CampaignPlan { campaign, sponsor, part }
        }),
        (pair(), any::<bool>()).prop_map(|((campaign, sponsor), start)| {
            let command = if start { Command::Start } else { Command::Pause };
            Request::CampaignCommand { campaign, sponsor, command }
        }),
        pair().prop_map(|(campaign, _)| Request::CampaignStatus { campaign }),
        pair().prop_map(|(campaign, user)| Request::CampaignWins { campaign, user }),
    ]
}

fn about_risk() -> impl Strategy<Value = Request> {
    let user = || any::<u64>().prop_map(UserId);
    let envelope = || any::<u64>().prop_map(EnvelopeId);
    let mark = prop_oneof![
        any::<u8>().prop_map(Mark::Grade),
        any::<bool>().prop_map(Mark::Deny),
        any::<bool>().prop_map(Mark::Watch),
    ];
    prop_oneof![
        (any::<u8>(), user(), mark).prop_map(|(partition, user, mark)| Request::RiskMark {
            partition,
            user,
            mark
        }),
        (any::<u8>(), user())
            .prop_map(|(partition, user)| Request::RiskExplain { partition, user }),
        (any::<u8>(), (envelope(), user()), any::<bool>()).prop_map(|(partition, after, only)| {
            Request::RiskHolds(HoldsFrom { partition, after, only })
        }),
        (any::<u8>(), any::<u64>())
            .prop_map(|(partition, after)| Request::RiskFeed { partition, after }),
        (envelope(), user(), any::<bool>()).prop_map(|(envelope, user, release)| {
            let resolution = if release { Resolution::Release } else { Resolution::Reject };
            Request::RiskResolve { envelope, user, resolution }
        }),
    ]
}

fn a_request() -> impl Strategy<Value = Request> {
    let pair = || (any::<u64>().prop_map(EnvelopeId), any::<u64>().prop_map(UserId));
    prop_oneof![
        any::<u32>().prop_map(|version| Request::Hello { version }),
        an_order().prop_map(Request::Send),
        pair().prop_map(|(envelope, user)| Request::Grab { envelope, user }),
        pair().prop_map(|(envelope, user)| Request::Claim { envelope, user }),
        pair().prop_map(|(envelope, _)| Request::Show { envelope }),
        (pair(), any::<u32>(), any::<u32>()).prop_map(|((envelope, _), from, rows_max)| {
            Request::Detail { envelope, from, rows_max }
        }),
        pair().prop_map(|(envelope, sender)| Request::Cancel { envelope, sender }),
        a_fund(),
        pair().prop_map(|(envelope, sender)| Request::Void { envelope, sender }),
        pair().prop_map(|(envelope, _)| Request::Reveal { envelope }),
        pair().prop_map(|(envelope, user)| Request::Terms { envelope, user }),
        about_a_campaign(),
        about_risk(),
    ]
}

fn a_row() -> impl Strategy<Value = Row> {
    any::<(u64, u32, u32)>().prop_map(|(user, amount, at)| Row { user: UserId(user), amount, at })
}

/// Feeds a stream in two pieces and reads every frame of it.
fn read_all(stream: &[u8], cut: usize) -> Vec<(u64, Request)> {
    let (mut buffer, mut found) = (Vec::new(), Vec::new());
    for piece in [&stream[..cut], &stream[cut..]] {
        buffer.extend_from_slice(piece);
        while let Decoded::Frame { bytes, tag, request, .. } = decode_request(&buffer) {
            found.push((tag, request.unwrap()));
            buffer.drain(..bytes);
        }
        assert!(!matches!(decode_request(&buffer), Decoded::Broken(_)));
    }
    assert!(buffer.is_empty(), "{} bytes left", buffer.len());
    found
}

proptest! {
    #[test]
    fn requests_round_trip(request in a_request(), tag: u64, budget: u32) {
        let mut out = Vec::new();
        encode_request(&mut out, tag, budget, &request);
        let whole = Decoded::Frame {
            bytes: out.len(), op: request.op().code(), tag, budget_us: budget, request: Ok(request),
        };
        prop_assert_eq!(decode_request(&out), whole);
    }

    #[test]
    fn a_request_stream_split_at_every_byte_decodes_the_same(
        requests in prop::collection::vec(a_request(), 1..8),
    ) {
        let mut stream = Vec::new();
        let numbered: Vec<_> = (0_u64..).zip(requests).collect();
        for (tag, request) in &numbered {
            encode_request(&mut stream, *tag, 0, request);
        }
        for cut in 0..=stream.len() {
            prop_assert_eq!(&read_all(&stream, cut), &numbered, "cut at {}", cut);
        }
    }

    #[test]
    fn terms_and_evidence_lie_where_their_request_says(
        order in an_order(), greeting in prop::collection::vec(any::<u8>(), 1..600), user: u64,
        word in prop::collection::vec(any::<u8>(), 1..=64), tag: u64, behind in 0_usize..40,
    ) {
        let terms = Terms { greeting: &greeting, seed_user: Some(UserId(user)), ..Terms::default() };
        let (terms, shown) = (terms.to_bytes(), Evidence { password: Some(&word), ..Evidence::default() });
        let (envelope, user, evidence) = (EnvelopeId(tag), UserId(user), Attached::default());
        for (request, beside) in [
            (Request::SendWith { order, terms: Attached::default() }, terms),
            (Request::ClaimWith { envelope, user, evidence }, shown.to_bytes()),
            (Request::ShakeWith { campaign: envelope, user, evidence }, shown.to_bytes()),
        ] {
            let mut out = Vec::new();
            encode_with(&mut out, tag, 0, &request, &beside);
            let length = out.len();
            for cut in 0..length {
                prop_assert_eq!(decode_request(&out[..cut]), Decoded::Incomplete);
            }
            out.resize(length + behind, 0xff);
            let Decoded::Frame { bytes, request: Ok(told), .. } = decode_request(&out) else {
                panic!("no request");
            };
            prop_assert_eq!((bytes, told.attached().unwrap().of(&out)), (length, &beside[..]));
            let mut bare = told;
            *bare.attached_mut().unwrap() = Attached::default();
            prop_assert_eq!(bare, request);
        }
    }

    #[test]
    fn no_fields_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for bytes in [&bytes[..], &[&[4, 16, 0][..], &bytes].concat()] {
            if let Some(terms) = Terms::read(bytes) {
                prop_assert_eq!(terms.to_bytes(), bytes);
            }
            if let Some(evidence) = Evidence::read(bytes) {
                prop_assert_eq!(evidence.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn a_reply_split_anywhere_waits_for_its_end(
        rows in prop::collection::vec(a_row(), 0..252), tag: u64, shares: u32, from: u32,
    ) {
        let count = u32::try_from(rows.len()).unwrap();
        let mut out = Vec::new();
        ReplyWriter::new(&mut out, 6, tag).detail(shares, count, from, count, rows.iter().copied());
        for cut in 0..out.len() {
            prop_assert_eq!(decode_reply(&out[..cut]), Ok(None));
            prop_assert_eq!(peek_reply(&out[..cut]), Ok(None));
        }
        let (bytes, reply) = decode_reply(&out).unwrap().unwrap();
        let ReplyBody::Detail(page) = reply.body else { panic!("no page") };
        prop_assert_eq!((bytes, reply.tag, page.rows), (out.len(), tag, rows));
    }

    #[test]
    fn amounts_round_trip(tag: u64, detail: u32, number: u64, repeated: bool) {
        let status = if repeated { Status::AlreadyClaimed } else { Status::Ok };
        let mut out = Vec::new();
        ReplyWriter::new(&mut out, 4, tag).number(status, detail, number);
        let head = peek_reply(&out).unwrap().unwrap();
        prop_assert_eq!(
            (head.bytes, head.status, head.detail, head.tag, head.number),
            (HEADER_BYTES + 8, status, detail, tag, Some(number))
        );
        let (_, reply) = decode_reply(&out).unwrap().unwrap();
        prop_assert_eq!(reply.body, ReplyBody::Amount(number));
    }

    #[test]
    fn summaries_round_trip(
        money: [u64; 6], counts: [u32; 5], state in 1_u8..=6, split in a_split(),
        source in 0_u8..3, luckiest: Option<(u64, u32)>,
    ) {
        let [sender, order, payment, total, left, refunded] = money;
        let [shares, claimed, share_max, created_at, expires_at] = counts;
        let (sender, state) = (UserId(sender), EnvelopeState::from_code(state).unwrap());
        let summary = Summary {
            sender, order, payment, total, left, refunded,
            shares, claimed, share_max, created_at, expires_at, state, split,
            source: MoneySource::from_code(source).unwrap(),
            luckiest: luckiest.map(|(user, amount)| (UserId(user), u64::from(amount.max(1)))),
        };
        let mut out = Vec::new();
        ReplyWriter::new(&mut out, 5, 1).summary(&summary);
        let (_, reply) = decode_reply(&out).unwrap().unwrap();
        prop_assert_eq!(reply.body, ReplyBody::Summary(summary));
    }

    #[test]
    fn orders_and_reveals_round_trip(
        envelope: u64, state in 1_u8..=6, commitment: [u8; 32], seed: Option<[u64; 2]>, nonce: u32,
        repeated: bool,
    ) {
        let (state, envelope) = (EnvelopeState::from_code(state).unwrap(), EnvelopeId(envelope));
        let ordered = Ordered { envelope, state, commitment };
        let mut out = Vec::new();
        ReplyWriter::new(&mut out, 2, 1).ordered(u32::from(repeated), &ordered);
        let (_, reply) = decode_reply(&out).unwrap().unwrap();
        prop_assert_eq!((reply.detail, reply.body), (repeated.into(), ReplyBody::Ordered(ordered)));
        let reveal = Reveal { commitment, seed: seed.map(Seed), nonce };
        let mut out = Vec::new();
        ReplyWriter::new(&mut out, 10, 1).reveal(&reveal);
        let (_, reply) = decode_reply(&out).unwrap().unwrap();
        prop_assert_eq!(reply.body, ReplyBody::Reveal(reveal));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_request(&bytes);
        let _ = decode_reply(&bytes);
        let _ = peek_reply(&bytes);
    }

    #[test]
    fn no_bytes_behind_a_likely_header_make_a_decoder_panic(
        op in 0_u8..16, status in 0_u8..16, body in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let length = u16::try_from(HEADER_BYTES + body.len()).unwrap().to_le_bytes();
        let mut bytes = vec![length[0], length[1], op, status];
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend(body);
        let _ = decode_request(&bytes);
        let _ = decode_reply(&bytes);
    }
}
