//! See `fuzz::frames::replies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::frames::replies(bytes));
