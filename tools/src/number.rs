//! The few conversions between whole numbers and fractions that figures need.
//!
//! Never used for money.

/// A count as a fraction: exact up to 2⁵³, near enough for a rate above that.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "figures are approximate")]
pub(crate) fn fraction(count: u64) -> f64 {
    count as f64
}

/// The whole part of a fraction; 0 below zero.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast cuts at the bounds, which is what is wanted"
)]
pub(crate) fn whole(fraction: f64) -> u64 {
    fraction as u64
}

/// A 32-bit number as an index; this tool runs on 64-bit Linux.
#[expect(clippy::as_conversions, reason = "widening on every supported target")]
pub(crate) const fn index(number: u32) -> usize {
    number as usize
}

/// How many of a kind per second, as a whole number.
pub(crate) fn per_second(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { whole(fraction(count) / seconds) } else { 0 }
}
