//! See `fuzz::frames::requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::frames::requests(bytes));
