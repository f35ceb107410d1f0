//! See `fuzz::segments::segments`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::segments::segments(bytes));
