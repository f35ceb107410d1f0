//! Whether a point lies within some metres of another, on a sphere of the
//! earth's mean radius.
//!
//! Points become unit vectors, and the chord between them is compared with that
//! of the radius: on vectors neither the poles nor the date line are special,
//! and no inverse function loses the last metres. The arithmetic is that of
//! IEEE 754 with nothing but `+ - × ÷`, in this order: sine and cosine are their
//! series up to an eighth of a circle, so every machine gives the same answer,
//! without the system's library. The error is below a millimetre up to 10 km and
//! below a metre anywhere.

use crate::units::{Place, Point};

/// The mean radius of the earth, in metres (IUGG).
const EARTH_M: f64 = 6_371_008.8;

/// Units of a point in a quarter of a circle.
const QUARTER: i32 = 900_000_000;

/// A quarter of a circle.
const RIGHT_ANGLE: f64 = std::f64::consts::FRAC_PI_2;

/// Whether a point is in a place; its border belongs to it.
pub(super) fn has(place: Place, point: Point) -> bool {
    let (here, there) = (unit(place.centre), unit(point));
    let square = |axis: usize| (here[axis] - there[axis]) * (here[axis] - there[axis]);
    let half_angle = f64::from(place.radius_m) / (2.0 * EARTH_M);
    let half_chord = sine_cosine(half_angle).0;
    // Half the way around is everywhere, however the last bit is rounded.
    half_angle >= RIGHT_ANGLE || square(0) + square(1) + square(2) <= 4.0 * half_chord * half_chord
}

/// The unit vector of a point.
fn unit(point: Point) -> [f64; 3] {
    let (sine, cosine) = of_units(point.latitude());
    let (east, ahead) = of_units(point.longitude());
    [cosine * ahead, cosine * east, sine]
}

/// Sine and cosine of an angle of at most half a circle either way, in units.
/// It is turned into the first quarter in whole units, so nothing is rounded.
fn of_units(units: i32) -> (f64, f64) {
    let magnitude = units.abs();
    let is_obtuse = magnitude > QUARTER;
    let acute = if is_obtuse { 2 * QUARTER - magnitude } else { magnitude };
    let (sine, cosine) = sine_cosine(f64::from(acute) * (RIGHT_ANGLE / f64::from(QUARTER)));
    (if units < 0 { -sine } else { sine }, if is_obtuse { -cosine } else { cosine })
}

/// Sine and cosine of an angle of at most a quarter of a circle.
fn sine_cosine(angle: f64) -> (f64, f64) {
    if angle <= RIGHT_ANGLE / 2.0 {
        return (sine(angle), cosine(angle));
    }
    let rest = RIGHT_ANGLE - angle;
    (cosine(rest), sine(rest))
}

/// x − x³/3! + x⁵/5! − …, up to x¹⁷.
fn sine(x: f64) -> f64 {
    series(x, x, [6.0, 20.0, 42.0, 72.0, 110.0, 156.0, 210.0, 272.0])
}

/// 1 − x²/2! + x⁴/4! − …, up to x¹⁶.
fn cosine(x: f64) -> f64 {
    series(1.0, x, [2.0, 12.0, 30.0, 56.0, 90.0, 132.0, 182.0, 240.0])
}

/// Each term is the one before times −x², divided by the next divisor.
fn series(first: f64, x: f64, divisors: [f64; 8]) -> f64 {
    let nested = divisors.iter().rev().fold(1.0, |sum, divisor| 1.0 - x * x / divisor * sum);
    first * nested
}

#[cfg(test)]
mod tests {
    use super::super::super::hash::mix;
    use super::*;

    const SEED: u64 = 0x9e37_79b9;

    /// The haversine formula (Sinnott, 1984), with the system's functions.
    fn haversine_m(a: Point, b: Point) -> f64 {
        let angle = |units: i32| (f64::from(units) / 1e7).to_radians();
        let (up, over) = (
            angle(b.latitude()) - angle(a.latitude()),
            angle(b.longitude()) - angle(a.longitude()),
        );
        let h = (up / 2.0).sin().powi(2)
            + angle(a.latitude()).cos() * angle(b.latitude()).cos() * (over / 2.0).sin().powi(2);
        2.0 * EARTH_M * h.sqrt().min(1.0).asin()
    }

    fn below(n: u64, bound: i64) -> i32 {
        i32::try_from(i64::try_from(mix(n ^ SEED) >> 1).unwrap() % bound).unwrap()
    }

    /// A point somewhere, often near a pole or the date line.
    fn anywhere(n: u64) -> Point {
        let near = |n, most: i32| match n % 4 {
            0 => most - below(n, 2_000_000),
            1 => below(n, 2_000_000) - most,
            2 => below(n, most.into()),
            _ => -below(n, most.into()),
        };
        Point::new(near(mix(n), 900_000_000), near(mix(n + 7), 1_800_000_000)).unwrap()
    }

    #[test]
    fn sines_and_cosines_are_those_of_the_system_to_the_last_bits() {
        let quarter = i64::from(QUARTER);
        let edges = [-2, -1, 0, 1, 2].map(|n| n * QUARTER);
        for units in edges.into_iter().chain((0..4000).map(|n| below(n, 2 * quarter))) {
            for units in [units, -units] {
                let (sine, cosine) = of_units(units);
                let angle = (f64::from(units) / 1e7).to_radians();
                let off = (sine - angle.sin()).abs().max((cosine - angle.cos()).abs());
                assert!(off < 2e-15, "{units}: off by {off}");
            }
        }
    }

    /// Another within about 10 km of it, over the pole and the date line too.
    fn nearby(from: Point, n: u64) -> Point {
        let (mut up, mut over) =
            (from.latitude() + below(n, 1_800_000) - 900_000, from.longitude());
        let across = (f64::from(up) / 1e7).to_radians().cos().abs().max(1e-4);
        let step = f64::from(below(n + 1, 1_800_000) - 900_000) / across;
        over = wrapped(i64::from(over) + format!("{step:.0}").parse::<i64>().unwrap());
        if up.abs() > 900_000_000 {
            up = up.signum() * (1_800_000_000 - up.abs());
            over = wrapped(i64::from(over) + 1_800_000_000);
        }
        Point::new(up, over).unwrap()
    }

    fn wrapped(units: i64) -> i32 {
        let turned = (units + 1_800_000_000).rem_euclid(3_600_000_000) - 1_800_000_000;
        i32::try_from(turned).unwrap()
    }

    fn is_within(a: Point, b: Point, metres: f64) -> bool {
        let radius_m = format!("{metres:.0}").parse().unwrap();
        Place::new(a, radius_m).is_some_and(|place| has(place, b))
    }

    #[test]
    fn the_border_of_a_place_is_within_a_metre_of_the_haversine_formulas() {
        let (mut near, mut near_pole, mut over_the_line) = (0, 0, 0);
        let pairs = if cfg!(miri) { 100 } else { 100_000 };
        println!("seed {SEED:#x}");
        for n in 0..2 * pairs {
            let a = anywhere(5 * n);
            let b = nearby(a, 5 * n + 2);
            let metres = haversine_m(a, b);
            if !(2.0..=10_000.0).contains(&metres) {
                continue;
            }
            near += 1;
            near_pole += u32::from(a.latitude().abs() > 899_000_000);
            over_the_line += u32::from(a.longitude().signum() != b.longitude().signum());
            assert!(is_within(a, b, metres.ceil() + 0.1), "{a:?} {b:?} {metres} m");
            assert!(!is_within(a, b, (metres - 1.0).floor()), "{a:?} {b:?} {metres} m");
            assert_eq!(is_within(b, a, metres.round()), is_within(a, b, metres.round()));
        }
        assert!(near >= pairs, "{near}");
        assert!(cfg!(miri) || near_pole > 1000 && over_the_line > 1000);
    }

    #[test]
    fn far_points_are_told_to_a_metre_too() {
        for n in 0..if cfg!(miri) { 20 } else { 10_000 } {
            let (a, b) = (anywhere(3 * n), anywhere(3 * n + 1));
            let metres = haversine_m(a, b);
            // The formula itself loses the last metres at the antipode.
            if (2.0..20_000_000.0).contains(&metres) {
                assert!(is_within(a, b, metres.ceil() + 1.0), "{a:?} {b:?} {metres} m");
                assert!(!is_within(a, b, (metres - 1.0).floor()), "{a:?} {b:?} {metres} m");
            }
        }
    }

    #[test]
    fn the_pole_is_one_point_and_the_date_line_no_line() {
        let pole = |longitude| Point::new(900_000_000, longitude).unwrap();
        assert!(is_within(pole(0), pole(1_234_567_890), 1.0));
        let line = |longitude| Point::new(100_000_000, longitude).unwrap();
        assert!(is_within(line(1_800_000_000), line(-1_800_000_000), 1.0));
        assert!(is_within(line(1_799_999_900), line(-1_799_999_900), 3.0));
        assert!(!is_within(line(1_799_999_900), line(-1_799_999_900), 2.0));
    }

    #[test]
    fn everything_is_within_half_the_way_around() {
        for n in 0..100 {
            let (a, b) = (anywhere(n), anywhere(n + 1000));
            assert!(is_within(a, b, 20_015_115.0), "{a:?} {b:?}");
        }
        let (here, there) = (Point::new(0, 0).unwrap(), Point::new(0, 1_800_000_000).unwrap());
        assert!(is_within(here, there, 20_015_115.0) && !is_within(here, there, 20_015_000.0));
    }
}
