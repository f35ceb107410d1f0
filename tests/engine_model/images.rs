//! Images taken slice by slice in the middle of traffic, and engines restored
//! from them and from the records after.

use hongbao::engine::{
    BadImage, Capacity, Engine, EnvelopeLimits, IMAGE_SLICE_BYTES_MAX, Record, Restoring, Totals,
};
use hongbao::units::{EnvelopeId, Time, UserId};

use crate::twins::Twins;
use crate::{CELL, Dice, LIMITS, START, capacity, engine};

const ENVELOPES: u32 = 4000;
const TABLE_BYTES: usize = 96 << 20;

/// What a journal and a checkpoint would have.
struct Saved {
    slices: Vec<Vec<u8>>,
    began: u64,
}

/// Ends of records: 40 bytes each.
fn end_of(n: usize) -> u64 {
    40 * (u64::try_from(n).expect("few") + 1)
}

fn position(twins: &Twins) -> u64 {
    40 * u64::try_from(twins.records.len()).expect("few")
}

/// Takes an image with some steps of traffic between any two slices.
fn take(twins: &mut Twins, dice: &mut Dice) -> Saved {
    // It begins where the journal is committed; records behind that are in it already.
    let began = position(twins).saturating_sub(40 * dice.below(60));
    let mut cursor = twins.engine.begin_image();
    twins.imaging = true;
    let mut slices = Vec::new();
    loop {
        let mut slice = Vec::new();
        let position = position(twins);
        if !twins.engine.next_slice(&mut cursor, position, &mut slice) {
            assert!(slice.is_empty());
            break;
        }
        assert!(!slice.is_empty() && slice.len() <= IMAGE_SLICE_BYTES_MAX);
        slices.push(slice);
        for _ in 0..dice.below(60) {
            twins.step();
        }
        if dice.one_in(8) {
            twins.now.0 += dice.below(400_000);
            twins.recycle();
        }
    }
    twins.engine.end_image(cursor);
    twins.imaging = false;
    Saved { slices, began }
}

fn restored(
    saved: &[Vec<u8>],
    records: &[Record],
    from: u64,
    (shard, shards): (u16, u16),
) -> Engine {
    let capacity = capacity(ENVELOPES, TABLE_BYTES);
    let mut restoring = Restoring::new(CELL, capacity, LIMITS, shard, shards);
    for slice in saved {
        restoring.load(slice).expect("what was saved can be loaded");
    }
    let tail: Vec<_> = records.iter().enumerate().map(|(n, &r)| (end_of(n), r)).collect();
    let tail: Vec<_> = tail.into_iter().filter(|&(end, _)| end > from).collect();
    for some in tail.chunks(100) {
        restoring.apply(some).expect("the tail fits");
    }
    restoring.finish().expect("it is whole")
}

/// The engine of an image that is taken at rest.
pub(crate) fn reloaded(engine: &mut Engine, envelopes: u32, table_bytes: usize) -> Engine {
    reloaded_with(engine, capacity(envelopes, table_bytes), LIMITS)
}

pub(crate) fn reloaded_with(
    engine: &mut Engine,
    capacity: Capacity,
    limits: EnvelopeLimits,
) -> Engine {
    let mut restoring = Restoring::new(CELL, capacity, limits, 0, 1);
    let (mut cursor, mut slice) = (engine.begin_image(), Vec::new());
    while engine.next_slice(&mut cursor, 0, &mut slice) {
        restoring.load(&slice).expect("what was saved can be loaded");
        slice.clear();
    }
    engine.end_image(cursor);
    restoring.finish().expect("it is whole")
}

fn assert_same(engines: &[Engine], live: &Engine) {
    let digest = engines.iter().map(Engine::digest).fold(0, u64::wrapping_add);
    assert_eq!(digest, live.digest());
    let sum = |of: fn(&Totals) -> u128| engines.iter().map(|e| of(&e.totals())).sum::<u128>();
    let totals = live.totals();
    assert_eq!(sum(|t| t.envelopes.into()), totals.envelopes.into());
    assert_eq!(sum(|t| t.open.into()), totals.open.into());
    assert_eq!(sum(|t| t.claims.into()), totals.claims.into());
    assert_eq!(sum(|t| t.funded), totals.funded);
    assert_eq!(sum(|t| t.claimed), totals.claimed);
    assert_eq!(sum(|t| t.refunded), totals.refunded);
    assert_eq!(sum(|t| t.left), totals.left);
    assert_eq!(sum(|t| t.reserved.into()), totals.reserved.into());
    assert_eq!(sum(|t| t.voided.into()), totals.voided.into());
    assert_eq!(sum(|t| t.returned), totals.returned);
}

fn traffic(seed: u64, steps: u32) -> Twins {
    let mut twins = Twins::new(seed, ENVELOPES, TABLE_BYTES);
    for _ in 0..steps {
        twins.step();
    }
    twins
}

#[test]
fn all_records_alone_restore_the_engine() {
    let twins = traffic(21, if cfg!(miri) { 200 } else { 40_000 });
    assert!(cfg!(miri) || twins.recycled > 100);
    assert_same(&[restored(&[], &twins.records, 0, (0, 1))], &twins.engine);
}

#[test]
fn an_image_taken_in_traffic_and_the_tail_restore_the_engine() {
    let (steps, seeds) = if cfg!(miri) { (200, 1) } else { (20_000, 4) };
    for seed in 0..seeds {
        let (mut twins, mut dice) = (traffic(100 + seed, steps), Dice(seed));
        let saved = take(&mut twins, &mut dice);
        for _ in 0..dice.below(3000) {
            twins.step();
        }
        println!("{} slices, {} recycled", saved.slices.len(), twins.recycled);
        let Saved { slices, began } = &saved;
        for from in [*began, 0] {
            assert_same(&[restored(slices, &twins.records, from, (0, 1))], &twins.engine);
        }
        for shards in [2, 3] {
            let shard = |shard| restored(slices, &twins.records, *began, (shard, shards));
            let engines: Vec<_> = (0..shards).map(shard).collect();
            assert_same(&engines, &twins.engine);
        }
    }
}

#[test]
fn an_image_of_two_shards_makes_one_engine() {
    let (mut twins, mut dice) = (traffic(7, if cfg!(miri) { 200 } else { 20_000 }), Dice(3));
    let saved = take(&mut twins, &mut dice);
    let shard = |n| restored(&saved.slices, &twins.records, saved.began, (n, 2));
    let mut slices = Vec::new();
    for mut half in [shard(0), shard(1)] {
        let mut cursor = half.begin_image();
        let mut slice = Vec::new();
        while half.next_slice(&mut cursor, position(&twins), &mut slice) {
            slices.push(std::mem::take(&mut slice));
        }
        half.end_image(cursor);
    }
    assert_same(&[restored(&slices, &[], 0, (0, 1))], &twins.engine);
}

/// The restored engine is not only equal; it goes on like the first.
#[test]
fn a_restored_engine_goes_on() {
    let (mut twins, mut dice) = (traffic(31, if cfg!(miri) { 200 } else { 20_000 }), Dice(9));
    let saved = take(&mut twins, &mut dice);
    twins.engine = restored(&saved.slices, &twins.records, saved.began, (0, 1));
    for _ in 0..if cfg!(miri) { 100 } else { 40_000 } {
        twins.step();
    }
    assert_same(&[restored(&saved.slices, &twins.records, saved.began, (0, 1))], &twins.engine);
}

/// Whatever is decided about an envelope out of an image can be applied.
pub(crate) fn try_all(engine: &mut Engine, id: EnvelopeId) {
    let Some(summary) = engine.show(id) else { panic!("it is there") };
    let payment = summary.payment.max(1);
    for late in [0, u64::from(u32::MAX) * 1000] {
        let now = Time(START.max(late));
        for operation in [0, 1, 2, 3, 4, 5, 1] {
            let record = match operation {
                0 => engine.cover(id, true, now).record,
                1 => engine.fund(id, payment, summary.total, now).record,
                2 => engine.claim(id, UserId(77), now).record,
                3 => engine.void(id, summary.sender, now).record,
                4 => engine.cancel(id, summary.sender, now).record,
                _ => engine.overdue(id, now),
            };
            if let Some(record) = record {
                assert_eq!(engine.apply(&record), Ok(()), "{record:?} of {summary:?}");
            }
        }
    }
}

#[test]
fn no_bytes_whatsoever_make_load_panic() {
    let (mut twins, mut dice) = (traffic(3, if cfg!(miri) { 100 } else { 2000 }), Dice(4));
    let saved = take(&mut twins, &mut dice);
    let (tries, table_bytes) = if cfg!(miri) { (2, 4 << 20) } else { (400, 16 << 20) };
    let mut refused = 0;
    for _ in 0..tries {
        let mut restoring = Restoring::new(CELL, capacity(500, table_bytes), LIMITS, 0, 1);
        for slice in saved.slices.iter().step_by(20) {
            let mut slice = slice.clone();
            for _ in 0..dice.below(4) {
                // Mostly where something is.
                let length = u64::try_from(slice.len()).expect("short");
                let end = if dice.one_in(2) { length.min(400) } else { length };
                let at = usize::try_from(dice.below(end)).expect("short");
                slice[at] ^= 1 << dice.below(8);
            }
            slice.truncate(if dice.one_in(9) { 17 } else { slice.len() });
            refused += u32::from(restoring.load(&slice).is_err());
        }
        let tail: Vec<_> = twins.records.iter().rev().take(60).map(|&r| (u64::MAX, r)).collect();
        for record in tail {
            let _ = restoring.apply(&[record]);
        }
        if let Ok(mut engine) = restoring.finish() {
            let ids: Vec<EnvelopeId> = engine.envelopes().collect();
            for id in ids {
                try_all(&mut engine, id);
            }
            let totals = engine.totals();
            assert_eq!(totals.funded, totals.claimed + totals.refunded + totals.left);
        }
    }
    assert!(refused > 0);
}

#[test]
fn what_is_wrong_with_an_image_is_said() {
    let (mut twins, mut dice) = (traffic(3, if cfg!(miri) { 100 } else { 3000 }), Dice(4));
    let saved = take(&mut twins, &mut dice);
    let page = &saved.slices[1];
    let fresh = || Restoring::new(CELL, capacity(ENVELOPES, TABLE_BYTES), LIMITS, 0, 1);
    let mut restoring = fresh();
    restoring.load(page).expect("right");
    assert_eq!(restoring.load(page), Err(BadImage::Repeated));
    assert_eq!(fresh().load(&page[..page.len() - 8]), Err(BadImage::Torn));
    let mut other = page.clone();
    other[2] ^= 1;
    assert_eq!(fresh().load(&other), Err(BadImage::Cell(CELL ^ 1)));
    other[1] = 9;
    assert_eq!(fresh().load(&other), Err(BadImage::Version(9)));
    let mut small = Restoring::new(CELL, capacity(ENVELOPES, 0), LIMITS, 0, 1);
    assert_eq!(small.load(page), Err(BadImage::Full));
    let empty = engine(10, 1 << 20);
    assert_eq!(empty.image_bytes(), u64::try_from(IMAGE_SLICE_BYTES_MAX).expect("small"));
}
