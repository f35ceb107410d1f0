//! See `fuzz::checkpoints::checkpoints`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::checkpoints::checkpoints(bytes));
