//! See `fuzz::checkpoints::images`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::checkpoints::images(bytes));
