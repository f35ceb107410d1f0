//! Images of what random traffic hardly comes to: envelopes of many slices, engines
//! that everything is gone from, sums beyond 64 bits.

use hongbao::engine::{BadImage, Engine, EnvelopeLimits, IMAGE_SLICE_BYTES_MAX, Restoring};
use hongbao::units::{EnvelopeId, Time, UserId};

use crate::images::reloaded_with;
use crate::{CELL, LIMITS, RETENTION_S, START, capacity, issue, vouched};

const TABLE_BYTES: usize = 8 << 20;
/// More than two slices have rows.
const CROWD: u32 = 9000;
const MANY: EnvelopeLimits = EnvelopeLimits { shares_max: CROWD, ..LIMITS };
/// The words of a page, and of a slice's head before them.
const PAGE_WORDS: usize = 8192;
const HEAD_WORDS: usize = IMAGE_SLICE_BYTES_MAX / 8 - PAGE_WORDS;

fn engine() -> Engine {
    Engine::new(CELL, capacity(10, TABLE_BYTES), MANY)
}

fn reloaded(engine: &mut Engine) -> Engine {
    reloaded_with(engine, capacity(10, TABLE_BYTES), MANY)
}

fn send(engine: &mut Engine, sender: u64, number: u64, shares: u32) -> EnvelopeId {
    issue(engine, &vouched(sender, number, shares, 100 * u64::from(shares))).expect("room")
}

fn claim(engine: &mut Engine, envelope: EnvelopeId, users: std::ops::Range<u64>) {
    for user in users {
        let decision = engine.claim(envelope, UserId(user), Time(START));
        engine.apply(&decision.record.expect("a share is left")).expect("fits");
    }
}

#[test]
fn an_envelope_whose_claims_are_in_several_slices_comes_back_whole() {
    for claims in [1, 4096, 4097, 8192, 8193, u64::from(CROWD)] {
        let mut live = engine();
        let envelope = send(&mut live, 3, 1, CROWD);
        claim(&mut live, envelope, 0..claims);
        let mut again = reloaded(&mut live);
        assert_eq!(again.digest(), live.digest(), "{claims} claims");
        assert!(again.claims().eq(live.claims()));
        for user in (0..claims).step_by(100).chain([claims - 1]) {
            let repeat = again.claim(envelope, UserId(user), Time(START)).outcome;
            assert_eq!(repeat, live.claim(envelope, UserId(user), Time(START)).outcome);
        }
        claim(&mut live, envelope, claims..u64::from(CROWD));
        claim(&mut again, envelope, claims..u64::from(CROWD));
        assert_eq!(again.digest(), live.digest());
    }
}

#[test]
fn an_engine_that_everything_is_gone_from_still_knows_its_sums_and_ids() {
    for shares in [[3, 2], [3, CROWD], [CROWD, 2000]] {
        let mut live = engine();
        for (sender, shares) in (4..).zip(shares) {
            let envelope = send(&mut live, sender, 1, shares);
            claim(&mut live, envelope, 0..2);
        }
        assert_ne!(live.digest(), engine().digest());
        let end = Time(START + 1000 * 3600);
        while let Some(expired) = live.due(end) {
            live.apply(&expired).expect("fits");
        }
        let later = Time(end.0 + 1000 * u64::from(RETENTION_S));
        while let Some(recycled) = live.recyclable(later) {
            live.apply(&recycled).expect("fits");
        }
        assert_eq!(live.envelopes().count(), 0);
        let mut again = reloaded(&mut live);
        assert_eq!(again.totals(), live.totals(), "{shares:?}");
        for (sender, shares) in (4..).zip(shares) {
            let next = [&mut live, &mut again].map(|engine| send(engine, sender, 2, shares));
            // An id that is given again would name somebody else's envelope.
            assert!(shares < 1000 || next[0] == next[1], "{shares:?}");
        }
    }
}

/// The slice of counters of an engine that one envelope is gone from.
fn counters() -> Vec<u8> {
    let mut engine = engine();
    send(&mut engine, 4, 1, 2);
    let end = Time(START + 1000 * 3600);
    let expired = engine.due(end).expect("due");
    engine.apply(&expired).expect("fits");
    let recycled = engine.recyclable(Time(end.0 + 1000 * u64::from(RETENTION_S))).expect("ripe");
    engine.apply(&recycled).expect("fits");
    let mut slice = Vec::new();
    let mut cursor = engine.begin_image();
    assert!(engine.next_slice(&mut cursor, 0, &mut slice));
    engine.end_image(cursor);
    slice
}

/// The word of the one partition's counters: partition, envelopes, claims, then low and
/// high of what was funded and claimed, voided, low and high of what was returned.
fn put(slice: &mut [u8], word: usize, value: u64) {
    slice[8 * (HEAD_WORDS + word)..][..8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn sums_beyond_64_bits_come_back_and_impossible_ones_are_refused() {
    let load = |slice: &[u8]| {
        let mut restoring = Restoring::new(CELL, capacity(10, TABLE_BYTES), MANY, 0, 1);
        restoring.load(slice).map(|_| restoring.finish().expect("it is whole"))
    };
    let mut slice = counters();
    let words =
        [(1, 1 << 47), (2, 1 << 46), (4, 1 << 40), (6, 1 << 39), (7, 1 << 45), (9, 1 << 41)];
    for (word, value) in words {
        put(&mut slice, word, value);
    }
    let mut engine = load(&slice).expect("they are possible");
    for engine in [reloaded(&mut engine), engine] {
        let totals = engine.totals();
        let counts = [totals.envelopes, totals.claims, totals.voided];
        assert_eq!(counts, [1 << 47, 1 << 46, 1 << 45]);
        let sums = [totals.funded, totals.claimed, totals.returned].map(|sum| sum >> 64);
        assert_eq!(sums, [1 << 40, 1 << 39, 1 << 41]);
        assert_eq!(totals.refunded, totals.funded - totals.claimed);
    }
    for (word, value) in
        [(1, 1 << 48), (2, 1 << 48), (7, 1 << 48), (4, 1 << 48), (9, 1 << 48), (6, 1)]
    {
        let mut slice = counters();
        put(&mut slice, word, value);
        assert!(matches!(load(&slice), Err(BadImage::Torn)), "word {word}");
    }
}

/// The slices of an engine with a small envelope and a large one, whose claims are in
/// three slices: counters, page, large, rows, rows, rows.
fn slices() -> (Vec<Vec<u8>>, Engine) {
    let mut engine = engine();
    send(&mut engine, 4, 1, 3);
    let large = send(&mut engine, 5, 1, CROWD);
    claim(&mut engine, large, 0..u64::from(CROWD));
    let (mut cursor, mut slices) = (engine.begin_image(), Vec::new());
    let mut slice = Vec::new();
    while engine.next_slice(&mut cursor, 0, &mut slice) {
        slices.push(std::mem::take(&mut slice));
    }
    engine.end_image(cursor);
    assert_eq!(slices.len(), 6);
    (slices, engine)
}

#[test]
fn an_image_says_up_to_where_it_has_each_envelope() {
    let mut engine = engine();
    let small = send(&mut engine, 4, 1, 3);
    let large = send(&mut engine, 5, 1, 2000);
    let mut restoring = Restoring::new(CELL, capacity(10, TABLE_BYTES), MANY, 0, 1);
    let (mut cursor, mut slice) = (engine.begin_image(), Vec::new());
    for position in (100..).step_by(100) {
        slice.clear();
        if !engine.next_slice(&mut cursor, position, &mut slice) {
            break;
        }
        restoring.load(&slice).expect("as it was saved"); // counters, a page, the large one
    }
    engine.end_image(cursor);
    let from = [small, large].map(|envelope| restoring.kept_from(envelope));
    let upto = [small, large].map(|envelope| restoring.kept_upto(envelope));
    let plan_upto = [small, large].map(|envelope| restoring.kept_plan_upto(envelope));
    assert_eq!((from, upto, plan_upto), ([100, 100], [200, 300], [100, 100]));
    assert!(restoring.kept_plan(small).is_none() && !restoring.has_holds());
    assert!(restoring.kept_terms(small).is_empty());
}

/// Pages of the claims of large envelopes are nobody's.
#[test]
fn an_image_has_counters_of_the_partitions_that_envelopes_are_in() {
    const COUNTER_WORDS: usize = 10;
    let (slices, _) = slices();
    assert_eq!(slices[0].len(), 8 * (HEAD_WORDS + 2 * COUNTER_WORDS));
}

#[test]
fn an_image_has_a_slice_for_each_page_and_one_more() {
    let pages = u64::try_from(TABLE_BYTES).expect("small") >> 16;
    assert_eq!(Engine::image_slices_max(&capacity(10, TABLE_BYTES)), pages + 1);
    assert_eq!(Engine::image_slices_max(&capacity(10, 0)), 1);
}

/// The same with another body, which the head tells.
fn with_words(slice: &[u8], words: usize) -> Vec<u8> {
    let mut slice = slice.to_vec();
    slice.resize(8 * (HEAD_WORDS + words), 0);
    slice[4..8].copy_from_slice(&u32::try_from(words).expect("few").to_le_bytes());
    slice
}

/// The same with another subject (word 2 of the head) or first rank (word 3).
fn with_head(slice: &[u8], word: usize, change: impl Fn(u64) -> u64) -> Vec<u8> {
    let mut slice = slice.to_vec();
    let place = &mut slice[8 * word..][..8];
    let before = u64::from_le_bytes((&*place).try_into().expect("eight"));
    place.copy_from_slice(&change(before).to_le_bytes());
    slice
}

#[test]
fn slices_that_do_not_follow_from_those_before_are_refused() {
    let (slices, live) = slices();
    let [_counters, page, large, rows @ ..] = &slices[..] else { panic!("six slices") };
    let body = page.len() / 8 - HEAD_WORDS;
    let of_large = large.len() / 8 - HEAD_WORDS;
    let torn = |before: &[&Vec<u8>], slice: Vec<u8>| {
        let mut restoring = Restoring::new(CELL, capacity(10, TABLE_BYTES), MANY, 0, 1);
        for slice in before {
            restoring.load(slice).expect("as it was saved");
        }
        restoring.load(&slice).expect_err("it does not follow")
    };
    let cases = [
        torn(&[], with_words(page, body - 1)),
        torn(&[], with_words(page, body + 1)),
        torn(&[], with_words(page, 0)),
        torn(&[], with_head(page, 2, |key| key | 1 << 32)), // the name of a page has 32 bits
        torn(&[], with_head(page, 2, |key| key & !(15 << 20) | 8 << 20)), // of large envelopes
        torn(&[], with_head(page, 2, |key| key | 15 << 20)), // of no class
        torn(&[], with_words(large, of_large - 1)),
        torn(&[large], large.clone()), // the claims of the first are missing
        torn(&[], rows[0].clone()),
        torn(&[large], rows[1].clone()),
        torn(&[large, &rows[0]], rows[0].clone()),
        torn(&[large], with_head(&rows[0], 2, |id| id + (1 << 16))),
        torn(&[large], with_head(&rows[0], 3, |first| first + 1)),
        torn(&[large], with_words(&rows[0], 0)),
        torn(&[large], with_words(&rows[0], 3)), // half a claim
        torn(&[large, &rows[0], &rows[1]], with_words(&rows[2], 2 * 4096)), // beyond what is claimed
    ];
    assert_eq!(cases, [BadImage::Torn; 16]);
    let envelope = live.envelopes().last().expect("the large one");
    let unsound = BadImage::Unsound(envelope);
    let (before, [.., last]) = ([large, &rows[0], &rows[1]], rows) else { panic!("three") };
    let amount = last.len() - 8;
    let mut other = last.clone();
    other[amount] ^= 1;
    assert_eq!(torn(&before, other), unsound, "the claims are not what is missing");
    let unclaimed = HEAD_WORDS + 2; // the third word of its header
    let other = with_head(large, unclaimed, |fen| fen + 1);
    assert_eq!(torn(&[], other), unsound, "nothing is left of what is exhausted");
    let mut small = Restoring::new(CELL, capacity(10, 1 << 17), MANY, 0, 1);
    assert_eq!(small.load(large), Err(BadImage::Full), "two pages");
    let id = EnvelopeId(envelope.0 ^ 3); // of another generation
    assert_eq!(torn(&[], with_head(large, 2, |id| id ^ 3)), BadImage::Unsound(id));
}

#[test]
fn an_image_without_the_last_claims_is_not_whole() {
    let (slices, live) = slices();
    for upto in 3..=slices.len() {
        let mut restoring = Restoring::new(CELL, capacity(10, TABLE_BYTES), MANY, 0, 1);
        for slice in &slices[..upto] {
            restoring.load(slice).expect("as it was saved");
        }
        let restored = restoring.finish();
        assert_eq!(restored.is_ok(), upto == slices.len(), "{upto} slices");
        if let Ok(restored) = restored {
            assert_eq!(restored.digest(), live.digest());
        }
    }
}
