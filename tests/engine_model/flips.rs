//! Every bit of an envelope in an image, wrong one at a time.

use hongbao::engine::{Engine, Restoring};
use hongbao::units::Split;

use crate::images::try_all;
use crate::paying::{SOURCES, WAYS};
use crate::{CELL, LIMITS, capacity};

/// Words of a slice before its page, and of a page.
const HEAD_WORDS: usize = 4;
const PAGE_WORDS: usize = 8192;

/// Words of a header, which begins a page, and of a cold side, which ends it.
const SIDE_WORDS: usize = 6;

fn slices(engine: &mut Engine) -> Vec<Vec<u8>> {
    let (mut cursor, mut slices) = (engine.begin_image(), Vec::new());
    let mut slice = Vec::new();
    while engine.next_slice(&mut cursor, 0, &mut slice) {
        slices.push(std::mem::take(&mut slice));
    }
    engine.end_image(cursor);
    slices
}

/// What is refused cannot be told from what another history could have made,
/// but what is loaded never breaks a sum or meets a record that does not fit.
#[test]
fn an_envelope_with_a_wrong_bit_is_refused_or_could_have_come_about() {
    let (mut refused, mut loaded) = (0, 0);
    let step = if cfg!(miri) { 97 } else { 1 };
    for (way, source) in WAYS.into_iter().flat_map(|way| SOURCES.map(|source| (way, source))) {
        if !way.is_for(source) {
            continue;
        }
        let (mut engine, ..) = way.go(source);
        let slices = slices(&mut engine);
        let first = HEAD_WORDS..HEAD_WORDS + SIDE_WORDS;
        let last = HEAD_WORDS + PAGE_WORDS - SIDE_WORDS..HEAD_WORDS + PAGE_WORDS;
        for bit in first.chain(last).flat_map(|word| 64 * word..64 * (word + 1)).step_by(step) {
            let mut page = slices[1].clone();
            page[bit / 8] ^= 1 << (bit % 8);
            let mut restoring = Restoring::new(CELL, capacity(4, 1 << 16), LIMITS, 0, 1);
            restoring.load(&slices[0]).expect("the counters are right");
            if restoring.load(&page).is_err() {
                refused += 1;
                continue;
            }
            // That a campaign lacks its plan is only seen once all is loaded.
            if restoring.kept().any(|kept| kept.split == Split::Prizes) {
                assert!(restoring.finish().is_err(), "a campaign without a plan");
                refused += 1;
                continue;
            }
            loaded += 1;
            let mut engine = restoring.finish().expect("whole");
            let ids: Vec<_> = engine.envelopes().collect();
            for id in ids {
                try_all(&mut engine, id);
                assert!(engine.reveal(id).is_some());
            }
            let totals = engine.totals();
            assert_eq!(totals.funded, totals.claimed + totals.refunded + totals.left);
        }
    }
    println!("{refused} refused, {loaded} loaded");
    assert!(refused > 20 && loaded > 20);
}
