//! What images have beside envelopes and claims: terms, what was said of users, what
//! happened of late.

use hongbao::engine::{
    BadImage, Decision, Engine, Outcome, Recent, RecentStep, Record, Restoring, RiskSettings,
    Tagged, TermsPart,
};
use hongbao::units::{EnvelopeId, Seed, Time, UserId};
use hongbao::wire::{Mark, Resolution, Tags, Terms};

use crate::{CELL, LIMITS, START, capacity, vouched};

pub(crate) const RISK: RiskSettings = RiskSettings {
    users_max: 10,
    holds_max: 10,
    grade_unknown: 100,
    timed_out: Resolution::Reject,
    recent_max: 10,
    recent_s: 100,
};

/// The slices of an image that is taken at rest.
pub(crate) fn image(engine: &mut Engine) -> Vec<Vec<u8>> {
    let (mut cursor, mut slices, mut slice) = (engine.begin_image(), Vec::new(), Vec::new());
    while engine.next_slice(&mut cursor, 0, &mut slice) {
        slices.push(std::mem::take(&mut slice));
    }
    engine.end_image(cursor);
    slices
}

/// What these slices have, for an engine with such settings.
pub(crate) fn restoring(slices: &[Vec<u8>], risk: RiskSettings) -> Restoring {
    let mut restoring = Restoring::new(CELL, capacity(10, 4 << 20), LIMITS, 0, 1).with_risk(risk);
    for slice in slices {
        restoring.load(slice).expect("as it was saved");
    }
    restoring
}

fn engine(risk: RiskSettings) -> Engine {
    Engine::new(CELL, capacity(10, 4 << 20), LIMITS).with_risk(risk)
}

/// An envelope of so many shares with a greeting.
fn greeted(engine: &mut Engine, shares: u32) -> (EnvelopeId, Vec<u8>) {
    let terms = Terms { greeting: b"good luck to everybody", ..Terms::default() }.to_bytes();
    let order = vouched(3, shares.into(), shares, 100 * u64::from(shares));
    let decision = engine.issue_with(&order, &terms, Seed([1, 2]), Time(START));
    let Some(Record::Issued(issued)) = decision.record else { panic!("{decision:?}") };
    for part in TermsPart::cut(issued.envelope, &terms) {
        engine.apply(&Record::TermsPart(part)).expect("fits");
    }
    engine.apply(&Record::Issued(issued)).expect("fits");
    (issued.envelope, terms)
}

#[test]
fn terms_that_cannot_be_read_are_refused_in_every_image() {
    for shares in [3, 2000] {
        let mut engine = engine(RISK);
        let (envelope, terms) = greeted(&mut engine, shares);
        let mut slices = image(&mut engine);
        assert_eq!(restoring(&slices, RISK).kept_terms(envelope), terms);
        let places = slices.iter().enumerate().filter_map(|(number, slice)| {
            Some((number, slice.windows(terms.len()).position(|bytes| bytes == terms)?))
        });
        let [(number, at)] = places.collect::<Vec<_>>()[..] else { panic!("they are there once") };
        slices[number][at] = 99; // there is no such term
        let mut restoring = restoring(&slices[..number], RISK);
        let refused = restoring.load(&slices[number]).expect_err("nobody can read them");
        assert_eq!(refused, BadImage::Unsound(envelope), "{shares} shares");
    }
}

#[test]
fn whose_marks_are_all_gone_takes_no_place_after_a_start() {
    let risk = RiskSettings { users_max: 1, ..RISK };
    let mut engine = engine(risk);
    let mark = |engine: &mut Engine, user, mark| {
        let Decision { outcome, record } = engine.mark(0, UserId(user), mark, Time(START));
        if let Some(record) = record {
            engine.apply(&record).expect("fits");
        }
        outcome
    };
    let done = Outcome::Arranged { repeated: false };
    assert_eq!(mark(&mut engine, 5, Mark::Deny(true)), done);
    let kept = restoring(&image(&mut engine), risk).finish().expect("it is whole");
    assert!(kept.standing(UserId(5)).denied);
    assert_eq!(mark(&mut engine, 5, Mark::Deny(false)), done);
    assert_eq!(mark(&mut engine, 6, Mark::Grade(7)), Outcome::Full);
    let mut again = restoring(&image(&mut engine), risk).finish().expect("it is whole");
    assert_eq!(mark(&mut again, 6, Mark::Grade(7)), done);
    assert_eq!(again.standing(UserId(6)).grade, 7);
}

#[test]
fn all_that_happened_of_late_is_in_an_image_in_its_order() {
    const WINS: u64 = 3000; // three slices
    let risk = RiskSettings { recent_max: 5000, ..RISK };
    let mut engine = engine(risk);
    let at = Time(START).seconds();
    let win = |number| {
        let user = UserId(number);
        let tags = Tags { device: Some(number % 7), address: None };
        Tagged { envelope: EnvelopeId(9), user, tags, at }
    };
    for number in 0..WINS {
        engine.apply(&Record::Tagged(win(number))).expect("fits");
    }
    let again = restoring(&image(&mut engine), risk).finish().expect("it is whole");
    let expected = (0..WINS).map(|number| {
        let Tagged { envelope, user, tags, at } = win(number);
        Recent { at, envelope, user, what: RecentStep::Won(tags.device, tags.address) }
    });
    assert!(again.recent().eq(expected));
}
