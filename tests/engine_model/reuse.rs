//! Pages that were another envelope's before.

use hongbao::engine::{Engine, EnvelopeLimits, Outcome, partition_of};
use hongbao::units::{EnvelopeId, Split, Time, UserId};

use crate::{CELL, LIMITS, RETENTION_S, START, capacity, issue, vouched};

const PAGE_BYTES: usize = 1 << 16;
/// Its claims take two pages, beside the one that its block is in.
const LARGE: u32 = 5000;

fn engine(pages: usize) -> Engine {
    let limits = EnvelopeLimits { shares_max: LARGE, ..LIMITS };
    Engine::new(CELL, capacity(1000, pages * PAGE_BYTES), limits)
}

fn send(engine: &mut Engine, sender: u64, number: u64, shares: u32) -> Option<EnvelopeId> {
    issue(engine, &vouched(sender, number, shares, 100 * u64::from(shares)))
}

#[test]
fn a_large_envelope_needs_pages_for_its_claims_and_one_for_itself() {
    for pages in 0..6 {
        let mut engine = engine(pages);
        let envelope = send(&mut engine, 3, 1, LARGE);
        assert_eq!(envelope.is_some(), pages >= 3, "{pages} pages");
        let room = if pages >= 3 { pages - 3 } else { pages };
        let mut small = 0;
        for sender in 0..20 {
            small += usize::from(send(&mut engine, sender, 2, 1).is_some());
        }
        assert!(small >= room && (small > 0) == (room > 0), "{pages} pages: {small}");
    }
}

#[test]
fn pages_that_were_full_of_claims_are_empty_for_the_next() {
    let mut engine = engine(4);
    for round in 0..3 {
        let later = START + round * 1000 * 3600 * 10;
        let large = send(&mut engine, 3, 100 + round, LARGE).expect("room");
        for user in 1..=u64::from(LARGE) {
            let claim = engine.claim(large, UserId(u64::MAX - user), Time(START));
            engine.apply(&claim.record.expect("a share is left")).expect("fits");
        }
        let ripe = Time(later + 1000 * 3600 * 5 + 1000 * u64::from(RETENTION_S));
        let recycled = engine.recyclable(ripe).expect("it is over");
        engine.apply(&recycled).expect("fits");
        assert_eq!(engine.envelopes().count(), 0);
    }
    // The last page is the block's, which stays; the others go to small ones.
    let issued: Vec<_> = (0..60).filter_map(|sender| send(&mut engine, sender, 1, 29)).collect();
    assert!(issued.len() >= 3);
    let mut there: Vec<_> = engine.envelopes().collect();
    there.sort();
    let mut expected = issued.clone();
    expected.sort();
    assert_eq!(there, expected, "nothing is there that nobody has sent");
    assert_eq!(engine.claims().count(), 0);
    for &envelope in &issued {
        let claim = engine.claim(envelope, UserId(u64::MAX - 1), Time(START));
        assert!(matches!(claim.outcome, Outcome::Claimed { .. }), "{:?}", claim.outcome);
    }
}

/// Free slots are kept by partition and size: none is another partition's.
#[test]
fn every_id_is_of_its_senders_partition_also_when_slots_are_used_again() {
    let mut engine = engine(600);
    assert!(!engine.keeps_grades(), "nothing is kept of users");
    for round in 0..2 {
        for sender in 0..300 {
            for (number, shares) in (0..).zip([1, 9, 20]) {
                let order = 10 * round + number;
                let envelope = send(&mut engine, sender, order, shares).expect("room");
                assert_eq!(envelope.partition(), partition_of(UserId(sender)), "{shares} shares");
                assert_eq!(engine.split_of(envelope), Some(Split::DoubleMean));
                assert_eq!(engine.split_of(EnvelopeId(envelope.0 + 1)), None);
            }
        }
        let over = Time(START + 1000 * 3600);
        while engine.is_behind(over) {
            if let Some(expired) = engine.due(over) {
                engine.apply(&expired).expect("fits");
            }
        }
        let ripe = Time(over.0 + 1000 * u64::from(RETENTION_S));
        while let Some(recycled) = engine.recyclable(ripe) {
            engine.apply(&recycled).expect("fits");
        }
        assert_eq!(engine.envelopes().count(), 0);
    }
}
